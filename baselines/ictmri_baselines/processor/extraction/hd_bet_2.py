"""HD-BET 2 where its weights lie in place; nothing is ever downloaded.

Source: https://github.com/MIC-DKFZ/HD-BET (release 2, an nnU-Net); weights in Zenodo record 14445620.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.errors import InputError
from ictmri.extras import need
from ictmri.io.files import sha256_file
from ictmri.io.resources import at_home
from ictmri_baselines.processor.extraction.network import brain_by, one_torch_thread
from ictmri_baselines.processor.points import Array
from ictmri_baselines.processor.step import described, version_of
from ictmri_baselines.processor.volume import Volume, Voxels

FOLDER_VARIABLE: Final = "ICTMRI_HD_BET_2"
_FILES: Final = ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth")
_GRID_MM: Final = 1.0
_WHAT: Final = "Brain extraction with HD-BET 2 (nnunetv2)"


@dataclass(frozen=True, slots=True)
class HdBet2:
    """HD-BET 2 without mirroring.

    Attributes:
        folder: of its weights; ``$ICTMRI_HD_BET_2``, or where HD-BET 2 itself keeps them, if None.
    """

    folder: Path | None = None

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters; the weights stand as their checksum.

        Raises:
            MissingDependencyError: nnunetv2 is not installed.
            InputError: the weights are not in their place.
        """
        digest = _checksum(self.weights() / _FILES[2])
        version = f"nnunetv2 {version_of('nnunetv2', _WHAT)}"
        return described("hd-bet-2", version, mirroring=False, weights_sha256=digest)

    def weights(self) -> Path:
        """Return the folder of the weights.

        Raises:
            InputError: a file of them is not there.
        """
        named = self.folder or os.environ.get(FOLDER_VARIABLE)
        default = Path("~") / "hd-bet_params" / "release_2.0.0"
        folder = at_home(Path(named) if named else default)
        missing = [
            f"{folder / name} is not there" for name in _FILES if not (folder / name).is_file()
        ]
        if missing:
            raise InputError(
                "HD-BET 2",
                missing,
                f"put the content of release_v1.5.0.zip (Zenodo record 14445620) into {default}, or "
                f"say where it lies with {FOLDER_VARIABLE}; brain hd-bet needs no download",
            )
        return folder

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with a brain mask.

        Raises:
            ExtractionError: no brain was found.
            MissingDependencyError: nnunetv2 is not installed.
            InputError: the weights are not in their place.
        """
        need("baselines", _WHAT, "nnunetv2")
        probability = partial(_probability, self.weights())
        return brain_by(probability, volume, place, _GRID_MM, "HD-BET 2")


def _probability(folder: Path, voxels: Voxels) -> Array:
    import torch

    with one_torch_thread(), contextlib.redirect_stdout(io.StringIO()):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            use_mirroring=False,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(
            str(folder), ("all",), "checkpoint_final.pth"
        )
        _, probabilities = predictor.predict_single_npy_array(
            np.ascontiguousarray(voxels.T)[None].astype(np.float32),
            {"spacing": [_GRID_MM] * 3},
            None,
            None,
            True,
        )
    return np.ascontiguousarray(np.asarray(probabilities[1], dtype=np.float32).T)


@lru_cache(maxsize=4)
def _checksum(path: Path) -> str:
    return sha256_file(path)
