"""``ictmri demo``: the whole benchmark on the phantom, from nothing to a leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.build.phantom import DEFAULT_SPACING, build_phantom, phantom_name
from ictmri.cohort import Cohort
from ictmri.folds import DEFAULT_N_FOLDS
from ictmri.loader import warm_cache
from ictmri.phantom import DEFAULT_SEED, N_CASES
from ictmri_baselines.pipeline import Workers, localize_cohort, process_cohort
from ictmri_baselines.processor import PRESETS
from ictmri_baselines.reproduction.recipe import Profile, load_recipe
from ictmri_baselines.reproduction.reproduce import reproduce

RECIPES: Final = (
    "controls/majority",
    "controls/stratified-random",
    "controls/age-sex",
    "controls/location-size",
    "controls/shuffled-labels",
    "controls/radiomics",
    "light/virtual-biopsy",
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made."""

    cohort: Cohort
    leaderboard: dict[str, Any]
    page: Path


def run_demo(
    out: Path,
    *,
    n_cases: int = N_CASES,
    spacing: float = DEFAULT_SPACING,
    profile: Profile = "cpu",
    jobs: int | None = None,
) -> Demo:
    """Build the phantom, process and localize it, run every recipe, render the leaderboard.

    Each step keeps what it finished, so that an interrupted demo goes on and a second one is quick.
    """
    from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard

    name = phantom_name(DEFAULT_SEED, n_cases, DEFAULT_N_FOLDS)
    cohort = build_phantom(out / name, n_cases=n_cases, spacing=spacing, jobs=jobs)
    warm_cache(cohort)
    workers = Workers(jobs)
    cohort = process_cohort(cohort, PRESETS["light"], workers=workers)
    cohort = localize_cohort(cohort, workers=workers)
    for recipe_id in RECIPES:
        recipe = load_recipe(recipe_id)
        reproduce(recipe, cohort, out / "entries" / recipe.slug, profile=profile, jobs=jobs)
    board = build_leaderboard(out / "entries", cohort.scored_folds(), synthetic=True)
    write_leaderboard(out, board)
    return Demo(cohort, board, out / "leaderboard.html")
