import pytest
from support.shared_folders import shared_copy, shared_folder

from ictmri.build.phantom import build_phantom
from ictmri.cohort import Cohort
from ictmri_baselines.pipeline import Workers, ensure_priors, process_cohort
from ictmri_baselines.processor import PRESETS

N_CASES = 20


@pytest.fixture(scope="session")
def raw_phantom(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A small phantom cohort as it was built. Tests copy it before they change it."""
    root = shared_folder(tmp_path_factory, "raw") / "phantom"
    return build_phantom(root, n_cases=N_CASES, spacing=4.0)


@pytest.fixture(scope="session")
def phantom(raw_phantom: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The same cohort, processed and localized with the light settings.

    By all cores: other test processes mostly wait for it.
    """
    return ensure_priors(shared_copy(raw_phantom, tmp_path_factory, "localized"), Workers())


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A phantom of two cases as it was built."""
    root = shared_folder(tmp_path_factory, "two") / "phantom"
    return build_phantom(root, n_cases=2, n_folds=2, spacing=4.0, jobs=1)


@pytest.fixture(scope="session")
def two_processed(two: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The same, processed with the light settings and not localized."""
    copy = shared_copy(two, tmp_path_factory, "two-processed")
    return process_cohort(copy, PRESETS["light"], workers=Workers(1))


@pytest.fixture(scope="session")
def few_processed(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A phantom of four cases, processed and not localized: the fewest that a network is trained on."""
    root = shared_folder(tmp_path_factory, "few-processed") / "phantom"
    made = build_phantom(root, n_cases=4, n_folds=2, spacing=4.0, jobs=1)
    return process_cohort(made, PRESETS["light"], workers=Workers(1))
