import html.parser
import io
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ictmri.build.findings_page import TableCase, page_path, write_page
from ictmri.build.folder import build_folder
from ictmri.errors import InputError
from ictmri.pages.triplanar import GAP, montage
from ictmri.pages.triplanar import SMALL_EDGE as EDGE
from ictmri.pages.triplanar import SMALL_SIZE as SIZE
from ictmri.scans.findings import CODES, Finding, finding, read_findings

NASTY = '<img src=x onerror="alert(1)">&"x.nii.gz'


class Reader(html.parser.HTMLParser):
    """What a browser would load, run and show, and whether every tag is closed in order."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("src", "href", "action") if name in found]
        self.handlers += [name for name in found if name.startswith("on")]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.images += [found] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    return reader


def picture(path: Path, seed: int) -> Path:
    voxels = np.random.default_rng(seed).integers(0, 99, (20, 24, 18)).astype(np.int16)
    path.write_bytes(montage(nib.Nifti1Image(voxels, np.diag([4.0, 4, 4, 1]))))
    return path


def case(folder: Path, number: int, *found: Finding, fold: int | None = 0) -> TableCase:
    case_id = f"x-{number:04d}"
    readable = not any(item.code == "unreadable" for item in found)
    return TableCase(
        case_id=case_id,
        row=number + 1,
        patient_id=f"P{number}",
        image=NASTY,
        label="glioma",
        fold=fold,
        findings=[Finding(case_id, item.code, item.severity, item.text) for item in found],
        detail="<script>alert(2)</script>" if not readable else "",
        facts={"Voxels": "20 × 24 × 18"} if readable else {},
        picture=picture(folder / f"{number}.webp", number) if readable else folder / "none",
    )


@pytest.fixture
def cases(tmp_path: Path) -> list[TableCase]:
    """One case for each code, one case with two findings, and a clean one."""
    found = [
        case(
            tmp_path,
            number,
            finding("", code, f"what was found {number}"),
            fold=None if CODES[code].severity == "error" else 1,
        )
        for number, code in enumerate(CODES, start=1)
    ]
    two = (finding("", "thick-slices", "first"), finding("", "bitten-brain", "second"))
    return [*found, case(tmp_path, 98, *two), case(tmp_path, 99)]


def write(path: Path, cases: list[TableCase]) -> Path:
    cohort = [finding("", "mixed-axes", "axes differ")]
    write_page(path, "x", cases, cohort, [(cases[-1].case_id, cases[-2].case_id)])
    return path


def test_everything_is_told_and_nothing_is_loaded(tmp_path: Path, cases: list[TableCase]) -> None:
    page = read(write(tmp_path / "p.html", cases))
    for item in cases:
        assert item.case_id in page.ids
        for found in item.findings:
            assert found.text[1:] in page.text
    for code in CODES.values():
        assert code.title in page.text
        assert code.meaning in page.text
    assert "Axes differ" in page.text
    assert all(link.startswith(("data:image/webp;base64,", "#x-")) for link in page.links)
    rest = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", (tmp_path / "p.html").read_text())
    assert not re.search(r"https?:|url\(|@import|//[a-z]", rest)
    assert page.handlers == []
    assert page.text.count("<script>alert(2)</script>") == 1
    assert page.text.count(NASTY) == len(cases) + 2
    assert len(set(page.ids)) == len(page.ids)


def test_pictures_are_as_large_as_said_and_have_words(
    tmp_path: Path, cases: list[TableCase]
) -> None:
    page = read(write(tmp_path / "p.html", cases))
    assert len(page.images) == len(cases) - 1 + 2
    assert all(image["alt"] and "sagittal" in image["alt"] for image in page.images)
    assert {(image["width"], image["height"]) for image in page.images} == {
        (str(SIZE[0]), str(SIZE[1]))
    }
    assert page.text.count("could not be read") == 1
    assert "patient’s right (R) is on the left" in page.text


def test_the_worst_comes_first(tmp_path: Path, cases: list[TableCase]) -> None:
    page = read(write(tmp_path / "p.html", cases[::-1]))
    order = [name for name in page.ids if name.startswith("x-")]
    in_table = [f"x-{number:04d}" for number in range(1, 1 + len(CODES))]
    assert [name for name in order if name in in_table] == in_table
    assert order.index("x-0098") < order.index("x-0001") + len(CODES)
    assert order[-1] == "x-0099"


def test_same_findings_same_bytes_for_the_owner_alone(
    tmp_path: Path, cases: list[TableCase]
) -> None:
    old = os.umask(0)
    try:
        first, second = (write(tmp_path / name, cases) for name in ("a.html", "b.html"))
    finally:
        os.umask(old)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o600


def test_the_planes_lie_as_radiologists_have_them() -> None:
    """A bright block at the right, front, top: left in the pictures, and at the top."""
    affine = np.array([[0.0, -4, 0, 60], [0, 0, 3, -90], [5, 0, 0, -50], [0, 0, 0, 1]])
    ras = np.zeros((30, 40, 28), np.int16)
    ras[17:28, 25:38, 18:26] = 1000
    # Stored axes: superior, left, anterior.
    image = nib.Nifti1Image(np.ascontiguousarray(ras[::-1].transpose(2, 0, 1)), affine)
    nearest = nib.as_closest_canonical(image)
    assert np.array_equal(np.asarray(nearest.dataobj), ras)
    content = montage(image, nib.affines.apply_affine(nearest.affine, [20, 30, 20]))
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert sheet.shape == SIZE[::-1]
    # 120 x 120 x 140 mm: the longest edge fills a tile. First and last voxel, size in mm, voxels.
    block = {"x": (17, 28, 4, 30), "y": (25, 38, 3, 40), "z": (18, 26, 5, 28)}
    pixels = np.arange(EDGE) + 0.5 - EDGE / 2
    for place, (column, row) in enumerate((("x", "y"), ("x", "z"), ("y", "z"))):
        inside = []
        for first, last, size, n in (block[row], block[column]):
            # Right, front and top are at the small pixel numbers.
            voxel = n / 2 - pixels * 140 / EDGE / size
            inside.append((voxel > first) & (voxel < last))
        expected = inside[0][:, None] & inside[1][None, :]
        found = sheet[:, place * (EDGE + GAP) :][:, :EDGE] > 128
        found[EDGE // 2 - 12 : EDGE // 2 + 12, [*range(24), *range(EDGE - 24, EDGE)]] = False
        assert (found & expected).sum() / (found | expected).sum() > 0.93


def test_a_guess_of_the_sides_is_shown_as_one() -> None:
    image = nib.Nifti1Image(np.arange(8000).reshape(20, 20, 20).astype(np.int16), np.eye(4))
    assert montage(image) != montage(image, sure=False)
    assert montage(image) == montage(image)


def test_the_page_stands_beside_the_cohort_and_comes_back(mini_table: Path, tmp_path: Path) -> None:
    (tmp_path / "scans" / "scan_3.nii.gz").write_bytes(b"junk")
    out = tmp_path / "out" / "mini"
    built = build_folder(mini_table, out, n_folds=3, jobs=1)
    path = page_path(out)
    assert path.parent == out.parent
    assert path.stat().st_mode & 0o777 == 0o600
    page = read(path)
    for found in read_findings(built.cohort.root):
        assert found.text[1:] in page.text
    assert "HOSP-1003" in page.text
    assert "scan_3.nii.gz" in page.text
    assert re.search(r"15 scans in the table\s+14 in the cohort\s+1 with an error", page.text)
    assert len(page.images) == 14
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    build_folder(mini_table, out, n_folds=3, jobs=1)
    assert path.stat().st_mtime_ns == stamp
    path.unlink()
    build_folder(mini_table, out, n_folds=3, jobs=1)
    assert path.read_bytes() == before
    assert {item.name for item in out.parent.iterdir() if not item.name.endswith(".lock")} == {
        *("mini", "mini.link.csv", "mini.findings.html")
    }


def test_where_no_scan_can_be_used_the_page_says_why(mini_table: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "scans").iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"mini\.findings\.html"):
        build_folder(mini_table, tmp_path / "mini", n_folds=3, jobs=1)
    page = read(page_path(tmp_path / "mini"))
    assert page.text.count("error: Cannot be read: its gzip stream is damaged") == 15
    assert page.text.count("The library says: Not a gzipped file") == 15
    assert not (tmp_path / "mini").exists()
