"""Models that leave the machine: what goes out, what stays, and what comes back from the Hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import pytest
import yaml
from safetensors.torch import load_file, safe_open, save_file
from support.commandline import COMMAND
from support.commandline import run as command
from support.loopback_hub import LoopbackHub

from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri_baselines.diagnoser.checkpoint import MODEL, load_model, save_model
from ictmri_baselines.diagnoser.out_of_distribution import REFERENCE
from ictmri_baselines.predict.release import make_model_release, release_path
from ictmri_baselines.predict.run import SCORES, open_models
from ictmri_benchmark.score.metrics import METRICS

REPO = "clinic/biopsy"
NAMES = ("quillfeather", "19310203", "sanatorium", "clinic-0007")
"""A name, a date, a place and a case, as they may lie about in a run's files."""


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def patients(run: Path, *, small: int | None = None) -> Path:
    """Make of a run one that learned from patients, in whose files somebody left identifiers."""
    name, date, place, case = NAMES
    for path in run.rglob(MODEL):
        network, known = load_model(path)
        origin = {
            **known.origin,
            "synthetic": False,
            "cohort": place,
            "recipe": f"own/{name}",
            "detector": place,
            "data_sha256": date,
            "folds_sha256": "0" * 64,
            "recipe_sha256": name,
            "ictmri": name,
        }
        save_model(path.parent, network, replace(known, origin=origin, versions={name: date}))
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(load_file(path), path, metadata={**metadata, name: case})
        (path.parent / "card.md").write_text(f"{name} {date}")
        (path.parent / "logs").mkdir()
        (path.parent / "logs" / f"{name}.csv").write_text(f"{case},{date}")
    (run / "folds" / "seed0-fold0.csv").write_text(f"case_id,seed\n{case},0\n")
    (run / "entry.yaml").write_text(f"authors: [{name}]")
    lines = (run / "predictions.csv").read_text().replace("phantom-", "clinic-")
    (run / "predictions.csv").write_text(lines)
    report = json.loads((run / "report.json").read_text())
    report["benchmark"] |= {"synthetic": False, "cohort": "clinic"}
    report["warnings"] = [f"{name} is a patient"]
    report["digests"] = {"predictions": sha256_file(run / "predictions.csv"), "labels": date}
    report["subgroups"] = {place: {name: {"n": 1}}}
    report["per_class"]["rare"][name] = case
    if small is not None:
        report["per_class"]["rare"]["support"] = small
    (run / "report.json").write_text(json.dumps(report))
    return run


def test_everything_that_would_be_sent_is_shown_and_nothing_is_sent(copied: Path) -> None:
    said = command("publish-model", copied, "--repo-id", REPO, "--dry-run").stdout
    assert "Dry run: nothing was sent." in said
    root = release_path(copied)
    files = [path for path in root.rglob("*") if path.is_file()]
    card = (root / "README.md").read_text()
    names = {path.relative_to(root).as_posix() for path in files}
    folders = [f"folds/seed0-fold{place}/" for place in ("0", "1", "1/member-1")]
    each = {f"{folder}{name}" for folder in folders for name in (MODEL, REFERENCE, "card.md")}
    assert names == {"README.md", SCORES, *each}
    for path in files:
        name = path.relative_to(root).as_posix()
        assert f"{path.stat().st_size:,}  {name}" in said
        assert (
            path.name == "README.md"
            or f"{name} | {path.stat().st_size:,} | `{sha256_file(path)}`" in card
        )
    assert "249 ids of cases, none found" in said
    report = json.loads((copied / "report.json").read_text())
    for name, metric in METRICS.items():
        found = report["pooled"][name]
        assert (
            f"| {metric.title} | {found['value']:.3f} | [{found['low']:.3f}, {found['high']:.3f}] |"
            in card
        )
    assert all(
        word in card
        for word in ("Not a medical device", "SYNTHETIC", "(2 folds, 1 seed, 2 members)")
    )
    assert "| brain | template |" in card
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "apache-2.0"
    assert "SYNTHETIC" in str(header["model-index"])
    # Again: the same bytes, over the release of before.
    before = {path: path.read_bytes() for path in files}
    make_model_release(copied, REPO)
    assert {path: path.read_bytes() for path in files} == before


def test_a_released_model_is_the_runs(copied: Path) -> None:
    release = make_model_release(copied, REPO)
    ours, theirs = open_models(copied), open_models(release.root)
    assert theirs.calibration() == ours.calibration()
    assert theirs.processing == ours.processing
    assert (theirs.cohort, theirs.synthetic) == (ours.cohort, True)
    for one, other in zip(ours.each, theirs.each, strict=True):
        assert one.name == other.name
        assert one.settings == other.settings
        assert one.description.temperature == other.description.temperature
        known, released = load_file(one.path), load_file(other.path)
        assert all(known[name].equal(released[name]) for name in known)


def test_the_version_of_the_detector_goes_out_and_no_date_in_its_place(copied: Path) -> None:
    for version, told in (("3", "saliency 3"), (NAMES[1], "saliency")):
        for path in copied.rglob(MODEL):
            network, known = load_model(path)
            origin = {**known.origin, "detector": "saliency", "detector_version": version}
            save_model(path.parent, network, replace(known, origin=origin))
        release = make_model_release(copied, REPO).root
        assert (
            f"| localizer of the training's priors | {told} |"
            in (release / "README.md").read_text()
        )
        origins = [model.description.origin for model in open_models(release).each]
        assert {one.get("detector_version") for one in origins} == {told.partition(" ")[2] or None}


def test_of_patients_nothing_goes_out_that_speaks_of_one(copied: Path) -> None:
    run = patients(copied)
    with pytest.raises(InputError, match="--licence is yours to choose"):
        make_model_release(run, REPO)
    release = make_model_release(run, REPO, "cc-by-nc-4.0")
    assert not release.synthetic
    for path in release.root.rglob("*"):
        content = path.read_bytes().lower() if path.is_file() else b""
        for word in NAMES:
            assert word.encode() not in content, path
            assert word not in path.name.lower()
    assert not list(release.root.rglob(REFERENCE))
    ours, theirs = open_models(run), open_models(release.root)
    assert theirs.synthetic is False
    for one, other in zip(ours.each, theirs.each, strict=True):
        assert not {"folds_sha256", "data_sha256", "detector"} & set(other.description.origin)
        # It would tell whoever guesses the training cases that he is right.
        assert one.description.identity != other.description.identity
    scores = json.loads((release.root / SCORES).read_text())
    assert set(scores) == {
        *("schema", "benchmark", "n_cases", "pooled", "fold_mean", "per_class", "probabilistic")
    }
    assert all(set(found) == {"support"} for found in scores["per_class"].values())
    card = (release.root / "README.md").read_text()
    assert "cc-by-nc-4.0" in card
    assert "can hold traces of them" in card
    said = command(
        *("publish-model", run, "--repo-id", REPO, "--dry-run", "--licence", "cc-by-nc-4.0")
    ).stdout
    assert "trained on patients" in said
    assert "you let in each person" in said
    assert "a number for each training case" in said


def test_classes_of_few_patients_have_no_numbers(copied: Path) -> None:
    release = make_model_release(patients(copied, small=2), REPO, "other")
    assert not (release.root / SCORES).exists()
    assert "fewer than 3 patients share one" in (release.root / "README.md").read_text()
    assert open_models(release.root).calibration()["out_of_fold"] is None


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ("report", "its models have no scores"),
        ("predictions", "report.json is not of predictions.csv"),
        ("run", "is no whole run"),
        ("cohort", "no name that can be published"),
        ("name", "is not ORG/NAME"),
        ("licence", "no id of the Hub"),
        ("place", "is taken by something else"),
        ("id", "an id of a case would go out"),
    ],
)
def test_what_cannot_be_published_is_refused(spoiled: str, said: str, copied: Path) -> None:
    repo_id, licence = REPO, None
    if spoiled == "report":
        (copied / "report.json").unlink()
    elif spoiled == "predictions":
        (copied / "predictions.csv").write_text("case_id,prediction\n")
    elif spoiled == "run":
        (copied / "run.json").unlink()
    elif spoiled in ("cohort", "id"):
        report = json.loads((copied / "report.json").read_text())
        report["benchmark"]["cohort"] = "phantom-0001" if spoiled == "id" else "of Ada/1"
        (copied / "report.json").write_text(json.dumps(report))
    elif spoiled == "name":
        repo_id = "biopsy"
    elif spoiled == "licence":
        licence = "My own words"
    else:
        release_path(copied).mkdir()
        (release_path(copied) / "thesis.docx").write_text("mine")
    with pytest.raises(InputError, match=re.escape(said)):
        make_model_release(copied, repo_id, licence)
    left = {path.name for path in copied.parent.iterdir()}
    assert left <= {"run", "run.model"}


# ---- the Hub ---------------------------------------------------------------------------------------------

OPEN = """
import sys
from ictmri.errors import IctmriError
from ictmri_baselines.predict.run import open_models
for line in sys.stdin:
    try:
        found = open_models(line.strip())
    except IctmriError as error:
        print(error, "refused", sep="\\n", flush=True)
    else:
        print(len(found.each), found.cohort, found.folder)
        print("opened", flush=True)
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        running.add_user("ada", orgs=["clinic"])
        yield running


def asked(hub: LoopbackHub, home: Path, *words: object, code: int = 0) -> str:
    done = subprocess.run(
        [*map(str, words)],
        env=hub.env(home, "hf_ada_write"),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_from_a_run_to_a_reader(
    copied: Path, head: nib.Nifti1Image, hub: LoopbackHub, tmp_path: Path
) -> None:
    publish = (*COMMAND, "publish-model", copied, "--repo-id", REPO)
    said = asked(hub, tmp_path, *publish)
    assert "It is private" in said
    (commit,) = re.findall(r"clinic/biopsy@([0-9a-f]{40})", said)
    sent = hub.files(REPO, commit, kind="model")
    for path in (path for path in release_path(copied).rglob("*") if path.is_file()):
        assert sent[path.relative_to(release_path(copied)).as_posix()] == path.read_bytes()
    assert "Published before" in asked(hub, tmp_path, *publish)
    nib.save(head, tmp_path / "scan.nii.gz")
    predict = (
        *COMMAND,
        "predict",
        tmp_path / "scan.nii.gz",
        "--out",
        tmp_path / "r.html",
        "--model",
    )
    assert "Research use only" in asked(hub, tmp_path, *predict, f"{REPO}@{commit}")
    assert "249 cases of ictmri-phantom" in (tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_only_a_commit_is_taken_and_only_safetensors_are_fetched(
    copied: Path, hub: LoopbackHub, tmp_path: Path
) -> None:
    # One process, which imports torch once; what it keeps of a model is on the disk alone.
    reader = subprocess.Popen(
        [sys.executable, "-c", OPEN],
        env=hub.env(tmp_path, "hf_ada_write"),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ends = {0: "opened\n", 1: "refused\n"}

    def opened(name: str, code: int = 0) -> str:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(f"{name}\n")
        reader.stdin.flush()
        lines = []
        while not lines or lines[-1] not in ends.values():
            lines.append(reader.stdout.readline())
            assert lines[-1], "".join(lines)
        assert lines[-1] == ends[code], "".join(lines)
        return "".join(lines)

    release = make_model_release(copied, REPO).root
    code = {"model.py": b"import os", "weights.pkl": b"cos\nsystem", "modeling_x.py": b"1"}
    content = {
        p.relative_to(release).as_posix(): p.read_bytes() for p in release.rglob("*") if p.is_file()
    }
    commit = hub.seed(REPO, content | code, kind="model")
    moving = opened(f"{REPO}@main", code=1)
    assert f"pin it: {REPO}@{commit}" in moving
    assert "can change" in moving
    assert "no revision" in opened(f"{REPO}@{'0' * 40}", code=1)
    (folder,) = re.findall(r"(?m)^3 ictmri-phantom (/.*)$", opened(f"{REPO}@{commit}"))
    got = {path.name for path in Path(folder).rglob("*") if path.is_file()}
    assert not {"model.py", "weights.pkl", "modeling_x.py", "card.md"} & got
    assert not hub.received("GET", "weights.pkl")
    # What was fetched is taken from the disk, unless the disk has changed it.
    asked_before = len(hub.requests)
    opened(f"{REPO}@{commit}")
    assert len(hub.requests) == asked_before
    weights = next(Path(folder).rglob(MODEL))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "is damaged" in opened(f"{REPO}@{commit}")
    assert weights.read_bytes() == whole
    pickled = hub.seed("clinic/other", code, kind="model")
    assert "pickles and code are never loaded" in opened(f"clinic/other@{pickled}", code=1)
    assert "no such model repository" in opened(f"clinic/none@{commit}", code=1)
    assert "ORG/NAME@COMMIT" in opened(REPO, code=1)
    reader.communicate()
    assert reader.returncode == 0
