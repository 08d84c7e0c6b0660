"""What a name says about contrast: the words of a series, a file, a folder or an agent's field."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Final, Literal

from ictmri.io.yamlfile import own_table

Said = Literal["with", "without", "both", "nothing"]

MAX_LETTERS: Final = 256
"""Of a longer name only so much is read; DICOM allows 64."""
_LONG: Final = 6
"""A known word of so many letters is found inside an unknown one (``kontrastmittelgabe``)."""
_AGENT: Final = r"[.a]*[Aak][Aa.]*"
_PHRASE: Final = re.compile(
    rf"(?P<other>[BPowk]\.*x|cA|1ax|A[Aa.]*(?=B))"
    rf"|(?P<both>2|[wk]\.*&?\.*o|o\.*&\.*[wk])"
    rf"|(?P<without>B(?:{_AGENT})?|[on](?:{_AGENT}|\.*P)|o(?=[&$])|A[Aa.]*(?:f|n(?=\$?$))|a[Aa.]*n(?=\$$))"
    rf"|(?P<with>(?:P|w)(?:{_AGENT})|P|[wk](?=[&$])|A[Aa.]*|(?<=1)a|a(?=\$))"
)
"""Phrases about contrast, in letters for their words; what comes first in this order counts."""


_CONTENT: Final = dict(own_table(Path(__file__).with_suffix(".yaml")))
_ROLES: Final[dict[str, str]] = _CONTENT.pop("roles")
_SHORT: Final[str] = _CONTENT.pop("short")
_SIGNS: Final = [
    (re.compile(sign.replace("{short}", _SHORT)), meaning)
    for sign, meaning in _CONTENT.pop("signs")
]
_TABLE: Final = {name: frozenset(line.split()) for name, line in _CONTENT.items()}
_KNOWN: Final = frozenset(word for words in _TABLE.values() for word in words if len(word) > 1)


def _folded(text: str) -> str:
    flat = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text[:MAX_LETTERS]))
    flat = "".join(letter for letter in flat if not unicodedata.combining(letter))
    # Words that camel case joins: t1PreContrast, GdT1; cT1.
    flat = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", flat)
    return re.sub(r"(?<![A-Za-z0-9])c(?=T1)", "gad ", flat).casefold()


def words(text: str) -> list[str]:
    """Return the words of a name in order, those that are written together taken apart."""
    flat = _folded(text)
    for sign, meaning in _SIGNS:
        flat = sign.sub(meaning, flat)
    return [word for run in re.findall(r"[^\W_]+", flat) for word in _apart(run)]


@cache
def _apart(run: str) -> tuple[str, ...]:
    """Return a run of letters and digits as known words, where it is made of such; else what it is."""
    if run in _KNOWN or len(run) == 1:
        return (run,)
    for numbered in (run, run.rstrip("0123456789")):
        split = _segmented(numbered)
        if split:
            return split
    if re.fullmatch(r"t1w?(c|k)", run):
        return "t1", "gad"
    found = [word for word in sorted(_KNOWN, key=len, reverse=True) if _inside(word, run)]
    if found:
        head, _, tail = run.partition(found[0])
        return (*(_apart(head) if head else ()), found[0], *(_apart(tail) if tail else ()))
    return (run,)


def _inside(word: str, run: str) -> bool:
    return word in run and (len(word) >= _LONG or not word.isascii())


def _segmented(run: str) -> tuple[str, ...]:
    """Return the fewest known words that make up a run, nothing where none do."""
    best: list[tuple[str, ...] | None] = [(), *[None] * len(run)]
    for end in range(1, len(run) + 1):
        for start in range(max(0, end - 20), end):
            before, word = best[start], run[start:end]
            if before is None or not (word in _KNOWN or (word.isdecimal() and start)):
                continue
            if best[end] is None or len(before) + 1 < len(best[end] or ()):
                best[end] = (*before, word)
    return best[-1] or ()


def read_contrast(text: str) -> Said:
    """Return what a name says: contrast was given, was not, both, or nothing about it."""
    parts = _roles(words(text))
    found = {match.lastgroup for match in _PHRASE.finditer(parts)} - {"other"}
    if not found:
        return "nothing"
    return "both" if len(found) > 1 or "both" in found else "with" if "with" in found else "without"


def read_agent(text: str) -> Said:
    """Return what the field for the contrast agent says; an unknown word there is an agent's name."""
    field = re.findall(r"[^\W_]+", _folded(text))
    if not field or field == ["n", "a"] or set(field) <= _TABLE["agent_unknown"]:
        return "nothing"
    if field[0] in _TABLE["agent_none"] or re.search(r"(?<![\d.])0(\.0+)?\s*ml", text.lower()):
        return "without"
    said = read_contrast(text)
    return "with" if said == "nothing" else said


def is_t1(text: str) -> bool:
    """Return True where a name has a word for a T1 sequence."""
    return any(word in _TABLE["t1"] for word in words(text))


def is_other_sequence(text: str) -> bool:
    """Return True where a name has a word for a sequence that is no T1, or for a computed image."""
    found = set(words(text))
    if found & _TABLE["other_sequence"]:
        return True
    return bool(found & _TABLE["flair"]) and not found & _TABLE["t1"]


def _roles(line: list[str]) -> str:
    """Return a letter for each word of a name, see :data:`_ROLES`; ``-`` is a word that means nothing."""
    is_t1 = any(word in _TABLE["t1"] for word in line)
    roles_here = {
        name: role for name, role in _ROLES.items() if is_t1 or not name.endswith("_of_t1")
    }
    letters = []
    for word in line:
        roles = (role for name, role in roles_here.items() if word in _TABLE[name])
        role = next(roles, "-")
        role = "A" if any(word.startswith(stem) for stem in _TABLE["agent_stem"]) else role
        letters.append(role)
    # Only the name of a T1 can end in a lone preposition, or in a letter for the agent.
    return "".join(letters) + ("$" if is_t1 else "")
