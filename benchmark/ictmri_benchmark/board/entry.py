"""``entry.yaml``: who submits what, made how. A human reader or a rule can fill it in too."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from ictmri.errors import InputError, validation_problems
from ictmri.io.csvfile import shown
from ictmri.io.files import write_text
from ictmri.io.resources import AnyPath, at_home
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
MAX_TEXT: Final = 400
_SHA256: Final = r"^[0-9a-f]{64}$"
_WORDS: Final = {
    "missing": "is missing",
    "bool_type": "should be true or false",
    "tuple_type": "should be a list: [...]",
    "model_type": "should be a mapping, key: value on lines of its own",
    "dict_type": "should be a mapping: {key: value}",
}
_EXAMPLE: Final = (
    "correct it; ictmri entry new writes a valid one, in which each field is explained"
)
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


def slug_of(name: str) -> str:
    """Return the slug that a name would have, empty where nothing of it can stand in one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_SLUG].strip("-")


def _is_slug(text: str) -> str:
    if not re.fullmatch(SLUG, text):
        made = slug_of(text)
        fix = f"; it would be {made}" if made else ""
        raise ValueError(f"{shown(text)} is no slug: a-z, 0-9 and single - between them{fix}")
    return text


def _is_digest(text: str) -> str:
    if not re.fullmatch(_SHA256, text):
        raise ValueError(f"{shown(text)} is no SHA-256: 64 of 0-9 and a-f; see ictmri info COHORT")
    return text


def _spelled(pattern: str) -> dict[str, JsonValue]:
    """Put a pattern into the JSON Schema, while the error says in words what is wrong."""
    return {"pattern": pattern}


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_is_plain)]
Name = Annotated[
    str,
    Field(min_length=1, max_length=80),
    AfterValidator(_is_plain),
    AfterValidator(_is_title),
]
Link = Annotated[str, Field(max_length=300), AfterValidator(_is_plain), AfterValidator(_is_link)]
Slug = Annotated[
    str, Field(max_length=MAX_SLUG, json_schema_extra=_spelled(SLUG)), AfterValidator(_is_slug)
]
Title = Annotated[
    str,
    Field(max_length=200),
    AfterValidator(_is_plain),
    AfterValidator(lambda text: _is_title(text) if text else text),
]
DataSha256 = Annotated[
    str,
    Field(json_schema_extra=_spelled(r"^([0-9a-f]{64})?$")),
    AfterValidator(lambda text: _is_digest(text) if text else text),
]
Sha256 = Annotated[str, Field(json_schema_extra=_spelled(_SHA256)), AfterValidator(_is_digest)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _EntryPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BenchmarkRef(_EntryPart):
    """The benchmark that the entry was made for."""

    name: Literal["ictmri-cv"] = Field(default=BENCHMARK, description="name of the protocol")
    version: str = Field(default=VERSION, max_length=20, description="version of the protocol")
    cohort: Name = Field(description="dataset name of the cohort")
    splits_sha256: Sha256 = Field(
        description="digest of the cohort's folds: binds the entry to them"
    )
    data_sha256: DataSha256 = Field(
        default="",
        description="digest of the cohort's data; ictmri submit adds it where it is empty",
    )


class MethodInfo(_EntryPart):
    """What was done, in words and links."""

    name: Name = Field(description="as the leaderboard shows it", examples=["My method"])
    summary: Annotated[Text, Field(min_length=1)] = Field(
        description="one sentence on what was done", examples=["One sentence."]
    )
    authors: tuple[Name, ...] = Field(
        min_length=1, max_length=50, description="one or more", examples=[["Jane Doe"]]
    )
    licence: Name = Field(description="of code or model", examples=["MIT"])
    paper: Link = Field(default="", description="https:// address, doi: or arXiv: number")
    code: Link = Field(default="", description="https:// address, doi: or arXiv: number")
    command: Text = Field(default="", description="the command that makes the predictions again")


class InputsUsed(_EntryPart):
    """What the method looked at."""

    image: bool = Field(description="the scan", examples=[True])
    prior: Literal["none", "own", "official", "manual-test"] = Field(
        description="map of where the tumour is: of your own making, the published one, or drawn by hand "
        "on the test cases",
        examples=["none"],
    )
    demographics: bool = Field(description="age or sex", examples=[False])


class Entry(_EntryPart):
    """An entry of the leaderboard."""

    schema_: Literal["ictmri/submission/1"] = Field(
        default=ENTRY_SCHEMA, alias="schema", description="form of this file"
    )
    slug: Slug = Field(
        description="name of the entry's folder: a-z, 0-9 and single - between them",
        examples=["my-method"],
    )
    benchmark: BenchmarkRef
    synthetic: bool = Field(description="whether the cohort is a synthetic phantom")
    method: MethodInfo
    selection: Selection = Field(
        description="how the model was chosen: not at all, on training cases, or on the cases that are "
        "scored; the last is shown and never ranked",
        examples=["inner-validation"],
    )
    seeds: tuple[Seed, ...] = Field(
        min_length=1,
        max_length=1000,
        description="the seeds in predictions.csv; [0] where it has no such column",
        examples=[[0]],
    )
    ensemble: Literal["none", "seeds", "test-time augmentation", "models"] = Field(
        default="none", description="what was averaged inside each prediction"
    )
    test_evaluations: int | None = Field(
        default=None,
        ge=1,
        lt=10**6,
        description="how often the test folds were looked at, null where that is not known",
    )
    inputs: InputsUsed
    external: tuple[Text, ...] = Field(
        default=(), max_length=50, description="pretrained weights and other data, [] where none"
    )
    overlap: Overlap | None = Field(
        default=None,
        description="whether any of that, or of trained_on, was made from cases that are tested here",
    )
    trained_on: Title = Field(
        default="",
        description="cohort that the model learned from, where it is not this one: external validation, "
        "all cases at once, shown apart and not ranked",
    )
    compute: dict[Name, Text | Whole | float] = Field(
        default_factory=dict,
        max_length=50,
        description="free keys; device, gpu, hours and parameters are shown",
    )
    claimed: dict[Name, float] = Field(
        default_factory=dict,
        max_length=20,
        description="metrics as you computed them (macro_f1: 0.71): must agree to two decimals",
    )
    level: Level = Field(
        default="R1",
        description="of evidence: R1 rescored; R2 with public code, environment and command; the others "
        "are given by the maintainers",
    )

    @property
    def is_external(self) -> bool:
        """Whether it held out no fold; behind sealed labels all entries are alike in that."""
        return bool(self.trained_on) and self.level != "R4"

    @property
    def overlaps(self) -> Overlap:
        """Whether what is external holds tested cases; ``unknown`` where nobody has told."""
        return self.overlap or ("unknown" if self.external or self.trained_on else "no")

    @property
    def tracks(self) -> tuple[str, ...]:
        """What sets the entry apart from those that see the image alone; entries compare within a track."""
        tags: tuple[str, ...] = () if self.inputs.image else ("no image",)
        tags += ("demographics",) if self.inputs.demographics else ()
        tags += ("manual ROI at test",) if self.inputs.prior == "manual-test" else ()
        tags += ("external data",) if self.external else ()
        return tags or ("image only",)


def still_examples(entry: Entry) -> list[str]:
    """Return the fields of the method in which an example still stands that ``ictmri entry new`` wrote."""
    written = entry.method.model_dump(mode="json")
    return [
        f"method.{name}"
        for name, field in MethodInfo.model_fields.items()
        if name != "licence" and written[name] in (field.examples or [])
    ]


def load_entry(path: AnyPath, cohort: str = "COHORT") -> Entry:
    """Read an entry.yaml; where there is none, it is told how to write one for a cohort.

    Raises:
        InputError: it is missing or not valid; every problem is named with its dotted path or its line.
    """
    path = at_home(path)
    if not path.exists():
        problem = (
            f"there is no such file; ictmri entry new --cohort {cohort} --out {path} writes one"
        )
        raise InputError(str(path), [problem], "say in it who submits what")
    content = read_yaml(path, _EXAMPLE)
    if not isinstance(content, dict):
        raise InputError(str(path), ["entry: a mapping is needed, key: value"], _EXAMPLE)
    try:
        # As JSON, a list passes for a tuple while everything else is taken as it is.
        return Entry.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InputError(str(path), entry_problems(error), _EXAMPLE) from None


def entry_problems(error: ValidationError) -> list[str]:
    """Return one line for each thing that is wrong in an entry."""
    return validation_problems(error, "entry", words=_WORDS, model=Entry)


def write_entry(path: Path, entry: Entry) -> None:
    """Write an entry.yaml."""
    write_text(path, dump_yaml(entry.model_dump(mode="json", by_alias=True)))


def json_schema() -> str:
    """Return the JSON Schema (2020-12) of entry.yaml, as published in benchmark/schema."""
    return json.dumps(Entry.model_json_schema(by_alias=True), indent=1, ensure_ascii=False) + "\n"
