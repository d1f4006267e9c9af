"""Faults under the SQLite store (I4, I5, I14): a full disk, calls that fail, a damaged file, somebody who never ends.

Each of them is a `StoreUnavailable` in time and never a pass; what was acknowledged stays, what was not is there at
most once and with its own token, and the store works again when the fault is gone.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import tempfile
import threading
import time
from subprocess import DEVNULL

import pytest

from locklib.core.model import Outcome, Put, Query
from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from support.programs import HOW_TO_GET, program
from support.sqlite import acquire, child, everything, grant, keys, new, release, told, until

HOW_TO_GET.setdefault("strace", "apt-get install strace")

SLACK = 1.5
"""Seconds that a busy machine may add to a timeout."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks.db"


@pytest.fixture
def store(path):
    store = SqliteLockStore(path, timeout=0.4)
    yield store
    store.close()


# ---- somebody who never ends -----------------------------------------------------------------------------------------


def refused_in_time(work, timeout):
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        work()
    assert timeout - 0.01 <= time.monotonic() - begun <= timeout + SLACK


def test_i14_another_connection_that_never_ends_its_transaction(store, path):
    grant(store, new("/a"))
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    refused_in_time(lambda: acquire(store, "/b"), 0.4)
    assert keys(store) == ["/a"], "who only reads waits for nobody"
    assert not store.near("", "/b")
    holder.execute("ROLLBACK")
    assert acquire(store, "/b")
    holder.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, holder.execute, ("ROLLBACK",))
    timer.start()
    assert acquire(store, "/c"), "who ends in time is waited for"
    timer.join()
    holder.close()


def test_i14_a_stopped_process_that_has_the_turn(store, path):
    code = """
        store = SqliteLockStore(path)
        with store._sqlite.file.turn.taken(time.monotonic() + 5):
            print("taken", flush=True)
            sys.stdin.readline()
        store.close()
    """
    (lock,) = grant(store, new("/old"))
    holder = child(code, path)
    assert holder.stdout.readline() == "taken\n"
    holder.send_signal(signal.SIGSTOP)
    try:
        refused_in_time(lambda: acquire(store, "/a"), 0.4)
        refused_in_time(lambda: acquire(store, "/a"), 0.4)
        assert everything(store) == {lock.token: lock}
    finally:
        holder.send_signal(signal.SIGCONT)
    holder.stdin.write("\n")
    holder.stdin.flush()
    begun = time.monotonic()
    until(lambda: acquired(store, "/a"))
    assert time.monotonic() - begun < SLACK
    told(holder)


def acquired(store, key):
    try:
        return acquire(store, key)
    except StoreUnavailable:
        return None


def test_i14_many_who_wait_all_end_at_their_own_deadline(path):
    """One worker does the writing of an async store: the last in its queue must not wait for all the others."""
    holder = sqlite3.connect(path, isolation_level=None)
    store = AsyncSqliteLockStore(path, timeout=0.4)
    store.open()
    holder.execute("BEGIN IMMEDIATE")
    query = Query(writes=True)

    async def story():
        units = [store.transact(query, lambda _: Outcome(None, (Put(new("/a"), 60.0, True),))) for _ in range(12)]
        return await asyncio.gather(*units, return_exceptions=True)

    begun = time.monotonic()
    answers = asyncio.run(story())
    assert time.monotonic() - begun < 0.4 + SLACK
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    holder.close()
    asyncio.run(store.transact(query, lambda _: Outcome(None, (Put(new("/a"), 60.0, True),))))
    assert keys(store.as_sync()) == ["/a"]
    asyncio.run(store.close())


# ---- calls that fail -------------------------------------------------------------------------------------------------

EVERY_CALL = """
    # A parent under strace, whose `when=` counts the calls of each process: a child spends AT - n of them on a file of
    # no account, and its n-th own one fails.
    AT, call = 120, sys.argv[2]
    count = {"pwrite64": lambda fd: os.pwrite(fd, b"x", 0), "fdatasync": os.fdatasync,
             "ftruncate": lambda fd: os.ftruncate(fd, 1), "fallocate": lambda fd: os.posix_fallocate(fd, 0, 1)}[call]
    for line in sys.stdin:
        number = int(line)
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            continue
        scratch = os.open(path + ".scratch", os.O_RDWR | os.O_CREAT)
        for _ in range(AT - number):
            count(scratch)
        store = SqliteLockStore(path)
        try:
            grant(store, new("/a", token=f"urn:test:{number}"))
            told = "kept"
        except (StoreUnavailable, ConfigurationError):
            told = "refused"
        try:
            count(scratch)
            print(told, "met", flush=True)
        except OSError:
            print(told, "unmet", flush=True)
        os._exit(0)
"""
ERRORS = [("fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("ftruncate", "EIO")]

QUICK = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where a sync costs nothing: which calls there are is the same."""


@pytest.mark.parametrize("fresh", [True, False], ids=["a new file", "a file in use"])
@pytest.mark.parametrize(("call", "error"), ERRORS, ids=[" ".join(pair) for pair in ERRORS])
def test_i4_the_nth_call_fails(call, error, fresh):
    """n = 1, 2, ... until the unit does not get that far. After each of them others look at the file, and use it."""
    with tempfile.TemporaryDirectory(dir=QUICK) as directory:
        path = f"{directory}/locks.db"
        trace = ("-f", "-qq", "-e", f"inject={call}:error={error}:when=120", "-o", "/dev/null")
        tracer = child(EVERY_CALL, path, call, before=(program("strace"), *trace), stderr=DEVNULL)
        store = SqliteLockStore(path)
        store.open()
        answers = []
        for number in range(1, 120):
            if fresh:
                store.close()
                clear(path)
            tracer.stdin.write(f"{number}\n")
            tracer.stdin.flush()
            answer, met = tracer.stdout.readline().split()
            answers.append(answer)
            check(store, f"urn:test:{number}", answer)
            if met == "unmet":
                break
        store.close()
        assert told(tracer) == ""
    assert set(answers[:-1]) <= {"kept", "refused"}
    assert answers[-1] == "kept"
    assert ("refused" in answers) or call == "ftruncate"


def check(store, token, answer):
    there = everything(store)
    assert set(there) <= {token}
    assert answer == "refused" or set(there) == {token}
    if there:
        release(store, there[token])
    works = acquire(store, "/a")
    assert works
    release(store, works)


def clear(path):
    for beside in ("", "-wal", "-shm"):
        if os.path.exists(f"{path}{beside}"):
            os.unlink(f"{path}{beside}")


def test_i4_a_disk_that_is_full(path):
    """As RLIMIT_FSIZE has it: no file may grow any more. Locks come until it is full, and go on when there is room."""
    code = """
        import resource
        store = SqliteLockStore(path)
        store.open()
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        kept, number = [], 0
        try:
            while True:
                grant(store, new(f"/{number}", token=f"urn:test:{number}", creator="x" * 3000))
                kept.append(f"urn:test:{number}")
                number += 1
        except StoreUnavailable as error:
            print(error)
        assert set(kept) <= set(everything(store)) <= {*kept, f"urn:test:{number}"}
        assert store.near("", "/0")
        try:
            grant(store, new("/again"))
        except StoreUnavailable:
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        grant(store, new("/works"))
        print(len(kept))
        store.close()
    """
    words, kept = told(child(code, path)).splitlines()
    assert "cannot be used" in words
    assert int(kept) > 10
    store = SqliteLockStore(path)
    assert {f"urn:test:{number}" for number in range(int(kept))} <= set(everything(store))
    assert "/works" in keys(store)
    store.close()


def test_i4_the_log_is_on_the_disk_before_the_answer_is_written(path, tmp_path):
    """kill -9 does not show it, the order of the system's calls does."""
    code = """
        store = SqliteLockStore(path)
        store.open()
        answers = os.open(path + ".answers", os.O_WRONLY | os.O_CREAT)
        for number in range(5):
            os.write(answers, b"begun\\n")
            lock = acquire(store, f"/{number}")
            os.write(answers, b"answer\\n")
        store.close()
    """
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,fsync,pwrite64,write,openat"
    told(child(code, path, before=(program("strace"), "-f", "-qq", "-y", "-e", calls, "-o", str(trace))))
    lines = trace.read_text().splitlines()
    begun = [number for number, line in enumerate(lines) if '"begun' in line]
    answered = [number for number, line in enumerate(lines) if '"answer' in line]
    assert len(begun) == len(answered) == 5
    for start, end in zip(begun, answered, strict=True):
        unit = [line for line in lines[start:end] if "locks.db-wal>" in line]
        written = max(number for number, line in enumerate(unit) if "pwrite64(" in line)
        synced = [number for number, line in enumerate(unit) if re.search(r"f(data)?sync\(.*= 0$", line)]
        assert synced, unit
        assert max(synced) > written, unit


# ---- a damaged file --------------------------------------------------------------------------------------------------


def filled(path):
    store = SqliteLockStore(path)
    grant(store, *(new(f"/{number:03d}/" + "x" * 200) for number in range(300)))
    store.close()


def cut(path, share):
    os.truncate(path, int(os.path.getsize(path) * share) // 4096 * 4096)


def overwritten(path, start, what):
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(what)


DAMAGES = {
    "the header": lambda path: overwritten(path, 0, os.urandom(100)),
    "the name of the format": lambda path: overwritten(path, 0, b"SQLite format 4\0"),
    "the schema": lambda path: overwritten(path, 100, b"\xee" * 3900),
    "every page but the first": lambda path: overwritten(path, 4096, b"\xff" * (os.path.getsize(path) - 4096)),
    "every page but the first, zeroed": lambda path: overwritten(path, 4096, bytes(os.path.getsize(path) - 4096)),
    "cut in the middle": lambda path: cut(path, 0.5),
    "cut to one page": lambda path: os.truncate(path, 4096),
    "cut within the header": lambda path: os.truncate(path, 50),
}


def told_truly(store):
    """Either that the file cannot be used, or every lock in it."""
    try:
        return len(everything(store)) >= 300
    except (StoreUnavailable, ConfigurationError):
        return True


def put(store, number):
    """A unit that may find the damage, or not reach it: another exception fails the test."""
    try:
        grant(store, new(f"/{number:03d}/new/" + "x" * 200))
    except (StoreUnavailable, ConfigurationError):
        return False
    return True


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_i14_a_damaged_file_lets_nothing_pass(damage, when, path):
    filled(path)
    store = SqliteLockStore(path, timeout=0.5)
    if when == "while it is open":
        store.open()
        time.sleep(0.11)
    DAMAGES[damage](path)
    put_well = []
    for number in range(0, 300, 20):
        assert told_truly(store)
        assert store.near("", f"/{number:03d}/{'x' * 200}/y")
        put_well.append(put(store, number))
    if when == "before it is opened":
        assert not any(put_well)
    store.close()
    clear(path)
    assert acquire(store, "/works")
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM state",
        "UPDATE state SET fence = 'x'",
        "UPDATE state SET fence = -1",
        "UPDATE state SET fence = 9223372036854775807",
        "UPDATE state SET shift = 'soon'",
        "UPDATE held SET locks = 'many'",
        "DROP TABLE locks",
    ],
)
@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_t32_a_table_that_was_tampered_with_is_a_store_that_is_down(statement, when, path):
    store = SqliteLockStore(path)
    grant(store, new("/a"))
    if when == "before it is opened":
        store.close()
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    query = Query(paths=("/a",), counts=True, writes=True)
    if "DELETE" in statement and when == "before it is opened":
        assert keys(store) == ["/a"]  # the row is made anew, with a higher fence
    else:
        with pytest.raises(StoreUnavailable):
            store.transact(query, lambda _: Outcome(None, (Put(new("/b"), 60.0, True),)))
    store.close()


def test_what_sqlite_refuses_as_inconsistent_is_a_store_that_is_down(store):
    (lock,) = grant(store, new("/a"))
    with store._sqlite.file.lent() as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON locks BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreUnavailable) as caught:
        grant(store, new("/b"))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert everything(store) == {lock.token: lock}
