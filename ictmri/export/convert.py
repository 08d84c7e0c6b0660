"""The two volumes that an export may not pass on as they are stored."""

from __future__ import annotations

import gzip
import struct
from typing import Final

from ictmri.volumes import pack, unpack

PRIOR_LEVELS: Final = 255
"""The coarse prior is stored as 0..255 for 0..1."""
PRIOR_THRESHOLD: Final = 128
"""From this level on (a probability of one half) the coarse prior counts as lesion."""
_SLOPE_AT: Final = 112
"""Byte offset of ``scl_slope`` and ``scl_inter`` in a NIfTI-1 header."""


def probabilities(content: bytes) -> bytes:
    """Return the prior's gzipped volume with a header that makes its levels read as 0..1.

    The voxels stay; only the slope and the intercept in the header change.
    """
    volume = bytearray(gzip.decompress(content))
    struct.pack_into("<2f", volume, _SLOPE_AT, 1 / PRIOR_LEVELS, 0.0)
    return gzip.compress(bytes(volume), compresslevel=4, mtime=0)


def label_map(content: bytes) -> bytes:
    """Return the prior's gzipped volume as a label map, uint8: 1 where it is at least one half."""
    import nibabel as nib
    import numpy as np

    prior = unpack({"bytes": content})
    labels = (np.asarray(prior.dataobj) >= PRIOR_THRESHOLD).astype(np.uint8)
    packed: bytes = pack(nib.Nifti1Image(labels, prior.affine, prior.header), "")["bytes"]
    return packed
