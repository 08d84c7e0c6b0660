"""Coarse prior to refined mask [equation 5]: a voxel-wise MLP, and its union with the coarse prior.

``refined = core | grown``: ``core`` is the inside of the boxes or of the map (coarse prior above one half)
but for what the MLP clearly rejects, as in the corners of boxes. ``grown`` is what the MLP takes for tumour
within :data:`REACH_MM` and connected with it.

The MLP learns from the coarse prior [``X_att-prior > tau``]: tumour are voxels from :data:`TAU` on,
background is drawn from the surroundings, where the prior is 0, as deep below the surface as the tumour
voxels are. Together with features that hold no coordinates it cannot tell tumour from background by place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.template import SPACING_MM
from ictmri_baselines.localizer.classical.grid_2mm import (
    Box,
    Field,
    Mask,
    box_of,
    outside_mm,
    smoothed,
    within,
)

if TYPE_CHECKING:
    from ictmri_baselines.localizer.classical.evidence import Evidence

FEATURES: Final = (
    "intensity at 1 mm",
    "intensity at 3 mm",
    "intensity at 6 mm",
    "gradient at 2 mm",
    "standard deviation at 4 mm",
    "above the template's range",
    "below the template's range",
    "above the mirror image's range",
    "below the mirror image's range",
    "difference to the mirror image at 4 mm",
)
"""In the order of the last axis; sigma of the Gaussians in mm."""
FEATURE_LIMIT: Final = 8.0
"""Spreads of white matter to which every feature is clipped: a sinus is no outlier then."""


def voxel_features(seen: Evidence, box: Box) -> Field:
    """Return what the MLP looks at [F_MLP of equation 5], (10, ...) float32 of a box of the 2 mm grid.

    Unit: spreads of the scan's white matter, intensities relative to its level; clipped to
    [-:data:`FEATURE_LIMIT`, :data:`FEATURE_LIMIT`]. All are computed from intensities. Coordinates and
    depth are not among them; the comparison with the template uses the place, and gives away no more of it
    than what belongs there.
    """
    mask, other = seen.mask[box], seen.mask[::-1][box]
    spread = np.float32(seen.spread)
    level = np.where(mask, (seen.image[box] - np.float32(seen.white)) / spread, np.float32(0))
    across = np.where(other, (seen.image[::-1][box] - np.float32(seen.white)) / spread, level)
    wide = smoothed(level, mask, 4.0)
    square = smoothed(level * level, mask, 4.0)
    found = (
        level,
        smoothed(level, mask, 3.0),
        smoothed(level, mask, 6.0),
        _gradient(level),
        np.sqrt(np.maximum(square - wide * wide, 0)),
        seen.bright[box],
        seen.dark[box],
        seen.mirror_bright[box],
        seen.mirror_dark[box],
        smoothed(level - across, mask, 4.0),
    )
    return np.clip(np.stack(found, dtype=np.float32), -FEATURE_LIMIT, FEATURE_LIMIT)


def _gradient(level: Field) -> Field:
    found: Field = ndimage.gaussian_gradient_magnitude(level, 2.0 / SPACING_MM) * np.float32(2.0)
    return found


VERSION: Final = "3"
"""To be raised with whatever changes a mask."""
TAU: Final = 0.9
"""Coarse prior from which a voxel is labelled tumour for the MLP."""
ACCEPTED: Final = 0.4
"""Probability of the MLP from which a voxel is tumour: the mask covers what the coarse prior covers."""
REJECTED: Final = 0.1
"""... and below which it is none, in whatever box it lies: corners of boxes."""
INSIDE: Final = 0.5
"""Coarse prior above which a voxel lies inside a box."""
REACH_MM: Final = 4.0
"""How far the mask may grow beyond the coarse prior: farther away it adds more than it finds."""
NEAR_MM: Final = (6.0, 30.0)
"""Distance from the coarse prior at which background is drawn."""
MAX_SAMPLES: Final = 4000
"""Tumour voxels that are drawn of a case; of background at most as many."""
MIN_SAMPLES: Final = 30
"""With fewer voxels inside the boxes nothing can be learnt: the mask is what lies inside them. Where boxes
are too small for so many to reach :data:`TAU`, the highest are labelled tumour."""
WHOLE_BRAIN: Final = 0.5
"""Share of the brain inside boxes from which they say nothing."""
HIDDEN: Final = (16, 8)
EPOCHS: Final = 30
_SURROUNDINGS: Final = int(NEAR_MM[1] / SPACING_MM)
DEPTH_BINS: Final = (0.0, 4.0, 8.0, 12.0, 18.0, 26.0, 36.0, 200.0)
"""Edges in mm within which background is drawn as often as tumour."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Voxels to learn from.

    Attributes:
        features: (n, 10) float32, see :data:`ictmri_baselines.localizer.classical.refine.FEATURES`.
        tumour: (n,) bool, the pseudo-labels.
    """

    features: Field
    tumour: Mask


@dataclass(frozen=True, slots=True)
class VoxelModel:
    """A trained MLP: standardisation, two hidden layers with ReLU, a logistic output.

    Attributes:
        middle: (10,) subtracted from the features.
        scale: (10,) that divides them.
        weights: matrices of the three layers.
        biases: vectors of the three layers.
    """

    middle: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    weights: tuple[npt.NDArray[np.float64], ...]
    biases: tuple[npt.NDArray[np.float64], ...]

    def probability(self, features: Field) -> Field:
        """Return the probability of tumour, (n,) float32 in [0, 1], of (n, 10) features."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            hidden = (features - self.middle) / self.scale
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                hidden = np.maximum(hidden @ weight + bias, 0)
            logit = (hidden @ self.weights[-1] + self.biases[-1])[:, 0]
        return (0.5 * (1 + np.tanh(logit / 2))).astype(np.float32)


Outcome = Literal["refined", "empty", "whole-brain", "few-voxels"]


def refine(
    seen: Evidence, coarse: Field, *, seed: int = 0, model: VoxelModel | None = None
) -> tuple[Mask, Outcome]:
    """Refine a case's coarse prior on the 2 mm grid.

    Args:
        seen: the brain, compared with the template.
        coarse: coarse prior on the 2 mm grid, [0, 1].
        seed: of the draw of voxels and of the MLP; equal seeds give equal masks.
        model: trained over a cohort (``fit`` of ``samples`` of its cases); where None, one is trained on
            this case alone.

    Returns:
        The mask, and ``refined``; ``empty``: no box inside the brain; ``whole-brain``: the boxes fill it,
        the mask is what lies inside them; ``few-voxels``: too few to learn from, the same.
    """
    inside = seen.mask & (coarse > INSIDE)
    box = box_of(inside, margin=_SURROUNDINGS)
    if box is None:
        return inside, "empty"
    if inside.sum() > WHOLE_BRAIN * seen.mask.sum():
        return inside, "whole-brain"
    features = voxel_features(seen, box)
    if model is None:
        drawn = _drawn_samples(seen, coarse, box, features, seed)
        if drawn is None:
            return inside, "few-voxels"
        model = fit([drawn], seed=seed)
    near = seen.mask & within(inside, REACH_MM)
    probability = np.zeros(coarse.shape, dtype=np.float32)
    probability[near] = model.probability(features[:, near[box]].T)
    return _united(seen, inside, probability, near), "refined"


def samples(seen: Evidence, coarse: Field, *, seed: int = 0) -> Samples | None:
    """Draw the voxels of a case that an MLP learns from; None where boxes hold too few or all.

    Args:
        seen: the brain, compared with the template.
        coarse: coarse prior on the 2 mm grid.
        seed: of the draw.
    """
    inside = seen.mask & (coarse > INSIDE)
    box = box_of(inside, margin=_SURROUNDINGS)
    if box is None or inside.sum() > WHOLE_BRAIN * seen.mask.sum():
        return None
    return _drawn_samples(seen, coarse, box, voxel_features(seen, box), seed)


def _drawn_samples(
    seen: Evidence, coarse: Field, box: Box, features: Field, seed: int
) -> Samples | None:
    mask, prior, depth = seen.mask[box], coarse[box], seen.depth[box]
    inside = mask & (prior > INSIDE)
    tumour = inside & (prior >= _least(prior[inside]))
    away = outside_mm(inside)
    background = mask & (prior <= 0) & (away > NEAR_MM[0]) & (away <= NEAR_MM[1])
    random = np.random.default_rng(seed)
    positive = _drawn(random, np.flatnonzero(tumour), MAX_SAMPLES)
    if len(positive) < MIN_SAMPLES:
        return None
    negative = _matched(random, background, positive, depth)
    if len(negative) < MIN_SAMPLES:
        return None
    chosen = np.concatenate([positive, negative])
    labels = np.arange(len(chosen)) < len(positive)
    return Samples(features.reshape(len(FEATURES), -1)[:, chosen].T, labels)


def fit(drawn: Sequence[Samples], *, seed: int = 0) -> VoxelModel:
    """Train the MLP on the voxels of one case, or of all cases of a cohort.

    Adam, :data:`EPOCHS` epochs, both labels weighing the same; one thread, so that the same voxels give
    the same weights.

    Raises:
        ValueError: there are no samples.
    """
    from threadpoolctl import threadpool_limits

    if not drawn:
        raise ValueError("no case to learn from")
    features = np.concatenate([part.features for part in drawn]).astype(np.float64)
    tumour = np.concatenate([part.tumour for part in drawn])
    middle, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale < 1e-6] = 1.0
    with threadpool_limits(1):
        network = _network(seed)
        rows = _balanced(np.random.default_rng(seed), tumour)
        with warnings.catch_warnings():
            # Labels that are boxes cannot be learnt exactly; a fixed number of epochs is meant.
            warnings.simplefilter("ignore")
            network.fit((features[rows] - middle) / scale, tumour[rows])
    return VoxelModel(middle, scale, tuple(network.coefs_), tuple(network.intercepts_))


def _least(levels: Field) -> float:
    """Return the coarse prior from which voxels are labelled tumour: the highest ones, ties included."""
    if len(levels) < MIN_SAMPLES:
        return INSIDE
    highest = np.partition(levels, -MIN_SAMPLES)[-MIN_SAMPLES]
    return float(min(TAU, highest))


def _network(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        HIDDEN,
        alpha=1e-3,
        batch_size=256,
        learning_rate_init=3e-3,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        random_state=seed,
    )


def _balanced(random: np.random.Generator, tumour: Mask) -> npt.NDArray[np.int64]:
    """Return row numbers with as many tumour voxels as background; the rarer are drawn again."""
    groups = [np.flatnonzero(tumour), np.flatnonzero(~tumour)]
    size = max(map(len, groups))
    rows = [np.concatenate([g, random.choice(g, size - len(g))]) for g in groups if len(g)]
    return np.concatenate(rows)


def _drawn(
    random: np.random.Generator, voxels: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    if len(voxels) <= count:
        return voxels
    return np.sort(random.choice(voxels, count, replace=False))


def _matched(
    random: np.random.Generator, place: Mask, positive: npt.NDArray[np.int64], depth: Field
) -> npt.NDArray[np.int64]:
    """Draw as many voxels of ``place`` as there are positive ones, equally deep below the surface."""
    flat = depth.ravel()
    candidates = np.flatnonzero(place)
    bins = np.digitize(flat[candidates], DEPTH_BINS)
    wanted = np.bincount(np.digitize(flat[positive], DEPTH_BINS), minlength=len(DEPTH_BINS) + 1)
    parts = [_drawn(random, candidates[bins == k], int(n)) for k, n in enumerate(wanted) if n]
    return np.concatenate(parts) if parts else candidates[:0]


def _united(seen: Evidence, inside: Mask, probability: Field, near: Mask) -> Mask:
    """Unite the inside of the boxes with what the MLP found connected with it; fill its holes."""
    core = inside & (probability > REJECTED)
    steady = ndimage.gaussian_filter(probability, 0.5)
    found = near & (steady > ACCEPTED)
    labels, _ = ndimage.label(found | core)
    touching = np.unique(labels[(core | (found & inside)) & (labels > 0)])
    united = np.isin(labels, touching[touching > 0])
    filled: Mask = ndimage.binary_fill_holes(united) & seen.mask
    return filled
