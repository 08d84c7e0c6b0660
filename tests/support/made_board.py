"""Made-up boards to look at: entries of varied skill on the phantom's folds, nothing trained."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from support.made_entries import add_entry, made_entry
from support.made_predictions import probabilities

from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import InputsUsed
from ictmri_benchmark.board.leaderboard import build_leaderboard

MADE: tuple[tuple[str, str, float | None, dict[str, Any]], ...] = (
    ("table2-5", "Refined prior, attention", 0.34, {}),
    ("table2-2", "Coarse prior", 0.27, {}),
    ("table2-1", "Raw volume", 0.15, {}),
    ("table3-swin3d", "Swin3D", 0.22, {"external": ("ImageNet weights",)}),
    ("radiomics", "Radiomics in the prior", 0.32, {"level": "R2"}),
    (
        "age-sex",
        "Age + sex",
        0.1,
        {"inputs": InputsUsed(image=False, prior="none", demographics=True)},
    ),
    (
        "majority",
        "Majority class",
        None,
        {"inputs": InputsUsed(image=False, prior="none", demographics=False)},
    ),
    (
        "ensemble",
        "Ensemble, image and age",
        0.36,
        {"inputs": InputsUsed(image=True, prior="official", demographics=True), "level": "R3"},
    ),
    (
        "by-hand",
        "Marked by hand",
        0.33,
        {"inputs": InputsUsed(image=True, prior="manual-test", demographics=False)},
    ),
    ("elsewhere", "Trained on other patients", 0.5, {"trained_on": "ictmri", "overlap": "yes"}),
    ("peeked", "Best epoch of each test fold", 0.6, {"selection": "test-fold"}),
)


def phantom() -> FoldTable:
    """The folds that ship with the package."""
    return find_folds("ictmri-phantom")[0]


def made_entries(folder: Path, cohort: FoldTable) -> None:
    """Write the made-up entries."""
    for place, (slug, name, skill, changes) in enumerate(MADE):
        majority = np.zeros(len(cohort.rows), dtype=np.int64)
        values = majority if skill is None else probabilities(cohort, skill, place)
        add_entry(folder, cohort, made_entry(cohort, slug, name=name, **changes), values)


def made_board(folder: Path) -> dict[str, Any]:
    """Return the board of the made-up entries."""
    cohort = phantom()
    made_entries(folder, cohort)
    return build_leaderboard(folder, cohort, synthetic=True)


def repeated(board: dict[str, Any], times: int) -> dict[str, Any]:
    """Return the board with ``times`` scored entries: the first one again and again, each pair compared."""
    many = copy.deepcopy(board)
    first = next(row for row in many["entries"] if row["report"] is not None)
    rows = [
        {**copy.deepcopy(first), "slug": f"entry-{k}", "name": f"The first entry again, number {k}"}
        for k in range(times)
    ]
    many["entries"] = rows + [row for row in many["entries"] if row["report"] is None]
    numbers = [-0.012345, -0.054321, 0.023456, 0.123456, 0.234567, 21, 25]
    many["comparison"]["pairs"] = [
        [f"entry-{i}", f"entry-{j}", *numbers] for i in range(times) for j in range(i + 1, times)
    ]
    return many


HOSTILE = (
    "</script></style></title><script>window.fired=1</script><img src=x onerror=window.fired=1>"
    "<svg onload=window.fired=1>\"' onfocus=window.fired=1 autofocus {{7*7}} {% raw %} "
    "[x](javascript:window.fired=1) ../../etc/passwd \u202egnp.exe \u2028"
)


def with_text(board: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the board with ``text`` in every field that holds somebody's words.

    What entry.yaml refuses today is in it too: the page must not lean on that.
    """
    changed = copy.deepcopy(board)
    for row in [*changed["entries"], *changed["external"]]:
        row["name"] = f"{text} {row['slug']}"
        if row["report"] is None:
            row["reported"]["source"] = text
            row["audit"] = {"code": "consistent", "text": text, "because": text}
            continue
        row |= {"summary": text, "authors": [text, text], "licence": text, "command": text}
        row |= {"paper": f"javascript:{text}", "code": f"javascript:{text}", "external": [text]}
        row |= {"trained_on": text if row["trained_on"] else ""}
        row |= {"compute": {text: text}, "claimed": {text: 0.5}, "flags": [text], "tracks": [text]}
        row["report"]["warnings"] = [text]
    changed["refused"] = [{"slug": text, "reason": text}]
    event = {"date": "2026-01-01", "action": "added", "slug": text, "predictions_sha256": ""}
    changed["ledger"] = [event | {"reason": text}]
    return changed
