"""What a detector that reads text is asked: versioned files, and a digest of the words that were sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ictmri.errors import InputError, nearest, validated
from ictmri.io.files import sha256_bytes
from ictmri.io.yamlfile import read_yaml

Coordinates = Literal["relative", "pixels"]
"""What a model counts boxes in: thousandths of the picture (Qwen3-VL), or its pixels (Qwen2.5-VL)."""
DEFAULT: Final = "expert-1"
_FOLDER: Final = Path(__file__).parent / "prompts"
_PLACE: Final = "{coordinates}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that goes with each picture."""

    name: str
    system: str
    user: str

    @property
    def sha256(self) -> str:
        """Digest of the texts as they are sent, UTF-8, as a JSON list of the two."""
        return sha256_bytes(json.dumps([self.system, self.user], ensure_ascii=False).encode())


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1, pattern=r"\{coordinates\}")
    coordinates: dict[Coordinates, str]


def prompt_names() -> list[str]:
    """Return the prompts that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_prompt(name_or_path: str, coordinates: Coordinates) -> Prompt:
    """Return a prompt.

    Args:
        name_or_path: one of :func:`prompt_names`, or the path of a YAML file of the same form.
        coordinates: what the model counts boxes in.

    Raises:
        InputError: there is no such prompt, or the file lacks something.
    """
    next_step = f"see {_FOLDER / DEFAULT}.yaml for the form"
    path = _FOLDER / f"{name_or_path}.yaml"
    if name_or_path not in prompt_names():
        path = Path(name_or_path)
        if path.suffix not in {".yaml", ".yml"}:
            known = prompt_names()
            hint = nearest(name_or_path, known)
            raise InputError(
                "--option prompt",
                [f"{name_or_path!r} is no prompt{hint}"],
                f"take one of {', '.join(known)}, or the path of a YAML file",
            )
    content = validated(_File, read_yaml(path, next_step), str(path), next_step, nowhere="file")
    if coordinates not in content.coordinates:
        raise InputError(str(path), [f"coordinates: has no {coordinates!r}"], next_step)
    text = content.user.replace(_PLACE, content.coordinates[coordinates])
    return Prompt(content.name, content.system, text)
