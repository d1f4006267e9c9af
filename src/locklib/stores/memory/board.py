"""The board of permits in memory: who is at work on what, seen by every thread and loop of the process.

Knows: `Permit`, which keys a lock covers as far as "may touch" goes, a monotonic clock.
Must not know: whether a permit and a lock conflict (a rule of the core).

Publishing, renewing and ending take no mutex: each is one operation on one dict. An entry is a list [permit, deadline]
in one cell, so that a renewal that comes after the end writes into a list nobody holds, and cannot bring it back.

A plain write (`claim_now`) is put down as bare words under a number and becomes a `Permit` only when a LOCK asks, which
is rare. No number is given twice, so what is withdrawn late, in a forked child too, takes nobody else's down. It has no
deadline: its writer is in this process and withdraws it in a `finally`, however long the write takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count
from threading import Lock as Mutex
from typing import TypeAlias

from locklib.core.model import Lock, Permit
from locklib.core.paths import parent
from locklib.stores.common import may_touch

__all__ = ["Board", "Claim"]

Claim: TypeAlias = int
Words: TypeAlias = tuple[str, str, bool]  # namespace, key, tree

PLAIN = "plain:"
"""With the claim behind it, the name of the permit of a plain write."""

DIGITS = 18


class Board:
    """Permits by id, of all namespaces. `clock` gives monotonic seconds."""

    __slots__ = ("_clock", "_mutex", "claims", "entries", "plain")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.entries: dict[str, list[tuple[Permit, float]]] = {}
        self.plain: dict[Claim, Words] = {}  # gates hold it: never another one
        self.claims: Iterator[Claim] = count(1)
        self.clear()

    def clear(self) -> None:
        """Start anew with nothing published and nobody at work (after a fork too)."""
        self.entries.clear()
        self.plain.clear()
        self._mutex = Mutex()

    def publish(self, permit: Permit) -> None:
        """Make `permit` visible to every thread and loop of the process."""
        self.entries[permit.id] = [(permit, self._clock() + permit.lasts)]

    def end(self, permit: Permit) -> None:
        """Withdraw `permit`; nothing happens if it is not published."""
        self.entries.pop(permit.id, None)
        self.plain.pop(_claim_of(permit.id), None)

    def renew(self, permit: Permit) -> None:
        """Start the deadline of `permit` anew, if it is still published."""
        entry = self.entries.get(permit.id)
        if entry is not None:
            entry[0] = (permit, self._clock() + permit.lasts)

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Claim:
        claim = next(self.claims)
        self.plain[claim] = (namespace, key, tree)
        return claim

    def end_now(self, claim: Claim) -> None:
        self.plain.pop(claim, None)

    def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """The live permits of `namespace` that may touch what `lock` covers.

        Those past their deadline are removed: who ignores a permit takes it off the board.
        """
        now = self._clock()
        with self._mutex:
            permits = [*self._published(now), *self._claimed(namespace)]
        return tuple(permit for permit in permits if permit.namespace == namespace and may_touch(permit, lock))

    def _published(self, now: float) -> Iterator[Permit]:
        for entry in list(self.entries.values()):
            permit, deadline = entry[0]
            if deadline > now:
                yield permit
            else:
                self.end(permit)

    def _claimed(self, namespace: str) -> Iterator[Permit]:
        for claim, (of, key, tree) in self.plain.copy().items():  # one operation; a walk over the items is many
            if of == namespace:
                yield _plain_permit(claim, of, key, tree)

    def live(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are published and within their deadline."""
        now = self._clock()
        return frozenset(name for name in ids if self._is_live(name, now))

    def _is_live(self, name: str, now: float) -> bool:
        entry = self.entries.get(name)
        if entry is not None:
            return entry[0][1] > now
        return _claim_of(name) in self.plain


def _claim_of(name: str) -> Claim:
    """The claim that the permit `name` stands for; 0, which is nobody's, if it is no plain write's."""
    digits = name.removeprefix(PLAIN)
    return int(digits) if digits != name and digits.isdecimal() and len(digits) <= DIGITS else 0


def _plain_permit(claim: Claim, namespace: str, key: str, tree: bool) -> Permit:
    above = parent(key)
    return Permit(
        f"{PLAIN}{claim}",
        namespace,
        keys=(key,),
        trees=(key,) if tree else (),
        memberships=() if above is None else (above,),
    )
