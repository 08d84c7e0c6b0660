"""An entry's scores in the two formats of the Hugging Face Hub.

``.eval_results/<slug>.yaml`` is what the Hub's own boards read; a model card carries a ``model-index``.
Both are drawn from the report, after the entry was scored again, and both name a phantom as one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ictmri.documents.licences import HUB_NAMES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.files import write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.yamlfile import dump_yaml
from ictmri_benchmark.board.folders import entry_folder
from ictmri_benchmark.board.submission import Checked, check, stored_report
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.metrics import COLUMNS, Metric
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

_PERMISSIVE: Final = frozenset({"mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause"})
_COPYLEFT: Final = frozenset({"gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"})
_ADDRESSES: Final = {"doi:": "https://doi.org/", "arXiv:": "https://arxiv.org/abs/"}
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


def rescore(entries: AnyPath, slug: str, cohort: FoldTable, *, synthetic: bool) -> Checked:
    """Score an entry of a folder again.

    Raises:
        InputError: there is none of this slug, it is not valid, or its report is another one.
    """
    entries = at_home(entries)
    place = entry_folder(entries, slug)
    table, described = (place / name for name in ("predictions.csv", "entry.yaml"))
    done = check(table, described, cohort, synthetic=synthetic, levels=tuple(protocol.LEVELS))
    stored = place / "report.json"
    if stored_report(done.report, stored) == "other":
        problem = ["is not what its predictions give"]
        raise InputError(str(stored), problem, "remove it, or score the entry again")
    return done


def write_eval_results(out: AnyPath, done: Checked, dataset_id: str, revision: str = "") -> Path:
    """Write ``out/.eval_results/<slug>.yaml`` and return its path.

    Raises:
        InputError: the dataset id or the revision is none.
    """
    out = at_home(out)
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    source = source_of(done, dataset_id, revision)
    results = [
        EvalResultEntry(
            dataset_id=dataset_id,
            task_id=metric.name,
            value=value["value"],
            notes=_notes(done, value),
            **source,
        )
        for metric, value in pooled_metrics(done)
    ]
    path = out / ".eval_results" / f"{done.entry.slug}.yaml"
    write_text(path, dump_yaml(eval_result_entries_to_yaml(results)))
    return path


def write_model_card(out: AnyPath, done: Checked, dataset_id: str, revision: str = "") -> Path:
    """Write ``out/README.md``, a model card with a model-index, and return its path.

    Raises:
        InputError: the dataset id or the revision is none, or a README.md is there.
    """
    out = at_home(out)
    from huggingface_hub import EvalResult, ModelCardData

    source = source_of(done, dataset_id, revision)
    path = out / "README.md"
    if path.exists():
        raise InputError(str(path), ["exists"], "choose another folder; copy the header by hand")
    bench = done.report.content["benchmark"]
    kind = " (SYNTHETIC phantom)" if bench["synthetic"] else ""
    results = [
        EvalResult(
            task_type="image-classification",
            task_name=f"biopsy diagnosis, {how_predicted(done)}",
            dataset_type=dataset_id,
            dataset_name=f"{bench['cohort']}{kind}",
            metric_type=metric.plain or metric.name,
            metric_name=metric.title,
            metric_value=value["value"],
            metric_args={"interval_95": [value["low"], value["high"]]},
            **source,
        )
        for metric, value in pooled_metrics(done)
    ]
    licence = done.entry.method.licence
    known = licence.lower() if licence.lower() in _PERMISSIVE | _COPYLEFT | HUB_NAMES else None
    data: Any = ModelCardData(
        license=known or "other",
        license_name=None if known else licence,
        datasets=[dataset_id],
        tags=["ictmri", *(["synthetic"] if bench["synthetic"] else [])],
        model_name=done.entry.method.name,
        eval_results=results,
    )
    write_text(
        path, f"---\n{dump_yaml(data.to_dict())}---\n\n" + "\n".join(_card_text(done)) + "\n"
    )
    return path


def _card_text(done: Checked) -> Iterator[str]:
    content, method = done.report.content, done.entry.method
    bench = content["benchmark"]
    yield f"# {_plain(method.name)}\n"
    yield f"{_plain(method.summary)}\n"
    if bench["synthetic"]:
        yield f"> SYNTHETIC: {SYNTHETIC_WARNING}\n"
    yield "| metric | value | 95 % interval |\n|---|---|---|"
    for metric, value in pooled_metrics(done):
        interval = f"{value['low']:.4f} to {value['high']:.4f}"
        yield f"| {metric.title} | {value['value']:.4f} | {interval} |"
    yield f"\n{_notes(done)}. Research use only."


def pooled_metrics(done: Checked) -> list[tuple[Metric, dict[str, float]]]:
    """Return the headline metrics in the order of the board, with value and interval."""
    pooled = done.report.content["pooled"]
    return [(metric, pooled[metric.name]) for metric in COLUMNS]


def how_predicted(done: Checked) -> str:
    """Say what predictions these are, in words that stand before "of 249 cases"."""
    if not done.entry.is_external:
        return "pooled out-of-fold predictions"
    entry = done.entry
    return f"external predictions (trained on {entry.trained_on}, overlap {entry.overlaps})"


def _notes(done: Checked, value: dict[str, float] | None = None) -> str:
    content, level = done.report.content, done.entry.level
    bench = content["benchmark"]
    said = [SYNTHETIC_WARNING] if bench["synthetic"] else []
    said.append(f"{how_predicted(done)} of {content['n_cases']} cases of {bench['cohort']}")
    if value is not None:
        said.append(f"95 % interval {value['low']:.4f} to {value['high']:.4f}")
    if done.entry.selection == "test-fold":
        said.append("chosen on the test folds, not ranked")
    said.append(f"protocol {bench['name']} {bench['version']}")
    said.append(f"evidence {level}: {protocol.LEVELS[level]}")
    said.append(f"predictions sha256 {content['digests']['predictions']}")
    return "; ".join(said)


def source_of(done: Checked, dataset_id: str, revision: str) -> dict[str, Any]:
    """Return where data and method are, as the Hub's formats name it.

    Raises:
        InputError: the dataset id or the revision is none.
    """
    from ictmri.hub.cache import is_repository

    if not is_repository(dataset_id):
        step = "give the dataset's repository on the Hub"
        raise InputError("--dataset-id", [f"{dataset_id[:100]!r} is not ORG/NAME"], step)
    if revision and not _REVISION.fullmatch(revision):
        step = "give a tag, a branch or a commit"
        raise InputError("--revision", [f"{revision[:100]!r} is no revision"], step)
    url = done.entry.method.code or done.entry.method.paper
    for short, long in _ADDRESSES.items():
        if url.startswith(short):
            url = long + url.removeprefix(short).strip()
    return {
        "dataset_revision": revision or None,
        "source_url": url or None,
        "source_name": done.entry.method.name if url else None,
    }


def _plain(text: str) -> str:
    """Return text for Markdown that is neither markup nor HTML."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~:@-])", r"\\\1", escaped)
