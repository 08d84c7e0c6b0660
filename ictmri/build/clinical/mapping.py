"""The mapping file: what a person says about a source, where its own words do not settle it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from annotated_types import MinLen
from pydantic import AfterValidator, BaseModel, NonNegativeInt

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest, validated
from ictmri.io.yamlfile import read_yaml

OPEN: Final = "?"
LEAVE_OUT: Final = "leave-out"
SEXES: Final = ("female", "male", "unknown")


def _one_of(*choices: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in choices:
            raise ValueError(f"{word!r}{nearest(word, choices)}; choose of {', '.join(choices)}")
        return word

    return AfterValidator(check)


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"no regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"needs one group, has {groups}, for example 'sub-([0-9]+)'")
    return pattern


Pattern = Annotated[str, AfterValidator(_one_group)]


Field = Literal["id", "file", "label", "subtype", "age", "age_unit", "sex", "fold"]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)


class TableMapping(BaseModel, extra="forbid", frozen=True):
    """One table that is to be read: its file and sheet, the number of its header's row, its columns.

    Columns are headers by field; ``age_unit`` may also be the unit of all ages itself.
    """

    path: str
    sheet: str | None = None
    header_row: NonNegativeInt | None = None
    columns: dict[Field, str | None] = {}

    @property
    def title(self) -> str:
        """How the table is called in messages."""
        return f"{self.path} [{self.sheet}]" if self.sheet else self.path


class ClinicalMapping(BaseModel, extra="forbid", frozen=True):
    """What a person says about a source; null where the program finds it out.

    What each key means stands in ``mapping.yaml.j2``, from which the file is made that a person edits.
    """

    images: Annotated[list[str], MinLen(1)] | None = None
    exclude: list[str] = []
    id_pattern: Pattern | None = None
    class_patterns: list[Pattern] | None = None
    tables: list[TableMapping] | None = None
    classes: dict[str, Annotated[str, _one_of(*CLASSES, LEAVE_OUT)]] = {}
    sexes: dict[str, Annotated[str, _one_of(*SEXES)]] = {}
    labels_from: str | None = None
    folds: str | None = None
    rows_without_image: Literal["leave-out"] | None = None
    images_without_row: Literal["leave-out", "fill-down"] | None = None
    alike_ids: Literal["separate", "leave-out"] | None = None
    hidden: Literal["read", "leave-out"] | None = None
    odd_cells: Literal["as-read"] | None = None


def read_mapping(path: Path) -> ClinicalMapping:
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
    return validated(ClinicalMapping, content, str(path), "correct it")


def _open_places(value: Any, place: str) -> list[str]:
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in _open_places(v, f"{place}.{k}".lstrip("."))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in _open_places(v, f"{place}[{i}]")]
    return [place] if value == OPEN else []
