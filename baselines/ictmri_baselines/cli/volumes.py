"""Commands that make ``processed``: the MRI-Processor and the Tumor-Localizer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ictmri.cli.output import echo, owner_told, show
from ictmri.cli.parameters import CohortArgument, Form, Jobs, JsonFile
from ictmri.errors import InputError
from ictmri.extras import need_baselines
from ictmri_baselines.registry import DEFAULT_DETECTOR, DETECTORS

if TYPE_CHECKING:
    from ictmri.cohort import Cohort
    from ictmri.io.tables import Format
    from ictmri_baselines.localizer.vlm.tally import Tally
    from ictmri_baselines.processor import ProcessorSettings

    DetectorName = str
else:
    DetectorName = Literal[tuple(DETECTORS)]

_LIGHT = (
    "light: to try things out on patients, not to measure them: no bias correction, one affine, 2 mm. "
    "Lesions of a few millimetres and what depends on the warp need --settings paper."
)

Preset = Literal["paper", "light"]
BrainName = Literal["hd-bet", "hd-bet-2", "deepbet", "template"]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT; its workers see this disk."
    ),
]
_PresetOption = Annotated[
    Preset,
    typer.Option(
        help="paper: HD-BET, N4, SyN at 1 mm. light: one affine at 2 mm, no N4, to try things "
        "out: the template's mask on phantoms, a second; deepbet on patients, ten."
    ),
]
_STEP = typer.Option(rich_help_panel="One step of the settings")
_Spacing = Annotated[
    int | None,
    typer.Option(
        min=1, max=2, help="mm of the result.", rich_help_panel="One step of the settings"
    ),
]
_Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of your own brain masks, CASE_ID.nii.gz on the scans' grids."),
]
_Detector = Annotated[DetectorName, typer.Option(help="What proposes boxes.")]
_Boxes = Annotated[Path | None, typer.Option(help="boxes: a published boxes file, JSONL.")]
_OwnMasks = Annotated[
    Path | None, typer.Option("--masks", help="masks: folder of outlines, CASE_ID.nii.gz.")
]
_Model = Annotated[
    str | None, typer.Option(help="Id on the Hub, folder, or the server's name of it.")
]
_BaseUrl = Annotated[str | None, typer.Option(help="openai: the server, http://HOST:PORT/v1.")]
_ApiKeyEnv = Annotated[str | None, typer.Option(help="openai: the variable that holds the key.")]
_Option = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Any other option of the detector; repeatable."),
]
_VoxelModel = Annotated[
    Literal["case", "cohort"],
    typer.Option(help="Cases that each MLP of the refined prior learns from."),
]
_Mirror = Annotated[
    Literal["off", "report", "drop"],
    typer.Option(
        help="Ask about the mirrored brain, too: tell how many boxes mirror, or drop the others."
    ),
]
_Compare = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="A B",
        help="Localize nothing: hold two boxes files (or detectors whose boxes are in the cohort) "
        "against the truth, or each other.",
    ),
]
_Prices = Annotated[
    str | None,
    typer.Option(metavar="IN,OUT", help="Price of a million tokens read, and written."),
]


def process(  # noqa: PLR0913
    cohort: CohortArgument,
    *,
    settings: _PresetOption = "paper",
    brain: Annotated[BrainName | None, _STEP] = None,
    bias: Annotated[Literal["n4", "none"] | None, _STEP] = None,
    registration: Annotated[Literal["syn", "affine"] | None, _STEP] = None,
    spacing: _Spacing = None,
    masks: _Masks = None,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
) -> None:
    """Add the processed config: brain extraction, N4, SyN to MNI152, and the QC of all three.

    Cases that fail are named and kept out. DIR.process.html shows every case, the worst first.

    Example: ictmri process out/mine --settings paper --brain deepbet
    """
    need_baselines()
    from ictmri.lookup import find_cohort
    from ictmri_baselines.pipeline import Workers, process_cohort

    found = find_cohort(cohort)
    steps = {"brain": brain, "bias": bias, "registration": registration, "spacing_mm": spacing}
    chosen = _settings(settings, synthetic=found.synthetic, **steps)
    if settings == "light" and not found.synthetic:
        echo(_LIGHT, err=True)
    with owner_told(found.root) as told:
        done = process_cohort(found, chosen, masks=masks, workers=Workers(jobs, scheduler))
        left_out = done.manifest.left_out
        for case_id, why in left_out.items():
            echo(told(f"left out: {case_id}: {why}"), err=True)
    echo(
        f"{done.name}: {done.manifest.n_cases - len(left_out)} of {done.manifest.n_cases} cases "
        f"processed\nPage: {_page(done, 'process')}\nNext: ictmri localize {cohort}"
    )


def localize(  # noqa: PLR0913
    cohort: CohortArgument,
    *,
    detector: _Detector = DEFAULT_DETECTOR,
    boxes: _Boxes = None,
    masks: _OwnMasks = None,
    model: _Model = None,
    base_url: _BaseUrl = None,
    api_key_env: _ApiKeyEnv = None,
    option: _Option = None,
    voxel_model: _VoxelModel = "case",
    mirror: _Mirror = "off",
    prices: _Prices = None,
    compare: _Compare = None,
    json_file: JsonFile = None,
    form: Form = "text",
    scheduler: Scheduler = None,
    jobs: Jobs = None,
) -> None:
    """Add the Tumor-Localizer's priors, coarse and refined, and the boxes that they were made from.

    DIR.localize.html shows them. Options of each detector: docs/detectors.md.

    Example: ictmri localize out/mine --detector openai --base-url http://127.0.0.1:8000/v1
    --model Qwen/Qwen3-VL-8B-Instruct --option concurrency=64
    """
    need_baselines()
    from ictmri.lookup import find_cohort
    from ictmri_baselines.localizer.detectors import detector_settings
    from ictmri_baselines.pipeline import Workers, boxes_tally, localize_cohort, unmeasured

    named = {"boxes": boxes, "masks": masks, "model": model, "base_url": base_url}
    named |= {"api_key_env": api_key_env}
    if compare is not None:
        _refuse_unused(
            {
                **named,
                "detector": detector if detector != DEFAULT_DETECTOR else None,
                "voxel_model": voxel_model if voxel_model != "case" else None,
                "option": option,
                "prices": prices,
                "mirror": mirror if mirror != "off" else None,
            },
            "--compare localizes nothing",
            "give either that or --compare",
        )
        _compare(cohort, compare, json_file, form)
        return
    of_tables = {"json": json_file, "format": None if form == "text" else form}
    _refuse_unused(
        of_tables, "only --compare prints a table", "leave it out, or give --compare A B"
    )
    price = _prices(prices)
    chosen = detector_settings(detector, **{**named, **_pairs(option or [])})
    found = find_cohort(cohort)
    with owner_told(found.root):
        workers = Workers(jobs, scheduler)
        done = localize_cohort(
            found, chosen, voxel_model=voxel_model, mirror=mirror, workers=workers
        )
    if "trained_on" in (facts := chosen.facts()):
        echo(f"localizer trained on {facts['trained_on']}")
    _tell(f"{done.name}, {detector}", boxes_tally(done), price)
    if note := unmeasured(done):
        echo(note, err=True)
    echo(f"Page: {_page(done, 'localize')}")


def _refuse_unused(given: dict[str, Any], why: str, step: str) -> None:
    unused = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if unused:
        raise InputError("ictmri localize", [f"{name}: {why}" for name in unused], step)


def _compare(cohort: str, names: tuple[str, str], json_file: Path | None, form: Format) -> None:
    from ictmri.lookup import find_cohort
    from ictmri_baselines.pipeline.compare_boxes import compare_boxes

    table = compare_boxes(find_cohort(cohort), *names)
    show(table.text(), table.json(), json_file, form, lambda: table)


def _tell(title: str, counts: Tally, price: tuple[float, float] | None) -> None:
    echo(f"{title}: {counts.boxes} boxes on {counts.with_boxes} slices")
    for problem, count in counts.problems.items():
        echo(f"  {problem}: {count} slices")
    if counts.prompt_tokens:
        echo(f"  tokens: {counts.prompt_tokens} read, {counts.completion_tokens} written")
    if price is not None:
        echo(f"  cost: {counts.cost(*price):.4f}")


def _settings(name: Preset, *, synthetic: bool, **given: Any) -> ProcessorSettings:
    from ictmri_baselines.processor import ProcessorSettings, preset

    chosen = {key: value for key, value in given.items() if value is not None}
    settings = preset(name, synthetic=synthetic)
    return ProcessorSettings.model_validate(settings.model_dump() | chosen)


def _prices(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    parts = text.split(",")
    try:
        read, written = map(float, parts)
        if not (0 <= read < math.inf and 0 <= written < math.inf):
            raise ValueError
    except ValueError:
        problem = f"{text!r} is not two numbers from 0 on"
        raise InputError("--prices", [problem], "give e.g. 0.2,0.8") from None
    return read, written


def _pairs(given: list[str]) -> dict[str, str]:
    from ictmri_baselines.localizer.detectors import NAMED, option_of

    split = [text.partition("=") for text in given]
    pairs = [(key.strip().replace("-", "_"), value) for key, _, value in split]
    names = [name for name, _ in pairs]
    problems = [
        *(
            f"{text!r} is no KEY=VALUE"
            for text, pair in zip(given, pairs, strict=True)
            if not all(pair)
        ),
        *(
            f"{name} is given {names.count(name)} times"
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ),
        *(f"{name} is given as {option_of(name)}" for name in names if name in NAMED),
    ]
    if problems:
        raise InputError("--option", problems, "give e.g. concurrency=64")
    return dict(pairs)


def _page(cohort: Cohort, name: str) -> Path:
    from ictmri.io.lock import beside

    return beside(cohort.root, f"{name}.html")
