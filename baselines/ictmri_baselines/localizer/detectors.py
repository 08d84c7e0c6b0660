"""The detectors by name: what can be chosen, what is recorded, and how one is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ictmri.errors import InputError, nearest, validation_problems
from ictmri.io.files import sha256_file
from ictmri_baselines import registry
from ictmri_baselines.localizer import replay
from ictmri_baselines.localizer.boxes import Detector
from ictmri_baselines.localizer.options import (
    DetectorSettings,
    OpenAIChat,
    Prompted,
    QwenVL,
    Replay,
    Saliency,
)
from ictmri_baselines.localizer.vlm import prompted
from ictmri_baselines.localizer.vlm.journal import Journal
from ictmri_baselines.localizer.vlm.openai_server import OpenAIServer
from ictmri_baselines.localizer.vlm.prompts import read_prompt
from ictmri_baselines.localizer.vlm.qwen3_vl import QwenModel, published_name
from ictmri_baselines.registry import imported

__all__ = [
    "DETECTORS",
    "DetectorSettings",
    "OpenAIChat",
    "QwenVL",
    "Replay",
    "Saliency",
    "detector_settings",
    "make_detector",
    "prepare",
    "recorded",
]

DETECTORS: Final[Mapping[str, type[DetectorSettings]]] = {
    name: imported(path) for name, path in registry.DETECTORS.items()
}
_WITHOUT_EFFECT: Final = {
    "model",  # recorded by a name that holds no path
    "revision",
    "prompt",  # by name and digest
    "device",
    "batch_size",
    "base_url",  # somebody's network is nobody else's business
    "api_key_env",
    "concurrency",
    "retries",
    "timeout_s",
    "price_in",
    "price_out",
}
"""What does not change the boxes, or is recorded in another form."""


def detector_settings(name: str, **given: Any) -> DetectorSettings:
    """Return the checked settings of a detector.

    Args:
        name: a key of :data:`DETECTORS`.
        **given: options as on the command line (``base_url`` for ``--base-url``); None where not given.

    Raises:
        InputError: unknown name; options that are missing, wrong, or not of this detector, all of them.
    """
    if name not in DETECTORS:
        raise InputError(
            "--detector",
            [f"{name!r} is no detector{nearest(name, DETECTORS)}"],
            f"take one of {', '.join(DETECTORS)}",
        )
    chosen = {key: value for key, value in given.items() if value is not None}
    try:
        return DETECTORS[name](**chosen)
    except ValidationError as error:
        problems = validation_problems(error, "options", named=_option, words=_WORDS)
        options = ", ".join(map(_option, DETECTORS[name].model_fields)) or "none"
        raise InputError(f"--detector {name}", problems, f"its options are: {options}") from None


def recorded(settings: DetectorSettings) -> dict[str, Any]:
    """Return what a manifest says of a detector: all that the boxes depend on, no path and no address.

    Raises:
        InputError: a file that is named cannot be read.
    """
    facts: dict[str, Any] = {"detector": settings.name, "detector_version": _version(settings)}
    if isinstance(settings, Replay):
        return facts | {"boxes_sha256": _digest(settings.boxes)}
    if isinstance(settings, Prompted):
        prompt = read_prompt(settings.prompt, settings.coordinates)
        facts |= {"prompt": prompt.name, "prompt_sha256": prompt.sha256}
    if isinstance(settings, QwenVL):
        facts["model"] = published_name(settings.model, settings.revision)
    if isinstance(settings, OpenAIChat):
        facts["model"] = settings.model
    return facts | settings.model_dump(mode="json", exclude=_WITHOUT_EFFECT)


def prepare(settings: DetectorSettings, case_ids: Collection[str]) -> None:
    """Find out before the first case whether the detector can work; loads weights in this process.

    Raises:
        InputError: it cannot; what to do is said.
        MissingDependencyError: a package is not installed.
    """
    if isinstance(settings, Replay):
        replay.check_cases(settings.boxes, case_ids)
    elif isinstance(settings, Prompted):
        read_prompt(settings.prompt, settings.coordinates)
        _asker(settings).prepare()


def make_detector(
    settings: DetectorSettings, *, case_id: str = "", journal: Path | None = None
) -> Detector:
    """Return a detector; what is heavy is loaded once in a process, and not before it is needed.

    Args:
        settings: of :func:`detector_settings`.
        case_id: which lines of a boxes file are wanted; no other detector gets it.
        journal: where answers of a model are kept, so that a killed run asks only for the others. One
            file for all cases, one process at a time.
    """
    if isinstance(settings, Replay):
        return replay.ReplayDetector(settings.boxes, case_id)
    if isinstance(settings, Prompted):
        return _prompted(settings, journal)
    from ictmri_baselines.localizer.classical.saliency import SaliencyDetector

    return SaliencyDetector()


@lru_cache(maxsize=1)
def _asker(settings: Prompted) -> QwenModel | OpenAIServer:
    return QwenModel(settings) if isinstance(settings, QwenVL) else _server(settings)


def _server(settings: Prompted) -> OpenAIServer:
    assert isinstance(settings, OpenAIChat)  # noqa: S101 (for the type checker)
    return OpenAIServer(settings)


@lru_cache(maxsize=1)
def _prompted(settings: Prompted, journal: Path | None) -> prompted.PromptedDetector:
    return prompted.PromptedDetector(settings.name, _asker(settings), settings, Journal(journal))


def _version(settings: DetectorSettings) -> str:
    if isinstance(settings, Prompted):
        return prompted.VERSION
    if isinstance(settings, Replay):
        return replay.VERSION
    from ictmri_baselines.localizer.classical.saliency import SaliencyDetector

    return SaliencyDetector.version


def _digest(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise InputError(str(path), ["not a regular file"], "--boxes FILE")
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], "--boxes FILE") from None


_WORDS: Final = {"missing": "is needed", "extra_forbidden": "is not an option of this detector"}


def _option(field: str) -> str:
    return "--" + field.split(".", maxsplit=1)[0].replace("_", "-")
