import base64
import copy
import csv
import hashlib
import io
import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_board import (
    HOSTILE,
    made_board,
    phantom,
    repeated,
    with_text,
)
from support.made_entries import add_entry, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.board.page import environment, numbers, render_page
from ictmri_benchmark.board.page.sections import (
    lead,
    matrix,
    payload,
    safe_link,
    shades,
    shown_entries,
    tiers,
)

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """The page's elements in order, and the text of each place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        where = self.open[-1] if self.open else ""
        self.inside.setdefault(where, []).append(data)
        if where not in ("script", "style"):
            self.texts.append(data)

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """Tags and names of attributes, without any text or value."""
        return [(tag, sorted(attributes)) for tag, attributes in self.tags]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_board(tmp_path_factory.mktemp("entries"))


@pytest.fixture(scope="module")
def page(board: dict[str, Any]) -> str:
    return render_page(board)


def section(page: str, name: str) -> str:
    return page.split(f'aria-labelledby="{name}"')[1].split("</section>", 1)[0]


def entry_view(page: str, slug: str) -> str:
    return page.split(f'id="entry-{slug}"')[1].split("</details>", 1)[0]


def scored(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in board["entries"] if row["report"] is not None]


def test_hostile_text_changes_no_element_of_the_page(board: dict[str, Any]) -> None:
    plain = Page(render_page(with_text(board, "x" * len(HOSTILE))))
    hostile = Page(render_page(with_text(board, HOSTILE)))
    assert hostile.shape == plain.shape
    assert hostile.text.count("<script>window.fired=1</script>") > 10 * len(scored(board))
    assert "{{7*7}} {% raw %}" in hostile.text
    assert not any("javascript:" in (a.get("href") or "") for _, a in hostile.tags)


@pytest.mark.parametrize(
    ("summary", "shown"),
    [
        ("as `table2/5`, <b>bold</b>", "as <code>table2/5</code>, &lt;b&gt;bold&lt;/b&gt;"),
        ("`<script>` and `", "`&lt;script&gt;` and `"),
        ("` one", "` one"),
    ],
)
def test_what_stands_between_backticks_is_code(
    board: dict[str, Any], summary: str, shown: str
) -> None:
    changed = copy.deepcopy(board)
    changed["entries"][0]["summary"] = summary
    assert f"<p><bdi>{shown}</bdi></p>" in render_page(changed)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("http://example.org", "http://example.org"),
        ("HTTPS://EXAMPLE.org", "HTTPS://EXAMPLE.org"),
        ("arXiv:2602.21613v2", "https://arxiv.org/abs/2602.21613v2"),
        ("doi:10.1002/(SICI)1-2", "https://doi.org/10.1002/(SICI)1-2"),
        ("arXiv:../../evil", None),
        ("arXiv:2602.21613?x", None),
        ('doi:10.1000/a"b', None),
        ("javascript:alert(1)", None),
        ("JaVaScRiPt:alert(1)", None),
        (" javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("https:///no-host", None),
        ("https://a b", None),
        ("https://exa\u202emple.org", None),
        ("https://[broken", None),
        ("https:\\\\example.org", None),
        ('https://example.org/"onclick="alert(1)', None),
        ("data:text/html,<script>", None),
        ("//example.org", None),
        ("file:///etc/passwd", None),
        ("", None),
    ],
)
def test_only_web_addresses_and_known_numbers_become_links(text: str, link: str | None) -> None:
    assert safe_link(text) == link


def test_a_link_leaves_no_door_open(tmp_path: Path) -> None:
    cohort = phantom()
    linked = made_entry(cohort, "linked", code="https://example.org/code")
    add_entry(tmp_path, cohort, linked, probabilities(cohort, 0.3))
    page = Page(render_page(build_leaderboard(tmp_path, cohort, synthetic=True)))
    links = [
        a
        for tag, a in page.tags
        if tag == "a" and not (a["href"] or "").startswith(("#", "data:text/csv;"))
    ]
    assert "https://example.org/code" in [link["href"] for link in links]
    assert all({"noopener", "noreferrer"} <= set((link["rel"] or "").split()) for link in links)


def test_the_policy_allows_exactly_what_is_on_the_page(page: str) -> None:
    parsed = Page(page)
    policy = next(
        a["content"] or ""
        for _, a in parsed.tags
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert style is not None
    assert len(scripts) == 1
    for name, text in (("style-src", style[1]), ("script-src", scripts[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    attributes = {name for _, a in parsed.tags for name in a}
    assert not {
        n for n in attributes if n.startswith("on") or n in ("style", "src", "srcset", "action")
    }
    assert not {tag for tag, _ in parsed.tags} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
    }
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|WebSocket|sendBeacon|innerHTML", page)


def test_a_phantom_is_marked_on_top_and_at_the_sections(board: dict[str, Any], page: str) -> None:
    assert page.index("Synthetic cohort.") < page.index("<h1>")
    marked = re.findall(r'<h2 id="(\w+)"[^>]*>[^<]*<span class="tag">synthetic</span>', page)
    every = re.findall(r'<h2 id="(\w+)"', page)
    assert set(every) - set(marked) == {"reported", "context"}
    real = render_page({**board, "synthetic": False, "cohort": "ictmri"})
    assert "Synthetic cohort." not in real
    assert 'class="tag"' not in real


def test_the_same_board_gives_the_same_bytes(
    board: dict[str, Any], page: str, tmp_path: Path
) -> None:
    assert render_page(copy.deepcopy(board)) == page
    write_leaderboard(tmp_path, board)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_leaderboard(tmp_path, json.loads(first["leaderboard.json"]))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    digest = hashlib.sha256(first["leaderboard.json"]).hexdigest()
    assert digest in section(page, "submit")


def test_a_hundred_entries_are_small_and_quick(board: dict[str, Any]) -> None:
    many = repeated(board, 100)
    start = time.perf_counter()
    page = render_page(many)
    assert time.perf_counter() - start < 10
    assert len(page.encode()) < 2_000_000


def test_beyond_the_first_hundred_an_entry_shows_its_numbers_without_drawings(
    board: dict[str, Any],
) -> None:
    first, *_, last = section(render_page(repeated(board, 101)), "entries").split("<details")[1:102]
    assert "small-multiples" in first
    assert "small-multiples" not in last
    for shown in (first, last):
        assert 'class="confusion"' in shown
        assert "Macro F1" in shown


def test_every_entry_shows_its_numbers(board: dict[str, Any], page: str) -> None:
    table = section(page, "board")
    for row in scored(board):
        line = table.split(f'href="#entry-{row["slug"]}"')[1].split("</tr>")[0]
        shown = re.findall(r"\d\.\d{3}(?!\d)", re.sub(r'data-v="[^"]*"', "", line))
        metrics = ("macro_f1", "accuracy", "macro_recall", "macro_precision")
        pooled = row["report"]["pooled"]
        assert shown == [f"{pooled[m][k]:.3f}" for m in metrics for k in ("value", "low", "high")]
        view = Page(f"<details>{entry_view(page, row['slug']).split('>', 1)[1]}</details>").text
        for metric in metrics:
            folds = row["report"]["fold_mean"][metric]
            assert f"{folds['mean']:.3f} ± {folds['sd']:.3f}" in view
        for name in CLASSES:
            one = row["report"]["per_class"][name]
            low, high = one["intervals"]["recall"]
            assert f"{one['recall']:.2f} [{low:.2f}, {high:.2f}]" in view
        assert row["report"]["digests"]["predictions"] in view


def test_a_row_tells_when_how_large_on_what_and_where_to_read(board: dict[str, Any]) -> None:
    changed = copy.deepcopy(board)
    first, second = scored(changed)[:2]
    first |= {"paper": "arXiv:2602.21613", "code": "javascript:x", "external": ["weights of X"]}
    first |= {"compute": {"device": "cpu", "hours": 1.5, "parameters": 12_345_678}}
    first |= {"overlap": "yes", "level": "R2"}
    second |= {"compute": {"parameters": "about 7"}, "external": [], "overlap": "no"}
    event = {"action": "added", "predictions_sha256": "", "reason": "", "slug": first["slug"]}
    changed["ledger"] = [event | {"date": "2026-01-01"}, event | {"date": "2026-02-03"}]
    line, other = (
        section(render_page(changed), "board")
        .split(f'href="#entry-{row["slug"]}"')[1]
        .split("</tr>")[0]
        for row in (first, second)
    )
    shown = Page(f"<table><tr><th><a>{line}</tr></table>").text
    for part in (
        "2026-02-03",
        "12.3 M",
        "cpu, 1.5 h",
        "weights of X",
        "external data hold tested cases",
    ):
        assert part in shown
    assert 'data-v="12345678"' in line
    assert 'href="https://arxiv.org/abs/2602.21613"' in line
    assert "javascript" not in line
    assert "about 7" in other
    assert "2026" not in other


def test_the_download_is_the_board_in_full(board: dict[str, Any]) -> None:
    page = Page(render_page(with_text(board, '=1+1, "quoted"')))
    (link,) = (a for _, a in page.tags if (a.get("href") or "").startswith("data:"))
    assert link["download"] == "ictmri-phantom-leaderboard.csv"
    text = base64.b64decode((link["href"] or "").split("base64,")[1]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["slug"] for row in rows[-2:]] == ["all_ranked", "elsewhere"]
    assert [bool(row["trained on"]) for row in rows] == [False] * (len(rows) - 1) + [True]
    for row, found in zip(rows[:-2], scored(board), strict=True):
        assert row["slug"] == found["slug"]
        pooled = found["report"]["pooled"]["macro_f1"]
        ends = [float(row[f"macro F1{end}"]) for end in ("", " low", " high")]
        assert ends == [pooled["value"], pooled["low"], pooled["high"]]
        assert row["synthetic"] == "true"
        assert row["entry"] == f'\'=1+1, "quoted" {found["slug"]}'


def test_models_trained_elsewhere_have_a_section_of_their_own(
    board: dict[str, Any], page: str
) -> None:
    own = section(page, "external")
    (row,) = board["external"]
    best = row["report"]["pooled"]["macro_f1"]
    assert f"<strong>{best['value']:.3f}</strong>" in own
    assert f"[{best['low']:.3f}, {best['high']:.3f}]" in own
    assert "<bdi>ictmri</bdi>" in own
    assert '<span class="chip warn">yes</span>' in own
    for other in ("board", "tell", "compare", "figures", "missed"):
        assert "elsewhere" not in section(page, other)
    view = entry_view(page, "elsewhere")
    assert "overlap with the cases here: yes" in view
    assert "±" not in view
    assert 'id="external"' not in render_page(board | {"external": []})


def test_small_groups_and_missing_probabilities_are_told(board: dict[str, Any]) -> None:
    changed = copy.deepcopy(board)
    first = scored(changed)[0]
    first["report"]["subgroups"] = {"sex": {"female": {"n": 7}}}
    page = render_page(changed)
    assert "not shown: fewer than 20 cases" in entry_view(page, first["slug"])
    assert "No probabilities" in entry_view(page, "majority")
    assert "<svg" not in entry_view(page, "majority")


def test_tiers_partition_the_board_in_order(board: dict[str, Any]) -> None:
    entries = shown_entries(board)
    found = tiers(entries)
    assert [e.row["slug"] for tier in found for e in tier.entries] == [
        r["slug"] for r in scored(board)
    ]
    assert [tier.number for tier in found] == [*range(1, len(found)), None]
    assert all("cannot tell" in t.title for t in found if t.number and len(t.entries) > 1)


def test_the_lead_names_exactly_those_that_cannot_be_told(board: dict[str, Any], page: str) -> None:
    found = lead(shown_entries(board))
    assert found is not None
    ranked = [row for row in scored(board) if row["ranked"]]
    open_ = [row["slug"] for row in ranked[1:] if row["behind_first"]["p_holm"] >= 0.05]
    assert open_
    assert [entry.row["slug"] for entry in found.beside] == open_
    assert found.behind == len(ranked) - 1 - len(open_)
    against = section(page, "compare")
    assert against.count("cannot tell</strong>") == len(open_)


def test_the_matrix_is_antisymmetric_and_agrees_with_the_ranks(board: dict[str, Any]) -> None:
    entries = shown_entries(board)
    found = matrix(board, entries)
    assert found is not None
    values = [e.row["report"]["pooled"]["macro_f1"]["value"] for e in found.entries]
    for i, row in enumerate(found.cells):
        for j, cell in enumerate(row):
            if i == j:
                assert cell is None
                continue
            assert cell is not None
            assert cell[0] == pytest.approx(values[i] - values[j], abs=1e-6)
            assert cell[1] == found.cells[j][i][1]
    assert found.told == sum(c[1] for row in found.cells for c in row if c) // 2
    assert 0 < found.told < found.pairs


def test_the_script_gets_the_pairs_of_the_board(board: dict[str, Any], page: str) -> None:
    text = re.search(r'id="data">(.*?)</script>', page)
    assert text is not None
    data = json.loads(text[1])
    assert data == json.loads(json.dumps(payload(board, shown_entries(board))))
    slugs = [entry[0] for entry in data["entries"]]
    assert slugs == [row["slug"] for row in scored(board) if row["ranked"]]
    given = [[slugs[i], slugs[j], *rest] for i, j, *rest in data["pairs"]]
    for one, other in zip(given, board["comparison"]["pairs"], strict=True):
        assert one[:2] == other[:2]
        difference, low, high, *rest = other[2:]
        assert one[2:] == pytest.approx([-difference, -high, -low, *rest], abs=1e-9)


def test_figures_are_drawn_from_entries_and_never_from_reported_numbers(
    board: dict[str, Any], page: str
) -> None:
    drawn = section(page, "figures")
    assert "ictmri reproduce table2/3 --cohort ictmri-phantom" in drawn
    assert "ictmri reproduce table2/5" not in drawn
    assert "ictmri reproduce table3/ae_flow" in drawn
    printed = {
        f"{row['reported'][key]:.2f}"
        for row in board["entries"]
        if row["report"] is None
        for key in ("precision", "recall", "f1", "accuracy")
        if row["reported"][key] is not None
    }
    assert len(printed) > 20
    assert not {number for number in printed if number in drawn}
    assert {number for number in printed if number in section(page, "reported")} == printed
    row = next(r for r in scored(board) if r["slug"] == "table2-5")
    shares = [round(100 * n / sum(cells)) for cells in row["report"]["confusion"] for n in cells]
    assert re.findall(r">(\d+) %<", drawn) == [str(share) for share in shares]


def test_without_the_papers_entries_the_commands_stand_there(tmp_path: Path) -> None:
    cohort = phantom()
    add_entry(tmp_path, cohort, made_entry(cohort, "mine"), probabilities(cohort, 0.3))
    drawn = section(render_page(build_leaderboard(tmp_path, cohort, synthetic=True)), "figures")
    assert drawn.count("ictmri reproduce table2/") == 5
    assert drawn.count("ictmri reproduce table3/") == 6
    assert drawn.count("ictmri reproduce convnext3d ") == 1
    assert "<svg" not in drawn
    assert "the first entry here" in drawn


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_reported_row_shows_its_badge(board: dict[str, Any], *, wrapped: bool) -> None:
    changed = copy.deepcopy(board)
    row = next(row for row in changed["entries"] if row["report"] is None)
    found = {"code": "not-consistent", "text": "not <consistent>", "because": "of a reason"}
    row["audit"] = {"badge": found} if wrapped else found
    shown = section(render_page(changed), "reported")
    assert shown.count('class="badge not-consistent"') == 1
    assert "not &lt;consistent&gt;" in shown
    assert "of a reason" in shown


def test_context_is_marked_as_other_cohorts(page: str) -> None:
    shown = section(page, "context")
    assert "Human rows: none yet." in shown
    assert "never comparable" in shown
    assert "10.3389/fonc.2022.844197" in shown
    assert "Luo, Xinzhe and Shao, Shuai" in section(page, "submit")


def test_headings_have_no_gap_and_ids_are_unique(page: str) -> None:
    parsed = Page(page)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))
    inner = [a["href"] for tag, a in parsed.tags if tag == "a"]
    assert {link[1:] for link in inner if link and link.startswith("#")} <= set(ids)
    tables = [tag for tag, _ in parsed.tags if tag in ("table", "caption")]
    assert tables == ["table", "caption"] * (len(tables) // 2)


def test_boards_with_little_on_them_still_have_a_page(
    board: dict[str, Any], tmp_path: Path
) -> None:
    nothing = copy.deepcopy(board)
    nothing["entries"] = [row for row in nothing["entries"] if row["report"] is None]
    nothing |= {"missed": [], "comparison": {**nothing["comparison"], "pairs": []}}
    nothing["resolution"]["optimism_of_the_best"] = None
    assert "No entry yet." in render_page(nothing)
    refused = [{"slug": "a", "reason": "of other folds"}]
    assert "No entry could be scored." in render_page(nothing | {"refused": refused})
    cohort = phantom()
    peeked = made_entry(cohort, "peeked", selection="test-fold")
    add_entry(tmp_path, cohort, peeked, np.array(cohort.labels))
    page = render_page(build_leaderboard(tmp_path, cohort, synthetic=True))
    assert "No entry is ranked yet." in page
    assert "Unranked: the model was chosen by looking at the test folds" in page


def test_drawings_stand_at_their_numbers() -> None:
    draw: Any = environment().get_template("drawings.html.j2").module
    drawn = draw.forest({"value": 0.5, "low": 0.4, "high": 0.75}, {"low": 0.0, "high": 1.0})
    assert '<rect class="b" x="0" y="0" width="200"' in drawn
    assert '<rect class="i" x="80" y="6" width="70"' in drawn
    assert 'd="M100 3V17"' in drawn
    curve = draw.risk_coverage([0.0, 0.5])
    assert 'd="M50 100L100 50"' in curve
    bins = [{"n": 10, "predicted": 0.2, "observed": 0.5}]
    diagram = draw.reliability(bins, "Glioma", 0.3)
    assert 'd="M20 50h0"' in diagram
    # Wilson's interval of 5 of 10 is [0.237, 0.763].
    assert 'd="M20 76.3V23.7"' in diagram
    assert "20→50" in diagram


def test_shares_and_points_are_written_so_that_none_misleads() -> None:
    assert [numbers.share(x) for x in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        *("0 %", "< 1 %", "50 %", "> 99 %", "100 %")
    ]
    assert [numbers.points(x) for x in (0.0643, -0.0001, -0.05)] == ["6.4", "0.0", "−5.0"]
    assert numbers.points(0.05, sign=True) == "+5.0"
    counts = [7, 999, 999_600, 12_345_678, 3e9, 4e13, "a few"]
    assert [numbers.count(n) for n in counts] == [
        *("7", "999", "1 M", "12.3 M", "3 G", "4e+04 G", "a few")
    ]
    assert shades([[0, 0], [1, 3]]) == [[(0, 0, 0), (0, 0, 0)], [(1, 25, 2), (3, 75, 8)]]
