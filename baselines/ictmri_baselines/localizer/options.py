"""What can be chosen about each detector, checked before anything is loaded or sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ictmri_baselines.localizer.vlm import prompts
from ictmri_baselines.localizer.vlm.families import conflict, family_of
from ictmri_baselines.localizer.vlm.slices import Pixels

QWEN: Final = "Qwen/Qwen3-VL-8B-Instruct"


def _is_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must look like http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError("must hold no password; name the key's variable with --api-key-env")
    return text


class DetectorSettings(BaseModel):
    """What is chosen about one detector.

    Attributes:
        name: what the detector is called on the command line.
        parallel: whether each worker process may have one of its own. A model fills the memory once, and a
            server is asked for several slices at once anyway.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    parallel: ClassVar[bool] = True


class Saliency(DetectorSettings):
    """There is nothing to choose."""

    name = "saliency"


class Prompted(DetectorSettings):
    """What all detectors share that show slices to a vision-language model.

    Attributes:
        prompt: name of a prompt that ships with the package, or a YAML file.
        coordinates: ``relative`` (thousandths of the picture: Qwen3-VL) or ``pixels`` (Qwen2.5-VL); by the
            family that the model's name tells where not given, ``relative`` where it tells none.
        pixels: edge of the square pictures.
        every: show each ``every``-th slice; the others get the boxes of the nearest shown one.
        max_new_tokens: limit of an answer.
    """

    parallel = False

    prompt: str = prompts.DEFAULT
    coordinates: prompts.Coordinates = "relative"
    pixels: Pixels = 448
    every: Annotated[int, Field(ge=1, le=10)] = 1
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 512

    @model_validator(mode="before")
    @classmethod
    def _by_family(cls, given: Any) -> Any:
        """Take the coordinates of the model's family where none are given."""
        if not isinstance(given, Mapping) or given.get("coordinates") is not None:
            return given
        known = family_of(str(given.get("model", "")))
        return {**given, "coordinates": known[1]} if known else given

    @model_validator(mode="after")
    def _of_the_family(self) -> Self:
        problem = conflict(getattr(self, "model", ""), self.coordinates)
        if problem:
            raise ValueError(problem)
        return self


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

    model: str = QWEN
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8


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
        price_in: of a million tokens read, in any currency.
        price_out: of a million tokens written.
    """

    name = "openai"

    base_url: Annotated[str, AfterValidator(_is_address)]
    model: Annotated[str, Field(min_length=1)]
    api_key_env: str | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    structured: bool = True
    price_in: Annotated[float, Field(ge=0)] = 0.0
    price_out: Annotated[float, Field(ge=0)] = 0.0


class Replay(DetectorSettings):
    """Boxes of a file that was made before, here or elsewhere."""

    name = "boxes"

    boxes: Path
