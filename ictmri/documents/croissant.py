"""The Croissant 1.1 file of a cohort folder, drawn from the schema of its data files and the facts.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and the RAI vocabulary 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ictmri.classes import CLASS_TITLES, CLASSES, SEXES
from ictmri.documents.card_header import pretty_name
from ictmri.documents.facts import Facts, load_facts
from ictmri.documents.licences import licence_url
from ictmri.io.files import canonical_json
from ictmri.manifest import Manifest
from ictmri.schema import COLUMNS, CONFIG_TITLES, Column, Config, Kind

_PARQUET: Final = "application/x-parquet"
_NIFTI: Final = "http://edamontology.org/format_3549"
"""NIfTI-1 in the EDAM ontology of formats."""
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_DATA_TYPES: Final[dict[Kind, list[str]]] = {
    "string": ["sc:Text"],
    # Bytes: mlcroissant decodes sc:ImageObject with Pillow, which knows no NIfTI.
    "nifti": ["sc:Text", _NIFTI],
    "label": ["sc:Integer"],
    "sex": ["sc:Integer"],
    "int8": ["cr:Int8"],
    "float32": ["cr:Float32"],
    "bool": ["sc:Boolean"],
    "matrix": ["cr:Float64"],
}
_FOLD_COLUMNS: Final = {
    "case_id": ("sc:Text", "case id"),
    "patient_id": ("sc:Text", "patient pseudonym; a patient is never in two folds"),
    "label": ("sc:Text", "class name"),
    "fold": ("sc:Integer", "the fold in which this case is tested"),
}
_RAI: Final = {
    "rai:dataCollection": ("setting", "inclusion", "exclusion", "series", "sequence"),
    "rai:dataCollectionMissingData": ("exclusion",),
    "rai:dataCollectionRawData": ("sequence", "scanners", "field_strength"),
    "rai:dataPreprocessingProtocol": ("preprocessing", "deidentification", "faces"),
    "rai:dataAnnotationProtocol": ("reference_standard", "who_edition", "annotation"),
    "rai:dataAnnotationAnalysis": ("agreement",),
    "rai:annotatorDemographics": ("pathologists", "annotators"),
    "rai:dataBiases": ("biases", "missing_people"),
    "rai:dataLimitations": ("limitations", "misuses"),
    "rai:dataSocialImpact": ("social_impact",),
    "rai:dataUseCases": ("uses",),
    "rai:dataReleaseMaintenancePlan": ("maintenance", "withdrawal"),
}
"""RAI property -> the questions whose answers it holds."""
_SAID_FIRST: Final = {"misuses": "not for ", "missing_people": "missing: ", "faces": "faces: "}
"""What an answer needs before it where it stands without its question."""


def render_croissant(manifest: Manifest, facts: Facts | None = None) -> str:
    """Return the JSON-LD text.

    Args:
        manifest: the cohort's manifest, with all files.
        facts: what is known about the cohort; what ships with the package where None.
    """
    told = facts or load_facts(manifest)
    configs = [config for config in COLUMNS if config in manifest.configs]
    tables = [name for name in manifest.files if name.endswith(".csv")]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": manifest.name,
        "alternateName": pretty_name(manifest, told),
        "description": _description(manifest),
        "version": manifest.version,
        **_about(manifest, told),
        "isLiveDataset": False,
        **_responsible_ai(manifest, told),
        "distribution": [
            *(
                _file_object(manifest, path, _PARQUET)
                for c in configs
                for path in _paths(manifest, c)
            ),
            *(_file_object(manifest, name, "text/csv") for name in tables),
            *(_file_set(config) for config in configs),
        ],
        "recordSet": [
            _enumeration("classes", CLASSES, [CLASS_TITLES[name] for name in CLASSES]),
            _enumeration("sexes", SEXES, SEXES),
            _splits(manifest),
            *((_folds(),) if "folds.csv" in manifest.files else ()),
            *(_record_set(config) for config in configs),
        ],
    }
    return canonical_json(document)


def _description(manifest: Manifest) -> str:
    kind = "SYNTHETIC phantom, no patient in it" if manifest.synthetic else "Cohort of patients"
    return (
        f"{kind}: {manifest.n_cases} cases, one T1-CE MRI volume each, classes {', '.join(CLASSES)}, "
        f"{manifest.n_folds} fixed folds."
    )


def _about(manifest: Manifest, facts: Facts) -> dict[str, Any]:
    """Return who, where and under which terms; what nobody has answered is left out."""
    licence = licence_url(facts.text("licence")) or facts.text("licence_link")
    doi = facts.text("doi")
    publisher = facts.text("institution")
    about = {
        "url": facts.text("homepage"),
        "license": licence,
        "citeAs": facts.text("citation"),
        "identifier": f"https://doi.org/{doi}" if doi else "",
        "datePublished": facts.text("date_published"),
        "creator": _creators(facts),
        "publisher": {"@type": "sc:Organization", "name": publisher} if publisher else "",
        "keywords": _keywords(manifest),
        "isAccessibleForFree": True,
        "conditionsOfAccess": facts.text("distribution"),
    }
    return {key: value for key, value in about.items() if value}


def _creators(facts: Facts) -> list[dict[str, str]]:
    names = facts["authors"].values if facts.text("authors") else ()
    kind = "sc:Organization" if facts.kind == "phantom" else "sc:Person"
    return [{"@type": kind, "name": name} for name in names]


def _keywords(manifest: Manifest) -> list[str]:
    words = ["MRI", "T1-CE", "brain tumour", "diagnosis", "benchmark", "cross-validation"]
    return [*words, "synthetic", "phantom"] if manifest.synthetic else words


def _responsible_ai(manifest: Manifest, facts: Facts) -> dict[str, Any]:
    found: dict[str, Any] = {key: _told(facts, names) for key, names in _RAI.items()}
    period = facts.text("collection_period")
    if period:
        days = [_first_day(day) for day in period.split("/")]
        # The vocabulary spells it in the first way, mlcroissant reads the second.
        found |= {"rai:dataCollectionTimeframe": days, "rai:dataCollectionTimeFrame": days}
    found["rai:dataCollectionType"] = "Simulation" if manifest.synthetic else "Clinical imaging"
    found["rai:dataImputationProtocol"] = "nothing is imputed"
    found["rai:personalSensitiveInformation"] = _sensitive(manifest)
    return {key: value for key, value in sorted(found.items()) if value}


def _told(facts: Facts, names: Sequence[str]) -> str:
    answered = [name for name in names if facts.text(name)]
    return "; ".join(_SAID_FIRST.get(name, "") + facts.text(name) for name in answered)


def _first_day(date: str) -> str:
    return "-".join([*date.split("-"), "01", "01"][:3])


def _sensitive(manifest: Manifest) -> list[str] | str:
    if manifest.synthetic:
        return "none: generated by a program"
    return ["Health data: diagnosis and MRI", "Sex", "Age", "Pseudonyms in place of every id"]


def _paths(manifest: Manifest, config: Config) -> list[str]:
    return [path for paths in manifest.files_of(config).values() for path in paths]


def _file_object(manifest: Manifest, path: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{manifest.files[path]['bytes']} B",
        "encodingFormat": encoding,
        "sha256": manifest.files[path]["sha256"],
    }


def _file_set(config: Config) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "description": f"{CONFIG_TITLES[config]}; a file a fold",
        "encodingFormat": _PARQUET,
        "includes": f"data/{config}/*.parquet",
    }


def _enumeration(name: str, values: Sequence[str], titles: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"what the numbers of the column mean: {name}",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{name}/id"},
        "field": [
            _inline_field(f"{name}/id", "sc:Integer"),
            _inline_field(f"{name}/name", "sc:Text"),
            _inline_field(f"{name}/title", "sc:Text"),
        ],
        "data": [
            {f"{name}/id": number, f"{name}/name": value, f"{name}/title": title}
            for number, (value, title) in enumerate(zip(values, titles, strict=True))
        ],
    }


def _splits(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "fold k is tested by models trained on the other folds",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            _inline_field("splits/name", "sc:Text"),
            _inline_field("splits/fold", "sc:Integer"),
        ],
        "data": [
            {"splits/name": f"fold{fold}", "splits/fold": fold} for fold in range(manifest.n_folds)
        ],
    }


def _inline_field(name: str, data_type: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name.split("/")[1], "dataType": data_type}


def _folds() -> dict[str, Any]:
    source = {"fileObject": {"@id": "folds.csv"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "folds",
        "name": "folds",
        "description": "the authority on folds: a row a case",
        "key": {"@id": "folds/case_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"folds/{name}",
                "name": name,
                "description": meaning,
                "dataType": data_type,
                "source": source | {"extract": {"column": name}},
            }
            for name, (data_type, meaning) in _FOLD_COLUMNS.items()
        ],
    }


def _record_set(config: Config) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": CONFIG_TITLES[config],
        "key": {"@id": f"{config}/case_id"},
        "field": [*(_field(config, column) for column in COLUMNS[config]), _split_field(config)],
    }


def _field(config: Config, column: Column) -> dict[str, Any]:
    source: dict[str, Any] = {
        "fileSet": {"@id": f"{config}-files"},
        "extract": {"column": column.name},
    }
    if column.kind == "nifti":
        source["transform"] = {"jsonPath": "bytes"}
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{config}/{column.name}",
        "name": column.name,
        "description": column.meaning,
        "dataType": _DATA_TYPES[column.kind],
        "source": source,
    }
    if column.kind == "matrix":
        field |= {"isArray": True, "arrayShape": "16"}
    enumeration = {"label": "classes/id", "sex": "sexes/id"}.get(column.kind)
    if enumeration:
        field["references"] = {"field": {"@id": enumeration}}
    return field


def _split_field(config: Config) -> dict[str, Any]:
    # The pattern fits its own result, since mlcroissant applies it again after a join.
    return {
        "@type": "cr:Field",
        "@id": f"{config}/split",
        "name": "split",
        "description": "the split that the row is in, from the name of its file",
        "dataType": "sc:Text",
        "references": {"field": {"@id": "splits/name"}},
        "source": {
            "fileSet": {"@id": f"{config}-files"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": rf"(?:data/{config}/)?(fold\d+)(?:-.*)?"},
        },
    }
