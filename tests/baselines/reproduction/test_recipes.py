import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.files import canonical_json, sha256_bytes
from ictmri.io.resources import shipped
from ictmri.io.yamlfile import own_table
from ictmri.manifest import FILE_NAME
from ictmri_baselines.backbones import BACKBONES
from ictmri_baselines.backbones.settings import DenseNet3D
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.fit import DiagnoserSettings, read_settings
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.methods import find_method
from ictmri_baselines.registry import METHODS, OFFLINE, RegisteredMethod, recipe_ids
from ictmri_baselines.reproduction.recipe import (
    PROFILES,
    Profile,
    Recipe,
    leaves,
    load_recipe,
    merged,
)
from ictmri_baselines.reproduction.reproduce import reproduce
from ictmri_baselines.reproduction.results import LOCALIZERS, VIEWS
from ictmri_benchmark import evaluate
from ictmri_benchmark.board.entry import load_entry
from ictmri_benchmark.board.page.sections import WORDS

TABLES = ["table2/1", "table2/2", "table2/3", "table2/4", "table2/5", "convnext3d"]
TABLES += [f"table3/{name}" for name in BACKBONES if name != "convnext3d"]


def settings(name: str, profile: str) -> DiagnoserSettings:
    return read_settings(load_recipe(name).settings_for(profile))


def test_every_row_of_the_tables_is_a_recipe() -> None:
    assert set(TABLES) <= set(recipe_ids())


def test_every_bar_of_the_boards_figure_is_a_recipe() -> None:
    parts = own_table(WORDS)["figure_recipes"]
    assert {recipe for titles in parts.values() for recipe in titles} <= set(recipe_ids())


def test_every_row_is_held_against_its_row_of_the_paper() -> None:
    printed = {row["slug"] for row in yaml.safe_load(shipped("reported.yaml").read_text())}
    claimed = {load_recipe(name).reported for name in TABLES}
    assert claimed == printed


def test_the_paper_profile_is_the_printed_training() -> None:
    """Sections 4.4 and 5 of arXiv:2602.21613, read by eye."""
    got = settings("table2/5", "paper")
    written_out = got.network.settings
    assert DenseNet3D(**written_out) == DenseNet3D()
    silent = got.network.model_copy(update={"settings": {}})
    assert got.model_copy(update={"network": silent}) == DiagnoserSettings()
    assert (got.optimisation.learning_rate, got.optimisation.weight_decay) == (5e-5, 1e-4)
    assert (got.optimisation.batch, got.optimisation.accumulate) == (2, 2)
    assert (got.optimisation.epochs, got.optimisation.period) == (250, 10)
    assert (got.optimisation.clip, got.optimisation.label_smoothing) == (2.0, 0.05)
    assert (got.network.dropout, got.network.backbone) == (0.2, "densenet3d")
    augmentation = got.augmentation
    assert (augmentation.flip_probability, augmentation.turn_probability) == (0.5, 0.5)
    assert (augmentation.noise_probability, augmentation.noise_sd) == (0.15, 0.01)
    assert (augmentation.gamma_probability, augmentation.gamma) == (0.15, (0.9, 1.1))


@pytest.mark.parametrize("profile", ["paper", "cpu", "smoke"])
def test_rows_of_a_table_differ_by_what_the_table_names_alone(profile: str) -> None:
    whole = settings("table2/5", profile)
    switches = {"localisation", "attention"}
    for row in range(1, 5):
        other = settings(f"table2/{row}", profile)
        update: dict[str, object] = {"network": whole.network}
        if (profile, row) == ("cpu", 1):
            # The raw volume has no prior to cut around: it is seen whole, in more voxels and for as long.
            assert (other.view.of, other.view.edge) == ("brain", 48)
            update |= {"view": whole.view, "augmentation": whole.augmentation}
        assert other.model_copy(update=update) == whole
        changed = {k for k, v in other.network if v != getattr(whole.network, k)}
        assert changed <= switches
    for name in BACKBONES:
        other = settings(name if name == "convnext3d" else f"table3/{name}", profile)
        assert other.network.backbone == name
        assert other.model_copy(update={"network": whole.network}) == whole


def test_the_ablation_switches_are_those_of_table_2() -> None:
    rows = [settings(f"table2/{row}", "paper").network for row in range(1, 6)]
    assert [(r.localisation, r.attention) for r in rows] == [
        ("none", False),
        ("coarse", False),
        ("coarse", True),
        ("refined", False),
        ("refined", True),
    ]


def test_what_the_paper_leaves_open_is_stated_with_a_reason() -> None:
    for name in TABLES:
        choices = load_recipe(name).choices
        assert {"view", "selection", "seeds", "initialisation"} <= set(choices)
        assert all(len(reason.split()) > 3 for reason in choices.values())


WITHOUT_TRAINING = {name for name in recipe_ids() if name.startswith("controls/")}
WITHOUT_TRAINING -= {"controls/random-encoder"}  # the linear probe's run, again
"""Recipes that run in seconds; of the networks the whole model stands for all, but in the long tests."""


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in {*WITHOUT_TRAINING, "table2/5"}
        else pytest.param(name, marks=pytest.mark.long)
        for name in recipe_ids()
        if not load_recipe(name).yours
    ],
)
def test_every_recipe_makes_a_valid_entry_and_the_same_predictions_twice(
    name: str, phantom: Cohort, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    done = reproduce(recipe, phantom, tmp_path / "run", seeds=[0], profile="smoke", jobs=1)
    entry = load_entry(done.out / "entry.yaml")
    assert entry.slug == recipe.slug
    assert entry.synthetic
    assert entry.compute["recipe_sha256"] == recipe.digest("smoke")
    cards = [card.read_text() for card in done.out.rglob("card.md")]
    assert ("parameters" in entry.compute) is bool(cards)
    assert all(f"{entry.compute['parameters']:,} parameters" in card for card in cards)
    again = evaluate(done.out / "predictions.csv", phantom.scored_folds(), synthetic=True)
    assert again.to_json() == (done.out / "report.json").read_text()
    fold = "folds/seed0-fold1.csv"
    reproduce(recipe, phantom, tmp_path / "again", folds=[1], seeds=[0], profile="smoke", jobs=1)
    assert (tmp_path / "again" / fold).read_bytes() == (done.out / fold).read_bytes()


def test_a_trained_model_says_where_it_comes_from(phantom: Cohort, tmp_path: Path) -> None:
    reproduce("table2/5", phantom, tmp_path / "run", folds=[2], seeds=[0], profile="smoke", jobs=1)
    folder = tmp_path / "run" / "folds" / "seed0-fold2"
    _, description = load_model(folder / "model.safetensors")
    assert description.origin["recipe"] == "table2/5"
    assert description.origin["fold"] == 2
    assert description.origin["synthetic"] is True
    assert "SYNTHETIC" in (folder / "card.md").read_text()
    assert list(folder.glob("log/part-*/metrics.csv"))


def test_settings_are_merged_mapping_by_mapping() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 2}
    assert merged(below, {"a": {"c": [3]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [3]},
        "d": {"e": 1},
    }
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 2}


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_recipe_without_a_detector_has_the_digest_that_it_had(profile: Profile) -> None:
    """Runs of before there was a choice can be gone on with; a detector makes it another recipe."""
    for base, name in LOCALIZERS:
        recipe, other = load_recipe(base), load_recipe(name)
        known = [recipe.method, recipe.shuffle_labels, recipe.settings_for(profile)]
        assert recipe.digest(profile) == sha256_bytes(canonical_json(known).encode())
        assert other.digest(profile) != recipe.digest(profile)
        assert other.model_dump(exclude={"id", "name", "summary", "detector"}) == recipe.model_dump(
            exclude={"id", "name", "summary", "detector"}
        )


def test_shipped_recipes_name_detectors_that_need_nothing() -> None:
    named = {name: load_recipe(name).detector for name in recipe_ids()}
    assert {name: found for name, found in named.items() if found} == {
        name: "saliency" for _, name in LOCALIZERS
    }
    for name in OFFLINE:
        assert detector_settings(name).detector()


def test_a_recipe_of_ones_own_says_what_is_different(tmp_path: Path) -> None:
    text = "extends: table2/5\nname: Mine\nsettings: {network: {tap: block3}}\n"
    mine: Recipe = load_recipe(write(tmp_path, text))
    assert mine.id == "mine"
    got = read_settings(mine.settings_for("paper"))
    assert got.network.tap == "block3"
    assert got.optimisation == DiagnoserSettings().optimisation


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: table2/9\n", "not found"),
        ("extends: table2/5\nsettigns: {}\n", "settigns"),
        ("- a\n", "not a mapping"),
        ("extends: table2/5\nseeds: []\n", "seeds: .*at least 1"),
        ("extends: table2/5\nseeds: [0, 0]\n", "seeds: .*twice"),
        ("extends: table2/5\nseeds: [-1]\n", "seeds.*greater than or equal to 0"),
        (
            "extends: table2/5\ndetector: salience\n",
            "no detector 'salience'; did you mean 'saliency'",
        ),
        (
            "extends: table2/5\ndetector: openai\n",
            "openai needs a server, .*take one of synthetic, sal",
        ),
        ("extends: table2/5\ndetector: masks\n", "masks needs a server, weights or a file"),
        ("extends: controls/majority\ndetector: saliency\n", "the method looks at no prior"),
        ("extends: table2/1\ndetector: synthetic\n", "synthetic, and the method looks at no prior"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_recipe(write(tmp_path, text))


def test_a_file_whose_name_is_no_name_of_an_entry_is_refused(tmp_path: Path) -> None:
    for name in ("My recipe.yaml", "Ü.yaml", f"{'x' * 99}.yaml"):
        (tmp_path / name).write_text("extends: table2/5\n")
        with pytest.raises(InputError, match="rename the file"):
            load_recipe(str(tmp_path / name))


def test_wrong_settings_stop_a_run_before_it_begins(phantom: Cohort, tmp_path: Path) -> None:
    text = "extends: table2/5\nsettings: {optimisation: {clip: 0}, view: {of: head}}\n"
    with pytest.raises(InputError) as caught:
        reproduce(write(tmp_path, text), phantom, tmp_path / "run", profile="smoke", jobs=1)
    assert "optimisation.clip" in str(caught.value)
    assert "view.of" in str(caught.value)
    assert not (tmp_path / "run").exists()


# Which of several words wins


def chain(name: str) -> list[dict[str, Any]]:
    """Return the contents of a recipe's files, the one that is extended first."""
    content = yaml.safe_load((shipped("recipes") / f"{name}.yaml").read_text())
    parent = content.get("extends")
    return [*([] if parent is None else chain(parent)), content]


@pytest.mark.parametrize("profile", ["cpu", "paper"])
@pytest.mark.parametrize(
    ("pair", "differ"),
    zip(
        VIEWS,
        [
            {"view.edge", "view.spacing_mm"},  # the same 192 mm
            {"view.edge"},
            {"view.of", "network.localisation", "network.without_attention"},
            {"network.without_attention"},
        ],
        strict=True,
    ),
)
def test_rows_of_views_differ_in_one_thing_from_the_one_before(
    pair: tuple[str, str], differ: set[str], profile: Profile
) -> None:
    one, other = (leaves(settings(name, profile).model_dump()) for name in pair)
    assert {name for name in {**one, **other} if one.get(name) != other.get(name)} == differ
    assert not settings(pair[0], profile).network.masks_input


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_stands_above_all_settings_of_the_recipes_that_ship(profile: Profile) -> None:
    for name in recipe_ids():
        expected: dict[str, Any] = {}
        for content in chain(name):
            expected = merged(expected, content.get("settings", {}))
        for content in chain(name):
            expected = merged(expected, content.get("profiles", {}).get(profile, {}))
        assert canonical_json(load_recipe(name).settings_for(profile)) == canonical_json(expected)


def other(value: Any, kind: Any) -> Any:
    """Return a value that a setting may have and has not."""
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1
    if choices := [word for word in get_args(kind) if isinstance(word, str) and word != value]:
        return choices[0]
    if isinstance(value, tuple):
        return [round(one + 0.01, 3) for one in value]
    return value + 1 if isinstance(value, int) else round(value / 2 + 0.01, 4)


def every_leaf() -> list[tuple[str, str, Any]]:
    """Return part, name and another value of every setting."""
    base = settings("table2/5", "cpu")
    special = {"backbone": "vit3d", "settings": {"width": 7}, "tap": "block3"}
    return [
        (part, name, special.get(name) or other(getattr(model, name), field.annotation))
        for part, model in base
        for name, field in type(model).model_fields.items()
    ]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("base", ["table2/5", "light/virtual-biopsy"])
def test_every_setting_of_a_recipe_of_ones_own_is_honoured(
    base: str, profile: Profile, tmp_path: Path
) -> None:
    leaves_ = every_leaf()
    assert len(leaves_) > 35
    for part, name, value in leaves_:
        text = yaml.safe_dump({"extends": base, "settings": {part: {name: value}}})
        mine = load_recipe(write(tmp_path, text))
        found = mine.settings_for(profile)[part][name]
        assert found == value if not isinstance(value, dict) else value.items() <= found.items()


def test_a_profile_of_ones_own_stands_above_ones_settings(tmp_path: Path) -> None:
    text = """
extends: table2/5
settings: {optimisation: {epochs: 3, batch: 5}}
profiles: {smoke: {optimisation: {epochs: 2}}}
"""
    mine = load_recipe(write(tmp_path, text))
    for profile, epochs in (("cpu", 3), ("paper", 3), ("smoke", 2)):
        chosen = mine.settings_for(profile)["optimisation"]
        assert (chosen["epochs"], chosen["batch"]) == (epochs, 5)
    assert mine.overruled("cpu") == [
        "optimisation.epochs is 3 as the recipe says; the profile cpu of what it extends says 20",
        "optimisation.batch is 5 as the recipe says; the profile cpu of what it extends says 8",
    ]
    assert (
        "optimisation.epochs is 2 as the profile smoke of the recipe says; its settings say 3"
        in (mine.overruled("smoke"))
    )


def test_the_processing_that_a_recipe_names_is_that_of_every_profile(tmp_path: Path) -> None:
    for said in ("light", "paper"):
        mine = load_recipe(write(tmp_path, f"extends: table2/5\nprocessing: {said}\n"))
        assert {mine.processing_for(profile) for profile in PROFILES} == {said}
    silent = load_recipe("table2/5")
    assert [silent.processing_for(profile) for profile in PROFILES] == ["light", "light", "paper"]


PAYLOAD = """
import json
from pathlib import Path
Path(__file__).with_name("ran").touch()
def method(train, labels, test, *, seed, **settings): ...
"""
MADE_UP = """
import numpy as np
def method(train, labels, test, *, seed, share):
    return np.full((len(test), 4), [share, 1 - share, 0, 0])
"""
CODE = {
    "a method": "extends: controls/majority\nmethod: somebodys:method\n",
    "a backbone": "extends: table2/5\nsettings: {network: {backbone: 'somebodys:method'}}\n",
    "a backbone of a profile": (
        "extends: table2/5\nprofiles: {smoke: {network: {backbone: 'somebodys:method'}}}\n"
    ),
}


@pytest.mark.parametrize("kind", CODE)
def test_a_recipe_says_what_it_imports_and_reading_it_imports_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = load_recipe(write(tmp_path, CODE[kind]))
    assert recipe.imports("smoke") == ["somebodys:method"]
    for name in ("run.json", "entry.yaml", "model.safetensors", FILE_NAME):
        folder = tmp_path / f"with {name}" / "recipes"
        folder.mkdir(parents=True)
        (folder.parent / name).touch()
        with pytest.raises(InputError, match="imports somebodys:method, and lies with"):
            load_recipe(write(folder, CODE[kind]))
    assert not (tmp_path / "ran").exists()


def test_shipped_recipes_import_nothing_else() -> None:
    assert not [name for name in recipe_ids() if load_recipe(name).imports("paper")]
    assert {load_recipe(name).method for name in recipe_ids()} == set(METHODS)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("majorty", r"did you mean 'majority'.* take one of majority, .*, or module:function"),
        ("ictmri_baselines.controls.rules:majority", "no name of a method; .* as majority"),
        ("ictmri_baselines.cases:region", "no name of a method; take one of majority, "),
        ("a b:c", "no method 'a b:c'"),
        ("os:", "no method 'os:'"),
    ],
)
def test_a_method_that_no_registry_has_is_refused_by_name(
    method: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"method: .*{told}"):
        load_recipe(write(tmp_path, f"extends: controls/majority\nmethod: '{method}'\n"))


def test_a_registered_method_is_one_row(
    tmp_path: Path, raw_phantom: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_up.py").write_text(MADE_UP)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write(tmp_path, "extends: controls/majority\nmethod: made_up\nsettings: {share: 0.5}\n")
    with pytest.raises(InputError, match="no method 'made_up'"):
        load_recipe(path)
    monkeypatch.setitem(METHODS, "made_up", RegisteredMethod("made_up:method", ("torch",)))
    recipe = load_recipe(path)
    assert not recipe.imports("cpu")
    # In this process: a worker would not know the row.
    done = reproduce(recipe, raw_phantom, tmp_path / "run", profile="smoke", jobs=1)
    assert done.report is not None
    assert "torch" in load_entry(done.out / "entry.yaml").compute
    assert json.loads((done.out / "run.json").read_text())["method"] == "made_up"
    monkeypatch.setitem(METHODS, "made_up", RegisteredMethod("elsewhere:method"))
    assert load_recipe(path).digest("cpu") == recipe.digest("cpu"), "a module may move"
    with pytest.raises(InputError, match=r"take one of .*, made_up, or"):
        load_recipe(write(tmp_path, "extends: controls/majority\nmethod: other\n"))


@pytest.mark.parametrize("path", ["somebodys:no", "no_such:x", "os:system", "os:sep", "broken:x"])
def test_a_method_that_is_none(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys.py").write_text(PAYLOAD)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=f"method {path}"):
        find_method(path)


@pytest.mark.parametrize("settings", [{"strenght": 1.0}, {}])
def test_settings_that_a_method_does_not_take(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"argument.*strength"):
        find_method("demographics", settings)
