"""What a step is: a name, a version, parameters, and one volume in, one out."""

from __future__ import annotations

import importlib.metadata
from typing import Any, Protocol

from ictmri.atlas.alignment import Aligned
from ictmri.errors import MissingDependencyError
from ictmri_baselines.processor.mapping import Mapping
from ictmri_baselines.processor.volume import Volume


class Step(Protocol):
    """Anything that the record of a case can name."""

    def describe(self) -> dict[str, Any]:
        """Return ``name``, ``version`` and ``parameters``, ready for JSON."""
        ...


class VolumeStep(Step, Protocol):
    """Brain extraction and bias correction."""

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with a brain mask, or with other voxels.

        Args:
            volume: the scan; after the extraction it has a mask.
            place: where it lies in MNI152 space, by one affine.
        """
        ...


class RegistrationStep(Step, Protocol):
    """The way to MNI152 space."""

    def run(self, volume: Volume, place: Aligned) -> Mapping:
        """Return the mapping of a volume whose brain was extracted."""
        ...


def described(name: str, version: str = "1", **parameters: Any) -> dict[str, Any]:
    """Return what :meth:`Step.describe` does."""
    return {"name": name, "version": version, "parameters": parameters}


def version_of(package: str, what: str) -> str:
    """Return the version of an installed package, without importing it.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(what, "baselines") from None
