"""The real scans that some tests read: what each is, where it is from, and whether it is the one meant.

``python tests/support/real_scans.py FOLDER`` fetches them with git (about 150 MB) and checks their digests;
``ICTMRI_REAL_SCANS=FOLDER make test`` then runs the tests that skip without them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from shutil import copyfile
from typing import Any

import yaml

LIST = Path(__file__).parents[1] / "data" / "real_scans.yaml"
TABLE = """\
patient_id,image,label,subtype,age,sex
brats2013_pat0001,images/brats2013_pat0001_t1c.nii.gz,glioma,,,
brats2013_pat0002,images/brats2013_pat0002_t1c.nii.gz,glioma,,,
brats2013_pat0003,images/brats2013_pat0003_t1c.nii.gz,glioma,,,
tcga_fg_6692,images/tcga_fg_6692_t1c.nii.gz,glioma,,,
pyradiomics_brain1,images/pyradiomics_brain1_t1c.nrrd,glioma,,,
brats_met_00110,images/brats_met_00110_t1c.nii.gz,rare,metastasis,,
"""
"""``cohort/cohort.csv``: ages and sexes are not known, two classes are absent."""


def sources() -> list[dict[str, Any]]:
    """Return the repositories, each with its commit, licence and files."""
    found: list[dict[str, Any]] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the list of a folder's files with theirs; empty without one."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    below = sorted(one for one in path.rglob("*") if one.is_file())
    lines = [f"{digest(one)}  {one.relative_to(path).as_posix()}\n" for one in below]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def problems(folder: Path) -> Iterator[str]:
    """Yield what is missing from a folder of the real scans, or is not what the list says."""
    if not (folder / "cohort" / "cohort.csv").is_file():
        yield "cohort/cohort.csv is missing"
    for source in sources():
        for name, file in source["files"].items():
            found = digest(folder / name)
            if found != file["sha256"]:
                yield f"{name} {'is another file' if found else 'is missing'}: {source['repository']}"


def fetch(folder: Path) -> None:
    """Fetch the scans with git into a folder."""
    for source in sources():
        with tempfile.TemporaryDirectory() as temporary:
            address = f"https://github.com/{source['repository']}"
            git = ["git", "-C", temporary, "-c", "gc.auto=0"]
            paths = [
                ":(glob)" + "/".join(part for part in (file["path"], only) if part not in {".", ""})
                for file in source["files"].values()
                for only in file.get("only", ["**"] if file["path"] == "." else [""])
            ]
            for command in (
                ("init", "--quiet"),
                ("remote", "add", "origin", address),
                ("fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", source["commit"]),
                ("checkout", "--quiet", "FETCH_HEAD", "--", *paths),
            ):
                subprocess.run([*git, *command], check=True)
            for name, file in source["files"].items():
                _copy(Path(temporary) / file["path"], folder / name, file.get("only", ["*"]))
    (folder / "cohort" / "cohort.csv").write_text(TABLE, encoding="utf-8")


def _copy(source: Path, target: Path, only: list[str]) -> None:
    files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
    for file in files:
        name = file.relative_to(source)
        wanted = any(fnmatch(name.as_posix(), pattern) for pattern in only)
        if wanted and ".git" not in name.parts:
            place = target / name if file != source else target
            place.parent.mkdir(parents=True, exist_ok=True)
            copyfile(file, place)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    fetch(place)
    sys.exit("\n".join(problems(place)) or None)
