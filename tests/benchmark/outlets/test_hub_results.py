"""Exports for the Hugging Face Hub, read back by its own library, hold what the report holds."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import MethodInfo
from ictmri_benchmark.board.submission import Checked, submit
from ictmri_benchmark.outlets.hub_results import rescore, write_eval_results, write_model_card

METRICS = ("macro_f1", "accuracy", "macro_recall", "macro_precision")


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


@pytest.fixture
def scored(small: FoldTable, tmp_path: Path) -> Callable[..., Checked]:
    """Submits an entry and scores it again."""

    def make(*, synthetic: bool = True, **changes: object) -> Checked:
        entry = made_entry(small, "mine", synthetic=synthetic, **changes)
        files = hand_in(tmp_path / "in", small, entry, probabilities(small, 0.4))
        submit(*files, small, tmp_path / "entries", synthetic=synthetic)
        return rescore(tmp_path / "entries", "mine", small, synthetic=synthetic)

    return make


def test_eval_results_are_the_reports(scored: Callable[..., Checked], tmp_path: Path) -> None:
    method = MethodInfo(
        name="Mine: #1", summary="S.", authors=("A",), licence="MIT", code="https://example.org/a"
    )
    done = scored(method=method)
    path = write_eval_results(tmp_path / "out", done, "org/ictmri-phantom", "v1.0.0")
    assert path == tmp_path / "out" / ".eval_results" / "mine.yaml"
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    pooled = done.report.content["pooled"]
    assert {e.task_id: e.value for e in entries} == {n: pooled[n]["value"] for n in METRICS}
    for entry in entries:
        assert (entry.dataset_id, entry.dataset_revision) == ("org/ictmri-phantom", "v1.0.0")
        assert (entry.source_url, entry.source_name) == ("https://example.org/a", "Mine: #1")
        assert "say nothing about patients" in entry.notes
        assert f"95 % interval {pooled[entry.task_id]['low']:.4f} to" in entry.notes
        assert done.predictions.sha256 in entry.notes
    again = write_eval_results(tmp_path / "again", done, "org/ictmri-phantom", "v1.0.0")
    assert again.read_bytes() == path.read_bytes()


def test_the_model_card_is_the_reports(scored: Callable[..., Checked], tmp_path: Path) -> None:
    method = MethodInfo(
        name='"Mine" | <b>',
        summary="---\n# Not [a](b) heading",
        authors=("A",),
        licence="Own terms",
    )
    done = scored(method=method)
    path = write_model_card(tmp_path / "out", done, "org/ictmri-phantom", "v1.0.0")
    card = ModelCard.load(path)
    pooled = done.report.content["pooled"]
    assert card.data.model_name == '"Mine" | <b>'
    assert (card.data.license, card.data.license_name) == ("other", "Own terms")
    assert card.data.tags == ["ictmri", "synthetic"]
    results = card.data.eval_results
    assert [r.metric_type for r in results] == ["f1", "accuracy", "recall", "precision"]
    for name, result in zip(METRICS, results, strict=True):
        assert result.metric_value == pooled[name]["value"]
        assert result.metric_args["interval_95"] == [pooled[name]["low"], pooled[name]["high"]]
        assert result.dataset_type == "org/ictmri-phantom"
        assert result.dataset_revision == "v1.0.0"
        assert result.dataset_name == "mini (SYNTHETIC phantom)"
        assert f"| {pooled[name]['value']:.4f} | {pooled[name]['low']:.4f} to" in card.text
    assert "> SYNTHETIC: " in card.text
    assert "<b>" not in card.text
    assert "\\# Not \\[a\\]" in card.text
    with pytest.raises(InputError, match="exists"):
        write_model_card(tmp_path / "out", done, "org/ictmri-phantom")


def test_patients_are_not_called_synthetic(scored: Callable[..., Checked], tmp_path: Path) -> None:
    done = scored(synthetic=False, selection="test-fold")
    card = write_model_card(tmp_path / "out", done, "org/ictmri").read_text()
    results = write_eval_results(tmp_path / "out", done, "org/ictmri").read_text()
    assert "ynthetic" not in (card + results).replace("SYNTHETIC", "synthetic")
    assert "license: mit" in card
    assert "not ranked" in results
    assert "not ranked" in card


@pytest.mark.parametrize(
    ("code", "paper", "url"),
    [
        ("", "doi:10.1/x", "https://doi.org/10.1/x"),
        ("", "arXiv:2401.00001", "https://arxiv.org/abs/2401.00001"),
        ("https://a.b/c", "doi:10.1/x", "https://a.b/c"),
        ("", "", None),
    ],
)
def test_the_source_is_an_address(
    code: str, paper: str, url: str | None, scored: Callable[..., Checked], tmp_path: Path
) -> None:
    method = MethodInfo(
        name="M", summary="S.", authors=("A",), licence="MIT", code=code, paper=paper
    )
    path = write_eval_results(tmp_path, scored(method=method), "org/ictmri")
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert {e.source_url for e in entries} == {url}


def test_only_what_was_scored_again_is_exported(
    scored: Callable[..., Checked], small: FoldTable, tmp_path: Path
) -> None:
    done = scored()
    entries = tmp_path / "entries"
    report = entries / "mine" / "report.json"
    report.write_text(report.read_text().replace('"n_cases": 12', '"n_cases": 13'))
    with pytest.raises(InputError, match="is not what its predictions give"):
        rescore(entries, "mine", small, synthetic=True)
    for slug in ("", "..", "../entries/mine", "theirs"):
        with pytest.raises(InputError, match="no entry"):
            rescore(entries, slug, small, synthetic=True)
    for name, revision in (
        ("ictmri", ""),
        ("a/b/c", ""),
        ("a/../b", ""),
        ("a/b", "-x"),
        ("a/b", "x y"),
    ):
        with pytest.raises(InputError, match=r"--dataset-id|--revision"):
            write_eval_results(tmp_path / "out", done, name, revision)
    assert not (tmp_path / "out").exists()


def test_the_command_exports_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ictmri.cli.app import main

    cohort, _ = find_folds("ictmri-phantom")
    files = hand_in(tmp_path / "in", cohort, made_entry(cohort, "mine"), probabilities(cohort, 0.4))
    submit(*files, cohort, tmp_path / "entries", synthetic=True)
    for kind, name in (
        ("eval-results", ".eval_results/mine.yaml"),
        ("model-card", "README.md"),
        ("every-eval-ever", "data/ictmri-phantom/a/mine/*.json"),
    ):
        command = ["entry", "export", "mine", "--to", kind, "--out", str(tmp_path / "out")]
        command += ["--entries", str(tmp_path / "entries"), "--cohort", "ictmri-phantom"]
        monkeypatch.setattr(sys, "argv", ["ictmri", *command])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        assert "SYNTHETIC" in capsys.readouterr().out
        (written,) = (tmp_path / "out").glob(name)
        assert "ictmri/ictmri-phantom" in written.read_text()
