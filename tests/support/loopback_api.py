"""The addresses of the loopback Hub, and what those do that only read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from support import loopback_uploads as uploads
from support.loopback_access import Request, read, seen, user_of, written
from support.loopback_card import card_problems
from support.loopback_store import Commit, RefusalError, Reply, as_json, key_of

if TYPE_CHECKING:
    from support.loopback_hub import LoopbackHub


def answer(
    hub: LoopbackHub, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> Reply:
    """Return the reply to a request; a refusal is one too."""
    url = urlsplit(target)
    try:
        hub.faults.strike(unquote(url.path))
        for pattern, methods, action in _ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and method in methods.split():
                parts = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                if "of" in parts and parts["of"] != "datasets/":
                    parts["repo"] = key_of(parts["repo"], "model")
                # The CDN knows no users.
                user = None if url.path.startswith("/cdn/") else user_of(hub.users, headers)
                request = Request(method, parse_qs(url.query), headers, body, user, parts)
                with hub.lock:
                    return action(hub, request)
        raise RefusalError(404, "Not Found")
    except RefusalError as refusal:
        return refusal.reply


def _info(hub: LoopbackHub, request: Request) -> Reply:
    repository = seen(hub.repositories, request)
    commit = repository.at(request.parts.get("revision", "main"))
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in commit.files]
    if "blobs" in request.query:
        for entry in siblings:
            known = commit.files[entry["rfilename"]].described(entry["rfilename"])
            lfs = {**known["lfs"], "sha256": known["lfs"]["oid"]} if "lfs" in known else None
            entry |= {"size": known["size"], "blobId": known["oid"], "lfs": lfs}
    return as_json(
        {
            "_id": hashlib.sha1(repository.id.encode()).hexdigest()[:24],
            "id": repository.id,
            "author": repository.id.split("/")[0],
            "sha": commit.sha,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
    )


def _entries(commit: Commit, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in commit.files.items():
        if not path.startswith(prefix):
            continue
        below = path.removeprefix(prefix).split("/")
        depths = range(1, len(below)) if recursive else range(1, min(2, len(below)))
        for depth in depths:
            name = prefix + "/".join(below[:depth])
            oid = hashlib.sha1(name.encode()).hexdigest()
            entries[name] = {"type": "directory", "path": name, "oid": oid, "size": 0}
        if recursive or len(below) == 1:
            entries[path] = blob.described(path)
    return [entries[name] for name in sorted(entries)]


def _last_commit(commit: Commit) -> dict[str, Any]:
    return {"id": commit.sha, "title": commit.title, "date": "2026-01-01T00:00:00.000Z"}


def _tree(hub: LoopbackHub, request: Request) -> Reply:
    commit = seen(hub.repositories, request).at(request.parts["revision"])
    folder, recursive = request.parts.get("path", ""), request.flag("recursive")
    entries = _entries(commit, folder, recursive=recursive)
    if folder and not entries:
        raise RefusalError(404, f"{folder} does not exist", "EntryNotFound")
    if request.flag("expand"):
        entries = [{**entry, "lastCommit": _last_commit(commit)} for entry in entries]
    for entry in entries:
        entry["size"] = hub.claimed_sizes.get(entry["path"], entry["size"])
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + hub.tree_page
    flags = f"recursive={recursive}&expand={request.flag('expand')}&cursor={stop}"
    path = request.parts["api"] + f"/tree/{commit.sha}/{quote(folder)}"
    here = f"{hub.endpoint}{path}"
    more = {"Link": f'<{here.rstrip("/")}?{flags}>; rel="next"'} if stop < len(entries) else {}
    return as_json(entries[start:stop], **more)


def _paths_info(hub: LoopbackHub, request: Request) -> Reply:
    commit = seen(hub.repositories, request).at(request.parts["revision"])
    if "json" in request.headers.get("Content-Type", ""):
        paths = request.json()["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    known = {entry["path"]: entry for entry in _entries(commit, "", recursive=True)}
    found = [known[path.rstrip("/")] for path in paths if path.rstrip("/") in known]
    return as_json([{**entry, "lastCommit": _last_commit(commit)} for entry in found])


def _refs(hub: LoopbackHub, request: Request) -> Reply:
    repository = seen(hub.repositories, request)

    def listed(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": c} for n, c in refs.items()]

    branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
    return as_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


def _commits(hub: LoopbackHub, request: Request) -> Reply:
    repository = seen(hub.repositories, request)
    commit: Commit | None = repository.at(request.parts["revision"])
    listed = []
    while commit:
        authors = [{"user": commit.author or "seed"}]
        entry = {**_last_commit(commit), "message": commit.message, "authors": authors}
        listed.append(entry)
        commit = repository.commits.get(commit.parent)
    return as_json(listed)


def _whoami(hub: LoopbackHub, request: Request) -> Reply:
    user = request.user
    if user is None:
        raise RefusalError(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in user.orgs]
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": user.role}}
    return as_json(
        {"type": "user", "id": user.name, "name": user.name, "orgs": orgs, "auth": token}
    )


def _auth_check(hub: LoopbackHub, request: Request) -> Reply:
    if "write" in request.parts:
        written(hub.repositories, request)
    else:
        read(hub.repositories, request)
    return as_json({})


def _validate_yaml(hub: LoopbackHub, request: Request) -> Reply:
    errors, warnings = card_problems(request.json()["content"])
    found = {
        "errors": [{"message": e} for e in errors],
        "warnings": [{"message": w} for w in warnings],
    }
    return as_json(found, 400 if errors else 200)


def _resolve(hub: LoopbackHub, request: Request) -> Reply:
    repository = read(hub.repositories, request)
    commit, path = repository.at(request.parts["revision"]), request.parts["path"]
    about = {"X-Repo-Commit": commit.sha}
    blob = commit.files.get(path)
    if blob is None:
        raise RefusalError(404, "Entry not found", "EntryNotFound", about)
    if not blob.lfs:
        content = hub.faults.damage(path, blob.content)
        return Reply(200, content, {**about, "ETag": f'"{blob.oid}"'}, file=path)
    linked = {"X-Linked-Size": str(len(blob.content)), "X-Linked-Etag": f'"{blob.sha256}"'}
    where = f"{hub.cdn}/{repository.key}/{blob.sha256}/{quote(path)}"
    return Reply(302, b"Found", {**about, **linked, "Location": where, "ETag": f'"{blob.oid}"'})


def _cdn(hub: LoopbackHub, request: Request) -> Reply:
    """Serve an LFS object; its address is permission enough, and a token one too many."""
    uploads.refuse_token(request)
    oid, path = request.parts["oid"], request.parts["path"]
    for commit in hub.repositories[request.parts["repo"]].commits.values():
        blob = commit.files.get(path)
        if blob and blob.sha256 == oid:
            content = hub.faults.damage(path, blob.content)
            return Reply(200, content, {"ETag": f'"{oid}"'}, file=path)
    raise RefusalError(404, "no such object")


_REPO: Final = "(?P<api>/api/(?P<of>datasets/|models/)(?P<repo>[^/]+/[^/]+))"
_FILES: Final = "/(?P<of>datasets/|)(?P<repo>[^/]+/[^/]+)"
_STORED: Final = "/cdn/(?P<repo>(?:models/)?[^/]+/[^/]+)"
_ROUTES: Final[list[tuple[str, str, Callable[[LoopbackHub, Request], Reply]]]] = [
    ("/api/repos/create", "POST", uploads.create_repo),
    ("/api/repos/delete", "DELETE", uploads.delete_repo),
    ("/api/whoami-v2", "GET", _whoami),
    ("/api/validate-yaml", "POST", _validate_yaml),
    (f"{_REPO}/settings", "PUT", uploads.settings),
    (f"{_REPO}/auth-check(?P<write>/write)?", "GET", _auth_check),
    (f"{_REPO}/refs", "GET", _refs),
    (f"{_REPO}/commits/(?P<revision>[^/]+)", "GET", _commits),
    (f"{_REPO}/(?P<kind>tag|branch)/(?P<name>[^/]+)", "POST", uploads.create_ref),
    (f"{_REPO}/(?P<kind>tag|branch)/(?P<name>[^/]+)", "DELETE", uploads.delete_ref),
    (f"{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "GET", _tree),
    (f"{_REPO}/paths-info/(?P<revision>[^/]+)", "POST", _paths_info),
    (f"{_REPO}/preupload/(?P<revision>[^/]+)", "POST", uploads.preupload),
    (f"{_REPO}/commit/(?P<revision>[^/]+)", "POST", uploads.commit),
    (f"{_REPO}(?:/revision/(?P<revision>[^/]+))?", "GET", _info),
    (f"{_FILES}\\.git/info/lfs/objects/batch", "POST", uploads.lfs_batch),
    (f"{_FILES}\\.git/info/lfs/objects/verify", "POST", uploads.lfs_verify),
    (f"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "GET HEAD", _resolve),
    (f"{_STORED}/upload/(?P<oid>[0-9a-f]{{64}})", "PUT", uploads.put_object),
    (f"{_STORED}/(?P<oid>[0-9a-f]{{64}})/(?P<path>.+)", "GET HEAD", _cdn),
]
