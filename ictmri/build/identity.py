"""Patient ids that a person would take for one: different characters, perhaps the same patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from ictmri.io.csvfile import shown

_LOOK_ALIKES: Final = str.maketrans(
    "авекмнорстухієѕјһԁԛԝѵӏαβεζηικμνορτυχıɡ", "abekmhopctyxiesjhdqwvlabezhikmnoptyxig"
)
"""Cyrillic and Greek letters, of which one at least of both cases cannot be told from a Latin one."""
_UNSEEN: Final = {"\u034f", "\u115f", "\u1160", *map(chr, range(0xFE00, 0xFE10))}
"""Invisible characters that Unicode counts as marks or letters: joiner, fillers, variation selectors."""
_ROUNDED: Final = re.compile(r"\d[.,]\d+[eE]\+?\d+")
_SHEET_ERROR: Final = re.compile(
    r"#(N/A|REF|VALUE|DIV/0|NAME|NULL|NUM|SPILL|CALC)[!?]?|#{3,}", re.I
)


def identity_key(patient_id: str) -> str:
    """Return what is left of an id without case, separators, leading zeros and what cannot be seen.

    Ids with one key may be one patient's: ``Pat1``, ``pat-01``, ``PAT1`` in full width, ``pat1.0``.
    """
    text = unicodedata.normalize("NFKC", patient_id).casefold().translate(_LOOK_ALIKES)
    text = "".join(
        str(unicodedata.decimal(c, c))
        for c in text
        if unicodedata.category(c) not in ("Cf", "Cc") and c not in _UNSEEN
    )
    text = re.sub(r"(?<=\d)[.,]0+$", "", text.strip())
    runs = re.findall(r"\d+|[^\W\d_]+", text)
    return " ".join(run.lstrip("0") or "0" if run.isdecimal() else run for run in runs) or text


def alike(ids: Iterable[str]) -> list[list[str]]:
    """Return the groups of different ids that share a key, in the order in which they come."""
    groups: dict[str, list[str]] = {}
    for patient_id in dict.fromkeys(ids):
        groups.setdefault(identity_key(patient_id), []).append(patient_id)
    return [group for group in groups.values() if len(group) > 1]


def one_or_two(ids: Iterable[str]) -> str:
    """Return the question about ids of one key, with what the eye does not see in them."""
    return f"{' and '.join(map(shown, ids))}: one patient or several?"


def spoiled_id(patient_id: str) -> str:
    """Return what a spreadsheet program has made of an id, an empty string where it looks whole."""
    if _SHEET_ERROR.fullmatch(patient_id):
        return "is an error of a spreadsheet program"
    if _ROUNDED.fullmatch(patient_id):
        return "is a long number that a spreadsheet program has rounded"
    return ""
