"""What the MRI-Processor does: the paper's settings, the light ones, and the switches between them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from ictmri_baselines.settings import CheckedSettings

BrainName = Literal["hd-bet", "hd-bet-2", "deepbet", "template"]
BiasName = Literal["n4", "none"]
RegistrationName = Literal["syn", "affine"]


class ProcessorSettings(CheckedSettings):
    """Settings of one run.

    Attributes:
        brain: extraction. ``hd-bet``: HD-BET 1, first of its five networks, no mirroring. ``hd-bet-2``:
            HD-BET 2, where its weights lie in place. ``deepbet``: small and fast. ``template``: the
            template's mask, carried through the affine.
        bias: correction of the receive field's inhomogeneity.
        registration: to MNI152: one affine, or SyN after it.
        spacing_mm: edge of the output's voxels.
        extract_again: run the extraction on scans that hold nothing but a brain, too. Networks that were
            trained on heads may bite into a bare brain, and whoever extracted it knew its tumour; so
            such a scan keeps its own mask by default.
        mask_in_n4: look for the bias field inside the brain alone. Without it N4 fits the step between
            brain and background and takes five times as long.
        mask_in_syn: match the template's brain and its rim alone, not the empty corners.
        intensities: ``robust`` gives (x - median) / (1.4826 MAD) of the brain, since an MR scanner's
            units have no meaning; ``kept`` stores what N4 left, which localizer and diagnoser do not read.
        hd_bet_2_weights: folder of HD-BET 2's weights; ``$ICTMRI_HD_BET_2`` or the package's own folder
            where None. No part of what is recorded: the weights are known by their checksum.
    """

    brain: BrainName = "hd-bet"
    bias: BiasName = "n4"
    registration: RegistrationName = "syn"
    spacing_mm: Literal[1, 2] = 1
    extract_again: bool = False
    mask_in_n4: bool = True
    mask_in_syn: bool = True
    intensities: Literal["robust", "kept"] = "robust"
    hd_bet_2_weights: Path | None = Field(default=None, exclude=True)


PRESETS: Final[dict[str, ProcessorSettings]] = {
    "paper": ProcessorSettings(),
    "light": ProcessorSettings(brain="template", bias="none", registration="affine", spacing_mm=2),
}
"""``paper`` is equation 1 as printed: HD-BET, N4, SyN to MNI152 at 1 mm. ``light`` is for phantoms, whose
brains have the template's shape, and takes about a second; on patients see :func:`preset`."""


def preset(name: str, *, synthetic: bool) -> ProcessorSettings:
    """Return the settings of a name for phantoms, or for patients.

    ``light`` puts the template's mask on a phantom. On a patient's head with its skull that mask cuts off
    parts of lesions, so there deepbet finds the brain.
    """
    chosen = PRESETS[name]
    if synthetic or chosen.brain != "template":
        return chosen
    return chosen.model_copy(update={"brain": "deepbet"})
