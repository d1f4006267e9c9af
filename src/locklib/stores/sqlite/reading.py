"""What a query finds in the file, as rows that live and rows that have run out.

Knows: `Query`, `Snapshot`, the columns of the tables.
Must not know: a lock rule, a clock (it is told the time), how anything is changed.

A row that has run out is not left out here: it is reported, and who asked removes it in a unit that writes, and looks
again. A row that cannot be read shuts its own path and no other: it is shown as a lock that nobody can open.

A word that is no text (half a surrogate pair) is in no row: who asks for it finds nothing.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from heapq import merge
from math import inf
from typing import Any, NamedTuple

from locklib.core.model import (
    PLAIN,
    Counts,
    Depth,
    Details,
    Ended,
    Held,
    Lock,
    Note,
    Page,
    Purpose,
    Query,
    Scope,
    Snapshot,
    Ticket,
    Tombstone,
)
from locklib.core.paths import ancestors
from locklib.stores.common import DAY, matters, place
from locklib.stores.sqlite.file import damaged

__all__ = [
    "COLUMNS",
    "MOST_KEYS",
    "Look",
    "bounds",
    "by_token",
    "is_anything_over",
    "is_text",
    "look",
    "near_query",
    "note_of",
    "row",
]

COLUMNS = "token, key, depth, scope, purpose, creator, timeout, created_at, expires_at, fence, details"
MOST_KEYS = 250
"""Keys in one statement: SQLite takes 500 terms in a UNION, old libraries 999 variables."""

MET = 1_000
"""Rows that ran out and that one look reports at most; the next one goes on."""

log: logging.Logger = logging.getLogger("locklib")

DEPTHS = {depth.value: depth for depth in Depth}
SCOPES = {scope.value: scope for scope in Scope}
PURPOSES = {purpose.value: purpose for purpose in Purpose}

Values = tuple[Any, ...]


class Look(NamedTuple):
    """What was found. overdue: locks, late: ids of tickets, both past their end and still there; with either, what is
    shown is not to be relied on."""

    snapshot: Snapshot
    overdue: tuple[Lock, ...] = ()
    late: tuple[str, ...] = ()


def is_text(word: str) -> bool:
    """Whether the file can hold `word`: half a surrogate pair is no text, so no lock is named so."""
    if word.isascii():
        return True
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- rows ------------------------------------------------------------------------------------------------------------


DAMAGED = Details(reason="the record of this lock is damaged; an administrator has to remove it")

TEXT = (str, type(None))
MEMBERS = {"owner_is_xml": (bool,), "blocks_reads": (bool,), "pending": (bool,)}
"""The types of the members of `details` that are no text."""


def row(values: Values) -> Lock:
    """The lock that a row of COLUMNS tells of."""
    token, key, depth, scope, purpose, creator, timeout, created_at, expires_at, fence, details = values
    try:
        return Lock(
            _word(token),
            _word(key),
            DEPTHS[depth],
            SCOPES[scope],
            PURPOSES[purpose],
            _word_or_none(creator),
            _number(timeout),
            _number(created_at),
            _number(expires_at),
            _whole(fence),
            PLAIN if details is None else _details(details),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return _unreadable(values)


def _word(value: Any) -> str:
    if isinstance(value, str) and is_text(value):
        return value
    raise TypeError


def _word_or_none(value: Any) -> str | None:
    return None if value is None else _word(value)


def _number(value: Any) -> float:
    if isinstance(value, float):
        return value
    raise TypeError


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise TypeError


def _details(text: str) -> Details:
    details = Details(**json.loads(text))
    if all(isinstance(value, MEMBERS.get(name, TEXT)) for name, value in details._asdict().items()):
        return details
    raise TypeError


def _unreadable(values: Values) -> Lock:
    """A record that somebody has tampered with, or that is damaged: nothing under its path is opened by it.

    It ends when it was to end, if that can be read, and if it can be named for its removal.
    """
    log.error("the record of the lock on %a cannot be read; that path is shut", values[1])
    named = all(isinstance(word, str) and is_text(word) for word in values[:2])
    ends = values[8] if named and isinstance(values[8], float) else inf
    return Lock(
        str(values[0]), str(values[1]), purpose=Purpose.ADMINISTRATIVE, timeout=inf, expires_at=ends, details=DAMAGED
    )


def _left_out(what: str, key: object) -> None:
    log.error("a %s for %a cannot be read and is left out", what, key)


# ---- statements ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _on_paths(count: int, columns: str) -> str:
    """One look for each key: SQLite seeks them without making a table of an IN (...) first."""
    each = f"SELECT {columns} FROM locks WHERE namespace = ?1 AND key = ?"  # noqa: S608 - columns are ours
    return " UNION ALL ".join(f"{each}{number}" for number in range(2, count + 2))


@lru_cache(maxsize=256)
def near_query(count: int, tree: bool) -> str:
    """Whether a lock is at one of `count` keys or, with `tree`, within two bounds more."""
    found = _on_paths(count, "1")
    if tree:
        first = "SELECT 1 FROM locks WHERE namespace = ?1 AND"
        found += f" UNION ALL {first} key >= ?{count + 2} AND key < ?{count + 3}"
    return found + " LIMIT 1"


def bounds(key: str) -> tuple[str, str]:
    """What is below `key` sorts from the first of these on, and before the second."""
    return ("/", "0") if key == "/" else (key + "/", key + "0")


def _filters(query: Query) -> tuple[str, list[Any]]:
    """The filters of `query` as a condition to be put behind others, and its parameters.

    They leave out what certainly does not matter. A word that is in no table of ours matters (T32).
    """
    text, values = "", []
    for column, wanted, all_ in (("scope", query.scopes, Scope), ("purpose", query.purposes, Purpose)):
        if wanted is not None:
            other = [word.value for word in all_ if word not in wanted]
            text += f" AND {column} NOT IN ({', '.join('?' * len(other))})"
            values += other
    if query.not_creator is not None and is_text(query.not_creator):
        text += " AND creator IS NOT ?"
        values.append(query.not_creator)
    return (f" AND (details IS NOT NULL OR ({text[5:]}))", values) if text else ("", [])


def _mattering(rows: Iterable[Values], query: Query) -> Iterator[Lock]:
    return (lock for lock in map(row, rows) if lock.details is DAMAGED or matters(lock, query))


# ---- looking ---------------------------------------------------------------------------------------------------------


def look(connection: sqlite3.Connection, query: Query, now: float, fence: int) -> Look:
    """What `query` asks for as the file stands in the transaction of `connection`."""
    if not is_text(query.namespace):
        counts = Counts(roots=dict.fromkeys(query.paths, 0)) if query.counts else None
        return Look(Snapshot(fence=fence, counts=counts))
    found: dict[str, Lock] = {}
    _read_paths(connection, query, found)
    for token in query.tokens:
        lock = by_token(connection, query.namespace, token)
        if lock is not None:
            found[token] = lock
    more = _read_below(connection, query, now, found) if query.trees else False
    overdue = [lock for lock in found.values() if lock.expires_at <= now]
    held = [Held(lock, lock.expires_at - now) for lock in sorted(found.values(), key=place) if lock.expires_at > now]
    tickets, late = _tickets(connection, query, now) if query.tickets else ((), ())
    snapshot = Snapshot(
        tuple(held),
        fence,
        tuple(_tombstones(connection, query, now)) if query.tombstones else (),
        tickets,
        _counts(connection, query) if query.counts else None,
        more,
    )
    return Look(snapshot, tuple(overdue[:MET]), late)


def _read_paths(connection: sqlite3.Connection, query: Query, found: dict[str, Lock]) -> None:
    keys = list(dict.fromkeys(key for path in query.paths for key in (*ancestors(path), path) if is_text(key)))
    filters, values = _filters(query)
    for start in range(0, len(keys), MOST_KEYS):
        some = keys[start : start + MOST_KEYS]
        if not filters:
            rows = connection.execute(_on_paths(len(some), COLUMNS), (query.namespace, *some))
        else:
            marks = ", ".join("?" * len(some))
            text = f"SELECT {COLUMNS} FROM locks WHERE namespace = ? AND key IN ({marks}){filters}"  # noqa: S608
            rows = connection.execute(text, (query.namespace, *some, *values))
        found.update((lock.token, lock) for lock in _mattering(rows, query))


def by_token(connection: sqlite3.Connection, namespace: str, token: str) -> Lock | None:
    """The lock with `token`, wherever it is rooted."""
    if not is_text(token):
        return None
    text = f"SELECT {COLUMNS} FROM locks WHERE namespace = ? AND token = ?"  # noqa: S608 - columns are ours
    values = connection.execute(text, (namespace, token)).fetchone()
    return None if values is None else row(values)


def _walk(
    connection: sqlite3.Connection, query: Query, tree: str, after: tuple[str, str] | None = None
) -> Iterator[Lock]:
    """The locks at and below `tree` that matter, in order, read as far as wanted; from behind `after` on."""
    if not is_text(tree):
        return
    filters, values = _filters(query)
    lower, upper = bounds(tree)
    where, beyond = "key >= ? AND key < ?", []
    if after is not None:  # as bytes, for it may be no text; the first condition is what the index is entered by
        where = "key >= max(?, CAST(? AS TEXT)) AND key < ? AND (key, token) > (CAST(? AS TEXT), CAST(? AS TEXT))"
        beyond = [word.encode("utf-8", "surrogatepass") for word in after]
    elif tree != "/":
        text = f"SELECT {COLUMNS} FROM locks WHERE namespace = ? AND key = ?{filters} ORDER BY token"  # noqa: S608
        yield from _mattering(connection.execute(text, (query.namespace, tree, *values)), query)
    text = f"SELECT {COLUMNS} FROM locks WHERE namespace = ? AND {where}{filters} ORDER BY key, token"  # noqa: S608
    its = (lower, *beyond[:1], upper, *beyond)
    yield from _mattering(connection.execute(text, (query.namespace, *its, *values)), query)


def _read_below(connection: sqlite3.Connection, query: Query, now: float, found: dict[str, Lock]) -> bool:
    """Add what is at and below the trees. Whether there is more than the limit or the page allows, or one look does."""
    if query.page is not None:
        return _read_page(connection, query, query.page, now, found)
    more = False
    for tree in query.trees:
        more = _read_tree(connection, query, tree, now, found) or more
    return more


def _read_tree(connection: sqlite3.Connection, query: Query, tree: str, now: float, found: dict[str, Lock]) -> bool:
    roots: set[str] = set()
    over = 0
    for lock in _walk(connection, query, tree):
        if lock.expires_at <= now:
            over += 1
        else:
            roots.add(lock.key)
        if over > MET or (query.limit is not None and len(roots) > query.limit):
            return True
        found[lock.token] = lock
    return False


def _read_page(connection: sqlite3.Connection, query: Query, page: Page, now: float, found: dict[str, Lock]) -> bool:
    walks = [_walk(connection, query, tree, page.after) for tree in query.trees]
    listed: set[str] = set()
    living = over = 0
    for lock in merge(*walks, key=place):
        if lock.token in listed:
            continue
        alive = lock.expires_at > now
        if (alive and living == page.limit) or over == MET:
            return True
        listed.add(lock.token)
        found[lock.token] = lock
        living += alive
        over += not alive
    return False


def _tombstones(connection: sqlite3.Connection, query: Query, now: float) -> Iterator[Tombstone]:
    text = (
        'SELECT token, key, root, creator, ended, "by", reason, request, at FROM tombstones '
        "WHERE namespace = ? AND token = ? AND at > ?"
    )
    for named in filter(is_text, query.tokens):
        values = connection.execute(text, (query.namespace, named, now - DAY)).fetchone()
        if values is not None:
            yield from _stone(values)


def _stone(values: Values) -> Iterator[Tombstone]:
    token, key, root, creator, ended, by, reason, request, at = values
    try:
        yield Tombstone(
            _word(token),
            _word(key),
            _word(root),
            _word_or_none(creator),
            Ended(ended),
            _word_or_none(by),
            _word_or_none(reason),
            _word_or_none(request),
            _number(at),
        )
    except (TypeError, ValueError):
        _left_out("tombstone", key)


def _tickets(connection: sqlite3.Connection, query: Query, now: float) -> tuple[tuple[Ticket, ...], tuple[str, ...]]:
    """Those who wait on the paths, in the order of their numbers, and the ids of those whose time is over."""
    text = "SELECT id, key, creator, lasts, number, deadline FROM tickets WHERE namespace = ? AND key = ?"
    waiting, late = [], []
    for path in filter(is_text, dict.fromkeys(query.paths)):
        for id, key, creator, lasts, number, deadline in connection.execute(text, (query.namespace, path)):
            if not (isinstance(id, str) and isinstance(creator, TEXT) and {type(lasts), type(deadline)} == {float}):
                _left_out("ticket", key)
            elif deadline > now:
                waiting.append(Ticket(id, key, creator, lasts, number))
            else:
                late.append(id)
    return tuple(sorted(waiting, key=lambda ticket: ticket.number)), tuple(late[:MET])


def note_of(values: Values) -> Note:
    """The note that a row tells of; what cannot be read in it is shown as it stands."""
    event, key, by, detail = values
    try:
        told = {} if detail is None else dict(json.loads(detail))
    except (TypeError, ValueError, RecursionError):
        told = {"unreadable": str(detail)}
    return Note(str(event), str(key), None if by is None else str(by), told)


def is_anything_over(connection: sqlite3.Connection, now: float) -> bool:
    """Whether a lock that ran out is still counted."""
    return connection.execute("SELECT 1 FROM locks WHERE expires_at <= ? LIMIT 1", (now,)).fetchone() is not None


def _counts(connection: sqlite3.Connection, query: Query) -> Counts:
    text = "SELECT locks FROM held WHERE namespace = ? AND creator = ?"
    creator = b"" if query.count_creator is None else query.count_creator
    at = "SELECT count(*) FROM locks WHERE namespace = ? AND key = ?"
    return Counts(
        _first(connection.execute(text, (query.namespace, b"*"))),
        _first(connection.execute(text, (query.namespace, creator))) if is_text(query.count_creator or "") else 0,
        {path: _first(connection.execute(at, (query.namespace, path))) for path in filter(is_text, query.paths)},
    )


def _first(rows: Iterable[Values]) -> int:
    """The count in the first row; none is none. Raises `StoreUnavailable` for what is no count."""
    count = next((values[0] for values in rows), 0)
    if isinstance(count, int):
        return count
    raise damaged(f"it counts {count!a} locks")
