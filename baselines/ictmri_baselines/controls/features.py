"""Features of a case that a person could measure: where the prior lies, and what it encloses.

Intensities, texture and shape follow the Image Biomarker Standardisation Initiative's first-order and
morphological families (Zwanenburg 2020, 10.1148/radiol.2020191145), on the processed volume.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from ictmri.atlas.box import box_of
from ictmri_baselines.cases import Cases, region

SHELL_MM: Final = 6.0
"""Depth of the tissue around the region that is measured, too."""
PERCENTILES: Final = (5, 25, 50, 75, 95)
EDGE_MM: Final = 2.1
"""On either side of the region's border, what counts as its edge: a voxel of 2 mm."""
BLOB_SCALES: Final = (0.6, 1.0, 1.6, 2.5)
"""Of the Laplacian of a Gaussian, in voxels."""
_QUARTERS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_FEWEST: Final = 9
"""Voxels without which nothing is said about detail."""
_N_DETAIL: Final = 23


def location(cases: Cases) -> NDArray[np.float64]:
    """Return (n, 8): centre (mm, MNI), distance from the midline, extent (mm) and log volume (ml)."""
    return np.array([_location(cases.prior(i), cases.affine) for i in range(len(cases))])


def radiomics(cases: Cases, *, detail: bool = False) -> NDArray[np.float64]:
    """Return (n, m): intensity, texture and shape in the region, its shell and its mirror image.

    Args:
        cases: each with a volume.
        detail: also the spread by depth, filter responses by scale, the edge, and more of the mirror image.
    """
    spacing = np.abs(np.diag(cases.affine)[:3])
    name = getattr(getattr(cases.volumes, "image", None), "filename", None)  # of a memory map
    file = (str(name), Path(name).stat().st_mtime_ns) if name else None
    rows: list[list[float]] = []
    for index, row in enumerate(cases.rows.tolist()):
        found = _MEASURED.get((file, row, detail)) if file else None
        if found is None:
            found = _radiomics(cases.image(index), cases.prior(index), spacing, detail)
            if file:
                _MEASURED[file, row, detail] = found
        rows.append(found)
    return np.array(rows)


_MEASURED: Final[dict[tuple[tuple[str, int], int, bool], list[float]]] = {}
"""What this process measured, by file and row of the cache of volumes, which lies under its digest.

A case is of the training of all folds but one, and of several recipes."""


def _location(prior: NDArray[np.float32], affine: NDArray[np.float64]) -> list[float]:
    places = np.argwhere(region(prior))
    if not len(places):
        return [0.0] * 8
    centre = affine[:3, :3] @ places.mean(axis=0) + affine[:3, 3]
    spacing = np.abs(np.diag(affine)[:3])
    extent = (np.ptp(places, axis=0) + 1) * spacing
    volume = len(places) * np.prod(spacing) / 1000
    return [*centre, abs(centre[0]), *extent, float(np.log(volume))]


def _radiomics(
    image: NDArray[np.float32],
    prior: NDArray[np.float32],
    spacing: NDArray[np.float64],
    detail: bool,
) -> list[float]:
    inside = region(prior)
    box = box_of(inside if inside.any() else ~inside, int(np.ceil(SHELL_MM / spacing.min())) + 2)
    mirrored = image[::-1][box]
    image, inside = image[box], inside[box]
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
    shell = (distance > 0) & (distance <= SHELL_MM) & (image != 0)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    return [
        *_first_order(image[inside]),
        *_first_order(image[shell]),
        *_texture(image, inside),
        *_by_depth(image, depth),
        _mean(image[inside]) - _mean(mirrored[inside]),
        *_shape(inside, depth, spacing),
        *(_detail(image, mirrored, inside, shell, depth, distance) if detail else []),
    ]


def _detail(
    image: NDArray[np.float32],
    mirrored: NDArray[np.float32],
    inside: NDArray[np.bool_],
    shell: NDArray[np.bool_],
    depth: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> list[float]:
    if inside.sum() < _FEWEST:
        return [0.0] * _N_DETAIL
    relative = depth / depth.max()
    spreads = [_sd(image[part]) for part in _depths(relative)]
    eroded = ndimage.binary_erosion(inside)
    middle = eroded if eroded.sum() >= _FEWEST else inside
    blobs: list[float] = []
    for scale in BLOB_SCALES:
        response = ndimage.gaussian_laplace(image, scale)[middle]
        blobs += [_sd(response), *np.percentile(response, (5, 95))]
    gradient = ndimage.generic_gradient_magnitude(image, ndimage.sobel)
    outer = (distance > 0) & (distance <= EDGE_MM) & (image != 0)
    rim, deep = inside & (depth <= EDGE_MM), inside & (depth > 2 * EDGE_MM)
    levels = [_mean(image[part]) for part in (deep, rim, outer)]
    edge = [_mean(gradient[outer]), _mean(gradient[rim]), *np.subtract(levels[:-1], levels[1:])]
    here, there = image[inside], mirrored[inside]
    alike = np.corrcoef(here, there)[0, 1] if _sd(here) and _sd(there) else 0.0
    sides = [
        _mean(np.abs(here - there)),
        float(alike),
        _mean(image[shell]) - _mean(mirrored[shell]),
    ]
    return [*spreads, *blobs, *edge, *sides]


def _sd(values: NDArray[np.float32]) -> float:
    return float(values.std()) if values.size else 0.0


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean()) if values.size else 0.0


def _first_order(values: NDArray[np.float32]) -> list[float]:
    if values.size < 2 or values.min() == values.max():
        return [0.0] * (len(PERCENTILES) + 5)
    values = values.astype(np.float64)
    counts, _ = np.histogram(values, bins=32)
    return [
        float(values.mean()),
        float(values.std()),
        float(stats.skew(values)),
        float(stats.kurtosis(values)),
        float(stats.entropy(counts)),
        *np.percentile(values, PERCENTILES),
    ]


def _texture(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> list[float]:
    """Return gradient magnitude, local spread and blob response at two scales, mean and sd each."""
    if not inside.any():
        return [0.0] * 10
    found: list[float] = []
    gradient = ndimage.generic_gradient_magnitude(image, ndimage.sobel)
    maps = [gradient]
    for size in (3, 5):
        mean = ndimage.uniform_filter(image, size)
        square = ndimage.uniform_filter(image * image, size)
        maps += [
            np.sqrt(np.maximum(square - mean * mean, 0)),
            ndimage.gaussian_laplace(image, size / 2),
        ]
    for values in maps:
        found += [float(values[inside].mean()), float(values[inside].std())]
    return found


def _by_depth(image: NDArray[np.float32], depth: NDArray[np.float64]) -> list[float]:
    """Return the mean intensity at four relative depths, from rim to core, and core minus rim."""
    if not depth.any():
        return [0.0] * 5
    means = [_mean(image[part]) for part in _depths(depth / depth.max())]
    return [*means, means[-1] - means[0]]


def _depths(relative: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """Return the voxels of four relative depths, from rim to core."""
    return [(relative > low) & (relative <= high) for low, high in pairwise(_QUARTERS)]


def _shape(
    inside: NDArray[np.bool_], depth: NDArray[np.float64], spacing: NDArray[np.float64]
) -> list[float]:
    """Return log volume, thickness, sphericity-like ratio and number of parts."""
    count = int(inside.sum())
    if not count:
        return [0.0] * 4
    volume = count * float(np.prod(spacing))
    surface = count - int(ndimage.binary_erosion(inside).sum())
    _, parts = ndimage.label(inside)
    return [
        float(np.log(volume)),
        float(depth.max()),
        count ** (2 / 3) / max(surface, 1),
        float(parts),
    ]
