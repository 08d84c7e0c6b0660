"""Commands of sealed mode: the labels stay with the organiser."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.output import echo
from ictmri.cli.places import Commands

sealed_app = Commands(
    help="Sealed mode: the organiser keeps the labels, anyone can verify.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(help="The organiser's folder.")]
ChallengeFile = Annotated[
    Path, typer.Option("--challenge", help="challenge.json that the organiser published.")
]
OrganiserKey = Annotated[
    str, typer.Option("--organiser", help="The organiser's public key (hexadecimal), to compare.")
]


class Metric(StrEnum):
    """The number that is released."""

    MACRO_F1 = "macro_f1"
    MACRO_PRECISION = "macro_precision"
    MACRO_RECALL = "macro_recall"
    ACCURACY = "accuracy"


@sealed_app.command("init")
def init(  # noqa: PLR0913
    folder: Annotated[Path, typer.Argument(help="Folder to make; keep it to yourself.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the challenge [default: the cohort's].")] = "",
    labels: Annotated[Path | None, typer.Option(help="CSV: case_id,label.")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="CSV: case_id, and if wished image_sha256.")
    ] = None,
    cohort: Annotated[
        str, typer.Option(help="Dataset name or cohort folder, instead of --labels.")
    ] = "",
    metric: Annotated[Metric, typer.Option(help="The number that is released.")] = Metric.MACRO_F1,
    quota: Annotated[int, typer.Option(min=1, help="Submissions of a participant.")] = 5,
    per_day: Annotated[int, typer.Option(min=1, help="Of them in any 24 hours.")] = 1,
    total: Annotated[int, typer.Option(min=1, help="Submissions of all participants.")] = 100,
    step: Annotated[
        str, typer.Option(help="Released values are multiples of it [default: two cases].")
    ] = "",
) -> None:
    """Make an organiser's folder: key, salt, labels in private/, challenge.json in public/.

    Example: ictmri sealed init out/sealed --name tiantan-2026 --labels labels.csv --quota 5
    """
    _need()
    from ictmri_benchmark.sealed.organiser import init as make
    from ictmri_benchmark.sealed.setup import gather, make_rules

    source = gather(labels=labels, cases=cases, cohort=cohort, name=name)
    rules = make_rules(len(source.rows), metric.value, (quota, per_day, total), step)
    challenge = make(
        folder,
        source.rows,
        source.name,
        rules,
        now=_now(),
        images=source.images,
        synthetic=source.synthetic,
    )
    if source.warning:
        echo(f"warning: {source.warning}", err=True)
    echo(f"{folder}: {len(challenge.cases)} cases, values in steps of {rules.ladder.step}")
    echo(f"Publish {folder / 'public'}, and elsewhere these two:")
    echo(f"  challenge {challenge.sha256()}\n  organiser {challenge.organiser}")


@sealed_app.command("key")
def key(
    path: Annotated[Path, typer.Argument(help="Private key to write; .pub is written beside it.")],
) -> None:
    """Make a participant's key pair; only the .pub file is ever handed over.

    Example: ictmri sealed key participant.key
    """
    _need()
    from ictmri_benchmark.sealed.keys import make_pair

    public = make_pair(path)
    echo(f"{path}: yours alone. Send {public} to the organiser.")


@sealed_app.command("pack")
def pack(
    predictions: Annotated[Path, typer.Argument(help="predictions.csv of all cases.")],
    entry: Annotated[Path, typer.Option(help="entry.yaml that describes the method.")],
    challenge: ChallengeFile,
    key: Annotated[Path, typer.Option("--key", help="Your private key.")],
    out: Annotated[Path, typer.Option(help="The submission to write.")] = Path("submission.zip"),
    *,
    organiser: OrganiserKey = "",
) -> None:
    """Check predictions and entry, and pack them into one signed submission; no label is needed.

    In entry.yaml, benchmark.cohort is the challenge's name and benchmark.splits_sha256 its digest.

    Example: ictmri sealed pack predictions.csv --entry entry.yaml --challenge challenge.json
    --key participant.key --out submission.zip
    """
    _need()
    from ictmri.io.files import write_bytes
    from ictmri_benchmark.sealed.documents import load_challenge
    from ictmri_benchmark.sealed.keys import load_key
    from ictmri_benchmark.sealed.package import pack as make

    published = load_challenge(challenge, organiser)
    content, submission = make(predictions, entry, published, load_key(key))
    write_bytes(out, content)
    echo(f"{out}: submission {submission.sha256}")
    echo(f"challenge {published.sha256()}\norganiser {published.organiser}")


@sealed_app.command("admit")
def admit(
    folder: Folder,
    public_key: Annotated[Path, typer.Argument(help="The participant's .pub file.")],
    *,
    name: Annotated[str, typer.Option(help="Who this is; published in the log.")],
    new_key: Annotated[
        bool, typer.Option("--new-key", help="The same participant lost the key; quota stays.")
    ] = False,
) -> None:
    """Admit a participant: one name, one key, one quota.

    Example: ictmri sealed admit out/sealed participant.pub --name "Team A"
    """
    _need()
    from ictmri_benchmark.sealed.keys import load_public_hex
    from ictmri_benchmark.sealed.organiser import admit as let_in

    let_in(folder, load_public_hex(public_key), name, now=_now(), replaces=new_key)
    echo(f"{name} is admitted")


@sealed_app.command("score")
def score(
    folder: Folder,
    submission: Annotated[Path, typer.Argument(help="submission.zip of an admitted participant.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write the signed result there too.", dir_okay=False)
    ] = None,
) -> None:
    """Score a submission: one released number, signed and logged; nothing by case.

    Example: ictmri sealed score out/sealed submission.zip --out result.json
    """
    _need()
    from ictmri.io.files import write_text
    from ictmri_benchmark.sealed.organiser import score as take

    answer = take(folder, submission, now=_now())
    result = answer.result
    echo(f"{result.participant}: {result.metric} {result.value}, {result.left} left")
    if not answer.counted:
        echo("These predictions were scored before: the first answer again, not counted.")
    echo(f"Result: {folder / 'public' / 'results' / f'{result.seq}.json'}")
    if out is not None:
        write_text(out, result.to_json())


@sealed_app.command("verify")
def verify(
    challenge: ChallengeFile,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Results, heads and logs (log.jsonl).")
    ] = None,
    *,
    organiser: OrganiserKey = "",
) -> None:
    """Verify a challenge, results, heads and logs: signatures, the chain, nothing cut or contradicted.

    A log is also compared with every result and head given with it.

    Example: ictmri sealed verify log.jsonl result.json --challenge challenge.json
    """
    _need()
    from ictmri_benchmark.sealed.documents import load_challenge
    from ictmri_benchmark.sealed.verify import challenge_lines, standings
    from ictmri_benchmark.sealed.verify import verify as check

    published = load_challenge(challenge, organiser)
    done = check(files or [], published)
    for line in [*challenge_lines(published), *done.lines]:
        echo(line)
    for state in done.states:
        echo("\n" + "\n".join(standings(state)))


@sealed_app.command("reveal")
def reveal(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Folder to write and publish.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End the challenge: write labels, salt, log and all scored submissions for everyone.

    Example: ictmri sealed reveal out/sealed --out out/reveal
    """
    _need()
    from ictmri_benchmark.sealed.reveal import reveal as publish

    if not yes:
        typer.confirm("After this nothing can be scored any more. Go on?", abort=True)
    number = publish(folder, out, now=_now())
    echo(f"{out}: the labels and {number} submissions")
    echo(f"Next: ictmri sealed check-reveal {out} --challenge challenge.json")


@sealed_app.command("check-reveal")
def check_reveal(
    folder: Annotated[Path, typer.Argument(help="The folder that was revealed.")],
    challenge: ChallengeFile,
    *,
    organiser: OrganiserKey = "",
    entries: Annotated[
        Path | None, typer.Option(help="Write entries of level R4 and their board there.")
    ] = None,
) -> None:
    """Check a revealed challenge: commitment, submissions, every score and every release.

    Take challenge.json from where it was published at the beginning, not from the revealed folder.

    Example: ictmri sealed check-reveal out/reveal --challenge challenge.json --entries out/r4
    """
    _need()
    from ictmri_benchmark.sealed.check import check_reveal as check
    from ictmri_benchmark.sealed.documents import load_challenge

    done = check(folder, load_challenge(challenge, organiser))
    cases, submissions = len(done.table.rows), len(done.submissions)
    echo(f"{folder}: as promised, {cases} labels and {submissions} submissions recomputed")
    if entries is not None:
        from ictmri_benchmark.sealed.entries import write_entries

        number = write_entries(entries, done.state, done.submissions, done.table)
        echo(f"{entries}: {number} entries of level R4, {entries / 'leaderboard.html'}")


def _now() -> datetime:
    return datetime.now(UTC)


def _need() -> None:
    from ictmri_benchmark.sealed.keys import need_cryptography

    need_cryptography()
