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
from ictmri.io.resources import AnyPath, find_cache, user_cache
from ictmri.io.states import kept
from ictmri.manifest import FILE_NAME, damaged_files, read_manifest

_NEWEST: Final = "main"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_repository(name: AnyPath) -> bool:
    """Return whether a name has the form ORG/NAME."""
    return isinstance(name, str) and _REPOSITORY.fullmatch(name) is not None


def kept_release(repo_id: str, revision: str | None = None) -> Path | None:
    """Return the folder of a release that was fetched before, as its revision stood then, else None."""
    cache = find_cache()
    if cache is None:
        return None
    commit = kept(_ref(cache, repo_id, revision), _commit_in)
    root = _root(cache, repo_id, commit or "")
    return root if commit and _is_whole(root) else None


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
    cache = user_cache()
    try:
        commit = preflight(repo_id, token=token, revision=revision)
    except HubError as error:
        stands_in = kept_release(repo_id, revision)
        if stands_in is None or not error.unreachable:
            raise
        return stands_in
    root = _root(cache, repo_id, commit)
    if kept_release(repo_id, commit) is None:
        _refuse_other_data(repo_id, commit, token)
        download(repo_id, root, token=token, revision=commit)
        problems = damaged_files(root, read_manifest(root), quick=False)
        if problems:
            raise InputError(
                f"{repo_id} at {commit}",
                problems,
                "tell its owners: its manifest is not of its files",
            )
    # Under its commit as well: that is what tells later that its files were verified.
    for name in (commit, revision):
        write_text(_ref(cache, repo_id, name), f"{commit}\n")
    return root


def _refuse_other_data(repo_id: str, commit: str, token: str | None) -> None:
    from huggingface_hub import HfApi

    with reaching(repo_id, token=token):
        known = HfApi(token=token).file_exists(
            repo_id, FILE_NAME, repo_type="dataset", revision=commit
        )
    if not known:
        raise InputError(
            repo_id,
            [f"it holds no {FILE_NAME}, so it is no cohort that `ictmri build` wrote"],
            f"to read it as it is: datasets.load_dataset({repo_id!r})",
        )


def _root(cache: Path, repo_id: str, commit: str) -> Path:
    return cache / "hub" / repo_id.replace("/", "--") / commit


def _ref(cache: Path, repo_id: str, revision: str | None) -> Path:
    return _root(cache, repo_id, "refs") / quote(revision or _NEWEST, safe="")


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
