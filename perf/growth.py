"""How `evaluate` grows with the cases: the whole of it, from a file of probabilities to the report.

Each number of cases is measured in a process of its own; folds and predictions are made up before. How
building grows is measured by cohort.py.

Example: python perf/growth.py --cases 249,2500,25000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from ictmri.classes import CLASSES
from ictmri.folds import FoldRow, read_folds, write_folds
from ictmri.io.files import write_text
from ictmri_benchmark import evaluate

NAME: Final = "made-up"


def made_up(folder: Path, n: int) -> None:
    """Write folds.csv and predictions.csv of n cases."""
    rng = np.random.default_rng(0)
    truth = rng.choice(len(CLASSES), n, p=[0.48, 0.24, 0.16, 0.12])
    rows = [
        FoldRow(f"c{k:06d}", f"p{k:06d}", CLASSES[label], k % 5) for k, label in enumerate(truth)
    ]
    write_folds(folder / "folds.csv", rows)
    drawn = rng.dirichlet([1] * len(CLASSES), n)
    drawn[np.arange(n), truth] += 0.3
    drawn /= drawn.sum(axis=1, keepdims=True)
    lines = [f"case_id,{','.join(f'p_{name}' for name in CLASSES)}"]
    lines += [
        ",".join([row.case_id, *(f"{p:.6f}" for p in cells)])
        for row, cells in zip(rows, drawn, strict=True)
    ]
    write_text(folder / "predictions.csv", "\n".join(lines) + "\n")


def scored(folder: Path) -> dict[str, float]:
    """Return wall and processor seconds of reading and scoring, and megabytes of memory of the process."""
    started, spent = time.perf_counter(), time.process_time()
    folds = read_folds(folder / "folds.csv", NAME)
    evaluate(folder / "predictions.csv", folds, synthetic=True).to_json()
    return {
        "wall": time.perf_counter() - started,
        "processor": time.process_time() - spent,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print a table by number of cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="249,2500,25000")
    parser.add_argument(
        "--folder", type=Path, help="of made-up files: print the figures of scoring it"
    )
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(scored(options.folder)))
        return
    print("| cases | wall, s | processor, s | memory, MB |\n|---|---|---|---|")
    for n in map(int, options.cases.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            made_up(Path(folder), n)
            command = [sys.executable, __file__, "--folder", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(f"| {n} | {found['wall']:.2f} | {found['processor']:.2f} | {found['memory']:.0f} |")


if __name__ == "__main__":
    main()
