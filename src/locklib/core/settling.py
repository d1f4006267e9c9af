"""What follows from the application's answer, before that answer goes out (docs/design.md, "settle").

Knows: which locks end with a resource (RFC 4918 sections 7.6, 9.6.1, 9.8.4, 9.9.3), and what an answer says of it.
Must not know: how the answer is sent.

Every chain of moves here ends in None: then the answer goes out. If the store is down it goes out as well, and the
locks stay until they run out: too locked is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from locklib.core import rules
from locklib.core.conditions import Target, lock_covers
from locklib.core.context import MAX_ASKED, Exchange, Facts
from locklib.core.model import Done, Held, Lock
from locklib.core.moves import Act, Amend, Headers, Next
from locklib.core.paths import percent_decode

__all__ = ["after", "echo"]

DONE = frozenset({200, 201, 204})
"""Answers that say "all of it": 202 is a promise, 207 is partial, everything else is a failure."""

MULTISTATUS = 207
ROOTS = 100
"""Locks that are looked at after one request; what lies beyond stays locked until it runs out."""

Settle: TypeAlias = Callable[[int], Next]
Trees: TypeAlias = list[tuple[str, bool]]


def _nothing(*_: object) -> None:
    return None


def after(exchange: Exchange, methods: Sequence[str], there: Target | None, fence: int) -> Settle | None:
    """What to do when the status of the answer is known; None: the answer need not be watched.

    methods: every reading of the request's method. there: its Destination. fence: as it stood at admission.
    """
    ending = [method for method in methods if method in ("DELETE", "MOVE", "COPY")]
    if not ending:
        return None
    below = [] if there is None else [(there.key, True)]
    both = [(exchange.key, False), *below]
    if len(methods) > 1:  # nobody knows which reading the application took
        return lambda status: _ended_unmapped(exchange, both) if 200 <= status < 300 else None
    if ending == ["COPY"]:
        return lambda status: _ended_unmapped(exchange, below) if status in (*DONE, MULTISTATUS) else None
    return lambda status: _removed(exchange, status, fence, below)


def _removed(exchange: Exchange, status: int, fence: int, below: Trees) -> Next:
    """DELETE and MOVE: the whole tree is gone, or, with a 207, only what is now unmapped."""
    if status in DONE:
        return _ended(exchange, fence, lambda: _ended_unmapped(exchange, below))
    return _ended_unmapped(exchange, [(exchange.key, False), *below]) if status == MULTISTATUS else None


def _ended(exchange: Exchange, fence: int, then: Callable[[], Next]) -> Next:
    """The resource at the request URL is gone, with everything under it."""
    # Only the spelling that was deleted: another one that shares the key may be another resource of the application's.
    prefix = exchange.resource.rstrip("/") if exchange.policy.key is None else None
    query, step = rules.end_under(exchange.key, fence, prefix, namespace=exchange.namespace)
    return Act(query, step, lambda _: then(), _nothing)


def _ended_unmapped(exchange: Exchange, trees: Trees) -> Next:
    """Of the locks at or under (True: strictly under) each tree, end those whose URL is now unmapped."""
    if not trees:
        return None
    (key, below), rest = trees[0], trees[1:]
    query, step = rules.roots_under(key, namespace=exchange.namespace, limit=ROOTS)

    def seen(done: Done[tuple[Lock, ...]]) -> Next:
        locks = [lock for lock in done.answer if not below or lock.key != key]
        return _end_if_unmapped(exchange, locks, lambda: _ended_unmapped(exchange, rest))

    return Act(query, step, seen, _nothing)


def _end_if_unmapped(exchange: Exchange, locks: Iterable[Lock], then: Callable[[], Next]) -> Next:
    by_path: dict[str, list[Lock]] = {}
    for lock in locks:
        by_path.setdefault(exchange.inward(percent_decode(lock.root)), []).append(lock)
    return _in_batches(exchange, by_path, list(by_path), then)


def _in_batches(
    exchange: Exchange, by_path: dict[str, list[Lock]], open_paths: list[str], then: Callable[[], Next]
) -> Next:
    """As many questions at a time as one request may ask."""
    batch, rest = open_paths[:MAX_ASKED], open_paths[MAX_ASKED:]
    if not batch:
        return then()

    def known(facts: Facts) -> Next:
        gone = [lock for path in batch if facts[path].mapped is False for lock in by_path[path]]
        if not gone:
            return _in_batches(exchange, by_path, rest, then)
        query, step = rules.end_these(gone, namespace=exchange.namespace)
        return Act(query, step, lambda _: _in_batches(exchange, by_path, rest, then), _nothing)

    return exchange.facts(tuple(batch), known)


class Echo(NamedTuple):
    """`echo_token`: the token that opened for a write, on the answer of the write."""

    token: str

    def start(self, status: int, headers: Headers) -> Headers:
        return (*headers, ("Lock-Token", f"<{self.token}>")) if 200 <= status < 300 else headers

    def feed(self, chunk: bytes, more: bool) -> bytes:
        return chunk


def echo(exchange: Exchange, submitted: tuple[Held, ...]) -> Amend | None:
    if not exchange.policy.echo_token or not submitted:
        return None
    covering = [held.lock for held in submitted if lock_covers(held.lock, exchange.key)]
    return Echo(covering[0].token) if covering else None
