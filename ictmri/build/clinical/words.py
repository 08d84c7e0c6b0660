"""What words mean: names of classes and subtypes, ages, sexes, and the names that codes are given."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final

from ictmri.tumours import tumour_words

CLASS_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "glioma": ("glioma", "gliomas", "brain glioma", "胶质瘤", "脑胶质瘤"),
    "pcnsl": (
        *("pcnsl", "cnsl", "lymphoma", "cns lymphoma", "primary cns lymphoma"),
        *("b cell lymphoma", "malignant lymphoma"),
        *("primary central nervous system lymphoma", "central nervous system lymphoma"),
        *("淋巴瘤", "脑淋巴瘤", "中枢神经系统淋巴瘤", "原发性中枢神经系统淋巴瘤"),
        *("原发中枢神经系统淋巴瘤", "颅内淋巴瘤"),
    ),
    "germinoma": ("germinoma", "germinomas", "intracranial germinoma", "生殖细胞瘤"),
    "rare": (
        *("rare", "rares", "other", "others", "rare tumor", "rare tumour", "rare tumors"),
        *(
            "rare tumours",
            "other rare",
            "rare others",
            "other tumors",
            "other tumours",
            "rare case",
        ),
        *("rare cases", "rare pathologies", "rare intracranial pathologies", "rare type"),
        *(
            "其他",
            "其它",
            "罕见",
            "罕见肿瘤",
            "罕见病",
            "罕见病理",
            "其他罕见",
            "其他肿瘤",
            "其它肿瘤",
        ),
    ),
}
SUBTYPES: Final = {
    **dict.fromkeys(("GBM", "AST", "ODG", "DMG-H3K27"), "glioma"),
    "DLBCL": "pcnsl",
    **dict.fromkeys(("EPN", "MB", "MNGT"), ""),
}
"""Table 1's abbreviation -> class that it is beyond doubt. Which subtypes make up the class
"rare" is stated nowhere, so the others have no class of their own."""
_GRADES: Final = re.compile(
    r"\b(who|cns|grade|nos|nec|idh|mutant|mutated|mut|wild|wildtype|wt|type|altered|alteration|with"
    r"|h3|h3k27m?|k27m?|i{1,3}|iv|\d+)\b|\d*[级型]"
)
_MANNERS: Final = re.compile(
    r"\b(diffuse|anaplastic|primary|intracranial|cerebral|high|low)\b|间变性?"
)
_DOUBT: Final = re.compile(r"\b(vs|or|not|non|no|suspected|probable|possible)\b|[?？]|疑|非|待|或")


@dataclass(frozen=True, slots=True)
class ClassWord:
    """What a word says about a case's class.

    Attributes:
        label: the class; empty where the word does not settle it.
        subtype: Table 1's abbreviation; empty where it names none.
        is_class: True for the name of a class itself, False for one of its subtypes.
        spelled: the word that it was taken for, where its spelling was not quite that.
        code: the number that it is, where nothing says what the number means.
    """

    label: str
    subtype: str
    is_class: bool
    spelled: str = ""
    code: str = ""


def plain(text: str) -> str:
    """Return a word in lower case with single spaces in place of everything but letters and digits."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded))


def spaced(text: str) -> str:
    """Return a piece of a path in lower case, underscores in place of everything but words and ``+``."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[^\w+]+|_+", "_", folded).strip("_")


@cache
def _phrases() -> dict[str, ClassWord]:
    found = {
        plain(name): ClassWord(label, "", True)
        for label, names in CLASS_NAMES.items()
        for name in names
    }
    for subtype, label in SUBTYPES.items():
        names = {plain(name) for name in tumour_words(subtype)}
        names |= {name.replace("tumour", "tumor") for name in names}
        found |= dict.fromkeys(names, ClassWord(label, subtype, False))
    return found


@cache
def read_class(text: str) -> ClassWord | None:
    """Return what a word says about the class; None where it says nothing that is known."""
    word = plain(text)
    if not word or _DOUBT.search(unicodedata.normalize("NFKC", text).casefold()):
        return None
    return (
        _lone(word)
        or _of_parts(text, r"[()（）\[\]【】/,，;；、:：]")
        or _of_parts(text, r"[\W_]+")
    )


def _of_parts(text: str, separator: str) -> ClassWord | None:
    parts = [part for part in re.split(separator, text) if plain(part)]
    read = [found for part in parts if (found := _lone(plain(part)))]
    others = [part for part in parts if _lone(plain(part)) is None and not _only_grades(part)]
    if not read or others or len({found.label for found in read if found.label}) > 1:
        return None
    classes = [found for found in read if found.is_class] or read
    subtypes = {found.subtype for found in read if found.subtype}
    subtype = subtypes.pop() if len(subtypes) == 1 else ""
    return ClassWord(classes[0].label, subtype, classes[0].is_class, classes[0].spelled)


def _only_grades(part: str) -> bool:
    return not _GRADES.sub("", plain(part)).strip()


def _lone(word: str) -> ClassWord | None:
    shorter = " ".join(_GRADES.sub(" ", word).split())
    for form in (word, shorter, " ".join(_MANNERS.sub(" ", shorter).split())):
        if form in _phrases():
            return _phrases()[form]
    long_enough = [phrase for phrase in _phrases() if len(phrase) >= 6 and phrase.isascii()]
    near = difflib.get_close_matches(shorter, long_enough, n=1, cutoff=0.88)
    if not near or len(shorter) < 6:
        return None
    known = _phrases()[near[0]]
    return ClassWord(known.label, known.subtype, known.is_class, near[0])


def read_sex(text: str) -> str | None:
    """Return ``female``, ``male``, an empty string for unknown, None where it is not understood."""
    word = plain(text)
    if word in ("f", "female", "woman", "girl", "女", "女性"):
        return "female"
    if word in ("m", "male", "man", "boy", "男", "男性"):
        return "male"
    return (
        "" if word in ("", "nan", "na", "n a", "none", "null", "unknown", "未知", "不详") else None
    )


def read_codes(text: str) -> dict[str, str]:
    """Return the names of codes that stand in a header or a note: ``0=glioma, 1=PCNSL`` or the reverse.

    A code that has two names there has none.
    """
    text = unicodedata.normalize("NFKC", text)
    word = r"[^\d\s,;:=|(){}\[\]\"'→>][^\d,;:=|(){}\[\]\"'→>\n]*"
    before = r"(?<![\w.])(\d{1,2})[\"']?"
    pairs = [
        (m[1], m[2]) for m in re.finditer(rf"{before}\s*(?:[:=|.)→-]|->)+\s*[\"']?({word})", text)
    ]
    pairs += [(m[1], m[2]) for m in re.finditer(r"(\d{1,2})([一-鿿]+)", text)]
    pairs += [
        (m[2], m[1])
        for m in re.finditer(rf"({word})[\"']?\s*(?:[:=→]|->)\s*[\"']?(\d{{1,2}})(?![\w.])", text)
    ]
    named: dict[str, dict[str, str]] = {}
    for number, written in pairs:
        name = written.strip(" -*_`.")
        known = read_class(name)
        meaning = (known.label or known.subtype) if known else read_sex(name)
        if meaning:
            named.setdefault(str(int(number)), {}).setdefault(meaning, name)
    return {
        number: next(iter(names.values())) for number, names in named.items() if len(names) == 1
    }
