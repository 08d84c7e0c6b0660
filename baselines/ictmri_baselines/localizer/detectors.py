"""What is chosen about a detector: a new one is a class of such settings and a row of the registry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from pydantic import ValidationError, field_validator

from ictmri.errors import InputError, nearest, validation_problems
from ictmri.io.resources import at_home
from ictmri_baselines.registry import DETECTORS, imported
from ictmri_baselines.settings import CheckedSettings

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.boxes import SliceBoxes
    from ictmri_baselines.localizer.region import Region

NAMED: Final = frozenset({"api_key_env", "base_url", "boxes", "masks", "model"})
"""Settings that have an option of their own on the command line."""
_WORDS: Final = {"missing": "is needed", "extra_forbidden": "is not an option of this detector"}


class Detector(Protocol):
    """Finds tumours [equations 2 and 3]; it sees the brain, never a label or an id."""

    def detect(self, brain: Brain) -> list[SliceBoxes] | Region:
        """Return boxes on axial slices or, where it sees voxels, a map on the brain's grid.

        Boxes are of the slices that were looked at, in order; those without a box may be left out. From a
        map the coarse prior is made directly; boxes are drawn around it for the boxes file.
        """


class DetectorSettings(CheckedSettings):
    """What is chosen about one detector; checked before anything is loaded or sent.

    Attributes:
        name: what the detector is called on the command line.
        version: changes whenever the same brain may give other boxes.
        parallel: whether each worker process may have one of its own. A model fills the memory once, and a
            server is asked for several slices at once anyway.
        pinned: whether its worker processes are held to one instruction set, so that every CPU marks the
            same voxels: see :mod:`ictmri_baselines.machine`.
        looks: whether it looks at the brain: what replays a file finds the same in the mirrored one.
        unrecorded: settings that do not change the boxes, or that :meth:`facts` tells in another form.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    parallel: ClassVar[bool] = True
    pinned: ClassVar[bool] = False
    looks: ClassVar[bool] = True
    unrecorded: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*")
    @classmethod
    def _at_home(cls, value: Any) -> Any:
        return at_home(value) if isinstance(value, Path) else value

    def facts(self) -> dict[str, Any]:
        """Return what is recorded beside the settings.

        Raises:
            InputError: a file that is named cannot be read.
        """
        return {}

    def prepare(self, case_ids: Collection[str], left_out: Collection[str] = ()) -> None:
        """Find out before the first case whether the detector can work; loads weights in this process.

        Args:
            case_ids: the cases that it will be asked about.
            left_out: the cohort's others, which processing left out: a file may speak of them.

        Raises:
            InputError: it cannot; what to do is said.
            MissingDependencyError: a package is not installed.
        """

    @abstractmethod
    def detector(self, *, case_id: str = "", journal: Path | None = None) -> Detector:
        """Return the detector; what is heavy is loaded once in a process, and not before it is needed.

        Args:
            case_id: which lines of a boxes file are wanted; no other detector gets it.
            journal: where answers of a model are kept, so that a killed run asks only for the others. One
                file for all cases, one process at a time.
        """


def detector_settings(name: str, **given: Any) -> DetectorSettings:
    """Return the checked settings of a detector.

    Args:
        name: a key of :data:`~ictmri_baselines.registry.DETECTORS`.
        **given: options (``base_url`` for ``--base-url``); None where not given.

    Raises:
        InputError: unknown name; options that are missing, wrong, or not of this detector, all of them.
    """
    if name not in DETECTORS:
        raise InputError(
            "--detector",
            [f"{name!r} is no detector{nearest(name, DETECTORS)}"],
            f"take one of {', '.join(DETECTORS)}",
        )
    kind: type[DetectorSettings] = imported(DETECTORS[name])
    try:
        return kind(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problems = validation_problems(error, "options", named=option_of, words=_WORDS)
        options = ", ".join(map(option_of, kind.model_fields)) or "none"
        raise InputError(f"--detector {name}", problems, f"its options are: {options}") from None


def recorded(settings: DetectorSettings) -> dict[str, Any]:
    """Return what a manifest says of a detector: all that the boxes depend on, no path and no address.

    Raises:
        InputError: a file that is named cannot be read.
    """
    return {
        "detector": settings.name,
        "detector_version": settings.version,
        **settings.facts(),
        **settings.model_dump(mode="json", exclude=set(settings.unrecorded)),
    }


def option_of(field: str) -> str:
    """Return how ``ictmri localize`` takes a setting: few have a name of their own there."""
    name = field.split(".", maxsplit=1)[0]
    return f"--{name.replace('_', '-')}" if name in NAMED else f"--option {name}"
