"""The board of permits in memory: who is at work on what, seen by every thread and loop of the process.

Knows: `Permit`, which keys a lock covers as far as "may touch" goes, a monotonic clock.
Must not know: whether a permit and a lock conflict (a rule of the core).

Publishing, renewing and ending take no mutex: each is one operation on one dict. An entry is a list [permit, deadline]
in one cell, so that a renewal that comes after the end writes into a list nobody holds, and cannot bring it back.

A plain write (`claim_now`) is put down as bare words and becomes a `Permit` only when a LOCK asks, which is rare: its
claim is the tuple itself, found by identity, and gets a name when it is first shown. It has no deadline: its writer is
in this process and withdraws it in a `finally`, however long the write takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from threading import Lock as Mutex
from typing import TypeAlias

from locklib.core.model import Lock, Permit
from locklib.core.paths import parent
from locklib.stores.common import may_touch

__all__ = ["AsyncMemoryPermits", "Board", "Claim", "MemoryPermits"]

Claim: TypeAlias = tuple[str, str, bool]  # namespace, key, tree


class Board:
    """Permits by id, of all namespaces. `clock` gives monotonic seconds."""

    __slots__ = ("_clock", "_mutex", "_named", "_names", "_shown", "entries", "plain")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Start anew with nothing published and nobody at work (after a fork too)."""
        self.entries: dict[str, list[tuple[Permit, float]]] = {}
        self.plain: dict[int, Claim] = {}
        self._mutex = Mutex()
        self._named = 0
        self._names: dict[int, str] = {}
        self._shown: dict[str, Claim] = {}

    def publish(self, permit: Permit) -> None:
        self.entries[permit.id] = [(permit, self._clock() + permit.lasts)]

    def end(self, permit: Permit) -> None:
        self.entries.pop(permit.id, None)
        claim = self._shown.get(permit.id)
        if claim is not None:
            self.end_now(claim)

    def renew(self, permit: Permit) -> None:
        entry = self.entries.get(permit.id)
        if entry is not None:
            entry[0] = (permit, self._clock() + permit.lasts)

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Claim:
        claim = (namespace, key, tree)
        self.plain[id(claim)] = claim
        return claim

    def end_now(self, claim: Claim) -> None:
        self.plain.pop(id(claim), None)

    def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """Those past their deadline are removed: who ignores a permit takes it off the board."""
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
        """Permits for the plain writes of `namespace`; names of writes that have ended are forgotten."""
        self._shown = {name: claim for name, claim in self._shown.items() if id(claim) in self.plain}
        self._names = {id(claim): name for name, claim in self._shown.items()}
        for claim in list(self.plain.values()):
            of, key, tree = claim
            if of == namespace:
                yield _plain_permit(self._name(claim), of, key, tree)

    def _name(self, claim: Claim) -> str:
        name = self._names.get(id(claim))
        if name is None:
            self._named += 1
            name = self._names[id(claim)] = f"plain:{self._named}"
            self._shown[name] = claim
        return name

    def live(self, ids: Collection[str]) -> frozenset[str]:
        now = self._clock()
        return frozenset(name for name in ids if self._is_live(name, now))

    def _is_live(self, name: str, now: float) -> bool:
        entry = self.entries.get(name)
        if entry is not None:
            return entry[0][1] > now
        claim = self._shown.get(name)
        return claim is not None and id(claim) in self.plain


def _plain_permit(name: str, namespace: str, key: str, tree: bool) -> Permit:
    above = parent(key)
    return Permit(
        name,
        namespace,
        keys=(key,),
        trees=(key,) if tree else (),
        memberships=() if above is None else (above,),
    )


class MemoryPermits:
    """`Permits` on a board in the process."""

    __slots__ = ("_board",)

    def __init__(self, board: Board) -> None:
        self._board = board

    def publish(self, permit: Permit) -> None:
        """Make `permit` visible to every thread of the process."""
        self._board.publish(permit)

    def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """The live permits of `namespace` that may touch what `lock` covers; those past their deadline are removed."""
        return self._board.older(namespace, lock)

    def live(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are published and within their deadline."""
        return self._board.live(ids)

    def renew(self, permit: Permit) -> None:
        """Start the deadline of `permit` anew, if it is still published."""
        self._board.renew(permit)

    def end(self, permit: Permit) -> None:
        """Withdraw `permit`; nothing happens if it is not published."""
        self._board.end(permit)


class AsyncMemoryPermits:
    """`AsyncPermits` on a board in the process: the same words, and none of them waits."""

    __slots__ = ("_board",)

    def __init__(self, board: Board) -> None:
        self._board = board

    async def publish(self, permit: Permit) -> None:
        """Make `permit` visible to every thread and loop of the process."""
        self._board.publish(permit)

    async def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """The live permits of `namespace` that may touch what `lock` covers; those past their deadline are removed."""
        return self._board.older(namespace, lock)

    async def live(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are published and within their deadline."""
        return self._board.live(ids)

    async def renew(self, permit: Permit) -> None:
        """Start the deadline of `permit` anew, if it is still published."""
        self._board.renew(permit)

    async def end(self, permit: Permit) -> None:
        """Withdraw `permit`; nothing happens if it is not published."""
        self._board.end(permit)
