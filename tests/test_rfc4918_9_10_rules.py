"""What no single exchange can show of the rules: calls made twice, facts that came late, words without an address."""

from __future__ import annotations

import pytest

from locklib.core import rules
from locklib.core.if_header import parse_if
from locklib.core.model import (
    Depth,
    Details,
    Fact,
    Held,
    Lock,
    Permit,
    Principal,
    Query,
    Refusal,
    Scope,
    Snapshot,
    replace,
)
from locklib.core.rules import Asker, Creation, Granted, NeedFacts, Submission, Wish
from locklib.stores.memory import MemoryLockStore
from locklib.testing.kit import FakeClock

ALICE, BOB = Asker(Principal("alice")), Asker(Principal("bob"))
WISH = Wish("urn:uuid:1", "/a", "/a")


@pytest.fixture
def store() -> MemoryLockStore:
    return MemoryLockStore(clock=FakeClock(), processes="allow")


def test_an_acquire_made_twice_finds_its_own_lock(store: MemoryLockStore) -> None:
    """9.10.1: the token was chosen before the call, so a retry after a lost answer is no conflict with itself."""
    first = store.transact(*rules.acquire(WISH, Submission(ALICE, "/a")))
    again = store.transact(*rules.acquire(WISH, Submission(ALICE, "/a")))
    assert first.answer.again is False
    assert again.answer.again is True
    assert again.answer.lock == first.rows[0]
    assert len(listed(store)) == 1


def listed(store: MemoryLockStore) -> tuple[Held, ...]:
    return store.transact(*rules.listing(Query(trees=("/",)))).answer


def test_a_release_made_twice_finds_its_own_effect(store: MemoryLockStore) -> None:
    """9.11: the same request sent again succeeds again; another request does not."""
    store.transact(*rules.acquire(WISH, Submission(ALICE, "/a")))
    done = store.transact(*rules.release("/a", WISH.token, "r1", Submission(ALICE, "/a")))
    assert isinstance(done.answer, Lock)
    assert store.transact(*rules.release("/a", WISH.token, "r1", Submission(ALICE, "/a"))).answer is None
    other = store.transact(*rules.release("/a", WISH.token, "r2", Submission(ALICE, "/a"))).answer
    assert isinstance(other, Refusal)
    assert other.status == 409


def test_a_pending_lock_cannot_be_named(store: MemoryLockStore) -> None:
    """It refuses others, but is neither shown, nor refreshed, nor ended by its token."""
    pending = replace(WISH, pending=True)
    granted = store.transact(*rules.acquire(pending, Submission(ALICE, "/a"))).answer
    assert granted.lock.pending
    shown = Submission(ALICE, "/a", (WISH.token,))
    assert store.transact(*rules.release("/a", WISH.token, "r", shown)).answer.status == 409
    assert store.transact(*rules.refresh("/a", 60, shown)).answer.status == 412
    assert listed(store) == ()
    refused = store.transact(*rules.acquire(replace(WISH, token="urn:uuid:2"), Submission(BOB, "/a"))).answer
    assert (refused.status, refused.held, refused.retry_after) == (423, None, 1)
    write = store.transact(*rules.admit(rules.Need(keys=("/a",)), Submission(BOB, "/a"))).answer
    assert (write.status, write.held, write.retry_after) == (423, None, 1)
    store.transact(*rules.abandon(granted.lock))
    store.transact(*rules.abandon(granted.lock))
    assert store.transact(*rules.confirm(granted.lock)).answer is None


def test_an_if_whose_tags_nobody_locates_is_false() -> None:
    """Code outside HTTP has no request URL that a list could be about."""
    submission = Submission(ALICE, "/a", header=parse_if("(Not <DAV:no-lock>)"))
    assert not submission.verdict(Snapshot(), {}).true


def test_facts_are_asked_for_only_where_they_decide(store: MemoryLockStore) -> None:
    """A LOCK whose parent is locked by another asks whether the URL is mapped; a conflict makes the question idle."""
    store.transact(*rules.acquire(Wish("urn:uuid:p", "/c", "/c", Depth.ZERO), Submission(ALICE, "/c")))
    wish = Wish("urn:uuid:m", "/c/m", "/c/m", creation=Creation("/c/m", ("/c",)))
    assert store.transact(*rules.acquire(wish, Submission(BOB, "/c/m"))).answer == NeedFacts(("/c/m",))
    for fact, granted in ((Fact(True), True), (Fact(False), False), (Fact(None), False)):
        answer = store.transact(*rules.acquire(replace(wish, token=f"urn:{fact}"), Submission(BOB, "/c/m"),
                                               {"/c/m": fact})).answer  # fmt: skip
        assert isinstance(answer, Granted) is granted
    refused = store.transact(*rules.acquire(replace(wish, token="urn:uuid:n"), Submission(BOB, "/c/m"))).answer
    assert (refused.status, refused.hrefs) == (423, ("/c/m",))


# lock of the wish; permit; the locks beside it; whether the LOCK waits
SHARED = Lock("urn:s", "/a", scope=Scope.SHARED, creator="alice")
MINE = Lock("urn:m", "/a", scope=Scope.SHARED, creator="bob")
WAITS = {
    "a writer of the same URL": (SHARED, Permit("p", "", ("/a",)), (), True),
    "a writer of a member": (SHARED, Permit("p", "", ("/a/b",)), (), True),
    "a writer of a member of a depth 0 lock": (
        replace(SHARED, depth=Depth.ZERO), Permit("p", "", ("/a/b",)), (), False),
    "a writer elsewhere": (SHARED, Permit("p", "", ("/b",)), (), False),
    "a tree above": (SHARED, Permit("p", "", (), ("/",)), (), True),
    "a tree below": (SHARED, Permit("p", "", (), ("/a/b",)), (), True),
    "a tree elsewhere": (SHARED, Permit("p", "", (), ("/b",)), (), False),
    "a tree above a shared lock of depth 0 that stands beside": (
        SHARED, Permit("p", "", (), ("/a",), tokens=("urn:m",), creator="bob"), (replace(MINE, depth=Depth.ZERO),),
        True),
    "a membership": (SHARED, Permit("p", "", (), (), ("/a",)), (), True),
    "a writer under a shared lock that stands beside": (
        SHARED, Permit("p", "", ("/a",), tokens=("urn:m",), creator="bob"), (MINE,), False),
    "the same, shown by another": (SHARED, Permit("p", "", ("/a",), tokens=("urn:m",), creator="eve"), (MINE,), True),
    "the same under a bearer lock": (
        SHARED, Permit("p", "", ("/a",), tokens=("urn:m",)), (replace(MINE, creator=None),), False),
    "the same for an exclusive wish": (
        replace(SHARED, scope=Scope.EXCLUSIVE), Permit("p", "", ("/a",), tokens=("urn:m",), creator="bob"), (MINE,),
        True),
    "a shared lock that does not cover all of it": (
        replace(SHARED, key="/"), Permit("p", "", ("/a", "/b"), tokens=("urn:m",), creator="bob"), (MINE,), True),
}  # fmt: skip


@pytest.mark.parametrize("name", WAITS)
def test_which_older_writers_a_lock_waits_for(name: str) -> None:
    lock, permit, beside, waits = WAITS[name]
    others = tuple(Held(each, 60.0) for each in beside)
    assert rules.permits_in_the_way(lock, (permit,), others) == (("p",) if waits else ())


def test_end_these_ends_what_is_still_there(store: MemoryLockStore) -> None:
    lock = store.transact(*rules.acquire(WISH, Submission(ALICE, "/a"))).rows[0]
    gone = replace(lock, token="urn:uuid:gone")
    store.transact(*rules.end_these([lock, gone]))
    assert listed(store) == ()
    assert [note.event for note in store.notes()] == ["granted", "ended-with-resource"]


def test_the_root_is_kept_as_addressed(store: MemoryLockStore) -> None:
    """14.12: the key finds the lock, the root is what the client said."""
    done = store.transact(*rules.acquire(Wish("urn:uuid:r", "/a b", "/a%20b"), Submission(ALICE, "/a%20b")))
    assert (done.rows[0].key, done.rows[0].root) == ("/a b", "/a%20b")
    plain = store.transact(*rules.acquire(Wish("urn:uuid:q", "/q", "/q"), Submission(ALICE, "/q"))).rows[0]
    assert plain.details == Details()
