"""How locks end: by UNLOCK, with their resource (RFC 4918 sections 7.6, 9.6.1, 9.11); and what there is of them.

Knows: who may release a lock, and which locks end with a resource. Must not know: when it is gone (`settling`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from locklib.core import refusing
from locklib.core.conditions import lock_covers
from locklib.core.model import (
    DropUnder,
    Ended,
    Fact,
    Held,
    Lock,
    Note,
    Outcome,
    Query,
    Refusal,
    Snapshot,
    Step,
    Tombstone,
)
from locklib.core.paths import covers
from locklib.core.rules.admitting import may_end
from locklib.core.rules.words import NO_FACTS, NeedFacts, Submission


def release(
    key: str,
    token: str,
    request: str,
    submission: Submission,
    facts: Mapping[str, Fact] = NO_FACTS,
    *,
    namespace: str = "",
) -> tuple[Query, Step[Lock | Refusal | NeedFacts | None]]:
    """UNLOCK: end the lock `token`, if the request URL `key` is in its scope (RFC 4918 section 9.11).

    request: an id of this request; sent twice, it finds its own effect and succeeds again (None: ended before).
    """
    query = Query(namespace, tokens=tuple(dict.fromkeys((token, *submission.tokens))), tombstones=True, writes=True)

    def step(snapshot: Snapshot) -> Outcome[Lock | Refusal | NeedFacts | None]:
        if any(stone.token == token and stone.request == request for stone in snapshot.tombstones):
            return Outcome(None)
        verdict = submission.verdict(snapshot, facts)
        if verdict.needs:
            return Outcome(NeedFacts(verdict.needs))
        if not verdict.true:
            return Outcome(refusing.failed_condition(submission.resource, snapshot.tombstones))
        held = snapshot.by_token(token)
        if held is None or held.lock.pending or not lock_covers(held.lock, key):
            return Outcome(refusing.no_such_lock(submission.resource, "the Lock-Token is no lock that covers this URL"))
        lock = held.lock
        if not may_end(lock, submission):
            message = "this lock was created by another principal"
            return Outcome(refusing.forbidden(submission.resource, message, slug="not-the-creator"))
        return _ended(lock, Ended.RELEASED, submission.asker.name, request)

    return query, step


def _ended(lock: Lock, ended: Ended, by: str | None, request: str) -> Outcome[Lock | Refusal | NeedFacts | None]:
    stone = Tombstone(lock.token, lock.key, lock.root, lock.creator, ended, by=by, request=request)
    return Outcome(lock, drops=(lock.token,), tombstones=(stone,), notes=(Note(ended.value, lock.key, by),))


# ---- what an answer of the application means (settle) --------------------------------------------------------------


def end_under(key: str, up_to_fence: int, prefix: str | None, *, namespace: str = "") -> tuple[Query, Step[None]]:
    """The resource is gone: its locks end, and those under it (RFC 4918 sections 7.5, 7.6, 9.6.1).

    up_to_fence: as it stood when the request was admitted, so that a lock asked for meanwhile is not taken away.
    prefix: see `DropUnder`.
    """
    query = Query(namespace, paths=(key,), writes=True)

    def step(snapshot: Snapshot) -> Outcome[None]:
        note = Note("ended-with-resource", key)
        return Outcome(None, drop_under=(DropUnder(key, up_to_fence, prefix),), notes=(note,))

    return query, step


def roots_under(key: str, *, namespace: str = "", limit: int = 100) -> tuple[Query, Step[tuple[Lock, ...]]]:
    """The granted locks rooted at or under `key`, of at most `limit` roots."""
    query = Query(namespace, trees=(key,), limit=limit)

    def step(snapshot: Snapshot) -> Outcome[tuple[Lock, ...]]:
        inside = (held.lock for held in snapshot.locks if covers(key, held.lock.key) and not held.lock.pending)
        return Outcome(tuple(inside))

    return query, step


def roots_near(keys: tuple[str, ...], *, namespace: str = "") -> tuple[Query, Step[bool]]:
    """Whether any lock covers one of `keys` or is rooted at or under it."""
    query = Query(namespace, paths=keys, trees=keys, limit=1)

    def step(snapshot: Snapshot) -> Outcome[bool]:
        locks = [held.lock for held in snapshot.locks]
        return Outcome(any(lock_covers(lock, key) or covers(key, lock.key) for lock in locks for key in keys))

    return query, step


def end_these(locks: Sequence[Lock], *, namespace: str = "") -> tuple[Query, Step[None]]:
    """These locks are rooted at URLs that are unmapped now: they end (RFC 4918 section 7.6)."""
    query = Query(namespace, tokens=tuple(lock.token for lock in locks), writes=True)

    def step(snapshot: Snapshot) -> Outcome[None]:
        drops = tuple(lock.token for lock in locks if snapshot.by_token(lock.token))
        notes = tuple(Note("ended-with-resource", lock.key) for lock in locks if lock.token in drops)
        return Outcome(None, drops=drops, notes=notes)

    return query, step


def listing(query: Query) -> tuple[Query, Step[tuple[Held, ...]]]:
    """The locks that `query` shows, pending ones left out."""

    def step(snapshot: Snapshot) -> Outcome[tuple[Held, ...]]:
        return Outcome(tuple(held for held in snapshot.locks if not held.lock.pending))

    return query, step
