"""Where the name of a cohort leads: a folder, the user's cache, the Hub, or the phantom's generator."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ictmri.cohort import (
    CLINICAL,
    PHANTOM,
    PHANTOM_DATA,
    Cohort,
    Person,
    open_cohort,
    published_digest,
    with_groups,
)
from ictmri.errors import AccessError, InputError, nearest
from ictmri.extras import need
from ictmri.folds import FoldTable, read_folds
from ictmri.hub.cache import fetch_release, is_repository, kept_release
from ictmri.hub.errors import HubError
from ictmri.io.resources import AnyPath, at_home, find_cache, shipped, user_cache

HUB_REPOSITORY: Final = "ictmri/ictmri"
"""Where the clinical cohort is looked for on the Hugging Face Hub; ``$ICTMRI_HUB_REPO`` overrides it."""
GATED_SOURCE: Final = "https://huggingface.co/datasets/Shirelle12/DeepSite-MRI"

NO_ACCESS: Final = """\
The clinical cohort 'ictmri' is not on this machine and cannot be fetched from the Hub ({reason}).
  - The volumes are gated: ask for access at {source}, then log in (hf auth login).
  - To go on from here: {next_step}.
  - A copy of your own: put it at $ICTMRI_HOME/ictmri, or give its folder instead of the name.
  - To try the software without patients: the synthetic phantom, "ictmri-phantom"."""


def find_cohort(name: AnyPath, *, token: str | None = None, revision: str | None = None) -> Cohort:
    """Find a cohort: explicit path, ``$ICTMRI_HOME``, the user cache, then the Hub.

    The phantom is generated into the user cache when it is asked for the first time.

    Args:
        name: dataset name, cohort folder, or ``ORG/NAME``, a repository on the Hub.
        token: Hugging Face token; the one of ``hf auth login`` or ``$HF_TOKEN`` where None.
        revision: release on the Hub: tag, branch or commit. With it the Hub is asked, and what it
            answers fetched unless it is here; without it the newest, as it stood when first fetched.

    Raises:
        AccessError: the cohort is not here and cannot be fetched.
        InputError: no cohort has this name, or this one has no revisions.
        MissingDependencyError: the phantom is not made yet, and what makes it is not installed.
    """
    local = local_cohort(name) if revision is None else None
    if local is not None:
        return local
    repository = _repository(name)
    if repository is not None:
        return _fetched(name, repository, token, revision)
    if revision is not None:
        raise InputError(
            f"revision {revision!r}", [f"{name} is not on the Hub"], "leave the revision out"
        )
    if str(name) == PHANTOM:
        need("phantom", "Making the volumes of the synthetic phantom")
        from ictmri.build.phantom import build_phantom, cost_text

        place = user_cache() / PHANTOM
        sys.stderr.write(
            f"{PHANTOM} is not on this machine yet: it is made now, once, in {place}: {cost_text()}.\n"
        )
        return build_phantom(place)
    if at_home(name).is_dir():
        return open_cohort(name)
    known = [CLINICAL, PHANTOM]
    raise InputError(
        str(name),
        [f"no folder and no cohort of this name{nearest(str(name), known)}"],
        f"give a folder that `ictmri build` wrote, ORG/NAME on the Hub, or one of {', '.join(known)}",
    )


def local_cohort(name: AnyPath) -> Cohort | None:
    """Return the cohort if it is on this machine already, else None."""
    for place in (at_home(name), *(home / name for home in _homes())):
        if (place / "manifest.json").is_file():
            return open_cohort(place)
    repository = _repository(name)
    kept = kept_release(repository) if repository else None
    return _of_this_name(open_cohort(kept), name, repository) if kept else None


def cohorts_nearby() -> Iterator[Cohort]:
    """Yield the cohorts that lie where cohorts do: the working directory, ``out`` in it, the caches."""
    seen = set()
    places = [*_homes(), Path(), Path("out")]
    for root in sorted(path.parent for place in places for path in place.glob("*/manifest.json")):
        if root.resolve() not in seen and not root.name.startswith("."):
            seen.add(root.resolve())
            with suppress(InputError):  # any program may call a file manifest.json
                yield open_cohort(root)


def _homes() -> list[Path]:
    """Return the folders in which cohorts lie by their names."""
    home, cache = os.environ.get("ICTMRI_HOME"), find_cache()
    return ([at_home(home)] if home else []) + ([cache] if cache else [])


def find_folds(name: AnyPath) -> tuple[FoldTable, bool]:
    """Return a cohort's fold table and whether it is synthetic, without touching its volumes.

    Raises:
        InputError: no cohort has this name, or its table was edited.
    """
    local = local_cohort(name)
    if local is not None:
        return local.scored_folds(), local.synthetic
    digest = published_digest(str(name))
    if digest is None:
        cohort = find_cohort(name)
        return cohort.scored_folds(), cohort.synthetic
    path = shipped("splits") / f"{name}.csv"
    table = read_folds(path, str(name), expected_sha256=digest)
    return (_of_phantom(table), True) if str(name) == PHANTOM else (table, False)


def _of_phantom(table: FoldTable) -> FoldTable:
    """Return the phantom's folds with what else is known of it without its volumes."""
    table = replace(table, data_sha256=list(PHANTOM_DATA.values())[-1])
    return with_groups(table, phantom_people())


def phantom_people() -> dict[str, Person]:
    """Return who is in the published phantom; none of its volumes is made."""
    from ictmri.phantom.roster import roster

    return {case.case_id: Person(case.sex, case.age, case.subtype) for case in roster()}


def _repository(name: AnyPath) -> str | None:
    """Return the repository on the Hub that a name stands for, None for what is not there."""
    if str(name) == CLINICAL:
        return os.environ.get("ICTMRI_HUB_REPO", HUB_REPOSITORY)
    return str(name) if is_repository(name) and not Path(name).exists() else None


def _fetched(name: AnyPath, repository: str, token: str | None, revision: str | None) -> Cohort:
    try:
        root = fetch_release(repository, token=token, revision=revision)
    except HubError as error:
        if str(name) != CLINICAL:
            step = f"{error.next_step}; if a folder is meant, there is none at {name}"
            raise HubError(repository, error.reason, step, unreachable=error.unreachable) from error
        text = NO_ACCESS.format(
            reason=f"{repository}: {error.reason}", next_step=error.next_step, source=GATED_SOURCE
        )
        raise AccessError(text) from error
    return _of_this_name(open_cohort(root), name, repository)


def _of_this_name(cohort: Cohort, name: AnyPath, repository: str | None) -> Cohort:
    if str(name) == CLINICAL and cohort.name != CLINICAL:
        raise InputError(
            f"repository {repository} ($ICTMRI_HUB_REPO)",
            [f"it holds the cohort {cohort.name!r}, not {CLINICAL!r}"],
            f"load_dataset({repository!r}) loads it under its own name",
        )
    return cohort
