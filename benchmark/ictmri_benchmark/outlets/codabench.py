"""A competition for Codabench, as the zip file that its organiser uploads.

It holds the evaluator itself, which needs Python 3.11 and NumPy, and nothing that changes from one run to
the next. The reference data hold the labels: Codabench shows them to the organiser alone.

Source: https://docs.codabench.org/latest/Organizers/Benchmark_Creation/Yaml-Structure/
"""

from __future__ import annotations

import datetime
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import ictmri
import ictmri_benchmark
from ictmri.errors import InputError
from ictmri.folds import FoldTable, format_folds
from ictmri.io.files import canonical_json, write_bytes
from ictmri.io.yamlfile import dump_yaml
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.metrics import COLUMNS
from ictmri_benchmark.score.predictions import HEADERS
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

DEFAULT_IMAGE: Final = "continuumio/anaconda3:2024.10-1"
"""A public image with Python 3.12 and NumPy."""
_ENDS: Final = {"low": "from", "high": "to"}
COMMAND: Final = "python3 /app/program/score.py /app/input /app/output"


def write_bundle(
    path: Path,
    cohort: FoldTable,
    *,
    synthetic: bool,
    start: str,
    per_day: int = 5,
    image: str = DEFAULT_IMAGE,
) -> None:
    """Write a competition bundle; the same arguments give the same bytes.

    Args:
        path: the zip file.
        cohort: the fold table that holds the labels.
        synthetic: marks every page as a phantom's.
        start: first day, YYYY-MM-DD, in UTC.
        per_day: submissions of a participant in a day.
        image: Docker image that the scoring program runs in.

    Raises:
        InputError: ``start`` is no day.
    """
    try:
        day = datetime.date.fromisoformat(start)
    except ValueError:
        problem = [f"{start[:30]!r} is no day, YYYY-MM-DD"]
        raise InputError("--start", problem, "give the day on which submissions open") from None
    title = f"ICT-MRI: {cohort.name}" + (" (SYNTHETIC phantom)" if synthetic else "")
    competition = _competition(title, f"{day} 00:00:00", per_day, image)
    files = {
        "competition.yaml": dump_yaml(competition).encode(),
        "logo.png": _logo(),
        "overview.md": _overview(title, cohort, synthetic=synthetic).encode(),
        "terms.md": _terms(synthetic=synthetic).encode(),
        "scoring_program/metadata.yaml": f"command: {COMMAND}\n".encode(),
        **{f"scoring_program/{name}": content for name, content in _program().items()},
        "reference_data/folds.csv": format_folds(cohort.rows).encode(),
        "reference_data/reference.json": _reference(cohort, synthetic=synthetic).encode(),
    }
    write_bytes(path, _zipped(files))


def _competition(title: str, start: str, per_day: int, image: str) -> dict[str, Any]:
    return {
        "version": 2,
        "title": title,
        "description": "Biopsy diagnosis of deep intracranial tumours from T1 contrast-enhanced MRI.",
        "image": "logo.png",
        "terms": "terms.md",
        "registration_auto_approve": False,
        "docker_image": image,
        "make_programs_available": True,
        "pages": [{"title": "Overview", "file": "overview.md"}],
        "phases": [
            {
                "index": 0,
                "name": f"{protocol.BENCHMARK} {protocol.VERSION}",
                "description": "Out-of-fold predictions of every case.",
                "start": start,
                "max_submissions_per_day": per_day,
                "accepts_only_result_submissions": True,
                "tasks": [0],
            }
        ],
        "tasks": [
            {
                "index": 0,
                "name": title,
                "description": "Score predictions.csv.",
                "scoring_program": "scoring_program",
                "reference_data": "reference_data",
            }
        ],
        "leaderboards": [{"title": title, "key": "main", "columns": _columns()}],
    }


def _columns() -> list[dict[str, Any]]:
    first, *others = COLUMNS
    named = [(first, first.name, first.title)]
    named += [(first, f"{first.name}_{end}", f"95 % {said}") for end, said in _ENDS.items()]
    named += [(metric, metric.name, metric.title) for metric in others]
    return [
        {
            "title": title,
            "key": key,
            "index": index,
            "sorting": "desc" if metric.high_is_good else "asc",
            "precision": 4,
        }
        for index, (metric, key, title) in enumerate(named)
    ]


def _overview(title: str, cohort: FoldTable, *, synthetic: bool) -> str:
    marked = f"**{SYNTHETIC_WARNING.capitalize()}.**\n\n" if synthetic else ""
    return f"""# {title}

{marked}{len(cohort.rows)} cases in {cohort.n_folds} folds; fold *k* is predicted by a model trained
on the other folds. Submit a zip file with `predictions.csv` at its top, one row a case:

    {HEADERS[0]}

or, without probabilities, `{HEADERS[1]}`. A column `seed` may be added where there are several.

Ranked by pooled macro F1, protocol {protocol.BENCHMARK} {protocol.VERSION}, folds with SHA-256
{cohort.sha256}. Intervals are a bootstrap of patients within their class.
"""


def _terms(*, synthetic: bool) -> str:
    about = "The cohort is synthetic; scores say nothing about patients." if synthetic else ""
    return f"""# Terms

Predictions are made without the labels of the fold that they are for. Research use only: nothing here is a
diagnosis. No one tries to identify a patient. {about}
"""


def _program() -> dict[str, bytes]:
    """Return the evaluator's sources and the program that calls it."""
    here = Path(__file__).parent
    files = {"score.py": (here / "scoring_program.py").read_bytes()}
    for package, parts in ((ictmri, ("", "io")), (ictmri_benchmark, ("", "score"))):
        root = Path(package.__path__[0])
        files |= {
            f.relative_to(root.parent).as_posix(): f.read_bytes()
            for part in parts
            for f in sorted((root / part).glob("*.py"))
        }
    return files


def _reference(cohort: FoldTable, *, synthetic: bool) -> str:
    return canonical_json(
        {"cohort": cohort.name, "synthetic": synthetic, "splits_sha256": cohort.sha256}
    )


def _logo(size: int = 64) -> bytes:
    """Return a PNG, which Codabench insists on: a bright disc in the middle of a dark square."""
    middle, radius = (size - 1) / 2, size / 6
    rows = [
        b"\0"
        + bytes(
            230 if (x - middle) ** 2 + (y - middle) ** 2 < radius**2 else 40 for x in range(size)
        )
        for y in range(size)
    ]
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(b"".join(rows), 0),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip file that depends on nothing but its content: not compressed, no dates, sorted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, content)
    return stream.getvalue()
