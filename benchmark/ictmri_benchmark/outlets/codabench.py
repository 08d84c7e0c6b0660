"""A competition for Codabench, as the zip file that its organiser uploads.

It holds the evaluator itself, which needs Python 3.11 and NumPy, and nothing that changes from one run to
the next. The reference data hold the labels: Codabench shows them to the organiser alone. What is the same
in every competition lies in ``bundle/``; the logo (Codabench insists on one) is a bright disc.

Source: https://docs.codabench.org/latest/Organizers/Benchmark_Creation/Yaml-Structure/
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final

import ictmri
import ictmri_benchmark
from ictmri.errors import InputError
from ictmri.folds import FoldTable, format_folds
from ictmri.io.files import canonical_json, stored_zip, write_bytes
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.yamlfile import dump_yaml, read_yaml
from ictmri.pages.templating import document
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.metrics import COLUMNS
from ictmri_benchmark.score.mistakes import HEADERS
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

DEFAULT_IMAGE: Final = "continuumio/anaconda3:2024.10-1"
"""A public image with Python 3.12 and NumPy."""
COMMAND: Final = "python3 /app/program/score.py /app/input /app/output"
_HERE: Final = Path(__file__).parent
_PROTOCOL: Final = f"{protocol.BENCHMARK} {protocol.VERSION}"
_ENDS: Final = {"low": "from", "high": "to"}


def write_bundle(
    path: AnyPath,
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
    path = at_home(path)
    try:
        day = datetime.date.fromisoformat(start)
    except ValueError:
        problem = [f"{start[:30]!r} is no day, YYYY-MM-DD"]
        raise InputError("--start", problem, "give the day on which submissions open") from None
    title = f"ICT-MRI: {cohort.name}" + (" (SYNTHETIC phantom)" if synthetic else "")
    told = {"title": title, "cohort": cohort, "synthetic": synthetic, "warning": SYNTHETIC_WARNING}
    told |= {"headers": HEADERS, "protocol": _PROTOCOL}
    competition: dict[str, Any] = read_yaml(_HERE / "bundle" / "competition.yaml", "")
    competition |= {"title": title, "docker_image": image}
    competition["phases"][0] |= {"name": _PROTOCOL, "start": f"{day} 00:00:00"}
    competition["phases"][0]["max_submissions_per_day"] = per_day
    competition["tasks"][0]["name"] = title
    competition["leaderboards"][0] |= {"title": title, "columns": _columns()}
    about = {"cohort": cohort.name, "synthetic": synthetic, "splits_sha256": cohort.sha256}
    files = {
        "competition.yaml": dump_yaml(competition).encode(),
        "logo.png": (_HERE / "bundle" / "logo.png").read_bytes(),
        "scoring_program/metadata.yaml": f"command: {COMMAND}\n".encode(),
        "scoring_program/score.py": (_HERE / "scoring_program.py").read_bytes(),
        "reference_data/folds.csv": format_folds(cohort.rows).encode(),
        "reference_data/reference.json": canonical_json(about).encode(),
    }
    for name in ("overview.md", "terms.md"):
        files[name] = document(_HERE / "bundle" / f"{name}.j2").render(told).encode()
    for package, parts in ((ictmri, ("", "io")), (ictmri_benchmark, ("", "score"))):
        root = Path(package.__path__[0])
        for module in (found for part in parts for found in (root / part).glob("*.py")):
            name = module.relative_to(root.parent).as_posix()
            files[f"scoring_program/{name}"] = module.read_bytes()
    write_bytes(path, stored_zip(dict(sorted(files.items()))))


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
