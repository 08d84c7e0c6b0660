"""The digest of data, which entries bind: one for the published phantom, wherever it was made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ictmri.build.phantom import VERSION
from ictmri.cohort import PHANTOM, PHANTOM_DATA, PHANTOM_SPACING, Cohort
from ictmri.lookup import find_folds
from ictmri.manifest import Manifest
from ictmri.phantom import render, roster

MADE = Manifest(
    name=PHANTOM,
    version=VERSION,
    synthetic=True,
    generator={"spacing_mm": PHANTOM_SPACING},
    n_cases=1,
    n_folds=1,
    folds_sha256="",
    files={"data/default/fold0-00000-of-00001.parquet": {"sha256": "a" * 64, "bytes": 1}},
)
OTHERS: dict[str, dict[str, object]] = {
    "another cohort": {"name": "mine"},
    "a smaller one": {"name": f"{PHANTOM}-n40"},
    "finer voxels": {"generator": {"spacing_mm": 1.0}},
    "a version of one's own": {"version": "7.0.0"},
    "a history of its own": {"history": [{"version": "1.0.0", "change": "x", "cases": []}]},
}


def test_every_copy_of_the_published_phantom_has_one_digest(tmp_path: Path) -> None:
    published = Cohort(tmp_path, MADE).data_sha256
    assert published == PHANTOM_DATA[VERSION] == find_folds(PHANTOM)[0].data_sha256


@pytest.mark.parametrize("kind", OTHERS)
def test_other_data_have_the_digest_of_their_files(kind: str, tmp_path: Path) -> None:
    made = replace(MADE, **OTHERS[kind])  # type: ignore[arg-type]
    assert Cohort(tmp_path, made).data_sha256 == made.digest_of("default")
    assert made.digest_of("default") not in PHANTOM_DATA.values()


def test_who_changes_the_phantom_adds_a_version() -> None:
    """Where this fails, PHANTOM_DATA needs a new version and digest, and `make entries` new entries.

    Mean, standard deviation and largest value of two scans, and voxels of lesion: coarse enough for every
    processor.
    """
    known = {
        "phantom-0001": (143.8937, 186.541, 855, 203),
        "phantom-0008": (149.285, 198.145, 1210, 2000),
    }
    cases = {case.case_id: case for case in roster()}
    for case_id, (mean, sd, largest, lesion) in known.items():
        volume = render(cases[case_id], spacing=4.0)
        voxels = np.asarray(volume.image.dataobj, dtype=np.float64)
        assert (voxels.mean(), voxels.std()) == pytest.approx((mean, sd), abs=0.01)
        assert voxels.max() == pytest.approx(largest, abs=1)
        assert np.count_nonzero(np.asarray(volume.lesion_mask.dataobj)) == pytest.approx(
            lesion, abs=2
        )
    assert list(PHANTOM_DATA) == ["1.0.0"]
