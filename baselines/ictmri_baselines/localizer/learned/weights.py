"""The network's weights, a safetensors file: written after a training, checked before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError
from ictmri.io.files import sha256_file, write_bytes
from ictmri.io.yamlfile import own_table
from ictmri_baselines.tensors import Kind, differences, kinds, not_finite, opened, refusal

if TYPE_CHECKING:
    from ictmri_baselines.localizer.learned.network import UNet

SHIPPED: Final = Path(__file__).with_name("detector.safetensors")
"""What ``detector.yaml`` beside it describes, its digest included."""
STORED: Final = "F16"
"""Type of the tensors in the file."""
_AGAIN: Final = "install the package again"
_OWN: Final = "give the detector.safetensors that ictmri train-detector wrote"


def card() -> dict[str, Any]:
    """Return what is known of the weights that ship: digest, licence, seeds, what was measured."""
    found: dict[str, Any] = own_table(SHIPPED.with_suffix(".yaml"))
    return found


def write_weights(path: Path, net: UNet, facts: Mapping[str, Any]) -> None:
    """Write a network as float16, with what it was made from in the header."""
    from safetensors.torch import save

    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    write_bytes(path, save(tensors, {"training": json.dumps(dict(facts), sort_keys=True)}))


def digest_of(path: Path) -> str:
    """Return the digest of a weights file; of the shipped one it must be the card's.

    Raises:
        InputError: the file cannot be read, or was changed.
    """
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], _step(path)) from None
    if path == SHIPPED and digest != card()["sha256"]:
        raise InputError(str(path), ["these are not the weights that were shipped"], _AGAIN)
    return digest


@lru_cache(maxsize=1)
def load_network(path: Path, _digest: str) -> UNet:
    """Return the network, ready to look at brains.

    Args:
        path: of the weights.
        _digest: from :func:`digest_of`.

    Raises:
        InputError: the file is no safetensors file, holds another network, or numbers that are not finite.
    """
    from ictmri_baselines.localizer.learned.network import network

    try:
        with opened(path, "pt") as stream:
            facts = json.loads((stream.metadata() or {}).get("training", "{}"))
            made = network(narrow=bool(facts.get("narrow")))
            wanted = {n: Kind(tuple(t.shape), STORED) for n, t in made.state_dict().items()}
            problems = differences(wanted, kinds(stream))
            tensors = {} if problems else {n: stream.get_tensor(n).float() for n in wanted}
        problems = problems or not_finite(tensors)
    except (ValueError, RuntimeError, AttributeError) as error:
        problems = [str(error).splitlines()[0]]
    if problems:
        raise refusal(path, "no weights of this detector", problems, _step(path))
    made.load_state_dict(tensors)
    return made.eval()


def _step(path: Path) -> str:
    return _AGAIN if path == SHIPPED else _OWN
