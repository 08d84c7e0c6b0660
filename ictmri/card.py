"""The dataset card of a cohort folder, made from its manifest, its folds and the schema."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.cohort import CLINICAL, PHANTOM
from ictmri.folds import FoldTable, read_folds
from ictmri.manifest import Manifest
from ictmri.resources import shipped
from ictmri.schema import COLUMNS, CONFIG_TITLES, Config

PHANTOM_LICENCE: Final = {
    "id": "other",
    "name": "mni-icbm152-notice",
    "link": "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009",
}
PHANTOM_FACTS: Final = (
    ("known", "number of cases, sexes, range, mean and sd of age: the paper's (arXiv:2602.21613)"),
    ("known", "anatomy: warped from the ICBM152 2009c symmetric template with CerebrA labels"),
    ("assumed", "class counts 120/60/40/29: the paper's Table 1 is a picture, its counts unknown"),
    ("assumed", "ages, sexes, sites and looks of each class: after the literature, not after data"),
    ("unknown", "how hard the real cohort is: the difficulty here was chosen"),
)
OWN_FACTS: Final = (
    ("known", "volumes, classes and folds: as the source table gave them"),
    ("unknown", "how the classes were established, consent, scanners, annotators: ask the owner"),
)


def render_card(root: Path, manifest: Manifest) -> str:
    """Return the card's Markdown with its YAML header."""
    import jinja2

    template = jinja2.Template(
        shipped("card.md.j2").read_text(),
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    folds = read_folds(root / "folds.csv", manifest.name)
    return str(template.render(**_context(manifest, folds)))


def _context(manifest: Manifest, folds: FoldTable) -> dict[str, Any]:
    kind = "synthetic phantom" if manifest.synthetic else "cohort"
    known_by_name = manifest.name in (CLINICAL, PHANTOM)
    return {
        "name": manifest.name,
        "title": f"{manifest.name} ({kind})",
        "place": manifest.name if known_by_name else f"path/to/{manifest.name}",
        "synthetic": manifest.synthetic,
        "summary": (
            f"{manifest.n_cases} cases, one T1 contrast-enhanced (T1-CE) volume each, four classes of "
            f"deep intracranial tumours, {manifest.n_folds} fixed folds. Version {manifest.version}."
        ),
        "licence": PHANTOM_LICENCE if manifest.synthetic else {"id": "unknown", "name": ""},
        "size": "n<1K" if manifest.n_cases < 1000 else "1K<n<10K",
        "configs": [_config(manifest, config) for config in COLUMNS if config in manifest.configs],
        "splits": list(manifest.files_of("default")),
        "folds_sha256": manifest.folds_sha256,
        "fold_names": [f"fold {k}" for k in range(manifest.n_folds)],
        "fold_table": _fold_table(folds),
        "classes": CLASSES,
        "facts": PHANTOM_FACTS if manifest.synthetic else OWN_FACTS,
        "generator": json.dumps(manifest.generator | manifest.steps, indent=1),
    }


def _config(manifest: Manifest, config: Config) -> dict[str, Any]:
    return {
        "name": config,
        "title": CONFIG_TITLES[config],
        "files": manifest.files_of(config),
        "columns": COLUMNS[config],
    }


def _fold_table(folds: FoldTable) -> list[dict[str, Any]]:
    counts = Counter((row.label, row.fold) for row in folds.rows)
    return [
        {
            "title": CLASS_TITLES[name],
            "counts": [counts[name, fold] for fold in range(folds.n_folds)],
            "total": sum(counts[name, fold] for fold in range(folds.n_folds)),
        }
        for name in CLASSES
    ]
