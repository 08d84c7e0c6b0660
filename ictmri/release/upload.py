"""A release to the Hugging Face Hub: private first, then gated, then the files, then the tag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.hub.errors import reaching
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri.release.make_release import Order

if TYPE_CHECKING:
    from huggingface_hub import HfApi


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


def upload(release: Cohort, order: Order, *, token: str | None = None) -> Uploaded:
    """Upload a release folder as one commit and tag it with its version.

    A new repository is private and gated before the first byte is sent; a gate that is there stays where
    the order has none. What was uploaded before an interruption is not sent again.

    Args:
        release: the release folder.
        order: where to, behind which gate, and whether everyone sees the repository at the end.
        token: of an account that may write there.

    Raises:
        AccessError: the Hub cannot be reached, or the account may not write there.
        InputError: the version stands there with other data, or what arrived is not what was sent.
    """
    from huggingface_hub import HfApi

    api, repo_id = HfApi(token=token), order.repo_id
    tag = f"v{release.manifest.version}"
    with reaching(repo_id, writing=True):
        url = api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        if order.gate != "none":
            api.update_repo_settings(repo_id, repo_type="dataset", gated=order.gate)
        tags = api.list_repo_refs(repo_id, repo_type="dataset").tags
        new = all(ref.name != tag for ref in tags)
        if new:
            commit = _send(api, release, repo_id, tag)
        else:
            commit = str(api.repo_info(repo_id, repo_type="dataset", revision=tag).sha)
        _refuse_other(api, release, repo_id, commit, new=new)
        if new:
            api.create_tag(repo_id, repo_type="dataset", tag=tag, revision=commit)
        if order.visible:
            api.update_repo_settings(repo_id, repo_type="dataset", private=False)
    return Uploaded(str(url), commit, tag, new)


def _send(api: HfApi, release: Cohort, repo_id: str, tag: str) -> str:
    info = api.upload_folder(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=release.root,
        commit_message=f"Release {tag}",
        ignore_patterns=[".*", "**/.*"],
        delete_patterns=["*"],
    )
    return str(info.oid)


def _refuse_other(api: HfApi, release: Cohort, repo_id: str, commit: str, *, new: bool) -> None:
    """Compare what is on the Hub with the release, file by file, by the Hub's own digests."""
    found = api.verify_repo_checksums(
        repo_id, repo_type="dataset", revision=commit, local_dir=release.root
    )
    wrong = dict.fromkeys(found.extra_paths, "is not there")
    wrong |= {file["path"]: "arrived with another digest" for file in found.mismatches}
    if MANIFEST in wrong and not new:
        version = f"version v{release.manifest.version}"
        raise InputError(
            repo_id,
            [f"{version} is published already, with other content: a version never changes"],
            "publish the change as a new version (ictmri withdraw, ictmri erratum), or elsewhere",
        )
    sent = (*release.manifest.files, MANIFEST)
    problems = [f"{name}: {wrong[name]}" for name in sent if name in wrong]
    if problems:
        raise InputError(repo_id, problems, "run the same command again")
