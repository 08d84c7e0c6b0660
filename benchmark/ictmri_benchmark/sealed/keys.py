"""Ed25519 keys (RFC 8032): made, kept for their owner alone, read back, used."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ictmri.errors import InputError, MissingDependencyError
from ictmri.io.files import read_plain, replacing, write_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_BYTES: Final = 10_000
_P: Final = 2**255 - 19
_EIGHTH: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _EIGHTH, _P - _EIGHTH})
"""The y of the eight points whose order divides 8; each is a key for which any message has a signature."""
_MAKE: Final = "make a pair with: ictmri sealed key participant.key"


def need_cryptography() -> None:
    """Say how to install the library that signs, where it is missing.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if find_spec("cryptography") is None:
        raise MissingDependencyError("Sealed mode", "sealed")


def new_key() -> Ed25519PrivateKey:
    """Return a fresh private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read."""
    with replacing(path, mode=0o600) as part:
        part.write_bytes(content)


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key (PEM, PKCS 8, mode 0600).

    Raises:
        InputError: the file exists; a key is never overwritten.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if path.exists() or path.is_symlink():
        raise InputError(str(path), ["exists; a key is never overwritten"], "choose another path")
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def make_pair(path: Path) -> Path:
    """Write a fresh private key to ``path`` and its public half beside it; return the latter's path.

    Raises:
        InputError: one of the two exists, or ``path`` is named like a public key.
    """
    public = path.with_suffix(".pub")
    if public == path or public.exists():
        problem = f"{public} exists" if public != path else "the private key cannot end in .pub"
        raise InputError(str(path), [problem], "choose another path, e.g. participant.key")
    key = new_key()
    write_key(path, key)
    write_bytes(public, public_pem(key))
    return public


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the public half as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_hex(key: Ed25519PrivateKey) -> str:
    """Return the public half as its 32 bytes in hexadecimal: the form inside documents."""
    return key.public_key().public_bytes_raw().hex()


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        InputError: it is none, of another kind, encrypted, or others may read it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path)
    check_secret(path)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise InputError(str(path), ["the key is encrypted"], "decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(str(path), ["not a private key in PEM form"], _MAKE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(str(path), ["a key of another kind than Ed25519"], _MAKE)
    return key


def load_public_hex(path: Path) -> str:
    """Read a public key file and return the key's 32 bytes in hexadecimal.

    Raises:
        InputError: it is none, of another kind, or a private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    if b"PRIVATE KEY" in content:
        next_step = "take the .pub file; a private key that was handed over is to be replaced"
        raise InputError(str(path), ["this is a private key"], next_step)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(str(path), ["not a public key in PEM form"], _MAKE) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(str(path), ["a key of another kind than Ed25519"], _MAKE)
    public = key.public_bytes_raw().hex()
    try:
        return usable(public)
    except ValueError as error:
        raise InputError(str(path), [str(error)], _MAKE) from None


def is_signed(public: str, signature: str, message: bytes) -> bool:
    """Return True where ``signature`` is that of the :func:`usable` key ``public`` (both hexadecimal)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

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


def check_secret(path: Path) -> None:
    """Refuse a secret that others may read.

    Raises:
        InputError: the file's mode lets group or others in.
    """
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(str(path), ["others may read this secret"], f"chmod 600 {path}")


def _read(path: Path) -> bytes:
    return read_plain(path, _MAX_BYTES, _MAKE)
