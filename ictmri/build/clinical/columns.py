"""What the columns of a table mean: by their headers, and by what stands in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field

from ictmri.build.ages import Unit, read_age, read_age_header, read_unit
from ictmri.build.clinical.headers import RUNNING, Field, is_guess, never_read, read_header
from ictmri.build.clinical.images import Image, class_of
from ictmri.build.clinical.mapping import FIELDS, Columns
from ictmri.build.clinical.matching import IN_CLASS, Match, match_files, match_ids
from ictmri.build.clinical.sheets import Sheet
from ictmri.build.clinical.words import ClassWord, plain, read_class, read_codes, read_sex
from ictmri.classes import CLASSES


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column that can be the label.

    Attributes:
        index: its place.
        names: what each word in it means; None for a word that is not known.
        coded: True where numbers stand in it whose names are not known.
        is_class: True where it names classes, False where it names subtypes.
    """

    index: int
    names: dict[str, ClassWord | None]
    coded: bool
    is_class: bool


@dataclass(slots=True)
class Meaning:
    """What a table tells.

    Attributes:
        sheet: the table.
        columns: place of the column of each field.
        labels: columns that can be the label, where it is not clear which; else empty.
        names: meaning of each word of the label column.
        subtypes: meaning of each word of the subtype column.
        codes: names of numbers, from headers and notes, by column.
        unread: headers of columns that were passed over because they name people.
        fill_down: an empty label is that of the row above.
        unit: of ages, where no cell says it; years where None.
        ages: headers of columns about ages of which it is not clear which is the age at the scan.
        ids: rival id columns, where it is not clear which; else empty.
        patients: what names the patient of each row: its id, with the class where ids count inside it.
        images: the images of each row, by place of the row.
        how: how rows and images were brought together.
        rivals: other ways to do that, with other results.
    """

    sheet: Sheet
    columns: dict[Field, int] = field(default_factory=dict)
    labels: list[LabelColumn] = field(default_factory=list)
    names: dict[str, ClassWord | None] = field(default_factory=dict)
    subtypes: dict[str, ClassWord | None] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    fill_down: bool = False
    unit: Unit | None = None
    ages: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    images: dict[int, list[Image]] = field(default_factory=dict)
    how: str = ""
    rivals: tuple[str, ...] = ()

    def cells(self, name: Field) -> list[str]:
        """Return the cells of a field's column, empty ones where the table has no such column."""
        if name not in self.columns:
            return [""] * len(self.sheet.rows)
        cells = self.sheet.column(self.columns[name])
        if name == "label" and self.fill_down:
            for place in range(1, len(cells)):
                cells[place] = cells[place] or cells[place - 1]
        return cells

    def age(self, row: int) -> float | None:
        """Return the age of a row in years, NaN where it is unknown, None where it is not understood."""
        told = self.cells("age_unit")[row]
        unit = read_unit(told) or self.unit
        if told and (read_unit(told) is None or unit != (self.unit or unit)):
            return None
        return read_age(self.cells("age")[row], unit)

    def header(self, name: Field) -> str | None:
        """Return the header of a field's column."""
        return self.sheet.header[self.columns[name]] if name in self.columns else None


def understand(
    sheet: Sheet,
    able: Sequence[Image],
    every: Sequence[Image],
    notes: MappingType[str, str],
    given: Columns | None,
    classes: MappingType[str, str],
    *,
    fill_down: bool = False,
) -> Meaning:
    """Find out what a table's columns mean and which images its rows are about.

    Args:
        sheet: the table.
        able: images that can be a T1-CE.
        every: all images.
        notes: names of numbers that stand in notes of the source.
        given: columns, where a person named them; no other is read then.
        classes: classes of words, where a person gave them, by :func:`words.plain` of the word.
        fill_down: an empty label is that of the row above.
    """
    meaning = Meaning(sheet, fill_down=fill_down)
    headers = list(enumerate(sheet.header))
    meaning.unread = [name for _, name in headers if name and never_read(name)]
    meaning.patients = [""] * len(sheet.rows)
    if given is not None:
        chosen = given.model_dump(exclude_none=True)
        meaning.columns = {
            name: sheet.header.index(chosen[name])
            for name in FIELDS
            if chosen.get(name) in sheet.header
        }
        meaning.unit = read_unit(given.age_unit or "") or _unit(meaning)
    else:
        _by_header(meaning)
    _labels(meaning, notes, given, classes)
    _join(meaning, able, every, given)
    if given is None:
        _sex_by_content(meaning)
    return meaning


def _readable(meaning: Meaning) -> list[int]:
    """Return the places of columns whose cells may be looked at."""
    return [
        index
        for index, name in enumerate(meaning.sheet.header)
        if not never_read(name) and not is_guess(name)
    ]


def _by_header(meaning: Meaning) -> None:
    for index in _readable(meaning):
        found = read_header(meaning.sheet.header[index])
        if found in ("sex", "fold", "split") and found not in meaning.columns:
            meaning.columns[found] = index
    _age_by_header(meaning)


def _age_by_header(meaning: Meaning) -> None:
    """Find the age at the scan and the column of its unit; what is not clear is left to be asked."""
    header = meaning.sheet.header
    about = {i: told for i in _readable(meaning) if (told := read_age_header(header[i]))}
    scans = [i for i, told in about.items() if told.meaning == "scan"]
    plain = [i for i, told in about.items() if told.meaning in ("age", "scan")]
    found = scans if len(scans) == 1 else plain
    if len(found) == 1:
        meaning.columns["age"] = found[0]
    else:
        doubtful = [i for i, told in about.items() if told.meaning in ("other", "unclear")]
        meaning.ages = [header[i] for i in found or doubtful]
    units = [i for i in _readable(meaning) if read_header(header[i]) == "age_unit"]
    if len(units) == 1 and any(map(read_unit, meaning.sheet.column(units[0]))):
        meaning.columns["age_unit"] = units[0]
    meaning.unit = _unit(meaning)


def _unit(meaning: Meaning) -> Unit | None:
    told = read_age_header(meaning.header("age") or "")
    return told.unit if told else None


def _join(
    meaning: Meaning, able: Sequence[Image], every: Sequence[Image], given: Columns | None
) -> None:
    """Bring rows and images together: by a column of files, else by the id column that finds most."""
    sheet = meaning.sheet
    files = [meaning.columns["file"]] if given and given.file else []
    ids = [meaning.columns["id"]] if given and given.id else []
    if given is None:
        readable = [i for i in _readable(meaning) if i not in meaning.columns.values()]
        roles = {index: read_header(sheet.header[index]) for index in readable}
        files = [
            i
            for i in readable
            if roles[i] == "file" or (roles[i] is None and _holds_files(sheet, i))
        ]
        ids = [i for i in readable if roles[i] in ("id", "file")]
        ids += [
            i for i in readable if roles[i] is None and i not in files and _could_be_ids(sheet, i)
        ]
    named = {image.name for image in able}
    best_files = max(
        ((i, _file_rows(sheet, i, every)) for i in files),
        key=lambda found: sum(image.name in named for rows in found[1].values() for image in rows),
        default=None,
    )
    if best_files and best_files[1]:
        meaning.columns["file"], meaning.images = best_files
        meaning.how = f"the paths in column {sheet.header[best_files[0]]!r}"
    tried = [(i, _id_rows(meaning, i, able)) for i in ids]
    tried = [(i, found) for i, found in tried if found[0].images or given]
    if given is None:
        # Numbers of something else fit a few images by chance.
        tried = [
            (i, found)
            for i, found in tried
            if len(found[1]) >= _least(sheet, i, roles[i], len(able))
        ]
    if tried:
        _choose_id(meaning, tried)


def _least(sheet: Sheet, index: int, role: Field | None, images: int) -> int:
    """Return of how many rows an id column must find the images to be believed."""
    if plain(sheet.header[index]).replace(" ", "") in RUNNING:
        # Shifted by one, running numbers still find nearly all images, and the wrong ones.
        return len(sheet.rows)
    return 1 if role is not None else -(-min(len(sheet.rows), images) // 2)


def _holds_files(sheet: Sheet, index: int) -> bool:
    cells = [cell for cell in sheet.column(index) if cell]
    return bool(cells) and all("." in cell or "/" in cell for cell in cells[:20])


def _could_be_ids(sheet: Sheet, index: int) -> bool:
    if not sheet.header[index] or sheet.header[index].lower().startswith("unnamed"):
        return False
    cells = [cell for cell in sheet.column(index) if cell]
    return len(cells) > 1 and len(set(cells)) == len(cells) and max(map(len, cells)) <= 64


def _file_rows(sheet: Sheet, index: int, images: Sequence[Image]) -> dict[int, list[Image]]:
    cells = sheet.column(index)
    found = match_files([cell for cell in dict.fromkeys(cells) if cell], images, sheet.path)
    return {row: found[cell] for row, cell in enumerate(cells) if cell in found}


def _id_rows(
    meaning: Meaning, index: int, images: Sequence[Image]
) -> tuple[Match, dict[int, list[Image]]]:
    cells = _row_ids(meaning, index)
    match = match_ids([cell for cell in dict.fromkeys(cells) if cell], images)
    return match, {row: match.images[c] for row, c in enumerate(cells) if c in match.images}


def _row_ids(meaning: Meaning, index: int) -> list[str]:
    """Return the cells of an id column, each with its class where only that makes them differ."""
    cells = meaning.sheet.column(index)
    filled = [cell for cell in cells if cell]
    words = [meaning.names.get(cell) for cell in meaning.cells("label")]
    if len(set(filled)) == len(filled) or not all(word and word.label for word in words):
        return cells
    joined = [
        f"{word.label}{IN_CLASS}{cell}" if cell and word else ""
        for cell, word in zip(cells, words, strict=True)
    ]
    return joined if len(set(joined)) == len(joined) else cells


def _choose_id(
    meaning: Meaning, tried: list[tuple[int, tuple[Match, dict[int, list[Image]]]]]
) -> None:
    sheet = meaning.sheet
    tried.sort(key=lambda way: (-len(way[1][1]), read_header(sheet.header[way[0]]) != "id", way[0]))
    index, (match, rows) = tried[0]
    if "file" in meaning.columns:
        # Which image a row is about is known; the id only gives the patient a name.
        by_header = [i for i, _ in tried if read_header(sheet.header[i]) == "id"]
        if by_header:
            meaning.columns["id"] = by_header[0]
            meaning.patients = sheet.column(by_header[0])
        return
    meaning.columns["id"], meaning.images = index, rows
    meaning.patients = _row_ids(meaning, index)
    meaning.how = f"column {sheet.header[index]!r} and {match.how}"
    meaning.rivals = match.rivals
    meaning.ids = [
        sheet.header[other]
        for other, (way, found) in tried[1:]
        if len(found) == len(rows)
        and any(not _same(found[r], rows[r]) for r in found.keys() & rows.keys())
    ]
    if meaning.ids:
        meaning.ids.insert(0, sheet.header[index])


def _same(first: Sequence[Image], second: Sequence[Image]) -> bool:
    return {image.name for image in first} == {image.name for image in second}


def _labels(
    meaning: Meaning,
    notes: MappingType[str, str],
    given: Columns | None,
    classes: MappingType[str, str],
) -> None:
    taken = set(meaning.columns.values())
    if given is not None:
        taken -= {meaning.columns[name] for name in ("label", "subtype") if name in meaning.columns}
        places = [meaning.columns["label"]] if given.label else []
    else:
        places = [i for i in _readable(meaning) if i not in taken]
    able = [found for i in places if (found := _label_column(meaning, i, notes, classes, given))]
    named = [column for column in able if column.is_class]
    coded = [column for column in able if column.coded]
    others = [column for column in able if not column.is_class and not column.coded]
    rivals = named or others or coded
    if not named and others and coded and not _one_class_each(meaning.sheet, coded[0], others[0]):
        # The numbers group the cases otherwise than the subtypes' usual classes do.
        rivals = [*others, *coded]
    if rivals:
        rivals.sort(
            key=lambda column: (sum(v is None for v in column.names.values()), column.index)
        )
        distinct = _distinct(meaning.sheet, rivals)
        meaning.labels = distinct if len(distinct) > 1 else []
        meaning.columns["label"], meaning.names = rivals[0].index, rivals[0].names
    if given is None and others and "label" in meaning.columns:
        rest = [column for column in others if column.index != meaning.columns["label"]]
        if rest:
            meaning.columns["subtype"] = rest[0].index
    if "subtype" in meaning.columns:
        words = dict.fromkeys(meaning.cells("subtype"))
        meaning.subtypes = {word: read_class(word) for word in words if word}


def _share_known(column: LabelColumn) -> float:
    return sum(word is not None for word in column.names.values()) / len(column.names)


def _one_class_each(sheet: Sheet, coded: LabelColumn, named: LabelColumn) -> bool:
    """Return True where numbers and the usual classes of subtypes go together, one with one.

    More numbers than classes are numbers of subtypes.
    """
    classes: dict[str, set[str]] = {}
    pairs = zip(sheet.column(coded.index), sheet.column(named.index), strict=True)
    for code, word in pairs:
        known = named.names.get(word)
        if code and known and known.label:
            classes.setdefault(code, set()).add(known.label)
    every = [label for found in classes.values() for label in found]
    return len(every) == len(classes) and (
        len(set(every)) == len(every) or len(every) > len(CLASSES)
    )


def _distinct(sheet: Sheet, rivals: list[LabelColumn]) -> list[LabelColumn]:
    """Return the columns that say something else than the first one."""
    first = rivals[0]
    kept = [first]
    for other in rivals[1:]:
        pairs = zip(sheet.column(first.index), sheet.column(other.index), strict=True)
        if other.coded or any(
            a and b and not _agree(first.names.get(a), other.names.get(b)) for a, b in pairs
        ):
            kept.append(other)
    return kept


def _agree(first: ClassWord | None, second: ClassWord | None) -> bool:
    return (
        first is None
        or second is None
        or not first.label
        or not second.label
        or first.label == second.label
    )


def _label_column(
    meaning: Meaning,
    index: int,
    notes: MappingType[str, str],
    classes: MappingType[str, str],
    given: Columns | None,
) -> LabelColumn | None:
    """Return a column as a label column; None where neither its header nor its words say it is one."""
    header = meaning.sheet.header[index]
    role = read_header(header)
    words = Counter(cell for cell in meaning.sheet.column(index) if cell)
    if not words or (role not in ("label", "subtype", None) and given is None):
        return None
    numbers = all(word.isdecimal() and len(word) <= 2 for word in words)
    if numbers:
        codes = read_codes(header)
        codes = codes if codes.keys() >= {str(int(word)) for word in words} else dict(notes)
        meaning_of = {word: read_class(codes.get(str(int(word)), "")) for word in words}
    else:
        meaning_of = {word: read_class(word) for word in words}
    meaning_of |= {word: class_of(word, classes) for word in words if plain(word) in classes}
    known_words = [word for word in words if meaning_of[word]]
    if numbers and len(known_words) < len(words):
        if role != "label" and given is None:
            return None
        return LabelColumn(index, meaning_of, not known_words, bool(known_words))
    if given is None and role is None and (len(known_words) < len(words) or len(words) < 2):
        return None
    if given is None and role == "label" and not known_words and len(words) > 12:
        return None
    classes_named = sum(
        1 for word in known_words if (meaning_of[word] or ClassWord("", "", False)).is_class
    )
    return LabelColumn(
        index, meaning_of, False, bool(known_words) and classes_named * 2 >= len(known_words)
    )


def _sex_by_content(meaning: Meaning) -> None:
    if "sex" in meaning.columns:
        return
    for index in _readable(meaning):
        words = {cell for cell in meaning.sheet.column(index) if cell}
        if (
            index not in meaning.columns.values()
            and words
            and all(read_sex(word) for word in words)
        ):
            meaning.columns["sex"] = index
            return
