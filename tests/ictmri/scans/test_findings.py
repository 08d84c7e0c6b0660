import re
from collections.abc import Callable
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import ictmri
from ictmri.atlas.alignment import align
from ictmri.atlas.template import template
from ictmri.errors import ScanError
from ictmri.phantom import render, roster
from ictmri.scans.examine import examine
from ictmri.scans.findings import CODES, finding, findings_text, read_findings
from ictmri.scans.placement import examine_scan
from ictmri.scans.read import read_scan

Image = nib.Nifti1Image
PACKAGE = Path(ictmri.__file__).parent
SOURCES = [path for part in ("scans", "build", "io") for path in (PACKAGE / part).glob("*.py")]


def codes(image: Image) -> set[str]:
    return {note.code for note in examine_scan(image)[0]}


@lru_cache(maxsize=4)
def head(index: int = 0, spacing: float = 4.0) -> Image:
    image = render(roster()[index], spacing=spacing).image
    return Image(np.asarray(image.dataobj), image.affine)


def like(image: Image, voxels: np.ndarray) -> Image:
    return Image(voxels, image.affine)


def under(image: Image, matrix: np.ndarray) -> Image:
    """The same voxels under a header that is wrong by a turn or a mirror."""
    wrong = np.eye(4)
    wrong[:3, :3] = matrix
    return Image(np.asarray(image.dataobj), wrong @ image.affine)


@lru_cache(maxsize=1)
def extracted() -> Image:
    """A phantom's brain without its head."""
    image = head()
    to_template = np.linalg.inv(template().affine) @ np.linalg.inv(align(image).scan_from_mni)
    matrix = to_template @ image.affine
    mask = ndimage.affine_transform(
        template().mask.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], image.shape, order=0
    )
    return like(image, np.where(mask, np.asarray(image.dataobj), 0).astype(np.int16))


def without_ball(image: Image, radius: float) -> Image:
    """A bite at the left side of a brain."""
    voxels = np.array(image.dataobj)
    brain = np.argwhere(voxels != 0)
    places = nib.affines.apply_affine(image.affine, brain)
    row = np.abs(places - places.mean(axis=0))[:, 1:].max(axis=1) < 6
    tip = places[row][places[row][:, 0].argmin()]
    bitten = brain[np.linalg.norm(places - tip, axis=1) < radius]
    voxels[tuple(bitten.T)] = 0
    return like(image, voxels)


def cropped(image: Image, axis: int, share: float, *, top: bool) -> Image:
    """Without a share of the head's own extent along an axis."""
    solid = np.asarray(image.dataobj) > 60
    used = np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis})))
    length = round((used[-1] - used[0] + 1) * share)
    kept = slice(None, used[-1] + 1 - length) if top else slice(used[0] + length, None)
    return image.slicer[tuple(kept if a == axis else slice(None) for a in range(3))]


def test_every_code_is_in_the_table_and_every_code_of_the_table_is_used() -> None:
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "codes.py")
    given = set(re.findall(r'code="([a-z0-9-]+)"', text))
    given |= set(re.findall(r'Note\(\s*"([a-z0-9-]+)"', text))
    given |= set(re.findall(r'finding\(\s*[a-z_"]+,\s*"([a-z0-9-]+)"', text))
    assert given <= set(CODES)
    assert set(CODES) <= set(re.findall(r'"([a-z0-9-]+)"', text))


def test_findings_are_written_in_order_and_read_back(tmp_path: Path) -> None:
    found = [
        finding("", "mixed-axes", "x"),
        finding("b", "thick-slices", "x"),
        finding("a", "nan", "y"),
    ]
    (tmp_path / "findings.json").write_text(findings_text(found))
    assert read_findings(tmp_path) == [found[2], found[1], found[0]]
    assert [item.severity for item in read_findings(tmp_path)] == ["error", "warning", "warning"]
    with pytest.raises(KeyError):
        finding("a", "no-such-code", "x")


@pytest.mark.parametrize(("index", "spacing"), [(0, 4.0), (1, 4.0), (2, 4.0), (3, 2.5)])
def test_nothing_is_found_about_whole_heads(index: int, spacing: float) -> None:
    assert codes(head(index, spacing)) == ({"thick-slices"} if spacing > 3 else set())


def test_an_extracted_brain_is_that_and_whole() -> None:
    assert codes(extracted()) == {"thick-slices", "brain-extracted"}


@pytest.mark.parametrize(
    ("axis", "top"),
    [
        (0, True),
        pytest.param(0, False, marks=pytest.mark.long, id="its mirror image"),
        *product((1, 2), (True, False)),
    ],
)
def test_half_a_head_is_told_from_a_clipped_one(axis: int, top: bool) -> None:
    assert "half-a-head" in codes(cropped(head(), axis, 0.5, top=top))
    quarter = codes(cropped(head(), axis, 0.25, top=top))
    assert "brain-clipped" in quarter
    assert not quarter & {"half-a-head", "bitten-brain", "orientation-wrong"}


def test_a_head_cut_beside_the_brain_is_told_as_that() -> None:
    found = codes(cropped(head(), 0, 0.09, top=True))
    assert "head-clipped" in found
    assert not found & {"brain-clipped", "half-a-head"}


def test_a_bite_is_found_and_no_brain_is_bitten_for_nothing() -> None:
    assert "bitten-brain" in codes(without_ball(extracted(), 28))
    assert "bitten-brain" not in codes(without_ball(extracted(), 10))


def test_a_wrong_header_is_found_whatever_is_wrong() -> None:
    matrices = []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[range(3), axes] = signs
        # Half of them differ from another by a mirror of left and right alone, as heads do.
        if signs[0] == 1 and not np.array_equal(matrix, np.eye(3)):
            matrices.append(matrix)
    assert len(matrices) == 23
    for index, number in enumerate(np.random.default_rng(0).choice(23, 4, replace=False)):
        assert "orientation-wrong" in codes(under(head(index % 3), matrices[number]))
    note = next(n for n in examine_scan(under(head(), np.diag([1, 1, -1])))[0] if "lies" in n.text)
    assert note.text.endswith("its top is called bottom")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda i: under(i, np.diag([3.0, 3, 3])), "not-a-head"),
        (lambda i: i.slicer[:, :, 20:30], "half-a-head"),
        (lambda i: like(i, np.asarray(i.dataobj)[:, :, ::3].repeat(3, 2)), None),
        (lambda i: under(i, np.diag([0.25, 0.25, 1.0])), "half-a-head"),
        (lambda i: like(i, np.where(ball(i), 900, 0).astype(np.int16)), "unlike-a-head"),
        (
            lambda i: like(i, np.asarray(i.dataobj) * (np.asarray(i.dataobj) > 60) - 7),
            "background-not-zero",
        ),
    ],
)
def test_what_is_damaged_has_a_name(change: Callable[[Image], Image], code: str | None) -> None:
    found = codes(change(head()))
    assert (code in found) if code else not found & {"half-a-head", "unlike-a-head"}


def ball(image: Image) -> np.ndarray:
    """A phantom as physicists use it: a ball of 17 cm."""
    places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    middle = (np.array(image.shape) - 1) / 2
    inside: np.ndarray = np.linalg.norm((places - middle) * 4.0, axis=-1) < 85
    return inside


def test_flat_voxels_of_thin_slices_are_uneven_and_not_thick() -> None:
    voxels = np.zeros((300, 300, 60), np.int16)
    voxels[20:280, 20:280, 5:55] = 100
    notes = examine(Image(voxels, np.diag([0.6, 0.6, 2.4, 1])))
    assert [note.code for note in notes if note.code != "half-a-head"] == ["anisotropic"]


def saved(path: Path, image: Image) -> Path:
    nib.save(image, path)
    return path


def test_both_orientations_of_a_header_are_compared(tmp_path: Path) -> None:
    image = Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.diag([2.0, 2, 2, 1]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    assert read_scan(saved(tmp_path / "a.nii", image)).oddities == []
    image.set_qform(np.diag([-2.0, -2, 2, 1]), 1)
    (note,) = read_scan(saved(tmp_path / "b.nii", image)).oddities
    assert note.code == "orientation-conflict"
    image.set_qform(image.affine, 0)
    (note,) = read_scan(saved(tmp_path / "c.nii", image)).oddities
    assert note.code == "qform-missing"
    image.set_sform(image.affine, 0)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    (tmp_path / "d.nii").write_bytes(without_codes(image))
    (note,) = read_scan(tmp_path / "d.nii").oddities
    assert note.code == "orientation-missing"


def without_codes(image: Image) -> bytes:
    content = bytearray(image.to_bytes())
    content[252:256] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd"])
def test_files_that_end_too_early_are_told_from_damaged_ones(tmp_path: Path, ending: str) -> None:
    import SimpleITK as sitk

    path = tmp_path / f"a.{ending}"
    voxels = np.random.default_rng(0).integers(0, 900, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (np.zeros((6, 6, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "unsupported-voxels"),
        (np.zeros((1, 6, 6), np.int16), "not-one-volume"),
    ],
)
def test_voxels_that_are_no_volume_of_numbers(
    tmp_path: Path, voxels: np.ndarray, code: str
) -> None:
    with pytest.raises(ScanError) as caught:
        read_scan(saved(tmp_path / "a.nii", Image(voxels, np.eye(4))))
    assert caught.value.code == code


@pytest.mark.slow
def test_real_scans_have_the_findings_that_one_sees(real_scans: Path) -> None:
    told = {}
    for path in sorted((real_scans / "cohort" / "images").iterdir()):
        scan = read_scan(path)
        notes = (*scan.oddities, *examine_scan(scan.image)[0])
        told[path.name.split("_t1c")[0]] = {note.code for note in notes}
    z_scored = {"qform-missing", "background-not-zero", "brain-extracted"}
    assert told == {
        "brats2013_pat0001": z_scored,
        "brats2013_pat0002": z_scored,
        # Its frontal pole and its lower end were never in the field of view.
        "brats2013_pat0003": z_scored | {"bitten-brain"},
        "brats_met_00110": {"brain-extracted"},
        "pyradiomics_brain1": {"thick-slices"},
        "tcga_fg_6692": {"thick-slices"},
    }


@pytest.mark.slow
def test_a_whole_head_with_its_neck_has_no_finding(real_scans: Path) -> None:
    scan = read_scan(real_scans / "dicom" / "sag_anon")
    assert [note.code for note in scan.oddities] == ["files-left-aside", "no-contrast-named"]
    assert codes(scan.image) == set()
    assert "brain-clipped" in codes(scan.image.slicer[:, 60:, :])
    assert codes(under(scan.image, np.diag([1, 1, -1]))) == {"orientation-wrong"}
