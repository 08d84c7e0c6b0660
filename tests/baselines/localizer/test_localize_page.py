import io
import stat
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ictmri.atlas.template import template
from ictmri.pages.triplanar import EDGE, GAP, PLANES, SIZE, brain_grey, letter
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.localizer.figure import COARSE_INK, REFINED_INK, figure
from ictmri_baselines.localizer.localize import FLAGS, Localization
from ictmri_baselines.localizer.page import LocalizedCase, localization_page


def found_at(x: int) -> tuple[Brain, Localization]:
    """A flat brain, and priors that are cubes on its right or its left."""
    target = template()
    refined = np.zeros(target.mask.shape, dtype=np.uint8)
    refined[x : x + 12, 50:62, 40:52] = 1
    coarse = np.zeros(refined.shape, dtype=np.float32)
    coarse[x - 4 : x + 16, 46:66, 36:56] = 0.8
    brain = Brain(
        nib.Nifti1Image(target.mask.astype(np.float32), target.affine),
        nib.Nifti1Image(target.mask.astype(np.uint8), target.affine),
    )
    boxes = [SliceBoxes(46, (Box(x, 50, x + 12, 62, 1.0),), "test")]
    priors = (nib.Nifti1Image(volume, target.affine) for volume in (coarse, refined))
    return brain, Localization(*priors, boxes, {}, ())


def columns_of(ink: tuple[int, int, int], picture: bytes) -> np.ndarray:
    """Columns of the axial tile that hold a colour, roughly: WebP blurs."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=int)[:, :EDGE]
    return np.flatnonzero((np.abs(pixels - ink).max(axis=-1) < 60).any(axis=0))


@pytest.mark.parametrize(("x", "right"), [(62, True), (24, False)])
def test_the_patients_right_is_on_the_left_of_the_picture(x: int, right: bool) -> None:
    picture = figure(*found_at(x))
    assert Image.open(io.BytesIO(picture)).size == SIZE
    refined, coarse = columns_of(REFINED_INK, picture), columns_of(COARSE_INK, picture)
    assert (refined.mean() < EDGE / 2) == right
    assert coarse.min() < refined.min() < refined.max() < coarse.max()


@pytest.mark.parametrize(("y", "front"), [(78, True), (22, False)])
def test_the_front_is_on_the_left_of_a_sagittal_plane(y: int, front: bool) -> None:
    brain, found = found_at(40)
    turned = np.zeros(brain.image.shape, dtype=np.uint8)
    turned[40:52, y : y + 12, 40:52] = 1
    refined = nib.Nifti1Image(turned, brain.image.affine)
    pixels = Image.open(io.BytesIO(figure(brain, replace(found, refined=refined))))
    sagittal = np.asarray(pixels.convert("RGB"), dtype=int)[:, 2 * (EDGE + GAP) :]
    columns = np.flatnonzero((np.abs(sagittal - REFINED_INK).max(axis=-1) < 60).any(axis=0))
    # The letters have nearly that colour.
    columns = columns[(columns > 25) & (columns < EDGE - 25)]
    assert (np.median(columns) < EDGE / 2) == front


@pytest.mark.parametrize(("axis", "letters"), PLANES)
def test_letters_stand_at_all_four_edges(axis: int, letters: str) -> None:
    """Left to right and top to bottom they are the two ends of the axes that are not cut."""
    ends = {0: "RL", 1: "AP", 2: "SI"}
    across, down = (ends[other] for other in range(3) if other != axis)
    assert letters == across + down
    picture = Image.new("RGB", (EDGE, EDGE))
    letter(picture, letters)
    inked = np.asarray(picture).max(axis=-1) > 128
    assert not inked[25:-25, 25:-25].any()
    for part in (inked[:, :25], inked[:, -25:], inked[:25], inked[-25:]):
        assert part.any()


def test_a_few_bright_vessels_do_not_darken_the_brain() -> None:
    brain = template().mask
    image = np.random.default_rng(0).normal(0, 1, brain.shape)
    plain = brain_grey(image, brain)
    sinuses = np.zeros(brain.shape, dtype=bool)
    sinuses.ravel()[np.flatnonzero(brain)[::200]] = True  # one in 200 voxels
    shown = brain_grey(np.where(sinuses, 40.0, image), brain)
    assert np.median(plain[brain]) == pytest.approx(0.5, abs=0.02)
    assert np.median(shown[brain]) == pytest.approx(0.5, abs=0.05)
    assert (shown[~brain] == 0).all()
    assert not brain_grey(image, np.zeros_like(brain)).any()


def test_where_nothing_was_found_there_is_a_picture_all_the_same() -> None:
    brain, _ = found_at(62)
    empty = nib.Nifti1Image(np.zeros(brain.image.shape, dtype=np.uint8), brain.image.affine)
    picture = figure(brain, Localization(empty, empty, [], {}, ("empty",)))
    assert len(columns_of(REFINED_INK, picture)) == 0


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_page_shows_what_is_odd_first(tmp_path: Path, synthetic: bool) -> None:
    (tmp_path / "p.webp").write_bytes(figure(*found_at(62)))
    volumes = {"a": 5.0, "b": 50.0, "c": 0.0, "d": 400.0}
    flags = {"c": ("empty",), "d": ("very-large",)}
    cases = [
        LocalizedCase(
            name,
            dict.fromkeys(("coarse_ml", "refined_ml", "components", "slices", "boxes"), ml),
            flags.get(name, ()),
            tmp_path / "p.webp",
        )
        for name, ml in volumes.items()
    ]
    path = tmp_path / "page.html"
    localization_page(path, cases, title="mine <1>", synthetic=synthetic)
    text = path.read_text()
    places = [text.index(f'id="{name}"') for name in "cdba"]
    assert places == sorted(places)
    assert ("SYNTHETIC" in text) == synthetic
    assert "mine &lt;1&gt;" in text
    assert FLAGS["empty"] in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
