"""Ed25519 keys (RFC 8032): made, kept for their owner alone, read back, used."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ictmri.errors import InputError
from ictmri.io.files import read_plain, write_bytes
from ictmri.io.resources import AnyPath, at_home

_MAX_BYTES: Final = 10_000
_P: Final = 2**255 - 19
_EIGHTH: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _EIGHTH, _P - _EIGHTH})
"""The y of the eight points whose order divides 8; each is a key for which any message has a signature."""
_MAKE: Final = "make a pair with: ictmri sealed key participant.key"


def check_secret(path: Path) -> None:
    """Refuse (InputError) a secret whose mode lets group or others in."""
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(str(path), ["others may read this secret"], f"chmod 600 {path}")


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key (PEM, PKCS 8) that its owner alone may read."""
    plain = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    write_bytes(path, key.private_bytes(*plain), mode=0o600)


def make_pair(path: AnyPath) -> Path:
    """Write a fresh private key to ``path`` and its public half beside it; return the latter's path.

    Raises:
        InputError: one of the two exists, or ``path`` is named like a public key.
    """
    path = at_home(path)
    public = path.with_suffix(".pub")
    taken = [place for place in (path, public) if place.exists() or place.is_symlink()]
    problems = [f"{place} exists; a key is never overwritten" for place in taken]
    if public == path:
        problems = ["the private key cannot end in .pub"]
    if problems:
        raise InputError(str(path), problems, "choose another path, e.g. participant.key")
    key = Ed25519PrivateKey.generate()
    write_key(path, key)
    plain = (form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    write_bytes(public, key.public_key().public_bytes(*plain))
    return public


def public_hex(key: Ed25519PrivateKey) -> str:
    """Return the public half as its 32 bytes in hexadecimal: the form inside documents."""
    return key.public_key().public_bytes_raw().hex()


def load_key(path: AnyPath) -> Ed25519PrivateKey:
    """Read a private key; InputError where it is none, encrypted, or others may read it."""
    path = at_home(path)
    content = read_plain(path, _MAX_BYTES, _MAKE)
    check_secret(path)
    try:
        key = form.load_pem_private_key(content, password=None)
    except TypeError:
        raise InputError(str(path), ["the key is encrypted"], "decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(str(path), ["not a private key in PEM form"], _MAKE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(str(path), ["a key of another kind than Ed25519"], _MAKE)
    return key


def load_public_hex(path: AnyPath) -> str:
    """Read a public key, in hexadecimal; InputError where it is none or not :func:`usable`."""
    path = at_home(path)
    content, problem = read_plain(path, _MAX_BYTES, _MAKE), "a key of another kind than Ed25519"
    if b"PRIVATE KEY" in content:
        next_step = "take the .pub file; a private key that was handed over is to be replaced"
        raise InputError(str(path), ["this is a private key"], next_step)
    try:
        key = form.load_pem_public_key(content)
        if isinstance(key, Ed25519PublicKey):
            return usable(key.public_bytes_raw().hex())
    except (ValueError, UnsupportedAlgorithm):
        problem = "no public key that only its owner can sign with, in PEM form"
    raise InputError(str(path), [problem], _MAKE)


def is_signed(public: str, signature: str, message: bytes) -> bool:
    """Return True where ``signature`` is that of the :func:`usable` key ``public`` (both hexadecimal)."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(usable(public)))
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def usable(public: str) -> str:
    """Return a public key (hexadecimal) under which only its owner can sign.

    Raises:
        ValueError: a point of small order, for which anybody can make signatures that pass, or a point that
            is written in another way than the one that RFC 8032 allows.
    """
    y = int.from_bytes(bytes.fromhex(public), "little") % 2**255
    if y >= _P or y in _SMALL_ORDER:
        raise ValueError("a key under which anybody can sign: a point of small order")
    return public
