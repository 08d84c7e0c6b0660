"""What strangers hand in, at each door: refused in a few lines, soon, in little memory."""

import copy
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from support.made_challenge import DAY, START, World, made_table
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.errors import MAX_PROBLEMS, InputError
from ictmri.folds import FoldTable, read_folds
from ictmri.io.files import sha256_bytes
from ictmri.io.yamlfile import MAX_NODES, read_yaml
from ictmri_benchmark.audit import audit
from ictmri_benchmark.board.entry import load_entry
from ictmri_benchmark.board.ledger import read_ledger
from ictmri_benchmark.board.submission import submit
from ictmri_benchmark.cli.sealed import challenge_lines
from ictmri_benchmark.score.mistakes import HEADERS
from ictmri_benchmark.score.predictions import read_predictions
from ictmri_benchmark.sealed import keys, log
from ictmri_benchmark.sealed.documents import Envelope, canonical, compact, decode, load_challenge
from ictmri_benchmark.sealed.log import MAX_RECORDS, read_log
from ictmri_benchmark.sealed.store import ChallengeStore
from ictmri_benchmark.sealed.verify import check_reveal, verify

REPOSITORY = Path(__file__).parents[2]
HEADER = f"{HEADERS[0]}\n"


# ---- time and memory ------------------------------------------------------------------------------------

LARGE = {
    "short lines": (HEADER + "a\n" * 2**22, "1 cells, the header has 5"),
    "short lines without a header": ("a\n" * 2**22, "unknown column 'a'"),
    "blank lines": (HEADER + "\n" * (2**21 + 9), "more than 2097152 lines"),
    "one line of commas": (HEADER + "," * 2**24, "more than 1048576 characters"),
    "a wide header": ("a," * 2**18, "262145 columns"),
    "an open quotation mark": (HEADER + '"' + "\n" * 2**21, "left open"),
    "cells of line ends": (HEADER + '"\n",' * 2**20, "left open"),
    "digits": (HEADER + f"mini-0000,{'1' * 32_000}x,0,0,0\n" * 300, "not a probability"),
    "a number of digits": (HEADER + f"mini-0000,0.{'1' * 99},0,0,1\n", "p_glioma is '0.1111"),
    "exponents": (HEADER + "mini-0000,1e-999999999999999999999,0,0,1\n", "not a probability"),
    "unknown cases": (HEADER + "".join(f"x{n},1,0,0,0\n" for n in range(10**5)), "no case 'x0'"),
    "too many rows": (HEADER + "mini-0000,1,0,0,0\n" * 12_001, "at most 12000 rows"),
    "too many seeds": (
        "seed," + HEADER + "".join(f"{n},mini-0000,1,0,0,0\n" for n in range(1001)),
        "1001 seeds, more than 1000",
    ),
}


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


@pytest.mark.parametrize("kind", LARGE)
def test_large_tables_cost_little(kind: str, small: FoldTable, tmp_path: Path) -> None:
    content, told = LARGE[kind]
    path = tmp_path / "p.csv"
    path.write_text(content)
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        read_predictions(path, small)
    assert told in str(caught.value)
    assert len(caught.value.problems) <= MAX_PROBLEMS
    assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10


def test_the_largest_that_is_valid_is_read(small: FoldTable, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    rows = "".join(f"{s},{c},0.4,0.3,0.2,0.1\n" for s in range(1000) for c in small.case_ids)
    path.write_text(f"seed,{HEADER}{rows}" + "," * 5 + "\n" * 1000)
    read = read_predictions(path, small)
    assert read.labels.shape == (1000, 12)
    assert read.probabilities is not None
    assert (read.probabilities == [0.4, 0.3, 0.2, 0.1]).all()


YAML = {
    "a code point that is none": (r'a: "\U00110000"', "no character"),
    "a code point of eight f": (r'a: "\Uffffffff"', "no character"),
    "half a character": (r'a: "\ud800"', "half a character"),
    "half a character in a key": (r'"\ud800": a', "half a character"),
    "many values": ("[" + "1," * MAX_NODES + "1]", f"more than {MAX_NODES} values"),
    "deep": ("[" * 1000, "nested deeper"),
    "deep keys": ("? " * 1000, "nested deeper"),
    "digits": ("a: " + "9" * 5000, "more digits"),
    "bombs": ("a: &a [1]\nb: [*a, *a]", "anchors"),
    "tags": ("a: !!python/name:os.system", "tags"),
    "one key in two spellings": ("~: 1\nnull: 2", "a key stands twice"),
    "numbers as keys": ("1: 1\n1.0: 2", "a key stands twice"),
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_is_no_plain_data(kind: str, tmp_path: Path) -> None:
    text, told = YAML[kind]
    (tmp_path / "entry.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        load_entry(tmp_path / "entry.yaml")


NO_CHALLENGE: Any = None
DOORS: dict[str, Callable[[Path], object]] = {
    "predictions": lambda path: read_predictions(path, made_table()),
    "entry": load_entry,
    "ledger": read_ledger,
    "audit": audit,
    "yaml": lambda path: read_yaml(path, ""),
    "folds": lambda path: read_folds(path, "mini"),
    "challenge": load_challenge,
    "submission": lambda path: verify([path], NO_CHALLENGE),
    "log": lambda path: read_log(path, NO_CHALLENGE),
    "public key": keys.load_public_hex,
    "private key": keys.load_key,
}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_plain_file_is_refused_at_once(door: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, told in (
        (pipe, "a pipe, not a file"),
        (Path("/dev/zero"), "a device, not a file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(InputError, match=told):
            DOORS[door](path)


def test_numbers_and_their_sum_are_read_as_they_are_written(
    small: FoldTable, tmp_path: Path
) -> None:
    rng = random.Random(0)
    path = tmp_path / "p.csv"

    def read(numbers: list[str]) -> None:
        rows = [f"{case},1,0,0,0" for case in small.case_ids[1:]]
        path.write_text(HEADER + "\n".join([",".join([small.case_ids[0], *numbers]), *rows]))
        read_predictions(path, small)

    for total, fits in (("0.9999", True), ("1.0001", True), ("0.99989999", False)):
        for _ in range(150):
            digits = rng.choice([4, 5, 6, 8])
            parts = [Decimal(rng.randrange(10**digits // 4)).scaleb(-digits) for _ in range(3)]
            numbers = [str(part) for part in (*parts, Decimal(total) - sum(parts))]
            if fits:
                read(numbers)
            else:
                with pytest.raises(InputError, match="sum to"):
                    read(numbers)
    for odd in ("1_0", "0x1", "1e400", "nan", "inf", "٠.٥", "0,5", "50%", "-1e-400", "", "1 0"):
        with pytest.raises(InputError, match=r"not a probability|6 cells"):
            read([odd, "0.5", "0.25", "0.25"])


# ---- levels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["R3", "R4"])
def test_a_level_that_the_maintainers_give_is_not_taken(
    level: str, small: FoldTable, tmp_path: Path
) -> None:
    files = hand_in(tmp_path, small, made_entry(small, "new", level=level), probabilities(small, 1))
    with pytest.raises(InputError, match=f"level {level} is given by the maintainers"):
        submit(*files, small, tmp_path / "entries", synthetic=True)
    assert not (tmp_path / "entries" / "ledger.csv").exists()


# ---- what is printed ------------------------------------------------------------------------------------


def test_the_command_line_prints_no_foreign_command(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202e\u2028\n::error::x ##[group]y\x07"
    entry, table = tmp_path / f"e{evil}.yaml", tmp_path / f"p{evil}.csv"
    quoted = json.dumps(evil)
    entry.write_text(f"{quoted}: {quoted}\nbenchmark: {{version: {quoted}, {quoted}: 1}}\n")
    table.write_text(f'case_id,"{evil}"\n"{evil}",x\n')
    base = [sys.executable, "-m", "ictmri"]
    mini = ["--cohort", "ictmri-phantom"]
    for words in (
        ["evaluate", str(table), *mini],
        ["submit", str(table), "--entry", str(entry), *mini, "--entries", str(tmp_path / evil)],
        ["audit", str(table)],
        ["gate", evil, "--repository", str(tmp_path), *mini],
        ["sealed", "verify", str(table), "--challenge", str(entry)],
        ["entry", "withdraw", evil, "--reason", evil, "--entries", str(tmp_path / evil)],
    ):
        done = subprocess.run([*base, *words], capture_output=True, check=False, cwd=tmp_path)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 1, said
        assert "Traceback" not in said
        assert all(c.isprintable() or c == "\n" for c in said), said
        assert not any(line.lstrip().startswith("::") for line in said.splitlines()), said
        assert "##[" not in said


# ---- keys -----------------------------------------------------------------------------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Add two points of edwards25519, as RFC 8032 writes it."""
    (a, b), (c, d) = one, other
    k = D * a * b * c * d % P
    return (a * d + c * b) * pow(1 + k, -1, P) % P, (b * d + a * c) * pow(1 - k, -1, P) % P


def small_order() -> list[str]:
    """Encodings of the eight points of small order, those that no writer uses too."""
    root = pow(2, (P - 1) // 4, P)
    points = {(0, 1), (0, P - 1), (root, 0), (P - root, 0)}
    eighth = int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    )
    square = (eighth**2 - 1) * pow(D * eighth**2 + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * root % P
    points |= {(a, b) for a in (x, P - x) for b in (eighth, P - eighth)}
    for point in points:
        twice = added(point, point)
        assert added(added(twice, twice), added(twice, twice)) == (0, 1)
    assert len(points) == 8
    ways = {(a & 1, b) for a, b in points} | {
        (s, y) for s in (0, 1) for y in (0, 1, P - 1, P, P + 1)
    }
    return [(y | sign << 255).to_bytes(32, "little").hex() for sign, y in sorted(ways)]


@pytest.mark.parametrize("public", small_order())
def test_keys_of_small_order_are_refused(public: str, world: World, tmp_path: Path) -> None:
    message = b"anything"
    for nonce in small_order():
        signature = nonce + "00" * 32
        assert not keys.is_signed(public, signature, message)
    with pytest.raises(ValueError, match="small order"):
        keys.usable(public)
    envelope = {
        "schema": "ictmri/sealed-submission/1",
        "challenge": "0" * 64,
        "signature": "0" * 128,
    }
    envelope |= {"participant": public, "entry_sha256": "0" * 64, "predictions_sha256": "0" * 64}
    with pytest.raises(InputError, match=r"participant: .*small order"):
        decode(compact(envelope), Envelope, "x")
    challenge = json.loads((world.public / "challenge.json").read_text()) | {"organiser": public}
    (tmp_path / "challenge.json").write_text(json.dumps(challenge))
    with pytest.raises(InputError, match=r"organiser: .*small order"):
        load_challenge(tmp_path / "challenge.json")


def test_a_key_of_small_order_would_sign_anything() -> None:
    """Why they are refused: the library takes this signature, which nobody made, for any message."""
    identity = bytes([1]) + bytes(31)
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"whatever it is")


# ---- documents of the sealed mode, field by field -------------------------------------------------------

ODD = (
    *(None, [], {}, "", 0, -1, 10**400, 1.5, True, [[]], {"a": {}}, "\ud800", "9" * 5000),
    *("2030-02-30T00:00:00Z", "2999-99-99T99:99:99Z", "1.0", "0.0", "1.9999", "0.0001", "\x1b\n"),
    *("0" * 64, "ff" * 32, "01" + "00" * 31),
)
REMOVED, DOUBLED = object(), object()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, child in inner:
        if isinstance(child, dict | list):
            yield from places(child, (*at, key))
        else:
            yield (*at, key)


def mutants(document: dict[str, Any], rng: random.Random, number: int) -> Iterator[Any]:
    """Yield documents in which one field is removed, doubled, or something else."""
    ways = [(at, odd) for at in places(document) for odd in (*ODD, REMOVED, DOUBLED)]
    for at, odd in rng.sample(ways, min(number, len(ways))):
        changed = copy.deepcopy(document)
        place = changed
        for key in at[:-1]:
            place = place[key]
        if odd is REMOVED:
            del place[at[-1]]
        elif odd is DOUBLED:
            inside = isinstance(place, dict)
            place["more\x1b" if inside else slice(0, 0)] = place[at[-1]] if inside else place[:1]
        else:
            place[at[-1]] = odd
        yield changed
    yield from (None, [], "x", 1)


@pytest.fixture(scope="module")
def revealed(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("hostile"), made_table())
    world.admit("A")
    world.admit("B")
    for day, (name, skill) in enumerate([("A", 0.2), ("B", 0.5), ("A", 0.9)]):
        world.score(world.pack(name, skill, day), now=START + day * DAY)
    shutil.copytree(world.folder, world.root / "closed")
    with ChallengeStore.open(world.root / "closed", START + 9 * DAY) as store:
        store.reveal(world.root / "reveal")
    return world


@pytest.fixture
def world(revealed: World) -> World:
    return revealed


def signed(world: World, document: Any) -> Any:
    """Return a document as a hostile organiser would sign it."""
    if not isinstance(document, dict):
        return document
    content = {key: value for key, value in document.items() if key != "signature"}
    try:
        key = keys.load_key(world.folder / "private" / "organiser.key")
        signature = key.sign(b"ictmri sealed mode\n" + compact(content)).hex()
    except ValueError:
        signature = "0" * 128
    return content | {"signature": signature}


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def clear(call: Callable[..., object], *arguments: object) -> bool:
    """Return whether a call succeeds; where it does not, the error must be one for people."""
    said = ""
    try:
        call(*arguments)
    except InputError as error:
        said = str(error)
    assert all(c.isprintable() or c == "\n" for c in said)
    return not said


@pytest.mark.parametrize("organised", [False, True])
def test_damaged_challenges(organised: bool, world: World, tmp_path: Path) -> None:
    document = json.loads((world.public / "challenge.json").read_text())
    reveal_folder, path = world.root / "reveal", tmp_path / "challenge.json"
    for changed in mutants(document, random.Random(1), 150):
        path.write_bytes(raw(signed(world, changed) if organised else changed))
        if clear(load_challenge, path) and organised:
            challenge = load_challenge(path)
            assert challenge_lines(challenge)
            clear(read_log, reveal_folder / "log.jsonl", challenge)
            clear(check_reveal, reveal_folder, challenge)


@pytest.mark.parametrize("name", ["head", "result"])
def test_damaged_results_and_heads(name: str, world: World, tmp_path: Path) -> None:
    results = sorted((world.public / "results").glob("*.json"))
    document = json.loads(
        {"head": world.public / "head.json", "result": results[0]}[name].read_text()
    )
    whole = world.root / "reveal" / "log.jsonl"
    for changed in mutants(document, random.Random(2), 100):
        for written in (changed, signed(world, changed)):
            (tmp_path / "x.json").write_bytes(raw(written))
            clear(verify, [tmp_path / "x.json", whole], world.challenge)


def chained(world: World, records: list[Any]) -> bytes:
    """Return a log of these records, numbered, bound to one another and signed anew."""
    lines, previous = b"", world.challenge.sha256()
    for number, record in enumerate(records):
        bound = record
        if isinstance(record, dict):
            numbers = {"seq": number, "previous": previous}
            known = {key: value for key, value in numbers.items() if key in record}
            bound = signed(world, record | known)
        line = raw(bound)
        if isinstance(bound, dict):
            with suppress(ValueError):
                line = compact(bound)
        previous = sha256_bytes(line)
        lines += line + b"\n"
    return lines


def logs(world: World) -> Iterator[list[Any]]:
    lines = (world.root / "reveal" / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    rng = random.Random(3)
    for place in range(len(records)):
        yield records[:place] + records[place + 1 :]
        yield [*records[:place], records[place], *records[place:]]
        other = rng.randrange(len(records))
        moved = list(records)
        moved[place], moved[other] = moved[other], moved[place]
        yield moved
        for changed in mutants(records[place], rng, 12):
            yield [*records[:place], changed, *records[place + 1 :]]


def test_logs_with_records_removed_doubled_moved_or_changed(world: World, tmp_path: Path) -> None:
    path, result = tmp_path / "log.jsonl", next((world.public / "results").glob("*.json"))
    for records in logs(world):
        path.write_bytes(b"".join(raw(record) + b"\n" for record in records))
        assert not clear(read_log, path, world.challenge)
        path.write_bytes(chained(world, records))
        clear(verify, [path, result], world.challenge)


def test_a_log_without_its_first_result(world: World, tmp_path: Path) -> None:
    lines = (world.root / "reveal" / "log.jsonl").read_text().splitlines()
    kept = [
        json.loads(line) for line in lines if '"event":"result"' not in line or '"intent":5' in line
    ]
    (tmp_path / "log.jsonl").write_bytes(chained(world, kept))
    with pytest.raises(InputError, match="line 5: the submission before has no result"):
        read_log(tmp_path / "log.jsonl", world.challenge)


def test_logs_of_nothing(world: World, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n" * (MAX_RECORDS + 1))
    with pytest.raises(InputError, match=f"more than {MAX_RECORDS} records"):
        read_log(path, world.challenge)
    path.write_bytes(b"{}\n" * 20_000)
    with pytest.raises(InputError) as caught:
        read_log(path, world.challenge)
    assert len(caught.value.problems) <= MAX_PROBLEMS


def test_json_of_many_lists_costs_nothing() -> None:
    for content in (b"[" * 2**20, b"[" + b"[]," * 2**20 + b"[]]", b'{"a":' * 2**20):
        with pytest.raises(ValueError, match="lists and objects"):
            canonical(content)


FOLDS = (
    "",
    "x",
    "s,s,glioma," + "9" * 5000,
    "s,s,glioma,999999",
    "s,s,glioma,٣",
    "s,s,\x1b,1",
    '"s',
)


def test_damaged_reveals(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "reveal"
    opening = json.loads((world.root / "reveal" / "opening.json").read_text())
    shutil.copytree(world.root / "reveal", folder)
    for changed in mutants(opening, random.Random(4), 30):
        (folder / "opening.json").write_bytes(raw(signed(world, changed)))
        clear(check_reveal, folder, world.challenge)
    table = (folder / "folds.csv").read_text().splitlines()
    for line in FOLDS:
        (folder / "folds.csv").write_text("\n".join([table[0], line, *table[2:]]) + "\n")
        assert not clear(check_reveal, folder, world.challenge)
    for name in ("folds.csv", "log.jsonl", "head.json", "opening.json"):
        shutil.rmtree(folder)
        shutil.copytree(world.root / "reveal", folder)
        (folder / name).unlink()
        assert not clear(check_reveal, folder, world.challenge)
        os.mkfifo(folder / name)
        assert not clear(check_reveal, folder, world.challenge)


# ---- entry.yaml and ledger.csv, field by field ----------------------------------------------------------


def test_damaged_entries_and_ledgers(small: FoldTable, tmp_path: Path) -> None:
    described = made_entry(small, "new", compute={"a": "b"}, claimed={"accuracy": 0.5})
    document = described.model_dump(mode="json", by_alias=True)
    path = tmp_path / "entry.yaml"
    for changed in mutants(document, random.Random(5), 300):
        path.write_text(json.dumps(changed))  # JSON is YAML
        clear(load_entry, path)
    good = ["2026-11-24", "added", "new", "0" * 64, "submitted"]
    header = "date,action,slug,predictions_sha256,reason\n"
    odd = ["", "\x1b", "9" * 5000, "9999-99-99", "=1", "\u202e", "a,b", '"', "٢٠٢٦-01-01", "a\n::b"]
    for place in range(len(good)):
        for cell in odd:
            row = [*good[:place], cell, *good[place + 1 :]]
            (tmp_path / "ledger.csv").write_text(header + ",".join(row) + "\n")
            clear(read_ledger, tmp_path / "ledger.csv")


# ---- any number of classes ------------------------------------------------------------------------------

ANY_CLASSES = """
import itertools, sys
import numpy as np
import ictmri.classes as classes
names = ("glioma", "pcnsl", "germinoma", "rare", "other")[: int(sys.argv[1])]
classes.CLASSES = names
classes.CLASS_TITLES = {name: name.title() for name in names}
from ictmri.folds import FoldRow, FoldTable
from ictmri_benchmark.board import comparison
from ictmri_benchmark import evaluate
from ictmri_benchmark.score import intervals, metrics, predictions

K, rng = len(names), np.random.default_rng(0)
truth = np.repeat(np.arange(K), 4)
rows = tuple(FoldRow(f"c{i:02}", f"p{i:02}", names[t], i % 2) for i, t in enumerate(truth))
table = FoldTable("mini", rows, "0" * 64)

def macro_f1(labels):
    both = [(2 * sum((labels == k) & (truth == k)), sum(labels == k) + sum(truth == k)) for k in range(K)]
    return float(np.mean([hits / n for hits, n in both]))

one, other = (
    np.where(rng.random(len(truth)) < p, truth, rng.integers(0, K, len(truth))) for p in (0.8, 0.3)
)
one[truth == K - 1], other[truth == K - 1] = K - 1, 0  # they differ most in the last class
assert abs(metrics.headline(metrics.confusion(truth, one))["macro_f1"] - macro_f1(one)) < 1e-12
swaps = comparison.flips(table, 500).astype(bool)
seen = abs(macro_f1(one) - macro_f1(other))
extreme = sum(
    abs(macro_f1(np.where(s, other, one)) - macro_f1(np.where(s, one, other))) >= seen - 1e-7 for s in swaps
)
(p,) = comparison.permutation_tests(table, [one[None], other[None]], [(0, 1)], 500)
assert p == (1 + extreme) / 501, (p, extreme)
comparison._BLOCK_CELLS = 999
assert comparison.permutation_tests(table, [one[None], other[None]], [(0, 1)], 500)[0] == p
drawn = intervals.bootstrap(table, [one[None]], 200)
weights = np.concatenate(list(intervals.draws(table, 200)))
for values, w in zip(drawn.headline["macro_f1"][:, 0], weights.astype(int)):
    again = np.repeat(np.arange(len(truth)), w)
    said, true = one[again], truth[again]
    f1 = [2 * sum((said == k) & (true == k)) / (sum(said == k) + sum(true == k)) for k in range(K)]
    assert abs(values - np.mean(f1)) < 1e-6
chances = np.eye(K)[one] * 0.5 + 0.5 / K
lines = [",".join(["case_id", *predictions.PROBABILITIES])]
lines += [",".join([row.case_id, *map(repr, map(float, p))]) for row, p in zip(rows, chances)]
open(sys.argv[2], "w").write("\\n".join(lines))
made = evaluate(sys.argv[2], table, n_draws=50)
assert list(made.content["per_class"]) == list(names) and made.render()
assert abs(made.content["pooled"]["macro_f1"]["value"] - macro_f1(one)) < 1e-12
"""


@pytest.mark.parametrize("classes", [3, 4, 5])
def test_every_class_counts_however_many_there_are(classes: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ANY_CLASSES, str(classes), str(tmp_path / "p.csv")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_no_class_is_dropped_by_the_agreement_of_two_entries(small: FoldTable) -> None:
    from ictmri_benchmark.board.flags import review_flags
    from ictmri_benchmark.score.predictions import Predictions

    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, len(CLASSES), (50, 12)) for _ in range(2))
    other[7] = one[3]
    made = [
        Predictions(tuple(range(50)), labels, None, 0, str(n))
        for n, labels in enumerate((one, other))
    ]
    assert "100.0% of the predictions are those of entry other" in review_flags(
        made[0], small, {"other": made[1]}
    )


def test_a_full_log_keeps_room_for_its_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = world.copied(tmp_path / "full")
    monkeypatch.setattr(log, "MAX_RECORDS", len(full.log()) + 2)
    with pytest.raises(InputError, match="the log is full"):
        full.score(full.pack("A", 0.4, 9), now=START + 4 * DAY)
    with pytest.raises(InputError, match="the log is full"):
        full.admit("C", now=START + 4 * DAY)
    assert full.reveal(tmp_path / "reveal", now=START + 5 * DAY) == 3
