"""The networks on real heads and on a phantom, and what is said where a network or its weights lack."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.moved_heads import brain_mask_of, moved, reordered, scan_of

from ictmri.atlas.alignment import align
from ictmri.errors import InputError
from ictmri_baselines.processor import PRESETS, ProcessorSettings, preset, process
from ictmri_baselines.processor.extraction.deepbet import DeepBet
from ictmri_baselines.processor.extraction.hd_bet import HdBet, flushed_network, hd_bet_network
from ictmri_baselines.processor.extraction.network import (
    ExtractionError,
    cleaned,
    network_grid,
    on_scan,
)
from ictmri_baselines.processor.process import used_steps
from ictmri_baselines.processor.volume import Volume, volume_of

NETWORKS = [
    pytest.param(HdBet(), marks=pytest.mark.long, id="hd-bet"),
    pytest.param(DeepBet(), id="deepbet"),
]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def read(path: Path) -> nib.Nifti1Image:
    """Any scan as NIfTI, by way of ITK where nibabel cannot read it."""
    if path.suffix == ".gz":
        return nib.load(path)
    image = sitk.ReadImage(str(path))
    direction = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction, image.GetOrigin()
    return nib.Nifti1Image(sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine)


def test_hd_bet_multiplies_no_denormal_weight_and_loads_once() -> None:
    tiny = torch.finfo(torch.float32).tiny
    before, after = (dict(n.named_parameters()) for n in (hd_bet_network(), flushed_network()))
    assert flushed_network() is flushed_network()
    denormal = {name: (w != 0) & (w.abs() < tiny) for name, w in before.items()}
    assert sum(int(found.sum()) for found in denormal.values()) > 1_000_000
    for name, found in denormal.items():
        assert torch.equal(after[name], torch.where(found, 0, before[name])), name


@pytest.mark.long
def test_what_hd_bet_finds_keeps_its_bytes_without_denormal_weights() -> None:
    head = volume_of(scan_of(moved(), (6.0, 6.0, 6.0))).voxels[:32, :32, :32]
    block = torch.from_numpy((head - head.mean()) / head.std())[None, None]
    assert block.shape[2:] == (32, 32, 32)
    with torch.inference_mode():
        found, wanted = flushed_network()(block), hd_bet_network()(block)
    assert wanted.std() > 0
    assert torch.equal(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_real_head_on_thick_slices(network: HdBet | DeepBet, real_scans: Path) -> None:
    """Agreement with HD-BET's own output, with mirroring, that came with the scan."""
    data = real_scans
    scan = nib.load(data / "cohort" / "images" / "tcga_fg_6692_t1c.nii.gz")
    (own,) = data.glob("masks/tcga_fg_6692*hdbet*")
    found = network.run(volume_of(scan), align(scan)).brain
    wanted = np.asarray(nib.as_closest_canonical(nib.load(own)).dataobj) > 0
    assert dice(found, wanted) >= 0.96


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_no_tumour_is_bitten_off(network: HdBet | DeepBet, real_scans: Path) -> None:
    data = real_scans
    scan = read(data / "cohort" / "images" / "pyradiomics_brain1_t1c.nrrd")
    (path,) = data.glob("masks/pyradiomics_brain1*tumour*")
    tumour = np.asarray(nib.as_closest_canonical(read(path)).dataobj) > 0
    found = network.run(volume_of(scan), align(scan)).brain
    assert tumour.sum() > 0
    assert (found & tumour).sum() == tumour.sum()


def test_light_is_another_thing_for_patients_than_for_phantoms() -> None:
    assert preset("light", synthetic=True) == PRESETS["light"]
    assert preset("light", synthetic=True).brain == "template"
    changed = PRESETS["light"].model_dump() | {"brain": "deepbet"}
    assert preset("light", synthetic=False).model_dump() == changed
    assert all(preset("paper", synthetic=s) == PRESETS["paper"] for s in (True, False))


@pytest.mark.slow
def test_on_patients_light_keeps_a_lesion_that_the_templates_mask_cuts(real_scans: Path) -> None:
    data = real_scans
    scan = read(data / "cohort" / "images" / "pyradiomics_brain1_t1c.nrrd")
    (path,) = data.glob("masks/pyradiomics_brain1*tumour*")
    tumour = np.asarray(read(path).dataobj) > 0
    kept = {}
    for synthetic in (True, False):
        done = process(scan, preset("light", synthetic=synthetic))
        kept[synthetic] = float((np.asarray(done.scan_mask.dataobj)[tumour] > 0).mean())
        assert done.borrowed == synthetic
    assert kept[False] == 1
    assert kept[True] < 0.8


@pytest.mark.long
def test_deepbet_finds_the_same_brain_however_the_scan_is_stored() -> None:
    truth = moved(pitch=8, shift=(3, 5, 10))
    scan = scan_of(truth, (1.5, 1.5, 4.0))
    settings = PRESETS["light"].model_copy(update={"brain": "deepbet"})
    whole = (scan.get_fdata() * 8).astype(np.int16)
    other = reordered(nib.Nifti1Image(whole, scan.affine), "PIR")
    done = process(other, settings)
    found = np.asarray(nib.as_closest_canonical(done.scan_mask).dataobj) > 0
    assert dice(found, np.asarray(brain_mask_of(scan, truth).dataobj) > 0) > 0.94


def test_the_networks_grid_lies_where_the_scan_does() -> None:
    """A ramp along each axis says its own place, on the network's cubes and back on thick slices."""
    scan = scan_of(moved(), (2.0, 2.0, 6.0))
    volume, place = volume_of(scan), align(scan)
    for axis in range(3):
        places = np.moveaxis(np.indices(volume.voxels.shape), 0, -1)
        ramp = nib.affines.apply_affine(volume.affine, places)[..., axis].astype(np.float32)
        cubes, affine = network_grid(Volume(ramp, volume.affine), place, 1.5)
        np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), 1.5)
        inner = tuple(slice(4, -4) for _ in range(3))
        at = nib.affines.apply_affine(affine, np.moveaxis(np.indices(cubes.shape), 0, -1))
        np.testing.assert_allclose(cubes[inner], at[..., axis][inner], atol=1e-3)
        back = on_scan(cubes, affine, volume)
        seen = on_scan(np.ones_like(cubes), affine, volume) > 0
        kept = (slice(8, -8), slice(8, -8), slice(3, -3))
        np.testing.assert_allclose(back[kept][seen[kept]], ramp[kept][seen[kept]], atol=1e-3)


def test_what_lies_far_below_the_head_is_cut_off() -> None:
    scan = scan_of(moved(), (4.0, 4.0, 4.0))
    neck = np.pad(scan.get_fdata(dtype=np.float32), ((0, 0), (0, 0), (60, 0)))
    affine = scan.affine.copy()
    affine[2, 3] -= 60 * 4.0
    place = align(scan)
    cubes, _ = network_grid(Volume(neck, affine), place, 4.0)
    assert cubes.shape[2] < 210 / 4 + 10


def test_one_piece_without_holes_is_kept() -> None:
    mask = np.zeros((60, 60, 60), bool)
    mask[10:50, 10:50, 10:50] = True
    whole = mask.copy()
    mask[25:28, 25:28, 25:28] = False
    mask[55:58, 55:58, 55:58] = True
    volume = Volume(np.zeros(mask.shape, np.float32), np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(cleaned(mask, volume, "x"), whole)
    with pytest.raises(ExtractionError, match="found 0 ml of brain"):
        cleaned(np.zeros_like(mask), volume, "x")


def test_hd_bet_2_says_where_its_weights_must_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"checkpoint_final\.pth is not there") as raised:
        used_steps(ProcessorSettings(brain="hd-bet-2", hd_bet_2_weights=tmp_path))
    assert str(tmp_path) in str(raised.value)
    monkeypatch.setenv("ICTMRI_HD_BET_2", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere"):
        used_steps(ProcessorSettings(brain="hd-bet-2"))
