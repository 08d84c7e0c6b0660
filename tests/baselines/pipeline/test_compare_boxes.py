from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ictmri.atlas.template import SHAPE, grid_affine
from ictmri.errors import InputError
from ictmri.io.volumes import pack
from ictmri_baselines.localizer.boxes import SliceBoxes, write_boxes
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.pipeline.compare_boxes import compare_boxes

CORES = {"a": (20, 50, 40), "b": (70, 50, 50), "c": (45, 60, 40)}
"""Corner of each case's cube of 7 voxels: left, right, and over the midline."""


def cube(corner: tuple[int, int, int], edge: int = 7) -> np.ndarray:
    volume = np.zeros(SHAPE, dtype=np.uint8)
    volume[tuple(slice(n, n + edge) for n in corner)] = 1
    return volume


def packed(voxels: np.ndarray) -> dict[str, Any]:
    return pack(nib.Nifti1Image(voxels, grid_affine(2.0)), "case")


class MadeCohort:
    """What is asked of a processed cohort; its scans lie in MNI152 space already."""

    name = "made"
    synthetic = True

    def __init__(self, root: Path, *, truth: bool = True) -> None:
        self.root = root
        configs = {"processed": 1} | ({"truth": 1} if truth else {})
        self.manifest = SimpleNamespace(steps={"process": {}}, configs=configs, left_out={})

    def folds(self) -> Any:
        return SimpleNamespace(rows=[SimpleNamespace(case_id=name) for name in CORES])

    def rows(self, *_: object) -> Any:
        brain = np.zeros(SHAPE, dtype=np.uint8)
        brain[10:87, 20:100, 20:80] = 1
        for name, corner in CORES.items():
            oedema = 3 * cube(corner, 11)
            core = cube(corner)
            yield {
                "case_id": name,
                "lesion_mask": packed(np.where(core, core, oedema).astype(np.uint8)),
                "brain_mask": packed(brain),
                "scan_from_mni": np.eye(4).ravel().tolist(),
                "warp": None,
            }


def boxes_file(path: Path, volumes: dict[str, np.ndarray]) -> None:
    parts = []
    for name, volume in volumes.items():
        rows = Region(volume.astype(np.float32), "boxes").boxes() or [SliceBoxes(0, (), "boxes")]
        write_boxes(path, name, rows, spacing_mm=2.0, detector="boxes")
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))


@pytest.fixture
def cohort(tmp_path: Path) -> MadeCohort:
    (tmp_path / "boxes").mkdir()
    true = {name: cube(corner) for name, corner in CORES.items()}
    boxes_file(tmp_path / "boxes" / "saliency.jsonl", true)
    half = {"a": true["a"][::-1], "b": cube((70, 50, 50), 5), "c": np.zeros(SHAPE)}
    boxes_file(tmp_path / "other.jsonl", half)
    return MadeCohort(tmp_path)


def test_true_boxes_are_right_and_a_confusion_of_sides_is_counted(cohort: Any) -> None:
    table = compare_boxes(cohort, "saliency", str(cohort.root / "other.jsonl"))
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    assert table.synthetic is True
    right = rows["saliency"]
    assert (right["cores found"], right["cores"], right["recall"], right["IoU"]) == (3, 3, 1, 1)
    assert (right["same side"], right["other side"], right["without a box"]) == (2, 0, 0)
    turned = rows["saliency, mirrored"]
    assert (turned["cores found"], turned["same side"], turned["other side"]) == (1, 0, 2)
    other = rows["other.jsonl"]
    assert (other["cores found"], other["without a box"]) == (1, 1)
    assert (other["same side"], other["other side"]) == (1, 1)
    assert other["IoU"] == pytest.approx(125 / 343 / 3)
    assert rows["saliency, at random"]["IoU"] < 0.3


def test_without_truth_the_second_file_is_the_reference(cohort: Any) -> None:
    blind = MadeCohort(cohort.root, truth=False)
    table = compare_boxes(blind, "saliency", str(cohort.root / "other.jsonl"))
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    assert list(rows) == ["saliency", "saliency, mirrored", "saliency, at random"]
    assert (rows["saliency"]["cores"], rows["saliency"]["cores found"]) == (2, 1)
    assert "no truth" in table.text()


def test_a_file_without_some_cases_is_no_file_without_boxes(cohort: Any) -> None:
    path = cohort.root / "other.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"c"' not in line))
    with pytest.raises(InputError, match="no line of case c"):
        compare_boxes(cohort, "saliency", str(path))


def test_no_such_file_is_named(cohort: Any) -> None:
    with pytest.raises(InputError, match=r"'salience' is no boxes file.*saliency"):
        compare_boxes(cohort, "salience", "saliency")
