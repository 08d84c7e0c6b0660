"""The mapping file: what a person says about a source, where its own words do not settle it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic import Field as Limits

from ictmri.build.clinical.headers import Field
from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.io.yamlfile import read_yaml

OPEN: Final = "?"
LEAVE_OUT: Final = "leave-out"
FILL_DOWN: Final = "fill-down"
READ: Final = "read"
AS_READ: Final = "as-read"
SEPARATE: Final = "separate"
CLASS_CHOICES: Final = (*CLASSES, LEAVE_OUT)
SEX_CHOICES: Final = ("female", "male", "unknown")
FIELDS: Final[tuple[Field, ...]] = (
    "id",
    "file",
    "label",
    "subtype",
    "age",
    "age_unit",
    "sex",
    "fold",
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """Names of a table's columns; null where the table has none that is to be read.

    ``age_unit`` may also be the unit of all ages itself: years, months, weeks or days.
    """

    id: str | None = None
    file: str | None = None
    label: str | None = None
    subtype: str | None = None
    age: str | None = None
    age_unit: str | None = None
    sex: str | None = None
    fold: str | None = None


class TableMapping(_Strict):
    """One table that is to be read.

    Attributes:
        path: its file, as a path in the source.
        sheet: name of the sheet in a workbook.
        header_row: number of the row with the column names, from 1; found out where null.
        columns: what its columns are.
    """

    path: str
    sheet: str | None = None
    header_row: Annotated[int, Limits(ge=0)] | None = None
    columns: Columns = Columns()


class Mapping(_Strict):
    """What a person says about a source; what is null is found out.

    Attributes:
        images: globs of the T1-CE volumes; ``*`` stands for anything, folders included.
        exclude: globs of images that are none.
        id_pattern: regular expression; its group in an image's path is the patient's id.
        tables: the tables that are read, and no others.
        classes: class of each word of the label column or class folder.
        sexes: sex of each word of the sex column.
        labels_from: which is believed where table and folders differ.
        folds: ``rule`` to deal folds anew, else the name of the source's folds.
        rows_without_image: what becomes of patients without an image.
        images_without_row: what becomes of images without a label; ``fill-down`` gives the rows of a table
            without one the label of the row above.
        alike_ids: what becomes of patients whose ids a person would take for one: ``Pat1`` and ``pat1``.
        hidden: what becomes of sheets, rows and columns that a workbook hides.
        odd_cells: ``as-read`` takes formulas without a stored value and errors of a spreadsheet program as
            empty cells, dates and rounded numbers as they stand there.
    """

    images: Annotated[list[str], Limits(min_length=1)] | None = None
    exclude: list[str] = []
    id_pattern: str | None = None
    tables: list[TableMapping] | None = None
    classes: dict[str, str] = {}
    sexes: dict[str, str] = {}
    labels_from: Literal["table", "folders"] | None = None
    folds: str | None = None
    rows_without_image: Literal["leave-out"] | None = None
    images_without_row: Literal["leave-out", "fill-down"] | None = None
    alike_ids: Literal["separate", "leave-out"] | None = None
    hidden: Literal["read", "leave-out"] | None = None
    odd_cells: Literal["as-read"] | None = None

    @field_validator("classes")
    @classmethod
    def _known_classes(cls, value: dict[str, str]) -> dict[str, str]:
        _all_in(value, CLASS_CHOICES)
        return value

    @field_validator("sexes")
    @classmethod
    def _known_sexes(cls, value: dict[str, str]) -> dict[str, str]:
        _all_in(value, SEX_CHOICES)
        return value

    @field_validator("id_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from None
        if groups != 1:
            raise ValueError(f"needs one group, has {groups}, for example 'sub-([0-9]+)'")
        return value


def _all_in(value: dict[str, str], choices: tuple[str, ...]) -> None:
    wrong = [
        f"{word!r}: {name!r}{nearest(name, choices)}"
        for word, name in value.items()
        if name not in choices
    ]
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}; choose of {', '.join(choices)}")


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file.

    Raises:
        InputError: it is not one, or a ``?`` is still in it; every problem is named.
    """
    content = read_yaml(path, "correct it")
    if not isinstance(content, dict):
        raise InputError(str(path), ["not a mapping file"], "begin with the one that was proposed")
    still_open = [f"{place} is still open" for place in _open_places(content, "")]
    if still_open:
        raise InputError(str(path), still_open, 'replace each "?" by one of the choices beside it')
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        raise InputError(
            str(path), [_told(item) for item in error.errors()], "correct it"
        ) from None


def _open_places(value: Any, place: str) -> list[str]:
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in _open_places(v, f"{place}.{k}".lstrip("."))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in _open_places(v, f"{place}[{i}]")]
    return [place] if value == OPEN else []


def _told(item: Any) -> str:
    place = ".".join(map(str, item["loc"]))
    last = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        known = (*Mapping.model_fields, *TableMapping.model_fields, *FIELDS)
        return f"{place}: unknown{nearest(last, known)}"
    return f"{place}: {item['msg'].removeprefix('Value error, ')}"
