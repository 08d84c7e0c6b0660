"""The recipes' method: train an Adaptive-Diagnoser on a fold's training cases, predict its test cases.

The test cases are cut and predicted after the last weight was set; the trainer never holds them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.io.files import canonical_json, remove_parts, sha256_bytes
from ictmri.io.states import facts_in, kept, read_record, write_record
from ictmri_baselines.cases import Cases
from ictmri_baselines.diagnoser.checkpoint import (
    CARD,
    MODEL,
    Description,
    ModelOrigin,
    check_origin,
    load_model,
    save_model,
    versions,
    without_memory,
)
from ictmri_baselines.diagnoser.inputs import NetworkInputs, open_inputs
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    save_reference,
    training_reference,
)
from ictmri_baselines.diagnoser.prediction import apply_temperature, fit_temperature, predict
from ictmri_baselines.diagnoser.settings import DiagnoserSettings, read_settings
from ictmri_baselines.diagnoser.training import (
    BEST,
    LAST,
    LOGS,
    Labelled,
    Stream,
    Training,
    WholeFiles,
    launched,
    make_trainer,
    quiet,
    stream,
    torch_seed,
)
from ictmri_baselines.machine import is_pinned
from ictmri_baselines.methods import Workspace

_IDENTITY: Final = "training.json"


def adaptive_diagnoser(
    train: Cases,
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
    workspace: Workspace | None = None,
    **settings: Any,
) -> NDArray[np.float64]:
    """Train the Adaptive-Diagnoser on the training cases and return probabilities (n_test, 4).

    Killed at any moment and called again with the same workspace, it ends in the same bytes.

    Args:
        train: n cases, each with a volume.
        labels: (n,) their classes.
        test: the cases to predict.
        seed: of initialisation, order, augmentation, dropout and the inner split.
        workspace: where states and logs are kept; a temporary folder where None.
        settings: see :class:`~ictmri_baselines.diagnoser.settings.DiagnoserSettings`.

    Raises:
        InputError: settings that are wrong.
    """
    chosen = read_settings(settings)
    if workspace is not None:
        check_origin(workspace.origin)
    torch.set_num_threads(chosen.compute.threads)
    with ExitStack() as stack:
        if workspace is None:
            workspace = Workspace(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.enter_context(_state_restored())
        members = [
            _trained(train, labels, chosen, _own(workspace, member), _member_seed(seed, member))
            for member in range(chosen.prediction.members)
        ]
        inputs = open_inputs(test, chosen.view, chosen.network.localisation)
        found = [_probabilities(member, inputs, chosen) for member in members]
    averaged: NDArray[np.float64] = np.mean(found, axis=0)
    return averaged


def parameter_count(given: Mapping[str, Any]) -> int:
    """Return how many parameters the network of some settings has; one, where several are averaged.

    Raises:
        InputError: settings that are wrong.
    """
    settings = read_settings(given)
    own = _own_backbone(settings)
    if own is None:
        return without_memory(settings.network).n_parameters
    with _state_restored():
        return AdaptiveDiagnoser(settings.network, own=own).n_parameters


def identity_of(
    train: Cases,
    labels: NDArray[np.int64],
    settings: DiagnoserSettings,
    workspace: Workspace,
    seed: int,
) -> str:
    """Return a digest of all that a trained network follows from: states of another are of no use."""
    everything = {
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "cases": train.case_ids,
        "labels": labels.tolist(),
        "origin": dict(workspace.origin),
        "versions": versions(),
        **({"pinned": True} if is_pinned() else {}),
    }
    return sha256_bytes(canonical_json(everything).encode())


def held_back(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose training cases to hold back: of each class its share, at least one of two or more.

    Args:
        labels: (n,) classes of the training cases.
        share: of each class.
        seed: the choice follows from it.

    Returns:
        (n,) whether each case is held back.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    rng = stream(seed, Stream.SPLIT)
    for label in range(len(CLASSES)):
        places = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(places))), len(places) - 1)
        chosen[places[: max(0, count)]] = True
    return chosen


@dataclass(frozen=True, slots=True)
class _Trained:
    network: AdaptiveDiagnoser
    temperature: float


def _trained(
    train: Cases,
    labels: NDArray[np.int64],
    settings: DiagnoserSettings,
    workspace: Workspace,
    seed: int,
) -> _Trained:
    """Train one network, go on with it, or load it where it is there already."""
    identity = identity_of(train, labels, settings, workspace, seed)
    known = read_record(workspace.folder / _IDENTITY)
    if known is not None and known.get("identity") == identity and known.get("trained"):
        network, description = load_model(workspace.folder / MODEL, own=_own_backbone(settings))
        if description.settings == settings.model_dump(mode="json"):
            return _Trained(network, description.temperature)
    _claim(workspace.folder, identity)
    training = _training(train, labels, settings, seed)
    epoch = _fit(training, settings, workspace.folder)
    network, inner = training.network, training.inner_cases
    temperature = 1.0
    if settings.selection.temperature and inner is not None:
        found = _probabilities(_Trained(network, 1.0), inner.inputs, settings)
        temperature = fit_temperature(found, inner.labels)
    description = Description(
        identity=identity,
        settings=settings.model_dump(mode="json"),
        seed=seed,
        n_train=len(training.train_cases.labels),
        n_inner=0 if inner is None else len(inner.labels),
        epoch=epoch,
        temperature=temperature,
        origin=cast("ModelOrigin", dict(workspace.origin)),
        versions=versions(),
    )
    _keep(workspace.folder, training, description)
    return _Trained(network, temperature)


def _training(
    train: Cases, labels: NDArray[np.int64], settings: DiagnoserSettings, seed: int
) -> Training:
    """Return a fresh network and the cases that it learns from, those held back apart."""
    inputs = open_inputs(
        train, settings.view, settings.network.localisation, shift=settings.augmentation.shift
    )
    inner, held = np.zeros(len(labels), dtype=bool), None
    if settings.selection.by == "inner-validation":
        inner = held_back(labels, settings.selection.inner_share, seed)
        held = Labelled(inputs.subset(inner), labels[inner])
    return Training(
        _network(settings, seed),
        settings.optimisation,
        settings.augmentation,
        Labelled(inputs.subset(~inner), labels[~inner]),
        inner=held,
        seed=seed,
        threads=settings.compute.threads,
    )


def _network(settings: DiagnoserSettings, seed: int) -> AdaptiveDiagnoser:
    torch.manual_seed(torch_seed(seed, Stream.WEIGHTS))
    network = AdaptiveDiagnoser(settings.network, own=_own_backbone(settings))
    if settings.compute.channels_last:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if settings.compute.compile:
        network.compile()
        network.training_pass = torch.compile(network.training_pass)  # type: ignore[method-assign]
    return network


def _own_backbone(settings: DiagnoserSettings) -> str | None:
    """Return the class of one's own that settings name; they are of whoever started the training."""
    return settings.network.backbone if settings.network.is_own else None


def _fit(training: Training, settings: DiagnoserSettings, folder: Path) -> int:
    """Train from the last state that was kept; return the epoch whose weights the network has."""
    select = training.inner_cases is not None
    last = _whole_states(folder, select=select)
    with quiet():
        trainer = make_trainer(settings.compute, settings.optimisation, folder, select=select)
        trainer.fit(training, ckpt_path=last)
    if not select:
        return settings.optimisation.epochs
    best = WholeFiles().load_checkpoint(folder / f"{BEST}.ckpt", map_location=_on_cpu)
    training.load_state_dict(best["state_dict"])
    return int(best["epoch"]) + 1


def _whole_states(folder: Path, *, select: bool) -> Path | None:
    """Return the state to go on from, if it is whole and so is what it relies on."""
    last, best = (folder / f"{name}.ckpt" for name in (LAST, BEST))
    if kept(last, _checked) and (not select or kept(best, _checked)):
        return last
    last.unlink(missing_ok=True)
    return None


def _checked(path: Path) -> bool:
    WholeFiles().load_checkpoint(path, map_location=_on_cpu)
    return True


def _on_cpu(storage: Any, location: str) -> Any:  # noqa: ARG001 - as torch calls it
    return storage


def _probabilities(
    member: _Trained, inputs: NetworkInputs, settings: DiagnoserSettings
) -> NDArray[np.float64]:
    """Return calibrated probabilities (n, 4)."""
    network = member.network.to("cuda" if settings.compute.on_gpu else "cpu")
    batch, tta = settings.optimisation.batch, settings.prediction.tta
    return apply_temperature(predict(network, inputs, batch=batch, tta=tta), member.temperature)


def _own(workspace: Workspace, member: int) -> Workspace:
    """Return the first member's workspace, which is that of a single network, or one within it."""
    if member == 0:
        return workspace
    origin = {**workspace.origin, "member": member}
    return Workspace(workspace.folder / f"member-{member}", origin)


def _member_seed(seed: int, member: int) -> int:
    return seed if member == 0 else int(np.random.default_rng([seed, member]).integers(2**31))


@rank_zero_only
def _claim(folder: Path, identity: str) -> None:
    """Remove what another training left here."""
    path = folder / _IDENTITY
    known = kept(path, facts_in)
    if known is not None and known.get("identity") == identity:
        remove_parts(folder)
        return
    for name in (f"{LAST}.ckpt", f"{BEST}.ckpt", MODEL, CARD, REFERENCE):
        (folder / name).unlink(missing_ok=True)
    for name in LOGS:
        shutil.rmtree(folder / name, ignore_errors=True)
    remove_parts(folder)
    write_record(path, {"identity": identity, "trained": False})


@rank_zero_only
def _keep(folder: Path, training: Training, description: Description) -> None:
    """Write the model after what it learned from is like; the states that led to it are not needed then."""
    network, batch = training.network.eval(), training.optimisation.batch
    save_reference(folder, training_reference(network, training.train_cases.inputs, batch=batch))
    model = save_model(folder, network, description)
    facts = {"identity": description.identity, "trained": True}
    write_record(folder / _IDENTITY, facts, [model, folder / REFERENCE])
    if not launched():
        for name in (LAST, BEST):
            (folder / f"{name}.ckpt").unlink(missing_ok=True)


@contextmanager
def _state_restored() -> Iterator[None]:
    """Leave torch's generator and its choice of algorithms as they were."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
