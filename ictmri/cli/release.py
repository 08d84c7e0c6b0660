"""Commands that hand a cohort on: exported, published, in new versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ictmri.cli.output import echo, owner_told
from ictmri.cli.parameters import CohortArgument, DryRun, Gate, Jobs, RepoId, Visible
from ictmri.errors import InputError

Folder = Annotated[Path, typer.Argument(help="A cohort folder.")]


def export(
    cohort: CohortArgument,
    *,
    to: Annotated[
        Literal["bids", "monai", "nnunet", "nifti", "folds"],
        typer.Option(
            help="BIDS 1.10, MONAI datalists, nnU-Net v2, plain NIfTI with a table, or the folds alone: "
            "ids and numbers without a label or volume, for anybody."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    config: Annotated[
        Literal["default", "processed", "truth"] | None,
        typer.Option(
            help="Which volumes [default: default; for nnunet the ones that have labels].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a cohort in the layout of another tool, with our folds.

    Volumes leave as they are stored, headers in mm; the folder is as private as the cohort.

    Example: ictmri export ictmri-phantom --to bids --out out/phantom-bids
    """
    if to == "folds":
        if config is not None:
            raise InputError("--config", ["folds have no volumes"], "leave it out")
        _export_folds(cohort, out)
        return
    from ictmri.export.write import export_cohort
    from ictmri.lookup import find_cohort

    found = find_cohort(cohort)
    done = export_cohort(found, to, out, config=config)
    kind = "SYNTHETIC phantom, " if found.synthetic else ""
    echo(
        f"{out}: {to} export of {found.name} ({kind}{found.manifest.n_cases} cases, "
        f"{len(done.record['files'])} files, {done.n_bytes / 1e6:.0f} MB)"
    )


def _export_folds(cohort: str, out: Path) -> None:
    from ictmri.folds import public_folds
    from ictmri.io.files import write_text
    from ictmri.lookup import find_folds

    table, synthetic = find_folds(cohort)
    text, path = public_folds(table), out / f"{table.name}-folds.csv"
    if path.exists() and path.read_bytes() != text.encode():
        raise InputError(str(path), ["other folds lie there"], "choose another --out")
    write_text(path, text)
    kind = "SYNTHETIC phantom, " if synthetic else ""
    echo(f"{path}: folds of {table.name} ({kind}{len(table.rows)} cases), no label")


def publish(
    folder: Folder,
    repo_id: RepoId = "",
    *,
    dry_run: DryRun = False,
    gate: Gate = None,
    visible: Visible = False,
    facts: Annotated[
        Path | None, typer.Option(help="Your answers: ictmri facts DIR prints the questions.")
    ] = None,
    faces_checked: Annotated[
        bool, typer.Option("--faces-checked", help="You looked at the cases that were named.")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Publish a cohort on the Hugging Face Hub: faces removed, documented, gated, tagged.

    What is sent is made as DIR.release beside the cohort first: look at it. A new repository is private
    until you make it visible.

    Example: ictmri publish out/mine --repo-id clinic/mine --dry-run
    """
    from ictmri.cohort import open_cohort
    from ictmri.release.make_release import Order
    from ictmri.release.publish import plan_lines, prepare
    from ictmri.release.publish import publish as send
    from ictmri.release.upload import require_login

    cohort = open_cohort(folder)
    if not repo_id:
        raise InputError("--repo-id", ["is missing"], "give ORG/NAME, e.g. --repo-id clinic/mine")
    if not dry_run:
        require_login()
    chosen = gate or ("none" if cohort.synthetic else "manual")
    order = Order(repo_id, chosen, visible, faces_checked, facts)
    with owner_told(cohort.root) as told:
        prepared = prepare(cohort, order, jobs=jobs)
        for line in plan_lines(prepared, order):
            echo(told(line))
        if dry_run:
            echo("Dry run: nothing was sent.")
            return
        done = send(prepared, order)
    echo(f"{'Published' if done.new else 'Published before'}: {done.url} at {done.tag}")
    if not visible:
        echo("It is private. To list it for everyone, run again with --visible.")


def facts(cohort: CohortArgument) -> None:
    """Print the questions about a cohort that its card, datasheet and checklists ask, with what is known.

    Example: ictmri facts out/mine > facts.yaml
    """
    from ictmri.documents.facts import template_text
    from ictmri.lookup import find_cohort

    echo(template_text(find_cohort(cohort).manifest), nl=False)


def withdraw(
    folder: Folder,
    cases: Annotated[list[str], typer.Argument(help="Case ids that leave.")],
    out: Annotated[Path, typer.Option(help="Folder of the new version.")],
    *,
    reason: Annotated[
        Literal["consent", "duplicate", "diagnosis", "quality", "other"],
        typer.Option(help="Why; published with the new version."),
    ],
) -> None:
    """Make the next version of a cohort without some cases; all other folds stay as they are.

    Example: ictmri withdraw out/mine mine-0007 --reason consent --out out/mine-v2
    """
    from ictmri.cohort import open_cohort
    from ictmri.release.withdraw import withdraw as leave

    done = leave(open_cohort(folder), cases, reason, out)
    echo(f"{done.name} {done.manifest.version}: {done.manifest.n_cases} cases in {done.root}")
    echo(f"The version before stays in {folder}. Next: ictmri publish {out} --repo-id ORG/NAME")


def erratum(
    folder: Folder,
    text: Annotated[str, typer.Argument(help="What readers must know; published as it is.")],
    *,
    case: Annotated[list[str] | None, typer.Option(help="A case that it concerns.")] = None,
) -> None:
    """Add an erratum to a cohort: same data, next patch version.

    Example: ictmri erratum out/mine "Age of one case corrected in the card." --case mine-0007
    """
    from ictmri.cohort import open_cohort
    from ictmri.release.withdraw import add_erratum

    done = add_erratum(open_cohort(folder), text, case or [])
    echo(f"{done.name} {done.manifest.version}: see {done.root / 'CHANGES.md'}")
