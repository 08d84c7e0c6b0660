"""What was understood of a source, what is still open, and how both are told to a person."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ictmri.build.clinical.mapping import OPEN, Columns, Mapping, TableMapping
from ictmri.build.table import TableRow
from ictmri.classes import CLASSES

PAPER: Final = {
    "cases": 249,
    "male": 135,
    "female": 114,
    "youngest": 4,
    "oldest": 86,
    "mean age": 43.7,
}
"""The cohort as the paper describes it (arXiv:2602.21613, section 3)."""
_OWN_KEYS: Final = {*Mapping.model_fields, *TableMapping.model_fields, *Columns.model_fields}


@dataclass(frozen=True, slots=True)
class Question:
    """Something that the source does not settle.

    Attributes:
        place: where the answer belongs in the mapping file; empty where it is not for a mapping to say.
        text: what is not clear.
        choices: what can be answered.
    """

    place: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(slots=True)
class Understood:
    """What was understood of a source.

    Attributes:
        rows: one row a patient, as a table of the owner would give them.
        folds: fold by patient id, where the source brings folds that can be used.
        told: lines about images, tables, joins and folds.
        words: lines about the words for classes, with counts.
        aside: what was left aside and why.
        questions: what is still open.
        proposal: the mapping that says what was understood.
        notes: comments on places of the proposal.
    """

    rows: list[TableRow] = field(default_factory=list)
    folds: dict[str, int] | None = None
    told: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    proposal: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the summary that is shown before a build."""
        shown = [*self.told, *_counted(self.rows)]
        shown += [f"  word     {line}" for line in self.words]
        shown += [f"  aside    {line}" for line in self.aside]
        so_far = " (so far)" if self.questions else ""
        shown += [f"  warning  {line}{so_far}" for line in differences(self.rows)]
        return shown + [f"  open     {question.text}" for question in self.questions]


def _counted(rows: Sequence[TableRow]) -> list[str]:
    labels = Counter(row.label for row in rows)
    sexes = Counter(row.sex or "unknown" for row in rows)
    ages = [row.age for row in rows if not math.isnan(row.age)]
    age = f"{min(ages):g} to {max(ages):g}, mean {sum(ages) / len(ages):.1f}; " if ages else ""
    subtypes = Counter(row.subtype for row in rows if row.subtype)
    return [
        f"  cases    {len(rows)}: " + ", ".join(f"{name} {labels[name]}" for name in CLASSES),
        "  subtype  "
        + (", ".join(f"{name} {n}" for name, n in sorted(subtypes.items())) or "unknown")
        + (f"; unknown {len(rows) - subtypes.total()}" if subtypes else ""),
        "  sex      " + ", ".join(f"{name} {count}" for name, count in sorted(sexes.items())),
        f"  age      {age}known for {len(ages)} of {len(rows)}",
    ]


def differences(rows: Sequence[TableRow]) -> list[str]:
    """Return where the cases differ from the paper's description of the cohort."""
    sexes = Counter(row.sex for row in rows)
    ages = [row.age for row in rows if not math.isnan(row.age)]
    have: dict[str, float] = {"cases": len(rows)}
    if sexes["male"] + sexes["female"]:
        have |= {"male": sexes["male"], "female": sexes["female"]}
    if ages:
        have |= {"youngest": min(ages), "oldest": max(ages), "mean age": sum(ages) / len(ages)}
    near = {"youngest": 1.0, "oldest": 1.0, "mean age": 0.06}
    return [
        f"{name}: {round(value, 1):g} here, {PAPER[name]:g} in the paper"
        for name, value in have.items()
        if abs(value - PAPER[name]) >= near.get(name, 0.5)
    ]


def proposal_text(understood: Understood) -> str:
    """Return the mapping file that says what was understood, with ``?`` at what is open."""
    asked = {question.place: question for question in understood.questions if question.place}
    lines = [
        '# What was understood of the source. Replace each "?" by one of the choices beside it; other',
        "# lines may be changed too. null: found out by the program. In globs, * stands for anything.",
    ]
    for key, value in understood.proposal.items():
        lines += _section(key, value, key, asked, understood.notes)
    return "\n".join(lines) + "\n"


def _section(
    key: str,
    value: Any,
    place: str,
    asked: MappingType[str, Question],
    notes: MappingType[str, str],
) -> list[str]:
    question = asked.get(place)
    comment = _comment(question, notes.get(place, ""))
    if isinstance(value, dict) and value:
        inner = [
            f"  {line}"
            for name, item in value.items()
            for line in _section(name, item, f"{place}.{name}", asked, notes)
        ]
        return [f"{_key(key)}:{comment}", *inner]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f"{_key(key)}:{comment}"]
        for index, item in enumerate(value):
            inner = [
                line
                for name, part in item.items()
                for line in _section(name, part, f"{place}[{index}].{name}", asked, notes)
            ]
            lines += [f"  {'- ' if i == 0 else '  '}{line}" for i, line in enumerate(inner)]
        return lines
    if isinstance(value, list) and value:
        shown = [OPEN] if question else value
        return [f"{_key(key)}:{comment}", *(f"  - {_scalar(item)}" for item in shown)]
    if question and isinstance(value, list):
        return [f"{_key(key)}:{comment}", f"  - {_scalar(OPEN)}"]
    return [f"{_key(key)}: {_scalar(OPEN if question else value)}{comment}"]


def _comment(question: Question | None, note: str) -> str:
    parts = [" | ".join(question.choices), question.text] if question else []
    text = "; ".join(part for part in (*parts, note) if part)
    return f"  # {' '.join(text.split())}" if text else ""


def _key(text: str) -> str:
    # Words of the source are quoted: YAML takes a bare no for false.
    return text if text in _OWN_KEYS else _scalar(text)


def _scalar(value: Any) -> str:
    # JSON is YAML, and quotes whatever YAML would take for something else.
    return json.dumps(value, ensure_ascii=False)
