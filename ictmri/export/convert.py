"""The volumes that an export may not pass on as they are stored."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Final

from ictmri.io.volumes import pack, plain, unpack

PRIOR_LEVELS: Final = 255
"""The coarse prior is stored as 0..255 for 0..1."""
PRIOR_THRESHOLD: Final = 128
"""From this level on (a probability of one half) the coarse prior counts as lesion."""
_SLOPE_AT: Final = 112
"""Byte offset of ``scl_slope`` and ``scl_inter`` in a NIfTI-1 header."""
_TYPE_AT: Final = 70
_UNITS_AT: Final = 123
_COMMON_TYPES: Final = {2, 4, 8, 16, 64, 512}
"""uint8, int16, int32, float32, float64 and uint16: what every reader of NIfTI takes."""
_LENGTH_BITS: Final = 0b111
_MILLIMETRES: Final = 2


def portable(content: bytes) -> bytes:
    """Return a stored volume, the same bytes where every reader takes them as they are meant.

    A cohort's lengths are millimetres, whatever an older header says of them.
    """
    head = zlib.decompressobj(wbits=31).decompress(content, 348)
    if struct.unpack_from("<h", head, _TYPE_AT)[0] not in _COMMON_TYPES:
        packed: bytes = pack(plain(unpack({"bytes": content})), "")["bytes"]
        return packed
    units = head[_UNITS_AT]
    if units & _LENGTH_BITS == _MILLIMETRES:
        return content
    volume = bytearray(gzip.decompress(content))
    volume[_UNITS_AT] = units & ~_LENGTH_BITS | _MILLIMETRES
    return gzip.compress(bytes(volume), compresslevel=4, mtime=0)


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
