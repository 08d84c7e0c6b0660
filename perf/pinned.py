"""What holding every CPU to one instruction set costs: steps of training with the pin over steps without.

Each backbone at the size that its recipe has in the profile `cpu`, 8 cubes of 32^3, each side in a process
of its own, in turns, by processor time. Where the CPU cannot be pinned there is nothing to measure.

Example: python perf/pinned.py --rounds 3 --json pinned.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECIPES = ("table2/5", "table3/swin3d", "table3/ae_flow", "table3/efficient3d", "table3/swinunetr")
RECIPES += ("table3/vit3d", "convnext3d")


def steps(recipe: str, count: int) -> dict[str, Any]:
    """Return processor time of some steps, and a digest of the weights after them."""
    import torch
    from torch.nn import functional

    from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
    from ictmri_baselines.diagnoser.settings import read_settings
    from ictmri_baselines.reproduction.recipe import load_recipe

    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = read_settings(load_recipe(recipe).settings_for("cpu"))
    network = AdaptiveDiagnoser(settings.network).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.optimisation.learning_rate)
    image, prior = torch.randn(8, 1, 32, 32, 32), torch.rand(8, 1, 32, 32, 32)
    labels = torch.arange(8) % 4
    started = 0.0
    for step in range(count + 1):
        started = started if step > 1 else time.process_time()  # the first step warms up
        loss = functional.cross_entropy(network(image, prior), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    seconds = time.process_time() - started
    weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    return {"seconds": seconds, "weights": hashlib.sha256(weights).hexdigest()}


def measured(recipe: str, count: int, pinned: dict[str, str]) -> dict[str, Any]:
    """Return what a process of its own finds."""
    command = [sys.executable, __file__, "--one", recipe, "--steps", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **pinned}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, print a table, fail where the pin does not do what it is for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(steps(given.one, given.steps)))
        return

    from ictmri_baselines.machine import machine, pins

    pinned = pins()
    if not pinned:
        sys.exit("this CPU cannot be pinned: nothing to measure")
    sys.stdout.write(
        f"{machine()}\n| recipe | seconds as it is | pinned | ratio |\n|---|---|---|---|\n"
    )
    rows = {}
    for recipe in given.recipes:
        turns = [
            [measured(recipe, given.steps, how) for how in ({}, pinned)]
            for _ in range(given.rounds)
        ]
        free, held = (statistics.median(turn[side]["seconds"] for turn in turns) for side in (0, 1))
        if len({turn[1]["weights"] for turn in turns}) != 1:
            sys.exit(f"{recipe}: pinned, and not the same bytes each time")
        rows[recipe] = {"seconds": free, "pinned": held, "ratio": held / free}
        sys.stdout.write(f"| {recipe} | {free:.2f} | {held:.2f} | {held / free:.2f} |\n")
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
