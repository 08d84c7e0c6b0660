"""One scan, stored in many ways: the same bytes, or a name for what is wrong with it."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ictmri.errors import ScanError
from ictmri.io.volumes import pack
from ictmri.scans.examine import examine
from ictmri.scans.read import read_scan
from ictmri.scans.walk import digest_of

AFFINE = np.array([[-3.0, 0, 0, 90], [0, -3, 0, 100], [0, 0, 3, -60], [0, 0, 0, 1]])
SHAPE = (44, 50, 42)
Write = Callable[[Path], Path]


def head(seed: int = 0) -> np.ndarray:
    """Integers between 0 and 900, a bright box on noise."""
    voxels = np.random.default_rng(seed).integers(0, 60, SHAPE).astype(np.int16)
    voxels[6:38, 6:44, 6:36] += 800
    return voxels


def nifti(
    path: Path,
    stored: np.ndarray,
    slope: float = np.nan,
    inter: float = 0.0,
    *,
    affine: np.ndarray = AFFINE,
    units: int = 2,
    order: str = "<",
    kind: Any = nib.Nifti1Image,
) -> Path:
    """Write the voxels as they are under a header with slope, intercept and unit."""
    image = kind(stored, affine, kind.header_class(endianness=order), dtype=stored.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    content = bytearray(image.to_bytes())
    first = kind is nib.Nifti1Image
    struct.pack_into(
        f"{order}2f" if first else f"{order}2d", content, 112 if first else 176, slope, inter
    )
    if first:
        content[123] = units
    else:
        struct.pack_into(f"{order}i", content, 500, units)
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    return path


def meta(
    path: Path, stored: np.ndarray, *lines: str, without: str = "", packed: bool = False
) -> Path:
    """Write a MetaImage file with further header lines, or without one."""
    image = sitk.GetImageFromArray(stored.transpose(2, 1, 0))
    image.SetSpacing((3.0, 3, 3))
    image.SetOrigin((-90.0, -100, -60))
    sitk.WriteImage(image, str(path), packed)
    text, end, voxels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    kept = [one for one in text.decode().splitlines() if not without or not one.startswith(without)]
    path.write_bytes("\n".join([*kept, *lines, ""]).encode() + end + voxels)
    return path


def nrrd(
    path: Path, stored: np.ndarray, change: Callable[[str], str] = str, packed: bool = False
) -> Path:
    """Write a NRRD file with a changed header."""
    meta_path = meta(path.with_suffix(".mha"), stored)
    sitk.WriteImage(sitk.ReadImage(str(meta_path)), str(path), packed)
    text, end, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(change(text.decode()).encode() + end + voxels)
    return path


def stored_bytes(path: Path) -> bytes:
    content: bytes = pack(read_scan(path).image, "x")["bytes"]
    return content


# Values --------------------------------------------------------------------------------------------------

HALVES = {
    "float32": lambda path: nifti(path, (head() * 0.5 - 3).astype(np.float32)),
    "float64": lambda path: nifti(path, head() * 0.5 - 3),
    "big-endian float": lambda path: nifti(path, (head() * 0.5 - 3).astype(np.float32), order=">"),
    "slope and intercept": lambda path: nifti(path, head(), 0.5, -3),
    "big-endian and scaled": lambda path: nifti(path, head(), 0.5, -3, order=">"),
    "negative slope": lambda path: nifti(path, -head(), -0.5, -3),
    "float16 of scaled floats": lambda path: nifti(path, head().astype(np.float32), 0.5, -3),
    "NIfTI-2": lambda path: nifti(path, head(), 0.5, -3, kind=nib.Nifti2Image),
    "compressed": lambda path: nifti(path.with_suffix(".nii.gz"), head(), 0.5, -3),
    "MetaImage": lambda path: meta(path.with_suffix(".mha"), (head() * 0.5 - 3).astype(np.float32)),
    "scaled MetaImage": lambda path: meta(
        path.with_suffix(".mha"),
        head(),
        "ElementToIntensityFunctionSlope = 0.5",
        "ElementToIntensityFunctionOffset = -3",
    ),
    "NRRD": lambda path: nrrd(path.with_suffix(".nrrd"), (head() * 0.5 - 3).astype(np.float32)),
}
WHOLE = {
    "int16": lambda path: nifti(path, head()),
    "int8": lambda path: nifti(path, (head() // 8).astype(np.int8), 8, 0),
    "uint16": lambda path: nifti(path, head().astype(np.uint16)),
    "int32": lambda path: nifti(path, head().astype(np.int32)),
    "uint32": lambda path: nifti(path, head().astype(np.uint32)),
    "int64": lambda path: nifti(path, head().astype(np.int64)),
    "uint64": lambda path: nifti(path, head().astype(np.uint64)),
    "float32": lambda path: nifti(path, head().astype(np.float32)),
    "slope 0": lambda path: nifti(path, head(), 0.0, 77.0),
    "slope NaN, intercept too": lambda path: nifti(path, head(), np.nan, np.nan),
    "slope infinite": lambda path: nifti(path, head(), np.inf, 3.0),
    "slope 2": lambda path: nifti(path, head() // 2, 2, 0),
    "slope -1": lambda path: nifti(path, 900 - head(), -1, 900),
    "no unit": lambda path: nifti(path, head(), units=0),
    "int64 MetaImage": lambda path: meta(path.with_suffix(".mha"), head().astype(np.int64)),
}


@pytest.mark.parametrize("write", HALVES.values(), ids=HALVES)
def test_equal_values_are_equal_bytes(tmp_path: Path, write: Write) -> None:
    expected = stored_bytes(nifti(tmp_path / "a.nii", (head() * 0.5 - 3).astype(np.float32)))
    assert stored_bytes(write(tmp_path / "b.nii")) == expected
    values = np.asarray(read_scan(write(tmp_path / "c.nii")).image.dataobj)
    np.testing.assert_array_equal(values, (head() * 0.5 - 3).astype(np.float32))


@pytest.mark.parametrize("unused", ["q", "s"])
def test_a_transform_that_is_not_used_holds_nothing(tmp_path: Path, unused: str) -> None:
    image = nib.Nifti1Image(head(), None)
    image.set_sform(AFFINE, 0 if unused == "s" else 1)
    image.set_qform(AFFINE, 0 if unused == "q" else 1)
    path = tmp_path / "scan.nii.gz"
    for name in ("qoffset_x", "quatern_b") if unused == "q" else ("srow_x", "srow_z"):
        image.header[name] = 19610503
    nib.save(image, path)
    kept = pack(read_scan(path).image, "scan")["bytes"]
    assert struct.pack("<f", 19610503) in gzip.decompress(path.read_bytes())
    assert struct.pack("<f", 19610503) not in gzip.decompress(kept)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_the_smallest_common_integers(tmp_path: Path, name: str) -> None:
    image = read_scan(WHOLE[name](tmp_path / "b.nii")).image
    assert image.get_data_dtype() == np.int16
    divided = {"int8": 8, "slope 2": 2}.get(name, 1)
    assert stored_bytes(WHOLE[name](tmp_path / "b.nii")) == stored_bytes(
        nifti(tmp_path / "a.nii", head() // divided * divided)
    )


@pytest.mark.parametrize(
    ("top", "kind"),
    [(30_000, np.int16), (60_000, np.uint16), (70_000, np.int32), (2**31 - 1, np.int32)],
)
def test_integers_are_as_wide_as_they_must_be(tmp_path: Path, top: int, kind: type) -> None:
    voxels = head().astype(np.int64)
    voxels[3, 3, 3] = top
    image = read_scan(nifti(tmp_path / "a.nii", voxels)).image
    assert image.get_data_dtype() == kind
    np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)


@pytest.mark.parametrize(
    "voxels",
    [
        head().astype(np.int64) + 2**40,
        head().astype(np.uint64) + np.uint64(2**63),
        head().astype(np.uint32) + np.uint32(2**31),
        head() * 1e300,
        head() * 1e-3 + 1e9,
        head().astype(np.complex64),
        np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]),
    ],
    ids=["int64", "uint64", "uint32", "beyond float32", "finer than float32", "complex", "RGB"],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    with pytest.raises(ScanError) as caught:
        read_scan(nifti(tmp_path / "a.nii", voxels))
    assert caught.value.code == "unsupported-voxels"


@pytest.mark.parametrize("code", [0, 1, 255, 1536, 2304, 9999])
def test_types_that_nobody_reads_are_refused(tmp_path: Path, code: int) -> None:
    path = nifti(tmp_path / "a.nii", head())
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 70, code)
    path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code == "unsupported-voxels"


def test_a_slope_without_an_intercept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(nifti(tmp_path / "a.nii", head(), 2.0, np.nan))


# Whole files ---------------------------------------------------------------------------------------------


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 8
    return bytes(changed)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bit in the stream": (lambda c: flipped(c, len(c) // 2), "unreadable"),
    "a bit of the checksum": (lambda c: flipped(c, len(c) - 7), "unreadable"),
    "a bit of the length": (lambda c: flipped(c, len(c) - 2), "unreadable"),
    "junk behind": (lambda c: c + b"junk behind the stream", "unreadable"),
    "a second member": (lambda c: c + gzip.compress(b"another volume"), "unreadable"),
    "the whole scan twice": (lambda c: c + c, "unreadable"),
    "the last byte gone": (lambda c: c[:-1], "truncated"),
    "the checksum gone": (lambda c: c[:-8], "truncated"),
    "half of it gone": (lambda c: c[: len(c) // 2], "truncated"),
    "voxels gone": (lambda c: gzip.compress(gzip.decompress(c)[:-1]), "truncated"),
    "header gone": (lambda c: gzip.compress(gzip.decompress(c)[:200]), "truncated"),
    "not packed": (gzip.decompress, "unreadable"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_gzip_stream_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    path = nifti(tmp_path / "a.nii.gz", head())
    damage, code = DAMAGES[name]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code == code


def test_any_flipped_bit_of_a_stream_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    content = nifti(path, head()[:8, :9, :9]).read_bytes()
    expected = stored_bytes(path)
    for place in range(10, len(content), 7):
        path.write_bytes(flipped(content, place))
        with pytest.raises(ScanError):
            read_scan(path)
    blocks = [gzip.compress(gzip.decompress(content)[at : at + 300]) for at in range(0, 2**16, 300)]
    path.write_bytes(b"".join(blocks) + bytes(64))  # as bgzip writes, padded as tapes do
    assert stored_bytes(path) == expected


@pytest.mark.parametrize("ending", ["mha", "nrrd"])
@pytest.mark.parametrize(
    "name", ["a bit in the stream", "a bit of the checksum", "half of it gone"]
)
def test_packed_voxels_of_other_formats_are_checked_too(
    tmp_path: Path, ending: str, name: str
) -> None:
    write = {"mha": meta, "nrrd": nrrd}[ending]
    path = write(tmp_path / f"a.{ending}", head(), packed=True)
    damage = {
        "a bit of the checksum": lambda c: flipped(c, len(c) - (7 if ending == "nrrd" else 2))
    }
    path.write_bytes(damage.get(name, DAMAGES[name][0])(path.read_bytes()))
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code in ("unreadable", "truncated")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
def test_voxels_that_the_header_does_not_tell_of_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    image = sitk.GetImageFromArray(head())
    sitk.WriteImage(image, str(path))
    content = path.read_bytes()
    more = head()[0].tobytes()
    path.write_bytes(
        gzip.compress(gzip.decompress(content) + more) if ending == "nii.gz" else content + more
    )
    with pytest.raises(ScanError, match="bytes follow"):
        read_scan(path)


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_beside_their_header_are_checked(tmp_path: Path, ending: str, packed: bool) -> None:
    image = sitk.GetImageFromArray(head().transpose(2, 1, 0))
    sitk.WriteImage(image, str(tmp_path / f"a.{ending}"), packed)
    (voxels,) = (path for path in tmp_path.iterdir() if path.suffix != f".{ending}")
    np.testing.assert_array_equal(
        np.asarray(read_scan(tmp_path / f"a.{ending}").image.dataobj), head()
    )
    content, digest = voxels.read_bytes(), digest_of(tmp_path / f"a.{ending}")
    voxels.write_bytes(content[::-1])
    assert digest_of(tmp_path / f"a.{ending}") != digest
    for damaged in (content[:-20], content + b"junk", content[: len(content) // 2]):
        voxels.write_bytes(damaged)
        with pytest.raises(ScanError):
            read_scan(tmp_path / f"a.{ending}")
    voxels.unlink()
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(tmp_path / f"a.{ending}")
    voxels.symlink_to("/dev/zero")
    with pytest.raises(ScanError, match="not there"):
        read_scan(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd", "dcm"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"a.{ending}")
    with pytest.raises(ScanError, match="neither a file nor a folder"):
        read_scan(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("magic", [b"\0\0\0\0", b"ni1\0"])
def test_analyze_and_pairs_are_no_nifti_of_one_piece(tmp_path: Path, magic: bytes) -> None:
    path = nifti(tmp_path / "a.nii", head())
    content = bytearray(path.read_bytes())
    content[344:348] = magic
    path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code == "unknown-format"


def test_voxels_inside_the_header_are_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", head())
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 0.0)
    path.write_bytes(content)
    with pytest.raises(ScanError, match="cannot begin where it says"):
        read_scan(path)


# Orientation ---------------------------------------------------------------------------------------------


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def spacings_only(text: str) -> str:
    kept = [line for line in text.splitlines() if not line.startswith("space")]
    return "\n".join([*kept, "spacings: 3 3 3"])


LPS_SPACE = "space: left-posterior-superior"
ORIENTED: dict[str, tuple[Write, str | None]] = {
    "NRRD LPS": (lambda p: nrrd(p.with_suffix(".nrrd"), head()), None),
    "NRRD in capitals": (
        lambda p: nrrd(p.with_suffix(".nrrd"), head(), replaced(LPS_SPACE, "space: RAS")),
        None,
    ),
    "NRRD LAS": (
        lambda p: nrrd(
            p.with_suffix(".nrrd"), head(), replaced(LPS_SPACE, "space: left-anterior-superior")
        ),
        None,
    ),
    "NRRD scanner": (
        lambda p: nrrd(p.with_suffix(".nrrd"), head(), replaced(LPS_SPACE, "space: scanner-xyz")),
        "orientation-missing",
    ),
    "NRRD right-handed": (
        lambda p: nrrd(
            p.with_suffix(".nrrd"), head(), replaced(LPS_SPACE, "space: 3D-right-handed")
        ),
        "orientation-missing",
    ),
    "NRRD dimension alone": (
        lambda p: nrrd(p.with_suffix(".nrrd"), head(), replaced(LPS_SPACE, "space dimension: 3")),
        "orientation-missing",
    ),
    "NRRD spacings": (
        lambda p: nrrd(p.with_suffix(".nrrd"), head(), spacings_only),
        "orientation-missing",
    ),
    "MHA": (lambda p: meta(p.with_suffix(".mha"), head()), None),
    "MHA without letters": (
        lambda p: meta(p.with_suffix(".mha"), head(), without="AnatomicalOrientation"),
        None,
    ),
    "MHA with letters alone": (
        lambda p: meta(p.with_suffix(".mha"), head(), without="TransformMatrix"),
        None,
    ),
    "MHA with the other letters": (
        lambda p: meta(
            p.with_suffix(".mha"),
            head(),
            "AnatomicalOrientation = LPS",
            without="AnatomicalOrientation",
        ),
        None,
    ),
    "MHA without both": (
        lambda p: without_matrix(
            meta(p.with_suffix(".mha"), head(), without="AnatomicalOrientation")
        ),
        "orientation-missing",
    ),
    "MHA unknown": (
        lambda p: meta(
            p.with_suffix(".mha"),
            head(),
            "AnatomicalOrientation = ???",
            without="AnatomicalOrientation",
        ),
        "orientation-missing",
    ),
    "MHA of two minds": (
        lambda p: meta(
            p.with_suffix(".mha"),
            head(),
            "AnatomicalOrientation = ASL",
            without="AnatomicalOrientation",
        ),
        "orientation-conflict",
    ),
}


def without_matrix(path: Path) -> Path:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(one for one in lines if not one.startswith(b"TransformMatrix")))
    return path


@pytest.mark.parametrize("name", ORIENTED)
def test_an_orientation_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    write, code = ORIENTED[name]
    told = [note.code for note in read_scan(write(tmp_path / "a.x")).oddities]
    assert told == ([code] if code else [])


def test_spaces_of_nrrd_put_the_same_head_in_the_same_place(tmp_path: Path) -> None:
    lps = read_scan(nrrd(tmp_path / "a.nrrd", head())).image
    ras = read_scan(nrrd(tmp_path / "b.nrrd", head(), replaced(LPS_SPACE, "space: RAS"))).image
    np.testing.assert_allclose(lps.affine, AFFINE)
    np.testing.assert_allclose(ras.affine, np.diag([-1, -1, 1, 1]) @ AFFINE)


# Units ---------------------------------------------------------------------------------------------------


def in_unit(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1]) @ AFFINE


def nrrd_units(word: str, factor: float = 1.0) -> Write:
    def change(text: str) -> str:
        lines = [line for line in text.splitlines() if not line.startswith("space directions")]
        edge = f"{3 * factor:.9g}"
        lines += [f"space directions: ({edge},0,0) (0,{edge},0) (0,0,{edge})"]
        lines += [f'space units: "{word}" "{word}" "{word}"']
        origin = ",".join(f"{value * factor:.9g}" for value in (-90, -100, -60))
        return "\n".join(
            f"space origin: ({origin})" if line.startswith("space origin") else line
            for line in lines
        )

    return lambda path: nrrd(path.with_suffix(".nrrd"), head(), change)


def meta_units(word: str, factor: float) -> Write:
    def write(path: Path) -> Path:
        made = meta(path.with_suffix(".mha"), head(), f"DistanceUnits = {word}")
        text, end, voxels = made.read_bytes().partition(b"ElementDataFile")
        edge = f"{3 * factor:.9g}".encode()
        text = text.replace(b"ElementSpacing = 3 3 3", b"ElementSpacing = " + b" ".join([edge] * 3))
        origin = " ".join(f"{value * factor:.9g}" for value in (-90, -100, -60)).encode()
        made.write_bytes(
            text.replace(b"Offset = -90 -100 -60", b"Offset = " + origin) + end + voxels
        )
        return made

    return write


MILLIMETRES: dict[str, tuple[Write, bool]] = {
    "NIfTI mm": (lambda p: nifti(p, head(), units=2), False),
    "NIfTI mm and seconds": (lambda p: nifti(p, head(), units=2 | 8), False),
    "NIfTI none": (lambda p: nifti(p, head(), units=0), False),
    "NIfTI micron": (lambda p: nifti(p, head(), units=3, affine=in_unit(1000)), True),
    "NIfTI metre": (lambda p: nifti(p, head(), units=1, affine=in_unit(0.001)), True),
    "NIfTI false micron": (lambda p: nifti(p, head(), units=3), True),
    "NIfTI false metre": (lambda p: nifti(p, head(), units=1), True),
    "NIfTI code 7": (lambda p: nifti(p, head(), units=7), True),
    "NIfTI-2 micron": (
        lambda p: nifti(p, head(), units=3, affine=in_unit(1000), kind=nib.Nifti2Image),
        True,
    ),
    "NRRD mm": (nrrd_units("mm"), False),
    "NRRD microns": (nrrd_units("microns", 1000), True),
    "NRRD um": (nrrd_units("um", 1000), True),
    "NRRD \u03bcm": (nrrd_units("\u03bcm", 1000), True),
    "NRRD m": (nrrd_units("m", 0.001), True),
    "NRRD false um": (nrrd_units("um"), True),
    "NRRD furlongs": (nrrd_units("furlongs"), True),
    "NRRD empty": (nrrd_units(""), False),
    "MHA mm": (meta_units("mm", 1), False),
    "MHA um": (meta_units("um", 1000), True),
    "MHA cm": (meta_units("cm", 0.1), True),
    "MHA false um": (meta_units("um", 1), True),
}


@pytest.mark.parametrize("name", MILLIMETRES)
def test_lengths_become_millimetres(tmp_path: Path, name: str) -> None:
    write, told = MILLIMETRES[name]
    scan = read_scan(write(tmp_path / "a.nii"))
    assert [note.code for note in scan.oddities] == (["unit-of-length"] if told else [])
    image = nib.Nifti1Image.from_bytes(scan.image.to_bytes())
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
    np.testing.assert_allclose(image.header.get_qform(), AFFINE, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(image.header.get_zooms(), 3.0, rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert "not-a-head" not in [note.code for note in examine(scan.image)]


def test_axes_of_different_units_are_refused(tmp_path: Path) -> None:
    def change(text: str) -> str:
        return text + '\nspace units: "mm" "mm" "um"'

    with pytest.raises(ScanError, match="different units"):
        read_scan(nrrd(tmp_path / "a.nrrd", head(), change))
