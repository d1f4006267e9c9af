"""Targets: whole requests, in sequences on one lock table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fuzz import bodies
from fuzz.fields import BLANKS, depth_value, destination, if_value, lock_token_value, timeout_value
from fuzz.fields import path as odd_path
from fuzz.site import MIDDLEWARE, SETTINGS, Request, Site
from fuzz.source import Bytes, Source, mutated, often, pick, some
from fuzz.watch import Case, Watch

__all__ = ["REQUESTS", "Sequence"]

METHODS = (
    *("LOCK",) * 6,
    *("UNLOCK", "UNLOCK", "PUT", "PUT", "PUT", "DELETE", "MOVE", "MOVE", "COPY", "MKCOL", "POST", "PATCH"),
    *("PROPFIND", "PROPFIND", "PROPPATCH", "OPTIONS", "GET", "HEAD", "WAIT", "FROB", "lock", "\xe9", "M-SEARCH"),
)
TARGETS = ("/a", "/a", "/c", "/c/a", "/c/d", "/e", "/new", "/c/new", "/c/d/new", "/", "/f/x")
ODD_TARGETS = (
    *("/a/", "//a", "/c/../a", "/%61", "/c%2Fa", "/a;x=1", "/A", "/a%00", "/c%5Ca", "/c/a%20", "/%ff", "/c/%2e%2e/a"),
    *("", "*", "/a?_method=DELETE", "/c/d/?x;_method=MOVE", "/a?%00", "/caf%c3%a9", "/" + "x" * 5000, "/c//a", "/c/."),
)
SHOWN = ("(<{0}>)", "(<{0}>)", "(<{1}>)", "(<{2}>)", "(<{0}> <{1}>)", "(<{0}>) (Not <DAV:no-lock>)", "</c> (<{0}>)")
MORE_SHOWN = (
    *("<{m}/a> (<{1}>)", "<http://h.test{m}/c/a> (<{0}>)", "(Not <{0}>)", '(["4"])', '(<{0}> ["4"])', "(<{3}>)(<{4}>)"),
    *("(<DAV:no-lock>)", "(Not <DAV:no-lock>)", "<{m}/c> (<{0}>) <{m}/a> (<{1}>) <{m}/new> (<{2}>)"),
)
USERS = ("anna", "anna", "anna", "bob", "bob", "\xe9", "")
WAITS = ("1", "9", "10", "60", "1", "9", "10", "900")
OTHERS: dict[str, tuple[str, ...]] = {
    "Overwrite": ("T", "F", "f", "x", ""),
    "Accept": ("text/html", "application/xml", "application/json", "application/xml;q=nan", "*/*;q=\xb2", ",;", "a/b"),
    "Content-Type": ("application/xml", "application/json", "text/xml; charset=utf-16", "a/b", ";", "text/plain"),
    "Content-Length": ("0", "5", "-1", "1_0", "9" * 5000, "\xb2", "", "99999999"),
    "Transfer-Encoding": ("chunked",),
    "Expect": ("100-continue",),
    "Host": ("h.test", "", "[", "h.test:80", "h.test:99999999", "\xff", "p.test"),
    "X-HTTP-Method-Override": ("DELETE", "MOVE", "lock", "", "\xff", "PUT,COPY"),
    "User-Agent": ("Microsoft-WebDAV-MiniRedir/10", "Microsoft Office Word", "cadaver/0.23", "\xe9" * 99, ""),
    "If-Match": ('"4"', "*"),
    "If-None-Match": ("*",),
    "Prefer": ("return=minimal", "depth-noroot", '"'),
}


LONG_PIECES = ("a/", "%252F", "b%252F", "%2525", "..;/", "%255C", "a;x/", "%2e%2e/", "//", "../a%252F")


def long_target(source: Source) -> str:
    """Nearly as long as is looked up: what costs more than its length shows here."""
    return "/" + "".join(pick(source, LONG_PIECES) * (1 << source.below(10)) for _ in range(3))[:12_000]


def target(source: Source) -> str:
    if source.below(400) == 399:
        return long_target(source)
    way = source.below(8)
    if way < 5:
        return pick(source, TARGETS)
    if way < 7:
        return pick(source, ODD_TARGETS)
    # A server has answered what has no slash in front, or a raw blank, before the application is asked.
    return "/" + mutated(source, odd_path(source)).replace("\r", "").replace("\n", "").replace(" ", "%20")


def shown(source: Source) -> str:
    way = source.below(10)
    if way < 6:
        return pick(source, SHOWN)
    if way < 8:
        return pick(source, MORE_SHOWN)
    return if_value(source) if way == 8 else mutated(source, pick(source, (*SHOWN, *MORE_SHOWN)))


def lock_token(source: Source) -> str:
    return lock_token_value(source) if source.below(8) == 7 else "<{" + str(source.below(3)) + "}>"


def where(source: Source) -> str:
    way = source.below(8)
    if way < 4:
        return "{m}" + pick(source, TARGETS)
    if way < 6:
        return "http://h.test{m}" + target(source)
    return destination(source)


def spoilt(source: Source, value: str, of: int = 12) -> str:
    """`value`, but once in `of` times not quite; no server lets a line end or NUL through."""
    if often(source, of):
        return value
    return mutated(source, value).translate({10: None, 13: None, 0: None})


def needed(source: Source, method: str) -> list[tuple[str, str]]:
    """The fields without which a method makes no sense."""
    if method == "UNLOCK" and often(source, 10):
        return [("Lock-Token", spoilt(source, lock_token(source)))]
    if method in ("MOVE", "COPY") and often(source, 12):
        return [("Destination", spoilt(source, where(source)))]
    return []


def body_of(source: Source, method: str) -> tuple[list[tuple[str, str]], str]:
    """The body that goes with the method, and its Content-Type."""
    if method.upper() == "LOCK":
        return lock_body(source)
    if method == "PROPFIND" and source.below(3):
        return [("Content-Type", "application/xml")], spoilt(source, bodies.propfind(source), 4)
    if method == "PROPPATCH":
        return [("Content-Type", "application/xml")], spoilt(source, bodies.proppatch(source), 4)
    if method in ("PUT", "POST", "PATCH"):
        return [], pick(source, ("text", "more", "", "longer than seven bytes"))
    return [], source.junk() if source.below(12) == 11 else ""


PLAIN_LOCKS = (
    '{"scope":"exclusive"}',
    '{"scope":"shared"}',
    '{"scope":"exclusive","depth":"0"}',
    '{"scope":"shared","depth":"0","timeout":10}',
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>'
    "</D:lockinfo>",
)


def lock_body(source: Source) -> tuple[list[tuple[str, str]], str]:
    way = source.below(8)
    if way < 4:
        return [], pick(source, PLAIN_LOCKS)
    if way == 4 and source.below(2):
        return [], ""  # a refresh
    if way == 5:
        return [("Content-Type", "application/json")], spoilt(source, bodies.lockinfo_json(source), 4)
    if way in (4, 6):
        return [("Content-Type", "application/xml")], spoilt(source, bodies.lockinfo_xml(source), 4)
    return [], mutated(source, bodies.lockinfo_xml(source)) if often(source, 30) else "x" * 70_000


def other(source: Source) -> tuple[str, str]:
    name = pick(source, list(OTHERS))
    return name, spoilt(source, pick(source, OTHERS[name]))


SHOWS = {"LOCK": 1, "UNLOCK": 1, "GET": 1, "PROPFIND": 1, "OPTIONS": 1}
"""In how many of eight requests a method shows an `If`, if not in four."""


def opening(source: Source) -> Request:
    """A LOCK that is granted as often as not, so that what follows meets locks."""
    return "LOCK", pick(source, TARGETS), [("X-User", pick(source, USERS))], pick(source, PLAIN_LOCKS)


def request(source: Source) -> Request:
    method = pick(source, METHODS)
    if method == "WAIT":
        return "WAIT", pick(source, WAITS), [], ""
    typed, body = body_of(source, method)
    fields = [*needed(source, method), *typed]
    if source.below(8) < SHOWS.get(method, 4) or (method == "LOCK" and not body):
        fields.append(("If", shown(source)))
    if source.below(6):
        fields.append(("X-User", pick(source, USERS)))
    if source.below(6) == 5:
        fields.append(("Depth", spoilt(source, depth_value(source).strip() + pick(source, BLANKS[:2]))))
    if source.below(6) == 5:
        fields.append(("Timeout", spoilt(source, timeout_value(source))))
    if source.below(4) == 3:
        fields += some(source, 3, other)
    if fields and source.below(40) == 39:
        fields.append(pick(source, fields))
    return method, target(source), [(name, in_latin_1(value)) for name, value in fields], in_latin_1(body)


def in_latin_1(value: str) -> str:
    return value.encode("latin-1", "replace").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Sequence:
    """kind: asgi or wsgi. make: the middleware; a test plants another. A case: a setting, and the requests."""

    kind: str
    make: Callable[..., Any]
    weight: int = 10

    @property
    def name(self) -> str:
        return self.kind

    @property
    def size(self) -> int:
        return 4

    def draw(self, source: Source) -> Case:
        setting = pick(source, list(SETTINGS))
        first = [opening(source) for _ in range(source.below(4))]
        return setting, first + [request(source) for _ in range(1 + source.below(source.long))]

    def raw(self, data: bytes) -> Case:
        return self.draw(Bytes(data))

    def load(self, said: Any) -> Case:
        setting, requests = said or ("plain", [])
        return setting, [(m, t, [(name, value) for name, value in fields], b) for m, t, fields, b in requests]

    def play(self, case: Case, watch: Watch) -> None:
        setting, requests = case
        if setting not in SETTINGS:
            return  # cut short by the hand that makes a finding smaller
        site = Site(self.kind, setting, self.make)
        for one in requests:
            if one[0] == "WAIT":
                site.now += float(one[1]) if one[1] in WAITS else 0.0
                continue
            sent = site.filled(one)
            before, tree = site.locks(), dict(site.folder.tree)
            site.check(sent, before, tree, watch.timed(site.send, sent))


REQUESTS = tuple(Sequence(kind, make) for kind, make in MIDDLEWARE.items())
