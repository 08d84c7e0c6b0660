"""Reads a source of unknown layout: patients with their volume, class, age, sex and fold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from ictmri.build.ages import read_unit
from ictmri.build.clinical.columns import Meaning, understand
from ictmri.build.clinical.doubts import ask_all
from ictmri.build.clinical.facts import gather
from ictmri.build.clinical.images import class_of, read_images
from ictmri.build.clinical.mapping import FILL_DOWN, LEAVE_OUT, Columns, Mapping
from ictmri.build.clinical.patients import Patient, choose, group
from ictmri.build.clinical.sheets import Sheet, decoded, read_sheets
from ictmri.build.clinical.splits import SourceFolds, source_folds
from ictmri.build.clinical.state import Reading
from ictmri.build.clinical.survey import Survey, survey
from ictmri.build.clinical.telling import tell
from ictmri.build.clinical.understood import Question, Understood
from ictmri.build.clinical.words import ClassWord, plain, read_class, read_codes
from ictmri.build.identity import alike
from ictmri.build.table import TableRow
from ictmri.classes import CLASSES
from ictmri.errors import InputError

RULE: Final = "rule"
_NOTE_BYTES: Final = 2**20
_LEGEND_ROWS: Final = 12
"""A table of more rows is about patients, not about what codes mean."""
_TELLING: Final = frozenset({"label", "subtype", "age", "sex", "fold"})


def read_source(
    root: Path, unpacked: Path, given: Mapping, n_folds: int, subject: str
) -> Understood:
    """Read a source.

    Args:
        root: the folder that holds it; nothing in it is changed.
        unpacked: private folder for what its archives and parquet files hold.
        given: what a person said of it.
        n_folds: folds of the cohort.
        subject: how the source is called in messages.

    Raises:
        InputError: it holds no volume or an archive that is not to be trusted, or the mapping speaks of
            what is not there.
    """
    found = survey(root, unpacked)
    classes = {plain(word): label for word, label in given.classes.items()}
    able, others = read_images(found.images, given, classes)
    if not able:
        problem = _no_image(found, given)
        raise InputError(subject, [problem], "give the globs of the volumes: images in --mapping")
    header_rows = {
        (table.path, table.sheet or ""): table.header_row
        for table in given.tables or []
        if table.header_row is not None
    }
    sheets = read_sheets(found, header_rows)
    if given.hidden == LEAVE_OUT:
        sheets = [sheet.as_shown() for sheet in sheets if not sheet.grid.hidden]
    reading = Reading(given, found, able, others, sheets, classes)
    notes = _notes(reading)
    _read_tables(reading, notes, subject)
    told = any("label" in table.columns for table in reading.tables)
    if not told and not any(image.class_word for image in reading.able):
        _read_numbered_folders(reading, notes)
        _read_names(reading)
    joined = [table for table in reading.tables if table.images]
    reading.patients = group(reading.able, joined)
    reading.masks = choose(reading.patients)
    gather(reading)
    ask_all(reading)
    _settle(reading)
    settled = {row.patient_id for row in reading.out.rows}
    kept = [patient for patient in reading.patients if patient.key in settled]
    every = [*reading.able, *others]
    folds = source_folds(found, reading.tables, kept, every, n_folds)
    _choose_folds(reading, folds, n_folds)
    tell(reading)
    return reading.out


def _no_image(found: Survey, given: Mapping) -> str:
    if given.images is not None:
        return f"no image fits the globs {', '.join(given.images)}"
    there = [f"{count} {kind}" for kind, count in sorted(found.aside.items())]
    return f"no volume (NIfTI, NRRD, MetaImage, DICOM); there are {', '.join(there) or 'no files'}"


def _read_tables(reading: Reading, notes: dict[str, str], subject: str) -> None:
    every = [*reading.able, *reading.others]
    lost: list[Meaning] = []
    for sheet, columns in _chosen_sheets(reading, subject):
        table = understand(
            sheet,
            reading.able,
            every,
            notes,
            columns,
            reading.classes,
            fill_down=reading.given.images_without_row == FILL_DOWN,
        )
        tells = _TELLING & table.columns.keys()
        if columns is None and _is_legend(table):
            continue
        if (table.images and tells) or columns is not None:
            reading.tables.append(table)
        elif tells:
            lost.append(table)
        else:
            reading.out.aside.append(f"table {sheet.title}: tells no class, age, sex or fold")
    told = any("label" in table.columns for table in reading.tables)
    for table in lost:
        # It matters only where nothing else tells classes: then its ids were not understood.
        if not told and any(table.names.values()) and len(table.sheet.rows) > _LEGEND_ROWS // 2:
            reading.tables.append(table)
        else:
            reading.out.aside.append(f"table {table.sheet.title}: about none of the images")


def _is_legend(table: Meaning) -> bool:
    """Return True for a table of what codes mean; its codes may well be names of folders."""
    rows, meant = table.sheet.rows, sum(map(len, table.images.values()))
    words = [word for word in table.names.values() if word]
    few = len(rows) <= _LEGEND_ROWS and len(table.sheet.header) == 2
    return few and len(words) == len(rows) and (meant > 2 * len(rows) or not meant)


def _chosen_sheets(reading: Reading, subject: str) -> list[tuple[Sheet, Columns | None]]:
    if reading.given.tables is None:
        return [(sheet, None) for sheet in reading.sheets]
    problems: list[str] = []
    chosen: list[tuple[Sheet, Columns | None]] = []
    for table in reading.given.tables:
        fitting = [
            sheet
            for sheet in reading.sheets
            if sheet.path == table.path and table.sheet in (None, sheet.name)
        ]
        if not fitting:
            names = ", ".join(sheet.title for sheet in reading.sheets) or "none"
            wanted = f"{table.path} [{table.sheet}]" if table.sheet else table.path
            problems.append(f"tables: no table {wanted!r} in the source; there are {names}")
            continue
        header = fitting[0].header
        problems += [
            f"tables: {fitting[0].title} has no column {name!r}; it has {', '.join(header)}"
            for field, name in table.columns.model_dump(exclude_none=True).items()
            if name not in header and not (field == "age_unit" and read_unit(name))
        ]
        chosen.append((fitting[0], table.columns))
    if problems:
        raise InputError(subject, problems, "correct the mapping file")
    return chosen


def _notes(reading: Reading) -> dict[str, str]:
    """Return the names of codes that the source gives somewhere; a code with two names has none."""
    named: dict[str, dict[str, str]] = {}
    for text in _texts(reading):
        codes = read_codes(text)
        words = {number: (name, read_class(name)) for number, name in codes.items()}
        labels = {word.label for _, word in words.values() if word and word.label}
        for number, (name, word) in words.items():
            if word and len(labels) > 1:
                named.setdefault(number, {}).setdefault(word.label, name)
    return {
        number: next(iter(names.values())) for number, names in named.items() if len(names) == 1
    }


def _texts(reading: Reading) -> Iterator[str]:
    for file in reading.found.notes:
        if file.path.stat().st_size <= _NOTE_BYTES:
            try:
                yield decoded(file.path.read_bytes())
            except ValueError:
                continue
    for sheet in reading.sheets:
        if len(sheet.rows) <= _LEGEND_ROWS and len(sheet.header) == 2:
            yield "\n".join("=".join(cells) for _, cells in sheet.rows)


def _read_numbered_folders(reading: Reading, notes: dict[str, str]) -> None:
    """Read folders 0, 1, 2, .. as classes where nothing else tells them."""
    depth = min(len(image.folders) for image in reading.able)
    for place in range(depth):
        numbers = {image.folders[place] for image in reading.able}
        few = 2 <= len(numbers) <= 2 * len(CLASSES) and len(reading.able) > 2 * len(numbers)
        if few and all(number.isdecimal() for number in numbers):
            words = {number: _coded(number, notes, reading.classes) for number in numbers}
            reading.able = [
                replace(image, class_word=words[image.folders[place]]) for image in reading.able
            ]
            return


def _read_names(reading: Reading) -> None:
    """Read the classes off the file names where all of them name one, and nothing else tells any."""
    words = [_class_in(image.patient_part, reading.classes) for image in reading.able]
    if all(words) and len({word.label for word in words if word}) > 1:
        reading.able = [
            replace(image, class_word=word) for image, word in zip(reading.able, words, strict=True)
        ]


def _class_in(name: str, classes: dict[str, str]) -> ClassWord | None:
    words = [name, *name.split("_")]
    read = [word for text in words if not text.isdecimal() and (word := class_of(text, classes))]
    return read[0] if len({word.label for word in read}) == 1 and read[0].label else None


def _coded(number: str, notes: dict[str, str], classes: dict[str, str]) -> ClassWord:
    code = str(int(number))
    known = class_of(number, classes) or read_class(notes.get(code, ""))
    return known or ClassWord("", "", is_class=True, code=number)


def _settle(reading: Reading) -> None:
    """Make the rows of the cohort: patients whose volume and class are clear."""
    left = doubled = 0
    groups = alike(patient.key for patient in reading.patients)
    twins = {key for ids in groups for key in ids if reading.given.alike_ids == LEAVE_OUT}
    for patient in reading.patients:
        facts = reading.facts[patient.key]
        left += facts.label == LEAVE_OUT
        if facts.label not in CLASSES or len(patient.chosen) != 1 or patient.key in twins:
            continue
        if _ids_in_one_table(patient) > 1:
            doubled += 1
            continue
        numbers = [table.sheet.rows[row][0] for table, row in patient.rows]
        reading.out.rows.append(
            TableRow(
                number=numbers[0] if numbers else len(reading.out.rows) + 1,
                patient_id=patient.key,
                image=patient.chosen[0].path,
                label=facts.label,
                subtype=facts.subtype,
                age=facts.age,
                sex=facts.sex,
                unlisted="" if facts.subtype else facts.unlisted,
            )
        )
    if left:
        reading.out.aside.append(f"{left} patients: their class is to be left out")
    if doubled:
        reading.out.aside.append(f"{doubled} volumes that rows of several patients name: left out")


def _ids_in_one_table(patient: Patient) -> int:
    ids: dict[str, set[str]] = {}
    for table, row in patient.rows:
        ids.setdefault(table.sheet.title, set()).add(table.patients[row])
    return max((len(found) for found in ids.values()), default=0)


def _choose_folds(reading: Reading, folds: list[SourceFolds], n_folds: int) -> None:
    out, wanted = reading.out, reading.given.folds
    usable = [source for source in folds if not source.problem]
    broken = [source for source in folds if source.problem]
    out.aside += [f"folds in {source.name}: {source.problem}" for source in broken]
    if wanted == RULE:
        usable = []
    elif wanted is not None:
        usable = [source for source in usable if source.name == wanted]
        if not usable:
            names = ", ".join(s.name for s in folds if not s.problem) or "none that can be used"
            problem = f"no folds {wanted!r} in the source; there are {names}"
            raise InputError("folds", [problem], f'give one of them, or "{RULE}"')
    distinct = {tuple(sorted(source.folds.items())) for source in usable}
    split = [source for source in broken if source.splits_patients]
    if len(distinct) > 1:
        names_ = [source.name for source in usable]
        out.questions.append(_fold_question("several folds that differ", [*names_, RULE]))
    elif split and not usable and wanted is None:
        text = f"folds in {split[0].name}: {split[0].problem}"
        out.questions.append(_fold_question(text, [RULE]))
    if len(distinct) == 1:
        out.folds = usable[0].folds
        out.proposal["folds"] = usable[0].name
        out.told.append(f"  folds    {n_folds}, the source's own: {usable[0].name}")
        out.aside = [line for line in out.aside if f"table {usable[0].name}:" not in line]
    else:
        out.proposal["folds"] = wanted
        out.told.append(
            f"  folds    {n_folds}, dealt by this package: the source brings none to use"
        )


def _fold_question(text: str, choices: list[str]) -> Question:
    return Question("folds", text, tuple(choices))
