"""The same locks for code: jobs, commands, views. What a client does by LOCK, code does by `acquire`.

Knows: a store, a policy, the rules' steps.
Must not know: HTTP.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from locklib.core import rules
from locklib.core.context import key_of
from locklib.core.fields import http_quote
from locklib.core.locking import MARGIN
from locklib.core.model import (
    Depth,
    Details,
    Done,
    Held,
    Lock,
    Page,
    Permit,
    Principal,
    Purpose,
    Query,
    Refusal,
    Scope,
    Step,
)
from locklib.core.policy import LONGEST_WAIT, Policy
from locklib.core.refusing import still_being_written
from locklib.core.rules import Asker, Granted, NeedMore, Renewal, Submission, Wish
from locklib.errors import ConfigurationError, LockRefused, shown
from locklib.stores.base import AsyncLockStore, LockStore, is_async
from locklib.wiring import new_token, open_store

__all__ = ["AsyncLocks", "Locks", "locks_on"]


class _Words:
    """What both kinds share: arguments made into wishes and submissions. No store is touched here."""

    def __init__(self, policy: Policy | None, namespace: str) -> None:
        self.policy: Policy = policy or Policy()
        self.namespace = namespace

    def _submission(self, path: str, creator: str | None, roles: Iterable[str], tokens: Iterable[str]) -> Submission:
        principal = None if creator is None else Principal(creator, frozenset(roles))
        asker = Asker(principal, bypass=self.policy.bypasses(principal))
        return Submission(asker, http_quote(path), tuple(tokens), by_code=True)

    def _wish(self, path: str, lasts: float, wait: float, **asked: Any) -> Wish:
        if not lasts > 0:
            raise ConfigurationError(f"timeout={lasts} must be a number of seconds above 0, or math.inf")
        if not 0 <= wait <= LONGEST_WAIT:
            raise ConfigurationError(f"wait={wait} must be a number of seconds from 0 to {LONGEST_WAIT:.0f}")
        for name in ("owner_info", "reason", "contact"):
            if not isinstance(asked[name], str | None):
                raise ConfigurationError(f"{name}={shown(asked[name])} must be text, or None")
        details = Details(
            owner_info=asked["owner_info"],
            reason=asked["reason"],
            contact=asked["contact"],
            blocks_reads=asked["blocks_reads"],
        )
        if details.blocks_reads:
            self._must_guard_reads(path, asked["purpose"])
        return Wish(
            new_token(),
            key_of(self.policy, path),
            http_quote(path),
            Depth(asked["depth"]),
            Scope(asked["scope"]),
            Purpose(asked["purpose"]),
            lasts,
            details,
            pending=True,
            pending_lasts=wait + MARGIN,
        )

    def _must_guard_reads(self, path: str, purpose: str) -> None:
        if purpose == Purpose.WRITE:
            raise ConfigurationError("blocks_reads: a write lock never blocks reads; use administrative or processing")
        if not self.policy.route(path).reads:
            raise ConfigurationError(f"blocks_reads: no route guards reads of {path}; add Route({path!r}, reads=True)")

    def _listing(self, under: str, limit: int, after: tuple[str, str] | None) -> tuple[Query, Step[tuple[Held, ...]]]:
        return rules.listing(Query(self.namespace, trees=(key_of(self.policy, under),), page=Page(limit, after)))

    def _refresh(self, lock: Lock, timeout: float | None) -> tuple[Query, Step[Renewal]]:
        submission = self._submission(unquote(lock.root), lock.creator, (), (lock.token,))
        lasts = lock.timeout if timeout is None else timeout
        return rules.refresh(lock.key, lasts, submission, namespace=self.namespace)

    def _release(self, lock: Lock) -> tuple[Query, Step[Any]]:
        submission = self._submission(unquote(lock.root), lock.creator, (), (lock.token,))
        return rules.release(lock.key, lock.token, os.urandom(8).hex(), submission, namespace=self.namespace)


def _granted(done: Done[Any]) -> Granted:
    """The grant, with the row as stored; a refusal is raised."""
    answer = done.answer
    if isinstance(answer, Refusal):
        raise LockRefused(answer)
    lock = done.rows[0] if done.rows else answer.lock
    return Granted(lock, answer.remaining, answer.others, answer.again)


def _in_the_way(granted: Granted, permits: tuple[Permit, ...]) -> tuple[str, ...]:
    return rules.permits_in_the_way(granted.lock, permits, granted.others)


class Locks(_Words):
    """Locks for sync code, on the store and the policy of a middleware, or on a store of one's own.

    store: a URL or a store object. policy: of the middleware that guards the same resources, so that both have one key
    for each. namespace: the tenant.
    """

    def __init__(
        self,
        store: str | LockStore | AsyncLockStore | None = None,
        *,
        policy: Policy | None = None,
        namespace: str = "",
    ) -> None:
        super().__init__(policy, namespace)
        self.store: LockStore = open_store(store, asynchronous=False)

    def acquire(
        self,
        path: str,
        *,
        creator: str | None = None,
        timeout: float = 900.0,
        scope: Scope | str = Scope.EXCLUSIVE,
        depth: Depth | str = Depth.INFINITY,
        purpose: Purpose | str = Purpose.WRITE,
        owner_info: str | None = None,
        reason: str | None = None,
        contact: str | None = None,
        blocks_reads: bool = False,
        roles: Iterable[str] = (),
        tokens: Iterable[str] = (),
        wait: float = 10.0,
    ) -> Lock:
        """Get a lock on the decoded URL `path`, or raise.

        timeout: seconds, also fractions (math.inf: no end). creator: the principal that shall hold it (None: a bearer
        lock). roles, tokens: what the caller shows, for a lock beside an administrative one, or a processing lock over
        a write lock. wait: seconds for writers that were admitted earlier to end; the request that is being answered
        is one of them, so do not ask for a lock on what it writes itself.
        Raises LockRefused (its `refusal` says why), ConfigurationError, StoreUnavailable.
        """
        wish = self._wish(
            path,
            timeout,
            wait,
            scope=scope,
            depth=depth,
            purpose=purpose,
            owner_info=owner_info,
            reason=reason,
            contact=contact,
            blocks_reads=blocks_reads,
        )
        submission = self._submission(path, creator, roles, tokens)
        first = self.store.transact(*rules.acquire(wish, submission, namespace=self.namespace))
        if isinstance(first.answer, NeedMore):
            every = rules.acquire(wish, submission, namespace=self.namespace, unlimited=True)
            first = self.store.transact(*every)
        granted = _granted(first)
        try:
            self._wait_for_writers(granted, wait)
            done = self.store.transact(*rules.confirm(granted.lock, namespace=self.namespace))
        except BaseException:
            self.store.transact(*rules.abandon(granted.lock, namespace=self.namespace))
            raise
        return _confirmed(done, granted, wait)

    def _wait_for_writers(self, granted: Granted, wait: float) -> None:
        ids = _in_the_way(granted, self.store.permits.older(self.namespace, granted.lock))
        until, pause = time.monotonic() + wait, 0.001
        while ids and (left := self.store.permits.live(ids)):
            if time.monotonic() >= until:
                raise LockRefused(still_being_written(granted.lock.root, wait))
            ids = tuple(left)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def refresh(self, lock: Lock, timeout: float | None = None) -> Lock:
        """Start the life of `lock` anew (None: with its own timeout). Raises LockRefused if it is gone."""
        return _granted(self.store.transact(*self._refresh(lock, timeout))).lock

    def release(self, lock: Lock) -> None:
        """End `lock`. Raises LockRefused if it is gone already."""
        _granted_or_none(self.store.transact(*self._release(lock)))

    def list(self, under: str = "/", *, limit: int = 100, after: tuple[str, str] | None = None) -> tuple[Held, ...]:
        """A page of the locks at or under `under`, by (key, token); `after` is that pair of the last lock seen."""
        return self.store.transact(*self._listing(under, limit, after)).answer


class AsyncLocks(_Words):
    """`Locks` for async code: the same words."""

    def __init__(
        self,
        store: str | LockStore | AsyncLockStore | None = None,
        *,
        policy: Policy | None = None,
        namespace: str = "",
    ) -> None:
        super().__init__(policy, namespace)
        self.store: AsyncLockStore = open_store(store, asynchronous=True)

    async def acquire(
        self,
        path: str,
        *,
        creator: str | None = None,
        timeout: float = 900.0,  # noqa: ASYNC109 - the life of the lock, not of this call
        scope: Scope | str = Scope.EXCLUSIVE,
        depth: Depth | str = Depth.INFINITY,
        purpose: Purpose | str = Purpose.WRITE,
        owner_info: str | None = None,
        reason: str | None = None,
        contact: str | None = None,
        blocks_reads: bool = False,
        roles: Iterable[str] = (),
        tokens: Iterable[str] = (),
        wait: float = 10.0,
    ) -> Lock:
        """See `Locks.acquire`."""
        wish = self._wish(
            path,
            timeout,
            wait,
            scope=scope,
            depth=depth,
            purpose=purpose,
            owner_info=owner_info,
            reason=reason,
            contact=contact,
            blocks_reads=blocks_reads,
        )
        submission = self._submission(path, creator, roles, tokens)
        first = await self.store.transact(*rules.acquire(wish, submission, namespace=self.namespace))
        if isinstance(first.answer, NeedMore):
            every = rules.acquire(wish, submission, namespace=self.namespace, unlimited=True)
            first = await self.store.transact(*every)
        granted = _granted(first)
        try:
            await self._wait_for_writers(granted, wait)
            done = await self.store.transact(*rules.confirm(granted.lock, namespace=self.namespace))
        except BaseException:
            import asyncio  # noqa: PLC0415 - sync code does not pay for it

            undone = self.store.transact(*rules.abandon(granted.lock, namespace=self.namespace))
            await asyncio.shield(asyncio.ensure_future(undone))
            raise
        return _confirmed(done, granted, wait)

    async def _wait_for_writers(self, granted: Granted, wait: float) -> None:
        import asyncio  # noqa: PLC0415 - sync code does not pay for it

        ids = _in_the_way(granted, await self.store.permits.older(self.namespace, granted.lock))
        until, pause = time.monotonic() + wait, 0.001
        while ids and (left := await self.store.permits.live(ids)):
            if time.monotonic() >= until:
                raise LockRefused(still_being_written(granted.lock.root, wait))
            ids = tuple(left)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    async def refresh(self, lock: Lock, timeout: float | None = None) -> Lock:  # noqa: ASYNC109 - the lock's life
        """See `Locks.refresh`."""
        return _granted(await self.store.transact(*self._refresh(lock, timeout))).lock

    async def release(self, lock: Lock) -> None:
        """See `Locks.release`."""
        _granted_or_none(await self.store.transact(*self._release(lock)))

    async def list(
        self, under: str = "/", *, limit: int = 100, after: tuple[str, str] | None = None
    ) -> tuple[Held, ...]:
        """See `Locks.list`."""
        return (await self.store.transact(*self._listing(under, limit, after))).answer


def _granted_or_none(done: Done[Any]) -> None:
    if isinstance(done.answer, Refusal):
        raise LockRefused(done.answer)


def _confirmed(done: Done[Granted | None], granted: Granted, wait: float) -> Lock:
    if done.answer is None:
        raise LockRefused(still_being_written(granted.lock.root, wait))
    return done.rows[0]


def locks_on(store: Any, policy: Policy) -> Locks | AsyncLocks:
    """The locks of a middleware, in the kind of its store."""
    return AsyncLocks(store, policy=policy) if is_async(store) else Locks(store, policy=policy)
