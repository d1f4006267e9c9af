"""The two shorter ways of the SQLite store: a look without a mutex, and a commit that does not wait for the disk.

A pending lock is nobody's yet: the commit that confirms it takes it to the disk along. All else is synced by itself.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys

import pytest

from locklib.core.model import Details, Outcome, Put, Query
from locklib.errors import StoreUnavailable
from locklib.stores.sqlite import SqliteLockStore
from locklib.testing.adversary import Disturbance, together
from locklib.testing.kit import new
from support import programs, servers


@pytest.fixture
def store(tmp_path):
    store = SqliteLockStore(tmp_path / "locks.db")
    store.open()
    yield store
    store.close()


def pending(key: str) -> Put:
    return Put(new(key, details=Details(pending=True)), 30.0, True)


def level(store: SqliteLockStore) -> int:
    with store._sqlite.file.lent() as connection:
        return connection.execute("PRAGMA synchronous").fetchone()[0]


def keys(store: SqliteLockStore) -> list[str]:
    done = store.transact(Query(trees=("/",)), Outcome)
    return [held.lock.key for held in done.answer.locks]


WRITES = Query(writes=True)

# ---- which commits wait for the disk ---------------------------------------------------------------------------------

PROGRAM = """
import os, sys
from locklib.core.model import Details, Lock, Outcome, Put, Query
from locklib.stores.sqlite import SqliteLockStore

store = SqliteLockStore(sys.argv[1])
store.open()
lock = Lock("urn:test:1", "/a", details=Details(pending=True))
writes = Query(writes=True)
for name, outcome in (
    ("warm", Outcome(None, puts=(Put(Lock("urn:test:0", "/z"), 60.0, True),))),
    ("pending", Outcome(None, puts=(Put(lock, 30.0, True),))),
    ("granted", Outcome(None, puts=(Put(Lock("urn:test:1", "/a"), 60.0),))),
    ("dropped", Outcome(None, drops=("urn:test:1",))),
):
    os.write(1, b"begin " + name.encode() + b"\\n")
    store.transact(writes, lambda _: outcome)
    os.write(1, b"end " + name.encode() + b"\\n")
"""


def test_all_but_a_pending_lock_is_synced_before_it_is_told(tmp_path):
    programs.program("strace")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=fdatasync,fsync,write", sys.executable, "-c", PROGRAM]
    subprocess.run([*command, str(tmp_path / "locks.db")], check=True, timeout=60, env=servers.environment({}))
    syncs: dict[str, int] = {}
    name = ""
    for line in trace.read_text().splitlines():
        told = re.search(r'write\(1, "(begin|end) (\w+)', line)
        if told:
            name = told[2] if told[1] == "begin" else ""
            syncs.setdefault(told[2], 0)
        elif re.search(r"f(data)?sync", line) and name:
            syncs[name] += 1
    assert syncs["pending"] == 0
    assert min(syncs["warm"], syncs["granted"], syncs["dropped"]) >= 1


def test_what_only_looked_provisional_is_synced_all_the_same(store):
    outcomes = iter(
        [Outcome("guess", puts=(pending("/a"),)), *[Outcome("real", puts=(Put(new("/b"), 60.0, True),))] * 2]
    )
    levels = []

    def step(snapshot):
        outcome = next(outcomes)
        levels.append(outcome.answer)
        return outcome

    assert store.transact(WRITES, step).answer == "real"
    assert levels == ["guess", "real", "real"]
    assert (keys(store), level(store)) == (["/b"], 2)


def test_a_guess_that_comes_to_nothing_changes_nothing(store):
    outcomes = iter([Outcome(1, puts=(pending("/a"),)), Outcome(2)])
    assert store.transact(WRITES, lambda _: next(outcomes)).answer == 2
    assert (keys(store), level(store)) == ([], 2)


def test_a_step_that_raises_in_a_provisional_unit_leaves_nothing(store):
    seen = []

    def step(snapshot):
        seen.append(snapshot)
        if len(seen) == 2:
            raise Disturbance("in the unit that writes")
        return Outcome(None, puts=(pending("/a"),))

    with pytest.raises(Disturbance):
        store.transact(WRITES, step)
    assert (keys(store), level(store)) == ([], 2)


def test_a_pending_lock_is_seen_by_others_at_once(store, tmp_path):
    other = SqliteLockStore(tmp_path / "locks.db")
    store.transact(WRITES, lambda _: Outcome(None, puts=(pending("/a"),)))
    assert keys(other) == ["/a"]
    assert other.near("", "/a")
    other.close()


# ---- the look without a mutex ----------------------------------------------------------------------------------------


class Meanwhile(list):
    """The idle connections, where something happens just before one is taken."""

    def __init__(self, connections, happens):
        super().__init__(connections)
        self.happens = happens

    def pop(self, *where):
        happens, self.happens = self.happens, None
        if happens is not None:
            happens(self)
        return super().pop(*where)


def meanwhile(store, happens):
    file = store._sqlite.file
    assert not store.near("", "/warm")
    file._idle = Meanwhile(file._idle, happens)
    return file


def test_another_thread_is_quicker(store):
    file = meanwhile(store, lambda idle: idle.clear())
    assert not store.near("", "/a")
    assert file._users == []


def test_the_connections_are_put_away_while_it_looks(store):
    file = meanwhile(store, lambda idle: setattr(file, "_idle", []))
    assert not store.near("", "/a")
    assert file._idle == []
    assert not store.near("", "/a")
    assert len(file._idle) == 1


def test_a_fork_begins_while_it_looks(store):
    file = meanwhile(store, lambda idle: setattr(file, "_forks", 1))
    assert not store.near("", "/a")
    assert store.near("", "/a")  # while it lasts nobody is let in, and a hint may always be yes
    with pytest.raises(StoreUnavailable, match="forked"):
        file.first("SELECT 1", ())
    file._forks = 0
    assert not store.near("", "/a")


def test_what_sqlite_says_is_a_hint_and_the_file_is_opened_anew(store):
    with pytest.raises(StoreUnavailable, match="no such table"):
        store._sqlite.file.first("SELECT 1 FROM absent", ())
    assert not store._sqlite.file.is_open
    assert store.near("", "/a")
    assert keys(store) == []
    assert not store.near("", "/a")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_looks_closes_and_forks_together(store, tmp_path):
    """Nobody is told no while a lock is there, whatever the others do with the file."""
    store.transact(WRITES, lambda _: Outcome(None, puts=(Put(new("/held"), 60.0, True),)))

    def work(number: int) -> None:
        for turn in range(60):
            assert store.near("", "/held/a")
            if number == 0 and turn % 10 == 0:
                store.close()
            if number == 1 and turn % 20 == 0:
                child = os.fork()
                if child == 0:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            if number == 2:
                assert keys(store) == ["/held"]

    together(6, work)
    with sqlite3.connect(tmp_path / "locks.db") as connection:
        assert connection.execute("SELECT count(*) FROM locks").fetchone() == (1,)
    connection.close()
    assert store._sqlite.file._users == []
