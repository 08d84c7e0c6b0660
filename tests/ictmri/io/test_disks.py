"""Disks that are full or cannot be written: one clear message, nothing half-written, and the same
command finishes when there is space again."""

import errno
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from support.forks import Ended, Forks
from support.made_cohort import build, build_phantom, left_by_build, write_table
from support.made_volumes import write_volume

from ictmri.cli.app import system_failure
from ictmri.io.files import replacing, write_text
from ictmri.scans.read import read_scan

DISK_KIB = 6000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("source"))


class Disk:
    """A small disk of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        mount("-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", place)

    @property
    def ballast(self) -> Path:
        return self.place / "ballast"

    def fill(self, free_kib: int) -> None:
        """Leave this much space."""
        self.free()
        room = shutil.disk_usage(self.place).free - 1024 * free_kib
        self.ballast.write_bytes(bytes(room))

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    try:
        made = Disk(tmp_path_factory.mktemp("disk") / "small")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({type(error).__name__})")
    yield made
    subprocess.run(["umount", "--lazy", str(made.place)], check=True)


@pytest.fixture(scope="module")
def forks(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    home = tmp_path_factory.mktemp("warm")
    with Forks(home, build(table, home / "mini"), HF_HOME=str(home / "hf")) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(forks: Forks) -> dict[str, bytes]:
    """What a build leaves where nothing goes wrong."""
    return left_by_build(forks.log.parent / "mini")


def problem(ended: Ended) -> str:
    """Return the message of a command that failed as it should: one error and its next step."""
    assert ended.code == 1, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    before, found, message = ended.stderr.partition("error: ")
    assert found
    assert "error" not in before
    head, *problems, next_step = message.rstrip("\n").split("\n")
    assert ": 1 problem" in head
    assert len(problems) == 1
    assert next_step.startswith("Next: ")
    return message


def nothing_half_written(out: Path) -> None:
    assert not out.exists()
    assert not (out.parent / f".{out.name}.part").exists()
    assert [path for path in out.parent.rglob("*.part") if path.is_file()] == []


def full_and_free_again(
    forks: Forks, disk: Disk, order: list[str], out: Path, **disturbances: object
) -> str:
    """Run a command on a disk that is full, or gets full; then free it and run the same again.

    Returns:
        What was told the first time.
    """
    try:
        told = []
        for _ in range(2):
            told.append(problem(forks.run(order, **disturbances)))
            if "are free there" not in told[-1]:  # which is found out before a build begins
                assert "No space left on device" in told[-1]
                assert "run the same command again" in told[-1]
            nothing_half_written(out)
        disk.free()
        ended = forks.run(order)
        assert ended.code == 0, ended.stderr
    finally:
        disk.free()
    return told[0]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "mini.link.csv",
            "stamp.json",
            "mini-0003.nii.gz",
            "mini-0006.json",
            "mini.findings.html",
        ),
        *(".mini.part", "fold1-00000", "README.md", "manifest.json"),
    ],
)
def test_a_disk_that_gets_full(
    forks: Forks, table: Path, disk: Disk, undisturbed: dict[str, bytes], name: str
) -> None:
    """Full when this file is written: the link, a scan, the data, the documents."""
    out = disk.place / "got-full" / "mini"
    order = build(table, out)
    message = full_and_free_again(forks, disk, order, out, fill_at=name, ballast=str(disk.ballast))
    assert f"{out.parent}/" in message
    assert left_by_build(out) == undisturbed
    shutil.rmtree(out.parent)


def test_a_full_disk_in_a_worker(
    forks: Forks, table: Path, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    out = disk.place / "workers" / "mini"
    # One that was begun is not asked for room: it reaches the workers.
    (out.parent / ".mini.cases").mkdir(parents=True)
    disk.fill(40)
    message = full_and_free_again(forks, disk, build(table, out, jobs=2), out)
    assert f"{out.parent}/.mini.cases/mini-" in message
    assert left_by_build(out) == undisturbed
    shutil.rmtree(out.parent)


@pytest.mark.long
def test_a_full_disk_for_a_phantom(forks: Forks, disk: Disk, tmp_path: Path) -> None:
    assert forks.run(build_phantom(tmp_path / "p")).code == 0
    out = disk.place / "phantom" / "p"
    for name in ("phantom-0004_mask", "fold1-00000"):
        fill = {"fill_at": name, "ballast": str(disk.ballast)}
        full_and_free_again(forks, disk, build_phantom(out), out, **fill)
        assert left_by_build(out, beside=()) == left_by_build(tmp_path / "p", beside=())
        shutil.rmtree(out.parent)


def test_no_space_for_the_datasets_cache(table: Path, disk: Disk, tmp_path: Path) -> None:
    cache = disk.place / "hf"
    with Forks(tmp_path, build(table, tmp_path / "warm"), HF_HOME=str(cache)) as forks:
        shutil.rmtree(cache)
        out = tmp_path / "mini"
        disk.fill(60)
        ended = forks.run(build(table, out))
        assert ended.code == 0
        for told in (f"the datasets cache {cache}", f"the cohort in {out} is whole", "HF_HOME"):
            assert told in ended.stderr
        whole = left_by_build(out)
        disk.free()
        assert forks.run(build(table, out)).code == 0
        assert left_by_build(out) == whole
        entries = [path for path in cache.rglob("*") if path.name.endswith((".arrow", "complete"))]
        assert sorted(path.name for path in entries) == [f"mini-fold{k}.arrow" for k in range(5)]
        shutil.rmtree(cache)


def test_a_disk_that_is_read_only(forks: Forks, table: Path, disk: Disk) -> None:
    disk.free()
    before = set(disk.place.iterdir())
    mount("-o", "remount,ro", disk.place)
    try:
        for order in (build(table, disk.place / "mini"), build_phantom(disk.place / "new" / "p")):
            message = problem(forks.run(order))
            assert "Read-only file system" in message
            assert str(disk.place) in message
    finally:
        mount("-o", "remount,rw", disk.place)
    assert set(disk.place.iterdir()) == before


@pytest.mark.parametrize("limit", [2_000, 16_000])
def test_a_limit_of_file_sizes(
    forks: Forks, table: Path, tmp_path: Path, undisturbed: dict[str, bytes], limit: int
) -> None:
    """The same without a disk of its own: reached by a scan, reached by the data."""
    out = tmp_path / "limited" / "mini"
    message = problem(forks.run(build(table, out), file_limit=limit))
    assert "File too large" in message
    nothing_half_written(out)
    assert forks.run(build(table, out)).code == 0
    assert left_by_build(out) == undisturbed


def places(table: Path, tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    return {
        "this path is taken and is no cohort folder": tmp_path / "file",
        "is taken": tmp_path / "full",
        "path is taken": table.parent,
        "is a file, no folder can be made in it": tmp_path / "file" / "deeper" / "mini",
        "lies inside the scan 'series'": table.parent / "series" / "deeper" / "mini",
        "this path is": table.parent / "series",
    }


def test_places_that_are_refused(forks: Forks, table: Path, tmp_path: Path) -> None:
    source = sorted(path for path in table.parent.rglob("*"))
    for text, out in places(table, tmp_path).items():
        message = problem(forks.run(build(table, out)))
        assert text in message
        assert "Next: choose another" in message
    assert sorted(path for path in table.parent.rglob("*")) == source
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    message = problem(forks.run(build_phantom(tmp_path / "file" / "p")))
    assert "is a file, no folder can be made in it" in message


def test_places_that_work(forks: Forks, table: Path, tmp_path: Path) -> None:
    """Missing parents, inside the table's folder, through a link, and beside what is there."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "nowhere").symlink_to(tmp_path / "target")
    outs = [
        tmp_path / "a" / "b" / "mini",
        table.parent / "mini",
        tmp_path / "link" / "mini",
        tmp_path / "nowhere",
    ]
    for out in outs:
        ended = forks.run([*build(table, out), "--name", "mini"])
        assert ended.code == 0, ended.stderr
        assert forks.run([*build(table, out), "--name", "mini"]).code == 0
    first = left_by_build(outs[0])
    assert left_by_build(outs[1]) == left_by_build(outs[2]) == first
    assert (tmp_path / "target" / "manifest.json").is_file()


def test_a_lock_that_cannot_be_made(forks: Forks, table: Path, tmp_path: Path) -> None:
    (tmp_path / ".mini.lock").mkdir()
    message = problem(forks.run(build(table, tmp_path / "mini")))
    assert ".mini.lock" in message
    assert "Is a directory" in message


def test_too_many_open_files_are_not_the_fault_of_a_scan(tmp_path: Path) -> None:
    scan = write_volume(tmp_path / "scan.nii.gz", 0)
    read_scan(scan)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
    held: list[IO[bytes]] = []
    try:
        with suppress(OSError):
            held.extend(scan.open("rb") for _ in range(used))
        with pytest.raises(OSError, match="Too many open files"):
            read_scan(scan)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for stream in held:
            stream.close()


def test_a_failed_write_says_which_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "old")

    def disk_full() -> None:
        with replacing(path) as part:
            part.write_text("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"notes\.txt") as caught:
        disk_full()
    assert "notes.txt" in str(system_failure(caught.value))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("notes.txt", "old")]
