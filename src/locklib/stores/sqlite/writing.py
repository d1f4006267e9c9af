"""An outcome carried out in the file: rows put, dropped, remembered, within a transaction that somebody else ends.

Knows: `Outcome`, the columns of the tables, how much is remembered.
Must not know: a lock rule, a clock (it is told the time), when the transaction begins or ends.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain
from math import isnan
from typing import Any

from locklib.core.model import PLAIN, Details, DropUnder, Lock, Note, Outcome, Put, Query, Ticket, Tombstone
from locklib.errors import LockError
from locklib.stores.common import (
    DAY,
    NOTES_KEPT,
    PER_CREATOR,
    as_stored,
    expired,
    refuse_unfit,
    spelled_under,
    stamped,
)
from locklib.stores.sqlite.file import damaged
from locklib.stores.sqlite.reading import COLUMNS, bounds, by_token, is_text, row

__all__ = ["SWEEP_FOR_COUNTS", "carry_out", "is_provisional", "remove_late", "remove_overdue", "sweep"]

SWEEP = 64
"""Rows that ran out and that a unit clears away beside its own work."""

SWEEP_FOR_COUNTS = 10_000
"""As many for a unit that counts: a quota shall not be filled by locks that are over."""

INSERT = f"INSERT INTO locks (namespace, {COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608 - columns are ours
UPDATE = """
    UPDATE locks SET depth = ?, scope = ?, purpose = ?, timeout = ?, created_at = ?, expires_at = ?, fence = ?,
        details = ? WHERE namespace = ? AND key = ? AND token = ?
"""
DROP = "DELETE FROM locks WHERE namespace = ? AND token = ?"


def carry_out(
    connection: sqlite3.Connection, query: Query, outcome: Outcome[Any], now: float, fence: int
) -> tuple[Lock, ...]:
    """Do what `outcome` says; the rows as stored. Raises `LockError` for what can not be done, before the first change.

    fence: the last one that was given.
    """
    refuse_unfit(query, outcome)
    _refuse_no_text(query, outcome)
    space = query.namespace
    rows = []
    for put in outcome.puts:
        fence += put.grant
        rows.append(_put(connection, space, put, now, fence))
    connection.execute("UPDATE state SET fence = max(fence, ?), latest = max(latest, ?)", (fence, now))
    connection.executemany(DROP, [(space, token) for token in outcome.drops if is_text(token)])
    for order in outcome.drop_under:
        _drop_under(connection, space, order)
    for stone in outcome.tombstones:
        _bury(connection, space, stamped(stone, now), now)
    for ticket in outcome.tickets:
        _queue(connection, space, ticket, now)
    remove_late(connection, space, outcome.drop_tickets)
    for note in outcome.notes:
        _note(connection, space, note, now)
    return tuple(rows)


def is_provisional(outcome: Outcome[Any]) -> bool:
    """Whether all that `outcome` wants is pending locks: nobody is told of one before another unit has confirmed it.

    So it need not be on the disk by itself. What confirms it is, and takes it along; a power loss in between loses what
    nobody holds.
    """
    more = outcome.drops or outcome.drop_under or outcome.tombstones or outcome.tickets or outcome.drop_tickets
    return bool(outcome.puts) and not more and all(put.lock.pending for put in outcome.puts)


def _refuse_no_text(query: Query, outcome: Outcome[Any]) -> None:
    names = [(put.lock.token, put.lock.key, put.lock.creator) for put in outcome.puts]
    names += [(ticket.id, ticket.key, ticket.creator) for ticket in outcome.tickets]
    for word in (query.namespace, *chain.from_iterable(names)):
        if not is_text(word or ""):
            raise LockError(f"{word!a} cannot be stored: it holds half a surrogate pair, which is no text")
    for ticket in outcome.tickets:
        if isnan(ticket.lasts):
            raise LockError(f"a ticket for {ticket.key!r} cannot last {ticket.lasts} seconds; give a number")


# ---- locks -----------------------------------------------------------------------------------------------------------


def _put(connection: sqlite3.Connection, space: str, put: Put, now: float, fence: int) -> Lock:
    old = by_token(connection, space, put.lock.token)
    lock = as_stored(put, old, now, fence, put.lock.creator)
    if old is not None and (old.key, old.creator) == (lock.key, lock.creator):
        connection.execute(UPDATE, (*_body(lock), space, lock.key, lock.token))
        return lock
    if old is not None:
        connection.execute(DROP, (space, lock.token))
    depth, scope, purpose, *rest = _body(lock)
    connection.execute(INSERT, (space, lock.token, lock.key, depth, scope, purpose, lock.creator, *rest))
    return lock


def _body(lock: Lock) -> tuple[Any, ...]:
    """Everything of a row but its names and its creator."""
    return (
        lock.depth.value,
        lock.scope.value,
        lock.purpose.value,
        float(lock.timeout),
        lock.created_at,
        lock.expires_at,
        lock.fence,
        None if lock.details is PLAIN else _as_json(lock.details),
    )


def _as_json(details: Details) -> str | None:
    told = {name: value for name in Details.__match_args__ if (value := getattr(details, name)) != getattr(PLAIN, name)}
    return json.dumps(told) if told else None


def _drop_under(connection: sqlite3.Connection, space: str, order: DropUnder) -> None:
    if not is_text(order.key):
        return
    lower, upper = bounds(order.key)
    where = "namespace = ? AND (key = ? OR (key >= ? AND key < ?)) AND fence <= ?"
    values = (space, order.key, lower, upper, order.up_to_fence)
    if order.prefix is None:
        connection.execute(f"DELETE FROM locks WHERE {where}", values)  # noqa: S608 - columns are ours
        return
    rows = map(row, connection.execute(f"SELECT {COLUMNS} FROM locks WHERE {where}", values))  # noqa: S608
    doomed = [(space, lock.token) for lock in rows if spelled_under(lock.root, order.prefix)]
    connection.executemany(DROP, doomed)


# ---- what has run out ------------------------------------------------------------------------------------------------


def remove_overdue(connection: sqlite3.Connection, space: str, locks: Iterable[Lock], now: float) -> None:
    """Remove rows that ran out. A lock that was granted leaves a tombstone, a pending one was never anybody's."""
    for lock in locks:
        if connection.execute(DROP, (space, lock.token)).rowcount != 1:
            raise damaged(f"the lock on {lock.key!a} ran out and cannot be removed")
        if not lock.pending:
            _bury(connection, space, expired(lock), now)


def remove_late(connection: sqlite3.Connection, space: str, tickets: Iterable[str]) -> None:
    """Take these tickets out of the queue; those that are not in it do not matter."""
    connection.executemany(
        "DELETE FROM tickets WHERE namespace = ? AND id = ?", [(space, id) for id in tickets if is_text(id)]
    )


def sweep(connection: sqlite3.Connection, now: float, most: int = SWEEP) -> None:
    """Clear away `most` rows that ran out, wherever they are, so that nobody has to ask for them."""
    text = f"SELECT namespace, {COLUMNS} FROM locks WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"  # noqa: S608
    for space, *values in connection.execute(text, (now, most)).fetchall():
        lock = row(tuple(values))
        if lock.expires_at <= now and is_text(space):  # else it has no name to be removed by
            remove_overdue(connection, space, (lock,), now)


# ---- what is remembered ----------------------------------------------------------------------------------------------


def _bury(connection: sqlite3.Connection, space: str, stone: Tombstone, now: float) -> None:
    """Put a tombstone in, and take those out that are too old or too many: two for one, so that nobody pays for all."""
    values = (*_texts(stone.token, stone.key, stone.root, stone.creator), stone.ended.value)
    more = (*_texts(stone.by, stone.reason, stone.request), stone.at)
    connection.execute(
        'INSERT OR REPLACE INTO tombstones (namespace, token, key, root, creator, ended, "by", reason, request, at) '
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (space, *values, *more),
    )
    connection.execute(
        "DELETE FROM tombstones WHERE number IN "
        "(SELECT number FROM tombstones WHERE namespace = ? AND creator IS ? ORDER BY number DESC LIMIT 2 OFFSET ?)",
        (space, values[3], PER_CREATOR),
    )
    connection.execute(
        "DELETE FROM tombstones WHERE number IN (SELECT number FROM tombstones ORDER BY number LIMIT 2) AND at <= ?",
        (now - DAY,),
    )


def _texts(*words: str | None) -> Iterator[str | None]:
    """What is only shown to people may lose half a character."""
    for word in words:
        yield word if word is None or is_text(word) else word.encode("utf-8", "replace").decode()


def _queue(connection: sqlite3.Connection, space: str, ticket: Ticket, now: float) -> None:
    """Take a ticket in, or renew it: it keeps its number if it is still in time, on the same key."""
    connection.execute(
        "DELETE FROM tickets WHERE number IN "
        "(SELECT number FROM tickets WHERE deadline <= ? ORDER BY deadline LIMIT 2)",
        (now,),
    )
    kept = connection.execute(
        "UPDATE tickets SET creator = ?, lasts = ?, deadline = ? "
        "WHERE namespace = ? AND id = ? AND key = ? AND deadline > ?",
        (ticket.creator, ticket.lasts, now + ticket.lasts, space, ticket.id, ticket.key, now),
    )
    if kept.rowcount == 0:
        connection.execute(
            "INSERT OR REPLACE INTO tickets (namespace, id, key, creator, lasts, deadline) VALUES (?, ?, ?, ?, ?, ?)",
            (space, ticket.id, ticket.key, ticket.creator, ticket.lasts, now + ticket.lasts),
        )


def _note(connection: sqlite3.Connection, space: str, note: Note, now: float) -> None:
    detail = json.dumps(dict(note.detail), default=str) if note.detail else None
    key, by = _texts(note.key, note.by)
    cursor = connection.execute(
        'INSERT INTO notes (at, namespace, event, key, "by", detail) VALUES (?, ?, ?, ?, ?, ?)',
        (now, space, note.event, key, by, detail),
    )
    connection.execute("DELETE FROM notes WHERE number <= ?", ((cursor.lastrowid or 0) - NOTES_KEPT,))
