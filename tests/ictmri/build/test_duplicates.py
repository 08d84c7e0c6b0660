from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_to_output
from scipy import ndimage

from ictmri.atlas.alignment import align
from ictmri.build.duplicates import exact_copies, near_copies, near_findings, outline_pairs
from ictmri.build.folder import build_folder
from ictmri.phantom import render, roster
from ictmri.scans.fingerprint import EDGE, Fingerprint, fingerprint, likeness, outline
from ictmri.scans.read import read_scan

Image = nib.Nifti1Image


@lru_cache(maxsize=80)
def printed(index: int, spacing: float = 5.0) -> Fingerprint:
    return fingerprint(align(render(roster()[index], spacing=spacing).image))


def voxels(image: Image) -> np.ndarray:
    return np.asarray(image.dataobj)


def resampled(image: Image) -> Image:
    canonical = nib.as_closest_canonical(image)
    return resample_to_output(canonical, np.array(canonical.header.get_zooms()) * 1.3, order=1)


def padded(image: Image) -> Image:
    shift = np.eye(4)
    shift[:3, 3] = -7, -2, -1
    border = ((7, 3), (2, 9), (1, 2))
    value = voxels(image)[0, 0, 0]
    return Image(np.pad(voxels(image), border, constant_values=value), image.affine @ shift)


def noisy(image: Image) -> Image:
    sigma = 0.02 * np.percentile(voxels(image), 99)
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return Image((voxels(image) + noise).astype(np.float32), image.affine)


COPIES: dict[str, Callable[[Image], Image]] = {
    "other scaling": lambda i: Image((voxels(i) * 3.7 + 12).astype(np.float32), i.affine),
    "other contrast curve": lambda i: Image(
        np.maximum(voxels(i) - voxels(i).min(), 0).astype(np.float32) ** 0.8, i.affine
    ),
    "other axes": lambda i: nib.as_closest_canonical(i).as_reoriented([[1, -1], [0, 1], [2, -1]]),
    "cropped": lambda i: i.slicer[2:, 1:-2, :-2],
    "padded": padded,
    "resampled": resampled,
    "noisy": noisy,
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_the_same_head(copy: Callable[[Image], Image]) -> None:
    image = render(roster()[0], spacing=5.0).image
    assert likeness(printed(0), fingerprint(align(copy(image)))) > 0.9


def test_other_heads_are_not() -> None:
    assert max(likeness(printed(0), printed(index)) for index in (1, 2, 3)) < 0.7


@pytest.mark.long
def test_copies_are_found_among_other_heads_and_told_with_their_folds() -> None:
    prints = {f"c{index}": printed(index) for index in range(6)}
    prints["c6"] = printed(2, 4.0)
    prints["c7"] = fingerprint(align(padded(render(roster()[4], spacing=5.0).image)))
    pairs = near_copies(sorted(prints), prints.__getitem__, jobs=1)
    assert pairs == [("c2", "c6"), ("c4", "c7")]
    folds = dict.fromkeys(prints, 0) | {"c7": 1}
    found = [(f.case_id, f.code, f.text) for f in near_findings(pairs, folds)]
    text = "looks like {}: the same patient twice?"
    across = text + " They are in folds {} and {}"
    assert found == [
        ("c2", "near-duplicate", text.format("c6")),
        ("c6", "near-duplicate", text.format("c2")),
        ("c4", "near-duplicate-across-folds", across.format("c7", 0, 1)),
        ("c7", "near-duplicate-across-folds", across.format("c4", 1, 0)),
    ]


def test_one_head_or_none_has_no_copy() -> None:
    assert near_copies([], printed) == []  # type: ignore[arg-type]
    assert near_copies(["a"], lambda _: printed(0), jobs=1) == []


def test_exact_copies_are_errors_for_all_of_them() -> None:
    found = exact_copies({"a": "1", "b": "2", "c": "1", "d": "1"})
    assert [(f.case_id, f.severity, f.text) for f in found] == [
        ("a", "error", "the same volume as c, d"),
        ("c", "error", "the same volume as a, d"),
        ("d", "error", "the same volume as a, c"),
    ]


@pytest.mark.long
def test_different_heads_give_no_pair_and_their_finer_scans_do() -> None:
    prints = {f"h{index:02d}": printed(index) for index in range(14)}
    prints |= {f"x{index:02d}": printed(index, 2.5) for index in range(2)}
    pairs = near_copies(sorted(prints), prints.__getitem__, jobs=1)
    assert pairs == [("h00", "x00"), ("h01", "x01")]


@pytest.mark.long
def test_copies_of_real_scans_are_found(real_scans: Path) -> None:
    prints = {}
    for path in sorted((real_scans / "cohort" / "images").iterdir()):
        image = read_scan(path).image
        prints[path.name[:16]] = fingerprint(align(image))
        if path.name.startswith(("tcga", "pyrad")):
            for name in ("resampled", "noisy", "cropped"):
                prints[f"{path.name[:16]} {name}"] = fingerprint(align(COPIES[name](image)))
    pairs = near_copies(sorted(prints), prints.__getitem__, jobs=1)
    assert all(first.split()[0] == second.split()[0] for first, second in pairs)
    assert {second for _, second in pairs} == {name for name in prints if " " in name}


STORED: dict[str, Callable[[Image], bytes]] = {
    "big-endian": lambda i: Image(voxels(i), i.affine, nib.Nifti1Header(endianness=">")).to_bytes(),
    "float32": lambda i: Image(voxels(i).astype(np.float32), i.affine).to_bytes(),
    "scaled": lambda i: scaled(voxels(i) * 2, i.affine, 0.5),
    "other axes": lambda i: COPIES["other axes"](i).to_bytes(),
    "more background": lambda i: padded(i).to_bytes(),
    "another affine": lambda i: Image(voxels(i), np.eye(4)).to_bytes(),
}


def scaled(stored: np.ndarray, affine: np.ndarray, slope: float) -> bytes:
    image = Image(stored, affine)
    image.header.set_slope_inter(slope, 0)
    return image.to_bytes()


def small_head(seed: int) -> Image:
    """Integers on a background of 0, each head its own."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(40, 48, 40)), 3)
    inside = (
        np.linalg.norm((np.indices(blobs.shape).T - [20, 24, 20]) / [17, 21, 17], axis=-1).T < 1
    )
    return Image((inside * (500 + 4000 * blobs)).astype(np.int16), np.diag([4.0, 4, 4, 1]))


def test_the_same_values_under_two_patients_are_found(tmp_path: Path) -> None:
    heads = [small_head(seed) for seed in range(4)]
    copies = [store(heads[1]) for store in STORED.values()]
    rows = ["patient_id,image,label"]
    for index, content in enumerate([*(image.to_bytes() for image in heads), *copies]):
        (tmp_path / f"{index}.nii").write_bytes(content)
        rows.append(f"p{index},{index}.nii,{'glioma' if index % 2 else 'pcnsl'}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    built = build_folder(tmp_path / "table.csv", tmp_path / "c", n_folds=2, checks="quick", jobs=1)
    told = [found for found in built.findings if found.code == "duplicate"]
    assert len(told) == 1 + len(copies)
    assert built.cohort.manifest.n_cases == 3


def test_outlines_propose_the_copies_and_nothing_else() -> None:
    heads = [small_head(seed) for seed in range(12)]
    for name, copy in COPIES.items():
        prints = [outline(image) for image in (*heads, copy(heads[3]), copy(heads[8]))]
        assert outline_pairs(np.stack(prints)) == [(3, 12), (8, 13)], name
    assert outline_pairs(np.stack([outline(heads[0])] * 2)) == [(0, 1)]
    assert outline_pairs(np.stack([outline(heads[0])])) == []


@pytest.mark.long
def test_near_copies_are_found_among_scans_that_are_checked_quickly(tmp_path: Path) -> None:
    images = [render(roster()[index], spacing=5.0).image for index in range(6)]
    images.append(noisy(images[4]))
    rows = ["patient_id,image,label"]
    for index, image in enumerate(images):
        nib.save(image, tmp_path / f"{index}.nii")
        rows.append(f"p{index},{index}.nii,{'glioma' if index % 2 else 'pcnsl'}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    built = build_folder(tmp_path / "table.csv", tmp_path / "c", n_folds=2, checks="quick", jobs=1)
    told = [found for found in built.findings if found.code.startswith("near-duplicate")]
    assert len(told) == 2
    assert all(found.severity == "warning" for found in told)


def test_outlines_of_many_are_compared_in_parts() -> None:
    prints = np.random.default_rng(0).normal(size=(800, EDGE**3)).astype(np.float32)
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    prints[700] = prints[17]
    assert outline_pairs(prints) == [(17, 700)]
