"""Qwen3-VL in this process, through transformers.

Pictures and words are put together here and not by ``AutoProcessor``: that one insists on a processor for
videos, which needs torchvision, whose wheels match one build of torch only. What it would do for pictures
is an image processor (the one of transformers that needs Pillow alone), a chat template and a placeholder
repeated once a token of the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from ictmri.errors import InputError, MissingDependencyError
from ictmri_baselines.localizer.boxes import Tokens
from ictmri_baselines.localizer.vlm.journal import Answer
from ictmri_baselines.localizer.vlm.prompted import FAMILIES, Prompted, family_of
from ictmri_baselines.localizer.vlm.prompts import Prompt
from ictmri_baselines.localizer.vlm.slices import Picture

if TYPE_CHECKING:
    import torch

QWEN: Final = "Qwen/Qwen3-VL-8B-Instruct"
IMAGE_TOKEN: Final = "<|image_pad|>"
_SAMPLE_BYTES: Final = 1024 * 1024
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


class QwenVL(Prompted):
    """Qwen3-VL in this process, through transformers.

    Attributes:
        model: id on the Hub, or a folder with the weights.
        revision: commit, tag or branch on the Hub.
        device: as torch names it (``cpu``, ``cuda:1``); ``auto`` takes a GPU where there is one.
        dtype: of weights and arithmetic.
        batch_size: pictures at once.
    """

    name = "qwen3-vl"
    unrecorded = Prompted.unrecorded | {"revision", "device", "batch_size"}

    model: str = QWEN
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8

    def asker(self) -> QwenModel:
        """Return the model, not loaded yet."""
        return QwenModel(self)

    def published_model(self) -> str:
        """Return the Hub's name, or a folder's with a fingerprint."""
        return published_name(self.model, self.revision)


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    tokenizer: Any
    image_processor: Any
    template: str
    device: str
    name: str


class QwenModel:
    """Answers questions about pictures with the weights of one folder or Hub repository.

    Nothing is loaded before the first question.
    """

    def __init__(self, options: QwenVL) -> None:
        self._options = options

    @cached_property
    def identity(self) -> str:
        """Weights, arithmetic and limit of tokens; not the device, nor how many pictures at once."""
        options = self._options
        weights = published_name(options.model, options.revision)
        return f"qwen3-vl/1 {weights} {options.dtype} {options.max_new_tokens}"

    def prepare(self) -> None:
        """Load the weights.

        Raises:
            MissingDependencyError: transformers is not installed.
            InputError: there are no such weights here, or they do not fit.
        """
        _ = self._loaded

    def ask(self, shown: Sequence[Picture], prompt: Prompt) -> Iterator[tuple[int, Answer]]:
        """Yield the answers in order, a batch at a time.

        Raises:
            InputError: the weights are not there, or the memory does not suffice.
        """
        size = self._options.batch_size
        for first in range(0, len(shown), size):
            with _memory_told(self._options):
                answers = self._answers(shown[first : first + size], prompt)
            yield from enumerate(answers, start=first)

    @cached_property
    def _loaded(self) -> _Loaded:
        with _told(self._options), _memory_told(self._options):
            return _load(self._options)

    def _answers(self, shown: Sequence[Picture], prompt: Prompt) -> list[Answer]:
        import torch

        loaded = self._loaded
        inputs = inputs_for(loaded, shown, prompt)
        with torch.inference_mode():
            generated = loaded.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=self._options.max_new_tokens,
                pad_token_id=_pad(loaded.tokenizer),
            )
        read = int(inputs["input_ids"].shape[1])
        ends = _ends(loaded)
        return [_answer(row[read:].tolist(), read, ends, loaded) for row in generated]


def inputs_for(loaded: _Loaded, shown: Sequence[Picture], prompt: Prompt) -> dict[str, Any]:
    """Return what the model is given for a batch of pictures of one size, one question each.

    Returns:
        ``input_ids``, ``attention_mask`` and ``mm_token_type_ids`` (1 at the tokens of the picture), int64
        of shape (batch, tokens); ``pixel_values`` (patches, values); ``image_grid_thw`` (batch, 3).
    """
    rgb = [np.repeat(picture[:, :, None], 3, axis=2) for picture in shown]
    seen = loaded.image_processor(images=rgb, return_tensors="pt")
    merge = loaded.image_processor.merge_size**2
    counts = (seen["image_grid_thw"].prod(dim=1) // merge).tolist()
    text = loaded.tokenizer.apply_chat_template(
        _messages(prompt), chat_template=loaded.template, tokenize=False, add_generation_prompt=True
    )
    if text.count(IMAGE_TOKEN) != 1:
        raise InputError(
            loaded.name,
            [f"its chat template gives {text.count(IMAGE_TOKEN)} places for one picture"],
            "use the weights of a Qwen-VL model together with its own chat template",
        )
    texts = [text.replace(IMAGE_TOKEN, IMAGE_TOKEN * count) for count in counts]
    # All pictures have one size, so all rows have one length.
    words = loaded.tokenizer(texts, return_tensors="pt", add_special_tokens=False)
    pictured = words["input_ids"] == loaded.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    dtype: torch.dtype = loaded.model.dtype
    inputs = {
        "input_ids": words["input_ids"],
        "attention_mask": words["attention_mask"],
        "mm_token_type_ids": pictured.long(),
        "pixel_values": seen["pixel_values"].to(dtype),
        "image_grid_thw": seen["image_grid_thw"],
    }
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}


def published_name(model: str, revision: str | None = None) -> str:
    """Return a name for weights that holds no path: a Hub id, or a folder's name and fingerprint.

    The fingerprint covers ``config.json`` and of each weight file the size, the first and the last MiB.
    """
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{revision}" if revision else model
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(stream.read(_SAMPLE_BYTES))
            stream.seek(max(path.stat().st_size - _SAMPLE_BYTES, 0))
            digest.update(stream.read())
    config = folder / "config.json"
    digest.update(config.read_bytes() if config.is_file() else b"")
    return f"{folder.resolve().name}@{digest.hexdigest()[:16]}"


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": [{"type": "text", "text": prompt.system}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
    ]


def _load(options: QwenVL) -> _Loaded:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForImageTextToText,
        AutoTokenizer,
        Qwen2VLImageProcessorPil,
    )
    from transformers.processing_utils import ProcessorMixin

    # Weights from elsewhere choose among what transformers has, and bring no code with them.
    where: dict[str, Any] = {"trust_remote_code": False}
    where |= {"revision": options.revision} if options.revision else {}
    config = AutoConfig.from_pretrained(options.model, **where)
    _check_family(options, config.model_type)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left", **where)
    stated, _ = ProcessorMixin.get_processor_dict(options.model, revision=options.revision)
    # One picture has pixels x pixels, no more and no less: nothing is resized behind our back.
    area = options.pixels**2
    size = {"shortest_edge": area, "longest_edge": area}
    processor = Qwen2VLImageProcessorPil.from_pretrained(options.model, size=size, **where)
    device = _device(options.device)
    dtype = getattr(torch, options.dtype)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        options.model, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", **where
    )
    commit = getattr(config, "_commit_hash", None) or options.revision
    return _Loaded(
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        image_processor=processor,
        template=stated.get("chat_template") or tokenizer.chat_template,
        device=device,
        name=published_name(options.model, commit),
    )


def _check_family(options: QwenVL, family: str) -> None:
    """Refuse to read thousandths as pixels, or the other way round, and models of which nobody knows."""
    known = family_of(family)
    if known is None:
        titles = ", ".join(title for title, _ in FAMILIES.values())
        raise InputError(
            options.model, [f"models of type {family!r} are none of {titles}"], f"--model {QWEN}"
        )
    expected = known[1]
    if options.coordinates != expected:
        raise InputError(
            options.model,
            [f"models of type {family} do not give {options.coordinates} coordinates"],
            f"--option coordinates={expected}",
        )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        step = "--option device=cpu, or auto"
        raise InputError("--option device", [f"{name!r}: {reason}"], step) from None
    return name


def _ends(loaded: _Loaded) -> set[int]:
    ends = loaded.model.generation_config.eos_token_id
    return {loaded.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}


def _pad(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)


def _answer(written: list[int], read: int, ends: set[int], loaded: _Loaded) -> Answer:
    stop = next((k + 1 for k, token in enumerate(written) if token in ends), None)
    kept = written[:stop]
    text = loaded.tokenizer.decode(kept, skip_special_tokens=True)
    return Answer(text, loaded.name, Tokens(read, len(kept)), cut=stop is None)


@contextmanager
def _told(options: QwenVL) -> Iterator[None]:
    """Say what is missing: the package, the weights, or a torchvision that fits."""
    try:
        import transformers  # noqa: F401
        from safetensors import SafetensorError
    except ImportError:
        raise MissingDependencyError("The detector qwen3-vl", "vlm") from None
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            options.model,
            [f"no weights of a Qwen-VL model that can be read: {_first_line(error)}"],
            f"hf download {options.model} on a machine with access to the Hub, "
            "then --model FOLDER; or serve it elsewhere and use --detector openai",
        ) from error
    except (ImportError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        raise InputError(
            "torchvision",
            [f"the one that is installed does not fit torch: {_first_line(error)}"],
            "pip uninstall torchvision (it is not needed here), or install the build for your torch",
        ) from error


@contextmanager
def _memory_told(options: QwenVL) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
        smaller = max(options.batch_size // 2, 1)
        step = (
            f"--option batch_size={smaller}"
            if options.batch_size > 1
            else "a smaller model with --model (Qwen/Qwen3-VL-2B-Instruct), or --option pixels=224"
        )
        raise InputError(
            "qwen3-vl",
            [f"the memory does not suffice for {options.batch_size} pictures at once"],
            f"{step}; slices that were answered are kept",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
