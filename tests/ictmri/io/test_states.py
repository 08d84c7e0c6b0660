"""Own states that a disk damaged: named, set aside, and that part of the work done again."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from support.damage import DAMAGES, damage
from support.made_cohort import left_by_build, write_table

from ictmri.build import write as assemble
from ictmri.build.folder import build_folder
from ictmri.cohort import open_cohort
from ictmri.errors import InputError
from ictmri.export.write import export_cohort
from ictmri.hub.cache import kept_release
from ictmri.io.lock import work_folder
from ictmri.io.states import json_mapping, kept, needed, read_record, write_record
from ictmri.loader import load_dataset
from ictmri.scans.findings import read_findings
from ictmri.transaction import opened_work

PLAIN = [how for how in DAMAGES if how != "garbled"]
"""What shows in a file that carries no checksum."""


class StoppedError(Exception):
    """The command was ended here."""


def stop(*_: object) -> None:
    raise StoppedError


@pytest.mark.parametrize("how", PLAIN)
def test_a_damaged_state_is_set_aside_and_named(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stamp.json"
    assert kept(path, json_mapping) is None
    path.write_text('{"inputs": 1}\n')
    assert kept(path, json_mapping) == {"inputs": 1}
    assert capsys.readouterr().err == ""
    damage(path, how)
    with pytest.raises(InputError, match=r"(?s)stamp\.json.*is damaged.*Next: again"):
        needed(path, json_mapping, "again")
    damaged = path.read_bytes()
    assert kept(path, json_mapping) is None
    assert not path.exists()
    assert (tmp_path / "stamp.json.damaged").read_bytes() == damaged
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path} is damaged (")
    assert line.endswith("set aside as stamp.json.damaged, this part is done again")


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.touch()

    def refused(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        kept(path, refused)
    assert path.exists()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("which", ["case.json", "case.nii.gz"])
def test_a_record_vouches_for_its_files(how: str, which: str, tmp_path: Path) -> None:
    record, volume = tmp_path / "case.json", tmp_path / "case.nii.gz"
    volume.write_bytes(b"voxels" * 9)
    write_record(record, {"voxels": 9}, [volume])
    assert read_record(record) == {"voxels": 9}
    damage(tmp_path / which, how)
    assert read_record(record) is None
    assert (tmp_path / f"{which}.damaged").is_file()
    assert read_record(record) is None


def test_a_record_whose_file_is_gone_counts_no_more(tmp_path: Path) -> None:
    volume = tmp_path / "case.nii.gz"
    volume.write_bytes(b"voxels")
    write_record(tmp_path / "case.json", {}, [volume])
    volume.unlink()
    assert read_record(tmp_path / "case.json") is None


@pytest.mark.parametrize("how", ["cut", "garbled"])
def test_a_build_goes_on_after_its_states_were_damaged(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file of each kind, of a case each, and the stamp of all."""
    table = write_table(tmp_path / "source")
    out = tmp_path / "out" / "mini"
    with monkeypatch.context() as patched:
        patched.setattr(assemble, "_write", stop)
        with pytest.raises(StoppedError):
            build_folder(table, out, jobs=1)
    work = work_folder(out, "cases")
    shutil.copytree(work, tmp_path / "kept")
    names = ["mini-0001.json", "mini-0002.nii.gz", "mini-0003.webp"]
    names += [path.name for path in sorted(work.glob("*.npy"))[3:4]]
    for name in names:
        damage(work / name, how)
    build_folder(table, out, jobs=1)
    told = capsys.readouterr().err
    assert all(f"{work / name} is damaged" in told for name in names if how != "garbled")
    found = left_by_build(out)
    shutil.rmtree(out.parent)
    build_folder(table, out, jobs=1)
    assert found == left_by_build(out)


def test_a_damaged_stamp_empties_the_work_folder(tmp_path: Path) -> None:
    for how in DAMAGES:
        work = opened_work(tmp_path / "mini", "cases", {"inputs": 1})
        (work / "case.json").touch()
        damage(work / "stamp.json", how)
        opened_work(tmp_path / "mini", "cases", {"inputs": 1})
        assert [path.name for path in work.iterdir()] == ["stamp.json"]


def test_an_export_goes_on_after_its_states_were_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = build_folder(write_table(tmp_path / "source"), tmp_path / "mini", jobs=1).cohort
    expected = export_cohort(cohort, "nifti", tmp_path / "whole").record
    for which in ("volume", "export.json"):
        for how in PLAIN:
            out = tmp_path / which / how
            with monkeypatch.context() as patched:
                patched.setattr("ictmri.export.write._files", stop)
                with pytest.raises(StoppedError):
                    export_cohort(cohort, "nifti", out)
            volume, *_ = sorted(work_folder(out, "export").rglob("*.nii.gz"))
            damage(volume if which == "volume" else work_folder(out, "export") / which, how)
            assert export_cohort(cohort, "nifti", out).record == expected
            damage(out / "export.json", how)
            with pytest.raises(InputError, match=r"(?s)export\.json.*is damaged"):
                export_cohort(cohort, "nifti", out)


@pytest.mark.parametrize("how", PLAIN)
def test_a_note_of_a_release_is_read_as_none(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path))
    ref = tmp_path / "hub" / "org--name" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text("0" * 40 + "\n")
    damage(ref, how)
    assert kept_release("org/name") is None
    assert not ref.exists()


def test_a_damaged_copy_in_the_datasets_cache_is_made_again(tmp_path: Path) -> None:
    cohort = build_folder(write_table(tmp_path / "source"), tmp_path / "mini", jobs=1).cohort
    place = {"cache_dir": tmp_path / "a", "split": "fold0"}
    rows = load_dataset(cohort.root, **place).to_dict()
    for which in ("dataset_info.json", "mini-fold0.arrow"):
        for how in PLAIN:
            (path,) = (tmp_path / "a").rglob(which)
            damage(path, how)
            assert load_dataset(cohort.root, **place).to_dict() == rows


def test_a_damaged_cohort_is_named_with_its_file(tmp_path: Path) -> None:
    cohort = build_folder(write_table(tmp_path / "source"), tmp_path / "mini", jobs=1).cohort
    for name, read in (("findings.json", read_findings), ("manifest.json", open_cohort)):
        path = cohort.root / name
        whole = path.read_bytes()
        for how in PLAIN:
            damage(path, how)
            with pytest.raises(InputError, match=name.replace(".", r"\.")):
                read(cohort.root)
            path.write_bytes(whole)
    content = json_mapping(cohort.root / "manifest.json")
    for key in content:
        (cohort.root / "manifest.json").write_text(json.dumps(content | {key: [3]}))
        if key != "history":
            with pytest.raises(InputError, match=r"manifest\.json"):
                open_cohort(cohort.root)
    (cohort.root / "manifest.json").write_text(json.dumps(content | {"files": {"a": 1}}))
    with pytest.raises(InputError, match="no SHA-256"):
        open_cohort(cohort.root)
    for steps in ({"process": 1}, {"process": {"left_out": [1]}}):
        (cohort.root / "manifest.json").write_text(json.dumps(content | {"steps": steps}))
        with pytest.raises(InputError, match="no object"):
            open_cohort(cohort.root)
    known = {"sha256": "0" * 64, "bytes": 1}
    for name in ("../mine.csv", "/etc/hosts", "data/", "data/default/../../../x", "C:\\x", "a//b"):
        (cohort.root / "manifest.json").write_text(json.dumps(content | {"files": {name: known}}))
        with pytest.raises(InputError, match="no plain path"):
            open_cohort(cohort.root)
