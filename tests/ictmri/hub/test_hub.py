import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.loopback_hub import LoopbackHub

from ictmri.build.folder import build_folder
from ictmri.cohort import open_cohort
from ictmri.hub.download import Snapshot, read_snapshot

REPO = "clinic/cohort"
BIG = "data/default/fold0-00000-of-00001.parquet"
GUEST = "hf_guest_write"
SECONDS = 30  # on a busy machine the client alone takes ten to start

PREFLIGHT = """
import sys
from ictmri.errors import IctmriError
from ictmri.hub.download import preflight
try:
    print(preflight(sys.argv[1], revision=sys.argv[2] or None))
except IctmriError as error:
    sys.exit(str(error))
"""
DOWNLOAD = """
import sys
from pathlib import Path
from ictmri.errors import IctmriError
from ictmri.hub.download import download
try:
    print(download(sys.argv[1], Path("copy")).commit)
except IctmriError as error:
    sys.exit(str(error))
"""
COMMAND = "from ictmri.cli.app import main; main()"
LOAD = """
import json, sys
from ictmri.errors import IctmriError
from ictmri.loader import load_dataset
try:
    loaded = load_dataset(sys.argv[1], revision=sys.argv[2] or None)
except IctmriError as error:
    sys.exit(str(error))
print(json.dumps({split: list(rows["case_id"]) for split, rows in loaded.items()}))
"""
FIND = """
import json, sys
from ictmri.lookup import find_cohort
from ictmri.errors import IctmriError
try:
    cohort = find_cohort(sys.argv[1], revision=sys.argv[2] or None)
except IctmriError as error:
    sys.exit(str(error))
print(json.dumps([row["case_id"] for row in cohort.rows("default", ["case_id"])]))
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        running.add_user("ada", orgs=["clinic"])
        running.add_user("guest")
        yield running


@pytest.fixture
def content() -> dict[str, bytes]:
    # One file of several network packets, one small, one empty, one that the Hub keeps outside LFS.
    big = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(100_000))
    return {BIG: big, "data/two.parquet": big[:999], "empty.txt": b"", "folds.csv": b"a,b\n1,2\n"}


@pytest.fixture
def cohort(mini_table: Path, tmp_path: Path) -> Path:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root


def client(
    hub: LoopbackHub, home: Path, code: str, *arguments: str, token: str | None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=home,
        env=hub.env(home, token, **env),
        capture_output=True,
        text=True,
        check=False,
    )


def refused(
    hub: LoopbackHub, home: Path, code: str, *arguments: str, token: str | None, **env: str
) -> str:
    done = client(hub, home, code, *arguments, token=token, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Next: " in done.stderr
    return done.stderr


def downloaded(hub: LoopbackHub, home: Path) -> Path:
    done = client(hub, home, DOWNLOAD, REPO, token=GUEST)
    assert done.returncode == 0, done.stderr
    commit = hub.repositories[REPO].branches["main"]
    assert done.stdout.strip() == commit
    copy = home / "copy"
    assert read_snapshot(copy) == Snapshot(copy, REPO, commit)
    found = [path for path in copy.rglob("*") if path.is_file() and path.name != ".snapshot.json"]
    assert {path.relative_to(copy).as_posix(): path.read_bytes() for path in found} == hub.files(
        REPO
    )
    return copy


def test_access_gives_the_commit(
    hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes]
) -> None:
    first = hub.seed(REPO, content, gated="manual")
    hub.repositories[REPO].tags["v1.0.0"] = first
    second = hub.seed(REPO, {**content, "new.txt": b"new"}, gated="manual")
    hub.set_access(REPO, "guest", "accepted")
    for revision, commit in (("", second), ("main", second), ("v1.0.0", first), (first, first)):
        done = client(hub, tmp_path, PREFLIGHT, REPO, revision, token=GUEST)
        assert done.stdout.strip() == commit, done.stderr


def test_every_refusal_has_its_own_message(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.seed(REPO, {"a.txt": b"a"}, gated="manual")
    hub.seed("clinic/pending-review", {"a.txt": b"a"}, gated="manual")
    hub.seed("clinic/hidden", {"a.txt": b"a"}, private=True)
    said = {
        "nobody": ("", REPO, None, "it is gated, and you are not logged in"),
        "bad token": ("", REPO, "hf_wrong", "does not accept your token"),
        "not asked": ("", REPO, GUEST, "has not asked for access and accepted its terms"),
        "its name": ("", "clinic/pending-review", GUEST, "has not asked for access"),
        "pending": ("pending", REPO, GUEST, "awaits its owners' review"),
        "rejected": ("rejected", REPO, GUEST, "rejected your request"),
        "token": ("limited token", REPO, GUEST, "may not read gated repositories"),
        "words": ("Closed on Sundays.", REPO, GUEST, "the Hub says: Closed on Sundays."),
        "missing": ("", "clinic/none", GUEST, "no such dataset repository"),
        "private": ("", "clinic/hidden", GUEST, "no such dataset repository"),
        "private, nobody": ("", "clinic/hidden", None, "a private one, and you are not logged in"),
        "no name": ("", "clinic/a--b", GUEST, "give the repository as ORG/NAME"),
    }
    for name, (state, repo_id, token, message) in said.items():
        hub.set_access(REPO, "guest", state)
        text = refused(hub, tmp_path, PREFLIGHT, repo_id, "", token=token)
        assert message in text, name
    texts = {message for *_, message in said.values()}
    assert len(texts) == len(said) - 1


def test_no_such_revision(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.seed(REPO, {"a.txt": b"a"})
    text = refused(hub, tmp_path, PREFLIGHT, REPO, "v9", token=GUEST)
    assert "it has no revision 'v9'" in text


def test_a_hub_that_does_not_answer_is_told_apart_within_seconds(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.seed(REPO, {"a.txt": b"a"})

    def text(**env: str) -> str:
        started = time.monotonic()
        said = refused(hub, tmp_path, PREFLIGHT, REPO, "", token=None, **env)
        assert time.monotonic() - started < SECONDS
        return said

    assert "HF_HUB_OFFLINE is set" in text(HF_HUB_OFFLINE="1")
    hub.faults.fail(503, times=1)
    assert "a problem of its own (status 503)" in text()
    hub.faults.fail(429, times=1, headers={"Retry-After": "77"})
    assert "wait 77 seconds" in text()
    for part in ("", "auth-check"):
        hub.faults.hang(SECONDS, times=1, part=part)
        assert "does not answer in time" in text()
    assert "is not the Hub" in text(HF_ENDPOINT=f"{hub.endpoint}/elsewhere")
    hub.stop()
    assert "cannot be reached" in text()


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "you are not logged in"),
        ("hf_wrong", "does not accept your token"),
        (GUEST, "may not change it (the Hub says: You don't have the rights"),
        ("hf_ada_read", "may not change it (the Hub says: you must use a write token"),
    ],
)
def test_who_may_not_write_is_told_why(
    hub: LoopbackHub, tmp_path: Path, token: str | None, message: str
) -> None:
    hub.seed(REPO, {"a.txt": b"a"})
    hub.add_user("ada", orgs=["clinic"], role="read")
    code = f"""
import sys
import huggingface_hub
from ictmri.errors import IctmriError
from ictmri.hub.download import reaching
try:
    with reaching("{REPO}", writing=True):
        huggingface_hub.HfApi().create_tag("{REPO}", repo_type="dataset", tag="v1.0.0")
except IctmriError as error:
    sys.exit(str(error))
"""
    assert message in refused(hub, tmp_path, code, token=token)
    assert not hub.repositories[REPO].tags


def test_the_command_line_ends_in_one_message(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.stop()
    text = refused(hub, tmp_path, COMMAND, "info", REPO, token=None)
    assert text.startswith(f"error: {REPO}: {hub.endpoint} cannot be reached")
    done = client(hub, tmp_path, COMMAND, "info", "ictmri", token=None, ICTMRI_HUB_REPO=REPO)
    assert done.returncode == 1
    for part in (REPO, "cannot be reached", "gated", "DeepSite-MRI", "ictmri-phantom"):
        assert part in done.stderr


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_cut_in_mid_file_is_resumed(
    hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes], reset: bool
) -> None:
    hub.seed(REPO, content)
    hub.faults.cut(BIG, after=1_000_000, reset=reset)
    hub.faults.cut(BIG, after=500_000, reset=reset)
    downloaded(hub, tmp_path)
    asked = hub.received("GET", f"/cdn/{REPO}/{hashlib.sha256(content[BIG]).hexdigest()}")
    assert [exchange.range for exchange in asked] == ["", "bytes=1000000-", "bytes=1500000-"]
    assert sum(exchange.sent for exchange in asked) == len(content[BIG])


def test_a_process_that_was_killed_is_resumed_by_the_same_command(
    hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes]
) -> None:
    hub.seed(REPO, content)
    hub.faults.stall(BIG, after=1_000_000)
    command = [sys.executable, "-c", DOWNLOAD, REPO]
    env = hub.env(tmp_path, GUEST)
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 6 * SECONDS
        while sum(part.stat().st_size for part in tmp_path.glob("copy/.part-*")) < 1_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.kill()
    assert read_snapshot(tmp_path / "copy") is None
    downloaded(hub, tmp_path)
    *_, last = hub.received("GET", f"/cdn/{REPO}/{hashlib.sha256(content[BIG]).hexdigest()}")
    assert last.range == f"bytes={len(content[BIG]) - last.sent}-"
    assert last.sent <= len(content[BIG]) - 1_000_000


def test_what_is_there_is_not_fetched_again(
    hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes]
) -> None:
    hub.tree_page = 2
    hub.seed(REPO, content)
    copy = downloaded(hub, tmp_path)
    (copy / "folds.csv").write_text("a,b\n1,3\n")
    hub.seed(REPO, {**{path: content[path] for path in (BIG, "folds.csv")}, "new.txt": b"new"})
    before = len(hub.received("GET", "/cdn/"))
    downloaded(hub, tmp_path)
    assert len(hub.received("GET", "/cdn/")) == before
    assert not (copy / "data" / "two.parquet").exists()


def test_records_of_earlier_copies_are_understood(tmp_path: Path) -> None:
    digests = {"sha256": "0" * 64, "bytes": 1}
    about = {"schema": "ictmri/snapshot/1", "repo_id": REPO, "commit": "a" * 40}
    known = Snapshot(tmp_path, REPO, "a" * 40)
    finished: dict[str, object] = {"a.txt": digests, "b.txt": digests}
    for files, expected in ((finished, known), (finished | {"b.txt": {"bytes": 1}}, None)):
        (tmp_path / ".snapshot.json").write_text(json.dumps(about | {"files": files}))
        assert read_snapshot(tmp_path) == expected


def test_a_file_that_arrives_wrong_is_named_and_fetched_again(
    hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes]
) -> None:
    hub.seed(REPO, content)
    for path in ("data/two.parquet", "folds.csv"):
        hub.faults.corrupt(path)
    text = refused(hub, tmp_path, DOWNLOAD, REPO, token=None)
    assert "2 problems" in text
    assert "data/two.parquet: what arrived is not what the Hub lists" in text
    assert "run the same command again" in text
    assert not (tmp_path / "copy" / "folds.csv").exists()
    assert (tmp_path / "copy" / BIG).read_bytes() == content[BIG]
    for path in ("data/two.parquet", "folds.csv"):
        hub.faults.corrupt(path, healed=True)
    downloaded(hub, tmp_path)
    assert len(hub.received("GET", hashlib.sha256(content[BIG]).hexdigest())) == 1


def test_the_hub_may_stumble(hub: LoopbackHub, tmp_path: Path, content: dict[str, bytes]) -> None:
    hub.seed(REPO, content)
    hub.faults.fail(503, times=1, part="/tree/")
    hub.faults.fail(429, times=1, part="resolve", headers={"Retry-After": "0"})
    hub.faults.fail(500, times=1, part="/cdn/")
    downloaded(hub, tmp_path)


def test_names_that_lead_elsewhere_are_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    tricks = (
        "../evil.txt",
        "/evil.txt",
        "a/../../evil.txt",
        ".git/config",
        "c:evil",
        "a\\b",
        "a//b",
    )
    hub.seed(REPO, dict.fromkeys((*tricks, "good.txt", "Good.txt"), b"evil"))
    text = refused(hub, tmp_path, DOWNLOAD, REPO, token=None)
    for path in tricks:
        assert repr(path) in text
    assert "'good.txt' is the name of two files on some disks" in text
    assert not hub.received(part="resolve")
    assert not list(tmp_path.rglob("*evil*"))


def test_without_room_nothing_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.seed(REPO, {"a.bin": b"a"})
    hub.claimed_sizes["a.bin"] = 10**17
    text = refused(hub, tmp_path, DOWNLOAD, REPO, token=None)
    assert "the files need 100000000.00 GB more" in text
    assert not hub.received(part="resolve")


def test_a_folder_of_the_users_own_is_left_alone(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.seed(REPO, {"a.txt": b"a"})
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "a.txt").write_text("mine")
    text = refused(hub, tmp_path, DOWNLOAD, REPO, token=None)
    assert "it holds files that were not downloaded" in text
    assert (tmp_path / "copy" / "a.txt").read_text() == "mine"


def test_round_trip_through_a_gated_repository(
    hub: LoopbackHub, tmp_path: Path, cohort: Path
) -> None:
    publish = f"""
import huggingface_hub
api = huggingface_hub.HfApi()
api.create_repo("{REPO}", repo_type="dataset", private=True)
api.update_repo_settings("{REPO}", repo_type="dataset", gated="manual")
api.upload_folder(repo_id="{REPO}", repo_type="dataset", folder_path="{cohort}")
api.create_tag("{REPO}", repo_type="dataset", tag="v0.1.0")
api.update_repo_settings("{REPO}", repo_type="dataset", private=False)
"""
    assert client(hub, tmp_path, publish, token="hf_ada_write").returncode == 0
    text = refused(hub, tmp_path, LOAD, REPO, "", token=GUEST)
    assert "has not asked for access" in text
    hub.set_access(REPO, "guest", "accepted")
    done = client(hub, tmp_path, LOAD, REPO, "", token=GUEST)
    assert done.returncode == 0, done.stderr
    commit = hub.repositories[REPO].tags["v0.1.0"]
    copy = open_cohort(tmp_path / "ictmri" / "hub" / "clinic--cohort" / commit)
    assert copy.manifest == open_cohort(cohort).manifest
    copy.check()
    rows = json.loads(done.stdout)
    assert {case for cases in rows.values() for case in cases} == {
        row["case_id"] for row in open_cohort(cohort).rows("default", ["case_id"])
    }
    hub.stop()
    assert json.loads(client(hub, tmp_path, LOAD, REPO, "", token=None).stdout) == rows


def test_datasets_alone_reads_it_too(hub: LoopbackHub, tmp_path: Path, cohort: Path) -> None:
    hub.seed(REPO, cohort, gated="auto")
    hub.set_access(REPO, "guest", "accepted")
    code = f"""
import datasets
token = "{GUEST}"
whole = datasets.load_dataset("{REPO}", token=token)
streamed = datasets.load_dataset("{REPO}", token=token, streaming=True)
for split in whole:
    for ours, theirs in zip(whole[split], streamed[split], strict=True):
        assert ours["case_id"] == theirs["case_id"]
        assert (ours["image"].get_fdata() == theirs["image"].get_fdata()).all()
print(sum(len(rows) for rows in whole.values()))
"""
    done = client(hub, tmp_path, code, token=None)
    assert done.stdout.strip() == "15", done.stderr


def test_releases_are_kept_side_by_side(
    hub: LoopbackHub, tmp_path: Path, mini_table: Path, cohort: Path
) -> None:
    lines = mini_table.read_text().splitlines(keepends=True)
    mini_table.write_text("".join(lines[:-1]))
    newer = build_folder(mini_table, tmp_path / "newer" / "mini", n_folds=3).cohort.root
    first = hub.seed(REPO, cohort)
    hub.repositories[REPO].tags["v1.0.0"] = first

    def cases(revision: str, **env: str) -> int:
        done = client(hub, tmp_path, FIND, REPO, revision, token=None, **env)
        assert done.returncode == 0, done.stderr
        return len(json.loads(done.stdout))

    assert cases("v1.0.0") == 15
    second = hub.seed(REPO, newer)
    assert cases("main") == 14
    assert cases("v1.0.0") == 15
    served = len(hub.received(part="/cdn/"))
    for revision, count in (("main", 14), ("", 14), (first, 15), (second, 14)):
        assert cases(revision, HF_HUB_OFFLINE="1") == count
    assert cases("v1.0.0") == 15
    assert len(hub.received(part="/cdn/")) == served
    assert "HF_HUB_OFFLINE" in refused(
        hub, tmp_path, FIND, REPO, "v2.0.0", token=None, HF_HUB_OFFLINE="1"
    )


def test_only_the_clinical_cohort_takes_its_name(
    hub: LoopbackHub, tmp_path: Path, cohort: Path
) -> None:
    hub.seed(REPO, cohort)
    text = refused(hub, tmp_path, FIND, "ictmri", "", token=None, ICTMRI_HUB_REPO=REPO)
    assert "it holds the cohort 'mini', not 'ictmri'" in text
    hub.seed("clinic/other", {"a.csv": b"a\n1\n"})
    text = refused(hub, tmp_path, FIND, "clinic/other", "", token=None)
    assert "it holds no manifest.json" in text
    text = refused(hub, tmp_path, FIND, "ictmri-phantom", "v1.0.0", token=None)
    assert "is not on the Hub" in text


def test_a_copy_that_its_manifest_does_not_describe_is_refused(
    hub: LoopbackHub, tmp_path: Path, cohort: Path
) -> None:
    (cohort / BIG).write_bytes((cohort / BIG).read_bytes()[:-1] + b"?")
    hub.seed(REPO, cohort)
    for _ in range(2):
        text = refused(hub, tmp_path, FIND, REPO, "", token=None)
        assert f"{BIG}: its SHA-256 is not the recorded one" in text
