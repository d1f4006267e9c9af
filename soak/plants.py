"""Stores with one fault each: a soak that does not end in 1 on them is blind. `python -m soak --plant NAME`.

Knows: `transact`. Must not know: how a store keeps its rows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from locklib.core.model import Outcome, Query, Snapshot, Step, replace

__all__ = ["PLANTS", "planted"]

RARELY = 0.05


class _Wrapped:
    """A store within another one; without the short way, so that all goes through `transact`."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.permits = store.permits
        self.promises = store.promises
        self.close = store.close
        if hasattr(store, "open"):
            self.open = store.open


def forgetful(query: Query, step: Step[Any]) -> tuple[Query, Step[Any]]:
    """Planted: who changes something drops, now and then, a lock of somebody else's with it."""

    def run(snapshot: Snapshot) -> Outcome[Any]:
        outcome = step(snapshot)
        if outcome.puts and snapshot.locks and random.random() < RARELY:
            outcome = replace(outcome, drops=(*outcome.drops, random.choice(snapshot.locks).lock.token))
        return outcome

    return query, run


def blind(query: Query, step: Step[Any]) -> tuple[Query, Step[Any]]:
    """Planted: now and then a LOCK does not see the locks in its way."""

    def run(snapshot: Snapshot) -> Outcome[Any]:
        if query.writes and query.trees and random.random() < RARELY:
            snapshot = replace(snapshot, locks=())
        return step(snapshot)

    return query, run


def claimless(query: Query, step: Step[Any]) -> tuple[Query, Step[Any]]:
    """Planted: writers publish nothing, so a LOCK does not wait for them."""
    return replace(query, claim=None), step


def slow_to_look(query: Query, step: Step[Any]) -> tuple[Query, Step[Any]]:
    """No fault: a step that lingers is within the promise."""

    def run(snapshot: Snapshot) -> Outcome[Any]:
        outcome = step(snapshot)
        time.sleep(0.001)
        return outcome

    return query, run


PLANTS: dict[str, Callable[[Query, Step[Any]], tuple[Query, Step[Any]]]] = {
    "forgetful": forgetful,
    "blind": blind,
    "claimless": claimless,
    "none": slow_to_look,
}


def planted(name: str, store: Any, *, asynchronous: bool) -> Any:
    """`store` with the fault of that name."""
    bend = PLANTS[name]

    class Sync(_Wrapped):
        def transact(self, query: Query, step: Step[Any]) -> Any:
            return self._store.transact(*bend(query, step))

    class Async(_Wrapped):
        async def transact(self, query: Query, step: Step[Any]) -> Any:
            return await self._store.transact(*bend(query, step))

    return (Async if asynchronous else Sync)(store)
