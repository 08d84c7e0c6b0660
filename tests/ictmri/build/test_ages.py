"""Ages in every unit that a header or a cell names; what is no age at the scan is not taken for one."""

import math
from pathlib import Path

import pytest

from ictmri.build.ages import is_unit_header, read_age, read_age_header
from ictmri.build.table import read_table
from ictmri.errors import InputError


@pytest.mark.parametrize(
    ("header", "meaning", "unit"),
    [
        *(
            (name, "age", None)
            for name in ("age", "Age", "Alter", "âge", "edad", "年龄", "患者年龄")
        ),
        *((name, "age", None) for name in ("Patient age", "patientage", "PatientAge")),
        *((name, "age", "years") for name in ("Age (years)", "Age_yrs", "AgeYears", "年龄（岁）")),
        *((name, "age", "months") for name in ("Age (months)", "Age_months", "ageInMonths")),
        *(
            (name, "age", "months")
            for name in ("agemonths", "Alter (Monate)", "Âge (mois)", "年龄(月)")
        ),
        *((name, "age", "days") for name in ("Age (days)", "age_days", "Edad [días]")),
        *((name, "scan", None) for name in ("Age at MRI", "age_at_scan", "ageatscan")),
        ("age_in_days_at_scan", "scan", "days"),
        *((name, "other", None) for name in ("Age at death", "Age at onset", "age at diagnosis")),
        *((name, "other", None) for name in ("Gestational age", "Bone age", "Alter bei Diagnose")),
        *((name, "group", None) for name in ("Age group", "AgeGroup", "age_band", "Age category")),
        *((name, "group", None) for name in ("Altersgruppe", "年龄组", "age_code", "Age range")),
        *((name, "unclear", None) for name in ("Age (m)", "Age 18+", "age_adjusted_score", "Age2")),
        ("Age (years, months)", "unclear", None),
    ],
)
def test_headers(header: str, meaning: str, unit: str | None) -> None:
    told = read_age_header(header)
    assert told is not None
    assert (told.meaning, told.unit if meaning != "unclear" else None) == (meaning, unit)


@pytest.mark.parametrize("header", ["stage", "image", "dosage", "manage", "Group", "language"])
def test_headers_that_are_not_about_ages(header: str) -> None:
    assert read_age_header(header) is None


def test_headers_of_units() -> None:
    assert all(map(is_unit_header, ("unit", "Age unit", "age_unit", "Einheit", "AgeUnits")))
    assert not any(map(is_unit_header, ("Age", "hospital unit", "units sold")))


@pytest.mark.parametrize(
    ("cell", "unit", "years"),
    [
        *((text, None, 34.0) for text in ("34", "034Y", "34 years old", "34岁", "34,0", "３４")),
        *((text, None, 0.67) for text in ("8 months", "8 m", "8mo", "008M", "8 Monate", "8个月")),
        *(
            (text, "years", 1.5)
            for text in ("1;6", "1 y 6 m", "1y6m", "18 months", "1 year, 6 months")
        ),
        ("30.7", None, 30.7),
        ("32.713196100000005", None, 32.713196100000005),
        ("8", "months", 0.67),
        ("121", "months", 10.08),
        ("34 years", "months", 34.0),
        ("400", "days", 1.1),
        ("020D", "years", 0.05),
        ("10", "weeks", 0.19),
    ],
)
def test_cells(cell: str, unit: str | None, years: float) -> None:
    assert read_age(cell, unit) == years  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cell",
    [
        *("121", "-3", "999", ">89", "90+", "30-39", "~34", "1;12", "1:6", "1/2", "1,234", "1e2"),
        *("inf", "#N/A", "1900-02-03", "20191104", "6 months 1 year", "3 4", "34 x", "x", "9" * 99),
    ],
)
def test_what_is_no_age(cell: str) -> None:
    assert read_age(cell) is None


@pytest.mark.parametrize("cell", ["", " ", "NaN", "n/a", "unknown", "未知"])
def test_unknown_ages(cell: str) -> None:
    assert math.isnan(read_age(cell) or 0.0)


def ages(folder: Path, header: str, *rows: str) -> list[float]:
    lines = [f"patient_id,image,label,{header}"]
    for number, row in enumerate(rows):
        (folder / f"{number}.nii").touch()
        lines.append(f"p{number},{number}.nii,rare,{row}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [row.age for row in read_table(folder / "t.csv")]


def test_a_table_says_the_unit(tmp_path: Path) -> None:
    assert ages(tmp_path, "Age (months)", "8", "18", "2 y") == [0.67, 1.5, 2.0]
    assert ages(tmp_path, "age_days", "20", "400") == [0.05, 1.1]
    assert ages(tmp_path, "age,age_unit", "8,months", "34,years", "3,") == [0.67, 34.0, 3.0]
    assert ages(tmp_path, "Unit,Age", "months,8", "y,34") == [0.67, 34.0]
    assert ages(tmp_path, "age", "8 months", "034Y", "1;6") == [0.67, 34.0, 1.5]


@pytest.mark.parametrize(
    ("header", "row", "problem"),
    [
        ("Age group", "1", "column 'Age group' is not clearly the age at the scan"),
        ("Age at death", "70", "column 'Age at death' is not clearly the age at the scan"),
        ("age,Age at onset", "7,6", "column 'Age at onset' is not clearly the age at the scan"),
        ("Age (m)", "8", "column 'Age (m)' is not clearly the age at the scan"),
        ("age,age_months", "1,6", "several columns of ages: age, age_months"),
        ("birth_year", "1961", "unknown column 'birth_year'"),
        ("age,age_unit", "7,Mars", "age_unit 'Mars' is not years, months, weeks, days"),
        ("Age (months),unit", "7,years", "age_unit 'years', and the header says months"),
        ("age", "#N/A", "age '#N/A' is not an age: years from 0 to 120"),
        ("age", "1961", "age '1961' is not an age"),
        ("age_months", "8 parsecs", "age '8 parsecs' is not an age"),
    ],
)
def test_a_table_is_asked_what_is_not_clear(
    tmp_path: Path, header: str, row: str, problem: str
) -> None:
    with pytest.raises(InputError) as caught:
        ages(tmp_path, header, row)
    assert problem in str(caught.value)
