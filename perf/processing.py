"""Time the MRI-Processor against ANTs' defaults on the same brain, and two workers against one.

Per step and at 1 mm: N4, registration with SyN, resampling. Both sides get the same mask and one
thread. How good each result is, is measured against the template: Dice of the brain, of three tissue
classes (Otsu's two thresholds inside the template's brain, on the warped scan and on the template), and
on the phantom, whose anatomy is known, of the deep structures and the ventricles.

Example: python perf/processing.py --workers
         python perf/processing.py --scan $ICTMRI_REAL_SCANS/cohort/images/brats2013_pat0001_t1c.nii.gz
         python perf/processing.py --steps --no-phantom --scan $ICTMRI_REAL_SCANS/dicom/sag_anon
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
os.environ.update(dict.fromkeys(ONE_THREAD, "1"))

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402

from ictmri.atlas.template import template  # noqa: E402
from ictmri.io.parallel import run_all, usable_cores  # noqa: E402
from ictmri.phantom import anatomy, deformation, rendering, roster  # noqa: E402
from ictmri.scans.read import read_scan  # noqa: E402
from ictmri_baselines.processor import PRESETS, ProcessorSettings, process  # noqa: E402

STEPS = ("bias", "registration", "resampling")


@dataclass(frozen=True)
class Outcome:
    """Seconds a step, and overlaps with the template."""

    seconds: dict[str, float]
    overlaps: dict[str, float]


def phantom(index: int) -> tuple[nib.Nifti1Image, dict[str, nib.Nifti1Image]]:
    """Render a head at 1 mm; return it with its deep structures and ventricles on its own grid."""
    case = roster()[index]
    image = rendering.render(case, spacing=1.0).image
    # The same draws again, for the anatomy that the rendered volume does not tell.
    rng = rendering._streams(case)
    shape = deformation.draw_shape(rng["shape"], case.age, case.sex)
    pose = deformation.draw_pose(rng["shape"], shape)
    warp = rendering._grow(rng["tumour"], case, pose, anatomy.template()).warp
    points = warp.template_points(deformation.axis_positions(1.0))
    target = template(1)
    origin = target.affine[:3, 3].reshape(3, 1, 1, 1).astype(np.float32)
    places = np.rint(points - origin).astype(int)
    inside = np.ones(places.shape[1:], dtype=bool)
    for axis, size in enumerate(target.mask.shape):
        inside &= (places[axis] >= 0) & (places[axis] < size)
        places[axis] = np.clip(places[axis], 0, size - 1)
    truth = {"deep": target.deep, "ventricles": target.ventricles}
    return image, {
        name: nib.Nifti1Image((mask[tuple(places)] & inside).astype(np.uint8), image.affine)
        for name, mask in truth.items()
    }


def ours(
    image: nib.Nifti1Image, mask: nib.Nifti1Image, truth: dict[str, nib.Nifti1Image]
) -> Outcome:
    """Process a scan whose mask is known with the paper's settings."""
    done = process(image, own_mask=mask)
    seconds = {name: done.steps[name]["seconds"] for name in STEPS}
    found = {name: done.mapping.to_mni(labels, 1) for name, labels in truth.items()}
    found["brain"] = done.mapping.to_mni(mask, 1)
    return Outcome(seconds, overlaps(done.brain.image.get_fdata(dtype=np.float32), found))


def defaults(
    image: nib.Nifti1Image, mask: nib.Nifti1Image, truth: dict[str, nib.Nifti1Image]
) -> Outcome:
    """Do the same by ANTs with default arguments."""
    import ants

    brain = image.get_fdata(dtype=np.float32)
    inside = np.asarray(mask.dataobj) > 0
    brain = np.where(inside, brain - min(0, brain[inside].min()), 0).astype(np.float32)
    target = template(1)
    fixed = _to_ants(nib.Nifti1Image(target.brain, target.affine))
    moving = _to_ants(nib.Nifti1Image(brain, image.affine))
    start = time.perf_counter()
    corrected = ants.n4_bias_field_correction(moving)
    after_n4 = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed, corrected, type_of_transform="SyN", outprefix=f"{folder}/", random_seed=1
        )
        after_syn = time.perf_counter()
        warped = ants.apply_transforms(fixed, corrected, found["fwdtransforms"]).numpy()
        end = time.perf_counter()
        labels = {
            name: ants.apply_transforms(
                fixed, _to_ants(_as_float(one)), found["fwdtransforms"]
            ).numpy()
            for name, one in {**truth, "brain": mask}.items()
        }
    times = (after_n4 - start, after_syn - after_n4, end - after_syn)
    return Outcome(dict(zip(STEPS, times, strict=True)), overlaps(warped, labels))


def overlaps(warped: Any, labels: dict[str, Any]) -> dict[str, float]:
    """Return Dice with the template: brain, the mean of three tissue classes, known structures."""
    target = template(1)
    truth = {"brain": target.mask, "deep": target.deep, "ventricles": target.ventricles}
    found = {name: dice(values > 0.5, truth[name]) for name, values in labels.items()}
    classes, wanted = tissues(warped), tissues(target.brain)
    found["tissue"] = float(np.mean([dice(classes == i, wanted == i) for i in (0, 1, 2)]))
    return found


def tissues(brain: Any) -> Any:
    """Return 0, 1, 2 by Otsu's two thresholds inside the template's brain, -1 outside."""
    import SimpleITK as sitk

    mask = template(1).mask
    values = brain[mask].astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    line = np.clip(values, low, high).reshape(1, -1)
    found = sitk.OtsuMultipleThresholds(sitk.GetImageFromArray(line), 2)
    result = np.full(mask.shape, -1)
    result[mask] = sitk.GetArrayFromImage(found).ravel()
    return result


def dice(first: Any, second: Any) -> float:
    """Return the Dice coefficient of two masks."""
    return float(2 * (first & second).sum() / max(first.sum() + second.sum(), 1))


def _to_ants(image: nib.Nifti1Image) -> Any:
    import ants

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/image.nii"
        nib.save(image, path)
        return ants.image_read(path)


def _as_float(image: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def work(settings: ProcessorSettings, index: int) -> None:
    """Process a phantom head."""
    process(rendering.render(roster()[index], spacing=1.0).image, settings)


def workers(settings: ProcessorSettings, cases: int) -> None:
    """Print how much faster two workers are than one."""
    seconds = []
    for jobs in (1, 2):
        start = time.perf_counter()
        run_all(
            partial(work, settings), range(cases), total=cases, title=f"{jobs} worker(s)", jobs=jobs
        )
        seconds.append(time.perf_counter() - start)
    load = os.getloadavg()[0]
    print(
        f"{cases} cases: {seconds[0]:.0f} s on one worker, {seconds[1]:.0f} s on two: "
        f"{seconds[0] / seconds[1]:.2f} times ({usable_cores()} cores, load {load:.1f})"
    )


def compared(name: str, mine: Outcome, theirs: Outcome) -> None:
    """Print both sides."""
    print(f"\n{name}: seconds at 1 mm, one thread")
    print(f"  {'':14s}{'ours':>8s}{'ANTs defaults':>16s}")
    for step in STEPS:
        print(f"  {step:14s}{mine.seconds[step]:8.1f}{theirs.seconds[step]:16.1f}")
    total, other = sum(mine.seconds.values()), sum(theirs.seconds.values())
    print(f"  {'together':14s}{total:8.1f}{other:16.1f}   {total / other:.2f} of the defaults")
    print("  Dice with the template")
    for key, value in mine.overlaps.items():
        apart = value - theirs.overlaps[key]
        print(f"  {key:14s}{value:8.4f}{theirs.overlaps[key]:16.4f}   {apart:+.4f}")


def steps(name: str, image: nib.Nifti1Image, settings: ProcessorSettings) -> None:
    """Print what each step of one head takes, weights and libraries being loaded in it."""
    records = process(image, settings).steps
    each = ", ".join(f"{step} {record['seconds']:.1f}" for step, record in records.items())
    total = sum(record["seconds"] for record in records.values())
    print(f"{name}: {total:.1f} s, of it {each}")


def main() -> None:
    """Print seconds and overlaps, side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=Path, help="a real scan besides the phantom")
    parser.add_argument("--index", type=int, default=3, help="of the phantom's case")
    parser.add_argument("--brain", default="hd-bet", help="extraction, not compared")
    parser.add_argument("--workers", action="store_true", help="time two workers against one, too")
    parser.add_argument("--no-phantom", action="store_true")
    parser.add_argument(
        "--steps", action="store_true", help="the seconds of each step instead, all in one core"
    )
    options = parser.parse_args()
    settings = PRESETS["paper"].model_copy(update={"brain": options.brain})
    masks_only = settings.model_copy(
        update={"bias": "none", "registration": "affine", "spacing_mm": 2}
    )
    scans = [] if options.no_phantom else [("phantom", *phantom(options.index))]
    if options.scan:
        scans.append((options.scan.name, read_scan(options.scan).image, {}))
    for name, image, truth in scans:
        if options.steps:
            steps(name, image, settings)
            continue
        done = process(image, masks_only)
        extraction = done.steps["brain"]
        print(f"{name}: extraction ({extraction['name']}) {extraction['seconds']:.1f} s")
        mine = ours(image, done.scan_mask, truth)
        compared(name, mine, defaults(image, done.scan_mask, truth))
    if options.workers:
        workers(settings, 2)


if __name__ == "__main__":
    main()
