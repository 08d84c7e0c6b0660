import shutil

import pytest

from ictmri.builders.phantom import build_phantom
from ictmri.cohort import Cohort, open_cohort
from ictmri_baselines.pipeline import ensure_priors

N_CASES = 24


@pytest.fixture(scope="session")
def raw_phantom(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A small phantom cohort as it was built. Tests copy it before they change it."""
    return build_phantom(
        tmp_path_factory.mktemp("raw") / "phantom", n_cases=N_CASES, spacing=4.0, jobs=1
    )


@pytest.fixture(scope="session")
def phantom(raw_phantom: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The same cohort, processed and localized."""
    root = tmp_path_factory.mktemp("localized") / "phantom"
    shutil.copytree(raw_phantom.root, root)
    return ensure_priors(open_cohort(root), jobs=1)
