"""How a figure is taken: sides that are measured in turn, ratios by round, medians over rounds.

Knows: clocks, medians, what a row of the table is.
Must not know: what is measured.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

__all__ = ["Curve", "Plan", "Report", "Row", "Side", "Times", "calls", "race", "ratio"]

Side = Callable[[], float]
"""Does its work a number of times and gives the seconds for one of them."""
Times = Mapping[str, list[float]]
"""For each side its seconds, round by round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done. sizes: numbers of locks held, ascending. rounds: turns of each side.

    batch: requests between two readings of the clock, few, so that they are as fresh in the caches as a server's.
    calls: the same for plain calls. starts: fresh interpreters for each import. files: numbers of locks held in a file.
    served: requests of one kind that a server is sent between two readings of its clock.
    """

    sizes: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    rounds: int = 400
    batch: int = 25
    calls: int = 1_000
    starts: int = 15
    files: tuple[int, ...] = (100, 10_000, 1_000_000)
    served: int = 240

    @property
    def most(self) -> int:
        return self.sizes[-1]


QUICK = Plan(sizes=(10, 100), rounds=16, batch=5, calls=20, starts=1, files=(10, 100), served=16)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. target: None for a figure that is only told. unit: what `value` is in ("x": a ratio).

    least: the target is what the value shall reach, not what it shall keep below.
    """

    figure: str
    what: str
    value: float
    target: float | None = None
    unit: str = "x"
    note: str = ""
    least: bool = False

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.value >= self.target if self.least else self.value <= self.target
        return "met" if met else "not met"


@dataclass(frozen=True, slots=True)
class Curve:
    """Something that may grow with the number of locks. points: (locks held, value)."""

    picture: str
    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What one group of figures found."""

    rows: tuple[Row, ...]
    curves: tuple[Curve, ...] = ()


def race(sides: Mapping[str, Side], rounds: int) -> Times:
    """Measure every side once a round, each round beginning with another one; two rounds before that do not count.

    The collector stays on; what is there before the race is frozen, so that a million held locks are not walked in the
    middle of somebody's turn.
    """
    order = list(sides)
    times: dict[str, list[float]] = {name: [] for name in order}
    gc.collect()
    gc.freeze()
    for number in range(-2, rounds):
        shift = number % len(order)
        for name in order[shift:] + order[:shift]:
            seconds = sides[name]()
            if number >= 0:
                times[name].append(seconds)
    gc.unfreeze()
    return times


def ratio(times: Times, ours: str, theirs: str) -> float:
    """The median over rounds of one side against another of the same round."""
    return median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def calls(work: Callable[[], object], number: int) -> Side:
    """A side that calls `work` so many times."""

    def side() -> float:
        turns = range(number)
        start = perf_counter()
        for _ in turns:
            work()
        return (perf_counter() - start) / number

    return side
