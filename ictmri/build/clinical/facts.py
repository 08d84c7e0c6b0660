"""Class, subtype, age and sex of each patient, out of all that tables and folders say."""

from __future__ import annotations

import math
from collections import Counter

from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.mapping import SEX_CHOICES
from ictmri.build.clinical.patients import Patient
from ictmri.build.clinical.state import Facts, Reading
from ictmri.build.clinical.words import ClassWord, read_class, read_codes, read_sex
from ictmri.tumours import tumour_name


def gather(reading: Reading) -> None:
    """Settle what is known of every patient; ask where sources contradict each other."""
    odd: Counter[str] = Counter()
    for patient in reading.patients:
        reading.facts[patient.key] = _facts(reading, patient, odd)
    reading.out.aside += [f"{count} patients: {what}" for what, count in sorted(odd.items())]


def _facts(reading: Reading, patient: Patient, odd: Counter[str]) -> Facts:
    table_words, folder_words = words_of(patient)
    believed = _believed(reading, table_words, folder_words)
    named = {word.label for word in believed if word.is_class and word.label}
    usual = {word.label for word in believed if not word.is_class and word.label}
    labels = named or usual
    label = labels.copy().pop() if len(labels) == 1 else ""
    if named and usual - named - {""}:
        odd["their class is not the usual one of their subtype; the class is kept"] += 1
    subtypes = {word.subtype for word in (*table_words, *folder_words) if word.subtype}
    cells = {table.cells("subtype")[row] for table, row in patient.rows}
    others = {cell: tumour_name(cell) for cell in cells if cell and not read_class(cell)}
    subtypes = subtypes or {name for name in others.values() if name}
    return Facts(
        label=label,
        subtype=subtypes.pop() if len(subtypes) == 1 else "",
        unlisted=next((cell for cell, name in others.items() if not name), ""),
        age=_age(patient, odd),
        sex=_sex(reading, patient, odd),
    )


def words_of(patient: Patient) -> tuple[list[ClassWord], list[ClassWord]]:
    """Return what a patient's rows say about the class, and what the folders say."""
    table_words = [
        word
        for table, row in patient.rows
        for word in (
            table.names.get(table.cells("label")[row]),
            table.subtypes.get(table.cells("subtype")[row]),
        )
        if word
    ]
    return table_words, [image.class_word for image in patient.images if image.class_word]


def _believed(
    reading: Reading, table: list[ClassWord], folders: list[ClassWord]
) -> list[ClassWord]:
    by_table = {word.label for word in table if word.is_class}
    by_folder = {word.label for word in folders if word.is_class}
    if not by_table or not by_folder or by_table == by_folder:
        return [*table, *folders]
    if reading.given.labels_from is None:
        text = "tables and folders name different classes for some patients"
        reading.ask("labels_from", text, ("table", "folders"))
    return folders if reading.given.labels_from == "folders" else table


def _age(patient: Patient, odd: Counter[str]) -> float:
    ages = {table.age(row) for table, row in patient.rows if table.cells("age")[row]}
    known = {age for age in ages if age is not None and not math.isnan(age)}
    if None in ages:
        odd["an age that is not understood: unknown"] += 1
    if len(known) > 1:
        odd["two ages: unknown"] += 1
    return known.pop() if len(known) == 1 else math.nan


def _sex(reading: Reading, patient: Patient, odd: Counter[str]) -> str:
    sexes = {sex for table, row in patient.rows if (sex := _sex_in(reading, table, row))}
    if len(sexes) > 1:
        odd["two sexes: unknown"] += 1
    return sexes.pop() if len(sexes) == 1 else ""


def _sex_in(reading: Reading, table: Meaning, row: int) -> str:
    cell = table.cells("sex")[row]
    if cell in reading.given.sexes:
        chosen = reading.given.sexes[cell]
        return "" if chosen == "unknown" else chosen
    code = read_codes(table.header("sex") or "").get(cell.lstrip("0") or "0", "")
    known = read_sex(code or cell)
    if known is None:
        count = table.cells("sex").count(cell)
        reading.ask(
            f"sexes.{cell}",
            f"{table.sheet.title}: {cell!r} as sex ({count} rows; the paper has 135 male, 114 female)",
            SEX_CHOICES,
        )
    return known or ""
