"""What went wrong on the way to the Hugging Face Hub, and what the user can do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ictmri.errors import AccessError, InputError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_NETWORK: Final = (
    "check the network, the proxy settings and HF_ENDPOINT, then run the same command again"
)
_LOG_IN: Final = "log in with `hf auth login`, or set HF_TOKEN"
_UNREACHABLE: Final = {
    "offline": (
        "the Hub is not asked because HF_HUB_OFFLINE is set",
        "unset HF_HUB_OFFLINE and run again",
    ),
    "silent": ("{endpoint} does not answer in time", _NETWORK),
    "cut off": ("{endpoint} cannot be reached: {said}", _NETWORK),
    # A proxy's login page, for one.
    "not the Hub": (
        "what answers at {endpoint} is not the Hub",
        f"open that address in a browser; {_NETWORK}",
    ),
    "too many": (
        "too many requests from here: the Hub limits their rate (status 429)",
        "wait {wait} and run again; logging in with `hf auth login` raises the limit",
    ),
    "its own": (
        "the Hub has a problem of its own (status {status})",
        "run again in a few minutes; see https://status.huggingface.co",
    ),
}
"""Reason and next step where the Hub did not answer the question."""
_REFUSED: Final = {
    "no revision": (
        "it has no revision {revision!r}",
        "see its tags at {page}/tree/main, or leave the revision out for the newest",
    ),
    "missing": (
        "no such dataset repository, or a private one that your account cannot see",
        "check the name at {page}, or ask its owners to let you in",
    ),
    "missing, nobody": (
        "no such dataset repository, or a private one, and you are not logged in",
        f"check the name; if it is private, {_LOG_IN}",
    ),
    "gated, nobody": (
        "it is gated, and you are not logged in",
        f"ask for access at {{page}}, then {_LOG_IN}",
    ),
    "bad token": (
        "the Hub does not accept your token: it is mistyped, expired or revoked",
        "make a new one at {endpoint}/settings/tokens, then `hf auth login` or set HF_TOKEN",
    ),
    "read only": (
        "your account or token may not change it (the Hub says: {said})",
        "use a token that may write ({endpoint}/settings/tokens) of a member of {owner}",
    ),
    "rejected": (
        "its owners rejected your request for access",
        "write to its owners, see {page}",
    ),
    "pending": (
        "your request for access awaits its owners' review",
        "wait for the Hub's e-mail, then run again",
    ),
    "limited token": (
        "your token may not read gated repositories",
        "allow it to at {endpoint}/settings/tokens, then run again",
    ),
    "not asked": (
        "it is gated, and your account has not asked for access and accepted its terms",
        "ask for access at {page}, then run again",
    ),
    "no access": (
        "your account has no access to it (the Hub says: {said})",
        "see {page}, then run again",
    ),
    "other": ("the Hub refuses (status {status}): {said}", "see {page}, then run again"),
}
"""Reason and next step where something is wrong with the question, or with who asks."""
_ACCESS: Final = {
    "rejected": r"reject|denied|declin",
    "pending": r"await|pending|review",
    "limited token": r"fine-?grained|token settings",
    "not asked": r"authori[sz]ed list|ask for access|request access|must have access|accept|agree",
    "no access": "",
}
"""How the Hub words the states of a request for access (its X-Error-Message); the first that fits."""


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
    from huggingface_hub import constants, errors, get_token

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(repo_id, [str(error)], "give the repository as ORG/NAME") from None
    except Exception as raised:
        # What fails in the threads of an upload arrives as the cause of a RuntimeError.
        error = raised if _known(raised) else raised.__cause__
        if error is None or not _known(error):
            raise
        response = getattr(error, "response", None)
        seconds = response.headers.get("Retry-After", "") if response else ""
        facts = {
            "endpoint": constants.ENDPOINT,
            "page": f"{constants.ENDPOINT}/datasets/{repo_id}",
            "owner": repo_id.split("/", maxsplit=1)[0],
            "revision": revision,
            "said": " ".join(_words(error).split())[:300] or "no reason given",
            "status": response.status_code if response else "",
            "wait": f"{seconds} seconds" if seconds.isdigit() else "five minutes",
        }
        if isinstance(error, errors.HfHubHTTPError):
            kind = _refusal(error, repo_id, with_token=bool(token or get_token()), writing=writing)
        else:
            kind = _silence(error)
        unreachable = kind in _UNREACHABLE
        reason, next_step = (_UNREACHABLE if unreachable else _REFUSED)[kind]
        reason, next_step = reason.format(**facts), next_step.format(**facts)
        raise HubError(repo_id, reason, next_step, unreachable=unreachable) from raised


def is_connection_error(error: BaseException) -> bool:
    """Return whether the network failed, not what it carried.

    Known by name: huggingface_hub lets its HTTP client's own errors through, and has changed clients.
    """
    return _is_a(error, "TransportError")


def _is_a(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _known(error: BaseException) -> bool:
    from huggingface_hub import errors

    kinds = (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, json.JSONDecodeError)
    return isinstance(error, kinds) or is_connection_error(error)


def _words(error: BaseException) -> str:
    return getattr(error, "server_message", None) or str(error)


def _silence(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "not the Hub"
    if not is_connection_error(error):
        return "offline"
    return "silent" if _is_a(error, "TimeoutException") else "cut off"


def _refusal(error: HfHubHTTPError, repo_id: str, *, with_token: bool, writing: bool) -> str:
    """Return what the Hub means by a status: a key of the tables above."""
    from huggingface_hub import errors

    status = error.response.status_code
    gated = isinstance(error, errors.GatedRepoError)
    words = _words(error).replace(repo_id, "")
    access = next(k for k, said in _ACCESS.items() if re.search(said, words, re.IGNORECASE))
    nobody = "gated, nobody" if gated else "missing, nobody"
    unnamed = "X-Error-Code" not in error.response.headers
    meanings = [
        (isinstance(error, errors.RevisionNotFoundError), "no revision"),
        (status == 401, "bad token" if with_token else nobody),
        (status == 403, "read only" if writing else access),
        (isinstance(error, errors.RepositoryNotFoundError), "missing"),
        (status == 429, "too many"),
        (status >= 500, "its own"),
        (status == 404 and unnamed, "not the Hub"),
    ]
    return next((kind for holds, kind in meanings if holds), "other")
