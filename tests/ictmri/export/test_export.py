"""Exports, checked with the tools that they are for: the BIDS validator, MONAI, nibabel, csv."""

import csv
import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from ictmri.build.folder import build_folder
from ictmri.build.phantom import build_phantom
from ictmri.build.write import add_config, in_order
from ictmri.classes import CLASSES
from ictmri.cli.app import application
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.export import write
from ictmri.export.bids import DERIVATIVES, acquisition_sidecar
from ictmri.export.convert import portable
from ictmri.export.write import Target, export_cohort
from ictmri.folds import FoldRow
from ictmri.io.volumes import pack, unpack
from ictmri.manifest import fingerprints
from ictmri.schema import COLUMNS

TARGETS: tuple[Target, ...] = ("bids", "monai", "nnunet", "nifti")
ACQUISITION = (
    "case_id,field_strength_t,repetition_time_ms,echo_time_ms,inversion_time_ms,flip_angle_deg,"
    "slice_thickness_mm,vendor,acquisition\n{case_id},3,2300,2.98,900,9,1,siemens,3D\n"
)
UNKNOWABLE = {
    "NO_AUTHORS",
    "TOO_FEW_AUTHORS",
    "JSON_KEY_RECOMMENDED",
    "SIDECAR_KEY_RECOMMENDED",
}
"""Warnings about what a cohort does not hold: authors, source, scanner, sequence."""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    root = tmp_path_factory.mktemp("phantom") / "phantom"
    return build_phantom(root, n_cases=8, n_folds=3, spacing=6.0, jobs=1)


@pytest.fixture
def mini(mini_table: Path, tmp_path: Path) -> Cohort:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort


@pytest.fixture
def processed(mini: Cohort) -> Cohort:
    """The made-up cohort with a processed config, priors, and one scan that tells how it was made."""
    stored = {row["case_id"]: row for row in mini.rows("default")}

    def processed_row(row: FoldRow) -> dict[str, Any]:
        scan = unpack(stored[row.case_id]["image"])
        levels = np.clip(np.asarray(scan.dataobj), 0, 255).astype(np.uint8)
        levels[0, 0, :2] = (127, 128)
        mask = nib.Nifti1Image((levels > 0).astype(np.uint8), scan.affine)
        return {
            "case_id": row.case_id,
            "image": stored[row.case_id]["image"],
            "brain_mask": pack(mask, f"{row.case_id}_mask"),
            "prior_coarse": pack(nib.Nifti1Image(levels, scan.affine), row.case_id),
            "prior_refined": pack(mask, row.case_id),
            "warp": None,
            "scan_from_mni": np.diag([1.0, 2, 3, 1]).ravel().tolist(),
            "label": row.label,
            "fold": row.fold,
            "synthetic": False,
        }

    return add_config(
        mini,
        "processed",
        map(processed_row, in_order(mini.folds().rows)),
        steps={"process": {"settings": {"spacing_mm": 2}, "left_out": {}}},
        extra_files={
            "acquisition.csv": ACQUISITION.format(case_id=mini.folds().case_ids[0]).encode()
        },
    )


def stored_volumes(cohort: Cohort, config: str, column: str) -> dict[str, bytes]:
    return {row["case_id"]: row[column]["bytes"] for row in cohort.rows(config)}


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def validated(root: Path) -> list[dict[str, Any]]:
    """Issues that the BIDS validator finds, those of derivatives included, without a network."""
    if find_spec("bids_validator_deno") is None or find_spec("deno") is None:
        pytest.skip("the BIDS validator is not installed (bids-validator-deno, extra dev)")
    import bids_validator_deno
    from deno import find_deno_bin

    validator = Path(bids_validator_deno.__file__).with_name("bids-validator.js")
    allowed = ["--allow-read", "--allow-env", "--deny-net", "--deny-write", "--no-prompt"]
    done = subprocess.run(
        [find_deno_bin(), "run", *allowed, validator, root, "-r", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    parts = [report, *report.get("derivativesSummary", {}).values()]
    assert len(parts) == 1 + len(list(root.glob("derivatives/*")))
    return [issue for part in parts for issue in part["issues"]["issues"]]


def codes(issues: list[dict[str, Any]], severity: str) -> set[str]:
    return {issue["code"] for issue in issues if issue["severity"] == severity}


# BIDS


@pytest.mark.parametrize("config", ["default", "truth"])
def test_bids_of_a_phantom_is_valid(phantom: Cohort, tmp_path: Path, config: Any) -> None:
    out = export_cohort(phantom, "bids", tmp_path / "bids", config=config).root
    issues = validated(out)
    assert codes(issues, "error") == set()
    assert codes(issues, "warning") <= UNKNOWABLE
    for words in ("Name", "README", "participants.json"):
        text = (out / "dataset_description.json" if words == "Name" else out / words).read_text()
        assert "SYNTHETIC" in text
    with (out / "participants.tsv").open() as file:
        assert {row["synthetic"] for row in csv.DictReader(file, delimiter="\t")} == {"true"}


def test_bids_of_scans_is_valid(processed: Cohort, tmp_path: Path) -> None:
    out = export_cohort(processed, "bids", tmp_path / "bids", config="processed").root
    issues = validated(out)
    assert codes(issues, "error") == set()
    # The units were not in the header of these scans.
    assert codes(issues, "warning") <= UNKNOWABLE
    missing = {
        (issue.get("subCode"), issue["location"])
        for issue in issues
        if issue["code"] == "SIDECAR_KEY_RECOMMENDED"
    }
    told = f"/sub-{processed.folds().case_ids[0].replace('-', '')}/anat"
    for key in ("EchoTime", "FlipAngle", "MagneticFieldStrength", "Manufacturer"):
        assert not [where for name, where in missing if name == key and where.startswith(told)]
    assert "SYNTHETIC" not in "".join(path.read_text() for path in out.rglob("README"))


def test_the_validator_sees_a_broken_export(phantom: Cohort, tmp_path: Path) -> None:
    out = export_cohort(phantom, "bids", tmp_path / "bids").root
    scan = next(out.rglob("*T1w.nii.gz"))
    scan.rename(scan.with_name("scan.nii.gz"))
    assert codes(validated(out), "error")


def test_participants_are_the_cases(mini: Cohort, tmp_path: Path) -> None:
    out = export_cohort(mini, "bids", tmp_path / "bids").root
    with (out / "participants.tsv").open() as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    folds = {row.case_id: row for row in mini.folds().rows}
    assert list(rows) == list(folds)
    for case in mini.rows("default", ["case_id", "sex", "age", "subtype", "label"]):
        row = rows[case["case_id"]]
        assert row["participant_id"] == "sub-" + case["case_id"].replace("-", "")
        assert (out / row["participant_id"] / "anat").is_dir()
        assert row["sex"] == ("n/a" if case["sex"] is None else ("female", "male")[case["sex"]])
        assert row["age"] == ("n/a" if case["age"] is None else str(round(case["age"], 4)))
        assert row["diagnosis"] == CLASSES[case["label"]] == folds[case["case_id"]].label
        assert (row["fold"], row["subtype"]) == (str(folds[case["case_id"]].fold), "n/a")
    assert {row["age"] for row in rows.values()} > {"n/a"}


def test_acquisition_is_in_the_units_of_bids() -> None:
    mprage = {"repetition_time_ms": "2300", "echo_time_ms": "2.98", "inversion_time_ms": "900"}
    assert acquisition_sidecar(mprage | {"vendor": "ge", "acquisition": "3D"}) == {
        "EchoTime": 0.00298,
        "InversionTime": 0.9,
        "MRAcquisitionType": "3D",
        "Manufacturer": "GE",
        "RepetitionTimePreparation": 2.3,
    }
    spoiled = {"repetition_time_ms": "7.1", "inversion_time_ms": "0", "slice_thickness_mm": ""}
    assert acquisition_sidecar(spoiled) == {"RepetitionTimeExcitation": 0.0071}


def test_a_probseg_reads_as_probabilities_of_the_stored_voxels(
    processed: Cohort, tmp_path: Path
) -> None:
    out = export_cohort(processed, "bids", tmp_path / "bids", config="processed").root
    for case_id, content in stored_volumes(processed, "processed", "prior_coarse").items():
        label = f"sub-{case_id.replace('-', '')}"
        (path,) = out.rglob(f"{label}_*_probseg.nii.gz")
        levels = np.asarray(unpack({"bytes": content}).dataobj)
        np.testing.assert_allclose(nib.load(path).get_fdata(), levels / 255, atol=1e-6)
        assert np.array_equal(nib.load(path).dataobj.get_unscaled(), levels)


def test_every_volume_of_the_schema_has_a_bids_name() -> None:
    """All but the warp: BIDS has no name for displacement fields."""
    columns = {
        (config, column.name)
        for config in ("processed", "truth")
        for column in COLUMNS[config]  # type: ignore[index]
        if column.kind == "nifti" and column.name != "warp"
    }
    assert {(kind.config, kind.column) for kind in DERIVATIVES} == columns


def older_header(content: bytes, units: int, kind: type) -> bytes:
    """A volume as cohorts may hold it that were built before types and units were made alike."""
    image = unpack({"bytes": content})
    stored = np.asarray(image.dataobj).astype(kind)
    volume = bytearray(nib.Nifti1Image(stored, image.affine, dtype=stored.dtype).to_bytes())
    volume[123] = units
    return gzip.compress(bytes(volume), mtime=0)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int8, np.uint32, np.int16, np.float64])
@pytest.mark.parametrize("units", [0, 1, 3, 7, 8 | 3])
def test_what_leaves_is_in_millimetres_and_of_common_types(
    mini: Cohort, kind: type, units: int
) -> None:
    stored = next(iter(stored_volumes(mini, "default", "image").values()))
    assert portable(stored) == stored
    levels = np.asarray(unpack({"bytes": stored}).dataobj) % 100
    small = pack(nib.Nifti1Image(levels, unpack({"bytes": stored}).affine), "")["bytes"]
    found = unpack({"bytes": portable(older_header(small, units, kind))})
    assert found.get_data_dtype() == (np.float64 if kind is np.float64 else np.int16)
    assert found.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(found.dataobj), levels)
    np.testing.assert_array_equal(found.affine, unpack({"bytes": stored}).affine)


# MONAI


def test_monai_reads_the_datalists(mini: Cohort, tmp_path: Path) -> None:
    monai_data = pytest.importorskip("monai.data")
    from monai.transforms import LoadImage

    out = export_cohort(mini, "monai", tmp_path / "monai").root
    assert len(list(out.glob("datalist_fold*.json"))) == mini.manifest.n_folds
    rows = mini.folds().rows
    facts = {row["case_id"]: row for row in mini.rows("default", ["case_id", "age"])}
    voxels = stored_volumes(mini, "default", "image")
    for fold in range(mini.manifest.n_folds):
        for key, inside in (("training", False), ("test", True)):
            cases = monai_data.load_decathlon_datalist(
                out / f"datalist_fold{fold}.json", is_segmentation=False, data_list_key=key
            )
            expected = [row for row in rows if (row.fold == fold) is inside]
            assert [case["case_id"] for case in cases] == [row.case_id for row in expected]
            assert [case["label"] for case in cases] == [CLASSES.index(r.label) for r in expected]
            assert [case["age"] for case in cases] == [
                facts[row.case_id]["age"] for row in expected
            ]
            # An unknown text must not become a path, which MONAI makes of an empty one.
            assert {case["sex"] for case in cases} <= {"female", "male", None}
            monai_data.check_missing_files(cases, keys="image")
    image = LoadImage(image_only=True)(cases[0]["image"])
    stored = unpack({"bytes": voxels[cases[0]["case_id"]]})
    assert np.array_equal(np.asarray(image), stored.get_fdata())
    whole = monai_data.load_decathlon_datalist(out / "dataset.json", is_segmentation=False)
    assert {case["case_id"]: case["fold"] for case in whole} == {r.case_id: r.fold for r in rows}


# nnU-Net


def nnunet_dataset(root: Path) -> tuple[Path, dict[str, Any]]:
    (folder,) = root.glob("Dataset*")
    return folder, json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize("config", ["truth", "processed"])
def test_nnunet_has_our_folds_and_consecutive_labels(
    config: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cohort = request.getfixturevalue("phantom" if config == "truth" else "processed")
    folder, dataset = nnunet_dataset(export_cohort(cohort, "nnunet", tmp_path / "nn").root)
    rows = cohort.folds().rows
    assert dataset["numTraining"] == len(rows)
    assert sorted(dataset["labels"].values()) == list(range(len(dataset["labels"])))
    splits = json.loads((folder / "splits_final.json").read_text())
    assert [split["val"] for split in splits] == [
        [row.case_id for row in rows if row.fold == fold] for fold in range(len(splits))
    ]
    assert all(len(split["train"] + split["val"]) == len(rows) for split in splits)
    seen: set[int] = set()
    for row in rows:
        image = nib.load(folder / "imagesTr" / f"{row.case_id}_0000.nii.gz")
        labels = nib.load(folder / "labelsTr" / f"{row.case_id}.nii.gz")
        assert image.shape == labels.shape
        assert np.allclose(image.affine, labels.affine)
        assert labels.get_data_dtype() == np.uint8
        seen |= set(np.unique(np.asarray(labels.dataobj)).tolist())
    assert seen == set(dataset["labels"].values())


def test_nnunet_labels_are_the_prior_from_one_half(processed: Cohort, tmp_path: Path) -> None:
    folder, _ = nnunet_dataset(export_cohort(processed, "nnunet", tmp_path / "nn").root)
    for case_id, content in stored_volumes(processed, "processed", "prior_coarse").items():
        levels = np.asarray(unpack({"bytes": content}).dataobj)
        labels = np.asarray(nib.load(folder / "labelsTr" / f"{case_id}.nii.gz").dataobj)
        assert np.array_equal(labels, levels / 255 >= 0.5)


def test_nnunet_without_labels_is_refused(mini: Cohort, phantom: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no label maps") as caught:
        export_cohort(mini, "nnunet", tmp_path / "nn")
    assert "--to monai" in caught.value.next_step
    with pytest.raises(InputError, match="no label maps"):
        export_cohort(phantom, "nnunet", tmp_path / "nn", config="default")
    assert not (tmp_path / "nn").exists()


# all layouts


def test_plain_nifti_and_its_table(mini: Cohort, tmp_path: Path) -> None:
    out = export_cohort(mini, "nifti", tmp_path / "nifti").root
    with (out / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case_id"], r["patient_id"], r["class"], int(r["fold"])) for r in rows] == [
        (row.case_id, row.patient_id, row.label, row.fold) for row in mini.folds().rows
    ]
    voxels = stored_volumes(mini, "default", "image")
    for row in rows:
        assert (out / row["image"]).read_bytes() == voxels[row["case_id"]]
        assert CLASSES[int(row["label"])] == row["class"]
        assert row["synthetic"] == "false"


@pytest.mark.parametrize(
    ("target", "image", "mask"),
    [
        (
            "bids",
            "sub-{label}/anat/sub-{label}_ce-gadolinium_T1w.nii.gz",
            "derivatives/phantom-truth/sub-{label}/anat/sub-{label}_ce-gadolinium_desc-lesion_dseg.nii.gz",
        ),
        ("monai", "images/{case}.nii.gz", "lesion_mask/{case}.nii.gz"),
        (
            "nnunet",
            "Dataset500_IctmriPhantomN83folds/imagesTr/{case}_0000.nii.gz",
            "Dataset500_IctmriPhantomN83folds/labelsTr/{case}.nii.gz",
        ),
        ("nifti", "images/{case}.nii.gz", "lesion_mask/{case}.nii.gz"),
    ],
)
def test_volumes_leave_as_they_are_stored(
    phantom: Cohort, tmp_path: Path, target: Target, image: str, mask: str
) -> None:
    files = files_of(export_cohort(phantom, target, tmp_path / "out", config="truth").root)
    expected = {}
    for config, column, path in (("default", "image", image), ("truth", "lesion_mask", mask)):
        for case, content in stored_volumes(phantom, config, column).items():
            expected[path.format(case=case, label=case.replace("-", ""))] = content
    volumes = {name: content for name, content in files.items() if name.endswith(".nii.gz")}
    assert volumes == expected


@pytest.mark.parametrize("target", TARGETS)
def test_readme_tells_folds_privacy_licence(
    processed: Cohort, tmp_path: Path, target: Target
) -> None:
    out = export_cohort(processed, target, tmp_path / "out", config="processed").root
    text = next(out.glob("README*")).read_text()
    assert processed.folds().sha256 in text
    assert "as private as the cohort" in text
    assert "Licence: unknown" in text
    assert "SYNTHETIC" not in text


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_of_the_owner_leaves(processed: Cohort, tmp_path: Path, target: Target) -> None:
    out = export_cohort(processed, target, tmp_path / "out", config="processed").root
    words = (b"HOSP-", b"scan_1", str(tmp_path).encode(), tmp_path.name.encode())
    for name, content in files_of(out).items():
        assert not [word for word in words if word in content or word.decode() in name], name


def test_licence_and_changes_of_the_cohort_go_along(mini: Cohort, tmp_path: Path) -> None:
    card = (mini.root / "README.md").read_text().replace("license: unknown", "license: cc-by-4.0")
    for name, text in (("README.md", card), ("LICENSE", "the text\n")):
        (mini.root / name).write_text(text)
    manifest = json.loads((mini.root / "manifest.json").read_text())
    manifest["version"] = "1.1.0"
    manifest["history"] = [{"version": "1.1.0", "change": "two cases were added", "cases": []}]
    manifest["files"] |= fingerprints(mini.root, only=["README.md", "LICENSE"])
    (mini.root / "manifest.json").write_text(json.dumps(manifest))
    out = export_cohort(open_cohort(mini.root), "bids", tmp_path / "bids").root
    assert (out / "LICENSE").read_text() == "the text\n"
    assert json.loads((out / "dataset_description.json").read_text())["License"] == "cc-by-4.0"
    assert (out / "CHANGES").read_text() == (
        "1.1.0\n - two cases were added\n\n1.0.0\n - first version of the data\n"
    )


# whole or not at all


def test_an_interrupted_export_goes_on_and_ends_the_same(
    mini: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export_cohort(mini, "nifti", tmp_path / "whole").root
    written: list[Path] = []

    def counting(path: Path, content: bytes, *, limit: int) -> None:
        if len(written) == limit:
            raise KeyboardInterrupt
        written.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    out = tmp_path / "out"
    monkeypatch.setattr(write, "write_bytes", lambda p, c: counting(p, c, limit=4))
    with pytest.raises(KeyboardInterrupt):
        export_cohort(mini, "nifti", out)
    assert not out.exists()
    monkeypatch.setattr(write, "write_bytes", lambda p, c: counting(p, c, limit=99))
    export_cohort(mini, "nifti", out)
    assert len(written) == len(set(written)) == 15
    assert files_of(out) == files_of(whole)
    assert not [path for path in tmp_path.iterdir() if path.name == ".out.export"]


def test_work_of_another_export_is_not_taken_over(
    mini: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another cohort")
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(write, "write_bytes", cut)
        with pytest.raises(KeyboardInterrupt):
            export_cohort(mini, "monai", out)
    files = files_of(export_cohort(mini, "nifti", out).root)
    assert b"of another cohort" not in files.values()
    assert "dataset.json" not in files


def test_a_finished_export_is_left_alone(mini: Cohort, tmp_path: Path) -> None:
    first = export_cohort(mini, "nifti", tmp_path / "out")
    stamp = (first.root / "cases.csv").stat().st_mtime_ns
    time.sleep(0.01)
    assert export_cohort(mini, "nifti", tmp_path / "out") == first
    assert (first.root / "cases.csv").stat().st_mtime_ns == stamp


def _foreign(out: Path, _: Cohort) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")


def _another(out: Path, cohort: Cohort) -> None:
    export_cohort(cohort, "monai", out)


def _cut(out: Path, cohort: Cohort) -> None:
    root = export_cohort(cohort, "nifti", out).root
    next(root.rglob("*.nii.gz")).write_bytes(b"")


@pytest.mark.parametrize(
    ("before", "message"),
    [(_foreign, "is no export"), (_another, "another export"), (_cut, "cut short")],
)
def test_what_stands_there_is_not_touched(
    mini: Cohort, tmp_path: Path, before: Callable[[Path, Cohort], None], message: str
) -> None:
    out = tmp_path / "out"
    before(out, mini)
    content = files_of(out)
    with pytest.raises(InputError, match=message):
        export_cohort(mini, "nifti", out)
    assert files_of(out) == content


def test_wrong_places_and_damaged_cohorts(mini: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inside the cohort"):
        export_cohort(mini, "nifti", mini.root / "nifti")
    with pytest.raises(InputError, match="no config 'truth'"):
        export_cohort(mini, "nifti", tmp_path / "out", config="truth")
    path = mini.root / "data" / "default" / "fold1-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fold1.*SHA-256"):
        export_cohort(mini, "nifti", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_of_the_cohort_gives_the_same_export(phantom: Cohort, tmp_path: Path) -> None:
    shutil.copytree(phantom.root, tmp_path / "elsewhere")
    exports = [
        export_cohort(cohort, "bids", tmp_path / name, config="truth").root
        for name, cohort in (("a", phantom), ("b", open_cohort(tmp_path / "elsewhere")))
    ]
    assert files_of(exports[0]) == files_of(exports[1])


def test_the_command(phantom: Cohort, tmp_path: Path) -> None:
    arguments = ["export", str(phantom.root), "--to", "nifti", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(application(), arguments)
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC phantom, 8 cases" in done.output
    assert (tmp_path / "out" / "cases.csv").is_file()
