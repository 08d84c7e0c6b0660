from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ictmri.errors import ScanError
from ictmri.io.volumes import pack, unpack
from ictmri.scans.examine import examine
from ictmri.scans.read import read_scan

LPS = np.array([[-1.5, 0, 0, 10], [0, -1.2, 0, 20], [0, 0, 3.0, -5], [0, 0, 0, 1]])
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, 0.3) * [0.9, 0.8, 1.1], [3, -7, 11]
)


def noise(seed: int = 0, shape: tuple[int, ...] = (7, 8, 9)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20, 900, shape).astype(np.int16)


def stored(path: Path) -> nib.Nifti1Image:
    return unpack(pack(read_scan(path).image, "x"))


@pytest.mark.parametrize("affine", [LPS, OBLIQUE], ids=["lps", "oblique"])
@pytest.mark.parametrize(("qform", "sform"), [(0, 1), (1, 0), (2, 4), (0, 2)])
def test_nifti_keeps_values_affine_and_codes(
    tmp_path: Path, affine: np.ndarray, qform: int, sform: int
) -> None:
    source = nib.Nifti1Image(noise(), affine)
    source.set_qform(affine, qform)
    source.set_sform(affine if sform else None, sform)
    path = tmp_path / "a.nii.gz"
    nib.save(source, path)
    image = stored(path)
    reloaded = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), noise())
    np.testing.assert_array_equal(image.affine, reloaded.affine)
    assert [int(image.header[c]) for c in ("qform_code", "sform_code")] == [qform, sform]


def test_big_endian_is_read(tmp_path: Path) -> None:
    source = nib.Nifti1Image(noise(), LPS).as_reoriented([[0, 1], [1, 1], [2, 1]])
    swapped = nib.Nifti1Image(noise(), LPS, nib.Nifti1Header(endianness=">"))
    path = tmp_path / "a.nii"
    path.write_bytes(swapped.to_bytes())
    np.testing.assert_array_equal(stored(path).get_fdata(), source.get_fdata())


def test_free_text_and_extensions_do_not_pass(tmp_path: Path) -> None:
    source = nib.Nifti1Image(noise(), LPS)
    source.header["descrip"] = b"DOE^JANE"
    source.header["aux_file"] = b"19480314"
    source.header["intent_name"] = b"Tiantan"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1948"))
    path = tmp_path / "Jane_Doe.nii.gz"
    nib.save(source, path)
    bytes_ = stored(path).to_bytes()
    for secret in (b"DOE", b"19480314", b"Tiantan", b"born", b"Jane"):
        assert secret in source.to_bytes() or secret == b"Jane"
        assert secret not in bytes_


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
@pytest.mark.parametrize("affine", [LPS, OBLIQUE], ids=["lps", "oblique"])
def test_itk_formats_land_where_itk_says(tmp_path: Path, ending: str, affine: np.ndarray) -> None:
    nifti = tmp_path / "a.nii.gz"
    source = nib.Nifti1Image(noise(), affine)
    source.set_qform(affine, 1)
    nib.save(source, nifti)
    other = tmp_path / f"a.{ending}"
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(other))
    image = stored(other)
    np.testing.assert_array_equal(np.asarray(image.dataobj), noise())
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


def unusable(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.nii.gz"
    voxels = noise().astype(np.float32)
    if kind == "nan":
        voxels[0, 0, 0] = np.nan
    if kind == "constant":
        voxels[:] = 4
    if kind == "a CT":
        voxels = np.pad(voxels, 2, constant_values=-1000)
    if kind == "two volumes":
        voxels = np.stack([voxels, voxels], axis=-1)
    nib.save(nib.Nifti1Image(voxels, LPS), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    if kind == "not an image":
        path.write_bytes(b"hello")
    return path


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("nan", "nan", "NaN"),
        ("constant", "constant", "same value"),
        ("a CT", "like-a-ct", "its background is -1000, as air is in a CT"),
        ("two volumes", "not-one-volume", "not one volume: its shape is 7 x 8 x 9 x 2"),
        ("truncated", "truncated", "cannot be read"),
        ("not an image", "unreadable", "cannot be read"),
    ],
)
def test_unusable_scans_say_why(tmp_path: Path, kind: str, code: str, reason: str) -> None:
    with pytest.raises(ScanError, match=reason) as caught:
        read_scan(unusable(tmp_path, kind))
    assert caught.value.code == code


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ScanError, match=r"\.nrrd") as caught:
        read_scan(tmp_path / "a.png")
    assert caught.value.code == "unknown-format"


def test_oddities_are_told(tmp_path: Path) -> None:
    voxels = np.full((20, 20, 20), -2.5, dtype=np.float32)
    voxels[6:14, 6:14, 6:14] = 1
    source = nib.Nifti1Image(voxels, np.diag([1.0, 1, 6.5, 1]))
    nib.save(source, tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    told = "\n".join(note.text for note in (*scan.oddities, *examine(scan.image)))
    for what in ("qform code 0", "1.00 x 1.00 x 6.50", "background is -2.5", "extracted already"):
        assert what in told
