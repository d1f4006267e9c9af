"""The path of the SQLite store leads to another file from one moment to the next: who notices it, and when."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time

import pytest

from locklib.core.model import Outcome, Put, Query
from locklib.errors import StoreUnavailable
from locklib.stores.sqlite import SqliteLockStore
from locklib.stores.sqlite.file import File
from support.sqlite import acquire, child, everything, files, grant, keys, new, told


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks.db"


@pytest.fixture
def store(path):
    store = SqliteLockStore(path)
    yield store
    store.close()


def foreign(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# ---- another file ----------------------------------------------------------------------------------------------------


def prepared(path, key):
    other = SqliteLockStore(f"{path}.new")
    grant(other, new(key))
    other.close()
    return f"{path}.new"


def replaced(path):
    os.replace(prepared(path, "/new"), path)


def replaced_with_its_log(path):
    """As a snapshot of a disk brings it back: the last commits are in the log."""
    other = SqliteLockStore(f"{path}.new")
    grant(other, new("/new"))
    for beside in ("", "-wal"):
        shutil.copy(f"{path}.new{beside}", f"{path}.copy{beside}")
    other.close()
    os.replace(f"{path}.copy-wal", f"{path}-wal")
    os.replace(f"{path}.copy", path)


def removed(path):
    os.unlink(path)


def removed_with_all(path):
    for beside in ("", "-wal", "-shm", "-turn"):
        os.unlink(f"{path}{beside}")


EXCHANGES = {
    "replaced": (replaced, ["/new"]),
    "replaced with its log": (replaced_with_its_log, ["/new"]),
    "removed": (removed, []),
    "removed with all": (removed_with_all, []),
}


@pytest.mark.parametrize(("exchange", "expected"), EXCHANGES.values(), ids=EXCHANGES)
def test_a_reader_notices_another_file_within_a_tenth_of_a_second(exchange, expected, store, path, caplog):
    grant(store, *(new(f"/old{number}") for number in range(40)))
    assert not store.near("", "/new/x")
    exchange(path)
    time.sleep(0.11)
    with caplog.at_level(logging.ERROR, "locklib"):
        assert store.near("", "/other"), "nobody knows what is in the new file"
    assert "replaced" in caplog.text
    assert keys(store) == expected
    assert store.near("", "/new/x") is bool(expected)
    assert not any("(deleted)" in name for name in files(store))


@pytest.mark.parametrize(("exchange", "expected"), EXCHANGES.values(), ids=EXCHANGES)
def test_a_writer_notices_another_file_at_once(exchange, expected, store, path):
    grant(store, *(new(f"/old{number}") for number in range(40)))
    assert keys(store)
    exchange(path)
    assert (acquire(store, "/new") is None) is bool(expected)
    assert keys(store) == ["/new"]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_processes_that_had_the_old_file_open_meet_in_the_new_one(exchange, path):
    code = """
        store = SqliteLockStore(path)
        for line in sys.stdin:
            print(acquire(store, line.strip()) is not None, flush=True)
        store.close()
    """
    first, second = child(code, path, stderr=-3), child(code, path, stderr=-3)

    def asked(process, key):
        process.stdin.write(key + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip() == "True"

    assert [asked(first, "/old"), asked(second, "/old")] == [True, False]
    change, there = EXCHANGES[exchange]
    change(path)
    assert asked(first, "/new/1") is (there == [])
    assert asked(second, "/new/1") is False
    assert [asked(second, "/b"), asked(first, "/b")] == [True, False]
    assert [asked(first, "/c"), asked(second, "/c")] == [True, False]
    assert [told(first), told(second)] == ["", ""]
    store = SqliteLockStore(path)
    assert keys(store) == ["/b", "/c", *(there or ["/new/1"])]
    store.close()


def test_a_file_that_is_replaced_while_nothing_of_it_is_open(store, path):
    grant(store, new("/old"))
    store._sqlite.file.before_fork()
    store._sqlite.file.forked_in_parent()
    replaced(path)
    assert acquire(store, "/new") is None
    assert keys(store) == ["/new"]


def test_i6_fences_grow_over_a_file_that_was_lost(path):
    store = SqliteLockStore(path, wall=iter([5_000.0, *[4_000.0] * 99]).__next__)
    (first,) = grant(store, new("/a"))
    os.unlink(path)
    (second,) = grant(store, new("/a"))
    assert second.fence > first.fence, "the wall clock was set back, but this process knows"
    old = prepared(path, "/x")
    foreign(old, "UPDATE state SET fence = 7")
    os.replace(old, path)
    (third,) = grant(store, new("/a"))
    assert third.fence > second.fence
    store.close()


def test_a_file_that_is_exchanged_within_a_unit_is_not_told_as_written(store, path):
    grant(store, new("/old"))

    def step(_):
        os.replace(prepared(path, "/new"), path)
        raise KeyError

    with pytest.raises(KeyError):
        store.transact(Query(writes=True), step)
    seen = []

    def late(_):
        if seen:
            os.replace(prepared(path, "/newer"), path)
        seen.append(1)
        return Outcome(None, (Put(new("/lost"), 60.0, True),))

    with pytest.raises(StoreUnavailable, match="replaced while it was written"):
        store.transact(Query(writes=True), late)
    assert keys(store) == ["/newer"]


def test_a_file_that_is_exchanged_again_and_again(store, path, monkeypatch):
    grant(store, new("/a"))
    store.close()
    numbers = iter(range(100))
    monkeypatch.setattr(File, "identity_now", lambda _: (0, next(numbers)))
    with pytest.raises(StoreUnavailable, match="again and again"):
        store.open()


def test_a_file_that_was_cut_to_nothing_is_refused_until_it_is_removed(store, path):
    grant(store, new("/a"))
    os.truncate(path, 0)
    time.sleep(0.11)
    for use in (lambda: everything(store), lambda: acquire(store, "/b")):
        with pytest.raises(StoreUnavailable, match="what it held is lost"):
            use()
    assert store.near("", "/b")
    removed_with_all(path)
    assert acquire(store, "/b")
