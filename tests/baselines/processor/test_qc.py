"""QC of the MRI-Processor: numbers against closed forms and scipy, and every bound from both sides."""

import io
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import spearmanr
from support.made_processed import AFFINE, ball, brain_scan, made, millimetres
from support.moved_heads import moved, scan_of

from ictmri.atlas.template import template
from ictmri.cohort import Cohort
from ictmri.io.volumes import unpack
from ictmri.pages.triplanar import EDGE, GAP, MIDDLE_MM, SIZE, mni_planes
from ictmri.scans.findings import has_error
from ictmri_baselines.processor.process import Processed, process
from ictmri_baselines.processor.qc.apply_rules import (
    FAILED,
    MEASURES,
    RULES,
    Rule,
    apply_rules,
    failed,
    nearness,
)
from ictmri_baselines.processor.qc.figure import (
    MASK_INK,
    TEMPLATE_INK,
    centre_of,
    figure,
    through_brain,
)
from ictmri_baselines.processor.qc.measures import (
    border_share,
    likeness,
    mask_numbers,
    measure,
    opened,
    warp_numbers,
)
from ictmri_baselines.processor.settings import PRESETS

Scan = tuple[nib.Nifti1Image, Processed]
LIGHT = PRESETS["light"]


@pytest.fixture(scope="module")
def sound() -> dict[str, float]:
    """The numbers of the template itself."""
    return measure(*made())


def zoomed(x: float, y: float, z: float) -> np.ndarray:
    return np.diag([x, y, z, 1.0])


def of_size(factor: float) -> Scan:
    """A scan whose head is so many times as long, wide and high as the template's."""
    zoom = zoomed(factor, factor, factor)
    return made(scan_from_mni=zoom, affine=zoom @ AFFINE)


def without(lost: np.ndarray) -> Scan:
    return made(mask=template().mask & ~lost)


def below(z_mm: float) -> np.ndarray:
    """The template's brain below a plane."""
    return template().mask & (millimetres()[2] < z_mm)


def slab(z_mm: float) -> Scan:
    """A scan whose field of view ends at a plane through the brain."""
    kept = round((z_mm - AFFINE[2, 3]) / 2)
    mask = template().mask[:, :, :kept]
    return made(brain_scan()[:, :, :kept], mask)


def head(mask: np.ndarray, voxels: np.ndarray | None = None) -> Scan:
    """The template's head with its skull, under a brain mask."""
    values = template().head if voxels is None else voxels
    return made(values, mask, extracted=False)


def inside(depth_mm: float) -> np.ndarray:
    """The template's brain without its outer millimetres."""
    return ndimage.distance_transform_edt(template().mask, sampling=2.0) > depth_mm


def around(reach_mm: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~template().mask, sampling=2.0) < reach_mm


def folding(share: float) -> Scan:
    """A warp that turns a ball of the brain inside out along x; its volume is a share of the brain's."""
    ml = share * template().mask.sum() * 8 / 1000
    radius = (3 * ml * 1000 / (4 * math.pi)) ** (1 / 3)
    warp = np.zeros((*template().mask.shape, 3))
    near = ball((0, -20, 20), radius)
    warp[..., 0] = np.where(near, -3.0 * (millimetres()[0] + 0 * near), 0)
    return made(warp=warp)


def squashed(factor: float) -> Scan:
    """A warp that scales z by a factor."""
    warp = np.zeros((*template().mask.shape, 3))
    warp[..., 2] = (factor - 1) * millimetres()[2]
    return made(warp=warp)


def noise(values: np.ndarray, share: float) -> np.ndarray:
    """Replace a brain by one of which only a share (of the variance) is the template's."""
    rng = np.random.default_rng(0)
    clear = (values - values[template().mask].mean()) / values[template().mask].std()
    grain = ndimage.gaussian_filter(rng.normal(size=values.shape), 4)
    grain /= grain[template().mask].std()
    return math.sqrt(share) * clear + math.sqrt(1 - share) * grain


BROKEN: dict[str, Callable[[], Scan]] = {
    "no-brain": lambda: made(shown=-brain_scan()),
    "unlike": lambda: made(shown=noise(template().head, 0.05)),
    "no-head": lambda: head(template().mask, np.where(ball((0, -20, 20), 60), 100.0, 0.0)),
    "odd-head": lambda: head(
        template().mask, np.where(np.abs(millimetres()[0]) < 47, template().head, 0.0)
    ),
    "too-large": lambda: of_size(2),
    "too-small": lambda: of_size(0.6),
    "large-brain": lambda: of_size(1.08),
    "small-brain": lambda: of_size(0.75),
    "wrong-shape": lambda: without(below(0)),
    "unusual-shape": lambda: made(mask=inside(4.5)),
    "too-much": lambda: made(mask=template().mask | ball((0, 85, -40), 32)),
    "bulge": lambda: made(mask=template().mask | ball((0, 85, -40), 27)),
    "half-a-head": lambda: without(ball((0, 60, 20), 40)),
    "bitten": lambda: without(ball((0, 60, 20), 22)),
    "bitten-deep": lambda: without(ball((60, -20, 20), 22)),
    "bitten-on-one-side": lambda: without(ball((62, -20, 20), 15)),
    "empty-brain": lambda: made(np.where(ball((0, -20, 20), 40), 0, brain_scan())),
    "empty-spot": lambda: made(np.where(ball((0, -20, 20), 18), 0, brain_scan())),
    "out-of-view": lambda: slab(30),
    "partly-out-of-view": lambda: slab(55),
    "cut-off": lambda: slab(30),
    "cut": lambda: slab(66),
    "bare-surface": lambda: head(inside(10)),
    "torn": lambda: made(scan_from_mni=zoomed(1, 1.7, 1), affine=zoomed(1, 1.7, 1) @ AFFINE),
    "stretched": lambda: made(scan_from_mni=zoomed(1, 1.4, 1), affine=zoomed(1, 1.4, 1) @ AFFINE),
    "misplaced": lambda: made(mask=np.roll(template().mask, 15, axis=1)),
    "off": lambda: made(mask=np.roll(template().mask, 6, axis=1)),
    "holes": lambda: without(ball((30, -20, 20), 11)),
    "pieces": lambda: made(mask=template().mask | ball((0, 80, 95), 13)),
    "torn-warp": lambda: folding(0.02),
    "folds": lambda: folding(0.003),
    "squeezed": lambda: squashed(0.15),
    "inflated": lambda: squashed(4.5),
}


def test_every_rule_is_tried() -> None:
    assert set(BROKEN) == {rule.code for rule in RULES}
    assert len({rule.code for rule in RULES}) == len(RULES)


def test_the_template_itself_passes(sound: dict[str, float]) -> None:
    assert apply_rules(sound) == []
    assert sound["outline"] == sound["overlap"] == sound["field_share"] == 1.0
    assert sound["missing_ml"] == sound["bite_ml"] == sound["beyond_ml"] == sound["void_share"] == 0
    assert sound["likeness"] > 0.99
    assert sound["sides"] > 0.98


def test_a_whole_head_passes_with_and_without_a_little_too_much() -> None:
    for mask in (around(3),):
        found = [
            finding for finding in apply_rules(measure(*head(mask))) if finding.severity == "error"
        ]
        assert found == []


@pytest.mark.parametrize("code", list(BROKEN))
def test_each_bound_is_crossed_by_what_it_is_for(code: str) -> None:
    found = apply_rules(measure(*BROKEN[code]()))
    assert code in {finding.code for finding in found}
    assert all(word not in finding.text for finding in found for word in ("nan", "None"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_each_bound_from_both_sides(rule: Rule, sound: dict[str, float]) -> None:
    """A hair inside the bound nothing of this rule is said, a hair outside it is; so is a NaN."""
    assert (rule.below is None) != (rule.above is None)
    out = 1 if rule.below is None else -1
    hair = 1e-6 * max(abs(rule.bound), 1)
    within = apply_rules(sound | {rule.measure: rule.bound - out * hair})
    assert rule.code not in {finding.code for finding in within}
    (beyond,) = apply_rules(sound | {rule.measure: rule.bound + out * hair})
    assert (beyond.code, beyond.severity) == (rule.code, rule.severity)
    assert MEASURES[rule.measure].title in beyond.text
    assert apply_rules(sound | {rule.measure: math.nan})


def test_the_stricter_of_two_rules_is_named_and_comes_first(sound: dict[str, float]) -> None:
    found = apply_rules(sound | {"missing_ml": 500.0, "bite_ml": 5.0, "brain_ml": 100.0})
    assert [f.code for f in found] == ["too-small", "half-a-head", "bitten-on-one-side"]
    assert has_error(found)
    assert not has_error(found[2:])
    assert apply_rules({}) == []
    assert has_error([failed("no brain was found")])
    assert failed("no brain was found").code == FAILED


@pytest.mark.parametrize(
    ("ml", "code", "severity"),
    [(2700, "too-large", "error"), (2329, "large-brain", "warning"), (2100, None, None),
     (1050, None, None), (900, "small-brain", "warning"), (500, "too-small", "error")],
)  # fmt: skip
def test_only_a_small_brain_may_be_an_infants(
    sound: dict[str, float], ml: float, code: str | None, severity: str | None
) -> None:
    found = apply_rules(sound | {"brain_ml": ml})
    assert [(f.code, f.severity) for f in found] == ([(code, severity)] if code else [])
    for finding in found:
        assert ("too large" in finding.text) == (ml > 2000)
        assert not (ml > 2000 and "infant" in finding.text + finding.next_step)
    if code == "small-brain":
        assert "infant" in found[0].text


@pytest.mark.parametrize("centre", [(0, -30, -66), (60, 70, 70), (2, -18, 10)])
def test_every_plane_of_a_picture_shows_much_of_the_brain(centre: tuple[float, ...]) -> None:
    mask = nib.Nifti1Image(template().mask.astype(np.uint8), template().affine)
    x, y, z = found = through_brain(mask, centre)
    for axis, mm in enumerate(found):
        sections = template().mask.sum(axis=tuple({0, 1, 2} - {axis}))
        at = round((mm - mask.affine[axis, 3]) / mask.affine[axis, axis])
        assert sections[at] >= 0.4 * sections.max()
    if centre == (2, -18, 10):
        assert (x, y, z) == centre
    empty = nib.Nifti1Image(np.zeros((91, 109, 91), np.uint8), template().affine)
    assert through_brain(empty, centre) == centre


def test_nearness_orders_cases_by_how_far_they_are_off(sound: dict[str, float]) -> None:
    at = [nearness(sound | {"missing_ml": ml}) for ml in (0.0, 2.0, 10.0, 60.0, 500.0)]
    assert at == sorted(at)
    assert at[0] < 0.5
    assert at[3] == pytest.approx(60 / 4 * 0.5)
    assert nearness(sound | {"outline": 0.87}) >= 1.0


def test_a_lesion_in_the_brain_is_no_reason_to_look() -> None:
    """Bright with a dark core, 50 ml, at the surface: within the mask nothing is missing."""
    bright = np.where(ball((50, -20, 20), 23), 250.0, brain_scan())
    bright = np.where(ball((50, -20, 20), 14), 12.0, bright)
    assert apply_rules(measure(*made(bright))) == []


def test_volumes_and_pieces_of_balls_are_those_of_the_formula() -> None:
    """On a turned, anisotropic grid."""
    turn = nib.eulerangles.euler2mat(0.3, 0.2, 0.1)
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.8, 1.1, 1.7]
    axes = np.ogrid[:100, :90, :60]
    edges = (0.8, 1.1, 1.7)

    def far(*middle: float) -> np.ndarray:
        return np.sqrt(sum(((a - m) * e) ** 2 for a, m, e in zip(axes, middle, edges, strict=True)))

    mask = (far(40, 45, 30) <= 28) & (far(40, 45, 30) >= 9) | (far(90, 10, 6) <= 7)
    found = mask_numbers(nib.Nifti1Image(mask.astype(np.uint8), affine))

    def ml(radius: float) -> float:
        return 4 / 3 * math.pi * radius**3 / 1000

    assert found["brain_ml"] == pytest.approx(ml(28) - ml(9) + ml(7), rel=0.02)
    assert found["holes_ml"] == pytest.approx(ml(9), rel=0.04)
    assert found["pieces_ml"] == pytest.approx(ml(7), rel=0.04)


@pytest.mark.parametrize("radius", [12.0, 16.0, 21.0])
def test_a_bite_is_as_large_as_the_ball_that_was_taken(radius: float) -> None:
    lost = ball((50, -20, 20), radius) & template().mask
    found = measure(*without(lost))
    truth = lost.sum() * 8 / 1000
    assert found["missing_ml"] == pytest.approx(truth, rel=0.08)
    assert found["bite_ml"] == pytest.approx(truth, rel=0.08)
    centre = centre_of(found)
    assert np.linalg.norm(np.subtract(centre, ndimage_centre(lost))) < 2.0


def ndimage_centre(mask: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(AFFINE, np.argwhere(mask).mean(axis=0))


def test_what_both_sides_lack_is_missing_but_no_bite() -> None:
    found = measure(*without(ball((50, -20, 20), 15) | ball((-50, -20, 20), 15)))
    assert found["missing_ml"] > 10
    assert found["bite_ml"] == 0
    assert centre_of(measure(*made())) is None


def test_the_affine_is_told_by_its_singular_values() -> None:
    affine = nib.eulerangles.euler2mat(0.2, 0.1, -0.1) @ np.diag([0.9, 1.2, 1.0])
    way = np.eye(4)
    way[:3, :3] = affine
    found = measure(*made(scan_from_mni=way, affine=way @ AFFINE))
    assert found["stretch"] == pytest.approx(1.2 / 0.9, rel=1e-6)
    assert found["scale"] == pytest.approx(0.9 * 1.2, rel=1e-6)
    assert found["outline"] > 0.99


def test_opening_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 42, 38)), 3) > 0
    reach = np.sum(np.square(np.indices([5] * 3) - 2), axis=0) * 4.0 < 5.0**2
    np.testing.assert_array_equal(opened(mask, 5.0), ndimage.binary_opening(mask, reach))


def test_likeness_is_a_rank_correlation() -> None:
    """Any monotone change of contrast leaves it; noise takes it away as scipy says."""
    mask = nib.Nifti1Image(template().mask.astype(np.uint8), AFFINE)

    def of(values: np.ndarray) -> float:
        return likeness(nib.Nifti1Image(values.astype(np.float32), AFFINE), mask)

    brain = template().brain
    assert of(brain) == pytest.approx(1.0, abs=1e-9)
    assert of(-brain) == pytest.approx(-1.0, abs=1e-9)
    assert of(np.sqrt(brain)) > 0.99
    noisy = noise(brain, 0.3)
    weight = ndimage.gaussian_filter(template().mask.astype(np.float64), 4 / 2.355 / 2)
    smooth = [
        ndimage.gaussian_filter(np.where(template().mask, v, 0).astype(np.float64), 4 / 2.355 / 2)
        / np.maximum(weight, 1e-6)
        for v in (noisy, brain)
    ]
    inner = template().mask
    assert of(noisy) == pytest.approx(spearmanr(*(v[inner] for v in smooth))[0], abs=1e-3)
    assert of(np.zeros_like(brain)) == 0.0


def test_the_jacobian_of_a_known_warp() -> None:
    warp = np.zeros((*template().mask.shape, 3))
    for axis, share in enumerate((0.1, -0.2, 0.3)):
        warp[..., axis] = share * millimetres()[axis]
    _, processed = made(warp=warp)
    found = warp_numbers(processed.mapping, processed.brain.mask)
    for name in ("jacobian_min", "jacobian_p1", "jacobian_p99"):
        assert found[name] == pytest.approx(1.1 * 0.8 * 1.3, rel=1e-4)
    assert found["folded_share"] == 0.0
    _, processed = folding(0.02)
    found = warp_numbers(processed.mapping, processed.brain.mask)
    assert found["folded_share"] == pytest.approx(0.02, rel=0.3)
    assert found["jacobian_min"] < 0


def test_a_cut_face_is_measured_against_the_largest_section() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:15, 5:15, 4:] = True
    mask[8:12, 8:12, 19] = True
    mask[5:8, :, 19] = mask[12:, :, 19] = False
    whole = 100
    assert border_share(mask) == pytest.approx(mask[:, :, 19].sum() / whole)
    assert border_share(np.zeros((5, 5, 5), dtype=bool)) == 0.0


def test_an_empty_mask_is_left_out_and_no_number_is_missing() -> None:
    numbers = measure(*made(brain_scan(), np.zeros_like(template().mask)))
    assert set(numbers) >= set(MEASURES)
    assert all(math.isfinite(value) for value in numbers.values())
    assert has_error(apply_rules(numbers))


def test_another_orientation_gives_the_same_numbers() -> None:
    image, processed = without(ball((50, -20, 20), 15))
    turned = nib.orientations.axcodes2ornt(("P", "S", "L"))
    way = nib.orientations.ornt_transform(nib.io_orientation(image.affine), turned)
    other = Processed(
        brain=processed.brain,
        mapping=processed.mapping,
        scan_mask=processed.scan_mask.as_reoriented(way),
        extracted=True,
        steps=processed.steps,
    )
    assert measure(image.as_reoriented(way), other) == pytest.approx(measure(image, processed))


@pytest.fixture(scope="module")
def whole() -> nib.Nifti1Image:
    """A head that lies a little turned."""
    return scan_of(moved(pitch=6, yaw=4, shift=(3, -5, 8)))


def codes(image: nib.Nifti1Image) -> dict[str, str]:
    return {f.code: f.severity for f in apply_rules(measure(image, process(image, LIGHT)))}


def test_phantoms_stay_in(raw_phantom: Cohort) -> None:
    for row in islice(raw_phantom.rows("default", ["image"]), 2):
        assert "error" not in codes(unpack(row["image"])).values()


def test_half_a_head_is_named(whole: nib.Nifti1Image) -> None:
    voxels = np.asarray(whole.dataobj).copy()
    voxels[voxels.shape[0] // 2 :] = 0
    found = codes(nib.Nifti1Image(voxels, whole.affine))
    assert {"half-a-head", "no-head", "empty-brain"} & {c for c, s in found.items() if s == "error"}


def test_no_head_is_named() -> None:
    far = sum((axis - 60) ** 2 for axis in np.ogrid[:120, :120, :120])
    rng = np.random.default_rng(0)
    voxels = np.where(far < 50**2, 100.0, 0.0) + np.abs(rng.normal(0, 3, (120,) * 3))
    found = codes(nib.Nifti1Image(voxels.astype(np.float32), zoomed(1.6, 1.6, 1.6)))
    assert "error" in found.values()
    assert {"no-head", "no-brain"} & set(found)


def bite(voxels: np.ndarray, affine: np.ndarray, millilitres: float) -> np.ndarray:
    """Blank a ball around the rightmost point of a brain on a constant background."""
    brain = ndimage.binary_fill_holes(voxels != voxels[0, 0, 0])
    point = np.argwhere(brain)[np.argwhere(brain)[:, 0].argmax()]
    edges = nib.affines.voxel_sizes(affine)
    axes = np.ogrid[tuple(slice(size) for size in voxels.shape)]
    far = sum(((a - p) * e) ** 2 for a, p, e in zip(axes, point, edges, strict=True))
    limit = np.sort(far[brain])[round(millilitres * 1000 / np.prod(edges)) - 1]
    return np.where(far <= limit, voxels[0, 0, 0], voxels).astype(np.float32)


def test_an_earlier_extraction_that_bit_is_named() -> None:
    image = scan_of(moved(pitch=6, shift=(3, -5, 8), scale=0.95), brain_only=True)
    assert not {"bitten", "bitten-on-one-side"} & set(codes(image))
    bitten = bite(np.asarray(image.dataobj), image.affine, 20)
    found = codes(nib.Nifti1Image(bitten, image.affine))
    assert "bitten" in found
    assert {"bitten-on-one-side", "bitten-deep"} & set(found)


def planes(content: bytes) -> list[np.ndarray]:
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    return [picture[:, place * (EDGE + GAP) :][:, :EDGE] for place in range(3)]


def near(tile: np.ndarray, ink: tuple[int, int, int]) -> np.ndarray:
    return np.abs(tile - ink).sum(axis=-1) < 140


def test_outlines_lie_where_the_masks_end() -> None:
    """A mask 12 mm smaller than the template's: two lines, each at its own distance."""
    image, processed = head(inside(12))
    depth = ndimage.distance_transform_edt(template().mask, sampling=2.0)
    depth -= ndimage.distance_transform_edt(~template().mask, sampling=2.0)
    for axis, tile in zip((2, 1, 0), planes(figure(processed, image)), strict=True):
        points = mni_planes(MIDDLE_MM).points(axis)
        at = nib.affines.apply_affine(np.linalg.inv(AFFINE), points.reshape(-1, 3)).T
        here = ndimage.map_coordinates(depth, at, order=1, cval=-99).reshape(EDGE, EDGE)
        for ink, expected in ((MASK_INK, 12.0), (TEMPLATE_INK, 0.0)):
            line = near(tile, ink)
            line[EDGE // 2 - 12 : EDGE // 2 + 12] = False  # the letters
            assert line.sum() > 100
            assert abs(np.median(here[line]) - expected) < 2.5


def test_the_patients_right_is_on_the_viewers_left() -> None:
    spot = np.where(ball((40, -18, 10), 25), 255.0, 20.0) * template().mask
    axial, coronal, _ = planes(
        figure(made(spot)[1], nib.Nifti1Image(spot.astype(np.float32), AFFINE))
    )
    for tile in (axial, coronal):
        bright = np.argwhere(tile.min(axis=-1) > 200)
        assert len(bright) > 50
        assert (bright[:, 1] < EDGE / 2).all()


@pytest.mark.slow
def test_real_scans_stay_in_and_bites_are_named(real_scans: Path) -> None:
    """One that came without its skull, and one with thick slices; a bite of 20 ml at its surface."""
    from ictmri.scans.read import read_scan

    folder = real_scans / "cohort" / "images"
    for name in ("brats_met_00110_t1c.nii.gz", "tcga_fg_6692_t1c.nii.gz"):
        assert "error" not in codes(read_scan(folder / name).image).values()
    scan = read_scan(folder / "brats_met_00110_t1c.nii.gz").image
    bitten = bite(np.asarray(scan.dataobj), scan.affine, 20)
    assert "bitten" in codes(nib.Nifti1Image(bitten, scan.affine))
