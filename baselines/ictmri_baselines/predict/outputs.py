"""What may lie where a result is to go: an earlier result of the same kind, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np

from ictmri.scans.dicom_slices import quiet, read_file

_PAGE: Final = b"<!doctype html>"
_SEGMENTATIONS: Final = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of DICOM segmentations."""


def occupied(option: str, path: Path) -> str:
    """Say what would be lost at a result's place; empty where there is nothing, or an earlier result.

    Args:
        option: of ``ictmri predict``: ``--out``, ``--prior``, ``--json`` or ``--dicom-seg``.
        path: a file, there or not.
    """
    if not path.is_file():
        return ""
    kind, is_one = _KINDS[option]
    try:
        replaceable = is_one(path)
    except Exception:  # noqa: BLE001 - each library has its own for what is none of its files
        replaceable = False
    return "" if replaceable else f"{path} exists and is no {kind}: it would be lost"


def _is_page(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_PAGE)).lower() == _PAGE


def _is_prior(path: Path) -> bool:
    image: Any = nib.load(path)
    if image.get_data_dtype() != np.uint8:
        return False
    return int(np.asarray(image.dataobj.get_unscaled()).max(initial=0)) <= 1


def _are_numbers(path: Path) -> bool:
    schema = json.loads(path.read_bytes())["schema"]
    return isinstance(schema, str) and schema.startswith("ictmri/prediction/")


def _is_segmentation(path: Path) -> bool:
    with quiet():
        header = read_file(path, pixels=False)
    return header is not None and header.get("SOPClassUID") == _SEGMENTATIONS


_KINDS: Final[dict[str, tuple[str, Callable[[Path], bool]]]] = {
    "--out": ("HTML page", _is_page),
    "--prior": ("mask of 0 and 1", _is_prior),
    "--json": ("JSON of ictmri predict", _are_numbers),
    "--dicom-seg": ("DICOM segmentation", _is_segmentation),
}
