"""``ictmri build clinical`` as a person runs it, against a Hub on the loopback interface."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from support.loopback_hub import LoopbackHub
from support.made_volumes import write_volume

from ictmri.build.clinical.build import build_clinical
from ictmri.build.clinical.mapping import read_mapping
from ictmri.build.folder import build_folder
from ictmri.build.pseudonyms import link_path
from ictmri.classes import CLASSES
from ictmri.cohort import open_cohort
from ictmri.errors import InputError
from ictmri.manifest import read_manifest
from ictmri.verify.cohort import check_rows
from ictmri.verify.privacy import leaks

REPO = "clinic/deep-site"
LABELS = ("glioma",) * 4 + ("pcnsl",) * 3 + ("germinoma",) * 2 + ("rare",) * 2
WORDS = {"glioma": "胶质瘤", "pcnsl": "PCNSL", "germinoma": "Germinoma", "rare": "其他"}
NAMES = (
    *("张伟国", "李秀英", "王小明", "Zhang Weiguo", "ouyang_xiuying", "Smith-Jones"),
    *("赵敏", "陈建华", "Garcia", "孙丽丽", "周杰"),
)
HOSPITAL = "天坛医院"
N = len(LABELS)
COMMAND = "from ictmri.cli.app import main; main()"


def repository(root: Path, *, broken: int | None = None, unknown_word: bool = False) -> Path:
    """A repository in which names of patients stand wherever they can."""
    root.mkdir(parents=True)
    made = root.with_name("made")
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for i in range(N):
            path = write_volume(made / "t1ce.nii.gz", i)
            content = b"junk" if i == broken else path.read_bytes()
            archive.writestr(f"{HOSPITAL}/{NAMES[i]}_{i + 1:03d}/T1CE_{NAMES[i]}.nii.gz", content)
            archive.writestr(
                f"{HOSPITAL}/{NAMES[i]}_{i + 1:03d}/roi_mask.nii.gz", path.read_bytes()
            )
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = f"{HOSPITAL}病例"
    sheet.append(
        ["编号", "姓名", "Patient Name", "出生日期", "分类", "病理", "年龄", "性别", "备注"]
    )
    for i in range(N):
        word = "GCT" if unknown_word and i == N - 1 else WORDS[LABELS[i]]
        pathology = f"GBM {NAMES[i]}" if i == 0 else ("GBM" if LABELS[i] == "glioma" else "")
        sheet.append(
            [
                *(f"{NAMES[i]}_{i + 1}", NAMES[i], NAMES[i], "1979-03-02", word, pathology),
                *(20 + 5 * i, "男" if i % 2 else "女", f"{NAMES[i]} {HOSPITAL}"),
            ]
        )
    book.save(root / f"{HOSPITAL}.xlsx")
    (root / "README.md").write_text(
        f"# Data of {HOSPITAL}\n\ncontact {NAMES[3]}\n", encoding="utf-8"
    )
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("source") / "repo")


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort of the repository, built by the command. Tests copy it before they change it."""
    out = tmp_path_factory.mktemp("built") / "ictmri"
    run(out, "--source", source)
    return out


@pytest.fixture
def hub(source: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        running.add_user("guest")
        running.seed(REPO, source, gated="manual")
        yield running


def arguments(out: Path, *more: str | Path) -> list[str]:
    command = ("build", "clinical", "--out", out, "--n-folds", "2", "--jobs", "1", *more)
    return [sys.executable, "-c", COMMAND, *map(str, command)]


def run(
    out: Path, *more: str | Path, env: dict[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        arguments(out, *more), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def content_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def link_of(out: Path) -> dict[str, str]:
    with link_path(out).open(newline="", encoding="utf-8") as stream:
        return {row["case_id"]: row["patient_id"] for row in csv.DictReader(stream)}


def test_from_the_gated_repository_to_the_cohort(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.set_access(REPO, "guest", "accepted")
    out, env = tmp_path / "out" / "ictmri", hub.env(tmp_path, "hf_guest_write")
    done = run(out, "--repo-id", REPO, env=env)
    assert f"joined   {N} rows" in done.stdout
    assert "'胶质瘤' -> glioma: 4" in done.stdout
    assert "warning  cases: 11 here, 249 in the paper" in done.stdout
    cohort = open_cohort(out)
    cohort.check()
    check_rows(cohort, "default")
    assert (cohort.name, cohort.synthetic) == ("ictmri", False)
    commit = hub.repositories[REPO].branches["main"]
    source = {"repo_id": REPO, "commit": commit, "licence": "CC-BY-4.0"}
    assert cohort.manifest.generator["source"] == source
    link = link_of(out)
    for row in cohort.rows("default", ["case_id", "label", "age", "sex"]):
        i = int(link[row["case_id"]].rsplit("_", 1)[1]) - 1
        known = (CLASSES[row["label"]], row["age"], row["sex"])
        assert known == (LABELS[i], 20 + 5 * i, i % 2)
    # What was downloaded and unpacked is gone; the lock files of the steps are empty.
    left = [path for path in out.parent.rglob("*") if out not in path.parents and path.is_file()]
    beside = {"ictmri.link.csv", "ictmri.findings.html"}
    assert {path.name for path in left if path.stat().st_size} == beside
    asked = len(hub.received("GET", "/resolve/"))
    run(out, "--repo-id", REPO, env=env)
    assert len(hub.received("GET", "/resolve/")) == asked


def test_no_name_of_the_source_enters_the_cohort(source: Path, built: Path) -> None:
    cohort = open_cohort(built)
    assert leaks(cohort) == []
    found = b"".join(name.encode() + data for name, data in content_of(built).items())
    found += b"".join(gzip.decompress(row["image"]["bytes"]) for row in cohort.rows("default"))
    words = {*NAMES, *(name.lower() for name in NAMES), HOSPITAL, "1979", "T1CE_"}
    words |= {str(built.parent), str(source)}
    for encoding in ("utf-8", "gb18030", "utf-16-le"):
        assert [word for word in words if word.encode(encoding) in found] == []
    # The same hunt finds them where they are allowed, beside the cohort.
    link = link_path(built)
    assert sum(name in link.read_text(encoding="utf-8") for name in NAMES) == N
    assert link.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("state", "token", "message"),
    [
        ("accepted", None, "you are not logged in"),
        ("", "hf_guest_write", "has not asked for access"),
        ("pending", "hf_guest_write", "awaits its owners' review"),
        ("rejected", "hf_guest_write", "rejected your request"),
        ("limited token", "hf_guest_write", "may not read gated repositories"),
        ("accepted", "hf_nobody", "does not accept your token"),
    ],
)
def test_without_access_the_reason_is_told(
    hub: LoopbackHub, tmp_path: Path, state: str, token: str | None, message: str
) -> None:
    hub.set_access(REPO, "guest", state)
    out = tmp_path / "out" / "ictmri"
    done = run(out, "--repo-id", REPO, env=hub.env(tmp_path, token), code=1)
    assert message in done.stderr
    assert "Next:" in done.stderr
    assert not hub.received("GET", "/cdn/")
    assert not out.exists()


def test_no_such_repository_or_revision(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.set_access(REPO, "guest", "accepted")
    env = hub.env(tmp_path, "hf_guest_write")
    out = tmp_path / "ictmri"
    assert "no such dataset" in run(out, "--repo-id", "clinic/none", env=env, code=1).stderr
    wrong = run(out, "--repo-id", REPO, "--revision", "v9", env=env, code=1)
    assert "no revision 'v9'" in wrong.stderr


def test_a_connection_cut_in_mid_file(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.set_access(REPO, "guest", "accepted")
    hub.faults.cut("images.zip", after=40_000)
    out = tmp_path / "ictmri"
    run(out, "--repo-id", REPO, env=hub.env(tmp_path, "hf_guest_write"))
    ranges = [request.range for request in hub.received("GET", "/cdn/")]
    assert any(asked.startswith("bytes=40000-") for asked in ranges)
    assert open_cohort(out).manifest.n_cases == N


def test_killed_while_it_downloads_the_same_command_goes_on(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.set_access(REPO, "guest", "accepted")
    hub.faults.stall("images.zip", after=40_000, seconds=5)
    out, env = tmp_path / "out" / "ictmri", hub.env(tmp_path, "hf_guest_write")
    with subprocess.Popen(arguments(out, "--repo-id", REPO), env=env) as process:
        wait_for(lambda: bool(held(out.parent / ".ictmri.source")))
        process.kill()
    private = out.parent / ".ictmri.source"
    assert private.stat().st_mode & 0o077 == 0
    run(out, "--repo-id", REPO, env=env)
    assert any(r.range.startswith("bytes=40000-") for r in hub.received("GET", "/cdn/"))
    assert open_cohort(out).manifest.n_cases == N


def held(folder: Path) -> bool:
    return any(path.stat().st_size >= 40_000 for path in folder.glob(".part-*"))


def wait_for(happened: object, seconds: float = 60) -> None:
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("stage", [".ictmri.unpacked/images.zip*", ".ictmri.cases/*.json"])
def test_killed_while_it_works_the_same_command_gives_the_same_bytes(
    source: Path, built: Path, tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "killed" / "ictmri"
    with subprocess.Popen(
        arguments(out, "--source", source), start_new_session=True, stdout=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: out.exists() or any(out.parent.glob(stage)))
        os.killpg(process.pid, signal.SIGKILL)
    run(out, "--source", source)
    assert content_of(out) == content_of(built)


def test_what_is_open_is_asked_answered_and_built(tmp_path: Path) -> None:
    source = repository(tmp_path / "source" / "repo", unknown_word=True)
    out = tmp_path / "out" / "ictmri"
    stopped = run(out, "--source", source, code=1)
    place = tmp_path / "out" / "ictmri.mapping.yaml"
    assert "the class of 'GCT' (1 cases) is stated nowhere" in stopped.stderr
    assert f"--mapping {place}" in stopped.stderr
    assert not out.exists()
    assert place.stat().st_mode & 0o077 == 0
    unanswered = run(out, "--source", source, "--mapping", place, code=1)
    assert "classes.GCT is still open" in unanswered.stderr
    text = place.read_text(encoding="utf-8")
    assert text.count('"?"') == 2  # one in the comment at its head
    place.write_text(text.replace('"GCT": "?"', '"GCT": "germinoma"'), encoding="utf-8")
    run(out, "--source", source, "--mapping", place)
    link = link_of(out)
    labels = {
        int(link[row["case_id"]].rsplit("_", 1)[1]): CLASSES[row["label"]]
        for row in open_cohort(out).rows("default", ["case_id", "label"])
    }
    assert labels[N] == "germinoma"
    assert labels[N - 1] == "rare"


def test_an_edited_mapping_is_never_written_over(tmp_path: Path) -> None:
    source = repository(tmp_path / "source" / "repo", unknown_word=True)
    out = tmp_path / "out" / "ictmri"
    run(out, "--source", source, code=1)
    place = tmp_path / "out" / "ictmri.mapping.yaml"
    edited = place.read_text(encoding="utf-8") + "# mine\n"
    place.write_text(edited, encoding="utf-8")
    stopped = run(out, "--source", source, code=1)
    assert place.read_text(encoding="utf-8") == edited
    assert "stays as it is" in stopped.stderr
    assert (tmp_path / "out" / "ictmri.mapping-2.yaml").is_file()


@pytest.mark.parametrize("option", ["--dry-run", "--show"])
def test_showing_builds_nothing(source: Path, tmp_path: Path, option: str) -> None:
    done = run(tmp_path / "out" / "ictmri", "--source", source, option)
    assert "cases    11: glioma 4, pcnsl 3, germinoma 2, rare 2" in done.stdout
    assert not list(tmp_path.rglob("*.yaml"))
    assert not (tmp_path / "out" / "ictmri").exists()


def test_scans_that_cannot_be_read_are_findings(tmp_path: Path) -> None:
    source = repository(tmp_path / "source" / "repo", broken=2)
    done = run(tmp_path / "ictmri", "--source", source)
    assert "not in the cohort" in done.stderr
    cohort = open_cohort(tmp_path / "ictmri")
    assert cohort.manifest.n_cases == N - 1
    assert "王小明" not in (cohort.root / "findings.json").read_text(encoding="utf-8")


def test_folds_of_the_source_are_the_folds_of_the_cohort(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out" / "ictmri"
    lines = ["id,label,cv_fold"]
    for i in range(N):
        write_volume(source / "images" / f"case{i}.nii.gz", i)
        lines.append(f"case{i},{LABELS[i]},{1 + (i % 3 == 0)}")
    (source / "labels.csv").write_text("\n".join(lines))
    built = build_clinical(out, source, n_folds=2, jobs=1, tell=lambda _: None)
    assert built is not None
    assert built.cohort.manifest.generator["folds_by"] == "source"
    assert built.folds[0] == "11 cases in 2 folds of 7, 4, the source's own"
    link = link_of(out)
    folds = {link[row.case_id]: row.fold for row in built.cohort.folds().rows}
    assert folds == {f"case{i}": int(i % 3 == 0) for i in range(N)}


def test_a_repository_that_is_the_cohort_already(
    hub: LoopbackHub, built: Path, tmp_path: Path
) -> None:
    hub.seed("clinic/ready", built, gated="manual")
    hub.set_access("clinic/ready", "guest", "accepted")
    env = hub.env(tmp_path, "hf_guest_write")
    out = tmp_path / "out" / "ictmri"
    done = run(out, "--repo-id", "clinic/ready", env=env)
    assert "cohort folder already" in done.stdout
    assert content_of(out) == content_of(built)
    again = run(out, "--repo-id", "clinic/ready", env=env)
    assert "11 cases" in again.stdout


def test_a_cohort_of_another_name_or_a_damaged_one_is_refused(
    mini_table: Path, built: Path, tmp_path: Path
) -> None:
    build_folder(mini_table, tmp_path / "mini", n_folds=3)
    with pytest.raises(InputError, match="the cohort 'mini', not 'ictmri'"):
        build_clinical(tmp_path / "out", tmp_path / "mini", tell=lambda _: None)
    shutil.copytree(built, tmp_path / "good" / "ictmri")
    victim = next((tmp_path / "good" / "ictmri" / "data" / "default").iterdir())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        build_clinical(tmp_path / "out", tmp_path / "good" / "ictmri", tell=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_copy_knows_where_it_comes_from(source: Path, tmp_path: Path) -> None:
    """A snapshot in the Hugging Face cache is named after its commit."""
    commit = "0123456789abcdef" * 2 + "01234567"
    copy = tmp_path / "snapshots" / commit
    copy.parent.mkdir()
    copy.symlink_to(source, target_is_directory=True)
    (tmp_path / "hf" / "snapshots").mkdir(parents=True)
    real = tmp_path / "hf" / "snapshots" / commit
    subprocess.run(["cp", "-r", str(source), str(real)], check=True)
    run(tmp_path / "ictmri", "--source", real)
    assert read_manifest(tmp_path / "ictmri").generator["source"]["commit"] == commit


def test_wrong_places(source: Path, tmp_path: Path) -> None:
    assert "is no folder" in run(tmp_path / "x", "--source", tmp_path / "none", code=1).stderr
    inside = run(source / "ictmri", "--source", source, code=1)
    assert "lies inside the source" in inside.stderr
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "a.txt").write_text("mine")
    assert "taken" in run(tmp_path / "taken", "--source", source, code=1).stderr
    run(tmp_path / "x", "--sauce", source, code=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "not a mapping file"),
        ("images: [a\n", "not valid YAML"),
        ("image: ['*.nii']\n", "image: unknown field; did you mean 'images'?"),
        ("images: []\n", "images: List should have at least 1 item"),
        ("classes: {GCT: germinom}\n", "classes.GCT: 'germinom'; did you mean 'germinoma'?"),
        ("sexes: {'1': male, '2': woman}\n", "sexes.2: 'woman'; choose of"),
        ("id_pattern: 'sub-[0-9]+'\n", "id_pattern: needs one group, has 0"),
        ("id_pattern: 'sub-('\n", "id_pattern: no regular expression"),
        ("tables: [{path: a.csv, columns: {labels: x}}]\n", "did you mean 'label'?"),
        ("tables: [{path: a.csv, header_row: first}]\n", "header_row"),
        ("folds: '?'\nclasses: {A: '?'}\n", "classes.A is still open"),
        ("rows_without_image: ignore\n", "rows_without_image"),
    ],
)
def test_mistakes_in_a_mapping_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_mapping(path)
    assert message in str(caught.value)


def test_all_mistakes_in_a_mapping_come_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("fold: rule\nclasses: {GCT: germinom}\ntables: [{path: a.csv, colums: {}}]\n")
    with pytest.raises(InputError) as caught:
        read_mapping(path)
    for part in (
        "fold: unknown field",
        "classes.GCT: ",
        "tables.0.colums: unknown field; did you mean 'columns'",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: ['*.mnc']\n", "no image fits the globs *.mnc"),
        ("tables: [{path: a.csv}]\n", "no table 'a.csv' in the source; there are"),
        (f"tables: [{{path: {HOSPITAL}.xlsx, columns: {{id: ID}}}}]\n", "has no column 'ID'"),
        ("folds: official\n", "no folds 'official' in the source"),
    ],
)
def test_a_mapping_that_speaks_of_what_is_not_there(
    source: Path, text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        build_clinical(tmp_path / "out", source, mapping=path, tell=lambda _: None)
    assert message in str(caught.value)


def test_the_generator_tells_no_path(source: Path, built: Path) -> None:
    told = json.dumps(read_manifest(built).generator)
    assert str(source) not in told
    assert "/" not in told.replace("Shirelle12/DeepSite-MRI", "")
