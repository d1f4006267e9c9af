"""The store on SQLite: one file, durable, for all processes of one host.

Knows: `LockStore`, `AsyncLockStore`, `Nearby`; what may wait, and where it does (`units.py` has what is done).
Must not know: a lock rule, an HTTP message, a framework, SQL.

A unit has one deadline for everything that it waits for. Async: looks are done in the loop's own thread, for they never
wait; what writes or may wait goes to the one `worker`, a thread that belongs to the store.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from locklib.core.model import Done, Note, Query, Step
from locklib.stores.base import AsyncPermits, NeverWaiting, Permits, Promises
from locklib.stores.sqlite.board import Claim
from locklib.stores.sqlite.place import path_of_url
from locklib.stores.sqlite.units import TIMEOUT, Again, Units

__all__ = ["AsyncSqliteLockStore", "SqliteLockStore"]

R = TypeVar("R")


class _Kind:
    """What both kinds say in the same words, without waiting.

    path: the file, made if it is not there; beside it come its -wal and -shm, -turn and -permits. timeout: seconds
    that a unit waits for its turn before it raises `StoreUnavailable`. clock, wall: for tests, monotonic seconds and
    seconds since the epoch. on_note: is handed each note after its commit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
        on_note: Callable[[Note], None] | None = None,
        _shared: Units | None = None,
    ) -> None:
        self._sqlite = Units(os.fspath(path), timeout, clock, wall, on_note) if _shared is None else _shared

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._sqlite.file.path

    def open(self) -> None:
        """Open the file, making it if it is not there; to be called at start. Nothing happens the second time.

        Raises `locklib.errors.ConfigurationError` for a place or a file that cannot be used.
        """
        if not self._sqlite.file.is_open:
            self._sqlite.open(self._sqlite.deadline())

    def notes(self) -> tuple[Note, ...]:
        """The last 10 000 notes, of all processes, oldest first."""
        return self._sqlite.notes()

    def near(self, namespace: str, key: str, tree: bool = False) -> bool:
        """False only if no lock is rooted at `key` or above it nor, with `tree`, below it. True is only a hint."""
        return self._sqlite.near(namespace, key, tree)

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Claim:
        """Publish a plain write (with `tree`, a removal) of `key`, without an await; `end_now` takes what it gives.

        Raises `locklib.errors.StoreUnavailable` if the board cannot be written.
        """
        return self._sqlite.board.claim_now(namespace, key, tree)

    def end_now(self, claim: Claim) -> None:
        """Withdraw what `claim_now` published; nothing happens the second time."""
        self._sqlite.board.end_now(claim)


class SqliteLockStore(_Kind):
    """A store on SQLite for sync code."""

    @classmethod
    def from_url(cls, url: str) -> SqliteLockStore:
        """The store that `sqlite:///relative/path` or `sqlite:////absolute/path` names, `?timeout=SECONDS` if given.

        Raises `locklib.errors.ConfigurationError` for another URL.
        """
        path, timeout = path_of_url(url)
        return cls(path, timeout=TIMEOUT if timeout is None else timeout)

    @property
    def permits(self) -> Permits:
        return self._sqlite.board

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """Show what `query` asks for to `step` and carry out what it answers, as one atomic unit.

        Raises what `step` raises, with nothing changed; `locklib.errors.LockError` if `step` wants changes that
        `query` does not allow; `locklib.errors.StoreUnavailable` if the file cannot be used, or not in time.
        """
        with self._sqlite.claimed(query) as claimed:
            done = self._sqlite.again(query, step, self._sqlite.deadline())
            claimed.kept = done.permit is not None
        return done

    def promises(self) -> Promises:
        """What this store stands on, as SQLite itself tells it."""
        return self._sqlite.promises()

    def close(self) -> None:
        """Close the file. The locks stay, and the next use opens it again. May be called twice."""
        self._sqlite.close()

    def as_async(self) -> AsyncSqliteLockStore:
        """The async kind on the same file."""
        return AsyncSqliteLockStore("", _shared=self._sqlite)


class AsyncSqliteLockStore(_Kind):
    """A store on SQLite for async code, for any number of loops: the same arguments, the same words.

    `worker` is the thread that writes; there is none before the first write.
    """

    worker: ThreadPoolExecutor | None = None
    _worker_of = 0

    @classmethod
    def from_url(cls, url: str) -> AsyncSqliteLockStore:
        """See `SqliteLockStore.from_url`."""
        path, timeout = path_of_url(url)
        return cls(path, timeout=TIMEOUT if timeout is None else timeout)

    @property
    def permits(self) -> AsyncPermits:
        return NeverWaiting(self._sqlite.board)

    async def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """As `SqliteLockStore.transact`. When it has ended, by cancellation too, nothing of it commits later."""
        with self._sqlite.claimed(query) as claimed:
            done = self._sqlite.read(query, step, None)
            if isinstance(done, Again):
                deadline, provisional = self._sqlite.deadline(), done.provisional
                if query.writes:
                    done = await self._worked(lambda: self._sqlite.write(query, step, deadline, provisional))
                else:
                    done = await self._worked(lambda: self._sqlite.again(query, step, deadline))
            claimed.kept = done.permit is not None
        return done

    async def _worked(self, work: Callable[[], R]) -> R:
        """Let the worker do it, and leave only when it is known how it ended."""
        doing = self._handed_over(copy_context().run, work)
        try:
            return await asyncio.shield(asyncio.wrap_future(doing))
        except asyncio.CancelledError:
            if not doing.cancel():
                await _ended(doing)
            raise

    def _handed_over(self, *work: Any) -> Future[Any]:
        while True:
            worker = self.worker
            if worker is None or self._worker_of != os.getpid():  # a thread does not come along through a fork
                worker = self.worker = ThreadPoolExecutor(1, "locklib-sqlite")
                self._worker_of = os.getpid()
            try:
                return worker.submit(*work)
            except RuntimeError:  # closed by another thread in this moment, or the interpreter ends
                if self.worker is worker:
                    raise

    async def promises(self) -> Promises:
        """What this store stands on, as SQLite itself tells it."""
        return await self._worked(self._sqlite.promises)

    async def close(self) -> None:
        """Close the file. The locks stay, and the next use opens it again. May be called twice."""
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.shutdown(wait=False)
        self._sqlite.close()

    def as_sync(self) -> SqliteLockStore:
        """The sync kind on the same file."""
        return SqliteLockStore("", _shared=self._sqlite)


async def _ended(doing: Future[Any]) -> None:
    """Wait for `doing`, whatever comes of it, and however often the wait is cancelled."""
    while not doing.done():
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.shield(asyncio.wrap_future(doing))
