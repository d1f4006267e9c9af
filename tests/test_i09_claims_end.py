"""I9: a permit ends with the application's call: when it has returned, has raised, or its iterable is closed.

Not when the client hangs up (the application may run on), and not later than its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.model import Permit
from locklib.core.policy import Policy
from locklib.stores.gate import CLOSED
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.kit import FakeClock
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import (
    AsyncNoShortWay,
    NoShortWay,
    asgi,
    environ_of,
    lock_body,
    locks_in,
    permits_in,
    scope_of,
    wsgi,
)

POLICY = Policy(hold_wait=0.05)
WAYS = {"short": (MemoryLockStore, AsyncMemoryLockStore), "general": (NoShortWay, AsyncNoShortWay)}


# ---- ASGI ------------------------------------------------------------------------------------------------------------


class AsgiSite:
    def __init__(self, way: str, app: Any) -> None:
        self.store = WAYS[way][1](processes="allow")
        self.app = AsgiMiddleware(app, store=self.store, policy=POLICY)
        assert (self.app._gate is CLOSED) == (way == "general")

    async def open(self) -> None:
        await self.app._open()


@pytest.mark.parametrize("way", WAYS)
def test_when_the_client_has_hung_up_it_lasts_as_long_as_the_application_runs(way):
    async def story() -> None:
        gone, go = asyncio.Event(), asyncio.Event()

        async def works_on(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "PUT":
                while (await receive())["type"] != "http.disconnect":
                    pass
                gone.set()
                await go.wait()
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        site = AsgiSite(way, works_on)
        await site.open()
        messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there to be answered")

        write = asyncio.create_task(site.app(scope_of("PUT", "/a", {"Content-Length": "100"}), receive, send))
        await asyncio.wait_for(gone.wait(), 10)
        assert [permit.keys for permit in permits_in(site.store)] == [("/a",)]
        assert (await asgi(site.app, "LOCK", "/a", {}, lock_body())).status == 423
        go.set()
        await write
        assert permits_in(site.store) == ()
        assert (await asgi(site.app, "LOCK", "/a", {}, lock_body())).status == 200

    asyncio.run(story())


class Broken(Exception):
    """What an application raises."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["before the answer", "after its start", "in the middle of the body"])
def test_when_the_application_raises_asgi(way, when):
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        assert permits_in(site.store) or scope["method"] != "DELETE"
        if when != "before the answer":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if when == "in the middle of the body":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Broken

    site = AsgiSite(way, raises)

    async def story() -> None:
        await site.open()
        for method in ("PUT", "DELETE", "MOVE"):
            with pytest.raises(Broken):
                await asgi(site.app, method, "/a", {"Destination": "/b"}, b"text")
            assert permits_in(site.store) == ()

    asyncio.run(story())


@pytest.mark.parametrize("way", WAYS)
def test_when_the_request_is_cancelled_in_the_application(way):
    """As a server does at shutdown, or a time-out around the application."""

    async def story() -> None:
        begun = asyncio.Event()

        async def waits(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        site = AsgiSite(way, waits)
        await site.open()
        write = asyncio.create_task(asgi(site.app, "PUT", "/a", {}, b"text"))
        await asyncio.wait_for(begun.wait(), 10)
        assert permits_in(site.store)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        assert permits_in(site.store) == ()

    asyncio.run(story())


# ---- WSGI ------------------------------------------------------------------------------------------------------------


class WsgiSite:
    def __init__(self, way: str, app: Any) -> None:
        self.store = WAYS[way][0](processes="allow")
        self.app = WsgiMiddleware(app, store=self.store, policy=POLICY)
        self.app._open()
        assert (self.app._gate is CLOSED) == (way == "general")

    def call(self, method: str, target: str) -> Iterable[bytes]:
        return self.app(environ_of(method, target, {"Destination": "/b"}, b"text"), lambda *_: None)

    def lock(self) -> int:
        return wsgi(self.app, "LOCK", "/a", {}, lock_body()).status


def streams(environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"one"
    yield b"two"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE"])
@pytest.mark.parametrize("read", [0, 1, 2])
def test_when_the_iterable_is_closed_wherever_the_server_stands_in_it(way, method, read):
    """Zero pieces read: the server dropped the answer. Two: the whole body was sent, and it is not closed yet."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("HEAD", "GET"):
            start_response("200 OK", [])
            return [b""]
        return streams(environ, start_response)

    site = WsgiSite(way, app)
    body = site.call(method, "/a")
    pieces = iter(body)
    assert [next(pieces) for _ in range(read)] == [b"one", b"two"][:read]
    assert permits_in(site.store)
    assert site.lock() == 423
    body.close()
    assert permits_in(site.store) == ()
    assert site.lock() == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [list, tuple])
def test_when_the_body_is_whole_it_has_ended_as_the_call_returns(way, kind):
    def whole(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return kind([b"one", b"two"])

    site = WsgiSite(way, whole)
    for method in ("PUT", "DELETE"):
        assert b"".join(site.call(method, "/a")) == b"onetwo"
        assert permits_in(site.store) == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE"])
def test_when_the_application_raises_wsgi(way, method):
    def raises(environ: Any, start_response: Any) -> Iterable[bytes]:
        assert permits_in(site.store) or environ["REQUEST_METHOD"] == "HEAD"
        raise Broken

    site = WsgiSite(way, raises)
    with pytest.raises(Broken):
        site.call(method, "/a")
    assert permits_in(site.store) == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("where", ["in its body", "in its close"])
def test_when_the_iterable_raises_it_ends_with_close(way, method, where):
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            if where == "in its body":
                raise Broken

        def close(self) -> None:
            if where == "in its close":
                raise Broken

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body()

    site = WsgiSite(way, app)
    body = site.call(method, "/a")

    def serve() -> None:
        try:
            list(body)
        finally:
            body.close()

    with pytest.raises(Broken):
        serve()
    assert permits_in(site.store) == ()


@pytest.mark.parametrize("way", WAYS)
def test_the_application_may_close_twice_and_the_permit_ends_once(way):
    site = WsgiSite(way, streams)
    first, second = site.call("PUT", "/a"), site.call("PUT", "/a")
    first.close()
    first.close()
    assert len(permits_in(site.store)) == 1
    second.close()
    assert permits_in(site.store) == ()


# ---- its own deadline ------------------------------------------------------------------------------------------------


def test_a_permit_that_nobody_ends_ends_at_its_deadline():
    clock = FakeClock()
    store = MemoryLockStore(clock=clock, processes="allow")
    app = WsgiMiddleware(streams, store=store, policy=POLICY)
    store.permits.publish(Permit("lost", "", keys=("/a",), lasts=30.0))
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 423
    clock.advance(30.0)
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 200
    assert len(locks_in(store)) == 1


def test_a_plain_write_has_no_deadline_for_its_writer_is_in_this_process():
    """It withdraws its permit in a `finally`; until then a LOCK waits, however long the write takes."""
    clock = FakeClock()
    store = MemoryLockStore(clock=clock, processes="allow")
    claim = store.claim_now("", "/a")
    app = WsgiMiddleware(streams, store=store, policy=POLICY)
    clock.advance(1_000_000.0)
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 423
    store.end_now(claim)
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 200


def test_a_refused_write_leaves_no_permit():
    store = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(streams, store=store, policy=POLICY)
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 200
    for method in ("PUT", "DELETE", "PATCH", "POST", "MKCOL"):
        assert wsgi(app, method, "/a", {}, b"text").status == 423
    assert permits_in(store) == ()
