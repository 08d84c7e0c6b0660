"""Build and stream cohorts of growing size: seconds a case, and memory that must not grow with them.

The cases are light (64 x 64 x 64, int16), all different, and made on the spot. Their field of view is too
small for a head, so that none is aligned with the template: what is measured is everything around that,
digests, conversion, findings, parquet, documents, the datasets cache, streaming. Aligning a scan costs
seconds a case, whatever the size of the cohort.

Example: python perf/cohort.py --sizes 500 1000 2000 4000 --json cohort.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES

EDGE: Final = 64
HEADER: Final = 352
SPACING_MM: Final = 0.9
BUILD: Final = """
import sys
from pathlib import Path
from ictmri.build.folder import build_folder
build_folder(Path(sys.argv[1]), Path(sys.argv[2]), jobs=int(sys.argv[3]))
"""
PRIME: Final = """
import sys
from pathlib import Path
from ictmri.cohort import open_cohort
from ictmri.loader import warm_cache
warm_cache(open_cohort(Path(sys.argv[1])))
"""
STREAM: Final = """
import sys
from ictmri import load_dataset
bytes_seen = 0
for split in load_dataset(sys.argv[1], streaming=True).values():
    for row in split.decode(False):
        bytes_seen += len(row["image"]["bytes"])
"""
BARE: Final = STREAM.replace("from ictmri", "from datasets")


@dataclass(frozen=True, slots=True)
class Run:
    """One step on one cohort.

    Attributes:
        n_cases: size of the cohort.
        step: what was run, in a process of its own.
        seconds: wall time.
        main_mib: peak resident memory of the process.
        worker_mib: the same of its largest worker; 0 where it has none.
    """

    n_cases: int
    step: str
    seconds: float
    main_mib: float
    worker_mib: float


def write_sources(folder: Path, n: int) -> None:
    """Write n volumes, no two alike."""
    from nibabel import Nifti1Image

    folder.mkdir(parents=True)
    header = Nifti1Image(
        np.zeros((EDGE,) * 3, np.int16), np.diag([SPACING_MM] * 3 + [1.0])
    ).to_bytes()
    noise = np.random.default_rng(0).integers(0, 16, (EDGE,) * 3).astype(np.int16)
    for index in range(n):
        voxels = _head(np.random.default_rng(index)) + np.roll(noise, index, axis=index % 3)
        (folder / f"{index}.nii").write_bytes(header[:HEADER] + voxels.tobytes(order="F"))


def _head(rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a ball with a random inside."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, EDGE, dtype=np.float32)] * 3, sparse=True)
    inside = x * x + y * y + z * z < rng.uniform(0.6, 0.8)
    coarse = rng.uniform(200, 900, (8, 8, 8)).astype(np.float32)
    field = coarse.repeat(8, axis=0).repeat(8, axis=1).repeat(8, axis=2)
    return np.asarray(inside * field, dtype=np.int16)


def write_table(path: Path, n: int) -> None:
    """Write the table of the first n sources."""
    lines = ["patient_id,image,label,subtype,age,sex"]
    lines += [f"p{i},{i}.nii,{CLASSES[i % 4]},,{20 + i % 60},{'MF'[i % 2]}" for i in range(n)]
    path.write_text("\n".join(lines) + "\n")


def measured(n: int, step: str, code: str, *arguments: object, home: Path) -> Run:
    """Run a step in a process of its own and watch its memory."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    main = worker = 0.0
    while process.poll() is None:
        main = max(main, _peak_mib(process.pid))
        worker = max([worker, *(_peak_mib(child) for child in _children(process.pid))])
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{step} of {n} cases ended with {process.returncode}")
    return Run(n, step, round(time.perf_counter() - began, 2), round(main, 1), round(worker, 1))


def _peak_mib(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def _children(process: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []


def runs_of(n: int, sources: Path, jobs: int) -> list[Run]:
    """Build a cohort, fill the datasets cache, and stream it with and without this package."""
    table, out, home = sources / f"table{n}.csv", sources.parent / f"n{n}", sources.parent / "hf"
    write_table(table, n)
    runs = [
        measured(n, "build", BUILD, table, out, jobs, home=home),
        measured(n, "stream", STREAM, out, home=home),
        measured(n, "stream, datasets alone", BARE, out, home=home),
        measured(n, "fill the cache", PRIME, out, home=home),
    ]
    for folder in (out, home):
        shutil.rmtree(folder)
    return runs


def growth(runs: list[Run]) -> dict[str, dict[str, float]]:
    """Fit each step over the sizes: exponent of the time, kB of memory a case."""
    fits = {}
    for step in dict.fromkeys(run.step for run in runs):
        chosen = [run for run in runs if run.step == step]
        sizes = np.array([run.n_cases for run in chosen], float)
        seconds = np.array([run.seconds for run in chosen])
        memory = {
            "main_kb_a_case": np.array([run.main_mib for run in chosen]),
            "worker_kb_a_case": np.array([run.worker_mib for run in chosen]),
        }
        fits[step] = {
            "ms_a_case": round(float(np.polyfit(sizes, seconds, 1)[0]) * 1000, 2),
            "time_exponent": round(float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]), 2),
            **{
                name: round(float(np.polyfit(sizes, mib, 1)[0]) * 1024, 2)
                for name, mib in memory.items()
            },
        }
    return fits


def main() -> None:
    """Print one line a run, and how time and memory grow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work [default: a temporary folder]")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        sources = Path(temporary) / "sources"
        write_sources(sources, max(options.sizes))
        print(f"{'cases':>6}  {'step':<24}{'s':>8}{'ms a case':>11}{'MiB':>8}{'MiB a worker':>14}")
        for n in sorted(options.sizes):
            for run in runs_of(n, sources, options.jobs):
                runs.append(run)
                each = 1000 * run.seconds / n
                print(
                    f"{n:>6}  {run.step:<24}{run.seconds:>8.1f}{each:>11.1f}"
                    f"{run.main_mib:>8.0f}{run.worker_mib:>14.0f}",
                    flush=True,
                )
    fits = growth(runs) if len(options.sizes) > 1 else {}
    for step, fit in fits.items():
        print(
            f"{step}: {fit['ms_a_case']:.1f} ms a case more, time ~ n^{fit['time_exponent']:.2f}, "
            f"memory {fit['main_kb_a_case']:+.1f} kB a case ({fit['worker_kb_a_case']:+.1f} a worker)"
        )
    if options.json:
        content = {"runs": [asdict(run) for run in runs], "growth": fits}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
