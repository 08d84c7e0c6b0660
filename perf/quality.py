"""Measure the QC of the MRI-Processor: whole scans, the phantom, and damaged copies of both.

Prints, for each number, what whole scans reach, and for each damage which findings name it. The
thresholds in ictmri_baselines/processor/qc/rules.yaml lie between the two.

With --lesions it prints instead how much of each marked tumour the light settings keep in the brain.

Example: OMP_NUM_THREADS=1 python perf/quality.py --data $ICTMRI_REAL_SCANS --brain deepbet
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from ictmri.phantom import render, roster
from ictmri.scans.read import read_scan
from ictmri_baselines.processor.process import process
from ictmri_baselines.processor.qc.apply_rules import apply_rules
from ictmri_baselines.processor.qc.measures import measure
from ictmri_baselines.processor.settings import ProcessorSettings, preset

BITES_ML = (10, 20, 40)
BITES_A_SIZE = 2


def whole(data: Path, n_phantoms: int) -> Iterator[tuple[str, nib.Nifti1Image]]:
    """Yield real scans by name, then phantoms."""
    for path in sorted((data / "cohort" / "images").iterdir()):
        yield path.name.split("_t1c")[0], read_scan(path).image
    yield "sag_anon", read_scan(data / "dicom" / "sag_anon").image
    cases = roster()
    for index in range(0, len(cases), max(1, len(cases) // n_phantoms)):
        yield f"phantom-{index}", render(cases[index], spacing=2.0).image


def canonical(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels and affine with axes nearest to RAS."""
    closest: Any = nib.as_closest_canonical(image)
    return np.asarray(closest.dataobj, dtype=np.float32), closest.affine


def background(voxels: np.ndarray) -> tuple[float, bool]:
    """Return the commonest value, and whether it fills most of the scan."""
    values, counts = np.unique(voxels[::2, ::2, ::2], return_counts=True)
    return float(values[counts.argmax()]), bool(counts.max() > counts.sum() / 2)


def box(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of what is not background."""
    low, fills = background(voxels)
    solid = voxels != low if fills else voxels > 0.1 * np.percentile(voxels, 98)
    found = np.argwhere(ndimage.binary_opening(solid))
    return found.min(axis=0), found.max(axis=0)


def zeroed(image: nib.Nifti1Image, axis: int, upper: bool) -> nib.Nifti1Image:
    """Blank one half of the head, along an axis."""
    voxels, affine = canonical(image)
    low, high = box(voxels)
    middle = (low[axis] + high[axis] + 1) // 2
    part = [slice(None)] * 3
    part[axis] = slice(middle, None) if upper else slice(None, middle)
    value, fills = background(voxels)
    voxels = voxels.copy()
    voxels[tuple(part)] = value if fills else voxels.min()
    return nib.Nifti1Image(voxels, affine)


def cropped(image: nib.Nifti1Image, share: float, top: bool) -> nib.Nifti1Image:
    """Leave slices away, a share of the head's."""
    voxels, affine = canonical(image)
    low, high = box(voxels)
    gone = round((high[2] - low[2] + 1) * share)
    start = 0 if top else low[2] + gone
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 2] * start
    return nib.Nifti1Image(voxels[:, :, start : high[2] + 1 - gone if top else None], moved)


def turned(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Turn the voxels upside down under the same header."""
    voxels, affine = canonical(image)
    return nib.Nifti1Image(np.ascontiguousarray(voxels[:, :, ::-1]), affine)


def bitten(image: nib.Nifti1Image, millilitres: float, seed: int) -> nib.Nifti1Image:
    """Blank a ball around a point of an extracted brain's surface."""
    voxels, affine = canonical(image)
    value, _ = background(voxels)
    brain = ndimage.binary_fill_holes(voxels != value)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    surface = np.argwhere(brain & ~ndimage.binary_erosion(brain))
    floor = surface[:, 2].min() + 0.35 * np.ptp(surface[:, 2])
    surface = surface[surface[:, 2] > floor]
    point = surface[np.random.default_rng(seed).integers(len(surface))]
    far = sum(
        ((axis - point[i]) * edges[i]) ** 2
        for i, axis in enumerate(np.ogrid[tuple(map(slice, voxels.shape))])
    )
    count = round(millilitres * 1000 / float(np.prod(edges)))
    voxels = np.where(far <= np.partition(far[brain], count)[count], value, voxels)
    return nib.Nifti1Image(voxels.astype(np.float32), affine)


def objects() -> Iterator[tuple[str, nib.Nifti1Image]]:
    """Yield what is no head."""
    rng = np.random.default_rng(0)
    shape, edge = (150, 160, 130), 1.5
    x, y, z = (
        (axis - size / 2) * edge
        for axis, size in zip(np.ogrid[tuple(map(slice, shape))], shape, strict=True)
    )
    noise = np.abs(rng.normal(0, 3, shape))
    ellipsoid = (x / 68) ** 2 + (y / 85) ** 2 + (z / 65) ** 2 < 1
    solids = {
        "box": (np.abs(x) < 70) & (np.abs(y) < 85) & (np.abs(z) < 65),
        "ball": x**2 + y**2 + z**2 < 80**2,
        "bottle": (x**2 + y**2 < 70**2) & (np.abs(z) < 80),
    }
    body = (x / 85) ** 2 + (y / 70) ** 2 + 0 * z < 1
    spine = np.where(body, 60.0, 0.0)
    spine[body & (x**2 + (y - 10) ** 2 < 22**2) & (np.mod(z, 35) < 26)] = 110
    spine[body & (x**2 + (y + 22) ** 2 < 11**2)] = 20
    volumes = {name: np.where(solid, 100.0, 0.0) + noise for name, solid in solids.items()}
    volumes["spine"] = ndimage.gaussian_filter(spine, 0.7) + noise
    volumes["noise"] = np.abs(rng.normal(100, 30, shape))
    volumes["bare ellipsoid"] = np.where(ellipsoid, 100 + noise, 0)
    for name, voxels in volumes.items():
        affine = np.diag([edge, edge, edge, 1])
        yield name, nib.Nifti1Image(voxels.astype(np.float32), affine)


DAMAGES: dict[str, Callable[[nib.Nifti1Image], nib.Nifti1Image]] = {
    "upper half blank": lambda image: zeroed(image, 2, upper=True),
    "lower half blank": lambda image: zeroed(image, 2, upper=False),
    "left half blank": lambda image: zeroed(image, 0, upper=False),
    "front half blank": lambda image: zeroed(image, 1, upper=True),
    "upper half of slices gone": lambda image: cropped(image, 0.5, top=True),
    "lower half of slices gone": lambda image: cropped(image, 0.5, top=False),
    "upper quarter of slices gone": lambda image: cropped(image, 0.25, top=True),
    "upside down": turned,
}


def damaged(scans: dict[str, nib.Nifti1Image]) -> Iterator[tuple[str, str, nib.Nifti1Image]]:
    """Yield damage, scan and volume."""
    for name, image in scans.items():
        if name.startswith("phantom"):
            continue
        for damage, function in DAMAGES.items():
            yield damage, name, function(image)
        if background(canonical(image)[0])[1] and name.startswith("brats"):
            for size in BITES_ML:
                for seed in range(BITES_A_SIZE):
                    yield f"bite of {size} ml", f"{name}-{seed}", bitten(image, size, seed)
    for name, image in objects():
        yield "no head", name, image


def examined(image: nib.Nifti1Image, settings: ProcessorSettings) -> dict[str, Any]:
    """Return the QC of a scan: its numbers and findings, or why it could not be processed."""
    try:
        processed = process(image, settings)
    except ValueError as error:
        return {"reason": str(error), "numbers": {}, "error": ["not-processed"], "warning": []}
    numbers = measure(image, processed)
    found = apply_rules(numbers)
    by = {
        word: [finding.code for finding in found if finding.severity == word]
        for word in ("error", "warning")
    }
    return {"reason": "", "numbers": numbers, **by}


def lesions(data: Path) -> Iterator[str]:
    """Yield a line for each scan with a marked tumour: what its brain mask keeps of it."""
    for path in sorted((data / "masks").glob("*_tumour*")):
        name = path.name.split("_tumour")[0]
        (scan,) = (data / "cohort" / "images").glob(f"{name}*")
        image, tumour = (read_scan(file).image for file in (scan, path))
        marked = np.asarray(tumour.dataobj) > 0
        ml = marked.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
        for synthetic, whose in ((True, "the phantom's"), (False, "a patient's")):
            done = process(image, preset("light", synthetic=synthetic))
            kept = float((np.asarray(done.scan_mask.dataobj)[marked] > 0).mean())
            brain = done.steps["brain"]["name"]
            yield f"{name:24s}{ml:8.1f} ml  light, {whose:14s} {brain:18s} kept {100 * kept:5.1f} %"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("ICTMRI_REAL_SCANS", "real-scans")
    )
    parser.add_argument("--brain", default="deepbet")
    parser.add_argument("--registration", default="affine")
    parser.add_argument("--phantoms", type=int, default=5)
    parser.add_argument("--whole-only", action="store_true")
    parser.add_argument("--lesions", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.lesions:
        for line in lesions(options.data):
            print(line, flush=True)
        return
    settings = ProcessorSettings(
        brain=options.brain, bias="none", registration=options.registration, spacing_mm=2
    )
    scans = dict(whole(options.data, options.phantoms))
    results = {("whole", name): examined(image, settings) for name, image in scans.items()}
    print_range(results)
    groups = defaultdict(list)
    for damage, name, image in () if options.whole_only else damaged(scans):
        results[damage, name] = found = examined(image, settings)
        groups[damage].append(found)
        print(f"{damage:30s}{name:24s}{', '.join(found['error'] + found['warning'])}", flush=True)
    for damage, found in groups.items():
        out = sum(bool(one["error"]) for one in found)
        seen = sum(bool(one["error"] or one["warning"]) for one in found)
        print(f"{damage:30s}{len(found):4d} volumes {out:4d} left out {seen:4d} named")
    if options.json:
        stored = [{"damage": key[0], "scan": key[1], **found} for key, found in results.items()]
        options.json.write_text(json.dumps(stored, indent=1))


def print_range(results: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Print what whole scans reach, and what was found about them."""
    values = defaultdict(list)
    for (_, name), found in results.items():
        print(
            f"whole {name:24s} {found['reason']} errors {found['error']} warnings {found['warning']}"
        )
        for measured, value in found["numbers"].items():
            values[measured].append(value)
    for measured, reached in values.items():
        print(f"{measured:16s}{min(reached):10.3f}{max(reached):10.3f}")


if __name__ == "__main__":
    main()
