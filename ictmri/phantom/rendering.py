"""One case in, one synthetic scan with its true lesion mask out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.errors import InputError
from ictmri.io.volumes import SYNTHETIC_MARK
from ictmri.phantom import contrast as contrasts
from ictmri.phantom import deformation, lesions, scanner
from ictmri.phantom.anatomy import TISSUE_SCALE, HeadMaps, template
from ictmri.phantom.fields import Array, resample_axes
from ictmri.phantom.lesions import Lesion
from ictmri.phantom.roster import PhantomCase

MIN_CORE_ML: Final = 0.5
"""Every tumour has at least this much core (labels 1 and 2) inside the brain, after warping."""

_CHECK_MM: Final = 2.0
"""Grid on which that is checked, whatever the spacing of the scan."""

_MAX_DRAWS: Final = 50
_SPACINGS: Final = (0.5, 8.0)


@dataclass(frozen=True, slots=True)
class PhantomVolume:
    """A synthetic scan.

    Attributes:
        image: T1-CE head, int16, scan space, RAS+.
        lesion_mask: uint8 on the same grid: 1 solid core with its enhancing rim, 2 necrosis or cyst,
            3 oedema.
        parameters: what was drawn, ready for JSON.
    """

    image: nib.Nifti1Image
    lesion_mask: nib.Nifti1Image
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Tumours:
    """The tumours of a head, their cores' ml, and the anatomy around them."""

    look: str
    atypical: bool
    lesions: list[Lesion]
    volumes_ml: list[float]
    pose: deformation.Pose
    warp: deformation.Warp

    def describe(self) -> dict[str, Any]:
        """Return what was drawn, ready for JSON."""
        return {
            "phenotype": self.look,
            "atypical": self.atypical,
            "lesions": [
                {**lesion.describe(), "core_ml": round(ml, 3)}
                for lesion, ml in zip(self.lesions, self.volumes_ml, strict=True)
            ],
        }


def render(case: PhantomCase, *, spacing: float = 2.0, tumour_free: bool = False) -> PhantomVolume:
    """Render a case: the same case gives the same bytes, whatever else was rendered before.

    Args:
        case: a case of :func:`ictmri.phantom.roster.roster`.
        spacing: voxel size in mm, isotropic, 0.5 to 8.
        tumour_free: the same head without its tumours.

    Raises:
        InputError: ``spacing`` is out of range.
        MissingDependencyError: the atlas package is not installed.
    """
    if not _SPACINGS[0] <= spacing <= _SPACINGS[1]:
        raise InputError("spacing", [f"{spacing} mm"], "choose 0.5 to 8 mm")
    atlas, rng = template(), _streams(case)
    shape = deformation.draw_shape(rng["shape"], case.age, case.sex)
    pose = deformation.draw_pose(rng["shape"], shape)
    tumours = (
        _Tumours("none", False, [], [], pose, deformation.warp(pose, [], atlas))
        if tumour_free
        else _grow(rng["tumour"], case, pose, atlas)
    )
    contrast = contrasts.draw_contrast(rng["contrast"], case.age)
    device = scanner.draw_scanner(rng["contrast"])
    axes = deformation.axis_positions(spacing)
    signal = bare_head(rng["tissue"], atlas, contrast, tumours.warp, axes)
    labels = np.zeros(signal.shape, np.uint8)
    add_lesions(signal, labels, tumours.lesions, tumours.pose, tumours.warp, atlas, axes)
    voxels = scanner.acquire(rng["scanner"], device, signal, axes)
    parameters = {
        **tumours.describe(),
        "volumes_ml": _volumes(labels, spacing),
        "shape": _rounded(shape),
        "contrast": _rounded(contrast),
        "scanner": _rounded(device),
        "spacing_mm": spacing,
    }
    return PhantomVolume(_image(voxels, axes, spacing), _image(labels, axes, spacing), parameters)


def _streams(case: PhantomCase) -> dict[str, np.random.Generator]:
    """Return a case's independent random streams: redrawing a tumour changes nothing else."""
    names = ("shape", "tumour", "contrast", "tissue", "scanner")
    children = np.random.SeedSequence([case.cohort_seed, case.index]).spawn(len(names))
    return {
        name: np.random.Generator(np.random.PCG64(child))
        for name, child in zip(names, children, strict=True)
    }


def _grow(
    rng: np.random.Generator, case: PhantomCase, pose: deformation.Pose, atlas: HeadMaps
) -> _Tumours:
    """Draw tumours until each has its minimum of core inside the brain."""
    look, atypical = lesions.draw_look(rng, case.subtype)
    for _ in range(_MAX_DRAWS):
        drawn = lesions.draw_lesions(rng, case.subtype, look)
        warp = deformation.warp(pose, [lesion.mass for lesion in drawn], atlas)
        volumes = [_core_ml(lesion, pose, warp, atlas) for lesion in drawn]
        if min(volumes) >= MIN_CORE_ML:
            return _Tumours(look, atypical, drawn, volumes, pose, warp)
    raise InputError(case.case_id, ["no tumour fits into this head"], "use another cohort seed")


def _core_ml(
    lesion: Lesion, pose: deformation.Pose, warp: deformation.Warp, atlas: HeadMaps
) -> float:
    """Return the ml of a tumour's core inside the brain, on a fixed grid in scan space."""
    axes = deformation.axis_positions(_CHECK_MM)
    block = _block(lesion, pose, axes)[1]
    points, tissue, brain = _surroundings(warp, atlas, block)
    weight = lesions.core_weight(lesion, points, tissue, brain)
    return float(np.count_nonzero(weight > 0.5)) * _CHECK_MM**3 / 1000


def _surroundings(
    warp: deformation.Warp, atlas: HeadMaps, axes: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Return lesion-space mm, tissue class and brain weight on a grid."""
    at = warp.template_points(axes)
    tissue = contrasts.sample(atlas.tissue, at) / np.float32(TISSUE_SCALE)
    brain = contrasts.sample(atlas.brain, at) / np.float32(255)
    return warp.lesion_points(axes), tissue, brain


def _block(
    lesion: Lesion, pose: deformation.Pose, axes: Sequence[Array]
) -> tuple[tuple[slice, ...], list[Array]]:
    """Return the part of a grid that holds a lesion with its oedema: slices, scan mm by axis."""
    centre = np.array(lesion.centre, np.float32).reshape(3, 1, 1, 1)
    near = (np.abs(pose.lesion - centre) <= np.float32(lesion.reach)).all(axis=0)
    slices = []
    for i, (axis, lattice) in enumerate(zip(axes, deformation.lattice_axes(), strict=True)):
        touched = lattice[near.any(axis=tuple(j for j in range(3) if j != i))]
        low, high = touched.min() - 4, touched.max() + 4
        slices.append(slice(*(int(at) for at in np.searchsorted(axis, (low, high)))))
    return tuple(slices), [axis[part] for axis, part in zip(axes, slices, strict=True)]


def bare_head(
    rng: np.random.Generator,
    atlas: HeadMaps,
    contrast: contrasts.Contrast,
    warp: deformation.Warp,
    axes: Sequence[Array],
) -> Array:
    """Return the noise-free signal of the whole field of view, (X, Y, Z), without the tumours."""
    signal = np.zeros([len(axis) for axis in axes], np.float32)
    head = np.flatnonzero(_near_head(warp, atlas, axes))
    points = warp.template_points(axes).reshape(3, -1)[:, head]
    signal.reshape(-1)[head] = contrasts.head_signal(rng, atlas, contrast, points)
    return signal


def add_lesions(
    signal: Array,
    labels: npt.NDArray[np.uint8],
    drawn: Sequence[Lesion],
    pose: deformation.Pose,
    warp: deformation.Warp,
    atlas: HeadMaps,
    axes: Sequence[Array],
) -> None:
    """Paint lesions into a head's signal and mask labels, in place, in the order given."""
    for lesion in drawn:
        part, block = _block(lesion, pose, axes)
        points, tissue, brain = _surroundings(warp, atlas, block)
        below = lesions.Painted(signal[part], labels[part])
        painted = lesions.paint(lesion, points, tissue, brain, below)
        signal[part], labels[part] = painted.signal, painted.labels


def _near_head(
    warp: deformation.Warp, atlas: HeadMaps, axes: Sequence[Array]
) -> npt.NDArray[np.bool_]:
    """Return where a grid may hold head; the rest is air and needs no look-up."""
    lattice = warp.template_points(deformation.lattice_axes())
    filled = np.maximum(
        contrasts.sample(atlas.shell, lattice), contrasts.sample(atlas.brain, lattice)
    )
    near = ndimage.maximum_filter(filled, 3) > 0
    return np.asarray(resample_axes(near.astype(np.float32), deformation.lattice_indices(axes)) > 0)


def _image(voxels: npt.NDArray[Any], axes: Sequence[Array], spacing: float) -> nib.Nifti1Image:
    """Return a NIfTI image in scanner coordinates, marked as synthetic."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [float(axis[0]) for axis in axes]
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = SYNTHETIC_MARK
    return image


def _volumes(labels: npt.NDArray[np.uint8], spacing: float) -> dict[str, float]:
    """Return the ml of each mask label."""
    names = {"solid": lesions.CORE, "cavity": lesions.CAVITY, "oedema": lesions.OEDEMA}
    return {
        name: round(float(np.count_nonzero(labels == value)) * spacing**3 / 1000, 3)
        for name, value in names.items()
    }


def _rounded(drawn: Any) -> dict[str, Any]:
    """Return a dataclass of numbers as JSON-ready values."""
    return {
        name: [round(item, 4) for item in value] if isinstance(value, tuple) else round(value, 4)
        for name, value in dataclasses.asdict(drawn).items()
    }
