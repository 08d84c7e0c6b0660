"""One patient under two spellings is asked about, in a table and in the link file."""

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from ictmri.build.identity import alike, identity_key
from ictmri.build.pseudonyms import owner_names, pseudonyms, read_link, write_link
from ictmri.build.table import TableRow, read_table
from ictmri.cli.output import owner_told
from ictmri.errors import InputError

ONE = "p1"
SPELLINGS = {
    "case": "P1",
    "zero width space": "p\u200b1",
    "byte order mark inside": "p\ufeff1",
    "soft hyphen": "p\u00ad1",
    "right-to-left mark": "p1\u200f",
    "variation selector": "p1\ufe0f",
    "no-break space": "p\u00a01",
    "full width": "ｐ１",
    "separator": "p-1",
    "leading zeros": "p001",
    "Excel": "p1.0",
    "Cyrillic": "р1",
    "Greek": "\u03c11",
    "Hangul filler": "p1\u3164",
    "digits of another script": "p\u0661",
    "control": "p\x7f1",
}


@pytest.mark.parametrize("other", SPELLINGS.values(), ids=SPELLINGS)
def test_what_a_person_takes_for_one_id(tmp_path: Path, other: str) -> None:
    assert alike([ONE, other]) == [[ONE, other]]
    told = refused(tmp_path, f"{ONE},t.csv,glioma\n{other},u.csv,glioma\n")
    assert re.search(r"rows 2, 3: patient_id .*'p1' and .*: one patient or several\?", told)


def test_names_composed_otherwise(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    told = refused(
        tmp_path, "".join(f"{x},{y}.csv,rare\n" for x, y in zip(forms, "tu", strict=True))
    )
    assert "rows 2, 3: patient_id 'Müller' (with U+00FC" in told


@pytest.mark.parametrize(
    "ids", [("p1", "p2"), ("1-11", "11-1"), ("a1b", "ab1"), ("Muller", "Müller"), ("p10", "p1.00x")]
)
def test_what_are_two_patients(ids: tuple[str, str]) -> None:
    assert alike(ids) == []


def test_blanks_around_an_id_are_no_part_of_it(tmp_path: Path) -> None:
    told = refused(tmp_path, "p1,t.csv,rare\n\u00a0p1 ,u.csv,rare\n")
    assert "rows 2, 3: patient_id 'p1' stands 2 times" in told


@pytest.mark.parametrize("spoiled", ["#REF!", "#N/A", "1.23457E+12", "####"])
def test_ids_that_a_spreadsheet_spoiled(tmp_path: Path, spoiled: str) -> None:
    assert f"row 2: patient_id '{spoiled}' is" in refused(tmp_path, f"{spoiled},t.csv,rare\n")


def refused(folder: Path, lines: str) -> str:
    (folder / "t.csv").write_text(f"patient_id,image,label\n{lines}", encoding="utf-8")
    (folder / "u.csv").touch()
    with pytest.raises(InputError) as caught:
        read_table(folder / "t.csv")
    return "\n".join(caught.value.problems)


def row(patient_id: str, image: str = "scan.nii.gz") -> TableRow:
    return TableRow(2, patient_id, Path(image), "glioma", "", float("nan"), "")


def test_the_link_file_does_not_depend_on_the_locale(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from ictmri.build.pseudonyms import *; from ictmri.build.table import TableRow\n"
        "rows = [TableRow(2, name, Path('x'), 'glioma', '', 0, '') for name in ('M\\xfcller', '\\u738b')]\n"
        "ids = {'M\\xfcller': 'a-0001', '\\u738b': 'a-0002'}; link = Path(sys.argv[2])\n"
        "write_link(link, rows, ids)\n"
        "assert pseudonyms('a', rows, {}, link) == ids\n"
    )
    for locale in ("C", "en_US.ISO-8859-1", "zh_CN.GBK"):
        link = tmp_path / f"{locale}.csv"
        done = subprocess.run(
            [sys.executable, "-c", code, Path(__file__).parents[3], link],
            env=os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert "Müller" in link.read_text(encoding="utf-8")
        assert [found.patient_id for found in read_link(link)] == ["Müller", "王"]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffpatient_id,case_id,image\np1,a-0007,x\n".encode(),
        b"patient_id;case_id;image\r\np1;a-0007;x\r\n;;\r\n",
        "patient_id\tcase_id\timage\r\np1\ta-0007\tx\r\n".encode("utf-16"),
        b"case_id,patient_id\na-0007, p1\n",
    ],
)
def test_a_link_file_saved_by_excel(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.link.csv").write_bytes(content)
    assert pseudonyms("a", [row("p1")], {}, tmp_path / "a.link.csv") == {"p1": "a-0007"}
    write_link(tmp_path / "a.link.csv", [row("p2")], {"p2": "a-0008"})
    assert owner_names(tmp_path / "a") == {
        "a-0007": "p1, x" if b"x" in content else "p1",
        "a-0008": "p2, scan.nii.gz",
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("patient_id,case_id\nMüller,a-0001\n".encode("latin-1"), "row 2: not UTF-8 text"),
        (b"patient,case\np1,a-0001\n", "column 'patient_id' is missing"),
        (b"", "column 'patient_id' is missing"),
        (b"patient_id,case_id\np1,a-0001\np1,a-0002\n", "patient_id 'p1' stands 2 times"),
        (b"patient_id,case_id\np1,a-0001\np2,a-0001\n", "case_id 'a-0001' stands 2 times"),
        (b"patient_id,case_id\n1.2E+11,a-0001\n", "has rounded"),
        (b"patient_id,case_id\np1,Jan 01\n", "row 2: case_id 'Jan 01' is none"),
        (b"patient_id,case_id\np1\n", "row 2: case_id '' is none"),
    ],
)
def test_a_damaged_link_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.link.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(problem)):
        pseudonyms("a", [row("p1")], {}, tmp_path / "a.link.csv")


def test_no_patient_gets_a_new_id_untold(tmp_path: Path) -> None:
    link = tmp_path / "a.link.csv"
    link.write_text("patient_id,case_id,image\n7,a-0001,x\n12-Jan,a-0002,y\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        pseudonyms("a", [row("007"), row("1-12", "y"), row("new", "z")], {}, link)
    zeros, date = caught.value.problems
    assert "'007' and '7': one patient or several? The second is how the link file" in zeros
    assert "patient '1-12' is new, and the link file has the image 'y' under '12-Jan'" in date


def test_a_new_patient_whose_file_has_a_common_name_is_new(tmp_path: Path) -> None:
    link = tmp_path / "a.link.csv"
    link.write_text("patient_id,case_id,image\np1,a-0001,t1.nii\np2,a-0002,t1.nii\n")
    dealt = pseudonyms("a", [row("p1", "t1.nii"), row("p3", "t1.nii")], {}, link)
    assert dealt == {"p1": "a-0001", "p3": "a-0003"}


def test_the_terminal_names_patient_and_file_of_a_case(tmp_path: Path) -> None:
    link = tmp_path / "a.link.csv"
    link.write_text("patient_id,case_id,image\nHOSP-7,a-0001,t1.nii\np\x1b[2J,a-0002,\n")
    with owner_told(tmp_path / "a") as told:
        assert told("left out: a-0001: odd") == "left out: a-0001 (HOSP-7, t1.nii): odd"
        assert told("a-0002 and a-00011, a-0009") == "a-0002 (p?[2J) and a-00011, a-0009"
    with (
        pytest.raises(InputError) as caught,
        owner_told(tmp_path / "a"),
    ):
        raise InputError("faces", ["case a-0001: no head"], "look")
    assert caught.value.problems == ["case a-0001 (HOSP-7, t1.nii): no head"]
    with owner_told(tmp_path / "elsewhere") as told:
        assert told("a-0001") == "a-0001"


def test_an_id_of_signs_alone_keeps_them() -> None:
    assert identity_key("***") == "***"
    assert identity_key("007") == identity_key("7.0") == "7"
    assert identity_key("000") == "0"
