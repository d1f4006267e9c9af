"""The store in memory: one table per namespace, for the threads and event loops of one process.

Knows: `LockStore`, `AsyncLockStore`, `Nearby` (it is two thin classes over one `Memory`), a clock, a mutex, a lease.
Must not know: a lock rule, an HTTP message, a framework.

Time: lives run on a monotonic clock; instants (`created_at`, `expires_at`) are that clock plus one offset, read from
the wall clock when the store is made. So setting the wall clock neither ends a lock nor prolongs one.

Fences: one counter for all namespaces. It starts at the wall clock in microseconds, so it is higher after a restart as
long as fewer than 10^6 locks a second are granted and the wall clock is not set back between the two starts. That is
what is assumed; a store that must not assume it keeps its counter on disk.

Law: `near`, `claim_now` and `end_now` take no mutex and look at no lease. Until the lease is taken (and again after
a fork or a close) `near` says "maybe" to everything, and what follows takes the lease.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Literal, Protocol, TypeVar
from weakref import WeakSet

from locklib.core.model import Done, Lock, Note, Outcome, Query, Step
from locklib.errors import ConfigurationError
from locklib.stores.base import AsyncPermits, NeverWaiting, Permits, Promises
from locklib.stores.common import NOTES_KEPT, begun_within_a_step, refuse_unfit, stamped
from locklib.stores.gate import Gate
from locklib.stores.memory.board import Board, Claim
from locklib.stores.memory.lease import CURE, Lease, notices_others
from locklib.stores.memory.table import Table
from locklib.stores.telling import Teller

__all__ = ["AsyncMemoryLockStore", "MemoryLockStore"]

R = TypeVar("R")

_EMPTY = Table()
_memories: WeakSet[Memory] = WeakSet()


class _Near(Protocol):
    def near(self, key: str, tree: bool = False) -> bool: ...


class _Shown(Protocol):
    def get(self, namespace: str, /) -> _Near | None: ...


class _Unsure:
    """What `near` reads while nobody knows whether this process may hold locks: anything may be near."""

    def get(self, namespace: str, /) -> _Unsure:
        return self

    def near(self, key: str, tree: bool = False) -> bool:
        return True


_UNSURE = _Unsure()


class Memory:
    """All namespaces of a store, its fence, its board and its mutex: what the two kinds share."""

    def __init__(
        self,
        clock: Callable[[], float],
        wall: Callable[[], float],
        lease: Lease | None,
        on_note: Callable[[Note], None] | None,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.offset: float = wall() - clock()
        self.fence: int = int(wall() * 1_000_000)
        self.tables: dict[str, Table] = {}
        self.board: Board = Board(clock)
        self.notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        self.teller: Teller = Teller(on_note)
        self.lease = lease
        self.spoilt: str | None = None
        self.ready: bool = lease is None
        self.shown: _Shown = self.tables if self.ready else _UNSURE
        self.mutex: RLock = RLock()
        self.busy: bool = False
        _memories.add(self)

    def open(self) -> None:
        with self.mutex:
            if self.spoilt is not None:
                raise ConfigurationError(self.spoilt)
            if self.ready or self.lease is None:
                return
            self.lease.take()
            self.ready = True
            self.shown = self.tables

    def close(self) -> None:
        with self.mutex:
            if self.lease is not None:
                self.ready = False
                self.shown = _UNSURE
                self.lease.release()

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        if not self.ready:
            self.open()
        with self.mutex:
            if self.busy:
                raise begun_within_a_step()
            self.busy = True
            try:
                done = self._claimed(query, step)
            finally:
                self.busy = False
        if self.teller.untold:
            self.teller.tell()
        return done

    def _claimed(self, query: Query, step: Step[R]) -> Done[R]:
        """Publish, then look: the claim stands on the board before the first row is read."""
        claim = query.claim
        if claim is None:
            return self._run(query, step)
        self.board.publish(claim)
        kept = False
        try:
            done = self._run(query, step)
            kept = done.permit is not None
        finally:
            if not kept:
                self.board.end(claim)
        return done

    def _run(self, query: Query, step: Step[R]) -> Done[R]:
        now = self.offset + self.clock()
        table = self.tables.get(query.namespace, _EMPTY)
        fence = self.fence
        outcome = step(table.look(query, now, fence))
        rows = self._carry_out(query, table, outcome, now) if outcome.changes else ()
        return Done(outcome.answer, rows, query.claim if outcome.keep_claim else None, fence)

    def _carry_out(self, query: Query, table: Table, outcome: Outcome[R], now: float) -> tuple[Lock, ...]:
        refuse_unfit(query, outcome)
        if table is _EMPTY:
            table = Table()
        table.tree.version += 1
        try:
            rows = self._change(table, outcome, now)
        finally:
            table.tree.version += 1
        if table.idle:
            self.tables.pop(query.namespace, None)
        else:
            self.tables[query.namespace] = table
        self.notes.extend(outcome.notes)
        self.teller.add(outcome.notes)
        return rows

    def _change(self, table: Table, outcome: Outcome[R], now: float) -> tuple[Lock, ...]:
        """Puts come first: who looks without the mutex may see too much for a moment, never too little."""
        rows = []
        for put in outcome.puts:
            self.fence += put.grant
            rows.append(table.put(put, now, self.fence))
        for token in outcome.drops:
            table.drop(token)
        for order in outcome.drop_under:
            table.drop_under(order)
        for stone in outcome.tombstones:
            table.graves.put(stamped(stone, now), now)
        for ticket in outcome.tickets:
            table.queue.put(ticket, now)
        for id in outcome.drop_tickets:
            table.queue.drop(id)
        return tuple(rows)

    def promises(self) -> Promises:
        if self.lease is None:
            note = "each process has locks of its own"
        elif notices_others():
            note = "a second process is refused"
        else:
            note = "this system does not let a process notice a second one"
        return Promises("memory", "process", False, False, False, note)

    def forked(self) -> None:
        """In a forked child: no thread of the parent is left, and what the parent holds is not ours."""
        torn, filled = self.busy, any(table.rows for table in self.tables.values())
        self.mutex, self.busy = RLock(), False
        self.board.clear()
        self.teller.forked()
        self.fence = max(self.fence, int(self.wall() * 1_000_000))
        if torn or (filled and self.lease is not None):
            self.spoilt = (
                f"this store in memory {'was at work' if torn else 'held locks'} in process {os.getppid()} when that "
                f"process forked; the copy in process {os.getpid()} would go on by itself. Make the store, or take "
                f"the first lock, after the fork. {CURE}"
            )
        if self.lease is not None or self.spoilt is not None:
            self.ready, self.shown = False, _UNSURE
        if self.lease is not None:
            self.lease.forget()


def _after_fork() -> None:
    for memory in list(_memories):
        memory.forked()


if hasattr(os, "register_at_fork"):  # pragma: no branch - false only where there is no fork either
    os.register_at_fork(after_in_child=_after_fork)


class _Kind:
    """What both kinds say in the same words, without waiting."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        processes: Literal["refuse", "allow"] = "refuse",
        application: str | None = None,
        on_note: Callable[[Note], None] | None = None,
        _memory: Memory | None = None,
    ) -> None:
        if processes not in ("refuse", "allow"):
            raise ConfigurationError(f"processes={processes!r} is unknown; say 'refuse' (default) or 'allow'")
        if _memory is None:
            _memory = Memory(clock, wall, Lease(application) if processes == "refuse" else None, on_note)
        self._memory = _memory

    def open(self) -> None:
        """Take the lease of this process; to be called at start. One attribute test once it is taken.

        Raises `locklib.errors.ConfigurationError` in the second process of an application.
        """
        if not self._memory.ready:
            self._memory.open()

    def notes(self) -> tuple[Note, ...]:
        """The last 10 000 notes, oldest first."""
        return tuple(self._memory.notes)

    def near(self, namespace: str, key: str, tree: bool = False) -> bool:
        """False only if no lock is rooted at `key` or above it nor, with `tree`, below it. True is only a hint."""
        table = self._memory.shown.get(namespace)
        return table is not None and table.near(key, tree)

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Claim:
        """Publish a plain write (with `tree`, a removal) of `key`, without an await; `end_now` takes what it gives."""
        return self._memory.board.claim_now(namespace, key, tree)

    def end_now(self, claim: Claim) -> None:
        """Withdraw what `claim_now` published; nothing happens the second time."""
        self._memory.board.end_now(claim)

    def gate(self, namespace: str) -> Gate:
        """`near`, `claim_now` and `end_now` for `namespace`, bound: an entrance is one call, its end one of a dict."""
        return _gate(self._memory, namespace)


def _gate(memory: Memory, namespace: str) -> Gate:
    claims, words = memory.board.claims, memory.board.plain

    def near(key: str, tree: bool) -> bool:
        table = memory.shown.get(namespace)
        return table is not None and table.near(key, tree)

    def enter(key: str, tree: bool) -> Claim | None:
        claim = next(claims)
        words[claim] = (namespace, key, tree)
        try:  # published, then looked
            table = memory.shown.get(namespace)
            if table is None or not table.near(key, tree):
                return claim
        except BaseException:
            words.pop(claim, None)
            raise
        words.pop(claim, None)
        return None

    return Gate(near, enter, words.pop)


class MemoryLockStore(_Kind):
    """A store in memory for sync code.

    clock: monotonic seconds. wall: seconds since the epoch, read once for the instants and the first fence.
    processes: "refuse" lets one process of an application hold locks and gives the others a `ConfigurationError`;
    "allow" gives each its own. application: a name to tell the processes of this application by, where parent process,
    command line and directory do not. on_note: is handed each note after its commit.
    """

    @property
    def permits(self) -> Permits:
        return self._memory.board

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """Show what `query` asks for to `step` and carry out what it answers, as one atomic unit.

        Raises what `step` raises, with nothing changed; `locklib.errors.LockError` if `step` wants changes that
        `query` does not allow; `locklib.errors.ConfigurationError` in a second process.
        """
        return self._memory.transact(query, step)

    def promises(self) -> Promises:
        """What this store stands on."""
        return self._memory.promises()

    def close(self) -> None:
        """Give the lease back. The locks stay, and the next use takes the lease again. May be called twice."""
        self._memory.close()

    def as_async(self) -> AsyncMemoryLockStore:
        """The async kind over the same locks, so that ASGI and WSGI halves of an application see each other."""
        return AsyncMemoryLockStore(_memory=self._memory)


class AsyncMemoryLockStore(_Kind):
    """A store in memory for async code, for any number of loops: the same arguments, the same words."""

    never_waits: bool = True
    """`transact` has no await of its own: a shell need not shield it from cancellation."""

    @property
    def permits(self) -> AsyncPermits:
        return NeverWaiting(self._memory.board)

    async def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """As `MemoryLockStore.transact`. It has no await of its own, so it cannot be cancelled half way."""
        return self._memory.transact(query, step)

    async def promises(self) -> Promises:
        """What this store stands on."""
        return self._memory.promises()

    async def close(self) -> None:
        """Give the lease back. The locks stay, and the next use takes the lease again. May be called twice."""
        self._memory.close()

    def as_sync(self) -> MemoryLockStore:
        """The sync kind over the same locks."""
        return MemoryLockStore(_memory=self._memory)
