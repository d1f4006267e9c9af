"""What a store promises: the protocols that every store implements, and the words for what it stands on.

Knows: `Query`, `Step`, `Done` and `Permit` of the core.
Must not know: a lock rule, an HTTP message, a framework.

The promise to keep is one sentence: **no foreign change between your read and your commit.** A store reads what the
query asks for, runs the step on it, carries the outcome out and reports. It may run the step again.

An expired row is dead only once it is removed: who ignores one removes it in the same unit, before reading, and leaves
a tombstone (`Ended.EXPIRED`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from locklib.core.model import Done, Lock, Permit, Query, Step

__all__ = [
    "AsyncLockStore",
    "AsyncPermits",
    "LockStore",
    "Nearby",
    "NeverWaiting",
    "Opens",
    "Permits",
    "Promises",
]

R = TypeVar("R")


class Promises(NamedTuple):
    """What a store stands on, as data. `linearizable` names how far: "process", "host", "network"."""

    store: str
    linearizable: str
    survives_worker_kill: bool
    survives_server_kill: bool
    survives_power_loss: bool
    note: str = ""

    def __str__(self) -> str:
        kept = [
            name
            for name, holds in (
                ("a killed worker", self.survives_worker_kill),
                ("a killed server", self.survives_server_kill),
                ("a power loss", self.survives_power_loss),
            )
            if holds
        ]
        survives = "locks survive " + ", ".join(kept) if kept else "locks are lost with the process"
        return f"{self.store}: one table per {self.linearizable}; {survives}{'; ' + self.note if self.note else ''}"


class Permits(Protocol):
    """The board on which writers publish what they are at work on (mode *hold*). Never raises for an unknown id."""

    def publish(self, permit: Permit) -> None:
        """Make `permit` visible to whoever looks after this returns."""

    def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """The live permits of `namespace` that were published before this call and may touch what `lock` covers.

        A superset is allowed: whether one conflicts is a rule of the core.
        """

    def live(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are still published and within their deadline."""

    def renew(self, permit: Permit) -> None:
        """Start the deadline of `permit` anew."""

    def end(self, permit: Permit) -> None:
        """Withdraw `permit`."""


class AsyncPermits(Protocol):
    """`Permits` in async words."""

    async def publish(self, permit: Permit) -> None:
        """See `Permits.publish`."""

    async def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """See `Permits.older`."""

    async def live(self, ids: Collection[str]) -> frozenset[str]:
        """See `Permits.live`."""

    async def renew(self, permit: Permit) -> None:
        """See `Permits.renew`."""

    async def end(self, permit: Permit) -> None:
        """See `Permits.end`."""


class NeverWaiting:
    """`AsyncPermits` over a board in the process or on the host: the same words, and none of them waits."""

    __slots__ = ("_board",)

    def __init__(self, board: Permits) -> None:
        self._board = board

    async def publish(self, permit: Permit) -> None:
        """See `Permits.publish`."""
        self._board.publish(permit)

    async def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """See `Permits.older`."""
        return self._board.older(namespace, lock)

    async def live(self, ids: Collection[str]) -> frozenset[str]:
        """See `Permits.live`."""
        return self._board.live(ids)

    async def renew(self, permit: Permit) -> None:
        """See `Permits.renew`."""
        self._board.renew(permit)

    async def end(self, permit: Permit) -> None:
        """See `Permits.end`."""
        self._board.end(permit)


class LockStore(Protocol):
    """A store for sync code (WSGI, jobs, commands)."""

    @property
    def permits(self) -> Permits: ...

    def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """Show what `query` asks for to `step` and carry out what it answers, as one atomic unit.

        Whatever `step` raises comes out unchanged, and nothing has changed then.
        Raises `locklib.errors.StoreUnavailable` if the store cannot answer in time.
        """

    def promises(self) -> Promises:
        """What this store stands on, read from the store itself."""

    def close(self) -> None:
        """Give back what the store holds open. May be called twice."""


class AsyncLockStore(Protocol):
    """A store for async code: the same words.

    One whose `transact` never waits may say so by a class attribute `never_waits = True`; it is not shielded then.
    """

    @property
    def permits(self) -> AsyncPermits: ...

    async def transact(self, query: Query, step: Step[R]) -> Done[R]:
        """As `LockStore.transact`. When it has ended, by cancellation too, nothing of it commits later."""

    async def promises(self) -> Promises:
        """See `LockStore.promises`."""

    async def close(self) -> None:
        """See `LockStore.close`."""


@runtime_checkable
class Opens(Protocol):
    """A store that has something to make sure of before its first use, such as a lease."""

    def open(self) -> None:
        """Called by the shells at start, and again before a first request. Cheap the second time.

        Raises `locklib.errors.ConfigurationError` if this store cannot be used here; the message names the cure.
        """


@runtime_checkable
class Nearby(Protocol):
    """The short way that a store in the process may offer, sync in both kinds.

    `near` answers "is anything near this key?": a plain False means that no lock is rooted at `key` or at any of its
    ancestors, nor, with `tree`, anywhere under it. True is only a hint: take the general way. `claim_now` publishes,
    without an await, the permit of a plain write (or, with `tree`, of a removal) of `key`, with the membership of its
    parent, and gives what `end_now` wants to withdraw it.
    """

    def near(self, namespace: str, key: str, tree: bool = False) -> bool:
        """Whether a lock may be rooted at `key` or above it or, with `tree`, below it. Never waits."""

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Any:
        """Publish the permit of a plain write of `key` (with `tree`, of a removal); what `end_now` takes."""

    def end_now(self, claim: Any) -> None:
        """Withdraw what `claim_now` gave."""


def is_async(store: Any) -> bool:
    """Whether `store` is of the async kind: decided by its `transact`."""
    from inspect import iscoroutinefunction  # noqa: PLC0415 - inspect is dear to import and this runs once

    return iscoroutinefunction(getattr(store, "transact", None))
