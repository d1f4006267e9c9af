"""Could one atomic lock table have given these answers? A checker of recorded histories, for any store or server.

Knows: what an operation on locks means to whoever watches from outside (RFC 4918 sections 6 and 7: scope, depth,
creator, token), that an answer holds at one instant between the call and its return, that a lock ends by itself around
its deadline, that a lock which is not yet granted may already refuse others.
Must not know: how a store or a rule decides. Nothing of `locklib.core.rules` is used here, for it is what is watched.

The method is that of Wing and Gong in the just-in-time form: go through the calls and returns in order of time, keep
every table that is possible so far, and place an operation only when its return asks for it. What makes it quick:

- trees that share no path are looked at one by one;
- an operation that changes nothing is placed at the first instant at which its answer is true: nothing is lost by that;
- before a return only those operations are tried that could matter to it;
- of two conflicting grants the one with the smaller fence came first.

An answer of this module is "ok" only if a whole order was found for every tree, "violation" only if there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import TypeAlias

from locklib.core.model import Depth, Scope

__all__ = [
    "Answer",
    "Effect",
    "Kind",
    "Limits",
    "Operation",
    "Overlap",
    "Verdict",
    "Violation",
    "check",
    "overlaps",
]


class Kind(StrEnum):
    """What was asked."""

    ACQUIRE = "acquire"
    REFRESH = "refresh"
    RELEASE = "release"
    CHECK = "check"
    LIST = "list"


class Answer(StrEnum):
    """What came back. BUSY: the lock was pending, and was dropped because a writer did not end in time."""

    YES = "yes"
    NO = "no"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as its client saw it; instants in seconds on one monotonic clock.

    call, returned: when it began, and when its answer was there; returned None: no answer came, it may have happened
    at any time after its call, or never. gone: such an operation cannot happen after this instant, because the process
    that did it was dead (None: it can). What was never sent does not belong into a history.
    lock: the name of the lock, given by the client *before* its acquire (say, in `owner_info`), so that a lock whose
    grant was never answered is known again where it shows. key: the canonical key; depth, scope, creator, timeout: as
    asked (timeout in seconds, math.inf: no end). submitted: a check's tokens, as names of locks.
    token, fence: of a grant. shown: the names that a list showed, as they came.
    """

    client: str
    kind: Kind
    call: float
    returned: float | None
    answer: Answer | None = None
    lock: str = ""
    key: str = "/"
    depth: Depth = Depth.INFINITY
    scope: Scope = Scope.EXCLUSIVE
    creator: str | None = None
    timeout: float = inf
    submitted: tuple[str, ...] = ()
    token: str | None = None
    fence: int | None = None
    shown: tuple[str, ...] = ()
    gone: float | None = None

    def __str__(self) -> str:
        what = " ".join((self.kind, *self._arguments()))
        came = "no answer" if self.returned is None else f"{self.answer}{self._result()}"
        until = "..." if self.returned is None else f"{self.returned:.6f}"
        return f"[{self.call:.6f} {until}] {self.client}: {what} -> {came}"

    def _arguments(self) -> Iterator[str]:
        if self.lock:
            yield self.lock
        if self.kind in (Kind.ACQUIRE, Kind.CHECK, Kind.LIST):
            yield self.key
        if self.kind is Kind.ACQUIRE:
            yield f"{self.scope} depth {self.depth}"
        if self.kind in (Kind.ACQUIRE, Kind.REFRESH):
            yield f"for {self.timeout:g} s"
        if self.kind is not Kind.LIST:
            yield f"by {self.creator}"
        if self.submitted:
            yield f"with {', '.join(self.submitted)}"

    def _result(self) -> str:
        if self.kind is Kind.LIST:
            return f" {list(self.shown)}"
        return "" if self.fence is None else f" fence {self.fence}"


@dataclass(frozen=True, slots=True)
class Limits:
    """eps: seconds by which a lock may outlive its deadline or fall short of it (I3). pending: seconds for which a lock
    that was never granted may refuse others after the death of its client. budget: tables that are tried for one tree
    before it is given up as undecided."""

    eps: float = 0.05
    pending: float = 30.0
    budget: int = 5_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """`operation` cannot be placed. held: the tables that were possible then, each as the names of its locks. part: the
    operations that show it, as few as were found to do."""

    operation: Operation
    why: str
    held: tuple[tuple[str, ...], ...] = ()
    part: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        held = " or ".join("{" + ", ".join(names) + "}" for names in self.held) or "-"
        return "\n".join((f"{self.why}: {self.operation}", f"  held: {held}", *(f"  {op}" for op in self.part)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a history. undecided: the trees that were given up. explored: how many tables were tried."""

    operations: int = 0
    trees: int = 0
    explored: int = 0
    violations: tuple[Violation, ...] = ()
    undecided: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.word == "ok"

    @property
    def word(self) -> str:
        return "violation" if self.violations else "undecided" if self.undecided else "ok"


def check(history: Iterable[Operation], limits: Limits | None = None) -> Verdict:
    """Whether one atomic table could have given these answers; the history may come in any order.

    Raises ValueError for a history that cannot be: an answer without a return, a name that two locks share.
    """
    limits = limits or Limits()
    operations = sorted(history, key=lambda operation: operation.call)
    _refuse_unfit(operations)
    violations = [*_twice_given(operations)]
    undecided: list[str] = []
    explored = 0
    trees = _trees(operations)
    for name, tree in trees.items():
        violations += _fences(tree)
        search = _Search(tree, limits)
        try:
            stuck = search.run()
            if stuck is not None:  # nobody is blamed before every way was tried
                search = _Search(tree, limits, explored=search.explored, wide=True)
                stuck = search.run()
        except _Exhausted:
            undecided.append(name)
        else:
            violations += [] if stuck is None else [_explained(tree, limits, stuck)]
        explored += search.explored
    return Verdict(len(operations), len(trees), explored, tuple(violations), tuple(undecided))


# ---- what is looked at before any order is sought -------------------------------------------------------------------


def _refuse_unfit(operations: Sequence[Operation]) -> None:
    names: set[str] = set()
    for operation in operations:
        if (operation.answer is None) != (operation.returned is None):
            raise ValueError(f"{operation}: an answer and the instant of its return belong together")
        if operation.returned is not None and operation.returned < operation.call:
            raise ValueError(f"{operation}: it returned before it was called")
        if operation.kind is Kind.ACQUIRE:
            if not operation.lock or operation.lock in names:
                raise ValueError(f"{operation}: each acquire must name a lock of its own, also one that is refused")
            names.add(operation.lock)


def _twice_given(operations: Sequence[Operation]) -> Iterator[Violation]:
    """A token belongs to one lock (RFC 4918 section 6.5)."""
    first: dict[str, Operation] = {}
    for operation in operations:
        if operation.token is not None and first.setdefault(operation.token, operation) is not operation:
            yield Violation(operation, "a token was given twice", part=(first[operation.token], operation))


def _fences(operations: Sequence[Operation]) -> Iterator[Violation]:
    """I6, for grants of which one returned before the other was called; the search sees to those that overlap."""
    grants = [op for op in operations if op.kind is Kind.ACQUIRE and op.fence is not None and op.returned is not None]
    highest = _Highest()
    returned = sorted(grants, key=lambda op: op.returned or 0.0)
    at = 0
    for grant in grants:
        while (returned[at].returned or 0.0) < grant.call:
            highest.note(returned[at])
            at += 1
        above = highest.over(grant)
        if above is not None and (above.fence or 0) >= (grant.fence or 0):
            yield Violation(grant, "the fence did not grow", part=(above, grant))


class _Highest:
    """The grants with the highest fence so far: of each key, of what covers all below a key, of what is below it."""

    def __init__(self) -> None:
        self.at: dict[str, Operation] = {}
        self.deep: dict[str, Operation] = {}
        self.below: dict[str, Operation] = {}

    def note(self, grant: Operation) -> None:
        _raise(self.at, grant.key, grant)
        if grant.depth is Depth.INFINITY:
            _raise(self.deep, grant.key, grant)
        for above in _above(grant.key):
            _raise(self.below, above, grant)

    def over(self, grant: Operation) -> Operation | None:
        found = [self.at.get(grant.key), *(self.deep.get(above) for above in _above(grant.key))]
        if grant.depth is Depth.INFINITY:
            found.append(self.below.get(grant.key))
        return max((op for op in found if op is not None), key=lambda op: op.fence or 0, default=None)


def _raise(table: dict[str, Operation], key: str, grant: Operation) -> None:
    old = table.get(key)
    if old is None or (old.fence or 0) < (grant.fence or 0):
        table[key] = grant


def _above(key: str) -> list[str]:
    parts = key.split("/")[1:] if key != "/" else []
    return ["/", *("/" + "/".join(parts[:n]) for n in range(1, len(parts)))] if parts else []


def _trees(operations: Sequence[Operation]) -> dict[str, list[Operation]]:
    """The history by top segment; one operation on the root joins all. Who only names a lock goes with that lock."""
    home = {op.lock: op.key for op in operations if op.kind is Kind.ACQUIRE}
    keys = [home.get(op.lock, op.key) if op.kind in (Kind.REFRESH, Kind.RELEASE) else op.key for op in operations]
    if any(key == "/" for key in keys):
        return {"/": list(operations)}
    trees: dict[str, list[Operation]] = defaultdict(list)
    for operation, key in zip(operations, keys, strict=True):
        trees["/" + key.split("/", 2)[1]].append(operation)
    return trees


# ---- places ----------------------------------------------------------------------------------------------------------


def _covers(root: str, depth: Depth, key: str) -> bool:
    if root == key:
        return True
    return depth is Depth.INFINITY and (root == "/" or key.startswith(root + "/"))


Area: TypeAlias = tuple[str, Depth]


def _meet(one: Area, other: Area) -> bool:
    """Whether one of both covers a resource of the other."""
    return _covers(*one, other[0]) or _covers(*other, one[0])


# ---- the search ------------------------------------------------------------------------------------------------------

Live: TypeAlias = frozenset[int]
"""A table: for each live lock the operation that gave it its present life (its acquire, or a refresh)."""

Config: TypeAlias = tuple[Live, frozenset[int]]
"""A table, and the operations placed already whose return is still to come."""


class _What:
    """What happens to an operation. At one instant the first two come first: what touches counts as concurrent."""

    CALL, MAY_END, RETURN, MUST_END, GONE, FORGOTTEN = range(6)


NONE: frozenset[int] = frozenset()


class _Exhausted(Exception):
    """The budget of a tree is used up."""


@dataclass(frozen=True, slots=True)
class _Stuck:
    """No order explains `operation`, whichever of these tables stood before its return."""

    operation: Operation
    tables: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class _Open:
    """What is under way at the present instant. ending: lives that may end by now; lingering: acquires of clients that
    have died, which may be pending still."""

    changes: set[int] = field(default_factory=set)
    reads: set[int] = field(default_factory=set)
    acquires: set[int] = field(default_factory=set)
    ending: set[int] = field(default_factory=set)
    lingering: set[int] = field(default_factory=set)


class _Search:
    """One tree. Operations are numbers here; `lock[n]` is the acquire of the lock that operation n speaks of, or -1."""

    def __init__(
        self, operations: Sequence[Operation], limits: Limits, *, explored: int = 0, wide: bool = False
    ) -> None:
        known = (op for op in operations if op.returned is not None or op.kind not in (Kind.CHECK, Kind.LIST))
        self.ops: list[Operation] = list(known)
        self.limits = limits
        self.explored = explored
        self.needed = self._near if wide else self._needed
        self.open = _Open()
        self.named = {op.lock: n for n, op in enumerate(self.ops) if op.kind is Kind.ACQUIRE}
        self.lock = [self.named.get(op.lock, -1) if op.lock else -1 for op in self.ops]
        self.submitted = [frozenset(self.named.get(name, -1) for name in op.submitted) for op in self.ops]
        self.area = [self._area(n) for n in range(len(self.ops))]
        self._met: dict[tuple[Area, Area], bool] = {}

    def _area(self, n: int) -> Area:
        op = self.ops[n]
        if op.kind is Kind.CHECK:
            return op.key, Depth.ZERO
        if op.kind is Kind.LIST:
            return op.key, Depth.INFINITY
        of = self.ops[self.lock[n]] if self.lock[n] >= 0 else op
        return of.key, of.depth

    def run(self) -> _Stuck | None:
        """Go through the events; what cannot be placed, or None. Raises _Exhausted."""
        configs: set[Config] = {(NONE, NONE)}
        for _, what, n in self._events():
            before = configs
            configs = self._after(configs, what, n)
            if not configs:
                return _Stuck(self.ops[n], self._tables(before))
        return None

    def _events(self) -> list[tuple[float, int, int]]:
        events: list[tuple[float, int, int]] = []

        def add(at: float, what: int, n: int) -> None:
            if at < inf:
                events.append((at, what, n))

        for n, op in enumerate(self.ops):
            last = op.returned if op.returned is not None else inf if op.gone is None else op.gone
            add(op.call, _What.CALL, n)
            add(last, _What.RETURN if op.returned is not None else _What.GONE, n)
            if self._gives_life(op):
                add(op.call + op.timeout - self.limits.eps, _What.MAY_END, n)
                add(last + op.timeout + self.limits.eps, _What.MUST_END, n)
            if op.kind is Kind.ACQUIRE and op.returned is None:
                add(last + self.limits.pending + self.limits.eps, _What.FORGOTTEN, n)
        events.sort()
        return events

    @staticmethod
    def _gives_life(op: Operation) -> bool:
        return op.kind in (Kind.ACQUIRE, Kind.REFRESH) and op.answer in (Answer.YES, None)

    @staticmethod
    def _is_change(op: Operation) -> bool:
        return op.kind not in (Kind.CHECK, Kind.LIST) and op.answer in (Answer.YES, None)

    def _after(self, configs: set[Config], what: int, n: int) -> set[Config]:
        match what:
            case _What.CALL:
                return self._called(configs, n)
            case _What.MAY_END:
                self.open.ending.add(n)
                return configs
            case _What.RETURN:
                return self._returned(configs, n)
            case _What.MUST_END:
                after = self._each(configs, n, lambda config: n not in config[0])
                self.open.ending.discard(n)
                return after
            case _What.GONE:
                return self._gone(configs, n)
            case _:
                self.open.lingering.discard(n)
                return configs

    # -- calls and returns --------------------------------------------------------------------------------------------

    def _called(self, configs: set[Config], n: int) -> set[Config]:
        op, now = self.ops[n], self.open
        change, pending = self._is_change(op), op.kind is Kind.ACQUIRE and op.answer is not Answer.NO
        (now.changes if change else now.reads).add(n)
        if not pending:
            return configs if change else {self._read(config, (n,)) for config in configs}
        now.acquires.add(n)
        configs = {config for config in configs if not self._came_too_late(n, config[1])}
        return {self._read(config, now.reads) for config in configs}

    def _came_too_late(self, n: int, done: frozenset[int]) -> bool:
        """Whether a conflicting acquire with a higher fence is placed already."""
        return any(self._is_before(n, other) for other in done)

    def _returned(self, configs: set[Config], n: int) -> set[Config]:
        after = self._each(configs, n, lambda config: n in config[1])
        self._close(n)
        return {(live, done - {n}) for live, done in after}

    def _gone(self, configs: set[Config], n: int) -> set[Config]:
        """It happened by now, or never will."""
        happened = self._each(configs, n, lambda config: n in config[1])
        self._close(n)
        if self.ops[n].kind is Kind.ACQUIRE:
            self.open.lingering.add(n)
        return {(live, done - {n}) for live, done in (*configs, *happened)}

    def _close(self, n: int) -> None:
        for group in (self.open.changes, self.open.reads, self.open.acquires):
            group.discard(n)

    # -- placing ------------------------------------------------------------------------------------------------------

    def _each(self, configs: set[Config], n: int, goal: Callable[[Config], bool]) -> set[Config]:
        """From each config all that meet `goal`, by placing no more than what may matter to operation n."""
        found: set[Config] = set()
        left: list[Config] = []
        for config in configs:
            (found.add if goal(config) else left.append)(config)
        seen: set[Config] = set(left)
        while left:
            for after in self._steps(left.pop(), n):
                self._spend()
                if goal(after):
                    found.add(after)
                elif after not in seen:
                    seen.add(after)
                    left.append(after)
        return self._best(found) if seen else found

    def _spend(self) -> None:
        self.explored += 1
        if self.explored > self.limits.budget:
            raise _Exhausted

    def _steps(self, config: Config, n: int) -> Iterator[Config]:
        live, done = config
        changes, locks = self.needed(n, config)
        for life in self.open.ending & live:
            if self.lock[life] in locks:
                yield self._read((live - {life}, done), self.open.reads)
        for m in changes:
            after = self._changed(m, live, done)
            if after is not None:
                yield self._read((after, done | {m}), self.open.reads)

    def _best(self, configs: set[Config]) -> set[Config]:
        """Without those that another one can still become: with fewer lives that may end, and fewer answers placed."""
        ending, reads = self.open.ending, self.open.reads
        groups: dict[Config, list[Config]] = defaultdict(list)
        for live, done in configs:
            groups[live - ending, done - reads].append((live, done))
        best: set[Config] = set()
        for group in groups.values():
            group.sort(key=lambda config: len(config[0]) + len(config[1]), reverse=True)
            kept: list[Config] = []
            for live, done in group:
                if not any(live <= more and done <= placed for more, placed in kept):
                    kept.append((live, done))
            best.update(kept)
        return best

    # -- what may matter to the operation that returns ----------------------------------------------------------------

    def _near(self, n: int, config: Config) -> tuple[set[int], set[int]]:
        """All that is linked to n by areas that meet, one after the other; as changes, and as locks that may end."""
        live, done = config
        rest = ((self.open.changes | self.open.reads) - done) | (self.open.ending & live)
        reached, border = {n}, [n]
        while border and rest:
            at = self.area[border.pop()]
            near = [m for m in rest if self._meets(at, self.area[m])]
            rest = rest.difference(near)
            reached.update(near)
            border += near
        return (reached & self.open.changes) - done, {self.lock[m] for m in reached if m in live}

    def _needed(self, n: int, config: Config) -> tuple[set[int], set[int]]:
        """What n needs, and what those need in turn; and what open questions need that a change would come before."""
        live, done = config
        now = self.open
        undone = now.changes - done
        asking = [m for m in now.reads - done if self.ops[m].kind in (Kind.CHECK, Kind.LIST)]
        placed: set[int] = set()
        ended: set[int] = set()
        left = [n]
        if n in live:
            self._want_end(self.lock[n], live, undone, ended, left)
        while left:
            m = left.pop()
            if m in placed:
                continue
            placed.add(m)
            before = len(ended)
            for lock in self._in_the_way(m, live):
                self._want_end(lock, live, undone, ended, left)
            left += self._first(m, undone)
            if m in now.changes or len(ended) > before:
                touched = [m, *ended]
                left += [q for q in asking if q not in placed and any(self._reach(q, t) for t in touched)]
        return placed & undone, ended

    def _want_end(self, lock: int, live: Live, undone: set[int], ended: set[int], left: list[int]) -> None:
        if lock not in ended:
            ended.add(lock)
            left += [m for m in undone if self.lock[m] == lock]

    def _in_the_way(self, n: int, live: Live) -> Iterator[int]:
        """The live locks without which n could be placed, or could not be true as it was answered."""
        op = self.ops[n]
        for lock in [self.lock[life] for life in live]:
            match op.kind:
                case Kind.ACQUIRE:
                    wanted = self._conflict(n, lock)
                case Kind.LIST:
                    wanted = self.ops[lock].lock not in op.shown and self._meets(self.area[n], self.area[lock])
                case Kind.CHECK:
                    wanted = self._reach(n, lock)
                case _:
                    wanted = self.lock[n] == lock
            if wanted:
                yield lock

    def _first(self, n: int, undone: set[int]) -> Iterator[int]:
        """The changes under way that may have to come before n is placed."""
        op = self.ops[n]
        for m in undone:
            if op.kind is Kind.ACQUIRE:
                if self._is_before(m, n) or (m in self.open.ending and self._conflict(n, self.lock[m])):
                    yield m
            elif op.kind is Kind.LIST:
                if self.ops[m].lock in op.shown:
                    yield m
            elif self.lock[m] in (self.lock[n], *self.submitted[n]) and self.lock[m] >= 0:
                yield m

    def _reach(self, question: int, n: int) -> bool:
        """Whether what becomes of the lock of n may change the answer of a check or a list."""
        return self._meets(self.area[question], self.area[n])

    # -- changes ------------------------------------------------------------------------------------------------------

    def _changed(self, n: int, live: Live, done: frozenset[int]) -> Live | None:
        """The table after operation n, or None if it would be refused."""
        op = self.ops[n]
        if op.kind is Kind.ACQUIRE:
            if self._is_blocked(n, live) or any(self._is_before(m, n) for m in self.open.acquires - done - {n}):
                return None
            return live | {n}
        life = self._life(n, live)
        if life is None:
            return None
        return live - {life} | {n} if op.kind is Kind.REFRESH else live - {life}

    def _is_blocked(self, n: int, live: Live) -> bool:
        return any(self._conflict(n, self.lock[life]) for life in live)

    def _is_before(self, one: int, other: int) -> bool:
        """Whether the fences of two conflicting grants tell that `one` came first."""
        first, second = self.ops[one], self.ops[other]
        if first.fence is None or second.fence is None or first.fence >= second.fence:
            return False
        return Kind.ACQUIRE is first.kind is second.kind and self._conflict(one, other)

    def _life(self, n: int, live: Live) -> int | None:
        """The present life of the lock that n refreshes or releases, if it is there and n's creator may do so."""
        lock = self.lock[n]
        for life in live:
            if self.lock[life] == lock:
                return life if self._is_creator(n, lock) else None
        return None

    def _is_creator(self, n: int, lock: int) -> bool:
        creator = self.ops[lock].creator
        return creator is None or creator == self.ops[n].creator

    # -- answers that change nothing ----------------------------------------------------------------------------------

    def _read(self, config: Config, reads: Iterable[int]) -> Config:
        """Place whatever is true now: it changes nothing, so nothing is lost by placing it early."""
        live, done = config
        true = [n for n in reads if n not in done and self._is_true(n, live, done)]
        return (live, done.union(true)) if true else config

    def _is_true(self, n: int, live: Live, done: frozenset[int]) -> bool:
        op = self.ops[n]
        match op.kind:
            case Kind.ACQUIRE:
                blocked = self._is_blocked(n, live)
                if op.answer is Answer.BUSY:
                    return not blocked
                return blocked or any(self._conflict(n, m) for m in self._pending(done) if m != n)
            case Kind.CHECK:
                return self._check_is_true(n, live, done)
            case Kind.LIST:
                return self._listed(op, live) == sorted(op.shown)
            case _:
                return self._life(n, live) is None

    def _check_is_true(self, n: int, live: Live, done: frozenset[int]) -> bool:
        """A write needs one submitted token among the locks that cover it; a pending lock refuses it as well."""
        op = self.ops[n]
        over = [self.lock[life] for life in live if self._meets(self.area[n], self.area[life])]
        over = [lock for lock in over if _covers(*self.area[lock], op.key)]
        if any(lock in self.submitted[n] and self._is_creator(n, lock) for lock in over):
            return op.answer is Answer.YES
        if op.answer is Answer.YES:
            return not over
        return bool(over) or any(_covers(*self.area[m], op.key) for m in self._pending(done))

    def _pending(self, done: frozenset[int]) -> Iterator[int]:
        """The acquires that may be pending: under way and not placed, dropped in the end, or left by a dead client."""
        yield from self.open.lingering
        for n in self.open.acquires:
            if n not in done or self.ops[n].answer is Answer.BUSY:
                yield n

    def _listed(self, op: Operation, live: Live) -> list[str]:
        locks = (self.ops[self.lock[life]] for life in live)
        return sorted(lock.lock for lock in locks if _covers(op.key, Depth.INFINITY, lock.key))

    # -- areas --------------------------------------------------------------------------------------------------------

    def _meets(self, one: Area, other: Area) -> bool:
        known = self._met.get((one, other))
        if known is None:
            known = self._met[one, other] = _meet(one, other)
        return known

    def _conflict(self, one: int, other: int) -> bool:
        """Whether two locks may not stand beside each other (RFC 4918 section 6.2)."""
        exclusive = Scope.EXCLUSIVE in (self.ops[one].scope, self.ops[other].scope)
        return exclusive and self._meets(self.area[one], self.area[other])

    def _tables(self, configs: Iterable[Config]) -> tuple[tuple[str, ...], ...]:
        tables = {tuple(sorted(self.ops[life].lock for life in live)) for live, _ in configs}
        return tuple(sorted(tables))


# ---- what shows a violation ------------------------------------------------------------------------------------------


def _explained(tree: Sequence[Operation], limits: Limits, stuck: _Stuck) -> Violation:
    """The violation with the least part of the history that was found to show it by itself."""
    operation = stuck.operation
    until = operation.returned if operation.returned is not None else inf
    early = [op for op in tree if op.call <= until]
    changes = [op for op in early if op is not operation and _Search._is_change(op)]
    part = early
    for fewer in ([*_close_to(operation, changes, stuck)], changes):
        candidate = sorted([*fewer, operation], key=lambda op: op.call)
        if _sticks(candidate, limits, operation):
            part = candidate
            break
    return Violation(operation, "no order explains this", stuck.tables[:4], tuple(part))


def _close_to(operation: Operation, changes: Iterable[Operation], stuck: _Stuck) -> Iterator[Operation]:
    held = {operation.lock, *operation.shown, *(name for table in stuck.tables for name in table)}
    until = operation.returned if operation.returned is not None else inf
    for op in changes:
        ended = op.returned if op.returned is not None else inf if op.gone is None else op.gone
        if op.lock in held or (op.call <= until and operation.call <= ended):
            yield op


def _sticks(part: Sequence[Operation], limits: Limits, operation: Operation) -> bool:
    try:
        stuck = _Search(part, limits).run()
    except _Exhausted:
        return False
    return stuck is not None and stuck.operation is operation


# ---- effects (I7) ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Effect:
    """What an application did to `key` between two instants, for a request by `creator` that submitted these locks."""

    client: str
    start: float
    end: float
    key: str
    creator: str | None = None
    submitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overlap:
    """An effect while a lock was held that did not let it in; `start`, `end`: of the hold, at the least."""

    effect: Effect
    lock: Operation
    start: float
    end: float

    def __str__(self) -> str:
        effect, hold = self.effect, f"[{self.start:.6f} {self.end:.6f}]"
        return (
            f"[{effect.start:.6f} {effect.end:.6f}] {effect.client} wrote {effect.key} by {effect.creator} "
            f"with {', '.join(effect.submitted) or 'no token'}, while {self.lock.lock} was held {hold}: {self.lock}"
        )


def overlaps(effects: Iterable[Effect], history: Iterable[Operation], limits: Limits | None = None) -> list[Overlap]:
    """Every effect within a foreign hold (I7): from the return of a grant to the call of its release or its deadline.

    A hold is taken as short as it may have been, so what is found did happen.
    """
    limits = limits or Limits()
    operations = list(history)
    locks = {op.lock: op for op in operations if op.kind is Kind.ACQUIRE}
    by_key: dict[str, list[tuple[float, float, Operation]]] = defaultdict(list)
    for hold in _holds(operations, limits.eps):
        by_key[hold[2].key].append(hold)
    found = []
    for effect in effects:
        for root in (*_above(effect.key), effect.key):
            for start, end, lock in by_key.get(root, ()):
                if effect.start < end and start < effect.end and _is_foreign(effect, lock, locks):
                    found.append(Overlap(effect, lock, start, end))
    return found


def _holds(operations: Sequence[Operation], eps: float) -> Iterator[tuple[float, float, Operation]]:
    """For how long, at the least, each granted lock was held."""
    later: dict[str, list[Operation]] = defaultdict(list)
    for op in sorted(operations, key=lambda op: op.call):
        if op.kind in (Kind.REFRESH, Kind.RELEASE) and op.answer in (Answer.YES, None):
            later[op.lock].append(op)
    for op in operations:
        if op.kind is Kind.ACQUIRE and op.answer is Answer.YES and op.returned is not None:
            end = _least_end(op, later[op.lock], eps)
            if op.returned < end:
                yield op.returned, end, op


def _least_end(grant: Operation, later: Iterable[Operation], eps: float) -> float:
    """The call of its release, or the least deadline that its refreshes allow, whichever of them came last."""
    end = grant.call + grant.timeout - eps
    unsure: list[tuple[float, float]] = []  # until when each may still take effect, and the life that it would give
    for op in later:
        if op.kind is Kind.RELEASE:
            return min(end, op.call)
        lives = [op.timeout, *(life for until, life in unsure if until >= op.call)]
        renewed = op.call + min(lives) - eps
        end = renewed if op.answer is Answer.YES else min(end, renewed)
        until = op.returned if op.returned is not None else inf if op.gone is None else op.gone
        unsure.append((until, op.timeout))
    return end


def _is_foreign(effect: Effect, lock: Operation, locks: dict[str, Operation]) -> bool:
    """Whether `lock` covers the effect, and neither it nor (where it is shared) one beside it was submitted."""
    if not _covers(lock.key, lock.depth, effect.key):
        return False
    own = [locks[name] for name in effect.submitted if name in locks]
    own = [op for op in own if op.creator in (None, effect.creator) and _covers(op.key, op.depth, effect.key)]
    if lock.scope is Scope.SHARED:
        return not any(op.scope is Scope.SHARED for op in own)
    return lock not in own
