"""Permissions: the umask is honoured, what is one person's stays so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ictmri.io.files import new_folder, replacing, write_bytes, write_text
from ictmri.transaction import opened_work


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_a_written_file_has_what_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        write_bytes(tmp_path / "new" / "a.bin", b"1")
        (tmp_path / "b.bin").write_bytes(b"1")
        with replacing(tmp_path / "secret", mode=0o600) as part:
            assert mode(part) == 0o600  # before anything is in it
            part.write_bytes(b"1")
    assert mode(tmp_path / "new" / "a.bin") == mode(tmp_path / "b.bin")
    assert mode(tmp_path / "new") == 0o777 & ~mask
    assert mode(tmp_path / "secret") == 0o600


def test_a_writer_that_replaces_the_file_changes_no_permissions(tmp_path: Path) -> None:
    for left, kept in ((0o600, 0o640), (0o666, 0o640)):
        with umask(0o027), replacing(tmp_path / "a") as part:
            part.unlink()
            part.touch()
            part.chmod(left)
        assert mode(tmp_path / "a") == kept


def test_a_file_that_was_narrowed_by_hand_is_not_widened_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with umask(0o022):
        write_text(path, "1")
        path.chmod(0o400)
        write_text(path, "2")
    assert (path.read_text(), mode(path)) == ("2", 0o600)


def test_a_work_folder_is_its_owners_even_if_it_was_there(tmp_path: Path) -> None:
    with umask(0):
        work = opened_work(tmp_path / "c", "cases", {"a": 1})
        assert mode(work) == 0o700
        work.chmod(0o755)
        opened_work(tmp_path / "c", "cases", {"a": 1})
        assert mode(work) == 0o700
    with umask(0o027), new_folder(tmp_path / "made") as part:
        assert mode(part) == 0o700
    assert mode(tmp_path / "made") == 0o750
