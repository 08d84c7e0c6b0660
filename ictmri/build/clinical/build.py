"""``ictmri build clinical``: the cohort ``ictmri`` from its gated source."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ictmri.build.clinical.mapping import Mapping, read_mapping
from ictmri.build.clinical.reading import read_source
from ictmri.build.clinical.understood import Understood, proposal_text
from ictmri.build.folder import FolderBuild, build_rows
from ictmri.build.place import check_place
from ictmri.cohort import CLINICAL, Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.folds import DEFAULT_N_FOLDS, describe_folds
from ictmri.io.files import private_folder, replacing, sha256_bytes
from ictmri.manifest import FILE_NAME, SCHEMA
from ictmri.scans.findings import read_findings
from ictmri.transaction import alone_with, only_one, work_folder
from ictmri.version import __version__

SOURCE: Final = "Shirelle12/DeepSite-MRI"
"""The gated repository on the Hugging Face Hub."""
LICENCE: Final = "CC-BY-4.0"
COMMAND: Final = "ictmri build clinical"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the source comes from.

    Attributes:
        folder: an already downloaded copy; downloaded where None.
        repo_id: the repository on the Hub.
        revision: branch, tag or commit; the newest where None.
        token: Hugging Face token.
    """

    folder: Path | None = None
    repo_id: str = SOURCE
    revision: str | None = None
    token: str | None = None


def build_clinical(
    out: Path,
    origin: Origin,
    *,
    mapping: Path | None = None,
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
        origin: where the source comes from.
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
    given = Mapping() if mapping is None else read_mapping(mapping)
    settings = _settings(given, n_folds)
    _check_source(out, origin)
    check_place(out)
    with only_one(work_folder(out, "clinical")):
        source = _provenance(origin)
        if origin.folder is None and (done := _finished(out, source, settings)):
            return done
        root = origin.folder or _download(out, origin, source)
        ready = _cohort_in(root)
        if ready is not None:
            return _adopt(ready, out, dry_run=dry_run, tell=tell)
        unpacked = private_folder(work_folder(out, "unpacked"))
        subject = origin.repo_id if origin.folder is None else str(origin.folder)
        understood = read_source(root, unpacked, given, n_folds, subject)
        tell(f"{subject}, as it was understood:")
        for line in understood.lines():
            tell(line)
        if dry_run:
            shutil.rmtree(unpacked)
            return None
        if understood.questions:
            raise _stopped(out, understood, subject, mapping)
        how = {"source": source, "folds_by": "rule" if understood.folds is None else "source"}
        built = build_rows(understood.rows, out, settings | how, jobs, understood.folds)
        _clean(out)
        return _with_origin_of_folds(built)


def _settings(given: Mapping, n_folds: int) -> dict[str, Any]:
    content = given.model_dump_json(exclude_defaults=True)
    return {
        "command": COMMAND,
        "name": CLINICAL,
        "n_folds": n_folds,
        "mapping_sha256": sha256_bytes(content.encode()) if content != "{}" else "",
    }


def _check_source(out: Path, origin: Origin) -> None:
    folder = origin.folder
    if folder is None:
        return
    if not folder.is_dir():
        raise InputError("--source", [f"{folder} is no folder"], "give the folder of the copy")
    place = folder.resolve()
    if place == out.resolve() or place in out.resolve().parents:
        raise InputError("--out", [f"{out} lies inside the source"], "choose another --out")


def _provenance(origin: Origin) -> dict[str, str]:
    """Return what the manifest tells of the source; asks the Hub where it is to be downloaded."""
    if origin.folder is None:
        from ictmri.hub.download import preflight

        commit = preflight(origin.repo_id, token=origin.token, revision=origin.revision)
        return {"repo_id": origin.repo_id, "commit": commit, "licence": LICENCE}
    repo_id, commit = _known_copy(origin.folder)
    return {
        "repo_id": repo_id or origin.repo_id,
        "commit": commit or _commit(origin.revision or ""),
        "licence": LICENCE,
    }


def _known_copy(folder: Path) -> tuple[str, str]:
    """Return repository and commit of a copy, as far as its downloader left them beside the files."""
    from ictmri.hub.download import read_snapshot

    snapshot = read_snapshot(folder)
    if snapshot is not None:
        return snapshot.repo_id, snapshot.commit
    resolved = folder.resolve()
    if resolved.parent.name == "snapshots":
        return "", _commit(resolved.name)
    notes = sorted((folder / ".cache" / "huggingface" / "download").rglob("*.metadata"))
    commits = {_commit(note.read_text(encoding="utf-8").split("\n")[0].strip()) for note in notes}
    return "", commits.pop() if len(commits) == 1 else ""


def _commit(text: str) -> str:
    return text if _COMMIT.fullmatch(text) else ""


def _finished(out: Path, source: dict[str, str], settings: dict[str, Any]) -> FolderBuild | None:
    """Return the cohort where the same command made it from the same commit: nothing to download."""
    if not (out / FILE_NAME).is_file():
        return None
    cohort = open_cohort(out)
    wanted = settings | {"source": source, "ictmri": __version__}
    if any(cohort.manifest.generator.get(key) != value for key, value in wanted.items()):
        return None
    cohort.check(quick=True)
    return _as_build(cohort)


def _as_build(cohort: Cohort) -> FolderBuild:
    folds = describe_folds(cohort.folds().rows)
    return _with_origin_of_folds(FolderBuild(cohort, read_findings(cohort.root), folds, []))


def _with_origin_of_folds(built: FolderBuild) -> FolderBuild:
    """Say of folds that came from the source that they did, in place of the rule's words."""
    if built.cohort.manifest.generator.get("folds_by") != "source":
        return built
    folds = [row.fold for row in built.cohort.folds().rows]
    shown = ", ".join(str(folds.count(fold)) for fold in sorted(set(folds)))
    first = f"{len(folds)} cases in {len(set(folds))} folds of {shown}, the source's own"
    return replace(built, folds=[first, *built.folds[1:]])


def _download(out: Path, origin: Origin, source: dict[str, str]) -> Path:
    from ictmri.hub.download import download

    into = private_folder(work_folder(out, "source"))
    return download(origin.repo_id, into, token=origin.token, revision=source["commit"]).root


def _clean(out: Path) -> None:
    for stage in ("source", "unpacked"):
        shutil.rmtree(work_folder(out, stage), ignore_errors=True)


# A source that is a cohort already -----------------------------------------------------------------------


def _cohort_in(root: Path) -> Path | None:
    """Return the folder of the source that is a cohort of this package's own format."""
    for path in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        manifest = path / FILE_NAME
        if manifest.is_file() and f'"{SCHEMA}"' in manifest.read_text(
            encoding="utf-8", errors="replace"
        ):
            return path
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
    with alone_with(out):
        if not (out / FILE_NAME).is_file():
            part = work_folder(out, "part")
            shutil.rmtree(part, ignore_errors=True)
            for name in (*cohort.manifest.files, FILE_NAME):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, part / name)
            found = leaks(Cohort(part, cohort.manifest))
            if found:
                shutil.rmtree(part)
                raise InputError(str(root), found, "tell the people who keep the repository")
            part.rename(out.resolve())
    made = open_cohort(out)
    if made.manifest != cohort.manifest:
        problem = f"holds another version of the cohort {made.name!r}"
        raise InputError(str(out), [problem], "choose another --out, or remove that folder first")
    made.check()
    _clean(out)
    return _as_build(made)


# What is open --------------------------------------------------------------------------------------------


def _stopped(out: Path, understood: Understood, subject: str, mapping: Path | None) -> InputError:
    """Write the proposed mapping and return the error that lists what is open."""
    place, earlier = _free_place(out, mapping, text := proposal_text(understood))
    with replacing(place, mode=0o600) as part:
        part.write_text(text, encoding="utf-8")
    kept = f" ({earlier.name} was there before and stays as it is)" if earlier else ""
    next_step = (
        f'replace each "?" in {place}{kept}, then run the same command with --mapping {place}'
        f"{_waiting(out)}"
    )
    problems = [_as_line(question.text, question.choices) for question in understood.questions]
    return InputError(subject, problems, next_step)


def _waiting(out: Path) -> str:
    """Say where data of patients lie until the build is done."""
    folders = [work_folder(out, stage) for stage in ("source", "unpacked")]
    full = [str(folder) for folder in folders if folder.is_dir() and any(folder.iterdir())]
    return f"; until then data of patients lie in {' and '.join(full)}" if full else ""


def _as_line(text: str, choices: tuple[str, ...]) -> str:
    return f"{text}: {' | '.join(choices)}" if choices else text


def _free_place(out: Path, mapping: Path | None, text: str) -> tuple[Path, Path | None]:
    """Return where the proposal is written: never over a file that says something else."""
    first = out.resolve().with_name(f"{out.resolve().name}.mapping.yaml")
    place, number = first, 1
    while place.exists() and (
        (mapping and place.samefile(mapping)) or place.read_text(encoding="utf-8") != text
    ):
        number += 1
        place = first.with_name(f"{out.resolve().name}.mapping-{number}.yaml")
    return place, first if place != first else None
