"""The public table of a cohort: what anyone may see without access to the volumes, k-anonymous.

Class, sex and age band together could single out a patient. Bands are five years wide, merged under 10
and over 80 (years of a child or of a very old patient are rare enough to recognise someone); where
fewer than ``K`` patients of a class share sex and band, neighbouring bands are joined, and what still
stands alone is left empty. The class itself is public with the folds, so it is never hidden.

Source: Sweeney 2002, k-anonymity, doi:10.1142/S0218488502001648.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.io.csvfile import csv_text

BAND_YEARS: Final = 5
YOUNGEST: Final = 10.0
OLDEST: Final = 80.0
PUBLIC_COLUMNS: Final = ("class", "sex", "age_band")
TABLE_COLUMNS: Final = ("case_id", *PUBLIC_COLUMNS, "fold")

_Span = tuple[int, int]
_FIRST: Final = -1
_LAST: Final = int((OLDEST - YOUNGEST) // BAND_YEARS)


@dataclass(frozen=True, slots=True)
class PublicRow:
    """One case as anyone may see it; sex and age band are empty where unknown or withheld."""

    case_id: str
    label: str
    sex: str
    age_band: str
    fold: int

    @property
    def shared(self) -> tuple[str, str, str]:
        """The values by which a person could be singled out."""
        return (self.label, self.sex, self.age_band)


@dataclass(frozen=True, slots=True)
class PublicTable:
    """The public rows of a cohort and what was done to them.

    Attributes:
        rows: one a case, in the order of the folds.
        widened: cases whose band is wider than five years.
        withheld: values left empty, by column.
    """

    rows: tuple[PublicRow, ...]
    widened: int
    withheld: dict[str, int]

    @property
    def k(self) -> int:
        """Size of the smallest group of cases with the same public values; 0 for no case."""
        return min(Counter(row.shared for row in self.rows).values(), default=0)

    def to_csv(self) -> str:
        """Return the table as CSV."""
        rows = ((r.case_id, r.label, r.sex, r.age_band, r.fold) for r in self.rows)
        return csv_text(TABLE_COLUMNS, rows)

    def report(self) -> dict[str, Any]:
        """Return ``privacy.json``: what is public, how anonymous it is, what that cost."""
        groups = Counter(row.shared for row in self.rows)
        return {
            "schema": "ictmri/privacy/1",
            "public_columns": list(PUBLIC_COLUMNS),
            "required_k": K,
            "k": self.k,
            "cases": len(self.rows),
            "cases_with_a_wider_band": self.widened,
            "withheld_values": self.withheld,
            "groups": [
                dict(zip((*PUBLIC_COLUMNS, "cases"), (*group, count), strict=True))
                for group, count in sorted(groups.items())
            ],
        }


def age_band(age: float | None) -> str:
    """Return the five-year band of an age in years, ``"<10"`` to ``">=80"``, ``""`` where unknown."""
    if age is None or math.isnan(age):
        return ""
    return _name((_step(age), _step(age)))


def joint_band(first: str, last: str) -> str:
    """Return the band from the youngest of one band to the oldest of another."""
    return _name((_span(first)[0], _span(last)[1]))


def public_rows(cohort: Cohort) -> list[PublicRow]:
    """Return the public rows of a cohort with plain five-year bands, before anything is withheld."""
    people = cohort.people()
    return [
        PublicRow(
            row.case_id,
            row.label,
            people[row.case_id].sex or "",
            age_band(people[row.case_id].age),
            row.fold,
        )
        for row in cohort.folds().rows
    ]


def public_table(rows: Sequence[PublicRow], k: int = K) -> PublicTable:
    """Make the rows k-anonymous over class, sex and age band.

    Raises:
        InputError: a class has fewer than ``k`` patients; classes are public with the folds, so nothing
            can be withheld that would help.
    """
    counts = Counter(row.label for row in rows)
    few = [name for name in CLASSES if 0 < counts[name] < k]
    if few:
        raise InputError(
            "privacy",
            [
                f"class {name}: {counts[name]} patient{'s' if counts[name] > 1 else ''}, fewer than "
                f"{k} share these public values"
                for name in few
            ],
            f"publish when each class has at least {k} patients, or none",
        )
    done: dict[str, PublicRow] = {}
    for name in CLASSES:
        of_class = [row for row in rows if row.label == name]
        done |= {row.case_id: row for row in _of_class(of_class, k)}
    kept = tuple(done[row.case_id] for row in rows)
    changes = list(zip(rows, kept, strict=True))
    return PublicTable(
        kept,
        widened=sum(bool(new.age_band) and new.age_band != old.age_band for old, new in changes),
        withheld={
            "sex": sum(bool(old.sex) and not new.sex for old, new in changes),
            "age_band": sum(bool(old.age_band) and not new.age_band for old, new in changes),
        },
    )


def _of_class(rows: Sequence[PublicRow], k: int) -> Iterator[PublicRow]:
    """Withhold the sex of groups that are too small, then deal with the bands of each group."""
    sizes = Counter(row.sex for row in rows)
    hidden = {sex for sex, count in sizes.items() if count < k}
    while hidden and sum(sizes[sex] for sex in hidden | {""}) < k:
        hidden.add(min(set(sizes) - hidden - {""}, key=lambda sex: (sizes[sex], sex)))
    by_sex: dict[str, list[PublicRow]] = {}
    for row in rows:
        kept = replace(row, sex="") if row.sex in hidden else row
        by_sex.setdefault(kept.sex, []).append(kept)
    for group in by_sex.values():
        yield from _of_group(group, k)


def _of_group(rows: Sequence[PublicRow], k: int) -> Iterator[PublicRow]:
    """Join bands of one class and sex until each has ``k`` cases; unknown ages need company too."""
    bands = Counter(row.age_band for row in rows)
    unknown = bands.pop("", 0)
    spans = _joined({_span(band): count for band, count in bands.items()}, k)
    while spans and (0 < unknown < k or min(spans.values()) < k):
        smallest = min(spans, key=lambda span: (spans[span], span))
        unknown += spans.pop(smallest)
    for row in rows:
        place = _span(row.age_band) if row.age_band else None
        band = next((_name(s) for s in spans if place and s[0] <= place[0] <= s[1]), "")
        yield replace(row, age_band=band)


def _joined(counts: dict[_Span, int], k: int) -> dict[_Span, int]:
    """Join neighbouring spans, the smallest first, until each holds ``k`` or only one is left."""
    spans = sorted(counts.items())
    while len(spans) > 1 and min(count for _, count in spans) < k:
        at = min(range(len(spans)), key=lambda i: (spans[i][1], i))
        sides = [side for side in (at - 1, at + 1) if 0 <= side < len(spans)]
        other = min(sides, key=lambda i: (_width(spans[i][0], spans[at][0]), spans[i][1], i))
        first, last = sorted((at, other))
        merged = ((spans[first][0][0], spans[last][0][1]), spans[first][1] + spans[last][1])
        spans[first : last + 1] = [merged]
    return dict(spans)


def _width(one: _Span, other: _Span) -> int:
    return max(one[1], other[1]) - min(one[0], other[0])


def _step(age: float) -> int:
    if age < YOUNGEST:
        return _FIRST
    return min(int((age - YOUNGEST) // BAND_YEARS), _LAST)


def _span(band: str) -> _Span:
    if band.startswith("<"):
        return (_FIRST, _FIRST)
    if band.startswith(">="):
        return (_LAST, _LAST)
    return (_step(float(band.split("-", maxsplit=1)[0])),) * 2


def _name(span: _Span) -> str:
    first, last = span
    if last == _FIRST:
        return f"<{YOUNGEST:.0f}"
    if first == _FIRST and last == _LAST:
        return "any"
    low, high = (
        int(YOUNGEST) + BAND_YEARS * first,
        int(YOUNGEST) + BAND_YEARS * (last + 1) - 1,
    )
    if first == _FIRST:
        return f"<{high + 1}"
    return f">={low}" if last == _LAST else f"{low}-{high}"
