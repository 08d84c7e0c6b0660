"""YAML files that people hand in: plain data, of a sane size, each key once.

Plain words are read by the core schema of YAML 1.2: ``no``, ``010``, ``1:30`` and ``2026-01-01`` are the
words that they look like, not a truth value, an octal, a number of minutes or a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from ictmri.errors import InputError
from ictmri.io.files import read_plain

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 20
MAX_NODES: Final = 20_000
_CORE: Final = {
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    "null": (re.compile(r"null|Null|NULL|~|"), "nN~"),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]*)"), "-+0123456789"),
    "float": (
        re.compile(
            r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
}
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class _PlainLoader(yaml.SafeLoader):
    """Refuses what plain data never needs: tags, references that could grow without end, keys twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError(f"{line}: anchors (&, *) are not taken")
        if getattr(event, "tag", None):
            raise yaml.YAMLError(f"{line}: tags (!) are not taken")
        if isinstance(event, yaml.ScalarEvent) and _SURROGATES.search(event.value):
            raise yaml.YAMLError(f"{line}: holds half a character")
        self.depth += 1
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.YAMLError(f"{line}: more than {MAX_NODES} values")
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"{line}: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as error:
            # A number with more digits than the machine takes.
            line = f"line {node.start_mark.line + 1}"
            raise yaml.YAMLError(f"{line}: more digits than can be read") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = f"line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"{line}: a key must be a word")
            if key.value in seen:
                raise yaml.YAMLError(f"{line}: {key.value[:50]!r} stands twice")
            seen.add(key.value)
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(seen):
            line = f"line {node.start_mark.line + 1}"
            raise yaml.YAMLError(f"{line}: a key stands twice, written in two ways")
        return found


class _PlainDumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML 1.1 or 1.2 would take for something else."""


for _name, (_pattern, _first) in _CORE.items():
    _whole = re.compile(f"(?:{_pattern.pattern})\\Z")
    for _class in (_PlainLoader, _PlainDumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _whole, list(_first))
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"\Z"), [""])


class _WordLoader(_PlainLoader):
    """Reads every value as text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def read_yaml(path: Path, next_step: str, *, words: bool = False) -> Any:
    """Return the content of a YAML file.

    Args:
        path: the file.
        next_step: what to do when it is not valid.
        words: leave every value as it is written, numbers too.

    Raises:
        InputError: it cannot be read, is too large, or is no plain YAML in UTF-8; the line is named.
    """
    content = read_plain(path, MAX_BYTES, next_step)
    return parse_yaml(path, content, next_step, words=words)


def parse_yaml(path: Path, content: bytes, next_step: str, *, words: bool = False) -> Any:
    """Return the content of a YAML file; ``path`` is its name in messages, as for :func:`read_yaml`."""
    with _refused(path, next_step):
        return yaml.load(_text(content), _WordLoader if words else _PlainLoader)


@cache
def own_table(path: Path) -> Any:
    """Return a table or vocabulary that ships with the package, mostly beside the module that uses it."""
    # Ten times as fast where PyYAML was built with libyaml, as its wheels are.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader)


def dump_yaml(value: Any) -> str:
    """Return plain data as YAML that :func:`read_yaml` reads back, keys in the order given."""
    return yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)


@contextmanager
def _refused(path: Path, next_step: str) -> Iterator[None]:
    try:
        yield
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(str(path), [f"not valid YAML: {_told(error)}"], next_step) from None
    except (ValueError, OverflowError):
        # The library's own, for the escape of a code point that there is not.
        problem = "not valid YAML: an escape (\\U) that is no character"
        raise InputError(str(path), [problem], next_step) from None


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise yaml.YAMLError(f"line {line}: not UTF-8 text (byte {error.start})") from None
    odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if odd:
        line = text[: odd.start()].count("\n") + 1
        raise yaml.YAMLError(f"line {line}: holds U+{ord(odd.group()):04X}, a control character")
    return text


def _told(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
