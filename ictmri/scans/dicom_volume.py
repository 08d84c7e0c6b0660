"""One DICOM series to a volume: what its slices must agree on, and the array that they make.

Whether they are one acquisition no single attribute of a header tells.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError
from ictmri.io.volumes import plain
from ictmri.scans.dicom_series import choose_t1ce, find_series
from ictmri.scans.dicom_slices import (
    ATTRIBUTES,
    DicomSlice,
    moment,
    number,
    quiet,
    read_slices,
    value_of,
)
from ictmri.scans.findings import Note
from ictmri.scans.scan import Scan, check_size, from_lps
from ictmri.verify.privacy import VENDORS, is_plausible

if TYPE_CHECKING:
    import nibabel as nib
    from pydicom.dataset import Dataset

ONE_VALUE: Final[list[str]] = ATTRIBUTES["one_value"]
"""Attributes that are the same all over an acquisition."""
SAME: Final = 0.01
"""Relative difference up to which two numbers of a header are one."""
MAX_PACKAGES: Final = 6
"""More times than this count slices, not packages."""
OVERLAP: Final = 1.25
"""Slices so many times as thick as they are apart overlap."""
PAUSE_S: Final = 5.0
"""A pause from which a new acquisition begins, where slices have more than two times."""
SAME_PLACE_MM: Final = 1e-3
OFF_PLACE_MM: Final = 0.1
"""How far a slice may lie from its place in a regular stack, besides :data:`OFF_PLACE`."""
OFF_PLACE: Final = 0.02
"""The same as a share of the distance between slices."""
SHEAR_MM: Final = 0.25
"""How far the last slice may lie beside the first; a volume with right angles holds no shear."""
TOLD_MM: Final = 0.01
"""Distance from its place from which a slice is told."""
ACQUISITION_NUMBERS: Final[dict[str, list[str]]] = ATTRIBUTES["acquisition"]
"""Column of ``acquisition.csv`` -> DICOM attributes: numbers only, nothing that could hold a name."""
ACQUISITION_COLUMNS: Final = (*ACQUISITION_NUMBERS, "vendor", "acquisition")


def check_one_acquisition(slices: list[DicomSlice], step: float) -> None:
    """Refuse slices of more than one acquisition.

    Slices of one acquisition may carry several acquisition numbers or times: packages that are
    acquired in turn and lie between each other, as slices in 2D do. Then they do not overlap.

    Args:
        slices: in order of their places, each place once.
        step: usual distance between two of them, mm.

    Raises:
        ScanError: they are.
    """
    headers = [each.header for each in slices]
    overlap = number(headers[0], "SliceThickness") > OVERLAP * step
    three_d = str(headers[0].get("MRAcquisitionType", "")) == "3D"
    for name, labels in _packages(headers).items():
        parts = len(set(labels))
        if not 1 < parts < len(labels):
            continue
        stacked = np.count_nonzero(np.diff(labels)) == parts - 1
        if stacked or three_d or overlap:
            raise _mixed(f"it has {parts} values of {name}")
    numbers = Counter(header.get("InstanceNumber") for header in headers)
    times = set(numbers.values())
    enhanced = any(header.get("NumberOfFrames") for header in headers)
    repeated = None not in numbers and len(numbers) > 1 and len(times) == 1 and times != {1}
    if repeated and not enhanced:
        raise _mixed(f"every InstanceNumber is there {times.pop()} times")
    # Two volumes that lie between each other halve the step; the spacing may have a sign.
    ratio = abs(number(headers[0], "SpacingBetweenSlices")) / step
    if ratio > 1.5 and abs(ratio - round(ratio)) < SAME * ratio:
        raise _mixed("its slices lie closer than their SpacingBetweenSlices")
    if overlap and not _in_order(headers):
        raise _mixed("its overlapping slices are numbered in more than one run")


def check_complete(slices: list[DicomSlice], step: float) -> None:
    """Refuse evenly thinned slices: numbered 1, 3, 5, and further apart than their header says.

    Raises:
        ScanError: they are.
    """
    header = slices[0].header
    numbers = np.diff([number(each.header, "InstanceNumber") for each in slices])
    every = abs(float(numbers[0]))
    said = abs(number(header, "SpacingBetweenSlices")) or number(header, "SliceThickness")
    if every > 1 and (numbers == numbers[0]).all() and 0 < said < step / 1.5:
        text = f"of {every:.0f} slices one is there, by their numbers and their distance"
        raise ScanError(text, code="missing-slices")


def check_attributes(headers: list[Dataset]) -> None:
    """Refuse slices that differ in what one acquisition has one value of.

    Raises:
        ScanError: they do.
    """
    for name in ATTRIBUTES["time_points"]:
        points = len({str(header.get(name)) for header in headers})
        if points > 1:
            raise ScanError(f"a time series of {points} volumes", code="not-one-volume")
    if any("MOSAIC" in str(header.get("ImageType", "")) for header in headers):
        raise ScanError("a mosaic of many slices in one picture", code="not-one-volume")
    for name in ONE_VALUE:
        values = {value_of(header, name) for header in headers}
        numbers = sorted(value for value in values if isinstance(value, float))
        if len(numbers) == len(values) and numbers[-1] - numbers[0] <= SAME * abs(numbers[-1]):
            continue
        if len(values) > 1:
            ends = f": {numbers[0]:g} and {numbers[-1]:g}" if len(numbers) > 1 else ""
            raise _mixed(f"it has {len(values)} values of {name}{ends}")


def _mixed(why: str) -> ScanError:
    return ScanError(f"more than one acquisition in one series: {why}", code="mixed-series")


def _packages(headers: list[Dataset]) -> dict[str, NDArray[np.int64]]:
    """Return for each attribute that may part slices the number of each slice's part."""
    found = {}
    for name in ("AcquisitionNumber", "FrameAcquisitionNumber", "SeriesTime"):
        values = [value_of(header, name) for header in headers]
        found[name] = np.unique(np.array(values, dtype=str), return_inverse=True)[1]
    moments = [moment(header) for header in headers]
    # A day alone says nothing beside the time of another slice.
    if len({time is None for _, time in moments}) == 1:
        found["AcquisitionTime"] = _parts_in_time(
            np.array([86400.0 * day + (time or 0.0) for day, time in moments])
        )
    return found


def _parts_in_time(times: NDArray[np.float64]) -> NDArray[np.int64]:
    order = np.unique(times)
    gaps = np.diff(order)
    least = 0.5
    if len(order) > 2:
        # Some scanners write a time for each slice, or for each second of the reconstruction.
        steady = float(np.median(gaps)) if len(order) > MAX_PACKAGES else 0.0
        least = max(PAUSE_S, PAUSE_S * steady)
    ends = np.concatenate([[0], np.cumsum(gaps > least)])
    return np.asarray(ends[np.searchsorted(order, times)], dtype=np.int64)


def _in_order(headers: list[Dataset]) -> bool:
    steps = np.diff([number(header, "InstanceNumber") for header in headers])
    return bool((steps >= 0).all() or (steps <= 0).all())


def read_dicom(path: Path) -> Scan:
    """Read the T1-CE of a folder, or of a single file.

    Raises:
        ScanError: no series or several could be it, or it is not one regular volume.
    """
    with quiet():
        found, aside = find_series(path)
        series, doubts = choose_t1ce(found)
        rows, columns = (int(series.head.get(name) or 0) for name in ("Rows", "Columns"))
        if series.slices < 2:
            raise ScanError("one slice is no volume", code="not-one-volume")
        check_size((columns, rows, series.slices))
        slices = [each for file in series.paths for each in read_slices(file)]
        image, told = _volume(slices)
        return Scan(image, aside + doubts + told, _acquisition(slices[0].header))


def _volume(slices: list[DicomSlice]) -> tuple[nib.Nifti1Image, list[Note]]:
    headers = [each.header for each in slices]
    burned_in = (str(header.get("BurnedInAnnotation", "")) for header in headers)
    if any(said.strip().upper() == "YES" for said in burned_in):
        raise ScanError("words may be written into its pixels", code="burned-in-text")
    _check_grid(slices)
    check_attributes(headers)
    turn = _turn(slices)
    slices, told = _one_a_place(slices, turn[2])
    centre, step, uneven = _line(np.array([each.position for each in slices]), turn)
    check_one_acquisition(slices, step)
    check_complete(slices, step)
    spacing = np.mean([each.spacing for each in slices], axis=0)
    axes = turn.T * [spacing[1], spacing[0], step]
    origin = centre - turn[2] * step * (len(slices) - 1) / 2
    return plain(from_lps(_values(slices), axes, origin)), told + uneven


def _check_grid(slices: list[DicomSlice]) -> None:
    first = slices[0]
    if {each.pixels.shape for each in slices} != {first.pixels.shape}:
        raise ScanError("slices of different sizes in one series", code="mixed-series")
    if any(np.abs(each.spacing / first.spacing - 1).max() > 1e-4 for each in slices):
        raise ScanError("pixels of different sizes in one series", code="mixed-series")
    if any(np.abs(each.turn - first.turn).max() > 1e-3 for each in slices):
        raise ScanError("slices of different orientations in one series", code="mixed-series")


def _turn(slices: list[DicomSlice]) -> NDArray[np.float64]:
    """Return (3, 3): directions along a row, down a column and from slice to slice, at right angles."""
    row, column = np.mean([each.turn for each in slices], axis=0)
    left, _, right = np.linalg.svd(np.stack([row, column, np.cross(row, column)]))
    return np.asarray(left @ right, dtype=np.float64)


def _one_a_place(
    slices: list[DicomSlice], normal: NDArray[np.float64]
) -> tuple[list[DicomSlice], list[Note]]:
    """Sort slices along their normal, drop exact copies, and refuse second volumes."""
    kept: list[DicomSlice] = []
    for each in sorted(slices, key=lambda each: float(each.position @ normal)):
        if not kept or np.linalg.norm(each.position - kept[-1].position) > SAME_PLACE_MM:
            kept.append(each)
        elif _digest(each) != _digest(kept[-1]):
            text = "two different slices lie at the same place: more than one volume"
            raise ScanError(text, code="mixed-series")
    if len(kept) < 2:
        raise ScanError("one slice is no volume", code="not-one-volume")
    dropped = len(slices) - len(kept)
    text = f"{dropped} slices were there twice; the copies were dropped"
    return kept, [Note("repeated-slices", text)] if dropped else []


def _digest(each: DicomSlice) -> tuple[bytes, tuple[float, float]]:
    return hashlib.sha256(each.pixels.tobytes()).digest(), each.scaling


def _line(
    positions: NDArray[np.float64], turn: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, list[Note]]:
    """Return the middle and the step (mm) of the straight line that slices lie on.

    Raises:
        ScanError: there is no such line, it is not their normal, or slices are missing on it.
    """
    steps = np.diff(positions @ turn[2])
    _check_gaps(steps)
    count = np.arange(len(positions)) - (len(positions) - 1) / 2
    centre = positions.mean(axis=0)
    along = count @ positions / (count @ count)  # the least squares' line
    off = np.linalg.norm(positions - centre - count[:, None] * along, axis=1)
    step = float(along @ turn[2])
    if off.max() > max(OFF_PLACE_MM, OFF_PLACE * step):
        spacings = f"{steps.min():.3f} to {steps.max():.3f} mm"
        text = f"is uneven: {spacings}; a slice lies {off.max():.2f} mm off its place"
        raise ScanError(f"the slice spacing {text}", code="uneven-slices")
    shear = float(np.linalg.norm(along - step * turn[2])) * (len(positions) - 1)
    if shear > SHEAR_MM:
        text = f"the stack of slices is sheared: the last lies {shear:.1f} mm beside the first"
        raise ScanError(text, code="sheared-slices")
    text = f"the slice spacing is uneven by {off.max():.2f} mm"
    return centre, step, [Note("slightly-uneven-slices", text)] if off.max() > TOLD_MM else []


def _check_gaps(steps: NDArray[np.float64]) -> None:
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if len(gaps):
        missing = int(np.round(steps[gaps] / max(usual, SAME_PLACE_MM) - 1).sum())
        first = ", ".join(str(gap + 1) for gap in gaps[:5])
        text = f"about {missing} slices are missing, after slice {first}"
        raise ScanError(text, code="missing-slices")


def _values(slices: list[DicomSlice]) -> NDArray[Any]:
    """Return slices as an array (column, row, slice) of the values that their rescaling gives."""
    planes = [each.pixels.T for each in slices]
    scalings = [each.scaling for each in slices]
    if set(scalings) != {(1.0, 0.0)}:
        planes = [a * slope + b for a, (slope, b) in zip(planes, scalings, strict=True)]
    return np.stack(planes, axis=-1)


def _acquisition(header: Dataset) -> dict[str, str]:
    """Return how the scan was made, after the PS3.15 Basic Profile has emptied the header.

    What passes is typed: numbers, and a vendor out of a list. No text of the header does.
    """
    import copy

    from dicomanonymizer import anonymize_dataset

    plain = copy.deepcopy(header)
    try:
        anonymize_dataset(plain)
    except Exception:  # noqa: BLE001
        # A header that the profile cannot be applied to tells nothing.
        return {}
    facts = {
        column: next(
            (n for name in names if (n := _number(plain.get(name))) and is_plausible(column, n)), ""
        )
        for column, names in ACQUISITION_NUMBERS.items()
    }
    maker = str(plain.get("Manufacturer", "")).lower()
    facts["vendor"] = next((vendor for vendor in VENDORS if maker.startswith(vendor)), "")
    facts["acquisition"] = {"2D": "2D", "3D": "3D"}.get(str(plain.get("MRAcquisitionType")), "")
    return facts


def _number(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return ""
