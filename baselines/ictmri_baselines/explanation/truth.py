"""The true lesion and the brain on the grid of a network's input; for tables, never on the way to a label.

Only phantoms have a true lesion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from ictmri.atlas.template import SHAPE, SPACING_MM
from ictmri.cohort import Cohort
from ictmri.io.volumes import unpack
from ictmri_baselines.cases import Cases
from ictmri_baselines.diagnoser.inputs import View, open_inputs
from ictmri_baselines.diagnoser.network import Localisation
from ictmri_baselines.processor.mapping import Mapping

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Masks:
    """What is known of a case on the MNI152 grid of 2 mm.

    Attributes:
        case_id: the case.
        brain: (X, Y, Z) float32, 1 in the brain.
        lesion: (X, Y, Z) float32, 1 in the lesion: core, necrosis and oedema. None where nobody knows it.
    """

    case_id: str
    brain: Volume
    lesion: Volume | None


def has_truth(cohort: Cohort) -> bool:
    """Whether the cohort's true lesions are known."""
    return "truth" in cohort.manifest.configs


def masks_of(cohort: Cohort, fold: int) -> Iterator[Masks]:
    """Yield the masks of the processed cases of a fold, in the order in which they are stored."""
    truth: dict[str, Any] = {}
    if has_truth(cohort):
        rows = cohort.rows("truth", ["case_id", "fold", "lesion_mask"])
        truth = {row["case_id"]: row["lesion_mask"] for row in rows if row["fold"] == fold}
    columns = ["case_id", "fold", "brain_mask", "scan_from_mni", "warp"]
    for row in cohort.rows("processed", columns):
        if row["fold"] == fold:
            stored = truth.get(row["case_id"])
            lesion = None if stored is None else _in_mni(unpack(stored), row)
            yield Masks(row["case_id"], _brain(unpack(row["brain_mask"])), lesion)


def on_input(
    volume: Volume, cases: Cases, index: int, view: View, localisation: Localisation
) -> Volume:
    """Return a volume on the grid of a case's input: the cube that the network is shown of the case.

    Args:
        volume: (X, Y, Z) on the MNI152 grid of 2 mm.
        cases: processed cases.
        index: the case among them.
        view: what is shown.
        localisation: the prior that a region is cut around.

    Returns:
        (s, s, s) float32; where the input's voxels are larger, averages.
    """
    if cases.volumes is None:
        raise ValueError("cases without volumes")
    row = cases.rows[index]
    volumes = replace(
        cases.volumes,
        image=volume[None].astype(np.float16),
        prior=cases.volumes.prior[row][None],
        refined=cases.volumes.refined[row][None],
    )
    unknown = np.full(1, np.nan)
    one = Cases([cases.case_ids[index]], unknown, unknown, np.zeros(1, dtype=np.int64), volumes)
    inputs = open_inputs(one, view, localisation)
    shown, prior = (torch.zeros((inputs.edge,) * 3) for _ in range(2))
    inputs.write(0, inputs.central, shown, prior)
    return shown.numpy()


def _in_mni(mask: nib.Nifti1Image, row: dict[str, Any]) -> Volume:
    warp = None if row["warp"] is None else unpack(row["warp"])
    mapping = Mapping(np.reshape(row["scan_from_mni"], (4, 4)), warp)
    whole = nib.Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.float32), mask.affine)
    return (mapping.to_mni(whole, int(SPACING_MM)) > 0.5).astype(np.float32)


def _brain(mask: nib.Nifti1Image) -> Volume:
    voxels = np.asarray(mask.dataobj) > 0
    step = 1 if voxels.shape == SHAPE else 2
    return voxels[::step, ::step, ::step].astype(np.float32)
