"""Answers that were paid for once: kept as they come, found again after a killed run.

An answer belongs to its question - who is asked, the words, the picture - and to nothing else, so that a
journal is never wrong when settings or volumes change, and holds no identifier.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ictmri_baselines.localizer.boxes import Tokens


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


@dataclass(slots=True)
class Journal:
    """An append-only JSONL file of answers; one process writes it. Without a path it only remembers."""

    path: Path | None = None
    _answers: dict[str, Answer] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read what is there; a line that a killed run left half-written is removed."""
        if self.path is None or not self.path.exists():
            return
        whole = 0
        content = self.path.read_bytes()
        for line in content.splitlines(keepends=True):
            try:
                question, answer = _parsed(line)
            except (ValueError, KeyError, TypeError):
                break
            self._answers[question] = answer
            whole += len(line)
        if whole < len(content):
            with self.path.open("r+b") as stream:
                stream.truncate(whole)

    def find(self, question: str) -> Answer | None:
        """Return the answer to a question, by its digest; None where there is none yet."""
        return self._answers.get(question)

    def keep(self, question: str, answer: Answer) -> None:
        """Add an answer; it is in the file when this returns."""
        self._answers[question] = answer
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(_line(question, answer))


def _line(question: str, answer: Answer) -> bytes:
    tokens = answer.tokens
    row = {
        "question": question,
        "text": answer.text,
        "model": answer.model,
        "tokens": [tokens.prompt, tokens.completion] if tokens else None,
        "refused": answer.refused,
        "cut": answer.cut,
    }
    return json.dumps(row).encode() + b"\n"


def _parsed(line: bytes) -> tuple[str, Answer]:
    if not line.endswith(b"\n"):
        raise ValueError("half a line")
    row: dict[str, Any] = json.loads(line)
    tokens = Tokens(*row["tokens"]) if row["tokens"] else None
    return row["question"], Answer(row["text"], row["model"], tokens, row["refused"], row["cut"])
