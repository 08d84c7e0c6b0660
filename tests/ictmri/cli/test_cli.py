import csv
import io
import json
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.commandline import run
from typer.main import get_command

from ictmri.build.folder import build_folder
from ictmri.cli.app import application
from ictmri.errors import AccessError, InputError
from ictmri.release.upload import require_login

IMPORT_SECONDS = 0.1
HELP_SECONDS = 0.4
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


def test_importing_and_helping_are_quick() -> None:
    def imported() -> object:
        return subprocess.run([sys.executable, "-c", "import ictmri"], check=True)

    assert any(work_of_a_process(imported) < IMPORT_SECONDS for _ in range(4))
    assert any(work_of_a_process(lambda: run("--help")) < HELP_SECONDS for _ in range(4))


def test_a_users_mistake_is_one_message_on_stderr(predictions: Path) -> None:
    text = predictions.read_text().replace("phantom-0007,", "phantom-007,")
    predictions.write_text(text)
    done = run("evaluate", predictions, "--cohort", "ictmri-phantom", code=1)
    assert "did you mean 'phantom-0007'" in done.stderr
    assert "Next:" in done.stderr
    assert not done.stdout


def test_the_clinical_cohort_without_access(predictions: Path) -> None:
    """The next step is the same command on the phantom, and it works."""
    for words in (("evaluate", predictions), ("compare", predictions, predictions), ("info",)):
        for given in ((), ("ictmri",) if words == ("info",) else ("--cohort", "ictmri")):
            done = run(*words, *given, code=1)
            assert "gated" in done.stderr
            offered = done.stderr.rpartition("Next: ictmri ")[2].partition("\n")[0]
            assert "synthetic" in run(*shlex.split(offered)).stdout.lower()


def test_a_file_that_is_not_there_is_told_before_the_cohort(predictions: Path) -> None:
    done = run("evaluate", predictions.with_suffix(".cvs"), code=1)
    assert "is not there; did you mean 'predictions.csv'?" in done.stderr


def test_unknown_words_are_usage_errors_that_name_the_likely_one() -> None:
    run("evaluate", "--nonsense", code=2)
    for words, meant in (
        (("evaluat",), "'evaluate'"),
        (("build", "foldr"), "'folder'"),
        (("evaluate", "x.csv", "--chort", "y"), "--cohort"),
    ):
        assert meant in run(*words, code=2).stderr


def leaves(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words and the command of every command, those of groups too."""
    for name, command in getattr(group, "commands", {}).items():
        yield from leaves(command, *words, name)
    if not hasattr(group, "commands"):
        yield words, group


def test_every_command_helps_with_an_example_and_json_means_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root = get_command(application())
    found = dict(leaves(root))
    assert len(found) >= 30
    for words, command in found.items():
        root.main([*words, "-h"], prog_name="ictmri", standalone_mode=False)
        assert f"Example: ictmri {' '.join(words)} " in capsys.readouterr().out + " ", words
        for parameter in command.params:
            if "--json" in parameter.opts:
                assert parameter.metavar == "FILE", words
                assert parameter.help.startswith("Write JSON there"), words


@pytest.mark.parametrize("words", [("info", "ictmri-phantom"), ("list",)])
def test_json_goes_to_a_file_or_alone_to_the_terminal(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "found.json"
    shown = run(*words, "--json", path).stdout
    assert shown == run(*words).stdout
    assert run(*words, "--json", "-").stdout == run(*words, "--json").stdout == path.read_text()
    assert json.loads(path.read_text())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("reproduce controls/majority --folds 0,9", "there is no fold 9"),
        ("reproduce controls/majority --seeds -1", "'-1' is not a number"),
        ("process ictmri-phantom --masks nowhere", "is not there"),
        ("localize ictmri-phantom --detector boxes --boxes nowhere", "is not there"),
        ("build folder table.csv --facts nowhere --out mine", "is not there"),
    ],
)
def test_what_cannot_be_is_refused_before_volumes_are_made(
    words: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find(*_: object, **__: object) -> None:
        raise AssertionError("volumes are made")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ictmri.lookup.find_cohort", find)
    more = ["--cohort", "ictmri-phantom", "--out", "x"] if words.startswith("reproduce") else []
    with pytest.raises(InputError, match=problem):
        get_command(application()).main([*words.split(), *more], standalone_mode=False)


def test_nothing_is_made_for_the_hub_while_nobody_is_logged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(AccessError, match="Next: hf auth login"):
        require_login()


def test_a_table_is_printed_in_the_form_that_is_asked_for(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same numbers in every form: CSV and JSON to the last digit."""
    root = get_command(application())
    rows = tmp_path / "rows.csv"
    rows.write_text("name,accuracy,n\nmine,77.1,249\n")
    commands = {
        ("evaluate", str(predictions), "--cohort", "ictmri-phantom"): "macro F1",
        ("compare", str(predictions), str(predictions), "--cohort", "ictmri-phantom"): "1 minus 2",
        ("info", "ictmri-phantom"): "germinoma",
        ("list",): "table2/5",
        ("audit", str(rows)): "mine",
        ("leaderboard", "--cohort", "ictmri"): "Table 2 (1): raw volume",
    }
    for words, name in commands.items():

        @cache
        def printed(form: str, words: tuple[str, ...] = words) -> str:
            root.main([*words, "--format", form], prog_name="ictmri", standalone_mode=False)
            return capsys.readouterr().out

        assert json.loads(printed("json")), words
        (row,) = (row for row in csv.reader(io.StringIO(printed("csv"))) if name in "".join(row))
        head, _, *body = printed("markdown")[printed("markdown").index("|") :].splitlines()
        assert any(name in line and line.count("|") == head.count("|") for line in body), words
        assert rf"{name}".replace("_", r"\_") in printed("latex").split(r"\midrule")[1], words
        if words[0] == "evaluate":
            report = json.loads(printed("json"))
            assert float(row[1]) == report["pooled"]["macro_f1"]["value"]
            for form in ("csv", "latex", "markdown"):
                assert "synthetic" in printed(form).lower()


def test_a_shell_completes_commands_cohorts_and_recipes() -> None:
    def offered(line: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        asked = {"_ICTMRI_COMPLETE": "complete_bash"} | words
        code = "import sys; sys.argv[0] = 'ictmri'; from ictmri.cli.app import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert offered("ictmri eval") == ["evaluate"]
    assert offered("ictmri evaluate --coh") == ["--cohort"]
    assert {"ictmri", "ictmri-phantom"} <= set(offered("ictmri evaluate x.csv --cohort ictmri"))
    assert offered("ictmri reproduce table2/") == [f"table2/{row}" for row in range(1, 6)]


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
