"""Source scans: read from whatever format the owner has; values and geometry stay as they are."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError
from ictmri.scans.dicom_volume import read_dicom
from ictmri.scans.examine import corners
from ictmri.scans.itk import META_ENDINGS, read_itk
from ictmri.scans.nifti import read_nifti
from ictmri.scans.scan import Scan

NIFTI_ENDINGS: Final = (".nii", ".nii.gz")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", *META_ENDINGS)
VOLUME_ENDINGS: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS)
DICOM_ENDINGS: Final = (".dcm", ".dicom", ".ima")
_CUT_OFF: Final = re.compile(
    r"end-of-stream|end of stream|expected \d+ bytes|less than expected|bytes needed|got only|truncated",
    re.IGNORECASE,
)
AIR_HU: Final = (-1100.0, -900.0)
"""Of the corners in the middle. Magnitudes of an MRI are not negative; z-scores lie within tens of 0."""
_NOT_THE_SCANS_FAULT: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
}
"""What the machine or a network drive refuses: a patient must not be left out for it."""


def read_scan(path: Path) -> Scan:
    """Read a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.

    Raises:
        ScanError: it cannot be read, or is not one three-dimensional volume.
        OSError: the machine cannot read anything now, whatever the scan.
    """
    lower = path.name.lower()
    try:
        if path.exists() and not (path.is_dir() or path.is_file()):
            # A pipe would be waited for, a device has no end.
            raise ScanError("cannot be read: it is neither a file nor a folder")
        if path.is_dir() or lower.endswith(DICOM_ENDINGS):
            return _checked(read_dicom(path))
        if lower.endswith(ITK_ENDINGS):
            return _checked(read_itk(path))
        if lower.endswith(NIFTI_ENDINGS):
            return _checked(read_nifti(path))
    except ScanError:
        raise
    except MemoryError:
        raise ScanError("needs more memory than there is", code="out-of-memory") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_SCANS_FAULT:
            raise
        # Each library has exceptions of its own for damaged files; all mean the same to the owner.
        said = str(error).strip() or type(error).__name__
        # ITK begins with where in its own code it stood, and ends with what was wrong.
        line = said.splitlines()[-1 if "ITK ERROR" in said else 0]
        raise ScanError(
            f"cannot be read ({type(error).__name__})",
            code="truncated" if _CUT_OFF.search(said) else "unreadable",
            detail=line,
        ) from None
    known = ", ".join((*VOLUME_ENDINGS, *DICOM_ENDINGS))
    raise ScanError(
        f"unknown format; known are {known} and a folder of DICOM files", code="unknown-format"
    )


def _checked(scan: Scan) -> Scan:
    voxels = np.asarray(scan.image.dataobj)
    if voxels.min() == voxels.max():
        raise ScanError("every voxel has the same value", code="constant")
    check_placement(scan.image.affine)
    air = float(np.median(corners(voxels)))
    if AIR_HU[0] <= air <= AIR_HU[1]:
        reason = f"its background is {air:.4g}, as air is in a CT (Hounsfield units): no MRI"
        raise ScanError(reason, code="like-a-ct")
    return scan


def check_placement(affine: NDArray[np.float64]) -> None:
    """Check that an affine (4, 4) places voxels in space.

    Raises:
        ScanError: it is not finite, or makes a plane, a line or a point of the volume.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError("its affine is not a placement in space", code="no-placement")
