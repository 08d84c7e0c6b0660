"""The models of a run, and what is known about their probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from ictmri.classes import CLASSES
from ictmri.errors import InputError, validation_problems
from ictmri.hub.cache import PINNED, fetch_model, is_model_name
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.states import facts_in, json_mapping, needed
from ictmri_baselines.diagnoser.checkpoint import MODEL, Description, read_description
from ictmri_baselines.diagnoser.settings import DiagnoserSettings, read_settings
from ictmri_baselines.localizer.detectors import DetectorSettings, detector_settings
from ictmri_baselines.methods import FINISHED, RUN
from ictmri_baselines.processor import PRESETS, ProcessorSettings
from ictmri_baselines.registry import DEFAULT_DETECTOR, METHODS, OFFLINE, recipe_ids
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_benchmark.score.protocol import REPORT_SCHEMA

SCORES: Final = "scores.json"
"""What a published model has of its run's report."""
SCORES_SCHEMA: Final = "ictmri/model-scores/1"
_REPORTS: Final = {"report.json": REPORT_SCHEMA, SCORES: SCORES_SCHEMA}
_PLACE: Final = ("seed", "fold", "member")


@dataclass(frozen=True, slots=True)
class Model:
    """One trained network, not loaded yet.

    Attributes:
        path: its ``model.safetensors``.
        name: which seed, fold and member it is; free of paths.
        description: what the file says about itself.
        settings: of its training.
        own: see :func:`~ictmri_baselines.diagnoser.checkpoint.load_model`.
    """

    path: Path
    name: str
    description: Description
    settings: DiagnoserSettings
    own: str | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """All models of a run; each has a say of equal weight.

    Attributes:
        folder: of the run, where its other files lie.
        each: at least one.
        report: the run's out-of-fold report; None where there is none.
        incomplete: what is missing of the run; empty where nothing is, or where models are no run.
    """

    folder: Path
    each: tuple[Model, ...]
    report: Mapping[str, Any] | None
    incomplete: str = ""

    @property
    def synthetic(self) -> bool | None:
        """Whether any of them learned from images made by a program; None where that is not said."""
        stated = [model.description.origin.get("synthetic") for model in self.each]
        if self.report is not None:
            stated.append(self.report["benchmark"]["synthetic"])
        known = [bool(value) for value in stated if value is not None]
        return any(known) if known else None

    @property
    def cohort(self) -> str:
        """Name of the cohort that they learned from, empty where it is not said."""
        if self.report is not None:
            return str(self.report["benchmark"]["cohort"])
        return str(self.each[0].description.origin.get("cohort", ""))

    @property
    def processing(self) -> ProcessorSettings:
        """How the brains that they learned from were processed, as far as it is said.

        Raises:
            InputError: it is said in no way that can be used.
        """
        origin = self.each[0].description.origin
        given = origin.get("processing")
        if isinstance(given, Mapping):
            return self._stated(given)
        if given is None and origin.get("recipe") in recipe_ids():
            given = load_recipe(origin["recipe"]).processing_for(origin.get("profile", "cpu"))
        if given is not None and given not in PRESETS:
            raise self._not_usable([f"{given!r} is none of {', '.join(PRESETS)}"])
        return PRESETS[given or "light"]

    @property
    def localizer(self) -> DetectorSettings:
        """The detector of the priors that they learned from, if it needs nothing; else the default."""
        named = self._stated_detector[0]
        return detector_settings(named if named in OFFLINE else DEFAULT_DETECTOR)

    @property
    def other_localizer(self) -> str:
        """How the priors that they learned from were made otherwise, empty where they were not."""
        named, version = self._stated_detector
        used = self.localizer
        if not named or all(model.settings.network.localisation == "none" for model in self.each):
            return ""
        weights = self.each[0].description.origin.get("detector_weights_sha256")
        same_weights = weights in (None, used.facts().get("weights_sha256"))
        if named == used.name and version in (None, used.version) and same_weights:
            return ""
        other = " with other weights" if named == used.name and not same_weights else ""
        theirs = f"{named} {version or ''}".strip() + other
        return (
            f"the models learned from priors of {theirs}, these are of {used.name} {used.version}"
        )

    @property
    def _stated_detector(self) -> tuple[str, str | None]:
        origin = self.each[0].description.origin
        return origin.get("detector") or "", origin.get("detector_version")

    def _stated(self, given: Mapping[str, Any]) -> ProcessorSettings:
        # Not hd_bet_2_weights: a file from elsewhere chooses no other file to load.
        names = [
            name for name, field in ProcessorSettings.model_fields.items() if not field.exclude
        ]
        try:
            return ProcessorSettings.model_validate(
                {key: given[key] for key in names if key in given}
            )
        except ValidationError as error:
            raise self._not_usable(validation_problems(error)) from None

    def _not_usable(self, problems: list[str]) -> InputError:
        lines = [f"origin.processing: {problem}" for problem in problems]
        return InputError(str(self.each[0].path), lines, "choose with --settings")

    def calibration(self) -> dict[str, Any]:
        """Return what is known about the probabilities, as it stands in the JSON.

        ``temperature``: ``fitted``, ``not fitted`` or ``mixed``; ``out_of_fold``: the run's own scores
        beside those of the class frequencies alone; ``base_rates``: the cohort's classes. The last two
        are None where the run has no report.
        """
        fitted = {model.settings.selection.temperature for model in self.each}
        words = {True: "fitted", False: "not fitted"}
        return {
            "temperature": "mixed" if len(fitted) > 1 else words[fitted.pop()],
            "temperatures": [model.description.temperature for model in self.each],
            "out_of_fold": None if self.report is None else _scores(self.report),
            "base_rates": None if self.report is None else _base_rates(self.report),
        }


def open_models(run: AnyPath, own: str | None = None) -> Models:
    """Find the models of a run without loading their weights.

    Args:
        run: folder that ``ictmri reproduce`` wrote, a folder with one model, a model file, or
            ``ORG/NAME@COMMIT`` on the Hub.
        own: see :func:`~ictmri_baselines.diagnoser.checkpoint.load_model`.

    Raises:
        InputError: there is no such run, it kept no models, or one of them cannot be read.
        HubError: it lies on the Hub and cannot be fetched.
    """
    run = _place_of(run)
    paths = _model_files(run)
    each, problems = [], []
    for place, path in enumerate(paths, start=1):
        try:
            description = read_description(path)
            settings = read_settings(description.settings)
        except InputError as error:
            problems += [f"{path.relative_to(run.parent)}: {text}" for text in error.problems]
            continue
        each.append(Model(path, _name(description, place), description, settings, own))
    if problems:
        step = "make the run again: ictmri reproduce"
        raise InputError(str(run), problems, step)
    folder = run if run.is_dir() else run.parent
    return Models(folder, tuple(each), _report(run), _incomplete(run))


def _place_of(run: AnyPath) -> Path:
    """Return where models lie; those on the Hub are fetched."""
    place = at_home(run)
    if place.exists() or not is_model_name(str(run)):
        return place
    return fetch_model(str(run))


def _model_files(run: Path) -> list[Path]:
    if run.is_file():
        return [run]
    if not run.exists():
        step = f"give a run of ictmri reproduce, a model.safetensors, or {PINNED} on the Hub"
        raise InputError(str(run), ["there is no such folder or file"], step)
    folders = sorted(run.glob("folds/seed*-fold*/")) or [run]
    found = [path for folder in folders for path in _members(folder)]
    if not found:
        raise InputError(str(run), [_why_none(run)], _which_save_models())
    return found


def _members(folder: Path) -> list[Path]:
    paths = [folder / MODEL, *sorted(folder.glob(f"member-*/{MODEL}"))]
    return [path for path in paths if path.is_file()]


def _incomplete(run: Path) -> str:
    if not (run / RUN).is_file():
        return ""
    if not (run / FINISHED).is_file():
        return "the run that the models are of did not end"
    tasks = needed(run / FINISHED, facts_in, "make the run again: ictmri reproduce")["tasks"]
    there = sum(bool(_members(run / "folds" / Path(task).stem)) for task in tasks)
    return (
        "" if there == len(tasks) else f"models of {there} of its {len(tasks)} trainings are here"
    )


def _why_none(run: Path) -> str:
    if (run / RUN).is_file():
        made = needed(run / RUN, json_mapping, "make the run again: ictmri reproduce")
        return f"this run of {made.get('recipe', 'its recipe')} kept no models"
    return "this folder is no run of ictmri reproduce: it holds neither run.json nor a model"


def _which_save_models() -> str:
    keeping = {name for name, method in METHODS.items() if method.keeps_models}
    able = [name for name in recipe_ids() if load_recipe(name).method in keeping]
    shown = f" ({', '.join(able)})" if able else ""
    return f"run a recipe of the Adaptive-Diagnoser, which keeps its models{shown}"


def _name(description: Description, place: int) -> str:
    origin = description.origin
    parts = [f"{key} {int(origin[key])}" for key in _PLACE if key in origin]
    return ", ".join(parts) or f"model {place}"


def _report(run: Path) -> Mapping[str, Any] | None:
    path = next((run / name for name in _REPORTS if (run / name).is_file()), None)
    if path is None:
        return None
    schema = _REPORTS[path.name]
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = content["schema"] == schema and bool(_scores(content))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        known = False
    if not known:
        raise InputError(str(path), [f"is no {schema}"], "make it again: ictmri evaluate")
    return content


def _base_rates(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    counts = {name: int(report["per_class"][name]["support"]) for name in CLASSES}
    total = sum(counts.values())
    return {name: {"cases": count, "share": count / total} for name, count in counts.items()}


def _scores(report: Mapping[str, Any]) -> dict[str, Any]:
    shares = np.array([rate["share"] for rate in _base_rates(report).values()])
    seen = shares[shares > 0]
    given = report["probabilistic"] or {}
    return {
        "cohort": report["benchmark"]["cohort"],
        "synthetic": report["benchmark"]["synthetic"],
        "n_cases": report["n_cases"],
        "macro_f1": report["pooled"]["macro_f1"],
        "accuracy": report["pooled"]["accuracy"],
        **{name: given.get(name) for name in ("log_loss", "brier", "calibration_error")},
        "class_frequencies_alone": {
            "log_loss": float(-(seen * np.log(seen)).sum()),
            "brier": float(1 - (shares**2).sum()),
        },
    }
