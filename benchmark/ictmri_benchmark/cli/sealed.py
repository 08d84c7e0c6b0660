"""Commands of sealed mode: the labels stay with the organiser."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ictmri.cli.output import echo
from ictmri.cli.places import Commands
from ictmri_benchmark.cli.scoring import Normalize
from ictmri_benchmark.score.metrics import METRICS, RANK_KEY

if TYPE_CHECKING:
    from ictmri_benchmark.sealed.documents import Challenge
    from ictmri_benchmark.sealed.store import ChallengeStore

sealed_app = Commands(
    help="Sealed mode: the organiser keeps the labels, anyone can verify.", no_args_is_help=True
)


def _is_metric(name: str) -> str:
    if name not in METRICS:
        raise typer.BadParameter(f"{name[:30]!r} is not one of {', '.join(METRICS)}")
    return name


Folder = Annotated[Path, typer.Argument(help="The organiser's folder.")]
Published = Annotated[Path, typer.Option(help="challenge.json that the organiser published.")]
Organiser = Annotated[
    str, typer.Option(help="The organiser's public key (hexadecimal), to compare.")
]
_RELEASED = f"Number that is released: {', '.join(METRICS)}."
MetricName = Annotated[str, typer.Option(help=_RELEASED, callback=_is_metric)]
Step = Annotated[
    str, typer.Option(help="Released values are multiples of it [default: two cases].")
]


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
    metric: MetricName = RANK_KEY,
    quota: Annotated[int, typer.Option(min=1, help="Submissions of a participant.")] = 5,
    per_day: Annotated[int, typer.Option(min=1, help="Of them in any 24 hours.")] = 1,
    total: Annotated[int, typer.Option(min=1, help="Submissions of all participants.")] = 100,
    step: Step = "",
) -> None:
    """Make an organiser's folder: key, salt, labels in private/, challenge.json in public/.

    Example: ictmri sealed init out/sealed --name tiantan-2026 --labels labels.csv --quota 5
    """
    from ictmri_benchmark.sealed.labels import gather, make_rules
    from ictmri_benchmark.sealed.store import ChallengeStore

    found = gather(labels=labels, cases=cases, cohort=cohort, name=name)
    limits = {"metric": metric, "quota": quota, "per_day": per_day, "total": total}
    rules = make_rules(len(found.rows), step, **limits)
    challenge = ChallengeStore.create(folder, found, rules, datetime.now(UTC))
    if found.warning:
        echo(f"warning: {found.warning}", err=True)
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
    from ictmri_benchmark.sealed.keys import make_pair

    echo(f"{path}: yours alone. Send {make_pair(path)} to the organiser.")


@sealed_app.command("pack")
def pack(
    predictions: Annotated[Path, typer.Argument(help="predictions.csv of all cases.")],
    entry: Annotated[Path, typer.Option(help="entry.yaml that describes the method.")],
    challenge: Published,
    key: Annotated[Path, typer.Option("--key", help="Your private key.")],
    out: Annotated[Path, typer.Option(help="The submission to write.")] = Path("submission.zip"),
    *,
    organiser: Organiser = "",
    normalize: Normalize = False,
) -> None:
    """Check predictions and entry, and pack them into one signed submission; no label is needed.

    In entry.yaml, benchmark.cohort is the challenge's name and benchmark.splits_sha256 its digest.

    Example: ictmri sealed pack predictions.csv --entry entry.yaml --challenge challenge.json
    --key participant.key --out submission.zip
    """
    from ictmri.io.files import write_bytes
    from ictmri_benchmark.sealed import documents, keys, package

    published = documents.load_challenge(challenge, organiser)
    signed_by = keys.load_key(key)
    packed = package.pack(predictions, entry, published, signed_by, normalize=normalize)
    write_bytes(out, packed.content)
    echo(f"{out}: submission {packed.sha256}")
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
    from ictmri_benchmark.sealed.keys import load_public_hex

    public = load_public_hex(public_key)
    with _store(folder) as store:
        store.admit(public, name, replaces=new_key)
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
    from ictmri.io.files import write_text

    with _store(folder) as store:
        result, counted = store.score(submission)
    echo(f"{result.participant}: {result.metric} {result.value}, {result.left} left")
    if not counted:
        echo("These predictions were scored before: the first answer again, not counted.")
    echo(f"Result: {folder / 'public' / 'results' / f'{result.seq}.json'}")
    if out is not None:
        write_text(out, result.to_json())


@sealed_app.command("verify")
def verify(
    challenge: Published,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Results, heads and logs (log.jsonl).")
    ] = None,
    *,
    organiser: Organiser = "",
) -> None:
    """Verify a challenge, results, heads and logs: signatures, the chain, nothing cut or contradicted.

    A log is also compared with every result and head given with it.

    Example: ictmri sealed verify log.jsonl result.json --challenge challenge.json
    """
    from ictmri_benchmark.sealed.documents import load_challenge
    from ictmri_benchmark.sealed.verify import verify as check

    published = load_challenge(challenge, organiser)
    logs, signed = check(files or [], published)
    echo("\n".join(challenge_lines(published)))
    for path, document in signed.items():
        echo(f"{path}: genuine {document}")
    for path, log in logs.items():
        echo(f"{path}: whole, {len(log.records)} records")
    for log in logs.values():
        echo("\n" + "\n".join(log.standings()))


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
    if not yes:
        typer.confirm("After this nothing can be scored any more. Go on?", abort=True)
    with _store(folder) as store:
        echo(f"{out}: the labels and {store.reveal(out)} submissions")
    echo(f"Next: ictmri sealed check-reveal {out} --challenge challenge.json")


@sealed_app.command("check-reveal")
def check_reveal(
    folder: Annotated[Path, typer.Argument(help="The folder that was revealed.")],
    challenge: Published,
    *,
    organiser: Organiser = "",
    entries: Annotated[
        Path | None, typer.Option(help="Write entries of level R4 and their board there.")
    ] = None,
) -> None:
    """Check a revealed challenge: commitment, submissions, every score and every release.

    Take challenge.json from where it was published at the beginning, not from the revealed folder.

    Example: ictmri sealed check-reveal out/reveal --challenge challenge.json --entries out/r4
    """
    from ictmri_benchmark.sealed.documents import load_challenge
    from ictmri_benchmark.sealed.verify import check_reveal as check

    done = check(folder, load_challenge(challenge, organiser))
    cases, submissions = len(done.table.rows), len(done.submissions)
    echo(f"{folder}: as promised, {cases} labels and {submissions} submissions recomputed")
    if entries is not None:
        from ictmri_benchmark.sealed.verify import write_entries

        number = write_entries(entries, done)
        echo(f"{entries}: {number} entries of level R4, {entries / 'leaderboard.html'}")


def _store(folder: Path) -> AbstractContextManager[ChallengeStore]:
    from ictmri_benchmark.sealed.store import ChallengeStore

    return ChallengeStore.open(folder, datetime.now(UTC))


def challenge_lines(challenge: Challenge) -> list[str]:
    """Tell what a challenge is, with the digest that entry.yaml is bound to."""
    rules, protocol = challenge.rules, challenge.benchmark
    kind = ", SYNTHETIC" if challenge.synthetic else ""
    return [
        f"{challenge.name}: {len(challenge.cases)} cases{kind}, {protocol.name} "
        f"{protocol.version}, {rules.metric} in steps of {rules.ladder.step}",
        f"limits: {rules.quota} submissions each, {rules.per_day} in 24 hours, {rules.total} in all",
        f"challenge {challenge.sha256()}",
        f"organiser {challenge.organiser}",
    ]
