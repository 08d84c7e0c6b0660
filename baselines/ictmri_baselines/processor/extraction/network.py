"""What extractions by networks share: the part of a scan that holds the head, one thread, a clean mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from scipy import ndimage

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.geometry import Affine
from ictmri.atlas.template import SHAPE, grid_affine
from ictmri_baselines.processor.points import Array, look_up_affine
from ictmri_baselines.processor.volume import Mask, Volume, Voxels, block_means

MARGIN_MM: Final = 15.0
"""Kept around the place where the template's head lies: more than an affine may be wrong by."""


def network_grid(volume: Volume, place: Aligned, edge_mm: float) -> tuple[Voxels, Affine]:
    """Return a scan, cut to its head, on cubes of ``edge_mm``, and their affine (RAS order, scan mm).

    What lies far below the head costs a network time and memory, and no scan needs it.
    """
    low, high = _head_box(volume, place)
    fine, affine = block_means(volume.voxels, volume.affine, edge_mm)
    edges = volume.edges_mm
    counts = np.maximum(1, np.round((high - low + 1) * edges / edge_mm)).astype(int)
    grid = volume.affine @ np.diag([*(edge_mm / edges), 1.0])
    # The first cube's corner is the first voxel's corner.
    first = low - 0.5 + edge_mm / edges / 2
    grid[:3, 3] = volume.affine[:3, :3] @ first + volume.affine[:3, 3]
    index = np.linalg.inv(affine) @ grid
    return look_up_affine(fine, index, counts.tolist()), grid


def brain_by(
    probability: Callable[[Voxels], Array],
    volume: Volume,
    place: Aligned,
    edge_mm: float,
    title: str,
) -> Volume:
    """Return a volume with the brain mask that a network finds on cubes of ``edge_mm``.

    Args:
        probability: of brain, in [0, 1], on the cubes that it is given.
        volume: the scan.
        place: where it lies in MNI152 space.
        edge_mm: what the network was trained on.
        title: of the network, for messages.

    Raises:
        ExtractionError: no brain was found.
    """
    voxels, affine = network_grid(volume, place, edge_mm)
    inside = on_scan(probability(voxels), affine, volume)
    return volume.with_mask(cleaned(inside > 0.5, volume, title))


def on_scan(found: Array, affine: Affine, volume: Volume) -> Array:
    """Return what a network found, on the scan's grid, 0 outside of what it saw."""
    return look_up_affine(found, np.linalg.inv(affine) @ volume.affine, volume.voxels.shape)


def _head_box(
    volume: Volume, place: Aligned
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int_]], np.ndarray[tuple[int], np.dtype[np.int_]]]:
    """Return the first and last voxel of the head's box along each axis."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in SHAPE])).reshape(3, -1)
    to_voxel = np.linalg.inv(volume.affine) @ place.scan_from_mni @ grid_affine(2.0)
    at = to_voxel[:3, :3] @ corners + to_voxel[:3, 3:]
    margin = MARGIN_MM / volume.edges_mm
    last = np.array(volume.voxels.shape) - 1
    low = np.clip(np.floor(at.min(axis=1) - margin), 0, last).astype(int)
    high = np.clip(np.ceil(at.max(axis=1) + margin), 0, last).astype(int)
    return low, np.maximum(high, low)


MIN_BRAIN_ML: Final = 200.0
"""Less is no brain: a newborn's has about 350 ml, and half a head's half of an adult's about 600."""


class ExtractionError(ValueError):
    """An extraction that found no brain; the message says what it found."""


def cleaned(mask: Mask, volume: Volume, name: str) -> Mask:
    """Return the largest piece of a mask with its holes filled.

    Args:
        mask: what the extraction found.
        volume: the scan it belongs to.
        name: of the extraction, for the message.

    Raises:
        ExtractionError: less than :data:`MIN_BRAIN_ML` is left.
    """
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    filled: Mask = ndimage.binary_fill_holes(mask)
    millilitres = filled.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    if millilitres < MIN_BRAIN_ML:
        raise ExtractionError(
            f"{name} found {millilitres:.0f} ml of brain; no head, or not seen whole"
        )
    return filled


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch on one thread, without gradients, and put the number of threads back.

    Workers share the cores, and one order of sums gives one result.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)
