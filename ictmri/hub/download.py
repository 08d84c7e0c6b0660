"""Dataset repositories on the Hugging Face Hub: may we read one, and a verified copy of it."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError
from ictmri.hub.errors import HubError, reaching
from ictmri.hub.transfer import fetch, matches
from ictmri.io.files import leads_elsewhere, sha256_bytes, sha256_file, write_json

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

__all__ = ["HubError", "Snapshot", "download", "preflight", "reaching", "read_snapshot"]

TIMEOUT: Final = 5.0
"""Seconds to wait for the Hub to answer the first question."""
RECORD: Final = ".snapshot.json"
_SCHEMA: Final = "ictmri/snapshot/1"
_PART: Final = ".part-"
_WORKERS: Final = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified copy of a commit of a dataset repository.

    Attributes:
        root: the folder that holds the files.
        repo_id: the repository, ``ORG/NAME``.
        commit: id of the commit, 40 hexadecimal digits.
        files: sha256 and size in bytes by path relative to ``root``.
    """

    root: Path
    repo_id: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]


def preflight(repo_id: str, *, token: str | None = None, revision: str | None = None) -> str:
    """Ask the Hub whether a dataset repository can be read, and for its commit.

    Takes two requests and ends within seconds, also where nothing answers.

    Args:
        repo_id: ``ORG/NAME``.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit; the newest where None.

    Returns:
        The commit's id, 40 hexadecimal digits.

    Raises:
        HubError: it cannot be read: not logged in, token not valid, access not asked for, pending or
            rejected, no such repository or revision, offline, or the Hub does not answer.
        InputError: ``repo_id`` is not a name that a repository can have.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    with reaching(repo_id, token=token, revision=revision):
        info = hub.HfApi(token=token).dataset_info(repo_id, revision=revision, timeout=TIMEOUT)
        # A gated repository shows its information to everybody; this asks for the content.
        answer = hub.get_session().get(
            f"{hub.constants.ENDPOINT}/api/datasets/{repo_id}/auth-check",
            headers=build_hf_headers(token=token),
            timeout=TIMEOUT,
        )
        hf_raise_for_status(answer)
    return str(info.sha)


def download(
    repo_id: str,
    into: Path,
    *,
    token: str | None = None,
    revision: str | None = None,
    allow_patterns: Sequence[str] | None = None,
) -> Snapshot:
    """Copy a commit of a dataset repository into a folder and verify every file.

    The same call resumes: files that are there are kept, parts of files are continued. What was copied
    is recorded in ``.snapshot.json`` beside the files. A folder holds one commit of one repository: with
    a newer commit, files that it no longer has are removed.

    Args:
        repo_id: ``ORG/NAME``.
        into: the folder; made where it does not exist.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit; the newest where None.
        allow_patterns: copy only files whose path matches one of these (``*`` also matches ``/``).

    Returns:
        What lies in ``into`` now.

    Raises:
        HubError: the repository cannot be read, see ``preflight``, or the connection stays away.
        InputError: files are not what the Hub says, have names that lead elsewhere, do not fit on the
            disk, or ``into`` holds something else.
    """
    from ictmri.transaction import only_one

    commit = preflight(repo_id, token=token, revision=revision)
    with reaching(repo_id, token=token):
        files = _listed(repo_id, commit, token, allow_patterns)
    _refuse_tricks(repo_id, [file.path for file in files])
    with _explaining_disk(into), only_one(into):
        record = _claim(into, repo_id, commit, files)
        missing = [file for file in files if not _is_file(into / file.path, file)]
        _refuse_without_room(into, missing)
        with reaching(repo_id, token=token):
            _fetch_all(repo_id, commit, token, into, missing)
        _refuse_damaged(repo_id, into, missing)
        for file in files:
            record["files"][file.path] = _fingerprint(into, file)
        write_json(into / RECORD, record)
        for part in into.glob(f"{_PART}*"):
            part.unlink()
    return _as_snapshot(into, record)


def read_snapshot(root: Path) -> Snapshot | None:
    """Return what ``download`` recorded of a folder, None where it did not finish one there."""
    record = _read_record(root)
    if record is None or not all("sha256" in known for known in record["files"].values()):
        return None
    return _as_snapshot(root, record)


def _listed(
    repo_id: str, commit: str, token: str | None, patterns: Sequence[str] | None
) -> list[RepoFile]:
    import huggingface_hub as hub

    tree = hub.HfApi(token=token).list_repo_tree(
        repo_id, recursive=True, revision=commit, repo_type="dataset"
    )
    files = [entry for entry in tree if isinstance(entry, hub.RepoFile)]
    chosen = [
        file
        for file in files
        if patterns is None or any(fnmatchcase(file.path, pattern) for pattern in patterns)
    ]
    if not chosen:
        some = ", ".join(file.path for file in files[:5])
        raise InputError(
            repo_id, [f"no file matches {', '.join(patterns or [])}"], f"it holds {some} .."
        )
    return chosen


def _refuse_tricks(repo_id: str, paths: Sequence[str]) -> None:
    folded = Counter(path.casefold() for path in paths)
    problems = [f"{path!r} is no plain path inside a folder" for path in paths if _is_trick(path)]
    problems += [
        f"{path!r} is the name of two files on some disks"
        for path in paths
        if folded[path.casefold()] > 1
    ]
    if problems:
        raise InputError(repo_id, problems, "do not use this repository, and tell its owners")


def _is_trick(path: str) -> bool:
    return leads_elsewhere(path) or any(
        part in {".git", RECORD} or part.startswith(_PART) for part in path.split("/")
    )


def _claim(into: Path, repo_id: str, commit: str, files: Sequence[RepoFile]) -> dict[str, Any]:
    """Note whose the folder is before anything is put into it, and return the note.

    A copy that is cut short so still knows which files in the folder are its own.
    """
    old = _read_record(into)
    if old is None and into.is_dir() and any(into.iterdir()):
        problem = "it holds files that were not downloaded"
        raise InputError(str(into), [problem], "give a new or an empty folder")
    if old and old["repo_id"] != repo_id:
        problem = f"it holds a copy of {old['repo_id']}"
        raise InputError(str(into), [problem], "give a new or an empty folder")
    planned = {file.path: {"bytes": file.size} for file in files}
    if old and old["commit"] == commit:
        planned = {**old["files"], **planned}
    elif old:
        for path in old["files"].keys() - planned.keys():
            (into / path).unlink(missing_ok=True)
    record = {"schema": _SCHEMA, "repo_id": repo_id, "commit": commit, "files": planned}
    write_json(into / RECORD, record)
    return record


def _is_file(path: Path, file: RepoFile) -> bool:
    sha256 = file.lfs.sha256 if file.lfs else None
    return matches(path, size=file.size, sha256=sha256, git_sha1=file.blob_id)


def _part(into: Path, file: RepoFile) -> Path:
    # Named by content as well: the part of one version is never continued with another.
    content = file.lfs.sha256 if file.lfs else file.blob_id
    return into / f"{_PART}{sha256_bytes(f'{file.path} {content}'.encode())[:32]}"


def _refuse_without_room(into: Path, missing: Sequence[RepoFile]) -> None:
    needed = sum(file.size for file in missing) - _held(into, missing)
    free = shutil.disk_usage(into).free
    if needed > free:
        raise InputError(
            str(into),
            [f"the files need {needed / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free"],
            "make room, or choose a folder on another disk ($ICTMRI_CACHE), then run again",
        )


def _held(into: Path, missing: Sequence[RepoFile]) -> int:
    parts = [_part(into, file) for file in missing]
    return sum(part.stat().st_size for part in parts if part.is_file())


def _fetch_all(
    repo_id: str, commit: str, token: str | None, into: Path, missing: Sequence[RepoFile]
) -> None:
    import huggingface_hub as hub
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(token=token)
    with _progress(repo_id, into, missing) as advance, ThreadPoolExecutor(_WORKERS) as pool:
        stopped = threading.Event()

        def advanced(count: int) -> None:
            if stopped.is_set():
                raise InterruptedError
            advance(count)

        jobs = [
            pool.submit(
                fetch,
                hub.hf_hub_url(repo_id, file.path, repo_type="dataset", revision=commit),
                _part(into, file),
                size=file.size,
                headers=headers,
                advance=advanced,
            )
            for file in missing
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _progress(
    repo_id: str, into: Path, missing: Sequence[RepoFile]
) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(
        desc=repo_id,
        total=sum(file.size for file in missing),
        initial=_held(into, missing),
        unit="B",
        unit_scale=True,
        disable=not missing,
    ) as bar:

        def advance(count: int) -> None:
            with lock:
                bar.update(count)

        yield advance


def _refuse_damaged(repo_id: str, into: Path, fetched: Sequence[RepoFile]) -> None:
    """Move the parts that are what the Hub lists to their places; remove and name the others."""
    problems = []
    for file in fetched:
        part, place = _part(into, file), into / file.path
        if _is_file(part, file):
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
        else:
            part.unlink(missing_ok=True)
            problems.append(f"{file.path}: what arrived is not what the Hub lists; it was removed")
    if problems:
        raise InputError(
            repo_id,
            problems,
            "run the same command again, it fetches only these; if that does not help, tell the owners",
        )


def _fingerprint(into: Path, file: RepoFile) -> dict[str, Any]:
    sha256 = file.lfs.sha256 if file.lfs else sha256_file(into / file.path)
    return {"sha256": sha256, "bytes": file.size}


def _as_snapshot(root: Path, record: Mapping[str, Any]) -> Snapshot:
    whole = {path: known for path, known in sorted(record["files"].items()) if "sha256" in known}
    return Snapshot(root, record["repo_id"], record["commit"], whole)


def _read_record(root: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        return None
    return record


@contextmanager
def _explaining_disk(into: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(
            str(into), [f"cannot write there: {error.strerror or error}"], "choose another folder"
        ) from None
