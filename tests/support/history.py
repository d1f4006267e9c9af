"""What happened, in order: the effects of writes, and the times during which locks were held.

Knows: intervals on one counter. Must not know: how a lock keeps a writer out.

A hold runs from the instant at which the LOCK's answer goes out to the instant before its UNLOCK is sent. An effect
runs from where the application begins to change the resource to where it has changed it. Mode *hold* promises that no
effect of somebody else's overlaps a hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

__all__ = ["History", "Span"]


class Span(NamedTuple):
    """`who` did it, between two ticks of the history."""

    who: str
    start: int
    end: int


@dataclass
class History:
    """Spans by group: a group is whatever is touched by one lock and the writes that it forbids."""

    effects: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    holds: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    _ticks: Iterator[int] = field(default_factory=count)

    def tick(self) -> int:
        return next(self._ticks)

    def overlaps(self) -> list[tuple[str, Span, Span]]:
        """Every effect of one while the lock of another was held."""
        return [
            (group, hold, effect)
            for group, holds in self.holds.items()
            for hold in holds
            for effect in self.effects[group]
            if effect.who != hold.who and effect.start < hold.end and hold.start < effect.end
        ]

    def count(self) -> tuple[int, int]:
        """How many holds and effects there were."""
        return sum(map(len, self.holds.values())), sum(map(len, self.effects.values()))
