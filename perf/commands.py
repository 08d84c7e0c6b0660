"""Time what a user waits for at the prompt: whole processes, beside scikit-learn's report on the same file.

Each command is run several times in turns, in processes of their own; wall and processor seconds are
medians. The board is that of the shipped entries, all that the commands read lies in the repository.

Example: python perf/commands.py --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ENTRY: Final = ROOT / "benchmark/entries/ictmri-phantom/controls-radiomics/predictions.csv"
FOLDS: Final = ROOT / "splits/ictmri-phantom.csv"
REPORT: Final = """
import csv, sys
from sklearn.metrics import classification_report
truth = {row["case_id"]: row["label"] for row in csv.DictReader(open(sys.argv[2]))}
rows = list(csv.DictReader(open(sys.argv[1])))
names = ("glioma", "pcnsl", "germinoma", "rare")
found = [max(names, key=lambda name: float(row["p_" + name])) for row in rows]
print(classification_report([truth[row["case_id"]] for row in rows], found))
"""
"""The peer: what somebody without this package would write; no interval, no check of the file."""
APPLICATION: Final = [sys.executable, "-c", "from ictmri.cli.app import main; main()"]
COMMANDS: Final = {
    "python -c 'import ictmri'": [sys.executable, "-c", "import ictmri"],
    "ictmri --help": [*APPLICATION, "--help"],
    "ictmri evaluate": [*APPLICATION, "evaluate", str(ENTRY), "--cohort", "ictmri-phantom"],
    "scikit-learn's report of the same file": [
        sys.executable,
        "-c",
        REPORT,
        str(ENTRY),
        str(FOLDS),
    ],
    "ictmri leaderboard, the shipped entries": [*APPLICATION, "leaderboard"],
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Return wall and processor seconds of a command."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after, end = os.times(), time.perf_counter()
    spent = after.children_user + after.children_system
    return end - start, spent - before.children_user - before.children_system


def main() -> None:
    """Print a table of all commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            found[name].append(seconds(command))
    print("| command | wall s | processor s |\n|---|---|---|")
    for name, times in found.items():
        wall, spent = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| `{name}` | {wall:.2f} | {spent:.2f} |")


if __name__ == "__main__":
    main()
