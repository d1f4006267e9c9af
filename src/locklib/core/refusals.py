"""Answers out: a refusal in its four renderings, and what a granted or refreshed lock is answered with.

Knows: the headers and bodies of a 423 and its kin (RFC 4918 sections 9.10, 11.3 and 16; RFC 9457), and what may be
told of a lock (`Disclosure`).
Must not know: whether a request is refused, who asks, which rendering the asker likes (`accepting`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from locklib.core.accepting import Rendering, choose_rendering
from locklib.core.disclosing import (
    Disclosure,
    Members,
    ended_members,
    ended_sentence,
    in_words,
    lock_members,
    lock_owner,
    lock_type,
    shown_locks,
    shown_token,
    whole_seconds,
)
from locklib.core.discovery import (
    PROLOG,
    activelock,
    condition_element,
    discoverable,
    escape,
    lock_roots,
    multistatus_locked,
    prop_document,
)
from locklib.core.fields import header_text
from locklib.core.model import Condition, Held, Lock, Purpose, Refusal, replace
from locklib.core.page import PAGE_POLICY, refusal_page
from locklib.errors import LockError, LockRefused

__all__ = [
    "PROBLEM_TYPE",
    "XML_NAMESPACE",
    "Disclosure",
    "Rendered",
    "Rendering",
    "choose_rendering",
    "refusal_from_error",
    "refusal_members",
    "render_granted",
    "render_members",
    "render_refusal",
]

PROBLEM_TYPE = "urn:problem:locklib:"
"""The `type` of a problem is this and the refusal's slug."""
XML_NAMESPACE = "urn:problem:locklib"
"""Of the element that tells the message inside DAV:error; a DAV client skips what it does not know (section 17)."""

Headers = tuple[tuple[str, str], ...]

NEVER_KEPT: Headers = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


class Rendered(NamedTuple):
    """An answer, ready to be sent: header values are ASCII without line breaks."""

    status: int
    headers: Headers
    body: bytes


# --- what is told ---


def _told(refusal: Refusal, disclosure: Disclosure) -> Refusal:
    """The refusal with nothing in it that the asker may not see."""
    if not disclosure.root:
        return _bare(refusal)
    if refusal.status == 423 and (not disclosure.owner or _pending(refusal.held)) and _names_someone(refusal):
        return replace(refusal, message=_without_names(refusal))
    if refusal.tombstone is not None:
        return replace(refusal, message=f"{refusal.message}; {ended_sentence(refusal.tombstone, disclosure)}")
    return refusal


def _bare(refusal: Refusal) -> Refusal:
    """That the resource is locked, and nothing of the lock: not where its root is, nor that it is a member's."""
    message = f"{refusal.resource} is locked" if refusal.status == 423 else refusal.message
    emptied = (
        None
        if refusal.condition in (Condition.LOCK_TOKEN_SUBMITTED, Condition.NO_CONFLICTING_LOCK)
        else (refusal.condition)
    )
    return replace(
        refusal,
        message=message,
        condition=emptied,
        hrefs=(),
        held=None,
        conflicts=(),
        tombstone=None,
        multistatus=False,
        may_break=False,
    )


def _pending(held: Held | None) -> bool:
    return held is not None and held.lock.details.pending


def _names_someone(refusal: Refusal) -> bool:
    helds = refusal.conflicts or ((refusal.held,) if refusal.held is not None else ())
    return any(
        name and name in refusal.message for held in helds for name in (held.lock.creator, lock_owner(held.lock))
    )


NAMELESS = {
    Purpose.WRITE: "is locked by another client and cannot be modified",
    Purpose.ADMINISTRATIVE: "is locked for administrative purposes",
    Purpose.PROCESSING: "is being processed and cannot be modified yet",
}


def _without_names(refusal: Refusal) -> str:
    purpose = refusal.held.lock.purpose if refusal.held is not None else Purpose.WRITE
    return f"{refusal.resource} {NAMELESS[purpose]}"


# --- the one JSON schema ---


def refusal_members(refusal: Refusal, disclosure: Disclosure) -> Members:
    """The JSON object of a refusal. The members about a lock stand there when one is in the way and granted."""
    return _members(_told(refusal, disclosure), disclosure)


def _members(refusal: Refusal, disclosure: Disclosure) -> Members:
    members: Members = {
        "error": refusal.title,
        "message": refusal.message,
        "status": refusal.status,
        "resource": refusal.resource,
    }
    held = refusal.held
    if held is not None and not held.lock.details.pending:
        first = members["lock"] = lock_members(held, disclosure)
        members["conflicts"] = [
            first if one is held else lock_members(one, disclosure) for one in shown_locks(refusal.conflicts)
        ]
        members["retry_after"] = refusal.retry_after
        members["time_remaining"] = in_words(held.remaining)
        members["suggestions"] = list(_suggestions(refusal, held, disclosure))
        members["actions"] = _actions(refusal, held, disclosure)
    elif refusal.retry_after is not None:
        members["retry_after"] = refusal.retry_after
        members["suggestions"] = ["Try again later"]
    if refusal.tombstone is not None:
        members["ended"] = ended_members(refusal.tombstone, disclosure)
    return members


def _contact(lock: Lock, disclosure: Disclosure) -> str | None:
    """Whom to ask: the contact that the lock names, else its owner; None where neither may be told."""
    contact = lock.details.contact if disclosure.contact else None
    return contact or (lock_owner(lock) if disclosure.owner else None)


def _suggestions(refusal: Refusal, held: Held, disclosure: Disclosure) -> Iterator[str]:
    left = in_words(held.remaining)
    contact = _contact(held.lock, disclosure)
    if left is not None:
        yield f"Wait for the lock to expire in {left}"
    yield f"Contact {contact or 'the lock owner'} to release it"
    if left is not None:
        yield "Try again after it has expired"
    if held.lock.purpose is Purpose.WRITE and not refusal.lock_request:
        yield "If the lock is yours, send its token in an If header"


def _actions(refusal: Refusal, held: Held, disclosure: Disclosure) -> Members:
    left = in_words(held.remaining)
    contact = _contact(held.lock, disclosure)
    actions: Members = {}
    if left is not None:
        actions["wait"] = f"Wait {left} for the lock to expire"
    if contact is not None:
        actions["contact"] = f"Contact {contact} to release the lock"
    if refusal.may_break:
        actions["force_unlock"] = "You may break this lock; its holder will be told that it was broken, by whom and why"
    return actions


# --- the renderings ---


def render_refusal(refusal: Refusal, rendering: Rendering, disclosure: Disclosure) -> Rendered:
    """The answer to a refused request, of whatever status.

    A refusal with `multistatus` is a 207 in XML and a 423 else, for a 207 reads as success to `fetch`. Never raises for
    what people wrote: a header that cannot be said in ASCII is encoded or left out.
    """
    told = _told(refusal, disclosure)
    status = 207 if told.multistatus and rendering is Rendering.XML else told.status
    body = _xml(told) if rendering is Rendering.XML else _from_members(told, rendering, disclosure)
    headers = (*_lock_headers(told, status, disclosure), *_body_headers(rendering, body))
    return Rendered(status, headers, body)


def _body_headers(rendering: Rendering, body: bytes) -> Headers:
    headers = (("Content-Type", rendering.value), ("Content-Length", str(len(body))), *NEVER_KEPT)
    return (*headers, ("Content-Security-Policy", PAGE_POLICY)) if rendering is Rendering.HTML else headers


def _lock_headers(refusal: Refusal, status: int, disclosure: Disclosure) -> Iterator[tuple[str, str]]:
    """Retry-After wherever waiting helps; on a 423 what is to be known of the lock."""
    if refusal.retry_after is not None:
        yield "Retry-After", str(refusal.retry_after)
    held = refusal.held
    if held is None or held.lock.details.pending or status != 423:
        return
    lock = held.lock
    owner = header_text(lock_owner(lock) or "") if disclosure.owner else None
    if owner:
        yield "X-Lock-Owner", owner
    granted = whole_seconds(lock.timeout)
    if granted is not None:
        yield "X-Lock-Timeout", str(granted)
    yield "X-Lock-Type", lock_type(lock)
    # A simple client takes any Lock-Token in an answer to LOCK for a grant.
    token = None if refusal.lock_request else shown_token(lock, disclosure)
    if token is not None and header_text(token) == token:
        yield "Lock-Token", f"<{token}>"


def _xml(refusal: Refusal) -> bytes:
    """<!ELEMENT error ANY >   RFC 4918 section 14.5"""
    if refusal.multistatus:
        return multistatus_locked(refusal)
    condition = "" if refusal.condition is None else condition_element(refusal.condition, lock_roots(refusal))
    return (
        f'{PROLOG}<D:error xmlns:D="DAV:">{condition}'
        f'<l:message xmlns:l="{XML_NAMESPACE}">{escape(refusal.message)}</l:message></D:error>'
    ).encode()


def _from_members(refusal: Refusal, rendering: Rendering, disclosure: Disclosure) -> bytes:
    members = _members(refusal, disclosure)
    if rendering is Rendering.HTML:
        return refusal_page(members)
    return _json(_problem(refusal) | members if rendering is Rendering.PROBLEM else members)


def _problem(refusal: Refusal) -> Members:
    """The members of RFC 9457 section 3.1; those of our own schema stand beside them as extensions."""
    return {
        "type": PROBLEM_TYPE + refusal.slug,
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.message,
        "instance": refusal.resource,
    }


def _json(members: Members) -> bytes:
    """ASCII, so that nothing anyone wrote can fail to be encoded; < escaped, so that it can stand in a page."""
    import json  # noqa: PLC0415 - the XML rendering does not pay for it

    return json.dumps(members).replace("<", "\\u003c").encode("ascii")


def render_members(status: int, members: Members) -> Rendered:
    """An answer of the API: `members` as JSON, never kept by a cache."""
    body = _json(members)
    return Rendered(status, _body_headers(Rendering.JSON, body), body)


# --- LOCK ---

NOTHING = Disclosure(token=False, owner=False, reason=False, contact=False)


def render_granted(
    held: Held,
    rendering: Rendering,
    *,
    status: int,
    refreshed: bool,
    discovery: tuple[Held, ...] = (),
    disclosure: Disclosure = NOTHING,
) -> Rendered:
    """The answer to a LOCK that was granted (200, 201) or refreshed (RFC 4918 sections 9.10.1 and 9.10.2).

    held: the asker's lock, told whole. discovery: the locks on its root, the own one among them or not; `disclosure`
    is for the others. Lock-Token stands on a grant only. A grant is XML or JSON; the other two are for refusals.
    """
    if rendering is Rendering.XML:
        body = _granted_xml(held, discovery, disclosure)
    else:
        rendering = Rendering.JSON
        own = lock_members(held, disclosure, own=True)
        body = _json({"status": status, "resource": held.lock.root, "lock": own})
    headers = _body_headers(rendering, body)
    return Rendered(status, headers if refreshed else (("Lock-Token", f"<{held.lock.token}>"), *headers), body)


def _granted_xml(held: Held, discovery: tuple[Held, ...], disclosure: Disclosure) -> bytes:
    """The own lock first: a simple client reads the first activelock."""
    active = [activelock(held, show_token=True, show_owner=True)]
    for other in discovery if disclosure.root else ():
        if other.lock.token != held.lock.token and discoverable(other):
            show_token = shown_token(other.lock, disclosure) is not None
            active.append(activelock(other, show_token=show_token, show_owner=disclosure.owner))
    return prop_document(f"<D:lockdiscovery>{''.join(active)}</D:lockdiscovery>")


# --- errors ---

TITLES = {
    "bad-field": "Bad Request",
    "bad-body": "Bad Request",
    "body-too-large": "Content Too Large",
    "unsupported-body": "Unsupported Media Type",
    "unusable-lockinfo": "Unprocessable Content",
    "store-unavailable": "Service Unavailable",
}
STORE_UNAVAILABLE = "the lock table cannot be reached, so nothing was done; try again shortly"
INTERNAL = "an error of the lock service; nothing was done"


def refusal_from_error(error: LockError, resource: str) -> Refusal:
    """The refusal that an error becomes when it reaches a client.

    resource: the URL path as addressed. What a store or a setting says of itself (hosts, credentials) stays inside:
    only errors about the request tell their message.
    """
    if isinstance(error, LockRefused):
        return error.refusal
    title = TITLES.get(error.slug, "Internal Server Error")
    if error.status == 503:
        return Refusal(503, error.slug, title, STORE_UNAVAILABLE, resource, retry_after=1)
    message = str(error) if error.status < 500 else INTERNAL
    return Refusal(error.status, error.slug, title, message, resource)
