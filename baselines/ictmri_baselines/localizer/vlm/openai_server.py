"""A model behind any OpenAI-compatible server, for example vLLM serving Qwen3-VL."""

from __future__ import annotations

import base64
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ictmri.errors import InputError, MissingDependencyError, nearest
from ictmri_baselines.localizer.vlm.completion import (
    known_to_misplace,
    read_completion,
    read_models,
)
from ictmri_baselines.localizer.vlm.journal import Answer
from ictmri_baselines.localizer.vlm.prompted import Failure, Prompted, conflict
from ictmri_baselines.localizer.vlm.prompts import Prompt
from ictmri_baselines.localizer.vlm.slices import Picture, png

if TYPE_CHECKING:
    import openai

NO_KEY: Final = "EMPTY"
"""Sent where no key is named; servers of one's own do not look at it."""

ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "lesions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "bbox_2d": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                    },
                    "likelihood": {"type": "number"},
                },
                "required": ["bbox_2d", "likelihood"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["lesions"],
    "additionalProperties": False,
}
"""What an answer is asked to be; servers may ignore it, so nothing relies on it."""


def _is_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must look like http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError("must hold no password; name the key's variable with --api-key-env")
    return text


class OpenAIChat(Prompted):
    """A model behind an OpenAI-compatible server.

    Attributes:
        base_url: address of the server, up to and with ``/v1``.
        model: as the server calls it.
        api_key_env: environment variable that holds the key; none is sent where None.
        concurrency: questions under way at once.
        retries: further attempts after 429, 5xx, timeouts and cut connections, with growing pauses.
        timeout_s: for one attempt, from its first byte sent to the last one received.
        structured: ask for the JSON schema; the answer is checked in any case.
    """

    name = "openai"
    # Somebody's network is nobody else's business.
    unrecorded = Prompted.unrecorded | {
        *("base_url", "api_key_env", "concurrency", "retries", "timeout_s")
    }

    base_url: Annotated[str, AfterValidator(_is_address)]
    model: Annotated[str, Field(min_length=1)]
    api_key_env: str | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    structured: bool = True

    def asker(self) -> OpenAIServer:
        """Return the server, not asked yet."""
        return OpenAIServer(self)

    def published_model(self) -> str:
        """Return the name that the server has for it."""
        return self.model


class OpenAIServer:
    """Answers questions about pictures over HTTP, several at once."""

    def __init__(self, options: OpenAIChat) -> None:
        self._options = options
        self._structured = options.structured

    @property
    def identity(self) -> str:
        """Model and limit of tokens; not the address, nor how many questions at once."""
        options = self._options
        return f"openai/1 {options.model} {options.max_new_tokens} {options.structured}"

    def prepare(self) -> None:
        """Ask the server for its models, so that a wrong address, key or name shows before the work.

        Raises:
            MissingDependencyError: the ``openai`` package is not installed.
            InputError: nobody answers, the key is refused, or the model is not served.
        """
        client = self._client
        import openai

        from ictmri_baselines.localizer.vlm.bounded import UnusableError

        try:
            content = client.models.with_raw_response.list().content
            served = read_models(content)
        except openai.NotFoundError:
            return  # Some servers have no list; the first question will tell.
        except openai.APIError as error:
            raise self._unusable(error) from error
        except (ValueError, UnusableError) as error:
            step = "check --base-url (it mostly ends in /v1): this is no OpenAI-compatible server"
            raise InputError(self._place, [f"no list of models: {error}"], step) from None
        model = self._options.model
        if served and model not in served:
            raise InputError(
                self._place,
                [f"serves no {model!r}{nearest(model, served)}"],
                f"--model with one of: {', '.join(list(served)[:10])}",
            )
        self._check_family(served.get(model, ""))
        if doubt := known_to_misplace(content):
            sys.stderr.write(f"{self._place}: {doubt}\n")

    def ask(
        self, shown: Sequence[Picture], prompt: Prompt
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """Yield answers as they come; a question that fails for good becomes a failure.

        Raises:
            InputError: no question can succeed: the key or the model is refused, or nobody answers.
        """
        client = self._client
        places: SimpleQueue[int] = SimpleQueue()
        results: SimpleQueue[tuple[int, Answer | Failure | Exception]] = SimpleQueue()
        stop = threading.Event()
        for place in range(len(shown)):
            places.put(place)

        def work() -> None:
            while not stop.is_set():
                try:
                    place = places.get_nowait()
                except Empty:
                    return
                results.put((place, self._outcome(client, shown[place], prompt)))

        workers = min(self._options.concurrency, len(shown))
        for _ in range(workers):
            # A daemon: Ctrl-C does not wait for the pauses between attempts.
            threading.Thread(target=work, daemon=True).start()
        try:
            yield from self._collected(results, len(shown), workers)
        finally:
            stop.set()

    def _collected(
        self,
        results: SimpleQueue[tuple[int, Answer | Failure | Exception]],
        count: int,
        workers: int,
    ) -> Iterator[tuple[int, Answer | Failure]]:
        unreached = 0
        for _ in range(count):
            place, outcome = results.get()
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, Failure) and outcome.unreached:
                unreached += 1
                if unreached == workers:
                    step = "check that the server runs; answered slices are kept"
                    raise InputError(self._place, [f"cannot be reached: {outcome.reason}"], step)
            else:
                unreached = -count  # Somebody is there.
            yield place, outcome

    def _outcome(
        self, client: openai.OpenAI, picture: Picture, prompt: Prompt
    ) -> Answer | Failure | Exception:
        try:
            return self._answer(client, picture, prompt)
        except Exception as error:  # noqa: BLE001 (raised again in the thread that waits)
            return error

    @cached_property
    def _client(self) -> openai.OpenAI:
        try:
            import openai

            from ictmri_baselines.localizer.vlm.bounded import BoundedTransport
        except ImportError:
            raise MissingDependencyError("The detector openai", "vlm") from None
        options = self._options
        key = NO_KEY
        if options.api_key_env is not None:
            key = os.environ.get(options.api_key_env, "")
            if not key:
                raise InputError(
                    "--api-key-env",
                    [f"the environment variable {options.api_key_env} is not set"],
                    f"export {options.api_key_env}=...; leave the option out if no key is needed",
                )
        return openai.OpenAI(
            base_url=options.base_url,
            api_key=key,
            max_retries=options.retries,
            timeout=options.timeout_s,
            # Pictures go to the address that was named and to no other.
            http_client=openai.DefaultHttpxClient(
                transport=BoundedTransport(options.base_url, options.timeout_s),
                follow_redirects=False,
            ),
        )

    def _answer(self, client: openai.OpenAI, picture: Picture, prompt: Prompt) -> Answer | Failure:
        import openai

        from ictmri_baselines.localizer.vlm.bounded import UnusableError

        messages = _messages(picture, prompt)
        structured = self._structured
        try:
            try:
                return self._asked(client, messages, structured=structured)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not structured:
                    raise
            answer = self._asked(client, messages, structured=False)
            self._structured = False  # It answers without a schema and refuses one.
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            raise self._unusable(error) from error
        except UnusableError as error:
            return Failure(str(error))
        except openai.APIError as error:
            return self._failure(error)
        return answer

    def _failure(self, error: openai.APIError) -> Failure:
        """Return why one question failed.

        Raises:
            InputError: every other would, too.
        """
        import openai

        if isinstance(error, openai.APITimeoutError):
            return Failure(f"no answer within {self._options.timeout_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            return Failure(f"connection: {_reason(error)}", unreached=True)
        if isinstance(error, openai.APIStatusError):
            if error.response.is_redirect:
                raise self._unusable(error) from error
            return Failure(f"HTTP {error.status_code}: {_reason(error)}")
        return Failure(_reason(error))

    def _asked(
        self, client: openai.OpenAI, messages: list[Any], *, structured: bool
    ) -> Answer | Failure:
        extra: dict[str, Any] = {}
        if structured:
            form = {"name": "lesions", "schema": ANSWER_SCHEMA, "strict": True}
            extra["response_format"] = {"type": "json_schema", "json_schema": form}
        reply = client.chat.completions.with_raw_response.create(
            model=self._options.model,
            messages=messages,
            temperature=0,
            max_tokens=self._options.max_new_tokens,
            **extra,
        )
        try:
            answer = read_completion(reply.content, self._options.model)
        except ValueError as error:
            return Failure(f"no chat completion: {error}")
        self._check_family(answer.model or "")
        return answer

    def _check_family(self, name: str) -> None:
        """Refuse to read thousandths as pixels, or the other way round, whoever it is that answers."""
        problem = conflict(name, self._options.coordinates)
        if problem:
            model = self._options.model
            raise InputError(self._place, [f"{model!r} there is {name[:200]!r}"], problem)

    @property
    def _place(self) -> str:
        return urlsplit(self._options.base_url).netloc

    def _unusable(self, error: openai.APIError) -> InputError:
        import openai

        if isinstance(error, openai.APIStatusError) and error.response.is_redirect:
            there = urlsplit(error.response.headers.get("Location", "")).netloc[:200]
            problem = f"sends on to {there or 'another address'}, where no picture is sent"
            return InputError(
                self._place, [problem], "if you trust that address, --base-url with it"
            )
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            step = "--api-key-env NAME with the variable that holds a valid key"
        elif isinstance(error, openai.NotFoundError):
            step = "check --model and --base-url (it mostly ends in /v1)"
        else:
            step = "check that the server runs and that --base-url is its address"
        return InputError(self._place, [_reason(error)], step)


def _messages(picture: Picture, prompt: Prompt) -> list[Any]:
    address = "data:image/png;base64," + base64.b64encode(png(picture)).decode()
    return [
        {"role": "system", "content": prompt.system},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": address}},
                {"type": "text", "text": prompt.user},
            ],
        },
    ]


def _reason(error: Exception) -> str:
    """Return the first line of what went wrong, with the cause where there is one."""
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    cause = error.__cause__
    return f"{text} ({cause})"[:300] if cause and str(cause) else text[:300]
