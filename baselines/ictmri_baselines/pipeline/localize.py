"""``ictmri localize``: the Tumor-Localizer over a processed cohort, and the page that shows it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np

from ictmri.build.write import add_config
from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.folds import FoldRow
from ictmri.io.files import replacing, write_bytes
from ictmri.io.lock import beside
from ictmri.io.volumes import pack, unpack
from ictmri.version import __version__
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer import localize, voxels_of
from ictmri_baselines.localizer.box_controls import DROP_VERSION, MirrorChecked
from ictmri_baselines.localizer.boxes import SliceBoxes, numbers_only, read_boxes, write_boxes
from ictmri_baselines.localizer.classical.refine import VERSION, Samples, VoxelModel, fit
from ictmri_baselines.localizer.detectors import (
    Detector,
    DetectorSettings,
    detector_settings,
    recorded,
)
from ictmri_baselines.localizer.page import LocalizedCase, figure, localization_page
from ictmri_baselines.localizer.vlm.tally import Tally, tally
from ictmri_baselines.machine import is_pinned, pins
from ictmri_baselines.pipeline.process import LOCALIZED
from ictmri_baselines.pipeline.resumable import (
    Workers,
    each_case,
    facts_of,
    finish_case,
    resumed,
    volume,
)
from ictmri_baselines.processor import Mapping
from ictmri_baselines.registry import DEFAULT_DETECTOR

REPLIES: Final = "replies"
_OWNER: Final = 0o600
_BRAIN: Final = ("case_id", "image", "brain_mask", "scan_from_mni", "warp")
Mirror = Literal["off", "report", "drop"]
UNMEASURED: Final = (
    "After one affine (--settings light) a patient’s brain lies up to centimetres off the template’s, and "
    "normal vessels and cisterns with it: localisation was measured on seven such scans only. Look at "
    "every case, or process with --settings paper."
)
"""Said of scans of patients that were processed without a warp."""


def localize_cohort(
    cohort: Cohort,
    detector: DetectorSettings | None = None,
    *,
    voxel_model: Literal["case", "cohort"] = "case",
    mirror: Mirror = "off",
    workers: Workers = Workers(),  # noqa: B008
) -> Cohort:
    """Add both priors to ``processed``, and each slice's boxes as ``boxes/<detector>.jsonl``.

    A model or a server is asked from one process; its answers are kept beside the cohort, so that an
    interrupted run asks only for the others. The cohort holds boxes as numbers; what a model said stays
    beside it, see :func:`replies_of`.

    Args:
        cohort: processed.
        detector: what looks for tumours; the default one where None.
        voxel_model: the MLP of the refined prior is trained on each case alone, or on all of them.
        mirror: ask about the mirrored brains, too, and report the share of boxes that mirror, or drop the
            others.
        workers: where cases are worked on.

    Raises:
        InputError: the cohort was not processed yet, or the detector cannot work.
    """
    if "process" not in cohort.manifest.steps:
        raise InputError(str(cohort.root), ["not processed yet"], f"ictmri process {cohort.root}")
    detector = detector or detector_settings(DEFAULT_DETECTOR)
    if mirror != "off" and not detector.looks:
        problem = (
            f"{detector.name} are the same, whichever brain is looked at: there is nothing to ask"
        )
        raise InputError(
            "--mirror", [problem], "leave it out, or take a detector that looks at brains"
        )
    settings = recorded(detector) | {"refine_version": VERSION, "ictmri": __version__}
    if voxel_model == "cohort":
        settings["voxel_model"] = voxel_model
    if mirror != "off":
        settings["mirror"] = mirror
    if mirror == "drop":
        settings["drop_version"] = DROP_VERSION
    able = workers if detector.parallel else Workers(1)
    return resumed(
        cohort,
        "localize",
        settings,
        partial(_localized, detector, settings, able),
        source="processed",
        prepare=lambda cohort: detector.prepare(_ids(cohort), cohort.manifest.left_out),
    )


def _localized(
    detector: DetectorSettings,
    settings: dict[str, Any],
    workers: Workers,
    cohort: Cohort,
    work: Path,
) -> Cohort:
    """Localise what is not done yet, by one voxel model for all cases where the settings say so."""
    cases, model = _processed(cohort), None
    mirror: Mirror = settings.get("mirror", "off")
    if "voxel_model" in settings:
        model = cohort_model(cohort, _ids(cohort), detector, mirror, work=work, workers=workers)
    each_case(
        partial(_localize, work, detector, mirror, model),
        cohort.rows("processed", _BRAIN),
        total=len(cases),
        work=work,
        title="localize",
        workers=workers,
        environment=_environment(detector),
    )
    page = beside(cohort.root, f"{LOCALIZED}.html")
    # Before the cohort changes: afterwards the step counts as done, and nobody would write it.
    localization_page(
        page,
        _page_cases(cases, work),
        title=cohort.name,
        synthetic=cohort.synthetic,
        note=f"{_looked_for(settings)} {unmeasured(cohort)}".strip(),
    )
    if mirror != "off":
        _tell_mirrored(cases, work)
    _keep_replies(replies_of(cohort.root, detector.name), cases, work)
    return _added(cohort, cases, work, settings)


def _looked_for(settings: dict[str, Any]) -> str:
    learned = f", trained on {settings['trained_on']}" if "trained_on" in settings else ""
    return f"Looked for by {settings['detector']} {settings['detector_version']}{learned}."


def unmeasured(cohort: Cohort) -> str:
    """Return what localisation was not measured for on a processed cohort; empty where nothing is known."""
    registration = cohort.manifest.steps["process"].get("settings", {}).get("registration")
    return UNMEASURED if registration == "affine" and not cohort.synthetic else ""


def _environment(detector: DetectorSettings) -> dict[str, str]:
    return pins() if detector.pinned and not is_pinned() else {}


def _tell_mirrored(cases: list[FoldRow], work: Path) -> None:
    counts = [facts_of(work, row.case_id)["mirror"] for row in cases]
    confirmed, boxes = (sum(column) for column in zip(*counts, strict=True))
    sys.stderr.write(f"of {boxes} boxes {confirmed} were found in the mirrored brain, too\n")


def replies_of(root: Path, detector: str) -> Path:
    """Return the boxes file beside a cohort, with a model's words and counts; its owner alone reads it."""
    return beside(root, f"{REPLIES}.{detector}.jsonl")


def boxes_tally(cohort: Cohort) -> Tally:
    """Return what the detector did over the cohort: slices, boxes, problems by name, tokens.

    Problems and tokens are counted where the replies still lie beside the cohort.
    """
    detector = cohort.manifest.steps["localize"]["settings"]["detector"]
    replies = replies_of(cohort.root, detector)
    cases = read_boxes(cohort.root / "boxes" / f"{detector}.jsonl")
    try:
        said = read_boxes(replies) if replies.is_file() else cases
    except InputError:
        said = {}
    if _places(said) == _places(cases):
        cases = said
    else:
        told = f"{replies} is damaged, or of another localization: problems and tokens are not counted\n"
        sys.stderr.write(told)
    return tally(row for rows in cases.values() for row in rows)


def _places(cases: dict[str, list[SliceBoxes]]) -> set[tuple[str, int]]:
    return {(case_id, row.slice) for case_id, rows in cases.items() for row in rows}


def _processed(cohort: Cohort) -> list[FoldRow]:
    left_out = cohort.manifest.left_out
    return [row for row in cohort.folds().rows if row.case_id not in left_out]


def _ids(cohort: Cohort) -> list[str]:
    return [row.case_id for row in _processed(cohort)]


def _localize(
    work: Path,
    detector: DetectorSettings,
    mirror: Mirror,
    model: VoxelModel | None,
    row: dict[str, Any],
) -> None:
    """Localise one case; the row holds no label, so none can be looked at."""
    case_id = row["case_id"]
    brain = brain_of(row)
    made: Detector = detector.detector(case_id=case_id, journal=work / "answers.journal")
    checked = MirrorChecked(made, drop=mirror == "drop") if mirror != "off" else None
    found = localize(brain, checked or made, model=model)
    levels = np.round(np.asarray(found.coarse.dataobj) * 255).astype(np.uint8)
    coarse = nib.Nifti1Image(levels, brain.image.affine)
    write_bytes(work / f"{case_id}_coarse.nii.gz", pack(coarse, case_id)["bytes"])
    write_bytes(work / f"{case_id}_refined.nii.gz", pack(found.refined, case_id)["bytes"])
    write = partial(
        write_boxes,
        case_id=case_id,
        spacing_mm=float(brain.image.header.get_zooms()[0]),
        detector=detector.name,
    )
    write(work / f"{case_id}.jsonl", rows=[numbers_only(row, detector.name) for row in found.boxes])
    if any(row.reply is not None or row.tokens or row.problems for row in found.boxes):
        write(work / f"{case_id}.{REPLIES}", rows=found.boxes, mode=_OWNER)
    write_bytes(work / f"{case_id}.webp", figure(brain, found))
    numbers = found.volumes(mapping_of(row), brain.mask) | found.summary
    facts: dict[str, Any] = {"numbers": numbers, "flags": list(found.flags)}
    if checked is not None:
        facts["mirror"] = [checked.confirmed, checked.boxes]
        numbers["mirrored"] = round(100 * checked.confirmed / max(checked.boxes, 1), 1)
    finish_case(work, case_id, facts)


def brain_of(row: dict[str, Any]) -> Brain:
    """Return the brain of a processed case."""
    return Brain(unpack(row["image"]), unpack(row["brain_mask"]), mapping_of(row))


def mapping_of(row: dict[str, Any]) -> Mapping:
    """Return the way between a processed case's scan and MNI152 space."""
    affine = np.reshape(np.asarray(row["scan_from_mni"], dtype=np.float64), (4, 4))
    return Mapping(affine, row["warp"] and unpack(row["warp"]))


def _keep_replies(path: Path, cases: list[FoldRow], work: Path) -> None:
    """Put a model's replies beside the cohort, or remove those of before where there are none."""
    found = [work / f"{row.case_id}.{REPLIES}" for row in cases]
    if not any(part.is_file() for part in found):
        path.unlink(missing_ok=True)
        return
    # Of a case without a reply its boxes, so that the file holds every slice that was looked at.
    each = (one if one.is_file() else one.with_suffix(".jsonl") for one in found)
    write_bytes(path, b"".join(one.read_bytes() for one in each), mode=_OWNER)


def _added(cohort: Cohort, cases: list[FoldRow], work: Path, settings: dict[str, Any]) -> Cohort:
    rows = (
        row
        | {
            name: volume(
                work / f"{row['case_id']}_{name.removeprefix('prior_')}.nii.gz", row["case_id"]
            )
            for name in ("prior_coarse", "prior_refined")
        }
        for row in cohort.rows("processed")
    )
    boxes = b"".join((work / f"{row.case_id}.jsonl").read_bytes() for row in cases)
    return add_config(
        cohort,
        "processed",
        rows,
        leave_out=cohort.manifest.left_out,
        steps=cohort.manifest.steps | {"localize": {"settings": settings}},
        extra_files={f"boxes/{settings['detector']}.jsonl": boxes},
    )


def _page_cases(cases: list[FoldRow], work: Path) -> Iterator[LocalizedCase]:
    for row in cases:
        facts = facts_of(work, row.case_id)
        yield LocalizedCase(
            case_id=row.case_id,
            numbers=facts["numbers"],
            flags=facts["flags"],
            picture=work / f"{row.case_id}.webp",
        )


MAX_VOXELS: Final = 200_000
"""Learnt from at most, each case giving as many: with more, training takes longer and learns no more."""


def cohort_model(
    cohort: Cohort,
    case_ids: Sequence[str],
    detector: DetectorSettings,
    mirror: Mirror = "off",
    *,
    work: Path,
    workers: Workers,
) -> VoxelModel:
    """Draw voxels of every case and train on all of them; finished cases are kept in ``work``.

    Raises:
        InputError: no case's boxes hold enough voxels.
    """
    folder = work / "voxels"
    folder.mkdir(exist_ok=True)
    each_case(
        partial(_drawn, folder, work / "answers.journal", detector, mirror),
        cohort.rows("processed", _BRAIN),
        total=len(case_ids),
        work=folder,
        title="voxels",
        workers=workers,
        environment=_environment(detector),
    )
    found = [part for case_id in case_ids if (part := _kept(folder / f"{case_id}.npz"))]
    if not found:
        problem = "no case's boxes hold enough voxels to learn from"
        raise InputError(str(cohort.root), [problem], "look at the page of --voxel-model case")
    each = MAX_VOXELS // len(found)
    return fit([_some(part, each, place) for place, part in enumerate(found)])


def _drawn(
    folder: Path, journal: Path, detector: DetectorSettings, mirror: Mirror, row: dict[str, Any]
) -> None:
    case_id = row["case_id"]
    made: Detector = detector.detector(case_id=case_id, journal=journal)
    # What is dropped must not be learned from.
    asked = MirrorChecked(made, drop=True) if mirror == "drop" else made
    found = voxels_of(brain_of(row), asked)
    if found is not None:
        with replacing(folder / f"{case_id}.npz") as part, part.open("wb") as file:
            np.savez(file, features=found.features, tumour=found.tumour)
    finish_case(folder, case_id, {"voxels": 0 if found is None else len(found.tumour)})


def _kept(path: Path) -> Samples | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return Samples(stored["features"], stored["tumour"])


def _some(part: Samples, most: int, place: int) -> Samples:
    if len(part.tumour) <= most:
        return part
    chosen = np.sort(np.random.default_rng(place).permutation(len(part.tumour))[:most])
    return Samples(part.features[chosen], part.tumour[chosen])
