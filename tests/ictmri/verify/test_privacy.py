"""Five hundred planted identifiers, hunted for in every byte that a build writes."""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from support.made_dicom import save, slices

from ictmri import tumours
from ictmri.build.folder import build_folder
from ictmri.build.table import read_table
from ictmri.cohort import Cohort, open_cohort
from ictmri.phantom.phenotypes import SUBTYPES
from ictmri.scans.dicom_volume import ONE_VALUE
from ictmri.tumours import tumour_name
from ictmri.verify.privacy import acquisition_leaks, is_plain_subtype, leaks, volume_leaks

TEXT_TAGS = (
    *("PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments"),
    *("InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName"),
    *("StationName", "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription"),
    *("ProtocolName", "DeviceSerialNumber", "PerformingPhysicianName", "ImageComments"),
    *("RequestedProcedureDescription", "AdditionalPatientHistory", "MilitaryRank", "Occupation"),
    *(
        "EthnicGroup",
        "PatientTelephoneNumbers",
        "RegionOfResidence",
        "AdmissionID",
        "IssuerOfPatientID",
    ),
    *("ContrastBolusAgent", "ManufacturerModelName", "SoftwareVersions", "DerivationDescription"),
    *("RequestingService", "InstitutionalDepartmentName", "NameOfPhysiciansReadingStudy"),
    *("PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson", "CurrentPatientLocation"),
    *("Manufacturer", "MRAcquisitionType"),
)


class Planter:
    """Hands out identifiers that are found nowhere else, and remembers them."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def word(self) -> str:
        self.words.append(f"Zq{len(self.words):04d}Kx")
        return self.words[-1]


def planted_dicom(folder: Path, seed: int, plant: Planter) -> Path:
    datasets = slices(seed)
    for data in datasets[:2]:
        for name in TEXT_TAGS:
            if dictionary_VR(name) == "CS":
                setattr(data, name, plant.word().upper())
                plant.words[-1] = plant.words[-1].upper()
            else:
                setattr(data, name, plant.word())
        nested = Dataset()
        nested.PatientID = plant.word()
        deeper = Dataset()
        deeper.PersonName = plant.word()
        nested.PersonIdentificationCodeSequence = Sequence([deeper])
        data.RequestAttributesSequence = Sequence([nested])
        block = data.private_block(0x0029, plant.word(), create=True)
        block.add_new(0x01, "LO", plant.word())
        block.add_new(0x02, "UN", plant.word().encode())
        data.add_new(0x60003000, "OW", plant.word().encode())
        data.add_new(0x60000022, "LO", plant.word())
    # Slices that differ in what one acquisition has one value of would be no volume.
    for name in set(ONE_VALUE) & set(TEXT_TAGS):
        for data in datasets[1:]:
            setattr(data, name, getattr(datasets[0], name))
    return save(datasets, folder / plant.word())


def planted_nifti(path: Path, seed: int, plant: Planter) -> Path:
    voxels = np.random.default_rng(seed).integers(0, 60, (20, 24, 18)).astype(np.int16)
    voxels[4:16, 5:19, 3:15] += 300
    image = nib.Nifti1Image(voxels, np.diag([9.0, 9, 9, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        image.header[field] = plant.word()
    for code in (2, 4, 6, 44):
        content = plant.word().encode()
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    name = f"{plant.word()}.nii"
    with (
        (path / f"{name}.gz").open("wb") as raw,
        gzip.GzipFile(name, "wb", 6, raw, 1.7e9) as stream,
    ):
        stream.write(image.to_bytes())
    return path / f"{name}.gz"


def every_byte(folder: Path) -> bytes:
    """All files of a folder with their names, gzip streams inside them opened."""
    found = b""
    for path in sorted(folder.rglob("*")):
        found += path.name.encode()
        if path.is_file():
            found += path.read_bytes()
    cohort = open_cohort(folder)
    for row in cohort.rows("default"):
        found += gzip.decompress(row["image"]["bytes"])
    return found


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Planter]:
    source = tmp_path_factory.mktemp("source")
    plant = Planter()
    lines = ["patient_id,image,label"]
    for seed in range(5):
        path = planted_dicom(source / plant.word(), seed, plant)
        lines.append(f"{plant.word()},{path.relative_to(source)},glioma")
    for seed in range(6):
        path = planted_nifti(source, 50 + seed, plant)
        lines.append(f"{plant.word()},{path.name},pcnsl")
    broken = source / f"{plant.word()}.nii.gz"
    broken.write_bytes(b"junk")
    lines.append(f"{plant.word()},{broken.name},rare")
    (source / "table.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path_factory.mktemp("out") / "clean"
    return build_folder(source / "table.csv", out, n_folds=2, jobs=1).cohort, plant


def test_none_of_500_planted_identifiers_is_found(planted: tuple[Cohort, Planter]) -> None:
    cohort, plant = planted
    assert len(plant.words) >= 500
    assert cohort.manifest.n_cases == 11
    content = every_byte(cohort.root).lower()
    for encoding in ("utf-8", "utf-16-le"):
        assert [w for w in plant.words if w.lower().encode(encoding) in content] == []


def test_the_hunt_finds_what_is_there(planted: tuple[Cohort, Planter]) -> None:
    """The owner's link file, beside the cohort, holds the ids: the same search must find them."""
    cohort, plant = planted
    link = cohort.root.with_name("clean.link.csv")
    assert sum(word in link.read_text() for word in plant.words) >= 12
    assert link.stat().st_mode & 0o077 == 0


def test_the_allow_list_has_no_objection(planted: tuple[Cohort, Planter]) -> None:
    assert leaks(planted[0]) == []


def test_the_allow_list_objects_to_what_does_not_belong(
    planted: tuple[Cohort, Planter], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(planted[0].root, tmp_path / "c")
    (tmp_path / "c" / "notes.txt").write_text("call Dr X")
    assert leaks(open_cohort(tmp_path / "c")) == [
        "file 'notes.txt' is not one that this package writes"
    ]


def test_a_mask_that_is_called_after_somebody_is_seen(
    planted: tuple[Cohort, Planter], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(planted[0].root, tmp_path / "c")
    cohort = open_cohort(tmp_path / "c")
    names = [f"{cohort.folds().case_ids[0]}.nii.gz", "Mueller-1950.nii.gz"]
    settings = {"own_masks": dict.fromkeys(names, "0" * 64)}
    manifest = replace(cohort.manifest, steps={"process": {"settings": settings}})
    assert leaks(replace(cohort, manifest=manifest)) == [
        "manifest.json names a mask, 'Mueller-1950.nii.gz', of no case"
    ]


@pytest.mark.parametrize("field", ["descrip", "aux_file", "db_name", "intent_name", "data_type"])
def test_free_text_of_a_volume_is_seen(field: str) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    assert volume_leaks(gzip.compress(image.to_bytes(), mtime=0)) == []
    image.header[field] = "Smith"
    assert volume_leaks(gzip.compress(image.to_bytes(), mtime=0)) == [
        f"header field {field} is not empty"
    ]


def test_what_surrounds_a_volume_is_seen(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    plain = gzip.compress(image.to_bytes(), mtime=0)
    assert volume_leaks(plain + b"Smith") == ["bytes follow the gzip stream"]
    assert "its gzip stream is cut off" in volume_leaks(plain[:-4])
    assert volume_leaks(plain[:-8] + b"12345678") == ["its gzip stream is damaged"]
    assert volume_leaks(gzip.compress(image.to_bytes() + b"Smith", mtime=0)) == [
        "bytes follow the voxels"
    ]
    assert volume_leaks(gzip.compress(image.to_bytes(), mtime=1)) == [
        "its gzip header holds a time"
    ]
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Smith"))
    assert "it has header extensions" in volume_leaks(gzip.compress(image.to_bytes(), mtime=0))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("GBM", True),
        ("DMG-H3K27", True),
        ("mixed germ cell tumour", True),
        ("case 20191104", False),
    ],
)
def test_subtypes_are_short_names(text: str, plain: bool) -> None:
    assert is_plain_subtype(text) is plain


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("gbm", "GBM"),
        ("Glioblastoma multiforme", "GBM"),
        ("Glioblastoma, IDH-wildtype, CNS WHO grade 4", "GBM"),
        ("glio-blastoma (WHO IV)", "GBM"),
        ("ＧＢＭ", "GBM"),
        ("胶质母细胞瘤", "GBM"),
        ("DMG H3 K27M", "DMG-H3K27"),
        ("mixed neuronal–glial tumor", "MNGT"),
        ("Hemangioblastoma", "haemangioblastoma"),
        ("Pineal anlage tumour", "Pineal-Anlage Tumour"),
        ("Mr Hans Mueller", ""),
        ("born 3/4/1961", ""),
        ("MRN 4711-0815", ""),
        ("GBM Smith", ""),
        ("Smith GBM", ""),
        ("GBM 17", ""),
        ("IV", ""),
        (" " * 50_000 + "x", ""),
        ("GBM" * 10_000, ""),
        ("GBM?", ""),
        ("P.A.", ""),
        ("GBM.", "GBM"),
    ],
)
def test_a_subtype_is_a_name_of_the_list(written: str, stored: str) -> None:
    assert tumour_name(written, ["Pineal-Anlage Tumour"]) == stored


def test_acquisition_holds_numbers_and_vendors(tmp_path: Path) -> None:
    path = tmp_path / "acquisition.csv"
    path.write_text("case_id,te,vendor,acquisition\na-0001,2.5,united imaging,3D\na-0002,,,\n")
    assert acquisition_leaks(tmp_path) == []
    for odd in ("a-0001,1,hans mueller,3D", "Hans,1,ge,3D", "a-0001,1961-04-03,ge,3D"):
        path.write_text(f"case_id,te,vendor,acquisition\n{odd}\n")
        assert acquisition_leaks(tmp_path) == ["acquisition.csv: row 2 holds more than numbers"]
    path.write_text("case_id,field_strength_t,echo_time_ms\na-0001,3,2.5\na-0002,4711.08,2.5\n")
    assert acquisition_leaks(tmp_path) == ["acquisition.csv: row 3 holds more than numbers"]


def test_no_two_tumours_share_a_name() -> None:
    content = yaml.safe_load(
        (Path(tumours.__file__).with_suffix(".yaml")).read_text(encoding="utf-8")
    )
    names = [name for group in content.values() for names in group for name in names]
    assert all(tumour_name(name) for name in names)
    assert len({tumour_name(name) for name in names}) == sum(map(len, content.values()))
    assert all(tumour_name(name) == name for name in SUBTYPES)


def test_what_is_no_tumour_is_left_empty_and_told(tmp_path: Path) -> None:
    """Also what another column of the row says: an id, a file."""
    (tmp_path / "Smith.nii").touch()
    (tmp_path / "t.csv").write_text(
        "patient_id,image,label,subtype\nSmith,Smith.nii,glioma,Smith\nB,t.csv,rare,epn\n"
    )
    rows = read_table(tmp_path / "t.csv")
    assert [(row.subtype, row.unlisted) for row in rows] == [("", "Smith"), ("EPN", "")]
    (own,) = read_table(tmp_path / "t.csv", ["smith"])[:1]
    assert (own.subtype, own.unlisted) == ("smith", "")


def test_the_real_half_anonymised_series_comes_out_clean(real_scans: Path, tmp_path: Path) -> None:
    import pydicom

    folder = real_scans / "dicom" / "sag_anon"
    header = pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
    words = [
        str(header[name].value) for name in ("PatientBirthDate", "AccessionNumber", "StationName")
    ]
    assert all(words)
    (tmp_path / "t.csv").write_text(
        f"patient_id,image,label\n{words[1]},{folder},glioma\n"
        f"b,{real_scans / 'cohort' / 'images' / 'tcga_fg_6692_t1c.nii.gz'},glioma\n"
    )
    cohort = build_folder(tmp_path / "t.csv", tmp_path / "out", n_folds=2, jobs=1).cohort
    texts = [path for path in cohort.root.rglob("*") if path.suffix != ".parquet"]
    content = b"".join(path.read_bytes() for path in texts if path.is_file())
    for row in cohort.rows("default"):
        content += gzip.decompress(row["image"]["bytes"])[:352]
        content += repr({k: v for k, v in row.items() if k != "image"}).encode()
    assert [word for word in words if word.encode() in content] == []
    assert leaks(cohort) == []
