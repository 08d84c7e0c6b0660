"""The priors that a run needs: those of the cohort itself, or of a copy that another detector looked at."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io.files import canonical_json, check_writable, sha256_bytes
from ictmri.io.lock import work_folder
from ictmri.io.resources import user_cache
from ictmri.io.states import kept
from ictmri.manifest import FILE_NAME, damaged_files, read_manifest, write_manifest
from ictmri.transaction import cohort_lock, link_or_copy
from ictmri_baselines.localizer.detectors import DetectorSettings, recorded
from ictmri_baselines.pipeline.localize import localize_cohort
from ictmri_baselines.pipeline.process import process_cohort
from ictmri_baselines.pipeline.resumable import Workers
from ictmri_baselines.processor import ProcessorSettings, preset

_PROCESSED: Final = ("image", "brain_mask", "warp")
"""Volumes that processing made; those that localisation adds beside them do not count."""
_BOXES: Final = "boxes/"


def ensure_priors(
    cohort: Cohort,
    workers: Workers = Workers(),  # noqa: B008
    *,
    settings: ProcessorSettings | None = None,
    detector: DetectorSettings | None = None,
) -> Cohort:
    """Return the cohort with priors; what is there already is taken as it is.

    Args:
        cohort: processed or not.
        workers: where cases are worked on.
        settings: of the processor, where the cohort is not processed; ``light`` where None.
        detector: whose priors are wanted, see :func:`localized_copy`; those that the cohort has, or the
            default detector's, where None.
    """
    cohort = _ensure_processed(cohort, workers, settings)
    if detector is not None:
        return localized_copy(cohort, detector, workers=workers)
    if "localize" not in cohort.manifest.steps:
        cohort = localize_cohort(cohort, workers=workers)
    return cohort


def _ensure_processed(
    cohort: Cohort, workers: Workers, settings: ProcessorSettings | None
) -> Cohort:
    wanted = settings or preset("light", synthetic=cohort.synthetic)
    if "process" not in cohort.manifest.steps:
        sys.stderr.write(f"{cohort.name} is not processed yet: ictmri process, ictmri localize\n")
        cohort = process_cohort(cohort, wanted, workers=workers)
    there = cohort.manifest.steps["process"].get("settings", {})
    other = [
        f"{k} {there.get(k)}, not {v}"
        for k, v in wanted.model_dump(mode="json").items()
        if there.get(k) != v
    ]
    if other:
        sys.stderr.write(
            f"{cohort.name} is processed already, and taken as it is: {'; '.join(other)}\n"
        )
    return cohort


def localized_copy(
    cohort: Cohort,
    detector: DetectorSettings,
    *,
    folder: Path | None = None,
    workers: Workers = Workers(),  # noqa: B008
) -> Cohort:
    """Return a copy of a processed cohort with the priors of a detector; the cohort stays as it is.

    It is made once: of links where the disk allows it, so that nothing is processed or stored twice. It is
    another copy where scans, folds, processed volumes or settings of the detector are others.

    Args:
        cohort: processed.
        detector: what proposes boxes.
        folder: of such copies; one in the user's cache where None.
        workers: where cases are worked on.

    Raises:
        InputError: the cohort was not processed yet, the detector cannot work, or the folder cannot be
            written.
    """
    if "process" not in cohort.manifest.steps:
        raise InputError(str(cohort.root), ["not processed yet"], f"ictmri process {cohort.root}")
    folder = user_cache() / "localized" if folder is None else folder
    check_writable(folder)
    # Not the cohort's name: that came with it, and may be any text.
    place = folder / f"{detector.name}-{copy_digest(cohort, detector)[:16]}"
    with cohort_lock(place):
        made = kept(place / FILE_NAME, lambda path: read_manifest(path.parent))
        if made is None or damaged_files(place, made, quick=True):
            _copy(cohort, place)
    told = detector.facts().get("trained_on", "")
    learned = f", localizer trained on {told}" if told else ""
    sys.stderr.write(f"priors of {detector.name} {detector.version}{learned}: {place}\n")
    return localize_cohort(open_cohort(place), detector, workers=workers)


def copy_digest(cohort: Cohort, detector: DetectorSettings) -> str:
    """Return a digest of what a copy is made of: the priors that the cohort has are no part of it."""
    made = cohort.manifest
    volumes = [
        [row["case_id"], row["scan_from_mni"]]
        + [row[name] and sha256_bytes(row[name]["bytes"]) for name in _PROCESSED]
        for row in cohort.rows("processed", ["case_id", "scan_from_mni", *_PROCESSED])
    ]
    known: dict[str, Any] = {
        "cohort": [made.name, made.version, made.folds_sha256, made.digest_of("default")],
        "process": made.steps["process"],
        "processed": volumes,
        "detector": recorded(detector),
    }
    return sha256_bytes(canonical_json(known).encode())


def _copy(cohort: Cohort, place: Path) -> None:
    """Copy what is known of a cohort but its priors' boxes, as a cohort that was processed and no more."""
    part = work_folder(place, "part")
    files = {
        name: known for name, known in cohort.manifest.files.items() if not name.startswith(_BOXES)
    }
    steps = {"process": cohort.manifest.steps["process"]}
    try:
        for name in files:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            # Where a cohort lies as the Hub's cache keeps it, its files are links.
            link_or_copy((cohort.root / name).resolve(), part / name)
        write_manifest(part, replace(cohort.manifest, files=files, steps=steps))
        # Another process may have changed the cohort meanwhile.
        open_cohort(part).check()
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    except BaseException:
        # On a full disk, what cannot be finished must not keep the space.
        shutil.rmtree(part, ignore_errors=True)
        raise
