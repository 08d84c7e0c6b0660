"""What people do to a predictions file: each kind told in one line, with where it begins and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.errors import nearest
from ictmri.folds import FoldTable
from ictmri.io.csvfile import shown
from ictmri_benchmark.score.protocol import ROUNDED_SUM, SUM_TOLERANCE

PROBABILITIES: Final = tuple(f"p_{name}" for name in CLASSES)
HEADERS: Final = (f"case_id,{','.join(PROBABILITIES)}", "case_id,prediction")
LABELS: Final = ", ".join(f"{label} {name}" for label, name in enumerate(CLASSES))
_SUM: Final = f"{', '.join(PROBABILITIES[:-1])} and {PROBABILITIES[-1]}"
_LISTED: Final = 5
_HINTS: Final = 20
"""Cases that get the nearest spelling: it is slow to find."""
PERCENT: Final = 100.0


class Places(NamedTuple):
    """What the header and a row are called in messages, by the line of the row in the file."""

    header: str
    row: Callable[[int], str]


FILE: Final = Places("row 1", "row {}".format)
FRAME: Final = Places("columns", lambda line: f"iloc[{line - 2}]")
ARRAY: Final = Places("columns", lambda line: f"index {line - 2}")


class Told:
    """The problems of a table: one line a kind, with the first row and the number of others."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._found: dict[str, tuple[int, str, int]] = {}

    def add(self, kind: str, line: int, text: str, count: int = 1) -> None:
        """Count rows of a kind, the first of which begins on a line; what is wrong is told of that one."""
        first, said, before = self._found.get(kind, (line, text, 0))
        self._found[kind] = (first, said, before + count)

    @property
    def kinds(self) -> set[str]:
        """The kinds that were found."""
        return set(self._found)

    def lines(self) -> list[str]:
        """Return a line a kind, in the order of their first rows."""
        return [
            f"{self.places.row(line)}{f' and {count - 1} more' if count > 1 else ''}: {text}"
            for line, text, count in sorted(self._found.values())
        ]


# ---- the header ------------------------------------------------------------------------------------------

_ALIASES: Final = {
    "case_id": "id case caseid patient patientid patient_id subject subject_id participant_id name image "
    "image_id file filename path scan scan_id study",
    "prediction": "label labels class classes pred preds predicted predictions predicted_class "
    "predicted_label pred_label prediction_label y_pred yhat y_hat diagnosis output",
    "seed": "seeds run repeat random_state random_seed",
}
_COLUMN_OF: Final = {word: name for name, words in _ALIASES.items() for word in words.split()} | {
    name: name for name in ("case_id", "prediction", "seed", *PROBABILITIES)
}
_CLASS_COLUMN: Final = re.compile(
    rf"(?:(?:p|pr|prob|proba|probability|score|class|softmax|pred|v|col)_?)*({'|'.join(CLASSES)}|"
    rf"[0-{len(CLASSES) - 1}])(?:_(?:p|prob|proba|probability|score))?"
)
_NUMBER: Final = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)


_CASES_UNNAMED: Final = "column 1 holds the cases and has no name; call it case_id"


def column_meant(name: str) -> str:
    """Return the column that a name can only stand for, an empty string where there is none."""
    plain = re.sub(r"[^a-z0-9]+", "_", name[:50].lower()).strip("_")
    found = _CLASS_COLUMN.fullmatch(plain)
    if found is None or plain in _COLUMN_OF:
        return _COLUMN_OF.get(plain, "")
    return PROBABILITIES[int(found[1])] if found[1].isdecimal() else f"p_{found[1]}"


def header_problems(
    header: Sequence[str], first: Sequence[str], case_ids: Collection[str], place: str
) -> list[str]:
    """Say what is wrong with the names of the columns.

    Args:
        header: they.
        first: the cells of the row below.
        case_ids: the cases of the cohort.
        place: what the header is called.
    """
    whole = _no_header(header, case_ids)
    if whole:
        return [f"{place}: {whole}"]
    problems = [*_unnamed(header, first, case_ids)]
    unnamed_cases = _CASES_UNNAMED in problems
    known = ("case_id", "seed", *PROBABILITIES, "prediction")
    odd = [name for name in header if name and name not in known]
    renamed: dict[str, str] = {}
    for name in odd:
        meant = column_meant(name)
        if meant == "prediction" and set(PROBABILITIES) <= {*header}:
            continue  # the truth, or what follows from the probabilities
        if meant and meant not in (*header, *renamed.values()):
            renamed[name] = meant
    if renamed:
        pairs = ", ".join(f"{shown(name)} to {meant}" for name, meant in renamed.items())
        problems.append(f"rename {pairs}{_truth(renamed)}")
    there = {*header, *renamed.values(), *(["case_id"] if unnamed_cases else [])}
    labels = "prediction" in there
    needed = ("case_id", *(() if labels else PROBABILITIES))
    missing = [name for name in needed if name not in there]
    hints = {name: nearest(name[:50], missing) for name in odd if name not in renamed}
    if len(missing) == 1 and missing[0] in PROBABILITIES and not any(hints.values()):
        alike = [name for name in hints if re.match(r"p(rob\w*)?[ _.-]", name.lower())]
        hints |= {alike[0]: f"; is it {missing[0]!r}? then rename it"} if len(alike) == 1 else {}
    problems += _unknown(hints)
    missing = [name for name in missing if not any(repr(name) in hint for hint in hints.values())]
    twice = sorted({name for name in header if header.count(name) > 1 and name in known})
    problems += [f"column {name!r} twice; leave one out" for name in twice]
    if labels and set(PROBABILITIES) & there:
        problems.append("either 'prediction' or probabilities, not both; leave one out")
    if missing:
        problems.append(_missing_columns(missing))
    return [f"{place}: {problem}" for problem in problems]


def _no_header(header: Sequence[str], case_ids: Collection[str]) -> str:
    begin = f"begin with the line {HEADERS[0]} or {HEADERS[1]}"
    if header and header[0].startswith("\ufeff"):
        return "two byte-order marks before the first name; save the file again as CSV UTF-8"
    if header and header[0].startswith("#"):
        return f"begins with #; write it without (numpy.savetxt: comments='') and {begin}"
    if header and header[0].lower().startswith("sep="):
        return "a line for Excel, sep=; delete it"
    numbers = [name for name in header if _NUMBER.fullmatch(name)]
    # The columns of a frame made from an array are 0, 1, 2, 3.
    if set(header) & set(case_ids) or any(not name.isdecimal() for name in numbers):
        return f"values stand here, no header; {begin}"
    return ""


def _unnamed(
    header: Sequence[str], first: Sequence[str], case_ids: Collection[str]
) -> Iterator[str]:
    """Name columns without a name: a frame's index, the row names of R, empty ones of a spreadsheet."""
    places = [
        place
        for place, name in enumerate(header)
        if not name or re.fullmatch(r"Unnamed: \d+(_level_\d+)?", name)
    ]
    if not places:
        return
    if places == [0] and "case_id" not in header and set(first[:1]) & set(case_ids):
        yield _CASES_UNNAMED
    elif places == [0]:
        yield (
            "column 1 has no name: the index that pandas or R writes; leave it out "
            "(to_csv(..., index=False), write.csv(..., row.names=FALSE))"
        )
    else:
        listed = ", ".join(str(place + 1) for place in places[:_LISTED])
        more = ", ..." * (len(places) > _LISTED)
        plural, them = ("s", "them") if len(places) > 1 else ("", "it")
        yield f"column{plural} {listed}{more} without a name; leave {them} out"


def _truth(renamed: dict[str, str]) -> str:
    truth = next((name for name, meant in renamed.items() if meant == "prediction"), "")
    if truth.lower() != "label":
        return ""
    return " (if it is what was predicted: in ictmri.cases, label is the truth)"


def _unknown(hints: dict[str, str]) -> list[str]:
    names = [name for name in hints if not re.match(r"Unnamed: \d", name)]
    if not names:
        return []
    plural = "s" if len(names) > 1 else ""
    listed = ", ".join(shown(name) + hints[name] for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    fix = "" if any(hints.values()) else "; leave it out" if not plural else "; leave them out"
    return [f"unknown column{plural} {listed}{more}{fix}"]


def _missing_columns(missing: Sequence[str]) -> str:
    if len(missing) == 1:
        unseen = missing[0].startswith("p_")
        never = "; a method that never predicts this class writes 0" if unseen else ""
        return f"column {missing[0]!r} is missing{never}"
    return f"columns {', '.join(missing)} are missing"


# ---- cells -----------------------------------------------------------------------------------------------

_NO_VALUE: Final = frozenset(("", "na", "nan", "none", "null", "n/a", "#n/a", "-", "?", "<na>"))
_CELLS: Final = {
    "decimal comma": (re.compile(r"[-+]?\d*,\d+"), "write decimals with a point"),
    "percent sign": (re.compile(r"[-+]?[\d.]+ ?%"), "write 0.5 for 50 %"),
}


def cell_problem(column: str, cell: str) -> tuple[str, str]:
    """Return the kind of a cell that is no probability, and what to say of it."""
    said = f"{column} is {shown(cell)}, not a probability from 0 to 1"
    if cell[:_LISTED].lower() in _NO_VALUE:
        return "no value", f"{said}: no value; every case needs one"
    for kind, (pattern, fix) in _CELLS.items():
        if len(cell) < 50 and pattern.fullmatch(cell):
            return kind, f"{said}; {fix}"
    return "no number", said


def width_problem(cells: Sequence[str], header: Sequence[str]) -> tuple[str, str]:
    """Return the kind of a row with too many or too few cells, and what to say of it."""
    said = f"{len(cells)} cells, the header has {len(header)} ({','.join(header)})"
    more = len(cells) - len(header)
    if more == len(PROBABILITIES):
        return "commas", f"{said}; write decimals with a point, not a comma"
    if more == 1 and "seed" not in header:
        return "names", f"{said}; are these row names of R? write.csv(..., row.names=FALSE)"
    return "width", said


# ---- probabilities ---------------------------------------------------------------------------------------


def _sums_near(values: NDArray[np.float64], total: float) -> bool:
    return bool((np.abs(values.sum(axis=1) - total) <= ROUNDED_SUM * total * (1 + 1e-9)).all())


_NORMALIZE: Final = "--normalize (in Python normalize=True)"
_ROUNDED: Final = (
    f" within {SUM_TOLERANCE}, as rounding or float16 leaves it; "
    f"write more decimals, or add {_NORMALIZE}"
)
_TABLES: Final[dict[str, tuple[Callable[[NDArray[np.float64]], bool], str]]] = {
    "percent": (
        lambda v: bool((v >= 0).all()) and _sums_near(v, PERCENT),
        f"percent, it seems: the numbers of a case sum to 100; divide by 100, or add {_NORMALIZE}",
    ),
    "logarithms": (
        lambda v: bool((v <= 0).all()) and _sums_near(np.exp(v), 1),
        "logarithms of probabilities, it seems: none is above 0; take the exponential (numpy.exp)",
    ),
    "sigmoids": (
        lambda v: bool(((v >= 0) & (v <= 1)).all()),
        "the numbers of a case lie in 0 to 1 but do not sum to 1: are they sigmoids, a probability for "
        "each class by itself? hand in the softmax, probabilities of which exactly one class is true",
    ),
    "logits": (
        lambda v: bool(np.isfinite(v).all()),
        "logits, it seems: numbers below 0 or above 1 that sum to nothing in particular; "
        "hand in their softmax",
    ),
}
"""Whole tables of something else, the first that fits: its numbers (n, 4), and what to say."""
_Kind: TypeAlias = tuple[str, NDArray[np.bool_], Callable[[NDArray[np.float64]], str]]


def tell_probabilities(
    told: Told,
    values: NDArray[np.float64],
    lines: NDArray[np.int64],
    bad: NDArray[np.bool_],
    whole: float = 1,
) -> None:
    """Say what is wrong with probabilities.

    Args:
        told: what is found is added to it.
        values: (n, 4) of the rows that hold four numbers.
        lines: their lines in the file.
        bad: which of them are no distribution over the classes.
        whole: what the numbers of a case should sum to.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        totals = values.sum(axis=1)
        inside = ((values >= 0) & (values <= 1)).all(axis=1)
        rounded = bad & inside & (np.abs(totals - 1) <= ROUNDED_SUM + 1e-9) & (whole == 1)
        wrong = bad & ~rounded
        whole_tables = [
            (kind, said)
            for kind, (fits, said) in _TABLES.items()
            if 2 * wrong.sum() > len(values) > 1 and fits(values[wrong])
        ]
    kinds: list[_Kind] = [
        (kind, wrong, partial(_whole_table, said)) for kind, said in whole_tables[:1]
    ]
    kinds = kinds or [
        ("rounded", rounded, lambda row: f"{_sum(row, whole)}{_ROUNDED}"),
        ("sum", wrong & inside, lambda row: f"{_sum(row, whole)}; write them so that they do"),
        ("range", wrong & ~inside, _out_of_range),
    ]
    for kind, rows, tell in kinds:
        if rows.any():
            told.add(kind, int(lines[rows][0]), tell(values[rows][0]), int(rows.sum()))


def _sum(row: NDArray[np.float64], whole: float) -> str:
    return f"{_SUM} sum to {row.sum():.8g}, not {whole:g}"


def _whole_table(said: str, row: NDArray[np.float64]) -> str:
    return f"{', '.join(f'{value:.6g}' for value in row)}: {said}"


def _out_of_range(row: NDArray[np.float64]) -> str:
    off = [k for k, value in enumerate(row) if not 0 <= value <= 1]
    said = " and ".join(f"{PROBABILITIES[place]} is '{row[place]:.6g}'" for place in off)
    return f"{said}, not a probability from 0 to 1"


# ---- classes ---------------------------------------------------------------------------------------------

_LABEL: Final = re.compile(rf"([0-{len(CLASSES) - 1}])(\.0*)?")


def label_meant(text: str) -> int | None:
    """Return the label that a class has by name, in any case, or by number; None where it is none."""
    if text.isascii() and text.lower() in CLASSES:
        return CLASSES.index(text.lower())
    found = _LABEL.fullmatch(text)
    return int(found[1]) if found else None


def class_problem(text: str) -> tuple[str, str]:
    """Return the kind of a cell that is no class, and what to say of it."""
    if text[:_LISTED].lower() in _NO_VALUE:
        return "no value", f"prediction is {shown(text)}: no value; every case needs one"
    if _NUMBER.fullmatch(text[:50]):
        return "label", f"prediction {shown(text)} is no label; labels are {LABELS}"
    hint = nearest(text[:50].lower(), CLASSES) or f"; one of {', '.join(CLASSES)}"
    return "class", f"unknown class {shown(text)} in column prediction{hint}"


def tell_classes(told: Told, written: Mapping[str, Sequence[int]]) -> list[str]:
    """Say where it is not clear which classes are meant; return notes on how they were read.

    Args:
        told: what is found is added to it.
        written: how classes are written, and on which lines, of which the first and the number count.
    """
    numbers = {text: lines for text, lines in written.items() if text[0].isdecimal()}
    names = {text: lines for text, lines in written.items() if text not in numbers}
    if numbers and names:
        (_, usual), (line, odd) = sorted(
            (lines[0], text) for text, lines in (_first(numbers), _first(names))
        )
        mixed = f"prediction is {odd!r}, {usual!r} elsewhere: numbers and names; write the names"
        told.add("mixed", line, mixed)
    elif numbers and not any(text[0] == "0" for text in numbers):
        counted = (
            f"prediction: numbers and no 0; counted from 0 ({LABELS}), or from 1? write the names"
        )
        count = sum(map(len, numbers.values()))
        told.add("counted", _first(numbers)[1][0], counted, count)
    elif numbers:
        return [f"column prediction holds numbers, read as {LABELS}"]
    other = [text for text in names if text not in CLASSES]
    if not other:
        return []
    count = sum(len(names[text]) for text in other)
    return [f"{count} classes are written with capitals ({', '.join(sorted(other)[:_LISTED])})"]


def _first(written: Mapping[str, Sequence[int]]) -> tuple[str, Sequence[int]]:
    return min(written.items(), key=lambda item: item[1][0])


# ---- cases -----------------------------------------------------------------------------------------------

_ENDING: Final = re.compile(
    r"(_0000)?(\.(nii|gz|nrrd|mha|mhd|dcm|npy|npz|png|jpg|csv))*$", re.IGNORECASE
)


def _spelling(name: str) -> str:
    """Return what is left of an id without folders, ending, capitals, separators and leading zeros."""
    last = PurePosixPath(PureWindowsPath(name).as_posix()).name
    plain = re.sub(r"[\W_]+", "-", _ENDING.sub("", last).casefold()).strip("-")
    return re.sub(r"0+(?=\d)", "", re.sub(r"(?<=[a-z])(?=\d)", "-", plain))


def tell_unknown_cases(
    told: Told, unknown: Sequence[tuple[int, str]], cohort: FoldTable, unused: Sequence[str]
) -> None:
    """Say which cases the cohort does not have, and which are meant where that is plain.

    Args:
        told: what is found is added to it.
        unknown: line and id of each.
        cohort: its cases.
        unused: those of them that have no row.
    """
    if not unknown:
        return
    case_ids = cohort.case_ids
    spelled = {_spelling(row.patient_id): row.case_id for row in cohort.rows}
    spelled |= {_spelling(case_id): case_id for case_id in case_ids}
    kinds = {_kind(case_id) for case_id in case_ids}
    like = f"here they are like {case_ids[0]!r}"
    for count, (line, name) in enumerate(unknown):
        meant, kind, hint = spelled.get(_spelling(name)), _kind(name), ""
        if meant:
            what, hint = "spelling", f"; did you mean {meant!r}?"
        elif not kind:
            what, hint = "number", f"; a number alone names no case, {like}"
        elif re.fullmatch(r"[\w-]+\d", name) and kind not in kinds:
            what, hint = "cohort", f"; {like}, so name the cohort of these cases, or rename them"
        else:
            what, hint = "unknown", nearest(name[:50], unused) if count < _HINTS else ""
        said = f"case_id: no case {shown(name)} in cohort {cohort.name}{hint}"
        told.add(what, line, said)


def _kind(case_id: str) -> str:
    """Return what the ids of one cohort have in common: what stands before the number."""
    return re.sub(r"[\d.]+$", "", _spelling(case_id)).strip("-")


def missing_cases(cohort: FoldTable, missing: Sequence[int], where: str) -> str:
    """Say which cases have no row; whole folds are most often those that were not run yet.

    Args:
        cohort: its cases.
        missing: their places.
        where: of which seed, to be told after their number.
    """
    count = "1 case is" if len(missing) == 1 else f"{len(missing)} cases are"
    listed = ", ".join(cohort.case_ids[place] for place in missing[:_LISTED])
    dots = ", ..." if len(missing) > _LISTED else ""
    absent = set(missing)
    there = {fold for place, fold in enumerate(cohort.folds) if place not in absent}
    gone = sorted({cohort.folds[place] for place in missing} - there)
    whole = {cohort.folds[place] for place in missing} == set(gone)
    which, fix = "", ""
    if gone and whole and there:
        which = f" (all of fold {', '.join(map(str, gone))})"
        rest = ",".join(map(str, sorted(there)))
        fix = f"; while developing, --folds {rest} (in Python folds=[{rest}]) scores the others"
    return f"column case_id: {count} missing{where}{which}: {listed}{dots}{fix}"
