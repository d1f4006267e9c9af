"""What goes wrong, and when: F1, F3, F4, F6 and F8 of the list of faults, each as a dose over one run.

Knows: how to bring each about from outside of the workers. Must not know: what a worker does.

| fault | here |
|---|---|
| F1 | kill -9 of a worker at a random moment; it is started again at once |
| F3 | SIGSTOP, and SIGCONT after a moment |
| F4 | half of the workers under libfaketime: an hour ahead, then an hour behind, and so on; each change is a jump |
| F6 | files of one worker cannot grow (RLIMIT_FSIZE); with a C compiler, every third fsync of some fails as well |
| F8 | kill -9 of all workers; they are started again on the old file |
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ALL", "Dose", "Moment", "environ_skewed", "failing_fsync", "moments", "set_file_limit", "write_skew"]

ALL = ("F1", "F3", "F4", "F6", "F8")

PER_OPERATIONS = {"F1": 295, "F3": 500, "F4": 10_000, "F6": 2_000, "F8": 10_000}
"""One of each in so many operations (F1: over 1 000 kills in three seeds of 10^5)."""

APPLY: Mapping[str, tuple[str, ...]] = {"memory": ("F3", "F4"), "sqlite": ALL}
"""A store in memory is one process: what kills it takes its locks, as it says."""


@dataclass(frozen=True, slots=True)
class Dose:
    """Which faults, and how many of each (None: by the number of operations)."""

    faults: tuple[str, ...]
    kills: int | None = None

    def of(self, fault: str, operations: int) -> int:
        if fault == "F1" and self.kills is not None:
            return self.kills
        return max(1, round(operations / PER_OPERATIONS[fault]))


@dataclass(frozen=True, slots=True)
class Moment:
    """A fault that is due when so many operations have been answered."""

    operations: int
    fault: str


def moments(dose: Dose, store: str, operations: int, pick: random.Random) -> list[Moment]:
    """Each fault of the dose at its moments, evenly strewn with some chance."""
    found = []
    for fault in dose.faults:
        if fault not in APPLY[store]:
            continue
        count = dose.of(fault, operations)
        found += [Moment(int((n + pick.random()) * operations / count * 0.98), fault) for n in range(count)]
    return sorted(found, key=lambda moment: moment.operations)


# ---- F4 --------------------------------------------------------------------------------------------------------------

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)


def libfaketime() -> Path | None:
    return next((Path(name) for name in LIBRARIES if Path(name).exists()), None)


def environ_skewed(skew: Path) -> dict[str, str]:
    """What a process needs to see the wall clock that the file `skew` says, and its own monotonic one.

    Raises FileNotFoundError if libfaketime is not there.
    """
    library = libfaketime()
    if library is None:
        raise FileNotFoundError("F4 needs libfaketime: apt-get install faketime, or leave F4 out of --faults")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(skew),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else waits with a time-out end at random, those of the interpreter too
        "SOAK_SKEWED": "1",
    }


def write_skew(skew: Path, seconds: int) -> None:
    """At once, so that nobody reads half of it."""
    new = skew.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n", encoding="ascii")
    new.replace(skew)


# ---- F6 --------------------------------------------------------------------------------------------------------------


def set_file_limit(pid: int, size: int | None) -> None:
    """From now on no file that process `pid` writes grows beyond `size` bytes (None: as far as it likes)."""
    limit = resource.RLIM_INFINITY if size is None else size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


FSYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    static __thread unsigned calls;
    const char *file = getenv("SOAK_FSYNC");
    if (file == NULL || access(file, F_OK) != 0 || ++calls % 3 != 0) return 0;
    errno = EIO;
    return 1;
}
int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails() ? -1 : real(fd);
}
int fdatasync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails() ? -1 : real(fd);
}
"""


def failing_fsync(folder: Path) -> Path | None:
    """A library with which every third fsync fails while the file $SOAK_FSYNC is there; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, library = folder / "fsync.c", folder / "fsync.so"
    source.write_text(FSYNC, encoding="ascii")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], capture_output=True, check=False
    )
    return library if done.returncode == 0 else None


def preloaded(*libraries: object) -> dict[str, str]:
    return {"LD_PRELOAD": ":".join(str(library) for library in libraries if library)}


def environ_of(changes: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """This process's own, with changes; preloads add up."""
    environ = dict(os.environ)
    for change in changes:
        loads = [environ[name] for name in ("LD_PRELOAD",) if name in change and environ.get(name)]
        environ |= change
        if loads:
            environ["LD_PRELOAD"] = ":".join([*loads, change["LD_PRELOAD"]])
    return environ
