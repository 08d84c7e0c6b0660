"""Proposes how a source is to be read: its patients, and a question for all that is not clear."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from ictmri.build import ages, identity
from ictmri.build.clinical import folds, images, match, tables, vocabulary
from ictmri.build.clinical.mapping import LEAVE_OUT, OPEN, SEXES, ClinicalMapping
from ictmri.build.clinical.match import SourcePatient
from ictmri.build.clinical.source import Inventory, take_inventory
from ictmri.build.clinical.tables import ClinicalTable
from ictmri.build.table import TableRow
from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.io.csvfile import shown
from ictmri.pages.templating import document
from ictmri.tumours import tumour_name

_HERE: Final = Path(__file__).parent
_NOTE_BYTES: Final = 2**20
_EXAMPLES: Final = 3
_DECISIONS: Final = "labels_from rows_without_image images_without_row alike_ids hidden odd_cells"
_MATTER: Final = {
    tables.ROUNDED: ("id",),
    tables.DATES: ("id", "label", "age", "sex", "fold"),
}
"""Fields in which these odd cells matter; all others matter in every field."""


class OpenQuestion(NamedTuple):
    """Something that the source does not settle: its place in the mapping file, what, and choices."""

    place: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(slots=True)
class Proposal:
    """How a source is proposed to be read.

    Attributes:
        given: what a person said of it.
        mapping: the mapping that says what was understood.
        tables: the tables that are read.
        patients: its patients.
        facts: what is known of each, by key.
        rows: the facts of those whose volume and class are clear.
        folds: fold by patient id, where the source brings folds that can be used.
        told: what else the summary tells, by name.
        aside: what was left aside, or decided by the mapping.
        questions: what is still open.
    """

    given: ClinicalMapping
    mapping: dict[str, Any] = field(default_factory=dict)
    tables: list[ClinicalTable] = field(default_factory=list)
    patients: list[SourcePatient] = field(default_factory=list)
    facts: dict[str, TableRow] = field(default_factory=dict)
    rows: list[TableRow] = field(default_factory=list)
    folds: dict[str, int] | None = None
    told: dict[str, Any] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    questions: list[OpenQuestion] = field(default_factory=list)

    def ask(
        self, what: str, choices: Iterable[str], place: str = "", told: Mapping[str, Any] = {}
    ) -> None:
        """Note something that is not clear, once, or how the mapping decides it.

        Args:
            what: name of the question in ``questions.yaml``.
            choices: what can be answered.
            place: where the answer belongs in the mapping file, if not under that name.
            told: what the question's text speaks of.
        """
        text = vocabulary.lists("questions")[what].format(**told)
        answer = what in _DECISIONS.split() and getattr(self.given, what)
        question = OpenQuestion(place or what, text, tuple(choices))
        if answer and f"{text}: {answer}" not in self.aside:
            self.aside.append(f"{text}: {answer}")
        elif not answer and question not in self.questions:
            self.questions.append(question)

    def summary_text(self) -> str:
        """Return the summary that is shown before a build."""
        known = [row.age for row in self.rows if not math.isnan(row.age)]
        sexes = Counter(row.sex for row in self.rows)
        here: dict[str, float] = {"cases": len(self.rows)}
        if sexes["male"] + sexes["female"]:
            here |= {"male": sexes["male"], "female": sexes["female"]}
        if known:
            mean = sum(known) / len(known)
            here |= {"youngest": min(known), "oldest": max(known), "mean age": mean}
        told = {"out": self, "classes": CLASSES, "ages": known, "here": here, **self.told}
        paper = vocabulary.lists("vocabulary")["paper"]
        return document(_HERE / "summary.txt.j2").render(told, paper=paper).rstrip("\n")

    def mapping_text(self) -> str:
        """Return the mapping file that says what was understood, with ``?`` at what is open."""
        asked = {question.place: question for question in self.questions}

        def line(key: str, value: Any, place: str) -> str:
            told = f"found: {', '.join(self.told['globs'])}" if place == "images" else ""
            if question := asked.get(place):
                told = "; ".join(filter(None, (" | ".join(question.choices), question.text)))
                value = [OPEN] if place in ("images", "exclude") else OPEN
            return f"{key}: {_scalar(value)}" + (f"  # {' '.join(told.split())}" if told else "")

        template = document(_HERE / "mapping.yaml.j2")
        return template.render(mapping=self.mapping, line=line, scalar=_scalar)


def _scalar(value: Any) -> str:
    # JSON is YAML, and quotes whatever YAML would take for something else.
    return json.dumps(value, ensure_ascii=False)


def propose(
    root: Path, unpacked: Path, given: ClinicalMapping, n_folds: int, subject: str
) -> Proposal:
    """Propose how a source is read.

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
    found, out = take_inventory(root, unpacked), Proposal(given)
    able, others = images.source_images(found.images, given)
    if not able:
        problem = f"no image fits the globs {', '.join(given.images or ())}"
        if given.images is None:
            there = ", ".join(f"{n} {kind}" for kind, n in found.aside.items()) or "no files"
            problem = f"no volume (NIfTI, NRRD, MetaImage, DICOM); there are {there}"
        next_step = "give the globs of the volumes: images in --mapping"
        raise InputError(subject, [problem], next_step)
    sheets = tables.read_tables(found, given.tables or [], seen_only=given.hidden == LEAVE_OUT)
    legends = [sheet for sheet in sheets if given.tables is None and _is_legend(sheet)]
    sheets = [sheet for sheet in sheets if sheet not in legends]
    words = {vocabulary.plain(word): label for word, label in given.classes.items()}
    reader = vocabulary.ClassReader(words, _codes(found, legends))
    chosen = _read_columns(given, sheets, reader, subject)
    for table in chosen:
        match.find_named_images(table, [*able, *others])
    named = {image for table in chosen for image in table.files.values()}
    able += [image for image in others if image in named]
    told = any("label" in table.fields for table in chosen)
    patterns = images.mark_classes(able, given.class_patterns, reader, told=told)
    pattern, *rivals = match.name_by_tables(able, chosen, given.id_pattern)
    out.mapping = {"id_pattern": pattern, "class_patterns": patterns}
    out.patients = match.group_patients(able, chosen)
    match.choose_images(out.patients)
    _keep_tables(out, chosen)
    if rivals:
        out.ask("several patterns", (pattern, *rivals), "id_pattern")
    _ask_images(out)
    for index, table in enumerate(out.tables):
        _ask_table(out, table, f"tables[{index}].columns.", bool(patterns))
    _ask_odd_cells(out, sheets)
    _read_facts(out)
    _ask_words(out)
    _ask_patients(out, sheets)
    _choose_folds(out, found, n_folds)
    _finish(out, [*able, *others])
    out.aside += [f"{count} {kind}" for kind, count in sorted(found.aside.items())]
    return out


def _is_legend(sheet: ClinicalTable) -> bool:
    """Return True for a table of what codes mean: two columns, in one of them classes, each once."""
    few = len(sheet.columns) == 2 and len(sheet.numbers) <= 2 * len(CLASSES)
    lists = sheet.columns.values()
    return few and any(all(map(vocabulary.read_class, c)) and len({*c}) == len(c) for c in lists)


def _codes(found: Inventory, legends: list[ClinicalTable]) -> dict[str, str]:
    """Return the names of codes that the source gives somewhere; a code with two names has none."""
    texts = ["\n".join(map("=".join, zip(*t.columns.values(), strict=True))) for t in legends]
    for file in found.notes:
        if file.path.stat().st_size <= _NOTE_BYTES:
            with suppress(ValueError):
                texts.append(tables.decoded(file.path.read_bytes()))
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for codes in map(vocabulary.read_codes, texts):
        words = {code: w for code, name in codes.items() if (w := vocabulary.read_class(name))}
        for code, word in words.items() if len({w.label for w in words.values()}) > 1 else ():
            named[code].setdefault(word.label, codes[code])
    return {code: min(names.values()) for code, names in named.items() if len(names) == 1}


def _read_columns(
    given: ClinicalMapping,
    sheets: list[ClinicalTable],
    reader: vocabulary.ClassReader,
    subject: str,
) -> list[ClinicalTable]:
    """Return the tables that a person named, all where none were named, with what their columns mean."""
    problems: list[str] = []
    chosen: dict[ClinicalTable, dict[str, str] | None] = {}
    for wanted in given.tables or ():
        name = f"{wanted.path} [{wanted.sheet}]" if wanted.sheet else wanted.path
        fits = (s for s in sheets if s.path == wanted.path and wanted.sheet in (None, s.sheet))
        if sheet := next(fits, None):
            chosen[sheet] = columns = wanted.columns.model_dump(exclude_none=True)
            there = ", ".join(sheet.columns)
            unit = columns.get("age_unit") if ages.read_unit(columns.get("age_unit", "")) else ""
            wrong = [column for column in columns.values() if column not in (*sheet.columns, unit)]
            problems += [f"tables: {name} has no column {c!r}; it has {there}" for c in wrong]
        else:
            there = ", ".join(sheet.title for sheet in sheets) or "none"
            problems.append(f"tables: no table {name!r} in the source; there are {there}")
    if problems:
        raise InputError(subject, problems, "correct the mapping file")
    chosen = dict.fromkeys(sheets) if given.tables is None else chosen
    for sheet, named in chosen.items():
        match.propose_columns(sheet, reader, named)
        cells = sheet.cells("label")
        for row in range(1, len(cells) if given.images_without_row == "fill-down" else 0):
            cells[row] = cells[row] or cells[row - 1]
    return list(chosen)


def _keep_tables(out: Proposal, every: list[ClinicalTable]) -> None:
    """Keep the tables that tell something of patients, or may: those that a person named, all."""
    kept = [t for t in every if t.joined and {*t.fields} - {"id", "file", "age_unit"}]
    told = any("label" in table.fields for table in kept)
    for table in every:
        # One about no image matters only where nothing else tells classes: its ids were not understood.
        if out.given.tables is not None or table in kept or ("label" in table.fields and not told):
            out.tables.append(table)
        else:
            what = (
                "tells no class, age, sex or fold" if table.joined else "about none of the images"
            )
            out.aside.append(f"table {table.title}: {what}")


def _read_facts(out: Proposal) -> None:
    """Note what tables and folders say of each patient; those of whom all is clear are rows."""
    odd: Counter[str] = Counter()
    out.facts = {patient.key: _facts(out, patient, odd) for patient in out.patients}
    twins = {key for keys in identity.alike(out.facts) for key in keys}
    left = twins if out.given.alike_ids == LEAVE_OUT else {}
    for patient in out.patients:
        row = out.facts[patient.key]
        ids = Counter(title for title, _ in {(t.title, t.ids[at]) for t, at in patient.rows})
        doubled = max(ids.values(), default=0) > 1
        clear = row.label in CLASSES and len(patient.chosen) == 1 and patient.key not in left
        odd["their class is to be left out"] += row.label == LEAVE_OUT
        odd["their volume is named by rows of several patients: left out"] += doubled and clear
        out.rows += [row] if clear and not doubled else []
    out.aside += [f"{count} patients: {what}" for what, count in sorted(odd.items()) if count]


def _facts(out: Proposal, patient: SourcePatient, odd: Counter[str]) -> TableRow:
    fields = ("label", "subtype")
    by_table = [w for t, row in patient.rows for key in fields if (w := t.word(key, row))]
    by_folder = [word for image in patient.images for word in image.words.values() if word]
    sides = [{word.label for word in words if word.is_class} for words in (by_table, by_folder)]
    words = [*by_table, *by_folder]
    if all(sides) and sides[0] != sides[1]:
        out.ask("labels_from", ("table", "folders"))
        words = by_folder if out.given.labels_from == "folders" else by_table
    label = vocabulary.settled(words)
    usual = {word.label for word in words if not word.is_class} - {"", label}
    cells = sorted({t.cells("subtype")[row] for t, row in patient.rows} - {""})
    written = {cell: tumour_name(cell) for cell in cells if not vocabulary.read_class(cell)}
    subtypes = {word.subtype for word in words} - {""} or {*written.values()} - {""}
    unlisted = [cell for cell, name in written.items() if not name and not subtypes]
    told = {t.age(row) for t, row in patient.rows if t.cells("age")[row]}
    known = {age for age in told if age is not None and not math.isnan(age)}
    sexes = {_sex(out, table, row) for table, row in patient.rows} - {""}
    odd["their class is not the usual one of their subtype; the class is kept"] += (
        label != "" and usual != set()
    )
    odd["an age that is not understood: unknown"] += None in told
    odd["two ages: unknown"] += len(known) > 1
    odd["two sexes: unknown"] += len(sexes) > 1
    return TableRow(
        number=min((t.numbers[row] for t, row in patient.rows[:1]), default=0),
        patient_id=patient.key,
        image=patient.chosen[0].path,
        label=label,
        subtype=min(subtypes) if len(subtypes) == 1 else "",
        age=min(known) if len(known) == 1 else math.nan,
        sex=min(sexes) if len(sexes) == 1 else "",
        unlisted=unlisted[0] if unlisted else "",
    )


def _sex(out: Proposal, table: ClinicalTable, row: int) -> str:
    cell, names = table.cells("sex")[row], vocabulary.read_codes(table.fields.get("sex", ""))
    known = vocabulary.read_sex(names.get(cell.lstrip("0") or "0", cell))
    known = out.given.sexes.get(cell, known)
    if known is None:
        count = table.cells("sex").count(cell)
        told = {"table": table.title, "word": cell, "count": count}
        out.ask("sex", SEXES, f"sexes.{cell}", told)
    return "" if known == "unknown" else known or ""


def _ask_images(out: Proposal) -> None:
    """Ask which volume is the T1-CE, and whether what was chosen is not a mask."""
    unclear = [patient for patient in out.patients if len(patient.chosen) > 1]
    sorts: dict[str, list[images.SourceImage]] = defaultdict(list)
    for image in (image for patient in unclear or out.patients for image in patient.chosen):
        sorts[image.glob].append(image)
    few = {glob: members[:_EXAMPLES] for glob, members in sorts.items()}
    masks = [glob for glob, some in few.items() if all(map(images.looks_like_mask, some))]
    told = {"n": len(unclear), "all": len(out.patients), "masks": ", ".join(masks) or "none"}
    if unclear:
        names = [image.name for patient in unclear for image in patient.chosen]
        told["example"] = ", ".join(names[:_EXAMPLES])
        globs = sorted({*sorts} - {*masks})
        place, choices = ("images", globs) if len(sorts) > 1 else ("exclude", names)
        out.ask("several volumes", choices, place, told)
    elif masks and out.given.images is None:
        out.ask("only masks", (), "images", told)


def _ask_table(out: Proposal, table: ClinicalTable, place: str, classes_in_paths: bool) -> None:
    """Ask about a table's columns, its ages, and its rows without an image."""
    rows, found = len(table.numbers), len(table.joined)
    told = {"table": table.title, "rows": rows, "lost": rows - found}
    for key, what, choices in table.open:
        out.ask(what, choices, place + key, told)
    if not found and not classes_in_paths:
        unread = any(map(vocabulary.names_people, table.columns))
        told["unread"] = "; columns that name people were not read" if unread else ""
        read = [name for name in table.words if name not in table.fields.values()]
        if table.able["id"] or not read:
            out.ask("no image", (), "id_pattern", told)
        else:
            out.ask("no id", read, f"{place}id", told)
    odd = [table.cells("age")[row] for row in table.joined if table.age(row) is None]
    if odd and out.given.tables is None:
        told |= {"n": len(odd), "example": shown(odd[0]), "forms": ages.FORMS}
        out.ask("ages", (table.fields["age"], "null"), f"{place}age", told)
    if 0 < found < rows and "label" in table.fields:
        out.ask("rows_without_image", (LEAVE_OUT,), told=told)
    elif found < rows and "label" not in table.fields:
        out.aside.append(f"{table.title}: {rows - found} of {rows} rows without an image")


def _ask_odd_cells(out: Proposal, sheets: list[ClinicalTable]) -> None:
    """Ask about cells of columns that matter, which nobody sees or a spreadsheet program has spoiled."""
    hidden: list[str] = []
    for sheet in sheets if out.given.tables is None else out.tables:
        read = {name: key for key, name in sheet.fields.items() if sheet in out.tables}
        every = [(name, what) for name, kinds in sheet.odd.items() for what in kinds]
        for name, what in every:
            seen_to = what in (tables.HIDDEN, tables.MERGED)
            key = read.get(name) or (None if seen_to else vocabulary.read_header(name))
            text = f"{sheet.title}, column {name!r}: {sheet.odd[name][what]} cells are {what}"
            if key is None or key not in _MATTER.get(what, (key,)):
                continue
            if what == tables.MERGED:
                out.aside.append(text)
            elif what == tables.HIDDEN:
                hidden.append(text)
            else:
                out.ask("odd_cells", ("as-read",), told={"cells": text})
    if hidden:
        out.ask("hidden", ("read", LEAVE_OUT), told={"cells": "; ".join(hidden)})


def _ask_words(out: Proposal) -> None:
    """Ask for the class of each word that settles none, and about tables that differ."""
    words: Counter[tuple[str, str]] = Counter()
    for patient in out.patients:
        words.update(_unknown_words(patient))
        told = [(w, out.tables.index(t)) for t, row in patient.rows if (w := t.word("label", row))]
        labels = {word.label for word, _ in told if word.is_class}
        for index in {i for word, i in told if word.is_class and len(labels) > 1}:
            choices = (out.tables[index].fields["label"], "null")
            out.ask("tables differ", choices, f"tables[{index}].columns.label")
    for (word, where), count in sorted(words.items()):
        told_ = {"where": where, "word": word, "count": count}
        out.ask("class", (*CLASSES, LEAVE_OUT), f"classes.{word}", told_)


def _unknown_words(patient: SourcePatient) -> list[tuple[str, str]]:
    """Return the words for a patient's class that settle none, and where they stand."""
    told = [(t.cells("label")[row], t.word("label", row), t.title) for t, row in patient.rows]
    if not patient.rows and not patient.images[0].label:
        told = [(text, word, "folders") for text, word in patient.images[0].words.items()]
    return [(text, where) for text, word, where in told if text and not (word and word.label)]


def _ask_patients(out: Proposal, sheets: list[ClinicalTable]) -> None:
    """Ask about ids that may be one patient's, who would be in two folds, and images without a class."""
    for ids in identity.alike(out.facts):
        out.ask("alike_ids", ("separate", LEAVE_OUT), told={"ids": identity.one_or_two(ids)})
    bare = [p for p in out.patients if not out.facts[p.key].label and not _unknown_words(p)]
    bare = [p for p in bare if not any(t.cells("label")[row] for t, row in p.rows)]
    labels = [table.cells("label") for table in out.tables]
    gaps = any(cells and cells[0] and not all(cells) for cells in labels)
    if not bare or any(not table.joined for table in out.tables):
        return
    if len(bare) == len(out.patients):
        out.ask("no class", [sheet.title for sheet in sheets], "tables")
        return
    example = ", ".join(patient.images[0].name for patient in bare[:_EXAMPLES])
    choices = ("fill-down", LEAVE_OUT) if gaps else (LEAVE_OUT,)
    more = "; fill-down takes the class of the row above" if gaps else ""
    told = {"n": len(bare), "all": len(out.patients), "example": example, "more": more}
    out.ask("images_without_row", choices, told=told)


def _choose_folds(out: Proposal, inventory: Inventory, n_folds: int) -> None:
    wanted, keys = out.given.folds, {row.patient_id for row in out.rows}
    found = folds.source_folds(inventory, out.patients, keys, n_folds)
    usable = [source for source in found if not source.problem and wanted in (None, source.name)]
    split = [source for source in found if source.splits_patients and wanted is None]
    if wanted not in (None, "rule") and not usable:
        there = ", ".join(s.name for s in found if not s.problem) or "none that can be used"
        problem = f"no folds {wanted!r} in the source; there are {there}"
        raise InputError("folds", [problem], 'give one of them, or "rule"')
    if len({tuple(sorted(source.folds.items())) for source in usable}) > 1:
        out.ask("several folds", [*(source.name for source in usable), "rule"], "folds")
        usable = []
    elif split and not usable:
        told = {"name": split[0].name, "problem": split[0].problem}
        out.ask("broken folds", ["rule"], "folds", told)
    out.aside += [f"folds in {source.name}: {source.problem}" for source in found if source.problem]
    out.folds = usable[0].folds if usable else None
    out.mapping["folds"] = usable[0].name if usable else wanted
    own = f"the source's own: {usable[0].name}" if usable else ""
    out.told["folds"] = (
        f"{n_folds}, {own or 'dealt by this package: the source brings none to use'}"
    )


def _finish(out: Proposal, every: list[images.SourceImage]) -> None:
    """Tell what was chosen, which words were read and what was left aside; write the mapping."""
    chosen = [patient.chosen[0] for patient in out.patients if len(patient.chosen) == 1]
    out.told |= {"globs": Counter(image.glob for image in chosen), "words": Counter()}
    for patient in out.patients:
        texts = [table.cells("label")[row] for table, row in patient.rows]
        label = out.facts[patient.key].label or OPEN
        each = filter(None, dict.fromkeys([*texts, *patient.images[0].words]))
        out.told["words"].update(f"{text!r} -> {label}" for text in each)
    left = Counter(image.kind for image in {*every} - {*chosen})
    out.aside += [f"{n} images: {kind} by name, not chosen" for kind, n in sorted(left.items())]
    known = [
        word
        for table in out.tables
        for word in table.words.get(table.fields.get("label", ""), {}).items()
    ]
    words = {"classes": {text: word.label for text, word in known if word and word.label}}
    for place in (question.place for question in out.questions):
        key, _, word = place.partition(".")
        if key in ("classes", "sexes"):
            words.setdefault(key, {})[word] = OPEN
    words = {key: words.get(key, {}) | getattr(out.given, key) for key in ("classes", "sexes")}
    tables_ = [table.as_mapping() for table in out.tables] or None
    out.mapping = out.given.model_dump() | out.mapping | words | {"tables": tables_}
