"""BIDS sidecars of single volumes: how a scan was made, and what a derived volume is."""

from __future__ import annotations

from typing import Any, Final

TEMPLATE_URL: Final = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
"""Where the template comes from whose space is called MNI152NLin2009cSym."""
_SECONDS: Final = {"echo_time_ms": "EchoTime", "inversion_time_ms": "InversionTime"}
_AS_THEY_ARE: Final = {
    "field_strength_t": "MagneticFieldStrength",
    "flip_angle_deg": "FlipAngle",
    # BIDS has a SliceThickness too: that of microscopy, in micrometres.
    "slice_thickness_mm": "SliceThicknessMillimetres",
}
_DERIVED: Final[dict[str, dict[str, Any]]] = {
    "image": {
        "Description": "brain-extracted, intensity-standardised T1-CE volume",
        "SkullStripped": True,
    },
    "brain_mask": {"Description": "brain mask", "Type": "Brain"},
    "prior_coarse": {
        "Description": "coarse prior: a localizer's map of the lesion, no reader's segmentation"
    },
    "prior_refined": {
        "Description": "refined prior: a localizer's mask of the lesion, no reader's segmentation",
        "Type": "Lesion",
    },
    "lesion_mask": {"Description": "true lesion of a SYNTHETIC phantom", "Manual": False},
}
"""Sidecar of a volume column of ``processed`` or ``truth``."""


def acquisition_sidecar(cells: dict[str, str]) -> dict[str, Any]:
    """Return the sidecar for a case's cells of ``acquisition.csv``, times in seconds.

    Zeros are left out: scanners write them for what a sequence does not have, and BIDS forbids them.
    """
    numbers = {name: float(text) for name, text in cells.items() if _is_positive(text)}
    sidecar: dict[str, Any] = {
        key: numbers[name] for name, key in _AS_THEY_ARE.items() if name in numbers
    }
    sidecar |= {key: _seconds(numbers[name]) for name, key in _SECONDS.items() if name in numbers}
    if "repetition_time_ms" in numbers:
        sidecar[_repetition_key(numbers)] = _seconds(numbers["repetition_time_ms"])
    if cells.get("acquisition"):
        sidecar["MRAcquisitionType"] = cells["acquisition"]
    if cells.get("vendor"):
        vendor = cells["vendor"]
        sidecar["Manufacturer"] = vendor.upper() if len(vendor) == 2 else vendor.title()
    return dict(sorted(sidecar.items()))


def derivative_sidecar(
    column: str, raw: str, scan_from_mni: tuple[float, ...] | None
) -> dict[str, Any]:
    """Return the sidecar of a derived volume.

    Args:
        column: its volume column.
        raw: BIDS URI of the scan that it was made from.
        scan_from_mni: 4x4 affine from MNI mm to scan mm (RAS+), row by row.
    """
    reference = raw if column == "lesion_mask" else TEMPLATE_URL
    sidecar = {**_DERIVED[column], "Sources": [raw], "SpatialReference": reference}
    if column == "image" and scan_from_mni:
        rows = [list(scan_from_mni[start : start + 4]) for start in range(0, 16, 4)]
        sidecar["ScanFromMNI"] = rows
    return sidecar


def _repetition_key(numbers: dict[str, float]) -> str:
    # One DICOM field, two meanings: longer than the inversion time it spans the whole preparation
    # block, shorter it is the interval between two excitations.
    inversion = numbers.get("inversion_time_ms")
    prepared = inversion is not None and numbers["repetition_time_ms"] > inversion
    return "RepetitionTimePreparation" if prepared else "RepetitionTimeExcitation"


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def _seconds(milliseconds: float) -> float:
    return float(f"{milliseconds / 1000:.9g}")
