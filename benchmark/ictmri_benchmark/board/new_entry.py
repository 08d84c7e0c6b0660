"""``ictmri entry new``: an entry.yaml that is valid, with a comment on each field, drawn from the model."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.yamlfile import dump_yaml, parse_yaml
from ictmri_benchmark.board.entry import Entry, entry_problems, slug_of

_WIDTH: Final = 100
_INDENT: Final = "  "
_TRUTH: Final = {"true": True, "false": False}.keys()
_HELP: Final = "ictmri entry new --help"


def entry_fields(
    model: type[BaseModel] = Entry, above: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted place of each field of an entry, in order; a part comes before its own fields."""
    for name, field in model.model_fields.items():
        place = f"{above}{field.alias or name}"
        yield place, field
        if (part := _part(field)) is not None:
            yield from entry_fields(part, f"{place}.")


def asked_fields() -> list[tuple[str, FieldInfo]]:
    """Return the fields that only the submitter can fill in; the slug is made from the name."""
    return [(place, field) for place, field in entry_fields() if field.examples and place != "slug"]


def explanation(field: FieldInfo) -> str:
    """Return what a field is, and what can be chosen."""
    choices = " | ".join(map(str, _choices(field.annotation)))
    optional = "" if field.is_required() else "optional"
    return "; ".join(part for part in (field.description, choices, optional) if part)


def example_text(field: FieldInfo) -> str:
    """Return a field's example as a person would type it."""
    example = (field.examples or [""])[0]
    listed = example if isinstance(example, list) else [example]
    return ", ".join(str(x).lower() if isinstance(x, bool) else str(x) for x in listed)


def parsed_value(place: str, text: str) -> Any:
    """Return the value of a field that is written as text; ``Jane Doe, John Roe`` is a list of authors.

    Raises:
        InputError: it cannot be read.
    """
    field = dict(entry_fields()).get(place)
    if field is None or field.annotation is str or set(_choices(field.annotation)) - _TRUTH:
        return text
    listed = get_origin(field.annotation) is tuple and not text.lstrip().startswith("[")
    return parse_yaml(
        Path(place), (f"[{text}]" if listed else text).encode(), "write it as in YAML"
    )


def new_entry(cohort: FoldTable, given: Mapping[str, Any], *, synthetic: bool) -> str:
    """Return the text of a valid entry.yaml.

    Args:
        cohort: what it is for.
        given: values by dotted place; where there is none, the field's example or default stands.
        synthetic: whether the cohort is a phantom.

    Raises:
        InputError: what is given is not valid.
    """
    known: dict[str, Any] = {
        "benchmark.cohort": cohort.name,
        "benchmark.splits_sha256": cohort.sha256,
        "benchmark.data_sha256": cohort.data_sha256,
        "synthetic": synthetic,
    }
    if slug := slug_of(str(given.get("method.name", ""))):
        known["slug"] = slug
    content: dict[str, Any] = {}
    values = {place: _standing(field) for place, field in entry_fields() if _part(field) is None}
    for place, value in (values | known | dict(given)).items():
        *above, name = place.split(".")
        inner = content
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise InputError("entry", [f"{place}: unknown field"], _HELP)
        inner[name] = value
    try:
        Entry.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InputError("entry", entry_problems(error), _HELP) from None
    return _commented(content)


def _commented(content: dict[str, Any]) -> str:
    lines = []
    for place, field in entry_fields():
        *above, name = place.split(".")
        value, indent, part = content, _INDENT * len(above), _part(field)
        for key in above:
            value = value[key]
        told = explanation(field) if part is None else part.__doc__ or ""
        lines += textwrap.wrap(
            told, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        written = dump_yaml({name: value[name]}) if part is None else f"{name}:"
        lines += textwrap.indent(written, indent).splitlines()
    return "\n".join(lines) + "\n"


def _standing(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    return list(value) if isinstance(value, tuple) else value


def _part(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return what can be chosen, where that is a list; one alone is no choice."""
    if annotation is bool:
        return tuple(_TRUTH)
    found = get_args(annotation) if get_origin(annotation) is Literal else ()
    inner = found or next(filter(None, map(_choices, get_args(annotation))), ())
    return inner if len(inner) > 1 else ()
