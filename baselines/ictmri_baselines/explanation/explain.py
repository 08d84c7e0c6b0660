"""``ictmri explain``: where a run's models look in cases that they never saw, as numbers and a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort, open_cohort
from ictmri.folds import FoldTable
from ictmri.io.files import write_json
from ictmri.io.parallel import run_all
from ictmri.io.resources import AnyPath, at_home
from ictmri_baselines.diagnoser.checkpoint import read_description
from ictmri_baselines.explanation.attention_share import (
    Share,
    best_possible,
    share_in,
    summarised,
)
from ictmri_baselines.explanation.cam_inputs import (
    CamInputs,
    FoldModel,
    cam_inputs,
    cohort_of_run,
    has_truth,
    identity_of_run,
    models_of,
    with_priors_of_run,
)
from ictmri_baselines.explanation.page import explanation_page, figure
from ictmri_baselines.pipeline import Workers

SCHEMA: Final = "ictmri/explanation/1"
JSON: Final = "explanation.json"
PAGE: Final = "explanation.html"
SHOWN: Final = 8

Case = dict[str, Any]
T = TypeVar("T")


def explain(
    run: AnyPath,
    cohort: Cohort | None = None,
    *,
    fold: int | None = None,
    shown: int = SHOWN,
    jobs: int | None = None,
    own: str | None = None,
) -> dict[str, Any]:
    """Explain the models of a run on the test cases of their folds; write both files into the run.

    Args:
        run: folder of ``ictmri reproduce``.
        cohort: the one that the run was made with; found by its name on this machine where None.
        fold: only this fold's models; all that are finished where None.
        shown: cases on the page, evenly spread from the smallest to the largest share in the lesion, or
            over the cohort where no lesion is known; of the first seed.
        jobs: worker processes; all usable cores where None.
        own: see :func:`~ictmri_baselines.diagnoser.checkpoint.load_model`.

    Returns:
        The content of ``explanation.json``.

    Raises:
        InputError: ``run`` is no run of this cohort, or holds no model.
    """
    run = at_home(run)
    cohort = with_priors_of_run(run, cohort or cohort_of_run(run), Workers(jobs), fold)
    identity = identity_of_run(run, cohort)
    models = models_of(run, fold)
    cases = _of_each(partial(_measured, cohort.root, own), models, "explain", jobs)
    content = _content(identity, cohort, models, cases)
    first = [model for model in models if model.seed == models[0].seed]
    chosen = _spread([case for case in cases if case["seed"] == first[0].seed], shown)
    drawn = partial(_drawn, cohort.root, own, frozenset(case["case_id"] for case in chosen))
    pictures = dict(_of_each(drawn, first, "pictures", jobs))
    explanation_page(run / PAGE, content, [(case, pictures[case["case_id"]]) for case in chosen])
    write_json(run / JSON, content)
    return content


def _measured(root: Path, own: str | None, model: FoldModel) -> list[Case]:
    """Return the numbers of the test cases of one model."""
    cohort = open_cohort(root)
    table = cohort.folds()
    labels = dict(zip(table.case_ids, table.labels, strict=True))
    return [_case(seen, model, labels[seen.case_id]) for seen in cam_inputs(cohort, model, own=own)]


def _case(seen: CamInputs, model: FoldModel, label: int) -> Case:
    probabilities = model.predictions[seen.case_id]
    predicted = int(probabilities.argmax())
    known: Case = {
        "case_id": seen.case_id,
        "seed": model.seed,
        "fold": model.fold,
        "label": CLASSES[label],
        "predicted": CLASSES[predicted],
        "probability": round(float(probabilities[predicted]), 6),
        "empty_map": not seen.found.any(),
    }
    if seen.lesion is None:
        return known
    best = best_possible(seen.lesion, seen.grid, seen.extent)
    share = share_in(seen.found, seen.lesion, seen.brain, best)
    return known | {name: _stated(value) for name, value in asdict(share).items()}


def _stated(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def _content(
    identity: Mapping[str, Any], cohort: Cohort, models: Sequence[FoldModel], cases: list[Case]
) -> dict[str, Any]:
    settings = read_description(models[0].path).settings
    n_cases = len({case["case_id"] for case in cases})
    return {
        "schema": SCHEMA,
        "recipe": identity["recipe"],
        "profile": identity["profile"],
        "cohort": cohort.name,
        "synthetic": cohort.synthetic,
        "folds_sha256": cohort.manifest.folds_sha256,
        "data_sha256": identity["data_sha256"],
        "seeds": sorted({model.seed for model in models}),
        "folds": sorted({model.fold for model in models}),
        "network": settings["network"],
        "view": settings["view"],
        "n_cases": n_cases,
        "n_not_explained": cohort.manifest.n_cases - len(cohort.manifest.left_out) - n_cases,
        "n_empty_maps": sum(case["empty_map"] for case in cases),
        "summary": _summary(cases, cohort.folds()) if has_truth(cohort) else None,
        "cases": cases,
    }


def _summary(cases: Sequence[Case], table: FoldTable) -> dict[str, dict[str, float | None]]:
    shares: dict[str, list[Share]] = defaultdict(list)
    for case in cases:
        numbers = {name: case[name] for name in Share.__dataclass_fields__}
        known = {name: np.nan if value is None else value for name, value in numbers.items()}
        shares[case["case_id"]].append(Share(**known))
    return summarised(shares, table)


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    """Choose cases, evenly spread over the shares; over the cases where there are no shares."""
    ordered = sorted(cases, key=_rank)
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _rank(case: Case) -> tuple[float, str]:
    share = case.get("in_lesion")
    return (-1.0 if share is None else share, case["case_id"])


def _of_each(
    function: Callable[[FoldModel], list[T]],
    models: Sequence[FoldModel],
    title: str,
    jobs: int | None,
) -> list[T]:
    """Return what a function finds of all models, in their order."""
    each = run_all(function, models, total=len(models), title=title, unit="model", jobs=jobs)
    return [one for found in each for one in found]


def _drawn(
    root: Path, own: str | None, wanted: frozenset[str], model: FoldModel
) -> list[tuple[str, bytes]]:
    """Return the pictures of the wanted test cases of one model."""
    return [
        (seen.case_id, figure(seen.image, seen.brain, seen.found, seen.prior, seen.lesion))
        for seen in cam_inputs(open_cohort(root), model, wanted, own=own)
    ]
