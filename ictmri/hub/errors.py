"""What went wrong on the way to the Hugging Face Hub, and what the user can do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from ictmri.errors import AccessError, InputError
from ictmri.io.yamlfile import own_table

RepoType = Literal["dataset", "model"]
_PLACES: Final[dict[RepoType, str]] = {"dataset": "datasets/", "model": ""}
"""Where repositories lie on the Hub."""
_table: Final = partial(own_table, Path(__file__).with_suffix(".yaml"))
_PHRASES: Final = {
    "network": "check the network, the proxy settings and HF_ENDPOINT, then run the same command again",
    "log_in": "log in with `hf auth login`, or set HF_TOKEN",
}


class HubError(AccessError):
    """The Hub, or a repository on it, cannot be reached.

    Args:
        repo_id: the repository that was asked for.
        reason: what is wrong, one line.
        next_step: what the user can do about it.
        unreachable: True where the Hub did not answer the question, so that a copy may stand in.
    """

    def __init__(
        self, repo_id: str, reason: str, next_step: str, *, unreachable: bool = False
    ) -> None:
        self.repo_id = repo_id
        self.reason = reason
        self.next_step = next_step
        self.unreachable = unreachable
        super().__init__(f"{repo_id}: {reason}\nNext: {next_step}")


@contextmanager
def reaching(
    repo_id: str,
    *,
    token: str | None = None,
    revision: str | None = None,
    writing: bool = False,
    repo_type: RepoType = "dataset",
) -> Iterator[None]:
    """Turn every failure of the Hub's client inside the block into a HubError.

    Args:
        repo_id: the repository.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit that is asked for.
        writing: the block changes the repository.
        repo_type: what it holds.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        InputError: ``repo_id`` is not a name that a repository can have.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(repo_id, [str(error)], "give the repository as ORG/NAME") from None
    except Exception as raised:
        # What fails in the threads of an upload arrives as the cause of a RuntimeError.
        for cause in (raised, raised.__cause__):
            kind = _kind(cause, repo_id, token=token, writing=writing)
            if cause is not None and kind:
                raise _explained(cause, kind, repo_id, revision, repo_type) from raised
        raise


def is_connection_error(error: BaseException | None) -> bool:
    """Return whether the network failed, not what it carried.

    Known by name: huggingface_hub lets its HTTP client's own errors through, and has changed clients.
    """
    return _is_a(error, "TransportError")


def _is_a(error: BaseException | None, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def page_of(repo_id: str, repo_type: RepoType) -> str:
    """Return the address of a repository."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{_PLACES[repo_type]}{repo_id}"


def _explained(
    error: BaseException, kind: str, repo_id: str, revision: str | None, repo_type: RepoType
) -> HubError:
    from huggingface_hub import constants

    response = getattr(error, "response", None)
    seconds = "" if response is None else response.headers.get("Retry-After", "")
    facts = {
        **_PHRASES,
        "endpoint": constants.ENDPOINT,
        "page": page_of(repo_id, repo_type),
        "kind": repo_type,
        "owner": repo_id.split("/", maxsplit=1)[0],
        "revision": revision,
        "said": " ".join(_words(error).split())[:300] or "no reason given",
        "status": getattr(response, "status_code", None),
        "wait": f"{seconds} seconds" if seconds.isdigit() else "five minutes",
    }
    (told,) = (kinds[kind] for kinds in _table().values() if kind in kinds)
    reason, next_step = told["reason"].format(**facts), told["next"].format(**facts)
    return HubError(repo_id, reason, next_step, unreachable=kind in _table()["unreachable"])


def _words(error: BaseException) -> str:
    return getattr(error, "server_message", None) or str(error)


def _kind(
    error: BaseException | None, repo_id: str, *, token: str | None, writing: bool
) -> str | None:
    """Return what an error means, by its name in the table; None where it is not the Hub's."""
    from huggingface_hub import errors, get_token

    if isinstance(error, errors.HfHubHTTPError):
        status, headers = error.response.status_code, error.response.headers
        nobody = f"{'gated' if isinstance(error, errors.GatedRepoError) else 'missing'}, nobody"
        meanings = [
            (isinstance(error, errors.RevisionNotFoundError), "no revision"),
            (status == 401, "bad token" if token or get_token() else nobody),
            (status == 403, "read only" if writing else _access(error, repo_id)),
            (isinstance(error, errors.RepositoryNotFoundError), "missing"),
            (status == 429, "too many"),
            (status >= 500, "its own"),
            (status == 404 and "X-Error-Code" not in headers, "not the Hub"),
            (True, "other"),
        ]
    else:
        meanings = [
            (isinstance(error, errors.OfflineModeIsEnabled), "offline"),
            (isinstance(error, json.JSONDecodeError), "not the Hub"),
            (is_connection_error(error) and _is_a(error, "TimeoutException"), "silent"),
            (is_connection_error(error), "cut off"),
        ]
    return next((kind for holds, kind in meanings if holds), None)


def _access(error: BaseException, repo_id: str) -> str:
    said = _words(error).replace(repo_id, "").casefold()
    states: dict[str, Any] = _table()["access"]
    return next(
        name for name, state in states.items() if any(word in said for word in state["words"])
    )
