"""Boxes, the file that they are published as, its replay on other grids, and the choice of a detector."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from support.made_brain import made_brain

from ictmri.atlas.template import grid_affine, template
from ictmri.errors import InputError
from ictmri_baselines.localizer.boxes import (
    LINE,
    Box,
    SliceBoxes,
    Tokens,
    numbers_only,
    read_boxes,
    regrid,
    write_boxes,
)
from ictmri_baselines.localizer.classical.saliency import Saliency
from ictmri_baselines.localizer.detectors import (
    detector_settings,
    option_of,
    recorded,
)
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.replay import Replay
from ictmri_baselines.registry import DETECTORS, imported

ROWS = [
    SliceBoxes(30, (Box(1, 2, 3, 4, 0.5), Box(5, 6, 97, 115)), "test"),
    SliceBoxes(
        31,
        (),
        "test",
        model="m@1",
        prompt_sha256="0" * 64,
        reply='Nothing — "here"\n\u2028',
        problems=("no-json",),
        tokens=Tokens(400, 3),
    ),
]


@pytest.fixture
def boxes_file(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.jsonl"
    write_boxes(path, "case-0001", ROWS, spacing_mm=2, detector="test")
    return path


@pytest.mark.parametrize("spacing", [1, 2])
def test_the_grid_is_the_templates(spacing: int) -> None:
    grid = Grid(spacing)
    assert grid.shape == template(spacing).mask.shape
    index = np.array([3, 50, 20])
    begins = apply_affine(grid_affine(spacing), index) - spacing / 2
    assert [grid.edge_mm(axis, index[axis]) for axis in range(3)] == pytest.approx(list(begins))
    assert grid.edge_index(1, grid.edge_mm(1, 50)) == 50


def test_a_volume_off_the_grid_is_refused() -> None:
    brain = made_brain({30: None})
    assert Grid.of(brain.image) == Grid(2)
    with pytest.raises(ValueError, match="MNI152"):
        Grid.of(brain.image.slicer[1:])
    with pytest.raises(ValueError, match="MNI152"):
        Grid.of(brain.image.slicer[:, :, ::-1])


def test_rows_survive_the_file(boxes_file: Path) -> None:
    assert read_boxes(boxes_file) == {"case-0001": ROWS}
    assert read_boxes(boxes_file, spacing_mm=2, case_ids=["case-0001"]) == {"case-0001": ROWS}
    for line in boxes_file.read_bytes().strip().split(b"\n"):
        jsonschema.validate(json.loads(line), LINE.json_schema())
    jsonschema.Draft202012Validator.check_schema(LINE.json_schema())


def test_millimetres_stand_beside_voxels(boxes_file: Path) -> None:
    row = json.loads(boxes_file.read_text().split("\n")[0])
    affine = grid_affine(2)
    low = apply_affine(affine, np.array([1, 2, 30]) - 0.5)
    high = apply_affine(affine, np.array([3, 4, 31]) - 0.5)
    assert row["boxes"][0]["mm"] == [low[0], low[1], high[0], high[1]]
    assert row["slice_mm"] == [low[2], high[2]]


def test_a_case_without_findings_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "boxes.jsonl"
    write_boxes(path, "case-0002", [], spacing_mm=1, detector="saliency")
    assert read_boxes(path) == {"case-0002": [SliceBoxes(96, (), "saliency")]}


def edited(path: Path, *changes: object) -> Path:
    """Append the file's first line once for each change."""
    lines = path.read_text().splitlines()
    for change in changes:
        row = json.loads(lines[0])
        if isinstance(change, dict):
            lines.append(json.dumps(row | change))
        else:
            lines.append(str(change))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_bad_line_is_named_at_once(boxes_file: Path) -> None:
    box = json.loads(boxes_file.read_text().split("\n")[0])["boxes"][0]
    elsewhere = {"slice": 33, "slice_mm": [-13.0, -11.0]}
    edited(
        boxes_file,
        {},  # 3
        "not json",  # 4
        {"slice": 97, "slice_mm": [115.0, 117.0]},  # 5
        elsewhere | {"boxes": [box | {"voxels": [3, 2, 1, 4]}]},  # 6
        {"slice": 34},  # 7
        {"slice": 35, "slice_mm": [-9.0, -7.0], "spacing_mm": 1},  # 8
        {"slice": True},  # 9
        {"colour": "red"},  # 10
        {"case_id": "case-0009"},  # 11
        {"boxes": [box | {"score": float("nan")}]},  # 12
        '{"schema": "ictmri/boxes/2"}',  # 13
        elsewhere | {"slice": 36, "boxes": [box | {"voxels": [90, 2, 98, 4]}]},  # 14
    )
    with pytest.raises(InputError) as caught:
        read_boxes(boxes_file, case_ids=["case-0001"])
    told = "\n".join(caught.value.problems)
    for number, reason in {
        3: "slice 30 of case-0001, as line 1",
        4: "Invalid JSON",
        5: "slice 97 of a grid with slices 0 to 96",
        6: "box 0: voxels (3, 2, 1, 4) hold nothing",
        7: "slice 34 does not lie at (-19, -17) mm",
        8: "a grid of 1 mm; the lines before are of 2 mm",
        9: "slice: Input should be a valid integer",
        10: "colour is no part of a line",
        11: "unknown case 'case-0009'; did you mean 'case-0001'?",
        12: "boxes.0.score: Input should be a finite number",
        13: "schema: Input should be 'ictmri/boxes/1'",
        14: "box 0: voxels (90, 2, 98, 4) of a slice of 97 x 115",
    }.items():
        assert f"line {number}: {reason}" in told
    assert "line 2:" not in told


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_boxes(tmp_path / "no.jsonl")
    (tmp_path / "wide.jsonl").write_text("{}\n", encoding="utf-16")
    with pytest.raises(InputError, match="UTF-16, not UTF-8"):
        read_boxes(tmp_path / "wide.jsonl")
    (tmp_path / "odd.jsonl").write_bytes(b"\xff\xff\n{}\n")
    with pytest.raises(InputError, match=r"line 1(.|\n)*line 2"):
        read_boxes(tmp_path / "odd.jsonl")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"slice": 10**400}, "slice: "),
        ({"slice": 10**30}, "slice: "),
        ({"slice": -1}, "slice: "),
        ({"slice": "30"}, "slice: "),
        ({"slice": float("nan")}, "slice: "),
        ({"slice": None}, "slice: "),
        ({"spacing_mm": 10**400}, "spacing_mm: "),
        ({"spacing_mm": 0}, "spacing_mm: "),
        ({"slice_mm": [1e308, -1e308]}, "slice_mm.0: "),
        ({"boxes": [{"voxels": [10**400, 2, 3, 4], "mm": [0, 0, 0, 0]}]}, "boxes.0.voxels.0: "),
        ({"boxes": [{"voxels": [1, 2, 10**9, 4], "mm": [0, 0, 0, 0]}]}, "boxes.0.voxels.2: "),
        ({"boxes": [{"voxels": [1, 2, 3, 4], "mm": [0, 0, 0, 1e300]}]}, "boxes.0.mm.3: "),
        ({"boxes": [{"voxels": [1, 2, 3], "mm": [0, 0, 0, 0]}]}, "boxes.0.voxels.3: "),
        ({"boxes": None}, "boxes: "),
        ({"tokens": {"prompt": None, "completion": 1}}, "tokens.prompt: "),
        ({"k" * 500: 1}, "k" * 100 + " is no part"),
        ("[" * 100_000, "Invalid JSON: recursion limit"),
        ('{"slice": ' + "9" * 5000 + "}", "Invalid JSON"),
        ("x" * (1024 * 1024 + 5), "more than 1048576 bytes"),
    ],
)
def test_each_kind_of_line_that_is_none(boxes_file: Path, change: object, told: str) -> None:
    edited(boxes_file, change)
    with pytest.raises(InputError, match=re.escape(f"line 3: {told}")):
        read_boxes(boxes_file, case_ids=["case-0001"])


def test_a_key_that_stands_twice_is_no_guess(boxes_file: Path) -> None:
    first, *rest = boxes_file.read_text().split("\n")
    twice = first.replace('"boxes": ', '"boxes": [], "boxes": ')
    boxes_file.write_text("\n".join([twice, *rest]))
    with pytest.raises(InputError, match="line 1: the key 'boxes' stands twice in one object"):
        read_boxes(boxes_file)


CASES = [f"case-{number:04d}" for number in range(500)]


@pytest.mark.parametrize("bad", ["unknown", "no json", "empty", "twice", "one long line"])
def test_a_file_of_a_million_bad_lines_costs_little(
    boxes_file: Path, bad: str, tmp_path: Path
) -> None:
    first = boxes_file.read_text().splitlines()[0]
    line = {
        "unknown": first.replace("case-0001", "case-9999"),
        **{"no json": "{}", "empty": "", "twice": first, "one long line": "x" * 200},
    }[bad]
    path = tmp_path / "many.jsonl"
    path.write_text((line + ("" if bad == "one long line" else "\n")) * 100_000)
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        read_boxes(path, case_ids=CASES)
    assert time.process_time() - started < 3
    assert len(caught.value.problems) <= 206


def test_a_file_that_never_ends_is_none(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            read_boxes(path)
        with pytest.raises(InputError, match="not a regular file"):
            recorded(Replay(boxes=path))


def test_a_cohort_holds_numbers_and_no_words() -> None:
    row = SliceBoxes(
        31, (Box(1, 2, 3, 4, 0.5),), "Dr Mueller", model="Dr Mueller", prompt_sha256="0" * 64,
        reply="Dr Mueller", problems=("Dr Mueller",), tokens=Tokens(1, 2),
    )  # fmt: skip
    assert numbers_only(row, "boxes") == SliceBoxes(31, (Box(1, 2, 3, 4, 0.5),), "boxes")
    assert numbers_only(replace(row, detector="openai"), "boxes").detector == "openai"


@given(
    st.sampled_from([(1, 2), (2, 1), (2, 4), (1, 3)]),
    st.integers(0, 60),
    st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 12)] * 2),
)
def test_on_another_grid_nothing_is_lost(
    spacings: tuple[int, int], index: int, place: tuple[int, int, int, int]
) -> None:
    """Every mm of the box is in a box on the new grid, which is less than a voxel larger on each side."""
    source, target = map(Grid, spacings)
    index = min(index, source.shape[2] - 1)
    box = Box(place[0], place[1], place[0] + place[2], place[1] + place[3], 0.5)
    moved = regrid([SliceBoxes(index, (box,), "test")], source, target)
    assert moved
    low = source.edge_mm(2, index)
    high = source.edge_mm(2, index + 1)
    assert target.edge_mm(2, moved[0].slice) <= max(low, target.edge_mm(2, 0))
    assert target.edge_mm(2, moved[-1].slice + 1) >= min(high, target.edge_mm(2, target.shape[2]))
    reach = (source.spacing_mm + target.spacing_mm) / 2
    for row in moved:
        centre = target.edge_mm(2, row.slice + 0.5)
        assert abs(centre - (low + high) / 2) <= reach
        (found,) = row.boxes
        for axis, (mine, other) in enumerate([((box.x0, box.x1), (found.x0, found.x1))]):
            slack = source.edge_mm(axis, mine[0]) - target.edge_mm(axis, other[0])
            assert 0 <= slack < target.spacing_mm or other[0] == 0
            slack = target.edge_mm(axis, other[1]) - source.edge_mm(axis, mine[1])
            assert 0 <= slack < target.spacing_mm or other[1] == target.shape[axis]


def test_the_same_boxes_from_several_slices_are_one() -> None:
    rows = [SliceBoxes(z, (Box(10, 10, 20, 20, 0.5),), "test", reply="r") for z in (40, 41, 42)]
    moved = regrid(rows, Grid(1), Grid(2))
    assert [(row.slice, len(row.boxes), row.reply) for row in moved] == [
        (20, 1, None),
        (21, 1, None),
    ]


def test_replay_gives_the_rows_of_the_case(boxes_file: Path, tmp_path: Path) -> None:
    settings = Replay(boxes=boxes_file)
    brain = made_brain({30: None})
    settings.prepare(["case-0001"])
    assert settings.detector(case_id="case-0001").detect(brain) == ROWS
    fine = settings.detector(case_id="case-0001").detect(made_brain({60: None}, spacing_mm=1))
    assert [row.slice for row in fine] == [59, 60, 61, 62, 63]
    assert fine[1].boxes[0] == Box(1, 3, 6, 8, 0.5)
    with pytest.raises(InputError, match=r"no line of case case-0002(.|\n)*no line of case case-3"):
        settings.prepare(["case-0001", "case-0002", "case-3"])
    with pytest.raises(InputError, match="no line of case case-0002"):
        settings.detector(case_id="case-0002").detect(brain)
    with pytest.raises(InputError, match="unknown case 'case-0001'"):
        settings.prepare(["case-0002"])
    settings.prepare([], left_out=["case-0001"])
    assert str(tmp_path) not in json.dumps(recorded(settings))


def test_a_changed_file_is_another_detector(boxes_file: Path) -> None:
    settings = Replay(boxes=boxes_file)
    before = recorded(settings)
    assert settings.detector(case_id="case-0001").detect(made_brain({30: None}))
    write_boxes(boxes_file, "case-0001", ROWS[:1], spacing_mm=2, detector="test")
    assert recorded(settings) != before
    assert settings.detector(case_id="case-0001").detect(made_brain({30: None})) == ROWS[:1]


def test_settings_are_checked_at_once() -> None:
    assert detector_settings("saliency", model=None) == Saliency()
    with pytest.raises(InputError, match="did you mean 'openai'"):
        detector_settings("openia")
    with pytest.raises(InputError) as caught:
        detector_settings("openai", base_url="ftp://u:p@x", boxes="f.jsonl", pixels=100)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        *("--option pixels", "--base-url", "--model is needed"),
        "--boxes is not an option of this detector",
    ]
    with pytest.raises(InputError, match="--base-url: must hold no password"):
        detector_settings("openai", base_url="http://u:p@x/v1", model="m")


@pytest.mark.parametrize("name", DETECTORS)
def test_settings_travel_to_workers(name: str, boxes_file: Path) -> None:
    (boxes_file.parent / "case.nii.gz").touch()
    given = {
        "openai": {"base_url": "http://x/v1", "model": "m"},
        "boxes": {"boxes": boxes_file},
        "masks": {"masks": boxes_file.parent},
    }
    settings = detector_settings(name, **given.get(name, {}))
    assert pickle.loads(pickle.dumps(settings)) == settings
    facts = recorded(settings)
    assert (facts["detector"], facts["detector_version"]) == (name, settings.version)
    assert settings.detector()
    assert json.loads(json.dumps(facts)) == facts
    assert settings.parallel == (name in {"saliency", "synthetic", "boxes", "masks"})


def test_every_option_is_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "detectors.md").read_text()
    fields = {field for kind in map(imported, DETECTORS.values()) for field in kind.model_fields}
    assert {field for field in fields if f"`{option_of(field)}" not in text} == set()
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert example
    line = example[1].replace("\n", "").replace('"..."', f'"{"0" * 64}"', 1)
    assert LINE.validate_json(line).boxes[0].mm == (7.0, -53.0, 25.0, -35.0)


def test_choosing_a_detector_loads_no_model() -> None:
    """Nor does checking its settings: the command line must start at once."""
    text = """
import sys
from ictmri_baselines.localizer.detectors import detector_settings, recorded
settings = detector_settings("openai", base_url="http://x/v1", model="m")
settings.detector(), recorded(settings)
recorded(detector_settings("qwen3-vl"))
detector_settings("qwen3-vl").detector()
print(*({"torch", "transformers", "openai"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
