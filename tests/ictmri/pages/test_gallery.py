"""The page that all pages of cases are drawn from: what it may not let through, and how it is written."""

import re
from pathlib import Path

import pytest

from ictmri.pages.gallery import (
    Card,
    CardGroup,
    CardPicture,
    Gallery,
    Key,
    Line,
    PageSection,
    write_gallery,
)

NASTY = "<script>alert('`1`')</script>"
BYTES = b"RIFF"


def card(number: int, text: str = "text") -> Card:
    return Card(
        f"x-{number}",
        [CardPicture(BYTES, (30, 10), f"planes of {number}")],
        aside=text,
        source=[text],
        flags=[text],
        lines=[Line("error", text, text, text)],
        quoted=text,
        advice=text,
        numbers={text: text},
        codes=["odd"],
    )


def written(path: Path, *groups: CardGroup, **more: object) -> str:
    write_gallery(path, Gallery("t", "h", "Keep it.", groups, **more))  # type: ignore[arg-type]
    return path.read_text()


def test_foreign_text_is_shown_as_it_is_written(tmp_path: Path) -> None:
    section = PageSection("s", [("a", "name"), ("b", "text")], [((NASTY, NASTY), NASTY)])
    text = written(
        tmp_path / "p.html",
        CardGroup("error", "out", "Out", [1], lambda number: card(number, NASTY)),
        sections=[section],
        choices=[("odd", NASTY, 1)],
        keys=[Key(NASTY, [(1, 2, 3)])],
    )
    assert "<script>alert" not in text
    assert "<code>1</code>" not in text
    assert text.count("&lt;script&gt;alert") == 15


def test_what_stands_in_backticks_is_code_and_escaped(tmp_path: Path) -> None:
    text = written(tmp_path / "p.html", intro="Use `--a <b>`, not <i>.")
    assert "<p>Use <code>--a &lt;b&gt;</code>, not &lt;i&gt;.</p>" in text


def test_cards_are_made_as_they_are_written(tmp_path: Path) -> None:
    """Of many cases no more than one is held: the page grows while they are asked for."""
    path, sizes = tmp_path / "p.html", []

    def made(number: int) -> Card:
        (part,) = tmp_path.glob(".*")
        sizes.append(part.stat().st_size)
        return card(number)

    text = written(path, CardGroup("clean", "all", "All", range(300), made, "small"))
    assert text.count('<article class="case"') == 300
    assert sizes[0] < sizes[150] < sizes[-1] < path.stat().st_size


def test_a_browser_runs_its_own_script_alone_and_a_mention_is_no_case(tmp_path: Path) -> None:
    text = written(
        tmp_path / "p.html",
        CardGroup("", "", "Pairs", [1, 2], card, counted=False),
        CardGroup("clean", "all", "All", [1, 2], card),
    )
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0]
    assert "unsafe" not in policy
    assert len(re.findall("sha256-", policy)) == 2
    assert not re.search(r"\s(?:style|on\w+)=", text)
    assert re.findall(r' id="(x-\d)"', text) == ["x-1", "x-2"]
    assert text.count('href="#x-1"') == 2


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_who_may_read_it(tmp_path: Path, mode: int) -> None:
    write_gallery(tmp_path / "p.html", Gallery("t", "h", "", []), mode=mode)
    assert (tmp_path / "p.html").stat().st_mode & 0o777 == mode
    assert "SYNTHETIC" in (tmp_path / "p.html").read_text()
