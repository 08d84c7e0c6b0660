"""Who is in the phantom cohort: classes, subtypes, sexes and ages, before any image exists.

The marginals are those that the paper states (249 patients, 135 male and 114 female, 4 to 86 years,
43.7 +- 19.7). Everything else here is an assumption, made from what is usual for these tumours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.phantom.phenotypes import SUBTYPES

N_CASES: Final = 249
DEFAULT_SEED: Final = 20260
AGE_MIN: Final = 4.0
AGE_MAX: Final = 86.0
AGE_MEAN: Final = 43.7
AGE_SD: Final = 19.7
N_MALE: Final = 135

_ROSTER_STREAM: Final = 0x0C0407
"""Second word of the seed sequence, out of the way of case indices."""


@dataclass(frozen=True, slots=True)
class PhantomCase:
    """One case of the phantom cohort: all that is needed to render it on its own.

    Attributes:
        case_id: ``phantom-0001`` and so on; carries no label.
        patient_id: ``phantom-p0001`` and so on; one patient a case.
        label: class name, one of :data:`ictmri.classes.CLASSES`.
        subtype: one of :data:`ictmri.phantom.phenotypes.SUBTYPES`.
        sex: ``female`` or ``male``.
        age: years, one decimal.
        cohort_seed: seed of the roster.
        index: position in the roster; with ``cohort_seed`` the seed of the volume.
    """

    case_id: str
    patient_id: str
    label: str
    subtype: str
    sex: str
    age: float
    cohort_seed: int
    index: int


def roster(seed: int = DEFAULT_SEED, n_cases: int = N_CASES) -> list[PhantomCase]:
    """Return the cohort's metadata, in an order that carries no label.

    Args:
        seed: seed of the cohort, not negative.
        n_cases: number of cases; classes, subtypes and sexes keep the proportions of 249.

    Raises:
        InputError: ``seed`` is negative or ``n_cases`` is below 1.
    """
    if seed < 0 or n_cases < 1:
        problems = [f"seed {seed} is negative"] if seed < 0 else []
        problems += [f"{n_cases} cases"] if n_cases < 1 else []
        raise InputError("the phantom cohort", problems, "give a seed >= 0 and at least one case")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _ROSTER_STREAM])))
    ordered = _subtypes(n_cases)
    subtypes = [ordered[position] for position in rng.permutation(n_cases)]
    sexes = _sexes(rng, subtypes)
    ages = _ages(rng, subtypes)
    return [
        PhantomCase(
            case_id=f"phantom-{index + 1:04d}",
            patient_id=f"phantom-p{index + 1:04d}",
            label=SUBTYPES[subtype].label,
            subtype=subtype,
            sex=sexes[index],
            age=ages[index],
            cohort_seed=seed,
            index=index,
        )
        for index, subtype in enumerate(subtypes)
    ]


def _subtypes(n_cases: int) -> list[str]:
    """Share the cases among the classes, then each class's among its subtypes."""
    rows: dict[str, dict[str, int]] = {label: {} for label in CLASSES}
    for name, row in SUBTYPES.items():
        rows[row.label][name] = row.patients
    totals = _apportion([sum(row.values()) for row in rows.values()], n_cases)
    return [
        name
        for row, total in zip(rows.values(), totals, strict=True)
        for name, count in zip(row, _apportion(list(row.values()), total), strict=True)
        for _ in range(count)
    ]


def _apportion(weights: Sequence[int], total: int) -> list[int]:
    """Share ``total`` by largest remainder (Hamilton's method)."""
    quotas = [weight * total / sum(weights) for weight in weights]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: (counts[i] - quotas[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _sexes(rng: np.random.Generator, subtypes: Sequence[str]) -> list[str]:
    """Draw sexes with the subtypes' odds, given that exactly 135 in 249 are male."""
    male = np.array([SUBTYPES[name].male for name in subtypes])
    score = np.log(male / (1 - male)) + rng.logistic(size=len(subtypes))
    n_male = round(N_MALE * len(subtypes) / N_CASES)
    chosen = set(np.argsort(-score, kind="stable")[:n_male].tolist())
    return ["male" if index in chosen else "female" for index in range(len(subtypes))]


def _ages(rng: np.random.Generator, subtypes: Sequence[str]) -> list[float]:
    """Draw ages by subtype, then shift and scale them to the cohort's mean, sd and range."""
    moments = np.array([SUBTYPES[name].age for name in subtypes])
    ages = rng.normal(moments[:, 0], moments[:, 1])
    spread = rng.uniform(3.0, 12.0, len(ages))
    ages = np.where(ages < AGE_MIN, AGE_MIN + spread, ages)
    ages = np.where(ages > AGE_MAX, AGE_MAX - spread, ages)
    fitted = ages
    shift, scale = 0.0, 1.0
    for _ in range(200 if len(ages) > 2 else 0):
        fitted = _pin_range(AGE_MEAN + shift + scale * (ages - AGE_MEAN))
        shift += AGE_MEAN - float(fitted.mean())
        scale *= AGE_SD / float(fitted.std(ddof=1))
    return [round(float(age), 1) for age in _pin_range(fitted)]


def _pin_range(ages: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Clip ages into the range; the youngest and the oldest get its two ends."""
    pinned = np.clip(ages, AGE_MIN + 0.3, AGE_MAX - 0.3)
    if len(ages) > 1:
        pinned[np.argmin(ages)], pinned[np.argmax(ages)] = AGE_MIN, AGE_MAX
    return pinned
