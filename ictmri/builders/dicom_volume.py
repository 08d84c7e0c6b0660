"""One DICOM series to a volume: highdicom assembles it, this module checks what it may assemble."""

from __future__ import annotations

import hashlib
import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.builders.codes import Note
from ictmri.builders.dicom_series import Series, choose_t1ce, find_series
from ictmri.builders.limits import check_size
from ictmri.errors import ScanError
from ictmri.privacy import VENDORS

if TYPE_CHECKING:
    from pathlib import Path

    import nibabel as nib
    from pydicom.dataset import Dataset

SPACING_TOLERANCE: Final = 0.02
"""Relative unevenness of the slice spacing that is told but accepted."""
ACQUISITION_NUMBERS: Final = {
    "field_strength_t": "MagneticFieldStrength",
    "repetition_time_ms": "RepetitionTime",
    "echo_time_ms": "EchoTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "slice_thickness_mm": "SliceThickness",
}
"""Column of ``acquisition.csv`` -> DICOM attribute: numbers only, nothing that could hold a name."""
ACQUISITION_COLUMNS: Final = (*ACQUISITION_NUMBERS, "vendor", "acquisition")


@dataclass(frozen=True, slots=True)
class DicomScan:
    """A volume out of a DICOM folder.

    Attributes:
        image: axes (column, row, slice) as acquired; integers where the series stores integers.
        oddities: free of anything the headers said in words.
        acquisition: numbers and vendor, see :data:`ACQUISITION_NUMBERS`.
    """

    image: nib.Nifti1Image
    oddities: list[Note]
    acquisition: dict[str, str]


def read_dicom(path: Path) -> DicomScan:
    """Read the T1-CE of a folder, or a single multi-frame file.

    Raises:
        ScanError: no series or several could be it, or it is not one regular volume.
    """
    import pydicom

    if path.is_dir():
        found, aside = find_series(path)
        series, doubts = choose_t1ce(found)
    else:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        frames = int(header.get("NumberOfFrames") or 1)
        series, doubts, aside = Series("", header, [path], frames), [], []
    _check_size(series)
    datasets = [decoded(file) for file in series.paths]
    _refuse_written_on(datasets)
    acquisition = _acquisition(datasets[0])
    if len(datasets) == 1 and int(datasets[0].get("NumberOfFrames") or 1) > 1:
        image = _from_multiframe(datasets[0])
        told: list[Note] = []
    else:
        datasets, told = _one_a_place(datasets)
        image = _from_slices(datasets)
    return DicomScan(image, aside + doubts + told, acquisition)


def decoded(path: Path) -> Dataset:
    """Read a file and decompress its pixels.

    Raises:
        RuntimeError: no decoder can.
    """
    import pydicom

    dataset = pydicom.dcmread(path)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return dataset
    try:
        dataset.decompress()
    except RuntimeError:
        # pydicom hands no 12-bit lossy JPEG to GDCM, which ITK does.
        _decode_by_itk(path, dataset)
    return dataset


def _refuse_written_on(datasets: list[Dataset]) -> None:
    marks = {str(dataset.get("BurnedInAnnotation", "")).strip().upper() for dataset in datasets}
    if "YES" in marks:
        raise ScanError("words may be written into its pixels", code="burned-in-text")


def _decode_by_itk(path: Path, dataset: Dataset) -> None:
    import SimpleITK as sitk
    from pydicom.uid import ExplicitVRLittleEndian

    slope, intercept = _scaling(dataset)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float64)
    kind = np.int16 if dataset.PixelRepresentation else np.uint16
    dataset.PixelData = np.round((values - intercept) / slope).astype(kind).tobytes()
    dataset.BitsAllocated = 16
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _check_size(series: Series) -> None:
    rows, columns = (int(series.head.get(name) or 0) for name in ("Rows", "Columns"))
    if series.slices < 2:
        raise ScanError("one slice is no volume", code="not-one-volume")
    check_size((columns, rows, series.slices))


def _one_a_place(datasets: list[Dataset]) -> tuple[list[Dataset], list[Note]]:
    """Sort slices along their normal, drop exact copies, and refuse gaps and second volumes."""
    places = _places(datasets)
    order = np.argsort(places, kind="stable")
    kept: list[int] = []
    dropped = 0
    for index in map(int, order):
        if kept and abs(places[index] - places[kept[-1]]) < 1e-3:
            if _pixel_digest(datasets[index]) != _pixel_digest(datasets[kept[-1]]):
                raise ScanError(
                    "two different slices lie at the same place: more than one volume",
                    code="mixed-series",
                )
            dropped += 1
        else:
            kept.append(index)
    steps = np.diff(places[kept])
    text = f"{dropped} slices were there twice; the copies were dropped"
    told = [Note("repeated-slices", text)] if dropped else []
    return [datasets[index] for index in kept], told + _check_steps(steps)


def _check_steps(steps: NDArray[np.float64]) -> list[Note]:
    if not len(steps):
        raise ScanError("one slice is no volume", code="not-one-volume")
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if len(gaps):
        missing = int(np.round(steps[gaps] / usual - 1).sum())
        first = ", ".join(str(gap + 1) for gap in gaps[:5])
        raise ScanError(
            f"about {missing} slices are missing, after slice {first}", code="missing-slices"
        )
    uneven = float(np.abs(steps / usual - 1).max())
    if uneven > SPACING_TOLERANCE:
        shown = f"{steps.min():.3f} to {steps.max():.3f} mm"
        raise ScanError(f"the slice spacing is uneven: {shown}", code="uneven-slices")
    text = f"the slice spacing is uneven by {uneven:.1%}"
    return [Note("slightly-uneven-slices", text)] if uneven > 0.002 else []


def _places(datasets: list[Dataset]) -> NDArray[np.float64]:
    """Return (n,) positions along the slices' normal in mm."""
    try:
        turns = np.array([d.ImageOrientationPatient for d in datasets], dtype=np.float64)
        positions = np.array([d.ImagePositionPatient for d in datasets], dtype=np.float64)
        sizes = {(int(d.Rows), int(d.Columns), tuple(map(float, d.PixelSpacing))) for d in datasets}
    except (AttributeError, TypeError, ValueError):
        raise ScanError(
            "slices without position, orientation or size", code="no-placement"
        ) from None
    if len(sizes) > 1 or turns.shape[1:] != (6,) or positions.shape[1:] != (3,):
        raise ScanError("slices of different sizes in one series", code="mixed-series")
    if np.abs(turns - turns[0]).max() > 1e-3:
        raise ScanError("slices of different orientations in one series", code="mixed-series")
    normal = np.cross(turns[0, :3], turns[0, 3:])
    if not np.isfinite(positions).all() or abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise ScanError("its orientation is not a placement in space", code="no-placement")
    return positions @ normal


def _pixel_digest(dataset: Dataset) -> bytes:
    return hashlib.sha256(dataset.get("PixelData", b"")).digest()


def _from_slices(datasets: list[Dataset]) -> nib.Nifti1Image:
    import highdicom

    scalings = {_scaling(dataset) for dataset in datasets}
    # Series in the wild lack what the standard asks for; highdicom reads on with a complaint in words.
    with redirect_stdout(io.StringIO()):
        volume = highdicom.get_volume_from_series(
            datasets,
            dtype=np.float64 if len(scalings) > 1 else np.int64,
            apply_modality_transform=len(scalings) > 1,
            apply_real_world_transform=False,
            rtol=2 * SPACING_TOLERANCE,
            perpendicular_tol=1e-2,
        )
    image = _placed(volume)
    if len(scalings) == 1:
        slope, intercept = next(iter(scalings))
        if (slope, intercept) != (1.0, 0.0):
            image.header.set_slope_inter(slope, intercept)
    return image


def _from_multiframe(dataset: Dataset) -> nib.Nifti1Image:
    import highdicom

    with redirect_stdout(io.StringIO()):
        stored = highdicom.Image.from_dataset(dataset, copy=False)
        volume = stored.get_volume(
            apply_real_world_transform=False, rtol=2 * SPACING_TOLERANCE, perpendicular_tol=1e-2
        )
    return _placed(volume)


def _scaling(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = (dataset.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    return (
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
    )


def _placed(volume: Any) -> nib.Nifti1Image:
    """Return highdicom's volume (slice, row, column; LPS) as (column, row, slice) in RAS.

    Slices ascend along row x column, as ITK has them.
    """
    import nibabel as nib

    voxels = np.asarray(volume.array).transpose(2, 1, 0)
    affine = np.asarray(volume.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    if np.linalg.det(affine[:3, :3]) < 0:
        affine[:3, 3] += affine[:3, 2] * (voxels.shape[2] - 1)
        affine[:3, 2] *= -1
        voxels = voxels[:, :, ::-1]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = nib.Nifti1Image(voxels.astype(_storage_type(voxels)), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def _storage_type(voxels: NDArray[Any]) -> type:
    """Return the smallest of int16, uint16 and int32 that holds the values, else float32."""
    if voxels.dtype.kind == "f" and (voxels != np.round(voxels)).any():
        return np.float32
    low, high = voxels.min(), voxels.max()
    for kind in (np.int16, np.uint16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.float32


def _acquisition(dataset: Dataset) -> dict[str, str]:
    """Return how the scan was made, after the PS3.15 Basic Profile has emptied the header.

    What passes is typed: numbers, and a vendor out of a list. No text of the header does.
    """
    import copy

    from dicomanonymizer import anonymize_dataset

    plain = copy.deepcopy(dataset)
    plain.pop("PixelData", None)
    try:
        with redirect_stdout(io.StringIO()):
            anonymize_dataset(plain)
    except Exception:  # noqa: BLE001
        # A header that the profile cannot be applied to tells nothing.
        return {}
    facts = {column: _number(plain.get(name)) for column, name in ACQUISITION_NUMBERS.items()}
    maker = str(plain.get("Manufacturer", "")).lower()
    facts["vendor"] = next((vendor for vendor in VENDORS if maker.startswith(vendor)), "")
    facts["acquisition"] = {"2D": "2D", "3D": "3D"}.get(str(plain.get("MRAcquisitionType")), "")
    return facts


def _number(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return ""
