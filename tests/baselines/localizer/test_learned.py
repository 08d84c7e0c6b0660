import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri.phantom import render, roster
from ictmri_baselines.localizer import localize
from ictmri_baselines.localizer.detectors import detector_settings, recorded
from ictmri_baselines.localizer.learned import training, weights
from ictmri_baselines.localizer.learned.channels import (
    CHANNELS,
    CROPPED,
    N_FIELDS,
    channels_of,
    shares,
)
from ictmri_baselines.localizer.learned.heads import wide_head
from ictmri_baselines.localizer.learned.training import (
    CHECKPOINT,
    Training,
    head_file,
    train,
    train_detector,
)
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.processor import PRESETS, process

HELD_SEED = 9_700_001
"""No head of it was learned from: see the card of the weights."""


def made_heads(folder: Path, *, heads: int = 3, held: int = 2, steps: int = 4) -> Training:
    """Write heads whose tumour is a bright block in noise, as a training expects them."""
    given = Training(
        folder, heads=heads, first=heads, held=held, steps=steps, every=steps // 2, narrow=True
    )
    head_file(folder, given.seed, 0).parent.mkdir(parents=True)
    for seed, count in ((given.seed, heads), (given.seed + 1, held)):
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            fields = rng.integers(-10, 10, (N_FIELDS, *CROPPED)).astype(np.int8)
            x, y, z = rng.integers(16, 50, 3)
            core = np.zeros(CROPPED, bool)
            core[x : x + 14, y : y + 14, z : z + 14] = True
            fields[0][core] = 90
            truth = np.packbits(np.stack([core, core]))
            np.savez(head_file(folder, seed, index), fields=fields, truth=truth)
    return given


def test_a_head_is_its_seed_and_holds_its_tumour() -> None:
    head, again = wide_head(5, 2), wide_head(5, 2)
    assert all(
        np.array_equal(getattr(head, k), getattr(again, k)) for k in ("image", "mask", "core")
    )
    assert head.core.any()
    assert not (head.core & ~head.whole).any()
    assert not (head.whole & ~head.mask).any()
    assert not head.image[~head.mask].any()
    free = wide_head(5, 2, tumour_free=True)
    assert not free.whole.any()
    assert 1000 < 0.008 * np.count_nonzero(free.mask) < 2500


def test_a_block_of_4_mm_has_the_mean_and_the_largest_value_of_its_eight_voxels() -> None:
    rng = np.random.default_rng(0)
    fields = rng.integers(-100, 100, (N_FIELDS, *CROPPED)).astype(np.int8)
    seen = channels_of(fields)
    block = fields[:, 20:22, 30:32, 40:42].astype(float) * 0.05
    assert seen.shape == (CHANNELS, 40, 48, 40)
    np.testing.assert_allclose(seen[:N_FIELDS, 10, 15, 20], block.mean(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(seen[N_FIELDS, 10, 15, 20], block[0].max(), atol=1e-5)
    mask = np.zeros(CROPPED, bool)
    mask[20:22, 30:32, 40] = True
    assert shares(mask)[10, 15, 20] == 0.5


def test_a_few_seconds_of_training_learn_what_is_bright(tmp_path: Path) -> None:
    given = replace(made_heads(tmp_path, steps=12), every=12, rate=0.03)
    (row,) = train(given)
    assert row["found"] == 1.0
    assert row["dice_median"] > 0.5


def test_a_training_ends_in_weights_that_the_detector_takes(tmp_path: Path) -> None:
    given = made_heads(tmp_path, steps=2)
    assert [row["step"] for row in train_detector(given, jobs=1)] == [1, 2]
    path = tmp_path / "detector.safetensors"
    settings = detector_settings("synthetic", weights=path)
    settings.prepare(["case"])
    assert recorded(settings)["weights_sha256"] == sha256_file(path)


def test_the_weights_say_which_steps_saw_how_many_heads(tmp_path: Path) -> None:
    given = made_heads(tmp_path, heads=4, steps=2)
    for asked in (replace(given, heads=3, first=3), replace(given, steps=4), given):
        list(train_detector(asked, jobs=1))
    with safe_open(tmp_path / "detector.safetensors", "pt") as stream:
        facts = json.loads(stream.metadata()["training"])
    assert facts["parts"] == [
        {"from_step": 0, "heads": 3, "first_heads": 3, "steps": 2},
        {"from_step": 2, "heads": 4, "first_heads": 4, "steps": 4},
    ]
    assert facts["steps"] == 4


def test_a_training_that_was_ended_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, ended = made_heads(tmp_path / "whole"), made_heads(tmp_path / "ended")
    list(train(whole))
    for _ in train(ended):
        break  # killed after its first checkpoint
    list(train(ended))
    one, other = (load_file(given.folder / CHECKPOINT) for given in (whole, ended))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    curves = [(g.folder / "curve.csv").read_text().splitlines() for g in (whole, ended)]
    assert [line.split(",")[0] for line in curves[0]] == [line.split(",")[0] for line in curves[1]]


def test_what_a_disk_damaged_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = made_heads(tmp_path)
    whole = list(train(given))[-1]
    lost = head_file(given.folder, given.seed + 1, 0)
    content = lost.read_bytes()
    for path in (given.folder / CHECKPOINT, lost):
        path.write_bytes(content[:30])
    (given.folder / "curve.csv").write_text("step\ntwo\n")
    monkeypatch.setattr(training, "_make_head_file", lambda *_: lost.write_bytes(content))
    again = list(train(given))
    assert [row["step"] for row in again] == [2, 4]
    assert again[-1]["loss"] == whole["loss"]
    assert capsys.readouterr().err.count("is damaged") == 3


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    given = replace(made_heads(tmp_path), steps=1)
    list(train(given))
    with pytest.raises(InputError, match="it is of seed 1, narrow True"):
        list(train(replace(given, narrow=False)))


def test_the_weights_that_ship_are_those_of_their_card() -> None:
    assert weights.SHIPPED.stat().st_size <= 6 * 1024**2
    assert weights.digest_of(weights.SHIPPED) == weights.card()["sha256"]


def test_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / weights.SHIPPED.name
    content = bytearray(weights.SHIPPED.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    shutil.copy(weights.SHIPPED.with_suffix(".yaml"), changed.with_suffix(".yaml"))
    monkeypatch.setattr(weights, "SHIPPED", changed)
    with pytest.raises(InputError, match="not the weights that were shipped"):
        weights.digest_of(changed)


def test_weights_of_another_network_are_named_by_tensor(tmp_path: Path) -> None:
    good = load_file(weights.SHIPPED)
    first = next(iter(good))
    path = tmp_path / "mine.safetensors"

    def told(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, path)
        with pytest.raises(InputError) as caught:
            detector_settings("synthetic", weights=path).prepare(["case"])
        return str(caught.value)

    assert f"{first} holds numbers that are not finite" in told(
        good | {first: good[first] * np.nan}
    )
    assert f"no tensor {first}" in told({k: v for k, v in good.items() if k != first})
    assert "ictmri train-detector wrote" in told({"x": torch.zeros(3)})
    assert f"{first} is I32 " in told(good | {first: good[first].int()})


@pytest.mark.parametrize(
    "content", [b"", b"no weights at all", (8).to_bytes(8, "little") + b"{}      "]
)
def test_a_file_without_the_networks_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no weights of this detector"):
        detector_settings("synthetic", weights=path).prepare(["case"])


def test_the_core_of_a_phantom_of_another_seed_is_found() -> None:
    drawn = render(roster(HELD_SEED)[1])
    processed = process(drawn.image, PRESETS["light"])
    settings = detector_settings("synthetic")
    found = settings.detector().detect(processed.brain)
    assert isinstance(found, Region)
    truth = processed.mapping.to_mni(drawn.lesion_mask, 2, order=0)
    core, marked = (truth == 1) | (truth == 2), found.map > 0.5
    assert 2 * np.count_nonzero(core & marked) > 0.5 * (core.sum() + marked.sum())
    assert found.boxes()
    # Where the map were nowhere 0, the refinement would find no normal brain to learn from.
    assert "few-voxels" not in localize(processed.brain, settings.detector()).flags
    facts = recorded(settings)
    assert facts["weights_sha256"] == weights.card()["sha256"]
    assert "weights" not in facts
