import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm

from ictmri.atlas.template import template
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer import coarse_prior, localize
from ictmri_baselines.localizer.boxes import Box, SliceBoxes, read_boxes, write_boxes
from ictmri_baselines.localizer.classical.evidence import evidence_of
from ictmri_baselines.localizer.classical.grid_2mm import within
from ictmri_baselines.localizer.classical.refine import VoxelModel, refine
from ictmri_baselines.localizer.classical.saliency import SaliencyDetector, reported
from ictmri_baselines.localizer.prior import DILATION_MM, SIGMA_MM, stacked_boxes
from ictmri_baselines.localizer.region import Region

CUBE = [SliceBoxes(z, (Box(20, 18, 30, 26, 1.0),), "test") for z in range(16, 24)]
SHAPE = (48, 44, 40)


def brain_of(voxels: np.ndarray) -> Brain:
    target = template()
    return Brain(
        nib.Nifti1Image(np.where(target.mask, voxels, 0).astype(np.float32), target.affine),
        nib.Nifti1Image(target.mask.astype(np.uint8), target.affine),
    )


def standard_brain() -> np.ndarray:
    target = template()
    inside = target.brain[target.mask]
    middle = np.median(inside)
    return (target.brain - middle) / (1.4826 * np.median(np.abs(inside - middle)))


def ball(centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    target = template()
    grid = np.stack(np.meshgrid(*map(np.arange, target.mask.shape), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(target.affine, grid)
    return np.linalg.norm(world - np.array(centre_mm), axis=-1) <= radius_mm


def test_boxes_survive_the_file(tmp_path: Path) -> None:
    rows = [*CUBE, SliceBoxes(30, (Box(1, 2, 3, 4, 0.5), Box(5, 6, 7, 8, 0.25)), "test")]
    write_boxes(tmp_path / "boxes.jsonl", "case-1", rows, spacing_mm=2.0, detector="test")
    assert read_boxes(tmp_path / "boxes.jsonl") == {"case-1": rows}


def test_no_box_gives_an_empty_prior() -> None:
    prior = coarse_prior([], SHAPE, np.eye(4))
    assert prior.shape == SHAPE
    assert not prior.any()
    assert prior.dtype == np.float32


def test_without_dilation_the_prior_is_a_blurred_cube() -> None:
    """Against the closed form: the Gaussian's integral over an interval, axis by axis."""
    spacing, sigma = np.array([1.0, 2.0, 1.5]), 4.0
    affine = np.diag([*spacing, 1.0])
    prior = coarse_prior(CUBE, SHAPE, affine, sigma_mm=sigma, dilation_mm=0)
    expected = np.ones(())
    for n, (low, high), step in zip(SHAPE, ((20, 30), (18, 26), (16, 24)), spacing, strict=True):
        at = np.arange(n)
        scale = sigma / step
        axis = norm.cdf((high - 0.5 - at) / scale) - norm.cdf((low - 0.5 - at) / scale)
        expected = np.multiply.outer(expected, axis)
    np.testing.assert_allclose(prior, expected, atol=0.01)


def test_the_prior_is_the_same_in_millimetres_on_any_grid() -> None:
    """Twice the resolution, the same boxes in mm: the same prior where the grids meet."""
    coarse = coarse_prior(CUBE, SHAPE, np.diag([2.0, 2, 2, 1]))
    fine_boxes = [SliceBoxes(z, (Box(40, 36, 60, 52, 1.0),), "test") for z in range(32, 48)]
    fine = coarse_prior(fine_boxes, tuple(2 * n for n in SHAPE), np.eye(4))
    pooled = fine.reshape(48, 2, 44, 2, 40, 2).mean(axis=(1, 3, 5))
    assert np.abs(pooled - coarse).mean() < 0.005
    assert abs((fine > 0.5).sum() - 8 * (coarse > 0.5).sum()) < 0.15 * (fine > 0.5).sum()


def test_dilation_is_a_maximum_over_a_ball_in_millimetres() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    smooth = coarse_prior(CUBE, SHAPE, affine, dilation_mm=0)
    ball_2mm = np.zeros((5, 5, 3), dtype=bool)
    for x, y, z in np.ndindex(5, 5, 3):
        ball_2mm[x, y, z] = (x - 2) ** 2 + (y - 2) ** 2 + (2 * (z - 1)) ** 2 <= 4
    expected = ndimage.grey_dilation(smooth, footprint=ball_2mm)
    np.testing.assert_array_equal(coarse_prior(CUBE, SHAPE, affine, dilation_mm=2.0), expected)
    assert (SIGMA_MM, DILATION_MM) == (3.0, 2.0)


def test_the_prior_stays_a_probability() -> None:
    rows = [
        SliceBoxes(z, (Box(0, 0, 48, 44, 1.0), Box(3, 3, 9, 9, 9.0)), "test") for z in range(40)
    ]
    prior = coarse_prior(rows, SHAPE, np.eye(4))
    assert prior.min() >= 0
    assert prior.max() == 1


@pytest.mark.parametrize(
    ("centre", "contrast"),
    [
        ((12.0, -18.0, 8.0), 5.0),
        ((0.0, -28.0, 2.0), 5.0),
        ((-24.0, 4.0, 2.0), -4.0),
        ((30.0, -50.0, 30.0), 5.0),
    ],
)
def test_a_lesion_is_found_deep_or_lobar_bright_or_dark(
    centre: tuple[float, float, float], contrast: float
) -> None:
    lesion = ball(centre, 11)
    found = localize(brain_of(standard_brain() + contrast * lesion), SaliencyDetector())
    refined = np.asarray(found.refined.dataobj) > 0
    assert found.refined.get_data_dtype() == np.uint8
    assert refined[lesion].mean() > 0.8
    coarse = np.asarray(found.coarse.dataobj)
    assert 0 <= coarse.min() <= coarse.max() <= 1
    assert found.flags == ()


def test_beside_something_clear_the_second_look_marks_nothing_elsewhere() -> None:
    """A faint lump in the other thalamus is reported alone, and not beside a bright tumour far from it."""
    faint, clear = ball((-12.0, -20.0, 8.0), 9), ball((44.0, 20.0, 30.0), 9)
    voxels = standard_brain()
    voxels[faint] = np.median(voxels[faint]) + 0.7
    alone = evidence_of(brain_of(voxels))
    beside = evidence_of(brain_of(voxels + 5 * clear))
    assert alone is not None
    assert beside is not None
    assert any((c.region & faint).any() for c in reported(alone))
    assert any((c.region & clear).any() for c in reported(beside))
    assert not any((c.region & faint).any() for c in reported(beside))


@pytest.mark.parametrize("centre", [(44.0, -40.0, 34.0), (-40.0, 30.0, 24.0)])
def test_a_lobar_tumour_that_does_not_enhance_is_not_left_empty(
    centre: tuple[float, float, float],
) -> None:
    """A little darker than the tissue around it and far from the deep brain."""
    lesion = ball(centre, 13)
    found = localize(brain_of(standard_brain() - 1.2 * lesion), SaliencyDetector())
    assert (np.asarray(found.refined.dataobj) > 0)[lesion].mean() > 0.25


@pytest.mark.parametrize("contrast", [-2.0, 2.0])
def test_of_what_is_faint_the_strongest_deep_place_is_marked(contrast: float) -> None:
    """No brighter than white matter, no darker than grey: unlike the template and the other side only."""
    lesion = ball((14.0, -18.0, 8.0), 11)
    voxels = standard_brain()
    voxels[lesion] = np.median(voxels[lesion]) + contrast * 0.3
    refined = np.asarray(localize(brain_of(voxels), SaliencyDetector()).refined.dataobj) > 0
    assert refined[lesion].mean() > 0.25
    assert (refined & ~lesion).sum() * 0.008 < 10


def test_the_template_itself_shows_nothing() -> None:
    found = localize(brain_of(standard_brain()), SaliencyDetector())
    assert found.boxes == []
    assert not np.asarray(found.coarse.dataobj).any()
    assert not np.asarray(found.refined.dataobj).any()
    assert found.flags == ("empty",)


def test_the_same_brain_gives_the_same_bytes() -> None:
    voxels = standard_brain() + 5 * ball((12, -18, 8), 11)
    first, second = (localize(brain_of(voxels), SaliencyDetector()) for _ in range(2))
    assert first.boxes == second.boxes
    np.testing.assert_array_equal(first.refined.dataobj, second.refined.dataobj)


@dataclasses.dataclass
class Given:
    """A detector that says what it is told."""

    found: list[SliceBoxes] | Region

    def detect(self, brain: Brain) -> list[SliceBoxes] | Region:  # noqa: ARG002
        return self.found


def test_a_whole_brain_box_is_flagged_and_teaches_nothing() -> None:
    rows = [SliceBoxes(z, (Box(0, 0, 97, 115, 1.0),), "given") for z in range(97)]
    found = localize(brain_of(standard_brain()), Given(rows))
    assert found.flags[0] == "whole-brain"


def test_several_lesions_are_all_kept() -> None:
    lesions = [ball((-30, -20, 20), 9), ball((32, 20, 12), 9)]
    rows = []
    for lesion in lesions:
        x, y, z = ndimage.find_objects(lesion.astype(int))[0]
        box = Box(x.start, y.start, x.stop, y.stop, 1.0)
        rows += [SliceBoxes(k, (box,), "given") for k in range(z.start, z.stop)]
    voxels = standard_brain() + 5 * (lesions[0] | lesions[1])
    found = localize(brain_of(voxels), Given(rows))
    refined = np.asarray(found.refined.dataobj) > 0
    assert all(refined[lesion].mean() > 0.8 for lesion in lesions)
    assert refined.sum() < 4 * (lesions[0] | lesions[1]).sum()


def test_a_box_around_half_of_a_small_lesion_is_kept_and_grows() -> None:
    lesion = ball((24, -20, 12), 7)
    x, y, z = ndimage.find_objects(lesion.astype(int))[0]
    box = Box(x.start, y.start, (x.start + x.stop) // 2, y.stop, 1.0)
    middle = (z.start + z.stop) // 2
    rows = [SliceBoxes(k, (box,), "given") for k in range(middle - 2, middle + 3)]
    found = localize(brain_of(standard_brain() + 5 * lesion), Given(rows))
    inside = np.asarray(found.coarse.dataobj) > 0.5
    refined = np.asarray(found.refined.dataobj) > 0
    assert (np.asarray(found.coarse.dataobj) > 0.9).sum() < 30
    assert "few-voxels" not in found.flags
    assert inside.any()
    assert refined[inside & lesion].all()
    assert inside[lesion].mean() < 0.3
    assert refined[lesion].mean() > 0.6


def test_the_union_leaves_out_what_the_model_clearly_rejects() -> None:
    """A box of which one half looks like tumour, and the other like none."""
    lesion = ball((24, -20, 12), 9)
    x, y, z = ndimage.find_objects(lesion.astype(int))[0]
    box = np.zeros(lesion.shape, dtype=bool)
    box[x.start : x.stop + 8, y, z] = True
    seen = evidence_of(brain_of(standard_brain() + 5 * lesion))
    assert seen is not None
    # A model of one feature, intensity: 1 above two spreads of white matter, 0 below.
    weights = (np.eye(10, 1) * 20.0,)
    model = VoxelModel(np.full(10, 2.0), np.ones(10), weights, (np.zeros(1),))
    refined, _ = refine(seen, box.astype(np.float32), model=model)
    assert refined[lesion].mean() > 0.9
    assert refined[box & ~within(lesion, 4.0)].mean() < 0.02
    assert not refined[~within(box, 5.0)].any()


def test_a_box_of_a_few_voxels_is_flagged_and_kept() -> None:
    rows = [SliceBoxes(45, (Box(40, 50, 44, 54, 1.0),), "given")]
    found = localize(brain_of(standard_brain()), Given(rows), sigma_mm=0.5, dilation_mm=0)
    assert found.flags == ("few-voxels",)
    np.testing.assert_array_equal(
        np.asarray(found.refined.dataobj) > 0, np.asarray(found.coarse.dataobj) > 0.5
    )


def test_of_a_map_the_prior_has_its_shape_and_the_boxes_enclose_it() -> None:
    lesions = ball((-30, -20, 20), 9) | ball((32, 20, 12), 9)
    certainty = np.where(lesions, 0.8, 0.3).astype(np.float32)
    certainty[48, 50, 46] = 0.6
    brain = brain_of(standard_brain() + 5 * lesions)
    for margin, at_least, at_most in ((0.0, 0.9, 1.1), (3.0, 1.5, 2.5)):
        found = localize(brain, Given(Region(lesions * np.float32(1), "given", margin)))
        inside = np.asarray(found.coarse.dataobj) > 0.5
        assert at_least < inside.sum() / lesions.sum() < at_most
        assert inside[lesions].mean() > 0.95
    rows = Region(certainty, "given").boxes()
    boxed = stacked_boxes(rows, certainty.shape)
    assert not (~boxed & (certainty > 0.5)).any()
    assert {box.score for row in rows for box in row.boxes} == {0.8, 0.6}
    for row in rows:
        for box in row.boxes:
            part = lesions[box.x0 : box.x1, box.y0 : box.y1, row.slice]
            assert box.score == 0.6 or (part.any(axis=0).all() and part.any(axis=1).all())


def test_a_map_on_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a map of \(2, 2, 2\) on a brain of \(97, 115, 97\)"):
        localize(brain_of(standard_brain()), Given(Region(np.ones((2, 2, 2), np.float32), "given")))


def test_the_stair_steps_of_stacked_boxes_are_gone() -> None:
    """Largest step from slice to slice: 1 for a stack of boxes, a fraction of it in the prior."""
    rows = [SliceBoxes(z, (Box(20 + z % 2 * 4, 18, 34, 30, 1.0),), "test") for z in range(14, 26)]
    prior = coarse_prior(rows, SHAPE, np.diag([2.0, 2, 2, 1]))
    assert np.abs(np.diff(prior, axis=2)).max() < 0.35
