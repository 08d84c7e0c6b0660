"""``manifest.json``: what a cohort folder is and what every file in it must be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError
from ictmri.io.files import leads_elsewhere, sha256_bytes, sha256_file, write_json

SCHEMA: Final = "ictmri/cohort/1"
FILE_NAME: Final = "manifest.json"


_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(("name", "version", "folds_sha256"), str),
    **dict.fromkeys(("n_cases", "n_folds"), int),
    **dict.fromkeys(("generator", "steps", "files"), dict),
    **{"synthetic": bool, "history": list},
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The identity of a cohort.

    Attributes:
        name: dataset name.
        version: semantic version of the data.
        synthetic: True for a phantom.
        generator: what made it: command, parameters, versions.
        n_cases: number of cases.
        n_folds: number of folds.
        folds_sha256: digest of ``folds.csv``.
        steps: what was done after the build, by config (settings of the processor, of the localizer).
        history: versions before this one and what changed, oldest first, see :mod:`ictmri.changes`.
        files: sha256 and size in bytes by path relative to the folder.
    """

    name: str
    version: str
    synthetic: bool
    generator: dict[str, Any]
    n_cases: int
    n_folds: int
    folds_sha256: str
    steps: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def configs(self) -> list[str]:
        """Configs that the folder holds, ``default`` first."""
        return sorted({path.split("/")[1] for path in self.files if path.startswith("data/")})

    @property
    def left_out(self) -> dict[str, str]:
        """Cases that ``processed`` does not hold, and why."""
        told: dict[str, str] = self.steps.get("process", {}).get("left_out", {})
        return told

    def files_of(self, config: str) -> dict[str, list[str]]:
        """Return the data files of a config: split name -> relative paths."""
        prefix = f"data/{config}/"
        found: dict[str, list[str]] = {}
        for path in sorted(path for path in self.files if path.startswith(prefix)):
            found.setdefault(path.removeprefix(prefix).split("-")[0], []).append(path)
        return found

    def digest_of(self, config: str) -> str:
        """Return one digest for all data files of a config."""
        paths = (path for paths in self.files_of(config).values() for path in paths)
        shas = [self.files[path]["sha256"] for path in paths]
        return sha256_bytes("\n".join(shas).encode())


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a cohort folder.

    Raises:
        InputError: there is none, or it is not one that this version understands.
    """
    path = root / FILE_NAME
    again = f"move {root} away and build the cohort again, or copy it again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            str(root), ["not a cohort folder: it holds no manifest.json"], "ictmri build --help"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), [f"is damaged: not valid JSON ({error})"], again) from None
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise InputError(str(path), [f"its schema is not {SCHEMA}"], again)
    try:
        manifest = Manifest(**content)
    except TypeError as error:
        raise InputError(str(path), [str(error)], again) from None
    wrong = [
        f"{name} is no {kind.__name__}"
        for name, kind in _TYPES.items()
        if not isinstance(getattr(manifest, name), kind)
    ]
    wrong = wrong or [
        f"{name}: no SHA-256 and size"
        for name, known in manifest.files.items()
        if not isinstance(known, dict)
        or not isinstance(known.get("sha256"), str)
        or not isinstance(known.get("bytes"), int)
    ]
    wrong = wrong or [
        f"steps: {name} is no object"
        for name, step in manifest.steps.items()
        if not isinstance(step, dict) or not isinstance(step.get("left_out", {}), dict)
    ]
    wrong = wrong or [
        f"{name!r} is no plain path inside the folder"
        for name in manifest.files
        if leads_elsewhere(name)
    ]
    if wrong:
        raise InputError(str(path), [f"is damaged: {problem}" for problem in wrong], again)
    return manifest


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest of a cohort folder."""
    write_json(root / FILE_NAME, {"schema": SCHEMA, **asdict(manifest)})


def fingerprints(root: Path, *, only: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return SHA-256 and size by relative path: of every file but the manifest, or of some."""
    names = sorted(_files_in(root) if only is None else only)
    return {
        name: {"sha256": sha256_file(root / name), "bytes": (root / name).stat().st_size}
        for name in names
    }


def _files_in(root: Path) -> list[str]:
    return [
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path != root / FILE_NAME and not path.name.startswith(".")
    ]


def damaged_files(root: Path, manifest: Manifest, *, prefix: str = "", quick: bool) -> list[str]:
    """Return one line for each recorded file that is missing or differs.

    Args:
        root: the cohort folder.
        manifest: its manifest.
        prefix: look only at paths that start so.
        quick: compare sizes only, not the bytes.
    """
    problems = []
    for name, known in manifest.files.items():
        path = root / name
        if not name.startswith(prefix):
            continue
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != known["bytes"]:
            problems.append(f"{name}: {path.stat().st_size} bytes instead of {known['bytes']}")
        elif not quick and sha256_file(path) != known["sha256"]:
            problems.append(f"{name}: its SHA-256 is not the recorded one")
    return problems
