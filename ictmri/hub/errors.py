"""What went wrong on the way to the Hugging Face Hub, and what the user can do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ictmri.errors import AccessError, InputError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

# How the Hub words the three states of a request for access (its X-Error-Message), and a token's limits.
_REJECTED: Final = re.compile(r"reject|denied|declin", re.IGNORECASE)
_PENDING: Final = re.compile(r"await|pending|review", re.IGNORECASE)
_LIMITED_TOKEN: Final = re.compile(r"fine-?grained|token settings", re.IGNORECASE)
_NOT_ASKED: Final = re.compile(
    r"authori[sz]ed list|ask for access|request access|must have access|accept|agree", re.IGNORECASE
)
_NETWORK: Final = (
    "check the network, the proxy settings and HF_ENDPOINT, then run the same command again"
)


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
    repo_id: str, *, token: str | None = None, revision: str | None = None, writing: bool = False
) -> Iterator[None]:
    """Turn every failure of the Hub's client inside the block into a HubError.

    Args:
        repo_id: the dataset repository.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: branch, tag or commit that is asked for.
        writing: the block changes the repository.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        InputError: ``repo_id`` is not a name that a repository can have.
    """
    from huggingface_hub import errors, get_token

    asked = _Asked(repo_id, revision, with_token=bool(token or get_token()), writing=writing)
    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(repo_id, [str(error)], "give the repository as ORG/NAME") from None
    except Exception as error:
        # What fails in the threads of an upload arrives as the cause of a RuntimeError.
        explained = _explained(error, asked) or _explained(error.__cause__, asked)
        if explained is None:
            raise
        raise explained from error


def is_connection_error(error: BaseException) -> bool:
    """Return whether the network failed, not what it carried.

    Known by name: huggingface_hub lets its HTTP client's own errors through, and has changed clients.
    """
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def page(repo_id: str) -> str:
    """Return the address of a dataset repository's page."""
    return f"{_endpoint()}/datasets/{repo_id}"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@dataclass(frozen=True, slots=True)
class _Asked:
    repo_id: str
    revision: str | None
    with_token: bool
    writing: bool


def _explained(error: BaseException | None, asked: _Asked) -> HubError | None:
    from huggingface_hub import errors

    repo_id = asked.repo_id
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "the Hub is not asked because HF_HUB_OFFLINE is set"
        return HubError(repo_id, reason, "unset HF_HUB_OFFLINE and run again", unreachable=True)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return _refused(error, status, asked) or _failed(error, status, repo_id)
    if isinstance(error, json.JSONDecodeError):
        return _not_the_hub(repo_id)
    if error is not None and is_connection_error(error):
        slow = any(kind.__name__ == "TimeoutException" for kind in type(error).__mro__)
        what = "does not answer in time" if slow else f"cannot be reached: {_one_line(str(error))}"
        return HubError(repo_id, f"{_endpoint()} {what}", _NETWORK, unreachable=True)
    return None


def _refused(error: HfHubHTTPError, status: int, asked: _Asked) -> HubError | None:
    """Explain what is wrong with the question or with who asks; None where it is the Hub's failure."""
    from huggingface_hub import errors

    repo_id, said = asked.repo_id, error.server_message or "no reason given"
    if isinstance(error, errors.RevisionNotFoundError):
        tags = f"{page(repo_id)}/tree/main"
        next_step = f"see its tags at {tags}, or leave the revision out for the newest"
        return HubError(repo_id, f"it has no revision {asked.revision!r}", next_step)
    if status == 401:
        gated = isinstance(error, errors.GatedRepoError)
        return _bad_token(repo_id) if asked.with_token else _no_token(repo_id, gated=gated)
    if status == 403:
        return _read_only(repo_id, said) if asked.writing else _forbidden(repo_id, said)
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            repo_id,
            "no such dataset repository, or a private one that your account cannot see",
            f"check the name at {page(repo_id)}, or ask its owners to let you in",
        )
    return None


def _failed(error: HfHubHTTPError, status: int, repo_id: str) -> HubError:
    if status == 429:
        seconds = error.response.headers.get("Retry-After", "")
        wait = f"{seconds} seconds" if seconds.isdigit() else "five minutes"
        return HubError(
            repo_id,
            "too many requests from here: the Hub limits their rate (status 429)",
            f"wait {wait} and run again; logging in with `hf auth login` raises the limit",
            unreachable=True,
        )
    if status >= 500:
        return HubError(
            repo_id,
            f"the Hub has a problem of its own (status {status})",
            "run again in a few minutes; see https://status.huggingface.co",
            unreachable=True,
        )
    if status == 404 and "X-Error-Code" not in error.response.headers:
        return _not_the_hub(repo_id)
    said = _one_line(error.server_message or str(error))
    reason = f"the Hub refuses (status {status}): {said}"
    return HubError(repo_id, reason, f"see {page(repo_id)}, then run again")


def _not_the_hub(repo_id: str) -> HubError:
    # A proxy's login page, for one.
    reason = f"what answers at {_endpoint()} is not the Hub"
    return HubError(
        repo_id, reason, f"open that address in a browser; {_NETWORK}", unreachable=True
    )


def _no_token(repo_id: str, *, gated: bool) -> HubError:
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if gated:
        return HubError(
            repo_id,
            "it is gated, and you are not logged in",
            f"ask for access at {page(repo_id)}, then {log_in}",
        )
    return HubError(
        repo_id,
        "no such dataset repository, or a private one, and you are not logged in",
        f"check the name; if it is private, {log_in}",
    )


def _bad_token(repo_id: str) -> HubError:
    return HubError(
        repo_id,
        "the Hub does not accept your token: it is mistyped, expired or revoked",
        f"make a new one at {_endpoint()}/settings/tokens, then `hf auth login` or set HF_TOKEN",
    )


def _read_only(repo_id: str, said: str) -> HubError:
    return HubError(
        repo_id,
        f"your account or token may not change it (the Hub says: {_one_line(said)})",
        f"use a token that may write ({_endpoint()}/settings/tokens) of a member of"
        f" {repo_id.split('/', maxsplit=1)[0]}",
    )


def _forbidden(repo_id: str, said: str) -> HubError:
    words = said.replace(repo_id, "")
    if _REJECTED.search(words):
        reason = "its owners rejected your request for access"
        return HubError(repo_id, reason, f"write to its owners, see {page(repo_id)}")
    if _PENDING.search(words):
        reason = "your request for access awaits its owners' review"
        return HubError(repo_id, reason, "wait for the Hub's e-mail, then run again")
    if _LIMITED_TOKEN.search(words):
        return HubError(
            repo_id,
            "your token may not read gated repositories",
            f"allow it to at {_endpoint()}/settings/tokens, then run again",
        )
    if _NOT_ASKED.search(words):
        return HubError(
            repo_id,
            "it is gated, and your account has not asked for access and accepted its terms",
            f"ask for access at {page(repo_id)}, then run again",
        )
    reason = f"your account has no access to it (the Hub says: {_one_line(said)})"
    return HubError(repo_id, reason, f"see {page(repo_id)}, then run again")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300] or "no reason given"
