"""Sealed mode from end to end, and everything that people could try against it."""

import io
import itertools
import json
import re
import secrets
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.made_challenge import DAY, START, World, made_table
from support.made_predictions import probabilities, write_predictions

from ictmri.classes import CLASSES
from ictmri.cli.app import main
from ictmri.errors import InputError
from ictmri.folds import Candidate, FoldRow, FoldTable, assign_folds
from ictmri.io.files import sha256_bytes, stored_zip, write_bytes
from ictmri_benchmark import evaluate
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo, write_entry
from ictmri_benchmark.score.metrics import headline
from ictmri_benchmark.sealed import keys, store
from ictmri_benchmark.sealed.documents import (
    Challenge,
    Envelope,
    Record,
    Result,
    canonical,
    compact,
    decode,
    load_challenge,
)
from ictmri_benchmark.sealed.labels import commit, gather, make_rules
from ictmri_benchmark.sealed.log import read_log
from ictmri_benchmark.sealed.package import MEMBERS, pack, unpack
from ictmri_benchmark.sealed.store import ChallengeStore
from ictmri_benchmark.sealed.verify import check_reveal, verify, write_entries


@pytest.fixture
def mini() -> FoldTable:
    return made_table()


@pytest.fixture
def world(tmp_path: Path, mini: FoldTable) -> World:
    made = World(tmp_path, mini)
    made.admit("Team A")
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two participants, five scored submissions."""
    world = World(tmp_path_factory.mktemp("played"), made_table())
    world.admit("Team A")
    world.admit("Team B")
    for name, skill in (("Team A", 0.1), ("Team B", 0.2), ("Team A", 0.7), ("Team A", 0.6)):
        world.score(world.pack(name, skill, slug=name.lower().replace(" ", "-")))
    world.score(world.pack("Team B", 0.9, slug="team-b", trained_on="patients of B"))
    return world


@pytest.fixture
def played(template: World, tmp_path: Path) -> World:
    """A copy of the five scored submissions that may be spoilt."""
    return template.copied(tmp_path / "played")


def problems(error: pytest.ExceptionInfo[InputError]) -> str:
    return "\n".join(error.value.problems)


def refused(message: str, call: Callable[..., object], *arguments: object, **named: object) -> None:
    with pytest.raises(InputError) as error:
        call(*arguments, **named)
    assert re.search(message, problems(error)), problems(error)


# --- the ordinary course ---------------------------------------------------------------------------


def test_from_the_first_submission_to_the_board(played: World, tmp_path: Path) -> None:
    log = read_log(played.public / "log.jsonl", played.challenge)
    a, b = ([s.value for s in log.of(name)] for name in ("Team A", "Team B"))
    assert a[0] < a[1] == a[2]  # the third was worse: the second's value again
    assert b[0] < b[1]
    results = sorted((played.public / "results").iterdir())
    verified = verify([played.public / "log.jsonl", *results], played.challenge)
    assert [len(found) for found in verified] == [1, 5]

    assert played.reveal(tmp_path / "reveal", now=START + DAY) == 5
    checked = check_reveal(tmp_path / "reveal", played.challenge)
    assert write_entries(tmp_path / "r4", checked) == 2
    board = json.loads((tmp_path / "r4" / "leaderboard.json").read_text())
    rows = [row for row in board["entries"] if row["report"]]
    assert [(row["slug"], row["level"]) for row in rows] == [("team-b", "R4"), ("team-a", "R4")]
    # No model held out a fold here, so one that says where it learned is ranked with the others.
    assert (rows[0]["trained_on"], rows[0]["ranked"]) == ("patients of B", True)
    assert board["external"] == []
    for row, name, last in ((rows[0], 0.9, b[-1]), (rows[1], 0.7, a[-1])):
        report = evaluate(played.predictions(name), played.table)
        ours, theirs = row["report"]["pooled"]["macro_f1"], report.content["pooled"]["macro_f1"]
        assert ours["value"] == theirs["value"]
        assert ours["low"] < ours["value"] < ours["high"]
        assert abs(ours["value"] - float(last)) <= 0.025 + 1e-9
    refused("closed", played.score, played.pack("Team A", 0.8))


def test_no_label_and_no_other_number_is_public(played: World) -> None:
    """Neither a digest of the labels without salt, which could be tried out, nor a second metric."""
    text = "\n".join(p.read_text() for p in played.public.rglob("*") if p.is_file())
    table = (played.folder / "private" / "folds.csv").read_bytes()
    salt = (played.folder / "private" / "salt").read_text().strip()
    hidden = [sha256_bytes(table), played.table.sha256, played.table.labels_sha256, salt]
    assert not [secret for secret in hidden if secret in text]
    assert not [word for word in (*CLASSES, "confusion", "low", "accuracy") if word in text]
    result = json.loads(next((played.public / "results").iterdir()).read_text())
    assert set(result) == {n if n != "schema_" else "schema" for n in Result.model_fields}


def test_secrets_are_the_owners_alone(world: World) -> None:
    world.score(world.pack("Team A", 0.5))
    private = world.folder / "private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    secrets = [
        "organiser.key",
        "salt",
        "folds.csv",
        *(f"submissions/{p.name}" for p in private.glob("submissions/*")),
    ]
    assert len(secrets) == 4
    assert {stat.S_IMODE((private / name).stat().st_mode) for name in secrets} == {0o600}
    (private / "organiser.key").chmod(0o644)
    refused("others may read", world.score, world.pack("Team A", 0.6))


def test_packing_gives_the_same_bytes_however_the_table_is_written(world: World) -> None:
    values = probabilities(world.table, 0.4)
    rows = [
        (r.case_id, *(float(p) for p in cells))
        for r, cells in zip(world.table.rows, values, strict=True)
    ]
    columns = ["case_id", *(f"p_{name}" for name in CLASSES)]
    plain = [",".join(columns), *(",".join([c, *map(repr, p)]) for c, *p in rows)]
    other = [" , ".join(reversed(columns)) + ",seed"]
    other += [" , ".join([*(f"{x:.9e}" for x in reversed(p)), c, "0"]) for c, *p in reversed(rows)]
    packed = set()
    for lines in (plain, other):
        path = world.root / "table.csv"
        path.write_text("\r\n".join(lines) + "\n\n")
        packed.add(pack(path, world.entry(), world.challenge, world.key("Team A")).content)
    assert len(packed) == 1


def test_rounded_probabilities_are_packed_divided_by_their_sum(world: World) -> None:
    path = world.root / "rounded.csv"
    rows = [f"{row.case_id},0.33,0.33,0.33,0" for row in world.table.rows]
    path.write_text("\n".join(["case_id,p_glioma,p_pcnsl,p_germinoma,p_rare", *rows]))
    asked = (path, world.entry(), world.challenge, world.key("Team A"))
    refused("sum", pack, *asked)
    packed = unpack(pack(*asked, normalize=True).content, world.challenge, "x")
    assert packed.predictions.probabilities is not None
    assert np.allclose(packed.predictions.probabilities[0], [1 / 3, 1 / 3, 1 / 3, 0])


def test_predictions_come_through_unchanged(world: World) -> None:
    archive = world.pack("Team A", 0.4)
    read = unpack(archive.read_bytes(), world.challenge, "x").predictions
    assert read.probabilities is not None
    assert (read.probabilities[0] == probabilities(world.table, 0.4)).all()


# --- participants against the quota ----------------------------------------------------------------


def test_the_quota_in_all_and_by_day(tmp_path: Path, mini: FoldTable) -> None:
    world = World(tmp_path, mini, quota=3, per_day=1)
    world.admit("Team A")
    world.score(world.pack("Team A", 0.1))
    refused("next one from 2030-01-02 12:00", world.score, world.pack("Team A", 0.2))
    world.score(world.pack("Team A", 0.2), now=START + DAY)
    for back in (timedelta(0), DAY, 400 * DAY):  # the clock stands still or goes back
        refused("in 24 hours", world.score, world.pack("Team A", 0.3), now=START + DAY - back)
    answer = world.score(world.pack("Team A", 0.3), now=START + 2 * DAY)
    assert (answer.used, answer.left) == (3, 0)
    refused(
        "all 3 submissions are used", world.score, world.pack("Team A", 0.4), now=START + 9 * DAY
    )


def test_a_clock_that_goes_forward_and_back_gives_nothing_away(
    tmp_path: Path, mini: FoldTable
) -> None:
    world = World(tmp_path, mini, per_day=1)
    world.admit("Team A")
    world.score(world.pack("Team A", 0.1))
    world.admit("Team B", now=START + 2 * DAY)
    hour = START + timedelta(hours=1)
    refused("in 24 hours", world.score, world.pack("Team A", 0.2), now=hour)
    world.score(world.pack("Team B", 0.2), now=hour)
    times = [json.loads(line)["time"] for line in world.log()]
    assert times == sorted(times)
    verify([world.public / "log.jsonl"], world.challenge)


def test_the_quota_of_all_participants(tmp_path: Path, mini: FoldTable) -> None:
    world = World(tmp_path, mini, total=2)
    for name in ("Team A", "Team B", "Team C"):
        world.admit(name)
    world.score(world.pack("Team A", 0.1))
    world.score(world.pack("Team B", 0.1))
    refused("all 2 submissions of the challenge", world.score, world.pack("Team C", 0.1))


def test_the_same_predictions_again_get_the_same_answer_and_do_not_count(world: World) -> None:
    first = world.score(world.pack("Team A", 0.3))
    world.score(world.pack("Team A", 0.8))
    before = world.log()
    for archive in (world.pack("Team A", 0.3), world.pack("Team A", 0.3, slug="another-name")):
        again, counted = world.answer(archive, now=START + 3 * DAY)
        assert not counted
        assert again.to_json() == first.to_json()
    assert world.log() == before


def test_a_new_key_needs_admission_and_a_name_is_admitted_once(world: World) -> None:
    refused("is not admitted", world.score, world.pack("nobody", 0.3))
    for name in ("Team A", "team a", "TEAM  A", "Ｔｅａｍ A"):
        with pytest.raises(InputError, match="admitted already"):
            world.admit_key(keys.public_hex(Ed25519PrivateKey.generate()), name)
    same = keys.public_hex(world.key("Team A"))
    refused("this key was admitted before", world.admit_key, same, "Team Z")
    for name in ("", " Team", "Te\nam", "x" * 61, "Te\u202eam"):
        key = keys.public_hex(Ed25519PrivateKey.generate())
        refused("printing characters", world.admit_key, key, name)


def test_no_name_stands_for_those_who_are_not_admitted(world: World) -> None:
    for name in ("nobody", "None", "0"):
        world.admit(name)
        world.score(world.pack(name, 0.3))
    refused("is not admitted", world.score, world.pack("somebody else", 0.3))


def test_a_replaced_key_keeps_quota_and_ladder(world: World) -> None:
    first = world.score(world.pack("Team A", 0.8))
    old = world.keys.pop("Team A")
    world.admit("Team A", replaces=True)
    answer = world.score(world.pack("Team A", 0.1))
    assert (answer.used, answer.value) == (2, first.value)
    world.keys["Team A"] = old
    refused("was replaced", world.score, world.pack("Team A", 0.5))
    verify([world.public / "log.jsonl"], world.challenge)


def test_what_is_refused_does_not_count(world: World) -> None:
    before = world.log()
    bad = world.root / "bad.zip"
    bad.write_bytes(b"no zip")
    refused("not a zip", world.score, bad)
    refused("is not admitted", world.score, world.pack("nobody", 0.3))
    assert world.log() == before


def test_a_stolen_submission_stays_its_owners(world: World) -> None:
    world.admit("Thief")
    archive = world.pack("Team A", 0.6)
    parts = members(archive)
    envelope = json.loads(parts["submission.json"])
    thief = keys.public_hex(world.key("Thief"))
    parts["submission.json"] = (
        json.dumps(envelope | {"participant": thief}, indent=1).encode() + b"\n"
    )
    stolen = world.root / "stolen.zip"
    stolen.write_bytes(archived(parts))
    refused("signature is not that of the participant", world.score, stolen)
    assert world.score(archive).participant == "Team A"  # whoever hands it in
    copied = world.pack("Thief", 0.6)
    answer, counted = world.answer(
        copied
    )  # the same predictions under another name: counted for that name
    assert counted
    assert (answer.participant, answer.used) == ("Thief", 1)


# --- hostile submissions ---------------------------------------------------------------------------


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(parts: dict[str, bytes], **options: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def archived(parts: dict[str, bytes]) -> bytes:
    return stored_zip({name: parts[name] for name in MEMBERS})


def with_link(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name)
            linked = name == "predictions.csv"
            info.external_attr = (0o120777 if linked else 0o100644) << 16
            archive.writestr(info, b"/etc/passwd" if linked else content)
    return stream.getvalue()


def twice(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in [*parts.items(), ("predictions.csv", b"case_id,prediction\n")]:
                archive.writestr(name, content)
    return stream.getvalue()


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], bytes], str]] = {
    "no zip": (lambda _: b"case_id,prediction\n", "not a zip archive"),
    "empty": (lambda _: b"", "not a zip archive"),
    "cut": (lambda parts: archived(parts)[:-30], "not a zip archive"),
    "too large": (lambda _: b"\0" * (17 * 2**20), "(larger|more) than"),
    "bomb": (
        lambda parts: zipped(
            parts | {"predictions.csv": b"0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED
        ),
        "is compressed",
    ),
    "path": (lambda parts: zipped(parts | {"../../evil": b"x"}), "holds 4 members"),
    "absolute path": (lambda parts: zipped(parts | {"/etc/evil": b"x"}), "holds 4 members"),
    "case": (
        lambda parts: zipped({name.upper(): content for name, content in parts.items()}),
        "holds 3 members",
    ),
    "twice": (twice, "holds 4 members"),
    "link": (with_link, "more than its three members"),
    "missing": (lambda _: zipped({"submission.json": b"{}"}), "holds 1 members"),
    "prefix": (lambda parts: b"MZ" + archived(parts), "more than its three members"),
    "suffix": (lambda parts: archived(parts) + b"x", "more than its|not a zip"),
    "times": (zipped, "more than its three members"),
    "comment": (
        lambda parts: archived(parts)[:-2] + b"\x05\x00hello",
        "more than its three members",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(world: World, name: str) -> None:
    make, message = HOSTILE[name]
    path = world.root / "hostile.zip"
    path.write_bytes(make(members(world.pack("Team A", 0.5))))
    refused(message, world.score, path)
    assert not list((world.folder / "private").glob("submissions/*"))


def resigned(world: World, name: str = "Team A", skill: float = 0.5, **changed: bytes) -> Path:
    """An archive whose parts were replaced and signed again by an admitted participant."""
    parts = members(world.pack(name, skill))
    parts |= {part.replace("_", "."): content for part, content in changed.items()}
    key = world.key(name)
    envelope = Envelope.signed_by(
        key,
        challenge=world.challenge.sha256(),
        participant=keys.public_hex(key),
        entry_sha256=sha256_bytes(parts["entry.yaml"]),
        predictions_sha256=sha256_bytes(parts["predictions.csv"]),
    )
    path = world.root / "resigned.zip"
    path.write_bytes(archived(parts | {"submission.json": envelope.to_json().encode()}))
    return path


def table_edits() -> dict[str, tuple[Callable[[list[str]], list[str]], str]]:
    def cell(text: str) -> Callable[[list[str]], list[str]]:
        return lambda rows: [rows[0], f"{rows[1].split(',')[0]},{text}", *rows[2:]]

    return {
        "nan": (cell("nan,nan,nan,nan"), "not a probability"),
        "infinite": (cell("inf,0,0,0"), "not a probability"),
        "negative": (cell("-1,1,1,0"), "not a probability"),
        "huge": (cell(f"1{'0' * 5000},0,0,0"), "not a probability"),
        "sum": (cell("0.9,0.9,0.1,0.1"), "sum to 2"),
        "unknown": (lambda r: [*r, "mini-9999,1.0,0.0,0.0,0.0"], "no case 'mini-9999'"),
        "twice": (lambda r: [*r, r[1]], "stands in row 2 already"),
        "missing": (lambda r: r[:-1], "1 cases? (is|are) missing"),
        "order": (lambda r: [r[0], *reversed(r[1:])], "not in its one byte form"),
        "space": (lambda r: [r[0], r[1].replace(",", ", "), *r[2:]], "not in its one byte form"),
        "zeros": (cell("0.250,0.25,0.25,0.25"), "not in its one byte form"),
    }


@pytest.mark.parametrize("name", table_edits())
def test_predictions_that_are_not_valid(world: World, name: str) -> None:
    edit, message = table_edits()[name]
    rows = members(world.pack("Team A", 0.5))["predictions.csv"].decode().splitlines()
    content = ("\n".join(edit(rows)) + "\n").encode()
    refused(message, world.score, resigned(world, predictions_csv=content))


def test_ties_go_to_the_first_class_and_tell_nothing(world: World) -> None:
    rows = [f"{case},0.25,0.25,0.25,0.25" for case in world.challenge.cases]
    header = "case_id," + ",".join(f"p_{name}" for name in CLASSES)
    tied = world.score(resigned(world, predictions_csv="\n".join([header, *rows, ""]).encode()))
    first = [f"{case},{CLASSES[0]}" for case in world.challenge.cases]
    plain = "\n".join(["case_id,prediction", *first, ""]).encode()
    assert world.score(resigned(world, predictions_csv=plain)).value == tied.value


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "entry"),
        ("schema: [", "not valid YAML"),
        ("when: 2020-99-99", "YAML|when"),
        ("[" * 20_000, "YAML"),
        (BOMB, "Field required|extra|YAML"),
        (f"seeds: [{'9' * 6000}]", "YAML|seeds"),
        ("x: !!python/object/apply:os.system [true]", "not valid YAML"),
        ("a" * 300_000, "(larger|more) than"),
    ],
)
def test_entries_that_are_not_valid(world: World, text: str, message: str) -> None:
    refused(message, world.score, resigned(world, entry_yaml=text.encode()))


def test_all_problems_come_in_one_message(world: World) -> None:
    entry = world.entry(synthetic=True, seeds=(1, 2), claimed={"macro_f1": 0.9})
    table = world.root / "bad.csv"
    table.write_text("case_id,prediction\nmini-0001,gliom\n")
    with pytest.raises(InputError) as error:
        pack(table, entry, world.challenge, world.key("Team A"))
    for part in ("synthetic is True", "claimed", "did you mean 'glioma'"):
        assert part in problems(error)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xff",
        b"{} {}",
        b"",
        b"[" * 101 + b"]" * 101,
    ],
)
def test_json_that_can_be_read_in_two_ways(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        canonical(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"challenge": 5}, "challenge"),
        ({"participant": "00"}, "participant"),
        ({"extra": 1}, "extra"),
        ({"signature": "0" * 128}, "signature is not"),
        ({"schema": "ictmri/sealed-result/1"}, "schema"),
        ({"challenge": "0" * 64}, "made for another challenge"),
    ],
)
def test_envelopes_that_are_not_valid(
    world: World, change: dict[str, object], message: str
) -> None:
    parts = members(world.pack("Team A", 0.5))
    changed = json.loads(parts["submission.json"]) | change
    parts["submission.json"] = (json.dumps(changed, indent=1) + "\n").encode()
    path = world.root / "changed.zip"
    path.write_bytes(archived(parts))
    refused(message, world.score, path)


def test_a_submission_for_another_challenge(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", world.table)
    other.keys = world.keys
    other.admit("Team A")
    refused("made for another challenge", other.score, world.pack("Team A", 0.5))


# --- forged and edited documents -------------------------------------------------------------------


def test_a_forged_challenge(world: World, tmp_path: Path) -> None:
    path = world.public / "challenge.json"
    content = json.loads(path.read_text())
    forged = tmp_path / "forged.json"
    for change in (
        {"name": "other"},
        {"rules": content["rules"] | {"quota": 99}},
        {"commitment": content["commitment"] | {"root": "0" * 64}},
        {"cases": content["cases"][1:]},
    ):
        forged.write_text(json.dumps(content | change))
        refused("it was edited", load_challenge, forged)
    mallory = Ed25519PrivateKey.generate()
    copied = {k: v for k, v in content.items() if k not in {"signature", "organiser", "schema"}}
    forged.write_text(
        Challenge.signed_by(mallory, **copied, organiser=keys.public_hex(mallory)).to_json()
    )
    theirs = load_challenge(forged)  # whole in itself: only the organiser's key tells
    refused("not the organiser's", load_challenge, forged, world.challenge.organiser)
    entry = BenchmarkRef(cohort="mini", splits_sha256=theirs.sha256())
    packed = pack(world.predictions(0.5), world.entry(benchmark=entry), theirs, world.key("Team A"))
    (tmp_path / "x.zip").write_bytes(packed.content)
    refused("made for another challenge", world.score, tmp_path / "x.zip")


def test_a_name_makes_no_other_document_of_a_result(world: World) -> None:
    name = 'x"schema": "ictmri/sealed-head/1"'
    world.keys[name] = world.key("plain")
    world.admit(name)
    world.score(world.pack("plain", 0.4))
    results = sorted((world.public / "results").iterdir())
    assert (
        len(verify([world.public / "log.jsonl", *results], world.challenge)[1]) == len(results) > 0
    )


def test_a_forged_result(world: World, tmp_path: Path) -> None:
    world.admit("Team B")
    result = world.score(world.pack("Team A", 0.3))
    forged = tmp_path / "result.json"
    for change in (
        {"value": "1.00"},
        {"participant": "Team B"},
        {"left": 99},
        {"challenge": "0" * 64},
        {"value": 1.0},
        {"value": "0.333333"},
    ):
        forged.write_text(json.dumps(result.content() | change))
        refused("forged or edited|value", verify, [forged], world.challenge)
    mine = {k: v for k, v in result.content().items() if k != "signature"} | {"value": "1.00"}
    forged.write_text(Result.signed_by(world.key("Team A"), **mine).to_json())
    refused("forged or edited", verify, [forged], world.challenge)


def edit(line: bytes, **change: object) -> bytes:
    return compact(json.loads(line) | change)


LOG_EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "value": lambda log: [*log[:4], edit(log[4], value="1.00"), *log[5:]],
    "last time": lambda log: [*log[:-1], edit(log[-1], time="2030-01-01T12:00:01Z")],
    "time": lambda log: [*log[:3], edit(log[3], time="2030-02-01T12:00:00Z"), *log[4:]],
    "removed": lambda log: log[:3] + log[5:],
    "first removed": lambda log: log[1:],
    "swapped": lambda log: [*log[:3], *log[5:7], *log[3:5], *log[7:]],
    "repeated": lambda log: [*log[:5], *log[3:]],
    "spaces": lambda log: [log[0].replace(b":", b": "), *log[1:]],
    "not json": lambda log: [*log, b"{"],
    "unknown event": lambda log: [*log, edit(log[-1], event="bribe")],
    "empty line": lambda log: [*log, b""],
    "empty": lambda _: [],
}


@pytest.mark.parametrize("name", LOG_EDITS)
def test_an_edited_log(played: World, name: str) -> None:
    path = played.write_log(LOG_EDITS[name](played.log()))
    with pytest.raises(InputError):
        verify([path], played.challenge)


def test_a_cut_log(played: World) -> None:
    """Every prefix is a log that once was true; a later signed head or result shows the cut."""
    log = played.log()
    last = max((played.public / "results").iterdir(), key=lambda p: int(p.stem))
    for length in range(1, len(log)):
        path = played.write_log(log[:length])
        for seen in (played.public / "head.json", last):
            refused("the log was cut", verify, [path, seen], played.challenge)
    half = played.root / "half.jsonl"
    half.write_bytes(b"\n".join(log)[:-5])
    refused("cut", verify, [half], played.challenge)


def test_the_organiser_cannot_rewrite_what_was_answered(played: World, tmp_path: Path) -> None:
    """A rewritten log is signed by the right key and whole, but not what the others hold results of."""
    log = played.log()
    results = sorted((played.public / "results").iterdir(), key=lambda p: int(p.stem))
    with ChallengeStore.open(played.folder, START) as held:
        signer = held._key
    state = read_log(played.write_log(log[:4]), played.challenge)
    record = Record.signed_by(
        signer,
        event="result",
        seq=4,
        previous=state.last_digest,
        time="2030-01-01T12:00:00Z",
        intent=3,
        value="1.00",
    )
    rewritten = played.write_log([*log[:4], compact(record.content())])
    verify([rewritten], played.challenge)
    refused("the log was rewritten", verify, [rewritten, results[0]], played.challenge)
    spliced = played.write_log([*log[:4], compact(record.content()), *log[5:]], "spliced.jsonl")
    refused("the chain is broken", verify, [spliced], played.challenge)
    forged = json.loads(results[0].read_text()) | {"value": "1.00", "record": record.sha256()}
    del forged["signature"]
    two = tmp_path / "two.json"
    two.write_text(Result.signed_by(signer, **forged).to_json())
    refused("two different records 4", verify, [two, results[0]], played.challenge)


def test_the_organisers_folder_notices_an_older_log(played: World) -> None:
    log = played.log()
    (played.public / "log.jsonl").write_bytes(b"".join(line + b"\n" for line in log[:-2]))
    refused("the log was cut", played.score, played.pack("Team A", 0.4))


def test_labels_that_are_not_those_committed_to_are_not_scored(world: World) -> None:
    path = world.folder / "private" / "folds.csv"
    path.write_text(swap_two_labels(path.read_text()))
    refused("not the labels that were committed", world.score, world.pack("Team A", 0.4))
    assert len(world.log()) == 2


def swap_two_labels(text: str) -> str:
    rows = [row.split(",") for row in text.splitlines()]
    other = next(row for row in rows[2:] if row[2] != rows[1][2])
    rows[1][2], other[2] = other[2], rows[1][2]
    return "\n".join(",".join(row) for row in rows) + "\n"


def test_a_reveal_that_is_not_what_was_promised(played: World, tmp_path: Path) -> None:
    out = tmp_path / "reveal"
    played.reveal(out, now=START + DAY)
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def changed(name: str, content: bytes, message: str) -> None:
        path = out / name
        path.write_bytes(content)
        refused(message, check_reveal, out, played.challenge)
        path.unlink()
        for old, known in whole.items():
            old.write_bytes(known)

    folds = (out / "folds.csv").read_text()
    changed("folds.csv", swap_two_labels(folds).encode(), "not the labels that were committed to")
    changed("folds.csv", folds.replace("mini-0001", "mini-9001").encode(), "not the cases")
    opening = json.loads((out / "opening.json").read_text())
    other = json.dumps(opening | {"salt": secrets.token_bytes(32).hex()}).encode()
    changed("opening.json", other, "forged or edited")
    changed("log.jsonl", b"\n".join(played.log()[:-1]) + b"\n", "cut|no end")
    names = sorted(path.name for path in (out / "submissions").iterdir())
    second = (out / "submissions" / names[1]).read_bytes()
    changed(f"submissions/{names[0]}", second, "not the submission in the log")
    changed(f"submissions/{names[0]}", b"", "not the submission in the log")
    changed("submissions/more.zip", b"x", "not in the log")
    changed(f"submissions/{names[0]}.txt", b"x", "not in the log")
    changed(f"submissions/{Path(names[0]).stem}.csv", b"x", "not in the log")
    (out / "submissions" / names[0]).unlink()
    refused("No such file", check_reveal, out, played.challenge)


def test_a_reveal_shows_values_that_were_made_up(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The organiser holds the key and can log any value: the recomputation finds it."""
    monkeypatch.setattr(store, "released_values", lambda *_: ["0.95"])
    world.score(world.pack("Team A", 0.2))
    world.reveal(tmp_path / "reveal", now=START)
    refused("0.95 was released, recomputed is", check_reveal, tmp_path / "reveal", world.challenge)


def test_a_reveal_shows_a_submission_under_another_name(world: World, tmp_path: Path) -> None:
    world.admit("Friend")
    content = world.pack("Team A", 0.8).read_bytes()
    with ChallengeStore.open(world.folder, START) as held:
        sha256, friend = sha256_bytes(content), keys.public_hex(world.key("Friend"))
        held._append("intent", content, participant="Friend", key=friend, submission=sha256)
        held._finish()
    world.reveal(tmp_path / "reveal", now=START)
    refused("not signed by 'Friend'", check_reveal, tmp_path / "reveal", world.challenge)


def test_a_reveal_is_compared_with_the_ordinary_evaluator(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flattering(matrices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values / 2 + 0.5 for name, values in headline(matrices).items()}

    monkeypatch.setattr("ictmri_benchmark.score.ladder.headline", flattering)
    world.score(world.pack("Team A", 0.2))
    world.reveal(tmp_path / "reveal", now=START)
    refused("the report has", check_reveal, tmp_path / "reveal", world.challenge)


def test_the_organiser_breaking_the_quota_is_seen(
    tmp_path: Path, mini: FoldTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, mini, quota=1)
    world.admit("Friend")
    with monkeypatch.context() as patched:
        patched.setattr("ictmri_benchmark.sealed.log._require", lambda *_: None)
        world.score(world.pack("Friend", 0.2))
        with suppress(ValueError):  # one left of minus one cannot be said, but the log has it
            world.score(world.pack("Friend", 0.4))
    refused("all 1 submissions are used", verify, [world.public / "log.jsonl"], world.challenge)


# --- the commitment --------------------------------------------------------------------------------


def opened_by_trying(root: str, cases: list[str], salts: list[bytes]) -> list[tuple[str, ...]]:
    """Try all labels of a few cases with salts that an outsider can think of."""
    return [
        labels
        for salt in salts
        for labels in itertools.product(CLASSES, repeat=len(cases))
        if commit([FoldRow(c, c, x, 0) for c, x in zip(cases, labels, strict=True)], salt).root
        == root
    ]


def test_the_commitment_hides_what_a_digest_without_salt_would_show() -> None:
    cases, labels = ["a", "b", "c", "d"], ("rare", "glioma", "pcnsl", "rare")
    rows = [FoldRow(case, case, label, 0) for case, label in zip(cases, labels, strict=True)]
    zero = b"\0" * 32
    known = [zero, b"\xff" * 32, b"mini".ljust(32, b"\0"), bytes.fromhex(sha256_bytes(b"mini"))]
    assert opened_by_trying(commit(rows, zero).root, cases, known) == [labels]
    assert opened_by_trying(commit(rows, secrets.token_bytes(32)).root, cases, known) == []


def test_the_commitment_binds_every_row(mini: FoldTable) -> None:
    salt, rows = secrets.token_bytes(32), list(mini.rows)
    root = commit(rows, salt)
    assert commit(rows[::-1], salt) == root
    assert commit(rows, secrets.token_bytes(32)) != root
    for place in range(len(rows)):
        for label in CLASSES:
            changed = [*rows]
            changed[place] = FoldRow(
                rows[place].case_id, rows[place].patient_id, label, rows[place].fold
            )
            assert (commit(changed, salt) == root) == (label == rows[place].label)
    with pytest.raises(ValueError, match="32 bytes"):
        commit(rows, b"short")


# --- processes that die, or come together ----------------------------------------------------------

SCORE = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from ictmri.errors import InputError
from ictmri_benchmark.sealed.store import ChallengeStore
kill = sys.argv[3]
if kill != "never":
    plain = ChallengeStore._append
    def append(self, event, *given, **more):
        if kill == f"before {event}":
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, event, *given, **more)
        if kill == f"after {event}":
            os.kill(os.getpid(), signal.SIGKILL)
    ChallengeStore._append = append
try:
    with ChallengeStore.open(Path(sys.argv[1]), datetime(2030, 1, 1, 12, tzinfo=UTC)) as store:
        result, counted = store.score(Path(sys.argv[2]))
    print(result.value, counted)
except InputError as error:
    print(error)
    sys.exit(1)
"""


def start_scoring(world: World, archive: Path, kill: str = "never") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCORE, str(world.folder), str(archive), kill]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("kill", "counted"),
    [("before intent", 0), ("after intent", 1), ("before result", 1), ("after result", 1)],
)
def test_a_process_that_is_killed_gives_no_free_look(
    tmp_path: Path, mini: FoldTable, kill: str, counted: int
) -> None:
    world = World(tmp_path, mini, quota=1)
    world.admit("Team A")
    archive, other = world.pack("Team A", 0.3), world.pack("Team A", 0.5)
    with start_scoring(world, archive, kill) as died:
        shown, _ = died.communicate()
    assert (died.returncode, shown) == (-signal.SIGKILL, "")
    with ChallengeStore.open(world.folder, START) as held:
        assert len(held.log.counted) == counted
    if counted:
        refused("all 1 submissions are used", world.score, other)
    answer, is_new = world.answer(archive)
    assert is_new == (not counted)
    assert (answer.used, answer.left) == (1, 0)
    verify([world.public / "log.jsonl", world.public / "head.json"], world.challenge)


def test_two_scorings_at_once_share_one_quota(tmp_path: Path, mini: FoldTable) -> None:
    world = World(tmp_path, mini, quota=2)
    world.admit("Team A")
    archives = [world.pack("Team A", skill) for skill in (0.1, 0.3, 0.5, 0.7)]
    running = [start_scoring(world, archive) for archive in archives]
    said = [process.communicate()[0] for process in running]
    assert sorted(process.returncode for process in running) == [0, 0, 1, 1]
    assert sum("all 2 submissions are used" in text for text in said) == 2
    state = read_log(world.public / "log.jsonl", world.challenge)
    assert len(state.counted) == 2


# --- keys and beginnings ---------------------------------------------------------------------------


def test_keys_of_a_wrong_kind(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    public = keys.make_pair(tmp_path / "me.key")
    assert keys.load_public_hex(public) == keys.public_hex(keys.load_key(tmp_path / "me.key"))
    refused("this is a private key", keys.load_public_hex, tmp_path / "me.key")
    refused("not a private key", write_and_load, tmp_path / "a", public.read_bytes())
    refused("not a private key", write_and_load, tmp_path / "b", b"\0\1\2")
    refused("never overwritten|exists", keys.make_pair, tmp_path / "me.key")
    refused("cannot end in .pub", keys.make_pair, tmp_path / "x.pub")
    other = ec.generate_private_key(ec.SECP256R1())
    pem = (form.Encoding.PEM, form.PrivateFormat.PKCS8)
    refused(
        "another kind",
        write_and_load,
        tmp_path / "c",
        other.private_bytes(*pem, form.NoEncryption()),
    )
    locked = Ed25519PrivateKey.generate().private_bytes(*pem, form.BestAvailableEncryption(b"x"))
    refused("encrypted", write_and_load, tmp_path / "d", locked)
    (tmp_path / "ec.pub").write_bytes(
        other.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    refused("another kind", keys.load_public_hex, tmp_path / "ec.pub")
    (tmp_path / "me.key").chmod(0o640)
    refused("others may read", keys.load_key, tmp_path / "me.key")


def write_and_load(path: Path, content: bytes) -> object:
    write_bytes(path, content, mode=0o600)
    return keys.load_key(path)


def test_signatures_are_those_of_openssl(world: World, tmp_path: Path) -> None:
    """What we sign, another program verifies: Ed25519 over context and canonical JSON, nothing of ours."""
    content = json.loads((world.public / "challenge.json").read_text())
    signature = bytes.fromhex(content.pop("signature"))
    message = (
        b"ictmri sealed mode\n"
        + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    )
    prefix = bytes.fromhex("302a300506032b6570032100")  # RFC 8410
    (tmp_path / "key.der").write_bytes(prefix + bytes.fromhex(content["organiser"]))
    (tmp_path / "message").write_bytes(message)
    (tmp_path / "signature").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key.der"]
    command += ["-rawin", "-in", "message", "-sigfile", "signature"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not at hand")
    assert "Verified Successfully" in done.stdout + done.stderr


LIMITS = {"metric": "macro_f1", "quota": 5, "per_day": 1, "total": 100}


def test_a_beginning_that_cannot_be(tmp_path: Path) -> None:
    labels, cases = tmp_path / "labels.csv", tmp_path / "cases.csv"
    good = [f"c-{i:03d},{CLASSES[i % 4]}" for i in range(30)]

    def given(rows: list[str], listed: list[str] | None = None, name: str = "x") -> object:
        labels.write_text("\n".join(["case_id,label", *rows]) + "\n")
        cases.write_text("\n".join(listed or ["case_id"]) + "\n")
        return gather(labels=labels, cases=cases if listed else None, cohort="", name=name)

    refused("did you mean 'glioma'", given, [*good, "c-100,Glioma"])
    refused("stands there twice", given, [*good, good[0]])
    refused("under 20", given, good[:10])
    refused("name a class", given, [*good, "glioma-1,glioma"])
    refused("letters, digits", given, [*good, "a b,glioma"])
    refused("no label for d-1", given, good, ["case_id", *(r.split(",")[0] for r in good), "d-1"])
    refused("not in the case list", given, good, ["case_id", *(r.split(",")[0] for r in good[1:])])
    refused("is not a SHA-256", given, good, ["case_id,image_sha256", "c-001,12"])
    refused("--name", given, good, None, "")
    refused("either", gather, labels=None, cases=None, cohort="", name="x")
    refused("quota: .*less than or equal to 1000000", make_rules, 249, **LIMITS | {"quota": 10**7})
    refused("finer than two", make_rules, 249, "0.005", **LIMITS)
    refused("not one of", make_rules, 249, "0.3", **LIMITS)
    images = [f"{r.split(',')[0]},{sha256_bytes(r.encode())}" for r in good]
    source = given(good, ["case_id,image_sha256", *images])
    rules = make_rules(len(source.rows), **LIMITS | {"metric": "accuracy"})
    made = ChallengeStore.create(tmp_path / "s", source, rules, START)
    assert len(made.images) == 30
    dealt = [Candidate(case, case, label) for case, label in (row.split(",") for row in good)]
    assert source.rows == assign_folds(dealt, 5)
    assert list(made.cases) == sorted(made.cases)
    refused("exists", ChallengeStore.create, tmp_path / "s", source, rules, START)


ENTRY = """schema: ictmri/submission/1
slug: made-up
benchmark:
  name: ictmri-cv
  version: 1.0.0
  cohort: mini
  splits_sha256: %s
synthetic: false
method:
  name: Made up
  summary: Made up.
  authors: [A]
  licence: MIT
selection: fixed-epoch
seeds: [0]
inputs: {image: true, prior: none, demographics: false}
"""
BYTES = {
    "public/challenge.json": "040dbba3c02a72a4d8c32b87f6f87d762d1fb1e171755e5edd39e160af08ff0b",
    "public/log.jsonl": "3cd2b87736d5790b16febf6ed9231e69e68208d9f4339912343616a42d16d656",
    "public/head.json": "82b02d1fdc3352754b4990137cb486fe2fb63805f47b0e8848ea209314960a4e",
    "public/results/11.json": "b9eb925cd217a7fdfbebdd058c7fc372f3e6d4c4151e137b67ddde419e667f1b",
    "reveal/opening.json": "60908a4509b5f34ca32c7cda2ead52019a882f5d34ab567a779b923b883a4b3d",
}
"""Of the first release: what was signed then must verify for good."""


def test_documents_keep_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same keys, salt, clock and files every document is the one that the first release wrote."""
    made = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3, 10)]
    fixed = Mock(generate=Mock(side_effect=made[:1]))
    monkeypatch.setattr(store, "Ed25519PrivateKey", fixed)
    monkeypatch.setattr(store.secrets, "token_bytes", lambda number: b"\7" * number)
    world = World(tmp_path, made_table())
    a, b = "Team A", "Team [B] {ß}"
    world.keys = {a: made[1], b: made[2]}
    world.admit(a)
    world.admit(b)
    for name, skill in ((a, 0.2), (b, 0.5), (a, 0.9), (a, 0.95)):
        if skill == 0.95:
            world.keys[a] = made[3]
            world.admit(a, replaces=True)
        entry = (ENTRY % world.challenge.sha256()).encode()
        world.score(resigned(world, name, skill, entry_yaml=entry))
    world.reveal(world.folder / "reveal", now=START + DAY)
    assert {name: sha256_bytes((world.folder / name).read_bytes()) for name in BYTES} == BYTES
    for line in world.log():
        assert compact(decode(line, Record, "x").content()) == line


# --- the command line ------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command as the shell would and returns all that it said."""
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: str | Path, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["ictmri", "sealed", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.out + said.err
        return said.out + said.err

    return command


def test_the_commands(mini: FoldTable, tmp_path: Path, run: Callable[..., str]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "\n".join(["case_id,label", *(f"{r.case_id},{r.label}" for r in mini.rows)]) + "\n"
    )
    folder, reveal_to = tmp_path / "org", tmp_path / "reveal"
    told = run("init", folder, "--name", "mini", "--labels", labels, "--quota", "2")
    challenge, organiser_key = re.findall(r"(?:challenge|organiser) ([0-9a-f]{64})", told)
    published = ("--challenge", folder / "public" / "challenge.json", "--organiser", organiser_key)
    run("key", tmp_path / "me.key")
    run("admit", folder, tmp_path / "me.pub", "--name", "Team A")
    write_entry(
        tmp_path / "entry.yaml",
        Entry(
            slug="mine",
            benchmark=BenchmarkRef(cohort="mini", splits_sha256=challenge),
            synthetic=False,
            method=MethodInfo(name="M", summary="M.", authors=("A",), licence="MIT"),
            selection="fixed-epoch",
            seeds=(0,),
            inputs=InputsUsed(image=True, prior="none", demographics=False),
        ),
    )
    table = write_predictions(tmp_path / "p.csv", mini, probabilities(mini, 0.5))
    packing = ("pack", table, "--entry", tmp_path / "entry.yaml", "--key", tmp_path / "me.key")
    run(*packing, *published, "--out", tmp_path / "s.zip")
    run("score", folder, tmp_path / "s.zip", "--out", tmp_path / "r.json")
    assert "not counted" in run("score", folder, tmp_path / "s.zip")
    write_predictions(table, mini, probabilities(mini, 0.6))
    run(*packing, *published, "--out", tmp_path / "s2.zip")
    assert "Next:" in run("score", folder, tmp_path / "s2.zip", code=1)  # one a day
    log = folder / "public" / "log.jsonl"
    assert f"challenge {challenge}" in run("verify", *published)
    assert "Team A" in run("verify", log, tmp_path / "r.json", *published)
    (tmp_path / "r.json").write_text(
        (tmp_path / "r.json").read_text().replace('"left": 1', '"left": 2')
    )
    assert "forged or edited" in run("verify", tmp_path / "r.json", *published, code=1)
    run("reveal", folder, "--out", reveal_to, "--yes")
    assert "as promised" in run("check-reveal", reveal_to, *published, "--entries", tmp_path / "r4")
    assert (tmp_path / "r4" / "leaderboard.html").is_file()
    run("score", folder, code=2)


@pytest.mark.parametrize(
    "command", ["init", "key", "pack", "admit", "score", "verify", "reveal", "check-reveal"]
)
def test_every_command_has_an_example(command: str, run: Callable[..., str]) -> None:
    assert f"Example: ictmri sealed {command}" in run(command, "--help")
