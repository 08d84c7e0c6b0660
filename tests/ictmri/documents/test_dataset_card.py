"""The card and the Croissant file of a cohort folder, as the Hub, datasets and mlcroissant read them."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import nibabel as nib
import pytest
import yaml
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData
from support.loopback_card import card_problems

from ictmri.build.folder import build_folder
from ictmri.cohort import Cohort
from ictmri.documents.card_header import CONDITIONS, card_header
from ictmri.documents.croissant import render_croissant
from ictmri.documents.dataset_card import render_card
from ictmri.documents.facts import load_facts
from ictmri.documents.licences import HUB_NAMES
from ictmri.io.volumes import unpack
from ictmri.manifest import Manifest
from ictmri.schema import COLUMNS, features
from ictmri.verify.privacy import leaks

ANSWERS = """\
title: Deep tumours of Example Hospital
authors: [Jane Doe, John Roe]
licence: CC-BY-NC-4.0
contact: data@hospital.example
homepage: https://huggingface.co/datasets/clinic/mini
citation: Doe J, Roe J. Deep tumours. 2026.
doi: 10.5281/zenodo.1234567
date_published: 2026-05-31
collection_period: 2015/2023-06
biases: one | <b>hospital</b>
"""


@pytest.fixture
def cohort(mini_table: Path, tmp_path: Path) -> Cohort:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "facts.yaml"
    path.write_text(ANSWERS)
    return path


def header_of(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n", 2)[1]))


def as_phantom(manifest: Manifest) -> Manifest:
    return replace(manifest, name="ictmri-phantom-mini", synthetic=True)


def test_the_card_is_valid_and_computed(cohort: Cohort) -> None:
    _, _, body = (cohort.root / "README.md").read_text().split("---\n", 2)
    card = header_of((cohort.root / "README.md").read_text())
    (config,) = card["configs"]
    assert config["default"] is True
    assert [f["split"] for f in config["data_files"]] == ["fold0", "fold1", "fold2"]
    assert all((cohort.root / f["path"]).is_file() for f in config["data_files"])
    assert "| Glioma | 2 | 2 | 2 | 6 |" in body
    assert "SYNTHETIC" not in body
    assert (card["license"], card["pretty_name"]) == ("unknown", "mini (cohort)")
    assert "Unknown**: 5" in body


def test_the_header_tells_datasets_every_feature_and_file(cohort: Cohort) -> None:
    """Read with the library's own reader, every config has the columns and the files that it has."""
    parts = {
        f"data/{config}/fold{fold}-00000-of-00001.parquet" for config in COLUMNS for fold in (0, 1)
    }
    files = {part: {"sha256": "", "bytes": 1} for part in sorted(parts)}
    for configs in (["default"], list(COLUMNS)):
        of_configs = {name: known for name, known in files.items() if name.split("/")[1] in configs}
        text = card_header(replace(cohort.manifest, files=of_configs), load_facts(cohort.manifest))
        card = DatasetCardData(**yaml.safe_load(text))
        infos = DatasetInfosDict.from_dataset_card_data(card)
        assert {name: info.features for name, info in infos.items()} == {
            config: features(config) for config in configs
        }
        read = MetadataConfigs.from_dataset_card_data(card)
        assert read.get_default_config_name() == "default"
        found = {entry["path"] for config in read.values() for entry in config["data_files"]}
        assert found == set(of_configs)


def test_patients_are_behind_conditions_and_phantoms_are_not(cohort: Cohort) -> None:
    card = header_of((cohort.root / "README.md").read_text())
    ticked = {text for text, kind in card["extra_gated_fields"].items() if kind == "checkbox"}
    assert ticked == set(CONDITIONS)
    assert card["extra_gated_fields"]["Purpose"]["type"] == "select"
    text = render_card(cohort.root, as_phantom(cohort.manifest))
    assert not [key for key in header_of(text) if key.startswith("extra_gated")]


def test_a_phantom_says_so_everywhere(cohort: Cohort) -> None:
    text = render_card(cohort.root, as_phantom(cohort.manifest))
    card = header_of(text)
    assert card["pretty_name"].endswith("(synthetic phantom)")
    assert (card["license"], card["license_name"]) == ("other", "mni-icbm152-notice")
    assert {"synthetic", "phantom"} <= set(card["tags"])
    assert text.index("**SYNTHETIC.**") < text.index("cases, one T1")
    assert "SYNTHETIC" in json.loads(render_croissant(as_phantom(cohort.manifest)))["description"]


def test_the_owners_answers_stand_in_the_card(cohort: Cohort, answers: Path) -> None:
    text = render_card(cohort.root, cohort.manifest, load_facts(cohort.manifest, answers))
    card = header_of(text)
    assert (card["license"], card["pretty_name"]) == (
        "cc-by-nc-4.0",
        "Deep tumours of Example Hospital",
    )
    assert 'datasets.load_dataset("clinic/mini")' in text
    assert "Doe J, Roe J. Deep tumours. 2026. doi:10.5281/zenodo.1234567" in text
    assert "data@hospital.example" in text
    assert "| one \\| &lt;b>hospital&lt;/b> | the data owner |" in text
    assert "<b>" not in text


def test_the_clinical_card_keeps_known_and_unknown_apart(cohort: Cohort) -> None:
    text = render_card(cohort.root, replace(cohort.manifest, name="ictmri"))
    known, unknown = text.split("**Unknown**")
    assert "Beijing Tiantan Hospital" in known
    assert "the preprint leaves the name blank" in known
    assert "By which edition of the WHO classification? | the authors (neuropathology)" in unknown
    assert header_of(text)["license"] == "cc-by-4.0"


def test_no_age_of_a_patient_stands_in_a_document(mini_table: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(mini_table.open()))
    for number, row in enumerate(rows):
        row["age"] = f"{31 + number}.37"
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    mini_table.write_text("\n".join(lines) + "\n")
    root = build_folder(mini_table, tmp_path / "aged", n_folds=3).cohort.root
    text = (root / "README.md").read_text() + (root / "croissant.json").read_text()
    body = text.split("---\n", 2)[2]
    assert not [row["age"] for row in rows if row["age"] in text or f" {row['age'][:4]} " in body]


def test_documents_are_the_same_every_time(cohort: Cohort) -> None:
    first = (cohort.root / "README.md").read_text()
    assert render_card(cohort.root, cohort.manifest) == first
    assert not leaks(cohort)


def test_every_header_is_one_that_the_hub_takes(cohort: Cohort, tmp_path: Path) -> None:
    named = "licence: other\nlicence_name: mine\nlicence_link: https://x.example/terms\n"
    answers = [
        "",
        named,
        *(f"licence: {name}\n" for name in sorted(HUB_NAMES - {"other", "unknown"})),
    ]
    for text in answers:
        (tmp_path / "facts.yaml").write_text(text)
        for manifest in (cohort.manifest, as_phantom(cohort.manifest)):
            facts = load_facts(manifest, tmp_path / "facts.yaml")
            for n_cases in (999, 1000, 2_000_000):
                header = card_header(replace(manifest, n_cases=n_cases), facts)
                problems = card_problems(f"---\n{header}\n---\n", licences=HUB_NAMES)
                assert problems == ([], []), text
            card = yaml.safe_load(header)
            given = ("license_name" in card, "license_link" in card)
            assert given == (card["license"] == "other",) * 2


def test_the_croissant_file_validates_and_iterates(cohort: Cohort) -> None:
    """Every record set is read offline; unknown sexes and ages do not lose their rows in the joins."""
    dataset = mlcroissant.Dataset(jsonld=str(cohort.root / "croissant.json"))
    assert not dataset.metadata.issues.errors
    records = {
        found.uuid: list(dataset.records(found.uuid)) for found in dataset.metadata.record_sets
    }
    counts = {name: len(found) for name, found in records.items()}
    assert counts == {"classes": 4, "sexes": 2, "splits": 3, "folds": 15, "default": 15}
    rows = {row["case_id"]: row for row in cohort.rows("default")}
    for record in records["default"]:
        row = rows[record["default/case_id"].decode()]
        assert record["default/image"] == row["image"]["bytes"]
        assert record["default/split"].decode() == f"fold{row['fold']}"
        assert record["default/sex"] == row["sex"]
        assert record["default/label"] == row["label"]
    image = unpack({"bytes": record["default/image"], "path": "x.nii.gz"})
    assert isinstance(image, nib.Nifti1Image)


def test_the_croissant_file_is_complete_when_the_owner_answered(
    cohort: Cohort, answers: Path
) -> None:
    text = render_croissant(cohort.manifest, load_facts(cohort.manifest, answers))
    (cohort.root / "croissant.json").write_text(text)
    dataset = mlcroissant.Dataset(jsonld=str(cohort.root / "croissant.json"))
    metadata = dataset.metadata
    assert not metadata.issues.errors
    assert not metadata.issues.warnings
    assert metadata.license == ["https://spdx.org/licenses/CC-BY-NC-4.0.html"]
    assert [person.name for person in metadata.creators] == ["Jane Doe", "John Roe"]
    assert metadata.date_published.date().isoformat() == "2026-05-31"
    assert [f"{day:%Y-%m}" for day in metadata.data_collection_timeframe] == ["2015-01", "2023-06"]
    assert metadata.data_biases == ["one | <b>hospital</b>"]
    assert metadata.personal_sensitive_information
    shas = {found.id: found.sha256 for found in metadata.distribution if hasattr(found, "sha256")}
    assert shas == {
        name: known["sha256"]
        for name, known in cohort.manifest.files.items()
        if name.endswith((".parquet", ".csv"))
    }


def test_every_config_of_the_schema_is_described(cohort: Cohort) -> None:
    files = {
        f"data/{config}/fold0-00000-of-00001.parquet": {"sha256": "0" * 64, "bytes": 1}
        for config in COLUMNS
    }
    document = json.loads(render_croissant(replace(cohort.manifest, files=files)))
    described = {
        found["@id"]: {field["name"] for field in found["field"]} for found in document["recordSet"]
    }
    for config, columns in COLUMNS.items():
        assert described[config] == {column.name for column in columns} | {"split"}


def test_the_manifest_covers_every_file(cohort: Cohort) -> None:
    manifest = json.loads((cohort.root / "manifest.json").read_text())
    on_disk = {p.relative_to(cohort.root).as_posix() for p in cohort.root.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == on_disk - {"manifest.json"}
    assert manifest["synthetic"] is False
