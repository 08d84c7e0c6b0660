"""Cohorts: where a name leads to, and what a cohort folder holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.errors import AccessError, InputError, nearest
from ictmri.folds import FoldTable, read_folds
from ictmri.manifest import Manifest, damaged_files, read_manifest
from ictmri.resources import shipped, user_cache

CLINICAL: Final = "ictmri"
PHANTOM: Final = "ictmri-phantom"
HUB_REPOSITORY: Final = "ictmri/ictmri"
"""Where the clinical cohort is looked for on the Hugging Face Hub; ``$ICTMRI_HUB_REPO`` overrides it."""
GATED_SOURCE: Final = "https://huggingface.co/datasets/Shirelle12/DeepSite-MRI"

NO_ACCESS: Final = """\
The clinical cohort 'ictmri' is not on this machine and cannot be fetched from the Hub ({reason}).
  - The volumes are gated: ask for access at {source}, then log in (hf auth login).
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
        published = published_digest(self.name) or self.manifest.folds_sha256
        return read_folds(self.root / "folds.csv", self.name, expected_sha256=published)

    def parquet_files(self, config: str) -> dict[str, Path]:
        """Return the data files of a config, split name -> path.

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
        return {s: self.root / p for s, p in self.manifest.files_of(config).items()}

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
        """
        import pyarrow.parquet as pq

        for path in self.parquet_files(config).values():
            for batch in pq.ParquetFile(path).iter_batches(
                batch_size=1, columns=None if columns is None else list(columns)
            ):
                yield from batch.to_pylist()


def published_names() -> list[str]:
    """Return the names of the cohorts whose folds ship with the package."""
    return sorted(path.stem for path in shipped("splits").glob("*.csv"))


def published_digest(name: str) -> str | None:
    """Return the published SHA-256 of a cohort's folds, None for a cohort that we do not publish."""
    sums = (shipped("splits") / "SHA256SUMS").read_text().splitlines()
    digests = {file: digest for digest, file in (line.split() for line in sums)}
    return digests.get(f"{name}.csv")


def open_cohort(root: Path) -> Cohort:
    """Open a cohort folder.

    Raises:
        InputError: it is not a cohort folder.
    """
    return Cohort(root, read_manifest(root))


def find_cohort(name: str | Path, *, token: str | None = None) -> Cohort:
    """Find a cohort: explicit path, ``$ICTMRI_HOME``, the user cache, then the Hub.

    The phantom is generated into the user cache when it is asked for the first time.

    Raises:
        AccessError: the clinical cohort is not here and cannot be fetched.
        InputError: no cohort has this name.
    """
    local = local_cohort(name)
    if local is not None:
        return local
    if str(name) == PHANTOM:
        from ictmri.builders.phantom import build_phantom

        return build_phantom(user_cache() / PHANTOM)
    if str(name) == CLINICAL:
        return open_cohort(_download(token))
    if Path(name).is_dir():
        return open_cohort(Path(name))
    known = [CLINICAL, PHANTOM]
    raise InputError(
        str(name),
        [f"no folder and no cohort of this name{nearest(str(name), known)}"],
        f"give a folder that `ictmri build` wrote, or one of {', '.join(known)}",
    )


def local_cohort(name: str | Path) -> Cohort | None:
    """Return the cohort if it is on this machine already, else None."""
    home = os.environ.get("ICTMRI_HOME")
    places = [Path(name).expanduser()]
    places += [Path(home).expanduser() / name] if home else []
    places += [user_cache() / name]
    for place in places:
        if (place / "manifest.json").is_file():
            return open_cohort(place)
    return None


def find_folds(name: str | Path) -> tuple[FoldTable, bool]:
    """Return a cohort's fold table and whether it is synthetic, without touching its volumes.

    Raises:
        InputError: no cohort has this name, or its table was edited.
    """
    local = local_cohort(name)
    if local is not None:
        return local.folds(), local.synthetic
    digest = published_digest(str(name))
    if digest is not None:
        path = shipped("splits") / f"{name}.csv"
        return read_folds(path, str(name), expected_sha256=digest), str(name) == PHANTOM
    cohort = find_cohort(name)
    return cohort.folds(), cohort.synthetic


def _download(token: str | None) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    repository = os.environ.get("ICTMRI_HUB_REPO", HUB_REPOSITORY)
    try:
        hub.auth_check(repository, repo_type="dataset", token=token)
        return Path(hub.snapshot_download(repository, repo_type="dataset", token=token))
    except errors.GatedRepoError:
        reason = "access to it was not granted yet"
    except errors.RepositoryNotFoundError:
        reason = f"no repository {repository} that this account can see"
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        reason = f"the Hub does not answer: {type(error).__name__}"
    except Exception as error:
        if not _is_connection_error(error):
            raise
        reason = f"the Hub does not answer: {type(error).__name__}"
    raise AccessError(NO_ACCESS.format(reason=reason, source=GATED_SOURCE))


def _is_connection_error(error: Exception) -> bool:
    # huggingface_hub lets its HTTP client's own errors through, and the client has changed before.
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
