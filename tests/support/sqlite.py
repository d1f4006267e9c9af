"""Words for tests of the SQLite store: locks, faults, and children that do their part in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from locklib.core.model import Lock, Outcome, Put, Query, Snapshot
from locklib.stores.sqlite import SqliteLockStore

__all__ = [
    "PROLOGUE",
    "ROOT",
    "acquire",
    "child",
    "everything",
    "files",
    "forked",
    "grant",
    "keys",
    "look",
    "new",
    "release",
    "told",
    "until",
]

ROOT = Path(__file__).resolve().parents[2]

PROLOGUE = """
import asyncio, os, signal, sqlite3, sys, threading, time
from locklib.core.model import *
from locklib.errors import ConfigurationError, LockError, StoreUnavailable
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from support.sqlite import acquire, everything, forked, grant, keys, look, new, release
path = sys.argv[1]
"""


def new(key: str, **fields: Any) -> Lock:
    return Lock(fields.pop("token", None) or "urn:test:" + os.urandom(8).hex(), key, **fields)


def grant(store: SqliteLockStore, *locks: Lock, lasts: float = 900.0, namespace: str = "") -> tuple[Lock, ...]:
    """Put these rows, whatever is there."""
    puts = tuple(Put(lock, lasts, True) for lock in locks)
    return store.transact(Query(namespace, writes=True), lambda _: Outcome(None, puts)).rows


def acquire(store: SqliteLockStore, key: str, lasts: float = 900.0, **fields: Any) -> Lock | None:
    """An exclusive lock on `key`, unless there is one on it, above it or below it."""
    lock = new(key, **fields)

    def step(snapshot: Snapshot) -> Outcome[bool]:
        if snapshot.by_token(lock.token):
            return Outcome(True)
        return Outcome(False) if snapshot.locks else Outcome(True, (Put(lock, lasts, True),))

    query = Query("", paths=(key,), trees=(key,), tokens=(lock.token,), limit=1, writes=True)
    done = store.transact(query, step)
    return (done.rows[0] if done.rows else lock) if done.answer else None


def release(store: SqliteLockStore, lock: Lock) -> None:
    store.transact(Query("", tokens=(lock.token,), writes=True), lambda _: Outcome(None, drops=(lock.token,)))


def look(store: SqliteLockStore, namespace: str = "", **query: Any) -> Snapshot:
    return store.transact(Query(namespace, **query), Outcome).answer


def everything(store: SqliteLockStore, namespace: str = "") -> dict[str, Lock]:
    return {held.lock.token: held.lock for held in look(store, namespace, trees=("/",)).locks}


def keys(store: SqliteLockStore) -> list[str]:
    return sorted(lock.key for lock in everything(store).values())


def files(store: SqliteLockStore) -> set[str]:
    """The names of the store's files that this process has open."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{entry}"))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith(store.path) and "-permits" not in name}


def until(holds: Any, seconds: float = 20.0) -> None:
    """Wait until `holds()`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.005)


# ---- children --------------------------------------------------------------------------------------------------------


def child(code: str, *args: object, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """A Python that runs `code` behind the prologue; `before`: a program to start it with (strace, faketime)."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    environ.update(options.pop("env", {}))
    return subprocess.Popen(
        [*before, sys.executable, "-c", PROLOGUE + textwrap.dedent(code), *map(str, args)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def told(process: subprocess.Popen[str], seconds: float = 60.0) -> str:
    """What a child printed, after it has ended well."""
    out, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, out
    return out.strip()


def forked(work: Any) -> Any:
    """What `work` gives in a forked child, as `repr` has it."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            answer = repr(work())
        except BaseException as error:
            answer = repr(f"raised {error!r}")
        os.write(writes, answer.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return eval(answer)
