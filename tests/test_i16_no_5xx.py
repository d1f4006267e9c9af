"""I16: no request makes locklib raise, or answer 5xx; and whatever is refused with 4xx has changed nothing.

A modest dose: heads and bodies that are nearly right, taken apart and put together by Hypothesis, at a folder with some
locks in it, through both shells. (502 is the answer to a Destination on another server, RFC 4918 section 9.9.4.)
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.policy import Policy
from locklib.stores.memory import MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Got, Things, asgi, asgi_user, lock_body, locks_in, permits_in, wsgi, wsgi_user

DOSE = max(250, settings().max_examples)  # more where the profile says so
TREE = {"/": None, "/a": b"text", "/c": None, "/c/a": b"text"}
ANNA = {"X-User": "anna"}

# ---- the grammar of nearly right -------------------------------------------------------------------------------------

printable = st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n\x00")
junk = st.text(printable, max_size=40)
crumbs = st.sampled_from(
    [
        *"<>()[]\"'\\/%;:,=-_* \t0aZ\xe9\xff",
        "Not",
        "Not ",
        "W/",
        "<>",
        "()",
        "urn:",
        "DAV:",
        "no-lock",
        "%00",
        "%2F",
        "//",
    ]
)
mixed = st.lists(crumbs | junk, max_size=12).map("".join)

tokens = st.sampled_from(
    ["{a}", "{c}", "urn:uuid:0", "DAV:no-lock", "opaquelocktoken:x y", "", "a", "http://[", "x:" * 99]
)
terms = st.builds(
    lambda negated, what: ("Not " if negated else "") + what,
    st.booleans(),
    st.one_of(tokens.map("<{}>".format), st.sampled_from(['["e"]', '[W/"e"]', "[x]", '[W/"', "[]", "<", "Not"])),
)
lists = st.lists(terms, max_size=4).map(lambda inside: "(" + " ".join(inside) + ")")
tags = st.sampled_from(
    ["", "", "</a> ", "<http://h.test/c> ", "<http://[::1/a> ", "<//> ", "<http://other/> ", "<%zz> "]
)
ifs = st.lists(st.tuples(tags, lists).map("".join), min_size=1, max_size=4).map(" ".join) | mixed
rightly = st.sampled_from(
    ["(<{a}>)", "(<{c}>)", "(<urn:x:y>)", '(["e"])', "</a> (<{a}>)", "(<{a}>) (Not <DAV:no-lock>)"]
)

spelled = st.sampled_from(
    [
        "/a",
        "/c",
        "/c/a",
        "/c/new",
        "/x",
        "/",
        "",
        "//a",
        "/c/../a",
        "/a%00",
        "/%ff",
        "/a%252Fb",
        "/c%5Ca",
        "/a;x=1",
        "/A",
        "/c/.",
        "/caf%c3%a9",
        "/%ed%a0%80",
        "/" + "x" * 5000,
        "/" + "/".join("ab" * 40),
        "/%",
        "/%e3%81",
        "/a\x7f",
    ]
)
plain = st.sampled_from(["/a", "/c", "/c/a", "/c/new", "/x"])
paths = plain | spelled | mixed.map(lambda text: "/" + text.replace("?", "").replace("#", ""))
targets = st.tuples(paths, st.sampled_from(["", "", "?_method=DELETE", "?_method=", "?%00", "?a=\xe9"])).map("".join)

FIELD_VALUES: dict[str, st.SearchStrategy[str]] = {
    "If": rightly | ifs,
    "Lock-Token": st.one_of(tokens.map("<{}>".format), tokens, mixed),
    "Depth": st.sampled_from(["0", "1", "infinity", "INFINITY", "0, infinity", "", "-1", "\xb2"]) | mixed,
    "Timeout": st.sampled_from(["Infinite", "Second-10", "Second-" + "9" * 5000, "Second-\xb2", "Second-1_0", ","])
    | mixed,
    "Destination": st.one_of(
        targets, targets.map("http://h.test{}".format), st.sampled_from(["http://[", "//", ":"]), mixed
    ),
    "Overwrite": st.sampled_from(["T", "F", "x", ""]),
    "Content-Type": st.sampled_from(["application/xml", "text/xml; charset=utf-16", "application/json", "a/b", ";", ""])
    | mixed,
    "Content-Length": st.sampled_from(["0", "5", "-1", "1_0", "9" * 5000, "\xb2", "", "99999999"]),
    "Transfer-Encoding": st.just("chunked"),
    "Expect": st.just("100-continue"),
    "Accept": st.sampled_from(["text/html", "application/xml;q=nan", "*/*;q=\xb2", ",,,;;;", "a/b;q=1.1.1"]) | mixed,
    "Host": st.sampled_from(["h.test", "", "[", "h.test:x", "h.test:99999999", "\xff"]) | mixed,
    "X-HTTP-Method-Override": st.sampled_from(["DELETE", "MOVE", "lock", "", "\xff"]),
    "X-User": st.sampled_from(["anna", "bob", "\xe9", ""]),
    "User-Agent": mixed,
}


@st.composite
def heads(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Some fields, seldom one of them twice."""
    names = draw(st.lists(st.sampled_from(list(FIELD_VALUES)), max_size=3))
    who = draw(st.sampled_from(["anna", "bob", "bob", None]))
    known = [] if who is None or "X-User" in names else [("X-User", who)]
    return known + [(name, draw(FIELD_VALUES[name])) for name in names]


XML_CRUMBS = st.sampled_from(
    [
        '<D:lockinfo xmlns:D="DAV:">',
        "</D:lockinfo>",
        "<D:lockscope><D:exclusive/></D:lockscope>",
        "<D:lockscope><D:shared/></D:lockscope>",
        "<D:locktype><D:write/></D:locktype>",
        "<D:owner>",
        "</D:owner>",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?pi ?>",
        "<!DOCTYPE x>",
        "&amp;",
        "&#x0;",
        "&x;",
        "<x:y/>",
        "\x00",
        "日本",
        "\ud800",
        '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><D:lockdiscovery/></D:prop></D:set></D:propertyupdate>',
    ]
)
JSON_BODIES = st.sampled_from(
    [
        "{}",
        "[]",
        "null",
        '{"scope": 1}',
        '{"scope":"shared"}',
        '{"depth":[]}',
        '{"timeout":1e999}',
        '{"timeout":-0}',
        '{"timeout":NaN}',
        '{"owner":{}}',
        '{"owner":"\\ud800"}',
        "[" * 3000,
        '{"timeout":' + "9" * 5000 + "}",
        '{"a"',
        "\ufeff{}",
    ]
)
bodies = st.one_of(
    st.just(b""),
    st.just(lock_body()),
    st.lists(XML_CRUMBS, max_size=9).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")),
    st.lists(XML_CRUMBS, max_size=5).map(lambda parts: "".join(parts).encode("utf-16", "surrogatepass")),
    JSON_BODIES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
    st.just(b"x" * 70_000),
)
methods = st.sampled_from(
    ["LOCK"] * 5
    + ["UNLOCK", "UNLOCK", "PUT", "PUT", "DELETE", "MOVE", "MOVE", "COPY", "MKCOL", "POST", "PATCH", "FROB", "lock"]
    + ["OPTIONS", "PROPFIND", "PROPFIND", "PROPPATCH", "GET", "HEAD", "M-SEARCH", "\xe9"]
)


# ---- the folder ------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dav": {"dav": True, "identified": True},
    "quirks": {
        "dav": True,
        "identified": True,
        "quirks": {"office", "explorer"},
        "challenge": "Basic",
        "echo_token": True,
    },
    "advisory": {
        "routes": ({"path": "/", "advisory": True},),
        "bodyless_lock": True,
        "public_url": "https://p.test/dav",
    },
}


class Tolerant(Things):
    """An application that no request upsets: a failure seen here is locklib's."""

    def handle(self, method: str, path: str, fields: Any, body: bytes) -> int:
        try:
            return super().handle(method, path, fields, body)
        except (KeyError, ValueError):  # no Destination, or none that can be read
            return 400


class Site:
    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.policy = Policy(body_seconds=2.0, hold_wait=0.2, **SETTINGS[name])
        self.things = Tolerant(dict(TREE))
        self.store = MemoryLockStore(processes="allow")
        identified = self.policy.identified
        self.wsgi = WsgiMiddleware(
            self.things.wsgi, store=self.store, principal=wsgi_user if identified else None, policy=self.policy
        )
        self.asgi = AsgiMiddleware(
            self.things.asgi, store=self.store, principal=asgi_user if identified else None, policy=self.policy
        )
        self.tokens = {
            "a": wsgi(self.wsgi, "LOCK", "/a", ANNA, lock_body("shared")).token,
            "c": wsgi(self.wsgi, "LOCK", "/c", ANNA, lock_body()).token,
        }
        self.things.heard.clear()

    def filled(self, head: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(name, value.replace("{a}", self.tokens["a"]).replace("{c}", self.tokens["c"])) for name, value in head]

    def send(self, method: str, target: str, head: list[tuple[str, str]], body: bytes) -> Got:
        head = self.filled(head)
        if self.kind == "wsgi":
            more = {"wsgi.input_terminated": True} if ("Transfer-Encoding", "chunked") in head else {}
            return wsgi(self.wsgi, method, target, head, body, **more)
        return asyncio.run(asgi(self.asgi, method, target, head, body))


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_request_makes_it_raise_or_change_what_it_refuses(kind, name):
    seen: set[int] = set()

    @settings(max_examples=DOSE)
    @given(methods, targets, heads(), bodies)
    def play(method: str, target: str, head: list[tuple[str, str]], body: bytes) -> None:
        site = Site(kind, name)
        rows, tree = [one.lock for one in locks_in(site.store)], dict(site.things.tree)
        got = site.send(method, target, head, body)
        seen.add(got.status)
        assert 100 <= got.status < 500 or got.status == 502, got
        for field, value in got.fields:
            assert field.isascii()
            assert value.isascii()
            assert not {"\r", "\n", "\x00"} & set(value)
        if got.status >= 400:
            assert [one.lock for one in locks_in(site.store)] == rows
            assert site.things.tree == tree
        assert permits_in(site.store) == ()
        assert not any(one.lock.pending for one in locks_in(site.store))

    play()
    assert {200, 400, 404}.issubset(seen) if name == "advisory" else {200, 400, 412, 423}.issubset(seen), seen
