"""Every page that shows cases: cards with pictures, what was found and numbers; a filter, and links.

One offline file that asks no host for anything. The page of a command holds its data alone; how it looks,
its filter and what a browser may do with it are here. Texts of the project may name code in `backticks`;
all text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ictmri.io.files import replacing
from ictmri.pages.templating import pages, policy, webp_uri
from ictmri.pages.triplanar import LETTERS

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES: Final = Path(__file__).parent / "templates"
_SYNTHETIC: Final = (
    "These are phantoms made by a program. No patient is shown, and no number here says anything about "
    "patients."
)
WIDTH: Final = 300.0
"""Units of a strip's width."""

Tone = Literal["error", "warning", "clean", ""]
CardSize = Literal["large", "medium", "small", "row"]
Ink = tuple[int, int, int]

FINDING_COLUMNS: Final = (
    ("Finding", "name"),
    ("What follows", "tag"),
    ("Cases", "number"),
    ("What it means", "text"),
    ("What you can do", "text"),
)
"""Columns of a table of findings."""


@dataclass(frozen=True, slots=True)
class CardPicture:
    """A picture of a card, read when it is written; left out where there is no such file."""

    source: Path | bytes
    size: tuple[int, int]
    alt: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was found about a case: said first in bold, then its text and what can be done."""

    tone: Tone
    lead: str
    text: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One case of a page.

    Attributes:
        case_id: pseudonym; the card's anchor.
        pictures: one, or several side by side.
        blank: what stands where there is none.
        aside: beside the name.
        source: what its owner calls it.
        flags: short words beside the name.
        lines: what was found.
        quoted: what a library said.
        advice: what can be done about all that was found.
        numbers: by title.
        folded: the numbers are shown on request.
        codes: by which the filter finds it.
        page: address of a page of its own.
    """

    case_id: str
    pictures: Sequence[CardPicture]
    blank: str = ""
    aside: str = ""
    source: Sequence[str] = ()
    flags: Sequence[str] = ()
    lines: Sequence[Line] = ()
    quoted: str = ""
    advice: str = ""
    numbers: Mapping[str, str] | None = None
    folded: bool = False
    codes: Sequence[str] = ()
    page: str = ""


@dataclass(frozen=True, slots=True)
class CardGroup:
    """Cases under one heading; left out where there are none.

    Attributes:
        name: of the group, for its colour and the filter.
        word: beside the filter's box.
        title: the heading; their number follows it.
        cases: whatever they are ...
        card: ... and what makes the card of one, as the page is written.
        size: how large they are.
        text: below the heading.
        counted: the cards are the cases themselves: anchors, and what the filter shows and counts.
    """

    name: Tone
    word: str
    title: str
    cases: Sequence[Any]
    card: Callable[[Any], Card]
    size: CardSize = "large"
    text: str = ""
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Strip:
    """The cases on the axis of one number, in units of :data:`WIDTH`.

    Attributes:
        alt: the strip in words.
        bands: parts that a bound speaks of: tone, left edge, width.
        dots: the cases: tone, place, title.
        ends: the values at its left and its right edge.
    """

    alt: str
    bands: Sequence[tuple[Tone, float, float]]
    dots: Sequence[tuple[Tone, float, str]]
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class PageSection:
    """A heading with a table, a list, or both; left out where all is empty.

    Attributes:
        title: the heading; may be empty.
        columns: title and kind. A cell of kind ``name`` is a title and a code, of ``tag`` a tone and a
            word, of ``strip`` a :class:`Strip`, of ``number`` and ``text`` what it says.
        rows: of the table.
        lines: of the list.
        before: above the table.
        dots: after that: what the colour of a dot on a strip is.
        after: below the table.
    """

    title: str
    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[Any]] = ()
    lines: Sequence[Line] = ()
    before: str = ""
    dots: Sequence[tuple[Tone, str]] = ()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """What a colour of the pictures is; several colours are a scale."""

    text: str
    inks: Sequence[Ink]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page.

    Attributes:
        title: of the browser's tab.
        heading: of the page.
        private: whom it shows and where it belongs; empty where it shows no person.
        groups: of cases.
        heads: number, what it counts, tone.
        intro: below them.
        sections: above the cases.
        legend: what the pictures show.
        keys: their colours.
        legend_after: after them.
        choices: code, title and number of cases, for the filter.
    """

    title: str
    heading: str
    private: str
    groups: Sequence[CardGroup]
    heads: Sequence[tuple[int, str, Tone]] = ()
    intro: str = ""
    sections: Sequence[PageSection] = ()
    legend: str = ""
    keys: Sequence[Key] = ()
    legend_after: str = ""
    choices: Sequence[tuple[str, str, int]] = ()


def write_gallery(path: Path, page: Gallery, *, mode: int = 0o600) -> None:
    """Write a page, readable by the owner alone unless ``mode`` says otherwise.

    It is written as it is made: of many cases one card is held at a time. Equal pages give equal bytes.
    """
    style, script = (
        (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("gallery.css", "gallery.js")
    )
    environment = pages(_TEMPLATES)
    environment.filters["prose"] = _prose
    stream = environment.get_template("gallery.html.j2").stream(
        page=page,
        synthetic=_SYNTHETIC,
        letters=LETTERS,
        style=style,
        script=script,
        policy=policy(style, script),
        picture=webp_uri,
        width=WIDTH,
        zip=zip,
        map=map,
    )
    with replacing(path, mode=mode) as part:
        stream.dump(str(part), encoding="utf-8")


def _prose(text: str) -> Markup:
    """Return text with what stands in backticks as code."""
    from markupsafe import Markup, escape

    parts = escape(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part
        for odd, part in enumerate(parts)
    )
