"""A unit on the file: in which order a claim, a look, a turn and a commit come. What the two kinds of store share.

Knows: connections, the turn, the board, the clock; when a look is enough; what has to be on the disk.
Must not know: a lock rule, async, SQL beyond BEGIN and COMMIT.

A unit begins as a look: a transaction that only reads, which nobody has to wait for. If the step then wants no change,
and nothing that was met had run out, that was all: a check and a refusal cost no turn and no write. Else the unit is
done again where it may write: wait for the turn, BEGIN IMMEDIATE, remove what ran out, look, step, COMMIT. So a step is
run once or twice, and always on rows that no foreign change came between. Where so much had run out that its removal
takes long, that becomes a unit of its own, and others come between.

A commit is on the disk before it is told (write-ahead log, synchronous=FULL): who is answered keeps the lock through a
crash, a kill -9 and a power loss. A pending lock alone is not waited for: it is nobody's yet, and the commit that
confirms it takes it to the disk along. Lives run on the clock of the host (`clock.py`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from locklib.core.model import Done, Note, Outcome, Query, Snapshot, Step
from locklib.core.paths import ancestors
from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.base import Promises
from locklib.stores.common import NOTES_KEPT, begun_within_a_step, refuse_unfit
from locklib.stores.sqlite.board import Board
from locklib.stores.sqlite.clock import Epoch, boot_of_host, host_clock, next_epoch
from locklib.stores.sqlite.file import File, damaged, patiently
from locklib.stores.sqlite.reading import MOST_KEYS, Look, bounds, is_anything_over, look, near_query, note_of
from locklib.stores.sqlite.writing import (
    SWEEP_FOR_COUNTS,
    carry_out,
    is_provisional,
    remove_late,
    remove_overdue,
    sweep,
)
from locklib.stores.telling import Teller

__all__ = ["TIMEOUT", "Again", "Units"]

R = TypeVar("R")

TIMEOUT = 5.0
"""Seconds that a unit waits at most."""

LONGEST = 3_600.0
"""The longest timeout: whoever waits for a store does not wait for ever (I14)."""

CLEARED = 2_000
"""Rows that ran out and that a unit removes beside its own work; if there are more, it commits and begins anew."""

HIGHEST = 2**62
"""No fence comes near it."""


class Units:
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
        self.teller: Teller = Teller(on_note)
        self.file: File = File(path, timeout, self._is_begun, self._begin)
        self.board: Board = Board(self.file.path + "-permits", self.clock)
        self.fence_seen: int = 0
        self.has_worked: bool = False
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
        self.has_worked = True

    def make_sure(self, deadline: float, *, now: bool = False) -> None:
        """Raises `ConfigurationError` only where nothing has worked yet: later it is not a setting that is at fault."""
        if self.file.is_here(now=now):
            return
        try:
            self.open(deadline)
        except ConfigurationError as error:
            if not self.has_worked:
                raise
            raise StoreUnavailable(str(error)) from error

    def close(self) -> None:
        self.board.close()
        self.file.turn.close()
        self.file.close()

    def forked(self) -> None:
        self.file.forked()
        self.teller.forked()
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
            raise begun_within_a_step()
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
        self.teller.tell()
        return done

    def _written(self, query: Query, step: Step[R], deadline: float, *, synced: bool) -> Done[R] | None:
        """None if it went into what had run out. Looks for another file under its name at the last moment."""
        with self.file.turn.taken(deadline):
            self.make_sure(deadline, now=True)
            identity = self.file.identity
            with self.file.lent() as connection, _synced(connection, synced):
                patiently(deadline, lambda: connection.execute("BEGIN IMMEDIATE"))  # others may write without a turn
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
            self.teller.add(notes)
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


# ---- fork ------------------------------------------------------------------------------------------------------------

_open_files: WeakSet[Units] = WeakSet()
_forking: dict[int, list[Units]] = {}


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
