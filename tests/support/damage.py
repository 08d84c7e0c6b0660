"""What disks and people do to files: the ways in which a state is damaged in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DAMAGES: Final = ("empty", "cut", "zeros", "garbled", "list", "word")


def damage(path: Path, how: str) -> None:
    """Damage a file that is there."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:middle],
            "zeros": bytes(len(content)),
            "garbled": content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :],
            "list": b"[1, 2]\n",
            "word": b'"x"\n',
        }[how]
    )
