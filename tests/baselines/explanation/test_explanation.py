"""Where a network looks, how much of it lies in the lesion, and how unusual a case is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from scipy import ndimage, stats
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage
from support.made_cases import made_cases
from support.shared_folders import shared_folder

from ictmri.atlas.template import SHAPE, template
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.folds import FoldRow, FoldTable
from ictmri.io.volumes import unpack
from ictmri.manifest import read_manifest, write_manifest
from ictmri_baselines.backbones import BACKBONES
from ictmri_baselines.cases import load_cases
from ictmri_baselines.diagnoser.attention import EPS, resample_prior
from ictmri_baselines.diagnoser.checkpoint import MODEL, load_model
from ictmri_baselines.diagnoser.inputs import InputView, open_inputs
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    describe,
    fit_reference,
    load_reference,
    out_of_distribution,
    save_reference,
    training_reference,
)
from ictmri_baselines.explanation import attention_map
from ictmri_baselines.explanation.attention_share import (
    MEASURES,
    Share,
    best_possible,
    share_in,
    summarised,
)
from ictmri_baselines.explanation.cam_inputs import cohort_of_run, masks_of, on_input
from ictmri_baselines.explanation.explain import JSON, PAGE, explain
from ictmri_baselines.explanation.gradcam import upsampled
from ictmri_baselines.explanation.page import LESION_INK, figure
from ictmri_baselines.methods import IDENTITY
from ictmri_baselines.reproduction.reproduce import reproduce

Array = NDArray[np.float64]
WAYS = {
    "none": {"localisation": "none", "attention": False},
    "pool": {"localisation": "coarse", "attention": False},
    "input": {"localisation": "coarse", "attention": False, "without_attention": "input"},
    "attention": {"localisation": "refined", "attention": True},
}
EDGE = 32


def network_of(
    backbone: str = "densenet3d", way: str = "none", **changes: Any
) -> AdaptiveDiagnoser:
    torch.manual_seed(0)
    own = backbone if ":" in backbone else None
    settings = {} if own else dict(BACKBONES[backbone].small)
    given = {"backbone": backbone, "settings": settings, **WAYS[way], **changes}
    return AdaptiveDiagnoser(DiagnoserConfig(**given), own=own).eval()


def pair(edge: int = EDGE, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, edge, edge, edge, generator=generator, dtype=dtype)
    prior = torch.zeros_like(image)
    prior[..., 5:15, 8:20, 3:16] = 0.8
    return image, prior


def logit(network: AdaptiveDiagnoser, features: Array, mask: Array | None, label: int) -> float:
    """Equations 7 to 9 from F (C, D, H, W) and the mask on its grid, in numpy."""
    layers = {name: value.double().numpy() for name, value in network.state_dict().items()}
    overall = features.mean(axis=(1, 2, 3))
    vector = [overall]
    if mask is not None:
        z = (features * mask).sum(axis=(1, 2, 3)) / (mask.sum() + EPS)
        if network.config.attention:
            name = "fusion.attention.weights"
            hidden = layers[f"{name}.0.weight"] @ z + layers[f"{name}.0.bias"]
            second = layers[f"{name}.2.weight"] @ np.maximum(hidden, 0) + layers[f"{name}.2.bias"]
            vector.append(overall / (1 + np.exp(-second)))
        else:
            vector.append(z)
    return float(layers["classifier.weight"][label] @ np.concatenate(vector))


def by_differences(
    network: AdaptiveDiagnoser, features: Array, mask: Array | None, label: int
) -> Array:
    """Grad-CAM on F's grid: a channel's weight is what adding a little to all its voxels does."""
    weights = []
    step = 1e-4
    for channel in range(len(features)):
        moved = []
        for sign in (1, -1):
            changed = features.copy()
            changed[channel] += sign * step
            moved.append(logit(network, changed, mask, label))
        weights.append((moved[0] - moved[1]) / (2 * step) / features[0].size)
    return np.maximum(np.tensordot(weights, features, axes=1), 0)


def zoomed(cells: Array, extent: tuple[int, ...], edge: int) -> Array:
    """Trilinear interpolation by SciPy, cut to the volume, divided by its maximum."""
    factors = [e / n for e, n in zip(extent, cells.shape, strict=True)]
    found = ndimage.zoom(cells, factors, order=1, grid_mode=True, mode="nearest")
    found = found[:edge, :edge, :edge]
    return found / found.max() if found.max() > 0 else found


# Grad-CAM


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_of_a_linear_layer_on_gap_the_weights_are_its_weights(backbone: str) -> None:
    network = network_of(backbone)
    image, _ = pair()
    with torch.no_grad():
        features = network.backbone(image)[0].double().numpy()
    extent = network.backbone.extent(image.shape[2:])
    seen = 0
    for label in range(4):
        weights = network.classifier.weight[label].detach().double().numpy()
        cells = np.maximum(np.tensordot(weights, features, axes=1), 0)
        found = attention_map(network, image, None, label)
        assert (found.dtype, found.shape) == (np.float32, (EDGE,) * 3)
        np.testing.assert_allclose(found, zoomed(cells, extent, EDGE), atol=2e-5)
        seen += bool(found.any())
    assert seen


@pytest.mark.parametrize("way", ["pool", "input", "attention"])
def test_with_a_prior_every_way_to_the_logit_counts(way: str) -> None:
    network = network_of("convnext3d", way, tap="stage2").double()
    image, prior = pair(dtype=torch.float64)
    with torch.no_grad():
        seen = image * prior if way == "input" else image
        features = network.backbone(seen)[0].numpy()
    mask = None if way == "input" else resample_prior(prior, features.shape[1:])[0, 0].numpy()
    for label in range(4):
        cells = by_differences(network, features, mask, label)
        found = attention_map(network, image, prior, label)
        np.testing.assert_allclose(found, zoomed(cells, (EDGE,) * 3, EDGE), atol=1e-5)


def test_axes_are_those_of_the_volume() -> None:
    """A network of one's own whose F is the volume, averaged: the map is where the volume is bright."""
    network = network_of("torch.nn:AvgPool3d", settings={"kernel_size": 4})
    with torch.no_grad():
        network.classifier.weight.fill_(1.0)
    image = torch.zeros(1, 1, 24, 32, 40)
    image[..., 8:12, 24:28, 4:8] = 1
    found = attention_map(network, image, None, 2)
    assert found.shape == (24, 32, 40)
    assert found[8:12, 24:28, 4:8].min() > 0.2
    peak = np.argwhere(found == found.max()).mean(axis=0)
    np.testing.assert_allclose(peak, [9.5, 25.5, 5.5])
    assert not found[16:].any()


def test_a_network_that_fills_the_volume_up_is_cut_to_it() -> None:
    network = network_of("swin3d")
    image, _ = pair(40)
    extent = network.backbone.extent((40, 40, 40))
    assert extent > (40, 40, 40)
    with torch.no_grad():
        features = network.backbone(image)[0].double().numpy()
    weights = network.classifier.weight[0].detach().double().numpy()
    cells = np.maximum(np.tensordot(weights, features, axes=1), 0)
    np.testing.assert_allclose(
        attention_map(network, image, None, 0), zoomed(cells, extent, 40), atol=2e-5
    )


def test_where_nothing_speaks_for_a_class_the_map_is_zero() -> None:
    network = network_of("densenet3d")  # F ends in a ReLU
    with torch.no_grad():
        network.classifier.weight[1].fill_(-1.0)
    found = attention_map(network, pair()[0], None, 1)
    assert found.shape == (EDGE,) * 3
    assert not found.any()


@pytest.mark.parametrize("way", ["none", "attention"])
def test_the_network_is_left_as_it_was(way: str) -> None:
    network = network_of("densenet3d", way)
    image, prior = pair()
    expected = attention_map(network, image, prior, 0)
    network.train()
    network.backbone.eval()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    np.testing.assert_array_equal(attention_map(network, image, prior, 0), expected)
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all((parameter.grad == 7).all() for parameter in network.parameters())
    assert network.training
    assert not any(module.training for module in network.backbone.modules())
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    assert image.grad is None
    assert not image.requires_grad


def test_it_works_where_gradients_are_off() -> None:
    network = network_of("densenet3d", "attention")
    expected = attention_map(network, *pair(), 3)
    network.requires_grad_(requires_grad=False)
    np.testing.assert_array_equal(attention_map(network, *pair(), 3), expected)
    with torch.inference_mode():
        image, prior = pair()
        np.testing.assert_array_equal(attention_map(network, image, prior, 3), expected)


def test_a_prior_that_is_needed_is_asked_for() -> None:
    with pytest.raises(InputError, match="no prior"):
        attention_map(network_of("densenet3d", "attention"), pair()[0], None, 0)


# Its share in the lesion


def test_shares_by_hand() -> None:
    found, lesion, brain = (np.zeros((4, 4, 4), dtype=np.float32) for _ in range(3))
    brain[:2] = 1  # 32 voxels
    lesion[1, :2, :2] = 1  # 4 of them
    found[1, 0, 0] = 1
    found[1, 3, 3] = 0.5
    found[3, 0, 0] = 0.5  # outside the brain
    assert share_in(found, lesion, brain, 0.9) == Share(0.5, 4 / 32, 0.9, 1.0, 0.75)
    assert share_in(found, lesion, brain, 0.9).above_uniform == 0.375
    found[1, 3, 3] = 1  # two maxima, one of them in the lesion
    assert share_in(found, lesion, brain, 0.9).pointing == 0.5
    uniform = share_in(brain, lesion, brain, 0.9)
    assert uniform.in_lesion == uniform.uniform == uniform.pointing
    nothing = share_in(np.zeros_like(found), lesion, brain, 0.9)
    assert np.isnan([nothing.in_lesion, nothing.pointing, nothing.in_brain]).all()
    assert nothing.uniform == 4 / 32


def test_no_map_of_a_grid_has_more_than_the_best() -> None:
    rng = np.random.default_rng(0)
    lesion = np.zeros((20, 24, 20), dtype=np.float32)
    lesion[3:9, 14:19, 11:16] = 1
    grid, extent = (3, 3, 3), (24, 24, 24)  # filled up along two axes
    shares = []
    for place in np.ndindex(grid):
        cells = torch.zeros(1, 1, *grid)
        cells[0, 0, *place] = 1
        found = upsampled(cells, lesion.shape, extent)[0, 0].double().numpy()
        shares.append((found * lesion).sum() / found.sum())
    best = best_possible(lesion, grid, extent)
    assert best == pytest.approx(max(shares), rel=1e-5)
    for _ in range(20):
        cells = torch.from_numpy(rng.exponential(size=(1, 1, *grid)) ** 4)
        found = upsampled(cells, lesion.shape, extent)[0, 0].numpy()
        assert (found * lesion).sum() / found.sum() < best
    assert best_possible(np.zeros_like(lesion), grid, extent) == 0
    assert best_possible(np.ones_like(lesion), grid, extent) == pytest.approx(1)


def table_of(labels: list[str]) -> FoldTable:
    rows = tuple(FoldRow(f"c{i}", f"p{i}", label, i % 2) for i, label in enumerate(labels))
    return FoldTable("made", rows, "0" * 64)


def test_intervals_are_those_of_a_bootstrap_over_cases() -> None:
    rng = np.random.default_rng(0)
    values = rng.beta(2, 5, size=40)
    table = table_of(["glioma"] * 40)
    shares = {f"c{i}": [Share(v, 0.1, 1.0, 1.0, 1.0)] for i, v in enumerate(values)}
    found = summarised(shares, table)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=rng
    ).confidence_interval
    assert found["in_lesion"]["value"] == pytest.approx(values.mean(), abs=1e-6)
    width = expected.high - expected.low
    for end in ("low", "high"):
        assert abs(found["in_lesion"][end] - getattr(expected, end)) < 0.04 * width
    assert found["above_uniform"]["value"] == pytest.approx(values.mean() - 0.1, abs=1e-6)
    assert found["uniform"] == {"value": 0.1, "low": 0.1, "high": 0.1, "n": 40}


def test_seeds_are_averaged_and_what_is_not_defined_is_left_out() -> None:
    table = table_of(["glioma", "pcnsl", "rare", "rare"])
    nothing = Share(np.nan, 0.2, 0.5, np.nan, np.nan)
    shares = {
        "c0": [Share(0.2, 0.1, 0.5, 1.0, 0.9), Share(0.4, 0.1, 0.5, 0.0, 0.9)],
        "c1": [Share(0.5, 0.1, 0.5, 1.0, 0.9), nothing],
        "c2": [nothing, nothing],
    }
    found = summarised(shares, table)
    assert set(found) == set(MEASURES)
    assert found["in_lesion"]["value"] == pytest.approx((0.3 + 0.5) / 2)
    assert (found["in_lesion"]["n"], found["uniform"]["n"]) == (2, 3)
    empty = summarised({"c2": [nothing]}, table)["pointing"]
    assert empty == {"value": None, "low": None, "high": None, "n": 0}


def test_the_lesion_lies_where_the_scan_has_it(phantom: Cohort) -> None:
    """Its volume is the scan's, carried over; enhancing cores are brighter than the brain around them."""
    cases = load_cases(phantom, with_volumes=True)
    truth = {row["case_id"]: row["lesion_mask"] for row in phantom.rows("truth")}
    shrunk = {
        row["case_id"]: abs(np.linalg.det(np.reshape(row["scan_from_mni"], (4, 4))))
        for row in phantom.rows("processed", ["case_id", "scan_from_mni"])
    }
    brighter = []
    for masks in masks_of(phantom, 0):
        assert masks.lesion is not None
        assert masks.lesion.shape == masks.brain.shape == SHAPE
        stored = unpack(truth[masks.case_id])
        ml = (np.asarray(stored.dataobj) > 0).sum() * abs(np.linalg.det(stored.affine)) / 1000
        found = masks.lesion.sum() * 8 / 1000 * shrunk[masks.case_id]
        assert found == pytest.approx(ml, rel=0.25, abs=0.3)
        assert (masks.lesion * masks.brain).sum() > 0.7 * masks.lesion.sum()
        image = cases.image(cases.case_ids.index(masks.case_id))
        inside = masks.lesion > 0
        rim = ndimage.binary_dilation(inside, iterations=4) & ~inside & (masks.brain > 0)
        brighter.append(np.percentile(image[inside], 90) > np.percentile(image[rim], 90))
    assert len(brighter) == 4
    assert all(brighter)


@pytest.mark.parametrize(
    "view",
    [InputView(), InputView(spacing_mm=4, edge=48), InputView(of="region", edge=24)],
    ids=["brain", "coarser", "region"],
)
def test_masks_are_cut_as_the_volume_is(view: InputView) -> None:
    cases, _ = made_cases(3)
    inputs = open_inputs(cases, view, "refined")
    for index in range(3):
        image, prior = (torch.zeros((view.edge,) * 3) for _ in range(2))
        inputs.write(index, inputs.central, image, prior)
        found = on_input(cases.image(index), cases, index, view, "refined")
        np.testing.assert_allclose(found, image.numpy(), atol=2e-3)
        found = on_input(cases.refined(index), cases, index, view, "refined")
        np.testing.assert_allclose(found, prior.numpy(), atol=1 / 255)


# How unusual a case is


def brute_force(descriptions: Array) -> Array:
    """Each case's distance from the others, all of it computed anew but the strength of the shrinkage."""
    n, length = descriptions.shape
    kept = 1 - ledoit_wolf_shrinkage(descriptions)
    spread = np.trace(np.cov(descriptions.T, bias=True)) / length
    found = []
    for index in range(n):
        others = np.delete(descriptions, index, axis=0)
        away = descriptions[index] - others.mean(axis=0)
        covariance = kept * np.cov(others.T, bias=True) + (1 - kept) * spread * np.eye(length)
        found.append(np.sqrt(away @ np.linalg.solve(covariance, away)))
    return np.sort(found)


@pytest.mark.parametrize("length", [5, 60], ids=["few numbers", "more numbers than cases"])
def test_distances_are_those_of_the_shrunken_covariance(length: int) -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(30, length)) @ rng.normal(size=(length, length)) + 3
    known = fit_reference(training)
    np.testing.assert_allclose(known.distances, brute_force(training), rtol=1e-5)
    others = rng.normal(size=(7, length)) * 4
    peer = LedoitWolf().fit(training)
    np.testing.assert_allclose(known.distance(others) ** 2, peer.mahalanobis(others), rtol=1e-5)


def test_a_case_like_the_training_cases_is_seldom_flagged() -> None:
    """The rank is a conformal p-value: of new cases of the same kind, its own share is below any level."""
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(40, 40))
    flagged = total = beyond_all = 0
    for _ in range(20):
        known = fit_reference(rng.normal(size=(100, 40)) @ mixing)
        for case in rng.normal(size=(50, 1, 40)) @ mixing:
            verdict = out_of_distribution(known, case).verdict
            flagged += verdict != "usual"
            beyond_all += verdict == "unlike"
            total += 1
    assert 0.03 < flagged / total < 0.075
    assert beyond_all / total < 0.025
    far = out_of_distribution(known, 4 * rng.normal(size=(1, 40)) @ mixing)
    assert far.verdict == "unlike"
    assert far.share_of_training_beyond == 0
    assert far.distance > 2 * far.typical


def test_a_reference_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known = fit_reference(rng.normal(size=(12, 20)))
    assert save_reference(tmp_path, known) == tmp_path / REFERENCE
    first = (tmp_path / REFERENCE).read_bytes()
    again = load_reference(tmp_path)
    cases = rng.normal(size=(3, 20)) * 3
    np.testing.assert_allclose(again.distance(cases), known.distance(cases), rtol=1e-5)
    save_reference(tmp_path, known)
    assert (tmp_path / REFERENCE).read_bytes() == first
    with pytest.raises(ValueError, match=r"\(1, 20\)"):
        out_of_distribution(again, cases)


@pytest.mark.parametrize("how", ["missing", "torn", "foreign"])
def test_what_is_no_reference_is_refused(tmp_path: Path, how: str) -> None:
    path = save_reference(tmp_path, fit_reference(np.random.default_rng(0).normal(size=(5, 3))))
    if how == "missing":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:50])
    else:
        from safetensors.numpy import save_file

        save_file({"x": np.ones(2)}, path)
    with pytest.raises(InputError, match="no reference of training cases"):
        load_reference(tmp_path)


def test_training_cases_that_are_all_the_same() -> None:
    known = fit_reference(np.full((6, 3), 2.0))
    assert out_of_distribution(known, np.full((1, 3), 2.0)).verdict == "usual"
    assert out_of_distribution(known, np.full((1, 3), 2.1)).verdict == "unlike"


# A trained network, and the command

RECIPE = """\
name: Tiny
summary: Tests.
method: adaptive_diagnoser
needs: priors
inputs: {image: true, prior: true}
settings:
  network: {settings: {width: 4, depth: [1, 1]}, tap: block1}
  view: {spacing_mm: 6, edge: 32}
  optimisation: {epochs: 6, batch: 4, accumulate: 1, learning_rate: 0.01, period: 6}
  compute: {device: cpu}
"""


@pytest.fixture(scope="module")
def a_run(phantom: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fold 0 of a tiny network, with the reference of its training cases beside the model."""
    folder = shared_folder(tmp_path_factory, "tiny-run")
    recipe, out = folder / "tiny.yaml", folder / "out"
    with FileLock(folder / "lock"):
        if not out.exists():
            recipe.write_text(RECIPE)
            reproduce(str(recipe), phantom, folder / "part", folds=[0], jobs=1)
            (folder / "part").rename(out)
    return out


def test_strange_volumes_are_unlike_the_training_cases(a_run: Path, phantom: Cohort) -> None:
    network, description = load_model(a_run / "folds" / "seed0-fold0" / MODEL)
    view = InputView(**description.settings["view"])
    cases = load_cases(phantom, with_volumes=True)
    tested = np.array(phantom.folds().folds) == 0
    known = training_reference(network, open_inputs(cases.subset(~tested), view))
    assert len(known.distances) == 16
    edge = view.edge
    brain = template(2).brain
    plain = (brain - np.median(brain[brain > 0])) / stats.median_abs_deviation(brain[brain > 0])
    plain *= brain > 0
    rng = np.random.default_rng(0)
    blank = torch.zeros(1, 1, edge, edge, edge)
    strange = {
        "empty": (blank, blank),
        "noise": (torch.from_numpy(rng.normal(size=blank.shape)).float(), blank + 0.1),
        "no tumour": (
            torch.from_numpy(on_input(plain.astype(np.float32), cases, 0, view, "none"))[
                None, None
            ],
            blank,
        ),
    }
    for name, (image, prior) in strange.items():
        found = out_of_distribution(known, describe(network, image, prior))
        assert found.verdict == "unlike", name


@pytest.fixture(scope="module")
def explained(a_run: Path, phantom: Cohort) -> dict[str, Any]:
    return explain(a_run, phantom, shown=3, jobs=1)


def test_explain_writes_numbers_and_a_page(
    a_run: Path, phantom: Cohort, explained: dict[str, Any]
) -> None:
    content = explained
    assert json.loads((a_run / JSON).read_text()) == content
    assert content["synthetic"]
    assert (content["recipe"], content["n_cases"], content["folds"]) == ("tiny", 4, [0])
    assert content["n_not_explained"] == len(phantom.folds().rows) - 4
    table = phantom.folds()
    truth = {row.case_id: row.label for row in table.rows if row.fold == 0}
    assert {case["case_id"]: case["label"] for case in content["cases"]} == truth
    for case in content["cases"]:
        assert case["empty_map"] == (case["in_lesion"] is None)
        if not case["empty_map"]:
            assert 0 <= case["in_lesion"] <= case["best_possible"] <= 1
        assert 0 < case["uniform"] < 0.2
    shares = [case["in_lesion"] for case in content["cases"] if not case["empty_map"]]
    assert content["summary"]["in_lesion"]["n"] == len(shares) > 0
    assert content["summary"]["in_lesion"]["value"] == pytest.approx(np.mean(shares), abs=1e-5)
    page = (a_run / PAGE).read_text()
    assert "SYNTHETIC" in page
    assert page.count("<article") == page.count("data:image/webp") == 3
    before = (a_run / PAGE).read_bytes(), (a_run / JSON).read_bytes()
    explain(a_run, phantom, shown=3, jobs=1)
    assert ((a_run / PAGE).read_bytes(), (a_run / JSON).read_bytes()) == before


def test_a_share_is_that_of_the_map_and_the_truth(
    a_run: Path, phantom: Cohort, explained: dict[str, Any]
) -> None:
    """One case again, by other ways: the map from F and autograd, the lesion from the parameters."""
    case = next(case for case in explained["cases"] if not case["empty_map"])
    network, _ = load_model(a_run / "folds" / "seed0-fold0" / MODEL)
    cases = load_cases(phantom, with_volumes=True)
    index = cases.case_ids.index(case["case_id"])
    cubes = [volume(index)[:96, 10:106, :96] for volume in (cases.image, cases.refined)]
    image, prior = (
        torch.from_numpy(cube.reshape(32, 3, 32, 3, 32, 3).mean(axis=(1, 3, 5)))[None, None]
        for cube in cubes
    )
    details = network(image, prior, details=True)
    label = ["glioma", "pcnsl", "germinoma", "rare"].index(case["predicted"])
    (gradient,) = torch.autograd.grad(details.logits[0, label], details.features)
    cells = (gradient.mean(dim=(2, 3, 4), keepdim=True) * details.features).sum(1)[0].relu()
    found = zoomed(cells.detach().double().numpy(), (32, 32, 32), 32)
    masks = next(one for one in masks_of(phantom, 0) if one.case_id == case["case_id"])
    assert masks.lesion is not None
    lesion = masks.lesion[:96, 10:106, :96].reshape(32, 3, 32, 3, 32, 3).mean(axis=(1, 3, 5))
    assert case["in_lesion"] == pytest.approx((found * lesion).sum() / found.sum(), abs=2e-3)


def test_a_cohort_without_truth_gets_pictures_and_no_number(
    a_run: Path, phantom: Cohort, tmp_path: Path
) -> None:
    root = tmp_path / "phantom"
    shutil.copytree(phantom.root, root)
    shutil.rmtree(root / "data" / "truth")
    manifest = read_manifest(root)
    for name in [name for name in manifest.files if name.startswith("data/truth/")]:
        del manifest.files[name]
    write_manifest(root, manifest)
    run = tmp_path / "run"
    shutil.copytree(a_run, run)
    content = explain(run, open_cohort(root), shown=2, jobs=1)
    assert content["summary"] is None
    assert not any("in_lesion" in case for case in content["cases"])
    page = (run / PAGE).read_text()
    assert "there is no number" in page
    assert page.count("<article") == 2


def test_patients_scans_are_readable_by_the_owner_alone(tmp_path: Path) -> None:
    from ictmri_baselines.explanation.page import explanation_page

    content = {
        "recipe": "x", "profile": "cpu", "cohort": "ictmri", "synthetic": False, "seeds": [0],
        "folds": [0], "n_cases": 0, "n_not_explained": 0, "n_empty_maps": 0, "summary": None, "cases": [],
        "network": {"backbone": "densenet3d", "localisation": "none", "attention": False},
        "view": {"of": "brain", "edge": 96, "spacing_mm": 2},
    }  # fmt: skip
    explanation_page(tmp_path / PAGE, content, [])
    assert (tmp_path / PAGE).stat().st_mode & 0o777 == 0o600
    assert "Private" in (tmp_path / PAGE).read_text()


def test_what_is_no_run_of_this_cohort_is_refused(
    a_run: Path, phantom: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        explain(tmp_path, phantom)
    with pytest.raises(InputError, match=r"no finished model of fold 3\n.*folds 0$"):
        explain(a_run, phantom, fold=3)
    other = tmp_path / "other"
    other.mkdir()
    identity = json.loads((a_run / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(identity | {"data_sha256": "0", "cohort": "x"}))
    with pytest.raises(InputError) as caught:
        explain(other, phantom)
    assert "cohort is x" in str(caught.value)
    assert "data_sha256 is 0" in str(caught.value)
    (other / "run.json").write_text(json.dumps(identity))
    with pytest.raises(InputError, match="no finished model"):
        explain(other, phantom)


def test_a_fold_that_is_not_as_the_run_wrote_it_is_refused(
    a_run: Path, phantom: Cohort, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(a_run, run)
    csv = run / "folds" / "seed0-fold0.csv"
    whole = csv.read_text()
    csv.write_text(whole[: len(whole) // 2].rsplit("\n", 1)[0] + "\n")
    with pytest.raises(InputError, match=r"seed0-fold0\.csv is not as the run wrote it"):
        explain(run, phantom, jobs=1)
    csv.write_text(whole)
    record = csv.with_suffix(".json")
    record.rename(tmp_path / "record")
    with pytest.raises(InputError, match="no finished model"):
        explain(run, phantom, jobs=1)
    (tmp_path / "record").rename(record)
    for path in (run / "folds").glob("seed0-fold0*"):
        path.rename(path.with_name(path.name.replace("fold0", "fold1")))
    with pytest.raises(InputError, match="this model is of fold 0: it may have learned from these"):
        explain(run, phantom, jobs=1)


def test_the_cohort_of_a_run_is_found_where_cohorts_lie(
    raw_phantom: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = dict.fromkeys(IDENTITY, "x") | {"cohort": raw_phantom.name}
    told["folds_sha256"] = raw_phantom.manifest.folds_sha256
    (tmp_path / "run.json").write_text(json.dumps(told))
    monkeypatch.setenv("ICTMRI_HOME", str(raw_phantom.root.parent))
    assert cohort_of_run(tmp_path).root == raw_phantom.root
    monkeypatch.setenv("ICTMRI_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"which is not here\n.*--cohort DIR"):
        cohort_of_run(tmp_path)


def test_a_figure_shows_the_map_and_the_lesion() -> None:
    import io

    from PIL import Image

    image, found, lesion = (np.zeros((48, 48, 48), dtype=np.float32) for _ in range(3))
    image[8:40, 8:40, 8:40] = 0.5
    brain = (image > 0).astype(np.float32)
    found[10:20, 20:28, 20:28] = 1
    lesion[18:36, 16:32, 16:32] = 1
    picture = Image.open(io.BytesIO(figure(image, brain, found, None, lesion))).convert("RGB")
    axial = np.asarray(picture, dtype=int)[:280, :280]
    scale = 280 / 48
    # Right is on the left: x = 14 is seen at the right of the middle.
    heat = axial[round(24 * scale), round((48 - 14.5) * scale)]
    grey = axial[round(24 * scale), round((48 - 33) * scale)]
    assert heat[0] - heat[2] > 40  # yellow
    assert np.ptp(grey) < 25
    edge = axial[round(24 * scale), round((48 - 35.9) * scale)]
    assert edge[1] - edge[0] > 40  # green
    assert LESION_INK[1] == max(LESION_INK)


def test_the_command_says_what_it_found(a_run: Path, phantom: Cohort, tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from ictmri_baselines.cli.predict import explain as command_function

    app = typer.Typer()
    app.command()(command_function)
    path = tmp_path / "numbers.json"
    done = CliRunner().invoke(
        app,
        [
            str(a_run),
            "--cohort",
            str(phantom.root),
            "--json",
            str(path),
            "--cases",
            "1",
            "--jobs",
            "1",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "tiny on" in done.output
    assert "(SYNTHETIC)" in done.output
    assert "share of the attention in the true lesion" in done.output
    assert path.read_bytes() == (a_run / JSON).read_bytes()
