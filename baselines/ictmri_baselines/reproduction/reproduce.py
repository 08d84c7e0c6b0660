"""``ictmri reproduce``: from a recipe and a cohort to an entry, fold by fold, resumable."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.cluster import Cluster
from ictmri.io.csvfile import csv_text
from ictmri.io.files import (
    canonical_json,
    check_writable,
    refuse_links,
    sha256_bytes,
    write_json,
    write_text,
)
from ictmri.io.parallel import run_all
from ictmri.io.resources import AnyPath, at_home, user_cache
from ictmri.io.states import facts_in, json_mapping, kept, read_record, write_record
from ictmri.version import __version__
from ictmri_baselines.cases import load_cases, open_volumes
from ictmri_baselines.localizer.classical.refine import VERSION as REFINEMENT
from ictmri_baselines.localizer.detectors import detector_settings, recorded
from ictmri_baselines.localizer.learned.weights import card
from ictmri_baselines.localizer.replay import MaskReplay
from ictmri_baselines.machine import is_pinned, machine, pins
from ictmri_baselines.methods import (
    FINISHED,
    RUN,
    Workspace,
    class_frequencies,
    device_of,
    find_method,
    parameters_of,
    read_run,
)
from ictmri_baselines.pipeline import Workers, copy_digest, ensure_priors
from ictmri_baselines.processor import ProcessorSettings, preset
from ictmri_baselines.registry import METHODS, recipe_ids
from ictmri_baselines.reproduction.recipe import (
    Profile,
    Recipe,
    leaves,
    load_recipe,
)
from ictmri_benchmark import Report, evaluate
from ictmri_benchmark.board.entry import (
    MAX_TEXT,
    BenchmarkRef,
    Entry,
    InputsUsed,
    MethodInfo,
    write_entry,
)
from ictmri_benchmark.score.protocol import Overlap

_MADE: Final = ("predictions.csv", "report.json", "entry.yaml")
HEADER: Final = ("case_id", "seed", *(f"p_{name}" for name in CLASSES))
_DETECTOR: Final = {
    "detector": "detector",
    "detector_version": "detector_version",
    "detector_weights_sha256": "weights_sha256",
}
"""What a run says of the detector of its priors, by what the cohort's manifest calls it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a recipe.

    Attributes:
        out: its folder: entry.yaml, predictions.csv, report.json, and folds/ with a folder of states,
            logs and the trained model for each fold and seed of a method that trains.
        complete: False where only some folds were asked for; then there is no entry yet.
        report: the report, None where the run is not complete.
        synthetic: whether the cohort is.
    """

    out: Path
    complete: bool
    report: Report | None
    synthetic: bool


@dataclass(frozen=True, slots=True)
class _Task:
    recipe: Recipe
    profile: Profile
    root: Path
    out: Path
    origin: Mapping[str, Any]
    pinned: Mapping[str, str]
    fold: int
    seed: int

    @property
    def path(self) -> Path:
        return self.out / "folds" / f"seed{self.seed}-fold{self.fold}.csv"

    @property
    def record(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def run(self) -> str:
        """Return a digest of all that the fold's predictions follow from but its number and seed."""
        pinned = {"pinned": dict(self.pinned)} if self.pinned else {}
        return sha256_bytes(canonical_json({**self.origin, **pinned}).encode())

    @property
    def done(self) -> bool:
        """Return whether its predictions are there, whole, and made with these settings."""
        facts = read_record(self.record)
        if facts is not None and facts.get("run") == self.run:
            return True
        if facts is not None:
            sys.stderr.write(f"{self.path} is not of this run: this fold is done again\n")
        return False

    @property
    def threads(self) -> int:
        """Return the threads of each of its processes."""
        compute = self.recipe.settings_for(self.profile).get("compute", {})
        return int(compute.get("threads", 1))

    @property
    def settings(self) -> dict[str, Any]:
        """Return what the method is told besides its cases."""
        settings = self.recipe.settings_for(self.profile)
        if not takes_workspace(self.recipe):
            return settings
        place = {"fold": self.fold, "seed": self.seed}
        workspace = Workspace(self.path.with_suffix(""), {**self.origin, **place})
        return {**settings, "workspace": workspace}


def reproduce(
    recipe: Recipe | str,
    cohort: Cohort,
    out: AnyPath,
    *,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    profile: Profile = "cpu",
    jobs: int | None = None,
    scheduler: str | None = None,
) -> Run:
    """Run a recipe on a cohort and write its entry.

    Args:
        recipe: a recipe, its id or its file.
        cohort: the cohort; what the recipe needs of it (processing, priors) is made first.
        out: the run's folder; finished folds in it are kept.
        folds: only these folds; all where None.
        seeds: every case is predicted once for each; the recipe's where None.
        profile: size of the training.
        jobs: worker processes; all usable cores where None, or one where a GPU is used.
        scheduler: address of a Dask scheduler whose workers see the cohort and ``out``; else None.

    Raises:
        InputError: unknown recipe, fold or profile, or ``out`` holds another run.
    """
    out = at_home(out)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if missing := recipe.missing(profile):
        step = f"give them in a recipe file that says extends: {recipe.id}; see docs/training.md"
        raise InputError(f"recipe {recipe.id}", [f"needs your {name}" for name in missing], step)
    table = cohort.scored_folds()
    chosen = chosen_folds(folds, table.n_folds)
    seeds = recipe.seeds if seeds is None else seeds
    check_writable(out)
    _refuse_other(out, _identity(recipe, profile, cohort), recipe, profile)

    def planned(device: str, origin: Mapping[str, Any] | None = None) -> list[_Task]:
        # A cluster's workers start in an environment of their own; an entry says which it was.
        pinned = pins() if (device, profile, scheduler) == ("cpu", "cpu", None) else {}
        origin = origin or _origin(recipe, profile, cohort)
        place = (cohort.root.resolve(), out.resolve(), origin, pinned)
        return [_Task(recipe, profile, *place, fold, seed) for seed in seeds for fold in chosen]

    if (report := _finished(out, planned, partial(_source, recipe, cohort))) is not None:
        return Run(out, complete=True, report=report, synthetic=cohort.synthetic)
    device = device_of(recipe.method, recipe.settings_for(profile))
    if recipe.needs == "priors":
        cohort = _with_volumes(recipe, profile, cohort, Workers(jobs, scheduler))
    tasks = planned(device)
    _claim(out, _identity(recipe, profile, cohort, tasks[0].origin["data_sha256"]), recipe, profile)
    _run_folds(tasks, jobs or (None if device == "cpu" else 1), scheduler)
    if len(chosen) < table.n_folds:
        return Run(out, complete=False, report=None, synthetic=cohort.synthetic)
    report = _finish(tasks, table, cohort)
    names = [task.path.name for task in tasks]
    facts: dict[str, Any] = {"device": device, "run": tasks[0].run, "tasks": names}
    if recipe.detector:
        facts |= {"source": _source(recipe, cohort), "origin": dict(tasks[0].origin)}
    write_record(out / FINISHED, facts, [out / name for name in _MADE])
    return Run(out, complete=True, report=report, synthetic=cohort.synthetic)


def _finished(
    out: Path,
    planned: Callable[[str, Mapping[str, Any] | None], list[_Task]],
    source: Callable[[], str],
) -> Report | None:
    """Return the report of a run that is all there, as it was written; no method is imported for it.

    Args:
        out: the run's folder.
        planned: what is to be done on a device, with volumes of an origin.
        source: digest of what the copy with a named detector's priors is made of: it may be gone by now.
    """
    facts = kept(out / FINISHED, facts_in) if (out / RUN).is_file() else None
    if facts is None:
        return None
    of_copy = "source" in facts and facts["source"] == source()
    tasks = planned(facts["device"], facts["origin"] if of_copy else None)
    same = facts["run"] == tasks[0].run and facts["tasks"] == [task.path.name for task in tasks]
    if not same or not all(task.done for task in tasks) or read_record(out / FINISHED) is None:
        return None
    return Report(json_mapping(out / "report.json"))


def _with_volumes(recipe: Recipe, profile: Profile, cohort: Cohort, workers: Workers) -> Cohort:
    """Return the cohort with priors, its volumes decoded: workers only map them."""
    user_cache()  # asked for before the long work
    settings = preset(recipe.processing_for(profile), synthetic=cohort.synthetic)
    detector = detector_settings(recipe.detector) if recipe.detector else None
    cohort = ensure_priors(cohort, workers, settings=settings, detector=detector)
    open_volumes(cohort, checked=True)
    return cohort


def _origin(recipe: Recipe, profile: Profile, cohort: Cohort) -> dict[str, Any]:
    """Return what a run's predictions follow from but its folds and seeds."""
    data = data_digest(cohort, processed=recipe.needs == "priors")
    identity = _identity(recipe, profile, cohort, data)
    return {**identity, "synthetic": cohort.synthetic, **_made_by(cohort)}


def _source(recipe: Recipe, cohort: Cohort) -> str:
    """Return what tells the recipe's priors from others without making them; empty without a detector."""
    if not recipe.detector or "process" not in cohort.manifest.steps:
        return ""
    return f"{copy_digest(cohort, detector_settings(recipe.detector))}, refinement {REFINEMENT}"


def chosen_folds(folds: Sequence[int] | None, n_folds: int) -> list[int]:
    """Return the folds that were asked for, all where None.

    Raises:
        InputError: there is no such fold.
    """
    chosen = sorted(set(range(n_folds) if folds is None else folds))
    wrong = [fold for fold in chosen if not 0 <= fold < n_folds]
    if wrong:
        raise InputError(
            "--folds", [f"there is no fold {fold}" for fold in wrong], f"0 to {n_folds - 1}"
        )
    return chosen


def _identity(recipe: Recipe, profile: Profile, cohort: Cohort, data: str = "") -> dict[str, str]:
    """Return what must be equal for finished folds to be of use; ``data`` is empty before it is made."""
    detector = recorded(detector_settings(recipe.detector)) if recipe.detector else {}
    return {
        "recipe": recipe.id,
        "recipe_sha256": recipe.digest(profile),
        "profile": profile,
        "cohort": cohort.name,
        "folds_sha256": cohort.manifest.folds_sha256,
        "data_sha256": data,
        "ictmri": __version__,
        **_detector_of(detector),
    }


def _detector_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what tells the priors of one detector from those of another, of what is recorded of it."""
    return {name: settings[key] for name, key in _DETECTOR.items() if key in settings}


def data_digest(cohort: Cohort, *, processed: bool) -> str:
    """Return the digest of what a run looks at: tables, and processed volumes where it needs them."""
    needed = ("default", "processed") if processed else ("default",)
    return sha256_bytes(" ".join(map(cohort.manifest.digest_of, needed)).encode())


def _made_by(cohort: Cohort) -> dict[str, Any]:
    """Return how volumes and priors were made: whoever uses a model must make them alike."""
    steps = cohort.manifest.steps
    processing, localized = (
        steps.get(step, {}).get("settings", {}) for step in ("process", "localize")
    )
    return {
        "processing": {
            key: processing[key] for key in ProcessorSettings.model_fields if key in processing
        },
        **dict.fromkeys(("detector", "detector_version")),
        **_detector_of(localized),
    }


def takes_workspace(recipe: Recipe) -> bool:
    """Whether a recipe's method trains for long: it keeps states, logs and a model in a folder."""
    return "workspace" in inspect.signature(find_method(recipe.method)).parameters


def _claim(out: Path, identity: dict[str, str], recipe: Recipe, profile: Profile) -> None:
    """Say in ``run.json`` whose folder it is, or refuse one that is another run's."""
    if not _refuse_other(out, identity, recipe, profile):
        settings, overruled = recipe.settings_for(profile), recipe.overruled(profile)
        told = {"method": recipe.method, "settings": settings, "overruled": overruled}
        write_json(out / RUN, {**identity, **told})


def _refuse_other(out: Path, identity: dict[str, str], recipe: Recipe, profile: Profile) -> bool:
    """Return whether a folder is this run's already; refuse one that is another's."""
    refuse_links(out)
    path, settings = out / RUN, recipe.settings_for(profile)
    # A run whose run.json is damaged still has its folds.
    is_run = path.is_file() or (out / "folds").is_dir()
    if not is_run and (out / "entry.yaml").exists():
        problem = "holds an entry that was handed in, not a run"
        raise InputError(str(out), [problem], "choose another --out, or move that entry away")
    known = kept(path, read_run)
    if known is None:
        return False
    if "method" not in known:
        # Its digests hold the place of the method's module instead of its name: none can be equal.
        problem = "holds a run of an older ictmri: what it made can be used, but not gone on with"
        raise InputError(str(out), [problem], "choose another --out, or remove that folder first")
    # Of a recipe that names no detector any more, what the run says of one is a change, too.
    identity = {**{key: "none" for key in _DETECTOR if key in known}, **identity}
    changed = [key for key, value in identity.items() if value and known.get(key) != value]
    if changed:
        there, here = (leaves(one) for one in (known.get("settings", {}), settings))
        names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        # What changed in the settings says more than their digest.
        changed = [key for key in changed if key != "recipe_sha256" or not names]
        problems = [f"{key} is {_said(known, key)}, not {identity[key]}" for key in changed]
        problems += [f"{name} is {_said(there, name)}, not {_said(here, name)}" for name in names]
        raise InputError(
            str(out),
            [f"holds another run: {problem}" for problem in problems],
            "choose another --out, or remove that folder first",
        )
    return True


def _said(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "not given"


def _run_folds(tasks: list[_Task], jobs: int | None, scheduler: str | None) -> None:
    """Run the folds that are not done yet."""
    waiting = [task for task in tasks if not task.done]
    if not waiting:
        return
    run_all(
        _run_fold,
        waiting,
        total=len(waiting),
        title=waiting[0].recipe.id,
        unit="fold",
        jobs=jobs,
        scheduler=None if scheduler is None else Cluster(scheduler, waiting[0].out),
        name=lambda task: task.path.stem,
        environment={} if is_pinned() else waiting[0].pinned,
    )


def _run_fold(task: _Task) -> None:
    """Fit on a fold's training cases and write the predictions of its test cases."""
    started = (time.perf_counter(), time.process_time())
    cohort = open_cohort(task.root)
    table = cohort.folds()
    cases = load_cases(cohort, with_volumes=task.recipe.needs == "priors")
    tested = np.array(table.folds) == task.fold
    labels = np.array(table.labels, dtype=np.int64)[~tested]
    if task.recipe.shuffle_labels:
        labels = np.random.default_rng([task.seed, task.fold]).permutation(labels)
    test = cases.subset(tested)
    seen = cases.processed if task.recipe.needs == "priors" else np.ones(len(cases), dtype=bool)
    # What is said of a case that could not be processed.
    probabilities = np.tile(class_frequencies(labels), (len(test), 1))
    probabilities[seen[tested]] = find_method(task.recipe.method)(
        cases.subset(~tested & seen),
        labels[seen[~tested]],
        cases.subset(tested & seen),
        seed=task.seed * 1000 + task.fold,
        **task.settings,
    )
    write_text(task.path, predictions_text(test.case_ids, task.seed, probabilities))
    log = {
        "run": task.run,
        "seconds": round(time.perf_counter() - started[0], 2),
        "cpu_seconds": round(time.process_time() - started[1], 2),
        "machine": machine(task.threads),
        "n_train": int((~tested & seen).sum()),
        "n_test": len(test),
        "n_test_without_volume": int((tested & ~seen).sum()),
    }
    write_record(task.record, log, [task.path])


def predictions_text(case_ids: list[str], seed: int, probabilities: NDArray[np.float64]) -> str:
    """Return predictions (n, 4) as predictions.csv has them: six decimals, each row sums to 1 in them."""
    millionths = np.floor(probabilities * 1e6).astype(np.int64)
    rows = np.arange(len(millionths))
    millionths[rows, probabilities.argmax(axis=1)] += 1_000_000 - millionths.sum(axis=1)
    lines = (
        [case_id, seed, *(f"{cell / 1e6:.6f}" for cell in cells)]
        for case_id, cells in zip(case_ids, millionths, strict=True)
    )
    return csv_text(HEADER, lines)


def _finish(tasks: list[_Task], table: FoldTable, cohort: Cohort) -> Report:
    first = tasks[0]
    rows = [row for task in tasks for row in task.path.read_text(encoding="utf-8").splitlines()[1:]]
    order = {case_id: place for place, case_id in enumerate(table.case_ids)}
    rows.sort(key=lambda row: (int(row.split(",")[1]), order[row.split(",")[0]]))
    predictions = first.out / "predictions.csv"
    write_text(predictions, "\n".join([",".join(HEADER), *rows]) + "\n")
    report = evaluate(predictions, table, synthetic=cohort.synthetic)
    write_text(first.out / "report.json", report.to_json())
    seeds = sorted({task.seed for task in tasks})
    machines = {str(facts_in(task.record).get("machine", "unknown")) for task in tasks}
    write_entry(first.out / "entry.yaml", _entry(first, seeds, cohort, sorted(machines)))
    return report


def _entry(task: _Task, seeds: list[int], cohort: Cohort, machines: list[str]) -> Entry:
    recipe, settings = task.recipe, task.recipe.settings_for(task.profile)
    localized = cohort.manifest.steps.get("localize", {}).get("settings", {})
    told = localized.get("trained_on", "") if recipe.inputs.prior else ""
    learned = [f"localizer trained on {told}"] if told else []
    # Nothing that ships learned from a case of a cohort.
    ships = localized.get("weights_sha256") == card()["sha256"]
    overlap: Overlap | None = "no" if learned and ships and not recipe.external else None
    return Entry(
        slug=recipe.slug,
        benchmark=BenchmarkRef(
            cohort=cohort.name,
            splits_sha256=cohort.manifest.folds_sha256,
            data_sha256=cohort.data_sha256,
        ),
        synthetic=cohort.synthetic,
        method=MethodInfo(
            name=recipe.name,
            summary=recipe.summary,
            authors=("The ictmri developers",),
            licence="Apache-2.0",
            command=_command(task, seeds, cohort),
        ),
        selection=settings.get("selection", {}).get("by", "fixed-epoch"),
        seeds=tuple(seeds),
        ensemble=_ensemble(settings.get("prediction", {})),
        inputs=InputsUsed(
            image=recipe.inputs.image,
            prior=_prior(localized) if recipe.inputs.prior else "none",
            demographics=recipe.inputs.demographics,
        ),
        external=(*recipe.external, *learned),
        overlap=overlap,
        compute=_compute(task, cohort, machines),
    )


def _prior(localized: Mapping[str, Any]) -> Literal["own", "manual-test"]:
    """Return what an entry says of priors: masks that are given may be drawn on tested cases."""
    return "manual-test" if localized.get("detector") == MaskReplay.name else "own"


def _ensemble(prediction: Mapping[str, Any]) -> Literal["none", "models", "test-time augmentation"]:
    if prediction.get("members", 1) > 1:
        return "models"
    return "test-time augmentation" if prediction.get("tta", "none") != "none" else "none"


def _compute(task: _Task, cohort: Cohort, machines: list[str]) -> dict[str, str | int | float]:
    """Return where and with what it was made; no times, so that two runs give the same bytes."""
    compute: dict[str, str | int | float] = {
        "device": device_of(task.recipe.method, task.recipe.settings_for(task.profile)),
        "machine": textwrap.shorten("; ".join(machines), MAX_TEXT, placeholder=" ..."),
        "profile": task.profile,
        **{name: task.origin[name] for name in ("recipe_sha256", "data_sha256")},
        **_versions(task.recipe),
    }
    settings = task.recipe.settings_for(task.profile)
    if task.recipe.inputs.prior:
        compute["localizer"] = f"{task.origin['detector']} {task.origin['detector_version']}"
    if (count := parameters_of(task.recipe.method, settings)) is not None:
        compute["parameters"] = count
    if task.recipe.needs == "priors" and cohort.manifest.left_out:
        compute["cases predicted by class frequency"] = len(cohort.manifest.left_out)
    return compute


def _versions(recipe: Recipe) -> dict[str, str]:
    more = METHODS[recipe.method].libraries if recipe.method in METHODS else ()
    libraries = ("numpy", "scikit-learn", *more)
    return {
        "ictmri": __version__,
        **{name: importlib.metadata.version(name) for name in libraries},
    }


def _command(task: _Task, seeds: list[int], cohort: Cohort) -> str:
    recipe = task.recipe
    name = recipe.id if recipe.id in recipe_ids() else f"{recipe.id}.yaml"
    words = ["ictmri reproduce", name, "--cohort", cohort.name]
    words += ["--seeds", ",".join(map(str, seeds))] if seeds != list(recipe.seeds) else []
    words += ["--profile", task.profile] if task.profile != "cpu" else []
    return " ".join([*words, "--out", f"out/{recipe.slug}"])
