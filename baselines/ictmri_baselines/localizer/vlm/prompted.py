"""A detector that shows each slice to a vision-language model and reads its words [equation 3]."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, Self

from pydantic import Field, model_validator

from ictmri.errors import InputError
from ictmri.io.files import sha256_bytes
from ictmri_baselines.localizer.boxes import SliceBoxes
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.vlm.journal import Answer, Journal
from ictmri_baselines.localizer.vlm.prompts import DEFAULT, Coordinates, Prompt, read_prompt
from ictmri_baselines.localizer.vlm.replies import read_reply
from ictmri_baselines.localizer.vlm.slices import Picture, Pixels, Slice, pictures

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

FAMILIES: Final[dict[str, tuple[str, Coordinates]]] = {
    "qwen25vl": ("Qwen2.5-VL", "pixels"),
    "qwen2vl": ("Qwen2-VL", "relative"),
    "qwen3vl": ("Qwen3-VL", "relative"),
}
"""What each family of models counts boxes in, by the letters and digits that stand in a name of the family,
whatever is between them. Sources: the Qwen team on its models, github.com/QwenLM/Qwen3-VL/issues/866
(Qwen2-VL, Qwen2.5-VL) and issues/1741 (Qwen3-VL)."""
_BETWEEN: Final = re.compile("[^a-z0-9]")


class SlicesFailedError(InputError):
    """Some slices of a case got no answer; those of the others are in the journal."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture got no answer, after everything that can be tried again was.

    ``unreached``: nobody was there to answer.
    """

    reason: str
    unreached: bool = False


class Asker(Protocol):
    """Something that answers questions about pictures."""

    @property
    def identity(self) -> str:
        """Everything beside words and picture that an answer depends on."""

    def prepare(self) -> None:
        """Find out whether questions can be answered."""

    def ask(
        self, shown: Sequence[Picture], prompt: Prompt
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """Yield answers in any order, each with its picture's place in ``shown``.

        Raises:
            InputError: no picture can be answered; what to do about it is said.
        """


def family_of(name: str) -> tuple[str, Coordinates] | None:
    """Return title and coordinates of the family that a model's name tells; None where it tells none."""
    letters = _BETWEEN.sub("", name.lower())
    return next((known for key, known in FAMILIES.items() if key in letters), None)


def conflict(name: str, coordinates: Coordinates) -> str | None:
    """Say why a model of this name cannot be read in these coordinates; None where it can."""
    known = family_of(name)
    if known is None or known[1] == coordinates:
        return None
    title, counted = known
    return f"{title} gives no {coordinates} coordinates: --option coordinates={counted}"


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

    version = "1"
    parallel = False
    unrecorded = frozenset({"model", "prompt"})

    prompt: str = DEFAULT
    coordinates: Coordinates = "relative"
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

    @abstractmethod
    def asker(self) -> Asker:
        """Return who answers; nothing is loaded or sent yet."""

    @abstractmethod
    def published_model(self) -> str:
        """Return a name of the model that holds no path."""

    def facts(self) -> dict[str, Any]:
        """Return the prompt and the model by names, and the digest of the prompt's words."""
        prompt = read_prompt(self.prompt, self.coordinates)
        model = self.published_model()
        return {"prompt": prompt.name, "prompt_sha256": prompt.sha256, "model": model}

    def prepare(self, case_ids: Collection[str], left_out: Collection[str] = ()) -> None:  # noqa: ARG002
        """Read the prompt, and load the weights or ask the server for its models."""
        read_prompt(self.prompt, self.coordinates)
        _asker(self).prepare()

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> PromptedDetector:  # noqa: ARG002
        """Return the detector, the same one for the next case."""
        return _detector(self, journal)


@lru_cache(maxsize=1)
def _asker(settings: Prompted) -> Asker:
    return settings.asker()


@lru_cache(maxsize=1)
def _detector(settings: Prompted, journal: Path | None) -> PromptedDetector:
    return PromptedDetector(settings, Journal(journal))


class PromptedDetector:
    """Slices, a prompt, somebody who answers, and a journal of the answers."""

    def __init__(self, options: Prompted, journal: Journal) -> None:
        self._asker = _asker(options)
        self._options = options
        self._prompt = read_prompt(options.prompt, options.coordinates)
        self._journal = journal

    def detect(self, brain: Brain) -> list[SliceBoxes]:
        """Return a row for each slice that was shown, boxes or not.

        Raises:
            SlicesFailedError: slices without an answer, each named; call again to ask for these only.
            InputError: nothing can be asked at all.
        """
        slices = list(pictures(brain, pixels=self._options.pixels, every=self._options.every))
        questions = [self._digest(shown.picture) for shown in slices]
        waiting = [k for k, question in enumerate(questions) if not self._journal.find(question)]
        failures: dict[int, str] = {}
        asked = [slices[k].picture for k in waiting]
        if asked:
            for place, answer in self._asker.ask(asked, self._prompt):
                index = waiting[place]
                if isinstance(answer, Failure):
                    failures[slices[index].index] = answer.reason
                else:
                    self._journal.keep(questions[index], answer)
        if failures:
            raise SlicesFailedError(
                f"{len(failures)} of {len(slices)} slices",
                [f"slice {index}: {failures[index]}" for index in sorted(failures)],
                "run the same command again: only these slices are asked for",
            )
        rows = [
            self._row(shown, found)
            for shown, question in zip(slices, questions, strict=True)
            if (found := self._journal.find(question))
        ]
        return _filled(rows, self._options.every, Grid.of(brain.image).shape[2])

    def _digest(self, picture: Picture) -> str:
        parts = [self._asker.identity, self._prompt.sha256, sha256_bytes(picture.tobytes())]
        return sha256_bytes(json.dumps(parts).encode())

    def _row(self, shown: Slice, answer: Answer) -> SliceBoxes:
        reading = read_reply(
            answer.text,
            shown.view,
            coordinates=self._options.coordinates,
            refused=answer.refused,
            cut=answer.cut,
        )
        return SliceBoxes(
            shown.index,
            reading.boxes,
            self._options.name,
            model=answer.model,
            prompt_sha256=self._prompt.sha256,
            reply=answer.text,
            problems=reading.problems,
            tokens=answer.tokens,
        )


def _filled(rows: list[SliceBoxes], every: int, depth: int) -> list[SliceBoxes]:
    """Give slices that were left out the boxes of the nearest one that was not, marked as copied."""
    filled = []
    for row in rows:
        first, last = row.slice - (every - 1) // 2, row.slice + every // 2
        for index in range(max(first, 0), min(last, depth - 1) + 1):
            if index == row.slice:
                filled.append(row)
            elif row.boxes:
                copy = replace(row, slice=index, reply=None, problems=("copied",), tokens=None)
                filled.append(copy)
    return filled
