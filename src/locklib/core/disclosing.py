"""What the asker is told of a lock: the one JSON schema of refusals, LOCK answers and the API, and its words.

Knows: which member stands for which attribute of a lock, what `Disclosure` leaves out, instants and durations in words.
Must not know: media types, headers, status codes, who the asker is (policy has decided).

A member that may not be told is null, so that the shape stays the same. A pending lock is not told at all; the token of
a bearer lock (creator None: the token alone opens it) never.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from locklib.core.fields import seconds_up
from locklib.core.model import Held, Lock, Purpose, Tombstone

__all__ = [
    "HREF_LIMIT",
    "Disclosure",
    "Members",
    "ended_members",
    "ended_sentence",
    "in_words",
    "instant",
    "lock_members",
    "lock_owner",
    "lock_type",
    "shown_locks",
    "shown_token",
    "whole_seconds",
]

Members: TypeAlias = dict[str, Any]
"""A JSON object in the making."""

HREF_LIMIT = 100
"""Locks that one answer names: with 10^5 shared locks on a URL its size stays flat."""


class Disclosure(NamedTuple):
    """What the asker may see of a lock. Without `root`, not even where it is: the answer is bare."""

    token: bool
    owner: bool
    reason: bool
    contact: bool
    root: bool = True


# --- words ---


def whole_seconds(seconds: float) -> int | None:
    """Whole seconds, rounded up; None where there is no end."""
    return None if math.isinf(seconds) else seconds_up(seconds)


def instant(seconds: float) -> str | None:
    """An instant (seconds since the epoch) in ISO 8601 with Z; None where there is none, or none that has a date."""
    from datetime import UTC, datetime  # noqa: PLC0415 - the XML rendering tells no dates

    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None).isoformat()}Z"
    except (OverflowError, ValueError, OSError):
        return None


MINUTE, HOUR, DAY = 60, 3600, 86_400


def in_words(seconds: float) -> str | None:
    """A time left, rounded up, in at most two units: "14 minutes", "1 hour 5 minutes"; None where there is no end."""
    whole = whole_seconds(seconds)
    if whole is None:
        return None
    if whole < MINUTE:
        return _counted(whole, "second")
    if whole <= HOUR - MINUTE:
        return _counted(-(-whole // MINUTE), "minute")
    if whole <= DAY - MINUTE:
        minutes = -(-whole // MINUTE)
        return _two(minutes // 60, "hour", minutes % 60, "minute")
    hours = -(-whole // HOUR)
    return _two(hours // 24, "day", hours % 24, "hour")


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _two(count: int, unit: str, rest: int, smaller: str) -> str:
    return f"{_counted(count, unit)} {_counted(rest, smaller)}" if rest else _counted(count, unit)


# --- a lock ---


def lock_owner(lock: Lock) -> str | None:
    """Whose lock it is: the authenticated creator, else the client's own words."""
    if lock.creator is not None or lock.details.owner_info is None:
        return lock.creator
    from locklib.core.lockinfo import owner_text  # noqa: PLC0415 - a bearer lock came with a body, which was read there

    return owner_text(lock)


def lock_type(lock: Lock) -> str:
    """exclusive or shared for a client's write lock, else the purpose."""
    return lock.scope.value if lock.purpose is Purpose.WRITE else lock.purpose.value


def shown_token(lock: Lock, disclosure: Disclosure) -> str | None:
    """The token, where it is not what opens the lock."""
    return lock.token if disclosure.token and lock.creator is not None else None


def shown_locks(helds: Iterable[Held]) -> list[Held]:
    """The granted ones, at most as many as an answer names."""
    return [held for held in helds if not held.lock.details.pending][:HREF_LIMIT]


def lock_members(held: Held, disclosure: Disclosure, *, own: bool = False) -> Members:
    """The `lock` object. own: it is the asker's, who is told everything."""
    lock = held.lock
    details = lock.details
    return {
        "token": lock.token if own else shown_token(lock, disclosure),
        "root": lock.root if own or disclosure.root else None,
        "owner": lock_owner(lock) if own or disclosure.owner else None,
        "type": lock_type(lock),
        "scope": lock.scope.value,
        "depth": lock.depth.value,
        "purpose": lock.purpose.value,
        "created_at": instant(lock.created_at),
        "expires_at": instant(math.ceil(lock.expires_at)) if math.isfinite(lock.expires_at) else None,
        "timeout_seconds": whole_seconds(lock.timeout),
        "expires_in_seconds": whole_seconds(held.remaining),
        "reason": details.reason if own or disclosure.reason else None,
        "contact": details.contact if own or disclosure.contact else None,
    }


# --- a lock that ended under its holder ---


def ended_members(stone: Tombstone, disclosure: Disclosure) -> Members:
    """The `ended` object: how, when, by whom and why a lock came to its end."""
    return {
        "how": stone.ended.value,
        "root": stone.root,
        "at": instant(stone.at),
        "by": stone.by if disclosure.owner else None,
        "reason": stone.reason if disclosure.reason else None,
    }


def ended_sentence(stone: Tombstone, disclosure: Disclosure) -> str:
    """The same in words: "the lock on /a was broken by alice at 2026-01-18T14:30:00Z: audit"."""
    by = f" by {stone.by}" if stone.by and disclosure.owner else ""
    why = f": {stone.reason}" if stone.reason and disclosure.reason else ""
    verb = "has expired" if stone.ended.value == "expired" else f"was {stone.ended.value}"
    when = instant(stone.at)
    return f"the lock on {stone.root} {verb}{by}{f' at {when}' if when else ''}{why}"
