"""The release: the folder that is published, made beside the owner's cohort and never in it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ictmri.build.write import publish_documents, write_config
from ictmri.changes import FILE_NAME as CHANGES
from ictmri.changes import changes_text
from ictmri.cohort import Cohort, open_cohort
from ictmri.documents.facts import Facts
from ictmri.documents.public_table import PublicTable, public_rows, public_table
from ictmri.documents.subtypes import Subtypes, named_in_words, released_subtypes
from ictmri.errors import InputError
from ictmri.io.files import is_free, sha256_bytes, sha256_file, write_json, write_text
from ictmri.io.lock import beside, work_folder
from ictmri.io.resources import AnyPath
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri.manifest import Manifest
from ictmri.release.faces import (
    FaceOutcome,
    defaced,
    faces_page_path,
    refuse_unfound,
    remove_faces,
    summary,
    write_faces_page,
)
from ictmri.release.records import released_boxes, released_steps
from ictmri.transaction import assembled, cohort_lock, opened_work

OLDEST_EXACT: Final = 90.0
"""Ages from here on are merged even under the gate (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""
FACES: Final = "faces"
"""Stage of a release in which the faces are removed one by one."""
DEIDENTIFICATION: Final = (
    {"code": "113100", "meaning": "Basic Application Confidentiality Profile"},
    {"code": "113102", "meaning": "Clean Recognizable Visual Features Option"},
    {"code": "113108", "meaning": "Retain Patient Characteristics Option"},
)
"""What was done, in the words of DICOM (PS3.16, CID 7050); characteristics are age and sex as tabled."""
Gate = Literal["manual", "auto", "none"]


@dataclass(frozen=True, slots=True)
class Order:
    """What the owner asked for.

    Attributes:
        repo_id: ``ORG/NAME`` on the Hub, named in the documents.
        gate: who may read the files: those whom the owner lets in (``manual``), everyone who accepts the
            conditions (``auto``), everyone (``none``).
        visible: show the repository to everyone at the end; the gate stays.
        faces_checked: the owner has looked at the cases whose face may not have been found.
        facts_file: the owner's answers.
    """

    repo_id: str
    gate: Gate
    visible: bool = False
    faces_checked: bool = False
    facts_file: AnyPath | None = None

    @property
    def gated(self) -> bool:
        """Ages in whole years are in the data; without a gate bands in the public table are all.

        A sex that is withheld there is withheld everywhere then.
        """
        return self.gate != "none"


@dataclass(frozen=True, slots=True)
class Release:
    """A finished release folder.

    Attributes:
        cohort: the release, itself a cohort folder.
        public: its public table.
        subtypes: which subtypes it names.
        faces: what was done to each face; empty for a phantom, which has nobody's.
    """

    cohort: Cohort
    public: PublicTable
    subtypes: Subtypes
    faces: list[FaceOutcome]


def release_path(root: Path) -> Path:
    """Return where the release of a cohort folder is made."""
    return beside(root, "release")


def make_release(cohort: Cohort, order: Order, facts: Facts, *, jobs: int | None = None) -> Release:
    """Make the release of a cohort; what is finished already is kept.

    Patients' faces are removed, ages become whole years or go, and every document is added. The data of a
    phantom are taken as they are.

    Args:
        cohort: what to release; it is only read.
        order: where to and behind which gate.
        facts: what is known about the cohort.
        jobs: worker processes.

    Raises:
        InputError: the cohort may not be released, or something else lies where the release goes.
    """
    out = release_path(cohort.root)
    # The cohort's too: what is released is one state of it.
    with cohort_lock(cohort.root), cohort_lock(out):
        cohort = open_cohort(cohort.root)
        public = _public(cohort)
        subtypes = released_subtypes(cohort, facts, public.rows, gated=order.gated)
        told = list(named_in_words(cohort, facts, subtypes.few))
        if told and not cohort.synthetic:
            raise InputError("subtypes", told, "say it without this name; nothing was sent")
        faces = _faces(cohort, jobs) if not cohort.synthetic else []
        if not order.faces_checked:
            refuse_unfound(faces)
        step = _step(cohort, order, facts, public, faces)
        if _made_by(out, step):
            return Release(open_cohort(out), public, subtypes, faces)
        with assembled(out) as part:
            _write(cohort, order, facts, public, subtypes, part, step)
        return Release(open_cohort(out), public, subtypes, faces)


def _public(cohort: Cohort) -> PublicTable:
    rows = public_rows(cohort)
    if cohort.synthetic:
        return PublicTable(tuple(rows), widened=0, withheld={"sex": 0, "age_band": 0})
    return public_table(rows)


def _faces(cohort: Cohort, jobs: int | None) -> list[FaceOutcome]:
    """Remove the faces into a folder that belongs to these volumes and no others."""
    stamp = {"data_sha256": cohort.manifest.digest_of("default")}
    work = opened_work(release_path(cohort.root), FACES, stamp)
    outcomes = remove_faces(cohort, work, jobs)
    write_faces_page(faces_page_path(cohort.root), cohort.name, outcomes, work)
    return outcomes


def _step(
    cohort: Cohort,
    order: Order,
    facts: Facts,
    public: PublicTable,
    faces: list[FaceOutcome],
) -> dict[str, Any]:
    """Return what the release records about itself; equal records mean equal folders."""
    from ictmri.version import __version__

    return {
        "repo_id": order.repo_id,
        "ages": "as generated" if cohort.synthetic else "years" if order.gated else "none",
        "faces": "nobody's" if cohort.synthetic else summary(faces),
        "k": public.k,
        "ictmri": __version__,
        "cohort_sha256": sha256_file(cohort.root / MANIFEST),
        "facts_sha256": sha256_bytes(repr(facts).encode()),
    }


def _made_by(out: Path, step: dict[str, Any]) -> bool:
    """Return True where the release is there already.

    Raises:
        InputError: something that is no release lies there.
    """
    if is_free(out):
        return False
    if not (out / MANIFEST).is_file() or "release" not in open_cohort(out).manifest.steps:
        raise InputError(
            str(out), ["this path is taken and is no release of ours"], "move it away first"
        )
    done = open_cohort(out)
    if done.manifest.steps["release"] != step:
        return False
    done.check()
    return True


def _write(
    cohort: Cohort,
    order: Order,
    facts: Facts,
    public: PublicTable,
    subtypes: Subtypes,
    part: Path,
    step: dict[str, Any],
) -> None:
    from ictmri.documents.release_files import release_documents

    for name in cohort.manifest.files:
        if name.startswith("boxes/"):
            write_text(part / name, released_boxes(cohort.root / name, cohort.folds().case_ids))
        elif cohort.synthetic or not name.startswith("data/default/"):
            _copy(cohort.root / name, part / name)
    if not cohort.synthetic:
        rows = _released_rows(cohort, order, public, subtypes)
        write_config(part, "default", cohort.folds().rows, rows)
    manifest = _released_manifest(cohort, subtypes, step)
    write_text(part / "participants.csv", public.to_csv())
    if not cohort.synthetic:
        write_json(part / "privacy.json", public.report() | {"deidentification": DEIDENTIFICATION})
    write_text(part / CHANGES, changes_text(manifest))
    for name, text in release_documents(part, manifest, facts).items():
        write_text(part / name, text)
    publish_documents(part, manifest, facts)


def _released_manifest(cohort: Cohort, subtypes: Subtypes, step: dict[str, Any]) -> Manifest:
    generator = {
        key: value for key, value in cohort.manifest.generator.items() if key != "subtypes"
    }
    generator |= {"subtypes": list(subtypes.added)} if subtypes.added else {}
    steps = released_steps(cohort.manifest.steps, cohort.folds().case_ids)
    return replace(cohort.manifest, generator=generator, steps=steps | {"release": step})


def _released_rows(
    cohort: Cohort, order: Order, public: PublicTable, subtypes: Subtypes
) -> Iterator[dict[str, Any]]:
    work = work_folder(release_path(cohort.root), FACES)
    gated = order.gated
    sexes = {row.case_id: row.sex for row in public.rows}
    for row in cohort.rows("default"):
        case_id = row["case_id"]
        yield row | {
            "image": defaced(work, case_id, row["image"]),
            "age": released_age(row["age"]) if gated else None,
            "sex": row["sex"] if gated or sexes[case_id] else None,
            "subtype": subtypes.of_case[case_id],
        }


def released_age(age: float | None) -> float | None:
    """Return an age as it is given to those behind the gate: whole years, 90 and over merged."""
    return None if age is None else min(float(math.floor(age)), OLDEST_EXACT)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
