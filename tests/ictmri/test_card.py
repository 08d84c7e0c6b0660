import json
from pathlib import Path

import mlcroissant
import yaml

from ictmri.builders.folder import build_folder


def test_the_card_is_valid_and_computed(mini_table: Path, tmp_path: Path) -> None:
    root = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root
    _, header, body = (root / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(header)
    (config,) = card["configs"]
    assert config["default"] is True
    assert [f["split"] for f in config["data_files"]] == ["fold0", "fold1", "fold2"]
    assert all((root / f["path"]).is_file() for f in config["data_files"])
    assert "| Glioma | 2 | 2 | 2 | 6 |" in body
    assert "SYNTHETIC" not in body


def test_the_croissant_file_validates_and_iterates(mini_table: Path, tmp_path: Path) -> None:
    root = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root
    dataset = mlcroissant.Dataset(jsonld=str(root / "croissant.json"))
    assert not dataset.metadata.issues.errors
    records = list(dataset.records("default"))
    assert len(records) == 15
    ids = {record["default/case_id"].decode() for record in records}
    assert ids == {f"mini-{number:04d}" for number in range(1, 16)}


def test_the_manifest_covers_every_file(mini_table: Path, tmp_path: Path) -> None:
    root = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root
    manifest = json.loads((root / "manifest.json").read_text())
    on_disk = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == on_disk - {"manifest.json"}
    assert manifest["synthetic"] is False
