from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from ictmri_baselines.cases import Cases, Volumes
from ictmri_baselines.controls import probe
from ictmri_baselines.methods import Workspace
from ictmri_baselines.processor.extraction.hd_bet import hd_bet_network

EDGE = 32


def cases(n: int = 6) -> tuple[Cases, np.ndarray]:
    """Smooth noise; the class is how bright, and how grainy, the prior's inside is."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    image = np.stack([ndimage.gaussian_filter(rng.normal(size=(40,) * 3), 2) for _ in range(n)])
    prior = np.zeros(image.shape, dtype=np.uint8)
    prior[:, 14:24, 16:26, 15:25] = 255
    for index in np.flatnonzero(labels):
        image[index][prior[index] > 0] = 1 + rng.normal(size=1000)
    unknown = np.full(n, np.nan)
    volumes = Volumes(image.astype(np.float16), prior, prior, np.diag([1.5, 1.5, 1.5, 1.0]))
    return Cases([f"c{i}" for i in range(n)], unknown, unknown, np.arange(n), volumes), labels


def test_features_are_the_encoders_means_inside_the_prior_and_around_it() -> None:
    some, _ = cases(1)
    (found,) = probe.encoder_features(some, EDGE)
    volume = some.image(0)
    scaled = (volume - volume.mean()) / volume.std()
    # The middle of voxels 14..23 is 18.5; a cube of 32 about it begins at 3, on a voxel.
    cube = scaled[3:35, 5:37, 4:36]
    mask = some.refined(0)[3:35, 5:37, 4:36]
    kept: list[torch.Tensor] = []
    network = hd_bet_network().eval()
    network.context1.register_forward_hook(lambda *stage: kept.append(stage[2]))
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(cube))[None, None])
    (first,) = kept
    channels = first.shape[1]
    inside = first[0].numpy()[:, mask > 0.5].mean(axis=1)
    np.testing.assert_allclose(found[:channels], inside, rtol=1e-3, atol=1e-4)
    around = first[0].numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found[channels : 2 * channels], around, rtol=1e-3, atol=1e-4)


def test_what_the_encoder_sees_tells_textures_apart() -> None:
    some, labels = cases(12)
    train = np.arange(12) < 8
    found = probe.linear_probe(
        some.subset(train), labels[train], some.subset(~train), seed=0, strengths=[1.0], edge=EDGE
    )
    assert (found.argmax(axis=1) == labels[~train]).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_features_are_computed_once_a_cohort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path))
    some, labels = cases()
    workspace = Workspace(tmp_path / "fold", {"data_sha256": "d" * 64})
    settings = {"seed": 0, "strengths": [1.0], "edge": 16, "workspace": workspace}
    train = np.arange(6) < 4
    first = probe.linear_probe(some.subset(train), labels[train], some.subset(~train), **settings)
    (path,) = (tmp_path / "probe").glob("*.npz")
    written = path.stat().st_mtime_ns
    # The other fold: what was tested is trained on now.
    probe.linear_probe(some.subset(~train), labels[~train], some.subset(train), **settings)
    assert path.stat().st_mtime_ns == written
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path / "other"))
    again = probe.linear_probe(some.subset(train), labels[train], some.subset(~train), **settings)
    np.testing.assert_array_equal(first, again)
