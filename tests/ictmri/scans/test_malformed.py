"""Two thousand damaged scans and a few good ones: every damaged one is named, every good one is there."""

import gzip
import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.made_dicom import N_SLICES, file_of, write_series

N = 2000
MEMORY = 4 * 2**30
Damage = Callable[[Path, np.random.Generator], Path]


def good(path: Path, rng: np.random.Generator) -> Path:
    voxels = rng.integers(0, 60, (20, 24, 18)).astype(np.int16)
    voxels[4:16, 5:19, 3:15] += 300
    nib.save(nib.Nifti1Image(voxels, np.diag([9.0, 9, 9, 1])), path)
    return path


def changed(path: Path, rng: np.random.Generator, at: int, value: bytes) -> Path:
    """A good volume with some bytes of its header replaced."""
    content = bytearray(gzip.decompress(good(path, rng).read_bytes()))
    content[at : at + len(value)] = value
    path.write_bytes(gzip.compress(bytes(content), 1))
    return path


def truncated_gzip(path: Path, rng: np.random.Generator) -> Path:
    content = good(path, rng).read_bytes()
    path.write_bytes(content[: int(rng.integers(0, len(content) - 20))])
    return path


def truncated_volume(path: Path, rng: np.random.Generator) -> Path:
    content = gzip.decompress(good(path, rng).read_bytes())
    path.write_bytes(gzip.compress(content[: int(rng.integers(1, len(content) - 1))], 1))
    return path


def huge(path: Path, rng: np.random.Generator) -> Path:
    return changed(path, rng, 40, struct.pack("<8h", 3, *rng.integers(3000, 32767, 3), 1, 1, 1, 1))


def four_dimensions(path: Path, rng: np.random.Generator) -> Path:
    nib.save(nib.Nifti1Image(rng.normal(size=(8, 8, 8, 3)).astype(np.float32), np.eye(4)), path)
    return path


def nan_affine(path: Path, rng: np.random.Generator) -> Path:
    content = bytearray(gzip.decompress(good(path, rng).read_bytes()))
    content[252:256] = struct.pack("<2h", 0, 1)
    content[280:284] = struct.pack("<f", float("nan"))
    path.write_bytes(gzip.compress(bytes(content), 1))
    return path


def flat_affine(path: Path, rng: np.random.Generator) -> Path:
    content = bytearray(gzip.decompress(good(path, rng).read_bytes()))
    content[252:256] = struct.pack("<2h", 0, 1)
    content[280:328] = struct.pack("<12f", *[0.0] * 12)
    path.write_bytes(gzip.compress(bytes(content), 1))
    return path


def colours(path: Path, rng: np.random.Generator) -> Path:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), kind), np.eye(4)), path)
    return path


def far_offset(path: Path, rng: np.random.Generator) -> Path:
    return changed(path, rng, 108, struct.pack("<f", float(rng.choice([1e12, -5.0, np.nan, 3e9]))))


def bomb(path: Path, rng: np.random.Generator) -> Path:
    """A stream of zeros that would fill the memory, under a header that asks for all of it."""
    changed(path, rng, 40, struct.pack("<8h", 3, 2000, 2000, 2000, 1, 1, 1, 1))
    block = gzip.compress(bytes(2**24), 9)
    with path.open("ab") as stream:
        for _ in range(8):
            stream.write(block)
    return path


def not_finite(path: Path, rng: np.random.Generator) -> Path:
    voxels = rng.normal(size=(12, 12, 12)).astype(np.float32)
    voxels[tuple(rng.integers(0, 12, 3))] = rng.choice([np.nan, np.inf])
    nib.save(nib.Nifti1Image(voxels, np.diag([15.0, 15, 15, 1])), path)
    return path


def constant(path: Path, rng: np.random.Generator) -> Path:
    voxels = np.full((12, 12, 12), int(rng.integers(0, 9)), np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([15.0, 15, 15, 1])), path)
    return path


def noise(path: Path, rng: np.random.Generator) -> Path:
    path.write_bytes(rng.bytes(int(rng.integers(0, 3000))))
    return path


def wrong_ending(path: Path, rng: np.random.Generator) -> Path:
    return good(path, rng).rename(path.with_suffix(".jpg"))


def nrrd_lies(path: Path, rng: np.random.Generator) -> Path:
    other = path.with_name(path.name.replace(".nii.gz", ".nrrd"))
    image = sitk.GetImageFromArray(rng.integers(0, 99, (9, 9, 9)).astype(np.int16))
    sitk.WriteImage(image, str(other))
    content = other.read_bytes()
    lie = rng.choice([b"sizes: 90000 90000 9", b"sizes: 9 9 90", b"sizes: 9 9", b"sizes: a b c"])
    other.write_bytes(content.replace(b"sizes: 9 9 9", bytes(lie)))
    return other


def mha_cut(path: Path, rng: np.random.Generator) -> Path:
    other = path.with_name(path.name.replace(".nii.gz", ".mha"))
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((9, 9, 9), np.int16)), str(other))
    content = other.read_bytes()
    other.write_bytes(content[: int(rng.integers(1, len(content) - 9))])
    return other


def empty_folder(path: Path, rng: np.random.Generator) -> Path:
    folder = path.with_suffix("").with_suffix("")
    folder.mkdir()
    return folder


def junk_folder(path: Path, rng: np.random.Generator) -> Path:
    folder = empty_folder(path, rng)
    for index in range(3):
        (folder / f"{index}.dcm").write_bytes(b"\0" * 128 + b"DICM" + rng.bytes(200))
    return folder


def gap_in_series(path: Path, rng: np.random.Generator) -> Path:
    folder = write_series(path.with_suffix("").with_suffix(""), int(rng.integers(1e9)))
    victim = file_of(folder, int(rng.integers(1, N_SLICES - 1)))
    victim.unlink()
    return folder


def mixed_series(path: Path, rng: np.random.Generator) -> Path:
    folder = path.with_suffix("").with_suffix("")
    for part in "ab":
        write_series(folder / part, int(rng.integers(1e9)))
    return folder


def cut_series(path: Path, rng: np.random.Generator) -> Path:
    folder = write_series(path.with_suffix("").with_suffix(""), int(rng.integers(1e9)))
    victim = sorted(folder.iterdir())[4]
    content = victim.read_bytes()
    victim.write_bytes(content[: int(len(content) * rng.uniform(0.6, 0.95))])
    return folder


DAMAGES: tuple[Damage, ...] = (
    *(truncated_gzip, truncated_volume, huge, four_dimensions, nan_affine, flat_affine, colours),
    *(far_offset, bomb, not_finite, constant, noise, wrong_ending, nrrd_lies, mha_cut),
    *(empty_folder, junk_folder, gap_in_series, mixed_series, cut_series),
)


def libraries_own() -> list[Path]:
    """Broken and odd files that the wheels of pydicom and nibabel bring."""
    import pydicom

    found = sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))
    nibabel_files = sorted((Path(nib.__file__).parent / "nicom" / "tests" / "data").glob("*"))
    return found + [path for path in nibabel_files if path.suffix in (".dcm", ".gz")]


def build(table: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build in a process of its own that may not use more than 4 GiB of address space."""
    return subprocess.run(
        [
            *(sys.executable, "-c", "from ictmri.cli.app import main; main()"),
            *("build", "folder", str(table), "--out", str(out), "--n-folds", "2", "--jobs", "2"),
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_damaged_scans_are_named_and_the_good_ones_are_built(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["patient_id,image,label"]
    bad: set[str] = set()
    for index in range(N):
        path = DAMAGES[index % len(DAMAGES)](tmp_path / f"x{index}.nii.gz", rng)
        lines.append(f"bad{index},{path.name},glioma")
        bad.add(f"bad{index}")
    odd = libraries_own()
    lines += [f"odd{i},{path},pcnsl" for i, path in enumerate(odd)]
    kept = [f"good{index}" for index in range(10)]
    for name in kept:
        lines.append(f"{name},{good(tmp_path / f'{name}.nii.gz', rng).name},rare")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")

    done = build(tmp_path / "table.csv", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    link = (tmp_path / "out.link.csv").read_text().splitlines()[1:]
    case_of = {line.split(",")[0]: line.split(",")[1] for line in link}
    findings = json.loads((tmp_path / "out" / "findings.json").read_text())
    named = {found["case_id"] for found in findings if found["severity"] == "error"}
    cases = {
        line.split(",")[0] for line in (tmp_path / "out" / "folds.csv").read_text().splitlines()
    }
    assert {name for name in bad if case_of[name] not in named} == set()
    assert {case_of[name] for name in kept} <= cases
    assert not named & cases
    assert len(named) + len(cases) - 1 == N + len(odd) + len(kept)
