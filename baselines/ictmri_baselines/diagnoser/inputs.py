"""From processed cases to what the network is shown: cubes of volume and prior in preallocated buffers.

Nothing is decoded or resampled in an epoch. A whole brain at 2 mm is a window on the memory-mapped cache,
read when its turn comes; the smaller views (coarser, or a region around the prior) are cut once and held.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ictmri.atlas.template import SHAPE, SPACING_MM
from ictmri_baselines.cases import LEVELS, Cases, region
from ictmri_baselines.diagnoser.augmentation import Variant, place, recolour
from ictmri_baselines.diagnoser.network import Localisation
from ictmri_baselines.settings import CheckedSettings

Batch = tuple[Tensor, Tensor, Tensor]
"""Volumes (B, 1, s, s, s) float32, priors (B, 1, s, s, s) float32 in [0, 1], classes (B,) int64."""

BRAIN_CENTRE: Final = (48, 58, 42)
"""Voxel of the 2 mm grid at the middle of the template's brain, which reaches from (12, 13, 3) to
(84, 102, 80): 73 x 90 x 78 voxels, so that a cube of 96 holds all of it."""

BUFFERS: Final = 2
"""Batches in memory: one may be fetched while the network is busy with the other."""


class InputView(CheckedSettings):
    """The part of a case that the network is shown: always a cube.

    The paper is silent about the size of its input. A cube of 96 voxels of 2 mm about the middle of the
    template's brain holds every brain whole without resampling what is on that grid already, keeps voxels
    isotropic and, being a cube, keeps its shape under the paper's quarter turns.

    Attributes:
        of: ``brain``, a cube about the middle of the template's brain; or ``region``, a cube about the
            middle of the prior (of the brain, where the prior is empty).
        spacing_mm: edge of a voxel; above 2, voxels of 2 mm are averaged.
        edge: voxels along each edge of the cube.
    """

    of: Literal["brain", "region"] = "brain"
    spacing_mm: Literal[2, 4, 6] = 2
    edge: Annotated[int, Field(ge=8, le=256)] = 96

    @property
    def factor(self) -> int:
        """Voxels of 2 mm along the edge of one voxel."""
        return self.spacing_mm // int(SPACING_MM)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an array lies in a file, so that another process can map it instead of being sent it.

    Attributes:
        path: the file.
        offset: bytes before the array.
        shape: of the array.
        dtype: of the array.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def open(self) -> NDArray[Any]:
        """Map the array."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


class NetworkInputs:
    """What the network can be shown of some cases.

    Attributes:
        rows: (n,) where each case lies in the arrays.
        window: the part of (X, Y, Z) that a case's cube is taken from: the cube and its shift.
        edge: voxels along an edge of the cube.
        shift: largest shift of the cube within the window, to either side.
    """

    def __init__(
        self,
        images: NDArray[np.float16] | Stored,
        priors: NDArray[np.uint8] | Stored | None,
        rows: NDArray[np.int64],
        window: tuple[slice, slice, slice],
        *,
        edge: int,
        shift: int,
    ) -> None:
        """Hold the arrays.

        Args:
            images: (m, X, Y, Z).
            priors: the same, 0..255 for 0..1; None where no prior is shown.
            rows: see the class.
            window: see the class.
            edge: see the class.
            shift: see the class.
        """
        self._arrays = (images, priors)
        self._images = _tensor(images)
        self._priors = None if priors is None else _tensor(priors)
        self.rows = rows
        self.window = window
        self.edge = edge
        self.shift = shift

    def __reduce__(self) -> tuple[Any, ...]:
        images, priors = self._arrays
        make = partial(NetworkInputs, edge=self.edge, shift=self.shift)
        return make, (images, priors, self.rows, self.window)

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.rows)

    @property
    def central(self) -> Variant:
        """The cube as it is, in the middle of its window."""
        return Variant(shift=(self.shift,) * 3)

    def subset(self, chosen: NDArray[np.bool_]) -> NetworkInputs:
        """Return the chosen cases, in order."""
        images, priors = self._arrays
        rows = self.rows[chosen]
        return NetworkInputs(images, priors, rows, self.window, edge=self.edge, shift=self.shift)

    def as_it_is(self, case: int) -> tuple[Tensor, Tensor]:
        """Return volume and prior of a case, (s, s, s) float32 each; the prior 0 where none is shown."""
        image, prior = (torch.zeros((self.edge,) * 3) for _ in range(2))
        self.write(case, self.central, image, prior)
        return image, prior

    def write(self, case: int, variant: Variant, image: Tensor, prior: Tensor) -> None:
        """Write a variant of a case, its intensities as they are, into (s, s, s) float32 buffers.

        Without a prior its buffer is left alone.
        """
        row = int(self.rows[case])
        place(self._images[row][self.window], variant, image)
        if self._priors is not None:
            place(self._priors[row][self.window], variant, prior)
            prior.mul_(1 / LEVELS)


def _tensor(array: NDArray[Any] | Stored) -> Tensor:
    """Return a tensor on the memory of an array that is not written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array.open() if isinstance(array, Stored) else array)


def _stored(array: NDArray[Any]) -> NDArray[Any] | Stored:
    """Return where a mapped array lies; an array in memory as it is."""
    if isinstance(array, np.memmap) and array.filename is not None and array.flags.c_contiguous:
        return Stored(Path(array.filename), array.offset, array.shape, array.dtype.str)
    return array


def open_inputs(
    cases: Cases, view: InputView, localisation: Localisation = "refined", *, shift: int = 0
) -> NetworkInputs:
    """Prepare the cubes of some cases.

    Args:
        cases: each with a volume.
        view: what is shown of them.
        localisation: the prior that is shown beside the volume and that a region is cut around.
        shift: voxels to either side by which an augmentation may shift the cube.
    """
    edge = view.edge + 2 * shift
    start = _inside(_start(BRAIN_CENTRE, edge), edge)
    if view.of == "brain" and view.factor == 1 and start is not None:
        images, priors, rows = *_mapped(cases, localisation), cases.rows
    else:
        start = (0, 0, 0)
        images, priors = _cut_all(cases, view, localisation, edge)
        rows = np.arange(len(cases))
    first, second, third = (slice(low, low + edge) for low in start)
    window = (first, second, third)
    return NetworkInputs(images, priors, rows, window, edge=view.edge, shift=shift)


def _mapped(
    cases: Cases, localisation: Localisation
) -> tuple[NDArray[np.float16] | Stored, NDArray[np.uint8] | Stored | None]:
    volumes = cases.volumes
    if volumes is None:
        raise RuntimeError("this recipe declares that it needs no volumes")
    prior = {"none": None, "coarse": volumes.prior, "refined": volumes.refined}[localisation]
    return _stored(volumes.image), None if prior is None else _stored(prior)


def _cut_all(
    cases: Cases, view: InputView, localisation: Localisation, edge: int
) -> tuple[NDArray[np.float16], NDArray[np.uint8] | None]:
    shape = (len(cases), edge, edge, edge)
    images = np.empty(shape, dtype=np.float16)
    priors = np.empty(shape, dtype=np.uint8)
    for index in range(len(cases)):
        images[index], priors[index] = _cut(cases, index, view, localisation, edge)
    return images, None if localisation == "none" else priors


def _start(centre: tuple[float, ...], edge: int) -> tuple[int, int, int]:
    first, second, third = (int(middle + 0.5) - edge // 2 for middle in centre)
    return first, second, third


def _inside(start: tuple[int, int, int], edge: int) -> tuple[int, int, int] | None:
    """Move a cube by as little as brings it into the grid; None where it is too large for that."""
    if any(edge > length for length in SHAPE):
        return None
    first, second, third = (
        min(max(0, low), length - edge) for low, length in zip(start, SHAPE, strict=True)
    )
    return first, second, third


def _cut(
    cases: Cases, index: int, view: InputView, localisation: Localisation, edge: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a case's cube of volume and prior, the prior as levels."""
    image, prior = cases.image(index), _prior(cases, index, localisation)
    start, fine = _view_start(prior, view, edge), edge * view.factor
    image, prior = (_averaged(_padded(v, start, fine), view.factor) for v in (image, prior))
    return image, np.round(prior * LEVELS)


def view_start(
    cases: Cases, index: int, view: InputView, localisation: Localisation
) -> tuple[int, int, int]:
    """Return the voxel of the 2 mm grid where a view of a case begins; it may lie outside the grid."""
    return _view_start(_prior(cases, index, localisation), view, view.edge)


def _view_start(prior: NDArray[np.float32], view: InputView, edge: int) -> tuple[int, int, int]:
    fine = edge * view.factor
    start = _start(_centre(prior, view), fine)
    return (_inside(start, fine) or start) if view.of == "brain" else start


def _prior(cases: Cases, index: int, localisation: Localisation) -> NDArray[np.float32]:
    if localisation == "none":
        return np.zeros(SHAPE, dtype=np.float32)
    return cases.prior(index) if localisation == "coarse" else cases.refined(index)


def _centre(prior: NDArray[np.float32], view: InputView) -> tuple[float, ...]:
    places = np.argwhere(region(prior)) if view.of == "region" else np.empty((0, 3))
    return tuple(places.mean(axis=0).tolist()) if len(places) else BRAIN_CENTRE


def _padded(
    volume: NDArray[np.float32], start: tuple[int, int, int], edge: int
) -> NDArray[np.float32]:
    """Cut a cube, 0 outside the grid."""
    cube = np.zeros((edge, edge, edge), dtype=np.float32)
    source, target = [], []
    for low, length in zip(start, volume.shape, strict=True):
        first, last = max(0, low), max(0, min(length, low + edge))
        source.append(slice(first, last))
        target.append(slice(first - low, last - low))
    cube[tuple(target)] = volume[tuple(source)]
    return cube


def _averaged(cube: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    if factor == 1:
        return cube
    cells = cube.shape[0] // factor
    blocks = cube.reshape(cells, factor, cells, factor, cells, factor)
    averaged: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5))
    return averaged


class Buffers:
    """Memory for batches, written again and again: fresh memory costs more than what is written to it."""

    def __init__(self, batch: int, edge: int) -> None:
        """Take memory for batches of ``batch`` cubes of ``edge`` voxels, and for one cube of noise."""
        shape = (batch, 1, edge, edge, edge)
        self.pairs = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(BUFFERS)]
        self.scratch = torch.empty(shape[2:])


class Batches:
    """Batches of cases in a given order, each variant made when its turn comes.

    The tensors of a batch are valid until the next but one is asked for.
    """

    def __init__(
        self,
        inputs: NetworkInputs,
        labels: NDArray[np.int64],
        order: list[NDArray[np.int64]],
        *,
        variant: Callable[[int], Variant] | None = None,
        noise_sd: float = 0.0,
        buffers: Buffers | None = None,
    ) -> None:
        """Hold what is needed.

        Args:
            inputs: the cases.
            labels: (n,) their classes.
            order: the cases of each batch.
            variant: the variant of a case; the case as it is where None.
            noise_sd: standard deviation of the noise in a variant that has noise.
            buffers: large enough for each batch, and used by nothing else now; its own where None.
        """
        largest = max((len(batch) for batch in order), default=0)
        self._inputs = inputs
        self._labels = torch.from_numpy(np.ascontiguousarray(labels))
        self._order = order
        self._variant = variant
        self._noise_sd = noise_sd
        self._buffers = buffers or Buffers(largest, inputs.edge)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """Yield volumes, priors and classes of each batch."""
        for step, cases in enumerate(self._order):
            images, priors = (whole[: len(cases)] for whole in self._buffers.pairs[step % BUFFERS])
            for case, image, prior in zip(cases.tolist(), images, priors, strict=True):
                self._write(case, image[0], prior[0])
            yield images, priors, self._labels[torch.from_numpy(cases)]

    def _write(self, case: int, image: Tensor, prior: Tensor) -> None:
        variant = self._inputs.central if self._variant is None else self._variant(case)
        self._inputs.write(case, variant, image, prior)
        recolour(image, variant, self._noise_sd, self._buffers.scratch)


def in_turn(n: int, batch: int) -> list[NDArray[np.int64]]:
    """Return the cases 0 .. n - 1 in order, in batches: (batch,) each, the last maybe shorter."""
    return [np.arange(start, min(n, start + batch)) for start in range(0, n, batch)]


def shuffled(
    n: int, batch: int, accumulate: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return a random order of all cases in full batches (batch,), as many as fill whole steps.

    A step of the optimiser takes ``accumulate`` batches. Where the cases do not fill the last step, the
    first of the same order fill it up, so that every step weighs the same and no batch is a single case,
    with which batch normalisation can do nothing.
    """
    step = batch * accumulate
    order = np.resize(rng.permutation(n), -(-n // step) * step)
    return list(order.reshape(-1, batch))
