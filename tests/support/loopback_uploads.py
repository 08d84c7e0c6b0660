"""What changes a repository on the loopback Hub."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from support.loopback_access import Request, may_write, written
from support.loopback_card import card_problems
from support.loopback_store import Blob, RefusalError, Reply, Repository, as_json, is_lfs, key_of

if TYPE_CHECKING:
    from support.loopback_hub import LoopbackHub


def create_repo(hub: LoopbackHub, request: Request) -> Reply:
    asked, repo_id = request.json(), _named(request)
    may_write(request.user, repo_id)
    kind = asked.get("type", "model")
    if kind not in ("dataset", "model"):
        raise RefusalError(400, "this Hub keeps datasets and models only")
    there = hub.repositories.get(key_of(repo_id, kind))
    repository = there or hub.create(repo_id, kind)
    url = {"url": f"{hub.endpoint}/{repository.address}", "name": repo_id}
    if there:
        return as_json({"error": f"You already created this {kind} repo", **url}, 409)
    repository.private = asked.get("visibility") == "private"
    return as_json(url)


def _named(request: Request) -> str:
    asked, user = request.json(), request.user
    return f"{asked.get('organization') or (user.name if user else '')}/{asked['name']}"


def delete_repo(hub: LoopbackHub, request: Request) -> Reply:
    repo_id = _named(request)
    may_write(request.user, repo_id)
    if hub.repositories.pop(key_of(repo_id, request.json().get("type", "model")), None) is None:
        raise RefusalError(404, "Repository not found", "RepoNotFound")
    return Reply()


def settings(hub: LoopbackHub, request: Request) -> Reply:
    repository, asked = written(hub.repositories, request), request.json()
    if asked.get("gated", False) not in ("auto", "manual", False):
        raise RefusalError(400, '"gated" must be one of [auto, manual, false]')
    repository.gated = asked.get("gated", repository.gated)
    if "visibility" in asked:
        repository.private = asked["visibility"] == "private"
    return as_json({"gated": repository.gated, "private": repository.private})


def create_ref(hub: LoopbackHub, request: Request) -> Reply:
    repository, asked, parts = written(hub.repositories, request), request.json(), request.parts
    is_tag = parts["kind"] == "tag"
    refs = repository.tags if is_tag else repository.branches
    name = asked["tag"] if is_tag else parts["name"]
    start = parts["name"] if is_tag else asked.get("startingPoint", "main")
    if name in refs:
        raise RefusalError(409, f"{parts['kind'].capitalize()} already exists: {name}")
    refs[name] = repository.at(start).sha
    return Reply()


def delete_ref(hub: LoopbackHub, request: Request) -> Reply:
    repository, parts = written(hub.repositories, request), request.parts
    refs = repository.tags if parts["kind"] == "tag" else repository.branches
    if refs.pop(parts["name"], None) is None:
        raise RefusalError(404, f"Invalid rev id: {parts['name']}", "RevisionNotFound")
    return Reply()


def preupload(hub: LoopbackHub, request: Request) -> Reply:
    known = written(hub.repositories, request).at(request.parts["revision"]).files
    answers = []
    for file in request.json()["files"]:
        blob, sample = known.get(file["path"]), base64.b64decode(file["sample"])
        mode = "lfs" if is_lfs(file["path"], file["size"], sample) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        if blob:
            answer["oid"] = blob.sha256 if blob.lfs else blob.oid
        answers.append(answer)
    return as_json({"files": answers})


def lfs_batch(hub: LoopbackHub, request: Request) -> Reply:
    repository = written(hub.repositories, request)
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in repository.objects:
            href = f"{hub.cdn}/{repository.key}/upload/{wanted['oid']}"
            verify = f"{hub.endpoint}/{repository.address}.git/info/lfs/objects/verify"
            entry["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
        objects.append(entry)
    return as_json({"transfer": "basic", "objects": objects})


def lfs_verify(hub: LoopbackHub, request: Request) -> Reply:
    content = written(hub.repositories, request).objects.get(request.json()["oid"])
    if content is None or len(content) != request.json()["size"]:
        raise RefusalError(404, "the object was not uploaded whole")
    return as_json({})


def put_object(hub: LoopbackHub, request: Request) -> Reply:
    """Store an LFS object, sent to an address that the batch of uploads gave out."""
    refuse_token(request)
    oid = request.parts["oid"]
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise RefusalError(400, "the content does not match its SHA-256")
    hub.repositories[request.parts["repo"]].objects[oid] = request.body
    return Reply(headers={"ETag": f'"{oid}"'})


def refuse_token(request: Request) -> None:
    """Refuse a token where the address is signed, as the Hub's storage does."""
    if "Authorization" in request.headers:
        raise RefusalError(400, "Only one auth mechanism allowed")


def commit(hub: LoopbackHub, request: Request) -> Reply:
    repository, branch = written(hub.repositories, request), request.parts["revision"]
    if "create_pr" in request.query or branch not in repository.branches:
        raise RefusalError(400, "this Hub takes commits to branches only")
    tip = repository.at(branch)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = lines[0]["value"]
    if header.get("parentCommit", tip.sha) != tip.sha:
        raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(tip.files)
    for line in lines[1:]:
        _apply(repository, files, line["key"], line["value"])
    readme = files.get("README.md")
    errors = card_problems(readme.content.decode())[0] if readme else []
    if errors:
        raise RefusalError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    author = request.user.name if request.user else ""
    made = repository.add(branch, files, header["summary"], header.get("description", ""), author)
    url = f"{hub.endpoint}/{repository.address}/commit/{made.sha}"
    return as_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def _apply(repository: Repository, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    path = value["path"].rstrip("/")
    if path.startswith("/") or ".." in path.split("/"):
        raise RefusalError(400, f"invalid path {path!r}")
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in repository.objects:
            raise RefusalError(400, f"LFS object {value['oid']} was not uploaded")
        files[path] = Blob(repository.objects[value["oid"]], lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        gone = [p for p in files if p == path or (key[7:] == "Folder" and p.startswith(f"{path}/"))]
        if not gone:
            raise RefusalError(400, f"{path} does not exist", "EntryNotFound")
        for name in gone:
            del files[name]
    else:
        raise RefusalError(400, f"unknown operation {key}")
