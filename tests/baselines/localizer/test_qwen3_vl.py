"""The detector qwen3-vl with the real classes of transformers, on a model that was taught three answers."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.made_brain import made_brain
from support.tiny_qwen import PIXELS, make_tiny_qwen, teach

from ictmri.errors import InputError
from ictmri_baselines.localizer.boxes import Box
from ictmri_baselines.localizer.detectors import recorded
from ictmri_baselines.localizer.vlm import qwen3_vl
from ictmri_baselines.localizer.vlm.journal import Answer
from ictmri_baselines.localizer.vlm.prompts import Prompt, read_prompt
from ictmri_baselines.localizer.vlm.qwen3_vl import QwenVL
from ictmri_baselines.localizer.vlm.slices import Picture, pictures

pytestmark = pytest.mark.slow  # the model is taught first

RIGHT, LEFT = Box(60, 50, 75, 64, 0.9), Box(22, 50, 37, 64, 0.8)
BRAIN = made_brain({30: None, 31: RIGHT, 32: LEFT})
PROMPT = """
name: where
system: radiologist
user: Where? {coordinates}
coordinates: {relative: in thousandths, pixels: in pixels}
"""


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("prompt") / "where.yaml"
    path.write_text(PROMPT)
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, prompt: str) -> Path:
    """A tiny Qwen3-VL that names the bright box of the three slices of ``BRAIN``."""
    folder = make_tiny_qwen(tmp_path_factory.mktemp("weights") / "tiny-qwen")
    slices = list(pictures(BRAIN, pixels=PIXELS))
    said = ['{"lesions": []}']
    for shown, box in zip(slices[1:], (RIGHT, LEFT), strict=True):
        edges = shown.view.to_pixels(box.x0, box.y0, box.x1, box.y1)
        corners = [round(edge * 1000 / PIXELS) for edge in edges]
        said.append(f'{{"lesions": [{{"bbox_2d": {corners}, "likelihood": {box.score}}}]}}')
    teach(folder, read_prompt(prompt, "relative"), [shown.picture for shown in slices], said)
    return folder


@pytest.fixture
def settings(weights: Path, prompt: str) -> Callable[..., QwenVL]:
    def made(**changes: object) -> QwenVL:
        given = {
            "model": str(weights),
            "prompt": prompt,
            "pixels": PIXELS,
            "dtype": "float32",
            "device": "cpu",
            "max_new_tokens": 100,
        }
        return QwenVL.model_validate(given | changes)

    return made


def test_it_sees_the_picture_and_its_words_become_boxes(settings: Callable[..., QwenVL]) -> None:
    rows = settings().detector().detect(BRAIN)
    assert [(row.slice, row.boxes) for row in rows] == [(30, ()), (31, (RIGHT,)), (32, (LEFT,))]
    assert [row.problems for row in rows] == [(), (), ()]
    assert rows[0].reply == '{"lesions": []}'
    assert all(row.model.startswith("tiny-qwen@") for row in rows)
    written = [row.tokens.completion for row in rows]
    assert written == [len(row.reply) + 1 for row in rows]  # a byte a token, and the end
    # 224 x 224 pixels are 7 x 7 tokens, whatever the processor's own budget is.
    texts = sum(map(len, ("system\nradiologist\n", "user\nWhere? in thousandths\n", "assistant\n")))
    assert {row.tokens.prompt for row in rows} == {49 + 2 + 5 + texts}


def test_batches_change_nothing_and_a_second_run_neither(settings: Callable[..., QwenVL]) -> None:
    """The three answers differ in length, so that a batch pads the shortest one."""
    runs = [settings(batch_size=size).detector().detect(BRAIN) for size in (1, 2, 3, 3)]
    assert all(run == runs[0] for run in runs)


def test_an_answer_that_is_cut_says_so(settings: Callable[..., QwenVL]) -> None:
    rows = settings(max_new_tokens=30).detector().detect(BRAIN)
    assert [row.tokens.completion for row in rows] == [16, 30, 30]
    assert [row.problems for row in rows] == [(), ("truncated",), ("truncated",)]
    assert not any(row.boxes for row in rows)


@pytest.mark.parametrize(("lost", "rest"), [(1, 1), (20, 2)], ids=["its end", "more"])
def test_a_killed_run_asks_only_for_the_rest(
    settings: Callable[..., QwenVL],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
    rest: int,
) -> None:
    whole = settings().detector().detect(BRAIN)
    journal = tmp_path / "answers.jsonl"
    settings().detector(journal=journal).detect(BRAIN)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1][:-lost])
    asked: list[int] = []
    honest = qwen3_vl.QwenModel._answers

    def counting(
        self: qwen3_vl.QwenModel, shown: Sequence[Picture], prompt: Prompt
    ) -> list[Answer]:
        asked.append(len(shown))
        return honest(self, shown, prompt)

    monkeypatch.setattr(qwen3_vl.QwenModel, "_answers", counting)
    fresh = settings(device="cpu", batch_size=4)  # other settings, so another object
    assert fresh.detector(journal=journal).detect(BRAIN) == whole
    assert asked == [rest]
    assert journal.read_bytes() == b"".join(lines)


def test_what_is_recorded_holds_no_path(settings: Callable[..., QwenVL], weights: Path) -> None:
    facts = recorded(settings())
    assert str(weights.parent) not in str(facts)
    assert facts["model"].startswith("tiny-qwen@")
    assert set(facts) == {
        *("detector", "detector_version", "prompt", "prompt_sha256", "model", "coordinates"),
        *("pixels", "every", "max_new_tokens", "dtype"),
    }


def test_other_weights_have_another_name(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / weights.name
    shutil.copytree(weights, other)
    assert qwen3_vl.published_name(str(other)) == qwen3_vl.published_name(str(weights))
    content = bytearray((other / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (other / "model.safetensors").write_bytes(content)
    assert qwen3_vl.published_name(str(other)) != qwen3_vl.published_name(str(weights))
    assert qwen3_vl.published_name("Qwen/X", "abc") == "Qwen/X@abc"


def test_weights_that_are_not_there(settings: Callable[..., QwenVL], tmp_path: Path) -> None:
    """Offline, as in a hospital: the Hub is never reached in tests."""
    with pytest.raises(InputError, match="hf download Qwen/Qwen3-VL-8B-Instruct"):
        settings(model="Qwen/Qwen3-VL-8B-Instruct").prepare([])
    with pytest.raises(InputError, match="no weights"):
        settings(model=str(tmp_path)).prepare([])


def test_weights_that_are_cut_off(
    settings: Callable[..., QwenVL], weights: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(weights, cut)
    content = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="no weights"):
        settings(model=str(cut)).prepare([])


def test_coordinates_must_be_those_of_the_family(settings: Callable[..., QwenVL]) -> None:
    with pytest.raises(InputError, match="--option coordinates=relative"):
        settings(coordinates="pixels").prepare([])
    with pytest.raises(InputError, match="--option coordinates=pixels"):
        qwen3_vl._check_family(settings(), "qwen2_5_vl")


PAYLOAD = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


@pytest.mark.parametrize("family", ["qwen3_vl", "somebodys", "llama"])
def test_weights_bring_no_code_with_them(family: str, tmp_path: Path) -> None:
    named = {"AutoConfig": "net.Config", "AutoModelForImageTextToText": "net.Model"}
    config = {"model_type": family, "auto_map": named, "attn_implementation": "somebody/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "net.py").write_text(PAYLOAD)
    with pytest.raises(InputError, match=r"no weights|are none of"):
        QwenVL(model=str(tmp_path), device="cpu").prepare([])
    assert not list(tmp_path.rglob("ran"))


def test_a_device_that_is_not_there(settings: Callable[..., QwenVL]) -> None:
    with pytest.raises(InputError, match="--option device=cpu"):
        settings(device="cuda:7").prepare([])


def test_memory_that_does_not_suffice_says_what_to_do(settings: Callable[..., QwenVL]) -> None:
    import torch

    with (
        pytest.raises(
            InputError, match="--option batch_size=4; slices that were answered are kept"
        ),
        qwen3_vl._memory_told(settings(batch_size=8)),
    ):
        torch.empty(10**15)  # a real refusal of the allocator
    with (
        pytest.raises(InputError, match="Qwen3-VL-2B"),
        qwen3_vl._memory_told(settings(batch_size=1)),
    ):
        torch.empty(10**15)


@pytest.fixture
def broken_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "torchvision"
    package.mkdir()
    text = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (package / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    sys.modules.pop("torchvision", None)


def test_a_torchvision_that_does_not_fit_is_named(
    settings: Callable[..., QwenVL], broken_torchvision: Path
) -> None:
    with (
        pytest.raises(InputError, match="pip uninstall torchvision"),
        qwen3_vl._told(settings()),
    ):
        import torchvision  # noqa: F401


def test_the_model_is_given_what_it_was_trained_on(settings: Callable[..., QwenVL]) -> None:
    """Against the definition: 16 x 16 patches of RGB in [-1, 1], twice in time, in blocks of 2 x 2."""
    loaded = qwen3_vl._load(settings())
    picture = np.random.default_rng(0).integers(0, 256, (PIXELS, PIXELS)).astype(np.uint8)
    inputs = qwen3_vl.inputs_for(loaded, [picture], read_prompt(settings().prompt, "relative"))
    assert inputs["image_grid_thw"].tolist() == [[1, 14, 14]]
    patches = inputs["pixel_values"].numpy().reshape(7, 7, 2, 2, 3, 2, 16, 16)
    upright = patches.transpose(4, 5, 0, 2, 6, 1, 3, 7).reshape(3, 2, PIXELS, PIXELS)
    expected = np.broadcast_to(picture / 127.5 - 1, upright.shape)
    np.testing.assert_allclose(upright, expected, atol=1e-5)
    assert inputs["mm_token_type_ids"].sum() == 49
