"""T22: a refusal comes before the body, and the middleware touches no body that it does not need."""

from __future__ import annotations

import time

import pytest

from support.threats import Body
from support.wire import SERVERS, Wire, serve

GIGA = 1_000_000_000
EXPECT = {"Expect": "100-continue", "Content-Length": str(GIGA)}

REFUSED = {
    "PUT, locked": ("PUT", "/a", {}, 423),
    "PUT of a member": ("PUT", "/a/b", {}, 423),
    "POST, locked": ("POST", "/a", {}, 423),
    "If that is false": ("PUT", "/free", {"If": "(<urn:x:1>)"}, 412),
    "If that is malformed": ("PUT", "/free", {"If": "(<"}, 400),
    "tunnelled": ("POST", "/", {"X-HTTP-Method-Override": "DELETE"}, 423),
    "a path of 8 kB": ("PUT", "/" + "x" * 8000, {}, 414),
}


@pytest.mark.parametrize(("method", "target", "fields", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_t22_refused_before_any_of_it(method, target, fields, status, guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    body = Body([b"x"] * 100)
    with shell.untouched():
        got = shell(method, target, {**fields, **EXPECT}, body, user="bob")
        assert got.status == status
    assert (got.touched, got.drained, body.calls) == (0, 0, 0)


@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
@pytest.mark.parametrize("near", [False, True], ids=["nothing-near", "admitted-by-token"])
def test_t22_a_write_that_passes_reaches_the_application_with_its_body_unread(near, dav, guarded):
    shell = guarded(dav=dav)
    fields = {"If": f"(<{shell.lock('/a', 'alice')}>)"} if near else {}
    body, calls = Body([b"one", b"two"]), []
    answer = shell.site.answer
    for name in ("asgi", "wsgi"):
        calls_at(shell, name, body, calls)
    shell.site.answer = answer
    fields |= {"Expect": "100-continue", "Content-Length": "6"}
    assert shell("PUT", "/a" if near else "/free", fields, body, user="alice").status in (201, 204)
    assert calls == [0]
    assert shell.site.documents["/a" if near else "/free"] == b"onetwo"


def calls_at(shell, name: str, body: Body, calls: list[int]) -> None:
    """Note how often the body was asked for when the application is called with a write."""
    if name != shell.kind:
        return
    app = shell.app.app
    if name == "asgi":

        async def noting(scope, receive, send):
            calls.extend([body.calls] if scope["method"] == "PUT" else [])
            await app(scope, receive, send)
    else:

        def noting(environ, start_response):
            calls.extend([body.calls] if environ["REQUEST_METHOD"] == "PUT" else [])
            return app(environ, start_response)

    shell.app.app = noting


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with serve(request.param) as server:
        yield server


def put(target: str, length: int) -> bytes:
    fields = f"Host: x\r\nX-User: bob\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n"
    return f"PUT {target} HTTP/1.1\r\n{fields}\r\n".encode()


def test_t22_a_server_refuses_1_gb_before_any_of_it(server):
    """waitress asks its application only once the body is in: it may ask for it, but not pass it on."""
    with Wire(server.port) as wire:
        wire.send(put("/locked", GIGA))
        answers = wire.listen(seconds=1 if server.name == "waitress" else 5)
        if server.name == "waitress":
            assert [answer.status for answer in answers] in ([], [423], [413])
            return
        assert [answer.status for answer in answers] == [423], wire.raw
        if server.name == "uvicorn":  # gunicorn and hypercorn say 100 before they ask
            assert b"100 Continue" not in wire.raw
            assert answers[0].closes


def test_t22_and_asks_for_what_may_be_written(server):
    with Wire(server.port) as wire:
        wire.send(put("/expected", 5))
        until = time.monotonic() + 3
        while b"\r\n\r\n" not in wire.raw and time.monotonic() < until and not wire.closed:
            wire.listen(seconds=0.05)
        assert wire.raw.startswith(b"HTTP/1.1 100 ")  # hypercorn leaves the phrase out
        wire.send(b"hello")
        assert [answer.status for answer in wire.listen(seconds=3)] in ([201], [204])
