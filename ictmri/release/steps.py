"""What a release says of the steps that made it: settings and codes, no word of the owner."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from ictmri.release.boxes import DETECTORS

_CODES: Final = re.compile(r"[a-z0-9-]+(, [a-z0-9-]+)*")
_ON_THE_HUB: Final = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_PROMPT: Final = re.compile(r"expert-\d+")


def released_steps(steps: dict[str, Any], case_ids: Collection[str]) -> dict[str, Any]:
    """Return the steps of a manifest without names of files, models and prompts of the owner."""
    done = dict(steps)
    if "process" in done:
        done["process"] = _process(done["process"], case_ids)
    if "localize" in done:
        settings = done["localize"].get("settings", {})
        done["localize"] = done["localize"] | {"settings": _localize(settings)}
    return done


def _process(step: dict[str, Any], case_ids: Collection[str]) -> dict[str, Any]:
    settings = step.get("settings", {})
    masks = {
        name: digest
        for name, digest in settings.get("own_masks", {}).items()
        if name.removesuffix(".nii.gz") in case_ids
    }
    left_out = {
        case_id: why if _CODES.fullmatch(why) else "not processed"
        for case_id, why in step.get("left_out", {}).items()
    }
    if "own_masks" in settings:
        settings = settings | {"own_masks": masks}
    return step | {"settings": settings, "left_out": left_out}


def _localize(settings: dict[str, Any]) -> dict[str, Any]:
    model, prompt = str(settings.get("model")), str(settings.get("prompt"))
    told = {
        "detector": settings.get("detector") in DETECTORS,
        "model": _ON_THE_HUB.fullmatch(model),
        "prompt": _PROMPT.fullmatch(prompt),
    }
    return {key: value for key, value in settings.items() if told.get(key, True)}
