"""What decides the last bits of a training on a CPU: the instruction set that each library's kernels take.

oneDNN, ATen, MKL, OpenBLAS and NumPy choose kernels by the CPU that they find, and kernels of different
instruction sets add in different orders; from there trainings part. Held to one set, AVX2 with FMA, which
nearly every x86-64 CPU since 2015 has, equal settings give equal bytes on all of these. Not so
``torch.sqrt``: it is MKL's and begins at an approximation that AMD and Intel each choose; take ``rsqrt``.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Final

PINNED: Final = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    # MKL's one path that is the same on CPUs of every maker.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    # By the names of NumPy up to 2.3 and from 2.4 on; one that it does not know is passed over.
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR "
    "X86_V4",
}
"""What these libraries read when they are loaded or first used."""
_NEEDED: Final = {"avx2", "fma"}
_CPU: Final = Path("/proc/cpuinfo")
_ENVIRONMENT: Final = Path("/proc/self/environ")
_UNPINNED: Final = "instruction sets not pinned"


def pins() -> dict[str, str]:
    """Return the environment that a process must start in for pinned results; empty where none helps.

    None does where the CPU lacks what it would be held to, nor outside Linux, where nothing tells.
    """
    return dict(PINNED) if set(_told("flags").split()) >= _NEEDED else {}


def is_pinned() -> bool:
    """Whether this process started in that environment: libraries may have looked at it since."""
    wanted = pins()
    if not wanted:
        return False
    started = set(_ENVIRONMENT.read_bytes().split(b"\0"))
    return {f"{name}={value}".encode() for name, value in wanted.items()} <= started


def machine(threads: int = 1) -> str:
    """Return on what this process computes: the CPU's model, its pin, threads and torch; no name of it."""
    pinned = "AVX2 pinned" if is_pinned() else _UNPINNED
    torch = [f"torch {importlib.metadata.version('torch')}"] if "torch" in sys.modules else []
    counted = f"{threads} thread" + ("s" if threads > 1 else "")
    return ", ".join([_told("model name") or platform.machine(), pinned, counted, *torch])


@cache
def _told(field: str) -> str:
    """Return a field of the first CPU that Linux tells of; empty elsewhere."""
    if not _CPU.is_file():
        return ""
    lines = _CPU.read_text(encoding="utf-8", errors="replace").splitlines()
    found = (line.partition(":")[2] for line in lines if line.split(":")[0].strip() == field)
    return " ".join(next(found, "").split())
