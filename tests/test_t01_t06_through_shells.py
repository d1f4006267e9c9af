"""T1, T2, T4, T5 and T6 as a client meets them: through ASGI and WSGI, and for headers through real servers.

The readers and renderers have tests of their own beside this; here the whole way is attacked.
"""

from __future__ import annotations

import html.parser
import json
import socket
from xml.etree import ElementTree

import pytest

from support.guarded import HOSTILE
from support.memory import least_peak
from support.threats import lockinfo
from support.wire import SERVERS, Wire, serve

XML = {"Content-Type": "application/xml"}
ACCEPTS = ["application/xml", "application/json", "application/problem+json", "text/html"]
DAV = "{DAV:}"

# ---- T1, T2: entities ------------------------------------------------------------------------------------------------

DOCTYPES = {
    "file": '<!DOCTYPE l [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    "http": '<!DOCTYPE l [<!ENTITY e SYSTEM "http://127.0.0.1:PORT/e">]>',
    "parameter entity": '<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1:PORT/p"> %p; ]>',
    "external DTD": '<!DOCTYPE l SYSTEM "http://127.0.0.1:PORT/l.dtd">',
    "public DTD": '<!DOCTYPE l PUBLIC "-//l//l" "http://127.0.0.1:PORT/l.dtd">',
    "billion laughs": "<!DOCTYPE l [<!ENTITY e '" + "ha" * 10 + "'>"
    + "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 10)) + "]>",
    "quadratic": f"<!DOCTYPE l [<!ENTITY e '{'x' * 50_000}'>]>",
}  # fmt: skip
BODIES = {
    "LOCK": lockinfo("&e;").partition(b"?>")[2],
    "PROPFIND": b'<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/>&e;</D:prop></D:propfind>',
    "PROPPATCH": b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x>&e;</x></D:prop></D:set></D:propertyupdate>',
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("method", BODIES)
@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES.keys())
def test_t01_t02_a_doctype_is_a_400_and_nobody_is_called(doctype, method, encoding, guarded, listener):
    shell = guarded(dav=True)
    shell.lock("/held", "alice")
    before = shell.table()
    text = doctype.replace("PORT", str(listener.getsockname()[1])) + BODIES[method].decode()
    got = shell(method, "/a", {**XML, "Depth": "0"}, text.encode(encoding)[:65_536], user="bob")
    if method == "PROPPATCH":  # what cannot be read is the application's to judge; ours is only what it says of locks
        assert [seen.method for seen in shell.site.seen] == ["PROPPATCH"]
    else:
        assert got.status == 400
        assert shell.site.seen == []
    assert shell.table() == before
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_t02_a_bomb_takes_no_memory(guarded):
    shell = guarded()
    bomb = (DOCTYPES["billion laughs"] + BODIES["LOCK"].decode()).encode()
    shell("LOCK", "/a", XML, bomb, user="bob")

    def refused() -> None:
        assert shell("LOCK", "/a", XML, bomb, user="bob").status == 400

    assert least_peak(refused) < 1_048_576


# ---- T4: shape -------------------------------------------------------------------------------------------------------


def owner(text: str) -> bytes:
    return lockinfo(text)


SHAPES = {
    "nested": owner("<a>" * 5000 + "</a>" * 5000),
    "nested and never closed": owner("<a>" * 20_000),
    "attributes": owner("<a " + " ".join(f'a{n}=""' for n in range(5000)) + "/>"),
    "namespaces": owner("<a " + " ".join(f'xmlns:n{n}="urn:{n}"' for n in range(2500)) + "/>"),
    "NUL": owner("a\x00b"),
    "control character": owner("a\x01b"),
    "character reference to NUL": owner("&#0;"),
    "character reference to a surrogate": owner("&#xd800;"),
    "lone surrogate": owner("\udcff"),
    "bad UTF-8": lockinfo("X").replace(b"X", b"\xff\xfe"),
    "overlong": lockinfo("X").replace(b"X", b"\xc0\xbc"),
    "declared UTF-16, sent UTF-8": lockinfo().replace(b"utf-8", b"utf-16"),
    "declared UTF-7": lockinfo("+ADw-script+AD4-").replace(b"utf-8", b"utf-7"),
    "declared nonsense": lockinfo().replace(b"utf-8", b"x-none"),
    "UTF-16 with half a character": lockinfo().decode().encode("utf-16")[:-1],
    "cut short": lockinfo("x")[:-10],
    "two roots": lockinfo() + b"<a/>",
    "text after": lockinfo() + b"x",
    "text alone": b"hello",
    "unbound prefix": owner("<q:a/>"),
    "twice the same attribute": owner('<a x="1" x="2"/>'),
    "end without start": b"</a>",
    "4 000 processing instructions": owner("<?a?>" * 4000) + b"<",
    "long name": owner(f"<{'a' * 60_000}"),
    "BOM alone": b"\xef\xbb\xbf",
    "<": b"<",
    "<?xml": b"<?xml",
    "JSON of 10 000 lists": b"[" * 10_000,
    "JSON of 10 000 objects": b'{"a":' * 10_000,
    "JSON that is no object": b"[]",
    "JSON with bad UTF-8": b'{"owner": "\xff"}',
    "JSON twice": b"{}{}",
}


@pytest.mark.parametrize("content_type", ["application/xml", "application/json", None])
@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES.keys())
def test_t04_a_hostile_shape_is_a_4xx(body, content_type, guarded):
    shell = guarded(dav=True)
    shell.lock("/held", "alice")
    fields = {} if content_type is None else {"Content-Type": content_type}
    for method in ("LOCK", "PROPFIND"):
        with shell.untouched():
            got = shell(method, "/a", {**fields, "Depth": "0"}, body, user="bob")
            assert 400 <= got.status < 500 or (method == "PROPFIND" and got.status == 207)
    before = shell.table()
    assert shell("PROPPATCH", "/a", fields, body, user="bob").status == 200  # the application's
    assert shell("PROPPATCH", "/held", fields, body, user="bob").status == 423
    assert shell.table() == before


# ---- T5: the owner, reflected ----------------------------------------------------------------------------------------

OWNERS = {
    "script": "<script>alert(1)</script>",
    "script of XHTML": '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
    "CDATA end": "a]]&gt;b",
    "CDATA": "<![CDATA[</D:owner><script>]]>",
    "quotes": '"&gt;&lt;img src=x onerror=alert(1)&gt;',
    "owner end": "&lt;/D:owner&gt;&lt;/D:activelock&gt;",
    "the same prefix, another namespace": '<D:href xmlns:D="urn:x">a</D:href>',
    "the default namespace": '<a xmlns="urn:a"><b xmlns=""/></a>',
    "attributes and language": '<a xml:lang="de" x="&lt;&quot;&#10;">b</a>',
    "comment": "a<!-- --><b/>",
    "instruction": "<?php evil ?>a",
    "mixed": "a<b>c</b>d<e/>f",
    "日本": "日本",
    "blanks": "  a \n b  ",
    "link": "<D:href>javascript:alert(1)</D:href>",
}
WORDS = {
    "script": "<script>alert(1)</script>",
    "CDATA end": "]]>",
    "quotes": '"><img src=x onerror=alert(1)>',
    "owner end": "</D:owner>",
    "comment": "<!-- -->",
    "entity": "&lt;b&gt; &amp; &#60;",
    "NUL": "a\x00b",
    "controls": "a\x1b\x08b",
    "surrogate": "a\udcffb",
    "template": "{{7*7}} ${7*7} <%= 7*7 %>",
    "backslash": "\\u003cscript\\u003e </script>",
    "line separators": "a\u2028b\u2029c",
}


def tree(element: ElementTree.Element) -> tuple:
    """What an XML element says, whatever prefixes it says it with."""
    kids = tuple(tree(kid) for kid in element)
    return (element.tag, tuple(sorted(element.attrib.items())), element.text or "", element.tail or "", kids)


@pytest.mark.parametrize("written", OWNERS.values(), ids=OWNERS.keys())
def test_t05_an_owner_comes_back_as_the_same_tree(written, guarded):
    shell = guarded(dav=True)
    sent = ElementTree.fromstring(lockinfo(written).decode()).find(f"{DAV}owner")
    granted = shell("LOCK", "/a", XML, lockinfo(written), user="alice")
    find = b'<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>'
    found = shell("PROPFIND", "/a", {**XML, "Depth": "0"}, find, user="alice")
    assert (granted.status, found.status) == (200, 207)
    for got in (granted, found):
        owners = list(ElementTree.fromstring(got.text).iter(f"{DAV}owner"))
        assert len(owners) == 1
        owners[0].tail = sent.tail = None
        assert tree(owners[0]) == tree(sent)


class Page(html.parser.HTMLParser):
    """Which elements a page has, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
def test_t05_words_in_a_refusal_are_words(words, accept, guarded):
    shell = guarded()
    shell.locks.acquire("/a", creator=words, owner_info=words, reason=words, contact=words)
    got = shell("PUT", "/a", {"Accept": accept}, b"x", user="bob")
    assert got.status == 423
    assert got.first("x-content-type-options") == "nosniff"
    assert got.first("content-type").partition(";")[0] == accept
    if "json" in accept:
        assert json.loads(got.text)["lock"]["owner"] is not None
        assert "<" not in got.text
    elif "xml" in accept:
        ElementTree.fromstring(got.text)
    else:
        page = Page(got.text)
        assert not page.tags & {"script", "img", "b", "iframe", "svg"}
        assert page.handlers == []
        policy = got.first("content-security-policy")
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


# ---- T6: headers -----------------------------------------------------------------------------------------------------


def safe(pairs) -> None:
    for name, value in pairs:
        assert value.isascii()
        assert value.isprintable()
        assert len(value) < 4096
        assert name.lower() != "set-cookie"


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("purpose", ["write", "administrative", "processing"])
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_t06_words_in_headers(words, purpose, accept, guarded):
    shell = guarded()
    held = {"creator": words, "owner_info": words, "reason": words, "contact": words}
    shell.locks.acquire("/a", purpose=purpose, **held)
    for method, body in (("PUT", b"x"), ("DELETE", b""), ("LOCK", lockinfo())):
        got = shell(method, "/a", {**XML, "Accept": accept}, body, user="bob")
        assert got.status == 423
        safe(got.headers)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_t06_words_of_the_one_who_asks(words, guarded):
    """A principal of that name gets a lock, and its own name back."""
    shell = guarded()
    got = shell("LOCK", "/a", {"Content-Type": "application/json"}, b"{}", user=words)
    assert got.status == 200
    assert got.json["lock"]["owner"] == words
    safe(got.headers)


@pytest.mark.parametrize(
    "target", ["/%0d%0aSet-Cookie:%20x=1", "/%E6%97%A5%E6%9C%AC", "/%00", "/%ff", "/" + "%0a" * 500]
)
def test_t06_words_in_a_path(target, guarded):
    shell = guarded(dav=True)
    shell.lock("/", "alice")
    for accept in ACCEPTS:
        for method, body in (("PUT", b"x"), ("LOCK", lockinfo()), ("UNLOCK", b"")):
            got = shell(method, target, {**XML, "Accept": accept, "Lock-Token": "<urn:x:1>"}, body, user="bob")
            assert 400 <= got.status < 500
            safe(got.headers)


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with serve(request.param) as server:
        yield server


@pytest.mark.parametrize("place", ["words", "held"])
def test_t06_on_a_server(place, server):
    for number, name in enumerate(HOSTILE):
        for accept in ACCEPTS:
            with Wire(server.port) as wire:
                wire.send(
                    f"PUT /{place}/{number} HTTP/1.1\r\nHost: x\r\nX-User: bob\r\nAccept: {accept}\r\n"
                    "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
                while not wire.closed and wire.listen(answers=2, seconds=3):
                    if not wire.closed:
                        break
                answers = wire.heard()
                assert [answer.status for answer in answers] == [423], (name, wire.raw)
                assert wire.raw.count(b"\nHTTP/1.1 ") == 0, name
                assert wire.rest == b""
                (answer,) = answers
                safe([(line.partition(":")[0], line.partition(": ")[2]) for line in answer.lines])
                assert answer.all("x-lock-type") == ["exclusive" if place == "words" else "administrative"]


def test_t06_on_a_server_an_owner_sent_in_a_body(server):
    for owner_info in ("日本", "a&#13;&#10;Set-Cookie: x=1", "\u202eevil"):
        body = lockinfo(owner_info)
        common = f"Host: x\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        for user, status in (("carol", (200, 201)), ("bob", (423,))):
            with Wire(server.port) as wire:
                wire.send(f"LOCK /free HTTP/1.1\r\nX-User: {user}\r\n{common}\r\n".encode() + body)
                (answer,) = wire.listen()
                assert answer.status in status
                safe([(line.partition(":")[0], line.partition(": ")[2]) for line in answer.lines])
                if user == "carol":
                    token = answer.all("lock-token")[0]
        with Wire(server.port) as wire:
            fields = f"Host: x\r\nX-User: carol\r\nConnection: close\r\nLock-Token: {token}\r\n"
            wire.send(f"UNLOCK /free HTTP/1.1\r\n{fields}\r\n".encode())
            assert [answer.status for answer in wire.listen()] == [204]
