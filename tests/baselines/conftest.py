import pytest
from support.shared_folders import shared_copy, shared_folder

from ictmri.build.phantom import build_phantom
from ictmri.cohort import Cohort
from ictmri_baselines.pipeline import Workers, ensure_priors

N_CASES = 20


@pytest.fixture(scope="session")
def raw_phantom(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A small phantom cohort as it was built. Tests copy it before they change it."""
    root = shared_folder(tmp_path_factory, "raw") / "phantom"
    return build_phantom(root, n_cases=N_CASES, spacing=4.0, jobs=1)


@pytest.fixture(scope="session")
def phantom(raw_phantom: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The same cohort, processed and localized with the light settings."""
    return ensure_priors(shared_copy(raw_phantom, tmp_path_factory, "localized"), Workers(1))
