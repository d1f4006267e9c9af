"""I18: a request that is cancelled, at whatever await, leaves no permit and no pending lock behind.

The store here gives way to the loop before and after each thing it does, as one on a network would, so every await of
the shell is a place to be cancelled at. Each story is played again and again, cancelled at the first await, at the
second ..., until it ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.model import Done, Lock, Permit, Query, Step
from locklib.core.policy import Policy
from locklib.errors import StoreUnavailable
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import (
    Got,
    NoShortWay,
    Things,
    asgi,
    asgi_user,
    environ_of,
    lock_body,
    locks_in,
    permits_in,
    scope_of,
    wsgi,
    wsgi_user,
)

LOCKINFO = b"""<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>
<D:locktype><D:write/></D:locktype></D:lockinfo>"""


async def turns() -> None:
    await asyncio.sleep(0)


class FarPermits:
    """A board on the other side of two turns of the loop."""

    def __init__(self, near: Any) -> None:
        self._near = near

    async def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        await turns()
        found = await self._near.older(namespace, lock)
        await turns()
        return found

    async def live(self, ids: Collection[str]) -> frozenset[str]:
        await turns()
        found = await self._near.live(ids)
        await turns()
        return found

    async def end(self, permit: Permit) -> None:
        await turns()
        await self._near.end(permit)
        await turns()


class FarStore:
    """A store in memory on the other side of two turns of the loop: what is cancelled after the first has happened."""

    def __init__(self) -> None:
        self.memory = AsyncMemoryLockStore(processes="allow")
        self.permits = FarPermits(self.memory.permits)

    async def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        await turns()
        done = await self.memory.transact(query, step)
        await turns()
        return done

    async def promises(self) -> Any:
        return await self.memory.promises()

    async def close(self) -> None:
        await self.memory.close()


class BoardedStore(FarStore):
    """Far as well, but its board is in the process: it offers the short way, and none of its permits waits."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = self.memory.permits
        self.near, self.claim_now, self.end_now = self.memory.near, self.memory.claim_now, self.memory.end_now


class CancelledAt:
    """Awaits `doing`, and cancels the task at the n-th place where it gives way."""

    def __init__(self, doing: Awaitable[Any], number: int) -> None:
        self.doing = doing
        self.number = number
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.doing.__await__()
        seen = 0
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as end:
                return end.value
            seen += 1
            if seen == self.number:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            sent, thrown = None, None
            try:
                sent = yield waits_for
            except BaseException as error:
                thrown = error


class Site:
    """A folder whose application gives way, behind a shell over a far store."""

    def __init__(self, kind: type[FarStore] = FarStore) -> None:
        self.things = Things({"/": None, "/a": b"text", "/c": None, "/c/a": b"text"})
        self.store = kind()
        self.go = asyncio.Event()
        self.go.set()
        policy = Policy(identified=True, dav=True, hold_wait=5.0)
        self.app = AsgiMiddleware(self.application, store=self.store, principal=asgi_user, policy=policy)

    async def application(self, scope: Any, receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        await turns()
        if scope["method"] in ("PUT", "DELETE"):
            await self.go.wait()
        await self.things.asgi(scope, receive, send)
        await turns()

    async def send(self, method: str, target: str, fields: dict[str, str] | None = None, body: bytes = b"") -> Got:
        return await asgi(self.app, method, target, {"X-User": "anna", **(fields or {})}, body)


async def quiet() -> None:
    """Long enough for what is shielded to end."""
    for _ in range(20):
        await turns()


Story = Callable[[Site, dict[str, str]], Awaitable[Got]]
STORIES: dict[str, Story] = {
    "LOCK, mapped": lambda site, _: site.send("LOCK", "/a", {}, LOCKINFO),
    "LOCK, makes an empty resource": lambda site, _: site.send("LOCK", "/new", {}, LOCKINFO),
    "LOCK, parent missing": lambda site, _: site.send("LOCK", "/x/new", {}, LOCKINFO),
    "LOCK, refused": lambda site, _: site.send("LOCK", "/c/a", {}, LOCKINFO),
    "refresh": lambda site, shown: site.send("LOCK", "/c", shown),
    "PUT, no lock near": lambda site, _: site.send("PUT", "/a", {}, b"text"),
    "PUT with a token": lambda site, shown: site.send("PUT", "/c/a", shown, b"text"),
    "PUT, refused": lambda site, _: site.send("PUT", "/c/a", {}, b"text"),
    "DELETE with a token": lambda site, shown: site.send("DELETE", "/c", shown),
    "MOVE with a token": lambda site, shown: site.send("MOVE", "/c", {**shown, "Destination": "/d"}),
    "COPY": lambda site, _: site.send("COPY", "/a", {"Destination": "/d"}),
    "PROPFIND": lambda site, _: site.send("PROPFIND", "/c", {"Depth": "0"}),
    "UNLOCK": lambda site, shown: site.send("UNLOCK", "/c", {"Lock-Token": shown["If"][1:-1]}),
}


async def cancelled(story: Story, number: int, kind: type[FarStore]) -> bool:
    """Play `story` on a new site, cancelled at the n-th await; whether it got that far."""
    site = Site(kind)
    held = await site.send("LOCK", "/c", {}, LOCKINFO)
    shown = {"If": f"(<{held.token}>)"}
    await quiet()
    doing = CancelledAt(story(site, shown), number)

    async def run() -> None:
        await doing

    task = asyncio.ensure_future(run())
    try:
        await asyncio.wait_for(task, 20)
        finished = True
    except asyncio.CancelledError:
        finished = False
    await quiet()
    assert finished or doing.reached
    assert permits_in(site.store.memory) == ()
    rows = [one.lock for one in locks_in(site.store.memory)]
    assert [lock.key for lock in rows if lock.pending] == []
    assert len(rows) == len({lock.key for lock in rows})
    await usable(site, {lock.key: lock.token for lock in rows})
    return doing.reached


async def usable(site: Site, held: dict[str, str]) -> None:
    """Whatever is left can be locked by whoever shows nothing, unless a granted lock stands there."""
    for path in ("/a", "/c", "/new"):
        expected = 423 if path in held else 200 if path in site.things.tree else 201
        assert (await site.send("LOCK", path, {}, LOCKINFO)).status == expected


@pytest.mark.parametrize("kind", [FarStore, BoardedStore])
@pytest.mark.parametrize("name", STORIES)
def test_cancelled_at_every_await(name, kind):
    async def play() -> int:
        number = 1
        while await cancelled(STORIES[name], number, kind):
            number += 1
        return number

    assert asyncio.run(play()) >= 2


@pytest.mark.parametrize("kind", [FarStore, BoardedStore])
def test_a_lock_that_waits_for_a_writer_cancelled_at_every_await(kind):
    """The writer is at work all the while; after the cancellation it ends, and the resource can be locked."""

    async def one(number: int) -> bool:
        site = Site(kind)
        site.go.clear()
        write = asyncio.create_task(site.send("PUT", "/a", {"X-User": "bob"}, b"text"))
        await quiet()
        lets_go = asyncio.get_running_loop().call_later(0.03, site.go.set)
        doing = CancelledAt(site.send("LOCK", "/a", {}, LOCKINFO), number)

        async def run() -> Got:
            return await doing

        task = asyncio.ensure_future(run())
        try:
            got = await asyncio.wait_for(task, 20)
            assert got.status == 200
        except asyncio.CancelledError:
            await quiet()
            assert [one.lock for one in locks_in(site.store.memory) if one.lock.pending] == []
        lets_go.cancel()
        site.go.set()
        assert (await write).status == 204
        await quiet()
        assert permits_in(site.store.memory) == ()
        if not locks_in(site.store.memory):
            assert (await site.send("LOCK", "/a", {}, LOCKINFO)).status == 200
        return doing.reached

    async def play() -> int:
        number = 1
        while await one(number):
            number += 1
        return number

    assert asyncio.run(play()) > 8


def test_time_out_of_a_lock_that_waits_leaves_nothing():
    """As an application server does: `asyncio.timeout` around the whole request."""

    async def story() -> None:
        site = Site()
        site.go.clear()
        write = asyncio.create_task(site.send("PUT", "/a", {"X-User": "bob"}, b"text"))
        await quiet()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await site.send("LOCK", "/a", {}, LOCKINFO)
        await quiet()
        assert locks_in(site.store.memory) == []
        site.go.set()
        assert (await write).status == 204

    asyncio.run(story())


# ---- a client that goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_the_client_goes_in_the_middle_of_a_lock_body(chunks):
    async def story() -> None:
        site = Site()
        coming = [{"type": "http.request", "body": LOCKINFO[:9], "more_body": True}] * chunks
        coming = [*coming, {"type": "http.disconnect"}]
        site.things.heard.clear()

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there to be answered")

        await site.app(scope_of("LOCK", "/a", {"X-User": "anna", "Content-Length": "500"}), receive, send)
        await quiet()
        assert locks_in(site.store.memory) == []
        assert permits_in(site.store.memory) == ()
        assert site.things.heard == []

    asyncio.run(story())


class Broken(Exception):
    """What an application, or a client's connection, raises."""


@pytest.mark.parametrize("method", ["LOCK", "PUT", "UNLOCK"])
def test_the_connection_breaks_while_the_answer_is_sent(method):
    async def story() -> None:
        site = Site()
        held = await site.send("LOCK", "/c", {}, LOCKINFO)
        coming = [{"type": "http.request", "body": LOCKINFO if method == "LOCK" else b"", "more_body": False}]

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            raise Broken

        path = "/c" if method == "UNLOCK" else "/a"
        fields = {"X-User": "anna", "Lock-Token": f"<{held.token}>"} if method == "UNLOCK" else {"X-User": "anna"}
        with pytest.raises(Broken):
            await site.app(scope_of(method, path, fields), receive, send)
        await quiet()
        assert permits_in(site.store.memory) == ()
        assert not any(one.lock.pending for one in locks_in(site.store.memory))

    asyncio.run(story())


# ---- an application that raises on our questions ---------------------------------------------------------------------


@pytest.mark.parametrize("on", ["HEAD", "PUT", "PROPFIND", "GET"])
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_an_application_that_raises_on_a_question_of_ours_says_nothing_and_stops_nothing(kind, on):
    things = Things()

    def wsgi_app(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == on:
            raise Broken
        return things.wsgi(environ, start_response)

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == on:
            raise Broken
        await things.asgi(scope, receive, send)

    memory = MemoryLockStore(processes="allow")
    if kind == "wsgi":
        got = wsgi(
            WsgiMiddleware(wsgi_app, store=memory, principal=wsgi_user, dav=True),
            "LOCK",
            "/a",
            {"X-User": "a"},
            LOCKINFO,
        )
    else:
        app = AsgiMiddleware(asgi_app, store=memory, principal=asgi_user, dav=True)
        got = asyncio.run(asgi(app, "LOCK", "/a", {"X-User": "a"}, LOCKINFO))
    expected = {"HEAD": 200, "PUT": 500, "PROPFIND": 201, "GET": 201}
    assert got.status == expected[on]
    assert len(locks_in(memory)) == (0 if on == "PUT" else 1)
    assert not any(one.lock.pending for one in locks_in(memory))
    assert permits_in(memory) == ()


def test_a_worker_that_is_interrupted_in_a_question_takes_the_lock_back():
    """gunicorn's time-out raises SystemExit wherever the worker stands; here, in the empty PUT of a LOCK."""
    things, memory = Things(), MemoryLockStore(processes="allow")

    def app(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            raise SystemExit(1)
        return things.wsgi(environ, start_response)

    shell = WsgiMiddleware(app, store=memory, principal=wsgi_user, dav=True)
    with pytest.raises(SystemExit):
        shell(environ_of("LOCK", "/a", {"X-User": "anna"}, LOCKINFO), lambda *_: None)
    assert locks_in(memory) == []


# ---- a store that fails while something is ended ---------------------------------------------------------------------


class NoEnd:
    """A board that cannot be reached when a permit shall end, or be looked at while a LOCK waits."""

    def __init__(self, permits: Any, fails: str) -> None:
        self._permits = permits
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        if name == self._fails:
            return self._down
        return getattr(self._permits, name)

    def _down(self, *_: Any) -> Any:
        raise StoreUnavailable("cut off")


class HalfDown(NoShortWay):
    fails = ""

    @property
    def permits(self) -> Any:
        return NoEnd(super().permits, self.fails)


def test_the_answer_stands_where_the_end_of_its_permit_cannot_be_told():
    store = HalfDown(processes="allow")
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store)
    store.fails = "end"
    assert wsgi(app, "PUT", "/a", {}, b"text").status == 204


def test_a_lock_that_cannot_see_whether_writers_have_ended_is_not_granted():
    store = HalfDown(processes="allow")
    policy = Policy(hold_wait=0.05)
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store, policy=policy)
    store.permits.publish(Permit("writer", "", keys=("/a",)))
    store.fails = "live"
    got = wsgi(app, "LOCK", "/a", {}, lock_body())
    assert (got.status, got["retry-after"]) == (423, "1")
    assert locks_in(store) == []


def test_a_lock_that_cannot_look_at_the_board_is_not_granted():
    store = HalfDown(processes="allow")
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store)
    store.fails = "older"
    assert wsgi(app, "LOCK", "/a", {}, lock_body()).status == 503
    store.fails = ""
    assert all(one.lock.pending and one.remaining <= 31 for one in locks_in(store))
