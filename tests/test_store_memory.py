"""The store in memory: what it promises beyond the contract (exactness, bounds, clocks, twins, threads)."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import threading
import tracemalloc
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core.model import (
    Depth,
    Details,
    DropUnder,
    Ended,
    Note,
    Outcome,
    Page,
    Permit,
    Put,
    Query,
    Ticket,
    Tombstone,
    replace,
)
from locklib.errors import ConfigurationError, LockError
from locklib.stores.base import Nearby, is_async
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.stores.memory import lease as leases
from locklib.stores.memory import store as memories
from locklib.stores.memory import tree as trees
from locklib.stores.memory.table import Table
from locklib.stores.memory.tree import Level, Tree
from locklib.testing.contract import filters, keys, tables
from locklib.testing.kit import FakeClock, Kit, in_tree, new, on_paths


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    store = MemoryLockStore(clock=clock)
    yield store
    store.close()


@pytest.fixture
def kit(store, clock):
    return Kit(store, clock)


def table_of(store, namespace=""):
    return store._memory.tables[namespace]


# -- exactness ----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(tables, st.lists(keys, max_size=2), st.lists(keys, max_size=2), filters)
def test_a_snapshot_shows_no_more_than_is_asked(table, paths, asked, fields):
    kit = Kit(MemoryLockStore(processes="allow"))
    rows = kit.put("", *table)
    query = Query(paths=tuple(paths), trees=tuple(asked), **fields)
    needed = on_paths(rows, query) | {lock.token for tree in asked for lock in in_tree(rows, query, tree)}
    assert set(kit.tokens("", paths=query.paths, trees=query.trees, **fields)) == needed


def test_keys_without_a_slash_have_no_ancestor(kit):
    one, inside, other = kit.put("", new("file:42"), new("file:42/page"), new("/file:42"))
    assert kit.tokens("", paths=("file:42/page",)) == [one.token, inside.token]
    assert kit.tokens("", trees=("file:42",)) == [one.token, inside.token]
    assert kit.store.near("", "file:42/page/1")
    assert not kit.store.near("", "file:4")
    assert not kit.store.near("", "a/b")
    kit.change("", drops=(one.token, inside.token))
    assert not kit.store.near("", "file:42", True)
    assert list(kit.everything("")) == [other.token]


def test_a_put_without_grant_of_an_unknown_token_stays_as_given(kit):
    (row,) = kit.put("", new("/a", fence=7, created_at=5.0), grant=False)
    assert (row.fence, row.created_at) == (7, 5.0)


def test_equal_creators_share_one_string(kit):
    first, second = kit.put("", new("/a", creator="".join(("an", "n"))), new("/b", creator="".join(("a", "nn"))))
    assert first.creator is second.creator


def test_a_limit_over_expired_rows_shows_those_that_live(kit):
    kit.put("", *(new(f"/a/{number}") for number in range(20)), lasts=5.0)
    (left,) = kit.put("", new("/a/b"))
    kit.clock.advance(5.0)
    snapshot = kit.look("", trees=("/a",), limit=1)
    assert ([held.lock for held in snapshot.locks], snapshot.more) == ([left], False)
    assert list(table_of(kit.store).rows) == [left.token]


@pytest.mark.parametrize(
    "asked",
    [
        {"paths": ("/a/b/c",)},
        {"trees": ("/a",)},
        {"trees": ("/a",), "limit": 5},
        {"trees": ("/a",), "page": Page(5)},
        {"tokens": ("urn:test:old",)},
    ],
    ids=["paths", "trees", "limit", "page", "tokens"],
)
def test_an_expired_row_is_gone_after_the_look_that_met_it(kit, asked):
    (left,) = kit.put("", new("/a/b/c"))
    kit.put("", new("/a/b", "urn:test:old"), lasts=5.25)
    kit.clock.advance(5.25)
    assert kit.tokens("", **asked) == ([] if "tokens" in asked else [left.token])
    assert list(table_of(kit.store).rows) == [left.token]


# -- clocks and fences --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-1e6, -2.0, 2.0, 1e6])
def test_i3_the_wall_clock_may_jump(jump):
    clock, wall = FakeClock(), FakeClock(1_700_000_000.0)
    kit = Kit(MemoryLockStore(clock=clock, wall=wall, processes="allow"), clock)
    (lock,) = kit.put("", new("/a"), lasts=10.0)
    assert (lock.created_at, lock.expires_at) == (1_700_000_000.0, 1_700_000_010.0)
    wall.advance(jump)
    clock.advance(9.0)
    assert [held.remaining for held in kit.look("", paths=("/a",)).locks] == [1.0]
    clock.advance(1.0)
    assert kit.look("", paths=("/a",)).locks == ()


def test_i6_fences_are_higher_after_a_restart():
    wall = FakeClock(1_700_000_000.0)
    fences = []
    for _ in range(3):
        kit = Kit(MemoryLockStore(wall=wall, processes="allow"))
        fences += [kit.put("", new("/a"))[0].fence for _ in range(100)]
        wall.advance(0.001)
    assert fences == sorted(set(fences))
    assert fences[0] == 1_700_000_000_000_001


def test_a_lock_without_end_never_ends(kit):
    (lock,) = kit.put("", new("/a"), lasts=math.inf)
    kit.clock.advance(1e9)
    assert kit.tokens("", paths=("/a",)) == [lock.token]
    kit.change("", drops=(lock.token,))
    assert not table_of_any(kit.store)


def table_of_any(store):
    return dict(store._memory.tables)


# -- bounds -------------------------------------------------------------------------------------------------------


def test_what_runs_out_elsewhere_is_swept_in_small_helpings(kit):
    kit.put("", *(new(f"/old/{number}") for number in range(1_000)), lasts=5.0)
    kit.put("", new("/here"))
    kit.clock.advance(7.0)
    rows = table_of(kit.store).rows
    kit.look("", paths=("/here",))
    assert len(rows) == 1_001 - 64
    kit.look("", paths=("/here",))
    assert len(rows) == 1_001 - 128
    assert kit.look("", counts=True).counts.total == 1
    assert len(rows) == 1


@pytest.mark.parametrize("refresh", [False, True], ids=["lock and unlock", "refresh"])
def test_the_calendar_does_not_grow_with_use(kit, refresh):
    (lock,) = kit.put("", new("/kept"))
    for turn in range(3_000):
        if refresh:
            kit.put("", lock, lasts=900.0 + turn % 7, grant=False)
        else:
            (row,) = kit.put("", new("/a"))
            kit.change("", drops=(row.token,))
    assert len(table_of(kit.store).calendar) < 400
    kit.clock.advance(900.0 if not refresh else 902.0 + 2_999 % 7)
    assert kit.look("", counts=True).counts.total <= 1
    assert kit.tokens("", paths=("/kept",)) == []


def test_a_filtered_calendar_loses_nobody(kit):
    kept = [kit.put("", new(f"/kept/{number}"))[0] for number in range(40)]
    for _ in range(300):
        (row,) = kit.put("", new("/a"))
        kit.change("", drops=(row.token,))
    kit.clock.advance(902.0)
    assert kit.look("", counts=True).counts.total == 0
    stones = kit.look("", tokens=tuple(lock.token for lock in kept), tombstones=True).tombstones
    assert {stone.ended for stone in stones} == {Ended.EXPIRED}
    assert len(stones) == 40


def test_a_namespace_with_nothing_in_it_is_gone(kit):
    kit.look("read")
    kit.change("noted", notes=(Note("seen", "/a"),))
    (lock,) = kit.put("used", new("/a"))
    assert list(kit.store._memory.tables) == ["used"]
    kit.change("used", drops=(lock.token,))
    assert kit.store._memory.tables == {}


def test_abandoned_tickets_are_swept(kit):
    for number in range(100):
        kit.change("", tickets=(Ticket(f"t{number}", f"/{number}", lasts=1.0),))
    kit.clock.advance(2.0)
    for _ in range(60):
        kit.change("", tickets=(Ticket("alive", "/here", lasts=100.0),))
    assert len(table_of(kit.store).queue) <= 2
    assert [ticket.id for ticket in kit.look("", paths=("/here",), tickets=True).tickets] == ["alive"]


def test_old_tombstones_are_swept(kit):
    def bury(count):
        kit.change(
            "", tombstones=tuple(Tombstone(new("/").token, "/", "/", f"c{n}", Ended.BROKEN) for n in range(count))
        )

    bury(500)
    kit.clock.advance(90_000.0)
    bury(300)
    assert len(table_of(kit.store).graves) == 300


def test_emptied_levels_are_pruned(kit):
    rows = kit.put("", *(new(f"/a/b/{number}/c") for number in range(50)), new("/a/b"))
    kit.change("", drops=tuple(row.token for row in rows[:-1]))
    top = table_of(kit.store).tree.top
    root = top.kids[""]
    below = root.kids["a"]
    assert [*top.kids, *root.kids, *below.kids, *below.leaves] == ["", "a", "/a/b"]
    assert not any((top.leaves, root.leaves, root.own, below.own))


def test_a_lock_with_others_below_it_stays_where_it_is_found(kit):
    (above,) = kit.put("", new("/a"))
    (below,) = kit.put("", new("/a/b/c"))
    assert kit.tokens("", paths=("/a/b/c",)) == [above.token, below.token]
    kit.change("", drops=(below.token,))
    assert kit.store.near("", "/a/x")
    assert kit.tokens("", paths=("/a",)) == [above.token]
    kit.change("", drops=(above.token,))
    assert not kit.store.near("", "/", True)


def test_keys_that_an_application_makes_up_do_not_meet(kit):
    """Empty names, an empty key: odd, and each its own."""
    odd = ("", "/", "//", "//b", "/b", "b", "b/", "b//c", "\0")
    rows = {key: kit.put("", new(key))[0].token for key in odd}
    for key in odd:
        assert [lock.token for lock in table_of(kit.store).tree.at(key)] == [rows[key]]
    listing = [rows[0].key for rows in table_of(kit.store).tree.ordered("/")]
    assert listing == ["/", "//", "//b", "/b"]
    kit.change("", drops=tuple(rows.values()))
    assert not any(kit.store.near("", key, True) for key in odd)


def test_a_look_below_does_not_scan_all_locks(kit):
    for number in range(20):
        kit.put("", *(new(f"/d{number}/f{each}") for each in range(100)))
    for asked in ({"trees": ("/d7",), "limit": 3}, {"paths": ("/d7/f1",)}, {"trees": ("/d7/f1",)}):
        with mock.patch.object(trees, "listed", wraps=trees.listed) as listed:
            kit.look("", **asked)
        assert listed.call_count <= 8
    with mock.patch.object(trees, "listed", wraps=trees.listed) as listed:
        kit.change("", drop_under=(DropUnder("/d7", 2**62),))
    assert listed.call_count <= 101


def bytes_per_lock(count):
    kit = Kit(MemoryLockStore(processes="allow"))
    kit.put("", new("/warm"))
    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, count, 1_000):
            puts = tuple(
                Put(
                    new(f"/d{n // 1000}/f{n}", f"urn:uuid:{os.urandom(16).hex()}xxxx", creator=f"c{n % 50}"),
                    900.0,
                    True,
                )
                for n in range(start, start + 1_000)
            )
            kit.change("", puts=puts)
        del puts
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()


def test_p8_a_lock_costs_at_most_500_bytes():
    """The least of some runs: whatever else is at work in this process counts as well."""
    assert min(bytes_per_lock(60_000) for _ in range(3)) <= 500


# -- the short way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryLockStore, AsyncMemoryLockStore])
def test_both_kinds_offer_the_short_way(kind):
    store = kind(processes="allow")
    assert isinstance(store, Nearby)
    assert is_async(store) is (kind is AsyncMemoryLockStore)
    assert not store.near("", "/a")


def test_near_says_maybe_until_the_lease_is_taken(store):
    assert store.near("", "/a")
    store.open()
    store.open()
    assert not store.near("", "/a")
    store.close()
    assert store.near("", "/a")
    store.transact(Query(), Outcome)
    assert not store.near("", "/a")


def test_near_says_maybe_while_something_moves():
    tree = Tree()
    assert not tree.near("/a")
    tree.version += 1
    assert tree.near("/a")


def test_near_survives_a_level_that_was_pruned_under_it():
    tree = Tree()
    tree.top.lead("", Level(1))
    assert not tree.near("/a/b")


def test_near_never_misses_a_lock_that_moves_up_and_down():
    """One lock is at all times either at the top or deep below; a walk may not fall between the two."""
    kit = Kit(MemoryLockStore(processes="allow"))
    (lock,) = kit.put("", new("/"))
    done = threading.Event()
    missed = []

    def look():
        while not done.is_set():
            if not kit.store.near("", "/a/b/c"):
                missed.append(1)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(1_500):
        key = ("/a/b/c", "/", "/a")[turn % 3]
        fresh = new(key)
        kit.change("", puts=(Put(fresh, 60.0, True),), drops=(lock.token,))
        lock = fresh
    done.set()
    for thread in threads:
        thread.join()
    assert missed == []


# -- permits ------------------------------------------------------------------------------------------------------


def test_permits_out_of_reach_are_not_shown(kit):
    for keys_, reach in ((("/ab",), Depth.INFINITY), (("/d/e",), Depth.ZERO), (("/",), Depth.INFINITY)):
        kit.publish(Permit(f"{keys_}", "", keys=keys_))
        assert kit.older("", new("/d" if reach is Depth.ZERO else "/a", depth=reach)) == frozenset()


def test_a_permit_past_its_deadline_is_taken_off_the_board(kit):
    kit.publish(Permit("p", "", keys=("/a",), lasts=1.0))
    kit.clock.advance(1.0)
    assert kit.older("", new("/a")) == frozenset()
    assert kit.store._memory.board.entries == {}


def test_names_of_plain_writes_are_forgotten_with_them(kit):
    store = kit.store
    names = set()
    for _ in range(50):
        claim = store.claim_now("", "/a")
        first, second = kit.older("", new("/a")), kit.older("", new("/a"))
        assert first == second
        names |= first
        store.end_now(claim)
    assert len(names) == 50
    assert store._memory.board.plain == {}
    assert kit.live(("plain:", "plain:x", "plain:-1", "plain:" + "9" * 5_000, *names)) == frozenset()


def test_an_interrupted_look_leaves_no_claim(kit):
    """A signal's handler may raise anywhere; gunicorn's time-out does."""
    gate = kit.store.gate("")
    kit.put("", new("/a"))
    table_of(kit.store).near = mock.Mock(side_effect=SystemExit)
    with pytest.raises(SystemExit):
        gate.enter("/b", False)
    assert kit.store._memory.board.plain == {}


def test_a_gate_stays_good_when_the_board_is_cleared(kit):
    """As in a forked child: what a writer of the parent withdraws there is nobody else's."""
    gate = kit.store.gate("")
    kit.store.open()
    ours = gate.enter("/a", False)
    kit.store._memory.board.clear()
    other = gate.enter("/a", False)
    gate.leave(ours, None)
    assert len(kit.older("", new("/a"))) == 1
    gate.leave(other, None)
    assert kit.older("", new("/a")) == frozenset()


# -- refusals of misuse -------------------------------------------------------------------------------------------


def test_a_transaction_within_a_step_is_an_error_and_does_not_hang(kit):
    def nested(snapshot):
        return kit.transact(Query(), Outcome)

    with pytest.raises(LockError, match="within a step"):
        kit.transact(Query(), nested)
    assert kit.look("").locks == ()


def test_an_unknown_way_with_processes_is_refused():
    with pytest.raises(ConfigurationError, match="processes='maybe'"):
        MemoryLockStore(processes="maybe")


def test_a_failure_within_a_change_leaves_near_in_use(kit):
    (lock,) = kit.put("", new("/a"))
    with mock.patch.object(Table, "drop", side_effect=MemoryError), pytest.raises(MemoryError):
        kit.change("", drops=(lock.token,))
    assert not kit.store.near("", "/b")


# -- notes --------------------------------------------------------------------------------------------------------


def test_notes_are_kept_and_handed_on_after_the_commit():
    heard = []

    def listen(note):
        heard.append((note, kit.tokens("", paths=("/a",))))

    store = MemoryLockStore(processes="allow", on_note=listen)
    kit = Kit(store)
    lock, note = new("/a"), Note("lock", "/a", "ann")
    kit.change("", puts=(Put(lock, 60.0, True),), notes=(note,))
    assert heard == [(note, [lock.token])]
    kit.change("", notes=tuple(Note("tick", f"/{number}") for number in range(10_001)))
    assert len(store.notes()) == 10_000
    assert store.notes()[-1].key == "/10000"


def test_a_listener_that_raises_does_not_undo_the_commit(caplog):
    def fail(note):
        raise ValueError("no disk")

    kit = Kit(MemoryLockStore(processes="allow", on_note=fail))
    with caplog.at_level(logging.ERROR, "locklib"):
        kit.change("", puts=(Put(new("/a"), 60.0, True),), notes=(Note("lock", "/a"), Note("lock", "/b")))
    assert len(kit.everything("")) == 1
    assert [record.args for record in caplog.records] == [("lock",), ("lock",)]


def test_a_listener_that_writes_notes_hears_them_in_order():
    """Notes of its own come after this one, not within it."""
    heard, depth = [], []

    def listen(note):
        depth.append(note)
        heard.append((len(depth), note.key))
        if len(heard) < 2_000:
            kit.change("", notes=(Note("echo", f"/{len(heard)}"),))
        depth.pop()

    kit = Kit(MemoryLockStore(processes="allow", on_note=listen))
    kit.change("", notes=(Note("lock", "/0"),))
    assert heard == [(1, f"/{number}") for number in range(2_000)]


# -- twins, promises, forks ---------------------------------------------------------------------------------------


def test_twins_see_the_same_locks_and_permits():
    sync = MemoryLockStore(processes="allow")
    twin = sync.as_async()
    again = twin.as_sync()
    (lock,) = Kit(sync).put("", new("/a"))
    assert asyncio.run(twin.transact(Query(paths=("/a",)), Outcome)).answer.locks[0].lock == lock
    asyncio.run(twin.permits.publish(Permit("p", "", keys=("/a",))))
    assert [permit.id for permit in again.permits.older("", lock)] == ["p"]
    assert again.near("", "/a/b")
    asyncio.run(twin.close())


@pytest.mark.parametrize(
    ("processes", "said"), [("allow", "each process has locks of its own"), ("refuse", "a second process is refused")]
)
def test_promises_say_what_happens_to_a_second_process(processes, said):
    promises = MemoryLockStore(processes=processes).promises()
    assert said in str(promises)
    assert (promises.linearizable, promises.survives_worker_kill) == ("process", False)
    assert asyncio.run(AsyncMemoryLockStore(processes=processes).promises()) == promises


class TestInAForkedChild:
    """What the hook does to a store, without a fork (test_lease.py has the real ones)."""

    @pytest.fixture(autouse=True)
    def _alone(self, monkeypatch, tmp_path):
        monkeypatch.setattr(leases, "_held", {})
        monkeypatch.setattr(leases.tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(memories, "_memories", set())

    def fork(self, store):
        memories._memories.add(store._memory)
        leases._after_fork()
        memories._after_fork()

    def test_an_empty_store_starts_anew(self, clock):
        wall = FakeClock(1_000_000.0)
        store = MemoryLockStore(clock=clock, wall=wall)
        store.open()
        claim = store.claim_now("", "/a")
        wall.advance(10.0)
        self.fork(store)
        assert store.near("", "/a")
        store.open()
        store.end_now(claim)
        assert store.permits.older("", new("/a")) == ()
        assert Kit(store).put("", new("/a"))[0].fence > 1_000_010_000_000

    @pytest.mark.parametrize(("processes", "works"), [("refuse", False), ("allow", True)])
    def test_a_filled_store(self, processes, works):
        store = MemoryLockStore(processes=processes)
        Kit(store).put("", new("/a"))
        self.fork(store)
        if works:
            assert len(Kit(store).everything("")) == 1
        else:
            with pytest.raises(ConfigurationError, match="held locks in process"):
                store.open()

    @pytest.mark.parametrize("processes", ["refuse", "allow"])
    def test_a_store_at_work(self, processes):
        store = MemoryLockStore(processes=processes)
        store._memory.busy = True
        self.fork(store)
        with pytest.raises(ConfigurationError, match="was at work"):
            store.transact(Query(), Outcome)
        assert store.near("", "/a")


def test_the_loser_of_a_race_to_open_finds_it_open(store):
    memory = store._memory
    memory.open()
    memory.open()
    assert memory.ready


def test_pending_and_moved_rows_keep_their_indexes(kit):
    (lock,) = kit.put("", new("/a/b", details=Details(pending=True)), lasts=5.0)
    kit.put("", replace(lock, key="/c", details=Details()), lasts=math.inf, grant=False)
    kit.clock.advance(100.0)
    assert kit.look("", trees=("/",), page=Page(5)).locks[0].lock.key == "/c"
    assert not kit.store.near("", "/a", True)
