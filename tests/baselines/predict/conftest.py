from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.made_run import made_run

from ictmri.phantom import render, roster


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two folds, the second an ensemble of two, and a report."""
    return made_run(tmp_path_factory.mktemp("runs") / "table2-5")


@pytest.fixture(scope="session")
def head() -> nib.Nifti1Image:
    """A SYNTHETIC head with its skull and a tumour, its axes stored as P, S, L, lying obliquely."""
    made = render(roster(n_cases=40)[0], spacing=4.0).image
    a = np.deg2rad(9)
    turn = np.array(
        [[np.cos(a), -np.sin(a), 0, 4], [np.sin(a), np.cos(a), 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]]
    )
    ornt = nib.orientations.axcodes2ornt("PSL")
    placed = nib.Nifti1Image(np.asarray(made.dataobj), turn @ made.affine)
    turned = placed.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(placed.affine), ornt)
    )
    # A file holds its affine in float32.
    return nib.Nifti1Image.from_bytes(turned.to_bytes())
