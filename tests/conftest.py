"""Shared fixtures: private caches, a small made-up cohort, the real scans where they are at hand."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_CACHES = Path(tempfile.mkdtemp(prefix="ictmri-tests-"))
_OWNER = os.getpid()


@atexit.register
def _clean_up() -> None:
    """Remove the caches when the tests end, not when a process that they forked does."""
    if os.getpid() == _OWNER:
        shutil.rmtree(_CACHES, ignore_errors=True)


# datasets reads these when it is imported, so they are set before any test module is.
os.environ["HF_HOME"] = str(_CACHES / "hf")
os.environ["ICTMRI_CACHE"] = str(_CACHES / "ictmri")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("ICTMRI_HOME", None)
# The tests run side by side: threads that wait for each other would take the cores from them.
for _name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_name, "1")

from collections.abc import Iterator  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from support.made_volumes import MINI_CLASSES, write_volume  # noqa: E402
from support.real_scans import problems  # noqa: E402

from ictmri.io import parallel  # noqa: E402

# A busy machine is no failure.
settings.register_profile("ictmri", deadline=None)
settings.load_profile("ictmri")


@pytest.fixture(scope="session", autouse=True)
def _one_process_where_none_are_asked_for() -> Iterator[None]:
    """Keep to this process unless a test gives ``jobs``: workers import everything once more."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parallel, "usable_cores", lambda: 1)
        yield


@pytest.fixture
def mini_table(tmp_path: Path) -> Path:
    """A table of 15 made-up patients with unknown and known sexes and ages."""
    lines = ["patient_id,image,label,subtype,age,sex"]
    for index, label in enumerate(MINI_CLASSES):
        write_volume(tmp_path / "scans" / f"scan_{index}.nii.gz", index)
        age = "" if index % 5 == 0 else str(10 + 4 * index)
        sex = ("M", "female", "")[index % 3]
        lines.append(f"HOSP-{1000 + index},scans/scan_{index}.nii.gz,{label},,{age},{sex}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of the real scans; tests that need it skip where it is not at hand."""
    folder = os.environ.get("ICTMRI_REAL_SCANS")
    if not folder:
        pytest.skip(
            "ICTMRI_REAL_SCANS names no folder of the real scans: tests/support/real_scans.py"
        )
    found = list(problems(Path(folder)))
    assert not found, found
    return Path(folder)


@pytest.fixture
def real_table(real_scans: Path) -> Path:
    """The table of six of the real scans."""
    return real_scans / "cohort" / "cohort.csv"
