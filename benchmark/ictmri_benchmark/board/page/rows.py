"""An entry as a reader sees it: what it looks at, its tracks, its links, its tables' shades."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

TRACKS: Final = {
    "image only": "the image, and what was made of it",
    "demographics": "age and sex as well",
    "manual ROI at test": "the tumour was marked by hand",
    "external data": "pretrained weights or other data",
    "no image": "age and sex, place or labels alone",
}
"""Tags by which entries are filtered; an entry may have several, and unlike tracks are not one contest."""

USES: Final = {
    "image": "image",
    "prior": "a prior of the tumour's place",
    "demographics": "age and sex",
    "labels": "labels only",
}
COST_TITLES: Final = {
    "every_error_1": "every error costs 1",
    "missed_pcnsl_5": "a missed PCNSL costs 5",
    "missed_germinoma_5": "a missed germinoma costs 5",
}
GROUP_TITLES: Final = {"sex": "Sex", "age": "Age in years"}
_SHADES: Final = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """A scored entry.

    Attributes:
        row: the entry as it stands in leaderboard.json.
        uses: keys of :data:`USES`.
        looks_at: the same in words.
        find: what a search looks through, in lower case.
    """

    row: dict[str, Any]
    uses: tuple[str, ...]
    looks_at: str
    find: str

    @property
    def place(self) -> str:
        """The rank as an interval, ``1-2``; ``3`` where the draws leave one rank."""
        rank = self.row["rank"]
        if rank is None:
            return "unranked"
        low, high = rank["low"], rank["high"]
        return f"{low}" if low == high else f"{low}–{high}"


def shown_entries(board: dict[str, Any]) -> list[Shown]:
    """Return the scored entries of a board in its order."""
    return [_shown(row) for row in board["entries"] if row["report"] is not None]


def _shown(row: dict[str, Any]) -> Shown:
    inputs = row["inputs"]
    texts = [row["name"], row["slug"], row["summary"], *row["authors"]]
    return Shown(
        row=row,
        uses=tuple(_uses(inputs)),
        looks_at=_looks_at(inputs),
        find=" ".join(" ".join(texts).lower().split()),
    )


def _uses(inputs: dict[str, Any]) -> list[str]:
    found = ["image"] if inputs["image"] else []
    found += ["prior"] if inputs["prior"] != "none" else []
    found += ["demographics"] if inputs["demographics"] else []
    return found or ["labels"]


def _looks_at(inputs: dict[str, Any]) -> str:
    words = ["image"] if inputs["image"] else []
    words += [f"prior ({inputs['prior']})"] if inputs["prior"] != "none" else []
    words += ["age, sex"] if inputs["demographics"] else []
    return " + ".join(words) or "labels only"


def safe_link(text: str) -> str | None:
    """Return where ``text`` leads if it is a web address, a doi: or an arXiv: number, else None."""
    for pattern, address in _NUMBERS.items():
        if pattern.fullmatch(text):
            return address + text.split(":", 1)[1]
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    plain = text.isascii() and text.isprintable() and not set(text) & set(" \"'<>\\")
    return text if plain and parts.scheme in ("http", "https") and parts.hostname else None


_NUMBERS: Final = {
    re.compile(r"arXiv:\d{4}\.\d{4,5}(v\d{1,2})?", re.ASCII): "https://arxiv.org/abs/",
    re.compile(r"doi:10\.\d{4,9}/[\w.()/:;-]{1,200}", re.ASCII): "https://doi.org/",
}


def shades(matrix: list[list[int]]) -> list[list[tuple[int, int, int]]]:
    """Return each count of a confusion matrix, its share of the row in percent and its shade, 0 to 10."""
    return [[(n, *_shade(n, sum(row) or 1)) for n in row] for row in matrix]


def _shade(count: int, total: int) -> tuple[int, int]:
    return round(100 * count / total), round(_SHADES * count / total)


def badge(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the badge of a reported row's arithmetic (``ictmri audit``), None where it has none."""
    found = row.get("audit") or row["reported"].get("audit")
    return None if found is None else found.get("badge", found)
