"""What the loopback Hub keeps: users, repositories, commits, files; and how it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

Gated = Literal["auto", "manual", False]

LFS_SUFFIXES: Final = (
    *(".parquet", ".arrow", ".gz", ".zip", ".tar", ".7z", ".bin", ".npy", ".npz", ".h5"),
    *(".png", ".jpg", ".jpeg", ".gif", ".tiff", ".webp", ".safetensors", ".pt"),
)
LARGE: Final = 10 * 1024 * 1024
GITATTRIBUTES: Final = "".join(f"*{suffix} filter=lfs diff=lfs -text\n" for suffix in LFS_SUFFIXES)


@dataclass(frozen=True)
class Reply:
    """What is sent back; ``file`` names the repository file whose content the body is."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    def also(self, headers: Mapping[str, str]) -> Reply:
        return Reply(self.status, self.body, {**self.headers, **headers}, self.file)


class RefusalError(Exception):
    """An answer of 4xx or 5xx, with the two headers by which clients tell errors apart."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        codes = {"X-Error-Code": code} if code else {}
        about = {"X-Error-Message": message, **codes, **(headers or {})}
        self.reply = Reply(status, json.dumps({"error": message}).encode(), about)
        super().__init__(message)


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a value as a reply."""
    kind = {"Content-Type": "application/json"}
    return Reply(status, json.dumps(value).encode(), {**kind, **headers})


@dataclass(frozen=True)
class Blob:
    """A version of a file."""

    content: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}")
        return "\n".join((*lines, f"size {len(self.content)}\n")).encode()

    @cached_property
    def oid(self) -> str:
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "oid": self.oid, "size": len(self.content)}
        if self.lfs:
            lfs = {"oid": self.sha256, "size": len(self.content), "pointerSize": len(self.pointer)}
            return {**entry, "lfs": lfs}
        return entry


@dataclass(frozen=True)
class Commit:
    """An immutable snapshot."""

    sha: str
    parent: str
    title: str
    message: str
    author: str
    files: Mapping[str, Blob]


@dataclass
class Repository:
    """A repository of a dataset, or of a model.

    Attributes:
        id: ``org/name``.
        kind: ``dataset`` or ``model``.
    """

    id: str
    kind: str = "dataset"
    private: bool = False
    gated: Gated = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the Hub knows it by: a dataset and a model may share a name."""
        return key_of(self.id, self.kind)

    @property
    def address(self) -> str:
        """Where its files lie."""
        return f"datasets/{self.id}" if self.kind == "dataset" else self.id

    def at(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or a commit id."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or name
        if sha not in self.commits:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def add(
        self,
        branch: str,
        files: Mapping[str, Blob],
        title: str,
        message: str = "",
        author: str = "",
    ) -> Commit:
        """Make ``files`` the tip of a branch."""
        parent = self.branches.get(branch, "")
        listing = [f"{path} {blob.oid}" for path, blob in sorted(files.items())]
        text = "\n".join([self.id, parent, str(len(self.commits)), title, *listing])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, title, message, author, dict(sorted(files.items())))
        self.branches[branch] = sha
        return self.commits[sha]


def key_of(repo_id: str, kind: str) -> str:
    """Return what the Hub knows a repository by."""
    return repo_id if kind == "dataset" else f"{kind}s/{repo_id}"


@dataclass(frozen=True)
class User:
    """The owner of a token."""

    name: str
    orgs: tuple[str, ...]
    role: str

    def owns(self, repo_id: str) -> bool:
        return repo_id.split("/", maxsplit=1)[0] in {self.name, *self.orgs}


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Return whether the Hub keeps such a file in LFS: by name, by size, or because it is binary."""
    return size > 0 and (path.endswith(LFS_SUFFIXES) or size > LARGE or b"\0" in sample)
