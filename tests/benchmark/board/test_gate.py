"""The gate, on real git repositories: data passes, everything else is refused, nothing of it is run."""

import datetime
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import MethodInfo
from ictmri_benchmark.board.gate import (
    MAX_BYTES,
    MAX_CHANGES,
    Verdict,
    contributed_cohort,
    gate,
)
from ictmri_benchmark.board.ledger import HEADER
from ictmri_benchmark.board.submission import submit, withdraw_entry

REPOSITORY = Path(__file__).parents[3]
ENTRIES = "benchmark/entries/mini"
LEDGER = f"{ENTRIES}/ledger.csv"
TODAY = datetime.datetime.now(tz=datetime.UTC).date()
QUIET = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": "a@b.c"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


@dataclass
class Repo:
    """A repository with one entry on main, and a branch that contributes."""

    root: Path
    cohort: FoldTable

    def git(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *words],
            input=stdin,
            capture_output=True,
            check=True,
            env=os.environ | QUIET,
        )
        return done.stdout.decode().strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")

    def submit(self, slug: str, seed: int = 1, correcting: str = "", **changes: object) -> Path:
        values = probabilities(self.cohort, 0.4, seed)
        place = self.root.parent / "in"
        files = hand_in(place, self.cohort, made_entry(self.cohort, slug, **changes), values)
        where = self.root / "benchmark" / "entries" / self.cohort.name
        return submit(*files, self.cohort, where, synthetic=True, correcting=correcting).folder

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def gate(self, base: str = "main", head: str = "contribution") -> Verdict:
        return gate(self.root, base, head, self.cohort, synthetic=True)


@pytest.fixture
def repo(make_cohort: Callable[..., FoldTable], tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo", make_cohort([*CLASSES] * 3, n_folds=3))
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch", "main")
    (made.root / ".gitignore").write_text(".*.lock\n")
    (made.root / "code.py").write_text("print('base')\n")
    made.submit("old", 0)
    made.commit()
    made.git("checkout", "--quiet", "-b", "contribution")
    return made


def test_a_good_contribution_is_scored(repo: Repo) -> None:
    method = MethodInfo(
        name="| <img src=x> @all", summary="[x](javascript:1)", authors=("`A`",), licence="MIT"
    )
    repo.submit("new", method=method)
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    before = sorted(path for path in repo.root.rglob("*") if ".git" not in path.parts)
    verdict = repo.gate()
    assert [done.entry.slug for done in verdict.entries] == ["new"]
    pooled = verdict.entries[0].report.content["pooled"]["macro_f1"]
    text = verdict.markdown()
    shown = f"| `new` | {pooled['value']:.3f} [{pooled['low']:.3f}, {pooled['high']:.3f}] |"
    assert shown in text
    assert "say nothing about patients" in text
    assert not re.search(r"<|@|javascript|corrected", text)
    assert sorted(path for path in repo.root.rglob("*") if ".git" not in path.parts) == before
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("branch", "--show-current") == "main"


def test_several_entries_a_correction_and_a_withdrawal(repo: Repo) -> None:
    repo.git("checkout", "--quiet", "main")
    repo.submit("bad", 5)
    repo.commit()
    repo.git("checkout", "--quiet", "-B", "contribution")
    repo.submit("one", 2)
    repo.submit("two", 2)
    repo.submit("old", 4, correcting="wrong seed")
    withdraw_entry(repo.root / ENTRIES, "bad", "trained on test cases")
    repo.commit()
    verdict = repo.gate()
    assert [done.entry.slug for done in verdict.entries] == ["old", "one", "two"]
    assert (verdict.corrected, verdict.withdrawn) == (["old"], ["bad"])
    text = verdict.markdown()
    assert "- corrected: `old` is there already" in text
    assert "- withdrawn: `bad`" in text
    assert "- `one`, to look at: the same predictions file as entry two" in text


def symlink(repo: Repo, target: str) -> None:
    path = repo.submit("new") / "predictions.csv"
    path.unlink()
    path.symlink_to(target)


def submodule(repo: Repo) -> None:
    repo.submit("new")
    repo.commit()
    head = repo.git("rev-parse", "HEAD")
    path = f"{ENTRIES}/new/entry.yaml"
    repo.git("update-index", "--cacheinfo", f"160000,{head},{path}")
    repo.git("commit", "--quiet", "--message", "submodule")
    repo.git("checkout", "--quiet", "--force", "main")


def whole_submodule(repo: Repo) -> None:
    head = repo.git("rev-parse", "HEAD")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{head},{ENTRIES}/new")
    repo.git("commit", "--quiet", "--message", "submodule")
    repo.git("checkout", "--quiet", "--force", "main")


def raw_tree(repo: Repo, entries: list[tuple[str, str, str]]) -> str:
    """Write a tree as it stands, valid or not."""
    content = b"".join(
        f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries
    )
    words = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
    return repo.git(*words, stdin=content)


def listed(repo: Repo, path: str = "") -> list[tuple[str, str, str]]:
    lines = repo.git("ls-tree", f"HEAD:{path}").splitlines()
    split = [re.split(r"[ \t]", line, maxsplit=3) for line in lines]
    return [(mode.lstrip("0"), name, sha) for mode, _, sha, name in split]


def with_raw_entries(repo: Repo, change: Callable[[list[tuple[str, str, str]]], None]) -> None:
    """Commit a tree whose ``benchmark/entries`` git itself would refuse to make."""
    folder = listed(repo, ENTRIES)
    change(folder)
    top = raw_tree(repo, folder)
    for place, name in (("benchmark/entries", "mini"), ("benchmark", "entries"), ("", "benchmark")):
        top = raw_tree(repo, [(m, n, top if n == name else s) for m, n, s in listed(repo, place)])
    made = repo.git("commit-tree", top, "-p", "HEAD", "-m", "raw")
    repo.git("checkout", "--quiet", "main")
    repo.git("branch", "--force", "contribution", made)


def dots(repo: Repo) -> None:
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"import os\n")
    inside = raw_tree(repo, [("100644", "predictions.csv", blob)])
    with_raw_entries(repo, lambda folder: folder.insert(0, ("40000", "..", inside)))


def slashes(repo: Repo) -> None:
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"import os\n")
    with_raw_entries(repo, lambda folder: folder.insert(0, ("100644", "../../code.py", blob)))


def twice(repo: Repo) -> None:
    repo.submit("new")
    repo.commit()
    other = repo.git("hash-object", "-w", "--stdin", stdin=b"case_id,prediction\n")
    files = [(m, n, s) for m, n, s in listed(repo, f"{ENTRIES}/new")]
    doubled = sorted([*files, ("100644", "predictions.csv", other)], key=lambda item: item[1])
    inner = raw_tree(repo, doubled)

    def change(folder: list[tuple[str, str, str]]) -> None:
        folder[:] = [(m, n, inner if n == "new" else s) for m, n, s in folder]

    with_raw_entries(repo, change)


def put(path: str, text: str = "x\n") -> Callable[[Repo], None]:
    def change(repo: Repo) -> None:
        repo.submit("new")
        file = repo.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return change


def edited(path: str, old: str, new: str, **changes: object) -> Callable[[Repo], None]:
    def change(repo: Repo) -> None:
        repo.submit("new", **changes)
        repo.edit(path, old, new)

    return change


def executable(repo: Repo) -> None:
    (repo.submit("new") / "predictions.csv").chmod(0o755)


def renamed(repo: Repo) -> None:
    repo.git("mv", f"{ENTRIES}/old", f"{ENTRIES}/young")


def moved_out(repo: Repo) -> None:
    repo.git("mv", f"{ENTRIES}/old", "elsewhere")


def large(repo: Repo) -> None:
    with (repo.submit("new") / "predictions.csv").open("ab") as stream:
        stream.truncate(MAX_BYTES + 1)


def forged(repo: Repo) -> None:
    path = repo.submit("new") / "report.json"
    value = re.search(r'"macro_f1": \{\s*"value": ([0-9.]+)', path.read_text())
    assert value
    path.write_text(path.read_text().replace(value[1], "0.999", 1))


def own_level(repo: Repo) -> None:
    edited(f"{ENTRIES}/new/entry.yaml", "level: R1", "level: R3")(repo)


def ledger_reordered(repo: Repo) -> None:
    repo.submit("new")
    path = repo.root / LEDGER
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2], lines[1]]) + "\n")


def ledger_requoted(repo: Repo) -> None:
    repo.submit("new")
    repo.edit(LEDGER, ",submitted", ',"submitted"')


def without_row(repo: Repo) -> None:
    repo.submit("new")
    path = repo.root / LEDGER
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def other_digest(repo: Repo) -> None:
    repo.submit("new")
    path = repo.root / LEDGER
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, re.sub(r"[0-9a-f]{64}", "0" * 64, last)]) + "\n")


def row_about_another(repo: Repo) -> None:
    repo.submit("new")
    with (repo.root / LEDGER).open("a") as stream:
        stream.write(f"2026-11-01,corrected,old,{'1' * 64},x\n")


def removed(repo: Repo) -> None:
    shutil.rmtree(repo.root / ENTRIES / "old")


def half_removed(repo: Repo) -> None:
    (repo.root / ENTRIES / "old" / "entry.yaml").unlink()


def ledger_removed(repo: Repo) -> None:
    repo.submit("new")
    (repo.root / LEDGER).unlink()


def other_folds(repo: Repo) -> None:
    repo.submit("new")
    repo.edit(f"{ENTRIES}/new/entry.yaml", repo.cohort.sha256, "0" * 64)


def other_data(repo: Repo) -> None:
    repo.cohort = replace(repo.cohort, data_sha256="b" * 64)
    path = repo.submit("new") / "entry.yaml"
    path.write_text(path.read_text().replace("b" * 64, "''"))


def unscored(repo: Repo) -> None:
    path = repo.submit("new") / "predictions.csv"
    path.write_text(re.sub(r"(mini-0003),[^,]*", r"\1,nan", path.read_text()))


NOT_ENTRY = ": not a file of an entry"
REFUSALS: dict[str, tuple[Callable[[Repo], None], str]] = {
    "code": (edited("code.py", "base", "evil"), f"'code.py'{NOT_ENTRY}"),
    "a workflow": (put(".github/workflows/x.yml"), f"'.github/workflows/x.yml'{NOT_ENTRY}"),
    "attributes": (put(".gitattributes", "*.csv filter=evil"), f"'.gitattributes'{NOT_ENTRY}"),
    "attributes inside": (put(f"{ENTRIES}/new/.gitattributes"), f"new/.gitattributes'{NOT_ENTRY}"),
    "modules": (put(".gitmodules"), f"'.gitmodules'{NOT_ENTRY}"),
    "a script": (put(f"{ENTRIES}/new/run.py"), f"new/run.py'{NOT_ENTRY}"),
    "no folder": (put(f"{ENTRIES}/entry.yaml"), f"mini/entry.yaml'{NOT_ENTRY}"),
    "deeper": (put(f"{ENTRIES}/new/a/entry.yaml"), f"new/a/entry.yaml'{NOT_ENTRY}"),
    "beside": (
        put("benchmark/entries2/new/entry.yaml"),
        f"'benchmark/entries2/new/entry.yaml'{NOT_ENTRY}",
    ),
    "hidden": (put(f"{ENTRIES}/.new.part/entry.yaml"), f".new.part/entry.yaml'{NOT_ENTRY}"),
    "capitals": (put(f"{ENTRIES}/New/entry.yaml"), f"New/entry.yaml'{NOT_ENTRY}"),
    "fullwidth": (put(f"{ENTRIES}/ｎew/entry.yaml"), "FULLWIDTH LATIN SMALL LETTER N"),
    "a line feed": (put(f"{ENTRIES}/new\n/entry.yaml"), r"new\n/entry.yaml' (with U+000A"),
    "turned": (put(f"{ENTRIES}/new/predictions.csv\u202e"), "RIGHT-TO-LEFT OVERRIDE"),
    "dots": (dots, f"'{ENTRIES}/../predictions.csv'{NOT_ENTRY}"),
    "slashes": (slashes, f"'{ENTRIES}/../../code.py'{NOT_ENTRY}"),
    "a name twice": (twice, "new/predictions.csv': stands twice in its folder"),
    "a link": (lambda r: symlink(r, "/etc/passwd"), "not a plain file (mode 120000)"),
    "a link to an entry": (lambda r: symlink(r, "../old/predictions.csv"), "(mode 120000)"),
    "a submodule": (submodule, "not a plain file (mode 160000)"),
    "a whole submodule": (whole_submodule, f"'{ENTRIES}/new'{NOT_ENTRY}"),
    "executable": (executable, "not a plain file (mode 100755)"),
    "renamed": (renamed, "old: removed without a row 'withdrawn' in ledger.csv"),
    "renamed, slug": (renamed, "young: entry.yaml calls itself 'old'"),
    "moved out": (moved_out, f"'elsewhere/entry.yaml'{NOT_ENTRY}"),
    "large": (large, f"new/predictions.csv': {MAX_BYTES + 1} bytes, more than {MAX_BYTES}"),
    "forged": (forged, "new: report.json is not what its predictions give"),
    "report": (put(f"{ENTRIES}/new/report.json", "{}"), "new: report.json is not what"),
    "empty report": (put(f"{ENTRIES}/new/report.json", ""), "new: report.json is not what"),
    "level": (own_level, "new: entry.yaml: level R3 is given by the maintainers"),
    "slug": (edited(f"{ENTRIES}/new/entry.yaml", "slug: new", "slug: old"), "calls itself 'old'"),
    "no entry": (lambda r: (r.submit("new") / "entry.yaml").unlink(), "new: entry.yaml is missing"),
    "no report": (
        lambda r: (r.submit("new") / "report.json").unlink(),
        "new: report.json is missing",
    ),
    "other folds": (
        other_folds,
        "new: entry.yaml: benchmark.splits_sha256 is not that of these folds",
    ),
    "other data": (other_data, "new: entry.yaml does not name the cohort's data"),
    "not synthetic": (
        edited(f"{ENTRIES}/new/entry.yaml", "synthetic: true", "synthetic: false"),
        "new: entry.yaml: synthetic is False, the cohort says True",
    ),
    "a claim": (
        edited(f"{ENTRIES}/new/entry.yaml", "claimed: {}", "claimed: {accuracy: 0.99}"),
        "new: entry.yaml: claimed.accuracy is 0.99, recomputed is",
    ),
    "predictions": (unscored, "new: predictions.csv: row 5: p_glioma is 'nan'"),
    "ledger row changed": (
        edited(LEDGER, ",submitted", ",resubmitted"),
        "rows that were there before are changed or gone",
    ),
    "ledger reordered": (ledger_reordered, "rows that were there before are changed or gone"),
    "ledger requoted": (ledger_requoted, "its earlier lines are written otherwise"),
    "ledger gone": (ledger_removed, "rows that were there before are changed or gone"),
    "ledger emptied": (put(LEDGER, HEADER + "\n"), "changed or gone"),
    "ledger damaged": (
        edited(LEDGER, ",added,new", ",made,new"),
        "row 3: action 'made' is not one of",
    ),
    "no row": (without_row, "new: ledger.csv has no new row with the digest of its predictions"),
    "another digest": (other_digest, "new: ledger.csv has no new row with the digest"),
    "another's row": (row_about_another, "ledger.csv: a row about old, which is not changed"),
    "removed": (removed, "old: removed without a row 'withdrawn' in ledger.csv"),
    "half removed": (half_removed, "old: entry.yaml is missing"),
    "nothing": (lambda _: None, "it changes nothing"),
}


def test_the_cohort_is_that_of_the_entries(repo: Repo) -> None:
    repo.submit("new")
    repo.commit()
    with pytest.raises(InputError, match="it changes entries of 'mini'") as caught:
        contributed_cohort(repo.root, "main", "contribution")
    assert "ictmri-phantom" in caught.value.next_step
    repo.git("checkout", "--quiet", "main")
    for name in ("ictmri-phantom", "other"):
        repo.git("checkout", "--quiet", "-b", f"with-{name}")
        path = repo.root / "benchmark" / "entries" / name / "x" / "entry.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("x\n")
        repo.commit()
    assert contributed_cohort(repo.root, "main", "with-ictmri-phantom") == "ictmri-phantom"
    with pytest.raises(InputError, match="'ictmri-phantom', 'other'"):
        contributed_cohort(repo.root, "main", "with-other")


@pytest.mark.parametrize("kind", REFUSALS)
def test_everything_else_is_refused_by_name(kind: str, repo: Repo) -> None:
    change, told = REFUSALS[kind]
    change(repo)
    if repo.git("branch", "--show-current") == "contribution":
        repo.commit()
    with pytest.raises(InputError) as caught:
        repo.gate()
    assert told in "\n".join(caught.value.problems)
    assert caught.value.next_step
    assert all(c.isprintable() or c == "\n" for c in str(caught.value))


def test_the_base_may_have_moved_on(repo: Repo) -> None:
    repo.submit("new", 1)
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.submit("meanwhile", 1)
    repo.commit()
    (flags,) = repo.gate().flags.values()
    assert flags == ["the same predictions file as entry meanwhile"]
    repo.submit("new", 3)
    repo.commit()
    with pytest.raises(InputError, match="row 5: new was added before") as caught:
        repo.gate()
    assert "up to date" in caught.value.next_step


@pytest.mark.parametrize(
    "head", ["nowhere", "--output=stolen", "-h", "", "main:code.py", "contribution\n", "0" * 40]
)
def test_names_that_are_no_commits(head: str, repo: Repo) -> None:
    with pytest.raises(InputError, match="git: 1 problem"):
        repo.gate(head=head)
    assert not list(repo.root.rglob("stolen"))


def test_histories_without_a_common_commit(repo: Repo) -> None:
    repo.git("checkout", "--quiet", "--orphan", "alone")
    repo.submit("new")
    repo.commit()
    with pytest.raises(InputError, match="git merge-base found nothing"):
        repo.gate(head="alone")


def test_replaced_objects_are_not_believed(repo: Repo) -> None:
    """``git replace`` shows other content under the same hash."""
    repo.submit("new")
    repo.edit("code.py", "base", "evil")
    repo.commit()
    repo.git("replace", "contribution", "main")
    with pytest.raises(InputError, match="not a file of an entry"):
        repo.gate()


def test_nothing_is_run_and_nothing_checked_out(repo: Repo, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    script = tmp_path / "evil"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {marker}\ncat\n')
    script.chmod(0o755)
    repo.git("checkout", "--quiet", "main")
    (repo.root / ".gitattributes").write_text("* filter=evil diff=evil\n")
    repo.commit()
    repo.git("checkout", "--quiet", "-B", "contribution")
    repo.submit("new")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    for name in ("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.pager"):
        repo.git("config", name, str(script))
    for name in ("diff.evil.textconv", "diff.evil.command", "core.fsmonitor", "core.editor"):
        repo.git("config", name, str(script))
    hooks = repo.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        shutil.copy(script, hooks / name)
    assert [done.entry.slug for done in repo.gate().entries] == ["new"]
    assert not marker.exists(), marker.read_text()
    assert not (repo.root / ENTRIES / "new").exists()
    subprocess.run(["git", "-C", str(repo.root), "status"], capture_output=True, check=False)
    assert marker.exists()  # the traps do work


def test_the_command_prints_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ictmri.cli.app import main

    cohort, _ = find_folds("ictmri-phantom")
    repo = Repo(tmp_path / "repo", cohort)
    repo.root.mkdir()
    repo.git("init", "--quiet", "--initial-branch", "main")
    (repo.root / ".gitignore").write_text(".*.lock\n")
    repo.commit()
    repo.git("checkout", "--quiet", "-b", "contribution")
    repo.submit("new")
    repo.commit()
    where = ["--repository", str(repo.root)]
    monkeypatch.setattr(sys, "argv", ["ictmri", "gate", "contribution", "--base", "main", *where])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("| entry |")
    assert said[1] == "|---|---|---|---|"
    assert said[2].startswith("| `new` | 0.")
    monkeypatch.setattr(sys, "argv", ["ictmri", "gate", "main", "--base", "main", *where])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "it changes nothing below benchmark/entries" in capsys.readouterr().err


# ---- the workflow that runs it ---------------------------------------------------------------------------


def test_the_workflow_runs_the_gate_of_the_base_and_nothing_else() -> None:
    path = REPOSITORY / ".github/workflows/entries.yml"
    flow = yaml.load(path.read_text(), yaml.BaseLoader)
    assert list(flow["on"]) == ["pull_request_target"]
    assert flow["on"]["pull_request_target"] == {"paths": ["benchmark/entries/**"]}
    assert flow["permissions"] == {}
    (job,) = flow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "secrets." not in path.read_text()

    (checkout,) = [step for step in job["steps"] if "uses" in step]
    assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", checkout["uses"])
    assert checkout["with"] == {"fetch-depth": "0", "persist-credentials": "false"}

    runs = [step["run"] for step in job["steps"] if "run" in step]
    commands = [line.strip() for run in runs for line in run.strip().splitlines()]
    assert all("${{" not in run for run in runs)  # nothing of the contribution becomes shell text
    assert not [
        c for c in commands if re.search(r"\bgit (checkout|switch|merge|pull|rebase|reset)", c)
    ]
    assert [c for c in commands if c.startswith("git ")] == [
        'git fetch --no-tags --no-recurse-submodules origin "refs/pull/$NUMBER/head"'
    ]
    gates = [c for c in commands if "ictmri gate" in c]
    assert gates == [".venv/bin/ictmri gate FETCH_HEAD --base HEAD > comment.md"]
    for step in job["steps"]:
        given = {name for name, value in step.get("env", {}).items() if "token" in value}
        assert given == ({"GH_TOKEN"} if "gh pr comment" in step.get("run", "") else set())
    order = [i for i, c in enumerate(commands) if "pip install" in c or c.startswith("git fetch")]
    assert order == sorted(order)
    assert commands.index(gates[0]) > max(order)
    assert "gh pr comment" in commands[-1]
    assert len(commands) <= 6


DATES = {
    "year 1": "0001-01-01",
    "before there was anything": "2026-01-31",
    "year 9999": "9999-12-31",
    "the day after tomorrow": (TODAY + datetime.timedelta(days=2)).isoformat(),
    "before the row before": (TODAY - datetime.timedelta(days=1)).isoformat(),
}


@pytest.mark.parametrize("kind", DATES)
def test_rows_have_the_dates_of_days_on_which_they_can_have_been_added(
    kind: str, repo: Repo
) -> None:
    repo.submit("new")
    rows = (repo.root / LEDGER).read_text().splitlines()
    rows[-1] = DATES[kind] + rows[-1][10:]
    (repo.root / LEDGER).write_text("\n".join(rows) + "\n")
    repo.commit()
    with pytest.raises(InputError, match=f"new: date {DATES[kind]}"):
        repo.gate()
    rows[-1] = (TODAY + datetime.timedelta(days=1)).isoformat() + rows[-1][10:]
    (repo.root / LEDGER).write_text("\n".join(rows) + "\n")
    repo.commit()
    assert len(repo.gate().entries) == 1


@pytest.mark.parametrize("inside", ["", f"{ENTRIES}/new/"])
def test_trees_that_name_one_another_are_not_walked(inside: str, repo: Repo) -> None:
    """Ten names for one tree, ten levels deep: ten thousand million files in eleven objects."""
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"")
    tree = raw_tree(repo, [("100644", f"f{n}", blob) for n in range(10)])
    for _ in range(9):
        tree = raw_tree(repo, [("40000", f"d{n}", tree) for n in range(10)])
    for name in reversed((*inside.split("/")[:-1], "bomb")):
        tree = raw_tree(repo, [("40000", name, tree)])
    made = repo.git("commit-tree", tree, "-p", "HEAD", "-m", "bomb")
    repo.git("checkout", "--quiet", "main")
    repo.git("branch", "--force", "contribution", made)
    started = time.monotonic()
    with pytest.raises(InputError, match=f"more than {MAX_CHANGES} files and folders"):
        repo.gate()
    assert time.monotonic() - started < 60
