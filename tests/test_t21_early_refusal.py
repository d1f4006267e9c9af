"""T21: after an early refusal the rest of the body is never taken for a request (waitress CVE-2024-49768 and kin).

The next request on the connection is answered rightly, or there is no next one: the connection is closed.
"""

from __future__ import annotations

import json
import time

import pytest

from support.threats import Body, lockinfo
from support.wire import SERVERS, Wire, serve

SMUGGLED = b"DELETE /victim HTTP/1.1\r\nHost: x\r\nX-User: bob\r\nContent-Length: 0\r\n\r\n"
NEXT = b"GET /free HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = "{method} {target} HTTP/1.1\r\nHost: x\r\nX-User: bob\r\n{fields}\r\n"

EARLY = {
    "PUT, locked": ("PUT", "/locked", "", 423),
    "DELETE, locked": ("DELETE", "/locked/x", "", 423),
    "POST, locked": ("POST", "/locked", "", 423),
    "If that is false": ("PUT", "/locked", "If: (<urn:x:1>)\r\n", 412),
    "If that is malformed": ("PUT", "/locked", "If: (<\r\n", 400),
    "UNLOCK with a body": ("UNLOCK", "/locked", "Lock-Token: <urn:x:1>\r\n", 415),
    "Destination elsewhere": ("MOVE", "/free", "Destination: http://elsewhere.example/x\r\n", 502),
    "path of 8 kB": ("PUT", "/" + "x" * 5000, "", 414),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with serve(request.param) as server:
        yield server


def head(method: str, target: str, fields: str) -> bytes:
    return HEAD.format(method=method, target=target, fields=fields).encode()


def effects(server) -> list[list[str]]:
    with Wire(server.port) as wire:
        wire.send(b"GET /effects HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return json.loads(wire.listen()[0].body)


def must_be_sound(server, wire: Wire, status: int, *, next_sent: bool = False, may_reset: bool = False) -> None:
    """What holds after each attack. `may_reset`: the answer may be lost to a connection that is closed meanwhile."""
    if not next_sent:
        wire.send(NEXT)
    if any(answer.closes for answer in wire.listen(seconds=4)):
        wire.finish()
    answers = wire.listen(answers=2, seconds=4)
    assert answers or (may_reset and wire.closed), wire.raw
    if answers:
        assert answers[0].status == status, wire.raw
    if len(answers) > 1:
        assert (answers[1].status, answers[1].body) == (200, b"free"), wire.raw
    else:
        assert wire.closed, f"neither answered nor closed: {wire.raw!r}"
    assert len(answers) <= 2
    assert wire.rest == b""
    assert effects(server) == []


@pytest.mark.parametrize(("method", "target", "fields", "status"), EARLY.values(), ids=EARLY.keys())
def test_t21_a_body_that_comes_late_and_holds_a_request(method, target, fields, status, server):
    with Wire(server.port) as wire:
        wire.send(head(method, target, f"{fields}Content-Length: {len(SMUGGLED)}\r\n"))
        time.sleep(0.2)
        wire.listen(seconds=0)
        wire.send(SMUGGLED)
        must_be_sound(server, wire, status, may_reset=True)


def test_t21_head(server):
    """An answer to HEAD has a length but no body, so `Wire` cannot follow it: the connection ends there."""
    fields = f"If: (<urn:x:1>)\r\nContent-Length: {len(SMUGGLED)}\r\nConnection: close\r\n"
    with Wire(server.port) as wire:
        wire.send(head("HEAD", "/free", fields) + SMUGGLED)
        wire.listen(seconds=3)
        assert wire.raw.startswith(b"HTTP/1.1 412 ")
        assert wire.raw.endswith(b"\r\n\r\n")
        assert wire.raw.count(b"HTTP/1.1 ") == 1
    assert effects(server) == []


@pytest.mark.parametrize(("method", "target", "fields", "status"), list(EARLY.values())[:7], ids=list(EARLY)[:7])
def test_t21_chunked(method, target, fields, status, server):
    chunk = f"{len(SMUGGLED):x}\r\n".encode() + SMUGGLED + b"\r\n0\r\n\r\n"
    with Wire(server.port) as wire:
        wire.send(head(method, target, f"{fields}Transfer-Encoding: chunked\r\n"))
        time.sleep(0.1)
        wire.listen(seconds=0)
        wire.send(chunk)
        must_be_sound(server, wire, status, may_reset=True)


def test_t21_chunked_and_never_ended(server):
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/locked", "Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n")
        answers = wire.listen(seconds=1)
        wire.send(SMUGGLED)
        wire.listen(answers=2, seconds=1)
        assert [answer.status for answer in answers] in ([423], []), wire.raw
    assert effects(server) == []


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"], ids=["plain", "expect"])
def test_t21_20_mb(expect, server):
    body = SMUGGLED * (20_000_000 // len(SMUGGLED))
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/locked", f"{expect}Content-Length: {len(body)}\r\n"))
        for start in range(0, len(body), 1_000_000):
            if not wire.send(body[start : start + 1_000_000]):
                break
        must_be_sound(server, wire, 423, may_reset=True)


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "after-the-answer"])
def test_t21_expect(waits, server):
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/locked", f"Expect: 100-continue\r\nContent-Length: {len(SMUGGLED)}\r\n"))
        if waits:
            wire.listen(seconds=1)
        wire.send(SMUGGLED)
        must_be_sound(server, wire, 423, may_reset=True)


def test_t21_expect_and_the_body_never_comes(server):
    """A client that takes the refusal for what it is goes on with its next request, on the connection or another."""
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/locked", f"Expect: 100-continue\r\nContent-Length: {len(SMUGGLED)}\r\n"))
        answers = wire.listen(seconds=1)
        if answers:
            assert answers[0].status == 423
            assert answers[0].closes or wire.closed or b"100 Continue" in wire.raw
    assert effects(server) == []


@pytest.mark.parametrize(("method", "target", "fields", "status"), list(EARLY.values())[:7], ids=list(EARLY)[:7])
def test_t21_pipelined(method, target, fields, status, server):
    with Wire(server.port) as wire:
        wire.send(head(method, target, f"{fields}Content-Length: {len(SMUGGLED)}\r\n") + SMUGGLED + NEXT)
        must_be_sound(server, wire, status, next_sent=True)


def test_t21_pipelined_refusals(server):
    """Many refusals in one packet, each with a body: as many answers in their order, or fewer and the end."""
    one = head("PUT", "/locked", f"Content-Length: {len(SMUGGLED)}\r\n") + SMUGGLED
    with Wire(server.port) as wire:
        wire.send(one * 10)
        answers = wire.listen(answers=10, seconds=4)
        assert {answer.status for answer in answers} == {423}
        assert len(answers) == 10 or wire.closed
    assert effects(server) == []


def test_t21_a_lock_too_large(server):
    with Wire(server.port) as wire:
        wire.send(head("LOCK", "/free", "Content-Type: text/xml\r\nContent-Length: 100000\r\n"))
        wire.send(b" " * 70_000)
        wire.listen(seconds=0.5)
        wire.send(SMUGGLED + b" " * (30_000 - len(SMUGGLED)))
        must_be_sound(server, wire, 413, may_reset=True)


# ---- in process ------------------------------------------------------------------------------------------------------


def test_t21_a_small_body_is_taken_in(guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    with shell.untouched():
        got = shell("PUT", "/a", {"Content-Length": "60000"}, Body([b"x" * 6000] * 10), user="bob")
        assert (got.status, got.drained) == (423, 60_000)
    assert got.first("connection") is None


@pytest.mark.parametrize(
    ("fields", "chunked"),
    [
        ({"Content-Length": "20000000"}, False),
        ({"Content-Length": "60000", "Expect": "100-continue"}, False),
        ({}, True),
    ],
    ids=["20 MB", "expect", "chunked"],
)
def test_t21_a_large_one_is_not(fields, chunked, guarded):
    """Then the connection is closed: by us under ASGI; under WSGI that header is the server's."""
    shell = guarded()
    shell.lock("/a", "alice")
    with shell.untouched():
        got = shell("PUT", "/a", fields, Body([b"x" * 6000] * 100, chunked), user="bob")
        assert (got.status, got.drained) == (423, 0)
    assert got.all("connection") == (["close"] if shell.kind == "asgi" else [])


def test_t21_a_body_that_was_read_is_not_read_again(guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    with shell.untouched():
        got = shell("LOCK", "/a", {"Content-Type": "text/xml"}, lockinfo(), user="bob")
        assert got.status == 423
    assert got.drained == len(lockinfo())
    assert got.first("connection") is None
