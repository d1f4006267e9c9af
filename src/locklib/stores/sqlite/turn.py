"""Whose turn it is to write: a queue of the threads and processes that write to one file, without sleeping.

Knows: mutexes, `flock`, deadlines.
Must not know: SQL, a lock of ours.

SQLite's own waiting sleeps and tries again, and who comes later may be luckier: a writer among eight was seen to wait
1.2 s. Here the kernel wakes whoever waits. `flock` knows no deadline, so a thread waits in our place where it has to be
waited for, which is rare; if it gets the turn after we have given up, it hands it on at once. This is about order
alone: SQLite's own lock is what keeps two writers apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Thread, get_ident
from threading import Lock as Mutex

from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.sqlite.place import give_away

try:
    import fcntl
except ImportError:  # pragma: no cover - where there is no fcntl; the tests put None in its place
    fcntl = None  # type: ignore[assignment]

__all__ = ["Turn"]


class Turn:
    """The queue for the file at `path`, which is made if it is not there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self._mutex = Mutex()
        self._place: _Place | None = None
        self._taker: int | None = None
        self._closing = False

    @contextmanager
    def taken(self, deadline: float) -> Iterator[None]:
        """Wait for the turn until `deadline` (by time.monotonic) and keep it for the block; within one's own, go on.

        Raises `StoreUnavailable` if it does not come in time, or if the file cannot be used.
        """
        if self._taker == get_ident():
            yield
            return
        mutex = self._mutex  # a fork in the middle makes another
        if not mutex.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._late()
        try:
            self._come(deadline)
            self._taker = get_ident()
            yield
        finally:
            self._taker = None
            if self._place is not None:
                self._place.leave()
            mutex.release()
            if self._closing:
                self._drop()

    def _come(self, deadline: float) -> None:
        """Stand in the queue that others stand in: the file may be removed, and made anew, while we wait."""
        try:
            while True:
                place = self._place = self._place or self._opened()
                if not place.come(deadline):
                    raise self._late()
                if place.is_at(self.path):
                    return
                self._place = None
                place.close()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            raise StoreUnavailable(
                f"the file {self.path}, by which writers wait for their turn, cannot be used: {error}; it must be on "
                "a local disk, in a directory that this process may write to"
            ) from error

    def _late(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the turn to write did not come in time ({self.path}): another process has been writing for too long; "
            "look for one that is stopped or hangs"
        )

    def _opened(self) -> _Place:
        if fcntl is None:
            raise ConfigurationError(
                "this system has no flock, by which writers wait for their turn: use the SQLite store on a POSIX "
                "system, or a memory store in one process"
            )
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_away(descriptor, self.path)
        return _Place(descriptor)

    def close(self) -> None:
        """Give the file back, without waiting: who is in its turn does it when that is over. May be called twice."""
        self._closing = True
        self._drop()

    def _drop(self) -> None:
        if self._mutex.acquire(blocking=False):
            place, self._place, self._closing = self._place, None, False
            self._mutex.release()
            if place is not None:
                place.close()

    def forked(self) -> None:
        """In a forked child: no thread of the parent is here, and its place in the queue is not ours."""
        if self._place is not None:
            os.close(self._place.descriptor)
        self._begin()


class _Place:
    """The place of this process in the queue: an open file, and the thread that waits at it, if there is one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._changed = Condition()
        self._waiting = False
        self._wanted = False
        self._here = False
        self._closed = False
        self._failed: OSError | None = None

    def is_at(self, path: str) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(path))
        except FileNotFoundError:
            return False

    def come(self, deadline: float) -> bool:
        """Whether the turn has come by `deadline`."""
        with self._changed:
            self._here = _try(self.descriptor)
            if self._here:
                return True
            self._wanted = True
            try:
                self._send()
                while not self._here and self._failed is None and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                if self._failed is not None:
                    raise self._failed
                return self._here
            finally:
                self._wanted, self._failed = False, None

    def leave(self) -> None:
        with self._changed:
            self._here = False
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _send(self) -> None:
        """Let a thread wait, unless one still does because somebody has given up."""
        if not self._waiting:
            Thread(target=self._wait, name="locklib-turn", daemon=True).start()
            self._waiting = True

    def _wait(self) -> None:
        """Wait once, in a thread. If nobody wants the turn by then, it goes on to the next process."""
        failed = None
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except OSError as error:
            failed = error
        with self._changed:
            self._waiting = False
            if self._closed:
                os.close(self.descriptor)
            elif failed is not None:
                self._failed = failed if self._wanted else None
                self._changed.notify_all()
            elif self._wanted:
                self._here = True
                self._changed.notify_all()
            elif not self._here:
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back; a thread that still waits does so when it has its turn."""
        with self._changed:
            self._closed = True
            if not self._waiting:
                os.close(self.descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
