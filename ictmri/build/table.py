"""``TABLE.csv``: the owner's list of patients, read and checked as a whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.build.ages import (
    A_YEAR,
    FORMS,
    Unit,
    is_unit_header,
    read_age,
    read_age_header,
    read_unit,
)
from ictmri.build.identity import alike, one_or_two, spoiled_id
from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.io.csvfile import CsvFile, read_csv
from ictmri.tumours import tumour_name

REQUIRED: Final = ("patient_id", "image", "label")
OPTIONAL: Final = ("subtype", "age", "age_unit", "sex")
SEX_WORDS: Final = {"": "", "f": "female", "female": "female", "m": "male", "male": "male"}
EXAMPLE: Final = "patient_id,image,label,subtype,age,sex"
_AGES: Final = ("age", "scan")
_ONE_AGE: Final = (
    "give one column age: years, or age_months, age_weeks, age_days, or age_unit beside it"
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One patient of the owner's table.

    Attributes:
        number: number of the row.
        patient_id: the owner's id.
        image: the scan.
        label: the class.
        subtype: a name of :mod:`ictmri.tumours`; empty where unknown or not on the list.
        age: years; NaN where unknown.
        sex: ``female`` or ``male``; empty where unknown.
        unlisted: what stood there as subtype and is on no list; for the owner alone.
    """

    number: int
    patient_id: str
    image: Path
    label: str
    subtype: str
    age: float
    sex: str
    unlisted: str = ""


def read_table(path: Path, subtypes: Sequence[str] = ()) -> list[TableRow]:
    """Read the owner's table.

    Args:
        path: the file.
        subtypes: names that the owner adds to the list of tumours.

    Raises:
        InputError: anything is wrong with it; every problem is named with its row.
    """
    file = read_csv(path, EXAMPLE)
    header, unit = _with_age(file.header)
    problems = _header_problems(header, file.header)
    if problems:
        raise InputError(str(path), problems, f"the header is: {EXAMPLE}")
    rows: list[TableRow] = []
    for number, cells in file.rows():
        if len(cells) != len(header):
            problems.append(f"row {number}: {len(cells)} cells, the header has {len(header)}")
            continue
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        row, wrong = _row(number, values, path.parent, unit, subtypes)
        problems += [f"row {number}: {problem}" for problem in wrong]
        rows.append(row)
    problems += [*_repeated(file, header), *_alike(file, header)]
    if not problems and not rows:
        problems = ["no patient: the table has a header only"]
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was written")
    return rows


def _with_age(header: list[str]) -> tuple[list[str], Unit | None]:
    """Return the header with ``age`` and ``age_unit`` for what says so otherwise, and the unit it names."""
    found = [(place, told) for place, name in enumerate(header) if (told := read_age_header(name))]
    ages = [(place, told) for place, told in found if told.meaning in ("age", "scan")]
    named = {place: "age" for place, _ in ages} if len(ages) == 1 else {}
    units = [place for place, name in enumerate(header) if is_unit_header(name)]
    named |= {units[0]: "age_unit"} if len(units) == 1 else {}
    names = [named.get(place, name) for place, name in enumerate(header)]
    return names, ages[0][1].unit if len(ages) == 1 else None


def _header_problems(header: list[str], written: list[str]) -> list[str]:
    known = (*REQUIRED, *OPTIONAL)
    problems = [f"column {name!r} is missing" for name in REQUIRED if name not in header]
    ages = [name for name in written if (told := read_age_header(name)) and told.meaning in _AGES]
    if len(ages) > 1:
        problems.append(f"several columns of ages: {', '.join(ages)}; {_ONE_AGE}")
    problems += [
        f"column {name!r} is not clearly the age at the scan; {_ONE_AGE}"
        if name not in ages and read_age_header(name)
        else f"unknown column {name!r}{nearest(name, known)}"
        for name in header
        if name not in (*known, *ages)
    ]
    problems += [f"column {name!r} stands twice" for name, n in Counter(header).items() if n > 1]
    return problems


def _row(
    number: int, values: dict[str, str], folder: Path, unit: Unit | None, subtypes: Sequence[str]
) -> tuple[TableRow, list[str]]:
    """Return a row, and what is wrong with it; if anything is, it may hold nonsense."""
    patient_id, image, label = (values[name] for name in REQUIRED)
    written, age, unit_word, sex = (values.get(name, "") for name in OPTIONAL)
    spoiled, own_unit = spoiled_id(patient_id), read_unit(unit_word)
    years, subtype = read_age(age, own_unit or unit), tumour_name(written, subtypes)
    of_units = (
        (unit_word and not own_unit, f"age_unit {unit_word!r} is not {', '.join(A_YEAR)}"),
        (
            own_unit and unit not in (None, own_unit),
            f"age_unit {unit_word!r}, and the header says {unit}",
        ),
        (years is None, f"age {age!r} is not an age: {FORMS}"),
    )
    hint = nearest(label.lower(), CLASSES) or f"; {', '.join(CLASSES)}"
    checks = (
        (not patient_id, "patient_id is empty"),
        (spoiled, f"patient_id {patient_id!r} {spoiled}"),
        (not image, "image is empty"),
        (not (folder / image).exists(), f"image {image!r} does not exist beside the table"),
        (label not in CLASSES, f"unknown class {label!r}{hint}"),
        next((check for check in of_units if check[0]), (False, "")),
        (sex.lower() not in SEX_WORDS, f"sex {sex!r} is not female, male or empty"),
    )
    row = TableRow(
        number=number,
        patient_id=patient_id,
        image=folder / image,
        label=label,
        subtype=subtype,
        age=math.nan if years is None else years,
        sex=SEX_WORDS.get(sex.lower(), ""),
        unlisted="" if subtype else written,
    )
    return row, [problem for wrong, problem in checks if wrong]


def _repeated(file: CsvFile, header: list[str]) -> list[str]:
    """Name patients and images that stand in several rows: one volume a patient is the contract."""
    return [
        f"rows {_told(numbers)}: {column} {value!r} stands {len(numbers)} times"
        for column in ("patient_id", "image")
        for value, numbers in _places(file, header.index(column)).items()
        if len(numbers) > 1
    ]


def _alike(file: CsvFile, header: list[str]) -> list[str]:
    """Name ids that may be one patient's: he would be in two folds."""
    rows = _places(file, header.index("patient_id"))
    return [
        f"rows {_told([rows[patient_id][0] for patient_id in ids])}: patient_id {one_or_two(ids)} "
        "Keep one row of a patient; give different patients ids that differ in more"
        for ids in alike(rows)
    ]


def _places(file: CsvFile, column: int) -> dict[str, list[int]]:
    """Return the numbers of the rows in which each value of a column stands."""
    rows: dict[str, list[int]] = {}
    for number, cells in file.rows():
        if column < len(cells) and cells[column].strip():
            rows.setdefault(cells[column].strip(), []).append(number)
    return rows


def _told(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
