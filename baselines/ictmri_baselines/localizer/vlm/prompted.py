"""A detector that shows each slice to a vision-language model and reads its words [equation 3]."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from ictmri.errors import InputError
from ictmri.io.files import sha256_bytes
from ictmri_baselines.localizer.boxes import SliceBoxes
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.vlm.journal import Answer, Journal
from ictmri_baselines.localizer.vlm.prompts import Prompt, read_prompt
from ictmri_baselines.localizer.vlm.replies import read_reply
from ictmri_baselines.localizer.vlm.slices import Picture, Slice, pictures

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.options import Prompted

VERSION: Final = "1"


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

    def ask(
        self, shown: Sequence[Picture], prompt: Prompt
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """Yield answers in any order, each with its picture's place in ``shown``.

        Raises:
            InputError: no picture can be answered; what to do about it is said.
        """


class PromptedDetector:
    """Slices, a prompt, somebody who answers, and a journal of the answers."""

    version = VERSION

    def __init__(
        self, name: str, asker: Asker, options: Prompted, journal: Journal | None = None
    ) -> None:
        self.name = name
        self._asker = asker
        self._options = options
        self._prompt = read_prompt(options.prompt, options.coordinates)
        self._journal = journal or Journal()

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
            self.name,
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
