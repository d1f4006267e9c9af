"""Steps and stores that misbehave as far as the promise allows: they linger, raise, run twice, guess first.

Knows: `Step`, and that a store may run a step again, or on rows that it only guesses.
Must not know: a lock rule, a store.

Plain races find few faults. A step that lingers between what it reads and what it answers finds nearly all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any, Generic, TypeVar

from locklib.core.model import Done, Outcome, Query, Snapshot, Step
from locklib.stores.base import AsyncLockStore, AsyncPermits, LockStore, Permits, Promises

__all__ = [
    "AdversaryStore",
    "AsyncAdversaryStore",
    "Disturbance",
    "Recorder",
    "lingering",
    "raising",
    "together",
    "twice",
]

R = TypeVar("R")


class Disturbance(Exception):
    """What `raising` raises: an error that nobody but a test raises."""


def lingering(step: Step[R], seconds: float) -> Step[R]:
    """`step`, which waits `seconds` between reading and answering, so that a gap in the store opens wide."""

    def linger(snapshot: Snapshot) -> Outcome[R]:
        outcome = step(snapshot)
        time.sleep(seconds)
        return outcome

    return linger


def raising(step: Step[R], error: BaseException | None = None) -> Step[R]:
    """`step`, which reads, decides, and then raises `error` (default: `Disturbance`) in place of its answer."""

    def fail(snapshot: Snapshot) -> Outcome[R]:
        step(snapshot)
        raise Disturbance("raised within a step") if error is None else error

    return fail


def twice(step: Step[R], guess: Snapshot | None = None) -> Step[R]:
    """`step`, run once on `guess` (default: the very same rows) before the run that counts, as optimistic stores do.

    A first run that raises counts as a guess that missed.
    """

    def again(snapshot: Snapshot) -> Outcome[R]:
        try:
            step(snapshot if guess is None else guess)
        except Exception:
            if guess is None:
                raise
        return step(snapshot)

    return again


class Recorder(Generic[R]):
    """`step`, which remembers every snapshot that it was shown."""

    def __init__(self, step: Step[R]) -> None:
        self.step = step
        self.seen: list[Snapshot] = []

    def __call__(self, snapshot: Snapshot) -> Outcome[R]:
        self.seen.append(snapshot)
        return self.step(snapshot)


def disturbed(step: Step[R], linger: float, guess: bool) -> Step[R]:
    """`step` with the manners of an `AdversaryStore`."""
    if guess:
        step = twice(step, Snapshot())
    return lingering(twice(step), linger) if linger else twice(step)


class AdversaryStore:
    """A sync store that runs each step on a guess (no rows), then twice on the real rows, and lingers.

    For tests of rules and shells: whoever depends on a step running once is found out here. `linger` in seconds.
    """

    def __init__(self, store: LockStore, *, linger: float = 0.0, guess: bool = True) -> None:
        self.store = store
        self._linger = linger
        self._guess = guess

    @property
    def permits(self) -> Permits:
        return self.store.permits

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        return self.store.transact(query, disturbed(step, self._linger, self._guess))

    def promises(self) -> Promises:
        return self.store.promises()

    def close(self) -> None:
        self.store.close()


class AsyncAdversaryStore:
    """`AdversaryStore` over an async store. It lingers without giving way to the loop, as a slow step would."""

    def __init__(self, store: AsyncLockStore, *, linger: float = 0.0, guess: bool = True) -> None:
        self.store = store
        self._linger = linger
        self._guess = guess

    @property
    def permits(self) -> AsyncPermits:
        return self.store.permits

    async def transact(self, query: Query, step: Step[R]) -> Done[R]:
        return await self.store.transact(query, disturbed(step, self._linger, self._guess))

    async def promises(self) -> Promises:
        return await self.store.promises()

    async def close(self) -> None:
        await self.store.close()


def together(count: int, work: Callable[[int], Any], limit: float = 60.0) -> list[Any]:
    """Run `work(0)` ... `work(count - 1)` in threads that start at once; their results in order.

    Raises the first error of any of them (a race test that ignores those is blind), and `TimeoutError` if they are not
    done within `limit` seconds.
    """
    barrier = Barrier(count)
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(limit)
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if errors:
        raise errors[0]
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError(f"{count} threads were not done within {limit} seconds")
    return results
