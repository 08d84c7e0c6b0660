from dataclasses import dataclass

import nibabel as nib
import numpy as np

from ictmri.atlas.template import SHAPE, grid_affine
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer.box_controls import MirrorChecked, mirrored_boxes, moved_boxes
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.localizer.prior import stacked_boxes
from ictmri_baselines.localizer.region import Region

ROWS = [
    SliceBoxes(40, (Box(20, 50, 31, 60, 0.5), Box(60, 50, 62, 55)), "test"),
    SliceBoxes(41, (Box(20, 50, 29, 58, 0.5),), "test"),
]


def test_mirrored_boxes_are_the_mirrored_stack() -> None:
    mirrored = mirrored_boxes(ROWS, SHAPE[0])
    np.testing.assert_array_equal(stacked_boxes(mirrored, SHAPE), stacked_boxes(ROWS, SHAPE)[::-1])
    assert mirrored_boxes(mirrored, SHAPE[0]) == ROWS


def test_moved_boxes_keep_their_sizes_and_land_in_the_brain() -> None:
    brain = np.zeros(SHAPE, dtype=bool)
    brain[30:60, 40:80, 30:60] = True
    places = []
    for seed in range(20):
        moved = moved_boxes(ROWS, brain, np.random.default_rng(seed))
        sizes = [(b.x1 - b.x0, b.y1 - b.y0) for row in moved for b in row.boxes]
        assert sizes == [(b.x1 - b.x0, b.y1 - b.y0) for row in ROWS for b in row.boxes]
        middle = np.argwhere(stacked_boxes(moved, SHAPE)).mean(axis=0)
        assert (np.abs(middle - [44.5, 59.5, 44.5]) <= [16, 21, 16]).all()
        places.append(tuple(middle))
    assert len(set(places)) > 15
    assert moved_boxes([SliceBoxes(3, (), "test")], brain, np.random.default_rng(0))[0].boxes == ()


@dataclass
class Looking:
    """Boxes what is bright; the left half only where it is blind on the right."""

    blind: bool = False
    voxels: bool = False

    def detect(self, brain: Brain) -> list[SliceBoxes] | Region:
        bright = (np.asarray(brain.image.dataobj) > 2).astype(np.float32)
        if self.blind:
            bright[49:] = 0
        region = Region(bright, "looking")
        return region if self.voxels else region.boxes()


def bright_brain() -> Brain:
    voxels = np.zeros(SHAPE, dtype=np.float32)
    voxels[20:30, 50:60, 40:45] = 5
    voxels[70:75, 50:60, 50:52] = 5
    affine = grid_affine(2.0)
    return Brain(nib.Nifti1Image(voxels, affine), nib.Nifti1Image(voxels.astype(np.uint8), affine))


def test_boxes_of_what_is_there_mirror_and_others_may_be_dropped() -> None:
    brain = bright_brain()
    seeing = MirrorChecked(Looking(), drop=True)
    assert seeing.detect(brain) == Looking().detect(brain)
    assert (seeing.confirmed, seeing.boxes) == (7, 7)
    for voxels in (False, True):
        told = MirrorChecked(Looking(blind=True, voxels=voxels), drop=False)
        found = told.detect(brain)
        rows = found.boxes() if isinstance(found, Region) else found
        assert stacked_boxes(rows, SHAPE).sum() == 500
        assert (told.confirmed, told.boxes) == (0, 5)
        dropped = MirrorChecked(Looking(blind=True, voxels=voxels), drop=True).detect(brain)
        rows = dropped.boxes() if isinstance(dropped, Region) else dropped
        assert not stacked_boxes(rows, SHAPE).any()


class SeesTheRingTwice:
    """Marks a ring and a spot in it; on the mirrored brain the ring alone."""

    def detect(self, brain: Brain) -> Region:
        bright = (np.asarray(brain.image.dataobj) > 2).astype(np.float32)
        bright[66:74, 53:57] = 0
        return Region(bright, "ring")


def test_a_dropped_part_inside_a_kept_box_is_gone() -> None:
    voxels = np.zeros(SHAPE, dtype=np.float32)
    voxels[20:32, 50:60, 40] = 5
    voxels[22:30, 52:58, 40] = 0
    ring = voxels > 2
    voxels[25:27, 54:56, 40] = 5
    affine = grid_affine(2.0)
    brain = Brain(nib.Nifti1Image(voxels, affine), nib.Nifti1Image(voxels.astype(np.uint8), affine))
    checked = MirrorChecked(SeesTheRingTwice(), drop=True)
    found = checked.detect(brain)
    assert isinstance(found, Region)
    np.testing.assert_array_equal(found.map > 0.5, ring)
    assert (checked.confirmed, checked.boxes) == (1, 2)
    assert sum(len(row.boxes) for row in found.boxes()) == checked.confirmed
