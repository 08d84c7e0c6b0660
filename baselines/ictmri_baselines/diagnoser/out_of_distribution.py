"""How unlike the training cases a case is, as the network sees it: Mahalanobis distance with a rank.

A case is described by GAP(F), what the network makes of the whole volume. The training cases' mean and
shrunken covariance give a distance; each training case's own distance is from the mean and covariance of
the others, so that a new case is compared with cases that were new, too. The shrinkage is estimated once,
from all of them.

It says whether a volume looks to this network like those it learned from: noise, another contrast, a failed
brain extraction do not. It does not look at the prior, it is no probability of being wrong, and what the
network is blind to, for example where in the volume something lies, it is blind to as well.

Sources: Lee et al. 2018, arXiv:1807.03888 (distance; here one Gaussian for all classes, whose labels are
not needed); Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4 (shrinkage).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from ictmri.io.files import canonical_json, replacing
from ictmri_baselines.diagnoser.attention import global_average
from ictmri_baselines.diagnoser.inputs import Batches, NetworkInputs, in_turn
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.tensors import Kind, differences, kinds, opened, refusal

Floats = NDArray[np.float64]
Verdict = Literal["usual", "unusual", "unlike"]

REFERENCE: Final = "reference.safetensors"
SCHEMA: Final = "ictmri/reference/1"
RARE: Final = 0.05
"""Share of the training cases beyond a case, below which it is unusual."""
VERDICTS: Final[dict[Verdict, str]] = {
    "usual": "like the training cases",
    "unusual": "unusual: fewer than 1 in 20 training cases are as far from the others",
    "unlike": "unlike the training cases: none of them is as far from the others",
}
_NOISE: Final = 1e-10
"""Smallest variance, as a share of the mean square: below it there is rounding of float32 alone."""
_TENSORS: Final = ("mean", "axes", "variances", "floor", "distances")
_ABOVE_ZERO: Final = ("variances", "floor")


@dataclass(frozen=True, slots=True)
class TrainingReference:
    """The training cases of one network, without any single one of them.

    Attributes:
        mean: (K,) of their descriptions.
        axes: (R, K) orthonormal directions in which they differ, R at most the smaller of K and n - 1.
        variances: (R,) along the axes, shrunken.
        floor: variance in every other direction.
        distances: (n,) of each training case to the others, smallest first.
    """

    mean: Floats
    axes: Floats
    variances: Floats
    floor: float
    distances: Floats

    def distance(self, description: Floats) -> Floats:
        """Return the Mahalanobis distances (m,) of descriptions (m, K)."""
        away = description - self.mean
        along = away @ self.axes.T
        beside = np.maximum((away**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared: Floats = (along**2 / self.variances).sum(axis=1) + beside / self.floor
        return np.sqrt(squared)


@dataclass(frozen=True, slots=True)
class OutOfDistribution:
    """How unusual one case is.

    Attributes:
        distance: Mahalanobis distance from the training cases.
        typical: median of the training cases' own distances.
        share_of_training_beyond: share of the training cases that are at least as far from the others.
        verdict: a key of :data:`VERDICTS`.
    """

    distance: float
    typical: float
    share_of_training_beyond: float
    verdict: Verdict


@torch.inference_mode()
def describe(network: AdaptiveDiagnoser, image: Tensor, prior: Tensor | None) -> Floats:
    """Return what the network makes of cases: GAP(F), (B, C).

    Args:
        network: in evaluation mode, on any device.
        image: (B, 1, d, h, w) volumes.
        prior: (B, 1, d, h, w) in [0, 1]; None where the network takes none.
    """
    device = next(network.parameters()).device
    known = None if prior is None else prior.to(device)
    features = network(image.to(device), known, details=True).features
    found: Floats = global_average(features).double().cpu().numpy()
    return found


def training_reference(
    network: AdaptiveDiagnoser, inputs: NetworkInputs, *, batch: int = 2
) -> TrainingReference:
    """Describe the training cases, each as it is, and keep what a new one is compared with.

    One pass of each case through the network. It is left in evaluation mode.

    Args:
        network: trained, on the device where it shall run.
        inputs: at least two training cases.
        batch: cases in one pass.
    """
    network.eval()
    order = in_turn(len(inputs), batch)
    batches = Batches(inputs, np.zeros(len(inputs), dtype=np.int64), order)
    return fit_reference(
        np.concatenate([describe(network, image, prior) for image, prior, _ in batches])
    )


def fit_reference(descriptions: Floats) -> TrainingReference:
    """Return the reference of training cases described by (n, K) numbers, n at least 2."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, length = descriptions.shape
    mean = descriptions.mean(axis=0)
    away = descriptions - mean
    _, singular, axes = np.linalg.svd(away, full_matrices=False)
    shrinkage = float(ledoit_wolf_shrinkage(away, assume_centered=True))
    total = float((singular**2).sum()) / n
    noise = _NOISE * float((descriptions**2).mean()) + np.finfo(np.float32).tiny
    floor = shrinkage * total / length + noise
    distances = _left_out(away, axes, singular**2, 1 - shrinkage, floor)
    variances = (1 - shrinkage) * singular**2 / n + floor
    return TrainingReference(mean, axes, variances, floor, np.sort(distances))


def _left_out(away: Floats, axes: Floats, squares: Floats, kept: float, floor: float) -> Floats:
    """Return each case's distance from the mean and covariance of the others.

    Taking a case out changes the scatter by a matrix of rank one, so Sherman and Morrison's formula gives
    the distance without another inversion.

    Args:
        away: (n, K) cases minus their mean.
        axes: (R, K) right singular vectors of ``away``.
        squares: (R,) its squared singular values.
        kept: share of the empirical covariance that shrinkage leaves.
        floor: variance that is added in every direction.
    """
    n = len(away)
    along = away @ axes.T
    beside = np.maximum((away**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    with_it: Floats = (along**2 / (kept * squares / (n - 1) + floor)).sum(axis=1) + beside / floor
    factor = n / (n - 1)
    # Of a case that alone spans a direction the denominator is 0 but for rounding: it is very far away.
    squared: Floats = factor**2 * with_it / np.maximum(1 - kept * factor / (n - 1) * with_it, 1e-12)
    return np.sqrt(squared)


def out_of_distribution(known: TrainingReference, description: Floats) -> OutOfDistribution:
    """Compare one case with the training cases.

    Args:
        known: the network's training cases.
        description: (1, K) what :func:`describe` says of the case.

    Raises:
        ValueError: the description is not that of one case of this network.
    """
    if description.shape != (1, len(known.mean)):
        raise ValueError(f"{description.shape} numbers, not (1, {len(known.mean)})")
    distance = float(known.distance(description)[0])
    beyond = float((known.distances >= distance).mean())
    verdict: Verdict = "unlike" if beyond == 0 else "unusual" if beyond < RARE else "usual"
    return OutOfDistribution(distance, float(np.median(known.distances)), beyond, verdict)


def save_reference(folder: Path, known: TrainingReference) -> Path:
    """Write ``reference.safetensors``, float32, and return its path."""
    tensors = {name: np.asarray(getattr(known, name), dtype=np.float32) for name in _TENSORS}
    path = folder / REFERENCE
    with replacing(path) as part:
        save_file(tensors, part, metadata={"description": canonical_json({"schema": SCHEMA})})
    return path


def load_reference(folder: Path, length: int | None = None) -> TrainingReference:
    """Read what :func:`save_reference` wrote.

    Args:
        folder: of the model.
        length: K, numbers by which its network describes a case; as many as there are where None.

    Raises:
        InputError: there is none, it is not whole, or belongs to another network.
    """
    path = folder / REFERENCE
    try:
        with opened(path, "numpy") as file:
            found = kinds(file)
            problems = differences(_expected(found, length), found)
            tensors = {} if problems else {name: file.get_tensor(name) for name in _TENSORS}
    except ValueError as error:
        problems = [str(error)]
    problems = problems or [
        f"{name} holds numbers that cannot be"
        for name, tensor in tensors.items()
        if not np.isfinite(tensor).all() or (name in _ABOVE_ZERO and not (tensor > 0).all())
    ]
    if problems:
        step = "train the model again with ictmri reproduce"
        raise refusal(path, "no reference of training cases", problems, step)
    known: dict[str, Any] = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    return TrainingReference(**{**known, "floor": float(known["floor"])})


def _expected(found: Mapping[str, Kind], length: int | None) -> dict[str, Kind]:
    """Return what the tensors must be, as many axes and cases as there are of them."""
    axes, cases, numbers = (
        max(1, *found[name].shape[:1]) if name in found and found[name].shape else 1
        for name in ("axes", "distances", "mean")
    )
    length = numbers if length is None else length
    shapes = {
        "mean": (length,),
        "axes": (axes, length),
        "variances": (axes,),
        "floor": (),
        "distances": (cases,),
    }
    return {name: Kind(shape, "F32") for name, shape in shapes.items()}
