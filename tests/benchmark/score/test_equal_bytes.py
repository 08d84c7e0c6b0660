"""Reports and boards are the same bytes wherever they are made: an entry made elsewhere is no forgery."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from support import made_reports

from ictmri.errors import InputError
from ictmri.lookup import find_folds
from ictmri_benchmark import evaluate
from ictmri_benchmark.board.leaderboard import build_leaderboard
from ictmri_benchmark.score.probabilistic import log_loss
from ictmri_benchmark.score.report import Report, is_report_of

REPOSITORY = Path(__file__).parents[3]
OTHER_PYTHONS = ("3.12", "3.13")
# With these, NumPy's log, exp and power and BLAS' products end in other digits.
OTHER_PROCESSOR = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2,AVX512CD,AVX512F,AVX512_CLX,AVX512_CNL,AVX512_ICL,AVX512_SKX,"
    "AVX512_SPR,FMA3",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    "OPENBLAS_CORETYPE": "Prescott",
}


def digests(out: Path, python: str = sys.executable, **settings: str) -> dict[str, str]:
    """What a process of its own prints; a setting that its NumPy cannot take is left out with a warning."""
    done = subprocess.run(
        [python, "-W", "ignore", Path(made_reports.__file__), out],
        env={
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'benchmark'}",
            **settings,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made_reports.digests(tmp_path_factory.mktemp("here"))


def test_another_processor_gives_the_same_bytes(here: dict[str, str], tmp_path: Path) -> None:
    assert digests(tmp_path, **OTHER_PROCESSOR) == here


@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_another_python_gives_the_same_bytes(
    here: dict[str, str], tmp_path: Path, version: str
) -> None:
    python = REPOSITORY / f".venv-{version}" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"Python {version} is not here")
    assert digests(tmp_path, str(python)) == here


def test_log_loss_is_rounded_once() -> None:
    rng = np.random.default_rng(0)
    given = np.concatenate([rng.random(500), [1.0, 0.0, 5e-324, 1 - 2**-53]])
    chosen = np.stack([given, *(np.zeros((3, len(given))))], axis=1)
    logs = [max(Decimal(p), Decimal(2) ** -52).ln() for p in given.tolist()]
    expected = -float(sum(logs) / len(logs))
    assert log_loss(np.zeros(len(given), dtype=np.int64), chosen) == expected


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    cohort, _ = find_folds("ictmri-phantom")
    folder = tmp_path_factory.mktemp("made")
    predictions, _ = made_reports.hand_in(folder / "three", cohort, "three")
    return folder, evaluate(predictions, cohort, synthetic=True)


def test_a_report_of_other_last_digits_is_taken(made: tuple[Path, Report]) -> None:
    folder, report = made
    cohort, synthetic = find_folds("ictmri-phantom")
    error = report.content["probabilistic"]["calibration_error"]["macro"]
    nearly = report.to_json().replace(f"{error}", f"{np.nextafter(error, 1)}")
    assert nearly != report.to_json()
    (folder / "three" / "report.json").write_text(nearly)
    assert len(build_leaderboard(folder, cohort, synthetic=synthetic)["entries"]) > 1
    (folder / "three" / "report.json").write_text(
        nearly.replace('"n_cases": 249', '"n_cases": 248')
    )
    with pytest.raises(InputError, match="not what its predictions give"):
        build_leaderboard(folder, cohort, synthetic=synthetic)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"n_cases": 249', '"n_cases": 249.0'),
        ('"n_cases": 249', '"n_cases":  249'),
        ('"n_cases": 249', '"n_cases": 248,\n "n_cases": 249'),
        ('"synthetic": true', '"synthetic": 1'),
        ('"synthetic": true', '"synthetic": false'),
        ('"value": 0.', '"value": 0.1'),
        ('"value": 0.', '"value": NaN, "was": 0.'),
        ('"seeds": [', '"seeds": [' + "[" * 100_000),
        ("{", "\xff{"),
        ("{", ""),
    ],
)
def test_any_other_report_is_not(made: tuple[Path, Report], old: str, new: str) -> None:
    text = made[1].to_json()
    assert is_report_of(text.encode(), made[1])
    assert old in text
    assert not is_report_of(text.replace(old, new, 1).encode("latin-1"), made[1])
