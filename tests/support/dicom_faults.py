"""DICOM series with what is odd or wrong in the wild, and what a reader must make of each.

Used by the tests of the reader, and by perf/dicom_readers.py to compare readers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from support.made_dicom import save, slices

OBLIQUE: Final = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
OBLIQUE[2] = np.cross(OBLIQUE[0], OBLIQUE[1])
SAGITTAL: Final = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
Change = Callable[[int, Dataset], Any]


@dataclass(frozen=True)
class Case:
    """A series, and what it is.

    Attributes:
        make: returns the datasets to be written.
        holds: returns the slices that they hold, uncompressed; None where it is no volume.
        code: what it must be refused as; empty for a volume that must be read.
        write: writes a dataset's file again, where it is the file that is odd.
    """

    make: Callable[[], list[Dataset]]
    holds: Callable[[], list[Dataset]] | None
    code: str = ""
    write: Callable[[Path], None] | None = None

    def save(self, folder: Path) -> Path:
        """Write the series."""
        save(self.make(), folder)
        if self.write:
            for path in folder.iterdir():
                self.write(path)
        return folder

    def truth(self) -> nib.Nifti1Image | None:
        """Return the volume by PS3.3 C.7.6.2.1.1 (RAS), None where there is none."""
        return _standard(self.holds()) if self.holds else None


def base(**tags: Any) -> list[Dataset]:
    """A plain series with what scanners write beside the pixels."""
    named = {
        "EchoTime": 4.0,
        "RepetitionTime": 2000.0,
        "FlipAngle": 9.0,
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "101010.000000",
        "AcquisitionNumber": 1,
        "SeriesNumber": 3,
        "Manufacturer": "SIEMENS",
        "PatientPosition": "HFS",
    }
    return slices(1, **{**named, **tags})


def values(data: Dataset) -> np.ndarray:
    """Return the stored values of an uncompressed dataset."""
    kind = f"{'i' if data.PixelRepresentation else 'u'}{data.BitsAllocated // 8}"
    return np.frombuffer(data.PixelData, kind).reshape(data.Rows, data.Columns)


def _standard(datasets: list[Dataset]) -> nib.Nifti1Image:
    turn = np.array(datasets[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(*turn)
    datasets = sorted(
        datasets, key=lambda d: np.dot(normal, np.array(d.ImagePositionPatient, float))
    )
    planes = [
        values(d).T * float(d.get("RescaleSlope", 1)) + float(d.get("RescaleIntercept", 0))
        for d in datasets
    ]
    first, last = (np.array(d.ImagePositionPatient, float) for d in (datasets[0], datasets[-1]))
    spacing = np.array(datasets[0].PixelSpacing, float)
    affine = np.eye(4)
    affine[:3, :2] = (turn * spacing[::-1, None]).T
    affine[:3, 2] = (last - first) / (len(datasets) - 1)
    affine[:3, 3] = first
    return nib.Nifti1Image(np.stack(planes, -1), np.diag([-1.0, -1, 1, 1]) @ affine)


def _changed(change: Change, **tags: Any) -> Callable[[], list[Dataset]]:
    def make() -> list[Dataset]:
        datasets = base(**tags)
        for index, data in enumerate(datasets):
            change(index, data)
        return datasets

    return make


def _read(change: Change, *after: Change, **tags: Any) -> Case:
    """A series to be read: changed, then changed in a way that leaves its values the same."""
    make = _changed(change, **tags)

    def written() -> list[Dataset]:
        datasets = make()
        for step in after:
            for index, data in enumerate(datasets):
                step(index, data)
        return datasets

    return Case(written, make)


def _refused(code: str, change: Change, **tags: Any) -> Case:
    return Case(_changed(change, **tags), None, code)


def _tags(**tags: Any) -> Change:
    def change(_: int, data: Dataset) -> None:
        for name, value in tags.items():
            setattr(data, name, value)

    return change


def _nothing(*_: Any) -> None:
    pass


def _without(*names: str) -> Change:
    def change(_: int, data: Dataset) -> None:
        for name in names:
            delattr(data, name)

    return change


def _packed(syntax: str) -> Change:
    return lambda _, data: data.compress(syntax)


def _moved(by: Callable[[int], list[float]]) -> Change:
    def change(index: int, data: Dataset) -> None:
        place = np.array(data.ImagePositionPatient, float)
        data.ImagePositionPatient = list(place + by(index))

    return change


def _jitter(mm: float) -> Change:
    rng = np.random.default_rng(7)
    off = rng.uniform(-mm, mm, (200, 3))
    return _moved(lambda index: list(off[index]))


def _tilt(degrees: float, step: float, axis: int) -> Change:
    off = np.eye(3)[axis] * step * np.tan(np.radians(degrees))
    return _moved(lambda index: list(off * index))


def _signed(_: int, data: Dataset) -> None:
    data.PixelData = (values(data).astype(np.int16) - 200).tobytes()
    data.PixelRepresentation = 1


def _bright(_: int, data: Dataset) -> None:
    data.PixelData = (values(data) * np.uint16(100)).tobytes()
    data.BitsStored, data.HighBit = 16, 15


def _bytes(_: int, data: Dataset) -> None:
    data.PixelData = (values(data) // 2).astype(np.uint8).tobytes()
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7


def _overlay(_: int, data: Dataset) -> None:
    marked = values(data).copy()
    marked[:5] |= 0x8000
    data.PixelData = marked.tobytes()


def _colour(_: int, data: Dataset) -> None:
    _tags(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)(_, data)
    _tags(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(24 * 20 * 3))(_, data)


def _times(index: int, data: Dataset) -> None:
    data.AcquisitionTime = f"1010{10 + index:02d}.5"


def _seconds(index: int, data: Dataset) -> None:
    data.AcquisitionTime = f"1010{10 + index // 3:02d}.0"


def _two_packages(index: int, data: Dataset) -> None:
    data.AcquisitionNumber, data.SliceThickness = 1 + index % 2, 7.0
    data.AcquisitionTime = f"10{10 + 3 * (index % 2):02d}10.5"


def _at(index: int, change: Change) -> Change:
    return lambda i, data: change(i, data) if i == index else None


def second(shift: float, **tags: Any) -> list[Dataset]:
    """Two acquisitions in one series, the second one ``shift`` mm further."""
    datasets, others = base(), base()
    rng = np.random.default_rng(9)
    for index, data in enumerate(others):
        data.SOPInstanceUID = generate_uid(entropy_srcs=["second", str(index)])
        data.PixelData = (values(data) + rng.integers(1, 50, (24, 20)).astype(np.uint16)).tobytes()
        data.InstanceNumber = len(datasets) + 1 + index
        _moved(lambda _: [0, 0, shift])(index, data)
        _tags(**tags)(index, data)
    return datasets + others


def enhanced(
    datasets: list[Dataset], per_file: int, times: Callable[[int], int] = lambda _: 1
) -> list[Dataset]:
    """The same slices as enhanced MR files of ``per_file`` frames."""
    found = []
    for start in range(0, len(datasets), per_file):
        part = datasets[start : start + per_file]
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        inherited = (
            "SeriesInstanceUID StudyInstanceUID FrameOfReferenceUID Modality ImageType SeriesDescription "
            "PatientID PatientName Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated "
            "BitsStored HighBit PixelRepresentation Manufacturer SeriesNumber MRAcquisitionType"
        )
        for name in inherited.split():
            setattr(made, name, getattr(part[0], name))
        made.SOPClassUID = EnhancedMRImageStorage
        made.SOPInstanceUID = generate_uid(entropy_srcs=["enhanced", str(start)])
        made.InstanceNumber = start // per_file + 1
        made.AcquisitionDateTime = "20200101101010"
        made.NumberOfFrames = len(part)
        made.PixelData = b"".join(data.PixelData for data in part)
        made.SharedFunctionalGroupsSequence = [_shared_groups(part[0])]
        made.PerFrameFunctionalGroupsSequence = [
            _frame_groups(data, start + index, times(start + index))
            for index, data in enumerate(part)
        ]
        found.append(made)
    return found


def _item(**tags: Any) -> Sequence:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


def _shared_groups(data: Dataset) -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=data.PixelSpacing, SliceThickness=data.SliceThickness
    )
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=data.ImageOrientationPatient)
    shared.PixelValueTransformationSequence = _item(
        RescaleSlope="1", RescaleIntercept="0", RescaleType="US"
    )
    shared.MREchoSequence = _item(EffectiveEchoTime=4.0)
    return shared


def _frame_groups(data: Dataset, index: int, time: int) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = _item(ImagePositionPatient=data.ImagePositionPatient)
    frame.FrameContentSequence = _item(
        StackID="1", InStackPositionNumber=index % 10 + 1, TemporalPositionIndex=time
    )
    return frame


def _no_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def _no_syntax(path: Path) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    meta = dcmread(path).file_meta
    del meta.TransferSyntaxUID
    with path.open("wb") as stream:
        stream.write(content[:132])
        write_file_meta_info(stream, meta, enforce_standard=False)
        stream.write(content[144 + length :])


def _rewritten(syntax: str, *, meta: bool = True) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        read = dcmread(path)
        data = Dataset()
        data.update(read)
        if syntax == ExplicitVRBigEndian:
            data.PixelData = values(data).astype(">u2").tobytes()
        if meta:
            data.file_meta = read.file_meta
            data.file_meta.TransferSyntaxUID = syntax
            data.save_as(path, enforce_file_format=True)
        else:
            data.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)

    return write


def _file(write: Callable[[Path], None]) -> Case:
    return Case(base, base, write=write)


def _enhanced(per_file: int, order: list[int] | None = None, **tags: Any) -> Case:
    def make() -> list[Dataset]:
        datasets = base(**tags)
        return enhanced([datasets[i] for i in order or range(len(datasets))], per_file)

    return Case(make, lambda: base(**tags))


def _series(per_file: int, shift: float) -> Case:
    return Case(
        lambda: enhanced(second(shift), per_file, lambda i: i // 10 + 1), None, "not-one-volume"
    )


def _twice(**tags: Any) -> list[Dataset]:
    datasets = base()
    again = copy.deepcopy(datasets[3])
    for name, value in tags.items():
        setattr(again, name, value)
    return [*datasets, again]


_DIFFER: Final[dict[str, dict[str, Any]]] = {
    "EchoTime": {"EchoTime": 9.0},
    "FlipAngle": {"FlipAngle": 33.0},
    "ImageType": {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
    "ContrastBolusAgent": {"ContrastBolusAgent": ""},
    "AcquisitionTime": {"AcquisitionTime": "101510.000000"},
    "AcquisitionNumber": {"AcquisitionNumber": 2},
    "SeriesNumber": {"SeriesNumber": 4},
    "StudyInstanceUID": {"StudyInstanceUID": generate_uid(entropy_srcs=["other"])},
}
_APART: Final = {"half a slice apart": 4.0, "one above the other": 80.0}
_LEFT_OUT: Final = (
    *("FrameOfReferenceUID", "SeriesInstanceUID", "PhotometricInterpretation", "StudyInstanceUID"),
    *("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "SliceThickness", "Modality", "HighBit"),
    *(
        "SamplesPerPixel",
        "BitsStored",
        "PixelRepresentation",
        "SeriesNumber",
        "ImageType",
        "Manufacturer",
    ),
)


def _philips(_: int, data: Dataset) -> None:
    _tags(Manufacturer="Philips Medical Systems", RescaleSlope=1.5, RescaleIntercept=0)(_, data)
    block = data.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0D, "FL", 0.0)
    block.add_new(0x0E, "FL", 0.0125)


def _rescaled(index: int, data: Dataset) -> None:
    data.RescaleSlope, data.RescaleIntercept = 1.0 + 0.25 * index, 0.5


CASES: Final[dict[str, Case]] = {
    "axial": Case(base, base),
    "sagittal": _read(_nothing, turn=SAGITTAL),
    "oblique": _read(_nothing, turn=OBLIQUE),
    "directions differ by 1e-9": _read(
        lambda i, d: setattr(
            d, "ImageOrientationPatient", [1 + i % 2 * 1e-9, 0, 0, 0, 1, i % 3 * 1e-9]
        )
    ),
    "directions differ by 1e-5": _read(
        lambda i, d: setattr(d, "ImageOrientationPatient", [1, i % 2 * 1e-5, 0, 0, 1, i % 3 * 1e-5])
    ),
    "spacing 0.9765625 beside 0.976563": _read(
        lambda i, d: setattr(d, "PixelSpacing", [(0.9765625, 0.976563)[i % 2]] * 2)
    ),
    "places jittered by 0.02 mm, 1 mm apart": Case(
        _changed(_jitter(0.02), step=1.0), lambda: base(step=1.0)
    ),
    "places jittered by 0.02 mm, 8 mm apart": Case(_changed(_jitter(0.02)), base),
    "signed, 12 bits in 16": _read(_signed),
    "JPEG-LS": _read(_nothing, _packed(JPEGLSLossless)),
    "JPEG-LS, signed, 12 bits in 16": _read(_signed, _packed(JPEGLSLossless)),
    "RLE, signed": _read(_signed, _packed(RLELossless)),
    "implicit VR": _file(_rewritten(ImplicitVRLittleEndian)),
    "big endian": _file(_rewritten(ExplicitVRBigEndian)),
    "deflated": _file(_rewritten(DeflatedExplicitVRLittleEndian)),
    "no preamble": _file(_no_preamble),
    "no file meta": _file(_rewritten(ExplicitVRLittleEndian, meta=False)),
    "no file meta, implicit VR": _file(_rewritten(ImplicitVRLittleEndian, meta=False)),
    "no TransferSyntaxUID": _file(_no_syntax),
    **{f"no {name}": _read(_nothing, _without(name)) for name in _LEFT_OUT},
    "one rescaling": _read(_tags(RescaleSlope=2.5, RescaleIntercept=-100)),
    "a rescaling for each slice": _read(_rescaled),
    "Philips, private scaling beside": _read(_philips),
    "overlay in the high bits": _read(_nothing, _overlay),
    "values above 32767": _read(_bright),
    "eight bits": _read(_bytes),
    "slices overlap": _read(_tags(SliceThickness=16.0)),
    "one InstanceNumber for all": _read(_tags(InstanceNumber=1)),
    "a time for each slice": _read(_times, MRAcquisitionType="2D"),
    "a time for each second of the reconstruction": _read(_seconds),
    "two packages of 2D slices in turn": _read(_two_packages, MRAcquisitionType="2D"),
    "a slice is there twice": Case(_twice, base),
    "a slice is there twice under another UID": Case(lambda: _twice(SOPInstanceUID="1.2.3"), base),
    "enhanced, one file": _enhanced(10, turn=OBLIQUE),
    "enhanced, frames in disorder": _enhanced(10, [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]),
    "enhanced, one frame a file": _enhanced(1, turn=OBLIQUE),
    "enhanced, two files": _enhanced(5),
    **{
        f"two acquisitions, {how}, other {name}": Case(
            lambda shift=shift, tags=tags: second(shift, **tags), None, "mixed-series"
        )
        for name, tags in _DIFFER.items()
        for how, shift in _APART.items()
    },
    "two acquisitions, half a slice apart, alike": Case(lambda: second(4.0), None, "mixed-series"),
    "two acquisitions, at one place, alike": Case(lambda: second(0.0), None, "mixed-series"),
    "two time points": Case(
        lambda: second(80.0, TemporalPositionIdentifier=2), None, "not-one-volume"
    ),
    "enhanced time series": _series(20, 0.0),
    "enhanced time series, a file each": _series(10, 0.0),
    "enhanced time series, one above the other": _series(20, 80.0),
    "enhanced time series, half a slice apart": _series(20, 4.0),
    "sheared by 1 degree": _refused("sheared-slices", _tilt(1, 3, 0), step=3.0),
    "sheared by 5 degrees": _refused("sheared-slices", _tilt(5, 3, 0), step=3.0),
    "sheared by 30 degrees": _refused("sheared-slices", _tilt(30, 3, 1), step=3.0),
    "enhanced, sheared": Case(
        lambda: enhanced(_changed(_tilt(5, 3, 0), step=3.0)(), 10), None, "sheared-slices"
    ),
    "a slice is missing": Case(lambda: base()[:4] + base()[5:], None, "missing-slices"),
    "enhanced, a slice is missing": Case(
        lambda: enhanced(base()[:4] + base()[5:], 9), None, "missing-slices"
    ),
    "every other slice is missing at one end": Case(
        lambda: base(n=16)[:8] + base(n=16)[8::2], None, "missing-slices"
    ),
    "every other slice is missing": Case(lambda: base(n=20)[::2], None, "missing-slices"),
    "a slice 1.5 mm too high": _refused("uneven-slices", _at(4, _moved(lambda _: [0, 0, 1.5]))),
    "a slice 3 mm to the side": _refused("uneven-slices", _at(4, _moved(lambda _: [3, 0, 0]))),
    "half of the slices turned": Case(
        lambda: base()[:5] + base(turn=SAGITTAL)[5:], None, "mixed-series"
    ),
    "a localiser in the series": Case(
        lambda: [*base(), base(turn=SAGITTAL)[0]], None, "mixed-series"
    ),
    "a slice of another size": _refused(
        "mixed-series", _at(3, lambda _, d: _tags(Rows=12, PixelData=d.PixelData[:480])(_, d))
    ),
    "a slice of other pixels": _refused("mixed-series", _at(3, _tags(PixelSpacing=[9.0, 8.4]))),
    "a slice cut off": _refused(
        "truncated", _at(3, lambda _, d: setattr(d, "PixelData", d.PixelData[:500]))
    ),
    "mosaic": _refused("not-one-volume", _tags(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])),
    "colour": _refused("not-one-volume", _colour),
    "white is the lowest value": _refused(
        "unsupported-voxels", _tags(PhotometricInterpretation="MONOCHROME1")
    ),
    "slope 0": _refused("unsupported-voxels", _tags(RescaleSlope=0)),
    "no position": _refused("no-placement", _without("ImagePositionPatient")),
    "no orientation": _refused("no-placement", _without("ImageOrientationPatient")),
    "no spacing": _refused("no-placement", _without("PixelSpacing")),
    "all slices at one place": _refused("mixed-series", _tags(ImagePositionPatient=[0, 0, 0])),
    "a single slice": Case(lambda: base()[:1], None, "not-one-volume"),
    "a header of implausible size": _refused("too-large", _tags(Rows=60000, Columns=60000)),
}


def apart(found: nib.Nifti1Image, true: nib.Nifti1Image) -> tuple[float, float]:
    """Return how far (mm) a corner lies from where it should, and the largest difference of values."""
    ours, theirs = (
        nib.as_closest_canonical(nib.Nifti1Image(image.get_fdata(), image.affine))
        for image in (found, true)
    )
    if ours.shape != theirs.shape:
        return np.inf, np.inf
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in ours.shape], indexing="ij")).reshape(3, -1)
    ends = np.vstack([ends, np.ones(8)])
    off = np.linalg.norm(((ours.affine - theirs.affine) @ ends)[:3], axis=0).max()
    return float(off), float(np.abs(ours.get_fdata() - theirs.get_fdata()).max())
