"""The light diagnoser's input: a cube around the prior, and its augmentations."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri_baselines.cases import Cases
from ictmri_baselines.features import region

NOISE_SD: Final = 0.01
NOISE_PROBABILITY: Final = 0.15
GAMMA: Final = (0.9, 1.1)
GAMMA_PROBABILITY: Final = 0.15
FLIP_PROBABILITY: Final = 0.5
QUARTER_TURN_PROBABILITY: Final = 0.5


def crop_cases(cases: Cases, *, size: int, margin: int) -> NDArray[np.float32]:
    """Return (n, 2, s, s, s), s = size + 2 margin: volume and prior around the prior's centre.

    Where the prior is empty the cube lies at the centre of the grid; outside the grid it is 0.
    """
    return np.stack(
        [_crop(cases.image(i), cases.prior(i), size + 2 * margin) for i in range(len(cases))]
    )


def _crop(image: NDArray[np.float32], prior: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    inside = region(prior)
    places = np.argwhere(inside)
    centre = places.mean(axis=0) if len(places) else np.array(image.shape) / 2
    start = np.round(centre).astype(int) - size // 2
    cube = np.zeros((2, size, size, size), dtype=np.float32)
    source, target = [], []
    for low, length in zip(start, image.shape, strict=True):
        first, last = max(0, low), min(length, low + size)
        source.append(slice(first, last))
        target.append(slice(first - low, last - low))
    cube[0][tuple(target)] = image[tuple(source)]
    cube[1][tuple(target)] = prior[tuple(source)]
    return cube


def central(cubes: NDArray[np.float32], margin: int) -> NDArray[np.float32]:
    """Cut the margin off."""
    inner = slice(margin, cubes.shape[-1] - margin)
    return cubes[..., inner, inner, inner]


def augment(
    cube: NDArray[np.float32], margin: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a random variant of one (2, s, s, s) cube, the margin cut off.

    Shift within the margin; the paper's four augmentations, the spatial ones on volume and prior
    alike: quarter turns in the axial plane, sagittal flip, Gaussian noise, gamma.
    """
    shift = rng.integers(0, 2 * margin + 1, size=3)
    size = cube.shape[-1] - 2 * margin
    cube = cube[(slice(None), *(slice(s, s + size) for s in shift))]
    if rng.random() < FLIP_PROBABILITY:
        cube = cube[:, ::-1]
    if rng.random() < QUARTER_TURN_PROBABILITY:
        cube = np.rot90(cube, k=int(rng.integers(1, 4)), axes=(1, 2))
    image, prior = cube[0].copy(), cube[1]
    if rng.random() < NOISE_PROBABILITY:
        image += rng.normal(0, NOISE_SD, image.shape).astype(np.float32)
    if rng.random() < GAMMA_PROBABILITY:
        image = np.sign(image) * np.abs(image) ** np.float32(rng.uniform(*GAMMA))
    return np.stack([image, prior])
