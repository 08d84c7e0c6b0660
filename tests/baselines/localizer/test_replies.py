"""From words to boxes: each kind of answer, and any text at all."""

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ictmri.errors import InputError
from ictmri_baselines.localizer.boxes import Box
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.vlm.prompts import prompt_names, read_prompt
from ictmri_baselines.localizer.vlm.replies import MAX_BOXES, PROBLEMS, Reading, read_reply
from ictmri_baselines.localizer.vlm.slices import View

VIEW = View.of(Grid(2), 448)
PLACE = Box(20, 30, 40, 60, 0.75)
EDGES = [round(edge * 1000 / 448) for edge in VIEW.to_pixels(20, 30, 40, 60)]
LESION = json.dumps({"bbox_2d": EDGES, "likelihood": 0.75})
GOOD = f'{{"lesions": [{LESION}]}}'
BARE = Box(20, 30, 40, 60)
ELSEWHERE = Box(50, 60, 70, 80, 0.5)
OTHER = json.dumps(
    {
        "bbox_2d": [round(edge * 1000 / 448) for edge in VIEW.to_pixels(50, 60, 70, 80)],
        "likelihood": 0.5,
    }
)


def lesion(box: object, **others: object) -> str:
    return json.dumps({"lesions": [{"bbox_2d": box} | others]})


CASES = {
    "as asked": (GOOD, [PLACE], []),
    "nothing found": ('{"lesions": []}', [], []),
    "fenced": (f"```json\n{GOOD}\n```", [PLACE], ["fenced"]),
    "fence without an end": (f"```json\n{GOOD}", [PLACE], ["fenced"]),
    "prose around": (f"Here you are: {GOOD} I hope so.", [PLACE], ["prose"]),
    "prose with brackets": (f"As [1] says, {GOOD}", [PLACE], ["prose"]),
    "thoughts first": (f"<think>maybe [[1,2,3,4]]</think>{GOOD}", [PLACE], []),
    "thoughts only": ("<think>maybe [[1,2,3,4]]", [], ["no-json", "truncated"]),
    "Qwen's own list": (f'[{{"bbox_2d": {EDGES}, "label": "tumor"}}]', [BARE], ["other-form"]),
    "empty list": ("[]", [], ["other-form"]),
    "list of lists": (f"[{EDGES}]", [BARE], ["other-form"]),
    "one bare box": (f"{EDGES}", [BARE], ["other-form"]),
    "one object": (LESION, [PLACE], ["other-form"]),
    "another key": (f'{{"objects": [{{"box": {EDGES}}}]}}', [BARE], ["other-form"]),
    "single quotes": (f"[{{'bbox_2d': {EDGES}}}]", [BARE], ["broken-json"]),
    "cut after a box": (GOOD[:-2] + ', {"bbox_2d": [1', [PLACE], ["truncated"]),
    "cut in a word": ('{"lesions": [{"bbox_2d": [12', [], ["truncated"]),
    "two answers": ('{"lesions": []} No: ' + GOOD, [PLACE], ["several-answers"]),
    "two boxes": (f"{LESION}\n{OTHER}", [PLACE, ELSEWHERE], ["several-answers", "other-form"]),
    "two fenced": (
        f"```json\n[{LESION}]\n```\nand\n```json\n[{OTHER}]\n```",
        [PLACE, ELSEWHERE],
        ["several-answers", "fenced", "other-form"],
    ),
    "two whole": (
        f'{{"lesions": [{LESION}]}}{{"lesions": [{OTHER}]}}',
        [PLACE, ELSEWHERE],
        ["several-answers"],
    ),
    "two damaged": (f"{LESION} {OTHER}".replace('"', "'"), [PLACE, ELSEWHERE], ["broken-json"]),
    "a draft before the answer": (f"Maybe [{OTHER}]. {GOOD}", [PLACE], ["prose"]),
    "wrapped": (f'{{"answer": {GOOD}}}', [PLACE], ["other-form"]),
    "wrapped in a list": (f"[{GOOD}]", [PLACE], ["other-form"]),
    "a comma too much": (f"{GOOD[:-2]},],}}", [PLACE], ["broken-json"]),
    "no quotation marks": (GOOD.replace('"', ""), [PLACE], ["broken-json"]),
    "curly quotation marks": (re.sub('"(.*?)"', r"“\1”", GOOD), [PLACE], ["broken-json"]),
    "a tuple": (GOOD.replace(f"{EDGES}", f"{tuple(EDGES)}"), [PLACE], ["broken-json"]),
    "a comment": (GOOD[:-1] + " // sure\n}", [PLACE], ["broken-json"]),
    "a comma missing": (f'{{"lesions": [{LESION} {OTHER}]}}', [PLACE, ELSEWHERE], ["broken-json"]),
    "quotes in a label": (GOOD[:-3] + ', "label": "a "ring" lesion"}]}', [PLACE], ["broken-json"]),
    "a bracket missing": (GOOD[:-1], [PLACE], ["truncated"]),
    "cut in the last number": (
        f'{{"lesions": [{LESION}, {{"bbox_2d": [100, 200, 300, 4',
        [PLACE],
        ["truncated"],
    ),
    "cut in the likelihood": (GOOD[:-5], [BARE], ["truncated"]),
    "fractions": (lesion([0.4, 0.4, 0.5, 0.5]), [], ["fractions"]),
    "no words": ("  \n", [], ["empty"]),
    "refusal": ("I'm sorry, but I can't assist with medical images.", [], ["refusal"]),
    "refusal, curly": ("I can’t provide a diagnosis.", [], ["refusal"]),
    "prose cut at a bracket": ("I see (", [], ["no-json"]),
    "words only": ("There is no lesion.", [], ["no-json"]),
    "swapped": (lesion([EDGES[2], EDGES[3], EDGES[0], EDGES[1]]), [BARE], ["swapped"]),
    "too short": (lesion([1, 2, 3]), [], ["wrong-length"]),
    "too long": (lesion([1, 2, 3, 4, 5]), [], ["wrong-length"]),
    "text": (lesion([str(edge) for edge in EDGES]), [BARE], ["text-numbers"]),
    "no numbers": (lesion(["a", None, 3, 4]), [], ["not-numbers"]),
    "not finite": ('{"lesions": [{"bbox_2d": [NaN, Infinity, 1, 2]}]}', [], ["not-numbers"]),
    "huge": ('{"lesions": [{"bbox_2d": [1' + "0" * 400 + ", 1, 2, 3]}]}", [], ["not-numbers"]),
    "truth": (lesion([True, False, True, True]), [], ["not-numbers"]),
    "no box": ('{"lesions": [{"label": "tumour"}, 7]}', [], ["not-a-box"]),
    "a line": (lesion([100, 200, 100, 300]), [], ["no-area"]),
    "beside the picture": (lesion([1100, 200, 1200, 300]), [], ["outside"]),
    "beside the slice": (lesion([0, 200, 50, 300]), [], ["outside"]),
    "over the edge": (lesion([500, 500, 1200, 1300]), [Box(0, 2, 49, 58)], ["clipped"]),
    "whole picture": (lesion([0, 0, 1000, 1000]), [Box(0, 2, 97, 114)], ["clipped"]),
    "twice": (f'{{"lesions": [{LESION}, {LESION}]}}', [PLACE], ["duplicate"]),
    "sure beyond measure": (lesion(EDGES, likelihood=95), [BARE], ["bad-likelihood"]),
    "sure in words": (lesion(EDGES, likelihood="high"), [BARE], ["bad-likelihood"]),
    "thinner than a voxel": (lesion([500, 500, 501, 501]), [Box(48, 57, 49, 58)], []),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_answer(kind: str) -> None:
    text, boxes, problems = CASES[kind]
    assert read_reply(text, VIEW) == Reading(tuple(boxes), tuple(problems))


def test_every_problem_has_a_case() -> None:
    named = {problem for _, _, problems in CASES.values() for problem in problems}
    assert named | {"too-long", "too-many", "copied"} == set(PROBLEMS)


def test_every_problem_is_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "detectors.md").read_text()
    assert [problem for problem in PROBLEMS if f"`{problem}`" not in text] == []


def test_pixels_of_the_picture() -> None:
    edges = [round(edge) for edge in VIEW.to_pixels(20, 30, 40, 60)]
    assert read_reply(lesion(edges), VIEW, coordinates="pixels").boxes == (BARE,)
    beyond = read_reply(lesion([500, 500, 600, 600]), VIEW, coordinates="pixels")
    assert beyond.problems == ("outside",)


def test_too_much_is_cut() -> None:
    many = [{"bbox_2d": [100 + 10 * k, 300, 200 + 10 * k, 400]} for k in range(MAX_BOXES + 5)]
    reading = read_reply(json.dumps({"lesions": many}), VIEW)
    assert len(reading.boxes) == MAX_BOXES
    assert reading.problems == ("too-many",)
    assert read_reply(GOOD + " " * 30_000 + "x", VIEW).problems == ("too-long",)


def test_what_the_server_says_counts() -> None:
    assert read_reply("No.", VIEW, refused=True).problems == ("refusal",)
    assert read_reply(GOOD, VIEW, cut=True) == Reading((PLACE,), ("truncated",))


NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=3), st.none(), st.booleans()
)
ENTRIES = st.one_of(
    st.fixed_dictionaries({"bbox_2d": st.lists(NUMBERS, max_size=6), "likelihood": NUMBERS}),
    st.lists(NUMBERS, max_size=5),
    NUMBERS,
)
ANSWERS = st.one_of(
    st.fixed_dictionaries({"lesions": st.lists(ENTRIES, max_size=5)}), st.lists(ENTRIES, max_size=5)
).map(json.dumps)
BROKEN = st.builds(
    lambda before, text, cut, after: before + text[: len(text) - cut] + after,
    st.text(max_size=20),
    ANSWERS,
    st.integers(0, 12),
    st.text(alphabet='[]{}"`,:0123456789 \\-eE.bxn', max_size=30),
)


@given(
    st.one_of(st.text(), ANSWERS, BROKEN),
    st.sampled_from([VIEW, View.of(Grid(1), 896), View.of(Grid(2), 224)]),
    st.sampled_from(["relative", "pixels"]),
)
@example('[{"bbox_2d": [-1e308, -1e308, 1e308, 1e308]}]', VIEW, "relative")
@example("\ud800 [1, 2, 3, 4]", VIEW, "relative")
def test_any_text_gives_boxes_inside_the_slice_or_none(
    text: str, view: View, coordinates: str
) -> None:
    reading = read_reply(text, view, coordinates=coordinates)
    assert set(reading.problems) <= set(PROBLEMS)
    assert len(set(reading.boxes)) == len(reading.boxes) <= MAX_BOXES
    for box in reading.boxes:
        assert 0 <= box.x0 < box.x1 <= view.shape[0]
        assert 0 <= box.y0 < box.y1 <= view.shape[1]
        assert box.score is None or 0 <= box.score <= 1


HOSTILE = (
    *("[" * 20_000, '{"a":' * 4_000, "[" + "1" * 15_000 + "]", "[{" * 10_000, "[1," * 6_000),
    *("{'a'" * 4_000 + "}", "{'a'" * 700 + "}", '["a' * 5_000 + "]", '{"' * 8_000 + "}]"),
    *("[{}" * 6_000, "{'a'}" * 3_000, "[x]" * 6_000),
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_costs_nothing(text: str) -> None:
    started = time.process_time()
    assert not read_reply(text, VIEW).boxes
    assert time.process_time() - started < 2


def test_the_prompt_names_the_signs_of_the_paper_and_has_a_digest() -> None:
    assert prompt_names() == ["expert-1"]
    prompt = read_prompt("expert-1", "relative")
    for sign in ("signal intensity", "Irregular boundaries", "oedema", "midline", "thousandths"):
        assert sign in prompt.user
    assert "{coordinates}" not in prompt.user
    pixels = read_prompt("expert-1", "pixels")
    assert "pixels of the picture" in pixels.user
    assert prompt.sha256 != pixels.sha256
    # A published prompt never changes: boxes are compared by this digest.
    assert prompt.sha256 == "484c3796ffa39bb314d86a1e0e00960e54858f8afab0c5d59acc719cd917485c"


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsystem: s\nuser: u\ncolour: red\n")
    with pytest.raises(InputError) as caught:
        read_prompt(str(path), "relative")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        *("user", "coordinates", "colour"),
    ]
    with pytest.raises(InputError, match="did you mean 'expert-1'"):
        read_prompt("expert1", "relative")
