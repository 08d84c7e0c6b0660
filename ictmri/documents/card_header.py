"""The YAML header of a dataset card: what the Hugging Face Hub reads, checked before it is written.

Source: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md and docs/hub/datasets-gated.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ictmri.classes import CLASSES, SEXES
from ictmri.cohort import CLINICAL
from ictmri.documents.facts import Facts
from ictmri.documents.licences import HUB_NAMES, OTHER, hub_name
from ictmri.manifest import Manifest
from ictmri.schema import COLUMNS, Column, Config

CONDITIONS: Final = (
    "I will not try to identify, contact or single out any person in these data.",
    "I will not link these data with others in a way that could identify a person.",
    "I will keep the files where only people who agreed to these conditions can read them.",
    "I will pass nothing on outside these terms; others can ask for access themselves.",
    "I will use the data for the purpose stated here, and not to diagnose or treat anyone.",
    "I will report anything that could identify a person, and delete what I am asked to delete.",
    "I will cite the source, and say which version and which folds I used.",
)
"""Conditions of access to patients' data; each is a box to tick."""
_HEADING: Final = "Access to patients' data"
_PROMPT: Final = (
    "These are scans of patients. Access is given to people, one by one, on these conditions of access. "
    "They come beside the licence and do not change it."
)
_BUTTON: Final = "Agree and ask for access"
_PURPOSES: Final = ("Research", "Teaching", "Benchmarking a method", "Checking published results")

_SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)


def _on_the_hub(name: str) -> str:
    if name not in HUB_NAMES:
        raise ValueError(f"{name!r} is no licence that the Hub lists")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataFile(_Strict):
    """Where a split lies."""

    split: str = Field(pattern=r"^fold\d+$")
    path: str = Field(pattern=r"^data/[a-z]+/fold\d+-(\d{5}-of-\d{5}|\*)\.parquet$")


class ConfigEntry(_Strict):
    """A config of the dataset."""

    config_name: Config
    default: Literal[True] | None = None
    data_files: list[DataFile] = Field(min_length=1)


class DatasetInfo(_Strict):
    """The features of a config, as ``datasets`` writes them."""

    config_name: Config
    features: list[dict[str, Any]] = Field(min_length=1)


class Select(_Strict):
    """A choice that the gate asks for."""

    type: Literal["select"] = "select"
    options: list[str]


class CardHeader(_Strict):
    """The header of a dataset card."""

    pretty_name: str = Field(min_length=1)
    license: Annotated[str, AfterValidator(_on_the_hub)]
    license_name: str | None = Field(default=None, pattern=r"^[a-z0-9.-]+$")
    license_link: str | None = Field(default=None, pattern=r"^https?://\S+$")
    annotations_creators: list[Literal["expert-generated", "machine-generated"]] | None = None
    task_categories: list[Literal["image-classification", "image-segmentation"]]
    tags: list[str]
    size_categories: list[Literal["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"]]
    configs: list[ConfigEntry] = Field(min_length=1)
    dataset_info: list[DatasetInfo] = Field(min_length=1)
    extra_gated_heading: str | None = None
    extra_gated_prompt: str | None = None
    extra_gated_fields: (
        dict[str, Literal["text", "country", "date_picker", "checkbox"] | Select] | None
    ) = None
    extra_gated_button_content: str | None = None

    @model_validator(mode="after")
    def _other_is_named(self) -> CardHeader:
        given = (bool(self.license_name), bool(self.license_link))
        if given != (self.license == OTHER,) * 2:
            raise ValueError("license 'other', and it alone, needs license_name and license_link")
        return self

    def content(self) -> dict[str, Any]:
        """Return the header as plain values, in order, without what is not set."""
        return self.model_dump(exclude_none=True)


def card_header(manifest: Manifest, facts: Facts) -> CardHeader:
    """Return the header of a cohort's card."""
    licence = hub_name(facts.text("licence"))
    other = licence == OTHER
    configs: list[Config] = [config for config in COLUMNS if config in manifest.configs]
    return CardHeader(
        pretty_name=pretty_name(manifest, facts),
        license=licence,
        license_name=facts.text("licence_name") if other else None,
        license_link=facts.text("licence_link") if other else None,
        annotations_creators=_annotations_creators(manifest),
        task_categories=["image-classification"],
        tags=_tags(manifest),
        size_categories=[_size(manifest.n_cases)],
        configs=[_config(manifest, config) for config in configs],
        dataset_info=[
            DatasetInfo(config_name=config, features=[*map(_feature, COLUMNS[config])])
            for config in configs
        ],
        **({} if manifest.synthetic else _gate()),
    )


def pretty_name(manifest: Manifest, facts: Facts) -> str:
    """Return the name that readers see; a phantom's always says what it is."""
    if manifest.synthetic:
        return f"{manifest.name} (synthetic phantom)"
    return facts.text("title") or f"{manifest.name} (cohort)"


def _annotations_creators(manifest: Manifest) -> Any:
    if manifest.synthetic:
        return ["machine-generated"]
    return ["expert-generated"] if manifest.name == CLINICAL else None


def _tags(manifest: Manifest) -> list[str]:
    tags = ["medical", "mri", "brain", "3d", "nifti", "croissant"]
    if manifest.synthetic:
        return [*tags, "synthetic", "phantom"]
    return [*tags, "biopsy"] if manifest.name == CLINICAL else tags


def _size(n_cases: int) -> Any:
    return next((name for limit, name in _SIZES if n_cases < limit), "1M<n<10M")


def _config(manifest: Manifest, config: Config) -> ConfigEntry:
    files = manifest.files_of(config).items()
    return ConfigEntry(
        config_name=config,
        default=True if config == "default" else None,
        data_files=[DataFile(split=split, path=_pattern(paths)) for split, paths in files],
    )


def _pattern(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0].rsplit('-', 3)[0]}-*.parquet"


def _feature(column: Column) -> dict[str, Any]:
    names = {"label": CLASSES, "sex": SEXES}
    if column.kind in names:
        numbered = {str(number): name for number, name in enumerate(names[column.kind])}
        return {"name": column.name, "dtype": {"class_label": {"names": numbered}}}
    if column.kind == "matrix":
        return {"name": column.name, "list": "float64", "length": 16}
    return {"name": column.name, "dtype": column.kind}


def _gate() -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Name": "text",
        "Institution": "text",
        "Country": "country",
        "Position": "text",
        "Purpose": Select(options=[*_PURPOSES]),
        "What you plan to do": "text",
    }
    return {
        "extra_gated_heading": _HEADING,
        "extra_gated_prompt": _PROMPT,
        "extra_gated_fields": fields | dict.fromkeys(CONDITIONS, "checkbox"),
        "extra_gated_button_content": _BUTTON,
    }
