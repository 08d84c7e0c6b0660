"""Models on the Hub: a name that is pinned to a commit, and its files as they were there, fetched once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ictmri.errors import InputError
from ictmri.hub.cache import is_repository
from ictmri.hub.download import download, preflight
from ictmri.hub.errors import page_of
from ictmri.io.lock import folder_lock
from ictmri.io.resources import user_cache
from ictmri.io.states import read_record, write_record

FILES: Final = ("*.safetensors", "report.json", "scores.json", "README.md")
"""Paths that are fetched. Pickles and code may lie beside them: they stay where they are."""
PINNED: Final = "ORG/NAME@COMMIT"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


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
