"""Stores with many locks in them, and the keys that a figure asks for.

Knows: `MemoryLockStore.transact` and its steps; every lock gets in through it, with its index entries and its expiry.
"""

from __future__ import annotations

from collections.abc import Iterator

from locklib.core.model import Depth, Lock, Outcome, Put, Query
from locklib.stores.memory import MemoryLockStore

__all__ = ["ELSEWHERE", "LASTS", "SIBLING", "filled", "key", "token"]

LASTS = 86_400.0
ELSEWHERE = "/free/records/2026/march/minutes.txt"
"""Depth 5, and nothing locked near it at any level."""
SIBLING = "/held/team0/project0/folder0/unlocked.txt"
"""Depth 5, and its neighbours are locked: the walk from the top goes to the end."""


def token(number: int) -> str:
    return f"urn:uuid:{number:08x}-6c0e-4b7f-9a51-{number:012x}"


def key(number: int) -> str:
    """/held/team./project./folder./document.txt: ten locks in a folder, ten folders in a project, and so on."""
    folder, project, team = number // 10 % 10, number // 100 % 100, number // 10_000
    return f"/held/team{team}/project{project}/folder{folder}/document{number}.txt"


def lock(number: int) -> Lock:
    return Lock(token(number), key(number), Depth.ZERO, creator=f"clerk{number % 1_000}")


def filled(count: int, batch: int = 1_000) -> MemoryLockStore:
    """A store that holds so many locks, put in `batch` at a time."""
    store = MemoryLockStore(processes="allow")
    query = Query(writes=True)
    for puts in _batches(count, batch):
        store.transact(query, lambda _, puts=puts: Outcome(None, puts=puts))
    return store


def _batches(count: int, batch: int) -> Iterator[tuple[Put, ...]]:
    for first in range(0, count, batch):
        yield tuple([Put(lock(number), LASTS, grant=True) for number in range(first, min(first + batch, count))])
