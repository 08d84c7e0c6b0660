"""The documents of a release besides its card and its Croissant file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from ictmri.classes import N_CLASSES_WORD
from ictmri.documents.checklists import checklists
from ictmri.documents.datasheet import render_datasheet
from ictmri.documents.facts import Facts
from ictmri.documents.facts_from_data import facts_from_data
from ictmri.manifest import Manifest

FRAMEWORK: Final = "ictmri"
"""Not yet on the Hub's list; until it is, the Hub keeps the file and shows no board."""
TASKS: Final = ("macro_f1", "macro_recall", "macro_precision", "accuracy")
"""Headline metrics of the benchmark, its rank key first; each is one board with one number."""


def release_documents(root: Path, manifest: Manifest, facts: Facts) -> dict[str, str]:
    """Return datasheet, checklists and ``eval.yaml`` of a cohort folder: relative path -> text.

    Args:
        root: the folder, whose data and folds are there already.
        manifest: its manifest.
        facts: what is known about it; what the data tell is added here.
    """
    told = facts_from_data(facts, root, manifest)
    return {
        "datasheet.md": render_datasheet(root, manifest, told),
        "eval.yaml": render_eval(manifest),
        **checklists(manifest, told),
    }


def render_eval(manifest: Manifest) -> str:
    """Return ``eval.yaml``: what the Hugging Face Hub reads to show a dataset as a benchmark.

    The Hub shows one number a task and lists only frameworks that it knows, so this file announces the
    benchmark; its leaderboard is the authority. Format: https://huggingface.co/docs/hub/eval-results.
    """
    splits = "+".join(manifest.files_of("default"))
    synthetic = "SYNTHETIC, no result says anything about patients. " if manifest.synthetic else ""
    content = {
        "name": manifest.name,
        "description": (
            f"{synthetic}Diagnosis of deep intracranial tumours on T1-CE MRI, {N_CLASSES_WORD} classes: "
            f"pooled out-of-fold predictions of {manifest.n_cases} cases in {manifest.n_folds} fixed "
            "folds, rescored by ictmri evaluate. Rank key: macro_f1."
        ),
        "evaluation_framework": FRAMEWORK,
        "tasks": [{"id": task, "config": "default", "split": splits} for task in TASKS],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=108)
