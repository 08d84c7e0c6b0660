"""What each section of the page shows: entries, tiers, comparisons, figures, what others found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ictmri.io.yamlfile import own_table
from ictmri_benchmark.board.comparison import holm
from ictmri_benchmark.board.ranking import UNRANKED
from ictmri_benchmark.score.metrics import RANK_KEY
from ictmri_benchmark.score.protocol import ALPHA

LARGEST_MATRIX: Final = 24
"""Most entries compared each with each: of more pairs, 10,000 permutations could call none after Holm."""
WORDS: Final = Path(__file__).parents[1] / "templates" / "words.yaml"
_FULL_METHOD: Final = "table2-5"
_COMPUTE: Final = {
    "device": "{}",
    "gpu": "{}",
    "machine": "{}",
    "hours": "{} h",
    "minutes of one core": "{} minutes of one core",
}
"""What of an entry's free keys is shown in its row; ``parameters`` is a column of its own."""
_APART: Final = {
    "ensemble": "Ensemble",
    "test-fold": "Unranked",
    "other-data": "Other data, unranked",
}
_UNTOLD: Final = {"ensemble": "what its entries look at", "given": "not told what"}
_SHADES: Final = 10
_DIGITS: Final = 6
_NUMBERS: Final = {
    re.compile(r"arXiv:\d{4}\.\d{4,5}(v\d{1,2})?", re.ASCII): "https://arxiv.org/abs/",
    re.compile(r"doi:10\.\d{4,9}/[\w.()/:;-]{1,200}", re.ASCII): "https://doi.org/",
}


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A scored entry as a reader sees it.

    Attributes:
        row: the entry as it stands in leaderboard.json.
        uses: keys of ``uses`` in words.yaml.
        looks_at: the same in words.
        find: what a search looks through, in lower case.
        date: of its last row in the ledger, empty where it was not submitted.
    """

    row: dict[str, Any]
    uses: tuple[str, ...]
    looks_at: str
    find: str
    date: str

    @property
    def place(self) -> str:
        """The rank as an interval, ``1-2``; ``3`` where the draws leave one rank."""
        rank = self.row["rank"]
        if rank is None:
            return "external" if self.row["report"].get("external") else "unranked"
        low, high = rank["low"], rank["high"]
        return f"{low}" if low == high else f"{low}–{high}"

    @property
    def parameters(self) -> Any:
        """How many the entry says that its model has, mostly a whole number; None where it is silent."""
        return self.row["compute"].get("parameters")

    @property
    def hardware(self) -> str:
        """On what it says it ran, and for how long."""
        told = self.row["compute"]
        return ", ".join(form.format(told[key]) for key, form in _COMPUTE.items() if key in told)


def shown_entries(board: dict[str, Any]) -> list[ShownEntry]:
    """Return the scored entries of a board in its order."""
    dates = _dates(board)
    return [
        _shown(row, dates.get(row["slug"], ""))
        for row in board["entries"]
        if row["report"] is not None
    ]


def shown_ensemble(board: dict[str, Any]) -> list[ShownEntry]:
    """Return the ensemble of the ranked entries, which is none of them; nothing where there is none."""
    return [_shown(board["ensemble"], "")] if board["ensemble"] else []


def shown_external(board: dict[str, Any]) -> list[ShownEntry]:
    """Return the entries of models that were trained elsewhere, which no other stands beside."""
    return [_shown(row, _dates(board).get(row["slug"], "")) for row in board["external"]]


def _dates(board: dict[str, Any]) -> dict[str, str]:
    return {event["slug"]: event["date"] for event in board["ledger"]}


def _shown(row: dict[str, Any], date: str) -> ShownEntry:
    used = _used(row["inputs"]) if row["inputs"] else {}
    looks_at = " + ".join(used.values()) or _UNTOLD[row["source"]]
    texts = [row["name"], row["slug"], row["summary"], *row["authors"]]
    find = " ".join(" ".join(texts).lower().split())
    return ShownEntry(row, tuple(used), looks_at, find, date)


def _used(inputs: dict[str, Any]) -> dict[str, str]:
    """Return what an entry looks at, in words by key of ``uses`` in words.yaml."""
    words = {
        "image": "image" if inputs["image"] else "",
        "prior": f"prior ({inputs['prior']})" if inputs["prior"] != "none" else "",
        "demographics": "age, sex" if inputs["demographics"] else "",
    }
    return {key: word for key, word in words.items() if word} or {"labels": "labels only"}


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


def shades(matrix: list[list[int]]) -> list[list[tuple[int, int, int]]]:
    """Return each count of a confusion matrix, its share of the row in percent and its shade, 0 to 10."""
    totals = [sum(row) or 1 for row in matrix]
    return [
        [(n, round(100 * n / total), round(_SHADES * n / total)) for n in row]
        for row, total in zip(matrix, totals, strict=True)
    ]


def badge(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the badge of a reported row's arithmetic (``ictmri audit``), None where it has none."""
    found = row.get("audit") or row["reported"].get("audit")
    return None if found is None else found.get("badge", found)


class Tier(NamedTuple):
    """Entries that the cohort cannot tell from the best of them; None is the tier of the unranked."""

    number: int | None
    title: str
    entries: tuple[ShownEntry, ...]


def tiers(entries: Sequence[ShownEntry]) -> list[Tier]:
    """Return the tiers in the order of the board, the unranked entries last."""
    last = max((e.row["tier"] for e in entries if e.row["ranked"]), default=0)
    found = []
    for (number, unranked), grouped in groupby(
        entries, lambda e: (e.row["tier"], e.row["unranked"])
    ):
        members = tuple(grouped)
        if number is None:
            title = f"{_APART[unranked]}: {UNRANKED[unranked]}"
        elif len(members) == 1:
            apart = ", told apart from the next" if number < last else ""
            title = f"Tier {number}: one entry{apart}"
        else:
            tied = "entries that this cohort cannot tell from the best of them"
            title = f"Tier {number}: {len(members)} {tied}"
        found.append(Tier(number, title, members))
    return found


def _ranked(entries: Sequence[ShownEntry]) -> tuple[ShownEntry, ...]:
    return tuple(entry for entry in entries if entry.row["ranked"])


class Lead(NamedTuple):
    """The entry with the highest rank key, those that cannot be told from it, and how many can."""

    first: ShownEntry
    beside: tuple[ShownEntry, ...]
    behind: int


def lead(entries: Sequence[ShownEntry]) -> Lead | None:
    """Return who leads, None where nothing is ranked."""
    ranked = _ranked(entries)
    if not ranked:
        return None
    beside = tuple(entry for entry in ranked[1:] if entry.row["behind_first"]["p_holm"] >= ALPHA)
    return Lead(ranked[0], beside, len(ranked) - 1 - len(beside))


class PairMatrix(NamedTuple):
    """Every ranked entry against every other.

    Attributes:
        entries: in the order of the board.
        cells: for a row and a column, the row's lead in rank key and whether it can be told; None on the
            diagonal.
        told: pairs told apart after Holm's correction for all of them.
        pairs: number of pairs.
    """

    entries: tuple[ShownEntry, ...]
    cells: tuple[tuple[tuple[float, bool] | None, ...], ...]
    told: int
    pairs: int


def matrix(board: dict[str, Any], entries: Sequence[ShownEntry]) -> PairMatrix | None:
    """Return the comparison of all pairs, None where there are too few or too many entries."""
    ranked = _ranked(entries)
    if not 1 < len(ranked) <= LARGEST_MATRIX:
        return None
    columns, rows = board["comparison"]["columns"], board["comparison"]["pairs"]
    pairs = [dict(zip(columns, row, strict=True)) for row in rows]
    apart = [p < ALPHA for p in holm([pair["p"] for pair in pairs])]
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for pair, told in zip(pairs, apart, strict=True):
        found[pair["first"], pair["second"]] = (-pair["difference"], told)
        found[pair["second"], pair["first"]] = (pair["difference"], told)
    slugs = [entry.row["slug"] for entry in ranked]
    cells = tuple(tuple(found.get((one, other)) for other in slugs) for one in slugs)
    return PairMatrix(ranked, cells, sum(apart), len(pairs))


def gaps(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the smallest difference of accuracy that can be called, by the share of discordant cases.

    None where no difference could be called.
    """
    known = board["resolution"]["smallest_accuracy_gap"]
    return [
        {
            "share": share.replace("%", " %"),
            "accuracy": value,
            "cases": None if value is None else round(value * board["n_cases"]),
        }
        for share, value in known.items()
    ]


def payload(board: dict[str, Any], entries: Sequence[ShownEntry]) -> dict[str, Any]:
    """Return the numbers that the page's script compares entries with: the ranked ones, and their pairs.

    A pair is ``[first, second, difference, low, high, p, mcnemar_p, first_only, second_only]`` with places
    in ``entries``; the difference is the first minus the second, as ``ictmri compare`` has it.
    """
    ranked = [entry.row for entry in _ranked(entries)]
    places = {row["slug"]: place for place, row in enumerate(ranked)}
    values = [row["report"]["pooled"][RANK_KEY] for row in ranked]
    return {
        "alpha": ALPHA,
        "n": board["n_cases"],
        "entries": [
            [row["slug"], row["name"], *(_rounded(value[k]) for k in ("value", "low", "high"))]
            for row, value in zip(ranked, values, strict=True)
        ],
        "pairs": [
            [
                places[first],
                places[second],
                *map(_rounded, (0 - difference, 0 - high, 0 - low, *rest)),
            ]
            for first, second, difference, low, high, *rest in board["comparison"]["pairs"]
        ],
    }


def _rounded(number: float) -> float:
    return number if isinstance(number, int) else round(number, _DIGITS)


class RecipeBars(NamedTuple):
    """A recipe of a figure: its entry, or the command that makes it; ``short`` stands under its bars."""

    title: str
    short: str
    entry: ShownEntry | None
    command: str


def paper_figures(board: dict[str, Any], entries: Sequence[ShownEntry]) -> dict[str, Any]:
    """Return the preprint's Figure 7 (a) to (c), of entries of the board, never of reported numbers.

    ``ablation`` and ``backbones`` are recipes with their titles; ``matrix`` is the entry whose confusion
    matrix is shown: the full method's where it is on the board.

    Args:
        board: content of leaderboard.json.
        entries: its scored entries.
    """
    by_slug = {entry.row["slug"]: entry for entry in entries}
    full = by_slug.get(_FULL_METHOD)
    recipes = own_table(WORDS)["figure_recipes"]
    return {
        **{part: _bars(titles, by_slug, board["cohort"]) for part, titles in recipes.items()},
        "matrix": full or (entries[0] if entries else None),
        "matrix_is_full": full is not None,
    }


def _bars(recipes: dict[str, str], by_slug: dict[str, ShownEntry], cohort: str) -> list[RecipeBars]:
    found = []
    for recipe, title in recipes.items():
        slug = recipe.replace("/", "-").replace("_", "-")
        command = f"ictmri reproduce {recipe} --cohort {cohort} --out out/{slug}"
        short = title.split(" ")[0] if title[0] in "①②③④⑤" else title
        found.append(RecipeBars(title, short, by_slug.get(slug), command))
    return found


def citation(cff: dict[str, Any]) -> dict[str, Any]:
    """Return how the software and the preprint of a CITATION.cff are cited, as text and as BibTeX."""
    works = [cff, *cff.get("references", [])]
    return {
        "message": cff["message"],
        "texts": list(map(_citation_text, works)),
        "bibtex": "\n".join(map(_bibtex, works)),
    }


def _names(work: dict[str, Any]) -> list[str]:
    return [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in work["authors"]]


def _identifier(work: dict[str, Any]) -> str:
    if work.get("doi"):
        return f"doi:{work['doi']}"
    return next((str(found["value"]) for found in work.get("identifiers", [])), "")


def _citation_text(work: dict[str, Any]) -> str:
    version = f"version {work['version']}" if work.get("version") else ""
    parts = ["; ".join(_names(work)), work["title"], version, _identifier(work), work.get("year")]
    return ". ".join(str(part) for part in parts if part) + "."


def _bibtex(work: dict[str, Any]) -> str:
    article = work["type"] == "article"
    kind, key = ("article", "virtualbiopsy") if article else ("software", "ictmri")
    fields = {
        "title": f"{{{work['title']}}}",
        "author": " and ".join(a if "," in a else f"{{{a}}}" for a in _names(work)),
        "year": work.get("year"),
        "version": work.get("version"),
        "note": _identifier(work),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
