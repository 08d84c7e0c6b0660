"""A trained network as one file that describes itself, and a card beside it for people."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode
from typing_extensions import TypedDict

from ictmri.classes import CLASSES
from ictmri.errors import InputError, validation_problems
from ictmri.io.files import canonical_json, replacing, sha256_file, write_text
from ictmri.pages.templating import document
from ictmri.version import __version__
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.reproduction.recipe import Profile
from ictmri_baselines.tensors import Kind, differences, kinds, not_finite, opened, refusal

SCHEMA: Final = "ictmri/model/1"
MODEL: Final = "model.safetensors"
CARD: Final = "card.md"
_KEY: Final = "description"
_CARD_TEMPLATE: Final = Path(__file__).parent / "templates" / "card.md.j2"
LIBRARIES: Final = ("torch", "monai", "pytorch-lightning", "numpy")
"""Whose versions a model states."""
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


class ModelOrigin(TypedDict, total=False):
    """Where a model comes from, see :class:`~ictmri_baselines.methods.Workspace`."""

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
    detector_version: Word | None
    detector_weights_sha256: Word
    fold: Number
    seed: Number
    member: Number


@dataclass(frozen=True, slots=True, config=_CHECKED)
class Description:
    """What a model file says about itself, every part of it checked.

    Attributes:
        identity: digest of everything that the training followed from, see
            :func:`~ictmri_baselines.diagnoser.fit.identity_of`.
        settings: of :class:`~ictmri_baselines.diagnoser.settings.DiagnoserSettings`, all of them.
        seed: of the training.
        n_train: cases that it learned from.
        n_inner: training cases that were held back for selection and temperature.
        epoch: after which the weights were taken, counted from 1.
        temperature: by which logarithms of probabilities are divided.
        origin: see :class:`~ictmri_baselines.methods.Workspace`.
        versions: of the libraries that made it.
        tensors_sha256: digest of all weights, see :func:`digest_of_tensors`; empty in models of before.
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
    origin: ModelOrigin = field(default_factory=ModelOrigin)
    versions: Annotated[dict[Word, Word], Field(max_length=100)] = field(default_factory=dict)
    tensors_sha256: Digest | Literal[""] = ""
    classes: Annotated[tuple[str, ...], AfterValidator(_ours)] = CLASSES
    schema: Literal["ictmri/model/1"] = SCHEMA


def check_origin(given: Mapping[str, Any]) -> None:
    """Find out before a training whether its model will be able to say where it comes from.

    Raises:
        InputError: with everything that is wrong.
    """
    try:
        TypeAdapter(ModelOrigin).validate_python(dict(given))
    except ValidationError as error:
        known = ", ".join(ModelOrigin.__annotations__)
        problems = validation_problems(error)
        raise InputError("origin of the model", problems, f"its parts are: {known}") from None


def versions() -> dict[str, str]:
    """Return the versions that a model may depend on."""
    return {
        "ictmri": __version__,
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def save_model(folder: Path, network: AdaptiveDiagnoser, description: Description) -> Path:
    """Write ``model.safetensors`` and, after it, ``card.md``; return the model's path."""
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    path = folder / MODEL
    description = replace(description, tensors_sha256=digest_of_tensors(tensors))
    with replacing(path) as part:
        save_file(tensors, part, metadata={_KEY: canonical_json(asdict(description))})
    write_text(folder / CARD, card(description, network.n_parameters, sha256_file(path)))
    return path


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors on the CPU: of the name and the bytes of each, by name."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        # As bytes, since NumPy has no bfloat16.
        found.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


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
    expected = {
        name: Kind(tuple(tensor.shape), _DTYPES.get(tensor.dtype, str(tensor.dtype)))
        for name, tensor in network.state_dict().items()
    }
    try:
        with opened(path, "pt") as file:
            problems = differences(expected, kinds(file))
            # Cloned, since the file's own places, behind a header of any length, are not aligned as torch's
            # are, and some kernels then round otherwise.
            tensors = {} if problems else {name: file.get_tensor(name).clone() for name in expected}
    except ValueError as error:
        problems = [str(error)]
    problems = problems or not_finite(tensors)
    if problems:
        raise _no_model(path, problems)
    if description.tensors_sha256 not in ("", digest_of_tensors(tensors)):
        problem = "its weights are not those that were written: the file was damaged or changed"
        raise InputError(str(path), [problem], "copy it again, or run ictmri reproduce again")
    network.load_state_dict(tensors, assign=True)
    return network.eval(), description


def _empty(path: Path, config: DiagnoserConfig) -> AdaptiveDiagnoser:
    """Return a network without memory for its weights."""
    try:
        return without_memory(config)
    except (RuntimeError, ValueError, OverflowError) as error:
        # The libraries' own checks, and sizes beyond what can be counted.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _no_model(path, [f"its network cannot be made: {reason}"]) from None


def without_memory(config: DiagnoserConfig) -> AdaptiveDiagnoser:
    """Return a network of a registered backbone that takes no memory for its weights."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _NumbersOnCpu():
        return AdaptiveDiagnoser(config)


class _NumbersOnCpu(TorchFunctionMode):
    """Keeps on the CPU what MONAI's Swin transformer reads numbers off while it is made."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.linspace:
            given.setdefault("device", "cpu")
        return func(*args, **given)


def _no_model(path: Path, problems: Iterable[str]) -> InputError:
    step = "give a model.safetensors that ictmri reproduce wrote"
    return refusal(path, "no model of this package", problems, step)


def card(description: Description, n_parameters: int, sha256: str) -> str:
    """Return the model's card in Markdown."""
    return document(_CARD_TEMPLATE).render(
        model=description, n_parameters=n_parameters, sha256=sha256
    )
