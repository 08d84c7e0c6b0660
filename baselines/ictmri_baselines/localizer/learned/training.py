"""Training: synthetic heads are made, kept, and shown to the network; seeded, resumable."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from ictmri.errors import InputError
from ictmri.io.files import write_bytes, write_text
from ictmri.io.parallel import run_all
from ictmri.io.states import kept
from ictmri.phantom import N_CASES, render, roster
from ictmri.phantom.fields import resample_axes
from ictmri_baselines.localizer.classical.evidence import evidence, evidence_of
from ictmri_baselines.localizer.classical.grid_2mm import Field, Mask
from ictmri_baselines.localizer.learned.channels import (
    CROP,
    CROPPED,
    N_FIELDS,
    PEAKS,
    Levels,
    channels_of,
    fields_of,
    shares,
)
from ictmri_baselines.localizer.learned.heads import wide_head
from ictmri_baselines.localizer.learned.network import UNet, network
from ictmri_baselines.localizer.learned.weights import write_weights
from ictmri_baselines.processor import PRESETS, process
from ictmri_baselines.tensors import opened

HEADS_VERSION: Final = 2
"""To be raised with whatever changes a head: none that was made before is learnt from then."""
PHANTOMS: Final = 2
"""Every so many heads one is a phantom that went through the light settings."""
PHANTOM_SEED: Final = 9_100_000
"""Plus the training's seed: the cohort seed of the first phantoms; no published cohort has it."""
NEXT_COHORT: Final = 1000
"""Added to the cohort seed where the phantoms of one are used up."""


@dataclass(frozen=True, slots=True)
class Example:
    """A head as it is learnt from, cut to the brain.

    Attributes:
        fields: see :func:`..channels.fields_of`.
        core: of the tumours, bool.
        whole: core and oedema, bool.
    """

    fields: Levels
    core: Mask
    whole: Mask


def _make_head_file(folder: Path, place: tuple[int, int]) -> None:
    """Make the head of a seed and an index, if it is not there yet."""
    path = head_file(folder, *place)
    if not path.exists():
        example, stream = make_head(*place), io.BytesIO()
        truth = np.packbits(np.stack([example.core, example.whole]))
        np.savez_compressed(stream, fields=example.fields, truth=truth)
        write_bytes(path, stream.getvalue())


def head_file(folder: Path, seed: int, index: int) -> Path:
    """Return where a head is kept."""
    return folder / f"heads-{HEADS_VERSION}" / f"head-{seed}-{index:05d}.npz"


def _head(folder: Path, seed: int, index: int) -> Example:
    """Return a head; one that a disk damaged is made again."""
    path = head_file(folder, seed, index)
    if (found := kept(path, read_head)) is None:
        _make_head_file(folder, (seed, index))
        found = read_head(path)
    return found


def read_head(path: Path) -> Example:
    """Return a head that was made."""
    with np.load(path, allow_pickle=False) as found:
        truth = np.unpackbits(found["truth"]).reshape(2, *CROPPED).astype(bool)
        return Example(found["fields"], truth[0], truth[1])


def make_head(seed: int, index: int) -> Example:
    """Make a head; half are drawn wide, the others are phantoms after the light settings."""
    if index % PHANTOMS == PHANTOMS - 1:
        return _phantom(seed, index)
    attempt = index
    while True:
        head = wide_head(seed, attempt)
        seen = evidence(head.image, head.mask)
        if seen is not None:
            return Example(fields_of(seen), head.core[CROP], head.whole[CROP])
        attempt += 10_000_000  # too little of the brain in the field of view: another head


def _phantom(seed: int, index: int) -> Example:
    turn, place = divmod(index // PHANTOMS, N_CASES)
    case = roster(PHANTOM_SEED + seed + NEXT_COHORT * turn)[place]
    drawn = render(case)
    processed = process(drawn.image, PRESETS["light"])
    seen = evidence_of(processed.brain)
    if seen is None:
        raise ValueError(f"{case.case_id} of seed {case.cohort_seed} cannot be compared")
    truth = np.asarray(drawn.lesion_mask.dataobj)
    moved = [
        processed.mapping.pull(
            np.isin(truth, labels).astype(np.float32), np.asarray(drawn.image.affine), 2
        )
        > 0.5
        for labels in ((1, 2), (1, 2, 3))
    ]
    return Example(fields_of(seen), moved[0][CROP], moved[1][CROP])


DECAY: Final = 1e-4
WARM_UP: Final = 50
AVERAGE: Final = 0.995
"""Of the running mean of the weights, which is what is kept in the end."""
CHECKPOINT: Final = "checkpoint.safetensors"
FOUND: Final = 0.25
"""A core counts as found where this share of it is covered."""
PACE: Final = 2
Part = dict[str, int]
"""Steps of a training that were asked for at once: from which on, with how many heads, to which."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a training depends on.

    Attributes:
        folder: of heads, checkpoints and curves.
        seed: of the heads, the weights and what is drawn.
        heads: how many are learnt from, in the end.
        first: with how many it begins; one more every :data:`PACE` steps: they can be made meanwhile.
        steps: two heads each.
        every: steps between checkpoints and measurements.
        held: heads of the next seed on which the curve is measured; nothing is learnt from them.
        rate: highest learning rate.
        narrow: networks of a size for trying things out.
        threads: of a step; another number may give other bytes.
    """

    folder: Path
    seed: int = 1
    heads: int = 1100
    first: int = 700
    steps: int = 6000
    every: int = 250
    held: int = 32
    rate: float = 2e-3
    narrow: bool = False
    threads: int = 1


def train_detector(given: Training, *, jobs: int | None = None) -> Iterator[dict[str, float]]:
    """Make the heads, train the network, and write ``detector.safetensors``.

    Args:
        given: what the training depends on; what is there of it in its folder is kept.
        jobs: processes that make heads, all usable cores where None.

    Yields:
        The rows of its curve, as they come.

    Raises:
        InputError: the folder holds another training.
    """
    head_file(given.folder, given.seed, 0).parent.mkdir(parents=True, exist_ok=True)
    wanted = [(given.seed, index) for index in range(given.heads)]
    wanted += [(given.seed + 1, index) for index in range(given.held)]
    make = partial(_make_head_file, given.folder)
    run_all(make, wanted, total=len(wanted), title="heads", unit="head", jobs=jobs)
    yield from train(given)
    made = _State.begin(given)
    made.go_on(given.folder / CHECKPOINT)
    facts = _facts(given, made.parts) | {"steps": made.step}
    write_weights(given.folder / "detector.safetensors", made.averaged, facts)


def _facts(given: Training, parts: Sequence[Part]) -> dict[str, Any]:
    """Return what the header of the weights says of the training."""
    heads = max((part["heads"] for part in parts), default=given.heads)
    return {
        "seed": given.seed,
        "phantom_cohort_seeds": [
            PHANTOM_SEED + given.seed + NEXT_COHORT * turn
            for turn in range(1 + (heads - 1) // (PHANTOMS * N_CASES))
        ],
        "parts": list(parts),
        "narrow": given.narrow,
        "threads": given.threads,
        "torch": torch.__version__,
    }


def train(given: Training) -> Iterator[dict[str, float]]:
    """Train on the heads that are there, or go on at the last checkpoint; yields rows of the curve.

    Raises:
        InputError: the checkpoint belongs to another training.
    """
    torch.set_num_threads(given.threads)
    made, path = _State.begin(given), given.folder / CHECKPOINT
    made.go_on(path)
    held = [_head(given.folder, given.seed + 1, index) for index in range(given.held)]
    memory: dict[int, tuple[Field, Field]] = {}
    made.begin_part(given)
    start = time.perf_counter()
    while made.step < given.steps:
        seen, truth = _batch(given, made.step, memory)
        loss = made.learn(seen, truth, given)
        if made.step % given.every == 0 or made.step == given.steps:
            made.seconds += time.perf_counter() - start
            row = {"step": made.step, "seconds": round(made.seconds, 1), "loss": round(loss, 4)}
            row |= _measured(made.averaged, held)
            made.save(path)
            _append(given.folder / "curve.csv", row)
            yield row
            start = time.perf_counter()


class _State:
    """A network under way, with the running mean of its weights."""

    def __init__(self, net: UNet, averaged: UNet, identity: str) -> None:
        self.net, self.averaged, self.identity = net, averaged, identity
        self.optimizer = torch.optim.AdamW(net.parameters(), weight_decay=DECAY)
        self.step, self.seconds = 0, 0.0
        self.parts: list[Part] = []

    @classmethod
    def begin(cls, given: Training) -> _State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            net, averaged = (network(narrow=given.narrow) for _ in range(2))
        averaged.load_state_dict(net.state_dict())
        identity = (
            f"seed {given.seed}, narrow {given.narrow}, threads {given.threads}, "
            f"heads of version {HEADS_VERSION}"
        )
        return cls(net, averaged, identity)

    def begin_part(self, given: Training) -> None:
        """Note what the steps to come are shown, where that is not what those before were."""
        asked: Part = {"heads": given.heads, "first_heads": given.first, "steps": given.steps}
        same = self.parts and asked.items() <= self.parts[-1].items()
        if self.step < given.steps and not same:
            self.parts.append({"from_step": self.step, **asked})

    def learn(self, seen: torch.Tensor, truth: torch.Tensor, given: Training) -> float:
        for group in self.optimizer.param_groups:
            warm = min((self.step + 1) / min(WARM_UP, 1 + given.steps / 10), 1.0)
            cosine = 0.5 + 0.5 * np.cos(np.pi * self.step / given.steps)
            group["lr"] = given.rate * warm * cosine
        self.net.train()
        loss = _loss(self.net(seen.contiguous(memory_format=torch.channels_last_3d)), truth)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        kept = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.net.parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - kept)
        return float(loss.detach())

    def _tensors(self) -> dict[str, torch.Tensor]:
        found = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        found |= {f"mean.{k}": v for k, v in self.averaged.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
        return found

    def save(self, path: Path) -> None:
        facts = {"identity": self.identity, "step": str(self.step), "seconds": str(self.seconds)}
        facts["parts"] = json.dumps(self.parts)
        tensors = {k: v.contiguous() for k, v in self._tensors().items()}
        write_bytes(path, save(tensors, facts))

    def go_on(self, path: Path) -> None:
        """Take the state of a checkpoint, where there is one; a damaged one is set aside."""
        state = kept(path, _checkpoint)
        if state is None:
            return
        facts, found = state
        if facts.get("identity") != self.identity:
            raise InputError(
                str(path),
                [f"it is of {facts.get('identity')}, not of {self.identity}"],
                "take another folder",
            )
        for prefix, part in (("net.", self.net), ("mean.", self.averaged)):
            part.load_state_dict(_under(found, prefix))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under(found, "optimizer.").items():
            number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self.parts = json.loads(facts.get("parts", "[]"))


def _checkpoint(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with opened(path, "pt") as stream:
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
        return stream.metadata() or {}, tensors


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy and soft Dice of core and whole lesion; samples without one have no Dice."""
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, truth)
    guess = torch.sigmoid(logits)
    axes = (2, 3, 4)
    both = (guess * truth).sum(axes)
    dice = (2 * both + 1) / (guess.sum(axes) + truth.sum(axes) + 1)
    there = truth.sum(axes) > 0
    missed = ((1 - dice) * there).sum() / there.sum().clamp(min=1)
    return 8 * entropy + missed


def _batch(
    given: Training, step: int, memory: dict[int, tuple[Field, Field]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two heads, varied; which ones and how depends on the seed and the step alone."""
    rng = np.random.default_rng([given.seed, 0, step])
    pool = min(given.heads, given.first + step // PACE)
    samples = []
    for index in rng.integers(pool, size=2).tolist():
        if index not in memory:
            example = _head(given.folder, given.seed, index)
            truth = shares(np.stack([example.core, example.whole]))
            memory[index] = channels_of(example.fields).astype(np.float16), truth
        seen, truth = memory[index]
        samples.append(_augmented(rng, seen.astype(np.float32), truth))
    seen_all, truth_all = zip(*samples, strict=True)
    return torch.stack(seen_all), torch.stack(truth_all)


def _augmented(
    rng: np.random.Generator, seen: Field, truth: Field
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vary the evidence: its scale, level, drift and noise; fields are lost; flips, shifts."""
    # A field and its largest values change together.
    chosen, n = np.concatenate([np.arange(N_FIELDS), np.arange(PEAKS)]), N_FIELDS + PEAKS
    scale = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.12, N_FIELDS))
    offset = rng.normal(0, 0.15, N_FIELDS)
    kept = rng.random(N_FIELDS) >= 0.06
    scale[-1], offset[-1] = 1, 0  # depth is a length
    ends = [np.linspace(0, 3, size, dtype=np.float32) for size in seen.shape[1:]]
    drift = rng.normal(0, rng.uniform(0, 0.4), (N_FIELDS, 4, 4, 4))
    smooth = np.stack([resample_axes(d.astype(np.float32), ends) for d in drift])
    noise = rng.standard_normal(seen.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.25))
    out = seen.copy()
    out[:n] = out[:n] * scale[chosen, None, None, None] + offset[chosen, None, None, None]
    out[:n] += smooth[chosen] + noise[:n]
    out[:n] *= kept[chosen, None, None, None]
    truth = np.asarray(truth, dtype=np.float32)
    if rng.random() < 0.5:
        out, truth = out[:, ::-1], truth[:, ::-1]
    for axis in range(1, 4):
        by = int(rng.integers(-2, 3))
        out, truth = np.roll(out, by, axis), np.roll(truth, by, axis)
    return (
        torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32)),
        torch.from_numpy(np.ascontiguousarray(truth)),
    )


def _measured(net: nn.Module, held: list[Example]) -> dict[str, float]:
    """Return recall, Dice and false positives of the core on held heads, above one half."""
    net.eval()
    dice, found, false = [], [], []
    for example in held:
        with torch.inference_mode():
            seen = torch.from_numpy(channels_of(example.fields))[None]
            marked = (net(seen)[0, 0] > 0).numpy()
        truth = shares(example.core)
        core = truth > 0.5
        false.append(float((marked & (truth <= 0)).sum()) * 4**3 / 1000)
        if core.any():
            both = float((marked & core).sum())
            dice.append(2 * both / float(marked.sum() + core.sum()))
            found.append(both >= FOUND * float(core.sum()))
    return {
        "found": round(float(np.mean(found)), 3),
        "dice_median": round(float(np.median(dice)), 3),
        "dice_half": round(float(np.mean(np.array(dice) >= 0.5)), 3),
        "false_ml_median": round(float(np.median(false)), 2),
        "false_ml_max": round(float(np.max(false)), 2),
    }


def _append(path: Path, row: dict[str, float]) -> None:
    """Add a row to a curve; rows that a resumed training makes again are replaced."""
    rows = [old for old in kept(path, _curve) or [] if int(old["step"]) < row["step"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, row])
    write_text(path, text.getvalue())


def _curve(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        int(row["step"])
    return rows
