"""The documents of a release besides its card and its Croissant file."""

from __future__ import annotations

from pathlib import Path

from ictmri.documents.checklists import checklists
from ictmri.documents.datasheet import render_datasheet
from ictmri.documents.facts import Facts
from ictmri.documents.facts_from_data import informed
from ictmri.documents.hub_eval import render_eval
from ictmri.manifest import Manifest


def release_documents(root: Path, manifest: Manifest, facts: Facts) -> dict[str, str]:
    """Return datasheet, checklists and ``eval.yaml`` of a cohort folder: relative path -> text.

    Args:
        root: the folder, whose data and folds are there already.
        manifest: its manifest.
        facts: what is known about it; what the data tell is added here.
    """
    told = informed(facts, root, manifest)
    return {
        "datasheet.md": render_datasheet(root, manifest, told),
        "eval.yaml": render_eval(manifest),
        **checklists(manifest, told),
    }
