"""What a method could see of a case without looking at its voxels: header, sizes, order, acquisition."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import label_of
from ictmri.cohort import read_acquisition

if TYPE_CHECKING:
    from ictmri.cohort import Cohort

_HEADER_BYTES: Final = 348
_GZIP_HEAD: Final = 10
_NUMBER: Final = re.compile(r"\d+")
Value = float | str


@dataclass(frozen=True, slots=True)
class HeaderFeatures:
    """A table of n cases and f features that vary.

    Attributes:
        case_ids: n case ids, in the order of the data files.
        names: f names, ``group.feature``; the groups are order, id, size, gzip, header, acquisition.
        values: (n, f) float64; words and free text as numbers of their place in the alphabet.
        labels: (n,) int64.
        folds: (n,) int64.
    """

    case_ids: list[str]
    names: list[str]
    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


def header_features(cohort: Cohort) -> HeaderFeatures:
    """Return all that is known of the cases of a cohort besides voxels, sex, age and subtype.

    Volumes pass one at a time; of each only its length and its first bytes are kept.
    """
    table = {row.case_id: row for row in cohort.folds().rows}
    acquisition = read_acquisition(cohort.root)
    rows: list[dict[str, Value]] = []
    case_ids: list[str] = []
    for row in cohort.rows("default", ["case_id", "patient_id", "image", "fold"]):
        case_ids.append(row["case_id"])
        cells = acquisition.get(row["case_id"], {})
        place = len(rows)  # in file order
        rows.append(
            dict(_of_row(row, place))
            | {f"acquisition.{name}": cell for name, cell in cells.items()}
        )
    names, values = _as_numbers(rows)
    return HeaderFeatures(
        case_ids,
        names,
        values,
        np.array([label_of(table[case_id].label) for case_id in case_ids], np.int64),
        np.array([table[case_id].fold for case_id in case_ids], np.int64),
    )


def _of_row(row: dict[str, Any], place: int) -> Iterator[tuple[str, Value]]:
    content: bytes = row["image"]["bytes"]
    yield "order.place", float(place)
    for column in ("case_id", "patient_id"):
        numbers = _NUMBER.findall(row[column])
        yield f"id.{column}", float(numbers[-1]) if numbers else row[column]
    yield "id.file_name", row["image"]["path"].replace(row["case_id"], "")
    yield "size.stored_bytes", float(len(content))
    yield "gzip.head", content[:_GZIP_HEAD].hex()
    head = zlib.decompressobj(wbits=31).decompress(content, _HEADER_BYTES)
    voxels = 1.0
    for name, value in _header(head):
        yield name, value
        if re.fullmatch(r"header\.dim\[[1-3]\]", name) and isinstance(value, float):
            voxels *= value
    yield "size.bytes_a_voxel", len(content) / voxels


def _header(head: bytes) -> Iterator[tuple[str, Value]]:
    import nibabel as nib

    header = nib.Nifti1Header.from_fileobj(io.BytesIO(head), check=False)
    for field in header:
        value = np.atleast_1d(header[field])
        for index, item in enumerate(value.ravel()):
            name = f"header.{field}" if value.size == 1 else f"header.{field}[{index}]"
            yield name, item.hex() if isinstance(item, bytes) else float(item)


def _as_numbers(rows: list[dict[str, Value]]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the features that vary, each once, as columns of numbers."""
    columns: dict[bytes, tuple[str, NDArray[np.float64]]] = {}
    for name in {name: None for row in rows for name in row}:
        column = _column([row.get(name, "") for row in rows])
        if (column != column[0]).any():
            columns.setdefault(np.unique(column, return_inverse=True)[1].tobytes(), (name, column))
    names = [name for name, _ in columns.values()]
    kept = [column for _, column in columns.values()]
    return names, np.column_stack(kept) if kept else np.zeros((len(rows), 0))


def _column(cells: list[Value]) -> NDArray[np.float64]:
    """Return numbers as they are, what is missing below them all, words by their place in order."""
    try:
        numbers = np.array([np.nan if cell == "" else float(cell) for cell in cells])
    except ValueError:
        return np.unique(np.array(cells, dtype=str), return_inverse=True)[1].astype(np.float64)
    known = numbers[np.isfinite(numbers)]
    return np.where(np.isfinite(numbers), numbers, known.min() - 1 if known.size else 0.0)
