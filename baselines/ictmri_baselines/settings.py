"""The one base of all settings: nested mappings, checked, with everything that is wrong in one error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from ictmri.errors import validated


class CheckedSettings(BaseModel):
    """Settings of something: no others than these, finite numbers alone, and unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, given: Mapping[str, Any], subject: str = "settings") -> Self:
        """Check settings.

        Args:
            given: as they stand in a recipe or a file.
            subject: what they are of, for the error.

        Raises:
            InputError: with everything that is wrong.
        """
        return validated(cls, given, subject)
