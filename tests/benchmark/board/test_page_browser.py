"""The page in a real Chromium; skipped where there is none."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.made_board import HOSTILE, made_board, repeated, with_text

from ictmri_benchmark.board.leaderboard import reported_board, write_leaderboard
from ictmri_benchmark.board.page import render_page
from ictmri_benchmark.board.page.sections import LARGEST_MATRIX
from ictmri_benchmark.board.page.tables import board_table

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)"),
    pytest.mark.slow,
]
METRICS = ("macro_f1", "accuracy", "macro_recall", "macro_precision")
OPEN = "document.querySelectorAll('details').forEach(d => { d.open = true; })"
SHOWN = "[...document.querySelectorAll('#table tr.entry')].filter(r => r.checkVisibility())"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_board(tmp_path_factory.mktemp("entries"))


@pytest.fixture(scope="module")
def file(board: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("board")
    write_leaderboard(out, board)
    return out / "leaderboard.html"


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page; in the end there must have been no request, no error and no message in the console."""
    contexts, trouble = [], []

    def go(state: str = "", *, at: Path = file, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith(at.as_uri()) else trouble.append(f"request: {r.url}")
            ),
        )
        page.goto(at.as_uri() + state)
        return page

    yield go
    for context in contexts:
        context.close()
    assert trouble == []


def scored(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table: the entries, then the ensemble of the ranked ones."""
    return [*(row for row in board["entries"] if row["report"]), board["ensemble"]]


def slugs(page: Any) -> list[str]:
    return page.evaluate(
        f"{SHOWN}.map(r => r.querySelector('a').getAttribute('href').slice('#entry-'.length))"
    )


def click_head(page: Any, title: str) -> None:
    page.locator("#table thead button", has_text=title).click()


def sorted_head(page: Any) -> tuple[str, str]:
    heads = page.locator("#table [aria-sort]")
    assert heads.count() == 1
    return heads.locator("button").inner_text().strip(), heads.get_attribute("aria-sort")


def test_columns_sort_both_ways_and_tiers_come_back(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit()
    rows = scored(board)
    assert slugs(page) == [row["slug"] for row in rows]
    tiers = page.locator("tr.tier:visible").all_inner_texts()
    assert len(tiers) > 2
    for metric, title in zip(
        METRICS, ("Macro F1", "Accuracy", "Macro recall", "Macro precision"), strict=True
    ):
        values = {row["slug"]: row["report"]["pooled"][metric]["value"] for row in rows}
        for direction in ("descending", "ascending"):
            click_head(page, title)
            shown = [values[slug] for slug in slugs(page)]
            assert shown == sorted(values.values(), reverse=direction == "descending")
            assert sorted_head(page) == (title, direction)
            assert page.locator("tr.tier:visible").count() == 0
    click_head(page, "Entry")
    assert slugs(page) == [r["slug"] for r in sorted(rows, key=lambda r: r["name"].lower())]
    click_head(page, "First in")
    assert slugs(page)[-2:] == ["peeked", "all_ranked"], "rows without a value come last"
    click_head(page, "First in")
    assert slugs(page)[-2:] == ["peeked", "all_ranked"]
    click_head(page, "Rank")
    assert slugs(page) == [row["slug"] for row in rows]
    assert page.locator("tr.tier:visible").all_inner_texts() == tiers


FILTERS: list[tuple[dict[str, str], Callable[[dict[str, Any]], bool]]] = [
    ({"track": "external data"}, lambda row: bool(row["external"])),
    ({"track": "image only"}, lambda row: row["tracks"] == ["image only"]),
    ({"level": "R2"}, lambda row: row["level"] == "R2"),
    ({"uses": "demographics"}, lambda row: row["inputs"] and row["inputs"]["demographics"]),
    ({"uses": "labels"}, lambda row: row["slug"] == "majority"),
    ({"ranked": "no"}, lambda row: not row["ranked"]),
    ({"q": "PRIOR  refined"}, lambda row: row["slug"] == "table2-5"),
    (
        {"ranked": "yes", "uses": "prior"},
        lambda row: row["ranked"] and row["inputs"]["prior"] != "none",
    ),
    ({"q": "no such words"}, lambda _: False),
]


def test_filters_show_what_fits_and_say_how_much(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit()
    for chosen, fits in FILTERS:
        for name, value in chosen.items():
            field = page.locator(f"#controls [name={name}]")
            field.fill(value) if name == "q" else field.select_option(value)
        expected = [row["slug"] for row in scored(board) if fits(row)]
        assert slugs(page) == expected, chosen
        status = page.locator("#status").inner_text()
        counted = len([slug for slug in expected if slug != board["ensemble"]["slug"]])
        assert status.startswith(f"{counted} of 10" if expected else "No entry fits")
        page.locator("#clear").click()
        assert len(slugs(page)) == 11


def test_the_address_holds_the_whole_state(visit: Callable[..., Any], browser: Any) -> None:
    page = visit()
    page.locator("[name=q]").fill("a & b=c #d ü")
    page.locator("[name=q]").fill("image")
    page.locator("[name=ranked]").select_option("yes")
    click_head(page, "Accuracy")
    page.locator("#pair [name=a]").select_option("radiomics")
    page.locator("#pair [name=b]").select_option("age-sex")
    shown, verdict = slugs(page), page.locator("#verdict").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy").click()
    page.wait_for_function("document.getElementById('status').textContent.includes('copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    again = visit(copied[copied.index("#") :])
    assert slugs(again) == shown
    assert again.locator("#verdict").inner_text() == verdict
    assert again.locator("[name=q]").input_value() == "image"
    assert sorted_head(again) == sorted_head(page)


def test_odd_addresses_change_nothing(
    visit: Callable[..., Any], board: dict[str, Any], file: Path
) -> None:
    page = visit()
    for state in ("#nowhere", "#?sort=nonsense", "#board?a=x&b=%E0%A4%A", "#%", "#entry-x?q", "#"):
        page.goto(file.as_uri() + state)
        assert slugs(page) == [row["slug"] for row in scored(board)]


def test_columns_are_chosen_and_stand_in_the_address(visit: Callable[..., Any]) -> None:
    def shown(page: Any) -> list[str]:
        return page.locator("#table thead th:visible").evaluate_all(
            "t => t.map(h => h.dataset.key)"
        )

    page = visit()
    usual = shown(page)
    assert usual == ["rank", "name", *METRICS, "first", "level", "date"]
    page.locator("#columns summary").click()
    page.get_by_role("checkbox", name="Parameters").check()
    page.get_by_role("checkbox", name="Macro recall").uncheck()
    chosen = [key for key in [*usual, "parameters"] if key != "macro_recall"]
    assert shown(page) == chosen
    first = page.locator("#table tr.entry").first.locator("> :visible")
    assert first.count() == len(chosen)
    again = visit(page.evaluate("location.hash"), width=1000)
    assert shown(again) == chosen
    again.locator("#clear").click()
    assert [key for key in shown(again) if key in usual[:4]] == usual[:4]
    for box in page.locator("#columns input").all():
        box.uncheck()
    assert shown(page) == ["rank", "name"]
    assert shown(visit(page.evaluate("location.hash"))) == ["rank", "name"]


def test_a_board_without_an_entry_says_how_to_be_the_first(
    visit: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "reported.html"
    file.write_text(render_page(reported_board("ictmri")))
    page = visit(at=file, width=390)
    text = page.locator("body").inner_text()
    for part in ("No entry yet.", "be the first", "Paper, Table 2 (1): raw volume"):
        assert part in text
    for part in ("#controls", "#compare", "#missed", "#entries", "a[download]"):
        assert not page.locator(part).first.is_visible()
    assert page.evaluate(SIDEWAYS) == []


def test_the_table_is_downloaded_under_the_pages_policy(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit()
    with page.expect_download() as download:
        page.locator("a[download]").click()
    assert download.value.suggested_filename == "ictmri-phantom-leaderboard.csv"
    text = Path(download.value.path()).read_text()
    assert text == board_table(board).csv()


def test_links_open_entries_and_the_way_back_works(visit: Callable[..., Any]) -> None:
    page = visit("#board?q=prior")
    page.locator("#table a", has_text="Radiomics").click()
    view = page.locator("#entry-radiomics")
    assert view.get_attribute("open") is not None
    assert page.evaluate("document.activeElement.closest('details').id") == "entry-radiomics"
    assert page.evaluate("location.hash") == "#entry-radiomics?q=prior"
    assert view.locator(".confusion").is_visible()
    page.go_back()
    page.wait_for_function("location.hash === '#board?q=prior'")
    assert visit("#entry-table2-5").locator("#entry-table2-5 .scores").first.is_visible()


def test_two_entries_that_the_page_does_not_compare_name_the_command_that_does(
    visit: Callable[..., Any], board: dict[str, Any], tmp_path: Path
) -> None:
    pairs = list(board["comparison"]["pairs"])
    first, second = pairs.pop(3)[:2]
    file = tmp_path / "large.html"
    file.write_text(render_page(board | {"comparison": board["comparison"] | {"pairs": pairs}}))
    page = visit(f"#compare?a={first}&b={second}", at=file)
    named = f"ictmri compare {first}/predictions.csv {second}/predictions.csv"
    assert named in page.locator("#verdict").inner_text()


def test_two_entries_are_compared_in_both_directions(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit()
    columns = board["comparison"]["columns"]
    pairs = [dict(zip(columns, pair, strict=True)) for pair in board["comparison"]["pairs"]]
    told = next(p for p in pairs if p["p"] < 0.001 and abs(p["difference"]) > 0.1)
    open_ = next(p for p in pairs if p["p"] > 0.3)
    names = {row["slug"]: row["name"] for row in scored(board)}

    def points(value: float) -> str:
        return f"{100 * value:+.1f}".replace("-", "−")

    for pair, words in ((told, "can tell them apart"), (open_, "cannot tell them apart")):
        page.locator("#pair [name=a]").select_option(pair["first"])
        page.locator("#pair [name=b]").select_option(pair["second"])
        text = page.locator("#verdict").inner_text()
        assert words in text
        ends = f"{points(-pair['high'])} to {points(-pair['low'])}"
        assert f"{points(-pair['difference'])} points of macro F1, 95 % interval {ends}" in text
        assert f"{pair['first_only']} cases only the first" in text
        assert f"{pair['second_only']} cases only the second" in text
        page.locator("#swap").click()
        turned = page.locator("#verdict").inner_text()
        ends = f"{points(pair['low'])} to {points(pair['high'])}"
        assert f"{points(pair['difference'])} points of macro F1, 95 % interval {ends}" in turned
        assert f"{pair['second_only']} cases only the first" in turned
        assert words in turned
    page.locator("#pair [name=a]").select_option(told["first"])
    page.locator("#pair [name=b]").select_option(told["second"])
    better = told["second"] if told["difference"] > 0 else told["first"]
    assert f"\u2068{names[better]}\u2069 is ahead" in page.locator("#verdict").inner_text()
    page.locator("#pair [name=b]").select_option(told["first"])
    assert "two different entries" in page.locator("#verdict").inner_text()


FOCUS = """() => {
  const e = document.activeElement;
  const style = getComputedStyle(e);
  return { tag: e.tagName, text: (e.textContent || e.name || "").trim().slice(0, 40), name: e.name || e.id,
    outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    inside: e.checkVisibility() && e.getBoundingClientRect().width > 0 };
}"""


def test_everything_is_reached_and_seen_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    expected = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
        .filter(e => e.checkVisibility()).length"""
    )
    page.keyboard.press("Tab")
    first = page.evaluate(FOCUS)
    assert first["text"] == "Skip to the board"
    seen = [first]
    while seen[-1]["tag"] != "BODY" and len(seen) < 2 * expected:
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
    reached = [step for step in seen if step["tag"] != "BODY"]
    assert len(reached) == expected
    assert [step for step in reached if not step["outline"] or not step["inside"]] == []
    assert {"q", "track", "level", "uses", "ranked", "clear", "copy", "a", "b", "swap"} <= {
        step["name"] for step in reached
    }


def test_keys_sort_and_unfold(visit: Callable[..., Any], board: dict[str, Any]) -> None:
    page = visit()
    page.locator("#table thead button", has_text="Accuracy").focus()
    page.keyboard.press("Enter")
    best = max(scored(board), key=lambda row: row["report"]["pooled"]["accuracy"]["value"])
    assert slugs(page)[0] == best["slug"]
    assert page.locator("#status").get_attribute("role") == "status"
    assert "sorted by accuracy, highest first" in page.locator("#status").inner_text()
    page.locator("details.entry summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.entry").first.get_attribute("open") is not None


SIDEWAYS = """() => [...document.querySelectorAll("main *")].filter(e => e.checkVisibility()
  && e.scrollWidth > e.clientWidth && ["auto", "scroll"].includes(getComputedStyle(e).overflowX))
  .map(e => `${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""


def test_no_width_needs_sideways_scrolling(
    visit: Callable[..., Any], board: dict[str, Any], tmp_path: Path
) -> None:
    long = tmp_path / "long.html"
    long.write_text(render_page(with_text(board, "unbroken" * 30)))
    for page in (visit(), visit(at=long)):
        page.evaluate(OPEN)
        for width in (320, 390, 768, 900, 1024, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert width != 390 or page.evaluate(SIDEWAYS) == []


def test_a_phone_shows_cards_that_sort(visit: Callable[..., Any], board: dict[str, Any]) -> None:
    page = visit(width=390, has_touch=True, is_mobile=True)
    page.locator("[name=order]").select_option("-accuracy")
    best = max(scored(board), key=lambda row: row["report"]["pooled"]["accuracy"]["value"])
    assert slugs(page)[0] == best["slug"]
    card = page.locator("#table tr.entry").first.inner_text()
    for part in (
        "Accuracy",
        "Macro recall",
        f"{best['report']['pooled']['accuracy']['value']:.3f}",
    ):
        assert part in card


# Contrast of each text with what is behind it (WCAG 2, relative luminance), without axe.
CONTRAST = r"""() => {
  const parse = text => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 1 : 255;
    return [...numbers.slice(0, 3).map(x => x / scale), numbers[3] ?? 1];
  };
  const light = ([r, g, b]) => [r, g, b].map(x => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (let at = e; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [1, 1, 1, 1];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest("svg, script, option")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const who = `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 30)}`;
    found.push([(a + 0.05) / (b + 0.05), who]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_contrast_with_what_is_behind_them(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.evaluate(OPEN)
    found = page.evaluate(CONTRAST)
    assert len(found) > 500
    assert [item for item in found if item[0] < 4.5] == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_axe_finds_nothing(visit: Callable[..., Any], scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    page = visit(color_scheme=scheme, width=width)
    for slug in ("table2-5", "majority"):
        page.locator(f"#entry-{slug} summary").click()
    page.evaluate(Path(axe.AXE_FILE_PATH).read_text())
    found = page.evaluate("axe.run().then(r => [r.violations, r.passes.length])")
    told = [
        f"{v['id']} ({v['impact']}): {v['help']}: {v['nodes'][0]['html'][:120]}" for v in found[0]
    ]
    assert told == []
    assert found[1] > 20


def test_on_paper_everything_is_there_and_no_control(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit("#board?q=radiomics", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert len(slugs(page)) == len(scored(board))
    for part in ("#controls", "#pair", "nav", ".back", "#folding"):
        assert not page.locator(part).first.is_visible()
    assert page.locator("details.entry:visible").count() == 0, "a closed entry says nothing more"
    assert page.locator("#entries").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert "Synthetic cohort." in page.locator("body").inner_text()
    assert 1 < pages_of(page) <= 6
    page.evaluate("document.querySelector('details.entry').open = true")
    assert page.locator("details.entry .scores").first.is_visible()


def pages_of(page: Any) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))


def test_the_largest_board_with_every_comparison_prints_on_six_pages(
    visit: Callable[..., Any], board: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "large.html"
    file.write_text(render_page(repeated(board, LARGEST_MATRIX)))
    assert pages_of(visit(at=file)) <= 6


def test_without_scripts_all_content_is_there(
    visit: Callable[..., Any], board: dict[str, Any]
) -> None:
    page = visit(java_script_enabled=False)
    text = page.locator("body").inner_text()
    for row in scored(board):
        assert row["name"] in text
    for part in (
        "Each against the first",
        "Each against each",
        "Cases most often missed",
        "needs JavaScript",
    ):
        assert part in text
    assert page.locator("#controls").is_hidden()
    assert page.locator("#table thead button").count() == 0, "no arrow that does nothing"
    assert "Macro recall" in page.locator("#table thead").inner_text()
    page.locator("#entry-radiomics summary").click()
    assert page.locator("#entry-radiomics .confusion").is_visible()
    page.locator("nav a", has_text="Compare").click()
    assert page.url.endswith("#compare")


def test_hostile_entries_run_nothing(
    visit: Callable[..., Any], board: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "hostile.html"
    file.write_text(render_page(with_text(board, HOSTILE)))
    page = visit("#<img src=x onerror=window.fired=1>?q=<script>window.fired=1</script>", at=file)
    page.evaluate(OPEN)
    page.locator("#clear").click()
    for head in page.locator("#table thead button:visible").all():
        head.click()
    for option in ("radiomics", "ensemble"):
        page.locator("#pair [name=a]").select_option(option)
        page.locator("#pair [name=b]").select_option("majority")
    page.evaluate(
        "document.querySelectorAll('*').forEach(e => e.dispatchEvent(new Event('mouseover')))"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.fired") is None
    assert "<script>window.fired=1</script>" in page.locator("#verdict").inner_text()
    assert page.locator("main img").count() == 0


def test_markup_that_slipped_in_is_refused_by_the_policy(
    browser: Any, file: Path, tmp_path: Path
) -> None:
    slipped = (
        "<script>window.fired='script'</script><img src=x onerror=\"window.fired='handler'\">"
        "<a id=bad href=\"javascript:window.fired='link'\">x</a><p id=styled style='color: red'>x</p>"
        "<iframe srcdoc='<script>parent.fired=1</script>'></iframe><link rel=stylesheet href=https://example.org/>"
    )
    changed = tmp_path / "changed.html"
    changed.write_text(file.read_text().replace("<main>", "<main>" + slipped))
    failed: dict[str, str] = {}
    page = browser.new_context().new_page()
    page.on("requestfailed", lambda request: failed.update({request.url: request.failure}))
    page.goto(changed.as_uri())
    page.locator("#bad").click()
    page.wait_for_timeout(300)
    assert page.evaluate("window.fired") is None
    assert (
        page.evaluate("getComputedStyle(document.getElementById('styled')).color")
        != "rgb(255, 0, 0)"
    )
    assert page.locator("#controls").is_visible(), "the page's own script runs"
    assert "https://example.org/" in failed
    assert set(failed.values()) == {"csp"}
    page.context.close()


def test_a_hundred_entries_answer_at_once(
    visit: Callable[..., Any], board: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "many.html"
    file.write_text(render_page(repeated(board, 100)))
    page = visit(at=file)
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert loaded < 5000
    took = page.evaluate(
        """() => { const start = performance.now();
        const field = document.querySelector("[name=q]"); field.value = "number 9";
        field.dispatchEvent(new Event("input", { bubbles: true })); document.body.offsetHeight;
        return performance.now() - start; }"""
    )
    assert took < 500
    assert len(slugs(page)) == 19
