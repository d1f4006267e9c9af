"""What writes did, as processes leave it behind even when they are killed: one file of lines for each process.

Knows: the monotonic clock of the host, which is the same for all processes; appending a line is one system call.
Must not know: locks, a framework.

`begun` writes a line before the effect, `ended` one after it, both while the write is under way. An effect without an
end belongs to a process that was killed in it: it had certainly not ended when the signal was sent.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex

__all__ = ["Effect", "Effects", "read_effects", "waiting_for_a_processor"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One write that reached the application. start, end: ns of the host's monotonic clock; end is 0 if it has none.

    waited: ns from the call of the middleware to `start`; queued: how much of them the thread could have run, but no
    processor was free.
    """

    pid: int
    who: str
    path: str
    start: int
    end: int
    waited: int
    queued: int


class Effects:
    """The file of this process in `folder`, made at the first word; a forked child makes one of its own."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._pid = 0
        self._out = -1
        self._numbers = count()

    def line(self, *words: object) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            name = self.folder / f"{self._pid}-{token_hex(4)}.effects"
            self._out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._out, (" ".join(map(str, words)) + "\n").encode())

    def begun(self, who: str, path: str, called: int = 0, queued: int = 0) -> int:
        """The number by which the effect is ended. called: when the middleware was called, if that is to be known."""
        number, now = next(self._numbers), time.monotonic_ns()
        self.line("s", number, who, path, now, now - called if called else 0, queued)
        return number

    def ended(self, number: int) -> None:
        self.line("e", number, time.monotonic_ns())


def waiting_for_a_processor() -> int:
    """Ns that this thread has been waiting for a processor, of all its life; 0 where the kernel does not count it."""
    with contextlib.suppress(OSError, IndexError), open("/proc/thread-self/schedstat", "rb") as told:
        return int(told.read().split()[1])
    return 0


def read_effects(folder: str | os.PathLike[str], killed: Mapping[int, int] | None = None) -> list[Effect]:
    """Every effect of every process. killed: pid -> when its SIGKILL was sent; effects in it end then.

    Raises `AssertionError` if an effect has no end though nobody killed its process.
    """
    found = []
    for path in sorted(Path(folder).glob("*.effects")):
        found += _read(path, int(path.name.partition("-")[0]), killed or {})
    return found


def _read(path: Path, pid: int, killed: Mapping[int, int]) -> list[Effect]:
    text = path.read_text()
    lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    ends = {line[1]: int(line[2]) for line in lines if line[0] == "e"}
    effects = []
    for kind, number, *words in lines:
        if kind != "s":
            continue
        who, where, start, waited, queued = words
        end = ends.get(number) or max(killed.get(pid, 0), int(start) + 1)
        assert number in ends or pid in killed, f"{path.name}: effect {number} of {who} on {where} never ended"
        effects.append(Effect(pid, who, where, int(start), end, int(waited), int(queued)))
    return effects
