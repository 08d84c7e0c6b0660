"""``ictmri build clinical``: the cohort ``ictmri`` from its gated source."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from ictmri.build.clinical.mapping import ClinicalMapping, read_mapping
from ictmri.build.clinical.propose import Proposal, propose
from ictmri.build.folder import FolderBuild, build_rows
from ictmri.cohort import CLINICAL, Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.folds import DEFAULT_N_FOLDS
from ictmri.hub.download import download, preflight, read_snapshot
from ictmri.io.files import private_folder, sha256_bytes, write_text
from ictmri.io.lock import folder_lock, work_folder
from ictmri.io.resources import AnyPath, at_home
from ictmri.manifest import FILE_NAME, SCHEMA
from ictmri.transaction import assembled, check_place, cohort_lock
from ictmri.version import __version__

SOURCE: Final = "Shirelle12/DeepSite-MRI"
"""The gated repository on the Hugging Face Hub."""
LICENCE: Final = "CC-BY-4.0"
COMMAND: Final = "ictmri build clinical"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
Tell = Callable[[str], None]


def build_clinical(  # noqa: PLR0913
    out: AnyPath,
    source: AnyPath | None = None,
    *,
    repo_id: str = SOURCE,
    revision: str | None = None,
    token: str | None = None,
    mapping: AnyPath | None = None,
    n_folds: int = DEFAULT_N_FOLDS,
    jobs: int | None = None,
    dry_run: bool = False,
    tell: Tell = print,
) -> FolderBuild | None:
    """Build the clinical cohort.

    The source is downloaded where it is not at hand, read, and told as it was understood. Where it does
    not settle something, a mapping with the open questions is written beside ``out`` and nothing is built.
    What is downloaded and unpacked lies in private folders beside ``out`` until the cohort is whole.

    Args:
        out: the folder to write.
        source: folder of an already downloaded copy; downloaded where None.
        repo_id: the repository on the Hub.
        revision: branch, tag or commit; the newest where None.
        token: Hugging Face token.
        mapping: what a person says of the source, see :mod:`ictmri.build.clinical.mapping`.
        n_folds: number of folds.
        jobs: worker processes; all usable cores where None.
        dry_run: tell what was understood, and stop.
        tell: takes the lines of the summary.

    Returns:
        The finished build; None after a dry run.

    Raises:
        AccessError: the source cannot be downloaded.
        InputError: something is open or wrong; every problem is named.
    """
    out = at_home(out)
    mapping = None if mapping is None else at_home(mapping)
    copy = None if source is None else at_home(source)
    given = ClinicalMapping() if mapping is None else read_mapping(mapping)
    _check_source(out, copy)
    check_place(out)
    with folder_lock(work_folder(out, "clinical")):
        found = _provenance(copy, repo_id, revision, token)
        said = given.model_dump_json(exclude_defaults=True).encode()
        settings: dict[str, Any] = {
            "command": COMMAND,
            "name": CLINICAL,
            "n_folds": n_folds,
            "mapping_sha256": sha256_bytes(said) if said != b"{}" else "",
            "source": found,
        }
        if copy is None and (done := _finished(out, settings)):
            return done
        into, root = work_folder(out, "source"), copy
        if root is None:
            private_folder(into)
            root = download(repo_id, into, token=token, revision=found["commit"]).root
        if (ready := _cohort_in(root)) is not None:
            return _adopt(ready, out, dry_run=dry_run, tell=tell)
        subject = repo_id if copy is None else str(copy)
        with _unpacked(out) as unpacked:
            proposal = propose(root, unpacked, given, n_folds, subject)
            told = proposal.summary_text().splitlines()
            for line in (f"{subject}, as it was understood:", *told):
                tell(line)
            if dry_run:
                return None
            if proposal.questions:
                raise _stopped(out, proposal, subject, mapping)
            settings["folds_by"] = "rule" if proposal.folds is None else "source"
            built = build_rows(proposal.rows, out, settings, jobs, proposal.folds)
        shutil.rmtree(into, ignore_errors=True)
        return built


@contextmanager
def _unpacked(out: Path) -> Iterator[Path]:
    """Yield a private folder for what archives hold, empty at the beginning and gone at the end."""
    place = work_folder(out, "unpacked")
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield private_folder(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _check_source(out: Path, folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise InputError("--source", [f"{folder} is no folder"], "give the folder of the copy")
    around = {out.resolve(), *out.resolve().parents}
    if folder is not None and folder.resolve() in around:
        raise InputError("--out", [f"{out} lies inside the source"], "choose another --out")


def _provenance(
    folder: Path | None, repo_id: str, revision: str | None, token: str | None
) -> dict[str, str]:
    """Return what the manifest tells of the source; asks the Hub where it is to be downloaded."""
    known = {"repo_id": repo_id, "licence": LICENCE}
    if folder is None:
        commit = preflight(repo_id, token=token, revision=revision)
        return known | {"commit": commit}
    if snapshot := read_snapshot(folder):
        return known | {"repo_id": snapshot.repo_id, "commit": snapshot.commit}
    # The library's cache names a snapshot after its commit; a local folder of it holds notes by file.
    notes = (folder / ".cache" / "huggingface" / "download").rglob("*.metadata")
    named = {note.read_text(encoding="utf-8").split("\n")[0].strip() for note in notes}
    named = {folder.resolve().name} if folder.resolve().parent.name == "snapshots" else named
    able = (*(named if len(named) == 1 else ()), revision or "")
    return known | {"commit": next(filter(_COMMIT.fullmatch, able), "")}


def _finished(out: Path, settings: dict[str, Any]) -> FolderBuild | None:
    """Return the cohort where the same command made it from the same commit: nothing to download."""
    if not (out / FILE_NAME).is_file():
        return None
    cohort = open_cohort(out)
    made_by = cohort.manifest.generator
    if made_by | settings | {"ictmri": __version__} != made_by:
        return None
    cohort.check(quick=True)
    return FolderBuild.of(cohort)


def _cohort_in(root: Path) -> Path | None:
    """Return the folder of the source that is a cohort of this package's own format."""
    for manifest in (root / FILE_NAME, *sorted(root.glob(f"*/{FILE_NAME}"))):
        if manifest.is_file() and f'"{SCHEMA}"'.encode() in manifest.read_bytes():
            return manifest.parent
    return None


def _adopt(root: Path, out: Path, *, dry_run: bool, tell: Tell) -> FolderBuild | None:
    """Copy a cohort as it is, after the checks of ``ictmri verify``."""
    from ictmri.verify.cohort import check_rows
    from ictmri.verify.privacy import leaks

    cohort = open_cohort(root)
    if cohort.name != CLINICAL or cohort.synthetic:
        problem = f"it holds the cohort {cohort.name!r}, not {CLINICAL!r}"
        raise InputError(str(root), [problem], "load that cohort by its folder, it needs no build")
    cohort.check()
    for config in cohort.manifest.configs:
        check_rows(cohort, config)
    tell(f"the source is a cohort folder already: {cohort.manifest.n_cases} cases, taken as it is")
    if dry_run:
        return None
    with cohort_lock(out):
        if not (out / FILE_NAME).is_file():
            with assembled(out) as part:
                for name in (*cohort.manifest.files, FILE_NAME):
                    (part / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(root / name, part / name)
                if found := leaks(Cohort(part, cohort.manifest)):
                    raise InputError(str(root), found, "tell the people who keep the repository")
    made = open_cohort(out)
    if made.manifest != cohort.manifest:
        problem = f"holds another version of the cohort {made.name!r}"
        raise InputError(str(out), [problem], "choose another --out, or remove that folder first")
    made.check()
    shutil.rmtree(work_folder(out, "source"), ignore_errors=True)
    return FolderBuild.of(made)


def _stopped(out: Path, proposal: Proposal, subject: str, mapping: Path | None) -> InputError:
    """Write the proposed mapping and return the error that lists what is open."""
    text, name = proposal.mapping_text(), out.resolve().name
    first = place = out.resolve().with_name(f"{name}.mapping.yaml")
    numbers = count(2)
    # Never over a file that says something else.
    while place.exists() and (
        (mapping and place.samefile(mapping)) or place.read_text(encoding="utf-8") != text
    ):
        place = first.with_name(f"{name}.mapping-{next(numbers)}.yaml")
    write_text(place, text, mode=0o600)
    kept = f" ({first.name} was there before and stays as it is)" if place != first else ""
    full = work_folder(out, "source")
    waiting = f"; until then data of patients lie in {full}" if any(full.glob("*")) else ""
    return InputError(
        subject,
        [": ".join(filter(None, (q.text, " | ".join(q.choices)))) for q in proposal.questions],
        f'replace each "?" in {place}{kept}, then run the same command with --mapping {place}{waiting}',
    )
