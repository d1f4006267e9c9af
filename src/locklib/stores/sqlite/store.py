"""The store on SQLite: one file, durable, for all processes of one host.

Knows: `LockStore`, `AsyncLockStore`, `Nearby`; in which order a claim, a look, a turn and a commit come.
Must not know: a lock rule, an HTTP message, a framework, SQL beyond BEGIN and COMMIT.

A unit begins as a look: a transaction that only reads, which nobody has to wait for. If the step then wants no change,
and nothing that was met had run out, that was all: a check and a refusal cost no turn and no write. Else the unit is
done again where it may write: wait for the turn, BEGIN IMMEDIATE, remove what ran out, look, step, COMMIT. So a step is
run once or twice, and always on rows that no foreign change came between. Where so much had run out that its removal
takes long, that becomes a unit of its own, and others come between.

A commit is on the disk before it is told (write-ahead log, synchronous=FULL): who is answered keeps the lock through a
crash, a kill -9 and a power loss. Lives run on the clock of the host (`clock.py`).

A unit has one deadline for everything that it waits for. Async: looks are done in the loop's own thread, for they never
wait; what writes or may wait goes to the one `worker`, a thread that belongs to the store.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Lock as Mutex
from threading import get_ident
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from locklib.core.model import Done, Note, Outcome, Query, Snapshot, Step
from locklib.core.paths import ancestors
from locklib.errors import ConfigurationError, LockError, StoreUnavailable
from locklib.stores.base import Promises
from locklib.stores.common import NOTES_KEPT, refuse_unfit
from locklib.stores.sqlite.board import AsyncBoardPermits, Board, BoardPermits, Claim
from locklib.stores.sqlite.clock import Epoch, boot_of_host, host_clock, next_epoch
from locklib.stores.sqlite.file import File, damaged, is_busy, path_of_url, patiently
from locklib.stores.sqlite.reading import MOST_KEYS, Look, bounds, is_anything_over, look, near_query, note_of
from locklib.stores.sqlite.writing import (
    SWEEP_FOR_COUNTS,
    carry_out,
    is_provisional,
    remove_late,
    remove_overdue,
    sweep,
)

__all__ = ["AsyncSqliteLockStore", "SqliteLockStore"]

R = TypeVar("R")

TIMEOUT = 5.0
"""Seconds that a unit waits at most."""

LONGEST = 3_600.0
"""The longest timeout: whoever waits for a store does not wait for ever (I14)."""

CLEARED = 2_000
"""Rows that ran out and that a unit removes beside its own work; if there are more, it commits and begins anew."""

HIGHEST = 2**62
"""No fence comes near it."""


class _Sqlite:
    """One file as this process has it: connections, turn, board, clock. What the two kinds share."""

    def __init__(
        self,
        path: str,
        timeout: float,
        clock: Callable[[], float] | None,
        wall: Callable[[], float],
        on_note: Callable[[Note], None] | None,
    ) -> None:
        if not 0 < timeout <= LONGEST:
            raise ConfigurationError(f"timeout={timeout} must be a number of seconds above 0, {LONGEST:.0f} at most")
        self.timeout = timeout
        self.clock: Callable[[], float] = host_clock() if clock is None else clock
        self.boot: str = boot_of_host() if clock is None else "a clock that was handed in"
        self.wall = wall
        self.on_note = on_note
        self.untold: deque[Note] = deque()
        self.file: File = File(path, timeout, self._is_begun, self._begin)
        self.board: Board = Board(self.file.path + "-permits", self.clock)
        self.fence_seen: int = 0
        self.teller: Mutex = Mutex()
        self.stepping: set[int] = set()
        _open_files.add(self)

    def deadline(self) -> float:
        """By when (of time.monotonic) a unit that begins now has to be done with waiting."""
        return time.monotonic() + self.timeout

    def open(self, deadline: float) -> None:
        self.file.open(deadline)
        try:
            self.board.open()
        except BaseException:
            self.file.close()
            raise

    def make_sure(self, deadline: float, *, now: bool = False) -> None:
        if not self.file.is_here(now=now):
            self.open(deadline)

    def close(self) -> None:
        self.board.close()
        self.file.turn.close()
        self.file.close()

    def forked(self) -> None:
        self.file.forked()
        self.untold.clear()
        self.teller = Mutex()
        self.stepping.clear()

    # ---- the row of `state` ------------------------------------------------------------------------------------------

    def _is_begun(self, connection: sqlite3.Connection) -> bool:
        told = connection.execute("SELECT fence, boot, shift, latest FROM state").fetchone()
        return told is not None and _checked(told)[0] >= self.fence_seen and self._epoch(told) == Epoch(*told[1:])

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Made with the file, its clock set by the first process after a boot; no fence comes twice (I6)."""
        told = connection.execute("SELECT fence, boot, shift, latest FROM state").fetchone()
        fence = int(self.wall() * 1_000_000) if told is None else _checked(told)[0]
        row = (max(fence, self.fence_seen), *self._epoch(told))
        connection.execute("INSERT OR REPLACE INTO state (one, fence, boot, shift, latest) VALUES (1, ?, ?, ?, ?)", row)

    def _epoch(self, told: Any) -> Epoch:
        return next_epoch(None if told is None else Epoch(*told[1:]), self.boot, self.clock(), self.wall())

    def _state(self, connection: sqlite3.Connection) -> tuple[int, float]:
        """The last fence, and the time. The first look of a transaction: what is seen is not younger than the time."""
        fence, _, shift, _ = _checked(connection.execute("SELECT fence, boot, shift, latest FROM state").fetchone())
        self.fence_seen = max(self.fence_seen, fence)
        return fence, shift + self.clock()

    # ---- a unit ------------------------------------------------------------------------------------------------------

    @contextmanager
    def claimed(self, query: Query) -> Iterator[_Claimed]:
        """Publish, then look: the claim of `query` stands on the board before the first row is read."""
        if get_ident() in self.stepping:
            raise LockError(
                "a transaction was begun within a step of the same store; a step is a pure function of its "
                "snapshot: return what shall change, and begin the next transaction after this one"
            )
        claimed = _Claimed()
        if query.claim is None:
            yield claimed
            return
        try:
            self.board.publish(query.claim)
            yield claimed
        finally:
            if not claimed.kept:
                self.board.end(query.claim)

    def read(self, query: Query, step: Step[R], deadline: float | None) -> Done[R] | Again:
        """The unit as a look; `Again` if it has to be done where it may write, or, without a deadline, may wait.

        The step is run outside of the transaction: it only sees.
        """
        if deadline is not None:
            self.make_sure(deadline)
            found = patiently(deadline, lambda: self._looked(query, patient=True))
        else:
            if not self.file.is_here():
                return Again()
            try:
                found = self._looked(query, patient=False)
            except StoreUnavailable:
                return Again()
        if found is None:
            return Again()
        outcome = self._stepped(step, found.snapshot)
        if outcome.changes:
            refuse_unfit(query, outcome)
            return Again(is_provisional(outcome))
        return Done(outcome.answer, (), query.claim if outcome.keep_claim else None, found.snapshot.fence)

    def _looked(self, query: Query, *, patient: bool) -> Look | None:
        with self.file.lent(patient=patient) as connection:
            connection.execute("BEGIN")
            fence, now = self._state(connection)
            found = look(connection, query, now, fence)
            miscounted = query.counts and is_anything_over(connection, now)
            connection.execute("COMMIT")
        return None if found.overdue or found.late or miscounted else found

    def again(self, query: Query, step: Step[R], deadline: float) -> Done[R]:
        """The unit where it may wait."""
        done = self.read(query, step, deadline)
        return self.write(query, step, deadline, done.provisional) if isinstance(done, Again) else done

    def write(self, query: Query, step: Step[R], deadline: float, provisional: bool = False) -> Done[R]:
        """The unit where it may write. provisional: whether it looked as if it need not be on the disk."""
        done: Done[R] | None = None
        try:
            while done is None:
                try:
                    wanted = _provisionally(step) if provisional else step
                    done = self._written(query, wanted, deadline, synced=not provisional)
                except _MustLast:
                    provisional = False
        except _Raised as raised:
            raise raised.error from raised.error.__cause__
        if self.on_note is not None:
            self._tell(self.on_note)
        return done

    def _written(self, query: Query, step: Step[R], deadline: float, *, synced: bool) -> Done[R] | None:
        """None if it went into what had run out. Looks for another file under its name at the last moment."""
        with self.file.turn.taken(deadline):
            self.make_sure(deadline, now=True)
            identity = self.file.identity
            with self.file.lent() as connection, _synced(connection, synced):
                _begin_to_write(connection, deadline)
                fence, now = self._state(connection)
                found = self._living(connection, query, now, fence)
                unit = None if found is None else self._carried_out(connection, query, step, found, now)
                connection.execute("COMMIT")
            if self.file.identity_now() != identity:
                self.file.is_here(now=True)
                raise StoreUnavailable(f"the lock file {self.file.path} was replaced while it was written; try again")
            if unit is None:
                return None
            done, notes = unit
            self.fence_seen = max(self.fence_seen, *(row.fence for row in done.rows), 0)
            if self.on_note is not None:
                self.untold.extend(notes)
            return done

    def _carried_out(
        self, connection: sqlite3.Connection, query: Query, step: Step[R], found: Look, now: float
    ) -> tuple[Done[R], tuple[Note, ...]]:
        fence = found.snapshot.fence
        try:
            outcome = self._stepped(step, found.snapshot)
        except sqlite3.Error as error:  # the step's own, and none of this file
            raise _Raised(error) from error
        rows = carry_out(connection, query, outcome, now, fence) if outcome.changes else ()
        sweep(connection, now)
        return Done(outcome.answer, rows, query.claim if outcome.keep_claim else None, fence), outcome.notes

    def _stepped(self, step: Step[R], snapshot: Snapshot) -> Outcome[R]:
        """Run the step; whoever begins a unit within it is told so, instead of waiting for itself."""
        thread = get_ident()
        self.stepping.add(thread)
        try:
            return step(snapshot)
        finally:
            self.stepping.discard(thread)

    @staticmethod
    def _living(connection: sqlite3.Connection, query: Query, now: float, fence: int) -> Look | None:
        """What lives, after what was met that does not has been removed; None if that was work enough."""
        if query.counts:
            sweep(connection, now, SWEEP_FOR_COUNTS)
        removed = 0
        while removed < CLEARED:
            found = look(connection, query, now, fence)
            if not (found.overdue or found.late):
                return found
            remove_overdue(connection, query.namespace, found.overdue, now)
            remove_late(connection, query.namespace, found.late)
            removed += len(found.overdue) + len(found.late)
        return None

    def _tell(self, listener: Callable[[Note], None]) -> None:
        """Hand notes on after their commit, one thread at a time; who listens cannot undo it by raising."""
        while self.untold and self.teller.acquire(blocking=False):
            try:
                while self.untold:
                    _tell_one(listener, self.untold.popleft())
            finally:
                self.teller.release()

    # ---- the short way -----------------------------------------------------------------------------------------------

    def near(self, namespace: str, key: str, tree: bool) -> bool:
        """One statement. Whatever goes wrong is left to the general way, which says what it is."""
        keys = (*ancestors(key), key)
        if len(keys) > MOST_KEYS:
            return True
        values = (namespace, *keys, *bounds(key)) if tree else (namespace, *keys)
        try:
            if not self.file.is_here():
                return True
            return self.file.first(near_query(len(keys), tree), values) is not None
        except Exception:
            return True

    # ---- what it stands on -------------------------------------------------------------------------------------------

    def promises(self) -> Promises:
        self.make_sure(self.deadline())
        with self.file.lent() as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            level = connection.execute("PRAGMA synchronous").fetchone()[0]
        synced = mode == "wal" and level >= 2
        note = f"{self.file.path}, SQLite {sqlite3.sqlite_version}, journal_mode={mode}, synchronous={level}"
        return Promises("sqlite", "host", True, True, synced, note)

    def notes(self) -> tuple[Note, ...]:
        text = 'SELECT event, key, "by", detail FROM (SELECT * FROM notes ORDER BY number DESC LIMIT ?) ORDER BY number'
        self.make_sure(self.deadline())
        with self.file.lent() as connection:
            return tuple(map(note_of, connection.execute(text, (NOTES_KEPT,))))


class Again(NamedTuple):
    """A look was not enough. provisional: the step wants nothing that has to be on the disk (`is_provisional`)."""

    provisional: bool = False


class _MustLast(Exception):
    """What looked provisional is not, on the rows as they are now."""


def _provisionally(step: Step[R]) -> Step[R]:
    def checked(snapshot: Snapshot) -> Outcome[R]:
        outcome = step(snapshot)
        if outcome.changes and not is_provisional(outcome):
            raise _MustLast
        return outcome

    return checked


class _Claimed:
    """Whether the claim of a unit stays on the board."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


class _Raised(Exception):
    """What a step raised and SQLite might have raised too."""

    def __init__(self, error: sqlite3.Error) -> None:
        self.error = error


def _checked(told: Any) -> tuple[int, str, float, float]:
    """The row of `state`. Raises `StoreUnavailable` if it is not what only we write there."""
    kinds = () if told is None else tuple(map(type, told))
    if kinds != (int, str, float, float) or not 0 <= told[0] < HIGHEST:
        raise damaged("its state (fence and clock) cannot be read")
    fence, boot, shift, latest = told
    return fence, boot, shift, latest


@contextmanager
def _synced(connection: sqlite3.Connection, synced: bool) -> Iterator[None]:
    """Whether a commit within the block waits for the disk. The next one that does takes all before it along."""
    if synced:
        yield
        return
    connection.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        if connection.in_transaction:  # the level cannot be changed within one
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA synchronous=FULL")


def _begin_to_write(connection: sqlite3.Connection, deadline: float) -> None:
    """Wait, to `deadline`, for those who write without a turn: another program, a transaction left open."""
    pause = 0.0005
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def _tell_one(listener: Callable[[Note], None], note: Note) -> None:
    try:
        listener(note)
    except Exception:
        logging.getLogger("locklib").exception("on_note failed for event %r", note.event)


# ---- fork ------------------------------------------------------------------------------------------------------------

_open_files: WeakSet[_Sqlite] = WeakSet()
_forking: dict[int, list[_Sqlite]] = {}


def _before_fork() -> None:
    every = _forking[get_ident()] = list(_open_files)
    for shared in every:
        shared.file.before_fork()


def _after_fork_in_parent() -> None:
    for shared in _forking.pop(get_ident(), ()):
        shared.file.forked_in_parent()


def _after_fork_in_child() -> None:
    _forking.clear()
    for shared in list(_open_files):
        shared.forked()


if hasattr(os, "register_at_fork"):  # pragma: no branch - false only where there is no fork either
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# ---- the two kinds ---------------------------------------------------------------------------------------------------


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
        _shared: _Sqlite | None = None,
    ) -> None:
        self._sqlite = _Sqlite(os.fspath(path), timeout, clock, wall, on_note) if _shared is None else _shared

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
    def permits(self) -> BoardPermits:
        return BoardPermits(self._sqlite.board)

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
    def permits(self) -> AsyncBoardPermits:
        return AsyncBoardPermits(self._sqlite.board)

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
