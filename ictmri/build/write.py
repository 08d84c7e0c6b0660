"""Writes a cohort folder: parquet by fold, folds, card, Croissant file and, last, the manifest."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.folds import FoldRow, write_folds
from ictmri.io.files import is_free, replacing, write_bytes, write_text
from ictmri.manifest import Manifest, fingerprints, write_manifest
from ictmri.schema import Config, features
from ictmri.transaction import assembled, check_place, close_work, transaction

if TYPE_CHECKING:
    from ictmri.documents.facts import Facts

CASES: Final = "cases"
"""Stage of a build in which the scans are converted one by one."""
CASES_A_FILE: Final = 64
"""Most cases in one data file: below 1 GB of clinical volumes."""
_ROWS_A_GROUP: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new cohort folder will hold.

    Attributes:
        name: dataset name.
        version: semantic version of the data.
        synthetic: True for a phantom.
        generator: what makes it; equal generators give equal folders.
        folds: the fold table.
        configs: the rows of each config, :func:`in_order`; taken as they are written.
        extra_files: further files of the folder, relative path -> text.
        history: versions before this one.
    """

    name: str
    version: str
    synthetic: bool
    generator: dict[str, Any]
    folds: Sequence[FoldRow]
    configs: dict[Config, Iterable[dict[str, Any]]]
    extra_files: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def finished(out: Path, generator: dict[str, Any]) -> Cohort | None:
    """Return the cohort at ``out`` if this generator made it and it is whole, None if none is there.

    Raises:
        InputError: something else stands there.
    """
    cohort = made_with(out, generator)
    if cohort is not None:
        if cohort.manifest.generator != generator:
            raise _other(out, cohort)
        cohort.check(quick=True)
        close_work(out, CASES)
    return cohort


def made_with(out: Path, settings: Mapping[str, Any]) -> Cohort | None:
    """Return the cohort at ``out`` if these settings are among those that made it, None if none is there.

    Raises:
        InputError: something else stands there.
    """
    check_place(out)
    if is_free(out):
        return None
    cohort = open_cohort(out)
    if cohort.manifest.generator | dict(settings) != cohort.manifest.generator:
        raise _other(out, cohort)
    return cohort


def _other(out: Path, cohort: Cohort) -> InputError:
    return InputError(
        str(out),
        [f"holds the cohort {cohort.name!r}, made with other inputs or settings"],
        "choose another --out, or remove that folder first",
    )


def assemble(out: Path, plan: Plan) -> Cohort:
    """Write a new cohort folder beside ``out`` and rename it into place when it is whole.

    The work folder with the finished cases is removed then.
    """
    with assembled(out) as part:
        _write(part, plan)
    close_work(out, CASES)
    return open_cohort(out)


def _write(part: Path, plan: Plan) -> None:
    digest = write_folds(part / "folds.csv", plan.folds)
    for config, rows in plan.configs.items():
        write_config(part, config, plan.folds, rows)
    for name, text in plan.extra_files.items():
        write_text(part / name, text)
    manifest = Manifest(
        name=plan.name,
        version=plan.version,
        synthetic=plan.synthetic,
        generator=plan.generator,
        n_cases=len(plan.folds),
        n_folds=1 + max(row.fold for row in plan.folds),
        folds_sha256=digest,
        history=plan.history,
    )
    publish_documents(part, manifest)


def case_row(
    row: FoldRow,
    image: Path,
    subtype: str,
    sex: str | None,
    age: float | None,
    *,
    synthetic: bool,
) -> dict[str, Any]:
    """Return a case's row of the config ``default``.

    Args:
        row: its line of the fold table.
        image: its volume, as it will be stored.
        subtype: name of the tumour; empty where unknown.
        sex: ``female`` or ``male``; None where unknown.
        age: years; None where unknown.
        synthetic: True for a phantom.
    """
    return {
        "case_id": row.case_id,
        "patient_id": row.patient_id,
        "image": stored(image),
        "label": row.label,
        "subtype": subtype,
        "sex": sex,
        "age": age,
        "fold": row.fold,
        "synthetic": synthetic,
    }


def stored(path: Path) -> dict[str, Any]:
    """Return a packed volume as the Nifti feature stores it."""
    return {"bytes": path.read_bytes(), "path": path.name}


def add_config(
    cohort: Cohort,
    config: Config,
    rows: Iterable[dict[str, Any]],
    *,
    steps: dict[str, Any],
    leave_out: Collection[str] = (),
    extra_files: dict[str, bytes] | None = None,
    void: Collection[str] = (),
) -> Cohort:
    """Add a config to a cohort folder, or replace it, in one step.

    Args:
        cohort: the cohort.
        config: the config's name.
        rows: its cases, :func:`in_order`; taken as they are written.
        steps: what was done to the cohort after its build, all of it.
        leave_out: ids of cases that the config does not hold; ``steps`` should say why.
        extra_files: further files of the folder, relative path -> content.
        void: folders that held what no longer fits, and are removed.
    """
    with transaction(cohort.root) as draft:
        for name in (f"data/{config}", *void):
            shutil.rmtree(draft / name, ignore_errors=True)
        cases = [row for row in cohort.folds().rows if row.case_id not in leave_out]
        write_config(draft, config, cases, rows)
        for name, content in (extra_files or {}).items():
            write_bytes(draft / name, content)
        publish_documents(draft, replace(cohort.manifest, steps=steps))
    return open_cohort(cohort.root)


def publish_documents(root: Path, manifest: Manifest, facts: Facts | None = None) -> None:
    """Write the card, the Croissant file and, last, the manifest that vouches for every file.

    Args:
        root: the cohort folder.
        manifest: its manifest; the files are recorded anew.
        facts: what is known about the cohort; what ships with the package where None.
    """
    from ictmri.documents.croissant import render_croissant
    from ictmri.documents.dataset_card import render_card
    from ictmri.documents.facts import load_facts
    from ictmri.documents.facts_from_data import facts_from_data

    recorded = replace(manifest, files=fingerprints(root))
    told = facts_from_data(facts or load_facts(manifest), root, manifest)
    documents = {
        "README.md": render_card(root, recorded, told),
        "croissant.json": render_croissant(recorded, told),
    }
    for name, text in documents.items():
        write_text(root / name, text)
    files = recorded.files | fingerprints(root, only=documents)
    write_manifest(root, replace(recorded, files=dict(sorted(files.items()))))


def in_order(folds: Iterable[FoldRow]) -> list[FoldRow]:
    """Return the rows of a fold table in the order in which a cohort's files give the cases."""
    # By the names of the files, as they are read: fold10 before fold2.
    return sorted(folds, key=lambda row: str(row.fold))


def write_config(
    root: Path, config: Config, folds: Iterable[FoldRow], rows: Iterable[dict[str, Any]]
) -> None:
    """Write a config's parquet files, a few cases in memory at a time.

    A fold is one file, or several equal ones where it is large: readers may take a whole file into
    memory. Their number depends on the folds alone, so that it never changes for a cohort.

    Args:
        root: the cohort folder.
        config: the config's name.
        folds: of the cases that it holds.
        rows: those cases, :func:`in_order`.

    Raises:
        ValueError: the rows are not of these cases in this order.
    """
    cases = in_order(folds)
    checked = _of_these(cases, rows)
    for fold, count in Counter(row.fold for row in cases).items():
        n = -(-count // CASES_A_FILE)
        for k in range(n):
            path = root / "data" / config / f"fold{fold}-{k:05d}-of-{n:05d}.parquet"
            size = (k + 1) * count // n - k * count // n
            _write_parquet(path, config, islice(checked, size))


def _of_these(cases: Iterable[FoldRow], rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for case, row in zip(cases, rows, strict=True):
        if row["case_id"] != case.case_id:
            raise ValueError(f"the row of {row['case_id']} stands where {case.case_id} is due")
        yield row


def _write_parquet(path: Path, config: Config, rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    typed = features(config)
    schema = typed.arrow_schema
    with replacing(path) as part, pq.ParquetWriter(part, schema, compression="none") as writer:
        waiting = iter(rows)
        while group := list(islice(waiting, _ROWS_A_GROUP)):
            encoded = [typed.encode_example(row) for row in group]
            columns = {name: [row[name] for row in encoded] for name in typed}
            writer.write_table(pa.Table.from_pydict(columns, schema=schema))
