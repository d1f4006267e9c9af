"""What makes a class 1 application class 2: OPTIONS, PROPFIND and PROPPATCH with `dav=True`.

Knows: the DAV header (RFC 4918 sections 10.1 and 18.2), and the two properties that only locks have: DAV:lockdiscovery
and DAV:supportedlock (sections 15.8 and 15.10).
Must not know: how an answer is cut open (`multistatus`), what is written into it (`discovery`), when a write is let in
(`rules`).

The application answers these requests; its answer is amended on its way out. The properties are ours alone: what the
application says of them is replaced, and a PROPPATCH of them is refused before it sees it.
"""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from locklib.core import refusals, rules
from locklib.core.accepting import Rendering
from locklib.core.admission import through
from locklib.core.conditions import lock_covers
from locklib.core.context import Exchange, Facts, namespace_of
from locklib.core.discovery import HREF_LIMIT, SUPPORTED_LOCK, activelock, discoverable, proppatch_protected
from locklib.core.fields import parse_resource_tag
from locklib.core.lockinfo import PROTECTED, TAG, Change, Propfind, owner_text, parse_propfind, parse_proppatch
from locklib.core.model import Done, Fact, Held, Lock, Purpose, Query, replace
from locklib.core.moves import Act, Answer, Ask, Call, Headers, Next, Piece, Proceed, Read, Reply
from locklib.core.multistatus import Gap, Part, Splitter, readable
from locklib.core.paths import ancestors
from locklib.core.policy import Mode
from locklib.errors import BadField, BodyTooLarge, LockError

__all__ = ["options", "propfind", "proppatch"]

PROPPATCH_LIMIT = 1024 * 1024
"""Bytes: a PROPPATCH carries the application's own values, which are larger than anything that locks need."""

BATCH = 64
"""Responses whose locks are asked for at once."""
BATCH_BYTES = 64 * 1024
"""Bytes of the answer that wait for the locks of a batch that is not full yet."""


# ---- OPTIONS ---------------------------------------------------------------------------------------------------------


def options(exchange: Exchange) -> Next:
    """OPTIONS: the application's answer, with what locks add to it (RFC 4918 sections 9.10.7 and 10.1)."""
    return through(exchange, Proceed(amend=Class2()))


class Class2:
    """The application's OPTIONS answer as that of a class 2 resource; an answer that is no success stays as it is.

    An Allow is added to and never made: alone, LOCK and UNLOCK would say that nothing else is allowed.
    """

    __slots__ = ()

    def start(self, status: int, headers: Headers) -> Headers:
        if not 200 <= status < 300:
            return headers
        headers = _joined(headers, "DAV", _compliance) if _has(headers, "dav") else (*headers, ("DAV", "1, 2"))
        for name in ("Allow", "Public"):  # Public is what Microsoft's clients read beside Allow
            headers = _joined(headers, name, _methods)
        # Office writes through DAV only where this says so (docs/clients.md).
        return headers if _has(headers, "ms-author-via") else (*headers, ("MS-Author-Via", "DAV"))

    def feed(self, chunk: bytes, more: bool) -> bytes:
        return chunk


def _has(headers: Headers, name: str) -> bool:
    return any(key.lower() == name for key, _ in headers)


def _joined(headers: Headers, name: str, change: Callable[[list[str]], list[str]]) -> Headers:
    """All the lines `name` as one, its items changed, where the first of them stands; unchanged where there is none."""
    lines = [value for key, value in headers if key.lower() == name.lower()]
    if not lines:
        return headers
    joined = ", ".join(change([item for line in lines for item in _items(line)]))
    kept: list[tuple[str, str]] = []
    for key, value in headers:
        if key.lower() != name.lower():
            kept.append((key, value))
        elif joined:
            kept.append((key, joined))
            joined = ""
    return tuple(kept)


# compliance-class = ( "1" | "2" | "3" | extend )
# extend = Coded-URL | token       ; a Coded-URL may hold commas
ITEM = re.compile(r"(?:<[^>]*>|[^,<]|<)+")


def _items(line: str) -> Iterator[str]:
    return (item for found in ITEM.findall(line) if (item := found.strip()))


def _compliance(classes: list[str]) -> list[str]:
    return list(dict.fromkeys(["1", "2", *classes]))


def _methods(methods: list[str]) -> list[str]:
    return list(dict.fromkeys([*methods, "LOCK", "UNLOCK"]))


# ---- bodies ----------------------------------------------------------------------------------------------------------


def _read(exchange: Exchange, limit: int, then: Callable[[bytes], Next]) -> Next:
    """Read the request's body; what is raised for it becomes an answer."""

    def read(body: bytes | None) -> Next:
        try:
            if body is None:
                raise BodyTooLarge(limit)
            return then(body)
        except LockError as exc:
            return exchange.error(exc)

    return Read(limit, read, exchange.late)


# ---- PROPFIND --------------------------------------------------------------------------------------------------------


def propfind(exchange: Exchange) -> Next:
    """PROPFIND: the application's answer, with our two properties where they are asked for (RFC 4918 section 9.1)."""
    limit = exchange.policy.body_limit

    def read(body: bytes) -> Next:
        asked = parse_propfind(body, limit=limit)
        names = frozenset(name[1] for name in PROTECTED if asked.wants(name))
        if not names:
            return through(exchange)
        # A compressed answer could not be amended.
        return through(exchange, Proceed(amend=Discovery(exchange, asked, names), drop=frozenset({"accept-encoding"})))

    return _read(exchange, limit, read)


# Fields that are not true of an amended body: its length and its digests.
OF_THE_BODY = frozenset({"content-length", "content-md5", "digest", "content-digest", "repr-digest"})

# media-type = type "/" subtype *( OWS ";" OWS parameter )      (RFC 9110 section 8.3.1)
XML_TYPE = re.compile(r"\s*(?:application/xml|text/xml|[^\s;]+\+xml)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]*)', re.IGNORECASE)


class Discovery:
    """The Amend of a PROPFIND: fills the gaps of a multistatus with the two properties.

    Locks are asked for in batches, one Act for up to BATCH responses, so that neither the number of members nor that of
    the locks under a collection decides how much is held at a time. If the store cannot answer, DAV:lockdiscovery is
    told as 503 (RFC 4918 section 13 lets each property have its own status) and the store is not asked again.
    """

    def __init__(self, exchange: Exchange, asked: Propfind, names: frozenset[str]) -> None:
        self._exchange = exchange
        self._values = asked.kind != "propname"
        self._names = names
        self._splitter: Splitter | None = None
        self._waiting: deque[Part] = deque()
        self._gaps = 0
        self._bytes = 0
        self._asks = self._values and "lockdiscovery" in names

    # ---- Amend -------------------------------------------------------------------------------------------------------

    def start(self, status: int, headers: Headers) -> Headers:
        self._splitter = None  # a WSGI application may start twice
        fields = {name.lower(): value for name, value in headers}
        charset = CHARSET.search(fields.get("content-type", ""))
        if status != 207 or not _is_plain_xml(fields) or (charset and not readable(charset[1])):
            return headers
        self._splitter = Splitter(self._names, self._key_of, charset[1] if charset else None)
        return tuple((name, value) for name, value in headers if name.lower() not in OF_THE_BODY)

    def feed(self, chunk: bytes, more: bool) -> Piece:
        if self._splitter is None:
            return chunk
        for piece in self._splitter.feed(chunk, more):
            self._waiting.append(piece)
            if isinstance(piece, Gap):
                self._gaps += 1
            else:
                self._bytes += len(piece)
        return self._go_on([], more)

    # ---- batches -----------------------------------------------------------------------------------------------------

    def _go_on(self, out: list[bytes], more: bool) -> Piece:
        """Send what needs no answer of the store; then ask for a batch, or wait for it to fill."""
        while self._waiting and not (self._asks and isinstance(self._waiting[0], Gap)):
            out.append(self._filled(self._taken(), {}))
        if not self._gaps or (more and self._gaps < BATCH and self._bytes < BATCH_BYTES):
            return b"".join(out)
        return self._ask(self._batch(), out, more)

    def _taken(self) -> Part:
        piece = self._waiting.popleft()
        if isinstance(piece, Gap):
            self._gaps -= 1
        else:
            self._bytes -= len(piece)
        return piece

    def _batch(self) -> list[Part]:
        left = min(self._gaps, BATCH)
        batch: list[Part] = []
        while left:
            batch.append(self._taken())
            left -= isinstance(batch[-1], Gap)
        return batch

    def _ask(self, batch: list[Part], out: list[bytes], more: bool) -> Act[Piece]:
        keys = tuple(dict.fromkeys(piece.key for piece in batch if isinstance(piece, Gap)))
        purposes = frozenset({Purpose.WRITE})
        query, step = rules.listing(Query(self._exchange.namespace, paths=keys, purposes=purposes))

        def then(done: Done[tuple[Held, ...]]) -> Piece:
            told = self._told(done.answer, keys)
            out.extend(self._filled(piece, told) for piece in batch)
            return self._go_on(out, more)

        def down() -> Piece:
            self._asks = False
            out.extend(self._filled(piece, {}) for piece in batch)
            return self._go_on(out, more)

        return Act(query, step, then, down)

    # ---- members -----------------------------------------------------------------------------------------------------

    def _key_of(self, href: str) -> str | None:
        """The key of the resource that an href of the answer names; None for one that no lock of ours is on.

        That is one on another server, on a route that is exempt, or in another namespace than the request's.
        """
        exchange = self._exchange
        try:
            target = exchange.target(parse_resource_tag(_encoded(href)))
        except BadField:
            return None
        if target is None or exchange.policy.route(target.path).mode is Mode.EXEMPT:
            return None
        same = namespace_of(exchange.policy, replace(exchange.head, path=target.path)) == exchange.namespace
        return target.key if same else None

    # ---- what is told ------------------------------------------------------------------------------------------------

    def _told(self, helds: Iterable[Held], keys: Iterable[str]) -> dict[str, str]:
        """The DAV:activelock elements for each of `keys`; each lock is written once, however many it covers."""
        by_root: dict[str, list[_Told]] = {}
        for held in filter(discoverable, helds):
            if text := self._active(held):
                by_root.setdefault(held.lock.key, []).append(_Told(held.lock, self._own(held), text))
        return {key: _over(key, by_root) for key in keys}

    def _own(self, held: Held) -> bool:
        creator = held.lock.creator
        return creator is not None and creator == self._exchange.asker.name

    def _active(self, held: Held) -> str:
        """DAV:activelock of a lock as the asker may see it, "" for one whose place is not theirs to know.

        Its token is shown as every DAV server does, for so clients find their locks again (RFC 4918 section 6.8);
        `strict_discovery` shows it to the creator alone.
        """
        policy, own = self._exchange.policy, self._own(held)
        disclosure = policy.discloses(self._exchange.asker.principal, held.lock)
        if not (own or disclosure.root):
            return ""
        return activelock(
            self._writable(held), show_token=own or not policy.strict_discovery, show_owner=own or disclosure.owner
        )

    def _writable(self, held: Held) -> Held:
        """Where the answer's encoding has no letters for them, names of elements in an owner cannot be written."""
        details = held.lock.details
        if self._utf8 or not details.owner_is_xml or all(map(str.isascii, TAG.findall(details.owner_info or ""))):
            return held
        words = replace(details, owner_info=owner_text(held.lock), owner_is_xml=False)
        return replace(held, lock=replace(held.lock, details=words))

    @property
    def _utf8(self) -> bool:
        return self._splitter is not None and self._splitter.utf8

    def _filled(self, piece: Part, told: dict[str, str]) -> bytes:
        if not isinstance(piece, Gap):
            return piece
        text = "".join(self._propstats(piece, told.get(piece.key)))
        return text.encode("utf-8") if self._utf8 else text.encode("ascii", "xmlcharrefreplace")

    def _propstats(self, gap: Gap, active: str | None) -> Iterator[str]:
        """active: the activelocks of the resource, None where nobody could tell."""
        names = sorted(gap.names)
        if not self._values:
            yield _propstat("".join(f"<D:{name}/>" for name in names), OK)
            return
        values = {"supportedlock": SUPPORTED_LOCK}
        if active is not None:
            values["lockdiscovery"] = f"<D:lockdiscovery>{active}</D:lockdiscovery>"
        if found := "".join(values[name] for name in names if name in values):
            yield _propstat(found, OK)
        if active is None and "lockdiscovery" in names:
            yield _propstat("<D:lockdiscovery/>", UNAVAILABLE)


OK = "200 OK"
UNAVAILABLE = "503 Service Unavailable"


def _propstat(properties: str, status: str) -> str:
    """It stands on its own in any document: the prefix is declared, and a default namespace of the answer's undone."""
    return (
        f'<D:propstat xmlns:D="DAV:" xmlns=""><D:prop>{properties}</D:prop>'
        f"<D:status>HTTP/1.1 {status}</D:status></D:propstat>"
    )


def _is_plain_xml(fields: dict[str, str]) -> bool:
    """An answer without Content-Type is looked at as well: what is no multistatus passes untouched all the same."""
    encoding = fields.get("content-encoding", "identity").strip().lower()
    return encoding in ("identity", "") and XML_TYPE.fullmatch(fields.get("content-type", "text/xml")) is not None


class _Told(NamedTuple):
    """A lock that the asker may know of, and its DAV:activelock."""

    lock: Lock
    own: bool
    text: str


def _over(key: str, by_root: dict[str, list[_Told]]) -> str:
    """What is told of the locks over `key`, HREF_LIMIT at most: the asker's own first, then the nearest root."""
    near = (told for root in (key, *reversed(ancestors(key))) for told in by_root.get(root, ()))
    over = sorted((told for told in near if lock_covers(told.lock, key)), key=lambda told: not told.own)
    return "".join(told.text for told in over[:HREF_LIMIT])


def _encoded(href: str) -> str:
    """An href with the characters that should not stand in one, but do, percent-encoded."""
    if href.isascii() and " " not in href:
        return href
    from urllib.parse import quote  # noqa: PLC0415 - well-behaved applications never need it

    return quote(href, safe=string.punctuation, errors="replace")


# ---- PROPPATCH -------------------------------------------------------------------------------------------------------


def proppatch(exchange: Exchange) -> Next:
    """PROPPATCH: the application's, unless it would change a property that only locks change (RFC 4918 section 9.2).

    What cannot be read is the application's to judge. On an advisory route nothing is refused.
    """
    limit = max(exchange.policy.body_limit, PROPPATCH_LIMIT)

    def read(body: bytes) -> Next:
        try:
            changes = parse_proppatch(body, limit=limit)
        except LockError:
            changes = ()
        if exchange.route.advisory or not any(change[1:] in PROTECTED for change in changes):
            return through(exchange)
        return _protected(exchange, changes)

    return _read(exchange, limit, read)


def _protected(exchange: Exchange, changes: Iterable[Change]) -> Next:
    """The 207, where the request would have been let in: permission and locks come before it (RFC 4918 section 8.1)."""
    body = proppatch_protected(exchange.resource, changes)
    headers = (
        ("Content-Type", Rendering.XML.value),
        ("Content-Length", str(len(body))),
        *refusals.NEVER_KEPT,
    )

    def permitted(facts: Facts) -> Next:
        if facts.get(exchange.head.path, Fact()).mapped is False:
            return through(exchange)
        return Reply(Answer(207, headers, body))

    # Nothing will be written, so no permit is published.
    looking = replace(exchange, route=replace(exchange.route, mode=Mode.CHECK))
    return _instead(through(looking), lambda: exchange.permitted(permitted))


def _instead(move: Next, answer: Callable[[], Next]) -> Next:
    """`move` and what follows from it, with `answer` where the application would be called."""
    if isinstance(move, Proceed):
        return answer()
    if isinstance(move, Act):
        then, down = move.then, move.down
        return replace(move, then=lambda done: _instead(then(done), answer), down=lambda: _instead(down(), answer))
    if isinstance(move, Call | Ask):
        follows: Callable[..., Next] = move.then
        return replace(move, then=lambda told: _instead(follows(told), answer))
    return move
