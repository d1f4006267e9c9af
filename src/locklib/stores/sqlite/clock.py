"""The time that all processes of a host agree on, whatever the wall clock does meanwhile.

Knows: the kernel's clock that counts since boot, which boot this is.
Must not know: a lock, a table.

A life runs on the clock of the host since its boot, which nobody can set. What to add to it for an instant since the
epoch is kept in the file, with the boot that it is for: the first process after a boot reads the wall clock, all others
take what that one wrote. So a process whose wall clock is wrong, and a wall clock that jumps, neither ends a lock nor
prolongs one. After a boot time goes on from the wall clock, but never from before the latest time that was written.

Where the system does not say which boot this is, it is taken for the same one as long as time has gone on since: after
a long sleep of the host a lock may then last longer, never shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Epoch", "boot_of_host", "host_clock", "next_epoch"]

UNKNOWN_BOOT = ""


class Epoch(NamedTuple):
    """What to add to the host's clock (shift, seconds) while this boot lasts, and the latest instant written."""

    boot: str
    shift: float
    latest: float


def next_epoch(told: Epoch | None, boot: str, clock: float, wall: float) -> Epoch:
    """The epoch to go by: `told` itself if it still holds. clock, wall: both as they are now."""
    if told is None:
        return Epoch(boot, wall - clock, wall)
    unknown = UNKNOWN_BOOT in (told.boot, boot)
    same = told.shift + clock >= told.latest if unknown else told.boot == boot
    return told if same else Epoch(boot, max(wall, told.latest) - clock, told.latest)


def host_clock() -> Callable[[], float]:
    """Seconds since the boot of this host, sleep included where the system can say so; the same in every process."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:  # pragma: no cover - Linux has it
        return time.monotonic
    return lambda: time.clock_gettime(boottime)


def boot_of_host(path: str = "/proc/sys/kernel/random/boot_id") -> str:
    """What tells this boot of the host from any other; empty where the system does not say."""
    try:
        with open(path, encoding="ascii") as told:
            return told.read().strip()
    except OSError:
        return UNKNOWN_BOOT
