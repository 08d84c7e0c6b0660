"""What a source leaves open: each doubt is a question with its place in the mapping file."""

from __future__ import annotations

from collections import Counter, defaultdict

from ictmri.build.ages import FORMS
from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.headers import Field, read_header
from ictmri.build.clinical.images import Image, class_of, glob_of
from ictmri.build.clinical.mapping import (
    AS_READ,
    CLASS_CHOICES,
    FILL_DOWN,
    LEAVE_OUT,
    READ,
    SEPARATE,
)
from ictmri.build.clinical.patients import Patient, by_sort
from ictmri.build.clinical.state import Reading
from ictmri.build.clinical.workbooks import DATES, ROUNDED
from ictmri.build.identity import alike, one_or_two
from ictmri.io.csvfile import shown

_SHOWN = 3
_MEND = (
    "open a copy in a spreadsheet program, correct them, save it and give it with --source, or take them "
    "as they were read: errors and formulas as empty cells"
)


def ask_all(reading: Reading) -> None:
    """Ask about images, tables, words and what is left over."""
    _ask_images(reading)
    for table in reading.tables:
        _ask_table(reading, table)
        _ask_hidden(reading, table)
    _ask_odd_cells(reading)
    _ask_words(reading)
    _ask_conflicts(reading)
    _ask_people(reading)
    _ask_rows(reading)
    _ask_bare(reading)


def _ask_images(reading: Reading) -> None:
    unclear = [patient for patient in reading.patients if len(patient.chosen) > 1]
    if unclear:
        sorts = by_sort(unclear)
        globs = tuple(glob_of([image.name for image in images]) for images in sorts.values())
        example = ", ".join(image.name for image in unclear[0].chosen[:_SHOWN])
        reading.ask(
            "images" if len(globs) > 1 else "exclude",
            f"{len(unclear)} of {len(reading.patients)} patients have several volumes that could be "
            f"the T1-CE, for example {example}",
            globs,
        )
    chosen = {image.name for patient in reading.patients for image in patient.chosen}
    masks = chosen & reading.masks
    if masks and reading.given.images is None:
        reading.ask("images", f"{len(masks)} patients have only volumes that look like masks")


def _ask_table(reading: Reading, table: Meaning) -> None:
    title = table.sheet.title
    if table.ids:
        reading.ask(
            reading.place(table, "id"),
            f"{title}: several columns can be the id, and lead to different images",
            table.ids,
        )
    elif table.rivals and reading.given.id_pattern is None:
        ways = "; or ".join((table.how, *table.rivals))
        reading.ask("id_pattern", f"{title}: ids fit images in several ways: {ways}")
    if table.labels:
        reading.ask(
            reading.place(table, "label"),
            f"{title}: several columns can be the label, and differ",
            [table.sheet.header[column.index] for column in table.labels],
        )
    _ask_ages(reading, table)
    if not table.images and not any(image.class_word for image in reading.able):
        reading.ask(
            "id_pattern",
            f"{title}: {len(table.sheet.rows)} rows with classes, and no image that any is about: a "
            "regular expression is needed whose group finds a row's id in an image's path"
            + ("; columns that name people were not read" if table.unread else ""),
        )


def _ask_ages(reading: Reading, table: Meaning) -> None:
    """Ask which column is the age at the scan, and about cells in it that are no ages."""
    title, place = table.sheet.title, reading.place(table, "age")
    if table.ages:
        text = "which column is the age at the scan? null where none is; age_unit, where it is not years"
        reading.ask(place, f"{title}: {text}", (*table.ages, "null"))
    odd = [table.cells("age")[row] for row in table.images if table.age(row) is None]
    if odd and reading.given.tables is None:
        reading.ask(
            place,
            f"{title}: {len(odd)} ages are not understood, for example {shown(odd[0])}; understood are "
            f"{FORMS}. Name the column to leave these unknown, null to read no age",
            (str(table.header("age")), "null"),
        )


def _ask_hidden(reading: Reading, table: Meaning) -> None:
    """Ask about what a person does not see who opens the workbook."""
    sheet, read = table.sheet, table.columns.values()
    columns = [sheet.header[place] for place in sheet.hidden_columns if place in read]
    told = ["the sheet is hidden"] if sheet.grid.hidden else []
    if sheet.hidden_rows:
        count = f"{len(sheet.hidden_rows)} of {len(sheet.rows)}"
        told.append(f"{count} rows are hidden, by hand or by a filter")
    told += [f"the column {name!r} is hidden" for name in columns]
    if not told or reading.given.hidden == LEAVE_OUT:
        return
    text = f"{sheet.title}: {'; '.join(told)}"
    if reading.given.hidden == READ:
        reading.out.aside.append(f"{text}; read all the same")
    else:
        reading.ask("hidden", text, (READ, LEAVE_OUT))


def _ask_odd_cells(reading: Reading) -> None:
    """Ask about cells of columns that matter, of which a spreadsheet program has made something else."""
    read = {id(table.sheet): table.columns for table in reading.tables}
    for sheet in reading.sheets:
        if reading.given.tables is not None and id(sheet) not in read:
            continue
        fields = {place: name for name, place in read.get(id(sheet), {}).items()}
        for place, header in enumerate(sheet.header):
            field = fields.get(place) or read_header(header)
            for what, count in sheet.odd(place).items():
                if field is None or not _matters(what, field):
                    continue
                text = f"{sheet.title}, column {header!r}: {count} cells are {what}"
                if reading.given.odd_cells == AS_READ:
                    reading.out.aside.append(text)
                    continue
                reading.ask("odd_cells", f"{text}; {_MEND}", (AS_READ,))


def _matters(what: str, field: Field) -> bool:
    if what == ROUNDED:
        return field == "id"
    return what != DATES or field in ("id", "label", "age", "sex", "fold")


def _ask_words(reading: Reading) -> None:
    """Ask for the class of each word that settles a patient's class and is not known."""
    words: Counter[tuple[str, str]] = Counter()
    for patient in reading.patients:
        if reading.facts[patient.key].label:
            continue
        for table, row in patient.rows:
            word = table.cells("label")[row]
            known = table.names.get(word)
            if word and (known is None or not known.label):
                words[word, table.sheet.title] += 1
        coded = patient.images[0].class_word
        folder = coded.code if coded and coded.code else odd_folder(reading, patient)
        if folder:
            words[folder, "folders"] += 1
    for (word, where), count in sorted(words.items()):
        text = f"{where}: the class of {word!r} ({count} cases) is stated nowhere"
        reading.ask(f"classes.{word}", text, CLASS_CHOICES)


def odd_folder(reading: Reading, patient: Patient) -> str:
    """Return the folder that stands where others name a class and names none that is settled."""
    if patient.rows:
        return ""
    for image in patient.chosen[:1]:
        for depth, folder in enumerate(image.folders):
            beside = _beside(reading, image, depth)
            read = class_of(folder, reading.classes)
            if any(class_of(name, reading.classes) for name in beside) and not (
                read and read.label
            ):
                return folder
    return ""


def _beside(reading: Reading, image: Image, depth: int) -> set[str]:
    if not any(other.class_word for other in reading.able):
        return set()
    return {
        other.folders[depth]
        for other in reading.able
        if len(other.folders) > depth and other.folders[:depth] == image.folders[:depth]
    }


def _ask_conflicts(reading: Reading) -> None:
    """Ask which table is believed where two name different classes for a patient."""
    between: dict[tuple[int, ...], int] = defaultdict(int)
    for patient in reading.patients:
        told = {
            (known.label, reading.tables.index(table))
            for table, row in patient.rows
            if (known := table.names.get(table.cells("label")[row])) and known.is_class
        }
        if len({label for label, _ in told}) > 1:
            between[tuple(sorted({index for _, index in told}))] += 1
    for indices, count in sorted(between.items()):
        titles = " and ".join(reading.tables[index].sheet.title for index in indices)
        for index in indices:
            table = reading.tables[index]
            reading.ask(
                reading.place(table, "label"),
                f"{titles}: different classes for {count} patients; name the column of the table "
                "that is right, null for the other",
                (str(table.header("label")), "null"),
            )


def _ask_people(reading: Reading) -> None:
    """Ask about ids that may be one patient's: he would be in two folds."""
    for ids in alike(patient.key for patient in reading.patients):
        text = f"patients {one_or_two(ids)}"
        if reading.given.alike_ids is None:
            reading.ask("alike_ids", text, (SEPARATE, LEAVE_OUT))
        else:
            reading.out.aside.append(f"{text} {reading.given.alike_ids}")


def _ask_rows(reading: Reading) -> None:
    for table in reading.tables:
        lost = len(table.sheet.rows) - len(table.images)
        text = f"{table.sheet.title}: {lost} of {len(table.sheet.rows)} rows without an image"
        if not table.images or not lost:
            continue
        if "label" not in table.columns:
            reading.out.aside.append(text)
        elif reading.given.rows_without_image is None:
            reading.ask("rows_without_image", text, (LEAVE_OUT,))
        else:
            reading.out.aside.append(text)


def _ask_bare(reading: Reading) -> None:
    """Ask about images that nothing says a class of."""
    bare = [
        patient
        for patient in reading.patients
        if not reading.facts[patient.key].label and not _has_word(reading, patient)
    ]
    if not bare or any(not table.images for table in reading.tables):
        return
    text = f"{len(bare)} of {len(reading.patients)} images without a class, for example "
    text += ", ".join(patient.images[0].name for patient in bare[:_SHOWN])
    if len(bare) == len(reading.patients):
        titles = [sheet.title for sheet in reading.sheets]
        text = "neither a table nor folders nor file names that tell classes were found"
        reading.ask("tables", text, titles)
    elif reading.given.images_without_row is None:
        gaps = any(_has_gaps(table) for table in reading.tables)
        choices = (FILL_DOWN, LEAVE_OUT) if gaps else (LEAVE_OUT,)
        text += "; fill-down takes the class of the row above" if gaps else ""
        reading.ask("images_without_row", text, choices)
    else:
        reading.out.aside.append(text)


def _has_gaps(table: Meaning) -> bool:
    """Return True where labels stand only in the first row of each block, as merged cells leave them."""
    labels = table.cells("label")
    return bool(labels) and bool(labels[0]) and not all(labels)


def _has_word(reading: Reading, patient: Patient) -> bool:
    by_table = any(table.cells("label")[row] for table, row in patient.rows)
    by_folder = any(image.class_word for image in patient.images)
    return by_table or by_folder or bool(odd_folder(reading, patient))
