"""The detector openai against a server on loopback that decodes what it is sent."""

import json
import os
import signal
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
from loopback_openai import Fault, LoopbackOpenAI, Said, running
from made_brain import made_brain

from ictmri.errors import InputError
from ictmri_baselines.localizer.boxes import Box, Tokens
from ictmri_baselines.localizer.detectors import make_detector, prepare, recorded
from ictmri_baselines.localizer.openai_server import ANSWER_SCHEMA
from ictmri_baselines.localizer.options import OpenAIChat
from ictmri_baselines.localizer.prompted import SlicesFailedError
from ictmri_baselines.localizer.tally import tally

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
        prepare(settings, [])
        rows = make_detector(settings).detect(BRAIN)
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
        make_detector(settings, case_id="ictmri-0007").detect(BRAIN)
    for body in server.requests:
        assert "ictmri-0007" not in json.dumps(body)
        assert set(body) == {"model", "messages", "temperature", "max_tokens", "response_format"}


def test_several_are_asked_at_once_but_not_more_than_allowed() -> None:
    with served(pause_s=0.15, concurrency=3) as (server, settings):
        make_detector(settings).detect(BRAIN)
    assert server.most_at_once == 3


def test_what_passes_is_tried_again_and_leaves_no_trace() -> None:
    def moody(picture: np.ndarray, before: int) -> Any:
        if before == 0:
            return Fault(503)
        if before == 1:
            return Fault(429, "slow down", {"Retry-After": "0.02"})
        return Fault(0) if before == 2 else looked(picture)

    with served() as (_, settings):
        expected = make_detector(settings).detect(BRAIN)
    with served(moody, retries=4) as (server, settings):
        assert make_detector(settings).detect(BRAIN) == expected
    assert server.asked == 4 * len(PLACES)


def test_what_does_not_pass_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    def half(picture: np.ndarray, before: int) -> Any:
        box = json.loads(looked(picture))["lesions"][0]["bbox_2d"]
        return Fault(500, "no luck") if box[0] % 2 and not mended else looked(picture)

    mended: list[bool] = []
    journal = tmp_path / "answers.jsonl"
    with served(half, retries=1) as (server, settings):
        with pytest.raises(SlicesFailedError, match=r"slice \d+: HTTP 500: .*no luck") as caught:
            make_detector(settings, journal=journal).detect(BRAIN)
        lost = len(caught.value.problems)
        assert 0 < lost < len(PLACES)
        assert len(journal.read_text().splitlines()) == len(PLACES) - lost
        mended.append(True)
        before = server.asked
        rows = make_detector(settings, journal=journal).detect(BRAIN)
        assert server.asked == before + lost
    assert len(rows) == len(PLACES)


def test_a_slow_server_is_named() -> None:
    with (
        served(pause_s=0.6, timeout_s=0.1, retries=0) as (_, settings),
        pytest.raises(InputError, match=r"slice 30: no answer within 0.1 s"),
    ):
        make_detector(settings).detect(BRAIN)


def test_a_server_that_is_gone_stops_the_run() -> None:
    with served() as (_, settings):
        pass
    settings = settings.model_copy(update={"retries": 0, "concurrency": 2})
    with pytest.raises(InputError, match="check that the server runs"):
        prepare(settings, [])
    with pytest.raises(InputError, match="cannot be reached"):
        make_detector(settings).detect(BRAIN)


def test_a_server_without_schemas_is_asked_without() -> None:
    with served(takes_schema=False, concurrency=1) as (server, settings):
        rows = make_detector(settings).detect(BRAIN)
    assert all(row.boxes for row in rows)
    # Refused once; then nobody insists.
    assert server.asked == len(PLACES) + 1
    assert sum("response_format" in body for body in server.requests) == 1
    with served(structured=False) as (server, settings):
        make_detector(settings).detect(BRAIN)
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
        rows = make_detector(settings).detect(made_brain(PLACES | {36: None}))
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
            prepare(settings, [])
        with pytest.raises(InputError, match="check --model"):
            make_detector(settings).detect(BRAIN)
    monkeypatch.delenv("TINY_KEY", raising=False)
    with served(key="secret", api_key_env="TINY_KEY") as (_, settings):
        with pytest.raises(InputError, match="TINY_KEY is not set"):
            prepare(settings, [])
        monkeypatch.setenv("TINY_KEY", "wrong")
        with pytest.raises(InputError, match="--api-key-env") as caught:
            prepare(settings.model_copy(update={"retries": 1}), [])
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv("TINY_KEY", "secret")
        prepare(settings.model_copy(update={"retries": 2}), [])
        assert "secret" not in json.dumps(recorded(settings))
        assert "127.0.0.1" not in json.dumps(recorded(settings))


def test_a_server_without_a_list_of_models_is_used_anyway() -> None:
    with served(models=None) as (_, settings):
        prepare(settings, [])
        assert len(make_detector(settings).detect(BRAIN)) == len(PLACES)


@pytest.mark.parametrize("every", [2, 3])
def test_slices_that_were_left_out_get_the_nearest_boxes(every: int) -> None:
    with served(every=every) as (server, settings):
        rows = make_detector(settings).detect(BRAIN)
    shown = [z for z in PLACES if z % every == 0]
    assert server.asked == len(shown)
    for row in rows:
        nearest = min(shown, key=lambda z: abs(z - row.slice))
        assert abs(nearest - row.slice) <= every // 2
        assert row.boxes[0].x0 == PLACES[nearest].x0
        assert (row.problems == ("copied",)) == (row.slice not in shown)
    slices = [row.slice for row in rows]
    assert slices == list(range(slices[0], slices[-1] + 1))


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_openai_detector import BRAIN, OpenAIChat, make_detector
settings = OpenAIChat(base_url={url!r}, model="tiny", concurrency=1)
make_detector(settings, journal=Path({journal!r})).detect(BRAIN)
"""


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    with served(pause_s=0.2, concurrency=1) as (server, settings):
        here = Path(__file__).parent
        text = SCRIPT.format(tests=str(here), url=server.url, journal=str(journal))
        path = os.pathsep.join([str(here), str(here.parent)])
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
        rows = make_detector(settings, journal=journal).detect(BRAIN)
        assert server.asked - before == len(PLACES) - kept
    with served() as (_, settings):
        assert rows == make_detector(settings).detect(BRAIN)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ANSWER_SCHEMA)
