"""Model files that somebody else made: they choose among what is registered, and are checked before use."""

import json
import os
import pickle
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri_baselines.backbones import BACKBONES
from ictmri_baselines.diagnoser.checkpoint import (
    Description,
    digest_of_tensors,
    load_model,
    read_description,
    save_model,
)
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    TrainingReference,
    load_reference,
    save_reference,
)
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.diagnoser.training import WholeFiles
from ictmri_baselines.predict.run import open_models
from ictmri_benchmark.score.protocol import REPORT_SCHEMA

TINY = {
    "network": {"settings": {"width": 4, "depth": [1, 1]}},
    "view": {"of": "region", "edge": 12},
}
PAYLOAD = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from torch import nn

class Net(nn.Conv3d):
    def __init__(self, width=3):
        super().__init__(1, width, 4, 4)
"""


def saved(folder: Path, settings: dict[str, Any] = TINY, **changes: Any) -> Path:
    chosen = read_settings(settings)
    given = {
        **{"identity": "0" * 64, "settings": chosen.model_dump(mode="json"), "seed": 0},
        **{"n_train": 9, "n_inner": 0, "epoch": 1, "origin": {"fold": 0, "seed": 0}},
    }
    network = AdaptiveDiagnoser(chosen.network)
    return save_model(folder, network, Description(**(given | changes)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return saved(tmp_path / "run")


def facts(path: Path) -> dict[str, Any]:
    description = read_description(path)
    return {name: getattr(description, name) for name in description.__dataclass_fields__}


def rewritten(path: Path, text: str) -> Path:
    """Give a model another description."""
    save_file(load_file(path), path, metadata={"description": text})
    return path


def changed(path: Path, place: str, value: Any) -> Path:
    """Change one entry of a model's description, ``settings.view.edge`` for example."""
    whole = facts(path)
    *above, last = place.split(".")
    part = whole
    for key in above:
        part = part[key]
    part[last] = value
    return rewritten(path, json.dumps(whole))


@pytest.fixture
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that leaves a file behind when it is imported; the file's place."""
    (tmp_path / "somebodys_net.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "somebodys_net", raising=False)
    return tmp_path / "ran"


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


READERS: dict[str, Callable[[Path], Any]] = {
    "last.ckpt": WholeFiles().load_checkpoint,
    "model.safetensors": load_model,
    REFERENCE: lambda path: load_reference(path.parent, length=8),
}


def test_weights_that_were_changed_are_refused(model: Path) -> None:
    whole = bytearray(model.read_bytes())
    whole[-1] ^= 1  # of the last number, which stays a small one
    model.write_bytes(whole)
    with pytest.raises(InputError, match="its weights are not those that were written"):
        load_model(model)


def test_what_a_model_says_of_itself_changes_no_bit_of_its_answers(tmp_path: Path) -> None:
    """The longer it is, the further behind its weights lie in the file, aligned or not."""
    torch.manual_seed(0)
    image, prior = torch.randn(2, 1, 1, 24, 24, 24)
    answers = []
    for length in range(0, 64, 8):
        torch.manual_seed(0)
        path = saved(tmp_path / str(length), versions={"padding": "x" * length})
        with torch.inference_mode():
            answers.append(load_model(path)[0](image, prior).numpy().tobytes())
    assert len({*answers}) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_weights_of_any_type_have_a_digest(dtype: torch.dtype) -> None:
    of = {"a": torch.zeros(2, 3).to(dtype), "b": torch.tensor(1).to(dtype), "c": torch.empty(0)}
    other = of | {"b": torch.tensor(0).to(dtype)}
    assert len({digest_of_tensors(of), digest_of_tensors(other)}) == 2


def test_a_model_of_before_has_no_digest_and_is_taken(model: Path) -> None:
    load_model(changed(model, "tensors_sha256", ""))


@pytest.mark.parametrize("name", READERS)
def test_nothing_in_somebodys_folder_is_unpickled(name: str, tmp_path: Path) -> None:
    """Whoever goes on with a run, or looks at it, reads tensors and numbers alone."""
    path, ran = tmp_path / name, tmp_path / "ran"
    payload = tmp_path / "payload"
    torch.save({"state_dict": Bomb(ran), "epoch": 0}, payload)
    torch.load(payload, weights_only=False)
    ran.unlink()  # It works.
    payload.rename(path)
    with pytest.raises((InputError, pickle.UnpicklingError)):
        READERS[name](path)
    assert not ran.exists()


def test_a_state_removes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "fold").mkdir()
    victim, own = tmp_path / "victim", tmp_path / "fold" / "best.ckpt"
    for path in (victim, own):
        path.touch()
    files = WholeFiles(tmp_path / "fold")
    files.remove_checkpoint(tmp_path / "fold" / ".." / "victim")
    files.remove_checkpoint(own)
    assert victim.exists()
    assert not own.exists()


@pytest.mark.parametrize("name", ["somebodys_net:Net", "os:system", "somebodys_net", "a.b"])
def test_a_model_imports_nothing_that_it_names(model: Path, payload: Path, name: str) -> None:
    command = {"command": f"touch {payload}"} if name == "os:system" else {}
    changed(model, "settings.network", {"backbone": name, "settings": command})
    with pytest.raises(InputError, match=r"--backbone module:Class|no backbone"):
        load_model(model)
    with pytest.raises(InputError, match=r"--backbone module:Class|no backbone"):
        AdaptiveDiagnoser(read_settings({"network": {"backbone": name}}).network)
    assert not payload.exists()
    assert "somebodys_net" not in sys.modules


def test_whoever_runs_it_names_a_class_of_their_own(
    tmp_path: Path, payload: Path, model: Path
) -> None:
    named = {"backbone": "somebodys_net:Net", "settings": {"width": 5}}
    chosen = read_settings({"network": named})
    made = AdaptiveDiagnoser(chosen.network, own="somebodys_net:Net")
    settings = chosen.model_dump(mode="json")
    path = save_model(
        tmp_path / "own",
        made,
        Description(identity="1" * 64, settings=settings, seed=0, n_train=9, n_inner=0, epoch=1),
    )
    loaded, _ = load_model(path, own="somebodys_net:Net")
    assert torch.equal(loaded.classifier.weight, made.classifier.weight)
    # What the file says is not asked, were it another name.
    changed(path, "settings.network.backbone", "os:system")
    assert load_model(path, own="somebodys_net:Net")[0].backbone.channels == 5
    with pytest.raises(InputError, match="leave --backbone out"):
        load_model(model, own="somebodys_net:Net")


DEEP = "[" * 100_000
WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no description": (lambda p: save_file(load_file(p), p), "does not describe itself"),
    "no JSON": (lambda p: rewritten(p, "{"), "Invalid JSON"),
    "deep JSON": (lambda p: rewritten(p, DEEP), "recursion limit"),
    "deep JSON inside": (
        lambda p: rewritten(
            p, json.dumps(facts(p)).replace('"origin": {', f'"origin": {{"recipe": {DEEP}')
        ),
        "recursion limit",
    ),
    "a list": (lambda p: rewritten(p, "[]"), "object"),
    "a number of many digits": (
        lambda p: rewritten(p, json.dumps(facts(p)).replace('"seed": 0', f'"seed": {"9" * 5000}')),
        "out of range",
    ),
    "a key missing": (lambda p: rewritten(p, json.dumps({"seed": 0})), "identity: Field required"),
    "a key too much": (lambda p: changed(p, "colour", "red"), "colour: Unexpected"),
    "another schema": (lambda p: changed(p, "schema", "ictmri/model/2"), "schema: Input should be"),
    "classes in another order": (lambda p: changed(p, "classes", list(CLASSES[::-1])), "in this order"),
    "origin a list": (lambda p: changed(p, "origin", ["x"]), "origin: Input should be"),
    "origin with a key too much": (lambda p: changed(p, "origin.colour", 1), "origin.colour: "),
    "a fold that is no number": (lambda p: changed(p, "origin.fold", "x"), "origin.fold: "),
    "a fold below 0": (lambda p: changed(p, "origin.fold", -1), "origin.fold: "),
    "escapes": (lambda p: changed(p, "origin.cohort", "\x1b[2J"), "printable"),
    "settings null": (lambda p: changed(p, "settings", None), "settings: Input should be"),
    "network a list": (lambda p: changed(p, "settings.network", []), "network: Input should be"),
    "backbone a list": (lambda p: changed(p, "settings.network.backbone", ["x"]), "network.backbone"),
    "backbone unknown": (
        lambda p: changed(p, "settings.network.backbone", "densnet3d"), "did you mean 'densenet3d'"
    ),
    "a tap that is not there": (lambda p: changed(p, "settings.network.tap", "block9"), "no tap 'block9'"),
    "view unknown": (lambda p: changed(p, "settings.view.edge", 10**9), "view.edge"),
    "edge below 0": (lambda p: changed(p, "settings.view.edge", -8), "view.edge"),
    "learning rate infinite": (
        lambda p: changed(p, "settings.optimisation.learning_rate", float("inf")), "finite"
    ),
    "temperature 0": (lambda p: changed(p, "temperature", 0), "temperature: "),
    "temperature below 0": (lambda p: changed(p, "temperature", -1.0), "temperature: "),
    "temperature NaN": (lambda p: changed(p, "temperature", float("nan")), "temperature: "),
    "temperature infinite": (lambda p: changed(p, "temperature", float("inf")), "temperature: "),
    "temperature in words": (lambda p: changed(p, "temperature", "1"), "temperature: "),
    "epoch true": (lambda p: changed(p, "epoch", True), "epoch: "),
    "width 1e6": (lambda p: changed(p, "settings.network.settings", {"width": 10**6}), "width: "),
    "width 512": (
        lambda p: changed(p, "settings.network.settings", {"width": 512, "depth": [1, 1]}), "not F32 \\("
    ),
    "width below 0": (lambda p: changed(p, "settings.network.settings", {"width": -4}), "width: "),
    "depth of a million": (
        lambda p: changed(p, "settings.network.settings", {"width": 4, "depth": [10**6]}), "depth.0: "
    ),
    "a million blocks": (
        lambda p: changed(p, "settings.network.settings", {"width": 4, "depth": [1] * 10**6}), "depth: "
    ),
    "a window of 4,096": (
        lambda p: changed(
            p, "settings.network", {"backbone": "swin3d", "settings": {"window": 4096, "depth": [1]}}
        ),
        "no model of this package",
    ),
    "a flow of 2^17 channels": (
        lambda p: changed(
            p, "settings.network", {"backbone": "ae_flow", "settings": {"width": 256, "depth": 6}}
        ),
        "8192 channels",
    ),
    "weights NaN": (lambda p: weights(p, lambda x: x * float("nan")), "not finite"),
    "weights of another shape": (lambda p: weights(p, lambda x: x[..., None]), "classifier.weight is F32"),
    "weights of another type": (lambda p: weights(p, lambda x: x.double()), "is F64"),
    "a weight missing": (lambda p: weights(p, lambda _: None), "no tensor classifier.weight"),
    "a weight too much": (
        lambda p: save_file(
            {**load_file(p), "more": torch.ones(1)}, p, metadata={"description": json.dumps(facts(p))}
        ),
        "'more' too much",
    ),
    "torn": (lambda p: p.write_bytes(p.read_bytes()[:500]), "no model of this package"),
    "empty": (lambda p: p.write_bytes(b""), "no model of this package"),
    "a pickle": (lambda p: torch.save({"x": 1}, p), "no model of this package"),
    "a header of 2^40 bytes": (
        lambda p: p.write_bytes(struct.pack("<Q", 2**40) + b"{}"), "a header of 1099511627776 bytes"
    ),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "not a regular file"),
}  # fmt: skip


def weights(path: Path, change: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    """Change the classifier's weights."""
    text = json.dumps(facts(path))
    tensors = load_file(path)
    found = change(tensors.pop("classifier.weight"))
    if found is not None:
        tensors["classifier.weight"] = found
    save_file(tensors, path, metadata={"description": text})


@pytest.mark.parametrize("kind", WRONG)
def test_each_kind_of_model_that_is_none(model: Path, kind: str) -> None:
    spoil, said = WRONG[kind]
    spoil(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(InputError, match=said) as caught:
        load_model(model)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    assert all("\n" not in problem for problem in caught.value.problems)
    assert str(caught.value).count("\n") <= 22
    assert caught.value.next_step


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.pop("per_class"),
        lambda r: r.update(benchmark=[]),
        lambda r: r.update(probabilistic=[1]),
        lambda r: r["per_class"]["glioma"].update(support="x"),
        lambda r: r.update(per_class={name: {"support": 0} for name in CLASSES}),
    ],
)
def test_each_kind_of_report_that_is_none(model: Path, spoil: Callable[[Any], Any]) -> None:
    report = {
        "schema": REPORT_SCHEMA,
        "benchmark": {"cohort": "made", "synthetic": True},
        "n_cases": 4,
        "per_class": {name: {"support": 1} for name in CLASSES},
        "pooled": {"macro_f1": 0.5, "accuracy": 0.5},
        "probabilistic": None,
    }
    place = model.parent / "report.json"
    place.write_text(json.dumps(report))
    assert open_models(model.parent).calibration()["out_of_fold"]["cohort"] == "made"
    spoil(report)
    place.write_text(json.dumps(report))
    with pytest.raises(InputError, match="make it again: ictmri evaluate"):
        open_models(model.parent)


def test_a_run_names_each_model_that_is_none(model: Path) -> None:
    changed(model, "origin", ["x"])
    with pytest.raises(InputError, match="no model of this package: origin"):
        open_models(model.parent)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"backbone": name, "settings": dict(BACKBONES[name].small)}
    path = saved(tmp_path, {"network": small})
    torch.manual_seed(0)
    network = AdaptiveDiagnoser(DiagnoserConfig.model_validate(small)).eval()
    state = torch.get_rng_state()
    found, _ = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    weights = network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in found.state_dict().items())
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        # On AMD's CPUs MKL's last bits depend on where in memory the weights lie, unless it is pinned.
        torch.testing.assert_close(found(image, image.abs()), network(image, image.abs()))


def test_a_model_chooses_no_folder_of_weights(model: Path) -> None:
    """HD-BET 2's are unpickled by its library."""
    given = {"brain": "template", "hd_bet_2_weights": str(model.parent), "colour": "red"}
    changed(model, "origin.processing", given)
    assert open_models(model).processing.hd_bet_2_weights is None
    for wrong in ({"brain": "mine"}, "dark"):
        changed(model, "origin.processing", wrong)
        with pytest.raises(InputError, match="processing"):
            _ = open_models(model).processing


REFERENCES = {
    "another shape": {"axes": np.zeros((2, 7))},
    "not finite": {"mean": np.full(8, np.nan)},
    "variances of 0": {"variances": np.zeros(2)},
    "no distances": {"distances": np.zeros(0)},
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_each_kind_of_reference_that_is_none(tmp_path: Path, kind: str) -> None:
    good = {
        **{"mean": np.zeros(8), "axes": np.zeros((2, 8)), "variances": np.ones(2)},
        **{"floor": 1.0, "distances": np.ones(3)},
    }
    save_reference(tmp_path, TrainingReference(**good))
    load_reference(tmp_path, length=8)
    with pytest.raises(InputError, match="no reference of training cases"):
        load_reference(tmp_path, length=9)
    save_reference(tmp_path, TrainingReference(**(good | REFERENCES[kind])))
    with pytest.raises(InputError, match="no reference of training cases"):
        load_reference(tmp_path, length=8)
    (tmp_path / REFERENCE).write_bytes(struct.pack("<Q", 2**40))
    with pytest.raises(InputError, match="a header of"):
        load_reference(tmp_path, length=8)
