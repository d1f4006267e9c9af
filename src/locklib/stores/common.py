"""What every store of this house does in the same way: how a put becomes a row, what matters to a query, what is kept.

Knows: the vocabulary of the core (`core.model`), which key is below which.
Must not know: how any store keeps or finds its rows, a clock (it is told the time), a lock rule.
"""

from __future__ import annotations

from math import isnan
from typing import Any

from locklib.core.model import Depth, Ended, Lock, Outcome, Permit, Put, Query, Tombstone
from locklib.core.paths import is_below
from locklib.errors import LockError

__all__ = [
    "DAY",
    "NOTES_KEPT",
    "PER_CREATOR",
    "as_stored",
    "begun_within_a_step",
    "expired",
    "is_under",
    "matters",
    "may_touch",
    "place",
    "refuse_unfit",
    "spelled_under",
    "stamped",
]

DAY = 86_400.0
"""Seconds that a tombstone is kept."""

PER_CREATOR = 1_000
"""Tombstones that are kept of one creator, the youngest."""

NOTES_KEPT = 10_000
"""Notes that are kept, the youngest."""


# ---- rows --------------------------------------------------------------------------------------------------


def as_stored(put: Put, old: Lock | None, now: float, fence: int, creator: str | None) -> Lock:
    """The row that `put` makes at `now`.

    old: the row with its token. fence: the one to give if it is a grant. creator: that of the put, as one string that
    many rows may share.
    """
    given = put.lock
    if put.grant:
        created = now
    elif old is None:
        created, fence = given.created_at, given.fence
    else:
        created, fence = old.created_at, old.fence
    return Lock(
        given.token,
        given.key,
        given.depth,
        given.scope,
        given.purpose,
        creator,
        given.timeout,
        created,
        now + put.lasts,
        fence,
        given.details,
    )


def refuse_unfit(query: Query, outcome: Outcome[Any]) -> None:
    """Refuse before the first change what could not be carried out to the end. Raises `LockError`."""
    if not query.writes:
        raise LockError(
            "the step wants changes, but its query was made to read only (writes=False); nothing was changed: "
            "set writes=True in a query whose step may change something"
        )
    for put in outcome.puts:
        if isnan(put.lasts):
            raise LockError(f"a lock on {put.lock.key!r} cannot last {put.lasts} seconds; give a number or math.inf")


def begun_within_a_step() -> LockError:
    """What to raise where a step begins a transaction of the store that runs it."""
    return LockError(
        "a transaction was begun within a step of the same store; a step is a pure function of its snapshot: return "
        "what shall change, and begin the next transaction after this one"
    )


def expired(lock: Lock) -> Tombstone:
    """The tombstone that a store writes for a granted lock that ran out; it ended when its life did."""
    return Tombstone(lock.token, lock.key, lock.root, lock.creator, Ended.EXPIRED, at=lock.expires_at)


def stamped(stone: Tombstone, at: float) -> Tombstone:
    """`stone` with the instant at which it was set."""
    return Tombstone(
        stone.token, stone.key, stone.root, stone.creator, stone.ended, stone.by, stone.reason, stone.request, at
    )


# ---- queries --------------------------------------------------------------------------------------------------


def place(lock: Lock) -> tuple[str, str]:
    """Where a lock stands in a snapshot and in a listing."""
    return lock.key, lock.token


def matters(lock: Lock, query: Query) -> bool:
    """Whether the filters of `query` let a lock that is found through a path or a tree matter."""
    return (
        (query.scopes is None or lock.scope in query.scopes)
        and (query.purposes is None or lock.purpose in query.purposes)
        and (query.not_creator is None or lock.creator != query.not_creator)
    )


def spelled_under(root: str, prefix: str | None) -> bool:
    """Whether a root as addressed is `prefix` or lies under it, trailing slashes aside (`DropUnder.prefix`)."""
    if prefix is None:
        return True
    root, bound = root.rstrip("/"), prefix.rstrip("/")
    return root == bound or root.startswith(bound + "/")


# ---- permits --------------------------------------------------------------------------------------------------


def is_under(key: str, root: str) -> bool:
    """Whether `key` is `root` or lies below it."""
    return key == root or is_below(key, root)


def may_touch(permit: Permit, lock: Lock) -> bool:
    """Whether `permit` reaches something that `lock` covers: a superset of those that conflict."""
    root = lock.key
    if lock.depth is Depth.ZERO:
        named = root in permit.keys or root in permit.memberships
        return named or any(is_under(root, tree) for tree in permit.trees)
    if any(is_under(key, root) for key in (*permit.keys, *permit.memberships)):
        return True
    return any(is_under(tree, root) or is_under(root, tree) for tree in permit.trees)
