"""Try the open choices of the ``cpu`` profile by inner validation: no outer test fold is looked at.

Of the training cases of outer folds 0 and 1, a quarter of each class is held back; a variant of a recipe is
trained on the rest and scored on those.

Example: python perf/choices.py COHORT --variant finer:network.tap=block2
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import yaml
from sklearn.metrics import f1_score, log_loss

from ictmri.classes import CLASSES
from ictmri.lookup import find_cohort
from ictmri_baselines.cases import Cases, load_cases
from ictmri_baselines.diagnoser.fit import adaptive_diagnoser, held_back
from ictmri_baselines.reproduction.recipe import load_recipe, merged

FOLDS = (0, 1)
SHARE = 0.25


def changes(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name:a.b=1,c.d=x`` as a name and nested settings."""
    name, _, pairs = text.partition(":")
    found: dict[str, Any] = {}
    for pair in filter(None, pairs.split(",")):
        place, _, value = pair.partition("=")
        nested: Any = yaml.safe_load(value)
        for key in reversed(place.split(".")):
            nested = {key: nested}
        found = merged(found, nested)
    return name, found


def tried(
    cases: Cases, labels: np.ndarray, folds: np.ndarray, settings: dict[str, Any]
) -> tuple[list[float], list[float], float]:
    """Return macro-F1 and log-loss of each outer fold's inner validation, and CPU seconds of a training."""
    scores, losses, started = [], [], time.process_time()
    for fold in FOLDS:
        learned = folds != fold
        train, truth = cases.subset(learned), labels[learned]
        inner = held_back(truth, SHARE, fold)
        found = adaptive_diagnoser(
            train.subset(~inner), truth[~inner], train.subset(inner), seed=fold, **settings
        )
        known = range(len(CLASSES))
        predicted = found.argmax(axis=1)
        scores.append(
            f1_score(truth[inner], predicted, labels=known, average="macro", zero_division=0)
        )
        losses.append(log_loss(truth[inner], found, labels=known))
    return scores, losses, (time.process_time() - started) / len(FOLDS)


def main() -> None:
    """Print a line a variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort")
    parser.add_argument("--recipe", default="table2/5")
    parser.add_argument(
        "--variant", action="append", default=["as it is:"], metavar="NAME:A.B=1,.."
    )
    asked = parser.parse_args()
    cohort = find_cohort(asked.cohort)
    cases, table = load_cases(cohort, with_volumes=True), cohort.scored_folds()
    seen = cases.processed
    settings = load_recipe(asked.recipe).settings_for("cpu")
    print("| variant | macro-F1 | log-loss | seconds a training |\n|---|---|---|---|")
    for name, change in map(changes, asked.variant):
        scores, losses, seconds = tried(
            cases.subset(seen),
            np.array(table.labels)[seen],
            np.array(table.folds)[seen],
            merged(settings, change),
        )
        each = ", ".join(f"{score:.2f}" for score in scores)
        row = f"{np.mean(scores):.2f} ({each}) | {np.mean(losses):.2f} | {seconds:.0f}"
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
