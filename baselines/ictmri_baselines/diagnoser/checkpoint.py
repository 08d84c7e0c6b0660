"""A trained network as one file that describes itself, and a card beside it for people."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ictmri import __version__
from ictmri.errors import InputError
from ictmri.files import canonical_json, replacing, sha256_file, write_text
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig

SCHEMA: Final = "ictmri/model/1"
MODEL: Final = "model.safetensors"
CARD: Final = "card.md"
_KEY: Final = "description"
_LIBRARIES: Final = ("torch", "monai", "pytorch-lightning", "numpy")


@dataclass(frozen=True, slots=True)
class Description:
    """What a model file says about itself.

    Attributes:
        identity: digest of everything that the training followed from, see
            :func:`~ictmri_baselines.diagnoser.fit.identity_of`.
        settings: of :class:`~ictmri_baselines.diagnoser.fit.Settings`, all of them.
        seed: of the training.
        n_train: cases that it learned from.
        n_inner: training cases that were held back for selection and temperature.
        epoch: after which the weights were taken, counted from 1.
        temperature: by which logarithms of probabilities are divided.
        origin: see :class:`~ictmri_baselines.workspace.Workspace`.
        versions: of the libraries that made it.
        schema: version of this description.
    """

    identity: str
    settings: Mapping[str, Any]
    seed: int
    n_train: int
    n_inner: int
    epoch: int
    temperature: float = 1.0
    origin: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA


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
        InputError: it is no model of this package.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_KEY]
        description = Description(**json.loads(text))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _no_model(path, str(error)) from None
    except Exception as error:
        # safetensors has an exception class of its own that derives from Exception alone.
        if type(error).__name__ != "SafetensorError":
            raise
        raise _no_model(path, str(error)) from None
    if description.schema != SCHEMA:
        raise _no_model(path, f"schema {description.schema}, not {SCHEMA}")
    return description


def load_model(path: Path) -> tuple[AdaptiveDiagnoser, Description]:
    """Load a model, in evaluation mode on the CPU, and its description.

    Raises:
        InputError: it is no model of this package, or its weights do not fit its settings.
    """
    description = read_description(path)
    with torch.random.fork_rng(devices=[]):
        network = AdaptiveDiagnoser(DiagnoserConfig(**description.settings["network"]))
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise _no_model(path, str(error)) from None
    return network.eval(), description


def _no_model(path: Path, problem: str) -> InputError:
    step = "give a model.safetensors that ictmri reproduce wrote"
    return InputError(str(path), [f"no model of this package: {problem}"], step)


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
