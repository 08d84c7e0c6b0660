"""DICOM files as slices: one flat header, one placement and one array for each, however they are stored."""

from __future__ import annotations

import io
import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError
from ictmri.io.yamlfile import own_table
from ictmri.scans.scan import MAX_VOXELS, check_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_BARE_STARTS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a file without preamble begins: group 2 or 8, in either order of bytes."""
ATTRIBUTES: Final[dict[str, Any]] = own_table(Path(__file__).with_name("dicom.yaml"))
"""What is read from headers."""
MAX_FILE_BYTES: Final = 2 * MAX_VOXELS + 2**26
"""The largest volume at two bytes a voxel, and its headers."""
_CHUNK: Final = 2**20
_HEAD: Final = 4096
"""Bytes in which the transfer syntax is named."""


@dataclass(frozen=True, slots=True)
class DicomSlice:
    """One slice.

    Attributes:
        header: what is said of it, functional groups of an enhanced file flattened; without pixels.
        pixels: (rows, columns) as stored.
        position: (3,) centre of its first pixel, mm, LPS.
        turn: (2, 3) directions along a row and down a column.
        spacing: (2,) mm between rows and between columns.
        scaling: slope and intercept of the stored values.
    """

    header: Dataset
    pixels: NDArray[Any]
    position: NDArray[np.float64]
    turn: NDArray[np.float64]
    spacing: NDArray[np.float64]
    scaling: tuple[float, float]


def value_of(header: Dataset, name: str) -> float | str:
    """Return what an attribute says, as a number where it is one; empty where it is not there."""
    value = header.get(name)
    try:
        return float(value)
    except (TypeError, ValueError):
        return "" if value is None else str(value).strip()


def number(header: Dataset, name: str) -> float:
    """Return what an attribute says, 0 where it is no number."""
    value = value_of(header, name)
    return value if isinstance(value, float) else 0.0


def moment(header: Dataset, name: str = "AcquisitionTime") -> tuple[int, float | None]:
    """Return the day, counted from any first one, and the second of it at which something happened.

    The day is 0 and the second None where the header does not say.

    Args:
        header: of a slice or of a file.
        name: attribute of the time; that of the acquisition may stand with its day in another one too.
    """
    stamp = str(header.get("FrameAcquisitionDateTime") or header.get("AcquisitionDateTime") or "")
    dates = (header.get(f"{what}Date") for what in ("Acquisition", "Series", "Study"))
    time = _seconds((name == "AcquisitionTime" and stamp[8:]) or header.get(name))
    date = next((str(date) for date in (stamp[:8], *dates) if date), "")
    try:
        return datetime.strptime(date, "%Y%m%d").toordinal(), time
    except ValueError:
        return 0, time


def _seconds(time: Any) -> float | None:
    """Return seconds since midnight of a DICOM time (HHMMSS.FFFFFF), None where it is none."""
    digits = str(time or "").partition("+")[0].strip().replace(":", "")
    try:
        parts = [int(digits[at : at + 2] or 0) for at in (0, 2)]
        return parts[0] * 3600 + parts[1] * 60 + float(digits[4:] or 0) if digits else None
    except ValueError:
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries say about deviations from the standard off the terminal."""
    import pydicom

    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            pydicom.config.disable_value_validation(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_file(path: Path, *, pixels: bool = True) -> FileDataset | None:
    """Read a DICOM file, also one without preamble, file meta or transfer syntax.

    Returns:
        The dataset, None where the file is no DICOM.

    Raises:
        ScanError: it is deflated, and unpacks to more than a scan holds.
    """
    import pydicom
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    with path.open("rb") as stream:
        start = stream.read(_HEAD)
    bare = start[128:132] != b"DICM"
    if bare and not start.startswith(_BARE_STARTS):
        return None
    if DeflatedExplicitVRLittleEndian.encode() in start:
        _check_inflated(path)
    data = pydicom.dcmread(path, stop_before_pixels=not pixels, force=bare)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that unpacks to more than a scan: pydicom unpacks it whole to read its header.

    Raises:
        ScanError: it does.
    """
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as stream:
        # Preamble and magic; the element of the group's length, which does not count itself.
        stream.seek(132 + 12 + int(meta.get("FileMetaInformationGroupLength", 0)))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        packed, size = stream.read(_CHUNK), 0
        while packed and not inflater.eof:
            size += len(inflater.decompress(packed, _CHUNK))
            if size > MAX_FILE_BYTES:
                raise ScanError("it unpacks to more than a scan holds", code="too-large")
            packed = inflater.unconsumed_tail or stream.read(_CHUNK)


def read_slices(path: Path) -> list[DicomSlice]:
    """Read the slices of a file: one, or one for each frame.

    Raises:
        ScanError: they have no placement, or their values cannot be taken as they stand.
    """
    data = read_file(path)
    if data is None:
        raise ScanError("not a DICOM file", code="no-mr-image")
    signed_known = "PixelRepresentation" in data
    for name, value in ATTRIBUTES["defaults"].items():
        if name not in data:
            setattr(data, name, value)
    if "BitsStored" not in data:
        data.BitsStored = data.BitsAllocated
    headers = _headers(data)
    _refuse_odd_pixels(data, len(headers))
    scaled = [_scaling(header) for header in headers]
    stored = _pixels(path, data, scaled[0])
    frames = stored.reshape(-1, *stored.shape[-2:])
    if len(frames) != len(headers):
        raise ScanError("it has other frames than its header says", code="truncated")
    if not signed_known and frames.max() >> (int(data.BitsStored) - 1):
        text = "its header does not say whether its values have a sign"
        raise ScanError(text, code="unsupported-voxels")
    return [
        DicomSlice(header, frame, *_placement(header), scaling)
        for header, frame, scaling in zip(headers, frames, scaled, strict=True)
    ]


def placements(
    data: Dataset,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return position, turn and spacing of each frame of a file, as :class:`DicomSlice` has them.

    Raises:
        ScanError: a frame has no placement.
    """
    return [_placement(header) for header in _headers(data)]


def _headers(data: Dataset) -> list[Dataset]:
    """Return a flat header for each frame: its functional groups beside what holds for the file."""
    frames = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = data.get("SharedFunctionalGroupsSequence") or []
    if not frames and int(data.get("NumberOfFrames") or 1) > 1:
        raise ScanError("frames without a placement of their own", code="no-placement")
    return [_flat(data, [*shared, *own]) for own in ([[frame] for frame in frames] or [[]])]


def _flat(data: Dataset, groups: list[Dataset]) -> Dataset:
    from pydicom.dataset import Dataset

    flat = Dataset()
    flat.update({element.tag: element for element in data if _is_plain(element.tag)})
    for group in groups:
        for element in group:
            if element.VR == "SQ" and len(element.value) == 1:
                flat.update(element.value[0])
    return flat


def _is_plain(tag: Any) -> bool:
    return tag.group < 0x7FE0 and tag not in (0x52009229, 0x52009230)


def _refuse_odd_pixels(data: Dataset, n_frames: int) -> None:
    if data.SamplesPerPixel != 1:
        raise ScanError("a picture in colour, not a scan", code="not-one-volume")
    if data.PhotometricInterpretation != "MONOCHROME2":
        # Readers do not agree on whether its values have to be turned round.
        text = "white may be its lowest value (its photometric interpretation is not MONOCHROME2)"
        raise ScanError(text, code="unsupported-voxels")
    if "PixelData" not in data:
        floats = "FloatPixelData" in data or "DoubleFloatPixelData" in data
        text = "it holds no pixels of whole numbers"
        raise ScanError(text, code="unsupported-voxels" if floats else "truncated")
    check_size((int(data.get("Columns") or 0), int(data.get("Rows") or 0), max(2, n_frames)))


def _pixels(path: Path, data: FileDataset, scaling: tuple[float, float]) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(data)
    except (RuntimeError, ValueError) as error:
        if not data.file_meta.TransferSyntaxUID.is_compressed:
            raise ScanError(
                "its pixels end early, or are not of the size that its header says",
                code="truncated",
                detail=str(error).splitlines()[0],
            ) from None
        # pydicom hands no 12-bit lossy JPEG to GDCM, which ITK does.
        return _by_itk(path, data, scaling)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Send to nowhere what C libraries write; GDCM tries five decoders and complains of each."""
    kept = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _by_itk(path: Path, data: FileDataset, scaling: tuple[float, float]) -> NDArray[Any]:
    import SimpleITK as sitk

    with _no_stderr():
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float64)
    kind = np.int16 if data.PixelRepresentation else np.uint16
    stored: NDArray[Any] = np.round((values - scaling[1]) / scaling[0]).astype(kind)
    return stored


def _scaling(header: Dataset) -> tuple[float, float]:
    slope, intercept = (header.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    scaling = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    if scaling[0] == 0 or not np.isfinite(scaling).all():
        raise ScanError("its rescaling makes no values of its pixels", code="unsupported-voxels")
    return scaling


def _placement(
    header: Dataset,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    names = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    found = []
    for name, length in names.items():
        try:
            numbers = np.array(header.get(name), dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.array([])
        if numbers.shape != (length,) or not np.isfinite(numbers).all():
            raise ScanError(
                f"slices without position, orientation or size ({name})", code="no-placement"
            )
        found.append(numbers)
    position, turn, spacing = found
    turn = turn.reshape(2, 3)
    if np.abs(turn @ turn.T - np.eye(2)).max() > 1e-2 or spacing.min() <= 0:
        raise ScanError("its orientation is not a placement in space", code="no-placement")
    return position, turn, spacing
