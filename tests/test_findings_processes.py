"""What an adversary found of the SQLite store, of jobs beside a server, and of arguments: each mended, each a test."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import locklib
from locklib import ConfigurationError, Locks, Policy
from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.errors import StoreUnavailable
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.stores.sqlite import SqliteLockStore
from locklib.wsgi import LockMiddleware as WsgiLocks
from support.direct import Things, locks_in, run_both


@pytest.mark.parametrize("wait", [math.inf, math.nan, 3_601.0, -1.0])
def test_nobody_waits_for_ever(wait: float) -> None:
    """Killed while it waits, it would leave a pending lock that nobody can end."""
    with pytest.raises(ConfigurationError, match="wait="):
        Locks(MemoryLockStore(processes="allow")).acquire("/a", wait=wait)
    with pytest.raises(ConfigurationError, match="hold_wait"):
        Policy(hold_wait=wait)


@pytest.mark.parametrize("name", ["reason", "contact", "owner_info"])
def test_what_could_not_be_read_again_is_not_written(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=5 must be text"):
        Locks(MemoryLockStore(processes="allow")).acquire("/a", **{name: 5})


def test_an_empty_url_is_not_the_memory_store() -> None:
    """As from an environment variable that is not set: a lock in a table of its own guards nothing."""
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        Locks("")


def test_the_store_is_a_public_name() -> None:
    assert locklib.SqliteLockStore is SqliteLockStore


def test_t12_nobody_else_of_the_host_reads_the_tokens(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteLockStore(tmp_path / "locks.db")
        Locks(store).acquire("/a")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()
    assert modes.pop("locks.db-permits") == 0o700
    assert set(modes) == {"locks.db", "locks.db-wal", "locks.db-shm", "locks.db-turn"}
    assert set(modes.values()) == {0o600}


def test_a_job_that_root_runs_does_not_shut_the_server_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root makes is given to the owner of the directory: the file, the queue, the permits."""
    given: list[tuple[int, int]] = []
    owner = os.stat(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda made, *whose: given.append(whose))
    store = SqliteLockStore(tmp_path / "locks.db")
    Locks(store).acquire("/a")
    store.close()
    assert len(given) >= 4
    assert set(given) == {(owner.st_uid, owner.st_gid)}
    given.clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    other = SqliteLockStore(tmp_path / "other.db")
    other.open()
    other.close()
    assert given == []


class _Blind:
    """A store whose board cannot be read, while its table can."""

    gate = None

    @property
    def permits(self) -> Any:
        raise StoreUnavailable("the permits could not be read")


class Blind(_Blind, MemoryLockStore): ...


class AsyncBlind(_Blind, AsyncMemoryLockStore): ...


@pytest.mark.parametrize("shell", ["asgi", "wsgi"])
def test_a_lock_that_was_answered_with_503_is_not_left_pending(shell: str) -> None:
    kind: Any = AsgiLocks if shell == "asgi" else WsgiLocks
    store: Any = (AsyncBlind if shell == "asgi" else Blind)(processes="allow")
    app = Things().asgi if shell == "asgi" else Things().wsgi
    answer = run_both(shell, kind(app, store=store), "LOCK", "/a", {"Content-Type": "application/json"}, b"{}")
    assert answer.status == 503
    assert locks_in(store) == []


def test_a_place_that_got_lost_is_a_503_and_no_fault_of_a_setting(tmp_path: Path) -> None:
    """Once it has worked, the application goes on: a ConfigurationError would be a 500."""
    store = SqliteLockStore(tmp_path / "locks.db", timeout=0.5)
    locks = Locks(store)
    locks.acquire("/a")
    store.close()
    os.unlink(tmp_path / "locks.db")
    (tmp_path / "locks.db").mkdir()
    with pytest.raises(StoreUnavailable, match="is a directory"):
        locks.acquire("/b")
    (tmp_path / "locks.db").rmdir()
    assert locks.acquire("/b").key == "/b"
    store.close()
