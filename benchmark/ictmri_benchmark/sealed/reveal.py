"""The end: labels, salt and every scored submission are published, so that anyone can check them."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from ictmri.errors import InputError
from ictmri.io.files import as_new_folder, is_free, write_bytes, write_json
from ictmri_benchmark.sealed.office import Office, opened
from ictmri_benchmark.sealed.organiser import close


def reveal(folder: Path, out: Path, *, now: datetime) -> int:
    """End a challenge and write what anyone needs to check it.

    Returns:
        The number of submissions that were scored.

    Raises:
        InputError: ``out`` exists, or the folder is damaged.
    """
    if out.is_symlink() or not is_free(out):
        raise InputError(str(out), ["exists and is not empty"], "choose another path")
    with opened(folder) as office:
        close(office, now)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        try:
            _write(office, part)
            as_new_folder(part)
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return len(office.state.scorings)


def _write(office: Office, out: Path) -> None:
    office.labels()
    for name in ("challenge.json", "log.jsonl", "head.json"):
        write_bytes(out / name, (office.folder / "public" / name).read_bytes())
    write_bytes(out / "folds.csv", (office.folder / "private" / "folds.csv").read_bytes())
    write_json(out / "opening.json", office.sign_opening())
    for scoring in office.state.scorings:
        office.stored(scoring)
        kept = office.submission_path(scoring.intent.submission)
        write_bytes(out / "submissions" / kept.name, kept.read_bytes())
