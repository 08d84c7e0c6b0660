"""What recipes and commands may name is one table: a row there is all that a new one needs."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ictmri.errors import InputError
from ictmri_baselines import registry
from ictmri_baselines.backbones.base import Backbone
from ictmri_baselines.backbones.settings import BackboneSettings
from ictmri_baselines.cli import methods, volumes
from ictmri_baselines.localizer.boxes import SliceBoxes, numbers_only
from ictmri_baselines.localizer.classical.saliency import Saliency, SaliencyDetector
from ictmri_baselines.localizer.detectors import (
    Detector,
    DetectorSettings,
    detector_settings,
    recorded,
)
from ictmri_baselines.methods import find_method


@pytest.fixture
def commands_again() -> Iterator[Callable[[], None]]:
    """Make the commands anew, as a start of the program does; afterwards without what a test added."""

    def again() -> None:
        for module in (volumes, methods):
            importlib.reload(module)

    yield again
    again()


def shown(command: Any, *words: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    done = CliRunner().invoke(app, list(words), terminal_width=200)
    return done.output


def test_every_path_leads_to_what_it_should() -> None:
    assert all(callable(find_method(name)) for name in registry.METHODS)
    for backbone in registry.BACKBONES.values():
        assert issubclass(registry.imported(backbone.network), Backbone)
        assert issubclass(registry.imported(backbone.settings), BackboneSettings)
    for name, path in registry.DETECTORS.items():
        detector = registry.imported(path)
        assert issubclass(detector, DetectorSettings)
        assert detector.name == name


def test_what_is_registered_is_a_choice_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, commands_again: Callable[[], None]
) -> None:
    assert "made_up" not in shown(methods.reproduce, "--help")
    made = registry.RegisteredMethod("made_up:method")
    monkeypatch.setitem(registry.METHODS, "made_up", made)
    commands_again()
    assert "made_up" in shown(methods.reproduce, "--help")
    monkeypatch.undo()


class MadeUp(DetectorSettings):
    name = "made-up"
    version = "7"
    unrecorded = frozenset({"threads"})

    reach: int = 3
    threads: int = 1

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> Detector:
        return Saliency().detector(case_id=case_id, journal=journal)


def test_a_new_detector_is_its_settings_and_one_row(
    monkeypatch: pytest.MonkeyPatch, commands_again: Callable[[], None]
) -> None:
    row = SliceBoxes(3, (), "made-up")
    assert numbers_only(row, "boxes").detector == "boxes"
    monkeypatch.setitem(registry.DETECTORS, "made-up", f"{__name__}:MadeUp")
    assert numbers_only(row, "boxes").detector == "made-up"
    assert recorded(detector_settings("made-up", reach=5)) == {
        "detector": "made-up",
        "detector_version": "7",
        "reach": 5,
    }
    assert isinstance(detector_settings("made-up").detector(), SaliencyDetector)
    with pytest.raises(
        InputError, match=r"--model is not an option(.|\n)*--option reach, --option threads"
    ):
        detector_settings("made-up", model="m")
    with pytest.raises(InputError, match="did you mean 'made-up'"):
        detector_settings("mad-up")
    commands_again()
    assert "made-up" in shown(volumes.localize, "--help")
    assert "made-up" in shown(volumes.localize, "out/mine", "--detector", "no-such")
    monkeypatch.undo()


def test_the_registry_is_read_without_anything_heavy() -> None:
    code = (
        "import sys, ictmri_baselines.registry, ictmri_baselines.cli.volumes; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd()
    )
    assert not {"torch", "pydantic", "scipy", "sklearn"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "from ictmri_baselines.localizer.learned.weights import *; "
        "load_network(SHIPPED, digest_of(SHIPPED))",
        "import ictmri_baselines.predict, ictmri_baselines.predict.biopsy",
    ],
)
def test_localizer_and_prediction_load_nothing_of_the_training(code: str) -> None:
    """In each worker Lightning and what it drags along would take two to three seconds."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not {"pytorch_lightning", "lightning_fabric", "torchmetrics"} & loaded
