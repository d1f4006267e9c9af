"""When locks run out: tokens in buckets of one whole second, no timer and no entry in a heap per lock.

Knows: `Lock.expires_at`.
Must not know: a clock (it is told the time), a lock rule.

A token costs 8 bytes here. One that is dropped or refreshed stays behind in its old bucket until the bucket is half
stale and is filtered, so that a loop of LOCK and UNLOCK cannot grow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf

from locklib.core.model import Lock

__all__ = ["Calendar"]

SLACK = 32


class Calendar:
    """The tokens of `rows` (shared with the table, which changes it) by the second in which they run out."""

    __slots__ = ("_alive", "_due", "_rows", "_seconds")

    def __init__(self, rows: dict[str, Lock]) -> None:
        self._rows = rows
        self._due: dict[int, list[str]] = {}
        self._alive: dict[int, int] = {}
        self._seconds: list[int] = []

    def __len__(self) -> int:
        """How many tokens the buckets hold, the stale ones too."""
        return sum(map(len, self._due.values()))

    def add(self, lock: Lock) -> None:
        if lock.expires_at == inf:
            return
        second = int(lock.expires_at)
        bucket = self._due.get(second)
        if bucket is None:
            self._due[second] = [lock.token]
            self._alive[second] = 1
            heappush(self._seconds, second)
        else:
            bucket.append(lock.token)
            self._alive[second] += 1

    def remove(self, lock: Lock) -> None:
        """Forget `lock`, whose row is gone or replaced already."""
        if lock.expires_at == inf:
            return
        second = int(lock.expires_at)
        alive = self._alive[second] = self._alive[second] - 1
        bucket = self._due[second]
        if len(bucket) > 2 * alive + SLACK:
            bucket[:] = [token for token in dict.fromkeys(bucket) if self._is_due(token, second)]

    def _is_due(self, token: str, second: int) -> bool:
        lock = self._rows.get(token)
        return lock is not None and second <= lock.expires_at < second + 1

    def is_behind(self, now: float) -> bool:
        """Whether `overdue` has anything to look at."""
        return bool(self._seconds) and self._seconds[0] < int(now)

    def overdue(self, now: float, budget: int) -> Iterator[Lock]:
        """At most `budget` locks of seconds that are over; each must be dropped before the next is asked for."""
        this = int(now)
        while self._seconds and self._seconds[0] < this:
            second = self._seconds[0]
            bucket = self._due[second]
            while bucket:
                if budget == 0:
                    return
                budget -= 1
                token = bucket.pop()
                if self._is_due(token, second):
                    yield self._rows[token]
            heappop(self._seconds)
            del self._due[second], self._alive[second]
