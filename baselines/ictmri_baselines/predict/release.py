"""``ictmri publish-model``: what leaves the machine of a run, and what of it stays.

Weights and settings go out as they are. All else is written anew from checked values: nothing that speaks
of one patient is copied, whatever a run's files hold.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.cohort import published_digest
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.io.csvfile import read_csv
from ictmri.io.files import (
    canonical_json,
    is_free,
    new_folder,
    sha256_bytes,
    sha256_file,
    write_json,
    write_text,
)
from ictmri.io.lock import beside
from ictmri.pages.templating import document
from ictmri.release.make_release import Order
from ictmri.release.publish import access_words, repo_id_problems
from ictmri.version import __version__
from ictmri_baselines.diagnoser.checkpoint import CARD as MODEL_CARD
from ictmri_baselines.diagnoser.checkpoint import (
    LIBRARIES,
    Description,
    ModelOrigin,
    load_model,
    save_model,
)
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    load_reference,
    save_reference,
)
from ictmri_baselines.methods import read_run
from ictmri_baselines.predict.run import SCORES, SCORES_SCHEMA, Model, Models, open_models
from ictmri_baselines.registry import DETECTORS, recipe_ids
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.metrics import COLUMNS, METRICS, RANK_KEY
from ictmri_benchmark.score.mistakes import HEADERS

CARD: Final = "README.md"
_TEMPLATE: Final = Path(__file__).parent / "templates" / "model_card.md.j2"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.+-]{0,30}")
_SHORT_VERSION: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
"""Of a detector; a date is longer."""
_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")
_OPEN: Final = "apache-2.0"
_OWN_RECIPE: Final = "a recipe of one's own"
_SHORTEST: Final = 4
"""Shorter ids stand in any text by chance."""
_HEADER: Final = 8
_STEP: Final = "nothing was written and nothing was sent"


@dataclass(frozen=True, slots=True)
class ModelRelease:
    """A release of a run's models that is ready.

    Attributes:
        root: its folder, beside the run.
        models: the run's.
        synthetic: no patient was learned from.
        hunted: ids of cases that were looked for in it.
        left: what stays behind, and why.
    """

    root: Path
    models: Models
    synthetic: bool
    hunted: int
    left: Sequence[str]

    @property
    def files(self) -> list[str]:
        """Paths of all its files."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.root).as_posix() for path in found)


def release_path(run: Path) -> Path:
    """Return where the release of a run is made: beside it."""
    return beside(run, "model")


def make_model_release(run: Path, repo_id: str, licence: str | None = None) -> ModelRelease:
    """Write what would be published of a complete run, and look for ids of its cases in every file.

    Args:
        run: folder of ``ictmri reproduce``, with a report.
        repo_id: ``ORG/NAME`` where it would go; the card names it.
        licence: of the weights, as the Hub calls it; Apache-2.0 for a phantom's where None.

    Raises:
        InputError: it may not be published; every reason is named.
    """
    models = open_models(run)
    report = _checked_run(run, models)
    synthetic = _is_synthetic(models, report)
    problems = repo_id_problems(repo_id) + _licence_problems(licence, synthetic=synthetic)
    problems += _name_problems(models)
    if problems:
        raise InputError(str(run), problems, _STEP)
    place = release_path(run)
    if not is_free(place):
        _refuse_foreign(place)
        shutil.rmtree(place)
    ids = _case_ids(run)
    with new_folder(place) as part:
        for model in models.each:
            folder = part / model.path.parent.relative_to(run)
            _write_model(folder, model, models, synthetic=synthetic)
        scores = _scores(report, synthetic=synthetic)
        if scores is not None:
            write_json(part / SCORES, scores)
        card = _card(part, models, report, repo_id, licence or _OPEN, synthetic=synthetic)
        write_text(part / CARD, card)
        _refuse_ids(part, ids)
    return ModelRelease(place, models, synthetic, len(ids), _left(scores, synthetic=synthetic))


def plan_lines(release: ModelRelease, order: Order) -> Iterator[str]:
    """Yield what would be published, line by line, for the owner to read."""
    kind = "SYNTHETIC, no patient was learned from" if release.synthetic else "trained on patients"
    yield f"{release.models.cohort}: {len(release.models.each)} models ({kind})"
    yield f"  release    {release.root}"
    yield f"  to         https://huggingface.co/{order.repo_id}"
    yield f"  access     {access_words(order)}"
    sizes = {name: (release.root / name).stat().st_size for name in release.files}
    yield f"  files      {len(sizes)}, {sum(sizes.values()) / 1e6:.1f} MB"
    yield from (f"             {size:>12,}  {name}" for name, size in sizes.items())
    yield from (f"  stays      {text}" for text in release.left)
    yield f"  hunted     {release.hunted} ids of cases, none found in any file"


def _refuse_foreign(place: Path) -> None:
    """Refuse a folder that holds anything but an earlier release."""
    known = (CARD, SCORES, MODEL_CARD)
    files = [path for path in place.rglob("*") if not path.is_dir()] if place.is_dir() else [place]
    if any(path.name not in known and path.suffix != ".safetensors" for path in files):
        raise InputError(str(place), ["is taken by something else"], "move it away")


def _checked_run(run: Path, models: Models) -> Mapping[str, Any]:
    """Return a run's report; it must be complete, and of these predictions."""
    step = "give the folder of a whole run of ictmri reproduce"
    if models.report is None or models.report["schema"] != protocol.REPORT_SCHEMA:
        raise InputError(str(run), ["it has no report.json: its models have no scores"], step)
    try:
        read_run(run / "run.json")
        predicted = sha256_file(run / "predictions.csv")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(run), [f"is no whole run: {error}"], step) from None
    if models.report["digests"]["predictions"] != predicted:
        problem = "report.json is not of predictions.csv"
        raise InputError(str(run), [problem], "make the run again: ictmri reproduce")
    return models.report


def _is_synthetic(models: Models, report: Mapping[str, Any]) -> bool:
    """Whether everything says so; else patients were learned from."""
    said = [model.description.origin.get("synthetic") for model in models.each]
    return all(one is True for one in [*said, report["benchmark"]["synthetic"]])


def _licence_problems(licence: str | None, *, synthetic: bool) -> list[str]:
    if licence is None:
        return [] if synthetic else ["--licence is yours to choose, e.g. cc-by-nc-4.0"]
    named = _LICENCE.fullmatch(licence)
    return [] if named else [f"--licence {licence!r} is no id of the Hub's, e.g. cc-by-nc-4.0"]


def _name_problems(models: Models) -> list[str]:
    problems = []
    if not _NAME.fullmatch(models.cohort):
        problems.append(f"its cohort is called {models.cohort!r}: no name that can be published")
    own = sorted({m.settings.network.backbone for m in models.each if m.settings.network.is_own})
    problems += [f"its network {name} is code of your own, which no model brings" for name in own]
    return problems


def _write_model(folder: Path, model: Model, models: Models, *, synthetic: bool) -> None:
    network, description = load_model(model.path)
    save_model(folder, network, _released(description, network, models, synthetic=synthetic))
    if synthetic and (model.path.parent / REFERENCE).is_file():
        save_reference(folder, load_reference(model.path.parent, network.backbone.channels))


def _recipe(origin: Mapping[str, Any]) -> str:
    named = str(origin.get("recipe", ""))
    return named if named in recipe_ids() else _OWN_RECIPE


def _released(
    description: Description, network: AdaptiveDiagnoser, models: Models, *, synthetic: bool
) -> Description:
    """Return what a published model says about itself: known names, numbers and digests."""
    given: Mapping[str, Any] = description.origin
    published = published_digest(models.cohort)
    public = synthetic or (published is not None and published == given.get("folds_sha256"))
    numbers = ("fold", "seed", "member", "profile")
    origin: dict[str, Any] = {key: given[key] for key in numbers if key in given}
    origin |= {"synthetic": synthetic, "cohort": models.cohort, "recipe": _recipe(given)}
    origin["processing"] = models.processing.model_dump(mode="json")
    # A digest of who was in which fold tells whether a guess of it is right.
    digests = ["recipe_sha256", *(("folds_sha256", "data_sha256") if public else ())]
    if given.get("detector") in DETECTORS:
        digests.append("detector_weights_sha256")
    origin |= {key: given[key] for key in digests if _DIGEST.fullmatch(given.get(key, ""))}
    if _VERSION.fullmatch(given.get("ictmri", "")):
        origin["ictmri"] = given["ictmri"]
    if given.get("detector") in DETECTORS:
        origin["detector"] = given["detector"]
        if _SHORT_VERSION.fullmatch(given.get("detector_version") or ""):
            origin["detector_version"] = given["detector_version"]
    libraries = {
        name: value
        for name, value in description.versions.items()
        if name in ("ictmri", *LIBRARIES) and _VERSION.fullmatch(value)
    }
    made = replace(description, origin=cast("ModelOrigin", origin), versions=libraries)
    return made if public else replace(made, identity=_digest_of(made, network))


def _digest_of(description: Description, network: AdaptiveDiagnoser) -> str:
    weights = (
        value.cpu().contiguous().numpy().tobytes() for value in network.state_dict().values()
    )
    known = {"settings": description.settings, "weights": [sha256_bytes(one) for one in weights]}
    return sha256_bytes(canonical_json(known).encode())


def _supports(report: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(report["per_class"][name]["support"]) for name in CLASSES}


def _small(report: Mapping[str, Any]) -> bool:
    return any(0 < count < K for count in _supports(report).values())


def _scores(report: Mapping[str, Any], *, synthetic: bool) -> dict[str, Any] | None:
    """Return the part of a report that tells nothing about a case; None where classes are too small."""
    if not synthetic and _small(report):
        return None
    given = report["probabilistic"]
    numbers: dict[str, Any] | None = None
    if given is not None:
        numbers = {key: float(given[key]) for key in ("log_loss", "brier")}
        errors = given["calibration_error"]
        numbers["calibration_error"] = {key: float(errors[key]) for key in (*CLASSES, "macro")}
    return {
        "schema": SCORES_SCHEMA,
        "benchmark": _benchmark(report),
        "n_cases": int(report["n_cases"]),
        "pooled": _table(report["pooled"], ("value", "low", "high")),
        "fold_mean": _table(report["fold_mean"], ("mean", "sd")),
        "per_class": {name: {"support": count} for name, count in _supports(report).items()},
        "probabilistic": numbers,
    }


def _benchmark(report: Mapping[str, Any]) -> dict[str, Any]:
    given = report["benchmark"]
    version = str(given["version"])
    return {
        "name": protocol.BENCHMARK,
        "version": version if _VERSION.fullmatch(version) else protocol.VERSION,
        "cohort": str(given["cohort"]),
        "synthetic": bool(given["synthetic"]),
    }


def _table(given: Mapping[str, Any], keys: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if given[name][key] is None else float(given[name][key]) for key in keys}
        for name in METRICS
    }


def _card(
    root: Path,
    models: Models,
    report: Mapping[str, Any],
    repo_id: str,
    licence: str,
    *,
    synthetic: bool,
) -> str:
    pooled, means = report["pooled"], report["fold_mean"]
    known = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return document(_TEMPLATE).render(
        header=_header(report, repo_id, licence, synthetic=synthetic),
        repo_id=repo_id,
        ictmri=__version__,
        synthetic=synthetic,
        facts=_facts(models, report, synthetic=synthetic),
        cohort=models.cohort,
        n_cases=int(report["n_cases"]),
        n_folds=len({model.description.origin.get("fold") for model in models.each}),
        benchmark=_benchmark(report),
        scores=[
            (
                m.title,
                m.text(pooled[m.name]["value"]),
                m.interval(pooled[m.name]),
                f"{m.text(means[m.name]['mean'])} ± {m.text(means[m.name]['sd'] or 0.0)}",
            )
            for m in COLUMNS
        ],
        by_class={CLASS_TITLES[name]: count for name, count in _supports(report).items()}
        if synthetic or not _small(report)
        else {},
        smallest=K,
        processing=models.processing.model_dump(mode="json"),
        detector=_detector(models),
        localizer=models.localizer.name,
        calibration=_calibration(models),
        unusual=_unusual(synthetic=synthetic),
        files=[(p.relative_to(root).as_posix(), p.stat().st_size, sha256_file(p)) for p in known],
    )


def _header(report: Mapping[str, Any], repo_id: str, licence: str, *, synthetic: bool) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    cohort = str(report["benchmark"]["cohort"])
    shown = f"{cohort} (SYNTHETIC, out of fold)" if synthetic else f"{cohort} (out of fold)"
    result = EvalResult(
        task_type="image-classification",
        dataset_type=cohort,
        dataset_name=shown,
        metric_type="f1",
        metric_name=METRICS[RANK_KEY].title,
        metric_value=float(report["pooled"][RANK_KEY]["value"]),
    )
    tags = ["medical-imaging", "mri", "brain-tumour", "not-a-medical-device"]
    data = ModelCardData(
        license=licence,
        library_name="ictmri",
        pipeline_tag="image-classification",
        tags=[*tags, *(["synthetic"] if synthetic else [])],
        model_name=repo_id.split("/")[1],
        eval_results=[result],
    )
    return data.to_yaml()


def _facts(models: Models, report: Mapping[str, Any], *, synthetic: bool) -> dict[str, str]:
    first = models.each[0]
    network, view, origin = first.settings.network, first.settings.view, first.description.origin
    learned = sorted({model.description.n_train for model in models.each})
    recipe = _recipe(origin)
    kind = "SYNTHETIC: images made by a program" if synthetic else "patients"
    attention = "masked channel attention" if network.attention else "no attention"
    return {
        "Models": f"{len(models.each)}, each of equal weight ({_places(models)})",
        "Network": f"{network.backbone}, {attention}, prior: {network.localisation}",
        "Input": f"{view.of}, {view.edge}^3 voxels of {view.spacing_mm} mm on the MNI152 grid",
        "Trained on": f"{models.cohort}, {kind}",
        "Cases": f"{int(report['n_cases'])} in all; each model learned from {_span(learned)} of them",
        "Recipe": f"{recipe}, profile {origin.get('profile', 'not stated')}",
        "Weights": f"{first.settings.selection.by}, epochs {first.settings.optimisation.epochs}",
    }


def _places(models: Models) -> str:
    origins = [model.description.origin for model in models.each]
    counts = {key: len({o.get(key, 0) for o in origins}) for key in ("fold", "seed", "member")}
    return ", ".join(f"{count} {key}{'s' * (count > 1)}" for key, count in counts.items())


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _detector(models: Models) -> str:
    origin = models.each[0].description.origin
    named, version = origin.get("detector"), origin.get("detector_version") or ""
    if named not in DETECTORS:
        return "not stated"
    told = f"{named} {version}" if _SHORT_VERSION.fullmatch(version) else named
    learned = models.localizer.facts().get("trained_on") if models.localizer.name == named else None
    return f"{told}, trained on {learned}" if learned else told


def _calibration(models: Models) -> str:
    fitted = models.calibration()["temperature"]
    if fitted == "not fitted":
        return "No temperature was fitted: the probabilities tend to be too sure of themselves."
    which = "Each" if fitted == "fitted" else "Some"
    return f"{which} model's probabilities were calibrated by a temperature, on held-back training cases."


def _unusual(*, synthetic: bool) -> str:
    if synthetic:
        return "`ictmri predict` says how unlike the training cases a scan is to the models."
    return (
        "How unlike the training cases a scan is cannot be told: that needs numbers of single training "
        "cases, which stay with their owner."
    )


def _left(scores: Mapping[str, Any] | None, *, synthetic: bool) -> list[str]:
    left = ["predictions, fold tables, run.json, entry.yaml, logs and states of the training"]
    if not synthetic:
        left.append(f"{REFERENCE}: it holds a number for each training case")
    if scores is None:
        left.append(f"{SCORES}: fewer than {K} patients share a class")
    return left


def _case_ids(run: Path) -> list[str]:
    file = read_csv(run / "predictions.csv", HEADERS[0])
    column = file.header.index("case_id")
    ids = {cells[column].lower() for _, cells in file.rows() if len(cells) > column}
    return sorted(name for name in ids if len(name) >= _SHORTEST)


def _refuse_ids(root: Path, ids: Sequence[str]) -> None:
    """Look for ids of cases in names, texts and headers; among weights, words turn up by chance."""
    found = []
    for path in (path for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            content = content[: _HEADER + int.from_bytes(content[:_HEADER], "little")]
        text = f"{path.relative_to(root)}\n".lower().encode() + content.lower()
        found += [f"{path.name} holds {name!r}" for name in ids if name.encode() in text]
    if found:
        raise InputError(str(root), found, "an id of a case would go out; nothing was sent")
