"""A record of Every Eval Ever is valid by its own schema and holds what the report holds."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri_benchmark.board.submission import Checked, check
from ictmri_benchmark.outlets.every_eval_ever import eval_record, write_eval_record

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "data" / "every_eval_ever" / "eval.schema.json").read_text()
)
PLACE = re.compile(
    r"data/mini/[a-z0-9.-]+/[a-z0-9.-]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    r"\.json"
)


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


@pytest.fixture
def scored(small: FoldTable, tmp_path: Path) -> Callable[..., Checked]:
    def make(*, synthetic: bool = True, **changes: object) -> Checked:
        entry = made_entry(small, "mine", synthetic=synthetic, **changes)
        files = hand_in(tmp_path / "in", small, entry, probabilities(small, 0.4))
        return check(*files, small, synthetic=synthetic, levels=("R1", "R3"))

    return make


def test_the_record_is_valid_and_the_reports(
    scored: Callable[..., Checked], small: FoldTable, tmp_path: Path
) -> None:
    done = scored(compute={"gpu": "none", "hours": 1.5}, external=("weights",))
    path = write_eval_record(tmp_path / "out", done, "org/mini", "v1.0.0")
    assert PLACE.fullmatch(path.relative_to(tmp_path / "out").as_posix())
    record = json.loads(path.read_text())
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(record)
    pooled = done.report.content["pooled"]
    names = {
        "f1_macro": "macro_f1",
        "accuracy": "accuracy",
        "recall_macro": "macro_recall",
        "precision_macro": "macro_precision",
    }
    assert [r["metric_config"]["metric_id"] for r in record["evaluation_results"]] == [*names]
    for result in record["evaluation_results"]:
        found, config = result["score_details"], result["metric_config"]
        ends = found["uncertainty"]["confidence_interval"]
        value = {"value": found["score"], "low": ends["lower"], "high": ends["upper"]}
        assert value == pooled[names[config["metric_id"]]]
        assert config["min_score"] <= found["score"] <= config["max_score"]
        assert math.isfinite(found["score"])
        assert "say nothing about patients" in config["evaluation_description"]
        assert result["source_data"]["additional_details"]["synthetic"] == "true"
        assert result["source_data"]["hf_repo"] == "org/mini"
    about = record["model_info"]["additional_details"]
    assert json.loads(about["compute"]) == {"gpu": "none", "hours": 1.5}
    assert about["overlap"] == "unknown"
    assert done.predictions.sha256 in record["evaluation_id"]
    assert not any(case_id in path.read_text() for case_id in small.case_ids)


def test_the_same_predictions_have_the_same_name(
    scored: Callable[..., Checked], tmp_path: Path
) -> None:
    done = scored()
    first, again = (write_eval_record(tmp_path / n, done, "org/mini") for n in ("a", "b"))
    assert first.relative_to(tmp_path / "a") == again.relative_to(tmp_path / "b")
    records = [eval_record(done, "org/mini", "", made=7) for _ in range(2)]
    assert records[0] == records[1]
    assert records[0]["retrieved_timestamp"] == "7"


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"code": "https://huggingface.co/Clinic/Net-1.0"}, "clinic/net-1.0"),
        ({"code": "https://example.org/x"}, "a/mine"),
        ({"authors": ("../../Zoë & Søn",)}, "zo-s-n/mine"),
        ({"authors": ("漢",)}, "unknown/mine"),
        ({"authors": ("AUX",)}, "aux-/mine"),
    ],
)
def test_a_model_has_a_name_that_is_a_folder(
    changes: dict[str, object], model: str, scored: Callable[..., Checked]
) -> None:
    record = eval_record(scored(**changes), "org/mini", "", made=0)
    assert record["model_info"]["id"] == model


def test_who_evaluated_and_what_is_no_dataset(scored: Callable[..., Checked]) -> None:
    for level, relation in (("R1", "first_party"), ("R3", "third_party")):
        done = scored(level=level, synthetic=False)
        record = eval_record(done, "org/mini", "", made=0)
        assert record["source_metadata"]["evaluator_relationship"] == relation
        assert "synthetic" not in json.dumps(record).replace('"synthetic": "false"', "").lower()
    with pytest.raises(InputError, match="--dataset-id"):
        eval_record(done, "nowhere", "", made=0)
