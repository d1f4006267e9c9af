"""The SQLite store beside the store in memory: the same words in, the same rows, counts and tombstones out.

And what runs out: removed by whoever meets it, in bounded steps, whatever is asked for.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core.model import (
    Depth,
    Details,
    DropUnder,
    Ended,
    Outcome,
    Page,
    Purpose,
    Put,
    Query,
    Scope,
    Ticket,
    Tombstone,
)
from locklib.errors import StoreUnavailable
from locklib.stores.memory import MemoryLockStore
from locklib.stores.sqlite import SqliteLockStore, reading
from locklib.stores.sqlite import units as module
from locklib.testing.kit import FakeClock, is_under
from support.sqlite import acquire, everything, grant, look, new

QUICK = "/dev/shm" if os.path.isdir("/dev/shm") else None

PARTS = ("a", "b", "ab", "a!", "%", "_", "é", "\U0001f512")
KEYS = st.lists(st.sampled_from(PARTS), max_size=3).map(lambda parts: "/" + "/".join(parts))
TOKENS = st.sampled_from([f"urn:{number}" for number in range(8)])
CREATORS = st.sampled_from([None, "anna", "bob", ""])


@st.composite
def puts(draw):
    details = Details(
        root=draw(st.sampled_from([None, "/%61", "/a/"])),
        pending=draw(st.booleans()),
        reason=draw(st.sampled_from([None, "why"])),
    )
    scope, depth, purpose = (draw(st.sampled_from(kind)) for kind in (Scope, Depth, Purpose))
    lock = new(
        draw(KEYS), token=draw(TOKENS), creator=draw(CREATORS), scope=scope, depth=depth, purpose=purpose, fence=3,
        details=details,
    )  # fmt: skip
    return Put(lock, draw(st.sampled_from([0.0, 5.0, 50.0, float("inf")])), draw(st.booleans()))


@st.composite
def outcomes(draw):
    stone = st.builds(lambda token, name: Tombstone(token, "/a", "/a", name, Ended.BROKEN), TOKENS, CREATORS)
    ticket = st.builds(Ticket, st.sampled_from("xyz"), KEYS, CREATORS, st.sampled_from([5.0, 50.0]))
    some = lambda strategy, size=2: tuple(draw(st.lists(strategy, max_size=size)))  # noqa: E731
    under = st.tuples(KEYS, st.sampled_from([2, 10, 10**18]), st.sampled_from([None, "/a", "/%61"]))
    return {
        "puts": some(puts(), 4),
        "drops": some(TOKENS),
        "drop_under": some(under, 1),
        "tombstones": some(stone),
        "tickets": some(ticket),
        "drop_tickets": some(st.sampled_from("xyz")),
    }


@st.composite
def queries(draw):
    page = draw(st.sampled_from([None, Page(1), Page(2, ("/a", "urn:1")), Page(3, ("/a/b", ""))]))
    return Query(
        "",
        paths=tuple(draw(st.lists(KEYS, max_size=2))),
        trees=tuple(draw(st.lists(KEYS, max_size=2))),
        tokens=tuple(draw(st.lists(TOKENS, max_size=2))),
        scopes=draw(st.sampled_from([None, frozenset({Scope.EXCLUSIVE})])),
        purposes=draw(st.sampled_from([None, frozenset({Purpose.WRITE}), frozenset()])),
        not_creator=draw(st.sampled_from([None, "anna"])),
        tickets=draw(st.booleans()),
        tombstones=draw(st.booleans()),
        counts=draw(st.booleans()),
        count_creator=draw(CREATORS),
        page=page,
        writes=draw(st.booleans()),
    )


OPERATIONS = st.lists(st.one_of(st.sampled_from([1.0, 10.0, 100_000.0]), outcomes(), queries()), max_size=12)


class Pair:
    """Both stores on one clock; fences and instants are told from where each of them began."""

    def __init__(self, directory):
        self.clock = FakeClock()
        self.sqlite = SqliteLockStore(f"{directory}/locks.db", clock=self.clock, wall=lambda: 1_000.0)
        self.memory = MemoryLockStore(clock=self.clock, wall=lambda: 1_000.0, processes="allow")

    def play(self, operation):
        if isinstance(operation, float):
            self.clock.advance(operation)
        elif isinstance(operation, dict):
            under = tuple(
                DropUnder(key, 1_000_000_000 + up_to, prefix) for key, up_to, prefix in operation["drop_under"]
            )
            outcome = Outcome(None, **{**operation, "drop_under": under})
            assert self.of_both(Query(writes=True), lambda _: outcome)
        else:
            assert self.of_both(operation, Outcome)
        self.check()

    def of_both(self, query, step):
        mine, theirs = (store.transact(query, step) for store in (self.sqlite, self.memory))
        assert mine.rows == theirs.rows
        if mine.answer is not None:
            self.same(mine.answer, theirs.answer)
        return True

    def same(self, mine, theirs):
        assert mine.locks == theirs.locks
        assert (mine.fence, mine.more) == (theirs.fence, theirs.more)
        if mine.counts is not None:  # upper bounds: memory clears away by the second
            ours, bound = mine.counts, theirs.counts
            assert (ours.total <= bound.total, ours.creator <= bound.creator) == (True, True)
            assert {path: ours.roots[path] <= most for path, most in bound.roots.items()} == dict.fromkeys(
                ours.roots, True
            )
        assert (mine.counts is None) is (theirs.counts is None)
        assert sorted(mine.tombstones) == sorted(theirs.tombstones)
        assert [ticket.id for ticket in mine.tickets] == [ticket.id for ticket in theirs.tickets]

    def check(self):
        """The counts that triggers keep are those of the rows, as whoever opens the file sees them."""
        with closing(sqlite3.connect(self.sqlite.path)) as connection:
            counted = connection.execute("SELECT namespace, creator, locks FROM held ORDER BY 1, 2").fetchall()
            true = connection.execute(
                "SELECT namespace, ifnull(creator, x''), count(*) FROM locks GROUP BY 1, 2 "
                "UNION ALL SELECT namespace, x'2A', count(*) FROM locks GROUP BY 1 ORDER BY 1, 2"
            ).fetchall()
        assert counted == true


@settings(max_examples=80)
@given(OPERATIONS)
def test_both_stores_answer_alike(operations):
    with tempfile.TemporaryDirectory(dir=QUICK) as directory:
        pair = Pair(directory)
        pair.sqlite.open()
        try:
            for operation in operations:
                pair.play(operation)
            assert everything(pair.sqlite) == everything(pair.memory)
        finally:
            pair.sqlite.close()


# ---- near ------------------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(st.lists(KEYS, max_size=10), st.lists(st.tuples(KEYS, st.booleans()), max_size=12))
def test_near_is_what_the_general_way_finds(table, asked):
    with tempfile.TemporaryDirectory(dir=QUICK) as directory:
        store = SqliteLockStore(f"{directory}/locks.db")
        grant(store, *map(new, table))
        for key, tree in asked:
            found = any(is_under(key, lock) or (tree and is_under(lock, key)) for lock in table)
            assert store.near("", key, tree) is found
            assert bool(look(store, paths=(key,), trees=(key,) if tree else ()).locks) is found
            assert not store.near("other", key, tree)
        store.close()


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("x"), StoreUnavailable("x"), OSError("x"), MemoryError(), RuntimeError("x")]
)
def test_near_never_raises(error, tmp_path):
    store = SqliteLockStore(tmp_path / "locks.db")
    assert store.near("", "/a"), "not open"
    store.open()
    assert not store.near("", "/a")
    with mock.patch.object(module, "near_query", side_effect=error):
        assert store.near("", "/a")
    with mock.patch.object(type(store._sqlite.file), "is_here", side_effect=error):
        assert store.near("", "/a")
    assert acquire(store, "/b")
    store.close()


# ---- what runs out ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    store = SqliteLockStore(tmp_path / "locks.db", clock=clock, timeout=30)
    yield store
    store.close()


def rows(store):
    with store._sqlite.file.lent() as connection:
        return connection.execute("SELECT count(*) FROM locks").fetchone()[0]


ASKED = {
    "a limit": {"limit": 1},
    "a page": {"page": Page(5)},
    "a page behind": {"page": Page(5, ("/c/04000", ""))},
    "all of it": {},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_crowd_that_ran_out_under_a_tree(asked, store, clock):
    crowd = [new(f"/c/{number:05d}", creator="anna") for number in range(10_000)]
    grant(store, *crowd, lasts=10.0)
    (stays,) = grant(store, new("/c/05000/stays"))
    clock.advance(20.0)
    begun = time.monotonic()
    assert [held.lock for held in look(store, trees=("/c",), **asked).locks] == [stays]
    assert time.monotonic() - begun < 20
    shown = look(store, tokens=(crowd[-1].token,), tombstones=True)
    assert shown.locks == ()
    assert [stone.ended for stone in shown.tombstones] == [Ended.EXPIRED]
    assert acquire(store, "/c/00001")
    assert acquire(store, "/c") is None


def test_a_crowd_is_removed_in_units_that_others_come_between(store, clock):
    grant(store, *(new(f"/c/{number:05d}") for number in range(5_000)), lasts=10.0)
    clock.advance(20.0)
    seen = []
    real = store._sqlite.file.turn.taken

    def taken(deadline):
        seen.append(rows(store))
        return real(deadline)

    with mock.patch.object(store._sqlite.file.turn, "taken", taken):
        assert look(store, trees=("/c",), limit=1).locks == ()
    assert len(seen) > 2
    assert all(0 < before - after <= module.CLEARED + reading.MET for before, after in pairwise(seen))
    assert rows(store) == 0


def test_a_crowd_too_large_for_one_deadline_is_gone_on_with(store, clock):
    """Whoever comes next has less to do: what was removed is committed."""
    grant(store, *(new(f"/c/{number:05d}") for number in range(4_000)), lasts=10.0)
    clock.advance(20.0)
    store._sqlite.timeout = 0.000_001
    left, refused = [4_000], 0
    while left[-1]:
        try:
            look(store, trees=("/c",), limit=1)
        except StoreUnavailable:
            refused += 1
        left.append(rows(store))
        assert left[-1] < left[-2]
    assert refused == 0 or refused < len(left)


def test_trees_that_overlap_are_paged_once(store):
    rows = grant(store, *(new(f"/a/{number}") for number in range(4)))
    first = look(store, trees=("/a", "/a/1", "/"), page=Page(3))
    assert ([held.lock for held in first.locks], first.more) == (list(rows[:3]), True)


@pytest.mark.parametrize("plane", ["paths", "tickets"])
def test_a_look_that_meets_what_ran_out_becomes_a_unit_that_removes_it(plane, store, clock):
    grant(store, *(new("/a", scope=Scope.SHARED) for _ in range(5)), lasts=10.0)
    store.transact(Query(writes=True), lambda _: Outcome(None, tickets=(Ticket("t", "/b", lasts=10.0),)))
    clock.advance(20.0)
    assert rows(store) == 5
    asked = {"paths": ("/a/x",)} if plane == "paths" else {"paths": ("/b",), "tickets": True}
    snapshot = look(store, **asked)
    assert (snapshot.locks, snapshot.tickets) == ((), ())
    assert rows(store) == 0


def test_a_unit_sweeps_a_bounded_part_of_what_nobody_asks_for(store, clock):
    grant(store, *(new(f"/c/{number}", creator="anna") for number in range(500)), lasts=10.0)
    clock.advance(20.0)
    assert acquire(store, "/x")
    assert 500 - 100 < rows(store) - 1 < 500
    counts = look(store, counts=True, count_creator="anna").counts
    assert (counts.total, counts.creator) == (1, 0), "who counts clears away before"
    assert rows(store) == 1
