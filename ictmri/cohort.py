"""Cohorts: where a name leads to, and what a cohort folder holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ictmri.classes import SEXES
from ictmri.errors import AccessError, InputError, nearest
from ictmri.extras import need
from ictmri.folds import CASE_ID, FoldTable, read_folds
from ictmri.manifest import Manifest, damaged_files, read_manifest
from ictmri.resources import at_home, find_cache, shipped, user_cache
from ictmri.versions import FIRST_VERSION

CLINICAL: Final = "ictmri"
PHANTOM: Final = "ictmri-phantom"
HUB_REPOSITORY: Final = "ictmri/ictmri"
"""Where the clinical cohort is looked for on the Hugging Face Hub; ``$ICTMRI_HUB_REPO`` overrides it."""
AGE_GROUPS: Final = (("<18", 18.0), ("18-39", 40.0), ("40-59", 60.0), (">=60", float("inf")))
"""Name and upper end, in years, of the age groups that scores are shown by."""
GATED_SOURCE: Final = "https://huggingface.co/datasets/Shirelle12/DeepSite-MRI"

NO_ACCESS: Final = """\
The clinical cohort 'ictmri' is not on this machine and cannot be fetched from the Hub ({reason}).
  - The volumes are gated: ask for access at {source}, then log in (hf auth login).
  - To go on from here: {next_step}.
  - A copy of your own: put it at $ICTMRI_HOME/ictmri, or give its folder instead of the name.
  - To try the software without patients: the synthetic phantom, load_dataset("ictmri-phantom")."""


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

    def folds(self) -> FoldTable:
        """Return the fold table, checked against the published digest.

        Raises:
            InputError: the table was edited or reordered.
        """
        published = published_digest(self.name, self.manifest.version)
        published = published or self.manifest.folds_sha256
        return read_folds(self.root / "folds.csv", self.name, expected_sha256=published)

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
        people = {r["case_id"]: r for r in self.rows("default", ["case_id", "sex", "age"])}
        return with_groups(
            table,
            sexes=[people[i]["sex"] for i in table.case_ids],
            ages=[people[i]["age"] for i in table.case_ids],
        )

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


def open_cohort(root: Path) -> Cohort:
    """Open a cohort folder.

    Raises:
        InputError: it is not a cohort folder.
    """
    return Cohort(root, read_manifest(root))


def find_cohort(
    name: str | Path, *, token: str | None = None, revision: str | None = None
) -> Cohort:
    """Find a cohort: explicit path, ``$ICTMRI_HOME``, the user cache, then the Hub.

    The phantom is generated into the user cache when it is asked for the first time.

    Args:
        name: dataset name, cohort folder, or ``ORG/NAME``, a repository on the Hub.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: release on the Hub: tag, branch or commit. With it the Hub is asked, and what it
            answers fetched unless it is here; without it the newest, as it stood when first fetched.

    Raises:
        AccessError: the cohort is not here and cannot be fetched.
        InputError: no cohort has this name, or this one has no revisions.
        MissingDependencyError: the phantom is not made yet, and what makes it is not installed.
    """
    local = local_cohort(name) if revision is None else None
    if local is not None:
        return local
    repository = _repository(name)
    if repository is not None:
        return _fetched(name, repository, token, revision)
    if revision is not None:
        raise InputError(
            f"revision {revision!r}", [f"{name} is not on the Hub"], "leave the revision out"
        )
    if str(name) == PHANTOM:
        need("phantom", "Making the volumes of the synthetic phantom")
        from ictmri.builders.phantom import build_phantom

        return build_phantom(user_cache() / PHANTOM)
    if Path(name).is_dir():
        return open_cohort(Path(name))
    known = [CLINICAL, PHANTOM]
    raise InputError(
        str(name),
        [f"no folder and no cohort of this name{nearest(str(name), known)}"],
        f"give a folder that `ictmri build` wrote, ORG/NAME on the Hub, or one of {', '.join(known)}",
    )


def local_cohort(name: str | Path) -> Cohort | None:
    """Return the cohort if it is on this machine already, else None."""
    from ictmri.hub_cache import kept_release

    home, cache = os.environ.get("ICTMRI_HOME"), find_cache()
    places = [at_home(Path(name))]
    places += [at_home(Path(home)) / name] if home else []
    places += [cache / name] if cache else []
    for place in places:
        if (place / "manifest.json").is_file():
            return open_cohort(place)
    repository = _repository(name)
    kept = kept_release(repository) if repository else None
    return _of_this_name(open_cohort(kept), name, repository) if kept else None


def with_groups(
    table: FoldTable, sexes: Sequence[int | None], ages: Sequence[float | None]
) -> FoldTable:
    """Return a fold table with the sex and age group of each row; kinds that nobody has are left out."""
    groups = {
        "sex": ["" if sex is None else SEXES[sex] for sex in sexes],
        "age": [_age_group(age) for age in ages],
    }
    return replace(table, groups={kind: names for kind, names in groups.items() if any(names)})


def _age_group(age: float | None) -> str:
    return "" if age is None else next(name for name, end in AGE_GROUPS if age < end)


def find_folds(name: str | Path) -> tuple[FoldTable, bool]:
    """Return a cohort's fold table and whether it is synthetic, without touching its volumes.

    Raises:
        InputError: no cohort has this name, or its table was edited.
    """
    local = local_cohort(name)
    if local is not None:
        return local.scored_folds(), local.synthetic
    digest = published_digest(str(name))
    if digest is None:
        cohort = find_cohort(name)
        return cohort.scored_folds(), cohort.synthetic
    path = shipped("splits") / f"{name}.csv"
    table = read_folds(path, str(name), expected_sha256=digest)
    return (_phantom_groups(table), True) if str(name) == PHANTOM else (table, False)


def _phantom_groups(table: FoldTable) -> FoldTable:
    from ictmri.phantom.roster import roster

    people = {case.case_id: case for case in roster()}
    cases = [people[case_id] for case_id in table.case_ids]
    return with_groups(table, [SEXES.index(c.sex) for c in cases], [c.age for c in cases])


def _repository(name: str | Path) -> str | None:
    """Return the repository on the Hub that a name stands for, None for what is not there."""
    from ictmri.hub_cache import is_repository

    if str(name) == CLINICAL:
        return os.environ.get("ICTMRI_HUB_REPO", HUB_REPOSITORY)
    return str(name) if is_repository(name) and not Path(name).exists() else None


def _fetched(name: str | Path, repository: str, token: str | None, revision: str | None) -> Cohort:
    from ictmri.hub_cache import fetch_release
    from ictmri.hub_errors import HubError

    try:
        root = fetch_release(repository, token=token, revision=revision)
    except HubError as error:
        if str(name) != CLINICAL:
            raise
        text = NO_ACCESS.format(
            reason=f"{repository}: {error.reason}", next_step=error.next_step, source=GATED_SOURCE
        )
        raise AccessError(text) from error
    return _of_this_name(open_cohort(root), name, repository)


def _of_this_name(cohort: Cohort, name: str | Path, repository: str | None) -> Cohort:
    if str(name) == CLINICAL and cohort.name != CLINICAL:
        raise InputError(
            f"repository {repository} ($ICTMRI_HUB_REPO)",
            [f"it holds the cohort {cohort.name!r}, not {CLINICAL!r}"],
            f"load_dataset({repository!r}) loads it under its own name",
        )
    return cohort
