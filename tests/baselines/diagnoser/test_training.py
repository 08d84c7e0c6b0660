"""Training: what the network is shown, what it learns by, and what a kill leaves behind."""

import csv
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import optimize
from support.damage import DAMAGES, damage
from support.made_cases import made_cases

from ictmri.atlas.template import SHAPE, template
from ictmri.errors import InputError
from ictmri_baselines.cases import Cases
from ictmri_baselines.diagnoser.checkpoint import CARD, MODEL, load_model, read_description
from ictmri_baselines.diagnoser.fit import (
    DiagnoserSettings,
    adaptive_diagnoser,
    held_back,
    read_settings,
)
from ictmri_baselines.diagnoser.inputs import (
    InputView,
    NetworkInputs,
    in_turn,
    open_inputs,
    shuffled,
)
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.out_of_distribution import REFERENCE
from ictmri_baselines.diagnoser.prediction import apply_temperature, fit_temperature, predict
from ictmri_baselines.diagnoser.training import (
    Stream,
    Training,
    class_weights,
    stream,
    torch_seed,
)
from ictmri_baselines.methods import Workspace

N = 14
TRAINED = np.arange(N) < 11
TINY = {
    "network": {"settings": {"width": 4, "depth": (1, 1)}},
    "view": {"of": "region", "edge": 12},
    "optimisation": {"epochs": 4, "learning_rate": 1e-3},
    "compute": {"device": "cpu", "checkpoint_every": 1},
}
SELECTED = TINY | {"selection": {"by": "inner-validation", "temperature": True}}


@pytest.fixture(scope="module")
def made() -> tuple[Cases, np.ndarray]:
    return made_cases(N)


def fitted(
    made: tuple[Cases, np.ndarray],
    folder: Path | None = None,
    *,
    seed: int = 3,
    origin: dict[str, Any] | None = None,
    **settings: Any,
) -> np.ndarray:
    cases, labels = made
    workspace = None if folder is None else Workspace(folder, origin or {})
    return adaptive_diagnoser(
        cases.subset(TRAINED),
        labels[TRAINED],
        cases.subset(~TRAINED),
        seed=seed,
        workspace=workspace,
        **(settings or TINY),
    )


def shown(inputs: NetworkInputs, case: int) -> tuple[np.ndarray, np.ndarray]:
    image, prior = (torch.zeros((inputs.edge,) * 3) for _ in range(2))
    inputs.write(case, inputs.central, image, prior)
    return image.numpy(), prior.numpy()


# What the network is shown


def test_the_default_view_holds_every_voxel_of_the_brain(made: tuple[Cases, np.ndarray]) -> None:
    window = open_inputs(made[0], InputView()).window
    outside = template(2).mask.copy()
    outside[window] = False
    assert not outside.any()
    assert [part.stop - part.start for part in window] == [96, 96, 96]


def test_a_whole_brain_is_a_window_on_the_volume(made: tuple[Cases, np.ndarray]) -> None:
    cases = made[0]
    image, prior = shown(open_inputs(cases, InputView(), "coarse"), 5)
    np.testing.assert_array_equal(image, cases.image(5)[:96, 10:106, :96])
    np.testing.assert_allclose(prior, cases.prior(5)[:96, 10:106, :96], atol=1e-6)


def test_coarser_voxels_are_averages(made: tuple[Cases, np.ndarray]) -> None:
    cases = made[0]
    image, prior = shown(open_inputs(cases, InputView(spacing_mm=4, edge=48), "refined"), 2)
    for found, fine, within in (
        (image, cases.image(2), 2e-3),  # half precision
        (prior, cases.refined(2), 0.5 / 255 + 1e-6),
    ):
        window = fine[:96, 10:106, :96].astype(float)
        expected = sum(window[a::2, b::2, c::2] for a in (0, 1) for b in (0, 1) for c in (0, 1))
        np.testing.assert_allclose(found, expected / 8, atol=within)


def test_a_region_is_cut_around_the_chosen_prior(made: tuple[Cases, np.ndarray]) -> None:
    cases = made[0]
    for localisation in ("coarse", "refined"):
        inputs = open_inputs(cases, InputView(of="region", edge=24), localisation, shift=2)
        for case in range(3):
            _, prior = shown(inputs, case)
            middle = np.argwhere(prior > 0.5).mean(axis=0) + 0.5
            np.testing.assert_allclose(middle, 12, atol=0.5)
    none = open_inputs(cases, InputView(), "none")
    assert shown(none, 0)[1].max() == 0


def test_a_region_at_the_edge_of_the_grid_is_filled_with_background() -> None:
    cases, _ = made_cases(1)
    volumes = cases.volumes
    assert volumes is not None
    volumes.prior[:] = 0
    volumes.prior[0, :2, :2, :2] = 255
    image, prior = shown(open_inputs(cases, InputView(of="region", edge=16), "coarse"), 0)
    assert (prior[7:9, 7:9, 7:9] == 1).all()
    assert prior.sum() == 8
    assert not image[:7].any()
    np.testing.assert_array_equal(image[7:, 7:, 7:], cases.image(0)[:9, :9, :9])


def test_without_a_prior_a_region_is_the_middle_of_the_brain() -> None:
    cases, _ = made_cases(1)
    assert cases.volumes is not None
    cases.volumes.prior[:] = 0
    image, _ = shown(open_inputs(cases, InputView(of="region", edge=16), "coarse"), 0)
    np.testing.assert_array_equal(image, cases.image(0)[40:56, 50:66, 34:50])


def test_mapped_volumes_are_shared_by_name(tmp_path: Path, made: tuple[Cases, np.ndarray]) -> None:
    cases, _ = made_cases(N, on_disk=str(tmp_path))
    inputs = open_inputs(cases.subset(TRAINED), InputView())
    sent = pickle.dumps(inputs)
    assert len(sent) < 5000
    for case in (0, 7):
        np.testing.assert_array_equal(shown(pickle.loads(sent), case), shown(inputs, case))
        np.testing.assert_array_equal(
            shown(open_inputs(made[0], InputView()), case), shown(inputs, case)
        )


@pytest.mark.parametrize(
    ("n", "batch", "accumulate"), [(199, 2, 2), (8, 2, 2), (3, 4, 2), (1, 2, 1)]
)
def test_an_epoch_shows_every_case_in_whole_steps(n: int, batch: int, accumulate: int) -> None:
    order = shuffled(n, batch, accumulate, np.random.default_rng(0))
    assert all(len(cases) == batch for cases in order)
    assert len(order) % accumulate == 0
    counts = np.bincount(np.concatenate(order), minlength=n)
    assert counts.min() == len(order) * batch // n
    assert counts.max() - counts.min() <= 1
    assert sum(counts) < n + batch * accumulate
    assert np.concatenate(in_turn(n, batch)).tolist() == list(range(n))


# What it learns by


def test_class_weights() -> None:
    labels = np.repeat([0, 1, 3], [64, 16, 4])
    assert class_weights(labels, "none").tolist() == pytest.approx([1, 1, 0, 1])
    for kind, power in (("sqrt", 0.5), ("inverse", 1.0)):
        weights = class_weights(labels, kind)
        assert weights[labels].mean() == pytest.approx(1)
        assert weights[3] / weights[0] == pytest.approx(16**power)
        assert weights[2] == 0


def bare_training(
    made: tuple[Cases, np.ndarray], settings: DiagnoserSettings, seed: int
) -> dict[str, Any]:
    """The recipe as a plain loop: PyTorch's parts, the package's batches, no Lightning."""
    from ictmri_baselines.diagnoser.training import Labelled

    cases, labels = made
    inputs = open_inputs(cases.subset(TRAINED), settings.view)
    training = Training(
        network := bare_network(settings, seed),
        settings.optimisation,
        settings.augmentation,
        Labelled(inputs, labels[TRAINED]),
        inner=None,
        seed=seed,
    )
    chosen = settings.optimisation
    average = {name: value.clone() for name, value in network.state_dict().items()}
    started = False
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-4, fused=True)
    for epoch in range(chosen.epochs):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 + np.cos(np.pi * (epoch % 3) / 3)) / 2
        torch.manual_seed(torch_seed(seed, Stream.NETWORK, epoch, 0))
        for step, (image, prior, classes) in enumerate(batches_of(training, epoch)):
            logits = network(image, prior)
            logs = torch.log_softmax(logits, dim=1)
            target = 0.95 * torch.eye(4)[classes] + 0.05 / 4
            loss = -(target * logs).sum(dim=1).mean() / chosen.accumulate
            loss.backward()
            if step % chosen.accumulate == chosen.accumulate - 1:
                torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimiser.step()
                optimiser.zero_grad()
                share = chosen.average if started else 0
                started = True
                for name, value in network.state_dict().items():
                    average[name] = (share * average[name] + (1 - share) * value).to(value.dtype)
    return average


def bare_network(settings: DiagnoserSettings, seed: int) -> AdaptiveDiagnoser:
    torch.manual_seed(torch_seed(seed, Stream.WEIGHTS))
    return AdaptiveDiagnoser(settings.network).train()


def batches_of(training: Training, epoch: int) -> Any:
    class Fixed:
        current_epoch, global_rank, world_size = epoch, 0, 1

    training._trainer = Fixed()
    return training.train_dataloader()


@pytest.mark.parametrize("average", [0, 0.8])
def test_lightning_does_what_a_plain_loop_does(
    average: float, tmp_path: Path, made: tuple[Cases, np.ndarray]
) -> None:
    changed = {"epochs": 5, "learning_rate": 5e-3, "period": 3, "clip": 0.5, "average": average}
    recipe = TINY | {"optimisation": changed}
    fitted(made, tmp_path, seed=4, **recipe)
    expected = bare_training(made, read_settings(recipe), 4)
    found = load_file(tmp_path / MODEL)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_it_trains_and_clips_in_mixed_precision(made: tuple[Cases, np.ndarray]) -> None:
    mixed = TINY["compute"] | {"precision": "bf16-mixed"}
    found = fitted(made, **TINY | {"compute": mixed, "optimisation": {"epochs": 1, "clip": 0.5}})
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_seed_is_all_that_is_random(made: tuple[Cases, np.ndarray]) -> None:
    torch.manual_seed(123)
    first = fitted(made)
    torch.rand(17)
    np.testing.assert_array_equal(first, fitted(made))
    assert not np.array_equal(first, fitted(made, seed=4))
    np.testing.assert_allclose(first.sum(axis=1), 1)


def test_a_prediction_depends_on_no_other_test_case(made: tuple[Cases, np.ndarray]) -> None:
    cases, labels = made
    whole = fitted(made)
    for last in (0, 1):
        few = np.flatnonzero(~TRAINED)[: last + 1]
        some = np.isin(np.arange(N), few)
        alone = adaptive_diagnoser(
            cases.subset(TRAINED), labels[TRAINED], cases.subset(some), seed=3, **TINY
        )
        np.testing.assert_allclose(alone, whole[: last + 1], rtol=1e-5)
    none = cases.subset(np.zeros(N, dtype=bool))
    assert adaptive_diagnoser(
        cases.subset(TRAINED), labels[TRAINED], none, seed=3, **TINY
    ).shape == (0, 4)


def test_it_learns() -> None:
    cases, labels = made_cases(60, seed=1)
    train = np.arange(60) < 44
    recipe = TINY | {
        "network": {"settings": {"width": 6, "depth": (2, 2)}},
        "view": {"of": "region", "edge": 16},
        "optimisation": {"epochs": 10, "learning_rate": 5e-3, "batch": 4, "accumulate": 1},
    }
    found = adaptive_diagnoser(
        cases.subset(train), labels[train], cases.subset(~train), seed=1, **recipe
    )
    assert (found.argmax(axis=1) == labels[~train]).mean() > 0.7


# What a kill leaves behind


def killed_when(ready: Any, made: tuple[Cases, np.ndarray], folder: Path, **settings: Any) -> None:
    """Train in a process of its own and kill it at once when ``ready()`` is true."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=fitted, args=(made, folder), kwargs=settings)
    child.start()
    until = time.monotonic() + 60
    while not ready() and child.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    assert child.is_alive(), "it ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.join()


@pytest.mark.parametrize("recipe", [TINY, SELECTED], ids=["fixed-epoch", "inner-validation"])
def test_killed_and_called_again_it_ends_in_the_same_bytes(
    tmp_path: Path, made: tuple[Cases, np.ndarray], recipe: dict[str, Any]
) -> None:
    recipe = recipe | {"optimisation": {"epochs": 10, "learning_rate": 1e-3, "average": 0.9}}
    expected = fitted(made, tmp_path / "whole", **recipe)
    folder = tmp_path / "killed"
    last = folder / "last.ckpt"
    seen, killed_at = [-1], set()
    for epoch in (2, 5):

        def ready(epoch: int = epoch) -> bool:
            seen[0] = epoch_of(last) if last.is_file() else -1
            return seen[0] >= epoch

        killed_when(ready, made, folder, **recipe)
        killed_at.add(epoch_of(last))
        assert not (folder / MODEL).exists()
    found = fitted(made, folder, **recipe)
    np.testing.assert_array_equal(found, expected)
    assert (folder / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()
    rows = [row for log in sorted(folder.glob("log/*/metrics.csv")) for row in read_csv(log)]
    assert len(list(folder.glob("log/part-*"))) == 3
    # Lightning writes the row of an epoch after its checkpoint: a kill in between loses the row alone.
    assert {int(row["epoch"]) for row in rows} | killed_at == set(range(10))
    assert {path.name for path in folder.iterdir()} <= {
        "log", "tensorboard", MODEL, CARD, REFERENCE, "training.json",
    }  # fmt: skip


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as stream_:
        return list(csv.DictReader(stream_))


def test_a_finished_training_is_not_repeated(
    tmp_path: Path, made: tuple[Cases, np.ndarray]
) -> None:
    first = fitted(made, tmp_path, **SELECTED)
    before = (tmp_path / MODEL).stat().st_mtime_ns
    again = fitted(made, tmp_path, **SELECTED)
    # Not equal to the last bit: see what a pin is for in ictmri_baselines.machine.
    np.testing.assert_allclose(again, first, rtol=1e-6)
    assert (tmp_path / MODEL).stat().st_mtime_ns == before


def test_states_of_another_training_are_not_taken(
    tmp_path: Path, made: tuple[Cases, np.ndarray]
) -> None:
    fitted(made, tmp_path)
    for change in ({"seed": 9}, {"origin": {"data_sha256": "other"}}, SELECTED):
        found = fitted(made, tmp_path, **change)
        known = {k: v for k, v in change.items() if k != "origin"}
        np.testing.assert_array_equal(found, fitted(made, **known))


# Which weights are kept, and how they are used


def test_cases_are_held_back_by_class() -> None:
    labels = np.repeat([0, 1, 2, 3], [96, 48, 4, 1])
    chosen = held_back(labels, 0.2, 5)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [19, 10, 1, 0]
    np.testing.assert_array_equal(chosen, held_back(labels, 0.2, 5))
    assert not np.array_equal(chosen, held_back(labels, 0.2, 6))


def test_inner_validation_keeps_the_epoch_with_the_lowest_loss(
    tmp_path: Path, made: tuple[Cases, np.ndarray]
) -> None:
    recipe = SELECTED | {"optimisation": {"epochs": 8, "learning_rate": 0.02, "period": 3}}
    fitted(made, tmp_path, **recipe)
    rows = read_csv(tmp_path / "log/part-0/metrics.csv")
    losses = {int(row["epoch"]): float(row["inner_loss"]) for row in rows if row["inner_loss"]}
    description = read_description(tmp_path / MODEL)
    assert len(losses) == 8
    assert description.epoch == min(losses, key=losses.__getitem__) + 1
    assert (description.n_train, description.n_inner) == (7, 4)
    network, _ = load_model(tmp_path / MODEL)
    cases, labels = made[0].subset(TRAINED), made[1][TRAINED]
    inner = held_back(labels, 0.2, 3)
    inputs = open_inputs(cases.subset(inner), InputView(of="region", edge=12))
    found = predict(network, inputs, batch=2)
    loss = -np.log(found[np.arange(4), labels[inner]]).mean()
    assert loss == pytest.approx(min(losses.values()), rel=1e-5)
    assert description.temperature == pytest.approx(fit_temperature(found, labels[inner]))


def test_temperature_is_the_best_one() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=p) for p in right])
    sharp = apply_temperature(right, 1 / 2.5)
    assert fit_temperature(sharp, labels) == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(
        apply_temperature(sharp, 2.5), right, atol=2e-5
    )  # 1e-12 is the least

    def loss(temperature: float) -> float:
        return -np.log(apply_temperature(sharp, temperature)[np.arange(4000), labels]).mean()

    grid = optimize.brute(loss, [slice(0.5, 6, 0.01)], finish=None)
    assert fit_temperature(sharp, labels) == pytest.approx(float(grid), abs=0.011)


def test_temperature_of_cases_that_are_all_right_stays_finite() -> None:
    certain = np.eye(4)[[0, 1, 2, 3]]
    assert 0.04 < fit_temperature(certain, np.arange(4)) < 1
    assert np.isfinite(apply_temperature(certain, 0.05)).all()


def test_variants_and_members_are_averaged(made: tuple[Cases, np.ndarray], tmp_path: Path) -> None:
    fitted(made, tmp_path / "one")
    network, _ = load_model(tmp_path / "one" / MODEL)
    inputs = open_inputs(made[0].subset(~TRAINED), InputView(of="region", edge=12))
    image, prior = (
        np.stack(x)[:, None] for x in zip(*(shown(inputs, i) for i in range(3)), strict=True)
    )

    def passed(turns: int, flip: bool) -> np.ndarray:
        pair = [np.rot90(x[:, :, ::-1] if flip else x, turns, (2, 3)) for x in (image, prior)]
        with torch.inference_mode():
            logits = network(*(torch.from_numpy(x.copy()) for x in pair))
        return torch.softmax(logits.double(), dim=1).numpy()

    for tta, turns in (("mirror", (0,)), ("turns", range(4))):
        expected = np.mean([passed(k, flip) for k in turns for flip in (False, True)], axis=0)
        found = fitted(made, **TINY, prediction={"tta": tta})
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    both = fitted(made, tmp_path / "two", **TINY, prediction={"members": 2})
    parts = [load_model(path)[0] for path in sorted((tmp_path / "two").rglob(MODEL))]
    expected = np.mean([predict(part, inputs, batch=2) for part in parts], axis=0)
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    assert len({path.read_bytes() for path in (tmp_path / "two").rglob(MODEL)}) == 2


# What is written


def test_a_model_describes_itself(tmp_path: Path, made: tuple[Cases, np.ndarray]) -> None:
    origin = {
        "recipe": "table2/5", "profile": "smoke", "cohort": "made", "synthetic": True,
        "data_sha256": "d" * 64, "fold": 2, "seed": 0,
    }  # fmt: skip
    expected = fitted(made, tmp_path, origin=origin, **TINY)
    network, description = load_model(tmp_path / MODEL)
    inputs = open_inputs(made[0].subset(~TRAINED), InputView(of="region", edge=12))
    np.testing.assert_array_equal(predict(network, inputs, batch=2), expected)
    assert DiagnoserSettings(**description.settings).model_dump(mode="json") == description.settings
    assert description.settings == read_settings(TINY).model_dump(mode="json")
    assert description.origin == origin
    text = (tmp_path / CARD).read_text()
    for said in ("Research use only", "Not a medical device", "SYNTHETIC", "table2/5", "d" * 64):
        assert said in text


@pytest.mark.parametrize("how", ["missing", "torn", "foreign", "other weights"])
def test_what_is_no_model_is_refused(
    tmp_path: Path, made: tuple[Cases, np.ndarray], how: str
) -> None:
    fitted(made, tmp_path)
    path = tmp_path / MODEL
    if how == "missing":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:500])
    elif how == "foreign":
        save_file({"x": torch.ones(2)}, path)
    else:
        description = read_description(path)
        settings = {**description.settings, "network": {"settings": {"width": 8, "depth": [1]}}}
        text = json.dumps({**vars_of(description), "settings": settings})
        save_file(load_file(path), path, metadata={"description": text})
    with pytest.raises(InputError, match="no model of this package"):
        load_model(path)


def vars_of(description: Any) -> dict[str, Any]:
    return {name: getattr(description, name) for name in description.__dataclass_fields__}


def test_nothing_is_printed(
    made: tuple[Cases, np.ndarray], capfd: pytest.CaptureFixture[str], recwarn: Any
) -> None:
    fitted(made, **SELECTED)
    assert tuple(capfd.readouterr()) == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {
        "optimisation": {"epochs": 0, "momentum": 0.9},
        "view": {"edge": 7, "of": "head"},
        "selection": {"temperature": True},
    }
    with pytest.raises(InputError) as caught:
        read_settings(wrong)
    text = str(caught.value)
    for part in ("epochs", "momentum", "view.edge", "view.of", "inner-validation"):
        assert part in text
    no_prior = {"localisation": "none", "attention": False}
    for problem, settings in (
        ("cut around a prior", {"view": {"of": "region"}, "network": no_prior}),
        ("attention needs a prior", {"network": {"localisation": "none"}}),
    ):
        with pytest.raises(InputError, match=problem):
            read_settings(settings)


def test_devices_share_the_batches_of_a_step(made: tuple[Cases, np.ndarray]) -> None:
    with pytest.raises(InputError, match="2 batches a step for 3 devices"):
        fitted(made, **TINY | {"compute": {"device": "cpu", "devices": 3}})


def test_two_processes_train_what_one_trains(
    tmp_path: Path, made: tuple[Cases, np.ndarray]
) -> None:
    """Without dropout, and with the batches of one: the same gradients, added in another order."""
    recipe = TINY | {
        "network": {"settings": {"width": 4, "depth": (1,)}, "dropout": 0.0},
        "optimisation": {"epochs": 2, "batch": 2, "accumulate": 2, "learning_rate": 1e-3},
    }
    fitted(made, tmp_path / "1", **recipe)
    fitted(made, tmp_path / "2", **recipe | {"compute": {"device": "cpu", "devices": 2}})
    one, two = (load_file(tmp_path / folder / MODEL) for folder in ("1", "2"))
    for name, value in one.items():
        if not any(own in name for own in ("running", "tracked")):  # of a process's own batches
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_the_grid_is_the_one_that_the_view_was_measured_on() -> None:
    assert SHAPE == (97, 115, 97)
    assert stream(1, Stream.ORDER, 2).integers(2**40) != stream(2, Stream.ORDER, 1).integers(2**40)


# Damaged states


def interrupted(
    made: tuple[Cases, np.ndarray], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train to the end, and stop before the model is written."""

    def stop(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr("ictmri_baselines.diagnoser.fit._keep", stop)
        with pytest.raises(InterruptedError):
            fitted(made, folder, **SELECTED)


def test_damaged_states_are_set_aside_and_the_training_done_again(
    tmp_path: Path,
    made: tuple[Cases, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = fitted(made, tmp_path / "whole", **SELECTED)
    interrupted(made, tmp_path / "kept", monkeypatch)
    assert (tmp_path / "kept" / "best.ckpt").is_file()
    turns = [("last.ckpt", how) for how in DAMAGES]
    turns += [("best.ckpt", "empty"), ("best.ckpt", "garbled"), ("training.json", "garbled")]
    for name, how in turns:
        folder = tmp_path / how / name
        shutil.copytree(tmp_path / "kept", folder)
        damage(folder / name, how)
        np.testing.assert_array_equal(fitted(made, folder, **SELECTED), expected)
        assert (folder / f"{name}.damaged").is_file()
        assert f"{folder / name} is damaged" in capsys.readouterr().err
        assert (folder / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()


def test_a_damaged_model_is_trained_again(tmp_path: Path, made: tuple[Cases, np.ndarray]) -> None:
    expected = fitted(made, tmp_path)
    before = (tmp_path / MODEL).read_bytes()
    for name, how in ((MODEL, "garbled"), (REFERENCE, "cut"), ("training.json", "empty")):
        damage(tmp_path / name, how)
        np.testing.assert_array_equal(fitted(made, tmp_path), expected)
        assert (tmp_path / MODEL).read_bytes() == before
        assert (tmp_path / f"{name}.damaged").is_file()
