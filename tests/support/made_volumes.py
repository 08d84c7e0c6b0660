"""Small volumes made for tests."""

from pathlib import Path

import nibabel as nib
import numpy as np

MINI_CLASSES = ("glioma",) * 6 + ("pcnsl",) * 4 + ("germinoma",) * 3 + ("rare",) * 2


def write_volume(path: Path, seed: int, affine: np.ndarray | None = None) -> Path:
    """Write a small volume of noise with a bright ball; the affine is RAS, 4 mm, by default."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 50, (20, 24, 18)).astype(np.int16)
    voxels[6:14, 8:16, 5:12] += 300
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([4.0, 4, 4, 1]) if affine is None else affine), path)
    return path
