"""What the contract is written in: one way to call a store of either kind, locks to play with, a naive oracle.

Knows: both store protocols, what a query asks for when every lock is looked at in turn.
Must not know: how any store finds its rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from itertools import count
from threading import Lock as Mutex
from threading import get_ident
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from locklib.core.model import Done, Lock, Outcome, Permit, Put, Query, Snapshot, Step
from locklib.stores.base import AsyncLockStore, LockStore, Nearby, Promises, is_async

__all__ = ["Clock", "FakeClock", "Kit", "is_under", "matches", "new", "place", "sole"]

R = TypeVar("R")

_numbers = count(1)


class Clock(Protocol):
    """A test's hand on the store's clock."""

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass for the store, at once."""


class FakeClock:
    """A monotonic clock that stands still unless it is told to go on; to be given to a store as `clock=`."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now: float = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Kit:
    """A store of either kind in sync words, with the helpers of the contract.

    Async stores run on one event loop per thread, or with `one_loop` on one loop for all threads. `life` is a duration
    in seconds that is worth waiting for: long where the clock is ours, short where time really has to pass.
    """

    def __init__(self, store: LockStore | AsyncLockStore, clock: Clock | None = None, one_loop: bool = False) -> None:
        self.store: Any = store
        self.clock = clock
        self.life: float = 0.6 if clock is None else 10.0
        self.slack: float = 0.2 if clock is None else 0.001
        self._async = is_async(store)
        self._one_loop = one_loop
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._mutex = Mutex()

    # -- the store's words --------------------------------------------------------------------------------------

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        done: Done[R] = self._call(self.store.transact, query, step)
        return done

    def publish(self, permit: Permit) -> None:
        self._call(self.store.permits.publish, permit)

    def older(self, namespace: str, lock: Lock) -> frozenset[str]:
        return frozenset(permit.id for permit in self.permits(namespace, lock))

    def permits(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        permits: tuple[Permit, ...] = self._call(self.store.permits.older, namespace, lock)
        return permits

    def live(self, ids: Collection[str]) -> frozenset[str]:
        found: frozenset[str] = self._call(self.store.permits.live, ids)
        return found

    def renew(self, permit: Permit) -> None:
        self._call(self.store.permits.renew, permit)

    def end(self, permit: Permit) -> None:
        self._call(self.store.permits.end, permit)

    def promises(self) -> Promises:
        promises: Promises = self._call(self.store.promises)
        return promises

    def close_store(self) -> None:
        self._call(self.store.close)

    @property
    def nearby(self) -> Nearby | None:
        return self.store if isinstance(self.store, Nearby) else None

    def _call(self, word: Callable[..., Any], *args: Any) -> Any:
        if not self._async:
            return word(*args)
        return self._await(word(*args))

    def _await(self, work: Coroutine[Any, Any, R]) -> R:
        if self._one_loop:
            with self._mutex:
                return self._loop(0).run_until_complete(work)
        return self._loop(get_ident()).run_until_complete(work)

    def _loop(self, owner: int) -> asyncio.AbstractEventLoop:
        loop = self._loops.get(owner)
        if loop is None:
            loop = self._loops[owner] = asyncio.new_event_loop()
        return loop

    def close(self) -> None:
        """Close the store and the loops."""
        self.close_store()
        for loop in self._loops.values():
            loop.close()

    # -- helpers ------------------------------------------------------------------------------------------------

    @staticmethod
    def namespace() -> str:
        """A namespace that nobody has used."""
        return f"contract-{uuid4().hex}"

    def wait(self, seconds: float) -> None:
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)

    def put(self, namespace: str, *locks: Lock, lasts: float = 900.0, grant: bool = True) -> tuple[Lock, ...]:
        """Write `locks` in one unit; the rows as stored."""
        puts = tuple(Put(lock, lasts, grant) for lock in locks)
        return self.change(namespace, puts=puts).rows

    def change(self, namespace: str, **outcome: Any) -> Done[None]:
        """Carry out an outcome of these fields."""
        return self.transact(Query(namespace, writes=True), lambda _: Outcome(None, **outcome))

    def look(self, namespace: str, **query: Any) -> Snapshot:
        """What a query of these fields is shown."""
        return self.transact(Query(namespace, **query), Outcome).answer

    def tokens(self, namespace: str, **query: Any) -> list[str]:
        return [held.lock.token for held in self.look(namespace, **query).locks]

    def everything(self, namespace: str) -> dict[str, Lock]:
        """All locks under "/", by token."""
        return {held.lock.token: held.lock for held in self.look(namespace, trees=("/",)).locks}


def sole(found: Iterable[R]) -> R:
    """The one that was found. Raises `AssertionError` if there are none or several."""
    every = list(found)
    if len(every) != 1:
        raise AssertionError(f"expected exactly one, found {len(every)}: {every!r}")
    return every[0]


def new(key: str, token: str | None = None, **fields: Any) -> Lock:
    """A lock on `key` that no store has seen; tokens sort in the order in which they are made."""
    return Lock(f"urn:test:{next(_numbers):09d}" if token is None else token, key, **fields)


# -- the oracle -------------------------------------------------------------------------------------------------


def is_under(key: str, root: str) -> bool:
    """Whether `key` is `root` or lies below it: the meaning of "/" in a key, spelled out."""
    if key == root:
        return True
    return key.startswith("/") if root == "/" else key.startswith(root + "/")


def matches(lock: Lock, query: Query) -> bool:
    """Whether the filters of `query` let `lock` matter; a bearer lock is foreign to everybody."""
    if query.scopes is not None and lock.scope not in query.scopes:
        return False
    if query.purposes is not None and lock.purpose not in query.purposes:
        return False
    return query.not_creator is None or lock.creator != query.not_creator


def place(lock: Lock) -> tuple[str, str]:
    """Where a lock stands in a snapshot."""
    return lock.key, lock.token


def on_paths(locks: Iterable[Lock], query: Query) -> set[str]:
    """The tokens that `query.paths` and `query.tokens` must show."""
    return {
        lock.token
        for lock in locks
        if lock.token in query.tokens
        or (matches(lock, query) and any(is_under(path, lock.key) for path in query.paths))
    }


def in_tree(locks: Iterable[Lock], query: Query, tree: str) -> list[Lock]:
    """The locks at or below `tree` that matter to `query`, in order."""
    return sorted((lock for lock in locks if is_under(lock.key, tree) and matches(lock, query)), key=place)
