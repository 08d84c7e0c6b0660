"""A small table of scans for whole builds, the command that builds it, and what a build leaves."""

from __future__ import annotations

from pathlib import Path

from support.made_dicom import write_series
from support.made_volumes import write_volume

from ictmri.classes import CLASSES


def write_table(root: Path) -> Path:
    """Write eight small volumes, a DICOM series and their table."""
    lines = ["patient_id,image,label,subtype,age,sex"]
    for index in range(8):
        name = write_volume(root / f"scan{index}.nii.gz", index).name
        lines.append(f"HOSP-{index},{name},{CLASSES[index % 4]},,{20 + index},F")
    lines.append(f"DICOM-0,{write_series(root / 'series', 50).name},glioma,,,")
    path = root / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def build(table: Path, out: Path, jobs: int = 1) -> list[str]:
    """Return the words of the command that builds a table."""
    return ["build", "folder", str(table), "--out", str(out), "--jobs", str(jobs)]


def build_phantom(out: Path, jobs: int = 1) -> list[str]:
    """Return the words of the command that builds a small phantom."""
    size = ["--n-cases", "8", "--n-folds", "2", "--spacing", "6"]
    return ["build", "phantom", "--out", str(out), "--jobs", str(jobs), *size]


BESIDE = ("link.csv", "findings.html")
"""What a build of a table leaves beside the cohort, readable by the owner."""


def left_by_build(out: Path, *, beside: tuple[str, ...] = BESIDE) -> dict[str, bytes]:
    """Return every file of a cohort and those beside it; nothing else may lie there but the lock."""
    names = {f"{out.name}.{ending}" for ending in beside}
    found = {p.name for p in out.parent.iterdir() if p.name.startswith((out.name, f".{out.name}"))}
    assert found == {out.name, f".{out.name}.lock"} | names
    files = [path for path in out.rglob("*") if path.is_file()]
    files += [out.parent / name for name in names]
    return {path.relative_to(out.parent).as_posix(): path.read_bytes() for path in files}
