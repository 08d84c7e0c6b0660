"""A release to the Hugging Face Hub: private first, then gated, then the files, then the tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ictmri.cohort import Cohort
from ictmri.errors import AccessError, InputError
from ictmri.hub.errors import RepoType, reaching
from ictmri.manifest import FILE_NAME as MANIFEST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from ictmri.release.make_release import Order


@dataclass(frozen=True, slots=True)
class Parcel:
    """A folder that is ready to be sent.

    Attributes:
        root: the folder.
        files: what of it must arrive, relative to it.
        repo_type: what it is.
        version: which its tag names, and which never changes; empty for what is known by its commit.
    """

    root: Path
    files: Sequence[str]
    repo_type: RepoType = "dataset"
    version: str = ""

    @property
    def tag(self) -> str:
        """Name of the version's tag, empty where there is none."""
        return self.version and f"v{self.version}"


def parcel_of(release: Cohort) -> Parcel:
    """Return the release of a cohort as it is sent."""
    files = (*release.manifest.files, MANIFEST)
    return Parcel(release.root, files, version=release.manifest.version)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What stands on the Hub now.

    Attributes:
        url: of the repository.
        commit: that holds the release.
        tag: its version, empty where there is none.
        new: False where the same release stood there before.
    """

    url: str
    commit: str
    tag: str
    new: bool


def require_login() -> None:
    """Check that somebody is logged in to the Hub, before a release is made that could not be sent.

    Raises:
        AccessError: nobody is.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise AccessError(
            "Nobody is logged in to the Hugging Face Hub.\n"
            "Next: hf auth login, or set HF_TOKEN; --dry-run makes the release and sends nothing"
        )


def upload(parcel: Parcel, order: Order) -> Uploaded:
    """Upload a folder as one commit, and tag it where it has a version.

    A new repository is private and gated before the first byte is sent; a gate that is there stays where
    the order has none. What was uploaded before an interruption is not sent again.

    Args:
        parcel: the folder.
        order: where to, behind which gate, and whether everyone sees the repository at the end.

    Raises:
        AccessError: the Hub cannot be reached, or the account may not write there.
        InputError: the version stands there with other data, or what arrived is not what was sent.
    """
    from huggingface_hub import HfApi

    api, repo_id, kind, tag = HfApi(), order.repo_id, parcel.repo_type, parcel.tag
    with reaching(repo_id, writing=True, repo_type=kind):
        url = api.create_repo(repo_id, repo_type=kind, private=True, exist_ok=True)
        if order.gate != "none":
            api.update_repo_settings(repo_id, repo_type=kind, gated=order.gate)
        refs = api.list_repo_refs(repo_id, repo_type=kind)
        there = next((ref.target_commit for ref in refs.tags if ref.name == tag), "")
        commit = there or _send(api, parcel, repo_id)
        _refuse_other(api, parcel, repo_id, commit, new=not there)
        if tag and not there:
            api.create_tag(repo_id, repo_type=kind, tag=tag, revision=commit)
        if order.visible:
            api.update_repo_settings(repo_id, repo_type=kind, private=False)
    before = there or next((ref.target_commit for ref in refs.branches if ref.name == "main"), "")
    return Uploaded(str(url), commit, tag, commit != before)


def _send(api: HfApi, parcel: Parcel, repo_id: str) -> str:
    info = api.upload_folder(
        repo_id=repo_id,
        repo_type=parcel.repo_type,
        folder_path=parcel.root,
        commit_message=f"Release {parcel.tag}".rstrip(),
        ignore_patterns=[".*", "**/.*"],
        delete_patterns=["*"],
    )
    return str(info.oid)


def _refuse_other(api: HfApi, parcel: Parcel, repo_id: str, commit: str, *, new: bool) -> None:
    """Compare what is on the Hub with the release, file by file, by the Hub's own digests."""
    found = api.verify_repo_checksums(
        repo_id, repo_type=parcel.repo_type, revision=commit, local_dir=parcel.root
    )
    wrong = dict.fromkeys(found.extra_paths, "is not there")
    wrong |= {file["path"]: "arrived with another digest" for file in found.mismatches}
    if MANIFEST in wrong and not new:
        version = f"version {parcel.tag}"
        raise InputError(
            repo_id,
            [f"{version} is published already, with other content: a version never changes"],
            "publish the change as a new version (ictmri withdraw, ictmri erratum), or elsewhere",
        )
    problems = [f"{name}: {wrong[name]}" for name in parcel.files if name in wrong]
    if problems:
        raise InputError(repo_id, problems, "run the same command again")
