"""Who may see, read and change what on the loopback Hub, in the words of the real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from support.loopback_store import RefusalError, Repository, User

ACCEPTED: Final = "accepted"
REFUSALS: Final = {
    "": "Access to dataset {id} is restricted and you are not in the authorized list."
    " Visit https://huggingface.co/datasets/{id} to ask for access.",
    "pending": "Your request to access dataset {id} is awaiting a review from the repo authors.",
    "rejected": "Your request to access dataset {id} has been rejected by the repo's authors.",
    "limited token": "Please enable access to public gated repositories in your fine-grained token"
    " settings to view this repository.",
}
LOG_IN: Final = (
    "Access to dataset {id} is restricted. You must have access to it and be authenticated to access"
    " it. Please log in."
)


@dataclass(frozen=True)
class Request:
    """A request, with what its address says and who sent it."""

    method: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    user: User | None
    parts: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in {"1", "true"}


def user_of(users: Mapping[str, User], headers: Mapping[str, str]) -> User | None:
    """Return the owner of the token in a request's headers, None for nobody."""
    given = headers.get("Authorization", "").removeprefix("Bearer ")
    if given and given not in users:
        raise RefusalError(401, "Invalid credentials in Authorization header")
    return users.get(given)


def seen(repositories: Mapping[str, Repository], request: Request) -> Repository:
    """Return the repository of a request, if its user may know of it."""
    repository = repositories.get(request.parts["repo"])
    if repository and (not repository.private or _owns(request.user, repository)):
        return repository
    if request.user is None:
        raise RefusalError(401, "Invalid username or password.")
    raise RefusalError(404, "Repository not found", "RepoNotFound")


def read(repositories: Mapping[str, Repository], request: Request) -> Repository:
    """Return the repository of a request, if its user may read the content of its files."""
    repository, user = seen(repositories, request), request.user
    if not repository.gated or _owns(user, repository):
        return repository
    if user is None:
        raise RefusalError(401, LOG_IN.format(id=repository.id), "GatedRepo")
    state = repository.access.get(user.name, "")
    if state == ACCEPTED:
        return repository
    raise RefusalError(403, REFUSALS.get(state, state).format(id=repository.id), "GatedRepo")


def written(repositories: Mapping[str, Repository], request: Request) -> Repository:
    """Return the repository of a request, if its user may change it."""
    repository = seen(repositories, request)
    may_write(request.user, repository.id)
    return repository


def may_write(user: User | None, repo_id: str) -> User:
    """Return the user of a request, who must be allowed to write in a namespace."""
    if user is None:
        raise RefusalError(401, "Invalid username or password.")
    if not user.owns(repo_id):
        raise RefusalError(403, f"You don't have the rights to write to {repo_id}")
    if user.role != "write":
        raise RefusalError(403, "you must use a write token to upload to a repository.")
    return user


def _owns(user: User | None, repository: Repository) -> bool:
    return user is not None and user.owns(repository.id)
