"""I1: at no instant do two incompatible locks cover one resource, depth included (RFC 4918 sections 6.1, 6.2, 7).

Every rule is compared, on every tree of four levels with two members each, with a definition that a reader can check
by eye: a lock is the set of the resources that it covers, and the rest is sets.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

import pytest

from locklib.core import rules
from locklib.core.model import (
    Depth,
    Fact,
    Held,
    Lock,
    Outcome,
    Permit,
    Principal,
    Put,
    Query,
    Refusal,
    Scope,
    Snapshot,
    replace,
)
from locklib.core.rules import Admitted, Asker, Creation, Granted, Need, NeedFacts, NeedMore, Submission, Wish
from locklib.stores.memory import MemoryLockStore
from support.direct import locks_in

# ---- the definitions -------------------------------------------------------------------------------------------------


def tree_of(levels: int) -> list[str]:
    """Every path of at most `levels` segments, each "a" or "b"."""
    return ["/"] + ["/" + "/".join(names) for depth in range(1, levels + 1) for names in product("ab", repeat=depth)]


FOUR, TWO = tree_of(4), tree_of(2)
RESOURCES = FOUR + [path.rstrip("/") + "/x" for path in FOUR]  # one more below each, so that nothing is a leaf


def at_or_under(path: str) -> set[str]:
    return {one for one in RESOURCES if one == path or one.startswith(path.rstrip("/") + "/")}


UNDER = {path: at_or_under(path) for path in FOUR}


def covered(lock: Lock) -> set[str]:
    return UNDER[lock.key] if lock.depth is Depth.INFINITY else {lock.key}


def compatible(one: Lock, other: Lock) -> bool:
    both_shared = one.scope is Scope.SHARED and other.scope is Scope.SHARED
    return both_shared or not covered(one) & covered(other)


def writable(touched: Iterable[str], held: Sequence[Lock], opened: Sequence[Lock]) -> bool:
    """Each touched resource needs one open lock among those that cover it (RFC 4918 section 6.2)."""
    for resource in touched:
        over = [lock for lock in held if resource in covered(lock)]
        if over and not any(lock in opened for lock in over):
            return False
    return True


# ---- locks and requests ----------------------------------------------------------------------------------------------


def every_lock(paths: Sequence[str], token: str, creator: str | None = None) -> list[Lock]:
    return [Lock(token, path, depth, scope, creator=creator) for path, depth, scope in product(paths, Depth, Scope)]


def store_with(*locks: Lock) -> MemoryLockStore:
    store = MemoryLockStore(processes="allow")
    store.transact(Query(writes=True), lambda _: Outcome(None, puts=tuple(Put(lock, 900.0, True) for lock in locks)))
    return store


def shows(tokens: Iterable[str] = (), name: str = "anna") -> Submission:
    return Submission(Asker(Principal(name)), "/asked", tuple(tokens))


def wish(lock: Lock) -> Wish:
    return Wish(lock.token, lock.key, lock.key, lock.depth, lock.scope)


def seen(locks: Iterable[Lock]) -> Snapshot:
    return Snapshot(tuple(Held(lock, 900.0) for lock in locks))


def test_the_trees_are_as_large_as_they_say():
    assert (len(TWO), len(FOUR), len(set(RESOURCES))) == (7, 31, 62)


# ---- LOCK ------------------------------------------------------------------------------------------------------------


def test_a_lock_is_granted_beside_another_exactly_if_both_may_stand():
    """All pairs of locks on all paths of four levels, in a store: 15 376 of them."""
    asked = every_lock(FOUR, "urn:t:asked", "bob")
    refused = 0
    for held in every_lock(FOUR, "urn:t:held", "anna"):
        store = store_with(held)
        for lock in asked:
            answer = store.transact(*rules.acquire(wish(lock), shows(name="bob"))).answer
            assert isinstance(answer, Granted) == compatible(held, lock), (held, lock)
            if isinstance(answer, Granted):
                store.transact(*rules.abandon(lock))
            else:
                refused += 1
        assert [one.lock.key for one in locks_in(store)] == [held.key]
    assert 1_000 < refused < 3_000


def test_a_lock_is_granted_beside_two_others_exactly_if_it_may_stand_beside_each():
    """All triples on all paths of two levels, as steps on what they are shown."""
    one, other, asked = (every_lock(TWO, f"urn:t:{name}") for name in ("one", "other", "asked"))
    pairs = [(a, b) for a, b in product(one, other) if compatible(a, b)]
    for held in pairs:
        snapshot = seen(held)
        for lock in asked:
            answer = rules.acquire(wish(lock), shows())[1](snapshot).answer
            expected = all(compatible(each, lock) for each in held)
            assert isinstance(answer, Granted) == expected, (held, lock)


def test_a_refusal_names_locks_that_are_in_the_way_and_no_others():
    for held, lock in product(every_lock(TWO, "urn:t:held"), every_lock(TWO, "urn:t:asked")):
        bystander = Lock("urn:t:bystander", "/b/b/b", Depth.ZERO, Scope.SHARED)
        answer = rules.acquire(wish(lock), shows())[1](seen([held, bystander])).answer
        in_the_way = [one for one in (held, bystander) if not compatible(one, lock)]
        over_it = [one for one in in_the_way if lock.key in covered(one)]
        if isinstance(answer, Refusal):
            assert {one.lock.token for one in answer.conflicts} == {one.token for one in over_it or in_the_way}
            assert answer.multistatus == (not over_it), (held, lock)
        else:
            assert not in_the_way


@pytest.mark.parametrize("seed", range(8))
def test_no_order_of_locks_and_unlocks_breaks_exclusion(seed):
    """600 random requests; after each, all pairs of what is held may stand beside each other."""
    pick = random.Random(seed)
    store, held = store_with(), {}
    for number in range(600):
        if held and pick.random() < 0.45:
            lock = held.pop(pick.choice(list(held)))
            store.transact(*rules.release(lock.key, lock.token, f"r{number}", shows(name=lock.creator)))
        else:
            lock = Lock(
                f"urn:t:{number}", pick.choice(FOUR), pick.choice(list(Depth)), pick.choice(list(Scope)), creator="bob"
            )
            answer = store.transact(*rules.acquire(wish(lock), shows(name="bob"))).answer
            assert isinstance(answer, Granted) == all(compatible(one, lock) for one in held.values())
            if isinstance(answer, Granted):
                held[lock.token] = lock
        rows = [one.lock for one in locks_in(store)]
        assert {row.token for row in rows} == set(held)
        assert all(compatible(one, other) for one, other in combinations(rows, 2))


# ---- writes ----------------------------------------------------------------------------------------------------------


def parent(path: str) -> tuple[str, ...]:
    return () if path == "/" else (path.rpartition("/")[0] or "/",)


def put(path: str) -> tuple[Need, set[str]]:
    """A write of a resource that is there: itself."""
    return Need(keys=(path,)), {path}


def make(path: str) -> tuple[Need, set[str]]:
    """A write that creates: itself, and the collection that gains a member."""
    return Need(keys=(path,), creations=(Creation(path, parent(path)),)), {path, *parent(path)}


def remove(path: str) -> tuple[Need, set[str]]:
    """DELETE, and either end of a MOVE: all of the tree, and the collection that it is a member of."""
    return Need(keys=(path,), trees=(path,), memberships=parent(path)), {*UNDER[path], *parent(path)}


WRITES = {"put": put, "make": make, "remove": remove}
UNMAPPED = Fact(mapped=False, status=404)


def shown_for(held: Sequence[Lock], opened: Sequence[Lock]) -> tuple[list[Lock], Submission]:
    """The locks with creators, and a request by anna that opens `opened` of them.

    What does not open is either not shown, or is shown although it is bob's: neither may open.
    """
    owned = [replace(lock, creator="anna" if lock in opened else "bob") for lock in held]
    tokens = [lock.token for lock in held if lock in opened or lock.depth is Depth.ZERO]
    return owned, shows(tokens)


def cases(paths: Sequence[str], count: int) -> Iterator[tuple[tuple[Lock, ...], tuple[Lock, ...]]]:
    """Every set of `count` locks that may be held together, with every choice of those that open."""
    for held in product(*(every_lock(paths, f"urn:t:{number}") for number in range(count))):
        if all(compatible(one, other) for one, other in combinations(held, 2)):
            for how_many in range(count + 1):
                for opened in combinations(held, how_many):
                    yield held, opened


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(("paths", "count"), [(FOUR, 1), (TWO, 2)], ids=["one-lock-of-124", "two-locks-of-28"])
def test_a_write_passes_exactly_if_all_that_it_touches_is_open(name, paths, count):
    refused = passed = 0
    requests = [(path, *WRITES[name](path)) for path in paths]
    for held, opened in cases(paths, count):
        owned, submission = shown_for(held, opened)
        snapshot = seen(owned)
        for path, need, touched in requests:
            answer = rules.admit(need, submission, {path: UNMAPPED})[1](snapshot).answer
            expected = writable(touched, held, opened)
            assert isinstance(answer, Admitted) == expected, (path, held, [lock.token for lock in opened])
            refused, passed = refused + (not expected), passed + expected
    assert refused > 100
    assert passed > 100


@pytest.mark.parametrize("seed", range(4))
def test_the_store_shows_a_write_all_that_it_needs_to_see(seed):
    """The same rule on what a store picks out for the query, with limits, among up to eight locks."""
    pick = random.Random(seed)
    for _ in range(300):
        held: list[Lock] = []
        for number in range(pick.randrange(9)):
            lock = Lock(f"urn:t:{number}", pick.choice(FOUR), pick.choice(list(Depth)), pick.choice(list(Scope)))
            if all(compatible(one, lock) for one in held):
                held.append(lock)
        opened = [lock for lock in held if pick.random() < 0.6]
        owned, submission = shown_for(held, opened)
        store = store_with(*owned)
        path = pick.choice(FOUR)
        need, touched = WRITES[pick.choice(list(WRITES))](path)
        answer = admitted(store, need, submission, path)
        assert isinstance(answer, Admitted) == writable(touched, held, opened), (path, need, held, opened)


def admitted(store: MemoryLockStore, need: Need, submission: Submission, path: str) -> object:
    """As a shell asks: again with facts, and again without a limit, where the step says so."""
    facts, unlimited = {}, False
    while True:
        answer = store.transact(*rules.admit(need, submission, facts, unlimited=unlimited)).answer
        if isinstance(answer, NeedFacts):
            assert answer.paths == (path,)
            facts = {path: UNMAPPED}
        elif isinstance(answer, NeedMore):
            unlimited = True
        else:
            return answer


# ---- what ends with a resource ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_with_a_tree_end_the_locks_rooted_in_it_and_no_others(seed):
    pick = random.Random(seed)
    for _ in range(100):
        locks = [
            Lock(f"urn:t:{number}", pick.choice(FOUR), pick.choice(list(Depth)), Scope.SHARED) for number in range(12)
        ]
        gone = pick.choice(FOUR)
        store = store_with(*locks)
        fence = max(one.lock.fence for one in locks_in(store))
        late = Lock("urn:t:late", gone, Depth.ZERO, Scope.SHARED)
        store.transact(*rules.acquire(wish(late), shows()))
        store.transact(*rules.end_under(gone, fence, None))
        left = {one.lock.token for one in locks_in(store)}
        assert left == {lock.token for lock in locks if lock.key not in UNDER[gone]} | {late.token}


# ---- LOCK against writers at work ------------------------------------------------------------------------------------


def test_a_lock_waits_exactly_for_the_writers_that_it_would_have_refused():
    """Publish, then look: the board decides as the lock would have, had it been there first."""
    for name, path in product(WRITES, FOUR):
        need, touched = WRITES[name](path)
        created = tuple(above for creation in need.creations for above in creation.parents)
        permit = Permit("p", "", need.keys, need.trees, (*need.memberships, *created), (), "bob")
        for lock in every_lock(FOUR, "urn:t:new", "anna"):
            waits = rules.permits_in_the_way(lock, [permit]) == ("p",)
            assert waits == (not writable(touched, [lock], [])), (name, path, lock)


def test_a_shared_lock_waits_exactly_for_writers_that_no_shared_lock_beside_it_lets_in():
    waited = passed = 0
    for beside, lock in product(every_lock(TWO, "urn:t:beside", "bob"), every_lock(TWO, "urn:t:new", "anna")):
        if not compatible(beside, lock):
            continue
        for name, path in product(WRITES, TWO):
            need, touched = WRITES[name](path)
            if not writable(touched, [beside], [beside]):
                continue
            created = tuple(above for creation in need.creations for above in creation.parents)
            permit = Permit("p", "", need.keys, need.trees, (*need.memberships, *created), (beside.token,), "bob")
            waits = rules.permits_in_the_way(lock, [permit], [Held(beside, 900.0)]) == ("p",)
            allowed = writable(touched, [beside, lock], [beside])
            assert waits or allowed, (name, path, beside, lock)
            waited, passed = waited + waits, passed + (not waits)
    assert waited > 100
    assert passed > 100
