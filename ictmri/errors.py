"""Errors that a person reads: what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound="BaseModel")

_SHOWN: Final = 20
_LONGEST: Final = 2000
"""Characters of one problem that are shown: foreign text in it may be as long as the file it is from."""
MAX_PROBLEMS: Final = 200
"""Problems of one input that are kept; whoever reads it may stop there."""
_LONGEST_PLACE: Final = 100
_TYPES: Final = {"str", "int", "float", "bool", "list[str]"}
_QUOTED: Final = re.compile("'([^']*)'")
_COMMAND: Final = re.compile(r"\A(\s*):(?=:)|#(?=#\w{0,20}\[)")
"""What a forge takes for a command where it stands in a log: ``::error::``, ``##[group]``."""


def visible(text: str) -> str:
    r"""Return foreign text for one line of a terminal, a log or a page.

    What is not seen, breaks lines or turns the reading direction, and what a forge would take for a
    command, is written as an escape (``\x1b``, ``\u202e``). A second time changes nothing.
    """
    if not text.isprintable():
        text = "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)
    return _COMMAND.sub(lambda found: (found[1] or "") + f"\\x{ord(found[0][-1]):02x}", text)


def visible_lines(text: str) -> str:
    """Return text of several lines of one's own, each :func:`visible`."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text)} characters)"


def _shows(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


class IctmriError(Exception):
    """A problem that the user can solve; the command line prints it without a traceback."""

    def __str__(self) -> str:
        return visible_lines(super().__str__())


class InputError(IctmriError):
    """Something that the user gave is wrong; holds every problem found, not only the first.

    Args:
        subject: what was read, for example ``"predictions.csv"``.
        problems: one line each: what is wrong and where; no more than :data:`MAX_PROBLEMS` are kept.
        next_step: what the user can do about it.
    """

    def __init__(self, subject: str, problems: Iterable[str], next_step: str = "") -> None:
        self.subject = subject
        self.problems = list(islice(problems, MAX_PROBLEMS))
        self.next_step = next_step
        super().__init__(self._text())

    def __reduce__(self) -> tuple[type[InputError], tuple[str, list[str], str]]:
        # Worker processes hand their errors over pickled; the default would call __init__(text).
        return type(self), (self.subject, self.problems, self.next_step)

    def _text(self) -> str:
        count = len(self.problems)
        least = "at least " if count == MAX_PROBLEMS else ""
        head = f"{visible(self.subject)}: {least}{count} problem{'' if count == 1 else 's'}"
        lines = [f"  - {visible(_short(problem))}" for problem in self.problems[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  - ... and {least}{count - _SHOWN} more")
        tail = [f"Next: {visible(self.next_step)}"] if self.next_step else []
        return "\n".join([head, *lines, *tail])


@contextmanager
def collected(problems: list[str], where: str) -> Iterator[None]:
    """Add the problems of an input error in this block to a list, each with where it is, and go on."""
    try:
        yield
    except InputError as error:
        problems += [f"{where}: {problem}" for problem in error.problems]


class ScanError(Exception):
    """A scan that cannot be used.

    Args:
        reason: why; free of names, paths and words of the source, so that it may be published.
        code: name of the finding, a key of :data:`ictmri.scans.findings.CODES`.
        detail: what the reading library said; for the owner's eyes only.
    """

    def __init__(self, reason: str, *, code: str = "unreadable", detail: str = "") -> None:
        self.reason = reason
        self.code = code
        self.detail = detail
        super().__init__(f"{reason} [{detail}]" if detail else reason)


class AccessError(IctmriError):
    """Data exist but cannot be reached from here."""


class MissingDependencyError(IctmriError):
    """An optional part of the package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        super().__init__(
            f'{what} needs packages that are not installed.\nNext: pip install "ictmri[{extra}]"'
        )

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str]]:
        return type(self), (self.what, self.extra)


def validation_problems(
    error: ValidationError,
    nowhere: str = "",
    *,
    named: Callable[[str], str] = str,
    words: Mapping[str, str] | None = None,
    model: type[BaseModel] | None = None,
) -> list[str]:
    """Return one line for each thing that pydantic found wrong: its dotted place, and what.

    Args:
        error: what pydantic raised.
        nowhere: where that is, if it is no single place.
        named: what a place is called.
        words: what a place of some kinds of error (``missing``) does, in place of pydantic's words.
        model: what was validated: tells what an unknown field may be meant for, which is then not told to
            be missing.
    """
    lines: dict[str, str] = {}
    meant: set[str] = set()
    for found in error.errors(include_url=False)[:MAX_PROBLEMS]:
        # What follows the place of a union only says which of its types did not fit either.
        parts = [str(part) for part in found["loc"] if part not in _TYPES]
        place = ".".join(parts)[:_LONGEST_PLACE]
        where = named(place) if place else nowhere
        word, said = (words or {}).get(found["type"]), found["msg"].removeprefix("Value error, ")
        hint = ""
        if found["type"] == "extra_forbidden" and model is not None:
            field = _field_meant(parts, model)
            meant.add(".".join([*parts[:-1], field]))
            said, hint = "unknown field", f"; did you mean {field!r}?" if field else ""
        elif found["type"] == "literal_error":
            choices = _QUOTED.findall(found["ctx"]["expected"])
            hint = nearest(str(found["input"])[:_LONGEST_PLACE], choices)
        line = (f"{where} {word}" if word else f"{where}: {said}" if where else said) + hint
        lines.setdefault(line, f"{place} {found['type']}")
    return [line for line, kind in lines.items() if kind not in {f"{x} missing" for x in meant}]


def _field_meant(parts: list[str], model: type[BaseModel]) -> str:
    """Return the field that an unknown one may be meant for; if it is not beside it, with its place."""
    *above, name = parts
    beside = "".join(f"{part}." for part in above if not part.isdecimal())
    known = list(_fields(model, ""))
    last = {place.rpartition(".")[2]: place for place in reversed(known)}
    near = {found: found for found, place in last.items() if f"{beside}{found}" in known}
    for choices in (near, last):
        matches = difflib.get_close_matches(name[:_LONGEST_PLACE].lower(), choices, n=1, cutoff=0.6)
        if matches:
            return choices[matches[0]]
    return ""


def _fields(annotation: Any, place: str) -> Iterator[str]:
    """Yield the dotted places of all fields in a model, and in the models of its fields."""
    for name, field in getattr(annotation, "model_fields", {}).items():
        inner = f"{place}.{field.alias or name}" if place else field.alias or name
        yield inner
        yield from _fields(field.annotation, inner)
    for part in get_args(annotation):
        yield from _fields(part, place)


def validated(
    kind: type[Model], given: Any, subject: str, next_step: str = "", *, nowhere: str = ""
) -> Model:
    """Return what was given as an instance of a pydantic model.

    Args:
        kind: the model.
        given: its fields.
        subject: what they are, for the message.
        next_step: what to do where they are not valid; names the fields where empty.
        nowhere: where something is wrong, if it is no single place.

    Raises:
        InputError: they are not valid; with everything that is wrong.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        step = next_step or f"its settings are: {', '.join(kind.model_fields)}"
        raise InputError(subject, validation_problems(error, nowhere, model=kind), step) from None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice closest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
