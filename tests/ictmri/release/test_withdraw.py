"""Versions: a case leaves, the others stay where they were, and both versions load side by side."""

from pathlib import Path

import pytest
from support.commandline import run
from support.made_volumes import write_volume

from ictmri.build.folder import build_folder
from ictmri.build.pseudonyms import link_path, read_link
from ictmri.build.write import add_config
from ictmri.changes import changes_text, next_version
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.export import write as export
from ictmri.loader import load_dataset
from ictmri.release import withdraw as leaving
from ictmri.release.publish import identifiers
from ictmri.release.withdraw import add_erratum, withdraw
from ictmri.verify.cohort import check_rows
from ictmri.verify.privacy import leaks


@pytest.fixture
def cohort(mini_table: Path, tmp_path: Path) -> Cohort:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3, jobs=1).cohort


@pytest.mark.parametrize(
    ("part", "after"), [("major", "2.0.0"), ("minor", "1.3.0"), ("patch", "1.2.4")]
)
def test_version_numbers(part: str, after: str) -> None:
    assert next_version("1.2.3", part) == after  # type: ignore[arg-type]


def test_the_folds_of_the_others_stay(cohort: Cohort, tmp_path: Path) -> None:
    before = {row.case_id: row for row in cohort.folds().rows}
    done = withdraw(cohort, ["mini-0004", "mini-0009"], "consent", tmp_path / "second")
    after = {row.case_id: row for row in done.folds().rows}
    assert set(before) - set(after) == {"mini-0004", "mini-0009"}
    assert all(before[case_id] == row for case_id, row in after.items())
    assert done.manifest.version == "2.0.0"
    done.check()
    check_rows(done, "default")
    assert leaks(done) == []
    rows = {row["case_id"]: row for row in cohort.rows("default")}
    assert all(rows[row["case_id"]] == row for row in done.rows("default"))
    assert read_link(link_path(done.root)) == read_link(link_path(cohort.root))


def test_cases_that_were_not_processed_take_no_other_with_them(
    cohort: Cohort, tmp_path: Path
) -> None:
    rows = [
        {
            **{name: row[name] for name in ("case_id", "image", "label", "fold", "synthetic")},
            **dict.fromkeys(("prior_coarse", "prior_refined", "warp")),
            "brain_mask": row["image"],
            "scan_from_mni": [0.0] * 16,
        }
        for row in cohort.rows("default")
    ]
    out = {rows[1]["case_id"]: "no brain", rows[7]["case_id"]: "no brain"}
    kept = [row for row in rows if row["case_id"] not in out]
    steps = {"process": {"settings": {}, "left_out": out}}
    processed = add_config(cohort, "processed", kept, leave_out=out, steps=steps)
    done = withdraw(processed, [rows[3]["case_id"]], "consent", tmp_path / "second")
    check_rows(done, "processed")
    assert [row["case_id"] for row in done.rows("processed")] == [
        row["case_id"] for row in kept if row is not rows[3]
    ]


def test_nothing_of_the_case_is_left(cohort: Cohort, tmp_path: Path) -> None:
    (volume,) = (
        row["image"]["bytes"] for row in cohort.rows("default") if row["case_id"] == "mini-0004"
    )
    done = withdraw(cohort, ["mini-0004"], "consent", tmp_path / "second")
    content = {path: path.read_bytes() for path in done.root.rglob("*") if path.is_file()}
    assert not any(volume[200:400] in content_of for content_of in content.values())
    named = {path.name for path, content_of in content.items() if b"mini-0004" in content_of}
    assert named <= {"manifest.json", "CHANGES.md", "README.md"}


def test_two_versions_load_side_by_side(cohort: Cohort, tmp_path: Path) -> None:
    done = withdraw(cohort, ["mini-0004"], "other", tmp_path / "second")
    assert sum(split.num_rows for split in load_dataset(cohort.root).values()) == 15
    assert sum(split.num_rows for split in load_dataset(done.root).values()) == 14
    assert sum(split.num_rows for split in load_dataset(cohort.root).values()) == 15


def test_the_old_version_is_not_touched(cohort: Cohort, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in cohort.root.rglob("*") if p.is_file()}
    withdraw(cohort, ["mini-0004"], "quality", tmp_path / "second")
    assert before == {p: p.read_bytes() for p in cohort.root.rglob("*") if p.is_file()}


def test_versions_add_up_and_are_told(cohort: Cohort, tmp_path: Path) -> None:
    second = withdraw(cohort, ["mini-0004"], "consent", tmp_path / "second")
    fixed = add_erratum(second, "The age of one case was wrong in the card.", ["mini-0001"])
    third = withdraw(fixed, ["mini-0001"], "diagnosis", tmp_path / "third")
    text = (third.root / "CHANGES.md").read_text()
    versions = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert versions == ["3.0.0", "2.0.1", "2.0.0", "1.0.0"]
    assert "consent was taken back" in text
    assert "Erratum: The age of one case was wrong" in text
    assert open_cohort(fixed.root).manifest.version == "2.0.1"
    fixed.check()


def test_mistakes_are_all_named(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        withdraw(cohort, ["mini-004", "x"], "because", cohort.root)
    told = "\n".join(caught.value.problems)
    assert "did you mean 'mini-00" in told
    assert "no case 'x'" in told
    assert "unknown reason 'because'" in told
    assert "is taken" in told
    one_fold = [row.case_id for row in cohort.folds().rows if row.fold == 1]
    with pytest.raises(InputError, match="fold 1 would be empty"):
        withdraw(cohort, one_fold, "other", tmp_path / "second")
    with pytest.raises(InputError, match="text of the erratum is empty"):
        add_erratum(cohort, " ", [])


def test_a_link_to_the_cohort_and_the_folder_itself_lead_to_what_lies_beside(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(cohort.root)
    known = identifiers(cohort)
    assert len(known) > 10
    for name in (tmp_path / "link", cohort.root / "data" / ".."):
        assert identifiers(open_cohort(name)) == known
    done = withdraw(open_cohort(tmp_path / "link"), ["mini-0004"], "consent", tmp_path / "second")
    assert read_link(link_path(done.root)) == read_link(link_path(cohort.root))
    monkeypatch.chdir(cohort.root)
    assert identifiers(open_cohort(".")) == known
    here = withdraw(open_cohort("."), ["mini-0004"], "consent", tmp_path / "third")
    assert link_path(here.root).is_file()


def test_what_others_changed_meanwhile_is_kept(cohort: Cohort, tmp_path: Path) -> None:
    """Each opened the cohort before the other was done: two errata are two versions."""
    other = open_cohort(cohort.root)
    assert add_erratum(cohort, "First.", []).manifest.version == "1.0.1"
    assert add_erratum(other, "Second.", []).manifest.version == "1.0.2"
    text = (cohort.root / "CHANGES.md").read_text()
    assert "First." in text
    assert "Second." in text
    assert withdraw(other, ["mini-0004"], "other", tmp_path / "new").manifest.version == "2.0.0"
    assert "Second." in (tmp_path / "new" / "CHANGES.md").read_text()


def test_a_new_version_is_not_written_into_the_old_one(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="lies inside the cohort"):
        withdraw(cohort, ["mini-0004"], "consent", cohort.root / "sub")
    assert leaks(cohort) == []


def test_the_first_version_says_so(cohort: Cohort) -> None:
    assert "## 1.0.0\n\nFirst release." in changes_text(cohort.manifest)


def test_by_the_command_line(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "v2"
    done = run("withdraw", cohort.root, "mini-0004", "--reason", "consent", "--out", out)
    assert "mini 2.0.0: 14 cases" in done.stdout


def test_new_patients_join_and_the_others_stay(
    cohort: Cohort, mini_table: Path, tmp_path: Path
) -> None:
    write_volume(tmp_path / "scans" / "new.nii.gz", 99)
    mini_table.write_text(mini_table.read_text() + "HOSP-0001,scans/new.nii.gz,rare,,50,F\n")
    done = build_folder(mini_table, tmp_path / "second", n_folds=3, previous=cohort, jobs=1).cohort
    before = {row.case_id: row for row in cohort.folds().rows}
    after = {row.case_id: row for row in done.folds().rows}
    assert set(after) - set(before) == {"mini-0016"}
    assert all(after[case_id] == row for case_id, row in before.items())
    assert after["mini-0016"].fold not in {r.fold for r in before.values() if r.label == "rare"}
    assert (done.name, done.manifest.version) == ("mini", "1.1.0")
    assert "1 cases added" in (done.root / "CHANGES.md").read_text()
    assert leaks(done) == []
    lines = (tmp_path / "second.link.csv").read_text().splitlines()
    assert set((tmp_path / "mini.link.csv").read_text().splitlines()) <= set(lines)


def test_a_successor_must_fit(cohort: Cohort, mini_table: Path, tmp_path: Path) -> None:
    (tmp_path / "mini.link.csv").unlink()
    with pytest.raises(InputError) as caught:
        build_folder(mini_table, tmp_path / "b", name="other", n_folds=2, previous=cohort)
    told = "\n".join(caught.value.problems)
    assert "no link file beside it" in told
    assert "not 'other'" in told
    assert "3 folds, not 2" in told


def test_a_cohort_that_changes_meanwhile_is_not_half_copied(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: object) -> None:
        add_erratum(cohort, "Meanwhile.", [])

    for module, step in ((export, "_write_volumes"), (leaving, "_copy_the_rest")):
        monkeypatch.setattr(module, step, changed)
    with pytest.raises(InputError, match="was changed meanwhile"):
        export.export_cohort(cohort, "nifti", tmp_path / "export")
    with pytest.raises(InputError, match="was changed meanwhile"):
        withdraw(open_cohort(cohort.root), ["mini-0004"], "other", tmp_path / "new")
    assert not {"export", "new", "new.link.csv"} & {path.name for path in tmp_path.iterdir()}
