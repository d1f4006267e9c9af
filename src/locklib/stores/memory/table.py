"""The rows of one namespace in memory, their indexes, and what a query finds in them.

Knows: `Query`, `Snapshot`, `Put`, `DropUnder`; that an expired row is dead only once it is removed.
Must not know: a lock rule, a clock (it is told the time), a mutex (the store holds it).

One `Lock` is one row; it stands in `rows` by token, in `tree` by key and in `calendar` by its last second. The figure
to hold is 500 bytes a lock with all of that (`bench`).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import chain
from typing import Protocol

from locklib.core.model import Counts, DropUnder, Held, Lock, Page, Put, Query, Snapshot
from locklib.stores.common import as_stored, expired, matters, place, spelled_under
from locklib.stores.memory.calendar import Calendar
from locklib.stores.memory.remains import Graves, Queue
from locklib.stores.memory.tree import Tree

__all__ = ["Table"]

SWEEP = 64
SWEEP_FOR_COUNTS = 10_000


class _IsNear(Protocol):
    """`Tree.near`, bound."""

    def __call__(self, key: str, tree: bool = False) -> bool: ...


class Table:
    """The locks, tombstones and tickets of one namespace. All methods but `near` belong to who holds the mutex."""

    __slots__ = ("calendar", "creators", "graves", "near", "queue", "rows", "tree")

    def __init__(self) -> None:
        self.rows: dict[str, Lock] = {}
        self.tree: Tree = Tree()
        self.calendar: Calendar = Calendar(self.rows)
        self.creators: dict[str | None, tuple[str | None, int]] = {}
        self.graves: Graves = Graves()
        self.queue: Queue = Queue()
        self.near: _IsNear = self.tree.near

    @property
    def idle(self) -> bool:
        """Whether there is nothing here that must be kept."""
        return not (self.rows or self.graves or self.queue)

    # -- changes ------------------------------------------------------------------------------------------------

    def put(self, put: Put, now: float, fence: int) -> Lock:
        """Write one row and hand it back as stored. `fence` is the one to give if `put` is a grant."""
        old = self.rows.get(put.lock.token)
        lock = as_stored(put, old, now, fence, self._enlist(put.lock.creator))
        self._enter(lock, old)
        return lock

    def _enter(self, lock: Lock, old: Lock | None) -> None:
        self.rows[lock.token] = lock
        self.tree.add(lock)
        self.calendar.add(lock)
        if old is not None:
            if old.key != lock.key:
                self.tree.remove(old)
            self.calendar.remove(old)
            self._strike(old.creator)

    def drop(self, token: str) -> None:
        """Take the row out; nothing happens if it is not there."""
        lock = self.rows.pop(token, None)
        if lock is None:
            return
        self.tree.remove(lock)
        self.calendar.remove(lock)
        self._strike(lock.creator)

    def drop_under(self, order: DropUnder) -> None:
        doomed = [
            lock.token
            for lock in chain.from_iterable(self.tree.below(order.key))
            if lock.fence <= order.up_to_fence and spelled_under(lock.root, order.prefix)
        ]
        for token in doomed:
            self.drop(token)

    def _enlist(self, creator: str | None) -> str | None:
        """Count one more lock of `creator`; hands back the one string that all rows of this creator share."""
        name, count = self.creators.get(creator, (creator, 0))
        self.creators[creator] = (name, count + 1)
        return name

    def _strike(self, creator: str | None) -> None:
        name, count = self.creators[creator]
        if count == 1:
            del self.creators[creator]
        else:
            self.creators[creator] = (name, count - 1)

    def expire(self, lock: Lock, now: float) -> None:
        """Remove a row that ran out. A lock that was granted leaves a tombstone, a pending one was never anybody's."""
        self.drop(lock.token)
        if not lock.pending:
            self.graves.put(expired(lock), now)

    def sweep(self, now: float, budget: int) -> None:
        for lock in self.calendar.overdue(now, budget):
            self.expire(lock, now)

    # -- looking ------------------------------------------------------------------------------------------------

    def look(self, query: Query, now: float, fence: int) -> Snapshot:
        """What `query` asks for, alive at `now`; what it meets that ran out is removed."""
        if self.calendar.is_behind(now):
            self.sweep(now, SWEEP_FOR_COUNTS if query.counts else SWEEP)
        found: dict[str, Lock] = {}
        for path in query.paths:
            covering = self.tree.covering(path)
            for lock in self._living(covering, now) if covering else ():
                if matters(lock, query):
                    found[lock.token] = lock
        for token in query.tokens:
            row = self.rows.get(token)
            for lock in self._living([row], now) if row is not None else ():
                found[token] = lock
        more = self._look_below(query, now, found) if query.trees else False
        locks = list(found.values())
        if len(locks) > 1:
            locks.sort(key=place)
        return Snapshot(
            tuple([Held(lock, lock.expires_at - now) for lock in locks]),
            fence,
            tuple(self.graves.shown(query.tokens, now)) if query.tombstones else (),
            self.queue.shown(query.paths, now) if query.tickets else (),
            self._count(query) if query.counts else None,
            more,
        )

    def _living(self, locks: list[Lock], now: float) -> list[Lock]:
        living = [lock for lock in locks if lock.expires_at > now]
        if len(living) < len(locks):
            for lock in locks:
                if lock.expires_at <= now:
                    self.expire(lock, now)
        return living

    def _look_below(self, query: Query, now: float, found: dict[str, Lock]) -> bool:
        """Add what is at and below the trees of `query`. Whether there is more than its limit or page allows."""
        met: list[Lock] = []
        if query.page is not None:
            more = self._read_page(query, query.page, now, met, found)
        else:
            more = False
            for tree in query.trees:
                more = self._read_tree(tree, query, now, met, found) or more
        self._living(met, now)
        return more

    def _read_tree(self, tree: str, query: Query, now: float, met: list[Lock], found: dict[str, Lock]) -> bool:
        roots = 0
        for rows in self.tree.below(tree):
            shown = self._sift(rows, query, now, met)
            roots += bool(shown)
            if query.limit is not None and roots > query.limit:
                return True
            found.update({lock.token: lock for lock in shown})
        return False

    def _read_page(self, query: Query, page: Page, now: float, met: list[Lock], found: dict[str, Lock]) -> bool:
        after = ("", "") if page.after is None else page.after
        walks = [self.places(tree, after[0], query, now, met) for tree in query.trees]
        listed: dict[str, Lock] = {}
        for lock in merge(*walks, key=place):
            if page.after is not None and place(lock) <= after:
                continue
            listed[lock.token] = lock
            if len(listed) > page.limit:
                del listed[lock.token]
                found.update(listed)
                return True
        found.update(listed)
        return False

    def places(self, tree: str, after: str, query: Query, now: float, met: list[Lock]) -> Iterator[Lock]:
        for rows in self.tree.ordered(tree, after):
            yield from sorted(self._sift(rows, query, now, met), key=place)

    def _sift(self, rows: tuple[Lock, ...], query: Query, now: float, met: list[Lock]) -> list[Lock]:
        """Those of one root that live and matter; the others that ran out go to `met`, to be removed after the walk."""
        met.extend([lock for lock in rows if lock.expires_at <= now])
        return [lock for lock in rows if lock.expires_at > now and matters(lock, query)]

    def _count(self, query: Query) -> Counts:
        mine = self.creators.get(query.count_creator, (None, 0))[1]
        return Counts(len(self.rows), mine, {path: len(self.tree.at(path)) for path in query.paths})
