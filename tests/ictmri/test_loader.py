import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import nibabel as nib
import pytest

from ictmri.build import phantom
from ictmri.build.folder import build_folder
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import AccessError, InputError
from ictmri.loader import load_dataset
from ictmri.lookup import find_cohort, find_folds


@pytest.fixture
def cohort(mini_table: Path, tmp_path: Path) -> Path:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root


def run(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_returns_what_datasets_returns(cohort: Path) -> None:
    ours, theirs = load_dataset(cohort), datasets.load_dataset(str(cohort))
    assert ours.keys() == theirs.keys() == {"fold0", "fold1", "fold2"}
    assert ours["fold0"].features == theirs["fold0"].features
    assert ours["fold0"]["case_id"] == theirs["fold0"]["case_id"]


def test_a_fold_is_train_and_test(cohort: Path) -> None:
    whole = load_dataset(cohort, fold=2)
    assert set(whole["test"]["fold"]) == {2}
    assert set(whole["train"]["fold"]) == {0, 1}
    assert load_dataset(cohort, fold=2, split="test")["case_id"] == whole["test"]["case_id"]


def test_volumes_are_nifti_images(cohort: Path) -> None:
    image = load_dataset(cohort, split="fold0[:1]")[0]["image"].nifti_image
    assert isinstance(image, nib.Nifti1Image)
    assert image.shape == (20, 24, 18)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")


@pytest.mark.parametrize("fold", [None, 0])
def test_streaming_gives_the_same_cases(cohort: Path, fold: int | None) -> None:
    copied = load_dataset(cohort, fold=fold)
    streamed = load_dataset(cohort, fold=fold, streaming=True)
    for split in copied:
        ids = [row["case_id"] for row in streamed[split]]
        assert ids == list(copied[split]["case_id"])


def test_joined_splits_as_in_datasets(cohort: Path) -> None:
    joined = load_dataset(cohort, split="fold0+fold2")
    streamed = load_dataset(cohort, split="fold0+fold2", streaming=True)
    assert [row["case_id"] for row in streamed] == list(joined["case_id"])


def test_home_is_looked_up_before_the_cache(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ICTMRI_HOME", str(tmp_path))
    assert find_cohort("mini").root == tmp_path / "mini"


def test_the_literal_call_works_afterwards_from_anywhere(cohort: Path, tmp_path: Path) -> None:
    load_dataset(cohort)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import datasets; print(datasets.load_dataset('mini')['fold1'].num_rows)"
    assert run(code, elsewhere) == "5"


def test_the_literal_call_gets_the_default_config(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ictmri.build.write import add_config
    from ictmri.cohort import open_cohort

    opened = open_cohort(cohort)
    with_processed = add_config(
        opened,
        "processed",
        [
            {
                "case_id": row["case_id"],
                "image": row["image"],
                "brain_mask": row["image"],
                "prior_coarse": None,
                "prior_refined": None,
                "warp": None,
                "scan_from_mni": [0.0] * 16,
                "label": row["label"],
                "fold": row["fold"],
                "synthetic": False,
            }
            for row in opened.rows("default")
        ],
        steps={"process": {"settings": "test"}},
    )
    load_dataset(with_processed.root)
    load_dataset(with_processed.root, "processed")
    code = "import datasets; d = datasets.load_dataset('mini'); print('age' in d['fold0'].features)"
    assert run(code, tmp_path / "scans") == "True"
    code = code.replace("'mini'", "'mini', 'processed'")
    assert run(code, tmp_path / "scans") == "False"


def test_an_edited_fold_file_is_refused_by_name(cohort: Path) -> None:
    path = cohort / "folds.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(InputError, match="fold table of 'mini' was edited or reordered"):
        load_dataset(cohort)
    with pytest.raises(InputError, match="edited or reordered"):
        find_folds(cohort)


def test_damaged_data_are_refused(cohort: Path, tmp_path: Path) -> None:
    path = cohort / "data" / "default" / "fold1-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fold1.*SHA-256"):
        load_dataset(cohort, cache_dir=tmp_path / "fresh")
    path.write_bytes(content[:-10])
    with pytest.raises(InputError, match="bytes instead of"):
        load_dataset(cohort, streaming=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fold": 3}, "choose 0 to 2"),
        ({"fold": -1}, "choose 0 to 2"),
        ({"fold": 0, "split": "fold1"}, "train or test"),
        ({"split": "fold7"}, "there are fold0, fold1, fold2"),
        ({"split": "fold7", "streaming": True}, "fold0, fold1, fold2"),
        ({"name": "processed"}, "ictmri process"),
    ],
)
def test_wrong_arguments_say_what_there_is(
    cohort: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(cohort, **arguments)


def test_the_first_load_of_the_phantom_tells_what_it_makes_and_the_second_nothing(
    cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def build(out: Path) -> Cohort:
        return open_cohort(shutil.copytree(cohort, out))

    capsys.readouterr()
    monkeypatch.setattr(phantom, "build_phantom", build)
    monkeypatch.setattr(phantom, "usable_cores", lambda: 2)
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path))
    find_cohort("ictmri-phantom")
    told = capsys.readouterr().err.partition("\n")[0]
    assert f"once, in {tmp_path / 'ictmri-phantom'}: 249 synthetic heads, about 2 min" in told
    assert "on 2 cores, 309 MB" in told
    find_cohort("ictmri-phantom")
    assert capsys.readouterr().err == ""


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ictmri-phantom'"):
        load_dataset("ictmri-fantom")


def test_a_folder_that_is_no_cohort_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_dataset(tmp_path)


def test_the_clinical_cohort_without_access_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AccessError) as caught:
        load_dataset("ictmri")
    text = str(caught.value)
    for part in ("gated", "DeepSite-MRI", "ICTMRI_HOME", "ictmri-phantom"):
        assert part in text


def test_the_package_folder_is_never_taken_for_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    with pytest.raises(AccessError):
        load_dataset("ictmri")
    tracked = [p for p in (root / "ictmri").rglob("*") if "__pycache__" not in p.parts]
    data = {".csv", ".json", ".jsonl", ".parquet", ".nii", ".gz", ".txt", ".tsv", ".zip"}
    assert not [p for p in tracked if p.suffix in data]
    assert not (root / "ictmri" / "ictmri.py").exists()


def test_importing_is_light() -> None:
    code = (
        "import sys, ictmri; "
        "print([m for m in ('torch', 'datasets', 'monai', 'pandas') if m in sys.modules])"
    )
    assert run(code, Path.cwd()) == "[]"


def test_a_copy_of_the_folder_is_the_same_dataset(cohort: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cohort, copy)
    assert load_dataset(copy)["fold0"]["case_id"] == load_dataset(cohort)["fold0"]["case_id"]
