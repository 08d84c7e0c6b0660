"""The page of a processed cohort: order, reasons, what it may not hold, and how it is read."""

import io
import re
import shutil
import stat
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from ictmri_baselines.processor.qc.apply_rules import MEASURES, RULES, apply_rules
from ictmri_baselines.processor.qc.page import ProcessedCase, bounds_in_words, processing_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
GOOD = {name: how.good for name, how in MEASURES.items()}


def case(folder: Path, case_id: str, error: str = "", **odd: float) -> ProcessedCase:
    """A case with good numbers but for some; its picture is a small WebP."""
    numbers = {} if error else GOOD | odd
    picture = folder / f"{case_id}.webp"
    if not error:
        stream = io.BytesIO()
        Image.new("RGB", (848, 280), (40, 60, 80)).save(stream, "WEBP")
        picture.write_bytes(stream.getvalue())
    return ProcessedCase(case_id, error, numbers, apply_rules(numbers), picture)


def cohort(folder: Path) -> Iterator[ProcessedCase]:
    yield case(folder, "ictmri-0001")
    yield case(folder, "ictmri-0002", missing_ml=12.0, bite_ml=9.0)
    yield case(folder, "ictmri-0003", missing_ml=300.0)
    yield case(folder, "ictmri-0004", "no brain was found <in it>")
    yield case(folder, "ictmri-0005", outline=0.4, missing_ml=900.0)
    yield case(folder, "ictmri-0006", border_share=0.1)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "out.process.html"
    processing_page(path, cohort(tmp_path), title="A & B", synthetic=False)
    return path


def articles(text: str) -> list[tuple[str, str]]:
    found = re.findall(r'<article class="case" id="([^"]+)" data-group="([^"]+)"', text)
    return [(name, group) for name, group in found]


def test_cases_are_grouped_and_the_worst_come_first(page: Path) -> None:
    text = page.read_text()
    assert articles(text) == [
        ("ictmri-0004", "error"),
        ("ictmri-0005", "error"),
        ("ictmri-0003", "error"),
        ("ictmri-0002", "warning"),
        ("ictmri-0006", "clean"),
        ("ictmri-0001", "clean"),
    ]
    heads = re.findall(r"<b>(\d+)</b>", text)
    assert heads == ["6", "3", "1", "2"]


def test_every_case_out_has_its_reason_and_every_number_its_bound(page: Path) -> None:
    text = page.read_text()
    assert "no brain was found &lt;in it&gt;" in text
    assert "No picture: no step could make anything of the scan." in text
    assert "Largest lump that the brain lacks 300.0 ml, above 60.0 ml" in text
    for name in {rule.measure for rule in RULES}:
        assert bounds_in_words(name) in text
    assert bounds_in_words("brain_ml") == (
        "looked at below 1000 ml or above 2200 ml; left out below 600 ml or above 2600 ml"
    )
    assert len(re.findall(r"<ellipse ", text)) == 5 * len({rule.measure for rule in RULES})
    # The strip of brain volumes goes from 0 to 3200 ml: the bound at 1000 ml lies at 300 * 1000 / 3200.
    strip = text[text.index('aria-label="Brain volume') :].split("</td>")[0]
    assert "<span>0 ml</span><span>3200 ml</span>" in strip
    assert '<rect class="warning" x="0.0" y="0" width="93.8"' in strip


def test_it_is_one_private_file_that_asks_nobody(page: Path) -> None:
    text = page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "A &amp; B" in text
    assert "Private." in text
    assert "SYNTHETIC" not in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "://" not in text
    assert text.count("data:image/webp;base64,") == 5
    assert not list(page.parent.glob(".*.part"))


def test_a_phantom_says_that_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "phantom.html"
    processing_page(path, cohort(tmp_path), title="phantom", synthetic=True)
    assert "SYNTHETIC." in path.read_text()
    assert "Private." not in path.read_text()


def test_a_cohort_of_which_nothing_was_processed_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "none.html"
    processing_page(path, [case(tmp_path, "a", "not a head")], title="t", synthetic=False)
    text = path.read_text()
    assert articles(text) == [("a", "error")]
    assert "By number" not in text


def test_the_same_cases_in_another_order_give_the_same_bytes(page: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    processing_page(other, reversed(list(cohort(tmp_path))), title="A & B", synthetic=False)
    assert articles(other.read_text()) == articles(page.read_text())
    assert other.read_bytes() == page.read_bytes()


def test_its_tags_close(page: Path) -> None:
    open_tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, _: object) -> None:
            if tag not in {"meta", "img", "input", "br", "rect"}:
                open_tags.append(tag)

        def handle_startendtag(self, *_: object) -> None:
            """What closes itself is not opened."""

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Tags().feed(page.read_text())
    assert open_tags == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
def test_it_filters_and_can_be_read_by_everyone(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    script = Path(axe.AXE_FILE_PATH).read_text()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(
                color_scheme=scheme, bypass_csp=True, viewport={"width": 1000, "height": 900}
            )
            tab = context.new_page()
            asked: list[str] = []
            errors: list[str] = []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            tab.goto(page.as_uri())
            assert tab.locator("output").inner_text() == "6 of 6 shown"
            tab.select_option("[name=code]", "half-a-head")
            assert tab.locator("output").inner_text() == "2 of 6 shown"
            tab.select_option("[name=code]", "")
            tab.uncheck("[value=clean]")
            assert tab.locator(".case:visible").count() == 4
            tab.check("[value=clean]")
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert errors == []
            tab.add_script_tag(content=script)
            found = tab.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
            assert [
                (v["id"], [n["html"][:90] for n in v["nodes"]]) for v in found["violations"]
            ] == []
            wide = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0
            context.close()
        browser.close()
