"""Releases of cohorts and models on the Hub: each commit fetched once, into a folder of the user cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ictmri.errors import InputError
from ictmri.hub.download import download, preflight
from ictmri.hub.errors import HubError, page_of, reaching
from ictmri.io.files import write_text
from ictmri.io.lock import folder_lock
from ictmri.io.resources import AnyPath, find_cache, user_cache
from ictmri.io.states import kept, read_record, write_record
from ictmri.manifest import FILE_NAME, damaged_files, read_manifest

_NEWEST: Final = "main"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
FILES: Final = ("*.safetensors", "report.json", "scores.json", "README.md")
"""Paths that are fetched. Pickles and code may lie beside them: they stay where they are."""
PINNED: Final = "ORG/NAME@COMMIT"


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


def is_model_name(name: str) -> bool:
    """Return whether a name has the form ``ORG/NAME@REVISION`` of a model on the Hub."""
    repo_id, at, _ = name.partition("@")
    return bool(at) and is_repository(repo_id)


def fetch_model(name: str) -> Path:
    """Return the folder of a model's files as a commit holds them; the Hub is asked the first time alone.

    Args:
        name: ``ORG/NAME@`` and the 40 digits of a commit.

    Raises:
        InputError: the revision is none that stays what it is, or no file of the commit is a model.
        HubError: the repository cannot be read.
    """
    repo_id, _, revision = name.partition("@")
    if not _COMMIT.fullmatch(revision):
        raise _not_pinned(repo_id, revision)
    root = user_cache() / "models" / repo_id.replace("/", "--") / revision
    record = root.with_name(f"{revision}.json")
    with folder_lock(root.parent):
        if read_record(record) is None:
            got = download(repo_id, root, revision=revision, repo_type="model", only=FILES)
            if got.commit != revision:
                raise _not_pinned(repo_id, revision)
            found = [path for path in root.rglob("*.safetensors") if path.is_file()]
            if not found:
                problem = "it holds no .safetensors; pickles and code are never loaded"
                raise InputError(name, [problem], "choose a model that ictmri publish-model wrote")
            write_record(record, {"model": name}, [*found, *root.glob("*.json")])
    return root


def _not_pinned(repo_id: str, revision: str) -> InputError:
    """Return the refusal of a name whose meaning can change; it names the commit of today."""
    commit = preflight(repo_id, revision=revision or None, repo_type="model")
    problem = f"{revision or 'no revision'} is not a commit: what it stands for can change"
    step = (
        f"pin it: {repo_id}@{commit} is where it stands now; look at what is there first, "
        f"{page_of(repo_id, 'model')}/tree/{commit}"
    )
    return InputError(f"{repo_id}@{revision}", [problem], step)
