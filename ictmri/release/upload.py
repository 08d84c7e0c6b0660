"""A release to the Hugging Face Hub: private first, then gated, then the files, then the tag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.hub.errors import reaching
from ictmri.io.files import sha256_file
from ictmri.manifest import FILE_NAME as MANIFEST

Gated = Literal["manual", "auto", False]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What stands on the Hub now.

    Attributes:
        url: of the repository.
        commit: that holds the release.
        tag: its version.
        new: False where the same release stood there before.
    """

    url: str
    commit: str
    tag: str
    new: bool


def upload(
    release: Cohort, repo_id: str, *, gated: Gated, visible: bool, token: str | None = None
) -> Uploaded:
    """Upload a release folder as one commit and tag it with its version.

    A new repository is private and gated before the first byte is sent. What was uploaded before an
    interruption is not sent again.

    Args:
        release: the release folder.
        repo_id: ``ORG/NAME``.
        gated: as on the Hub; False leaves a gate that is there.
        visible: make the repository public at the end; the gate stays.
        token: of an account that may write there.

    Raises:
        AccessError: the Hub cannot be reached, or the account may not write there.
        InputError: the version stands there with other data, or what arrived is not what was sent.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    tag = f"v{release.manifest.version}"
    with reaching(repo_id, writing=True):
        url = api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        if gated:
            api.update_repo_settings(repo_id, repo_type="dataset", gated=gated)
        before = _published(api, repo_id, tag)
        if before is not None:
            _refuse_other(release, repo_id, tag, before)
            commit = before["commit"]
        else:
            commit = _send(api, release, repo_id, tag)
        _compare(api, release, repo_id, commit)
        if before is None:
            api.create_tag(repo_id, repo_type="dataset", tag=tag, revision=commit)
        if visible:
            api.update_repo_settings(repo_id, repo_type="dataset", private=False)
    return Uploaded(str(url), commit, tag, new=before is None)


def _send(api: Any, release: Cohort, repo_id: str, tag: str) -> str:
    info = api.upload_folder(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=release.root,
        commit_message=f"Release {tag}",
        ignore_patterns=[".*", "**/.*"],
        delete_patterns=["*"],
    )
    return str(info.oid)


def _published(api: Any, repo_id: str, tag: str) -> dict[str, str] | None:
    """Return commit and manifest digest of a version on the Hub, None where it has none."""
    tags = api.list_repo_refs(repo_id, repo_type="dataset").tags
    found = next((ref for ref in tags if ref.name == tag), None)
    if found is None:
        return None
    commit = api.repo_info(repo_id, repo_type="dataset", revision=tag).sha
    files = _remote(api, repo_id, commit)
    return {"commit": commit, "manifest": files.get(MANIFEST, "")}


def _refuse_other(release: Cohort, repo_id: str, tag: str, before: dict[str, str]) -> None:
    if before["manifest"] not in _digests(release, MANIFEST):
        raise InputError(
            repo_id,
            [f"version {tag} is published already, with other content: a version never changes"],
            "publish the change as a new version (ictmri withdraw, ictmri erratum), or elsewhere",
        )


def _compare(api: Any, release: Cohort, repo_id: str, commit: str) -> None:
    """Compare what arrived with what was sent, file by file."""
    remote = _remote(api, repo_id, commit)
    names = [*release.manifest.files, MANIFEST]
    problems = [
        f"{name}: {'is not there' if name not in remote else 'arrived with another digest'}"
        for name in names
        if remote.get(name) not in _digests(release, name)
    ]
    if problems:
        raise InputError(repo_id, problems, "run the same command again")


def _remote(api: Any, repo_id: str, commit: str) -> dict[str, str]:
    """Return the digest of each file on the Hub: SHA-256 of large ones, git's own of small ones."""
    tree = api.list_repo_tree(repo_id, repo_type="dataset", revision=commit, recursive=True)
    return {
        item.path: item.lfs.sha256 if getattr(item, "lfs", None) else item.blob_id
        for item in tree
        if hasattr(item, "blob_id")
    }


def _digests(release: Cohort, name: str) -> tuple[str, str]:
    path = release.root / name
    return sha256_file(path), git_blob_sha1(
        path.read_bytes()
    ) if path.stat().st_size < 2**26 else ""


def git_blob_sha1(content: bytes) -> str:
    """Return git's object id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
