"""Publishing against a Hub on the loopback interface: what is sent, what is refused, what comes back."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.commandline import COMMAND
from support.loopback_hub import LoopbackHub

from ictmri.build.folder import FolderBuild, build_folder
from ictmri.build.phantom import build_phantom
from ictmri.build.write import publish_documents
from ictmri.cohort import Cohort, open_cohort
from ictmri.documents.facts import load_facts
from ictmri.errors import InputError
from ictmri.io.files import write_text
from ictmri.phantom import render, roster
from ictmri.release.make_release import Order, make_release, release_path, released_age
from ictmri.release.publish import found_identifiers, identifiers, plan_lines, prepare
from ictmri.release.records import DETECTORS, released_boxes
from ictmri.transaction import transaction
from ictmri.verify.privacy import leaks

N_PEOPLE = 8
SUBTYPES = {
    "pcnsl": ("DLBCL", "born 3/4/1961", "MRN 4711-0815", "Mr Hans Mueller"),
    "glioma": ("gbm", "Glioblastoma multiforme", "GLIO-BLASTOMA", "Chordoma"),
}
REPLY = "The label says Sancho Panza, born 1605"


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A cohort like a hospital's: whole heads with faces, names for ids, exact ages."""
    folder = tmp_path_factory.mktemp("heads")
    lines = ["patient_id,image,label,subtype,age,sex"]
    for index, case in enumerate(roster(n_cases=24)[:N_PEOPLE]):
        image = render(case, spacing=4.0).image
        image.header["descrip"] = b""
        name = f"Quixote_{index}_Alonso.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), folder / name)
        label = "glioma" if index % 2 else "pcnsl"
        known = f"{SUBTYPES[label][index // 2]},{30.7 + index},{case.sex}"
        lines.append(f"Dulcinea-{index}-Toboso,{name},{label},{known}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return localised(build_folder(folder / "table.csv", folder / "clinic", n_folds=2, jobs=1))


def localised(built: FolderBuild) -> Cohort:
    """Add boxes of a model that read a name, under settings that hold the owner's words."""
    cohort = built.cohort
    assert "'Mr Hans Mueller': on no list of tumours, left empty" in "\n".join(built.left_empty)
    assert sum(found.code == "subtype-not-listed" for found in built.findings) == 3
    lines = [
        {
            "schema": "ictmri/boxes/1",
            "case_id": case_id,
            "spacing_mm": 2,
            "slice": 40,
            "slice_mm": [1.0, 3.0],
            "boxes": [{"voxels": [5, 5, 9, 9], "mm": [-88.0, -1.0, 5.0, 7.0], "score": 0.5}],
            "detector": "Sancho Panza",
            "model": "Sancho Panza",
            "reply": REPLY,
            "problems": [REPLY],
            "tokens": {"prompt": 3, "completion": 4},
        }
        for case_id in cohort.folds().case_ids
    ]
    with transaction(cohort.root) as draft:
        write_text(draft / "boxes" / "openai.jsonl", "\n".join(map(json.dumps, lines)))
        settings = {"detector": "openai", "model": "Sancho", "prompt": "Panza", "pixels": 448}
        masks = {"own_masks": {"Sancho_mask.nii.gz": "0" * 64, "clinic-0001.nii.gz": "1" * 64}}
        steps = {
            "process": {"settings": masks, "left_out": {"clinic-0002": "/home/sancho/x: odd"}},
            "localize": {"settings": settings},
        }
        publish_documents(draft, replace(cohort.manifest, steps=steps))
    return open_cohort(cohort.root)


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        yield running


@dataclass
class Shell:
    hub: LoopbackHub
    folder: Path

    def run(self, token: str, *arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.hub.env(self.folder / "home", token),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def python(self, token: str, text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=self.folder,
            env=self.hub.env(self.folder / "home", token),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def shell(hub: LoopbackHub, tmp_path: Path) -> Shell:
    return Shell(hub, tmp_path)


@pytest.mark.slow
def test_patients_from_build_to_a_reader(
    heads: Cohort, hub: LoopbackHub, shell: Shell, tmp_path: Path
) -> None:
    owner, guest = hub.add_user("ada", orgs=["clinic"]), hub.add_user("guest")
    target = ("publish", heads.root, "--repo-id", "clinic/heads")
    shown = shell.run(owner, *target, "--dry-run")
    assert "8 removed" in shown
    assert "identifiers of the source, none found" in shown
    assert "nothing was sent" in shown
    assert "no such dataset" in shell.run(owner, "info", "clinic/heads", code=1)

    assert "at v1.0.0" in shell.run(owner, *target)
    assert "no such dataset" in shell.run(guest, "info", "clinic/heads", code=1)
    assert "Published before" in shell.run(owner, *target, "--visible")
    assert "has not asked for access" in shell.run(guest, "info", "clinic/heads", code=1)
    hub.set_access("clinic/heads", "guest", "pending")
    assert "awaits its owners' review" in shell.run(guest, "info", "clinic/heads", code=1)
    hub.set_access("clinic/heads", "guest", "accepted")

    code = (
        "import ictmri, json; d = ictmri.load_dataset('clinic/heads', fold=0, revision='v1.0.0');"
        "print(json.dumps({'n': [d[k].num_rows for k in d], 'ages': sorted(d['train']['age'])}))"
    )
    seen = json.loads(shell.python(guest, code).splitlines()[-1])
    assert sum(seen["n"]) == N_PEOPLE
    assert all(age == int(age) for age in seen["ages"])
    release = open_cohort(release_path(heads.root))
    code = (
        "from ictmri.lookup import find_cohort; c = find_cohort('clinic/heads'); c.check();"
        "print(c.manifest.digest_of('default'), c.folds().sha256)"
    )
    ours = f"{release.manifest.digest_of('default')} {heads.folds().sha256}"
    assert shell.python(guest, code) == ours


def test_a_release_has_no_face_no_name_and_whole_years(heads: Cohort) -> None:
    before = {p: p.read_bytes() for p in heads.root.rglob("*") if p.is_file()}
    order = Order("clinic/heads", "manual")
    release = prepare(heads, order, jobs=1).release.cohort
    assert before == {p: p.read_bytes() for p in heads.root.rglob("*") if p.is_file()}
    stored = {row["case_id"]: row for row in heads.rows("default")}
    for row in release.rows("default"):
        source = stored[row["case_id"]]
        assert row["age"] == float(int(source["age"]))
        changed = _voxels(row) != _voxels(source)
        assert 0.005 < changed.mean() < 0.4
        assert {k: row[k] for k in ("label", "sex", "fold", "patient_id")} == {
            k: source[k] for k in ("label", "sex", "fold", "patient_id")
        }
    content = b"".join(p.read_bytes() for p in release.root.rglob("*") if p.is_file())
    content += b"".join(gzip.decompress(row["image"]["bytes"]) for row in release.rows("default"))
    for word in (b"quixote", b"dulcinea", b"toboso", b"alonso"):
        assert word not in content.lower()
    assert leaks(release) == []
    release.check()
    with (release.root / "participants.csv").open(newline="") as stream:
        public = list(csv.DictReader(stream))
    assert [row["case_id"] for row in public] == release.folds().case_ids
    groups = Counter((row["class"], row["sex"], row["age_band"]) for row in public)
    assert min(groups.values()) >= 3
    assert json.loads((release.root / "privacy.json").read_text())["k"] >= 3


def test_a_release_names_subtypes_of_the_list_that_enough_share(heads: Cohort) -> None:
    prepared = prepare(heads, Order("clinic/heads", "manual"), jobs=1)
    release = prepared.release.cohort
    named = Counter(row["subtype"] for row in release.rows("default", ["subtype"]))
    assert named == {"GBM": 3, "": 5}
    content = b"".join(p.read_bytes().lower() for p in release.root.rglob("*") if p.is_file())
    for word in (b"mueller", b"hans", b"1961", b"4711", b"mrn", b"dlbcl", b"chordoma"):
        assert word not in content
    shown = "\n".join(plan_lines(prepared, Order("clinic/heads", "manual")))
    assert "subtypes   GBM\n" in shown
    assert "left empty, fewer than 3 patients share each: DLBCL, chordoma" in shown


def test_a_withheld_subtype_is_named_in_no_answer(heads: Cohort, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yaml"
    facts.write_text("rare_class: one large B-cell lymphoma and a CHORDOMA\n")
    with pytest.raises(InputError) as caught:
        prepare(heads, Order("clinic/heads", "manual", facts_file=facts))
    assert len(caught.value.problems) == 2
    assert "the answer to rare_class names 'chordoma', which fewer" in str(caught.value)


def test_a_release_carries_boxes_as_numbers(heads: Cohort, tmp_path: Path) -> None:
    release = prepare(heads, Order("clinic/heads", "manual"), jobs=1).release.cohort
    content = b"".join(p.read_bytes().lower() for p in release.root.rglob("*") if p.is_file())
    for word in (b"sancho", b"panza", b"1605"):
        assert word not in content
    line = json.loads((release.root / "boxes/openai.jsonl").read_text().splitlines()[0])
    assert line.keys() == {
        *("schema", "case_id", "spacing_mm", "slice", "slice_mm", "boxes", "detector"),
    }
    assert line["boxes"] == [{"voxels": [5, 5, 9, 9], "mm": [-88.0, -1.0, 5.0, 7.0], "score": 0.5}]
    assert line["detector"] == "boxes"
    steps = release.manifest.steps
    assert steps["localize"]["settings"] == {"detector": "openai", "pixels": 448}
    assert steps["process"]["settings"]["own_masks"] == {"clinic-0001.nii.gz": "1" * 64}
    assert steps["process"]["left_out"] == {"clinic-0002": "not processed"}
    assert leaks(release) == []
    copy = tmp_path / "copy"
    shutil.copytree(release.root, copy)
    shutil.copy(heads.root / "boxes/openai.jsonl", copy / "boxes")
    assert leaks(open_cohort(copy)) == ["boxes/openai.jsonl: holds more than numbers"]


def test_boxes_that_hold_words_for_numbers_are_refused(tmp_path: Path) -> None:
    for odd in ('"7"', "true", "NaN", "1e999", "9" * 400, '{"a": 1}', "null"):
        (tmp_path / "openai.jsonl").write_text(
            f'{{"case_id": "a-0001", "spacing_mm": 2, "slice": {odd}, "slice_mm": [1, 3], "boxes": [], '
            '"detector": "openai"}\n[1]\n'
        )
        with pytest.raises(InputError) as caught:
            released_boxes(tmp_path / "openai.jsonl", ["a-0001"])
        assert [line.split(":")[0] for line in caught.value.problems] == ["line 1", "line 2"]


def test_every_detector_has_a_name_that_may_be_published() -> None:
    from ictmri_baselines.registry import DETECTORS as MADE

    assert sorted(MADE) == sorted(DETECTORS)


def test_without_a_gate_a_withheld_sex_is_withheld_everywhere(heads: Cohort) -> None:
    release = prepare(heads, Order("clinic/heads", "none"), jobs=1).release
    shown = {row.case_id: row.sex for row in release.public.rows}
    for row in release.cohort.rows("default", ["case_id", "sex"]):
        assert (row["sex"] is None) == (shown[row["case_id"]] == "")


def _voxels(row: dict[str, dict[str, bytes]]) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(row["image"]["bytes"])).dataobj)


def test_without_a_gate_ages_are_left_out(heads: Cohort) -> None:
    release = prepare(heads, Order("clinic/heads", "none"), jobs=1).release.cohort
    assert {row["age"] for row in release.rows("default", ["age"])} == {None}


def test_the_same_release_is_made_twice_byte_for_byte(heads: Cohort) -> None:
    facts = load_facts(heads.manifest, None)

    def made() -> dict[str, bytes]:
        root = make_release(heads, Order("a/b", "manual"), facts, jobs=1).cohort.root
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    first = made()
    make_release(heads, Order("a/b", "none"), facts, jobs=1)
    assert made() == first


def test_the_owners_words_are_looked_for(heads: Cohort, tmp_path: Path) -> None:
    """The scan finds what is planted, in a text and in a table, and only that."""
    words = identifiers(heads)
    assert "Dulcinea-3-Toboso" in words
    assert "Quixote_3_Alonso.nii.gz" in words
    shutil.copytree(release_path(heads.root), tmp_path / "c")
    copy = open_cohort(tmp_path / "c")
    assert found_identifiers(copy, words) == []
    (tmp_path / "c" / "CHANGES.md").write_text("Scan of QUIXOTE_3_alonso replaced.")
    assert found_identifiers(copy, words) == ["CHANGES.md: holds 'Quixote_3_Alonso' of the source"]


@pytest.mark.parametrize(
    ("age", "released"), [(None, None), (43.9, 43.0), (4.0, 4.0), (89.99, 89.0), (97.0, 90.0)]
)
def test_ages_behind_the_gate(age: float | None, released: float | None) -> None:
    assert released_age(age) == released


def test_what_may_not_be_published(mini_table: Path, tmp_path: Path) -> None:
    local = build_folder(mini_table, tmp_path / "local", n_folds=2, local=True, jobs=1).cohort
    with pytest.raises(InputError, match="built with --keep-faces"):
        prepare(local, Order("clinic/x", "manual"))
    mini = build_folder(mini_table, tmp_path / "mini", n_folds=2, jobs=1).cohort
    with pytest.raises(InputError, match="class rare: 2 patients, fewer than 3"):
        prepare(mini, Order("clinic/x", "manual"))
    with pytest.raises(InputError, match="not ORG/NAME"):
        prepare(mini, Order("x", "manual"))
    assert not release_path(mini.root).exists()


def test_heads_that_were_not_found_must_be_looked_at(
    mini_table: Path, tmp_path: Path, shell: Shell, hub: LoopbackHub
) -> None:
    """Made-up volumes are no heads: nobody can say where a face would be."""
    text = mini_table.read_text().replace(",rare,", ",glioma,")
    mini_table.write_text(text)
    mini = build_folder(mini_table, tmp_path / "mini", n_folds=2, jobs=1).cohort
    owner = hub.add_user("eve", orgs=["lab"])
    target = ("publish", mini.root, "--repo-id", "lab/mini")
    assert "look at case mini-0001" in shell.run(owner, *target, "--dry-run")
    refused = shell.run(owner, *target, code=1)
    assert "--faces-checked" in refused
    assert "at v1.0.0" in shell.run(owner, *target, "--faces-checked")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return build_phantom(
        tmp_path_factory.mktemp("p") / "p", n_cases=8, n_folds=2, spacing=6.0, jobs=1
    )


def test_a_phantom_comes_back_as_it_was(phantom: Cohort, hub: LoopbackHub, shell: Shell) -> None:
    owner, guest = hub.add_user("bob", orgs=["open"]), hub.add_user("guest2")
    shell.run(owner, "publish", phantom.root, "--repo-id", "open/p", "--visible")
    code = (
        "import datasets; d = datasets.load_dataset('open/p', 'default');"
        "print(sum(s.num_rows for s in d.values()), d['fold0'].features['image'])"
    )
    assert shell.python(guest, code).startswith("8 Nifti")
    code = (
        "from ictmri.lookup import find_cohort; c = find_cohort('open/p'); c.check();"
        "print(c.manifest.digest_of('default'), c.manifest.digest_of('truth'), c.folds().sha256)"
    )
    same = [phantom.manifest.digest_of(config) for config in ("default", "truth")]
    assert shell.python(guest, code) == " ".join([*same, phantom.folds().sha256])


def test_a_version_never_changes(
    phantom: Cohort, hub: LoopbackHub, shell: Shell, tmp_path: Path
) -> None:
    from ictmri.release.withdraw import withdraw

    owner = hub.add_user("carol", orgs=["versions"])
    target = ("--repo-id", "versions/p", "--visible")
    shell.run(owner, "publish", phantom.root, *target)
    other = build_phantom(tmp_path / "other", seed=7, n_cases=8, n_folds=2, spacing=6.0, jobs=1)
    assert "a version never changes" in shell.run(owner, "publish", other.root, *target, code=1)
    gone = phantom.folds().case_ids[0]
    second = withdraw(phantom, [gone], "consent", tmp_path / "second")
    assert "at v2.0.0" in shell.run(owner, "publish", second.root, *target)
    code = (
        "import ictmri; f = lambda v: sum(s.num_rows for s in ictmri.load_dataset("
        "'versions/p', revision=v).values()); print(f('v1.0.0'), f('v2.0.0'), f('v1.0.0'))"
    )
    assert shell.python(owner, code) == "8 7 8"


def test_without_an_account(phantom: Cohort, hub: LoopbackHub, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "publish", str(phantom.root), "--repo-id", "open/q"],
        env=hub.env(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_upload_that_fails_is_finished_by_the_same_command(
    phantom: Cohort, hub: LoopbackHub, shell: Shell
) -> None:
    owner = hub.add_user("dan", orgs=["flaky"])
    target = ("publish", phantom.root, "--repo-id", "flaky/p", "--visible")
    hub.faults.fail(503, times=1, part="flaky/p/commit")
    told = shell.run(owner, *target, code=1)
    assert "error: flaky/p: the Hub has a problem of its own (status 503)" in told
    shell.run(owner, "info", "flaky/p", code=1)
    assert "at v1.0.0" in shell.run(owner, *target)
    assert "2 folds" in shell.run(owner, "info", "flaky/p")
