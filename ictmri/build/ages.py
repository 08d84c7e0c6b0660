"""Ages in a table: the unit that a header or a cell says, and what is no age at the scan."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from ictmri.io.yamlfile import own_table

Unit = Literal["years", "months", "weeks", "days"]
Meaning = Literal["age", "scan", "other", "group", "unclear"]

A_YEAR: Final[dict[Unit, float]] = {"years": 1, "months": 12, "weeks": 365.25 / 7, "days": 365.25}
"""Units in which ages come -> how many make a year."""
MAX_AGE: Final = 120.0
FORMS: Final = f"years from 0 to {MAX_AGE:.0f}, 8 months, 034Y or 1;6"
_LONGEST: Final = 60
_DICOM: Final[dict[str, Unit]] = {"y": "years", "m": "months", "w": "weeks", "d": "days"}
_WORDS: Final[dict[str, list[str]]] = own_table(Path(__file__).with_suffix(".yaml"))
_SORTS: Final = {
    word: sort for sort, words in _WORDS.items() if sort != "unknown" for word in words
}
"""Words of headers and cells -> what sort of word each is."""
_NUMBER: Final = r"\d{1,5}(?:[.,]\d{1,20})?"
_PART: Final = re.compile(rf"({_NUMBER})\s*([^\W\d_]+)\.?(?:\s+old)?")


@dataclass(frozen=True, slots=True)
class AgeHeader:
    """What the header of a column about ages says.

    Attributes:
        meaning: ``scan`` names the scan, ``age`` nothing else than an age, ``other`` the age at another
            event, ``group`` groups of ages; ``unclear`` where it says what is not understood.
        unit: in which the ages stand, where it says so.
    """

    meaning: Meaning
    unit: Unit | None


@cache
def read_age_header(text: str) -> AgeHeader | None:
    """Return what a header says about ages, None where it is not about ages."""
    sorts = _sorts_in(text)
    if "unit" in sorts or not sorts & {"age", "age group"}:
        return None
    units = [unit for unit in A_YEAR if unit in sorts]
    meaning: Meaning = "scan" if "at the scan" in sorts else "age"
    if sorts & {"group", "age group"}:
        meaning = "group"
    elif "at something else" in sorts:
        meaning = "other"
    elif "" in sorts or len(units) > 1:
        meaning = "unclear"
    return AgeHeader(meaning, units[0] if len(units) == 1 else None)


def is_unit_header(text: str) -> bool:
    """Return True for the header of a column that holds the unit of ages: ``unit``, ``Age_unit``."""
    sorts = _sorts_in(text)
    return "unit" in sorts and sorts <= {"unit", "age", "of no weight"}


def read_unit(text: str) -> Unit | None:
    """Return the unit that a word names, None where it names none."""
    word = unicodedata.normalize("NFKC", text).casefold().strip(" .")
    sort = "months" if word == "m" else _SORTS.get(word)
    return next((unit for unit in A_YEAR if unit == sort), None)


def read_age(text: str, unit: Unit | None = None) -> float | None:
    """Return an age in years, NaN where it is unknown, None where it is not understood.

    Args:
        text: the cell: ``34``, ``8 months``, ``1 y 6 m``, ``034Y`` as DICOM writes it, ``1;6`` for years
            and months.
        unit: of a bare number, where the header or another cell says it; years where None. What the cell
            itself says comes first.
    """
    if len(text) > _LONGEST:
        return None
    word = unicodedata.normalize("NFKC", text).casefold().strip()
    if word in _WORDS["unknown"]:
        return math.nan
    age = _in_years(word, unit or "years")
    return age if age is not None and 0 <= age <= MAX_AGE else None


def _in_years(word: str, unit: Unit) -> float | None:
    if re.fullmatch(_NUMBER, word):
        value = _number(word)
        return value if value is None or unit == "years" else round(value / A_YEAR[unit], 2)
    if re.fullmatch(r"\d{3}[dwmy]", word):
        return round(int(word[:3]) / A_YEAR[_DICOM[word[3]]], 2)
    pair = re.fullmatch(r"(\d{1,3});(\d{1,2})", word)
    if pair:
        return round(int(pair[1]) + int(pair[2]) / 12, 2) if int(pair[2]) < 12 else None
    return _of_parts(word)


def _of_parts(word: str) -> float | None:
    """Return the sum of parts that each name their unit, the larger first: ``1 year 6 months``."""
    parts = _PART.findall(word)
    rest = re.sub(r"[\s,]|and|und|et", "", _PART.sub("", word))
    units = [read_unit(name) for _, name in parts]
    values = [_number(text) for text, _ in parts]
    order = [list(A_YEAR).index(unit) for unit in units if unit]
    if not parts or rest or None in units or order != sorted(set(order)):
        return None
    if any(value is None for value in values):
        return None
    pairs = zip(values, units, strict=True)
    return round(sum(value / A_YEAR[unit] for value, unit in pairs if value and unit), 2)


def _number(text: str) -> float | None:
    """Return a number; None for one whose comma may part thousands."""
    return None if re.fullmatch(r"\d+,\d{3}", text) else float(text.replace(",", "."))


def _sorts_in(text: str) -> set[str]:
    """Return the sorts of the words of a header, an empty text for those that are not known."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", text[:_LONGEST]))
    found = re.findall(r"[^\W\d_]+|\d+", parted.casefold())
    return {_SORTS.get(part, "") for word in found for part in _parts(word)}


def _parts(word: str) -> list[str]:
    """Return the known words that a word is made of, ``ageatscan``; itself where it is not."""
    if word in _SORTS:
        return [word]
    able = [name for name in _SORTS if word.startswith(name) and _joins(name)]
    for name in sorted(able, key=len, reverse=True):
        rest = _parts(word[len(name) :]) if len(name) < len(word) else []
        if rest and all(part in _SORTS for part in rest):
            return [name, *rest]
    return [word]


def _joins(name: str) -> bool:
    """Return True for a word that others are written up to without a gap."""
    return len(name) > 2 or not name.isascii() or name in ("at", "in", "mo", "yr")
