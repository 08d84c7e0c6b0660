"""Seconds that an epoch of each backbone takes as the paper trains it, in float32 and in bfloat16.

Called by perf/gpu.sh. A part that is in the table already is not measured again, and none is begun that the
time left would not see the end of. The dry form takes the smallest networks and the CPU.

Example: python perf/gpu.py --out out/gpu/epochs.json --seconds 200
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional

from ictmri.io.files import write_json
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.settings import DiagnoserSettings, read_settings
from ictmri_baselines.reproduction.recipe import load_recipe

RECIPES: Final = ("table2/5", "table3/efficient3d", "table3/ae_flow", "convnext3d", "table3/vit3d")
LARGE: Final = ("table3/swin3d", "table3/swinunetr")
TRAINING_CASES: Final = 200
STEPS: Final = 10


def epoch(settings: DiagnoserSettings, device: str, kind: torch.dtype, steps: int) -> float:
    """Return the seconds of an epoch, from a few steps after one that warms up."""
    batch, edge = settings.optimisation.batch, settings.view.edge
    network = AdaptiveDiagnoser(settings.network).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.optimisation.learning_rate)
    shape = (batch, 1, edge, edge, edge)
    image, prior = torch.randn(shape, device=device), torch.rand(shape, device=device)
    labels = torch.arange(batch, device=device) % 4
    started = 0.0
    for step in range(steps + 1):
        if step == 1:
            started = now(device)
        with torch.autocast(device, kind, enabled=kind != torch.float32):
            logits = network(image, prior)
        functional.cross_entropy(logits.float(), labels).backward()
        optimiser.step()
        optimiser.zero_grad()
    return (now(device) - started) / steps * TRAINING_CASES / batch


def now(device: str) -> float:
    """Return the time once the device has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def parts(*, dry: bool) -> Iterator[tuple[str, DiagnoserSettings, torch.dtype]]:
    """Yield name, settings and type of each part, what matters most first."""
    for recipe in RECIPES + LARGE:
        settings = read_settings(load_recipe(recipe).settings_for("smoke" if dry else "paper"))
        for name, kind in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            yield f"{recipe} {name}", settings, kind


def main() -> None:
    """Measure what there is time for; write the table after each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    device = "cuda" if torch.cuda.is_available() and not given.dry else "cpu"
    if device == "cpu" and not given.dry:
        sys.exit("no GPU here; --dry tries the script on a CPU")
    on = torch.cuda.get_device_name() if device == "cuda" else "cpu, dry"
    table: dict[str, Any] = json.loads(given.out.read_text()) if given.out.is_file() else {}
    longest = 0.0
    for name, settings, kind in parts(dry=given.dry):
        if name in table:
            sys.stdout.write(f"{name}: {table[name]} (measured before)\n")
            continue
        if time.monotonic() + longest > end:
            sys.stdout.write(f"{name}: skipped, no time left\n")
            continue
        began = time.monotonic()
        try:
            seconds = epoch(settings, device, kind, 1 if given.dry else STEPS)
            table[name] = {
                "seconds an epoch": round(seconds, 3),
                "on": on,
                "torch": torch.__version__,
            }
        except RuntimeError as error:  # out of memory, or no kernel of this type
            table[name] = {"failed": str(error).splitlines()[0], "on": on}
        longest = max(longest, time.monotonic() - began)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, table)
        sys.stdout.write(f"{name}: {table[name]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
