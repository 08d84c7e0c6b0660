"""The detector openai against a server on loopback that decodes what it is sent."""

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.loopback_openai import Fault, LoopbackOpenAI, Raw, Said, running
from support.made_brain import made_brain

from ictmri.errors import InputError
from ictmri_baselines.localizer.boxes import Box, Tokens
from ictmri_baselines.localizer.detectors import (
    detector_settings,
    recorded,
)
from ictmri_baselines.localizer.vlm.journal import Answer, Journal
from ictmri_baselines.localizer.vlm.openai_server import ANSWER_SCHEMA, OpenAIChat
from ictmri_baselines.localizer.vlm.prompted import SlicesFailedError
from ictmri_baselines.localizer.vlm.qwen3_vl import QwenVL
from ictmri_baselines.localizer.vlm.tally import tally

PLACES = {z: Box(20 + z % 30, 40, 45 + z % 30, 70) for z in range(30, 36)}
BRAIN = made_brain(PLACES)
NOTHING = '{"lesions": []}'


def looked(picture: np.ndarray, before: int = 0) -> str:
    """Answer as a model would that sees perfectly: the bright box, in thousandths of the picture."""
    rows, columns = np.nonzero(picture > 150)
    if not len(rows):
        return NOTHING
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    box = [round(1000 * int(edge) / len(picture)) for edge in edges]
    return json.dumps({"lesions": [{"bbox_2d": box, "likelihood": 0.5}]})


@contextmanager
def served(say: Any = looked, **changes: Any) -> Iterator[tuple[LoopbackOpenAI, Any]]:
    options = {k: changes.pop(k) for k in list(changes) if k in OpenAIChat.model_fields}
    with running(LoopbackOpenAI(say, **changes)) as server:
        given = {"base_url": server.url, "model": "tiny"} | options
        yield server, OpenAIChat.model_validate(given)


def test_the_server_sees_the_slices_and_its_words_become_boxes() -> None:
    with served() as (server, settings):
        settings.prepare([])
        rows = settings.detector().detect(BRAIN)
    expected = {z: (Box(b.x0, b.y0, b.x1, b.y1, 0.5),) for z, b in PLACES.items()}
    assert {row.slice: row.boxes for row in rows} == expected
    assert {row.model for row in rows} == {"tiny"}
    assert {row.tokens for row in rows} == {Tokens(400, 20)}
    question = server.requests[0]
    assert question["temperature"] == 0
    assert question["max_tokens"] == 512
    form = question["response_format"]["json_schema"]["schema"]
    jsonschema.validate(json.loads(rows[0].reply), form)
    told = tally(rows)
    assert (told.slices, told.with_boxes, told.prompt_tokens) == (6, 6, 2400)
    assert told.cost(price_in=10.0, price_out=100.0) == pytest.approx((2400 * 10 + 120 * 100) / 1e6)


def test_no_question_holds_more_than_prompt_and_picture() -> None:
    with served() as (server, settings):
        settings.detector(case_id="ictmri-0007").detect(BRAIN)
    for body in server.requests:
        assert "ictmri-0007" not in json.dumps(body)
        assert set(body) == {"model", "messages", "temperature", "max_tokens", "response_format"}


def test_several_are_asked_at_once_but_not_more_than_allowed() -> None:
    with served(pause_s=0.15, concurrency=3) as (server, settings):
        settings.detector().detect(BRAIN)
    assert server.most_at_once == 3


def test_what_passes_is_tried_again_and_leaves_no_trace() -> None:
    def moody(picture: np.ndarray, before: int) -> Any:
        if before == 0:
            return Fault(503)
        if before == 1:
            return Fault(429, "slow down", {"Retry-After": "0.02"})
        return Fault(0) if before == 2 else looked(picture)

    with served() as (_, settings):
        expected = settings.detector().detect(BRAIN)
    with served(moody, retries=4) as (server, settings):
        assert settings.detector().detect(BRAIN) == expected
    assert server.asked == 4 * len(PLACES)


def test_what_does_not_pass_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    def half(picture: np.ndarray, before: int) -> Any:
        box = json.loads(looked(picture))["lesions"][0]["bbox_2d"]
        return Fault(500, "no luck") if box[0] % 2 and not mended else looked(picture)

    mended: list[bool] = []
    journal = tmp_path / "answers.jsonl"
    with served(half, retries=1) as (server, settings):
        with pytest.raises(SlicesFailedError, match=r"slice \d+: HTTP 500: .*no luck") as caught:
            settings.detector(journal=journal).detect(BRAIN)
        lost = len(caught.value.problems)
        assert 0 < lost < len(PLACES)
        assert len(journal.read_text().splitlines()) == len(PLACES) - lost
        mended.append(True)
        before = server.asked
        rows = settings.detector(journal=journal).detect(BRAIN)
        assert server.asked == before + lost
    assert len(rows) == len(PLACES)


def test_a_slow_server_is_named() -> None:
    with (
        served(pause_s=0.6, timeout_s=0.1, retries=0) as (_, settings),
        pytest.raises(InputError, match=r"slice 30: no answer within 0.1 s"),
    ):
        settings.detector().detect(BRAIN)


def test_a_server_that_is_gone_stops_the_run() -> None:
    with served() as (_, settings):
        pass
    settings = settings.model_copy(update={"retries": 0, "concurrency": 2})
    with pytest.raises(InputError, match="check that the server runs"):
        settings.prepare([])
    with pytest.raises(InputError, match="cannot be reached"):
        settings.detector().detect(BRAIN)


def test_a_server_without_schemas_is_asked_without() -> None:
    with served(takes_schema=False, concurrency=1) as (server, settings):
        rows = settings.detector().detect(BRAIN)
    assert all(row.boxes for row in rows)
    # Refused once; then nobody insists.
    assert server.asked == len(PLACES) + 1
    assert sum("response_format" in body for body in server.requests) == 1
    with served(structured=False) as (server, settings):
        settings.detector().detect(BRAIN)
    assert not any("response_format" in body for body in server.requests)


def test_a_schema_that_is_ignored_is_not_trusted() -> None:
    answers = iter(
        [
            "```json\n"
            + '{"lesions": [{"bbox_2d": [400, 400, 500, 500], "likelihood": 0.5}]}\n```',
            Said(
                '{"lesions": [{"bbox_2d": [400, 400, 500, 500], "likelihood": 0.5}, {"bb', "length"
            ),
            Said(None, refusal="Not this one."),
            "I'm sorry, but I can't provide a diagnosis.",
            '{"lesions": [{"bbox_2d": [500, 500, 400, 400], "likelihood": 7}]}',
            Said("half \ud800", "content_filter"),
            Said("Let me see", "length"),
        ]
    )
    with served(lambda *_: next(answers), concurrency=1) as (_, settings):
        rows = settings.detector().detect(made_brain(PLACES | {36: None}))
    assert rows[5].reply == "half ?"
    expected = [
        *(("fenced",), ("truncated",), ("refusal",), ("refusal",)),
        *(("swapped", "bad-likelihood"), ("refusal",), ("no-json", "truncated")),
    ]
    assert [row.problems for row in rows] == expected
    assert [len(row.boxes) for row in rows] == [1, 1, 0, 0, 1, 0, 0]
    assert tally(rows).problems == {
        **{"refusal": 3, "no-json": 1, "truncated": 2, "fenced": 1, "swapped": 1},
        "bad-likelihood": 1,
    }


def test_wrong_model_and_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(models=["qwen3-vl-8b"], model="qwen3-vl-4b") as (_, settings):
        with pytest.raises(InputError, match="did you mean 'qwen3-vl-8b'"):
            settings.prepare([])
        with pytest.raises(InputError, match="check --model"):
            settings.detector().detect(BRAIN)
    monkeypatch.delenv("TINY_KEY", raising=False)
    with served(key="secret", api_key_env="TINY_KEY") as (_, settings):
        with pytest.raises(InputError, match="TINY_KEY is not set"):
            settings.prepare([])
        monkeypatch.setenv("TINY_KEY", "wrong")
        with pytest.raises(InputError, match="--api-key-env") as caught:
            settings.model_copy(update={"retries": 1}).prepare([])
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv("TINY_KEY", "secret")
        settings.model_copy(update={"retries": 2}).prepare([])
        assert "secret" not in json.dumps(recorded(settings))
        assert "127.0.0.1" not in json.dumps(recorded(settings))


def test_a_server_without_a_list_of_models_is_used_anyway() -> None:
    with served(models=None) as (_, settings):
        settings.prepare([])
        assert len(settings.detector().detect(BRAIN)) == len(PLACES)


@pytest.mark.parametrize("every", [2, 3])
def test_slices_that_were_left_out_get_the_nearest_boxes(every: int) -> None:
    with served(every=every) as (server, settings):
        rows = settings.detector().detect(BRAIN)
    shown = [z for z in PLACES if z % every == 0]
    assert server.asked == len(shown)
    for row in rows:
        nearest = min(shown, key=lambda z: abs(z - row.slice))
        assert abs(nearest - row.slice) <= every // 2
        assert row.boxes[0].x0 == PLACES[nearest].x0
        assert (row.problems == ("copied",)) == (row.slice not in shown)
    slices = [row.slice for row in rows]
    assert slices == list(range(slices[0], slices[-1] + 1))


ONE = made_brain({30: PLACES[30]})


def chat(**changes: Any) -> bytes:
    """A completion, changed."""
    message = {"role": "assistant", "content": NOTHING}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "x", "choices": [choice], "model": "tiny"} | changes).encode()


def said(content: Any) -> bytes:
    return chat(choices=[{"message": {"content": content}, "finish_reason": "stop"}])


NO_ANSWERS = {
    "a page": (Raw(b"<!doctype html><p>Sign in", headers={"Content-Type": "text/html"}), "no JSON"),
    "nothing": (Raw(b""), "no JSON"),
    "half": (Raw(chat()[:40]), "no JSON"),
    "deep": (Raw(b"[" * 100_000), "nested too deep"),
    "deep inside": (Raw(chat(usage=1)[:-2] + b"[" * 100_000), "nested too deep"),
    "digits": (Raw(b'{"choices": ' + b"9" * 5000 + b"}"), "no JSON"),
    "a list": (Raw(b"[]"), "valid dictionary"),
    "no choices": (Raw(chat(choices=[])), "choices: "),
    "choices null": (Raw(chat(choices=None)), "choices: "),
    "a choice null": (Raw(chat(choices=[None])), "choices.0: "),
    "message null": (Raw(chat(choices=[{"message": None}])), "choices.0.message: "),
    "a number said": (Raw(said(7)), "choices.0.message.content"),
    "a picture said": (Raw(said([{"type": "image_url", "image_url": {}}])), "type 'image_url'"),
    "too much": (Raw(b" " * 65536, endless=True), "more than 4194304 bytes"),
    "packed": (
        Raw(gzip.compress(b" " * 10**7), headers={"Content-Encoding": "gzip"}), "is packed"
    ),
    "a byte now and then": (Raw(chat(), pause_s=0.04), "no answer within 0.4 s"),
    "a byte now and then, for ever": (
        Raw(b" ", pause_s=0.04, endless=True), "no answer within 0.4 s"
    ),
    "headers now and then": (
        Raw(b"x", pause_s=0.04, endless=True, in_headers=True), "no answer within 0.4 s"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_each_kind_of_reply_that_is_no_answer(kind: str, tmp_path: Path) -> None:
    raw, told = NO_ANSWERS[kind]
    slow = "within" in told
    journal = tmp_path / "answers.jsonl"
    with served(lambda *_: raw, retries=0, timeout_s=0.4 if slow else 20) as (_, settings):
        started = time.monotonic()
        with pytest.raises(SlicesFailedError, match="slice 30: ") as caught:
            settings.detector(journal=journal).detect(ONE)
        assert time.monotonic() - started < 15
    assert told in str(caught.value)
    assert not journal.exists()


@pytest.mark.parametrize("pause_s", [0.0, 0.04])
@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b'{"data": [null]}', b"[]"])
def test_a_list_of_models_that_is_none(body: bytes, pause_s: float) -> None:
    raw = Raw(body or b" ", pause_s=pause_s, endless=bool(pause_s))
    with (
        served(list_with=raw, retries=0, timeout_s=0.4 if pause_s else 20) as (_, settings),
        pytest.raises(InputError, match=r"no list of models|Request timed out"),
    ):
        settings.prepare([])


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": None, "completion_tokens": 3},
        {"prompt_tokens": "3", "completion_tokens": 3},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": 1e400, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": 10**30, "completion_tokens": 3},
        {"prompt_tokens": 3},
        *([], 7, "x"),
    ],
)
def test_a_count_that_is_none_costs_no_answer(usage: Any, tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    with served(reply_with={"usage": usage}) as (server, settings):
        rows = settings.detector(journal=journal).detect(ONE)
        assert rows[0].boxes
        assert rows[0].tokens is None
        assert Journal(journal).find(json.loads(journal.read_text())["question"])
    assert server.asked == 1


@pytest.mark.parametrize("model", [None, 7, ["x"], "", "x" * 500])
def test_a_model_that_does_not_say_who_it_is(model: Any) -> None:
    with served(reply_with={"model": model}) as (_, settings):
        assert settings.detector().detect(ONE)[0].model == "tiny"


def test_text_in_parts_is_put_together() -> None:
    text = looked(np.zeros((448, 448)))
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "[1, 2, 3, 4]"}]},
        *({"type": "text", "text": part} for part in (text[:9], text[9:])),
    ]
    with served(lambda *_: Raw(said(parts))) as (_, settings):
        (row,) = settings.detector().detect(ONE)
    assert row.reply == NOTHING


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_picture_goes_where_a_server_sends_it(status: int) -> None:
    with served() as (elsewhere, _):
        there = {"Location": f"{elsewhere.url}/chat/completions"}
        with (
            served(lambda *_: Raw(b"", status, there), retries=0) as (_, settings),
            pytest.raises(InputError, match=r"sends on to 127\.0\.0\.1:\d+"),
        ):
            settings.detector().detect(ONE)
        with (
            served(list_with=Raw(b"", status, there), retries=0) as (_, settings),
            pytest.raises(InputError, match="sends on to"),
        ):
            settings.prepare([])
        assert elsewhere.asked == 0


def test_coordinates_follow_from_the_family_of_the_model() -> None:
    def chosen(name: str, **changes: Any) -> str:
        kind = {"base_url": "http://x/v1", "model": name} | changes
        return OpenAIChat.model_validate(kind).coordinates

    for name in ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "my-qwen2.5-vl-72b-awq"):
        assert chosen(name) == "pixels"
        assert QwenVL(model=name).coordinates == "pixels"
        with pytest.raises(InputError, match=r"Qwen2\.5-VL gives no relative coordinates"):
            detector_settings("openai", base_url="http://x/v1", model=name, coordinates="relative")
    for name in ("Qwen/Qwen3-VL-8B-Instruct", "Qwen2-VL-2B", "tiny"):
        assert chosen(name) == "relative"
    assert chosen("tiny", coordinates="pixels") == "pixels"
    with pytest.raises(InputError, match="Qwen3-VL gives no pixels coordinates"):
        detector_settings("qwen3-vl", coordinates="pixels")


@pytest.mark.parametrize(
    ("said", "doubted"),
    [
        ({"id": "tiny", "owned_by": "llamacpp"}, True),
        ({"id": "tiny", "root": "Qwen3-VL-8B-Instruct-Q8_0.gguf"}, True),
        ({"id": "tiny", "owned_by": "vllm", "root": "Qwen/Qwen3-VL-8B-Instruct"}, False),
    ],
)
def test_a_server_that_is_known_to_misplace_boxes_is_named(
    said: dict[str, str], doubted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = Raw(json.dumps({"object": "list", "data": [said]}).encode())
    with served(list_with=listed) as (_, settings):
        settings.prepare([])
    assert ("llama.cpp/issues/17131" in capsys.readouterr().err) is doubted


def test_a_family_behind_another_name_is_found_out() -> None:
    real = "Qwen/Qwen2.5-VL-7B-Instruct"
    with served(roots={"tiny": real}) as (_, settings):
        with pytest.raises(InputError, match=r"'tiny' there is 'Qwen/Qwen2\.5-VL"):
            settings.prepare([])
        settings.model_copy(update={"coordinates": "pixels"}).prepare([])
    with (
        served(reply_with={"model": real}) as (_, settings),
        pytest.raises(InputError, match="--option coordinates=pixels"),
    ):
        settings.detector().detect(ONE)


GOOD = {
    "question": "a" * 64, "text": NOTHING, "model": "tiny", "tokens": [1, 2], "refused": False,
    "cut": False,
}  # fmt: skip
BAD_LINES = {
    "null counts": json.dumps(GOOD | {"tokens": [None, 1]}),
    "counts too many": json.dumps(GOOD | {"tokens": [1, 2, 3]}),
    "a text that is none": json.dumps(GOOD | {"text": 7}),
    "a key too much": json.dumps(GOOD | {"x": 1}),
    "a key missing": json.dumps({"question": "a" * 64}),
    "no digest": json.dumps(GOOD | {"question": "x"}),
    "deep": "[" * 100_000,
    "not text": "\udcff",
    "cut": json.dumps(GOOD)[:30],
    "nothing": "",
}


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_line_of_the_journal_that_is_damaged_is_set_aside(
    kind: str, end: str, tmp_path: Path
) -> None:
    path = tmp_path / "answers.journal"
    other = GOOD | {"question": "b" * 64}
    lines = [json.dumps(GOOD), BAD_LINES[kind], json.dumps(other)]
    path.write_bytes(("\n".join(lines) + end).encode("utf-8", "surrogateescape"))
    for _ in range(2):
        journal = Journal(path)
        assert (
            journal.find("a" * 64)
            == journal.find("b" * 64)
            == Answer(NOTHING, "tiny", Tokens(1, 2))
        )
        journal.keep("c" * 64, Answer("more"))
    assert path.read_bytes().count(b"\n") == 4
    aside = path.with_name("answers.journal.damaged")
    assert aside.read_bytes().rstrip(b"\n") == BAD_LINES[kind].encode("utf-8", "surrogateescape")
    assert [stat.S_IMODE(found.stat().st_mode) for found in (path, aside)] == [0o600] * 2


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_openai_detector import BRAIN, OpenAIChat
settings = OpenAIChat(base_url={url!r}, model="tiny", concurrency=1)
settings.detector(journal=Path({journal!r})).detect(BRAIN)
"""


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    with served(pause_s=0.2, concurrency=1) as (server, settings):
        here = Path(__file__).parent
        text = SCRIPT.format(tests=str(here), url=server.url, journal=str(journal))
        path = os.pathsep.join([str(here), *sys.path])
        child = subprocess.Popen(
            [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": path}
        )
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = journal.read_bytes().count(b"\n")
        time.sleep(0.3)
        before = server.asked
        rows = settings.detector(journal=journal).detect(BRAIN)
        assert server.asked - before == len(PLACES) - kept
    with served() as (_, settings):
        assert rows == settings.detector().detect(BRAIN)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ANSWER_SCHEMA)
