"""Answers that were paid for once: kept as they come, found again after a killed run.

An answer belongs to its question - who is asked, the words, the picture - and to nothing else, so that a
journal is never wrong when settings or volumes change, and holds no identifier.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.io.files import write_bytes
from ictmri_baselines.localizer.boxes import Count, Tokens

_OWNER: Final = 0o600


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        text: the words.
        model: who answered, as far as is known.
        tokens: None where nobody counted.
        refused: the server said that the model declined.
        cut: the limit of tokens was reached.
    """

    text: str
    model: str | None = None
    tokens: Tokens | None = None
    refused: bool = False
    cut: bool = False


class _Line(BaseModel):
    """One answer as it is kept."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    text: str
    model: str | None
    tokens: tuple[Count, Count] | None
    refused: bool
    cut: bool

    @classmethod
    def of(cls, question: str, answer: Answer) -> _Line:
        tokens = answer.tokens
        return cls(
            question=question,
            text=answer.text,
            model=answer.model,
            tokens=(tokens.prompt, tokens.completion) if tokens else None,
            refused=answer.refused,
            cut=answer.cut,
        )

    @property
    def answer(self) -> Answer:
        tokens = Tokens(*self.tokens) if self.tokens else None
        return Answer(self.text, self.model, tokens, self.refused, self.cut)


@dataclass(slots=True)
class Journal:
    """A JSONL file of answers, readable by its owner alone; one process writes it.

    Without a path it only remembers.
    """

    path: Path | None = None
    _answers: dict[str, Answer] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read what is there; lines that are damaged or no answers are set aside, and asked again."""
        if self.path is None or not self.path.is_file():
            return
        content = self.path.read_bytes()
        good, bad = [], []
        for line in content.splitlines(keepends=True):
            try:
                read = _Line.model_validate_json(line)
            except ValidationError:
                bad.append(line)
                continue
            self._answers[read.question] = read.answer
            good.append(line.rstrip(b"\n") + b"\n")
        if bad or not content.endswith(b"\n"):
            _append(self.path.with_name(f"{self.path.name}.damaged"), b"".join(bad))
            write_bytes(self.path, b"".join(good), mode=_OWNER)

    def find(self, question: str) -> Answer | None:
        """Return the answer to a question, by its digest; None where there is none yet."""
        return self._answers.get(question)

    def keep(self, question: str, answer: Answer) -> None:
        """Add an answer; it is in the file when this returns."""
        line = _Line.of(question, answer)
        self._answers[question] = answer
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append(self.path, json.dumps(line.model_dump(mode="json")).encode() + b"\n")


def _append(path: Path, content: bytes) -> None:
    if not content:
        return
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER)
    with os.fdopen(handle, "ab") as stream:
        stream.write(content)
