"""Whether the slices of a series are one acquisition: no single attribute of a header tells."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError
from ictmri.scans.dicom_slices import ATTRIBUTES, DicomSlice, moment, number, value_of

if TYPE_CHECKING:
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
