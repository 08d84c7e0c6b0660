"""Files below a folder, links to folders followed."""

from __future__ import annotations

import os
from pathlib import Path

from ictmri.io.files import sha256_bytes, sha256_file
from ictmri.scans.itk import data_files


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder in order of their paths; hidden ones are passed over.

    A link leads where its owner made it lead, out of the folder too. A place that two ways lead to,
    as in a circle of links, is visited once.

    Raises:
        OSError: a folder cannot be looked into.
    """
    return [path for path in _below(folder) if path.is_file()]


def digest_of(scan: Path) -> str:
    """Return the SHA-256 of a file, or of the digests of all files that a header or a folder stands for."""
    files = [scan, *data_files(scan)] if scan.is_file() else files_below(scan)
    if files == [scan]:
        return sha256_file(scan)
    return sha256_bytes("\n".join(map(sha256_file, files)).encode())


def lost_links(folder: Path) -> list[Path]:
    """Return the links below a folder that lead nowhere; as :func:`files_below` in all else."""
    return [path for path in _below(folder) if path.is_symlink() and not path.exists()]


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    seen: set[str] = set()
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted(found)
