"""``entry.yaml``: who submits what, made how. A human reader or a rule can fill it in too."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError
from ictmri.files import write_text
from ictmri_benchmark.protocol import BENCHMARK, ENTRY_SCHEMA, VERSION, Level, Selection

SLUG: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchmarkRef(_Strict):
    """The benchmark that the entry was made for."""

    name: Literal["ictmri-cv"] = BENCHMARK
    version: str = VERSION
    cohort: str
    splits_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class MethodInfo(_Strict):
    """What was done, in words and links."""

    name: str = Field(min_length=1, max_length=80)
    summary: str = Field(min_length=1, max_length=400)
    authors: tuple[str, ...] = Field(min_length=1)
    licence: str
    paper: str = ""
    code: str = ""
    command: str = ""


class InputsUsed(_Strict):
    """What the method looked at."""

    image: bool
    prior: Literal["none", "own", "official", "manual-test"]
    demographics: bool


class Entry(_Strict):
    """An entry of the leaderboard.

    Attributes:
        selection: how the model was chosen; ``test-fold`` is shown, never ranked.
        seeds: the seeds in predictions.csv.
        external: pretrained weights and extra data, empty where none.
        compute: hardware and size, free keys.
        claimed: metrics that the submitter expects, compared with the recomputed ones.
        level: evidence level; R1 until more is shown.
    """

    schema_: Literal["ictmri/submission/1"] = Field(default=ENTRY_SCHEMA, alias="schema")
    slug: str = Field(pattern=SLUG, max_length=60)
    benchmark: BenchmarkRef
    synthetic: bool
    method: MethodInfo
    selection: Selection
    seeds: tuple[int, ...] = Field(min_length=1)
    inputs: InputsUsed
    external: tuple[str, ...] = ()
    compute: dict[str, str | int | float] = Field(default_factory=dict)
    claimed: dict[str, float] = Field(default_factory=dict)
    level: Level = "R1"


def load_entry(path: Path) -> Entry:
    """Read an entry.yaml.

    Raises:
        InputError: it is missing or not valid; every problem is named with its dotted path.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], _EXAMPLE) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(str(path), [f"not valid YAML: {first}"], _EXAMPLE) from None
    try:
        return Entry.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'entry'}: {item['msg']}"
            for item in error.errors()
        ]
        raise InputError(str(path), problems, _EXAMPLE) from None


def write_entry(path: Path, entry: Entry) -> None:
    """Write an entry.yaml."""
    import yaml

    content = entry.model_dump(mode="json", by_alias=True)
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


_EXAMPLE: Final = "benchmark/RULES.md shows a whole entry.yaml"
