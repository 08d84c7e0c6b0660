"""What a server says, as far as it is used: checked whole before any of it is."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import validation_problems
from ictmri_baselines.localizer.boxes import Count, Tokens
from ictmri_baselines.localizer.vlm.journal import Answer
from ictmri_baselines.localizer.vlm.replies import MAX_CHARACTERS

_ANSWERS: Final = ("text", "output_text")
_THOUGHTS: Final = ("thinking", "reasoning")
MISPLACED: Final = (
    "this looks like llama.cpp or a GGUF file, where boxes of Qwen3-VL were reported to lie in wrong "
    "places while transformers places them right (github.com/ggml-org/llama.cpp/issues/17131): ask the "
    "mirrored slices, too (--mirror report), or serve the model with vLLM"
)


class _Strict(BaseModel):
    """Without conversions; what a server says besides is ignored."""

    model_config = ConfigDict(strict=True)


class _Part(_Strict):
    type: str
    text: str | None = None


class _Message(_Strict):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(_Strict):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Strict):
    prompt_tokens: Count
    completion_tokens: Count


class _Completion(_Strict):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    model: Any = None
    usage: Any = None


class _Model(_Strict):
    id: str
    root: Any = None
    owned_by: Any = None


class _Models(_Strict):
    data: list[_Model]


def read_models(content: bytes) -> dict[str, str]:
    """Return the models that a server lists, by id: what it says that each one is, empty where nothing.

    Raises:
        ValueError: it is no such list.
    """
    try:
        found = _Models.model_validate(_json(content))
    except ValidationError as error:
        raise ValueError(_told(error)) from None
    return {model.id: model.root if isinstance(model.root, str) else "" for model in found.data}


def known_to_misplace(content: bytes) -> str:
    """Return why boxes of a server that lists these models may lie wrong; empty where nothing is known.

    llama.cpp's server names itself as the owner of its models; others name the GGUF file.
    """
    models = _Models.model_validate(_json(content)).data
    said = " ".join(f"{model.id} {model.root} {model.owned_by}" for model in models).lower()
    return MISPLACED if "llamacpp" in said or "gguf" in said else ""


def read_completion(content: bytes, asked: str) -> Answer:
    """Return the answer that a chat completion holds.

    Args:
        content: as it came.
        asked: the model's name, for a completion that does not say who answered.

    Raises:
        ValueError: it is no chat completion, or its content is no text.
    """
    try:
        found = _Completion.model_validate(_json(content))
    except ValidationError as error:
        raise ValueError(_told(error)) from None
    choice = found.choices[0]
    message = choice.message
    known = isinstance(found.model, str) and 0 < len(found.model) <= 200
    return Answer(
        text=_words(_text(message.content) or message.refusal or ""),
        model=_words(found.model) if known else asked,
        tokens=_tokens(found.usage),
        refused=bool(message.refusal) or choice.finish_reason == "content_filter",
        cut=choice.finish_reason == "length",
    )


def _json(content: bytes) -> Any:
    """Return JSON, half characters in it and all, which pydantic's own reader refuses."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None


def _text(content: str | list[_Part] | None) -> str:
    if not isinstance(content, list):
        return content or ""
    others = [part.type for part in content if part.type not in (*_ANSWERS, *_THOUGHTS)]
    if others:
        raise ValueError(f"its content has a part of type {others[0][:50]!r}, no text")
    return "".join(part.text or "" for part in content if part.type in _ANSWERS)


def _tokens(usage: Any) -> Tokens | None:
    """Return what was counted; None where it was not, or not in numbers."""
    try:
        counted = _Usage.model_validate(usage)
    except ValidationError:
        return None
    return Tokens(counted.prompt_tokens, counted.completion_tokens)


def _words(text: str) -> str:
    """Return text without half characters, which JSON can hold and no file, and no longer than is read."""
    return text[: MAX_CHARACTERS + 1].encode("utf-8", "replace").decode()


def _told(error: ValidationError) -> str:
    return "; ".join(validation_problems(error)[:3])
