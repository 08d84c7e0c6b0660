"""``entry.yaml``: who submits what, made how. A human reader or a rule can fill it in too."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError, validation_problems
from ictmri.io.files import write_text
from ictmri.io.yamlfile import dump_yaml, read_yaml
from ictmri_benchmark.score.protocol import (
    BENCHMARK,
    ENTRY_SCHEMA,
    VERSION,
    Level,
    Overlap,
    Selection,
)

SLUG: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
MAX_SLUG: Final = 60
_EXAMPLE: Final = "benchmark/RULES.md shows a whole entry.yaml"
_TURNING: Final = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that are not seen, break lines, or turn the reading direction."""


def _is_plain(text: str) -> str:
    odd = [c for c in text if (unicodedata.category(c) == "Cc" and c != "\n") or c in _TURNING]
    if odd:
        raise ValueError(f"holds U+{ord(odd[0]):04X}: a control character, or one that is not seen")
    return text


def _is_title(text: str) -> str:
    if not text.strip() or "\n" in text:
        raise ValueError("one line of text is needed")
    return text


def _is_link(text: str) -> str:
    if text and not text.startswith(("https://", "http://", "doi:", "arXiv:")):
        raise ValueError("is no https:// address, doi: or arXiv: number")
    if any(c.isspace() for c in text):
        raise ValueError("holds a blank")
    return text


Text = Annotated[str, Field(max_length=400), AfterValidator(_is_plain)]
Name = Annotated[
    str,
    Field(min_length=1, max_length=80),
    AfterValidator(_is_plain),
    AfterValidator(_is_title),
]
Link = Annotated[str, Field(max_length=300), AfterValidator(_is_plain), AfterValidator(_is_link)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _EntryPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BenchmarkRef(_EntryPart):
    """The benchmark that the entry was made for."""

    name: Literal["ictmri-cv"] = BENCHMARK
    version: str = Field(default=VERSION, max_length=20)
    cohort: Name
    splits_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    data_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class MethodInfo(_EntryPart):
    """What was done, in words and links."""

    name: Name
    summary: Annotated[Text, Field(min_length=1)]
    authors: tuple[Name, ...] = Field(min_length=1, max_length=50)
    licence: Name
    paper: Link = ""
    code: Link = ""
    command: Text = ""


class InputsUsed(_EntryPart):
    """What the method looked at."""

    image: bool
    prior: Literal["none", "own", "official", "manual-test"]
    demographics: bool


class Entry(_EntryPart):
    """An entry of the leaderboard.

    Attributes:
        selection: how the model was chosen; ``test-fold`` is shown, never ranked.
        seeds: the seeds in predictions.csv.
        ensemble: what was averaged inside each prediction; an ensemble is an entry of its own.
        test_evaluations: how often the test folds were looked at, as far as the submitter knows.
        external: pretrained weights and extra data, empty where none.
        overlap: whether that holds cases that are tested here, as far as the submitter knows.
        compute: hardware and size, free keys.
        claimed: metrics that the submitter expects, compared with the recomputed ones.
        level: evidence level; R1 until more is shown.
    """

    schema_: Literal["ictmri/submission/1"] = Field(default=ENTRY_SCHEMA, alias="schema")
    slug: str = Field(pattern=SLUG, max_length=MAX_SLUG)
    benchmark: BenchmarkRef
    synthetic: bool
    method: MethodInfo
    selection: Selection
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=1000)
    ensemble: Literal["none", "seeds", "test-time augmentation", "models"] = "none"
    test_evaluations: int | None = Field(default=None, ge=1, lt=10**6)
    inputs: InputsUsed
    external: tuple[Text, ...] = Field(default=(), max_length=50)
    overlap: Overlap | None = None
    compute: dict[Name, Text | Whole | float] = Field(default_factory=dict, max_length=50)
    claimed: dict[Name, float] = Field(default_factory=dict, max_length=20)
    level: Level = "R1"

    @property
    def overlaps(self) -> str:
        """Whether what is external holds tested cases; ``unknown`` where nobody has told."""
        return self.overlap or ("unknown" if self.external else "no")

    @property
    def tracks(self) -> tuple[str, ...]:
        """What sets the entry apart from those that see the image alone; entries compare within a track."""
        tags: tuple[str, ...] = () if self.inputs.image else ("no image",)
        tags += ("demographics",) if self.inputs.demographics else ()
        tags += ("manual ROI at test",) if self.inputs.prior == "manual-test" else ()
        tags += ("external data",) if self.external else ()
        return tags or ("image only",)


def load_entry(path: Path) -> Entry:
    """Read an entry.yaml.

    Raises:
        InputError: it is missing or not valid; every problem is named with its dotted path or its line.
    """
    content = read_yaml(path, _EXAMPLE)
    if not isinstance(content, dict):
        raise InputError(str(path), ["entry: a mapping is needed, key: value"], _EXAMPLE)
    try:
        # As JSON, a list passes for a tuple while everything else is taken as it is.
        return Entry.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InputError(str(path), validation_problems(error, "entry"), _EXAMPLE) from None


def write_entry(path: Path, entry: Entry) -> None:
    """Write an entry.yaml."""
    write_text(path, dump_yaml(entry.model_dump(mode="json", by_alias=True)))


def json_schema() -> str:
    """Return the JSON Schema (2020-12) of entry.yaml, as published in benchmark/schema."""
    return json.dumps(Entry.model_json_schema(by_alias=True), indent=1, ensure_ascii=False) + "\n"
