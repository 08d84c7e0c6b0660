"""What headers, names of classes, folders and files mean, by the lists of ``vocabulary.yaml``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ictmri.build.ages import is_unit_header, read_age_header
from ictmri.io.yamlfile import own_table
from ictmri.scans.contrast import is_t1, read_contrast
from ictmri.tumours import tumour_name

Kind = Literal["t1ce", "plain", "processed", "sequence", "mask"]


class ClassWord(NamedTuple):
    """What a word says: the class, the subtype, empty where open; a class's own name or not."""

    label: str
    subtype: str
    is_class: bool


def settled(words: Iterable[ClassWord]) -> str:
    """Return the class that words agree on, names of classes before those of subtypes; else nothing."""
    labels = {(not word.is_class, word.label) for word in words if word.label}
    first = [label for second, label in labels if second == min(labels)[0]]
    return first[0] if len(first) == 1 else ""


def lists(name: str = "vocabulary") -> dict[str, Any]:
    """Return the content of a YAML file of this folder."""
    return cast(dict[str, Any], own_table(Path(__file__).with_name(f"{name}.yaml")))


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """Return a pattern for the words of a list, the longest first; digits at ``#`` are a group."""
    found = []
    for word in sorted(lists()[name], key=len, reverse=True):
        text = re.escape(word.replace("_", " ")).replace(r"\ ", "_?")
        text = text.replace(r"\*", "[a-z]*").replace(r"\#", r"(\d{1,4})")
        latin = re.match(r"[\w*#+]", word, re.ASCII)
        found.append(rf"(?<![a-z]){text}(?![a-z])" if latin else text)
    return re.compile("|".join(found))


@cache
def _meanings(name: str) -> dict[str, str]:
    """Return the key under which each word of a list stands."""
    return {plain(word): key for key, words in lists()[name].items() for word in words}


def plain(text: str) -> str:
    """Return a word in lower case with single spaces in place of everything but letters and digits."""
    return " ".join(re.findall(r"[^\W_]+", _folded(text)))


def spaced(text: str) -> str:
    """Return a piece of a path in lower case, underscores in place of everything but words and ``+``."""
    return re.sub(r"[^\w+]+|_+", "_", _folded(text)).strip("_")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def read_header(text: str) -> str | None:
    """Return the meaning of a column by its header, None where it has none for a cohort."""
    if passed_over(text):
        return None
    age = read_age_header(text)
    if age or is_unit_header(text):
        return "age_unit" if age is None else "age" if age.meaning in ("age", "scan") else None
    bare = re.sub(r"[(（\[].*", "", text)
    known = _meanings("headers").get(plain(bare).replace(" ", ""))
    kind = image_kind(bare, ())
    is_file = kind == "t1ce" or (kind != "mask" and spaced(bare).endswith("file_name"))
    return known or ("file" if is_file else None)


def passed_over(text: str) -> bool:
    """Return True for a column that is not read: of names, dates of birth, or a model's predictions."""
    return names_people(text) or bool(_pattern("predictions").search(spaced(text)))


def names_people(text: str) -> bool:
    """Return True for a column of names, addresses, dates of birth."""
    return bool(_pattern("people").search(spaced(text)))


def read_class(text: str, given: Mapping[str, str] = {}) -> ClassWord | None:
    """Return what a word says about the class; None where it says nothing that is known.

    Names of classes count as they stand in the list, without a number in front; names of tumours as
    :mod:`ictmri.tumours` reads them.

    Args:
        text: the word.
        given: the class of words as a person said.
    """
    own = given.get(text, "")
    label = _meanings("classes").get(re.sub(r"^\d+ ", "", plain(text)), "")
    if not own and "?" in _folded(text):
        return None
    subtype = "" if label else tumour_name(text)
    usual = label or lists()["subtypes"].get(subtype, "")
    known = own or label or subtype
    return ClassWord(own or usual, subtype, is_class=bool(own or label)) if known else None


def read_sex(text: str) -> str | None:
    """Return ``female``, ``male``, an empty string for unknown, None where it is not understood."""
    sex = _meanings("sexes").get(plain(text))
    return "" if sex == "unknown" else sex


def image_kind(stem: str, folders: Iterable[str]) -> Kind:
    """Return what kind of image a file is by its name and the folders that it lies in.

    A mask and a processed copy may be named by either; of the sequence, the file's own name is believed
    before its folders'.
    """
    names = [stem, *reversed([*folders])]
    if any(_pattern("mask").search(spaced(name)) for name in names):
        return "mask"
    processed = any(_pattern("processed").search(spaced(name)) for name in names)
    for name in names:
        said, other = read_contrast(name), bool(_pattern("sequence").search(spaced(name)))
        if said == "with" and (is_t1(name) or not other):
            return "processed" if processed else "t1ce"
        if said == "without" or other:
            return "sequence"
    return "processed" if processed else "plain"


def read_split(text: str) -> tuple[int | None, str]:
    """Return the fold that a text names (``fold_3``, ``第3折``), and the part: train, val or test."""
    found = [int("".join(numbers)) for numbers in _pattern("folds").findall(spaced(text))]
    parts = [part for word in spaced(text).split("_") if (part := _meanings("parts").get(word))]
    return (found[0] if len(found) == 1 else None), (parts[-1] if parts else "")
