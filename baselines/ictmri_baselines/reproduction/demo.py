"""``ictmri demo``: the whole benchmark on the phantom, from nothing to a leaderboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the demo.

    Attributes:
        title: what it does.
        seconds: for 249 cases on two quiet cores, profile ``cpu``, so that somebody who waits knows about
            how long; timed once, before localisation became quicker, and nothing else depends on it.
    """

    title: str
    seconds: int


STAGES: Final = {
    "phantom": Stage("draw the synthetic heads", 95),
    "process": Stage("find the brains, bring them into template space", 195),
    "localize": Stage("find the tumours", 350),
    "methods": Stage(f"train and score {len(RECIPES)} methods", 110),
    "board": Stage("rank them", 5),
}


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
        share: of the work of :data:`STAGES`, which are timed at full size on two cores.
    """
    order = list(STAGES)

    def begin(key: str) -> None:
        place = order.index(key)
        left = share * sum(STAGES[later].seconds for later in order[place:])
        time = f"{left / 60:.0f} min" if left >= 60 else "less than a minute"
        say(f"[{place + 1}/{len(order)}] {STAGES[key].title} (all in all about {time} left)")

    return begin
