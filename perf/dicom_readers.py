"""Compare DICOM readers on series whose right volume is known, and print docs/reading.md's table.

dcm2niix runs as its users run it, with ``-x i`` (axes as acquired) and ``-p n`` (the standard's
scaling). A reader is right where every corner lies within 0.05 mm and every value agrees; of a series
that is no volume the right thing is to say so.

Example: pip install dcm2niix && PYTHONPATH=tests python perf/dicom_readers.py --data $ICTMRI_REAL_SCANS
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from support.dicom_faults import CASES, apart

from ictmri.errors import ScanError
from ictmri.scans.dicom_volume import read_dicom

ACCEPTED_MM = 0.05


def by_ictmri(folder: Path) -> nib.Nifti1Image:
    """Return the volume of a folder as the package reads it."""
    return read_dicom(folder).image


def by_dcm2niix(folder: Path) -> nib.Nifti1Image:
    """Return the volume of a folder as dcm2niix reads it.

    Raises:
        ScanError: it writes no volume, more than one, or a series of them.
    """
    import dcm2niix

    with tempfile.TemporaryDirectory() as made:
        dcm2niix.main(
            ["-b", "n", "-z", "n", "-x", "i", "-p", "n", "-f", "v_%s", "-o", made, str(folder)],
            capture_output=True,
            timeout=120,
        )
        files = sorted(Path(made).iterdir())
        if len(files) != 1:
            raise ScanError(f"{len(files)} files")
        image = nib.load(files[0])
        if len(image.shape) != 3:
            raise ScanError(f"{len(image.shape)} dimensions")
        return nib.Nifti1Image(image.get_fdata(), image.affine)


READERS: dict[str, Callable[[Path], nib.Nifti1Image]] = {
    "ictmri": by_ictmri,
    "dcm2niix": by_dcm2niix,
}


def outcome(
    read: Callable[[Path], nib.Nifti1Image], folder: Path, true: nib.Nifti1Image | None
) -> str:
    """Return what a reader makes of a series, in a few words."""
    try:
        found = read(folder)
    except Exception as error:  # noqa: BLE001
        why = error.reason if isinstance(error, ScanError) else type(error).__name__
        return "refused" if true is None else f"not read ({why})"
    if true is None:
        return "**made a volume**"
    off_mm, off = apart(found, true)
    if off_mm > ACCEPTED_MM:
        return f"**{off_mm:.1f} mm off**" if np.isfinite(off_mm) else "**other shape**"
    return "right" if off < 1e-3 * max(1.0, np.abs(true.get_fdata()).max()) else "**other values**"


def compare_made() -> None:
    """Print a row for each made series on which readers differ, and how often each was wrong."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in READERS}
    print("| series | it is | " + " | ".join(READERS) + " |\n|---|---|" + "---|" * len(READERS))
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as made:
            folder, true = case.save(Path(made) / "s"), case.truth()
            said = {reader: outcome(read, folder, true) for reader, read in READERS.items()}
        for reader, words in said.items():
            kind = "wrong, untold" if words.startswith("**") else words.partition(" (")[0]
            counts[reader][kind] += 1
        if any(words not in ("right", "refused") for words in said.values()):
            kind = "no volume" if true is None else "a volume"
            print(f"| {name} | {kind} | {' | '.join(said.values())} |")
    for reader, count in counts.items():
        print(f"\n{reader}: " + ", ".join(f"{n} {what}" for what, n in count.most_common()))


def compare_real(folder: Path) -> None:
    """Print how far the readers are apart on a real series, and how long each takes."""
    found = {}
    for name, read in READERS.items():
        start = time.perf_counter()
        found[name] = read(folder)
        print(f"{folder.name}: {name} {time.perf_counter() - start:.1f} s")
    off_mm, off = apart(*found.values())
    print(f"{folder.name}: {off_mm:.1e} mm and {off:g} apart")


def main() -> None:
    """Compare the readers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the real scans")
    data = parser.parse_args().data
    compare_made()
    if data:
        compare_real(data / "dicom" / "sag_anon")


if __name__ == "__main__":
    main()
