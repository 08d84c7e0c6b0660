"""Repositories on the Hugging Face Hub: may we read one, and a verified copy of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError
from ictmri.hub.errors import RepoType, reaching
from ictmri.hub.transfer import fetch_all, size_of
from ictmri.io.files import is_free, leads_elsewhere, sha256_bytes, sha256_file, write_json
from ictmri.io.lock import folder_lock
from ictmri.io.states import json_mapping

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

TIMEOUT: Final = 5.0
"""Seconds to wait for the Hub to answer the first question."""
RECORD: Final = ".snapshot.json"
_SCHEMA: Final = "ictmri/snapshot/1"
_PART: Final = ".part-"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified copy of a commit of a repository.

    Attributes:
        root: the folder that holds the files.
        repo_id: the repository, ``ORG/NAME``.
        commit: id of the commit, 40 hexadecimal digits.
    """

    root: Path
    repo_id: str
    commit: str


def preflight(
    repo_id: str,
    *,
    token: str | None = None,
    revision: str | None = None,
    repo_type: RepoType = "dataset",
) -> str:
    """Ask the Hub whether a repository can be read, and for its commit.

    Takes two requests and ends within seconds, also where nothing answers.

    Args:
        repo_id: ``ORG/NAME``.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit; the newest where None.
        repo_type: what it holds.

    Returns:
        The commit's id, 40 hexadecimal digits.

    Raises:
        HubError: it cannot be read: not logged in, token not valid, access not asked for, pending or
            rejected, no such repository or revision, offline, or the Hub does not answer.
        InputError: ``repo_id`` is not a name that a repository can have.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    with reaching(repo_id, token=token, revision=revision, repo_type=repo_type):
        info = hub.HfApi(token=token).repo_info(
            repo_id, revision=revision, repo_type=repo_type, timeout=TIMEOUT
        )
        # A gated repository shows its information to everybody; this asks for the content. HfApi.auth_check
        # asks the same and waits for ever.
        address = f"{hub.constants.ENDPOINT}/api/{repo_type}s/{repo_id}/auth-check"
        headers = build_hf_headers(token=token)
        hf_raise_for_status(hub.get_session().get(address, headers=headers, timeout=TIMEOUT))
    return str(info.sha)


def download(
    repo_id: str,
    into: Path,
    *,
    token: str | None = None,
    revision: str | None = None,
    repo_type: RepoType = "dataset",
    only: Sequence[str] = ("*",),
) -> Snapshot:
    """Copy a commit of a repository into a folder and verify every file.

    The same call resumes: files that are there are kept, parts of files are continued. What was copied
    is recorded in ``.snapshot.json`` beside the files. A folder holds one commit of one repository: with
    a newer commit, files that it no longer has are removed.

    Args:
        repo_id: ``ORG/NAME``.
        into: the folder; made where it does not exist.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit; the newest where None.
        repo_type: what it holds.
        only: patterns of the paths that are copied.

    Raises:
        HubError: the repository cannot be read, see ``preflight``, or the connection stays away.
        InputError: files are not what the Hub says, have names that lead elsewhere, do not fit on the
            disk, or ``into`` holds something else.
        OSError: the disk refuses.
    """
    import huggingface_hub as hub

    commit = preflight(repo_id, token=token, revision=revision, repo_type=repo_type)
    with reaching(repo_id, token=token, repo_type=repo_type):
        tree = hub.HfApi(token=token).list_repo_tree(
            repo_id, recursive=True, revision=commit, repo_type=repo_type
        )
        files = [entry for entry in tree if isinstance(entry, hub.RepoFile)]
    files = [file for file in files if any(fnmatchcase(file.path, pattern) for pattern in only)]
    names = [file.path for file in files]
    _refuse_tricks(repo_id, names)
    record = {"schema": _SCHEMA, "repo_id": repo_id, "commit": commit, "files": names}
    with folder_lock(into):
        _claim(into, record)
        missing = {_part(into, file): file for file in files if not _is(into / file.path, file)}
        _refuse_without_room(into, missing)
        wanted = {
            part: (hub.hf_hub_url(repo_id, f.path, repo_type=repo_type, revision=commit), f.size)
            for part, f in missing.items()
        }
        with reaching(repo_id, token=token, repo_type=repo_type):
            fetch_all(wanted, repo_id, token)
        _settle(repo_id, into, missing)
        write_json(into / RECORD, record | {"whole": True})
    return Snapshot(into, repo_id, commit)


def read_snapshot(root: Path) -> Snapshot | None:
    """Return what ``download`` recorded of a folder, None where it did not finish one there."""
    record = _read_record(root)
    files = record.get("files")
    if isinstance(
        files, dict
    ):  # the earlier form: the digest of each file that is finished, by name
        whole = all("sha256" in file for file in files.values())
    else:
        whole = record.get("whole") is True
    return Snapshot(root, record["repo_id"], record["commit"]) if whole else None


def _read_record(root: Path) -> dict[str, Any]:
    try:
        record = json_mapping(root / RECORD)
    except (OSError, ValueError, TypeError):
        return {}
    known = all(isinstance(record.get(key), str) for key in ("repo_id", "commit"))
    return record if known and record.get("schema") == _SCHEMA else {}


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


def _claim(into: Path, record: dict[str, Any]) -> None:
    """Note whose the folder is before anything is put into it: a copy cut short knows its own files."""
    old = _read_record(into)
    problem = ""
    if not old and not is_free(into):
        problem = "it holds files that were not downloaded"
    elif old and old["repo_id"] != record["repo_id"]:
        problem = f"it holds a copy of {old['repo_id']}"
    if problem:
        raise InputError(str(into), [problem], "give a new or an empty folder")
    for path in set(old.get("files", [])) - set(record["files"]):
        (into / path).unlink(missing_ok=True)
    write_json(into / RECORD, record)


def _is(path: Path, file: RepoFile) -> bool:
    """Return whether a file is the one that the Hub lists; of those outside LFS it knows git's id."""
    from huggingface_hub.utils.sha import git_hash

    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs:
        return sha256_file(path) == file.lfs.sha256
    return git_hash(path.read_bytes()) == file.blob_id


def _part(into: Path, file: RepoFile) -> Path:
    # Named by content as well: the part of one version is never continued with another.
    content = file.lfs.sha256 if file.lfs else file.blob_id
    return into / f"{_PART}{sha256_bytes(f'{file.path} {content}'.encode())[:32]}"


def _refuse_without_room(into: Path, missing: dict[Path, RepoFile]) -> None:
    needed = sum(file.size - size_of(part) for part, file in missing.items())
    free = shutil.disk_usage(into).free
    if needed > free:
        raise InputError(
            str(into),
            [f"the files need {needed / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free"],
            "make room, or choose a folder on another disk ($ICTMRI_CACHE), then run again",
        )


def _settle(repo_id: str, into: Path, fetched: dict[Path, RepoFile]) -> None:
    """Move the parts that are what the Hub lists to their places; remove all others."""
    problems = []
    for part, file in fetched.items():
        if _is(part, file):
            place = into / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
        else:
            problems.append(f"{file.path}: what arrived is not what the Hub lists; it was removed")
    for part in into.glob(f"{_PART}*"):
        part.unlink()
    if problems:
        raise InputError(
            repo_id,
            problems,
            "run the same command again, it fetches only these; if that does not help, tell the owners",
        )
