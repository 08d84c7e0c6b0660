"""What headers, names of classes, folders and files mean, by the lists of ``vocabulary.yaml``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from ictmri.build.ages import is_unit_header, read_age_header
from ictmri.scans.contrast import is_t1, read_contrast
from ictmri.tumours import tumour_words

Kind = Literal["t1ce", "plain", "processed", "sequence", "mask"]


class ClassWord(NamedTuple):
    """What a word says: the class and Table 1's subtype, empty where open; a class's own name or not."""

    label: str
    subtype: str
    is_class: bool


@dataclass(frozen=True, slots=True)
class ClassReader:
    """Reads words for classes as a person said (by :func:`plain` of the word), or as they read.

    Numbers are read by the names that notes of the source give them.
    """

    given: dict[str, str]
    codes: dict[str, str]

    def read(self, text: str, codes: dict[str, str] | None = None) -> ClassWord | None:
        """Return what a word or code says about the class, None where it is not known."""
        names = self.codes if codes is None else codes
        known = read_class(names.get(str(int(text)), "") if text.isdecimal() else text)
        label = self.given.get(plain(text))
        return ClassWord(label, known.subtype if known else "", is_class=True) if label else known


def settled(words: Iterable[ClassWord]) -> str:
    """Return the class that words agree on, names of classes before those of subtypes; else nothing."""
    labels = {(not word.is_class, word.label) for word in words if word.label}
    first = [label for second, label in labels if second == min(labels)[0]]
    return first[0] if len(first) == 1 else ""


@cache
def lists(name: str = "vocabulary") -> dict[str, Any]:
    """Return the content of a YAML file of this folder."""
    path = Path(__file__).with_name(f"{name}.yaml")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


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
    age = read_age_header(text)
    bare = re.sub(r"[(（\[].*", "", text)
    words, joined = plain(bare).split(), plain(bare).replace(" ", "")
    headers = {word: key for key, names in lists()["headers"].items() for word in names}
    kind = image_kind(re.sub(r"(?i)labels?", "", bare), ())
    if passed_over(text):
        return None
    if age or is_unit_header(text):
        return "age_unit" if age is None else "age" if age.meaning in ("age", "scan") else None
    if joined in headers or kind == "mask":
        return headers.get(joined)
    if joined.endswith("filename") or kind == "t1ce":
        return "file"
    loose = lists()["header words"].items()
    fits = (key for word, key in loose if word in (joined if not word.isascii() else words))
    return next(fits, "id" if joined.endswith("号") else None)


def passed_over(text: str) -> bool:
    """Return True for a column that is not read: of names, dates of birth, or a model's predictions."""
    return names_people(text) or bool(_pattern("predictions").search(spaced(text)))


def names_people(text: str) -> bool:
    """Return True for a column of names, addresses, dates of birth."""
    return bool(_pattern("people").search(spaced(text)))


@cache
def _class_names() -> dict[str, ClassWord]:
    found: dict[str, ClassWord] = {}
    for label, names in lists()["classes"].items():
        found |= dict.fromkeys(map(plain, names), ClassWord(label, "", is_class=True))
    for subtype, label in lists()["subtypes"].items():
        names = [plain(name) for name in tumour_words(subtype)]
        names += [name.replace("tumour", "tumor") for name in names]
        found |= dict.fromkeys(names, ClassWord(label, subtype, is_class=False))
    return found


@cache
def read_class(text: str) -> ClassWord | None:
    """Return what a word says about the class; None where it says nothing that is known."""
    if _pattern("doubts").search(_folded(text)):
        return None
    pieces = ([text], re.split(r"[()（）\[\]【】/,，;；、:：]", text), re.split(r"[\W_]+", text))
    return next((found for parts in pieces if (found := _of_parts(parts))), None)


def _of_parts(parts: Iterable[str]) -> ClassWord | None:
    """Return what all parts of a name say together; None where one of them is not understood."""
    rest = [part for part in map(plain, parts) if _pattern("grades").sub("", part).strip()]
    read = [found for part in rest if (found := _lone(part))]
    if not read or len(read) < len(rest) or len({word.label for word in read if word.label}) > 1:
        return None
    first = max(read, key=lambda word: word.is_class)
    subtypes = {word.subtype for word in read if word.subtype}
    return first._replace(subtype=subtypes.pop() if len(subtypes) == 1 else "")


def _lone(word: str) -> ClassWord | None:
    shorter = " ".join(_pattern("grades").sub(" ", word).split())
    shortest = " ".join(_pattern("manners").sub(" ", shorter).split())
    names = _class_names()
    return names.get(word) or names.get(shorter) or names.get(shortest)


def read_sex(text: str) -> str | None:
    """Return ``female``, ``male``, an empty string for unknown, None where it is not understood."""
    sexes = {word: sex for sex, words in lists()["sexes"].items() for word in words}
    return "" if sexes.get(plain(text)) == "unknown" else sexes.get(plain(text))


def read_codes(text: str) -> dict[str, str]:
    """Return the names of codes that stand in a header or a note: ``0=glioma, 1=PCNSL`` or the reverse.

    A code that has two names there has none.
    """
    text = unicodedata.normalize("NFKC", text)
    word = r"[^\d\s,;:=|(){}\[\]\"'→>][^\d,;:=|(){}\[\]\"'→>\n]*"
    before = r"(?<![\w.])(\d{1,2})[\"']?"
    pairs = re.findall(rf"{before}\s*(?:[:=|.)→-]|->)+\s*[\"']?({word})", text)
    pairs += re.findall(r"(\d{1,2})([一-鿿]+)", text)
    after = rf"({word})[\"']?\s*(?:[:=→]|->)\s*[\"']?(\d{{1,2}})(?![\w.])"
    pairs += [(number, name) for name, number in re.findall(after, text)]
    named: dict[str, dict[str, str]] = {}
    for number, written in pairs:
        name = written.strip(" -*_`.")
        known = read_class(name)
        if meaning := (known.label or known.subtype) if known else read_sex(name):
            named.setdefault(str(int(number)), {}).setdefault(meaning, name)
    return {code: next(iter(names.values())) for code, names in named.items() if len(names) == 1}


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


def read_part(text: str) -> str:
    """Return ``train``, ``val`` or ``test`` for the name of such a part of the data, else nothing."""
    parts = lists()["parts"].items()
    return next((part for part, names in parts if spaced(text) in names), "")


def read_fold(text: str) -> int | None:
    """Return the number in a name such as ``fold_3`` or ``第3折``, None where it is none."""
    found = _pattern("folds").fullmatch(spaced(text))
    return next(int(number) for number in found.groups() if number) if found else None
