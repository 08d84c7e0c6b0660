"""All finished runs of a folder as one table: what the paper reports beside what was reproduced.

``results.json`` holds every number; ``README.md`` is drawn from it. Both can be made of published entries
as well as of runs: an entry carries what only the run knew.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json, sha256_file, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.states import facts_in, needed
from ictmri.pages.templating import document
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.registry import OFFLINE, recipe_ids
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_benchmark.board.comparison import holm
from ictmri_benchmark.board.entry import Entry, load_entry, write_entry
from ictmri_benchmark.board.folders import entry_folders, is_run
from ictmri_benchmark.board.leaderboard import build_leaderboard, reported_rows
from ictmri_benchmark.board.ranking import PAIR_COLUMNS
from ictmri_benchmark.board.submission import submit

SCHEMA: Final = "ictmri/results/1"
PLANNED: Final = (
    ("table2/5", "table2/1"),
    ("table2/2", "table2/1"),
    ("table2/3", "table2/2"),
    ("table2/4", "table2/2"),
    ("table2/5", "table2/3"),
    ("table2/5", "table2/4"),
)
"""What the paper's section on ablations compares; decided before any run, corrected for their number."""
VIEWS: Final = (
    ("ablation/brain-2mm", "ablation/brain-4mm"),
    ("ablation/middle-2mm", "ablation/brain-2mm"),
    ("ablation/prior-2mm", "ablation/middle-2mm"),
    ("ablation/prior-shown-2mm", "ablation/prior-2mm"),
)
"""Resolution, field of view, place, prior: what rows 1 and 2 to 5 differ in at once, one at a time."""
LOCALIZERS: Final = (
    ("controls/radiomics", "localizer/saliency-radiomics"),
    ("beyond/radiomics-ensemble", "localizer/saliency-radiomics-ensemble"),
    ("light/virtual-biopsy", "localizer/saliency-virtual-biopsy"),
)
"""The same method in the priors of the default detector, and in those of one that learned from nothing."""
_MINUTES: Final = "minutes of one core"
_OF_THE_RUN: Final = (_MINUTES, "machine", "date")
"""What the entry of a run says of how it was made; two runs that differ in nothing else are the same."""
_ANEW: Final = "made anew"
_TEMPLATE: Final = Path(__file__).parent / "templates" / "README.md.j2"


def hand_in(run: AnyPath, cohort: FoldTable, entries: AnyPath, *, synthetic: bool) -> Path:
    """Make a finished run an entry, or correct the one that an earlier run made; return its folder.

    Args:
        run: folder that ``ictmri reproduce`` wrote.
        cohort: that it was made for.
        entries: folder of the entries.
        synthetic: marks the report of a phantom.

    Raises:
        InputError: it is not finished, or no valid submission.
    """
    run, entries = at_home(run), at_home(entries)
    made = load_entry(run / "entry.yaml")
    facts = {
        _MINUTES: _minutes(run, made.compute),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    # Code, environment and command are public: that of a recipe that ships.
    described = made.model_copy(update={"compute": made.compute | facts, "level": "R2"})
    there, predictions = entries / made.slug, run / "predictions.csv"
    if there.is_dir() and _same(there, described, predictions):
        return there
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.yaml"
        write_entry(path, described)
        why = _ANEW if there.is_dir() else ""
        done = submit(predictions, path, cohort, entries, synthetic=synthetic, correcting=why)
    return done.folder


def _same(there: Path, described: Entry, predictions: Path) -> bool:
    """Say whether an entry is of the same predictions, made in the same way, maybe elsewhere."""
    known = load_entry(there / "entry.yaml")
    one, other = ({**e.compute, **dict.fromkeys(_OF_THE_RUN, "")} for e in (known, described))
    alike = known.model_copy(update={"compute": {}}) == described.model_copy(update={"compute": {}})
    same = sha256_file(there / "predictions.csv") == sha256_file(predictions)
    return alike and one == other and same


def collect(runs: AnyPath, cohort: FoldTable, *, synthetic: bool) -> dict[str, Any]:
    """Return the content of results.json: every finished run below a folder, rescored.

    Args:
        runs: a folder of folders that ``ictmri reproduce`` wrote, or of entries that were made of them.
        cohort: that they were made for.
        synthetic: marks the results of a phantom.

    Raises:
        InputError: there is none, runs of several profiles lie beside each other, or a report is not
            what its predictions give.
    """
    runs = at_home(runs)
    board = build_leaderboard(runs, cohort, synthetic=synthetic)
    found = {row["slug"]: row for row in board["entries"] if row["ranked"]}
    known = {load_recipe(name).slug: name for name in recipe_ids()}
    places = {load_entry(path / "entry.yaml").slug: path for path in entry_folders(runs)}
    rows = [
        _row(places[slug], row, known[slug])
        for slug, row in found.items()
        if slug in known and (is_run(places[slug]) or _MINUTES in row["compute"])
    ]
    profiles = sorted({row["profile"] for row in rows})
    if len(profiles) != 1:
        problem = f"runs of the profiles {', '.join(profiles)}" if profiles else "no finished run"
        raise InputError(str(runs), [problem], "give a folder with runs of one profile")
    order = recipe_ids()
    return {
        "schema": SCHEMA,
        "cohort": cohort.name,
        "synthetic": synthetic,
        "n_cases": len(cohort.rows),
        "profile": profiles[0],
        "digests": board["digests"],
        "runs": sorted(rows, key=lambda row: order.index(row["recipe"])),
        "planned": _planned(board["comparison"]["pairs"], PLANNED),
        "views": _planned(board["comparison"]["pairs"], VIEWS),
        "localizers": _planned(board["comparison"]["pairs"], LOCALIZERS),
    }


def write_results(folder: AnyPath, results: dict[str, Any]) -> None:
    """Write ``results.json`` and ``README.md`` into a folder; equal results give equal bytes."""
    folder = at_home(folder)
    write_text(folder / "results.json", canonical_json(results) + "\n")
    write_text(folder / "README.md", render(results))


def render(results: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    runs = {row["recipe"]: row for row in results["runs"]}
    earlier = {name for name, row in runs.items() if is_of_earlier_recipe(row)}
    recipes = [one for one in map(load_recipe, recipe_ids()) if not one.yours]
    reported = {row["slug"]: row for row in reported_rows()}
    groups = {
        "Table 2: ablation": [r for r in recipes if r.id.startswith("table2/")],
        "Between rows 1 and 2: one thing at a time": [
            load_recipe(name) for name in (VIEWS[0][1], *(better for better, _ in VIEWS))
        ],
        "Table 3: backbones": [r for r in recipes if r.id.startswith(("table3/", "convnext3d"))],
    }
    localizers = [load_recipe(name) for _, name in LOCALIZERS]
    grouped = [localizers, *groups.values()]
    others = [r for r in recipes if all(r not in group for group in grouped)]
    return document(_TEMPLATE).render(
        results=results,
        views=results.get("views", []),
        localizers=localizers,
        between_localizers=results.get("localizers", []),
        runs=runs,
        earlier=earlier,
        reported=reported,
        groups=groups,
        others=others,
    )


def is_of_earlier_recipe(run: Mapping[str, Any]) -> bool:
    """Whether a row of ``runs`` was made with another version of its recipe or localizer than is here."""
    recipe = load_recipe(run["recipe"])
    if run["recipe_sha256"] != recipe.digest(run["profile"]):
        return True
    name, _, version = run.get("localizer", "").partition(" ")
    known = detector_settings(name).version if name in OFFLINE else version
    return recipe.inputs.prior and (not name or version != known)


def _row(folder: Path, row: dict[str, Any], recipe: str) -> dict[str, Any]:
    report, compute = row["report"], row["compute"]
    return {
        "recipe": recipe,
        "name": row["name"],
        "profile": compute["profile"],
        "recipe_sha256": compute["recipe_sha256"],
        "data_sha256": compute["data_sha256"],
        "localizer": compute.get("localizer", ""),
        "predictions_sha256": report["digests"]["predictions"],
        "command": row["command"],
        "selection": row["selection"],
        "seeds": report["seeds"],
        "pooled": report["pooled"],
        "seed_sd": report["seed_sd"],
        "fold_mean": report["fold_mean"],
        "cpu_minutes": _minutes(folder, compute),
    }


def _minutes(folder: Path, compute: Mapping[str, Any]) -> float:
    """Return the processor time of a run, or of the one that an entry was made of."""
    if not is_run(folder):
        return float(compute[_MINUTES])
    again = f"run ictmri reproduce again with --out {folder}"
    logs = [needed(path, facts_in, again) for path in sorted((folder / "folds").glob("*.json"))]
    return float(round(sum(log.get("cpu_seconds", 0.0) for log in logs) / 60, 1))


def _planned(
    pairs: Iterable[list[Any]], planned: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return the planned comparisons that both sides of were run, with Holm's correction over them."""
    by_slugs = {tuple(pair[:2]): dict(zip(PAIR_COLUMNS, pair, strict=True)) for pair in pairs}
    found = []
    for better, other in planned:
        slugs = (load_recipe(better).slug, load_recipe(other).slug)
        pair, sign = by_slugs.get((slugs[1], slugs[0])), 1
        if pair is None:
            pair, sign = by_slugs.get(slugs), -1
        if pair is None:
            continue
        low, high = sorted((sign * pair["low"], sign * pair["high"]))
        found.append(
            {
                "recipe": better,
                "against": other,
                "difference": sign * pair["difference"],
                "low": low,
                "high": high,
                "p": pair["p"],
                "mcnemar_p": pair["mcnemar_p"],
            }
        )
    adjusted = holm([row["p"] for row in found])
    return [{**row, "p_holm": p} for row, p in zip(found, adjusted, strict=True)]
