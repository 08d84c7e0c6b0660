"""A small table of scans for whole builds, the command that builds it, and what a build leaves."""

from __future__ import annotations

from pathlib import Path

from conftest import write_volume
from made_dicom import write_series

from ictmri.classes import CLASSES


def write_table(root: Path) -> Path:
    """Write twelve small volumes, two DICOM series and their table."""
    lines = ["patient_id,image,label,subtype,age,sex"]
    for index in range(12):
        name = write_volume(root / f"scan{index}.nii.gz", index).name
        lines.append(f"HOSP-{index},{name},{CLASSES[index % 4]},,{20 + index},F")
    for index in range(2):
        name = write_series(root / f"series{index}", 50 + index).name
        lines.append(f"DICOM-{index},{name},{CLASSES[index]},,,")
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


def left_by_build(out: Path, *, link: bool = True) -> dict[str, bytes]:
    """Return every file of a cohort and its link file; beside them only the lock may lie."""
    beside = {p.name for p in out.parent.iterdir() if p.name.startswith((out.name, f".{out.name}"))}
    files = [path for path in out.rglob("*") if path.is_file()]
    files += [out.with_name(f"{out.name}.link.csv")] if link else []
    assert beside == {out.name, f".{out.name}.lock"} | ({f"{out.name}.link.csv"} if link else set())
    return {path.relative_to(out.parent).as_posix(): path.read_bytes() for path in files}
