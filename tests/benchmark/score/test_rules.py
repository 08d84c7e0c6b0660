"""RULES.md is true: its example is valid, its tests exist, and what no other file tests is tested here."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.made_entries import made_entry

from ictmri.classes import SEXES
from ictmri.cohort import published_digest
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.yamlfile import read_yaml
from ictmri_benchmark.board.entry import Entry, InputsUsed, json_schema, load_entry, write_entry
from ictmri_benchmark.score import intervals, protocol
from ictmri_benchmark.score.metrics import METRICS
from ictmri_benchmark.score.report import subgroup_report

BENCHMARK = Path(__file__).parents[3] / "benchmark"
RULES = (BENCHMARK / "RULES.md").read_text()


def rows() -> list[list[str]]:
    table = RULES.split("## Choices, and why")[1].split("## ")[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_choice_names_a_test_that_exists() -> None:
    assert len(rows()) > 30
    for choice, *_, named in rows():
        found = re.fullmatch(r"`(test_\w+)::(test_\w+)`", named)
        assert found, choice
        (path,) = Path(__file__).parents[2].rglob(f"{found[1]}.py")
        tree = ast.parse(path.read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert found[2] in names, choice


def test_numbers_in_the_rules_are_the_protocols() -> None:
    told = {choice: rule for choice, rule, *_ in rows()}
    assert f"`{protocol.BENCHMARK}` {protocol.VERSION}." in RULES
    assert f"{protocol.N_DRAWS:,} draws" in told["interval"]
    assert f"{protocol.CONFIDENCE:.0%}".replace("%", " %") in told["interval"]
    assert f"above {protocol.MAX_PAIRED_CASES:,} cases" in told["large cohorts"]
    assert f"{protocol.N_PERMUTATIONS:,} flips" in told["difference"]
    assert f"at {100 * protocol.ALPHA:.0f} %" in told["tiers"]
    assert f"within {protocol.SUM_TOLERANCE:.4f}" in told["sum"]
    assert "{} and {} %".format(*protocol.COVERAGES) in told["selective"]
    assert f"fewer than {protocol.SMALLEST_GROUP} cases" in told["subgroups"]
    evidence = RULES.split("## Evidence")[1]
    for level, meaning in protocol.LEVELS.items():
        assert f"{level} {meaning.split(':')[0]}" in evidence


def test_the_example_is_valid_and_the_schema_the_published_one(tmp_path: Path) -> None:
    published = (BENCHMARK / "schema" / "submission-1.json").read_text()
    assert published == json_schema()
    schema = json.loads(published)
    jsonschema.Draft202012Validator.check_schema(schema)
    (example,) = re.findall(r"```yaml\n(.*?)```", RULES, re.DOTALL)
    path = tmp_path / "entry.yaml"
    path.write_text(example)
    content = read_yaml(path, "")
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)
    assert set(content) == set(schema["properties"])  # no field goes without mention
    described = load_entry(path)
    assert described.benchmark.splits_sha256 == published_digest("ictmri-phantom")
    for field, wrong in (("slug", "No Slug"), ("seeds", []), ("selection", "lucky"), ("more", 1)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {field: wrong}, schema, jsonschema.Draft202012Validator)
        path.write_text(json.dumps(content | {field: wrong}))
        with pytest.raises(InputError, match=field):
            load_entry(path)


def test_large_cohorts_are_drawn_by_the_same_law(
    cohort: FoldTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    truth = np.array(cohort.labels)
    labels = np.where(rng.random((2, len(truth))) < 0.7, truth, rng.integers(0, 4, (2, len(truth))))
    by_case = intervals.bootstrap(cohort, [labels], 4000)
    monkeypatch.setattr(intervals, "MAX_PAIRED_CASES", len(truth) - 1)
    by_cell = intervals.bootstrap(cohort, [labels], 4000)
    ends = (2.5, 25, 50, 75, 97.5)
    for name in METRICS:
        one, other = by_case.headline[name], by_cell.headline[name]
        assert not np.array_equal(one, other)
        np.testing.assert_allclose(np.percentile(one, ends), np.percentile(other, ends), atol=0.01)


def test_small_groups_have_a_size_and_no_score(make_cohort: Callable[..., FoldTable]) -> None:
    least = protocol.SMALLEST_GROUP
    table = make_cohort(["glioma", "pcnsl"] * least)
    first, second = SEXES[:2]
    sexes = [first] * least + [second] * (least - 1) + [""]
    found = subgroup_report(replace(table, groups={"sex": sexes}), np.array([table.labels]))
    assert found is not None
    assert found["sex"][second] == {"n": least - 1}
    assert found["sex"][first]["n"] == least
    assert found["sex"][first]["accuracy"]["value"] == 1.0
    assert set(found["sex"]) == {first, second}


def test_overlap_is_unknown_until_it_is_told(cohort: FoldTable, tmp_path: Path) -> None:
    for external, told, shown in (
        ((), None, "no"),
        (("weights",), None, "unknown"),
        (("weights",), "no", "no"),
        (("weights",), "yes", "yes"),
    ):
        described: Entry = made_entry(cohort, "a", external=external, overlap=told)
        write_entry(tmp_path / "entry.yaml", described)
        assert load_entry(tmp_path / "entry.yaml").overlaps == described.overlaps == shown
    plain = (tmp_path / "entry.yaml").read_text().replace("overlap: 'yes'", "overlap: yes")
    (tmp_path / "entry.yaml").write_text(plain)
    assert load_entry(tmp_path / "entry.yaml").overlap == "yes"
    assert "overlap: yes\n" in plain


def test_tracks_say_what_a_method_saw(cohort: FoldTable) -> None:
    def tracks(external: tuple[str, ...] = (), **inputs: object) -> tuple[str, ...]:
        seen = InputsUsed(**({"image": True, "prior": "none", "demographics": False} | inputs))
        described: Entry = made_entry(cohort, "a", inputs=seen, external=external)
        return described.tracks

    assert tracks() == tracks(prior="own") == tracks(prior="official") == ("image only",)
    assert tracks(demographics=True) == ("demographics",)
    assert tracks(prior="manual-test") == ("manual ROI at test",)
    assert tracks(external=("weights",)) == ("external data",)
    assert tracks(image=False, demographics=True) == ("no image", "demographics")
