"""Proposes how a source is to be read: its patients, and a question for all that is not clear."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.build import ages, identity
from ictmri.build.clinical import patients as match
from ictmri.build.clinical import vocabulary
from ictmri.build.clinical.mapping import LEAVE_OUT, OPEN, SEXES, ClinicalMapping
from ictmri.build.clinical.patients import SourcePatient
from ictmri.build.clinical.source import SourceImage, take_inventory
from ictmri.build.clinical.tables import ClinicalTable, read_tables
from ictmri.build.clinical.vocabulary import ClassWord
from ictmri.build.table import TableRow
from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.io import sheets
from ictmri.io.csvfile import shown
from ictmri.pages.templating import document

_HERE: Final = Path(__file__).parent
_EXAMPLES: Final = 3
_NO_FOLDS: Final = "none that can be used"
_DEALT: Final = "dealt by this package: the source brings none to use"
_MATTER: Final = {
    sheets.ROUNDED: ("id",),
    sheets.DATES: ("id", "label", "age", "sex", "fold"),
}
"""Fields in which these odd cells matter; all others matter in every field."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
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
        rows: what is known of those whose volume and class are clear.
        folds: fold by patient id, where the source brings folds that can be used.
        told: what else the summary tells, by name.
        aside: what was left aside, or decided by the mapping.
        questions: what is still open.
    """

    given: ClinicalMapping
    mapping: dict[str, Any] = field(default_factory=dict)
    tables: list[ClinicalTable] = field(default_factory=list)
    patients: list[SourcePatient] = field(default_factory=list)
    rows: list[TableRow] = field(default_factory=list)
    folds: dict[str, int] | None = None
    told: dict[str, Any] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    questions: list[OpenQuestion] = field(default_factory=list)

    def ask(self, what: str, choices: Iterable[str] = (), place: str = "", **told: Any) -> None:
        """Note something that is not clear, once, or how the mapping decides it.

        Args:
            what: name of the question in ``questions.yaml``.
            choices: what can be answered.
            place: where the answer belongs in the mapping file, if not under that name.
            told: what the question's text speaks of.
        """
        text = vocabulary.lists("questions")[what].format(**told)
        question = OpenQuestion(place or what, text, tuple(choices))
        answer = getattr(self.given, what, None)
        if answer in question.choices:
            self.aside.append(f"{text}: {answer}")
        elif question not in self.questions:
            self.questions.append(question)

    def summary_text(self) -> str:
        """Return the summary that is shown before a build."""
        ages = [row.age for row in self.rows if not math.isnan(row.age)]
        told = {"out": self, "classes": CLASSES, "ages": ages, **self.told}
        paper = vocabulary.lists()["paper"]
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
        headers = [list(table.columns) for table in self.tables]
        return template.render(mapping=self.mapping, headers=headers, line=line, scalar=_scalar)


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
    able, others = match.source_images(found.images, given)
    if not able:
        problem = f"no image fits the globs {', '.join(given.images or ())}"
        if given.images is None:
            there = ", ".join(f"{n} {kind}" for kind, n in found.aside.items()) or "no files"
            problem = f"no volume (NIfTI, NRRD, MetaImage, DICOM); there are {there}"
        next_step = "give the globs of the volumes: images in --mapping"
        raise InputError(subject, [problem], next_step)
    every = read_tables(found, given)
    chosen = _chosen_tables(given, every, subject)
    able += match.named_images(chosen, able, others)
    told = any("label" in table.fields for table in chosen)
    patterns = match.mark_classes(able, given, told=told)
    pattern, *rivals = match.name_patients(able, chosen, given.id_pattern)
    out.mapping = {"id_pattern": pattern, "class_patterns": patterns}
    out.patients = match.group_patients(able, chosen)
    match.choose_images(out.patients)
    _keep_tables(out, chosen)
    if rivals:
        out.ask("several patterns", (pattern, *rivals), "id_pattern")
    _ask_images(out)
    for index, table in enumerate(out.tables):
        _ask_table(out, table, f"tables[{index}].columns.", bool(patterns))
    _ask_odd_cells(out, every)
    _read_facts(out)
    _ask_words(out)
    _ask_patients(out, every)
    _choose_folds(out, n_folds)
    _finish(out, [*able, *others])
    out.aside += [f"{count} {kind}" for kind, count in sorted(found.aside.items())]
    return out


def _chosen_tables(
    given: ClinicalMapping, every: list[ClinicalTable], subject: str
) -> list[ClinicalTable]:
    """Return the tables that a person named, all where none were named, with what their columns mean."""
    problems: list[str] = []
    chosen: dict[ClinicalTable, dict[str, str] | None] = {}
    for wanted in given.tables or ():
        fits = (t for t in every if t.place.path == wanted.path)
        table = next((t for t in fits if wanted.sheet in (None, t.place.sheet)), None)
        if table is None:
            there = ", ".join(table.title for table in every) or "none"
            problems.append(f"tables: no table {wanted.title!r} in the source; there are {there}")
            continue
        chosen[table] = columns = {str(k): name for k, name in wanted.columns.items() if name}
        unit = columns.get("age_unit") if ages.read_unit(columns.get("age_unit", "")) else ""
        wrong = [column for column in columns.values() if column not in (*table.columns, unit)]
        there = ", ".join(table.columns)
        problems += [f"tables: {wanted.title} has no column {c!r}; it has {there}" for c in wrong]
    if problems:
        raise InputError(subject, problems, "correct the mapping file")
    chosen = dict.fromkeys(every) if given.tables is None else chosen
    for table, named in chosen.items():
        match.propose_columns(table, named)
        if given.images_without_row == "fill-down" and (header := table.fields.get("label")):
            above = ""
            for number, cell in table.columns[header].items():
                table.columns[header][number] = above = cell or above
    return list(chosen)


def _keep_tables(out: Proposal, every: list[ClinicalTable]) -> None:
    """Keep the tables that tell something of patients, or may: those that a person named, all."""
    telling = {t: {*t.fields} - {"id", "file", "age_unit"} for t in every}
    kept = [t for t in every if t.joined and (telling[t] or _tested_in(t) is not None)]
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


def _ask_images(out: Proposal) -> None:
    """Ask which volume is the T1-CE, and whether what was chosen is not a mask."""
    unclear = [patient for patient in out.patients if len(patient.chosen) > 1]
    sorts: dict[str, list[SourceImage]] = defaultdict(list)
    for image in (image for patient in unclear or out.patients for image in patient.chosen):
        sorts[image.glob].append(image)
    masks = [g for g, some in sorts.items() if all(map(match.looks_like_mask, some[:_EXAMPLES]))]
    named = ", ".join(masks) or "none"
    if unclear:
        names = [image.name for patient in unclear for image in patient.chosen]
        several = len(sorts) > 1
        out.ask(
            "several volumes",
            sorted({*sorts} - {*masks}) if several else names,
            "images" if several else "exclude",
            n=len(unclear),
            all=len(out.patients),
            example=", ".join(names[:_EXAMPLES]),
            masks=named,
        )
    elif masks and out.given.images is None:
        out.ask("only masks", place="images", masks=named)


def _ask_table(out: Proposal, table: ClinicalTable, place: str, classes_in_paths: bool) -> None:
    """Ask about a table's columns, its ages, and its rows without an image."""
    rows, found = len(table.rows), len(table.joined)
    told: dict[str, Any] = {"table": table.title, "rows": rows, "lost": rows - found}
    for key, what, choices in table.open:
        out.ask(what, choices, place + key, **told)
    if not found and not classes_in_paths:
        people = any(map(vocabulary.names_people, table.columns))
        unread = "; columns that name people were not read" if people else ""
        read = [n for n in table.columns if not vocabulary.passed_over(n)]
        free = [name for name in read if name not in table.fields.values()]
        by_id = table.able["id"] or not free
        where = "id_pattern" if by_id else f"{place}id"
        out.ask(
            "no image" if by_id else "no id", () if by_id else free, where, unread=unread, **told
        )
    odd = [row.cell("age") for row in table.joined if row.age is None]
    if odd and out.given.tables is None:
        told |= {"n": len(odd), "example": shown(odd[0]), "forms": ages.FORMS}
        out.ask("ages", (table.fields["age"], "null"), f"{place}age", **told)
    if 0 < found < rows and "label" in table.fields:
        out.ask("rows_without_image", (LEAVE_OUT,), **told)
    elif found < rows and "label" not in table.fields:
        out.aside.append(f"{table.title}: {rows - found} of {rows} rows without an image")


def _ask_odd_cells(out: Proposal, every: list[ClinicalTable]) -> None:
    """Ask about cells of columns that matter, which nobody sees or a spreadsheet program has spoiled."""
    hidden: list[str] = []
    for table in every if out.given.tables is None else out.tables:
        read = {name: key for key, name in table.fields.items() if table in out.tables}
        for (name, what), count in table.odd.items():
            seen_to = what in (sheets.HIDDEN, sheets.MERGED)
            key = read.get(name) or (None if seen_to else vocabulary.read_header(name))
            text = f"{table.title}, column {name!r}: {count} cells are {what}"
            if key is None or key not in _MATTER.get(what, (key,)):
                continue
            if what == sheets.MERGED:
                out.aside.append(text)
            elif what == sheets.HIDDEN:
                hidden.append(text)
            else:
                out.ask("odd_cells", ("as-read",), cells=text)
    if hidden:
        out.ask("hidden", ("read", LEAVE_OUT), cells="; ".join(hidden))


def _read_facts(out: Proposal) -> None:
    """Note the class of each patient, and the facts of those of whom all is clear."""
    odd: Counter[str] = Counter()
    twins = {key for keys in identity.alike(p.key for p in out.patients) for key in keys}
    left = twins if out.given.alike_ids == LEAVE_OUT else {}
    for patient in out.patients:
        row = _facts(out, patient, odd)
        patient.label = row.label
        ids = Counter(title for title, _ in {(row.table.title, row.id) for row in patient.rows})
        doubled = max(ids.values(), default=0) > 1
        clear = row.label in CLASSES and len(patient.chosen) == 1 and patient.key not in left
        odd["their class is to be left out"] += row.label == LEAVE_OUT
        odd["their volume is named by rows of several patients: left out"] += doubled and clear
        out.rows += [row] if clear and not doubled else []
    out.aside += [f"{count} patients: {what}" for what, count in sorted(odd.items()) if count]


def _facts(out: Proposal, patient: SourcePatient, odd: Counter[str]) -> TableRow:
    """Return what tables and folders say of a patient."""
    said: dict[str, list[ClassWord]] = defaultdict(list)
    for row in patient.rows:
        read = (row.word("label"), row.word("subtype"))
        said[row.table.title] += [word for word in read if word]
    said["folders"] = [w for image in patient.images for w in image.words.values() if w]
    words = [word for words in said.values() for word in words]
    if len({word.label for word in words if word.is_class}) > 1:
        out.ask("labels_from", [source for source in said if said[source]])
        words = said.get(out.given.labels_from or "", words)
    label = vocabulary.settled(words)
    usual = {word.label for word in words if not word.is_class} - {"", label}
    subtypes = {word.subtype for word in words} - {""}
    cells = sorted({row.cell("subtype") for row in patient.rows} - {""})
    unlisted = [cell for cell in cells if not (subtypes or vocabulary.read_class(cell))]
    ages_told = {row.age for row in patient.rows if row.cell("age")}
    known = {age for age in ages_told if age is not None and not math.isnan(age)}
    sexes = {_sex(out, cell) for row in patient.rows if (cell := row.cell("sex"))} - {"", None}
    odd["their class is not the usual one of their subtype; the class is kept"] += bool(
        label and usual
    )
    torn = not label and any(word.is_class for word in words)
    odd["several classes in what is believed: left out"] += torn and bool(out.given.labels_from)
    odd["an age that is not understood: unknown"] += None in ages_told
    odd["two ages: unknown"] += len(known) > 1
    odd["two sexes: unknown"] += len(sexes) > 1
    return TableRow(
        number=min((row.number for row in patient.rows[:1]), default=0),
        patient_id=patient.key,
        image=patient.chosen[0].path,
        label=label,
        subtype=min(subtypes) if len(subtypes) == 1 else "",
        age=min(known) if len(known) == 1 else math.nan,
        sex=next(iter(sexes)) or "" if len(sexes) == 1 else "",
        unlisted=unlisted[0] if unlisted else "",
    )


def _sex(out: Proposal, cell: str) -> str | None:
    """Return female or male, nothing for unknown, None where a cell is not understood."""
    return vocabulary.read_sex(out.given.sexes.get(cell, cell))


def _ask_words(out: Proposal) -> None:
    """Ask for the meaning of each word for a class or sex that settles none."""
    words: Counter[tuple[str, str]] = Counter()
    for patient in out.patients:
        words.update(_unknown_words(patient))
    for (word, where), count in sorted(words.items()):
        choices = (*CLASSES, LEAVE_OUT)
        out.ask("class", choices, f"classes.{word}", where=where, word=word, count=count)
    for table in out.tables:
        cells = Counter(row.cell("sex") for row in table.joined)
        for cell, count in sorted(cells.items()):
            if _sex(out, cell) is None:
                told = {"table": f"{table.title}, {table.fields['sex']}", "word": cell}
                out.ask("sex", SEXES, f"sexes.{cell}", count=count, **told)


def _unknown_words(patient: SourcePatient) -> list[tuple[str, str]]:
    """Return the words for a patient's class that settle none, and where they stand."""
    told = [(row.cell("label"), row.word("label"), row.table.title) for row in patient.rows]
    if not patient.rows and not patient.images[0].label:
        told = [(text, word, "folders") for text, word in patient.images[0].words.items()]
    return [(text, where) for text, word, where in told if text and not (word and word.label)]


def _ask_patients(out: Proposal, every: list[ClinicalTable]) -> None:
    """Ask about ids that may be one patient's, who would be in two folds, and images without a class."""
    for ids in identity.alike(patient.key for patient in out.patients):
        out.ask("alike_ids", ("separate", LEAVE_OUT), ids=identity.one_or_two(ids))
    bare = [p for p in out.patients if not p.label and not _unknown_words(p)]
    bare = [p for p in bare if not any(row.cell("label") for row in p.rows)]
    if not bare or any(not table.joined for table in out.tables):
        return
    if len(bare) == len(out.patients):
        out.ask("no class", [table.title for table in every], "tables")
        return
    cells = [[row.cell("label") for row in table.rows] for table in out.tables]
    gaps = any(column[0] and not all(column) for column in cells)
    example = ", ".join(patient.images[0].name for patient in bare[:_EXAMPLES])
    choices = ("fill-down", LEAVE_OUT) if gaps else (LEAVE_OUT,)
    more = "; fill-down takes the class of the row above" if gaps else ""
    told: dict[str, Any] = {"n": len(bare), "all": len(out.patients)}
    out.ask("images_without_row", choices, example=example, more=more, **told)


def _choose_folds(out: Proposal, n_folds: int) -> None:
    """Choose the folds that the source brings: of a column, of files and sheets, or of folders."""
    wanted, keys = out.given.folds, {row.patient_id for row in out.rows}
    told: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name, fold, key in sorted(_fold_places(out.patients)):
        if key in keys:
            told[name][key].add(fold)
    problems = {name: _fold_problem(tested, keys, n_folds) for name, tested in told.items()}
    first = {name: min(map(min, tested.values())) for name, tested in told.items()}
    usable = {
        name: {key: min(own) - first[name] for key, own in tested.items()}
        for name, tested in told.items()
        if not problems[name]
    }
    able = [name for name in usable if wanted in (None, name)]
    split = [name for name, problem in problems.items() if "more than one fold" in problem]
    if wanted not in (None, "rule") and not able:
        problem = f"no folds {wanted!r} in the source; there are {', '.join(usable) or _NO_FOLDS}"
        raise InputError("folds", [problem], 'give one of them, or "rule"')
    if any(usable[name] != usable[able[0]] for name in able):
        out.ask("several folds", [*able, "rule"], "folds")
        able = []
    elif split and not able and wanted is None:
        out.ask("broken folds", ["rule"], "folds", name=split[0], problem=problems[split[0]])
    out.aside += [f"folds in {name}: {problem}" for name, problem in problems.items() if problem]
    out.folds = usable[able[0]] if able else None
    out.mapping["folds"] = able[0] if able else wanted
    own = f"the source's own: {able[0]}" if able else _DEALT
    out.told["folds"] = f"{n_folds}, {own}"


def _fold_places(patients: Sequence[SourcePatient]) -> Iterator[tuple[str, int, str]]:
    """Yield where a fold stands, its number, and the key of a patient that is tested in it."""
    images = [(patient.key, *image.fold) for patient in patients for image in patient.images]
    # Where there is a test part, validation is for something else.
    out = ("train", "val") if any(part == "test" for _, _, part in images) else ("train",)
    for key, fold, part in images:
        if fold is not None and part not in out:
            yield "folders", fold, key
    for patient in patients:
        for row in patient.rows:
            cell, tested = row.cell("fold"), _tested_in(row.table)
            plain = re.fullmatch(r"\d{1,2}", cell)
            number = int(cell) if plain else vocabulary.read_split(cell)[0]
            if number is not None:
                yield f"{row.table.title}: {row.table.fields['fold']}", number, patient.key
            if tested is not None:
                yield re.sub(r"\d+", "*", row.table.title), tested, patient.key


def _tested_in(table: ClinicalTable) -> int | None:
    """Return the fold whose test cases a table lists, by the name of its file or sheet."""
    fold, part = table.fold
    return None if part == "train" else fold


def _fold_problem(tested: Mapping[str, set[int]], keys: set[str], n_folds: int) -> str:
    """Return why folds cannot be used, nothing where they can."""
    numbers = sorted({fold for folds in tested.values() for fold in folds})
    twice = sum(len(folds) > 1 for folds in tested.values())
    missing = len(keys - tested.keys())
    problems = {
        f"{twice} patients are tested in more than one fold": twice,
        f"{len(numbers)} folds, not {n_folds}": len(numbers) != n_folds,
        f"the folds are numbered {', '.join(map(str, numbers))}": numbers[-1] - numbers[0]
        >= n_folds,
        f"{missing} of {len(keys)} patients have no fold there": missing,
    }
    return next((text for text, wrong in problems.items() if wrong), "")


def _finish(out: Proposal, every: list[SourceImage]) -> None:
    """Tell what was chosen, which words were read and what was left aside; write the mapping."""
    chosen = [patient.chosen[0] for patient in out.patients if len(patient.chosen) == 1]
    out.told |= {"globs": Counter(image.glob for image in chosen), "words": Counter()}
    for patient in out.patients:
        texts = [row.cell("label") for row in patient.rows]
        each = filter(None, dict.fromkeys([*texts, *patient.images[0].words]))
        out.told["words"].update(f"{text!r} -> {patient.label or OPEN}" for text in each)
    left = Counter(image.kind for image in {*every} - {*chosen})
    out.aside += [f"{n} images: {kind} by name, not chosen" for kind, n in sorted(left.items())]
    words: dict[str, dict[str, str]] = {"classes": {}, "sexes": {}}
    for table in out.tables:
        read = table.words(table.fields["label"]) if "label" in table.fields else {}
        words["classes"] |= {text: word.label for text, word in read.items() if word and word.label}
    for question in out.questions:
        key, _, word = question.place.partition(".")
        if key in words:
            words[key][word] = OPEN
    words = {key: words[key] | getattr(out.given, key) for key in words}
    tables = [table.as_mapping() for table in out.tables] or None
    out.mapping = out.given.model_dump() | out.mapping | words | {"tables": tables}
