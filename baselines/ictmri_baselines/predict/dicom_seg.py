"""The refined prior as a DICOM segmentation of the series that it came from, as a PACS takes it.

It refers to the series' images and frame of reference and repeats whose they are: it belongs where the
series came from, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ictmri.errors import InputError, ScanError
from ictmri.extras import need
from ictmri.io.files import replacing
from ictmri.scans.dicom_series import choose_t1ce, find_series
from ictmri.scans.dicom_slices import placements, quiet, read_file
from ictmri.scans.read import DICOM_ENDINGS
from ictmri.version import __version__
from ictmri_baselines.predict.result import NOTICE

_NEEDED: Final = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    "FrameOfReferenceUID",
)
"""What a segmentation refers to."""
_MAY_BE_EMPTY: Final = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""What it repeats; anonymised series lack some of it."""
_OFF: Final = 0.25
"""Share of a voxel by which a pixel may lie beside the scan's, which is the mean of the slices."""
_SERIES_NUMBER: Final = 9001


@dataclass(frozen=True, slots=True)
class DicomSource:
    """The images of a series, and which slice of the scan each frame is.

    Attributes:
        images: headers, one of an enhanced file or one a slice, in the scan's order.
        slices: of all frames, in the order of the images.
    """

    images: Sequence[Dataset]
    slices: Sequence[int]


def may_be_dicom(path: Path) -> bool:
    """Say whether a scan lies there as a DICOM series, as far as its name tells."""
    return path.is_dir() or path.name.lower().endswith(DICOM_ENDINGS)


def dicom_source(path: Path, scan: nib.Nifti1Image) -> DicomSource:
    """Find the images that a scan was read from.

    Args:
        path: the file or folder.
        scan: as it was read from there.

    Raises:
        InputError: it is no DICOM, or its headers do not say what a segmentation must refer to.
    """
    need("baselines", "Writing DICOM segmentations", "highdicom")
    if not may_be_dicom(path):
        problem = f"{path.name} is no DICOM series, and a segmentation refers to one"
        raise InputError(str(path), [problem], "give the DICOM folder, or --prior for a NIfTI file")
    with quiet():
        try:
            series, _ = choose_t1ce(find_series(path)[0])
            files = [data for file in series.paths if (data := read_file(file, pixels=False))]
            found = [(_slices(data, scan), data) for data in files]
        except ScanError as error:
            raise InputError(str(path), [str(error)], "look at its headers") from None
    missing = [name for name in _NEEDED if any(not data.get(name) for _, data in found)]
    problems = [f"its headers have no {name}" for name in missing]
    if problems:
        raise InputError(str(path), problems, "leave --dicom-seg out; --prior needs no headers")
    # Of copies at one place the first one is referred to.
    unique = {places[0]: (places, data) for places, data in reversed(found)}
    ordered = [unique[place] for place in sorted(unique)]
    for _, data in ordered:
        for name in _MAY_BE_EMPTY:
            if name not in data:
                setattr(data, name, None)
    images, slices = [data for _, data in ordered], [k for places, _ in ordered for k in places]
    # Of one voxel: what the headers lack for it is told now, not after the minutes of work.
    trial = np.zeros((len(slices), *scan.shape[1::-1]), dtype=np.uint8)
    trial[0, 0, 0] = 1
    _segmentation(images, trial, "")
    return DicomSource(images, slices)


def _slices(data: Dataset, scan: nib.Nifti1Image) -> list[int]:
    """Return which slice of the scan each frame of a file is: pixel for voxel."""
    to_voxels = np.linalg.inv(scan.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    last = np.array(scan.shape[:2]) - 1
    found = []
    for position, turn, spacing in placements(data):
        along = turn * spacing[::-1, None]
        corners = position + np.array([[0, 0], [last[0], 0], [0, last[1]]]) @ along
        voxels = apply_affine(to_voxels, corners)
        place = round(float(voxels[0, 2]))
        expected = [[0, 0, place], [last[0], 0, place], [0, last[1], place]]
        if np.abs(voxels - expected).max() > _OFF or not 0 <= place < scan.shape[2]:
            raise ScanError("its images do not lie on the scan's grid", code="no-placement")
        found.append(place)
    return found


def write_segmentation(
    path: Path, prior: nib.Nifti1Image, source: DicomSource, detector: str
) -> None:
    """Write a mask on the scan's grid as a DICOM segmentation, readable by the owner alone.

    Args:
        path: the file.
        prior: uint8, 0 or 1, not empty.
        source: of the scan.
        detector: that found what is marked.

    Raises:
        InputError: the series' headers hold what no segmentation can repeat.
    """
    voxels = np.asarray(prior.dataobj)
    # A volume is (column, row, slice), an image (row, column).
    frames = np.stack([voxels[:, :, place].T for place in source.slices]).astype(np.uint8)
    made = _segmentation(source.images, frames, detector)
    with quiet(), replacing(path, mode=0o600) as part:
        made.save_as(part)


def _segmentation(images: Sequence[Dataset], frames: NDArray[np.uint8], detector: str) -> Any:
    with quiet():
        try:
            return _made(images, frames, detector)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            problem = f"the headers of the series cannot be referred to: {error}"
            raise InputError(
                "--dicom-seg", [problem], "leave it out; --prior needs no headers"
            ) from None


def _made(images: Sequence[Dataset], frames: NDArray[np.uint8], detector: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"ictmri Tumor-Localizer, {detector}",
        version=__version__,
        family=codes.cid7162.ArtificialIntelligence,
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lesion prior",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="ictmri",
        manufacturer_model_name="ictmri predict",
        software_versions=__version__,
        device_serial_number="0",
        content_label="LESION_PRIOR",
        content_description=NOTICE,
        series_description="Lesion prior, research use only",
    )
