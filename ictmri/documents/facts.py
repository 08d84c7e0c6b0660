"""The table of facts about a cohort: questions, answers, where they come from and who can answer.

Every published document (card, datasheet, checklists, Croissant file) is drawn from this one table and
from the data, so that no two of them can disagree. What nobody has answered stays visible as unknown.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from ictmri.cohort import CLINICAL
from ictmri.documents import licences
from ictmri.documents.suppression import K
from ictmri.errors import InputError, nearest, validation_problems
from ictmri.io.resources import AnyPath, at_home, shipped
from ictmri.io.yamlfile import own_table, read_yaml
from ictmri.manifest import Manifest
from ictmri.verify.privacy import is_plain_subtype

Status = Literal["known", "assumed", "unknown"]
Kind = Literal["clinical", "phantom", "own"]

_ASKED: Final[dict[Kind, str]] = {
    "clinical": "the authors",
    "phantom": "this project",
    "own": "the owner",
}
_NOT_APPLICABLE: Final = "not applicable"
_NAMED_LICENCE: Final = (
    "not applicable: for a licence that is not listed",
    "the answer on the licence",
)
_PLACEHOLDER: Final = re.compile(r"(?i)\b(todo|tbd|fixme|xxx+)\b|^<.*>$|^\?+$|^\.+$")
_NEXT: Final = "correct these lines; `ictmri facts DIR` prints every id"
_TEMPLATE_HEAD: Final = """\
# Facts about a cohort, for `ictmri publish --facts`. Every document of the release is drawn from them.
# Answer what you know, as   id: answer   or   id: {answer: ..., source: ..., status: known | assumed}
# and leave the rest empty: it will be shown as unknown. 'not applicable: why' is an answer too.
# What you write here is published word for word. Name no patient.
"""


_SUBTYPES: Final = "subtypes"
_SUBTYPES_BLOCK: Final = f"""\
# ---- names of tumours
# Names in your column subtype that the list of tumours (WHO 2021) does not have. They are published as they
# stand here, from {K} patients on: no name of a person, no date, no number.
# {_SUBTYPES}: [name, another name]
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What a reader asks: id, section, the question, who can answer, form of the answer, a hint."""

    id: str
    section: str
    question: str
    who: str
    check: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A question with its answer.

    Attributes:
        asked: the question.
        status: known, assumed, or unknown.
        values: the answer, several values for a list, none where unknown.
        source: where the answer comes from.
        who: who can answer it.
    """

    asked: Question
    status: Status
    values: tuple[str, ...]
    source: str
    who: str

    @property
    def id(self) -> str:
        """Id of the question."""
        return self.asked.id

    @property
    def answer(self) -> str:
        """The answer as one text, empty where unknown."""
        return ", ".join(self.values)

    @property
    def applies(self) -> bool:
        """False where the answer is that the question does not apply."""
        return not self.answer.lower().startswith(_NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts about a cohort, in the order of the questions.

    Attributes:
        kind: which set of shipped answers it has.
        rows: the facts.
        subtypes: names that the owner adds to the list of tumours; no answer, so in no document.
    """

    kind: Kind
    rows: tuple[Fact, ...]
    subtypes: tuple[str, ...] = ()

    def __getitem__(self, question_id: str) -> Fact:
        """Return the fact of a question.

        Raises:
            KeyError: no such question.
        """
        return {row.id: row for row in self.rows}[question_id]

    def text(self, question_id: str) -> str:
        """Return an answer that applies, an empty string where there is none."""
        fact = self[question_id]
        return fact.answer if fact.applies else ""

    def of(self, status: Status) -> list[Fact]:
        """Return the facts of a status."""
        return [row for row in self.rows if row.status == status]

    def unknown(self) -> list[str]:
        """Return a line for each question without an answer: id, question, who can answer."""
        return [f"{row.id}: {row.asked.question} ({row.who})" for row in self.of("unknown")]

    def completed(self, answers: Mapping[str, tuple[str, str]]) -> Facts:
        """Return the facts with unknown ones answered: question id -> (answer, source)."""
        rows = (
            replace(row, status="known", values=(answers[row.id][0],), source=answers[row.id][1])
            if row.status == "unknown" and row.id in answers
            else row
            for row in self.rows
        )
        return Facts(self.kind, tuple(rows), self.subtypes)


class _Answer(BaseModel, extra="forbid"):
    """An answer as it stands in a YAML file."""

    answer: str | list[str]
    source: str = "the data owner"
    status: Literal["known", "assumed"] = "known"

    def values(self) -> tuple[str, ...]:
        """Return the values, each on one line, without empty ones."""
        given = self.answer if isinstance(self.answer, list) else [self.answer]
        texts = (" ".join(value.split()) for value in given)
        return tuple(text for text in texts if text not in ("", "~", "null"))


def load_facts(manifest: Manifest, owner_file: Path | None = None) -> Facts:
    """Return the facts about a cohort.

    Args:
        manifest: the cohort's manifest; its name and kind choose the answers that ship.
        owner_file: YAML with the owner's answers, which come before those that ship.

    Raises:
        InputError: the owner's file is not valid; every problem is named.
    """
    kind = kind_of(manifest)
    answers = _shipped_answers(kind)
    if owner_file is not None:
        answers = answers | read_answers(owner_file)
    added = () if owner_file is None else read_subtypes(owner_file)
    facts = Facts(kind, tuple(_fact(question, answers, kind) for question in questions()), added)
    if facts.text("licence") != licences.OTHER:
        facts = facts.completed(dict.fromkeys(("licence_name", "licence_link"), _NAMED_LICENCE))
    return facts


def kind_of(manifest: Manifest) -> Kind:
    """Return which set of shipped answers fits a cohort."""
    if manifest.synthetic:
        return "phantom"
    return "clinical" if manifest.name == CLINICAL else "own"


@cache
def questions() -> tuple[Question, ...]:
    """Return the questions in their order."""
    return tuple(Question(**row) for row in own_table(shipped("facts") / "questions.yaml"))


def template_text(manifest: Manifest | None = None) -> str:
    """Return a YAML file with every question, for an owner to fill in.

    Args:
        manifest: of the cohort that it is about; what ships about that cohort is shown then.
    """
    open_facts = (Fact(asked, "unknown", (), "", asked.who) for asked in questions())
    rows = load_facts(manifest).rows if manifest else open_facts
    blocks = [_TEMPLATE_HEAD]
    section = ""
    for row in rows:
        if row.asked.section != section:
            section = row.asked.section
            blocks.append(f"# ---- {section}\n")
        blocks.append(_template_block(row))
    return "\n".join([*blocks, _SUBTYPES_BLOCK])


def _template_block(row: Fact) -> str:
    hint = f" For example: {row.asked.example}" if row.asked.example else ""
    known = f"# {row.status}: {row.answer} [{row.source}]\n" if row.values else ""
    return f"# {row.asked.question} ({row.who}){hint}\n{known}{row.id}:\n"


def read_answers(path: Path) -> dict[str, _Answer]:
    """Read an owner's answers; empty ones are left out.

    Raises:
        InputError: the file is not valid; every problem is named.
    """
    content = _content(path)
    content.pop(_SUBTYPES, None)
    answers, problems = _checked(content)
    if problems:
        raise InputError(str(path), problems, _NEXT)
    return answers


def read_subtypes(path: AnyPath) -> tuple[str, ...]:
    """Return the names of tumours that an owner's file adds to the list.

    Raises:
        InputError: one is no short name of a diagnosis; every problem is named.
    """
    path = at_home(path)
    given = _content(path).get(_SUBTYPES) or []
    if not isinstance(given, list):
        raise InputError(str(path), [f"{_SUBTYPES}: must be a list, [name, name]"], _NEXT)
    names = tuple(" ".join(str(name).split()) for name in given)
    wrong = [
        f"{_SUBTYPES}: {name!r} is not the short name of a diagnosis"
        for name in names
        if not is_plain_subtype(name)
    ]
    if wrong:
        raise InputError(str(path), wrong, _NEXT)
    return names


def _content(path: Path) -> dict[Any, Any]:
    content = read_yaml(path, _NEXT, words=True)
    if not isinstance(content, dict) and content:
        raise InputError(str(path), ["must hold one line for each answer, id: answer"], _NEXT)
    return dict(content or {})


def _checked(content: Mapping[Any, Any]) -> tuple[dict[str, _Answer], list[str]]:
    by_id = {question.id: question for question in questions()}
    answers: dict[str, _Answer] = {}
    problems: list[str] = []
    for key, value in content.items():
        if key not in by_id:
            problems.append(f"{key}: no such question{nearest(str(key), by_id)}")
            continue
        try:
            answer = _Answer.model_validate(_as_mapping(value))
        except ValidationError as error:
            problems += [f"{key}: {problem}" for problem in validation_problems(error)]
            continue
        if answer.values():
            answers[key] = answer
            problems += [f"{key}: {text}" for text in _form_problems(by_id[key], answer)]
    return answers, problems + _licence_problems(answers)


def _as_mapping(value: Any) -> Any:
    return value if isinstance(value, dict) else {"answer": value}


def _form_problems(question: Question, answer: _Answer) -> Iterable[str]:
    values = answer.values()
    yield from (f"{value!r} is a placeholder" for value in values if _PLACEHOLDER.search(value))
    if isinstance(answer.answer, list) and question.check != "list":
        yield "one text, not a list"
    elif not values[0].lower().startswith(_NOT_APPLICABLE):
        yield from filter(None, [_form_problem(question.check, values[0])])


def _licence_problems(answers: Mapping[str, _Answer]) -> list[str]:
    if "licence" not in answers or answers["licence"].values() != (licences.OTHER,):
        return []
    return [
        f"{key}: needed where the licence is 'other'"
        for key in ("licence_name", "licence_link")
        if key not in answers
    ]


_URL: Final = r"https?://\S+"
_DAY: Final = r"\d{4}(?:-\d\d){0,2}"
_FORMS: Final = {
    "slug": (r"[a-z0-9.-]+", "a short name of a-z, 0-9, '-' and '.'"),
    "url": (_URL, "an address that starts with https://"),
    "contact": (rf"{_URL}|[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address or a URL"),
    "doi": (r"10\.\d{4,9}/\S+", "a DOI as 10.5281/zenodo.1234567"),
    "date": (r"\d{4}-\d\d-\d\d", "a date as 2026-05-31"),
    "period": (f"{_DAY}/{_DAY}", "a period, first/last, as 2015/2023 or 2015-01/2023-12"),
}
"""Form of an answer: its pattern, and what it is called."""


def _form_problem(check: str, text: str) -> str:
    """Return what is wrong with the form of an answer, an empty string where nothing is."""
    if check == "licence":
        return licences.problem_of(text)
    if check not in _FORMS:
        return ""
    pattern, meaning = _FORMS[check]
    good = re.fullmatch(pattern, text) is not None
    if good and check == "date":
        good = _is_date(text)
    if good and check == "period":
        first, last = text.split("/")
        good = first <= last
    return "" if good else f"{text!r} is not {meaning}"


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


@cache
def _shipped_answers(kind: Kind) -> dict[str, _Answer]:
    content = read_yaml(shipped("facts") / f"{kind}.yaml", "install the package again", words=True)
    return {key: _Answer.model_validate(_as_mapping(value)) for key, value in content.items()}


def _fact(question: Question, answers: Mapping[str, _Answer], kind: Kind) -> Fact:
    who = _ASKED[kind]
    if kind != "phantom" and question.who != "data owner":
        who = f"{who} ({question.who})"
    answer = answers.get(question.id)
    if answer is None:
        return Fact(question, "unknown", (), "", who)
    return Fact(question, answer.status, answer.values(), answer.source, who)
