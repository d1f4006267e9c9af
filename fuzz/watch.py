"""What every engine does with a case: play it, time each input, and turn whatever is wrong into a `Finding`.

An input that takes long is played again, up to five times, and the least time counts: machines are noisy, code that is
slow is slow each time.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any, Protocol, TypeVar

from fuzz.source import Source

__all__ = ["HANG", "STUCK", "Case", "Fault", "Finding", "Player", "Target", "Watch", "fault_of", "guarded"]

T = TypeVar("T")
Case = Any
"""An input of a target: text, or tuples (of fixed shape) and lists (that may be shortened) of text."""

HANG = 0.050
"""Seconds that no input may take."""
INSTRUMENTED = 8.0
"""How many times slower code may be that tells atheris of its branches; a real hang is found by other engines too."""
AGAIN = 5
"""How often a slow input is measured again."""
NOTEWORTHY = 0.002
"""Seconds below which nobody asks which input was the slowest to a hair."""
IDLE = 50
"""A thread that worked less than this part of the time was waiting for something, not for its turn on a busy machine;
and one that had next to nothing to do has its turn at once, if not each time."""
STUCK = 10.0
"""Seconds after which a case that does not end is ended."""


class Fault(AssertionError):
    """Something that must hold does not. `kind`: a few words that name it, the same for each input that shows it."""

    def __init__(self, kind: str, told: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {told}")


class Stuck(BaseException):
    """Raised into a case that does not end; no handler of `Exception` swallows it."""


class Target(Protocol):
    """Something that takes inputs. `weight`: its share of a run."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def size(self) -> int:
        """About how many inputs a case has that hypothesis draws."""

    def draw(self, source: Source) -> Case:
        """A case from the grammar."""

    def raw(self, data: bytes) -> Case:
        """A case from bytes, as near to them as the target allows."""

    def play(self, case: Case, watch: Watch) -> None:
        """Execute the case, each input of it through `watch.timed`; raises `Fault`, or whatever locklib raised."""


class Watch:
    """The times of one case. `took`: seconds of each input, of this thread's own work; of the wall clock where the
    thread did next to nothing, for then it was not the machine that kept it waiting."""

    __slots__ = ("took",)

    def __init__(self) -> None:
        self.took: list[float] = []

    def timed(self, work: Callable[..., T], *given: Any) -> T:
        start, worked = perf_counter(), thread_time()
        try:
            return work(*given)
        finally:
            worked = thread_time() - worked
            took = perf_counter() - start
            self.took.append(took if worked < max(NOTEWORTHY, took / IDLE) else worked)


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that shows a fault. `fault`: its kind, and where that is known its place; equal faults are one.

    `whole`: the case as it was drawn, where `case` is what is left of it.
    """

    target: str
    fault: str
    told: str
    case: Case
    whole: Case = None


@contextlib.contextmanager
def guarded(seconds: float = STUCK) -> Iterator[None]:
    """Whatever does not end within so many seconds of wall clock is ended by `Stuck`. In a main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Stuck(f"the case did not end within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault_of(target: Target, case: Case, watch: Watch) -> tuple[str, str] | None:
    """Play `case`; what is wrong with it but for its times, as the fault and the story of it."""
    try:
        target.play(case, watch)
    except Fault as fault:
        return fault.kind, str(fault)
    except (Exception, Stuck) as error:
        return f"{type(error).__name__} in {_place(error)}", "".join(traceback.format_exception(error))
    return None


def _place(error: BaseException) -> str:
    """The innermost function of locklib that it came through."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/locklib/" in each.filename]
    if not frames:
        return "no frame of locklib"
    return f"{frames[-1].filename.rpartition('/locklib/')[2]} {frames[-1].name}"


class Player:
    """One target, case after case. hang: seconds that no input may take.

    `inputs`: executed. `slowest`: seconds, the least of its measurements.
    """

    def __init__(self, target: Target, found: Callable[[Finding], None], hang: float = HANG) -> None:
        self.target = target
        self.hang = hang
        self.found = found
        self.known: set[str] = set()
        self.inputs = 0
        self.slowest = 0.0
        self.slowest_case: Case = None

    def play(self, case: Case) -> None:
        watch = Watch()
        fault = fault_of(self.target, case, watch)
        self.inputs += len(watch.took)
        if fault is not None:
            self.report(*fault, case)
        elif (longest := max(watch.took, default=0.0)) > self.slowest:
            self._slow(case, watch.took.index(longest), longest)

    def report(self, fault: str, told: str, case: Case) -> None:
        if fault not in self.known:
            self.known.add(fault)
            self.found(Finding(self.target.name, fault, told, case))

    def _slow(self, case: Case, index: int, took: float) -> None:
        """Slower than all before: is it really?"""
        for _ in range(AGAIN if took > NOTEWORTHY else 0):
            took = min(took, time_of(self.target, case, index))
            if took <= self.slowest:
                return
        self.slowest, self.slowest_case = took, case
        if took > self.hang:
            self.report("hang", f"input {index + 1} of the case took {took * 1000:.0f} ms at the least", case)


def time_of(target: Target, case: Case, index: int) -> float:
    """Seconds of one input of the case, played again."""
    watch = Watch()
    fault_of(target, case, watch)
    return watch.took[index] if index < len(watch.took) else 0.0
