"""The checker of histories is worth what it catches: each planted fault is blamed, the right store never is.

The stores here are simulated: many clients in virtual time on one table, where each operation takes effect at one
instant within its call and return. A store has at most one fault; the simulation is the same for all.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf

import pytest

from locklib.core.model import Depth, Scope
from locklib.testing.linearize import Answer, Effect, Kind, Limits, Operation, check, overlaps

LIMITS = Limits(eps=0.05, pending=0.5)


def covers(root: str, depth: Depth, key: str) -> bool:
    return root == key or (depth is Depth.INFINITY and key.startswith(root + "/"))


@dataclass
class Row:
    """A lock in the simulated store."""

    op: Operation
    expires: float
    fence: int
    pending: bool = True
    copies: int = 1


class RightStore:
    """One table, one instant for each operation, deadlines within a fifth of eps. A fault overrides a method."""

    pending_lasts = 0.4

    def __init__(self, pick: random.Random) -> None:
        self.pick = pick
        self.rows: dict[str, Row] = {}
        self.fence = 0

    def deadline(self, now: float, lasts: float) -> float:
        return now + lasts + self.pick.uniform(-0.01, 0.01)

    def sweep(self, now: float) -> None:
        for name in [name for name, row in self.rows.items() if row.expires <= now]:
            self.lose(name)

    def lose(self, name: str) -> None:
        del self.rows[name]

    def meet(self, one: Operation, other: Operation) -> bool:
        return covers(one.key, one.depth, other.key) or covers(other.key, other.depth, one.key)

    def compatible(self, one: Operation, other: Operation) -> bool:
        return one.scope is other.scope is Scope.SHARED

    def conflicts(self, asked: Operation, now: float) -> bool:
        return any(self.meet(asked, row.op) and not self.compatible(asked, row.op) for row in self.rows.values())

    def next_fence(self) -> int:
        self.fence += 1
        return self.fence

    def pend(self, asked: Operation, now: float) -> Row | None:
        if self.conflicts(asked, now):
            return None
        self.rows[asked.lock] = row = Row(asked, self.deadline(now, self.pending_lasts), self.next_fence())
        return row

    def confirm(self, asked: Operation, now: float) -> bool:
        row = self.rows.get(asked.lock)
        if row is None:
            return False
        row.pending, row.expires = False, self.deadline(now, asked.timeout)
        return True

    def drop(self, asked: Operation) -> None:
        self.rows.pop(asked.lock, None)

    def token(self, asked: Operation) -> str:
        return "token-" + asked.lock

    def mine(self, row: Row | None, asked: Operation) -> bool:
        return row is not None and not row.pending and row.op.creator == asked.creator

    def refresh(self, asked: Operation, now: float) -> bool:
        row = self.rows.get(asked.lock)
        if not self.mine(row, asked):
            return False
        row.expires = self.deadline(now, asked.timeout)
        return True

    def release(self, asked: Operation, now: float) -> bool:
        if not self.mine(self.rows.get(asked.lock), asked):
            return False
        del self.rows[asked.lock]
        return True

    def opens(self, row: Row, asked: Operation) -> bool:
        return row.op.lock in asked.submitted and row.op.creator == asked.creator

    def check(self, asked: Operation, now: float) -> bool:
        over = [row for row in self.rows.values() if covers(row.op.key, row.op.depth, asked.key)]
        return not over or any(self.opens(row, asked) for row in over)

    def shown(self, asked: Operation, now: float) -> tuple[str, ...]:
        rows = [row for row in self.rows.values() if covers(asked.key, Depth.INFINITY, row.op.key)]
        return tuple(row.op.lock for row in rows for _ in range(row.copies) if not row.pending)

    def restart(self) -> None:
        """Locks outlive it."""


# ---- clients in virtual time -----------------------------------------------------------------------------------------


KEYS = ("", "/a", "/a/x", "/a/y", "/b", "/ab")


@dataclass
class Simulation:
    """`clients` at work on `trees`, until `operations` are recorded."""

    store: RightStore
    pick: random.Random
    trees: int = 1
    clients: int = 6
    now: float = 0.0
    history: list[Operation] = field(default_factory=list)
    names: Iterator[int] = field(default_factory=count)
    held: dict[str, tuple[Operation, str]] = field(default_factory=dict)

    def run(self, operations: int) -> list[Operation]:
        queue: list[tuple[float, int, Iterator[float]]] = []
        order = count()
        for number in range(self.clients):
            heapq.heappush(queue, (self.pick.random() * 0.01, next(order), self.client(number)))
        heapq.heappush(queue, (0.3, next(order), self.restarts()))
        while len(self.history) < operations:
            self.now, _, work = heapq.heappop(queue)
            self.store.sweep(self.now)
            heapq.heappush(queue, (self.now + next(work), next(order), work))
        return self.history

    def restarts(self) -> Iterator[float]:
        while True:
            self.store.restart()
            yield 0.3

    def client(self, number: int) -> Iterator[float]:
        for life in count():
            who = f"c{number}.{life}"
            while True:
                yield self.pick.expovariate(60)
                asked = self.question(who, f"p{number % 4}")
                alive = yield from self.play(asked)
                if not alive:
                    break

    def question(self, who: str, creator: str) -> Operation:
        pick = self.pick
        tree = f"/t{pick.randrange(self.trees)}"
        kind = pick.choices(list(Kind), (6, 2, 4, 6, 2))[0]
        mine = [op for op, owner in self.held.values() if owner == creator and op.key.startswith(tree)]
        if kind in (Kind.REFRESH, Kind.RELEASE):
            known = mine if pick.random() < 0.9 else [op for op, _ in self.held.values()]
            if not known:
                kind = Kind.ACQUIRE
            else:
                of = pick.choice(known)
                timeout = pick.choice((0.2, 0.6))
                return Operation(who, kind, self.now, None, lock=of.lock, key=of.key, creator=creator, timeout=timeout)
        if kind is Kind.LIST:
            return Operation(who, kind, self.now, None, key=tree + pick.choice(("", "/a")))
        key = tree + pick.choice(KEYS)
        if kind is Kind.CHECK:
            near = [op.lock for op, _ in self.held.values() if op.key.startswith(tree)]
            shown = tuple(pick.sample(near, min(len(near), pick.randrange(3))))
            shown = tuple(op.lock for op in mine) if pick.random() < 0.5 else shown
            return Operation(who, kind, self.now, None, key=key, creator=creator, submitted=shown)
        return Operation(
            who,
            kind,
            self.now,
            None,
            lock=f"L{next(self.names)}",
            key=key,
            depth=pick.choice(list(Depth)),
            scope=pick.choice((Scope.EXCLUSIVE, Scope.SHARED, Scope.SHARED)),
            creator=creator,
            timeout=pick.choice((0.2, 0.4, 2.0)),
        )

    def play(self, asked: Operation) -> Iterator[float]:
        """Call, effect, return; now and then the client dies somewhere between. Whether it lives."""
        dies = self.pick.random() < 0.02
        steps = self.steps(asked)
        last = self.pick.randrange(4) if dies else inf
        for step in count():
            if step >= last:
                self.history.append(replace(asked, gone=self.now + 0.001))
                return False
            done = next(steps)
            if done is not None:
                break
            yield self.pick.choice((0.0005, 0.002, 0.01))
        self.history.append(replace(done, returned=self.now))
        if done.kind is Kind.ACQUIRE and done.answer is Answer.YES:
            self.held[done.lock] = (done, done.creator)
            if len(self.held) > 12:
                self.held.pop(next(iter(self.held)))
        return True

    def steps(self, asked: Operation) -> Iterator[Operation | None]:
        store, pick = self.store, self.pick
        yield None
        match asked.kind:
            case Kind.ACQUIRE:
                row = store.pend(asked, self.now)
                yield None
                if row is None:
                    yield replace(asked, answer=Answer.NO)
                elif pick.random() < 0.05:
                    store.drop(asked)
                    yield None
                    yield replace(asked, answer=Answer.BUSY)
                granted = store.confirm(asked, self.now)
                yield None
                answer = Answer.YES if granted else Answer.BUSY
                token = store.token(asked) if granted else None
                yield replace(asked, answer=answer, token=token, fence=row.fence if granted else None)
            case Kind.LIST:
                shown = store.shown(asked, self.now)
                yield None
                yield replace(asked, answer=Answer.YES, shown=shown)
            case _:
                answer = getattr(store, asked.kind)(asked, self.now)
                yield None
                yield replace(asked, answer=Answer.YES if answer else Answer.NO)


def simulated(store: type[RightStore], seed: int, operations: int = 1_500, **more: int) -> list[Operation]:
    pick = random.Random(seed)
    return Simulation(store(pick), pick, **more).run(operations)


# ---- the right store -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 3, 8, 12])
def test_the_right_store_is_never_blamed(clients):
    for seed in range(12):
        verdict = check(simulated(RightStore, seed, 600, clients=clients, trees=1 + seed % 3), LIMITS)
        assert verdict.word == "ok", (seed, *map(str, verdict.violations))
        assert verdict.operations == 600


def test_the_simulation_says_something():
    """Else it would prove nothing that no right store is blamed: every answer of every kind is there."""
    history = simulated(RightStore, 1, 4_000)
    answers = {(op.kind, op.answer) for op in history}
    both = {(kind, answer) for kind in Kind for answer in (Answer.YES, Answer.NO)} - {(Kind.LIST, Answer.NO)}
    assert both <= answers
    assert (Kind.ACQUIRE, Answer.BUSY) in answers
    assert {(kind, None) for kind in (Kind.ACQUIRE, Kind.REFRESH, Kind.RELEASE)} <= answers
    grants = [op for op in history if op.kind is Kind.ACQUIRE and op.answer is Answer.YES]
    released = {op.lock for op in history if op.kind is Kind.RELEASE}
    assert len(grants) > 300
    assert sum(op.lock not in released for op in grants) > 30  # so many ended by themselves


# ---- planted faults --------------------------------------------------------------------------------------------------


class GrantsTwo(RightStore):
    def conflicts(self, asked: Operation, now: float) -> bool:
        return super().conflicts(asked, now) and self.pick.random() > 0.1


class Forgets(RightStore):
    def check(self, asked: Operation, now: float) -> bool:
        if self.rows and self.pick.random() < 0.05:
            del self.rows[self.pick.choice(list(self.rows))]
        return super().check(asked, now)


class OutlivesItsEnd(RightStore):
    def deadline(self, now: float, lasts: float) -> float:
        return now + lasts + 0.15


class GoneTooEarly(RightStore):
    def deadline(self, now: float, lasts: float) -> float:
        return now + lasts - 0.15


class RefreshesTheDead(RightStore):
    def __init__(self, pick: random.Random) -> None:
        super().__init__(pick)
        self.dead: dict[str, Row] = {}

    def lose(self, name: str) -> None:
        self.dead[name] = self.rows.pop(name)

    def refresh(self, asked: Operation, now: float) -> bool:
        if asked.lock in self.dead and not self.dead[asked.lock].pending:
            self.rows[asked.lock] = self.dead.pop(asked.lock)
        return super().refresh(asked, now)


class RefreshesNothing(RightStore):
    def refresh(self, asked: Operation, now: float) -> bool:
        return self.mine(self.rows.get(asked.lock), asked)


class FenceGoesBack(RightStore):
    def restart(self) -> None:
        self.fence = 0


class FenceStands(RightStore):
    def next_fence(self) -> int:
        self.fence += self.pick.random() < 0.9
        return self.fence


class IgnoresDepth(RightStore):
    """Every lock is of depth 0 to a LOCK."""

    def meet(self, one: Operation, other: Operation) -> bool:
        return one.key == other.key


class IgnoresMembers(RightStore):
    """A LOCK of depth infinity does not mind the locks below."""

    def meet(self, one: Operation, other: Operation) -> bool:
        return covers(other.key, other.depth, one.key)


class EveryDepthIsInfinity(RightStore):
    def meet(self, one: Operation, other: Operation) -> bool:
        return covers(one.key, Depth.INFINITY, other.key) or covers(other.key, Depth.INFINITY, one.key)


class TakesPrefixesForParents(RightStore):
    def meet(self, one: Operation, other: Operation) -> bool:
        pairs = ((one, other), (other, one))
        return super().meet(one, other) or any(a.depth is Depth.INFINITY and b.key.startswith(a.key) for a, b in pairs)


class SharedIsExclusive(RightStore):
    def compatible(self, one: Operation, other: Operation) -> bool:
        return False


class ExclusiveIsShared(RightStore):
    def compatible(self, one: Operation, other: Operation) -> bool:
        return Scope.SHARED in (one.scope, other.scope)


class ReleasesNothing(RightStore):
    def release(self, asked: Operation, now: float) -> bool:
        return self.mine(self.rows.get(asked.lock), asked)


class ReleasesForAnybody(RightStore):
    def release(self, asked: Operation, now: float) -> bool:
        row = self.rows.get(asked.lock)
        return row is not None and super().release(replace(asked, creator=row.op.creator), now)


class OpensForAnother(RightStore):
    def opens(self, row: Row, asked: Operation) -> bool:
        return row.op.lock in asked.submitted


class OpensWithoutToken(RightStore):
    def opens(self, row: Row, asked: Operation) -> bool:
        return row.op.creator == asked.creator


class LosesOneWhenRestarted(RightStore):
    def restart(self) -> None:
        granted = [name for name, row in self.rows.items() if not row.pending]
        if granted:
            del self.rows[self.pick.choice(granted)]


class Doubles(RightStore):
    """A LOCK that is sent twice by a driver makes two locks."""

    def pend(self, asked: Operation, now: float) -> Row | None:
        row = super().pend(asked, now)
        if row is not None and self.pick.random() < 0.05:
            row.copies = 2
        return row


class ShowsPending(RightStore):
    def shown(self, asked: Operation, now: float) -> tuple[str, ...]:
        return tuple(row.op.lock for row in self.rows.values() if covers(asked.key, Depth.INFINITY, row.op.key))


class ListsFromACache(RightStore):
    def __init__(self, pick: random.Random) -> None:
        super().__init__(pick)
        self.cache: dict[str, tuple[float, tuple[str, ...]]] = {}

    def shown(self, asked: Operation, now: float) -> tuple[str, ...]:
        at, shown = self.cache.get(asked.key, (-inf, ()))
        if now - at > 0.1:
            at, shown = self.cache[asked.key] = now, super().shown(asked, now)
        return shown


class ChecksFromACache(RightStore):
    def __init__(self, pick: random.Random) -> None:
        super().__init__(pick)
        self.cached: tuple[float, dict[str, Row]] = (-inf, {})

    def check(self, asked: Operation, now: float) -> bool:
        if now - self.cached[0] > 0.1:
            self.cached = now, dict(self.rows)
        rows, self.rows = self.rows, self.cached[1]
        try:
            return super().check(asked, now)
        finally:
            self.rows = rows


class RefusesAtWhim(RightStore):
    def conflicts(self, asked: Operation, now: float) -> bool:
        return super().conflicts(asked, now) or self.pick.random() < 0.02


class GivesATokenTwice(RightStore):
    def token(self, asked: Operation) -> str:
        return f"token-{int(asked.lock[1:]) // 2}"


class ForgetsToConfirm(RightStore):
    """The lock is granted and ends when the pending one would have."""

    pending_lasts = 0.1

    def confirm(self, asked: Operation, now: float) -> bool:
        if asked.lock in self.rows:
            self.rows[asked.lock].pending = False
        return asked.lock in self.rows


class LosesTheDrop(RightStore):
    """A LOCK that was answered "busy" is held all the same."""

    def drop(self, asked: Operation) -> None:
        super().confirm(asked, self.rows[asked.lock].expires - self.pending_lasts if asked.lock in self.rows else 0.0)


FAULTS = [
    GrantsTwo,
    Forgets,
    OutlivesItsEnd,
    GoneTooEarly,
    RefreshesTheDead,
    RefreshesNothing,
    FenceGoesBack,
    FenceStands,
    IgnoresDepth,
    IgnoresMembers,
    EveryDepthIsInfinity,
    TakesPrefixesForParents,
    SharedIsExclusive,
    ExclusiveIsShared,
    ReleasesNothing,
    ReleasesForAnybody,
    OpensForAnother,
    OpensWithoutToken,
    LosesOneWhenRestarted,
    Doubles,
    ShowsPending,
    ListsFromACache,
    ChecksFromACache,
    RefusesAtWhim,
    GivesATokenTwice,
    ForgetsToConfirm,
    LosesTheDrop,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_blamed(fault):
    verdicts = [check(simulated(fault, 1, 2_500, clients=clients), LIMITS) for clients in (4, 8)]
    violations = [violation for verdict in verdicts for violation in verdict.violations]
    assert violations
    first = violations[0]
    assert first.operation in first.part
    assert str(first.operation) in str(first)


# ---- histories by hand -----------------------------------------------------------------------------------------------


def op(kind: str, call: float, returned: float | None, answer: str | None, lock: str = "", **more: object) -> Operation:
    more = {"creator": "anna", "key": "/d", "timeout": 10.0} | more
    return Operation("c", Kind(kind), call, returned, answer and Answer(answer), lock=lock, **more)


def grant(lock: str, call: float, returned: float | None, **more: object) -> Operation:
    answer = None if returned is None else "yes"
    return op("acquire", call, returned, answer, lock, **({"token": lock} if answer else {}) | more)


LAWFUL = {
    "nothing": [],
    "one after the other": [grant("A", 0, 1), op("release", 2, 3, "yes", "A"), grant("B", 4, 5)],
    "at the same instants": [grant("A", 0, 1), op("release", 1, 2, "yes", "A"), grant("B", 2, 3)],
    "a release in flight lets the next in": [grant("A", 0, 1), op("release", 2, 5, "yes", "A"), grant("B", 3, 4)],
    "shared beside shared": [grant("A", 0, 1, scope=Scope.SHARED), grant("B", 2, 3, scope=Scope.SHARED)],
    "a pending lock refuses": [grant("A", 0, 9), op("acquire", 1, 2, "no", "B")],
    "a dropped one too": [op("acquire", 0, 9, "busy", "A"), op("acquire", 1, 2, "no", "B"), op("check", 3, 4, "no")],
    "an unknown one too": [grant("A", 0, None), op("acquire", 1, 2, "no", "B")],
    "of a dead client, for a while": [grant("A", 0, None, gone=1.0), op("acquire", 1.4, 1.5, "no", "B")],
    "unknown, and it happened": [grant("A", 0, None, gone=1.0), op("list", 2, 3, "yes", shown=("A",))],
    "unknown, and it never happened": [grant("A", 0, None, gone=1.0), op("list", 2, 3, "yes")],
    "unknown, and it happened late": [
        grant("A", 0, None),
        op("list", 2, 3, "yes"),
        op("list", 4, 5, "yes", shown=("A",)),
    ],
    "an unknown release may have been": [grant("A", 0, 1), op("release", 2, None, None, "A"), grant("B", 4, 5)],
    "an unknown release may not have been": [
        grant("A", 0, 1),
        op("release", 2, None, None, "A", gone=3),
        op("check", 4, 5, "no"),
    ],
    "an unknown refresh may have been": [
        grant("A", 0, 1),
        op("refresh", 9, None, None, "A", gone=9.5),
        op("check", 15, 16, "no"),
    ],
    "it ends by itself": [grant("A", 0, 1, timeout=2.0), grant("B", 3.5, 4)],
    "within the window it may be there": [grant("A", 0, 0.01, timeout=2.0), op("check", 2.02, 2.03, "no")],
    "or not": [grant("A", 0, 0.01, timeout=2.0), op("check", 1.96, 1.97, "yes")],
    "refreshed, it lives on": [
        grant("A", 0, 1, timeout=2.0),
        op("refresh", 1.5, 1.6, "yes", "A", timeout=5.0),
        op("check", 6, 6.1, "no"),
        op("check", 7, 7.1, "yes"),
    ],
    "its token opens for its creator": [grant("A", 0, 1), op("check", 2, 3, "yes", submitted=("A",))],
    "one token of two shared locks is enough": [
        grant("A", 0, 1, scope=Scope.SHARED),
        grant("B", 2, 3, scope=Scope.SHARED, creator="bob"),
        op("check", 4, 5, "yes", submitted=("A",)),
    ],
    "a bearer lock opens for its token": [
        grant("A", 0, 1, creator=None),
        op("check", 2, 3, "yes", creator="bob", submitted=("A",)),
        op("release", 4, 5, "yes", "A", creator="bob"),
    ],
    "depth 0 leaves its members": [grant("A", 0, 1, depth=Depth.ZERO), grant("B", 2, 3, key="/d/e")],
    "the root joins all trees": [grant("A", 0, 1, key="/"), op("check", 2, 3, "no", key="/x/y")],
    "fences that overlap in time, shared": [
        grant("A", 0, 5, fence=2, scope=Scope.SHARED),
        grant("B", 1, 4, fence=1, scope=Scope.SHARED),
    ],
    "fences of two trees": [grant("A", 0, 1, fence=5), grant("B", 2, 3, fence=4, key="/e")],
    "a bogus token": [op("refresh", 0, 1, "no", "nobody"), op("release", 2, 3, "no", "nobody")],
    "an unknown question asks nothing": [op("check", 0, None, None), op("list", 1, None, None)],
}

UNLAWFUL = {
    "two at once": [grant("A", 0, 1), grant("B", 2, 3)],
    "two at once, one of them on a member": [grant("A", 0, 1), grant("B", 2, 3, key="/d/e/f", scope=Scope.SHARED)],
    "two at once, one of them above": [grant("A", 0, 1, key="/d/e"), grant("B", 2, 3)],
    "refused by nobody": [op("acquire", 0, 1, "no", "A")],
    "a refusal that came before the lock": [op("acquire", 0, 1, "no", "B"), grant("A", 2, 3)],
    "two that refuse each other": [op("acquire", 0, 5, "no", "A"), op("acquire", 1, 4, "no", "B")],
    "a dropped lock is shown": [op("acquire", 0, 1, "busy", "A"), op("list", 2, 3, "yes", shown=("A",))],
    "a refused lock is shown": [
        grant("A", 0, 1),
        op("acquire", 2, 3, "no", "B"),
        op("list", 4, 5, "yes", shown=("A", "B")),
    ],
    "seen and then never there": [
        grant("A", 0, None, gone=1.0),
        op("list", 2, 3, "yes", shown=("A",)),
        op("list", 4, 5, "yes"),
    ],
    "it happened after its client was gone": [
        grant("A", 0, None, gone=1.0),
        op("list", 2, 3, "yes"),
        op("list", 4, 5, "yes", shown=("A",)),
    ],
    "pending for ever": [grant("A", 0, None, gone=1.0), op("list", 2, 3, "yes"), op("acquire", 4, 5, "no", "B")],
    "there too long": [grant("A", 0, 0.01, timeout=2.0), op("check", 2.07, 2.08, "no")],
    "gone too early": [grant("A", 0, 0.01, timeout=2.0), op("check", 1.93, 1.94, "yes")],
    "an acknowledged lock is lost": [grant("A", 0, 1), op("list", 2, 3, "yes")],
    "a lock nobody asked for": [op("list", 2, 3, "yes", shown=("X",))],
    "a lock is there twice": [grant("A", 0, 1), op("list", 2, 3, "yes", shown=("A", "A"))],
    "released and still there": [grant("A", 0, 1), op("release", 2, 3, "yes", "A"), op("check", 4, 5, "no")],
    "released twice": [grant("A", 0, 1), op("release", 2, 3, "yes", "A"), op("release", 4, 5, "yes", "A")],
    "released by another": [grant("A", 0, 1), op("release", 2, 3, "yes", "A", creator="bob")],
    "not released, though it is there": [grant("A", 0, 1), op("release", 2, 3, "no", "A")],
    "the dead refreshed": [grant("A", 0, 1, timeout=1.0), op("refresh", 4, 5, "yes", "A")],
    "a token opens for another": [grant("A", 0, 1), op("check", 2, 3, "yes", creator="bob", submitted=("A",))],
    "a token of elsewhere opens": [
        grant("A", 0, 1),
        grant("B", 2, 3, key="/d2"),
        op("check", 4, 5, "yes", submitted=("B",)),
    ],
    "its own creator is shut out": [grant("A", 0, 1), op("check", 2, 3, "no", submitted=("A",))],
    "the fence goes back": [
        grant("A", 0, 1, fence=7, scope=Scope.SHARED),
        grant("B", 2, 3, fence=6, key="/d/e", scope=Scope.SHARED),
    ],
    "the fence goes back, seen from above": [
        grant("A", 0, 1, fence=7, key="/d/e", scope=Scope.SHARED),
        grant("B", 2, 3, fence=7, scope=Scope.SHARED),
    ],
    "the fences of two that follow each other are swapped": [
        grant("A", 0, 3, fence=2),
        op("release", 3, 4, "yes", "A"),
        grant("B", 2, 9, fence=1),
        op("list", 3, 3.1, "yes", shown=("A",)),
    ],
    "a token is given twice": [grant("A", 0, 1, token="t"), grant("B", 2, 3, token="t", key="/e")],
}


@pytest.mark.parametrize("name", LAWFUL)
def test_a_lawful_history(name):
    verdict = check(LAWFUL[name], LIMITS)
    assert verdict.word == "ok", verdict.violations[0]
    assert verdict.ok


@pytest.mark.parametrize("name", UNLAWFUL)
def test_an_unlawful_history(name):
    verdict = check(UNLAWFUL[name], LIMITS)
    assert verdict.word == "violation"
    assert not verdict.ok


def test_a_violation_tells_what_was_held_and_leaves_out_the_rest():
    noise = [op("check", at, at + 0.1, "yes", key="/d/z") for at in (0.1, 0.2)]
    bystanders = [grant("Z", 0.3, 0.4, key="/other"), grant("Y", 0.5, 0.6, key="/d/y", depth=Depth.ZERO)]
    one, two = grant("A", 1, 2, key="/d/x"), grant("B", 3, 4, key="/d/x")
    (violation,) = check([*noise, *bystanders, one, two], LIMITS).violations
    assert violation.operation is two
    assert violation.held == (("A", "Y"),)
    assert one in violation.part
    assert bystanders[0] not in violation.part
    assert not set(noise) & set(violation.part)
    assert "acquire B /d/x exclusive depth infinity for 10 s by anna -> yes" in str(violation)


def test_the_part_that_is_told_shows_the_violation_by_itself():
    for fault in (GrantsTwo, ReleasesNothing, ListsFromACache):
        history = simulated(fault, 5, 2_500)
        violation = check(history, LIMITS).violations[0]
        again = check(violation.part, LIMITS).violations
        assert violation.operation in [found.operation for found in again]
        assert len(violation.part) < len(history) / 4


@pytest.mark.parametrize(
    "wrong",
    [
        [Operation("c", Kind.LIST, 0, None, Answer.YES)],
        [Operation("c", Kind.LIST, 0, 1, None)],
        [Operation("c", Kind.LIST, 1, 0, Answer.YES)],
        [Operation("c", Kind.ACQUIRE, 0, 1, Answer.YES)],
        [grant("A", 0, 1), op("acquire", 2, 3, "no", "A")],
    ],
    ids=["no return", "no answer", "returned before its call", "no name", "a name twice"],
)
def test_a_history_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="->"):
        check(wrong)


# ---- the budget, and speed -------------------------------------------------------------------------------------------


def test_a_budget_that_is_used_up_is_undecided_and_never_ok():
    history = simulated(RightStore, 3, 2_000, clients=12)
    verdict = check(history, replace(LIMITS, budget=50))
    assert verdict.word == "undecided"
    assert verdict.undecided == ("/t0",)
    assert not verdict.ok
    assert not verdict.violations


def test_a_violation_elsewhere_counts_though_a_tree_is_undecided():
    history = [*simulated(RightStore, 3, 2_000, clients=12), grant("A", 0, 1), grant("B", 2, 3)]
    assert check(history, replace(LIMITS, budget=50)).word == "violation"


def seconds(history: list[Operation], work: Callable[..., object] = check) -> float:
    start = time.process_time()
    assert work(history, LIMITS).ok
    return time.process_time() - start


def test_cost_grows_with_the_history_and_no_faster():
    """12 clients in one tree, half of all lives within their window: four times the operations, four times the cost.

    A few histories each, for some are harder than others; with slack for that and for a machine at work.
    """
    short, long = ([simulated(RightStore, seed, size, clients=12) for seed in range(3)] for size in (750, 3_000))
    tried = [sum(check(history, LIMITS).explored for history in histories) for histories in (short, long)]
    assert tried[1] < 20 * tried[0]
    assert tried[1] < 20 * 9_000
    assert sum(map(seconds, long)) < 20 * sum(map(seconds, short))


def test_operations_that_linger_do_not_explode():
    """32 clients that all stand still at once, each within an operation of its own: few matter to each other."""
    paused = [grant(f"L{n}", n * 0.001, 5.0, key=f"/d/k{n}", depth=Depth.ZERO) for n in range(32)]
    reads = [op("list", 5.1 + n, 5.2 + n, "yes", shown=tuple(f"L{m}" for m in range(32))) for n in range(3)]
    verdict = check([*paused, *reads], replace(LIMITS, budget=10_000))
    assert verdict.word == "ok"


# ---- effects ---------------------------------------------------------------------------------------------------------


def effect(start: float, end: float, key: str = "/d", creator: str = "bob", submitted: tuple[str, ...] = ()) -> Effect:
    return Effect("w", start, end, key, creator, submitted)


A = grant("A", 0, 1)
SHARED = grant("S", 0, 1, scope=Scope.SHARED)
OTHER = grant("T", 0, 1, scope=Scope.SHARED, creator="bob")
RELEASED = op("release", 5, 6, "yes", "A")

BESIDE = {
    "before the grant returned": ([A], effect(0.2, 0.9)),
    "after the call of the release": ([A, RELEASED], effect(5.1, 7)),
    "after a release of unknown outcome": ([A, op("release", 5, None, None, "A")], effect(5.1, 7)),
    "after the deadline": ([A], effect(9.96, 12)),
    "by its holder": ([A], effect(2, 3, creator="anna", submitted=("A",))),
    "elsewhere": ([A], effect(2, 3, key="/dd")),
    "below depth 0": ([replace(A, depth=Depth.ZERO)], effect(2, 3, key="/d/e")),
    "by the holder of a shared lock beside": ([SHARED, OTHER], effect(2, 3, submitted=("T",))),
    "where the refusal was": ([op("acquire", 0, 1, "no", "A")], effect(2, 3)),
    "within a grant of unknown outcome": ([grant("A", 0, None)], effect(2, 3)),
    "after a refresh of unknown outcome that shortens": (
        [A, op("refresh", 2, None, None, "A", timeout=1.0)],
        effect(3, 4),
    ),
    "after a refresh that shortens": ([A, op("refresh", 2, 2.1, "yes", "A", timeout=1.0)], effect(3, 4)),
    "after the shorter of two refreshes at once": (
        [A, op("refresh", 2, 4, "yes", "A", timeout=1.0), op("refresh", 3, 3.5, "yes", "A", timeout=9.0)],
        effect(4.2, 5),
    ),
}
WITHIN = {
    "whole": ([A, RELEASED], effect(2, 3)),
    "ends within": ([A], effect(0.5, 1.5)),
    "begins within": ([A, RELEASED], effect(4.9, 6)),
    "around it": ([A, RELEASED], effect(0.5, 6)),
    "on a member": ([A], effect(2, 3, key="/d/e/f")),
    "under the root's lock": ([replace(A, key="/")], effect(2, 3, key="/x")),
    "with another's token": ([A], effect(2, 3, submitted=("A",))),
    "with a token of elsewhere": ([A, grant("B", 0, 1, key="/e", creator="bob")], effect(2, 3, submitted=("B",))),
    "without a token in a shared lock": ([SHARED], effect(2, 3)),
    "with a shared token in an exclusive lock": ([A, OTHER], effect(2, 3, submitted=("T",))),
    "after a refresh": ([A, op("refresh", 5, 6, "yes", "A")], effect(12, 13)),
    "before a refresh that shortens": ([A, op("refresh", 5, 6, "yes", "A", timeout=1.0)], effect(2, 3)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_an_effect_beside_a_hold(name):
    history, wrote = BESIDE[name]
    assert overlaps([wrote], history, LIMITS) == []


@pytest.mark.parametrize("name", WITHIN)
def test_an_effect_within_a_foreign_hold(name):
    history, wrote = WITHIN[name]
    (found,) = overlaps([wrote], history, LIMITS)
    assert found.effect is wrote
    assert found.lock is history[0]
    assert f"while {history[0].lock} was held" in str(found)
