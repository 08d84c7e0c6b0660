"""A trained network as one file that describes itself, and a card beside it for people."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from typing_extensions import TypedDict

from ictmri.classes import CLASSES
from ictmri.errors import InputError, validation_problems
from ictmri.io.files import canonical_json, replacing, sha256_file, write_text
from ictmri.version import __version__
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.diagnoser.stored import (
    Kind,
    differences,
    kinds,
    opened,
    refusal,
    shortened,
)
from ictmri_baselines.reproduction.recipe import Profile

SCHEMA: Final = "ictmri/model/1"
MODEL: Final = "model.safetensors"
CARD: Final = "card.md"
_KEY: Final = "description"
_LIBRARIES: Final = ("torch", "monai", "pytorch-lightning", "numpy")
_DTYPES: Final = {torch.float32: "F32", torch.int64: "I64"}
_LARGEST: Final = 100.0
"""Of a temperature, to either side; what is fitted stays below 20."""


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text of one line")
    return text


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings with every part of them, as the class that checks them writes them."""
    try:
        return read_settings(given).model_dump(mode="json")
    except InputError as error:
        raise ValueError("; ".join(error.problems)) from None


def _ours(classes: tuple[str, ...]) -> tuple[str, ...]:
    if classes != CLASSES:
        raise ValueError(f"must be {', '.join(CLASSES)}, in this order")
    return classes


Word = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0, le=2**53)]
_CHECKED: Final = ConfigDict(extra="forbid", allow_inf_nan=False)


class Origin(TypedDict, total=False):
    """Where a model comes from, see :class:`~ictmri_baselines.workspace.Workspace`."""

    __pydantic_config__ = _CHECKED  # type: ignore[misc]

    recipe: Word
    recipe_sha256: Word
    profile: Profile
    cohort: Word
    folds_sha256: Word
    data_sha256: Word
    ictmri: Word
    synthetic: bool
    processing: dict[Word, bool | int | float | Word | None] | Word | None
    detector: Word | None
    fold: Number
    seed: Number
    member: Number


@dataclass(frozen=True, slots=True, config=_CHECKED)
class Description:
    """What a model file says about itself, every part of it checked.

    Attributes:
        identity: digest of everything that the training followed from, see
            :func:`~ictmri_baselines.diagnoser.fit.identity_of`.
        settings: of :class:`~ictmri_baselines.diagnoser.settings.Settings`, all of them.
        seed: of the training.
        n_train: cases that it learned from.
        n_inner: training cases that were held back for selection and temperature.
        epoch: after which the weights were taken, counted from 1.
        temperature: by which logarithms of probabilities are divided.
        origin: see :class:`~ictmri_baselines.workspace.Workspace`.
        versions: of the libraries that made it.
        classes: in the order of the network's outputs.
        schema: version of this description.
    """

    identity: Digest
    settings: Annotated[dict[str, Any], AfterValidator(_complete)]
    seed: Number
    n_train: Number
    n_inner: Number
    epoch: Number
    temperature: Annotated[float, Field(ge=1 / _LARGEST, le=_LARGEST)] = 1.0
    origin: Origin = field(default_factory=Origin)
    versions: Annotated[dict[Word, Word], Field(max_length=100)] = field(default_factory=dict)
    classes: Annotated[tuple[str, ...], AfterValidator(_ours)] = CLASSES
    schema: Literal["ictmri/model/1"] = SCHEMA


def check_origin(given: Mapping[str, Any]) -> None:
    """Find out before a training whether its model will be able to say where it comes from.

    Raises:
        InputError: with everything that is wrong.
    """
    try:
        TypeAdapter(Origin).validate_python(dict(given))
    except ValidationError as error:
        known = ", ".join(Origin.__annotations__)
        problems = validation_problems(error)
        raise InputError("origin of the model", problems, f"its parts are: {known}") from None


def versions() -> dict[str, str]:
    """Return the versions that a model may depend on."""
    return {
        "ictmri": __version__,
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def save_model(folder: Path, network: AdaptiveDiagnoser, description: Description) -> Path:
    """Write ``model.safetensors`` and, after it, ``card.md``; return the model's path."""
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    path = folder / MODEL
    with replacing(path) as part:
        save_file(tensors, part, metadata={_KEY: canonical_json(asdict(description))})
    count = sum(parameter.numel() for parameter in network.parameters())
    write_text(folder / CARD, card(description, count, sha256_file(path)))
    return path


def read_description(path: Path) -> Description:
    """Read what a model file says about itself, without its weights.

    Raises:
        InputError: it is no model of this package; with everything that is wrong.
    """
    try:
        with opened(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except ValueError as error:
        raise _no_model(path, [str(error)]) from None
    if text is None:
        raise _no_model(path, ["it does not describe itself"])
    try:
        return TypeAdapter(Description).validate_json(text, strict=True)
    except ValidationError as error:
        raise _no_model(path, validation_problems(error)) from None


def load_model(path: Path, *, own: str | None = None) -> tuple[AdaptiveDiagnoser, Description]:
    """Load a model, in evaluation mode on the CPU, and its description.

    What the file says chooses among the backbones of the registry and nothing else. No memory is taken
    before the file's header was found to hold just the tensors of the network that it describes.

    Args:
        path: the file.
        own: ``module:Class`` of its backbone where that is a class of one's own, named by whoever runs the
            program; it is imported.

    Raises:
        InputError: it is no model of this package; its backbone is a class that was not named; or its
            weights do not fit its settings, or are no finite numbers.
    """
    description = read_description(path)
    config = read_settings(description.settings).network
    network = _empty(path, config) if own is None else AdaptiveDiagnoser(config, own=own)
    expected = {name: _kind_of(tensor) for name, tensor in network.state_dict().items()}
    try:
        with opened(path, "pt") as file:
            problems = differences(expected, kinds(file))
            tensors = {} if problems else {name: file.get_tensor(name) for name in expected}
    except ValueError as error:
        problems = [str(error)]
    problems = problems or shortened(
        f"{name} holds numbers that are not finite"
        for name, tensor in tensors.items()
        if not tensor.isfinite().all()
    )
    if problems:
        raise _no_model(path, problems)
    network.load_state_dict(tensors, assign=True)
    return network.eval(), description


def _empty(path: Path, config: DiagnoserConfig) -> AdaptiveDiagnoser:
    """Return a network without memory for its weights."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _NumbersOnCpu():
            return AdaptiveDiagnoser(config)
    except (RuntimeError, ValueError, OverflowError) as error:
        # The libraries' own checks, and sizes beyond what can be counted.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _no_model(path, [f"its network cannot be made: {reason}"]) from None


class _NumbersOnCpu(TorchFunctionMode):
    """Keeps on the CPU what MONAI's Swin transformer reads numbers off while it is made."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.linspace:
            given.setdefault("device", "cpu")
        return func(*args, **given)


def _kind_of(tensor: torch.Tensor) -> Kind:
    return Kind(tuple(tensor.shape), _DTYPES.get(tensor.dtype, str(tensor.dtype)))


def _no_model(path: Path, problems: Iterable[str]) -> InputError:
    step = "give a model.safetensors that ictmri reproduce wrote"
    return refusal(path, "no model of this package", problems, step)


def card(description: Description, n_parameters: int, sha256: str) -> str:
    """Return the model's card in Markdown."""
    settings, origin = description.settings, description.origin
    network, view = settings["network"], settings["view"]
    selection, optimisation = settings["selection"], settings["optimisation"]
    prior = {
        "none": "no prior",
        "coarse": "the coarse prior",
        "refined": "the refined prior",
    }[network["localisation"]]
    facts = {
        "Network": f"{network['backbone']}, {n_parameters:,} parameters, "
        f"{'masked channel attention' if network['attention'] else 'no attention'}, {prior}",
        "Input": f"{view['of']}, {view['edge']}^3 voxels of {view['spacing_mm']} mm on the MNI152 grid",
        "Cohort": f"{origin.get('cohort', 'not stated')}{_kind(origin)}",
        "Recipe": f"{origin.get('recipe', 'not stated')}, profile {origin.get('profile', 'not stated')}",
        "Fold and seed": f"{origin.get('fold', 'not stated')}, {origin.get('seed', description.seed)}",
        "Trained on": f"{description.n_train} cases; {description.n_inner} more held back",
        "Weights": f"after epoch {description.epoch} of {optimisation['epochs']}, {selection['by']}",
        "Temperature": f"{description.temperature:.4f}",
    }
    digests = {
        "model.safetensors": sha256,
        "training": description.identity,
        **{
            name.removesuffix("_sha256"): value
            for name, value in origin.items()
            if name.endswith("_sha256")
        },
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    rows += [f"| SHA-256 of {name} | `{value}` |" for name, value in digests.items()]
    rows += [f"| {name} | {value} |" for name, value in description.versions.items()]
    return "\n".join([_HEAD, "", "|  |  |", "| --- | --- |", *rows, ""])


def _kind(origin: Mapping[str, Any]) -> str:
    if "synthetic" not in origin:
        return ""
    return ", SYNTHETIC: images made by a program" if origin["synthetic"] else ", clinical"


_HEAD: Final = """\
# Adaptive-Diagnoser, one fold

Probabilities of four classes of deep intracranial tumours (glioma, PCNSL, germinoma, rare) from one
T1-weighted contrast-enhanced volume, brain-extracted and registered to MNI152. Method: Virtual Biopsy,
arXiv:2602.21613.

**Research use only. Not a medical device.** It was trained on a part of one cohort, to be scored on the
rest of it, and says nothing about patients of other hospitals, other tumours, other sequences, or brains
without a tumour. A model that was trained on a synthetic cohort says nothing about patients at all."""
