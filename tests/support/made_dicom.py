"""DICOM series made for tests: real files, written by pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

N_SLICES = 10


def slices(
    seed: int,
    *,
    n: int = N_SLICES,
    turn: np.ndarray | None = None,
    step: float = 8.0,
    **tags: object,
) -> list[Dataset]:
    """A made-up head in ``n`` slices of 24 x 20 voxels of 9 x 8 mm, slices ``step`` mm apart."""
    rng = np.random.default_rng(seed)
    axes = np.eye(3) if turn is None else turn
    series = generate_uid(entropy_srcs=[str(seed), "series"])
    study = generate_uid(entropy_srcs=[str(seed), "study"])
    found = []
    for index in range(n):
        pixels = rng.integers(0, 60, (24, 20)).astype(np.uint16)
        if 1 <= index < n - 1:
            pixels[4:20, 4:16] += 400
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=[str(seed), str(index)])
        data.SeriesInstanceUID, data.StudyInstanceUID = series, study
        data.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(seed), "frame"])
        data.Modality = "MR"
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.SeriesDescription = "t1_mprage_sag +C"
        data.ContrastBolusAgent = "Gadovist"
        data.MRAcquisitionType = "3D"
        data.PatientID, data.PatientName = "ID", "Name"
        data.InstanceNumber = index + 1
        data.ImageOrientationPatient = [*axes[0], *axes[1]]
        data.ImagePositionPatient = list(axes[2] * step * index + np.array([-80.0, -100.0, -60.0]))
        data.PixelSpacing = [9.0, 8.0]
        data.SliceThickness = step
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel = 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.PixelData = pixels.tobytes()
        for name, value in tags.items():
            setattr(data, name, value)
        found.append(data)
    return found


def save(datasets: list[Dataset], folder: Path) -> Path:
    """Write datasets as files whose names and order tell nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(datasets):
        name = f"{_shuffled(index, len(datasets)):04d}-{str(data.get('SeriesInstanceUID'))[-6:]}"
        whole = {"SOPInstanceUID", "SOPClassUID"} <= set(data.dir())
        data.save_as(folder / name, enforce_file_format=whole)
    return folder


def _shuffled(index: int, n: int) -> int:
    return (index * 7) % n


def file_of(folder: Path, index: int) -> Path:
    """Return the file of a slice of a folder that holds one series of ``N_SLICES``."""
    (path,) = folder.glob(f"{_shuffled(index, N_SLICES):04d}-*")
    return path


def write_series(folder: Path, seed: int, **settings: object) -> Path:
    """Write one made-up series."""
    return save(slices(seed, **settings), folder)  # type: ignore[arg-type]
