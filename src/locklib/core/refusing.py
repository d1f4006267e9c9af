"""The refusals: one constructor for each row of the table of answers (docs/rfc4918.md), and nothing decided here.

Knows: status, precondition code and wording of each way to be refused (RFC 4918 sections 9.10, 9.11, 11 and 16).
Must not know: when a request is refused (`rules`, `exchange`), how a refusal is written (`refusals`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from locklib.core.model import Condition, Held, Purpose, Refusal, Tombstone

__all__ = [
    "RETRY_CAP",
    "TOLD",
    "bad_request",
    "conflict",
    "failed_condition",
    "forbidden",
    "locked",
    "no_such_lock",
    "retry_after",
    "still_being_written",
    "unauthorized",
]

RETRY_CAP = 3600
"""Seconds: nobody is told to stay away for longer, for a lock may be given back early."""

LOCKED_BECAUSE = {
    Purpose.WRITE: "is locked and cannot be modified without its lock token",
    Purpose.ADMINISTRATIVE: "is locked for administrative purposes",
    Purpose.PROCESSING: "is being processed and cannot be modified yet",
}


TOLD = 32
"""Locks in the way that one refusal tells of, so that what it costs has a bound."""


def retry_after(conflicts: Iterable[Held], jitter: float) -> int | None:
    """Whole seconds until the last of `conflicts` ends, at most an hour, plus up to a tenth so that a herd spreads out.

    jitter: a value in [0, 1). None where one of them has no end.
    """
    left = 0.0
    for held in conflicts:
        left = max(left, 1.0 if held.lock.pending else held.remaining)
    if not left or math.isinf(left):
        return None
    capped = min(math.ceil(left), RETRY_CAP)
    return capped + int(jitter * (1 + capped / 10))


def _shown(conflicts: Sequence[Held]) -> tuple[Held, ...]:
    """The locks to tell of: pending ones are not shown; a hold by the house comes before a client's lock."""
    granted = [held for held in conflicts if not held.lock.details.pending]
    if len(granted) < 2:
        return tuple(granted)
    return tuple(sorted(granted, key=lambda held: (held.lock.purpose is Purpose.WRITE, held.lock.key)))


def _roots(conflicts: Iterable[Held]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(held.lock.root for held in conflicts))


def _held_against(
    resource: str,
    conflicts: Sequence[Held],
    shown: tuple[Held, ...],
    condition: Condition,
    message: str,
    *,
    jitter: float,
    multistatus: bool = False,
    lock_request: bool = False,
) -> Refusal:
    """A 423 because of `conflicts`; `message` is used where the first of them may be shown."""
    shown = shown[:TOLD]
    return Refusal(
        423,
        "locked",
        "Locked",
        message if shown else f"a lock on {conflicts[0].lock.root} is just being granted",
        resource,
        condition=condition,
        hrefs=_roots(shown or conflicts[:TOLD]),
        held=shown[0] if shown else None,
        conflicts=shown,
        retry_after=retry_after(conflicts, jitter),
        multistatus=multistatus,
        lock_request=lock_request,
    )


def locked(resource: str, conflicts: Sequence[Held], jitter: float) -> Refusal:
    """423: a write lacks the token of a lock (RFC 4918 sections 7 and 11.3)."""
    shown = _shown(conflicts)
    first = (shown or conflicts)[0].lock
    message = f"{first.root} {LOCKED_BECAUSE[first.purpose]}"
    return _held_against(resource, conflicts, shown, Condition.LOCK_TOKEN_SUBMITTED, message, jitter=jitter)


def conflict(resource: str, conflicts: Sequence[Held], jitter: float, *, members: bool = False) -> Refusal:
    """423: a LOCK meets a lock that covers its URL (RFC 4918 sections 6.1 and 9.10.5).

    members: the locks met lie on members of a LOCK with depth infinity: 207 in the DAV rendering (section 9.10.9).
    """
    shown = _shown(conflicts)
    first = (shown or conflicts)[0].lock
    message = f"a conflicting lock is held on {first.root}" + (f", a member of {resource}" if members else "")
    because = Condition.NO_CONFLICTING_LOCK
    return _held_against(
        resource, conflicts, shown, because, message, jitter=jitter, multistatus=members, lock_request=True
    )


def still_being_written(resource: str, seconds: float) -> Refusal:
    """423: older writers did not end within the time that a LOCK waits for them (mode *hold*)."""
    return Refusal(
        423,
        "still-being-written",
        "Locked",
        f"a request that was admitted earlier is still writing {resource}; the lock was not granted within "
        f"{seconds:g} seconds",
        resource,
        condition=Condition.NO_CONFLICTING_LOCK,
        hrefs=(resource,),
        retry_after=1,
        lock_request=True,
    )


def failed_condition(
    resource: str, tombstones: Sequence[Tombstone], condition: Condition | None = None, message: str | None = None
) -> Refusal:
    """412: the `If` header does not hold; a tombstone of a lock that it names says why (RFC 4918 section 12.1)."""
    stone = tombstones[0] if tombstones else None
    return Refusal(
        412,
        "precondition-failed",
        "Precondition Failed",
        message or "the If header does not hold for the state of the resource",
        resource,
        condition=condition,
        hrefs=(resource,) if condition else (),
        tombstone=stone,
    )


def no_such_lock(resource: str, message: str) -> Refusal:
    """409: UNLOCK with a token that is not a lock of this URL (RFC 4918 section 9.11.1)."""
    return Refusal(
        409,
        "no-such-lock",
        "Conflict",
        message,
        resource,
        condition=Condition.LOCK_TOKEN_MATCHES_REQUEST_URI,
    )


def forbidden(resource: str, message: str, *, slug: str = "forbidden", held: Held | None = None) -> Refusal:
    """403: not this principal, whatever the state of the locks."""
    return Refusal(403, slug, "Forbidden", message, resource, held=held)


def unauthorized(resource: str, message: str) -> Refusal:
    """401: only where `challenge=` says how to authenticate."""
    return Refusal(401, "unauthorized", "Unauthorized", message, resource)


def bad_request(resource: str, message: str, slug: str = "bad-request") -> Refusal:
    """400: the request contradicts itself or lacks what its method needs."""
    return Refusal(400, slug, "Bad Request", message, resource)
