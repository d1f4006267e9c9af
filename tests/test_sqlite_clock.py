"""I3 in the SQLite store: one time for all processes of a host, whatever their wall clocks say.

What cannot be tested here: that time goes on while the host sleeps. The clock is CLOCK_BOOTTIME, which says so.
"""

from __future__ import annotations

import time

import pytest

from locklib.core.model import Outcome, Query
from locklib.stores.sqlite import SqliteLockStore
from locklib.stores.sqlite.clock import Epoch, boot_of_host, host_clock, next_epoch
from support.programs import HOW_TO_GET, program
from support.sqlite import acquire, child, everything, grant, look, new, told

HOW_TO_GET.setdefault("faketime", "apt-get install faketime")

EPS = 0.05
HOUR = 3_600.0

EPOCHS = {
    "a new file": (None, "b1", 100.0, 5_000.0, Epoch("b1", 4_900.0, 5_000.0)),
    "the same boot": (Epoch("b1", 4_900.0, 5_000.0), "b1", 200.0, 9_999.0, Epoch("b1", 4_900.0, 5_000.0)),
    "another boot": (Epoch("b1", 4_900.0, 5_000.0), "b2", 10.0, 6_000.0, Epoch("b2", 5_990.0, 5_000.0)),
    "another boot, clock behind": (Epoch("b1", 4_900.0, 5_000.0), "b2", 10.0, 7.0, Epoch("b2", 4_990.0, 5_000.0)),
    "boot unknown, time went on": (Epoch("", 4_900.0, 5_000.0), "", 100.0, 9_999.0, Epoch("", 4_900.0, 5_000.0)),
    "boot unknown, begun anew": (Epoch("", 4_900.0, 5_000.0), "", 10.0, 6_000.0, Epoch("", 5_990.0, 5_000.0)),
    "boot known no more, time went on": (Epoch("b", 4_900.0, 5e3), "", 100.0, 9_999.0, Epoch("b", 4_900.0, 5e3)),
    "boot known since, time went on": (Epoch("", 4_900.0, 5e3), "b", 100.0, 9_999.0, Epoch("", 4_900.0, 5e3)),
    "boot known no more": (Epoch("b1", 4_900.0, 5_000.0), "", 10.0, 6_000.0, Epoch("", 5_990.0, 5_000.0)),
}


@pytest.mark.parametrize(("before", "boot", "clock", "wall", "after"), EPOCHS.values(), ids=EPOCHS)
def test_what_time_goes_by(before, boot, clock, wall, after):
    assert next_epoch(before, boot, clock, wall) == after
    assert after.shift + clock >= after.latest
    assert next_epoch(after, boot, clock + 1.0, wall - HOUR) == after


def test_the_clock_of_the_host_goes_on_by_itself():
    clock = host_clock()
    first = clock()
    assert 0.0 <= clock() - first < 1.0
    assert len(boot_of_host()) == 36
    assert boot_of_host("/proc/none") == ""


class Host:
    """A host that can be booted: its clock begins anew, its wall clock says what it likes."""

    def __init__(self, path):
        self.path = path
        self.clock = 1_000.0
        self.wall = 1_000_000.0
        self.boots = 0

    def boot(self):
        self.boots += 1
        store = SqliteLockStore(self.path, clock=lambda: self.clock, wall=lambda: self.wall)
        store._sqlite.boot = f"boot {self.boots}"
        return store


@pytest.mark.parametrize("wall", [-HOUR, 0.0, 10.0])
def test_after_a_boot_time_never_goes_back_behind_the_latest_instant(wall, tmp_path):
    host = Host(tmp_path / "locks.db")
    store = host.boot()
    (lock,) = grant(store, new("/a"), lasts=1_000.0)
    host.clock += 100.0
    (later,) = grant(store, new("/b"), lasts=1_000.0)
    store.transact(Query(writes=True), lambda _: Outcome(None, drops=("urn:none",)))
    store.close()
    host.clock, host.wall = 3.0, 1_000_100.0 + wall
    store = host.boot()
    remaining = {held.lock.key: held.remaining for held in look(store, trees=("/",)).locks}
    assert remaining == {"/a": pytest.approx(900.0 - max(0.0, wall)), "/b": pytest.approx(1_000.0 - max(0.0, wall))}
    (third,) = grant(store, new("/c"))
    assert third.created_at >= later.created_at > lock.created_at
    assert third.fence > later.fence
    store.close()


def test_a_change_of_any_kind_is_a_latest_instant(tmp_path):
    host = Host(tmp_path / "locks.db")
    store = host.boot()
    (lock,) = grant(store, new("/a"))
    host.clock += 500.0
    store.transact(Query(writes=True), lambda _: Outcome(None, drops=(lock.token,)))
    store.close()
    host.clock, host.wall = 1.0, 0.0
    store = host.boot()
    (after,) = grant(store, new("/b"))
    assert after.created_at >= lock.created_at + 500.0
    store.close()


CLOCKS = """
    # argv: path, how wrong the wall clock is, how it moves on
    wrong, step = float(sys.argv[2]), float(sys.argv[3])
    calls = [0]
    now = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    def wall():
        calls[0] += 1
        return time.time() + wrong + step * calls[0]
    store = SqliteLockStore(path, wall=wall)
    for line in sys.stdin:
        word, key = line.split()
        if word == "grant":
            begun = now()
            lock, = grant(store, new(key), lasts=1.0)
            print(begun, now(), lock.expires_at - lock.created_at, flush=True)
        else:
            last_seen = 0.0
            while True:
                before = now()
                if not look(store, paths=(key,)).locks:
                    break
                last_seen = before
                time.sleep(0.005)
            print(last_seen, now(), flush=True)
    store.close()
"""


def asked(process, words):
    process.stdin.write(words + "\n")
    process.stdin.flush()


def test_i3_wall_clocks_that_are_wrong_end_no_lock_early_or_late(tmp_path):
    """Three of four are wrong by an hour or jump back. Each grants a lock of a second; all say when they see it end."""
    wrongs = [(0, 0), (HOUR, 0), (-HOUR, 0), (0, -600.0)]
    crowd = [child(CLOCKS, tmp_path / "locks.db", *wrong) for wrong in wrongs]
    for number, process in enumerate(crowd):
        asked(process, f"grant /{number}")
    granted = [[float(word) for word in process.stdout.readline().split()] for process in crowd]
    for process in crowd:
        for number in range(len(crowd)):
            asked(process, f"watch /{number}")
    seen = [[[float(word) for word in process.stdout.readline().split()] for _ in crowd] for process in crowd]
    assert [told(process) for process in crowd] == [""] * len(crowd)
    for moments in seen:
        for (begun, done, lasts), (last_seen, first_gone) in zip(granted, moments, strict=True):
            assert lasts == pytest.approx(1.0, abs=0.001)
            assert first_gone >= begun + 1.0 - EPS, "gone too early"
            assert last_seen <= done + 1.0 + EPS, "there too long"


def test_processes_agree_on_instants(tmp_path):
    """What one has granted has the same seconds left for all: the first to make the file sets the time for them."""
    stores = [
        SqliteLockStore(tmp_path / "locks.db", wall=lambda wrong=wrong: time.time() + wrong)
        for wrong in (HOUR, 0.0, -HOUR)
    ]
    (lock,) = grant(stores[0], new("/a"), lasts=100.0)
    left = [look(store, paths=("/a",)).locks[0].remaining for store in stores]
    assert left == sorted(left, reverse=True)
    assert left[0] - left[-1] < 1.0
    assert abs(lock.created_at - time.time() - HOUR) < 1.0
    for store in stores:
        store.close()


def test_i3_a_system_whose_clock_is_set_while_it_runs(tmp_path):
    """libfaketime, on half of the processes: the wall clock is wrong by an hour and goes on too fast."""
    faketime = (program("faketime"), "--exclude-monotonic", "-f", "+1h x50")
    code = """
        store = SqliteLockStore(path)
        (lock,) = grant(store, new(f"/{sys.argv[2]}"), lasts=30.0)
        print(lock.expires_at - lock.created_at, *(held.remaining for held in look(store, trees=("/",)).locks))
        store.close()
    """
    told_by = []
    for number in range(4):
        answer = told(child(code, tmp_path / "locks.db", number, before=faketime if number % 2 else ()))
        told_by.append([float(word) for word in answer.split()])
    for lasts, *left in told_by:
        assert lasts == pytest.approx(30.0, abs=0.001)
        assert all(0.0 < seconds <= 30.0 for seconds in left)
        assert left == sorted(left)
    assert [len(line) for line in told_by] == [2, 3, 4, 5]


def test_nobody_has_a_lock_of_the_past(tmp_path):
    store = SqliteLockStore(tmp_path / "locks.db")
    grant(store, new("/a"), lasts=0.05)
    time.sleep(0.06)
    assert acquire(store, "/a")
    assert len(everything(store)) == 1
    store.close()
