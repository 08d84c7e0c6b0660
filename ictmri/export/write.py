"""Writes an export: one case in memory at a time, whole or not at all, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from ictmri.cohort import ACQUISITION, Cohort
from ictmri.errors import InputError
from ictmri.export import bids, nnunet, plain
from ictmri.export.contents import CARD, LICENCE, Case, Contents, read_contents
from ictmri.export.convert import portable
from ictmri.export.layout import Layout, VolumeFile
from ictmri.io.files import is_free, sha256_bytes, write_bytes, write_json, write_text
from ictmri.io.lock import folder_lock, work_folder
from ictmri.io.parallel import run_all
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.states import json_mapping, kept, needed
from ictmri.manifest import fingerprints
from ictmri.schema import Config
from ictmri.version import __version__

Target = Literal["bids", "monai", "nnunet", "nifti"]
_LAYOUTS: Final[dict[Target, Callable[[Contents], Layout]]] = {
    "bids": bids.layout,
    "monai": plain.monai,
    "nnunet": nnunet.layout,
    "nifti": plain.nifti,
}
SCHEMA: Final = "ictmri/export/1"
FILE_NAME: Final = "export.json"


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export.

    Attributes:
        root: its folder.
        record: the content of its ``export.json``: what it was made from, SHA-256 and size of its files.
    """

    root: Path
    record: dict[str, Any]

    @property
    def n_bytes(self) -> int:
        """Size of its files."""
        return sum(file["bytes"] for file in self.record["files"].values())


def export_cohort(
    cohort: Cohort, target: Target, out: AnyPath, *, config: Config | None = None
) -> Export:
    """Write a cohort in another tool's layout; the same cohort gives the same bytes.

    Args:
        cohort: the cohort.
        target: the layout.
        out: the folder to write; it is there only when it is whole. Finished cases are kept beside it,
            so that an interrupted export goes on where it stopped.
        config: ``default``, ``processed`` or ``truth`` (with the scans that it belongs to). ``default``
            where None; for ``nnunet`` the one that has labels.

    Raises:
        InputError: ``out`` holds something else or lies in the cohort, the cohort is damaged or has no
            such config, or the layout needs labels that it does not have.
    """
    out = at_home(out)
    configs = _configs(cohort, target, config)
    key = _key(cohort, target, configs)
    if out.resolve().is_relative_to(cohort.root.resolve()):
        raise InputError("--out", [f"{out} lies inside the cohort"], "choose another --out")
    with folder_lock(out):
        done = _finished(out, key)
        if done is not None:
            return done
        contents = read_contents(cohort, configs)
        layout = _LAYOUTS[target](contents)
        part = _prepared(out, key)
        _write_volumes(part, contents, layout.volumes)
        cohort.check_unchanged()
        for path, text in layout.documents.items():
            write_text(part / path, text)
        record = key | {"files": _files(part)}
        write_json(part / FILE_NAME, record)
        part.rename(out.resolve())
        return Export(out, record)


def _configs(cohort: Cohort, target: Target, config: Config | None) -> tuple[Config, ...]:
    if target == "nnunet":
        config = nnunet.labelled_config(cohort, config)
    config = config or "default"
    # Lesion masks lie on the grid of the scans and mean nothing without them; BIDS derives from scans.
    with_scans = config == "truth" or (target == "bids" and config != "default")
    return ("default", config) if with_scans else (config,)


def _key(cohort: Cohort, target: Target, configs: tuple[Config, ...]) -> dict[str, Any]:
    manifest = cohort.manifest
    for config in configs:
        cohort.parquet_files(config)
    texts = [
        manifest.files[name]["sha256"]
        for name in (ACQUISITION, CARD, LICENCE)
        if name in manifest.files
    ]
    return {
        "schema": SCHEMA,
        "to": target,
        "configs": list(configs),
        "ictmri": __version__,
        "cohort": {
            "name": manifest.name,
            "version": manifest.version,
            "synthetic": manifest.synthetic,
            "folds_sha256": manifest.folds_sha256,
            "data_sha256": {
                config: manifest.digest_of(config) for config in sorted({"default", *configs})
            },
            "texts_sha256": sha256_bytes("\n".join(texts).encode()),
        },
    }


def _finished(out: Path, key: dict[str, Any]) -> Export | None:
    """Return the export at ``out`` if it is this one and whole, None if nothing is there."""
    if is_free(out):
        return None
    another = "choose another --out, or remove that folder first"
    if not (out / FILE_NAME).is_file():
        raise InputError(str(out), ["this path is taken and is no export"], "choose another --out")
    record = needed(out / FILE_NAME, _record, another)
    if {name: record.get(name) for name in key} != key:
        name = record.get("cohort", {}).get("name")
        raise InputError(
            str(out),
            [f"holds another export ({record.get('to')} of {name!r}, or of another state of it)"],
            another,
        )
    problems = _damaged(out, record["files"])
    if problems:
        raise InputError(str(out), problems, another)
    return Export(out, record)


def _record(path: Path) -> dict[str, Any]:
    record = json_mapping(path)
    if record["schema"] != SCHEMA or not isinstance(record["files"], dict):
        raise ValueError(f"is no {SCHEMA}")
    return record


def _damaged(out: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name}: missing or cut short"
        for name, known in files.items()
        if not (out / name).is_file() or (out / name).stat().st_size != known["bytes"]
    ]


def _prepared(out: Path, key: dict[str, Any]) -> Path:
    """Return the work folder, emptied where it belongs to another export."""
    part = work_folder(out, "export")
    stamp = part / FILE_NAME
    known = kept(stamp, json_mapping)
    if known is None or {**known, "files": None} != {**key, "files": None}:
        shutil.rmtree(part, ignore_errors=True)
        write_json(stamp, key)
    for stale in part.rglob(".*.part"):
        stale.unlink()
    return part


def _write_volumes(part: Path, contents: Contents, volumes: Sequence[VolumeFile]) -> None:
    by_id = {case.case_id: case for case in contents.cases}
    for config in dict.fromkeys(volume.config for volume in volumes):
        wanted = [volume for volume in volumes if volume.config == config]
        run_all(
            partial(_write_case, part, by_id, wanted),
            contents.cohort.rows(config, ["case_id", *(volume.column for volume in wanted)]),
            total=len(contents.cases),
            title=f"export {config}",
            jobs=1,
        )


def _write_case(
    part: Path, by_id: dict[str, Case], wanted: list[VolumeFile], row: dict[str, Any]
) -> None:
    for volume in wanted:
        path = part / volume.path_of(by_id[row["case_id"]])
        stored = row[volume.column]
        if stored is None:
            continue
        content = portable(stored["bytes"])
        content = content if volume.convert is None else volume.convert(content)
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def _files(part: Path) -> dict[str, dict[str, Any]]:
    return {name: file for name, file in fingerprints(part).items() if name != FILE_NAME}
