"""Releases of cohorts on the Hub: each commit once, in a folder of its own in the user cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ictmri.errors import InputError
from ictmri.hub.download import download, preflight
from ictmri.hub.errors import HubError, reaching
from ictmri.io.files import write_text
from ictmri.io.resources import find_cache, user_cache
from ictmri.io.states import DAMAGED, kept
from ictmri.manifest import FILE_NAME, damaged_files, read_manifest

_NEWEST: Final = "main"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_repository(name: str | Path) -> bool:
    """Return whether a name has the form ORG/NAME."""
    return isinstance(name, str) and _REPOSITORY.fullmatch(name) is not None


def kept_release(repo_id: str, revision: str | None = None) -> Path | None:
    """Return the folder of a release that was fetched before, as its revision stood then, else None."""
    cache = find_cache()
    if cache is None:
        return None
    folder = _folder(cache, repo_id)
    asked = revision or _NEWEST
    ref = folder / "refs" / quote(asked, safe="")
    known = kept(ref, _commit_in)
    if known is not None:
        commit = known
    elif _COMMIT.fullmatch(asked) and asked in _verified(folder):
        commit = asked
    else:
        return None
    return folder / commit if _is_whole(folder / commit) else None


def fetch_release(repo_id: str, *, token: str | None = None, revision: str | None = None) -> Path:
    """Fetch a release of a cohort and return its folder; files that are there are not fetched again.

    Where the Hub does not answer, a release that was fetched under this revision before stands in.

    Args:
        repo_id: ``ORG/NAME``.
        token: Hugging Face token.
        revision: branch, tag or commit; the newest where None.

    Raises:
        HubError: the repository cannot be read.
        InputError: it is no cohort, or its files are not those that its manifest lists.
    """
    folder = _folder(user_cache(), repo_id)
    try:
        commit = preflight(repo_id, token=token, revision=revision)
    except HubError as error:
        kept = kept_release(repo_id, revision)
        if kept is None or not error.unreachable:
            raise
        return kept
    root = folder / commit
    if commit not in _verified(folder) or not _is_whole(root):
        _refuse_other_data(repo_id, commit, token)
        download(repo_id, root, token=token, revision=commit)
        problems = damaged_files(root, read_manifest(root), quick=False)
        if problems:
            raise InputError(
                f"{repo_id} at {commit}",
                problems,
                "tell its owners: its manifest is not of its files",
            )
    write_text(folder / "refs" / quote(revision or _NEWEST, safe=""), f"{commit}\n")
    return root


def _refuse_other_data(repo_id: str, commit: str, token: str | None) -> None:
    import huggingface_hub as hub

    with reaching(repo_id, token=token):
        known = hub.file_exists(
            repo_id, FILE_NAME, repo_type="dataset", revision=commit, token=token
        )
    if not known:
        raise InputError(
            repo_id,
            [f"it holds no {FILE_NAME}, so it is no cohort that `ictmri build` wrote"],
            f"to read it as it is: datasets.load_dataset({repo_id!r})",
        )


def _folder(cache: Path, repo_id: str) -> Path:
    return cache / "hub" / repo_id.replace("/", "--")


def _verified(folder: Path) -> set[str]:
    refs = (kept(ref, _commit_in) for ref in (folder / "refs").glob("*") if ref.suffix != DAMAGED)
    return {commit for commit in refs if commit is not None}


def _commit_in(ref: Path) -> str:
    commit = ref.read_text(encoding="utf-8").strip()
    if not _COMMIT.fullmatch(commit):
        raise ValueError("holds no commit")
    return commit


def _is_whole(root: Path) -> bool:
    try:
        return not damaged_files(root, read_manifest(root), quick=True)
    except InputError:
        return False
