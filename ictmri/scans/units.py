"""Units of length in headers: what a head can be is believed, and brought to millimetres."""

from __future__ import annotations

from typing import Final

from ictmri.scans.codes import Note

TO_MM: Final = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("micrometre", "micrometres"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
}
"""Millimetres in a unit, by the names that headers give it in small letters."""
PLAUSIBLE_MM: Final = (10.0, 1000.0)
"""Longest edge of a scan of a head, and of a small piece of one."""
_WORDS: Final = {1e-3: "micrometres", 10.0: "centimetres", 1000.0: "metres"}


def to_millimetres(longest: float, unit: str) -> tuple[float, list[Note]]:
    """Return what lengths are to be multiplied with, and what is to be told about their unit.

    A header's word counts where it can be true. Lengths that can only be millimetres are taken as such.

    Args:
        longest: longest edge of the field of view, as the header has it.
        unit: its name in the header; empty where the header names none.
    """
    name = unit.strip().strip('"').lower()
    if not name:
        return 1.0, []
    factor = TO_MM.get(name)
    if factor is None:
        return 1.0, [_note("its header names an unknown unit of length; millimetres were taken")]
    if factor == 1.0:
        return 1.0, []
    low, high = PLAUSIBLE_MM
    said = f"its header gives lengths in {_WORDS[factor]}"
    if low <= longest * factor <= high or not low <= longest <= high:
        return factor, [_note(f"{said}; they were brought to millimetres")]
    text = f"{said}, which would make it {longest * factor:.4g} mm long; millimetres were taken"
    return 1.0, [_note(text)]


def _note(text: str) -> Note:
    return Note("unit-of-length", text)
