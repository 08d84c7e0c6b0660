import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commandline import run

from ictmri.build.folder import build_folder
from ictmri.cli.app import main

IMPORT_SECONDS = 0.4
EVALUATE_SECONDS = 2.0


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    from ictmri.lookup import find_folds

    folds, synthetic = find_folds("ictmri-phantom")
    assert synthetic
    path = tmp_path / "predictions.csv"
    lines = [f"{row.case_id},{row.label}" for row in folds.rows]
    path.write_text("\n".join(["case_id,prediction", *lines]) + "\n")
    return path


def test_evaluating_needs_no_volumes_and_marks_the_phantom(
    predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    done = run("evaluate", predictions, "--cohort", "ictmri-phantom", "--json", out)
    assert "SYNTHETIC" in done.stdout
    report = json.loads(out.read_text())
    assert report["pooled"]["accuracy"]["value"] == 1.0
    assert report["benchmark"]["synthetic"] is True


def work_of_a_process(start: Callable[[], object]) -> float:
    """Return the processor seconds of a process and its own, which do not wait for other programs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_evaluating_249_cases_is_quick(predictions: Path) -> None:
    def evaluated() -> object:
        return run("evaluate", predictions, "--cohort", "ictmri-phantom")

    assert any(work_of_a_process(evaluated) < EVALUATE_SECONDS for _ in range(4))


def test_importing_is_quick() -> None:
    def imported() -> object:
        return subprocess.run([sys.executable, "-c", "import ictmri"], check=True)

    assert any(work_of_a_process(imported) < IMPORT_SECONDS for _ in range(4))


def test_a_users_mistake_is_one_message_on_stderr(predictions: Path) -> None:
    text = predictions.read_text().replace("phantom-0007,", "phantom-007,")
    predictions.write_text(text)
    done = run("evaluate", predictions, "--cohort", "ictmri-phantom", code=1)
    assert "did you mean 'phantom-0007'" in done.stderr
    assert "Next:" in done.stderr
    assert not done.stdout


def test_the_clinical_cohort_without_access(predictions: Path) -> None:
    done = run("evaluate", predictions, code=1)
    assert "gated" in done.stderr


def test_unknown_options_are_usage_errors() -> None:
    run("evaluate", "--nonsense", code=2)
    run("build", "nothing", code=2)


@pytest.mark.parametrize(
    "command",
    [
        ("demo",),
        ("build", "phantom"),
        ("build", "folder"),
        ("build", "clinical"),
        ("verify",),
        ("info",),
        ("export",),
        ("process",),
        ("localize",),
        ("reproduce",),
        ("evaluate",),
        ("audit",),
        ("submit",),
        ("leaderboard",),
    ],
)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["ictmri", *command, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Example: ictmri" in capsys.readouterr().out


def test_build_info_verify_on_own_scans(mini_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "mini"
    built = run("build", "folder", mini_table, "--out", out, "--n-folds", "3")
    assert "15 cases in 3 folds" in built.stdout
    assert "warning: cohort: subtype is unknown in 15 of 15 cases" in built.stderr
    facts = json.loads(run("info", out, "--json").stdout)
    assert facts["synthetic"] is False
    assert facts["classes"]["rare"] == [1, 0, 1] or sum(facts["classes"]["rare"]) == 2
    assert "whole" in run("verify", out).stdout
    (out / "README.md").write_text("edited")
    assert "README.md" in run("verify", out, code=1).stderr


@pytest.mark.long
def test_a_control_reproduced_on_own_scans(mini_table: Path, tmp_path: Path) -> None:
    out, entry = tmp_path / "mini", tmp_path / "entry"
    run("build", "folder", mini_table, "--out", out, "--n-folds", "3")
    run("reproduce", "controls/age-sex", "--cohort", out, "--out", entry, "--seeds", "0,1")
    before = (entry / "predictions.csv").read_bytes()
    run("reproduce", "controls/age-sex", "--cohort", out, "--out", entry, "--seeds", "0,1")
    assert (entry / "predictions.csv").read_bytes() == before
    done = run("evaluate", entry / "predictions.csv", "--cohort", out)
    assert "15 cases" in done.stdout
    wrong = run("reproduce", "controls/majority", "--cohort", out, "--out", entry, code=1)
    assert "holds another run" in wrong.stderr


def test_wrong_folds_and_seeds(mini_table: Path, tmp_path: Path) -> None:
    out = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root
    command = ("reproduce", "controls/majority", "--cohort", out, "--out", tmp_path / "x")
    for arguments, message in (
        (("--folds", "0,9"), "there is no fold 9"),
        (("--folds", "a"), "'a' is not a number"),
        (("--seeds", "-1"), "'-1' is not a number"),
    ):
        assert message in run(*command, *arguments, code=1).stderr


def test_a_cohort_too_small_to_ask_for_leakage(mini_table: Path, tmp_path: Path) -> None:
    text = mini_table.read_text()
    for name in ("pcnsl", "germinoma", "rare"):
        text = text.replace(f",{name},", ",glioma,")
    mini_table.write_text(text)
    build_folder(mini_table, tmp_path / "one", n_folds=3)
    assert "one class" in run("verify", tmp_path / "one", "--leakage", code=1).stderr
