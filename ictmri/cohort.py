"""A cohort folder on this machine, and what it holds."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from ictmri.changes import FIRST_VERSION
from ictmri.classes import SEXES
from ictmri.errors import InputError
from ictmri.folds import CASE_ID, FoldTable, read_folds
from ictmri.io.resources import AnyPath, at_home, shipped
from ictmri.manifest import Manifest, damaged_files, read_manifest

CLINICAL: Final = "ictmri"
PHANTOM: Final = "ictmri-phantom"
PHANTOM_DATA: Final = {
    "1.0.0": "e5d8de56159a0f63e4c0de17251773e57a7dde447c88caece07b3f43a6e039b5",
}
"""By version, the digest of the published phantom's data as the pinned libraries write it.

Whoever changes a byte of the phantom adds a version. An entry binds the same digest where another library
packs the same volumes otherwise, and where there are none.
"""
PHANTOM_SPACING: Final = 2.0
"""Voxel size of the published phantom in mm."""
ACQUISITION: Final = "acquisition.csv"
"""How each scan was made, in numbers and vendors; not every cohort has it."""
AGE_GROUPS: Final = (("<18", 18.0), ("18-39", 40.0), ("40-59", 60.0), (">=60", float("inf")))
"""Name and upper end, in years, of the age groups that scores are shown by."""


class Person(NamedTuple):
    """What is known of a case besides its class; age in years, None and empty where unknown."""

    sex: str | None = None
    age: float | None = None
    subtype: str = ""


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort folder on this machine."""

    root: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The cohort's dataset name."""
        return self.manifest.name

    @property
    def synthetic(self) -> bool:
        """True for a phantom."""
        return self.manifest.synthetic

    @property
    def data_sha256(self) -> str:
        """Digest of the cohort's scans and labels; what was made of them does not count."""
        made = self.manifest
        as_published = (
            self.name == PHANTOM
            and made.generator.get("spacing_mm") == PHANTOM_SPACING
            and not made.history
        )
        published = PHANTOM_DATA.get(made.version) if as_published else None
        return published or made.digest_of("default")

    def folds(self) -> FoldTable:
        """Return the fold table, checked against the published digest.

        Raises:
            InputError: the table was edited or reordered.
        """
        published = published_digest(self.name, self.manifest.version)
        published = published or self.manifest.folds_sha256
        table = read_folds(self.root / "folds.csv", self.name, expected_sha256=published)
        return replace(table, data_sha256=self.data_sha256)

    def scored_folds(self) -> FoldTable:
        """Return the fold table with what the evaluator shows scores by: sex and age in years.

        A patients' cohort whose folds are published is scored alike by those who have its volumes and by
        those who have not, so its groups are left out.

        Raises:
            InputError: the table was edited or reordered.
        """
        table = self.folds()
        if not self.synthetic and published_digest(self.name, self.manifest.version):
            return table
        return with_groups(table, self.people())

    def people(self) -> dict[str, Person]:
        """Return by case id what the cohort knows of sex, age and subtype.

        Raises:
            InputError: a data file is missing or was cut short.
        """
        return {
            row["case_id"]: Person(
                None if row["sex"] is None else SEXES[row["sex"]], row["age"], row["subtype"] or ""
            )
            for row in self.rows("default", ["case_id", "sex", "age", "subtype"])
        }

    def parquet_files(self, config: str) -> dict[str, list[Path]]:
        """Return the data files of a config, split name -> paths.

        Raises:
            InputError: the cohort has no such config, or a file was cut short.
        """
        if config not in self.manifest.configs:
            raise InputError(
                f"cohort {self.name}",
                [f"no config {config!r}; there are {', '.join(self.manifest.configs)}"],
                f"ictmri process {self.root}" if config == "processed" else "",
            )
        self.check(prefix=f"data/{config}/", quick=True)
        files = self.manifest.files_of(config).items()
        return {split: [self.root / path for path in paths] for split, paths in files}

    def check_unchanged(self) -> None:
        """Make sure that nobody changed the cohort since it was opened: for what reads it without its lock.

        Raises:
            InputError: somebody did.
        """
        if read_manifest(self.root) != self.manifest:
            raise InputError(
                str(self.root), ["was changed meanwhile"], "run the same command again"
            )

    def check(self, *, prefix: str = "", quick: bool = False) -> None:
        """Compare the files with the manifest.

        Raises:
            InputError: files are missing or damaged; all of them are named.
        """
        problems = damaged_files(self.root, self.manifest, prefix=prefix, quick=quick)
        if problems:
            raise InputError(
                str(self.root),
                problems,
                "run the command that was interrupted again, or copy the cohort again",
            )

    def rows(self, config: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows of a config, fold by fold, one in memory at a time.

        Volumes come as stored: ``{"bytes": .., "path": ..}`` with the gzipped NIfTI.

        Raises:
            InputError: a file is damaged; or a case's id is none, it would become the name of a file.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = None if columns is None else list(columns)
        for path in (path for paths in self.parquet_files(config).values() for path in paths):
            try:
                # Without pre_buffer=False the whole file is read into memory first.
                with pq.ParquetFile(path, pre_buffer=False) as file:
                    for batch in file.iter_batches(batch_size=1, columns=wanted):
                        for row in batch.to_pylist():
                            if "case_id" in row and not CASE_ID.fullmatch(str(row["case_id"])):
                                problem = f"case_id {str(row['case_id'])[:70]!r} is no id of a case"
                                raise InputError(str(path), [problem], "do not use this cohort")
                            yield row
            except pa.ArrowException as error:
                problem = f"is damaged: {str(error).partition(chr(10))[0]}"
                raise InputError(str(path), [problem], "copy the cohort again") from None


def published_names() -> list[str]:
    """Return the names of the cohorts whose folds ship with the package."""
    return sorted(path.stem for path in shipped("splits").glob("*.csv"))


def published_digest(name: str, version: str = FIRST_VERSION) -> str | None:
    """Return the published SHA-256 of a cohort's folds, None for one that we do not publish.

    ``splits/`` holds ``<name>.csv`` for the first version and ``<name>@<version>.csv`` for later ones.
    Errata leave the folds alone, so the last number of the version does not matter.
    """
    release = version.rsplit(".", 1)[0] + ".0"
    file = f"{name}.csv" if release == FIRST_VERSION else f"{name}@{release}.csv"
    sums = (shipped("splits") / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    digests = {file: digest for digest, file in (line.split() for line in sums)}
    return digests.get(file)


def open_cohort(root: AnyPath) -> Cohort:
    """Open a cohort folder.

    Raises:
        InputError: it is not a cohort folder.
    """
    place = at_home(root)
    return Cohort(place, read_manifest(place))


def read_acquisition(root: Path) -> dict[str, dict[str, str]]:
    """Return the cells of a cohort's ``acquisition.csv`` by case id; empty where it has none."""
    path = root / ACQUISITION
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row.pop("case_id"): row for row in csv.DictReader(stream)}


def with_groups(table: FoldTable, people: Mapping[str, Person]) -> FoldTable:
    """Return a fold table with the sex and age group of each row; kinds that nobody has are left out."""
    known = [people[case_id] for case_id in table.case_ids]
    groups = {
        "sex": [who.sex or "" for who in known],
        "age": [
            "" if who.age is None else next(name for name, end in AGE_GROUPS if who.age < end)
            for who in known
        ],
    }
    return replace(table, groups={kind: names for kind, names in groups.items() if any(names)})
