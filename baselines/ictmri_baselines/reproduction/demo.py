"""``ictmri demo``: the whole benchmark on the phantom, from nothing to a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ictmri.build.phantom import DEFAULT_SPACING, build_phantom, phantom_name
from ictmri.cohort import Cohort
from ictmri.folds import DEFAULT_N_FOLDS
from ictmri.io.parallel import usable_cores
from ictmri.io.resources import AnyPath, at_home
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


STAGES: Final = {
    "phantom": "draw the synthetic heads",
    "process": "find the brains, bring them into template space",
    "localize": "find the tumours",
    "methods": f"train and score {len(RECIPES)} methods",
    "board": "rank them",
}
TIMES: Final = Path(__file__).parent / "demo_times.json"
"""Measured by ``perf/demo.py``: seconds of each stage, 249 cases, two quiet cores, profile ``cpu``."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made."""

    cohort: Cohort
    leaderboard: dict[str, Any]
    page: Path


def run_demo(
    out: AnyPath,
    *,
    n_cases: int = N_CASES,
    spacing: float = DEFAULT_SPACING,
    profile: Profile = "cpu",
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Demo:
    """Build the phantom, process and localize it, run every recipe, render the leaderboard.

    Each step keeps what it finished, so that an interrupted demo goes on and a second one is quick.

    Args:
        out: folder for all of it.
        n_cases: heads of the phantom.
        spacing: of their voxels, in mm.
        profile: size of the training.
        jobs: worker processes; all usable cores where None.
        say: told each stage as it begins, and how long all that is left takes.
    """
    out = at_home(out)
    from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard

    name = phantom_name(DEFAULT_SEED, n_cases, DEFAULT_N_FOLDS)
    share = n_cases / N_CASES * 2 / (jobs or usable_cores())
    begin = announced(say, share)
    workers = Workers(jobs)
    begin("phantom")
    cohort = build_phantom(out / name, n_cases=n_cases, spacing=spacing, jobs=jobs)
    warm_cache(cohort)
    begin("process")
    cohort = process_cohort(cohort, PRESETS["light"], workers=workers)
    begin("localize")
    cohort = localize_cohort(cohort, workers=workers)
    begin("methods")
    for recipe_id in RECIPES:
        recipe = load_recipe(recipe_id)
        reproduce(recipe, cohort, out / "entries" / recipe.slug, profile=profile, jobs=jobs)
    begin("board")
    board = build_leaderboard(out / "entries", cohort.scored_folds(), synthetic=True)
    write_leaderboard(out, board)
    return Demo(cohort, board, out / "leaderboard.html")


def announced(say: Callable[[str], None], share: float) -> Callable[[str], None]:
    """Return what says that a stage begins.

    Args:
        say: prints a line.
        share: of the work that was timed, see :data:`TIMES`.
    """
    order, seconds = list(STAGES), json.loads(TIMES.read_text(encoding="utf-8"))["seconds"]

    def begin(key: str) -> None:
        place = order.index(key)
        left = share * sum(seconds[later] for later in order[place:])
        time = f"all in all about {left / 60:.0f} min" if left >= 60 else "less than a minute"
        say(f"[{place + 1}/{len(order)}] {STAGES[key]} ({time} left)")

    return begin


def stage_seconds(begun: list[float], share: float) -> dict[str, int]:
    """Return the seconds of each stage for :data:`TIMES`.

    Args:
        begun: when each stage began, and the end of the last.
        share: of two cores that were there; with four, 2.
    """
    lasted = (round(share * (end - start)) for start, end in pairwise(begun))
    return dict(zip(STAGES, lasted, strict=True))
