"""Builds that are killed, at any moment: run again, every byte is as if nothing had happened."""

import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.forks import Forks
from support.made_cohort import build, build_phantom, left_by_build, write_table

from ictmri.build.folder import build_folder
from ictmri.build.write import add_config
from ictmri.cohort import open_cohort
from ictmri.errors import InputError, MissingDependencyError
from ictmri.io.lock import work_folder
from ictmri.io.parallel import _replacing_silently, run_all
from ictmri.loader import load_dataset
from ictmri.transaction import close_work, cohort_lock, opened_work, transaction

N_STEPS = 36
N_MOMENTS = 8
N_PARTS = 6
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def forks(
    table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Forks, dict[str, bytes]]]:
    """Commands that start at once, and what an undisturbed build leaves."""
    home = tmp_path_factory.mktemp("warm")
    with Forks(home, build(table, home / "mini"), HF_HOME=str(home / "hf")) as started:
        yield started, left_by_build(home / "mini")


def cached(forks: Forks) -> set[str]:
    """Names in the datasets cache, digests and versions aside."""
    found = (forks.log.parent / "hf").rglob("*")
    return {re.sub(r"[0-9a-f]{16}|_tmp.*lock", "x", path.name) for path in found if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, N_PARTS))]
)
def test_killed_before_any_change_of_the_disk(
    part: int, forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    """One kill for each kind of change: each file opened, named, removed, each folder made or moved."""
    started, undisturbed = forks
    cache = started.log.parent / "hf"
    shutil.rmtree(cache)
    whole = started.run(build(table, tmp_path / "whole" / "mini"))
    assert whole.code == 0
    in_cache = cached(started)
    chosen = one_of_each_kind(whole.steps, random.Random(0))
    assert len(chosen) >= N_STEPS
    for step in chosen[part::N_PARTS]:
        shutil.rmtree(cache)
        folder = tmp_path / str(step)
        killed = started.run(build(table, folder / "mini"), kill_at=step)
        assert killed.code == KILLED, killed.stderr
        again = started.run(build(table, folder / "mini"))
        assert again.code == 0, (whole.steps[step], again.stderr)
        assert left_by_build(folder / "mini") == undisturbed, whole.steps[step]
        assert cached(started) == in_cache, whole.steps[step]


def one_of_each_kind(steps: list[list[str]], rng: random.Random) -> list[int]:
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, (event, path) in enumerate(steps):
        name = re.sub(r"[a-z0-9_]{8}\.part$", "part", Path(path).name)
        kinds.setdefault((event, re.sub(r"[0-9a-f]{16}|\d+", "N", name)), []).append(index)
    return sorted(rng.choice(places) for places in kinds.values())


@pytest.mark.long
def test_killed_with_its_workers_at_random_moments_again_and_again(
    forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    started, undisturbed = forks
    rng = random.Random(1)
    begun = time.monotonic()
    assert started.run(build(table, tmp_path / "measured" / "mini", jobs=2)).code == 0
    duration = time.monotonic() - begun
    kills = 0
    while kills < N_MOMENTS:
        folder = tmp_path / str(kills)
        for _ in range(rng.randint(2, 5)):
            group = started.start(build(table, folder / "mini", jobs=2))
            time.sleep(rng.uniform(0.05, duration))
            if started.running():
                os.killpg(group, signal.SIGKILL)
            kills += started.wait().code == KILLED
        assert started.run(build(table, folder / "mini", jobs=1)).code == 0
        assert left_by_build(folder / "mini") == undisturbed


def test_a_folder_half_removed_is_not_taken_for_finished_work(
    forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    """Killed while the finished cases were being removed; then the cohort is removed and built again."""
    started, undisturbed = forks
    whole = started.run(build(table, tmp_path / "whole" / "mini"))
    removals = [
        index
        for index, (event, path) in enumerate(whole.steps)
        if event == "os.remove" and "/" not in path  # rmtree's, of a file in the folder it is in
    ]
    out = tmp_path / "again" / "mini"
    assert started.run(build(table, out), kill_at=removals[20]).code == KILLED
    shutil.rmtree(out)
    assert started.run(build(table, out)).code == 0
    assert left_by_build(out) == undisturbed


@pytest.mark.long
def test_phantom_killed_before_some_changes_of_the_disk(
    forks: tuple[Forks, dict[str, bytes]], tmp_path: Path
) -> None:
    started, _ = forks
    whole, killed = tmp_path / "whole" / "p", tmp_path / "killed" / "p"
    assert started.run(build_phantom(whole)).code == 0
    for step in (90, 40, 120):  # among the cases, among those that were left, while assembling
        assert started.run(build_phantom(killed), kill_at=step).code == KILLED
    assert started.run(build_phantom(killed)).code == 0
    assert left_by_build(killed, beside=()) == left_by_build(whole, beside=())


@pytest.mark.slow
def test_two_equal_builds_at_once_make_one_cohort(
    forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    _, undisturbed = forks
    ends = at_once([build(table, tmp_path / "mini", jobs=2)] * 2)
    assert [code for code, _ in ends] == [0, 0], ends
    assert left_by_build(tmp_path / "mini") == undisturbed
    waited = [said for _, said in ends if "waiting for another process" in said]
    assert len(waited) == 1


@pytest.mark.slow
def test_of_two_different_builds_at_once_one_wins(table: Path, tmp_path: Path) -> None:
    order = build(table, tmp_path / "mini")
    ends = sorted(at_once([order, [*order, "--n-folds", "3"]]))
    assert [code for code, _ in ends] == [0, 1], ends
    assert "made with other inputs or settings" in ends[1][1]
    assert "Traceback" not in ends[1][1]
    open_cohort(tmp_path / "mini").check()
    left_by_build(tmp_path / "mini")


def at_once(commands: list[list[str]]) -> list[tuple[int, str]]:
    running = [process_of(arguments) for arguments in commands]
    said = [process.communicate()[1] for process in running]
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


def process_of(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from ictmri.cli.app import main; main()", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_worker_that_the_system_kills_is_told_and_the_same_command_goes_on(
    forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    started, undisturbed = forks
    order = build(table, tmp_path / "mini", jobs=2)
    group = started.start(order)
    os.kill(workers_of(group)[0], signal.SIGKILL)
    ended = started.wait()
    assert ended.code == 1
    assert "Traceback" not in ended.stderr
    assert re.search(r"error: scans: 1 problem\n.*SIGKILL.*memory.*\nNext: .*same", ended.stderr)
    assert started.run(order).code == 0
    assert left_by_build(tmp_path / "mini") == undisturbed


def workers_of(parent: int, *, at_least: int = 1) -> list[int]:
    """Wait for a process's workers and return their ids."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [child for child in children(parent) if b"resource_tracker" not in words_of(child)]
        if len(found) >= at_least:
            return found
        time.sleep(0.02)
    raise AssertionError(f"process {parent} has no workers")


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def words_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b"resource_tracker"


@pytest.mark.slow
def test_workers_end_when_the_command_is_gone() -> None:
    code = "import time; from ictmri.io.parallel import run_all\n"
    code += "run_all(time.sleep, [60] * 4, total=4, title='t', jobs=2)"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    workers = workers_of(parent.pid, at_least=2)
    time.sleep(3)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "workers outlive the command"
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_is_told_and_the_same_command_goes_on(
    forks: tuple[Forks, dict[str, bytes]], table: Path, tmp_path: Path
) -> None:
    started, undisturbed = forks
    order = build(table, tmp_path / "mini", jobs=2)
    for wait in (0.0, 0.2, 0.4):  # while the workers start and import
        group = started.start(order)
        workers_of(group)
        time.sleep(wait)
        os.killpg(group, signal.SIGINT)
        ended = started.wait()
        assert ended.code == 130, ended.stderr
        assert ended.stderr.splitlines()[-1] == "interrupted; the same command goes on from here"
        assert "Traceback" not in ended.stderr
    assert started.run(order).code == 0
    assert left_by_build(tmp_path / "mini") == undisturbed


def test_errors_come_whole_from_a_worker() -> None:
    with pytest.raises(InputError, match=r"(?s)cases: 1 problem.*a worker process was ended"):
        run_all(signal.raise_signal, [signal.SIGKILL] * 4, total=4, title="cases", jobs=2)
    for error in (
        InputError("table", ["a", "b"], "next"),
        MissingDependencyError("Reading", "build"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_a_change_of_a_cohort_that_was_removed_is_dropped(mini_table: Path, tmp_path: Path) -> None:
    """Cut off while its files were put into place; then the owner removes the cohort."""
    out = tmp_path / "mini"
    cohort = build_folder(mini_table, out, n_folds=3).cohort
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with transaction(cohort.root) as draft:
        shutil.copytree(draft, work_folder(out, "kept"))
    shutil.rmtree(out)
    work_folder(out, "kept").rename(work_folder(out, "change"))
    (work_folder(out, "change") / "folds.csv").unlink()
    build_folder(mini_table, out, n_folds=3)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_a_change_makes_void_is_gone_with_it(mini_table: Path, tmp_path: Path) -> None:
    cohort = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort
    rows = list(cohort.rows("default"))
    boxes = {"boxes/a.jsonl": b"of former volumes"}
    cohort = add_config(cohort, "default", rows, steps={}, extra_files=boxes)
    assert "boxes/a.jsonl" in cohort.manifest.files
    (cohort.root / "boxes" / "mine.txt").write_text("somebody's, in no manifest")
    cohort = add_config(cohort, "default", rows, steps={}, void=["boxes"])
    assert "boxes/a.jsonl" not in cohort.manifest.files
    assert [path.name for path in (cohort.root / "boxes").iterdir()] == ["mine.txt"]


def test_finished_work_of_other_inputs_is_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "mini"
    first = opened_work(out, "cases", {"inputs": 1})
    (first / "case.json").write_text("1")
    (first / ".case.json.abcdefgh.part").write_text("1")
    assert sorted(p.name for p in opened_work(out, "cases", {"inputs": 1}).iterdir()) == [
        "case.json",
        "stamp.json",
    ]
    assert [p.name for p in opened_work(out, "cases", {"inputs": 2}).iterdir()] == ["stamp.json"]
    close_work(out, "cases")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_cut_off_while_it_was_filled(mini_table: Path, tmp_path: Path) -> None:
    cohort = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort
    rows = load_dataset(cohort.root, cache_dir=tmp_path / "a", split="fold0").to_dict()
    (entry,) = (path.parent for path in (tmp_path / "a").rglob("dataset_info.json"))
    entry.rename(f"{entry}.incomplete")
    arrow = Path(f"{entry}.incomplete") / "mini-fold0.arrow"
    arrow.write_bytes(arrow.read_bytes()[:1000])
    (Path(f"{entry}.incomplete") / "mini-fold0-00000-00007.arrow").touch()
    assert load_dataset(cohort.root, cache_dir=tmp_path / "a", split="fold0").to_dict() == rows
    assert sorted(path.name for path in entry.iterdir()) == [
        "dataset_info.json",
        *(f"mini-fold{fold}.arrow" for fold in range(3)),
    ]


@pytest.mark.slow
def test_a_worker_that_grows_is_replaced_without_a_word() -> None:
    def grown(item: int) -> int:
        held = [np.ones(50_000_000)] if item in (2, 3) else []
        sys.held = [*getattr(sys, "held", []), *held]  # type: ignore[attr-defined]
        time.sleep(1.1)
        return item

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert run_all(grown, range(6), total=6, title="grow", jobs=2) == list(range(6))
    assert [str(warning.message) for warning in told] == []


def test_other_warnings_are_not_lost() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with _replacing_silently():
            warnings.warn(
                "A worker stopped while some jobs were given to the executor.", stacklevel=1
            )
            warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in told] == ["something else"]


def test_links_lead_no_change_elsewhere(tmp_path: Path) -> None:
    """What somebody sends may hold links to folders of whoever unpacks it."""
    mine, sent = tmp_path / "mine", tmp_path / "sent"
    mine.mkdir()
    (mine / "precious.parquet").write_text("1")
    sent.mkdir()
    (sent / "data").symlink_to(mine)
    with pytest.raises(InputError, match="data is a link to a folder"), cohort_lock(sent):
        pass
    (sent / "data").unlink()
    for stage in ("change", "part", "process", "draft"):
        work = tmp_path / f".sent.{stage}"
        work.symlink_to(mine)
        with pytest.raises(InputError, match="is a link, and no work"), cohort_lock(sent):
            opened_work(sent, stage, {})
        work.unlink()
    assert [path.name for path in mine.iterdir()] == ["precious.parquet"]


def test_workers_import_nothing_from_where_the_command_is_run(tmp_path: Path) -> None:
    """A folder that somebody sent may hold modules named as those that workers load first."""
    for name in ("joblib", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    code = (
        "import sys; sys.path = [place for place in sys.path if place]\n"
        "from unittest import mock; from ictmri.cli import app; from ictmri.io.parallel import run_all\n"
        "done = lambda: print(run_all(abs, [1, -2], total=2, title='t', jobs=2))\n"
        "with mock.patch.object(app, 'application', lambda *_: done): app.main()"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, (tmp_path / "ran").exists()) == ("[1, 2]\n", False), done.stderr
