"""Time the stages of ``ictmri demo`` at full size, and write the seconds from which it tells what is left.

On a quiet machine; from nothing, so --out must be a new folder. Minutes on two cores.

Example: python perf/demo.py --out out/timed-demo
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from pathlib import Path

from ictmri.io.files import new_folder, write_json
from ictmri.io.parallel import usable_cores
from ictmri.phantom import N_CASES
from ictmri.version import __version__
from ictmri_baselines.reproduction.demo import TIMES, run_demo, stage_seconds

BUSY = 0.5
"""Processes that wait for a core, above which the machine is not quiet."""


def main() -> None:
    """Run the demo, print the seconds of each stage and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--to", type=Path, default=TIMES, help="file that is written")
    parser.add_argument(
        "--busy", action="store_true", help="measure on a machine that is not quiet"
    )
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > BUSY and not options.busy:
        parser.error(f"{load:.1f} processes are running: wait, or say --busy")
    begun: list[float] = []
    with new_folder(options.out) as folder:
        run_demo(folder, say=lambda _: begun.append(time.perf_counter()))
        begun.append(time.perf_counter())
    cores = usable_cores()
    # The demo reckons with two cores.
    seconds = stage_seconds(begun, cores / 2)
    write_json(
        options.to,
        {
            "measured": {
                "by": f"perf/demo.py, {N_CASES} cases, profile cpu",
                "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
                "ictmri": __version__,
                "machine": f"{cores} cores, {platform.machine()}, load {load:.1f} at the start",
            },
            "seconds": seconds,
        },
    )
    print(f"{options.to}: {seconds}, {sum(seconds.values()) / 60:.1f} min on two cores")


if __name__ == "__main__":
    main()
