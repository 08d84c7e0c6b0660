"""An entry's scores as a record of Every Eval Ever, the interchange format of evaluations.

The record holds the headline metrics with their intervals, and no case: labels stay with the cohort.
Schema: https://github.com/evaleval/every_eval_ever, version 0.3.0.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any, Final

from ictmri.io.files import canonical_json, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri.version import __version__
from ictmri_benchmark.board.entry import Entry
from ictmri_benchmark.board.submission import Checked
from ictmri_benchmark.outlets.hub_results import how_predicted, pooled_metrics, source_of
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.metrics import Metric
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

SCHEMA_VERSION: Final = "0.3.0"
_ON_THE_HUB: Final = re.compile(r"https://huggingface\.co/([\w.-]+)/([\w.-]+)/?", re.ASCII)
_EVALUATOR: Final[dict[protocol.Level, str]] = {"R3": "third_party", "R4": "third_party"}
"""Who made the predictions, seen from the model's authors; they themselves at the other levels."""


def write_eval_record(out: AnyPath, done: Checked, dataset_id: str, revision: str = "") -> Path:
    """Write ``out/data/COHORT/DEVELOPER/MODEL/UUID.json`` and return its path.

    The same predictions have the same name and, but for the time at which it was written, the same content.

    Raises:
        InputError: the dataset id or the revision is none.
    """
    out = at_home(out)
    record = eval_record(done, dataset_id, revision, made=int(time.time()))
    developer, model = record["model_info"]["id"].split("/")
    seed = hashlib.sha256(record["evaluation_id"].encode()).digest()
    name = f"{uuid.UUID(bytes=seed[:16], version=4)}.json"
    path: Path = out / "data" / _portable(done.entry.benchmark.cohort) / developer / model / name
    write_text(path, canonical_json(record))
    return path


def eval_record(done: Checked, dataset_id: str, revision: str, *, made: int) -> dict[str, Any]:
    """Return the record of an entry.

    Args:
        done: the entry, scored again.
        dataset_id: the cohort on the Hub, ORG/NAME.
        revision: of the cohort there; empty where it is not told.
        made: when the record is made, in seconds since 1970.

    Raises:
        InputError: the dataset id or the revision is none.
    """
    source_of(done, dataset_id, revision)
    entry, model = done.entry, _model_id(done.entry)
    cohort = entry.benchmark.cohort
    name = f"{protocol.BENCHMARK}.{cohort}"
    data = _source(done, dataset_id, revision)
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{name}/{model}/{done.predictions.sha256}",
        "retrieved_timestamp": str(made),
        "source_metadata": {
            "source_name": f"{cohort} leaderboard",
            "source_type": "evaluation_run",
            "source_organization_name": "ictmri",
            "evaluator_relationship": _EVALUATOR.get(entry.level, "first_party"),
            "additional_details": {
                "evidence": f"{entry.level}: {protocol.LEVELS[entry.level]}",
                "predictions_sha256": done.predictions.sha256,
            },
        },
        "eval_library": {
            "name": "ictmri",
            "version": __version__,
            "additional_details": {"protocol": f"{protocol.BENCHMARK} {protocol.VERSION}"},
        },
        "model_info": {
            "name": entry.method.name,
            "id": model,
            "developer": entry.method.authors[0],
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                **_details(entry),
            },
        },
        "evaluation_results": [
            {
                "evaluation_result_id": f"{name}.{metric.name}",
                "evaluation_name": name,
                "source_data": data,
                "metric_config": _metric(metric, done),
                "score_details": _score(found, done),
            }
            for metric, found in pooled_metrics(done)
        ],
    }


def _source(done: Checked, dataset_id: str, revision: str) -> dict[str, Any]:
    report = done.report.content
    return {
        "dataset_name": done.entry.benchmark.cohort,
        "source_type": "hf_dataset",
        "hf_repo": dataset_id,
        "samples_number": report["n_cases"],
        "additional_details": {
            "synthetic": str(report["benchmark"]["synthetic"]).lower(),
            **({"revision": revision} if revision else {}),
            "splits_sha256": report["digests"]["splits"],
            "labels_sha256": report["digests"]["labels"],
        },
    }


def _score(found: dict[str, float], done: Checked) -> dict[str, Any]:
    report = done.report.content
    return {
        "score": found["value"],
        "uncertainty": {
            "confidence_interval": {
                "lower": found["low"],
                "upper": found["high"],
                "confidence_level": protocol.CONFIDENCE,
                "method": "percentile bootstrap of patients within their class",
            },
            "num_samples": report["n_cases"],
            "num_bootstrap_samples": report["n_draws"],
        },
    }


def _metric(metric: Metric, done: Checked) -> dict[str, Any]:
    about = "all cases pooled, each predicted by a model that never saw it"
    about = how_predicted(done) if done.entry.is_external else about
    synthetic = done.report.content["benchmark"]["synthetic"]
    # f1_macro and accuracy are ids that records of other boards join on.
    plain = metric.name.removeprefix("macro_")
    return {
        "evaluation_description": f"{SYNTHETIC_WARNING}; {about}" if synthetic else about,
        "metric_id": plain if plain == metric.name else f"{plain}_macro",
        "metric_name": metric.heading,
        "metric_kind": plain,
        "metric_unit": "proportion",
        "lower_is_better": not metric.high_is_good,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": 1.0,
    }


def _details(entry: Entry) -> dict[str, str]:
    """Return what the entry says of its method, as text."""
    method = entry.method
    told = {
        "summary": method.summary,
        "authors": list(method.authors),
        "licence": method.licence,
        "paper": method.paper,
        "code": method.code,
        "selection": entry.selection,
        "tracks": list(entry.tracks),
        "external": list(entry.external),
        "overlap": entry.overlaps,
        "trained_on": entry.trained_on,
        "compute": entry.compute,
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in told.items()
        if value
    }


def _model_id(entry: Entry) -> str:
    """Return ``DEVELOPER/MODEL``: the Hub's where the code lies there, else first author and slug."""
    found = _ON_THE_HUB.fullmatch(entry.method.code)
    developer, model = found.groups() if found else (entry.method.authors[0], entry.slug)
    return f"{_portable(developer)}/{_portable(model)}"


def _portable(text: str) -> str:
    """Return text as one name of a folder on every system, never empty, hidden or reserved."""
    plain = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    reserved = r"(con|prn|aux|nul|data|com\d|lpt\d)(\..*)?"
    return f"{plain}-" if re.fullmatch(reserved, plain) else plain or "unknown"
