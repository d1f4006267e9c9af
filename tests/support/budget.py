"""The minutes that each part of the tests may take, and which test files are that part.

CONTRIBUTING.md explains the table. A part over its budget is said at the end of a run, it fails nothing: machines are
noisy, a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

__all__ = ["PARTS", "Part", "part_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """`minutes` of wall clock on two cores for all files whose path matches one of `patterns`. First match wins."""

    name: str
    minutes: float
    patterns: tuple[str, ...]


PARTS = (
    Part("threats", 1, ("*/test_t[0-9]*",)),
    Part("state machine", 1, ("*state_machine*", "*stateful*", "*oracle*", "*linearizab*")),
    Part("processes and races", 3, ("*race*", "*process*", "*i07*", "*crash*", "*kill*", "*fork*", "*fault*")),
    Part("real clients and servers", 2, ("*client*", "*litmus*", "*cadaver*", "*harness*", "*server*")),
    Part("docs", 0.5, ("*docs*", "*readme*", "*example*")),
    Part("unit and transcripts", 4, ("*",)),
)


def part_of(path: str) -> Part:
    """The part that a test file belongs to; `path` as pytest names it (`tests/test_x.py`)."""
    return next(part for part in PARTS if any(fnmatch(path, pattern) for pattern in part.patterns))
