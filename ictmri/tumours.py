"""The names of tumours that may be published: a list, since no pattern tells a name from a name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from ictmri.io.yamlfile import own_table

LONGEST: Final = 100
"""Characters; no tumour has a longer name."""
_SHORT: Final = 5
"""Letters up to which a name is an abbreviation, looked for as it is written."""
_WORDS: Final = 13
_GRADE: Final = re.compile(
    r"[\s,;(]+(cns\s*)?(who\s*)?(cns\s*)?(grade\s*)?([1-4]|i{1,3}|iv)\s*\)?$|[\s,;(]*(who\s*)?[1-4一二三四]?级\)?$"
)
_NO_NAME: Final = re.compile(r"[?=<>~≠≈]|\.\s*\S")
"""A doubt, or letters with points between them, which may be a person's."""
_BRITISH: Final = (("tumour", "tumor"), ("haem", "hem"), ("paediatric", "pediatric"))


def tumour_name(text: str, added: Iterable[str] = ()) -> str:
    """Return the name under which a tumour is published, an empty string where the list has none.

    Args:
        text: a name as somebody wrote it.
        added: names that the owner adds to the list.
    """
    folded = unicodedata.normalize("NFKC", text[: LONGEST + 1]).casefold().strip()
    if len(text) > LONGEST or _NO_NAME.search(folded):
        return ""
    own = {_key(name): name for name in added}
    keys = (_key(folded), _key(_GRADE.sub("", folded)))
    return next((found for key in keys if (found := _listed().get(key) or own.get(key))), "")


def mentions(text: str, name: str) -> bool:
    """Return True where a text holds a tumour's name, or a synonym, as words of their own."""
    listed = next((names for names in _entities() if names[0] == name), (name,))
    words = re.findall(r"[^\W_]+", text)
    keys = {_key(" ".join(words[i:j])) for i in range(len(words)) for j in range(i + 1, i + _WORDS)}
    return any(
        word in words if len(_key(word)) <= _SHORT else _key(word) in keys for word in listed
    )


@cache
def _entities() -> tuple[tuple[str, ...], ...]:
    content = own_table(Path(__file__).with_suffix(".yaml"))
    return tuple(tuple(names) for group in content.values() for names in group)


@cache
def _listed() -> dict[str, str]:
    return {_key(name): names[0] for names in _entities() for name in names}


def _key(name: str) -> str:
    text = "".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold()))
    for british, american in _BRITISH:
        text = text.replace(british, american)
    return text
