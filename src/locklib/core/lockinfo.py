"""Bodies in: what a LOCK asks for, in XML or JSON, and as much of PROPFIND and PROPPATCH as locks need.

Knows: DAV:lockinfo, its JSON twin, DAV:propfind and DAV:propertyupdate (RFC 4918 sections 9.1, 9.2, 14.11, 14.19 and
14.20), and what of the owner's words is text.
Must not know: defaults, limits of policy, whether the lock will be granted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from locklib.core.model import Depth, Lock, Scope
from locklib.core.xmlin import BODY_LIMIT, DAV, Element, decoded, read_xml, standalone
from locklib.errors import BadLockInfo, BodyTooLarge, UnsupportedBody, UnusableLockInfo, shown

__all__ = [
    "PROTECTED",
    "Change",
    "LockInfo",
    "Name",
    "Propfind",
    "owner_text",
    "parse_lockinfo",
    "parse_propfind",
    "parse_proppatch",
]

Name: TypeAlias = tuple[str, str]
"""Of a property: namespace and local name."""
Change: TypeAlias = tuple[str, str, str]
"""Of a PROPPATCH: "set" or "remove", namespace, local name."""

LOCKDISCOVERY = (DAV, "lockdiscovery")
SUPPORTEDLOCK = (DAV, "supportedlock")
PROTECTED = frozenset({LOCKDISCOVERY, SUPPORTEDLOCK})
"""The properties that only locks change (RFC 4918 sections 15.8 and 15.10)."""


class LockInfo(NamedTuple):
    """What a LOCK body asks for. None: it does not say (XML leaves depth and timeout to the headers).

    `timeout` is in seconds, math.inf for no end. `owner_info` is the whole DAV:owner element as XML text that stands
    on its own, or plain text (`owner_is_xml` tells which).
    """

    scope: Scope = Scope.EXCLUSIVE
    depth: Depth | None = None
    timeout: float | None = None
    owner_info: str | None = None
    owner_is_xml: bool = False


class Propfind(NamedTuple):
    """What a PROPFIND asks for: kind is "allprop", "propname" or "prop"; `names` of a prop, `include` of an allprop."""

    kind: str
    names: frozenset[Name] = frozenset()
    include: frozenset[Name] = frozenset()

    def wants(self, name: Name) -> bool:
        """Whether `name` belongs in the answer. allprop and propname name all that RFC 4918 defines (section 9.1)."""
        return self.kind != "prop" or name in self.names


# --- LOCK: the media type decides who reads ---


def parse_lockinfo(body: bytes, content_type: str | None) -> LockInfo:
    """What the body of a LOCK asks for.

    content_type: the header as it came; where nobody chose it, the first byte that is not space decides.
    Raises BodyTooLarge (413, over 64 KiB), UnsupportedBody (415, neither XML nor JSON), BadLockInfo (400, cannot be
    read) and UnusableLockInfo (422, no such lock). Source: RFC 4918 sections 9.10 and 14.11.
    """
    if len(body) > BODY_LIMIT:
        raise BodyTooLarge(BODY_LIMIT)
    reader, charset = _reader(body, content_type)
    return reader(body, charset)


UNCHOSEN = frozenset({"", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What clients send that name no type: nothing, or what `fetch` (npm webdav), urllib and curl put for them."""


def _reader(body: bytes, content_type: str | None) -> tuple[Callable[[bytes, str | None], LockInfo], str | None]:
    """media-type = type "/" subtype *( OWS ";" OWS parameter )   (RFC 9110 section 8.3.1)."""
    media_type, _, parameters = (content_type or "").lower().partition(";")
    media_type = media_type.strip()
    if media_type in UNCHOSEN:
        return _sniffed(body), _charset(parameters)
    if media_type in ("application/xml", "text/xml") or media_type.endswith("+xml"):
        return _from_xml, _charset(parameters)
    if media_type == "application/json" or media_type.endswith("+json"):
        return _from_json, _charset(parameters)
    raise UnsupportedBody(
        f"a LOCK body of type {shown(media_type)} is not read; send application/xml (RFC 4918 section 14.11) "
        "or application/json"
    )


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip().strip('"')
    return None


# As the first bytes of an XML text: a tag or declaration, or a byte order mark.
XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00<")


def _sniffed(body: bytes) -> Callable[[bytes, str | None], LockInfo]:
    start = body.lstrip(b" \t\r\n")
    if start.startswith(XML_STARTS):
        return _from_xml
    if start.startswith(b"{"):
        return _from_json
    raise UnsupportedBody(
        "a LOCK body that names no type must begin with < (XML) or { (JSON); send it with its Content-Type"
    )


# --- <!ELEMENT lockinfo (lockscope, locktype, owner?) >   RFC 4918 section 14.11 ---


def _from_xml(body: bytes, charset: str | None) -> LockInfo:
    root = read_xml(body, charset=charset)
    if not root.is_dav("lockinfo"):
        raise UnusableLockInfo(f"the root element is {_told(root)}; a LOCK body is a DAV:lockinfo")
    scope = _choice(root, "lockscope", ("exclusive", "shared"))
    _choice(root, "locktype", ("write",))
    owner = _at_most_one(root, "owner")
    if owner is None:
        return LockInfo(Scope(scope))
    return LockInfo(Scope(scope), owner_info=standalone([root], owner), owner_is_xml=True)


def _choice(root: Element, local: str, choices: tuple[str, ...]) -> str:
    """The one element of `choices` in the one DAV:`local`; elements that are unknown count as absent."""
    parent = _at_most_one(root, local)
    found = [] if parent is None else [choice for choice in choices for _ in parent.dav(choice)]
    if len(found) != 1:
        expected = " or ".join(f"DAV:{choice}" for choice in choices)
        raise UnusableLockInfo(f"DAV:lockinfo needs one DAV:{local} that holds one {expected}; found {len(found)}")
    return found[0]


def _at_most_one(root: Element, local: str) -> Element | None:
    found = root.dav(local)
    if len(found) > 1:
        raise UnusableLockInfo(f"DAV:lockinfo holds {len(found)} DAV:{local} elements; send one")
    return found[0] if found else None


def _told(element: Element) -> str:
    return shown(f"{element.name[0]}{element.name[1]}")


# --- { "scope", "depth", "owner", "timeout" }: all optional, others are ignored ---


def _from_json(body: bytes, charset: str | None) -> LockInfo:
    members = _json_object(body, charset)
    owner = _owner(members.get("owner"))
    return LockInfo(_scope(members.get("scope")), _depth(members.get("depth")), _timeout(members.get("timeout")), owner)


def _json_object(body: bytes, charset: str | None) -> dict[str, Any]:
    import json  # noqa: PLC0415 - only who sends JSON pays for it

    text, _ = decoded(body, charset)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadLockInfo(f"the JSON body cannot be read: {shown(str(error))}; send one object") from error
    if not isinstance(value, dict):
        raise BadLockInfo(f"the JSON body is {_seen(value)}; expected an object with scope, depth, owner, timeout")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _bad(key: str, value: object, expected: str) -> BadLockInfo:
    return BadLockInfo(f"{key}: {_seen(value)} is not usable; expected {expected}")


def _seen(value: object) -> str:
    """A list or an object is named by its type: to print one nested to the limit would be one call too deep."""
    return shown(value) if isinstance(value, str | int | float) else type(value).__name__


def _scope(value: object) -> Scope:
    if value is None:
        return Scope.EXCLUSIVE
    if not isinstance(value, str):
        raise _bad("scope", value, '"exclusive" or "shared"')
    if value not in ("exclusive", "shared"):
        raise UnusableLockInfo(f'scope: there is no {shown(value)} lock; expected "exclusive" or "shared"')
    return Scope(value)


DEPTHS = {"0": Depth.ZERO, "infinity": Depth.INFINITY}


def _depth(value: object) -> Depth | None:
    if value is None:
        return None
    # type, not isinstance: false is an int and equals 0
    depth = DEPTHS.get(str(value).lower()) if type(value) in (str, int) else None
    if depth is None:
        raise _bad("depth", value, '"0" or "infinity"')
    return depth


def _timeout(value: object) -> float | None:
    """Seconds as a number; "infinite" for no end. What is granted is policy's choice."""
    if value is None:
        return None
    if isinstance(value, str) and value.lower() == "infinite":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _bad("timeout", value, 'a number of seconds, or "infinite"')
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _owner(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad("owner", value, "a string")
    if "\x00" in value or not _encodable(value):
        raise _bad("owner", value, "text without NUL and without lone surrogates")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- the owner's words as text ---

TAG = re.compile("<[^<>]*>")
# In this order: what &amp; gives is not read again.
REFERENCES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#9;": "\t", "&#10;": "\n", "&#13;": "\r", "&amp;": "&"}


def owner_text(lock: Lock) -> str | None:
    """The words of `lock.details.owner_info`, white space collapsed; None where there are none. Never raises.

    The XML was written by `standalone`, so that < and > stand for tags only and a pattern is enough.
    """
    words = lock.details.owner_info
    if words is None:
        return None
    if lock.details.owner_is_xml:
        words = TAG.sub(" ", words)
        if "&" in words:
            for reference, character in REFERENCES.items():
                words = words.replace(reference, character)
    return " ".join(words.split()) or None


# --- <!ELEMENT propfind ( propname | (allprop, include?) | prop ) >   RFC 4918 section 14.20 ---


def parse_propfind(body: bytes, *, limit: int = BODY_LIMIT) -> Propfind:
    """What a PROPFIND asks for; no body asks for allprop (RFC 4918 section 9.1).

    limit: bytes. Raises BodyTooLarge, BadLockInfo (not well-formed, or none or several of the three), UnusableLockInfo
    (another root element).
    """
    if not body.strip():
        return Propfind("allprop")
    root = read_xml(body, limit=limit, deep=3)
    if not root.is_dav("propfind"):
        raise UnusableLockInfo(f"the root element is {_told(root)}; a PROPFIND body is a DAV:propfind")
    kinds = [(kind, element) for kind in ("allprop", "propname", "prop") for element in root.dav(kind)]
    if len(kinds) != 1:
        raise BadLockInfo(f"DAV:propfind holds {len(kinds)} of DAV:allprop, DAV:propname and DAV:prop; send one")
    kind, asked = kinds[0]
    included = frozenset(name for include in root.dav("include") for name in _names(include))
    return Propfind(kind, frozenset(_names(asked)), included)


def _names(element: Element) -> list[Name]:
    return [child.name[:2] for child in element.elements()]


# --- <!ELEMENT propertyupdate (remove | set)+ >   RFC 4918 section 14.19 ---


def parse_proppatch(body: bytes, *, limit: int = BODY_LIMIT) -> tuple[Change, ...]:
    """The changes of a PROPPATCH in the order of the body: ("set" or "remove", namespace, local name).

    limit: bytes. Values are checked for shape and not kept. Raises BodyTooLarge, BadLockInfo (not well-formed),
    UnusableLockInfo (another root element).
    """
    root = read_xml(body, limit=limit, deep=4)
    if not root.is_dav("propertyupdate"):
        raise UnusableLockInfo(f"the root element is {_told(root)}; a PROPPATCH body is a DAV:propertyupdate")
    return tuple(
        (update.name[1], *name)
        for update in root.elements()
        if update.is_dav("set") or update.is_dav("remove")
        for prop in update.dav("prop")
        for name in _names(prop)
    )
