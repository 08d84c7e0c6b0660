"""The command that trains the detector which learns from synthetic heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.output import echo
from ictmri.cli.parameters import Jobs
from ictmri.extras import need_baselines

_Heads = Annotated[int, typer.Option(min=1, help="Synthetic heads to learn from.")]
_Steps = Annotated[int, typer.Option(min=1, help="Steps of the training, two heads each.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of the heads and of the training.")]
_Threads = Annotated[int, typer.Option(min=1, help="Of a step; other bytes for other numbers.")]


def train_detector(
    *,
    out: Annotated[Path, typer.Option(help="Folder of heads, checkpoint, curve and weights.")],
    heads: _Heads = 1100,
    steps: _Steps = 6000,
    seed: _Seed = 1,
    threads: _Threads = 2,
    narrow: Annotated[
        bool, typer.Option("--narrow", help="A tiny network, to try it out.")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Train the detector `synthetic` on synthetic heads, which are made first: no patient's image.

    What is there already is kept: the same command goes on where it was ended. More heads and steps
    may be asked for later.

    Example: ictmri train-detector --out out/detector
    """
    need_baselines()
    from ictmri_baselines.localizer.learned.training import Training
    from ictmri_baselines.localizer.learned.training import train_detector as trained

    given = Training(out, seed, heads, steps, narrow=narrow, threads=threads)
    for row in trained(given, jobs=jobs):
        echo(", ".join(f"{name} {value:g}" for name, value in row.items()))
    weights = out / "detector.safetensors"
    echo(f"{weights}\nNext: ictmri localize DIR --detector synthetic --option weights={weights}")
