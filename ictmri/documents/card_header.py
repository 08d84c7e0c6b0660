"""The YAML header of a dataset card: what the Hugging Face Hub and ``datasets`` read.

Source: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md and docs/hub/datasets-gated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ictmri.cohort import CLINICAL
from ictmri.documents.facts import Facts
from ictmri.documents.licences import OTHER, hub_name
from ictmri.io.yamlfile import own_table
from ictmri.manifest import Manifest
from ictmri.schema import COLUMNS, Config, features

_GATE: Final[dict[str, Any]] = own_table(Path(__file__).with_name("gate.yaml"))
CONDITIONS: Final = tuple(
    text for text, kind in _GATE["extra_gated_fields"].items() if kind == "checkbox"
)
"""Conditions of access to patients' data; each is a box to tick."""
_SIZES: Final = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
}


def card_header(manifest: Manifest, facts: Facts) -> str:
    """Return the header of a cohort's card as YAML, without the dashes around it."""
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    licence = hub_name(facts.text("licence"))
    named: dict[str, Any] = {
        key: facts.text(answer)
        for key, answer in (("license_name", "licence_name"), ("license_link", "licence_link"))
        if licence == OTHER
    }
    data = DatasetCardData(
        pretty_name=pretty_name(manifest, facts),
        license=licence,
        annotations_creators=_annotations_creators(manifest),
        task_categories=["image-classification"],
        size_categories=[
            next((name for limit, name in _SIZES.items() if manifest.n_cases < limit), "1M<n<10M")
        ],
        tags=_tags(manifest),
        **named,
        **({} if manifest.synthetic else _GATE),
    )
    configs = [config for config in COLUMNS if config in manifest.configs]
    MetadataConfigs({c: _data_files(manifest, c) for c in configs}).to_dataset_card_data(data)
    infos = {config: DatasetInfo(features=features(config)) for config in configs}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    return data.to_yaml()


def pretty_name(manifest: Manifest, facts: Facts) -> str:
    """Return the name that readers see; a phantom's always says what it is."""
    if manifest.synthetic:
        return f"{manifest.name} (synthetic phantom)"
    return facts.text("title") or f"{manifest.name} (cohort)"


def _annotations_creators(manifest: Manifest) -> list[str] | None:
    if manifest.synthetic:
        return ["machine-generated"]
    return ["expert-generated"] if manifest.name == CLINICAL else None


def _tags(manifest: Manifest) -> list[str]:
    tags = ["medical", "mri", "brain", "3d", "nifti", "croissant"]
    if manifest.synthetic:
        return [*tags, "synthetic", "phantom"]
    return [*tags, "biopsy"] if manifest.name == CLINICAL else tags


def _data_files(manifest: Manifest, config: Config) -> dict[str, Any]:
    files = [
        {"split": split, "path": _pattern(paths)}
        for split, paths in manifest.files_of(config).items()
    ]
    return {"data_files": files} | ({"default": True} if config == "default" else {})


def _pattern(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0].rsplit('-', 3)[0]}-*.parquet"
