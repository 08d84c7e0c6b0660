import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.made_cases import made_cases

from ictmri.cohort import Cohort, open_cohort
from ictmri.io.files import sha256_bytes, sha256_file
from ictmri_baselines import machine
from ictmri_baselines.diagnoser.fit import adaptive_diagnoser
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.pipeline import Workers, localized_copy
from ictmri_baselines.registry import DEFAULT_DETECTOR
from ictmri_baselines.reproduction.reproduce import reproduce

RECIPE = {
    "extends": "table2/5",
    "settings": {
        "network": {"settings": {"width": 8, "depth": [2, 2]}},
        "view": {"of": "region", "spacing_mm": 2, "edge": 24},
        "optimisation": {"epochs": 4, "batch": 4, "accumulate": 1, "learning_rate": 0.01},
    },
}
OLDER_CPU = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}
"""What makes the libraries take this CPU for one of 2008."""
SMALL = {
    "network": {"settings": {"width": 4, "depth": (1, 1)}, "tap": "all"},
    "view": {"of": "region", "edge": 16},
    "optimisation": {"epochs": 2, "learning_rate": 1e-2},
    "compute": {"device": "cpu"},
}
EMULATOR = "qemu-x86_64"
"""Computes as the CPU that it is told to be, to the last bit; ``apt-get install qemu-user``."""


def digests(recipe: Path, cohort: Cohort, out: Path) -> dict[str, list[str]]:
    """Train on one fold under a profile that is not pinned and under one that is."""
    found = {}
    for profile in ("smoke", "cpu"):
        reproduce(str(recipe), cohort, out / profile, folds=[0], seeds=[0], profile=profile, jobs=1)
        fold = out / profile / "folds" / "seed0-fold0"
        made = (fold.with_suffix(".csv"), fold / "model.safetensors")
        found[profile] = [sha256_file(path) for path in made]
        facts = json.loads(fold.with_suffix(".json").read_text())["facts"]
        found[f"{profile} machine"] = [facts["machine"]]
    return found


def priors_digest(cohort: Cohort, folder: Path) -> str:
    """Localize a copy with the default detector."""
    detector = detector_settings(DEFAULT_DETECTOR)
    copy = localized_copy(cohort, detector, folder=folder, workers=Workers(1))
    return copy.manifest.digest_of("processed")


def trained() -> list[str]:
    """Train in this process, and predict."""
    (cases, labels), known = made_cases(12), np.arange(12) < 9
    found = adaptive_diagnoser(
        cases.subset(known), labels[known], cases.subset(~known), seed=1, **SMALL
    )
    return [sha256_bytes(found.tobytes())]


def elsewhere(environment: Mapping[str, str], *given: object, under: Sequence[str] = ()) -> Any:
    """Return what this file, as a program, prints in such an environment."""
    known = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*under, sys.executable, __file__, *map(str, given)]
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.skipif(not machine.pins(), reason="a CPU that cannot be held to AVX2")
def test_other_instruction_sets_part_a_training_unless_it_is_pinned(
    phantom: Cohort, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    here = digests(recipe, phantom, tmp_path / "here")
    there = elsewhere(OLDER_CPU, recipe, phantom.root, tmp_path / "there")
    for predictions_or_weights in (0, 1):
        assert there["smoke"][predictions_or_weights] != here["smoke"][predictions_or_weights]
    assert there["cpu"] == here["cpu"]
    assert there["cpu machine"] == here["cpu machine"]
    assert "AVX2 pinned, 1 thread, torch" in here["cpu machine"][0]
    assert "not pinned" in here["smoke machine"][0]


@pytest.mark.long
@pytest.mark.skipif(not machine.pins(), reason="a CPU that cannot be held to AVX2")
def test_the_default_localizer_marks_the_same_voxels_whatever_the_instruction_set(
    phantom: Cohort, tmp_path: Path
) -> None:
    assert detector_settings(DEFAULT_DETECTOR).pinned
    here = priors_digest(phantom, tmp_path / "here")
    assert elsewhere(OLDER_CPU, "", phantom.root, tmp_path / "there") == here


@pytest.mark.long
@pytest.mark.skipif(not machine.pins(), reason="a CPU that cannot be held to AVX2")
@pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"needs {EMULATOR} (qemu-user)")
@pytest.mark.parametrize("cpu", ["Haswell", "EPYC-Rome"])
def test_a_pinned_training_is_the_same_on_cpus_of_both_makers(cpu: str) -> None:
    here = elsewhere(machine.pins())
    assert elsewhere(machine.pins(), under=[EMULATOR, "-cpu", cpu]) == here


def test_a_control_of_the_cpu_profile_says_its_machine(raw_phantom: Cohort, tmp_path: Path) -> None:
    out = reproduce("controls/majority", raw_phantom, tmp_path, profile="cpu", jobs=1).out
    told = yaml.safe_load((out / "entry.yaml").read_text())["compute"]["machine"]
    assert ("AVX2 pinned" in told) is bool(machine.pins())
    assert os.uname().nodename not in told


@pytest.mark.parametrize("flags", ["sse4_2 avx", "avx2", "fma", None])
def test_a_cpu_without_the_instructions_is_not_held_to_them(
    flags: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that are forced upon it would end in illegal instructions."""
    told = tmp_path / "cpuinfo"
    if flags is not None:
        told.write_text(f"model name\t: A   CPU of  old\nflags\t\t: fpu {flags}\n\n")
    monkeypatch.setattr(machine, "_CPU", told)
    machine._told.cache_clear()
    try:
        assert (machine.pins(), machine.is_pinned()) == ({}, False)
        name = os.uname().machine if flags is None else "A CPU of old"
        assert machine.machine(2).startswith(f"{name}, instruction sets not pinned, 2 threads")
    finally:
        machine._told.cache_clear()


def main(recipe: str = "", root: str = "", out: str = "") -> None:
    """Print digests: of a recipe's runs on a cohort, of the cohort's priors, or of a training."""
    if not root:
        found: Any = trained()
    elif recipe:
        found = digests(Path(recipe), open_cohort(Path(root)), Path(out))
    else:
        found = priors_digest(open_cohort(Path(root)), Path(out))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
