"""From a scan to a brain in MNI152 space [equation 1]: extraction, N4, SyN, in the printed order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
import numpy as np

from ictmri.atlas.alignment import Aligned, align
from ictmri.atlas.box import box_of
from ictmri.atlas.template import grid_affine, template
from ictmri_baselines.cases import Brain
from ictmri_baselines.processor.bias import N4, NoBias
from ictmri_baselines.processor.extraction.deepbet import DeepBet
from ictmri_baselines.processor.extraction.hd_bet import HdBet
from ictmri_baselines.processor.extraction.hd_bet_2 import HdBet2
from ictmri_baselines.processor.extraction.own_mask import (
    AlreadyExtracted,
    TemplateMask,
    own_mask_step,
)
from ictmri_baselines.processor.intensity import kept_image, on_mni, robust_image
from ictmri_baselines.processor.mapping import Mapping, stored_warp
from ictmri_baselines.processor.registration.register import AffineOnly, Syn
from ictmri_baselines.processor.settings import PRESETS, ProcessorSettings
from ictmri_baselines.processor.step import RegistrationStep, Step, VolumeStep, described
from ictmri_baselines.processor.step_cache import StepCache, step_key
from ictmri_baselines.processor.volume import (
    Mask,
    Volume,
    block_means,
    in_stored_order,
    on_plain_background,
    volume_of,
)

_Made = tuple[nib.Nifti1Image, dict[str, Any]]
"""A step's image, and what belongs into its record besides."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A scan and its brain in MNI152 space.

    Attributes:
        brain: what the localizer and the diagnoser look at.
        mapping: between the scan and MNI152 space, both ways.
        scan_mask: brain mask on the scan's own grid, uint8.
        extracted: the scan held nothing but a brain when it came.
        steps: of each step its name, version, parameters and seconds.
    """

    brain: Brain
    mapping: Mapping
    scan_mask: nib.Nifti1Image
    extracted: bool
    steps: dict[str, dict[str, Any]]

    @property
    def borrowed(self) -> bool:
        """Whether the brain's mask is the template's."""
        return bool(self.steps["brain"]["name"] == TemplateMask.name)


def process(
    image: nib.Nifti1Image,
    settings: ProcessorSettings = PRESETS["paper"],
    *,
    own_mask: nib.Nifti1Image | None = None,
    cache: StepCache | None = None,
) -> Processed:
    """Extract a scan's brain, correct its bias field and bring it to MNI152 space.

    Args:
        image: a head, with or without skull, in any orientation; its background may be any constant.
        settings: which steps, and their switches.
        own_mask: the user's brain mask on the scan's grid; no extraction is run then.
        cache: where finished steps are kept, so that a run that was killed goes on after them.

    Returns:
        The brain on the MNI152 grid. The same scan and settings give the same bytes, whatever the
        number of threads, and whether steps were found kept.

    Raises:
        AlignmentError: it cannot be a head, or the alignment found nothing to hold on to.
        ExtractionError: no brain was found in it.
        InputError: ``own_mask`` does not fit the scan, or weights are not in their place.
        MissingDependencyError: a step's package is not installed.
    """
    case = _Case(settings, cache)
    steps: dict[str, Any] = dict(steps_of(settings))
    if own_mask is not None:
        steps["brain"] = own_mask_step(own_mask, image)
    scan = volume_of(image)
    place = case.timed("align", _Alignment(), lambda: align(image))
    extracted = place.extracted
    scan = on_plain_background(scan) if extracted else scan
    if own_mask is None and extracted and not settings.extract_again:
        steps["brain"] = AlreadyExtracted()
    case.key = step_key(scan.digest(), {})
    masked = case.brain(steps["brain"], scan, place)
    corrected = case.bias(steps["bias"], masked, place)
    mapping = case.registration(steps["registration"], corrected, place)
    brain = case.timed(
        "resampling", _Resampling(settings), lambda: _resampled(corrected, mapping, settings, steps)
    )
    scan_mask = in_stored_order(masked.brain.astype(np.uint8), image)
    return Processed(brain, mapping, scan_mask, extracted, case.records)


def steps_of(settings: ProcessorSettings) -> dict[str, Step]:
    """Return the steps that settings ask for, by what they do; nothing heavy is imported."""
    brain: dict[str, Callable[[], VolumeStep]] = {
        "hd-bet": HdBet,
        "hd-bet-2": lambda: HdBet2(settings.hd_bet_2_weights),
        "deepbet": DeepBet,
        "template": TemplateMask,
    }
    return {
        "align": _Alignment(),
        "brain": brain[settings.brain](),
        "bias": N4(masked=settings.mask_in_n4) if settings.bias == "n4" else NoBias(),
        "registration": _registration(settings),
        "resampling": _Resampling(settings),
    }


def used_steps(settings: ProcessorSettings) -> dict[str, dict[str, Any]]:
    """Return name, version and parameters of every step, without importing its packages.

    Raises:
        MissingDependencyError: a step's package is not installed.
        InputError: a step's weights are not in their place.
    """
    return {key: step.describe() for key, step in steps_of(settings).items()}


def _registration(settings: ProcessorSettings) -> RegistrationStep:
    again = settings.brain != "template"
    if settings.registration == "syn":
        return Syn(again=again, masked=settings.mask_in_syn)
    return AffineOnly(again=again)


@dataclass(slots=True)
class _Case:
    """One case on its way: what was done, and under which key the next step is kept."""

    settings: ProcessorSettings
    cache: StepCache | None
    key: str = ""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def timed(self, name: str, step: Step, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.records[name] = _record(step, start)
        return result

    def brain(self, step: VolumeStep, volume: Volume, place: Aligned) -> Volume:
        def made() -> _Made:
            mask = step.run(volume, place).brain
            return nib.Nifti1Image(mask.astype(np.uint8), volume.affine), {}

        stored = self._kept("brain", step, made)
        mask: Mask = np.asarray(stored.dataobj) > 0
        return volume.with_mask(mask)

    def bias(self, step: VolumeStep, volume: Volume, place: Aligned) -> Volume:
        if isinstance(step, NoBias):
            self.timed("bias", step, lambda: volume)
            return volume

        def made() -> _Made:
            return nib.Nifti1Image(step.run(volume, place).voxels, volume.affine), {}

        stored = self._kept("bias", step, made)
        return volume.with_voxels(np.asarray(stored.dataobj, dtype=np.float32))

    def registration(self, step: RegistrationStep, volume: Volume, place: Aligned) -> Mapping:
        if isinstance(step, AffineOnly):
            mapping: Mapping = self.timed("registration", step, lambda: step.run(volume, place))
            return mapping

        def made() -> _Made:
            mapping = step.run(volume, place)
            if mapping.warp is None:
                raise TypeError("a registration without a warp has nothing to keep")
            return mapping.warp, {"scan_from_mni": mapping.scan_from_mni.ravel().tolist()}

        kept = self._kept("registration", step, made)
        affine = np.reshape(self.records["registration"]["scan_from_mni"], (4, 4))
        # nibabel chooses a new slope when it writes; rounded again, the field is what it was.
        field = Mapping(affine, kept).field()
        return Mapping(affine, stored_warp(field, np.asarray(kept.affine)))

    def _kept(self, name: str, step: Step, made: Callable[[], _Made]) -> nib.Nifti1Image:
        self.key = step_key(self.key, step.describe())
        found = None if self.cache is None else self.cache.find(name, self.key)
        if found is not None:
            image, self.records[name] = found
            return image
        start = time.perf_counter()
        image, found_too = made()
        self.records[name] = _record(step, start) | found_too
        if self.cache is not None:
            self.cache.store(name, self.key, image, self.records[name])
        return image


def _record(step: Step, start: float) -> dict[str, Any]:
    record = {**step.describe(), "seconds": round(time.perf_counter() - start, 3)}
    # As it is read again where the step was kept: JSON knows no tuples.
    as_kept: dict[str, Any] = json.loads(json.dumps(record))
    return as_kept


@dataclass(frozen=True, slots=True)
class _Alignment:
    def describe(self) -> dict[str, Any]:
        import SimpleITK as sitk

        return described("affine alignment", f"SimpleITK {sitk.Version.VersionString()}")


@dataclass(frozen=True, slots=True)
class _Resampling:
    settings: ProcessorSettings

    def describe(self) -> dict[str, Any]:
        import scipy

        settings = self.settings
        return described(
            "resampling",
            f"scipy {scipy.__version__}",
            spacing_mm=settings.spacing_mm,
            order=1,
            intensities=settings.intensities,
        )


def _resampled(
    volume: Volume, mapping: Mapping, settings: ProcessorSettings, steps: dict[str, Any]
) -> Brain:
    spacing = settings.spacing_mm
    affine = grid_affine(float(spacing))
    if isinstance(steps["brain"], TemplateMask) and mapping.warp is None:
        mask = template(spacing).mask  # there and back again would only fray it
    else:
        share, coarse = block_means(volume.brain, volume.affine, float(spacing))
        mask = mapping.pull(share, coarse, spacing) > 0.5
    moved = mapping.pull(*volume.coarser(float(spacing)), spacing, only=box_of(mask))
    made = robust_image if settings.intensities == "robust" else kept_image
    return Brain(image=made(moved, mask, affine), mask=on_mni(mask.astype(np.uint8), affine))
