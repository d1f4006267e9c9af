"""The file: how it is opened and made, whether it is still the same, connections on loan, what SQLite's errors mean.

Knows: pragmas, inodes, the versions of the schema, which errors are the fault of a setting.
Must not know: what a query asks for, a lock rule.

A connection is lent to one user at a time and belongs to no thread. None of them waits for SQLite's own locks: whoever
may wait asks again (`patiently`), until its own deadline and not the library's.

**Fork.** SQLite keeps, for each file that a process has open, one account of the kernel's locks on it. A forked child
inherits the account without the locks: whatever it opens then believes itself to be protected and is not, and what it
commits can be lost. So nothing is open during a fork: whoever forks waits until all connections have come back, and
closes them. A child of a fork that could not wait that long refuses to use the file.

**Another file.** A path may lead to another file from one moment to the next. That is looked for every tenth of a
second and before each commit. The log (-wal, -shm) of the file that is gone is removed before the next one is opened,
since SQLite would take it for the log of that one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, get_ident
from threading import Lock as Mutex
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.sqlite.place import check_place, give_away, resolved
from locklib.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION
from locklib.stores.sqlite.turn import Turn

__all__ = ["File", "damaged", "is_busy", "patiently"]

R = TypeVar("R")
Identity = tuple[int, int]
"""Device and inode: what tells a file from all others, as long as one of its connections is open."""

LOOK_AGAIN = 0.1
"""Seconds after which a reader makes sure that the path still leads to the file that is open."""

QUIET = 1.0
"""Seconds that a fork waits beyond the timeout of a unit for the connections that are lent."""

LONGEST_PAUSE = 0.02

REPLACED = 5
"""How often a file may be exchanged for another one while it is being opened."""

BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
"""What passes if one asks again; the last is a race of those who open the log."""

CURES = {
    "SQLITE_BUSY": "another process keeps it locked; look for a transaction that was left open, or a stopped process",
    "SQLITE_LOCKED": "another process keeps it locked; look for a transaction that was left open",
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_READONLY": "make the file and its directory writable for this process",
    "SQLITE_CANTOPEN": "make the file and its directory readable and writable for this process",
    "SQLITE_IOERR": "the disk does not take or give data; look at the system's log",
    "SQLITE_CORRUPT": "the file is damaged; stop the application, remove it with its -wal and -shm, start again",
    "SQLITE_NOTADB": "this is no database; name another file, or move this one away",
}

log: logging.Logger = logging.getLogger("locklib")


# ---- the file --------------------------------------------------------------------------------------------------------


class File:
    """The file at `path` and the connections to it. turn: for whoever makes or changes it.

    ready: whether a file of the present version can be used as it is. begin: makes it so (the row of `state`, when the
    file is new or the host has been booted), within a unit that writes. timeout: seconds that an opening takes at most.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        ready: Callable[[sqlite3.Connection], bool],
        begin: Callable[[sqlite3.Connection], None],
    ) -> None:
        self.path: str = resolved(path)
        self.turn: Turn = Turn(self.path + "-turn")
        self.timeout = timeout
        self._ready = ready
        self._begin = begin
        self._identity: Identity | None = None
        self._log: Identity | None = None
        self._stale: Identity | None = None
        self._left: list[sqlite3.Connection] = []
        self._sure_until = 0.0
        self._fresh()

    def _fresh(self, spoilt: str = "") -> None:
        self._opening = Mutex()
        self._mutex = Mutex()
        self._gate = Condition(self._mutex)  # whoever forks waits at it, and whoever waits for a fork
        self._idle: list[sqlite3.Connection] = []
        self._users: list[int] = []
        self._forks = 0
        self._spoilt = spoilt

    # ---- opening -----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._identity is not None

    @property
    def identity(self) -> Identity | None:
        """That of the file that is open; of the one there is, if another thread has just closed it."""
        return self._identity or self.identity_now()

    def open(self, deadline: float) -> None:
        """Make the file if it is not there, bring it to the present version, check that it can be relied on.

        Raises `ConfigurationError` for a place or a file that cannot be used, `StoreUnavailable` if it is not
        reachable by `deadline` (of time.monotonic).
        """
        opening = self._opening  # a fork in the middle makes another
        if not opening.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreUnavailable(f"the lock file {self.path} could not be opened in time; somebody else is at it")
        try:
            if self._identity is None:
                check_place(self.path)
                self._identity = self._opened(deadline)
                self._sure_until = 0.0
        finally:
            if self._identity is None:
                self._forget()
            opening.release()

    def _opened(self, deadline: float) -> Identity:
        """Open it; it is the same file at the end as at the beginning."""
        try:
            for _ in range(REPLACED):
                self._forget()
                before = self.identity_now()
                if before is None or self._has_stale_log() or not patiently(deadline, self._is_up):
                    with self.turn.taken(deadline):
                        self._clear_log()
                        patiently(deadline, self._bring_up)
                self._close_left()
                self._log = self._log_now()
                if before is not None and before == self.identity_now():
                    return before
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, sqlite3.Error) and self._is_fault_of_a_setting(cause):
                raise ConfigurationError(str(error)) from cause
            raise
        raise StoreUnavailable(f"the lock file {self.path} is exchanged for another one again and again")

    def _is_fault_of_a_setting(self, error: sqlite3.Error) -> bool:
        name = _name_of(error)
        if name.startswith("SQLITE_CANTOPEN"):
            return not os.access(self.path, os.R_OK | os.W_OK)  # else there are too many open files, or the like
        return name == "SQLITE_NOTADB" or name.startswith("SQLITE_READONLY")

    def connect(self, make: bool) -> sqlite3.Connection:
        """One connection more. Raises what SQLite raises."""
        if make:
            self._made_private()
        name = f"file:{quote(os.fsencode(self.path))}?mode={'rwc' if make else 'rw'}"
        connection = sqlite3.connect(
            name, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=256, uri=True
        )
        try:
            connection.text_factory = _text
            for pragma in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=OFF", "cache_size=-8192"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _made_private(self) -> None:
        """Tokens are in it: a new file is for nobody but its owner. SQLite gives what lies beside it the same mode."""
        with suppress(OSError):  # one that is there stays as it is; SQLite says what else is wrong
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                give_away(descriptor, self.path)
            finally:
                os.close(descriptor)

    def _is_up(self) -> bool:
        """Whether there is nothing to be done to the file: then nobody has to be waited for."""
        with self.lent() as connection:
            self._refuse_foreign(connection)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            return version == VERSION and mode == "wal" and self._ready(connection)

    def _bring_up(self) -> None:
        with self.lent(make=True) as connection:
            self._refuse_foreign(connection)
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise ConfigurationError(
                    f"the lock file {self.path} cannot be kept with a write-ahead log (SQLite says {mode!r}); "
                    "use an ordinary directory of this host"
                )
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            if version < VERSION:
                connection.execute(f"PRAGMA user_version={VERSION}")
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._begin(connection)
            connection.execute("COMMIT")

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # all as of one moment: somebody may just be making the file
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        connection.execute("COMMIT")
        if mark != APPLICATION_ID and (mark, version, tables) != (0, 0, 0):
            raise ConfigurationError(
                f"{self.path} is a database of another program; locks need a file of their own: name another one"
            )
        if not 0 <= version <= VERSION:
            raise ConfigurationError(
                f"{self.path} was made by a newer version of this library (schema {version}, this one knows "
                f"{VERSION}); upgrade, or name another file"
            )

    # ---- the same file -----------------------------------------------------------------------------------------------

    def identity_now(self) -> Identity | None:
        """Which file the path leads to; None if there is none, or nothing in it yet."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status.st_size else None

    def _log_now(self) -> Identity | None:
        try:
            status = os.stat(self.path + "-wal")
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _has_stale_log(self) -> bool:
        return self._stale is not None and self._log_now() == self._stale

    def _clear_log(self) -> None:
        """Remove the log that a file has left which is not there any more. Raises `StoreUnavailable` for a cut file."""
        if self.identity_now() is not None:
            if not self._has_stale_log():
                return
        elif os.path.exists(self.path) and self._log_now() is not None:
            raise StoreUnavailable(
                f"the lock file {self.path} is empty, but it was not: there is a log beside it. Stop all that use it, "
                "remove it with its -wal and -shm, start again; what it held is lost"
            )
        for beside in ("-wal", "-shm"):
            with suppress(OSError):
                os.unlink(self.path + beside)

    def is_here(self, *, now: bool = False) -> bool:
        """Whether the file is open, and is still the one that the path leads to. Never waits.

        Looked at every tenth of a second, or `now`, or where the next user will open it once more.
        """
        identity = self._identity
        if identity is None:
            return False
        instant = time.monotonic()
        if instant < self._sure_until and self._idle and not now:
            return True
        beside = self._log_now()
        if self.identity_now() == identity:
            self._log, self._sure_until = beside, instant + LOOK_AGAIN
            return True
        log.error("%s was replaced or removed while it was in use; what it held is lost", self.path)
        self._leave()
        return False

    def _leave(self) -> None:
        """Forget a file that has been replaced. As long as it is kept open, its log is known by its inode."""
        with self._mutex:
            self._identity = None
            idle, self._idle = self._idle, []
            with suppress(IndexError):  # one by one: `first` takes them without the mutex
                while True:
                    self._left.append(idle.pop())
            self._stale = self._log if self._left else None

    def close(self) -> None:
        """Close what is not lent; what is lent is closed when it comes back. May be called twice."""
        self._forget()
        self._close_left()

    def _close_left(self) -> None:
        with self._mutex:
            left, self._left, self._stale = self._left, [], None
        for connection in left:
            connection.close()

    def _forget(self) -> None:
        with self._mutex:
            self._identity = None
            idle, self._idle = self._idle, []
        _close_all(idle)

    # ---- connections -------------------------------------------------------------------------------------------------

    def lent(self, *, patient: bool = True, make: bool = False) -> Loan:
        """A connection for a block. patient: whether to wait for a fork that is under way. make: the file as well.

        Raises `StoreUnavailable` in place of what SQLite raises. What is open at the end is rolled back. After an error
        that is more than a lock, the file is opened anew, with all its checks.
        """
        return Loan(self, patient, make)

    def first(self, text: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        """The first row of one statement that only reads, without waiting: what every write that passes asks for.

        `lent`, without its mutex. Who is in says so first and looks for a fork then; who forks says so first and looks
        then who is in: of the two, one sees the other. What comes back to a list that was put away meanwhile is closed
        here, or by whoever put it away, or by both. Raises `StoreUnavailable` as `lent` does.
        """
        users, me = self._users, get_ident()
        users.append(me)
        try:
            idle = self._idle
            if self._forks or self._spoilt or not idle:
                return self._first_of_another(text, values)
            try:
                connection = idle.pop()
            except IndexError:  # another thread was quicker
                return self._first_of_another(text, values)
            try:
                found: tuple[Any, ...] | None = connection.execute(text, values).fetchone()
            except sqlite3.Error as error:
                raise self.told(error) from error
            finally:
                idle.append(connection)
                if idle is not self._idle:
                    _close_all(idle)
        finally:
            users.remove(me)
            if self._forks:
                with self._gate:
                    self._gate.notify_all()
        return found

    def _first_of_another(self, text: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        with self.lent(patient=False) as connection:
            found: tuple[Any, ...] | None = connection.execute(text, values).fetchone()
        return found

    def take(self, patient: bool) -> tuple[Mutex, list[sqlite3.Connection], sqlite3.Connection | None]:
        """Count the user in; the mutex and the list that were in force, and a connection if one is idle."""
        with self._mutex:
            if self._forks or self._spoilt:
                self._wait_for_forks(patient)
            self._users.append(get_ident())
            idle = self._idle
            return self._mutex, idle, idle.pop() if idle else None

    def _wait_for_forks(self, patient: bool) -> None:
        while self._forks and patient:
            self._gate.wait()
        if self._spoilt or self._forks:
            raise StoreUnavailable(self._spoilt or "this process is being forked")

    def give_back(self, mutex: Mutex, idle: list[sqlite3.Connection], connection: sqlite3.Connection | None) -> None:
        """Count the user out. connection: None if there was none to be had."""
        if mutex is not self._mutex:  # forked by whom it was lent to: it is the parent's
            _inherited.append(connection)
            return
        if connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        with mutex:
            if connection is not None:
                if idle is self._idle and not connection.in_transaction:
                    idle.append(connection)
                else:  # closed or replaced meanwhile
                    connection.close()
            self._users.remove(get_ident())
            if self._forks:
                self._gate.notify_all()

    def told(self, error: sqlite3.Error) -> StoreUnavailable:
        """What `error` becomes for whoever asked."""
        if not is_busy(error):
            self._forget()
        return StoreUnavailable(self._words(error))

    # ---- fork --------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let nobody in, wait for those who are in, and close everything."""
        with self._gate:
            self._forks += 1
            end = time.monotonic() + self.timeout + QUIET
            while self._users and get_ident() not in self._users and (left := end - time.monotonic()) > 0:
                self._gate.wait(left)
            idle, self._idle = [*self._idle, *self._left], []
            self._left = []
        for connection in idle:
            connection.close()

    def forked_in_parent(self) -> None:
        with self._gate:
            self._forks -= 1
            self._gate.notify_all()

    def forked(self) -> None:
        """In a forked child: nothing is open; if something had been, nothing could be opened safely any more."""
        spoilt = self._spoilt
        if self._users:
            spoilt = (
                f"process {os.getppid()} was at work in the lock file {self.path} when it forked process {os.getpid()},"
                " so this one cannot use it; fork first, or start workers with the spawn method"
            )
        self._identity = self._stale = None
        self._fresh(spoilt)
        self.turn.forked()

    # ---- errors ------------------------------------------------------------------------------------------------------

    def _words(self, error: sqlite3.Error) -> str:
        cure = next((text for name, text in CURES.items() if _name_of(error).startswith(name)), "")
        return f"the lock file {self.path} cannot be used: {error}{'; ' + cure if cure else ''}"


class Loan:
    """A connection on loan (`File.lent`). A class of its own, for every write that passes takes one."""

    __slots__ = ("_connection", "_file", "_idle", "_make", "_mutex", "_patient")

    def __init__(self, file: File, patient: bool, make: bool) -> None:
        self._file, self._patient, self._make = file, patient, make

    def __enter__(self) -> sqlite3.Connection:
        file = self._file
        self._mutex, self._idle, connection = file.take(self._patient)
        if connection is None:
            try:
                connection = file.connect(self._make)
            except sqlite3.Error as error:
                raise file.told(error) from error
            finally:
                if connection is None:
                    file.give_back(self._mutex, self._idle, None)
        self._connection = connection
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, sqlite3.Error):
                raise self._file.told(error) from error
        finally:
            self._file.give_back(self._mutex, self._idle, self._connection)


_inherited: list[object] = []


def _close_all(idle: list[sqlite3.Connection]) -> None:
    """Close them one by one: each is taken by one thread only, to be used or to be closed."""
    with suppress(IndexError):
        while True:
            idle.pop().close()


def patiently(deadline: float, work: Callable[[], R]) -> R:
    """`work()`, again and again while another connection keeps the file locked, until `deadline`."""
    pause = 0.0005
    while True:
        try:
            return work()
        except (StoreUnavailable, sqlite3.Error) as error:
            if not is_busy(error.__cause__ or error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_busy(error: BaseException | None) -> bool:
    """Whether `error` is SQLite's word for a lock that somebody else holds."""
    return isinstance(error, sqlite3.OperationalError) and _name_of(error).startswith(BUSY)


def damaged(what: str) -> StoreUnavailable:
    """What is raised where the file says something that cannot be."""
    return StoreUnavailable(
        f"the lock file is damaged: {what}; stop the application, remove it with its -wal and -shm, start again"
    )


def _name_of(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""


def _text(told: bytes) -> str:
    """A text of the file. What is no UTF-8 has been tampered with: it is read as what no text can be (`is_text`)."""
    return told.decode("utf-8", "surrogateescape")
