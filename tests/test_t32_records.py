"""T32 and T31 in the SQLite store: a record that cannot be read shuts its own path only; words that are no text."""

from __future__ import annotations

import logging
import math
import sqlite3

import pytest

from locklib.core.model import (
    Counts,
    Details,
    DropUnder,
    Ended,
    Note,
    Outcome,
    Page,
    Purpose,
    Put,
    Query,
    Scope,
    Ticket,
    Tombstone,
)
from locklib.errors import LockError, StoreUnavailable
from locklib.stores.sqlite import SqliteLockStore
from locklib.testing.kit import FakeClock
from support.sqlite import acquire, everything, grant, keys, look, new, release


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    store = SqliteLockStore(tmp_path / "locks.db", clock=clock)
    yield store
    store.close()


def tamper(store, statement, *values):
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement, values)
    connection.close()


def without_rules(store):
    """As a file that somebody else has made: the same columns, and nothing that they must be."""
    store.open()
    store.close()
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")
    connection.close()


RECORDS = {
    "a depth that there is not": ("depth = 'deep'",),
    "a scope that there is not": ("scope = 'private'",),
    "a purpose that there is not": ("purpose = ?", b"\xff"),
    "no depth": ("depth = NULL",),
    "no end": ("expires_at = NULL",),
    "text for an end": ("expires_at = 'soon'",),
    "text for a birth": ("created_at = 'once'",),
    "text for a duration": ("timeout = 'long'",),
    "text for a fence": ("fence = 'x'",),
    "half a fence": ("fence = 1.5",),
    "bytes for a creator": ("creator = ?", b"anna"),
    "a creator that is no text": ("creator = CAST(? AS TEXT)", b"\xff\xfe"),
    "details that are no JSON": ("details = '{'",),
    "details that are a list": ("details = '[1]'",),
    "details with a member more": ("""details = '{"rank": 1}'""",),
    "details with a number for a text": ("""details = '{"root": 5}'""",),
    "details with a text for a truth": ("""details = '{"pending": "no"}'""",),
    "details that are no text": ("details = ?", b"\xff"),
    "details that are too deep": ("details = ?", "[" * 100_000),
    "bytes for a token": ("token = ?", b"\xff"),
    "a token that is no text": ("token = CAST(? AS TEXT)", b"\xff\xfe"),
}


@pytest.mark.parametrize("ended", [False, True], ids=["still living", "past its end"])
@pytest.mark.parametrize("record", RECORDS)
def test_t32_a_record_that_cannot_be_read_shuts_its_own_path_only(record, ended, store, clock, caplog):
    without_rules(store)
    scope = Scope.SHARED
    _, beside = grant(store, new("/a/bad", scope=scope), new("/a/beside", scope=scope), lasts=60.0)
    change, *values = RECORDS[record]
    tamper(store, f"UPDATE locks SET {change} WHERE key = '/a/bad'", *values)
    with caplog.at_level(logging.ERROR, "locklib"):
        shown = look(store, paths=("/a/bad/x",)).locks
    assert "/a/bad" in caplog.text
    assert len(shown) == 1
    assert shown[0].lock.purpose is Purpose.ADMINISTRATIVE
    assert shown[0].lock.exclusive
    assert "administrator" in shown[0].lock.details.reason
    filters = {"scopes": frozenset({Scope.EXCLUSIVE}), "purposes": frozenset({Purpose.ADMINISTRATIVE})}
    if "details" in record or "scope" in record:
        assert len(look(store, paths=("/a/bad",), **{**filters, "purposes": None}).locks) == 1
        assert len(look(store, trees=("/a",), **{**filters, "purposes": None}).locks) == 1
    assert acquire(store, "/a/bad/x") is None
    assert store.near("", "/a/bad")
    assert [held.lock for held in look(store, paths=("/a/beside",)).locks] == [beside]
    assert acquire(store, "/b")
    if ended:
        clock.advance(61.0)
        assert acquire(store, "/c")
        for _ in range(2):
            assert len(look(store, trees=("/a",)).locks) <= 1
        unnamed = "end" in record and ("text for" in record or "no end" in record)
        unnamed |= "token" in record
        assert bool(look(store, paths=("/a/bad",)).locks) is unnamed


def test_t32_many_records_that_cannot_be_named_do_not_keep_a_unit_from_its_end(store, clock):
    grant(store, *(new(f"/a/{number}") for number in range(200)), lasts=10.0)
    tamper(store, "UPDATE locks SET token = CAST(token || 'x' AS BLOB)")
    clock.advance(20.0)
    assert acquire(store, "/b")
    assert look(store, trees=("/a",), limit=3).more


def test_t32_a_lock_that_ran_out_and_cannot_be_removed_is_a_damage(store, clock):
    grant(store, new("/a"), lasts=10.0)
    tamper(store, "CREATE TRIGGER stays BEFORE DELETE ON locks BEGIN SELECT RAISE(IGNORE); END")
    clock.advance(20.0)
    with pytest.raises(StoreUnavailable, match="cannot be removed"):
        acquire(store, "/a")


REMAINS = {
    "tombstones": {
        "an end that there is not": "ended = 'gone'",
        "no root": "root = NULL",
        "a creator that is no text": "creator = x'FF'",
        "a reason that is no text": "reason = CAST(x'FF' AS TEXT)",
        "a text for an instant": "at = 'later'",
    },
    "tickets": {
        "bytes for an id": "id = x'FF'",
        "bytes for a creator": "creator = x'FF'",
        "a text for a duration": "lasts = 'long'",
        "a text for a deadline": "deadline = 'late'",
    },
}


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, names in REMAINS.items() for name in names])
def test_t32_what_is_remembered_and_cannot_be_read_is_left_out(table, name, store, caplog):
    without_rules(store)
    stones = tuple(Tombstone(token, "/a", "/a", "anna", Ended.BROKEN) for token in ("t1", "t2"))
    query = Query(writes=True)
    store.transact(query, lambda _: Outcome(None, tombstones=stones, tickets=(Ticket("k1", "/a"), Ticket("k2", "/a"))))
    tamper(store, f"UPDATE {table} SET {REMAINS[table][name]} WHERE number = 1")
    shown = look(store, paths=("/a",), tokens=("t1", "t2"), tombstones=True, tickets=True)
    assert [len(shown.tombstones), len(shown.tickets)] == ([1, 2] if table == "tombstones" else [2, 1])
    assert "left out" in caplog.text


def test_t32_notes_that_cannot_be_read_are_shown_as_they_stand(store):
    notes = tuple(Note("lock", "/a", "anna", {"number": number}) for number in range(5))
    store.transact(Query(writes=True), lambda _: Outcome(None, notes=notes))
    for number, detail in ((1, "{"), (2, "[1]"), (3, b"\xff"), (4, "[" * 100_000)):
        tamper(store, "UPDATE notes SET detail = ? WHERE number = ?", detail, number)
    told = store.notes()
    assert [set(note.detail) for note in told] == [{"unreadable"}] * 4 + [{"number"}]
    assert {note.key for note in told} == {"/a"}


# ---- words that are no text ------------------------------------------------------------------------------------------

HALF = "/\ud800"
WORDS = {
    "paths": {"paths": (HALF, HALF + "/a")},
    "trees": {"trees": (HALF,)},
    "tokens": {"tokens": (HALF,), "tombstones": True},
    "tickets": {"paths": (HALF,), "tickets": True},
    "counts of a path": {"paths": (HALF,), "counts": True},
    "counts of a creator": {"counts": True, "count_creator": HALF},
    "namespace": {"namespace": HALF, "paths": ("/a",), "trees": ("/",), "tokens": ("t",), "counts": True},
    "page after": {"trees": ("/a",), "page": Page(5, ("/b", HALF))},
}


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_that_are_no_text_find_nothing(words, writes, store):
    grant(store, new("/a"))
    snapshot = store.transact(Query(writes=writes, **words), Outcome).answer
    assert (snapshot.locks, snapshot.tombstones, snapshot.tickets) == ((), (), ())
    if words.get("counts"):
        assert snapshot.counts.creator == ("count_creator" not in words and "namespace" not in words)
        assert set(snapshot.counts.roots.values()) <= {0}
    assert store.near("", HALF)
    assert store.near(HALF, "/a")


def test_a_creator_that_is_no_text_is_nobodys(store):
    (lock,) = grant(store, new("/a", creator="anna"))
    assert [held.lock for held in look(store, trees=("/",), not_creator=HALF).locks] == [lock]


def test_a_page_behind_a_key_that_is_no_text_goes_on_where_it_would_stand(store):
    locks = grant(store, new("/a\ud7ff"), new("/a\ue000"), new("/a\U00010000"))
    snapshot = look(store, trees=("/",), page=Page(5, ("/a\ud800", "")))
    assert [held.lock for held in snapshot.locks] == list(locks[1:])


PUTS = {
    "key": {"puts": (Put(new(HALF), 60.0, True),)},
    "token": {"puts": (Put(new("/b", token=HALF), 60.0, True),)},
    "creator": {"puts": (Put(new("/b", creator=HALF), 60.0, True),)},
    "ticket": {"tickets": (Ticket(HALF, "/b"),)},
    "ticket's key": {"tickets": (Ticket("t", HALF),)},
    "ticket's creator": {"tickets": (Ticket("t", "/b", HALF),)},
    "ticket without a number": {"tickets": (Ticket("t", "/b", None, math.nan),)},
}


@pytest.mark.parametrize("outcome", PUTS.values(), ids=PUTS)
def test_words_that_are_no_text_cannot_be_put_and_nothing_has_changed_then(outcome, store):
    (lock,) = grant(store, new("/a"))
    more = {"drops": (lock.token,), "puts": (Put(new("/c"), 60.0, True), *outcome.pop("puts", ()))}
    with pytest.raises(LockError, match=r"surrogate|cannot last"):
        store.transact(Query(writes=True), lambda _: Outcome(None, **more, **outcome))
    with pytest.raises(LockError, match="surrogate"):
        grant(store, new("/b"), namespace=HALF)
    assert everything(store) == {lock.token: lock}
    assert look(store).fence == lock.fence


def test_words_for_people_may_lose_half_a_character(store):
    outcome = Outcome(
        None,
        drops=(HALF,),
        drop_under=(DropUnder(HALF, 10**18), DropUnder("/a", 10**18, HALF)),
        drop_tickets=(HALF,),
        tombstones=(Tombstone("t", "/a", "/a", "anna", Ended.BROKEN, by=HALF, reason="why\ud800"),),
        notes=(Note("broken", "/a", HALF, {"why": HALF}),),
        puts=(Put(new("/b", details=Details(reason=HALF)), 60.0, True),),
    )
    (row,) = store.transact(Query(writes=True), lambda _: outcome).rows
    assert everything(store) == {row.token: row}
    assert look(store, tokens=("t",), tombstones=True).tombstones[0].reason == "why?"
    assert store.notes()[0] == Note("broken", "/a", "/?", {"why": HALF})


def test_near_leaves_a_path_that_is_too_deep_to_the_general_way(store):
    grant(store, new("/d"))
    assert store.near("", "/e" * 300)
    assert look(store, paths=("/d" * 2_000,)).locks
    assert not look(store, paths=("/e" * 2_000,)).locks
    filtered = look(store, paths=("/d" * 2_000,), scopes=frozenset({Scope.EXCLUSIVE}))
    assert keys(store) == ["/d"] == [held.lock.key for held in filtered.locks]


def test_counts_follow_whoever_writes(store):
    rows = grant(store, *(new(f"/{number}", creator=name) for number, name in enumerate((None, "anna", "anna", "bob"))))
    tamper(store, "UPDATE locks SET creator = 'bob' WHERE key = '/1'")
    tamper(store, "UPDATE locks SET namespace = 'n' WHERE key = '/2'")
    tamper(store, "UPDATE locks SET creator = NULL WHERE key = '/3'")
    counted = {name: look(store, counts=True, count_creator=name).counts for name in (None, "anna", "bob")}
    assert counted == {None: Counts(3, 2, {}), "anna": Counts(3, 0, {}), "bob": Counts(3, 1, {})}
    assert look(store, "n", counts=True, count_creator="anna").counts == Counts(1, 1, {})
    release(store, rows[0])
