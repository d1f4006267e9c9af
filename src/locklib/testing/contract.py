"""The contract of a store: what every one of them must do, as one suite that attacks it.

Knows: `LockStore`, `AsyncLockStore`, `Nearby`, and the vocabulary of the core.
Must not know: how any store is made; a subclass brings it in its `store` fixture, and its clock if it has one:

    class TestMine(StoreContract):
        @pytest.fixture
        def store(self):
            return MyLockStore(...)

A store may show more than asked, never less: the contract asks for the least. It works in namespaces of its own, so a
store that other tests have used will do.
"""
# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core.model import (
    Counts,
    Depth,
    Details,
    DropUnder,
    Ended,
    Lock,
    Note,
    Outcome,
    Page,
    Permit,
    Purpose,
    Put,
    Query,
    Scope,
    Snapshot,
    Ticket,
    Tombstone,
    replace,
)
from locklib.core.paths import ancestors
from locklib.errors import LockError
from locklib.stores.base import AsyncLockStore, LockStore, Promises
from locklib.stores.gate import gate_of
from locklib.testing.adversary import Disturbance, lingering, raising, together, twice
from locklib.testing.kit import Clock, FakeClock, Kit, in_tree, is_under, new, on_paths, place, sole

__all__ = ["Clock", "FakeClock", "Kit", "StoreContract"]

THREADS = 8

# T31: keys that a careless store would mix up; all of them are different resources.
ODD_KEYS = (
    "/a",
    "/A",
    "/a ",
    "/a%",
    "/a%2",
    "/a_",
    "/ab",
    "/a!",
    "/a0",
    "/a/",
    "/a*",
    "/a?",
    "/a[b]",
    "/a\\",
    "/{a}",
    "/{a",
    "/a:b",
    "/a::b",
    "/a'b",
    '/a"b',
    "/a'; DROP TABLE locks; --",
    "/a\x00",
    "/a\x00b",
    "/a\nb",
    "/a\u00e9",
    "/ae\u0301",
    "/\U0001f512",
    "/" + "x" * 8_191,
    "/" + "x" * 8_190 + "y",
    "/" + "d/" * 2_000 + "leaf",
)

SEGMENTS = ("a", "b", "ab", "a!", "%", "_", "*", "{x}", "\u00e9")
keys: st.SearchStrategy[str] = st.lists(st.sampled_from(SEGMENTS), max_size=4).map(lambda parts: "/" + "/".join(parts))
locks: st.SearchStrategy[Lock] = st.builds(
    lambda key, shared, purpose, creator, depth: new(
        key, scope=Scope.SHARED if shared else Scope.EXCLUSIVE, purpose=purpose, creator=creator, depth=depth
    ),
    keys,
    st.booleans(),
    st.sampled_from(Purpose),
    st.sampled_from((None, "ann", "bob")),
    st.sampled_from(Depth),
)
tables: st.SearchStrategy[list[Lock]] = st.lists(locks, max_size=14)
filters: st.SearchStrategy[dict[str, frozenset[Scope] | frozenset[Purpose] | str | None]] = st.fixed_dictionaries(
    {
        "scopes": st.sampled_from((None, frozenset({Scope.EXCLUSIVE}), frozenset(Scope))),
        "purposes": st.sampled_from((None, frozenset({Purpose.WRITE}), frozenset())),
        "not_creator": st.sampled_from((None, "ann")),
    }
)

# Which permits `older` must show for a lock: (lock's depth, permit's fields, must it be shown).
REACHES: dict[str, tuple[Depth, dict[str, tuple[str, ...]], bool]] = {
    "depth 0, the key": (Depth.ZERO, {"keys": ("/d",)}, True),
    "depth 0, its members": (Depth.ZERO, {"memberships": ("/d",)}, True),
    "depth 0, a tree with it at the top": (Depth.ZERO, {"trees": ("/d",)}, True),
    "depth 0, a tree around it": (Depth.ZERO, {"trees": ("/",)}, True),
    "infinity, the key": (Depth.INFINITY, {"keys": ("/d",)}, True),
    "infinity, a key below": (Depth.INFINITY, {"keys": ("/d/e/f",)}, True),
    "infinity, one of two keys": (Depth.INFINITY, {"keys": ("/x", "/d/e")}, True),
    "infinity, members of a collection below": (Depth.INFINITY, {"memberships": ("/d/e",)}, True),
    "infinity, a tree below": (Depth.INFINITY, {"trees": ("/d/e",)}, True),
    "infinity, a tree around it": (Depth.INFINITY, {"trees": ("/",)}, True),
}

# drop_under("/a") with a prefix: (key, root as addressed, prefix, does it end).
PREFIXES: dict[str, tuple[str, str | None, str, bool]] = {
    "the same": ("/a", "/a", "/a", True),
    "with a slash": ("/a", "/a/", "/a", True),
    "the prefix with a slash": ("/a", "/a", "/a/", True),
    "a member": ("/a/b", "/a/b", "/a", True),
    "a member of the prefix with a slash": ("/a/b", None, "/a/", True),
    "encoded alike": ("/a b", "/a%20b", "/a%20b", True),
    "encoded otherwise": ("/a", "/%61", "/a", False),
    "only by its beginning": ("/a/b", "/ab", "/a", False),
    "everything": ("/a/b", "/a%2Fb", "/", True),
}


def _permit(namespace: str, **fields: Any) -> Permit:
    return Permit(new("/").token, namespace, **fields)


def _assert_shows(snapshot: Snapshot, stored: dict[str, Lock], needed: set[str]) -> None:
    """Rows as they were stored, each once, in order; nothing that is needed is missing."""
    shown = [held.lock for held in snapshot.locks]
    assert [place(lock) for lock in shown] == sorted({place(lock) for lock in shown})
    assert all(stored.get(lock.token) == lock for lock in shown)
    assert needed <= {lock.token for lock in shown}


class StoreContract:
    """Subclass it, bring a `store` (of either kind), and a `clock` if the store's time can be moved.

    `one_loop`: an async store that belongs to a single event loop.
    """

    one_loop = False

    @pytest.fixture
    def store(self) -> LockStore | AsyncLockStore:
        raise NotImplementedError("bring a `store` fixture that gives the store to be tested")

    @pytest.fixture
    def clock(self) -> Clock | None:
        return None

    @pytest.fixture
    def kit(self, store: LockStore | AsyncLockStore, clock: Clock | None) -> Iterator[Kit]:
        kit = Kit(store, clock, self.one_loop)
        yield kit
        kit.close()

    # -- what a query is shown --------------------------------------------------------------------------------------

    def test_paths_show_the_lock_and_those_above_it(self, kit: Kit) -> None:
        here = kit.namespace()
        top, above, own, beside, below = kit.put(here, *map(new, ("/", "/a", "/a/b", "/ab", "/a/b/c")))
        shown = kit.tokens(here, paths=("/a/b",))
        assert {top.token, above.token, own.token} <= set(shown)
        assert {beside.token, below.token}.isdisjoint(kit.tokens(here, paths=("/a",)))

    def test_trees_show_the_lock_and_those_below_it(self, kit: Kit) -> None:
        here = kit.namespace()
        own, below, deep, _beside, _above = kit.put(here, *map(new, ("/a", "/a/b", "/a/b/c/d", "/ab", "/")))
        assert {own.token, below.token, deep.token} <= set(kit.tokens(here, trees=("/a",)))

    def test_tokens_show_a_lock_wherever_it_is(self, kit: Kit) -> None:
        here = kit.namespace()
        lock, _ = kit.put(here, new("/far/away"), new("/other"))
        found = kit.look(here, paths=("/x",), tokens=(lock.token, "urn:test:unknown")).by_token(lock.token)
        assert found is not None
        assert found.lock == lock

    def test_snapshots_are_complete(self, kit: Kit) -> None:
        @settings(max_examples=60, deadline=None, report_multiple_bugs=False)
        @given(tables, st.lists(keys, max_size=2), st.lists(keys, max_size=2), filters)
        def check(table: list[Lock], paths: list[str], trees: list[str], fields: dict[str, Any]) -> None:
            here = kit.namespace()
            stored = {lock.token: lock for lock in kit.put(here, *table)}
            named = tuple(stored)[:1]
            query = Query(here, paths=tuple(paths), trees=tuple(trees), tokens=named, **fields)
            needed = on_paths(stored.values(), query)
            needed.update(lock.token for tree in trees for lock in in_tree(stored.values(), query, tree))
            _assert_shows(kit.transact(query, Outcome).answer, stored, needed)

        check()

    def test_a_limit_counts_roots(self, kit: Kit) -> None:
        @settings(max_examples=60, deadline=None, report_multiple_bugs=False)
        @given(tables, keys, st.integers(1, 4), filters)
        def check(table: list[Lock], tree: str, limit: int, fields: dict[str, Any]) -> None:
            here = kit.namespace()
            stored = {lock.token: lock for lock in kit.put(here, *table)}
            query = Query(here, trees=(tree,), limit=limit, **fields)
            within = in_tree(stored.values(), query, tree)
            snapshot = kit.transact(query, Outcome).answer
            _assert_shows(snapshot, stored, set())
            shown = {held.lock.token for held in snapshot.locks}
            roots: dict[str, set[str]] = {}
            for lock in within:
                roots.setdefault(lock.key, set()).add(lock.token)
            whole = [root for root, tokens in roots.items() if tokens <= shown]
            assert len(whole) >= min(limit, len(roots))
            assert snapshot.more or len(whole) == len(roots)
            assert not snapshot.more or len(roots) > limit

        check()

    def test_a_limit_does_not_hide_locks_behind_others_at_one_root(self, kit: Kit) -> None:
        here = kit.namespace()
        shared = [new("/d/a", scope=Scope.SHARED) for _ in range(5)]
        exclusive = new("/d/a", purpose=Purpose.ADMINISTRATIVE)
        kit.put(here, *shared, exclusive)
        snapshot = kit.look(here, trees=("/d",), limit=1)
        assert snapshot.by_token(exclusive.token) is not None
        assert len(snapshot.locks) == 6
        assert not snapshot.more

    def test_pages_give_each_lock_once_in_order(self, kit: Kit) -> None:
        @settings(max_examples=40, deadline=None, report_multiple_bugs=False)
        @given(tables, st.lists(keys, min_size=1, max_size=2), st.integers(1, 5), filters)
        def check(table: list[Lock], trees: list[str], limit: int, fields: dict[str, Any]) -> None:
            here = kit.namespace()
            stored = {lock.token: lock for lock in kit.put(here, *table)}
            query = Query(here, trees=tuple(trees), **fields)
            within = {lock.token: lock for tree in trees for lock in in_tree(stored.values(), query, tree)}
            expected = sorted(within.values(), key=place)
            seen: list[Lock] = []
            page = Page(limit)
            for _ in range(len(expected) + 1):
                snapshot = kit.transact(replace(query, page=page), Outcome).answer
                assert len(snapshot.locks) <= limit
                seen += [held.lock for held in snapshot.locks]
                if not snapshot.more:
                    break
                page = Page(limit, place(seen[-1]))
            assert seen == expected

        check()

    def test_pages_go_through_a_large_collection(self, kit: Kit) -> None:
        here = kit.namespace()
        table = kit.put(here, *(new(f"/big/{number:04d}") for number in range(700)), new("/other"))
        middle = kit.look(here, trees=("/big",), page=Page(10, place(table[300])))
        assert [held.lock for held in middle.locks] == list(table[301:311])
        assert middle.more
        last = kit.look(here, trees=("/big",), page=Page(400, place(table[300])))
        assert [held.lock for held in last.locks] == list(table[301:700])
        assert not last.more

    @pytest.mark.parametrize("limit", [1, 4])
    def test_pages_go_by_strings_not_by_segments(self, kit: Kit, limit: int) -> None:
        here = kit.namespace()
        expected = sorted(kit.put(here, *map(new, (*ODD_KEYS, "/a/b", "/a!/b", "/a!/c/d", "/a0/b"))), key=place)
        seen: list[Lock] = []
        for start in range(0, len(expected), limit):
            snapshot = kit.look(here, trees=("/",), page=Page(limit, place(seen[-1]) if seen else None))
            seen += [held.lock for held in snapshot.locks]
            assert snapshot.more is (start + limit < len(expected))
        assert seen == expected

    @pytest.mark.parametrize("depth", [Depth.ZERO, Depth.INFINITY])
    def test_depth_does_not_decide_what_is_shown(self, kit: Kit, depth: Depth) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a", depth=depth))
        assert lock.token in kit.tokens(here, paths=("/a/b/c",))

    def test_a_row_comes_back_as_it_went_in(self, kit: Kit) -> None:
        here = kit.namespace()
        details = Details(
            root="/%C3%A9/",
            owner_info="<D:owner xmlns:D='DAV:' xml:lang='ja'>\u65e5\u672c &amp; <x/></D:owner>",
            owner_is_xml=True,
            reason="audit\n2",
            contact="ann@example.org",
            blocks_reads=True,
            pending=True,
        )
        given = new("/\u00e9", depth=Depth.ZERO, scope=Scope.SHARED, purpose=Purpose.PROCESSING, timeout=12.5)
        given = replace(given, creator="\u00e4nn", details=details)
        (row,) = kit.put(here, given)
        assert replace(row, created_at=0.0, expires_at=0.0, fence=0) == given
        assert kit.everything(here) == {given.token: row}

    @pytest.mark.parametrize("number", range(len(ODD_KEYS)), ids=[ascii(key[:20]) for key in ODD_KEYS])
    def test_t31_a_key_is_itself_and_no_other(self, kit: Kit, number: int) -> None:
        here = kit.namespace()
        rows = {row.token: row for row in kit.put(here, *map(new, ODD_KEYS))}
        own = next(row for row in rows.values() if row.key == ODD_KEYS[number])
        above = {token for token, row in rows.items() if is_under(own.key, row.key)}
        below = {token for token, row in rows.items() if is_under(row.key, own.key)}
        assert set(kit.tokens(here, paths=(own.key,))) == above
        assert set(kit.tokens(here, trees=(own.key,))) == below
        kit.change(here, drop_under=(DropUnder(own.key, own.fence + len(rows)),))
        assert set(kit.everything(here)) == set(rows) - below

    def test_namespaces_do_not_see_each_other(self, kit: Kit) -> None:
        here, there = kit.namespace(), kit.namespace()
        (mine,) = kit.put(here, new("/a", creator="ann"))
        kit.change(here, tickets=(Ticket("t", "/a"),), tombstones=(self._stone(mine.token),))
        (twin,) = kit.put(there, new("/a", mine.token))
        snapshot = kit.look(here, paths=("/a",), tokens=(mine.token,), counts=True, count_creator="ann")
        assert [held.lock for held in snapshot.locks] == [mine]
        assert snapshot.counts == Counts(1, 1, {"/a": 1})
        other = kit.look(there, paths=("/a",), tokens=(twin.token,), tombstones=True, tickets=True)
        assert (other.tombstones, other.tickets) == ((), ())
        kit.change(there, drop_under=(DropUnder("/", twin.fence + 10),))
        assert kit.everything(there) == {}
        assert kit.everything(here) == {mine.token: mine}

    def test_counts_are_upper_bounds(self, kit: Kit) -> None:
        here = kit.namespace()
        rows = kit.put(here, *(new("/a", scope=Scope.SHARED, creator=name) for name in ("ann", "ann", "bob", None)))
        kit.put(here, new("/a/b", creator="ann"))
        counts = kit.look(here, paths=("/a", "/z"), counts=True, count_creator="ann").counts
        assert counts == Counts(5, 3, {"/a": 4, "/z": 0})
        kit.put(here, replace(rows[0], creator="bob"), grant=False)
        kit.change(here, drops=(rows[1].token,))
        counts = kit.look(here, counts=True, count_creator="ann").counts
        assert counts is not None
        assert (counts.total, counts.creator) == (4, 1)
        assert kit.look(here).counts is None

    def test_counts_come_down_when_locks_run_out(self, kit: Kit) -> None:
        here = kit.namespace()
        kit.put(here, *(new(f"/{number}", creator="ann") for number in range(100)), lasts=kit.life)
        kit.wait(kit.life + 2 if kit.clock else kit.life + 1.2)
        counts = kit.look(here, counts=True, count_creator="ann").counts
        assert counts == Counts(0, 0, {})

    # -- what an outcome changes ------------------------------------------------------------------------------------

    def test_a_grant_fills_instants_and_fence(self, kit: Kit) -> None:
        here = kit.namespace()
        done = kit.change(here, puts=(Put(new("/a"), 100.0, True), Put(new("/b"), math.inf, True)))
        first, second = done.rows
        assert first.expires_at == pytest.approx(first.created_at + 100.0, abs=0.001)
        assert second.expires_at == math.inf
        assert done.fence < first.fence < second.fence
        snapshot = kit.look(here, paths=("/a", "/b"))
        assert [held.lock for held in snapshot.locks] == [first, second]
        assert 100.0 - 60.0 * (kit.clock is None) <= snapshot.locks[0].remaining <= 100.0
        assert snapshot.locks[1].remaining == math.inf
        assert snapshot.fence >= second.fence

    def test_a_refresh_keeps_birth_and_fence(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a"), lasts=kit.life)
        kit.wait(kit.life / 2)
        (again,) = kit.put(here, replace(lock, timeout=50.0), lasts=50.0, grant=False)
        assert (again.created_at, again.fence, again.timeout) == (lock.created_at, lock.fence, 50.0)
        assert again.expires_at > lock.expires_at
        kit.wait(kit.life)
        assert kit.everything(here) == {lock.token: again}

    def test_a_put_of_a_known_token_replaces_the_row(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock, other) = kit.put(here, new("/a/b"), new("/a/b", scope=Scope.SHARED))
        (moved,) = kit.put(here, replace(lock, key="/c/d", creator="bob"), grant=False)
        assert kit.tokens(here, paths=("/a/b",)) == [other.token]
        assert kit.tokens(here, trees=("/a",)) == [other.token]
        assert kit.tokens(here, paths=("/c/d",)) == [lock.token]
        assert kit.everything(here) == {lock.token: moved, other.token: other}
        kit.change(here, drops=(other.token,))
        assert kit.tokens(here, trees=("/a",)) == []

    def test_an_acquire_sent_twice_is_one_lock(self, kit: Kit) -> None:
        here, lock = kit.namespace(), new("/a")

        def acquire(snapshot: Snapshot) -> Outcome[bool]:
            if snapshot.by_token(lock.token):
                return Outcome(False)
            return Outcome(True, puts=(Put(lock, 60.0, True),))

        query = Query(here, paths=("/a",), tokens=(lock.token,), writes=True)
        assert [kit.transact(query, twice(acquire)).answer for _ in range(3)] == [True, False, False]
        assert list(kit.everything(here)) == [lock.token]

    def test_a_drop_ends_a_lock_and_an_unknown_token_is_nothing(self, kit: Kit) -> None:
        here = kit.namespace()
        lock, other = kit.put(here, new("/a"), new("/a/b"))
        kit.change(here, drops=(lock.token, "urn:test:unknown"))
        assert kit.everything(here) == {other.token: other}

    def test_fences_grow_with_each_grant(self, kit: Kit) -> None:
        here, there = kit.namespace(), kit.namespace()
        fences = [kit.put(space, new("/a"))[0].fence for _ in range(5) for space in (here, there)]
        assert fences == sorted(set(fences))
        assert kit.look(here).fence >= fences[-2]
        kit.change(here, drop_under=(DropUnder("/", fences[-1]),))
        assert kit.put(here, new("/a"))[0].fence > fences[-1]

    def test_drop_under_keeps_what_was_granted_later(self, kit: Kit) -> None:
        here = kit.namespace()
        old = kit.put(here, *(new(f"/a/{number}") for number in range(250)), new("/a"), new("/ab"), new("/"))
        bound = old[-1].fence
        later = kit.put(here, new("/a/1/later"))
        kit.change(here, drop_under=(DropUnder("/a", bound),))
        assert set(kit.everything(here)) == {lock.token for lock in (*old[-2:], *later)}

    @pytest.mark.parametrize(("key", "root", "prefix", "ends"), PREFIXES.values(), ids=PREFIXES)
    def test_drop_under_keeps_other_spellings(
        self, kit: Kit, key: str, root: str | None, prefix: str, ends: bool
    ) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new(key, details=Details(root=root)))
        kit.change(here, drop_under=(DropUnder("/", lock.fence, prefix),))
        assert (kit.everything(here) == {}) is ends

    def test_a_query_that_only_reads_cannot_change(self, kit: Kit) -> None:
        here = kit.namespace()
        with pytest.raises(LockError, match="writes"):
            kit.transact(Query(here), lambda _: Outcome(None, puts=(Put(new("/a"), 60.0, True),)))
        assert kit.everything(here) == {}

    def test_a_step_that_raises_changes_nothing(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a"))
        claim = _permit(here, keys=("/a",))
        query = Query(here, paths=("/a",), claim=claim, writes=True)
        with pytest.raises(Disturbance):
            kit.transact(query, raising(lambda _: Outcome(None, drops=(lock.token,), keep_claim=True)))
        assert kit.everything(here) == {lock.token: lock}
        assert kit.live((claim.id,)) == frozenset()
        assert kit.put(here, new("/b"))[0].fence > lock.fence

    def test_a_step_that_cannot_be_carried_out_changes_nothing(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a"))
        puts = (Put(new("/b"), 60.0, True), Put(new("/c"), math.nan, True))
        with pytest.raises(LockError, match="nan"):
            kit.change(here, puts=puts, drops=(lock.token,))
        assert kit.everything(here) == {lock.token: lock}

    # -- life -------------------------------------------------------------------------------------------------------

    def test_i3_a_lock_lives_as_long_as_it_was_given(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a"), lasts=kit.life)
        kit.wait(kit.life - kit.slack if kit.clock else kit.life / 3)
        held = sole(kit.look(here, paths=("/a",)).locks)
        assert 0 < held.remaining <= kit.life
        kit.wait(kit.slack if kit.clock else kit.life)
        assert kit.tokens(here, paths=("/a",)) == []
        assert kit.tokens(here, tokens=(lock.token,)) == []

    @pytest.mark.parametrize("plane", ["paths", "trees", "tokens", "page"])
    def test_an_expired_row_is_removed_by_who_meets_it(self, kit: Kit, plane: str) -> None:
        """A refresh that was in flight over the edge must not find the row that a LOCK has ignored."""
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a/b", creator="ann"), lasts=kit.life)
        kit.put(here, new("/a/c", scope=Scope.SHARED))
        kit.wait(kit.life)
        asked: dict[str, dict[str, Any]] = {
            "paths": {"paths": ("/a/b",)},
            "trees": {"trees": ("/a",), "limit": 2},
            "tokens": {"tokens": (lock.token,)},
            "page": {"trees": ("/a",), "page": Page(5)},
        }
        assert lock.token not in kit.tokens(here, **asked[plane])
        stone = sole(kit.look(here, tokens=(lock.token,), tombstones=True).tombstones)
        assert (stone.ended, stone.key, stone.root, stone.creator) == (Ended.EXPIRED, "/a/b", "/a/b", "ann")
        assert stone.at == pytest.approx(lock.expires_at, abs=5.0)
        (again,) = kit.put(here, lock, grant=False, lasts=60.0)
        assert kit.look(here, paths=("/a/b",), counts=True, count_creator="ann").counts == Counts(2, 1, {"/a/b": 1})
        assert kit.everything(here)[lock.token] == again

    def test_a_pending_lock_leaves_no_tombstone(self, kit: Kit) -> None:
        here = kit.namespace()
        (lock,) = kit.put(here, new("/a", details=Details(pending=True)), lasts=kit.life)
        kit.wait(kit.life)
        snapshot = kit.look(here, paths=("/a",), tokens=(lock.token,), tombstones=True)
        assert (snapshot.locks, snapshot.tombstones) == ((), ())

    def test_a_crowd_runs_out_at_once(self, kit: Kit) -> None:
        here = kit.namespace()
        crowd = kit.put(here, *(new(f"/c/{number}") for number in range(300)), lasts=kit.life)
        (stays,) = kit.put(here, new("/c/stays"))
        kit.wait(kit.life)
        assert kit.tokens(here, trees=("/c",)) == [stays.token]
        stones = kit.look(here, tokens=tuple(lock.token for lock in crowd), tombstones=True).tombstones
        assert len(stones) == len(crowd)

    # -- tombstones, tickets, notes ---------------------------------------------------------------------------------

    @staticmethod
    def _stone(token: str, creator: str | None = "ann", **fields: Any) -> Tombstone:
        return Tombstone(token, "/a", "/a", creator, Ended.BROKEN, **fields)

    def test_a_tombstone_is_found_by_its_token(self, kit: Kit) -> None:
        here, token = kit.namespace(), new("/").token
        stone = self._stone(token, by="root", reason="audit", request="r1")
        kit.change(here, tombstones=(stone,))
        found = sole(kit.look(here, tokens=(token, "urn:test:unknown"), tombstones=True).tombstones)
        assert replace(found, at=0.0) == stone
        assert found.at > 0.0
        assert kit.look(here, tokens=(token,)).tombstones == ()
        kit.change(here, tombstones=(self._stone(token, creator="bob", request="r2"),))
        later = sole(kit.look(here, tokens=(token,), tombstones=True).tombstones)
        assert (later.creator, later.request) == ("bob", "r2")

    def test_tombstones_are_limited_per_creator(self, kit: Kit) -> None:
        here = kit.namespace()
        mine = [new("/").token for _ in range(1_010)]
        theirs = new("/").token
        kit.change(here, tombstones=(self._stone(theirs, "bob"),))
        kit.change(here, tombstones=tuple(self._stone(token) for token in mine))
        found = kit.look(here, tokens=(*mine, theirs), tombstones=True).tombstones
        assert {stone.token for stone in found} == {theirs, *mine[10:]}

    def test_tombstones_are_kept_for_a_day(self, kit: Kit) -> None:
        here, token = kit.namespace(), new("/").token
        kit.change(here, tombstones=(self._stone(token),))
        if kit.clock is None:
            kit.wait(kit.life)
            assert len(kit.look(here, tokens=(token,), tombstones=True).tombstones) == 1
            return
        kit.wait(86_399.0)
        assert len(kit.look(here, tokens=(token,), tombstones=True).tombstones) == 1
        kit.wait(2.0)
        assert kit.look(here, tokens=(token,), tombstones=True).tombstones == ()

    def test_tickets_stand_in_the_order_of_their_coming(self, kit: Kit) -> None:
        here = kit.namespace()
        kit.change(here, tickets=(Ticket("z", "/a", "ann"), Ticket("b", "/a"), Ticket("c", "/b")))
        kit.change(here, tickets=(Ticket("a", "/a"),))
        kit.change(here, tickets=(Ticket("z", "/a", "ann"),))
        waiting = kit.look(here, paths=("/a",), tickets=True).tickets
        assert [ticket.id for ticket in waiting if ticket.key == "/a"] == ["z", "b", "a"]
        assert len({ticket.number for ticket in waiting}) == len(waiting)
        assert waiting[0].creator == "ann"
        kit.change(here, drop_tickets=("z", "unknown"))
        waiting = kit.look(here, paths=("/a",), tickets=True).tickets
        assert [ticket.id for ticket in waiting if ticket.key == "/a"] == ["b", "a"]
        assert kit.look(here, paths=("/a",)).tickets == ()

    def test_a_ticket_that_is_not_renewed_runs_out(self, kit: Kit) -> None:
        here = kit.namespace()
        first, second = Ticket("a", "/a", lasts=kit.life), Ticket("b", "/a", lasts=kit.life)
        kit.change(here, tickets=(first, second))
        kit.wait(kit.life * 0.6)
        kit.change(here, tickets=(second,))
        kit.wait(kit.life * 0.6)
        assert [ticket.id for ticket in kit.look(here, paths=("/a",), tickets=True).tickets] == ["b"]
        kit.change(here, tickets=(first,))
        assert [ticket.id for ticket in kit.look(here, paths=("/a",), tickets=True).tickets] == ["b", "a"]

    def test_notes_are_a_change_of_their_own(self, kit: Kit) -> None:
        here = kit.namespace()
        kit.change(here, notes=(Note("lock", "/a", "ann", {"depth": "0"}),))
        assert kit.everything(here) == {}
        with pytest.raises(LockError, match="writes"):
            kit.transact(Query(here), lambda _: Outcome(None, notes=(Note("lock", "/a"),)))

    # -- permits ----------------------------------------------------------------------------------------------------

    def test_a_permit_is_seen_until_it_ends(self, kit: Kit) -> None:
        here = kit.namespace()
        permit, other = _permit(here, keys=("/a",)), _permit(here, keys=("/a",))
        kit.publish(permit)
        assert permit.id in kit.older(here, new("/a"))
        assert permit.id not in kit.older(kit.namespace(), new("/a"))
        assert kit.live((permit.id, other.id)) == {permit.id}
        kit.end(permit)
        kit.end(permit)
        kit.renew(other)
        assert kit.live((permit.id, other.id)) == frozenset()
        assert kit.older(here, new("/a")) == frozenset()

    @pytest.mark.parametrize(("depth", "fields", "shown"), REACHES.values(), ids=REACHES)
    def test_a_lock_meets_the_permits_in_its_reach(
        self, kit: Kit, depth: Depth, fields: dict[str, Any], shown: bool
    ) -> None:
        here = kit.namespace()
        permit = _permit(here, **fields)
        kit.publish(permit)
        assert (permit.id in kit.older(here, new("/d", depth=depth))) is shown

    def test_i9_a_permit_ends_at_its_deadline(self, kit: Kit) -> None:
        here = kit.namespace()
        left, renewed = (_permit(here, keys=("/a",), lasts=kit.life) for _ in range(2))
        kit.publish(left)
        kit.publish(renewed)
        kit.wait(kit.life * 0.6)
        assert kit.live((left.id, renewed.id)) == {left.id, renewed.id}
        kit.renew(renewed)
        kit.wait(kit.life * 0.6)
        assert kit.live((left.id, renewed.id)) == {renewed.id}
        assert kit.older(here, new("/a")) == {renewed.id}
        kit.wait(kit.life * 0.6)
        assert kit.live((renewed.id,)) == frozenset()

    def test_a_renewal_does_not_bring_a_permit_back(self, kit: Kit) -> None:
        here = kit.namespace()
        permit = _permit(here, keys=("/a",))
        kit.publish(permit)
        kit.end(permit)
        kit.renew(permit)
        assert kit.older(here, new("/a")) == frozenset()

    @pytest.mark.parametrize("kept", [True, False], ids=["kept", "withdrawn"])
    @pytest.mark.parametrize("writes", [True, False], ids=["writing", "reading"])
    def test_a_claim_stays_only_if_it_is_kept(self, kit: Kit, kept: bool, writes: bool) -> None:
        here = kit.namespace()
        claim = _permit(here, keys=("/a",))
        query = Query(here, paths=("/a",), claim=claim, writes=writes)
        done = kit.transact(query, lambda _: Outcome("seen", keep_claim=kept))
        assert done.permit == (claim if kept else None)
        assert kit.live((claim.id,)) == (frozenset({claim.id}) if kept else frozenset())
        assert kit.transact(Query(here), lambda _: Outcome(None, keep_claim=True)).permit is None

    # -- attacks ----------------------------------------------------------------------------------------------------

    def test_i2_no_foreign_change_between_read_and_commit(self, kit: Kit) -> None:
        here, rounds = kit.namespace(), 4
        (counter,) = kit.put(here, new("/n", details=Details(reason="0")))
        query = Query(here, paths=("/n",), tokens=(counter.token,), writes=True)

        def add(snapshot: Snapshot) -> Outcome[None]:
            held = snapshot.by_token(counter.token)
            assert held is not None
            details = Details(reason=str(int(held.lock.details.reason or "") + 1))
            return Outcome(None, puts=(Put(replace(held.lock, details=details), 60.0),))

        together(THREADS, lambda _: [kit.transact(query, lingering(add, 0.003)) for _ in range(rounds)])
        assert kit.everything(here)[counter.token].details.reason == str(THREADS * rounds)

    @pytest.mark.parametrize(
        "wanted",
        [("/a/b",) * THREADS, ("/a", "/a/b", "/a/b/c", "/") * (THREADS // 4)],
        ids=["one URL", "a line of collections"],
    )
    def test_i1_one_of_many_gets_the_lock(self, kit: Kit, wanted: tuple[str, ...]) -> None:
        def acquire(here: str, number: int) -> bool:
            lock = new(wanted[number])
            query = Query(here, paths=(lock.key,), trees=(lock.key,), limit=1, writes=True)

            def step(snapshot: Snapshot) -> Outcome[bool]:
                return Outcome(False) if snapshot.locks else Outcome(True, puts=(Put(lock, 60.0, True),))

            return kit.transact(query, lingering(step, 0.003)).answer

        for _ in range(4):
            here = kit.namespace()
            winners = together(THREADS, partial(acquire, here))
            assert winners.count(True) == 1
            assert len(kit.everything(here)) == 1

    def test_i6_fences_of_many_threads_differ(self, kit: Kit) -> None:
        here = kit.namespace()

        def grant(number: int) -> list[int]:
            return [kit.put(here, new(f"/{number}/{turn}"))[0].fence for turn in range(10)]

        runs = together(THREADS, grant)
        assert all(run == sorted(run) for run in runs)
        assert len({fence for run in runs for fence in run}) == THREADS * 10
        assert len(kit.everything(here)) == THREADS * 10

    @pytest.mark.parametrize("way", ["claim", "publish", "now", "gate"])
    def test_i7_of_a_writer_and_a_lock_one_sees_the_other(self, kit: Kit, way: str) -> None:
        """Publish, then look: whoever looks second sees the first; nobody may miss both."""

        def write(here: str) -> bool:
            permit = _permit(here, keys=("/a/b",))
            if way == "now" and kit.nearby is not None:
                kit.nearby.claim_now(here, "/a/b")
                return kit.nearby.near(here, "/a/b")
            if way == "gate" and kit.nearby is not None:
                return gate_of(kit.nearby, here).enter("/a/b", False) is None
            query = Query(here, paths=("/a/b",), claim=permit if way == "claim" else None)
            if way != "claim":
                kit.publish(permit)
            seen = lingering(lambda snapshot: Outcome(bool(snapshot.locks), keep_claim=True), 0.002)
            return kit.transact(query, seen).answer

        def lock(here: str) -> bool:
            (row,) = kit.put(here, new("/a", details=Details(pending=True)))
            return bool(kit.older(here, row))

        def side(here: str, sides: tuple[Callable[[str], bool], ...], number: int) -> bool:
            return sides[number](here)

        for turn in range(30):
            here = kit.namespace()
            sides = (write, lock) if turn % 2 else (lock, write)
            assert any(together(2, partial(side, here, sides)))

    # -- the short way, promises ------------------------------------------------------------------------------------

    def test_near_agrees_with_the_general_way(self, kit: Kit) -> None:
        """A plain no means that a snapshot is empty; and where it is empty, a store in the process should say no."""
        near = kit.nearby
        if near is None:
            assert not hasattr(kit.store, "near")
            return

        @settings(max_examples=80, deadline=None, report_multiple_bugs=False)
        @given(tables, st.lists(st.integers(0, 13), max_size=6), st.lists(keys, min_size=1, max_size=6))
        def check(table: list[Lock], dropped: list[int], asked: list[str]) -> None:
            here = kit.namespace()
            rows = kit.put(here, *table)
            gone = {rows[number].token for number in dropped if number < len(rows)}
            kit.change(here, drops=tuple(gone))
            left = [lock for lock in rows if lock.token not in gone]
            above_rows = (key for lock in rows for key in ancestors(lock.key))
            for key in (*asked, *(lock.key for lock in rows), *above_rows):
                above = any(is_under(key, lock.key) for lock in left)
                below = any(is_under(lock.key, key) for lock in left)
                assert near.near(here, key) is above
                assert near.near(here, key, True) is (above or below)
                assert bool(kit.tokens(here, paths=(key,))) is above

        check()

    def test_near_forgets_what_is_gone(self, kit: Kit) -> None:
        if kit.nearby is not None:
            here = kit.namespace()
            deep, beside, _ = kit.put(here, *map(new, ("/a/b/c/d", "/a/b", "/z")))
            kit.change(here, drops=(deep.token,))
            assert kit.nearby.near(here, "/a", True)
            assert kit.nearby.near(here, "/a/b/c", True)
            kit.change(here, drops=(beside.token,))
            assert not any(kit.nearby.near(here, key, True) for key in ("/a", "/a/b", "/a/b/c", "/a/b/c/d"))

    def test_near_speaks_of_its_namespace(self, kit: Kit) -> None:
        if kit.nearby is not None:
            here = kit.namespace()
            (lock,) = kit.put(here, new("/a"))
            assert kit.nearby.near(here, "/a/b")
            assert not kit.nearby.near(kit.namespace(), "/a/b")
            kit.change(here, drops=(lock.token,))
            assert not kit.nearby.near(here, "/a/b")

    @pytest.mark.parametrize("tree", [False, True], ids=["write", "removal"])
    def test_a_claim_of_now_is_a_permit(self, kit: Kit, tree: bool) -> None:
        if kit.nearby is not None:
            here = kit.namespace()
            claim, other = kit.nearby.claim_now(here, "/a/b", tree), kit.nearby.claim_now(here, "/x")
            permit = sole(kit.permits(here, new("/a/b")))
            assert (permit.keys, permit.memberships) == (("/a/b",), ("/a",))
            assert permit.trees == (("/a/b",) if tree else ())
            assert kit.older(here, new("/a", depth=Depth.ZERO)) == {permit.id}
            assert kit.older(here, new("/a/b/c")) == (frozenset({permit.id}) if tree else frozenset())
            assert kit.older(kit.namespace(), new("/")) == frozenset()
            assert kit.live((permit.id,)) == {permit.id}
            kit.nearby.end_now(claim)
            kit.nearby.end_now(claim)
            assert kit.live((permit.id,)) == frozenset()
            left = sole(kit.permits(here, new("/")))
            assert left.keys == ("/x",)
            kit.end(left)
            kit.nearby.end_now(other)
            assert kit.older(here, new("/")) == frozenset()

    def test_i9_a_claim_of_now_stands_until_it_is_ended(self, kit: Kit) -> None:
        """Its writer is in the process and takes it back however long it writes: a deadline would end the hold."""
        if kit.nearby is not None and kit.clock is not None:
            here = kit.namespace()
            claim = kit.nearby.claim_now(here, "/a")
            permit = sole(kit.permits(here, new("/a")))
            kit.wait(1e6)
            assert kit.live((permit.id,)) == {permit.id}
            assert kit.older(here, new("/a")) == {permit.id}
            kit.nearby.end_now(claim)
            assert kit.live((permit.id,)) == frozenset()

    def test_a_gate_says_what_the_three_words_say(self, kit: Kit) -> None:
        """The faster form of the short way, where a store has one of its own, against `near` and `claim_now`."""
        near = kit.nearby
        if near is None:
            return

        @settings(max_examples=40, deadline=None, report_multiple_bugs=False)
        @given(tables, st.lists(keys, min_size=1, max_size=4), st.booleans())
        def check(table: list[Lock], asked: list[str], tree: bool) -> None:
            here = kit.namespace()
            gate = gate_of(near, here)
            rows = kit.put(here, *table)
            above = {key for row in rows for key in ancestors(row.key)}
            for key in (*asked, *above, *(row.key for row in rows)):
                assert gate.near(key, False) is near.near(here, key)
                assert gate.near(key, True) is near.near(here, key, True)
            for key in asked:
                claim = gate.enter(key, tree)
                assert (claim is None) is near.near(here, key, tree)
                if claim is not None:
                    published = sole(kit.permits(here, new("/")))
                    gate.leave(claim, None)
                    gate.leave(claim, None)
                    plain = near.claim_now(here, key, tree)
                    of_words = sole(kit.permits(here, new("/")))
                    assert published == replace(of_words, id=published.id)
                    assert published.id != of_words.id
                    near.end_now(plain)
                assert kit.permits(here, new("/")) == ()

        check()

    def test_a_store_says_what_it_stands_on(self, kit: Kit) -> None:
        promises = kit.promises()
        assert isinstance(promises, Promises)
        assert promises.store
        assert promises.linearizable in {"process", "host", "network"}
        assert promises.survives_server_kill or not promises.survives_power_loss

    def test_a_store_may_be_closed_twice(self, kit: Kit) -> None:
        kit.put(kit.namespace(), new("/a"))
        kit.close_store()
        kit.close_store()
