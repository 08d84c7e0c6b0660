"""A run of the Adaptive-Diagnoser, as ``ictmri reproduce`` leaves one: tiny models of made-up cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from support.made_cases import made_cases

from ictmri.classes import CLASSES
from ictmri.folds import read_folds
from ictmri.io.states import write_record
from ictmri_baselines.diagnoser.checkpoint import MODEL, load_model
from ictmri_baselines.diagnoser.fit import adaptive_diagnoser
from ictmri_baselines.diagnoser.inputs import InputView, open_inputs
from ictmri_baselines.diagnoser.out_of_distribution import save_reference, training_reference
from ictmri_baselines.methods import FINISHED, IDENTITY, Workspace
from ictmri_benchmark import evaluate

TINY: dict[str, Any] = {
    "network": {"settings": {"width": 4, "depth": (1, 1)}},
    "view": {"of": "region", "edge": 12, "spacing_mm": 4},
    "optimisation": {"epochs": 2, "learning_rate": 1e-3},
    "compute": {"device": "cpu"},
}
ORIGIN = {"cohort": "ictmri-phantom", "recipe": "table2/5", "profile": "cpu", "synthetic": True}


def trained(folder: Path, *, seed: int, **origin: Any) -> None:
    """Train a tiny model on made-up cases, with the reference of its training cases beside it."""
    cases, labels = made_cases(8)
    learned = np.arange(8) < 7
    place = Workspace(folder, ORIGIN | {"seed": 0} | origin)
    adaptive_diagnoser(
        cases.subset(learned),
        labels[learned],
        cases.subset(~learned),
        seed=seed,
        workspace=place,
        **TINY,
    )
    network, _ = load_model(folder / MODEL)
    inputs = open_inputs(cases.subset(learned), InputView(**TINY["view"]), "refined")
    save_reference(folder, training_reference(network, inputs))


def made_run(out: Path) -> Path:
    """Make a run of two folds, the second an ensemble of two, and a report."""
    trained(out / "folds" / "seed0-fold0", seed=0, fold=0)
    trained(out / "folds" / "seed0-fold1", seed=1, fold=1)
    trained(out / "folds" / "seed0-fold1" / "member-1", seed=2, fold=1, member=1)
    (out / "run.json").write_text(json.dumps(dict.fromkeys(IDENTITY, "made") | ORIGIN))
    table = read_folds(Path("splits/ictmri-phantom.csv"), "ictmri-phantom")
    rng = np.random.default_rng(0)
    lines = ["case_id," + ",".join(f"p_{name}" for name in CLASSES)]
    for row in table.rows:
        levels = rng.multinomial(1000, [0.25] * 4) / 1000
        lines.append(",".join([row.case_id, *(f"{level:.3f}" for level in levels)]))
    (out / "predictions.csv").write_text("\n".join(lines) + "\n")
    report = evaluate(out / "predictions.csv", table, synthetic=True, n_draws=20)
    (out / "report.json").write_text(report.to_json())
    write_record(out / FINISHED, {"tasks": ["seed0-fold0.csv", "seed0-fold1.csv"]})
    return out
