"""From a model to its score: cross-validation that keeps the test labels, evaluation, comparison, board.

A cohort is given by its name, its folder, or as it was opened; predictions as a file, a frame, or an array.
Whatever they come as, they are checked as ``ictmri evaluate`` checks a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

import numpy as np

from ictmri.classes import CLASSES
from ictmri.cohort import CLINICAL, Cohort
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.board.folders import board_folders, local_entries
from ictmri_benchmark.board.leaderboard import build_leaderboard, reported_board
from ictmri_benchmark.board.paired import Comparison, compare_predictions
from ictmri_benchmark.board.views import Leaderboard
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.mistakes import (
    ARRAY,
    FRAME,
    HEADERS,
    LABELS,
    PROBABILITIES,
    Places,
    column_meant,
)
from ictmri_benchmark.score.predictions import Predictions, read_predictions
from ictmri_benchmark.score.report import External, Report, score

if TYPE_CHECKING:
    import pandas as pd

    Given: TypeAlias = "str | PathLike[str] | pd.DataFrame | Sequence[Any] | np.ndarray[Any, Any]"
    FitPredict: TypeAlias = Callable[[pd.DataFrame, pd.DataFrame], Any]

AnyCohort: TypeAlias = AnyPath | Cohort | FoldTable
_FORMS: Final = (
    f"give an array (cases, {len(CLASSES)}) of probabilities in the order {', '.join(CLASSES)}, labels "
    f"(cases,), or a frame with the columns {HEADERS[0]} or {HEADERS[1]}"
)


def cross_validate(
    fit_predict: FitPredict, cohort: AnyCohort, *, folds: Sequence[int] | None = None
) -> pd.DataFrame:
    """Predict every case by a model that was fitted on the other folds.

    ``fit_predict(train, test)`` is called once a fold. ``train`` has the columns of :func:`ictmri.cases`;
    ``test`` has those that do not tell the class, and shares no memory with ``train``. The index of both
    is the case's place in the cohort: of an array in its order, ``features[test.index]`` are the rows.
    Make the model inside: one made outside would go on learning from fold to fold, and has then seen
    every label.

    Args:
        fit_predict: returns (n_test, 4) probabilities in the order of :data:`ictmri.CLASSES` for the rows
            of ``test``, or (n_test,) labels, or a frame of the columns of predictions.csv in any order.
        cohort: dataset name, cohort folder, or one that is open already.
        folds: only these, while developing; all where None.

    Returns:
        The predictions, in the order of the cohort: what :func:`evaluate` takes. With
        ``to_csv("predictions.csv", index=False)`` they are what ``ictmri submit`` takes.

    Raises:
        InputError: what ``fit_predict`` returned is no such thing; the fold and all problems are named.
    """
    import pandas as pd

    from ictmri.case_table import TELLS_THE_CLASS, cases

    table, _ = _opened(cohort)
    known = cases(cohort)
    parts = []
    for fold in _chosen(table, folds) or range(table.n_folds):
        tested = np.array(table.folds) == fold
        train = _copied(known, ~tested, list(known.columns))
        open_columns = [name for name in known.columns if name not in TELLS_THE_CLASS]
        test = _copied(known, tested, open_columns)
        ids, places = test["case_id"].tolist(), test.index.tolist()
        subject = f"what fit_predict returned for fold {fold}"
        answer = fit_predict(train, test)
        found = _framed(answer, ids, places, subject)
        _read(found, _part(table, [fold]), None, subject, places=_places(answer))
        parts.append(found)
    if len({tuple(sorted(part.columns)) for part in parts}) > 1:
        named = [f"fold {n}: {', '.join(part.columns)}" for n, part in enumerate(parts)]
        raise InputError("what fit_predict returned", named, "return the same columns every time")
    together = pd.concat(parts, ignore_index=True)
    order = {case_id: place for place, case_id in enumerate(table.case_ids)}
    together = together[["case_id", *(c for c in together.columns if c != "case_id")]]
    return together.sort_values("case_id", key=lambda ids: ids.map(order), ignore_index=True)


def evaluate(  # noqa: PLR0913
    predictions: Given,
    cohort: AnyCohort,
    *,
    folds: Sequence[int] | None = None,
    normalize: bool = False,
    synthetic: bool | None = None,
    n_draws: int = protocol.N_DRAWS,
    interval: protocol.IntervalKind = "percentile",
    external: str | None = None,
    overlap: protocol.Overlap = "unknown",
) -> Report:
    """Score predictions on a cohort. The labels are the cohort's, never the caller's.

    Args:
        predictions: a file; a frame with the columns of one; or an array in the order of the cohort,
            (n, 4) probabilities or (n,) labels, classes in the order of :data:`ictmri.CLASSES`
            (scikit-learn orders columns by ``classes_``: by the alphabet where labels were names).
        cohort: dataset name, cohort folder, or one that is open already.
        folds: score only these, while developing: the report says so, and nothing ranks it.
        normalize: divide the probabilities of each case by their sum, where rounding left it off 1 or where
            it is 100; the report says so.
        synthetic: marks the report of a phantom; what the cohort says of itself where None.
        n_draws: bootstrap draws.
        interval: of the headline metrics; the board shows ``percentile``.
        external: name of the cohort that the model learned from, where it is not this one. It held out no
            fold, so all cases are scored at once; nothing ranks that among what was cross-validated.
        overlap: whether patients are in both cohorts; the report says so.

    Raises:
        InputError: they are not valid or not complete; every problem is named.
    """
    table, marked = _opened(cohort)
    elsewhere = _external(external, overlap, table, folds)
    only = _chosen(table, folds)
    part = table if only is None else _part(table, only)
    read = _taken(predictions, table, part, only, normalize=normalize)
    drawn = bootstrap(part, [read.labels], n_draws)
    return score(
        read,
        part,
        drawn,
        synthetic=marked if synthetic is None else synthetic,
        interval=interval,
        of_folds=None if only is None else table.n_folds,
        external=elsewhere,
    )


def _external(
    trained_on: str | None, overlap: protocol.Overlap, table: FoldTable, folds: Sequence[int] | None
) -> External | None:
    """Return what is known of a model that learned elsewhere, None for one of this cohort's folds."""
    name = "" if trained_on is None else trained_on.strip()
    cherries = (
        "an external model is scored on all cases: whoever chooses some of them chooses the score"
    )
    checks = {
        "no cohort is named that the model learned from": trained_on is not None and not name,
        "its name must be printable text of one line": not name.isprintable() or len(name) > 200,
        f"a model that learned from {table.name} itself is not external": name == table.name,
        f"overlap {overlap!r} is not yes, no or unknown": overlap not in get_args(protocol.Overlap),
        cherries: bool(name) and folds is not None,
        "overlap is of an external model": trained_on is None and overlap != "unknown",
    }
    problems = [problem for problem, holds in checks.items() if holds]
    if problems:
        step = "name the cohort that it learned from, and say whether patients are in both"
        if problems == [cherries]:
            step = "to leave out patients that it learned from, build a cohort without them"
        raise InputError("external", problems, step)
    return External(name, overlap) if name else None


def compare(
    first: Given, second: Given, cohort: AnyCohort, *, normalize: bool = False
) -> Comparison:
    """Compare two sets of predictions of the same cases by the metric that ranks the board.

    Args:
        first: as :func:`evaluate` takes them.
        second: as ``first``.
        cohort: dataset name, cohort folder, or one that is open already.
        normalize: of both, as :func:`evaluate` takes it.

    Raises:
        InputError: one of them is not valid or not complete; every problem is named.
    """
    table, synthetic = _opened(cohort)
    names = [
        str(given) if isinstance(given, str | PathLike) else number
        for number, given in (("first", first), ("second", second))
    ]
    read = [
        _taken(given, table, table, None, normalize=normalize, subject=f"{number} predictions")
        for number, given in (("first", first), ("second", second))
    ]
    return compare_predictions(table, read, names, synthetic=synthetic)


def leaderboard(
    cohort: AnyCohort,
    *,
    with_: Given | Mapping[str, Given] | None = None,
    entries: AnyPath | None = None,
    normalize: bool = False,
    external: str | None = None,
    overlap: protocol.Overlap = "unknown",
) -> Leaderboard:
    """Return the leaderboard of a cohort: every entry rescored and ranked. Nothing is written.

    The published entries are shown together with those of one's own, which ``ictmri submit`` writes to
    ``entries/<cohort>`` in the working directory.

    Args:
        cohort: dataset name, cohort folder, or one that is open already. The board of the clinical cohort
            can be had without it, as far as papers report; nothing is rescored then.
        with_: predictions that are ranked among the entries, as :func:`evaluate` takes them; several by
            name.
        entries: only the entries, or runs of ``ictmri reproduce``, of this folder.
        normalize: of ``with_``, as :func:`evaluate` takes it.
        external: of ``with_``, as :func:`evaluate` takes it: they then stand apart and are not ranked.
        overlap: of ``with_``, as :func:`evaluate` takes it.

    Raises:
        InputError: the predictions are not valid, or an entry is not; every problem is named.
    """
    from ictmri.lookup import local_cohort

    given = _by_name(with_)
    if external is not None and not given:
        raise InputError("external", ["no predictions are given that it could be of"], "give with_")
    away = isinstance(cohort, str) and cohort == CLINICAL and local_cohort(cohort) is None
    if away and not given and entries is None and not local_entries(CLINICAL).is_dir():
        return Leaderboard(reported_board(CLINICAL))
    table, synthetic = _opened(cohort)
    elsewhere = _external(external, overlap, table, None)
    read = {
        name: _taken(one, table, table, None, normalize=normalize) for name, one in given.items()
    }
    places = board_folders(table.name) if entries is None else at_home(entries)
    board = build_leaderboard(places, table, synthetic=synthetic, given=read, external=elsewhere)
    return Leaderboard(board)


def _by_name(given: Given | Mapping[str, Given] | None) -> dict[str, Given]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    return {str(given) if isinstance(given, str | PathLike) else "yours": given}


def _opened(cohort: AnyCohort) -> tuple[FoldTable, bool]:
    """Return the folds of a cohort and whether it is synthetic."""
    if isinstance(cohort, FoldTable):
        return cohort, False
    if isinstance(cohort, Cohort):
        return cohort.scored_folds(), cohort.synthetic
    from ictmri.lookup import find_folds

    return find_folds(cohort)


def _chosen(table: FoldTable, folds: Sequence[int] | None) -> list[int] | None:
    """Return the chosen folds in order, None for all."""
    if folds is None:
        return None
    there = set(table.folds)
    wrong = [fold for fold in folds if fold not in there]
    if wrong or not len(folds):
        problems = [f"no fold {fold!r}" for fold in wrong] or ["no fold is chosen"]
        raise InputError(f"folds of {table.name}", problems, f"choose of 0 to {table.n_folds - 1}")
    return sorted(set(folds)) if set(folds) != there else None


def _part(table: FoldTable, folds: Sequence[int]) -> FoldTable:
    """Return the cases of some folds."""
    kept = [place for place, fold in enumerate(table.folds) if fold in folds]
    return replace(
        table,
        rows=tuple(table.rows[place] for place in kept),
        groups={kind: [names[place] for place in kept] for kind, names in table.groups.items()},
    )


def _copied(frame: pd.DataFrame, rows: np.ndarray[Any, Any], columns: list[str]) -> pd.DataFrame:
    """Return some rows and columns in memory of their own: from no view can the others be reached."""
    import pandas as pd

    made = pd.DataFrame({name: frame[name].to_numpy(copy=True)[rows] for name in columns})
    return made.set_index(pd.Index(np.flatnonzero(rows)))


def _taken(
    given: Given,
    table: FoldTable,
    part: FoldTable,
    folds: Sequence[int] | None,
    *,
    normalize: bool = False,
    subject: str = "predictions",
) -> Predictions:
    """Return predictions as they are read from a file, whatever they come as."""
    if isinstance(given, str | PathLike):
        path = at_home(given)
        return read_predictions(path, table, folds=folds, normalize=normalize)
    # An array of some folds has their cases, or all.
    rows = table if _length(given) == len(table.rows) else part
    framed = _framed(given, rows.case_ids, list(range(len(rows.rows))), subject)
    return _read(framed, table, folds, subject, places=_places(given), normalize=normalize)


def _read(
    frame: pd.DataFrame,
    table: FoldTable,
    folds: Sequence[int] | None,
    subject: str,
    *,
    places: Places,
    normalize: bool = False,
) -> Predictions:
    content = frame.to_csv(index=False, na_rep="nan", lineterminator="\n").encode()
    return read_predictions(
        Path(subject),
        table,
        content=content,
        folds=folds,
        normalize=normalize,
        places=places,
    )


def _places(given: Any) -> Places:
    return FRAME if hasattr(given, "iloc") else ARRAY


def _length(given: Any) -> int:
    try:
        return len(given)
    except TypeError:
        return -1


def _framed(given: Any, case_ids: list[str], places: list[int], subject: str) -> pd.DataFrame:
    """Return predictions as a frame with ``case_id``.

    Args:
        given: a frame or series, whose cases a column or the index names, or an array in the order of the
            cases.
        case_ids: the cases.
        places: what the index of a frame calls them.
        subject: what is given, for messages.

    Raises:
        InputError: it is neither, or of another shape.
    """
    import pandas as pd

    if isinstance(given, pd.Series):
        given = given.to_frame("prediction")
    if isinstance(given, pd.DataFrame):
        if "case_id" in map(column_meant, map(str, given.columns)):
            return given
        names = dict(zip(places, case_ids, strict=True)) | {name: name for name in case_ids}
        if not set(given.index) <= set(names):
            problem = "the frame has no column case_id, and its index names no cases"
            raise InputError(subject, [problem], _FORMS)
        framed = given.copy()
        framed.insert(0, "case_id", [names[key] for key in given.index])
        return framed
    try:
        values = np.asarray(given)
    except Exception as error:  # noqa: BLE001 - whatever the library of a tensor raises
        problem = f"{type(given).__name__} that is no array ({error})"
        raise InputError(subject, [problem], _FORMS) from None
    columns: dict[str, Any]
    if values.shape == (len(case_ids), len(CLASSES)):
        columns = {name: values[:, place] for place, name in enumerate(PROBABILITIES)}
    elif values.shape == (len(case_ids),):
        columns = {"prediction": _class_names(values, subject)}
    else:
        shape = f"({', '.join(map(str, values.shape))})"
        problem = f"its shape is {shape}; there are {len(case_ids)} cases"
        if values.shape == (len(CLASSES), len(case_ids)):
            problem += "; transpose it (.T)"
        raise InputError(subject, [problem], _FORMS)
    return pd.DataFrame({"case_id": case_ids} | columns)


def _class_names(labels: np.ndarray[Any, Any], subject: str) -> list[str]:
    """Return the names of classes that are given by name or by number."""
    if not np.issubdtype(labels.dtype, np.number):
        return [str(label) for label in labels]
    wrong = [label for label in labels if label not in range(len(CLASSES))]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(subject, [f"{wrong[0]} is no label{more}"], f"labels: {LABELS}")
    return [CLASSES[int(label)] for label in labels]
