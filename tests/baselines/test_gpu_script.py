import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ictmri.cohort import Cohort
from ictmri_baselines.registry import BACKBONES

SCRIPT = Path(__file__).parents[2] / "perf" / "gpu.sh"


def gpu(out: Path, cohort: Cohort, limit: int) -> list[str]:
    """Run the script dry; return what it says."""
    given = {
        "DRY": "1",
        "COHORT": str(cohort.root),
        "LIMIT_S": str(limit),
        "PYTHON": sys.executable,
    }
    environment = {**os.environ, **given, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [SCRIPT, out], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    logs = [path.read_text() for path in out.glob("*.log")]
    assert done.returncode == 0, [done.stdout, done.stderr, *logs]
    return done.stdout.splitlines()


@pytest.mark.long
def test_the_script_for_a_gpu_runs_dry_stops_in_time_and_goes_on(
    phantom: Cohort, tmp_path: Path
) -> None:
    out = tmp_path / "gpu"
    told = gpu(out, phantom, 0)
    assert [line.split(",")[0] for line in told[1:3]] == ["epochs: skipped", "fold: skipped"]
    assert not list(out.glob("*.json"))
    gpu(out, phantom, 540)
    table = json.loads((out / "epochs.json").read_text())
    assert len(table) == 2 * len(BACKBONES)
    assert all(row["seconds an epoch"] > 0 for row in table.values())
    assert (out / "table2-5" / "folds" / "seed0-fold0.csv").is_file()
    before = (out / "epochs.json").stat().st_mtime_ns
    told = gpu(out, phantom, 540)
    assert {"epochs: done before", "fold: done before"} <= set(told)
    assert (out / "epochs.json").stat().st_mtime_ns == before
