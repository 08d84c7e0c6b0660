"""Files of tensors (safetensors), maybe anybody's: looked over before anything is taken into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ictmri.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES: Final = 4 * 1024 * 1024
"""The largest network here, ViT3D, has a header of 20 kB."""
_LENGTH_BYTES: Final = 8


class Kind(NamedTuple):
    """Shape and type of a tensor; the type as safetensors calls it, ``F32`` for float32."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        """Return both in words."""
        return f"{self.dtype} {self.shape}"


@contextmanager
def opened(path: Path, framework: Literal["pt", "numpy"]) -> Iterator[Any]:
    """Open a safetensors file; nothing but its header is read yet.

    Raises:
        ValueError: it is none, or is damaged; also for what the block finds wrong on reading.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_header(path)
        with safe_open(path, framework=framework) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise ValueError(str(error)) from None


def _check_header(path: Path) -> None:
    if not path.is_file():
        raise ValueError("no such file" if not path.exists() else "not a regular file")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")


def kinds(file: Any) -> dict[str, Kind]:
    """Return shape and type of each tensor of an opened file, from its header alone."""
    found = {}
    for name in file.keys():  # noqa: SIM118
        piece = file.get_slice(name)
        found[name] = Kind(tuple(piece.get_shape()), piece.get_dtype())
    return found


def differences(expected: Mapping[str, Kind], found: Mapping[str, Kind]) -> list[str]:
    """Return one line for each tensor that is missing, too much or of another kind."""
    return [
        *(f"no tensor {name}" for name in expected if name not in found),
        *(f"a tensor {name[:100]!r} too much" for name in found if name not in expected),
        *(
            f"{name} is {found[name]}, not {kind}"
            for name, kind in expected.items()
            if name in found and found[name] != kind
        ),
    ]


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return one line for each tensor with numbers that are not finite."""
    return [
        f"{name} holds numbers that are not finite"
        for name, tensor in tensors.items()
        if not tensor.isfinite().all()
    ]


def refusal(path: Path, what: str, problems: Iterable[str], next_step: str) -> InputError:
    """Return the error of a file that is not what it should be, one line a problem."""
    return InputError(str(path), [f"{what}: {problem}" for problem in problems], next_step)
