"""XML out: DAV:lockdiscovery, DAV:supportedlock and the multistatus answers that locks give, as escaped templates.

Knows: the elements of RFC 4918 sections 14.1, 14.16, 15.8, 15.10 and 16, and how text becomes XML.
Must not know: who may see what (it is told), how JSON or HTML looks, headers.

Only write locks are DAV locks (RFC 4918 section 7): administrative and processing locks have no locktype, and a pending
lock is not granted yet; none of them is discovered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from locklib.core.disclosing import HREF_LIMIT
from locklib.core.fields import timeout_text
from locklib.core.lockinfo import PROTECTED, Change, Name
from locklib.core.model import Condition, Depth, Held, Lock, Purpose, Refusal, Scope

__all__ = [
    "HREF_LIMIT",
    "PROLOG",
    "SUPPORTED_LOCK",
    "activelock",
    "condition_element",
    "discoverable",
    "escape",
    "href",
    "lock_roots",
    "lockdiscovery",
    "multistatus_locked",
    "prop_document",
    "prop_lockdiscovery_document",
    "proppatch_protected",
]

PROLOG = '<?xml version="1.0" encoding="utf-8"?>\n'

# --- text ---

# Char of XML 1.0 (production 2), negated; the surrogates are what a path in undecodable bytes is made of.
# A text, for compiling it takes longer than importing this module, and few answers need it: `re` keeps it then.
NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def escape(text: str) -> str:
    """`text` as character data or as an attribute value in double quotes; what XML cannot hold becomes U+FFFD."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return plain if plain.isprintable() else _visible(plain)


def _visible(text: str) -> str:
    """White space as references, which no reader normalises away."""
    text = re.sub(NOT_XML, "\ufffd", text)
    return text.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")


NOT_IN_A_PATH = re.compile("[^\x21-\x7e]")


def href(path: str) -> str:
    """A path as the content of DAV:href. It is percent-encoded already, unless code named it in plain characters."""
    if not path.isascii() or not path.isprintable() or " " in path:
        path = NOT_IN_A_PATH.sub(_percent, path)
    return escape(path)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


# --- <!ELEMENT activelock (lockscope, locktype, depth, owner?, timeout?, locktoken?, lockroot)>   section 14.1 ---

SCOPES = {scope: f"<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>" for scope in Scope}
DEPTHS = {depth: f"<D:depth>{depth}</D:depth>" for depth in Depth}

SUPPORTED_LOCK = (
    "<D:supportedlock>"
    + "".join(f"<D:lockentry>{SCOPES[scope]}</D:lockentry>" for scope in (Scope.EXCLUSIVE, Scope.SHARED))
    + "</D:supportedlock>"
)
"""The DAV:supportedlock property (RFC 4918 section 15.10), for a document where D is DAV:."""


def discoverable(held: Held) -> bool:
    """Whether DAV clients see this lock: a write lock, and granted."""
    return held.lock.purpose is Purpose.WRITE and not held.lock.details.pending


def activelock(held: Held, *, show_token: bool, show_owner: bool) -> str:
    """DAV:activelock of `held` (RFC 4918 section 14.1), for a document where D is DAV:.

    The timeout is what is left, in whole seconds rounded up.
    """
    lock = held.lock
    return (
        f"<D:activelock>{SCOPES[lock.scope]}{DEPTHS[lock.depth]}"
        f"{_owner(lock) if show_owner else ''}"
        f"<D:timeout>{timeout_text(held.remaining)}</D:timeout>"
        f"{f'<D:locktoken><D:href>{escape(lock.token)}</D:href></D:locktoken>' if show_token else ''}"
        f"<D:lockroot><D:href>{href(lock.root)}</D:href></D:lockroot></D:activelock>"
    )


def _owner(lock: Lock) -> str:
    """The client's own element as it came (it declares its namespaces itself), or its plain words in one."""
    words = lock.details.owner_info
    if words is None:
        return ""
    return words if lock.details.owner_is_xml else f"<D:owner>{escape(words)}</D:owner>"


def lockdiscovery(
    helds: Iterable[Held], *, show_token: bool = True, show_owner: bool = True, own: Collection[str] = ()
) -> str:
    """DAV:lockdiscovery (RFC 4918 section 15.8), for a document where D is DAV:.

    own: tokens that are the asker's; these locks are told whole whatever the switches say.
    """
    active = "".join(
        activelock(
            held,
            show_token=show_token or held.lock.token in own,
            show_owner=show_owner or held.lock.token in own,
        )
        for held in helds
        if discoverable(held)
    )
    return f"<D:lockdiscovery>{active}</D:lockdiscovery>"


def prop_lockdiscovery_document(
    helds: Iterable[Held], *, show_token: bool = True, show_owner: bool = True, own: Collection[str] = ()
) -> bytes:
    """The body of a successful LOCK: DAV:prop with DAV:lockdiscovery in it (RFC 4918 section 9.10.1)."""
    return prop_document(lockdiscovery(helds, show_token=show_token, show_owner=show_owner, own=own))


def prop_document(properties: str) -> bytes:
    """`properties` in a DAV:prop that is a whole document (RFC 4918 section 14.18)."""
    return f'{PROLOG}<D:prop xmlns:D="DAV:">{properties}</D:prop>'.encode()


# --- conditions: which of them hold hrefs (RFC 4918 section 16) ---

WITH_HREFS = frozenset({Condition.LOCK_TOKEN_SUBMITTED, Condition.NO_CONFLICTING_LOCK})


def condition_element(condition: Condition, hrefs: Iterable[str]) -> str:
    """The child of DAV:error that names `condition`; hrefs: lock roots, percent-encoded paths."""
    if condition not in WITH_HREFS:
        return f"<D:{condition}/>"
    inner = "".join([f"<D:href>{href(path)}</D:href>" for path in hrefs])
    return f"<D:{condition}>{inner}</D:{condition}>"


def lock_roots(refusal: Refusal) -> tuple[str, ...]:
    """The lock roots that a refusal names, each once and at most HREF_LIMIT; the resource itself where none is given.

    DAV:lock-token-submitted must hold at least one href (RFC 4918 section 16).
    """
    hrefs = refusal.hrefs
    if len(hrefs) < 2:
        return hrefs or (refusal.resource,)
    return tuple(dict.fromkeys(hrefs))[:HREF_LIMIT]


# --- <!ELEMENT multistatus (response*, responsedescription?)>   RFC 4918 sections 13 and 14.16 ---


def _multistatus(responses: Iterable[str]) -> bytes:
    return f'{PROLOG}<D:multistatus xmlns:D="DAV:">{"".join(responses)}</D:multistatus>'.encode()


def multistatus_locked(refusal: Refusal) -> bytes:
    """207 to a LOCK with depth infinity: 423 for each member in the way, 424 for the URL (RFC 4918 section 9.10.9)."""
    condition = refusal.condition or Condition.NO_CONFLICTING_LOCK
    members = [
        f"<D:response><D:href>{href(root)}</D:href><D:status>HTTP/1.1 423 Locked</D:status>"
        f"<D:error>{condition_element(condition, (root,))}</D:error></D:response>"
        for root in lock_roots(refusal)
    ]
    return _multistatus([*members, f"<D:response><D:href>{href(refusal.resource)}</D:href>{FAILED}</D:response>"])


FAILED = "<D:status>HTTP/1.1 424 Failed Dependency</D:status>"
REFUSED = (
    "<D:status>HTTP/1.1 403 Forbidden</D:status>"
    f"<D:error>{condition_element(Condition.CANNOT_MODIFY_PROTECTED_PROPERTY, ())}</D:error>"
)


def proppatch_protected(path: str, changes: Iterable[Change], protected: Collection[Name] = PROTECTED) -> bytes:
    """207 to a PROPPATCH that touches a protected property: that one 403, all others 424 (RFC 4918 section 9.2.1).

    path: as addressed, percent-encoded. changes: as `parse_proppatch` gave them; each property is named once.
    """
    names = list(dict.fromkeys((namespace, local) for _, namespace, local in changes))
    refused = [name for name in names if name in protected]
    failed = [name for name in names if name not in protected]
    propstats = _propstat(refused, REFUSED) + _propstat(failed, FAILED)
    return _multistatus([f"<D:response><D:href>{href(path)}</D:href>{propstats}</D:response>"])


def _propstat(names: Iterable[Name], status: str) -> str:
    properties = "".join(_property(*name) for name in names)
    return f"<D:propstat><D:prop>{properties}</D:prop>{status}</D:propstat>" if properties else ""


def _property(namespace: str, local: str) -> str:
    """The name of a property as an empty element; one without a namespace needs no declaration, none is in scope."""
    if namespace == "DAV:":
        return f"<D:{local}/>"
    return f'<p:{local} xmlns:p="{escape(namespace)}"/>' if namespace else f"<{local}/>"
