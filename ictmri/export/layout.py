"""What a layout is: where each volume goes, and the documents around the volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ictmri.export.source import Case, Source, volume_columns
from ictmri.schema import Config


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """Where the volumes of one column go.

    Attributes:
        config: the config.
        column: its volume column.
        path_of: gives a case's path in the export.
        convert: gives the bytes to write for those that are stored, see
            :func:`ictmri.export.convert.portable`; None writes them as they are.
    """

    config: Config
    column: str
    path_of: Callable[[Case], str]
    convert: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """All files of an export.

    Attributes:
        volumes: the volumes.
        documents: the text of every other file, by path in the export.
    """

    volumes: Sequence[VolumeFile]
    documents: dict[str, str]


def folder_of(column: str) -> str:
    """Return the folder of a volume column in the plain layouts."""
    return "images" if column == "image" else column


def plain_volumes(source: Source) -> list[VolumeFile]:
    """Return the volumes of the plain layouts: ``<folder>/<case_id>.nii.gz``, one folder a column."""
    return [
        VolumeFile(config, column, plain_path(column))
        for config in source.configs
        for column in volume_columns(config)
        if source.has(config, column)
    ]


def plain_path(column: str) -> Callable[[Case], str]:
    """Return the function that gives a case's path in the plain layouts."""
    return lambda case: f"{folder_of(column)}/{case.case_id}.nii.gz"
