"""What the loopback Hub finds wrong with the metadata of a dataset card."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import yaml

FIELD_TYPES: Final = {"text", "checkbox", "date_picker", "country", "select"}
LICENSES: Final = {
    *("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *(
        "cc-by-nc-nd-4.0",
        "cc-by-nd-4.0",
        "cc0-1.0",
        "bsd-3-clause",
        "odc-by",
        "odbl",
        "other",
        "unknown",
    ),
}
TASKS: Final = {
    *("image-classification", "image-segmentation", "object-detection", "image-text-to-text"),
    *("visual-question-answering", "zero-shot-object-detection", "zero-shot-image-classification"),
    *("image-feature-extraction", "tabular-classification", "mask-generation", "other"),
}
SIZES: Final = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "other"}


def card_problems(readme: str, licences: Collection[str] = LICENSES) -> tuple[list[str], list[str]]:
    """Return what the Hub finds wrong with a README's metadata: errors, and warnings."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", readme, flags=re.DOTALL)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"YAML is not valid: {error}"], []
    if not isinstance(data, dict):
        return ["metadata must be a mapping"], []
    errors = [*_listed(data, "license", licences), *_listed(data, "task_categories", TASKS)]
    errors += [*_listed(data, "size_categories", SIZES), *_config_problems(data.get("configs", []))]
    for name, given in (data.get("extra_gated_fields") or {}).items():
        kind = given.get("type") if isinstance(given, dict) else given
        if kind not in FIELD_TYPES:
            errors.append(f'"extra_gated_fields.{name}" must be one of {sorted(FIELD_TYPES)}')
    return errors, [] if data.get("license") else ['"license" is missing']


def _listed(data: Mapping[str, Any], key: str, known: Collection[str]) -> list[str]:
    given = data.get(key, [])
    values = given if isinstance(given, list) else [given]
    return [f'"{key}" must be one of {sorted(known)}, not {v!r}' for v in values if v not in known]


def _config_problems(configs: Any) -> list[str]:
    if not isinstance(configs, list):
        return ['"configs" must be an array']
    problems = []
    for index, config in enumerate(configs):
        if not isinstance(config, dict) or not isinstance(config.get("config_name"), str):
            problems.append(f'"configs[{index}].config_name" is required')
            continue
        files = config.get("data_files")
        for entry in files if isinstance(files, list) else []:
            if isinstance(entry, dict) and not {"split", "path"} <= set(entry):
                problems.append(f'"configs[{index}].data_files" needs split and path')
    return problems
