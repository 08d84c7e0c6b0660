"""Commands for the models of a run: predict (one's own scans), explain, publish-model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ictmri.cli.output import STDOUT, echo, show
from ictmri.cli.parameters import DryRun, Gate, Jobs, JsonFile, RepoId, Visible, list_cohorts
from ictmri.errors import InputError
from ictmri.extras import need_baselines
from ictmri_baselines.cli.volumes import BrainName, Preset, Scheduler

if TYPE_CHECKING:
    from ictmri_baselines.predict import Request
    from ictmri_baselines.predict.result import Biopsy
    from ictmri_baselines.predict.several import Predicted
    from ictmri_baselines.predict.sources import Scans

Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:CLASS",
        help="The models' backbone where that is a class of your own. It is imported; a model imports "
        "nothing by itself.",
    ),
]


_Source = Annotated[
    str,
    typer.Argument(
        metavar="SCAN|FOLDER|TABLE|COHORT",
        help="A scan (NIfTI, NRRD, MetaImage, a folder of DICOM files); or several: a folder of scans, a "
        "CSV (case_id or patient_id, image), a cohort.",
    ),
]
_Run = Annotated[
    str,
    typer.Option(
        metavar="RUN",
        help="Run of ictmri reproduce, a model.safetensors, or ORG/NAME@COMMIT on the Hub.",
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="The report [default: report.html]; of several scans their folder [default: predictions]."
    ),
]
_Prior = Annotated[
    Path | None, typer.Option(help="Write the refined prior in the scan's own space, .nii.gz.")
]
_DicomSeg = Annotated[
    Path | None,
    typer.Option(
        help="Write the same as a DICOM segmentation of the series, for a PACS; of several their folder."
    ),
]
_Settings = Annotated[
    Preset | None,
    typer.Option(help="Of the processing [default: those that the model learned with]."),
]
_Brain = Annotated[
    BrainName | None, typer.Option(help="Another brain extraction than the settings'.")
]
_Mask = Annotated[Path | None, typer.Option(help="Your own brain mask on the scan's grid.")]
_Title = Annotated[
    str | None, typer.Option(help="Heading of the report; no name of a patient [default: Scan].")
]
_NAMED = 5
"""Names of what was passed over, at most."""
_Force = Annotated[
    bool, typer.Option(help="Put probabilities into the report that are not valid, struck out.")
]


def predict(  # noqa: PLR0913
    source: _Source,
    *,
    model: _Run,
    out: _Out = None,
    prior: _Prior = None,
    json: JsonFile = None,
    dicom_seg: _DicomSeg = None,
    settings: _Settings = None,
    brain: _Brain = None,
    mask: _Mask = None,
    title: _Title = None,
    force: _Force = False,
    backbone: Backbone = None,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
) -> None:
    """Process, localise and diagnose scans of your own. Research use only, not a medical device.

    The report is one HTML file: probabilities and what they are worth, the prior, where the models looked,
    a viewer, quality control. A scan that fails the quality control, or in which no lesion was found,
    gets a report without probabilities, and the exit code 1.

    Of several scans, --out is a folder: predictions.csv as the benchmark takes it, refused.csv, index.html,
    and the reports. The same command goes on where it stopped.

    Example: ictmri predict scan.nii.gz --model out/table2-5 --out report.html --prior prior.nii.gz
    """
    need_baselines()
    from ictmri_baselines.pipeline import Workers
    from ictmri_baselines.predict import Request, find_scans, predict_scans, virtual_biopsy
    from ictmri_baselines.predict.biopsy import DEFAULT_TITLE

    found = find_scans(source)
    one = isinstance(found, Path)
    request = Request(
        scan=found if isinstance(found, Path) else Path(source),
        model=model,
        out=out or Path("report.html" if one else "predictions"),
        prior=prior,
        json=None if json == STDOUT else json,
        dicom_seg=dicom_seg,
        settings=settings,
        brain=brain,
        mask=mask,
        title=DEFAULT_TITLE if title is None else title,
        force=force,
        backbone=backbone,
    )
    if isinstance(found, Path):
        _tell(virtual_biopsy(request), request, json)
        return
    alone = {"--prior": prior, "--json": json, "--mask": mask, "--title": title}
    problems = [f"{name} is of one scan" for name, value in alone.items() if value is not None]
    if problems:
        step = "leave it out: every scan's report, numbers and prior are written into --out, under its id"
        raise InputError(source, problems, step)
    _tell_several(predict_scans(found, request, Workers(jobs, scheduler)), found, source)


def _tell_several(done: Predicted, scans: Scans, source: str) -> None:
    """Say on the terminal what became of each scan that has no probabilities, and where the rest is."""
    from ictmri_baselines.predict.result import NOTICE, SYNTHETIC_NOTICE
    from ictmri_baselines.predict.several import LEARNED_FROM, PAGE, PREDICTIONS, REFUSED

    if scans.passed_over:
        names = ", ".join(scans.passed_over[:_NAMED])
        more = len(scans.passed_over) - _NAMED
        also = f" and {more} more" if more > 0 else ""
        echo(f"warning: passed over, no scan that can be read: {names}{also}", err=True)
    refused, total = done.refused, len(done.cases)
    doubtful = sum(case.tone == "warning" for case in done.cases)
    if done.models.synthetic:
        echo(f"warning: {SYNTHETIC_NOTICE}", err=True)
    if done.learned_from:
        echo(f"warning: {LEARNED_FROM}", err=True)
    echo(
        f"{total - len(refused)} of {total} scans have probabilities, {doubtful} of them to be doubted"
    )
    if len(refused) < total:
        echo(f"Predictions: {done.out / PREDICTIONS}")
    echo(f"Page: {done.out / PAGE}\n{NOTICE}")
    problems = [f"{case.case_id}: {case.sentence} ({'; '.join(case.reasons)})" for case in refused]
    steps = [f"they have no row in {PREDICTIONS}; see {done.out / REFUSED} and the reports"]
    bare = [case for case in done.cases if case.no_segmentation]
    problems += [f"{case.case_id}: no segmentation: {case.no_segmentation}" for case in bare]
    if problems:
        step = "; ".join([*steps * bool(refused), *["their priors lie in --out"] * bool(bare)])
        raise InputError(scans.name, problems, step)
    if scans.cohort is not None and not done.learned_from:
        learned = done.models.cohort or "NAME"
        echo(
            f"Next: ictmri evaluate {done.out / PREDICTIONS} --cohort {source} --trained-on {learned}"
        )


def _tell(made: Biopsy, request: Request, json: Path | None = None) -> None:
    """Say on the terminal what the report says; on its error stream where the JSON is on the other."""
    from ictmri.classes import CLASS_TITLES
    from ictmri.io.files import canonical_json
    from ictmri_baselines.predict.decision import STATES
    from ictmri_baselines.predict.result import NOTICE, SYNTHETIC_NOTICE, content_of
    from ictmri_baselines.predict.words import percent

    outcome, wanted = made.outcome, request.outputs
    if json == STDOUT:
        show("", canonical_json(content_of(made)), STDOUT)
    said = partial(echo, err=json == STDOUT)
    if made.diagnosis is None:
        step = f"look at {wanted['--out']}"
        if STATES[outcome.state].forceable:
            step += "; --force puts probabilities into it all the same, struck out"
        problem = f"{outcome.sentence}, so there is no diagnosis"
        raise InputError(problem, list(outcome.reasons), step)
    mark = "doubtful" if outcome.valid else "not valid"
    for reason in outcome.reasons:
        echo(f"{mark}: {reason}", err=True)
    if made.models.synthetic:
        echo(f"warning: {SYNTHETIC_NOTICE}", err=True)
    if outcome.valid:
        shares = zip(CLASS_TITLES.values(), made.diagnosis.mean, strict=True)
        said(", ".join(f"{name} {percent(share)}" for name, share in shares))
    else:
        echo(f"{outcome.sentence}: the probabilities stand in the report, struck out", err=True)
    if "--prior" in wanted and made.marked is not None:
        volume = made.marked.volumes()["refined_ml"]
        said(f"Prior: {wanted['--prior']}, {volume:.1f} ml in the scan's own space")
    segmentation = wanted.get("--dicom-seg")
    if segmentation is not None and segmentation.is_file():
        said(f"Segmentation: {segmentation}, under the names that the series' headers hold")
    said(f"Report: {wanted['--out']}\n{NOTICE}")


def publish_model(
    run: Annotated[
        Path, typer.Argument(help="Whole run of ictmri reproduce that kept its models.")
    ],
    repo_id: RepoId = "",
    *,
    dry_run: DryRun = False,
    gate: Gate = None,
    visible: Visible = False,
    licence: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Of the weights [default: apache-2.0 for a phantom's]."),
    ] = None,
) -> None:
    """Publish the models of a run on the Hugging Face Hub: weights, settings, a card with its scores.

    What is sent is made as RUN.model beside the run first: look at it. Predictions, ids of cases, folds and
    logs stay here. A new repository is private until you make it visible.

    Example: ictmri publish-model out/table2-5 --repo-id clinic/biopsy --dry-run
    """
    need_baselines()
    from ictmri.release.make_release import Order
    from ictmri.release.upload import Parcel, upload
    from ictmri_baselines.predict import release as releases

    if not repo_id:
        step = "give ORG/NAME, e.g. --repo-id clinic/biopsy"
        raise InputError("--repo-id", ["is missing"], step)
    made = releases.make_model_release(run, repo_id, licence)
    order = Order(repo_id, gate or ("none" if made.synthetic else "manual"), visible)
    for line in releases.plan_lines(made, order):
        echo(line)
    if dry_run:
        echo("Dry run: nothing was sent.")
        return
    done = upload(Parcel(made.root, made.files, "model"), order)
    echo(f"{'Published' if done.new else 'Published before'}: {done.url}")
    if not visible:
        echo("It is private. To list it for everyone, run again with --visible.")
    echo(f"Use: ictmri predict scan.nii.gz --model {repo_id}@{done.commit}")


def explain(
    run: Annotated[Path, typer.Argument(help="Folder of ictmri reproduce.", file_okay=False)],
    *,
    cohort: Annotated[
        str | None,
        typer.Option(
            help="Dataset name or cohort folder [default: the one that the run was made with].",
            autocompletion=list_cohorts,
        ),
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Only this fold.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Cases on the page.")] = 8,
    json_file: JsonFile = None,
    backbone: Backbone = None,
    jobs: Jobs = None,
) -> None:
    """Show where a run's networks look: 3D Grad-CAM, and its share in the true lesion.

    Writes explanation.json and explanation.html into the run. Only phantoms have true lesions; for
    other cohorts there are pictures alone.

    Example: ictmri explain out/table2-5
    """
    need_baselines()
    from ictmri.io.files import canonical_json
    from ictmri.lookup import find_cohort
    from ictmri_baselines.explanation.explain import PAGE
    from ictmri_baselines.explanation.explain import explain as explained

    given = None if cohort is None else find_cohort(cohort)
    content = explained(run, given, fold=fold, shown=cases, jobs=jobs, own=backbone)
    show(f"{_in_words(content)}\nPage: {run / PAGE}", canonical_json(content), json_file)


def _in_words(content: dict[str, Any]) -> str:
    from ictmri_baselines.explanation.page import not_explained

    head = f"{content['recipe']} on {content['cohort']}, {content['n_cases']} cases"
    head += " (SYNTHETIC)" if content["synthetic"] else ""
    head = "\n".join(filter(None, [head, not_explained(content).strip()]))
    if content["summary"] is None:
        return f"{head}\nNobody drew the true lesions of this cohort: pictures, no number."
    from ictmri_baselines.explanation.attention_share import MEASURES

    lines = [_line(title, content["summary"][name]) for name, title in MEASURES.items()]
    return "\n".join([head, *lines])


def _line(title: str, row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"  {title}: not defined"
    value, low, high = (f"{100 * row[name]:.1f}" for name in ("value", "low", "high"))
    return f"  {title}: {value} % ({low} to {high})"
