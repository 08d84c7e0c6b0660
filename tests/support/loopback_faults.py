"""What goes wrong on the loopback Hub, where a test wants it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from support.loopback_store import RefusalError


@dataclass
class Fault:
    """Something that goes wrong a number of times, with requests whose path contains ``part``."""

    part: str
    times: int
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    after: int = 0
    reset: bool = False
    seconds: float = 0.0


class Faults:
    """The faults that are due."""

    def __init__(self) -> None:
        self._answers: list[Fault] = []
        self._delays: list[Fault] = []
        self._cuts: list[Fault] = []
        self._damaged: set[str] = set()
        self._lock = threading.Lock()

    def cut(self, file: str, *, after: int, times: int = 1, reset: bool = False) -> None:
        """Close the connection once ``after`` bytes of an answer with this file's content are out.

        With ``reset`` by a TCP reset, as a firewall does, instead of an orderly close.
        """
        self._cuts.append(Fault(file, times, after=after, reset=reset))

    def stall(self, file: str, *, after: int, seconds: float = 60) -> None:
        """Send nothing for a while once ``after`` bytes of this file's content are out, then close."""
        self._cuts.append(Fault(file, 1, after=after, seconds=seconds))

    def fail(
        self, status: int, *, times: int, part: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a status, for example 503, or 429 with ``{"Retry-After": "1"}``."""
        self._answers.append(Fault(part, times, status=status, headers=headers or {}))

    def hang(self, seconds: float, *, times: int, part: str = "") -> None:
        """Answer only after a while."""
        self._delays.append(Fault(part, times, seconds=seconds))

    def corrupt(self, file: str, *, healed: bool = False) -> None:
        """Serve a file with one byte flipped, until ``healed``."""
        (self._damaged.discard if healed else self._damaged.add)(file)

    def strike(self, path: str) -> None:
        """Do to a request what is due before it is answered."""
        slow = self._due(self._delays, path)
        if slow:
            time.sleep(slow.seconds)
        fault = self._due(self._answers, path)
        if fault:
            said = "Too Many Requests" if fault.status == 429 else "Internal Error"
            raise RefusalError(fault.status, said, headers=fault.headers)

    def break_off(self, file: str, size: int) -> Fault | None:
        """Return the fault due while ``size`` bytes of a file's content are sent."""
        return self._due(self._cuts, file, size) if file else None

    def damage(self, file: str, content: bytes) -> bytes:
        """Return what is served for a file's content."""
        if file not in self._damaged or not content:
            return content
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    def _due(self, faults: list[Fault], path: str, size: int | None = None) -> Fault | None:
        with self._lock:
            for fault in faults:
                fits = fault.part in path and (size is None or fault.after < size)
                if fits and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None
