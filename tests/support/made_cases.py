"""Made-up cases on the real grid, whose class is the brightness inside the prior."""

from __future__ import annotations

import numpy as np

from ictmri.atlas.template import SHAPE, grid_affine
from ictmri_baselines.cases import Cases, Volumes

EDGE = 10


def made_cases(n: int, *, seed: int = 0, on_disk: str | None = None) -> tuple[Cases, np.ndarray]:
    """Return n cases and their classes; the refined prior is the coarse one without its rim.

    Args:
        n: how many.
        seed: of everything.
        on_disk: a folder to map the volumes from, as the cache does; in memory where None.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    tissue = rng.normal(0, 0.3, SHAPE).astype(np.float16)
    tissue[:12], tissue[-12:] = 0, 0
    image = np.empty((n, *SHAPE), dtype=np.float16)
    prior = np.zeros(image.shape, dtype=np.uint8)
    refined = np.zeros(image.shape, dtype=np.uint8)
    for index, label in enumerate(labels):
        image[index] = np.roll(tissue, int(rng.integers(97)), axis=2)
        x, y, z = (int(rng.integers(30, 50)) for _ in range(3))
        prior[index, x : x + EDGE, y : y + EDGE, z : z + EDGE] = 255
        refined[index, x + 1 : x + EDGE, y + 1 : y + EDGE, z + 1 : z + EDGE] = 255
        image[index, x : x + EDGE, y : y + EDGE, z : z + EDGE] += np.float16(2 * label)
    if on_disk:
        image, prior, refined = (
            _mapped(array, f"{on_disk}/{name}.npy")
            for array, name in ((image, "image"), (prior, "prior"), (refined, "refined"))
        )
    ids = [f"made-{i:03d}" for i in range(n)]
    unknown = np.full(n, np.nan)
    volumes = Volumes(image, prior, refined, grid_affine(2))
    return Cases(ids, unknown, unknown, np.arange(n), volumes), labels


def _mapped(array: np.ndarray, path: str) -> np.ndarray:
    np.save(path, array)
    return np.load(path, mmap_mode="r")
