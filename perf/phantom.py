"""Time the phantom cohort: how long does rendering take on two processes, and in how much memory?

Example: python perf/phantom.py --n-cases 249
"""

from __future__ import annotations

import argparse
import os
import resource
import time

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def render_one(index: int, n_cases: int, spacing: float) -> tuple[int, int, float]:
    """Render a case; return the worker's process id, the bytes made and its peak RSS in MiB."""
    from ictmri.phantom import render, roster

    volume = render(roster(n_cases=n_cases)[index], spacing=spacing)
    size = len(volume.image.to_bytes()) + len(volume.lesion_mask.to_bytes())
    return os.getpid(), size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Render the cohort and print seconds, cases per second and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-cases", type=int, default=249)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    from joblib import Parallel, delayed

    start = time.perf_counter()
    results = Parallel(n_jobs=options.jobs)(
        delayed(render_one)(index, options.n_cases, options.spacing)
        for index in range(options.n_cases)
    )
    seconds = time.perf_counter() - start
    peaks = {pid: max(rss for p, _, rss in results if p == pid) for pid, _, _ in results}
    megabytes = sum(size for _, size, _ in results) / 1e6
    print(
        f"{options.n_cases} cases at {options.spacing:g} mm on {len(peaks)} processes: "
        f"{seconds:.1f} s, {options.n_cases / seconds:.2f} cases/s, {megabytes:.0f} MB of voxels"
    )
    print(
        f"peak RSS: {max(peaks.values()):.0f} MiB a process, {sum(peaks.values()):.0f} MiB in all "
        f"(the parent: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB)"
    )


if __name__ == "__main__":
    main()
