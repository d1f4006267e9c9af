"""One process at a time: the flocked file by which a store in memory notices a second process of its application.

Knows: how to tell the processes of one application from others, `flock`, what to say to the second one.
Must not know: a lock, a table, a request.

Signs mislead (`wsgi.multiprocess` is about one server, `parent_process()` is set under a reloader too), so a lease
decides: the kernel gives it to one open file at a time and takes it back when its process dies, however it dies. The
name is worked out where the store is made. Workers that were forked from there share it, and so do workers that made
the store each for itself, for they have the parent, the command line, the directory and the interpreter in common.

A file left behind is harmless: only the flock counts. Whoever holds the lease removes the file before letting go;
whoever gets the flock of a removed file sees that and starts again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from hashlib import sha256
from threading import Lock as Mutex

from locklib.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # pragma: no cover - where there is no fcntl; the tests put None in its place
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lease", "lease_path", "notices_others"]

CURE = (
    "The memory store is for one process: run one, with threads, or let several processes share a file by "
    "store='sqlite:///locks.db' (four slashes for an absolute path). "
    'store=MemoryLockStore(processes="allow") gives each process locks of its own, which do not hold against others.'
)


class _Held:
    """An open lease file of this process, and how many leases stand on it."""

    __slots__ = ("count", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.count = 1


_held: dict[str, _Held] = {}
_mutex = Mutex()


def notices_others() -> bool:
    """Whether this system lets a process notice the others (it has flock)."""
    return fcntl is not None


def lease_path(application: str | None = None) -> str:
    """The lease file of this application: the same for its worker processes, another for everyone else.

    `application`: a name to go by instead of parent process, command line, directory and interpreter.
    """
    uid = os.getuid() if hasattr(os, "getuid") else 0
    if application is not None:
        signs: tuple[object, ...] = (uid, application)
    else:
        test_worker = os.environ.get("PYTEST_XDIST_WORKER")
        signs = (uid, os.getppid(), getattr(sys, "argv", ()), _directory(), sys.executable, test_worker)
    name = sha256(repr(signs).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return os.path.join(tempfile.gettempdir(), f"locklib-{uid}-{name}.lease")


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


class Lease:
    """The right of this process to hold the locks of an application. The leases of one process share one file."""

    __slots__ = ("_taken", "path")

    def __init__(self, application: str | None = None) -> None:
        self.path: str = lease_path(application)
        self._taken = False

    def take(self) -> None:
        """Take the lease; nothing happens if it is taken already, or where no process can notice the others.

        Raises `ConfigurationError` if another process has it, or if the file cannot be used.
        """
        with _mutex:
            if self._taken or not notices_others():
                return
            held = _held.get(self.path)
            if held is None:
                _held[self.path] = _Held(_flocked(self.path))
            else:
                held.count += 1
            self._taken = True

    def release(self) -> None:
        """Give the lease back. May be called twice."""
        with _mutex:
            if not self._taken:
                return
            self._taken = False
            held = _held[self.path]
            held.count -= 1
            if not held.count:
                del _held[self.path]
                if _is_file_at(held.descriptor, self.path):  # someone may have cleaned the directory
                    os.unlink(self.path)
                os.close(held.descriptor)

    def forget(self) -> None:
        """In a forked child: what the parent took is not ours."""
        self._taken = False


def _flocked(path: str) -> int:
    """An open descriptor of `path` that has its flock."""
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            if _lock(descriptor) and _is_file_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace")
            removed = not _is_file_at(descriptor, path)
            os.close(descriptor)
            if not removed:
                raise ConfigurationError(_second(holder, path))
    except OSError as error:
        raise ConfigurationError(
            f"the lease file {path}, by which a store in memory notices other processes of its application, cannot be "
            f"used: {error}. Point TMPDIR to a directory that this process can write to. {CURE}"
        ) from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _second(holder: str, path: str) -> str:
    return (
        f"a store in memory holds its locks inside one process, and process {holder or 'unknown'} of this application "
        f"holds them already (lease file {path}); locks taken in process {os.getpid()} would not hold there. {CURE}"
    )


def _after_fork() -> None:
    """The child lets go of what it inherited: the parent's flock stays with the parent's descriptor."""
    global _mutex  # noqa: PLW0603 - the parent's may have been held by a thread that does not exist here
    _mutex = Mutex()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - false only where there is no fork either
    os.register_at_fork(after_in_child=_after_fork)
