"""I7: in mode *hold*, no effect of a write overlaps a conflicting lock that was granted meanwhile.

Each pair is a slow write and a LOCK that forbids it. The history tells the *effects* (from where the application begins
to change the resource) and the holds; an effect of somebody else's within a hold is an overlap, and there is none. The
last tests plant the fault that this order of things is there for (looking at the locks first, publishing afterwards),
and the same history shows it: so the checker can see.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.model import Done, Query, Step, replace
from locklib.core.policy import Policy
from locklib.stores.gate import CLOSED
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.adversary import together
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import (
    AsyncNoShortWay,
    Got,
    NoShortWay,
    asgi,
    asgi_user,
    lock_body,
    locks_in,
    permits_in,
    wsgi,
    wsgi_user,
)
from support.history import History, Span
from support.hold_processes import kept


class Pair(NamedTuple):
    """A write, and a LOCK that forbids it; paths within the group."""

    method: str
    path: str
    lock: str
    depth: str = "0"
    to: str = ""


PAIRS = (
    Pair("PUT", "/file", "/file"),
    Pair("PATCH", "/file", "/file"),
    Pair("POST", "/folder/file", "/folder", "infinity"),
    Pair("PUT", "/folder/new", "/folder"),
    Pair("DELETE", "/file", "/file"),
    Pair("DELETE", "/folder", "/folder/file"),
    Pair("DELETE", "/folder/file", "/folder"),
    Pair("MOVE", "/folder", "/folder/file", to="/elsewhere"),
    Pair("MOVE", "/file", "/folder", to="/folder/new"),
    Pair("COPY", "/file", "/folder/file", to="/folder"),
    Pair("MKCOL", "/folder/new", "/folder"),
)
POLICY = Policy(identified=True, ask_application=False)
STORES = {"short": MemoryLockStore, "general": NoShortWay}
ASYNC_STORES = {"short": AsyncMemoryLockStore, "general": AsyncNoShortWay}


def group_of(path: str) -> str:
    return path.split("/")[1]


def fields_of(pair: Pair, group: str) -> dict[str, str]:
    return {"X-User": "writer", **({"Destination": f"/{group}{pair.to}"} if pair.to else {})}


def lock_fields(pair: Pair) -> dict[str, str]:
    return {"X-User": "holder", "Depth": pair.depth}


# ---- ASGI: many documents at once on one loop ------------------------------------------------------------------------


class AsgiSite:
    """An application whose writes take a few turns of the loop, and the history of them."""

    def __init__(self, seed: int) -> None:
        self.history = History()
        self.pick = random.Random(seed)
        self.waited = 0

    async def turns(self, most: int) -> None:
        for _ in range(self.pick.randrange(most)):
            await asyncio.sleep(0)

    async def app(self, scope: Mapping[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        await self.turns(2)
        status = 200
        if scope["method"] in ("HEAD", "GET"):
            status = 404 if scope["path"].endswith("/new") else 200
        else:
            start = self.history.tick()
            await self.turns(16)
            self.history.effects[group_of(scope["path"])].append(Span("writer", start, self.history.tick()))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def locker(self, app: Any, group: str, pair: Pair, rounds: int, done: asyncio.Event) -> None:
        for _ in range(rounds):
            await self.turns(6)
            starts: list[int] = []
            before = len(self.history.effects[group])
            got = await asgi(
                app,
                "LOCK",
                f"/{group}{pair.lock}",
                lock_fields(pair),
                lock_body(),
                on_start=lambda _, starts=starts: starts.append(self.history.tick()),
            )
            assert got.status in (200, 201), got
            self.waited += len(self.history.effects[group]) > before
            await self.turns(5)
            self.history.holds[group].append(Span("holder", starts[0], self.history.tick()))
            unlock = {"X-User": "holder", "Lock-Token": f"<{got.token}>"}
            assert (await asgi(app, "UNLOCK", f"/{group}{pair.lock}", unlock)).status == 204
        done.set()

    async def writer(self, app: Any, group: str, pair: Pair, done: asyncio.Event) -> None:
        while not done.is_set():
            got = await asgi(app, pair.method, f"/{group}{pair.path}", fields_of(pair, group), b"text")
            assert got.status in (200, 423), got
            await self.turns(4)

    async def play(self, app: Any, groups: int, rounds: int) -> None:
        async with asyncio.timeout(170), asyncio.TaskGroup() as tasks:
            for number in range(groups):
                pair, done = PAIRS[number % len(PAIRS)], asyncio.Event()
                tasks.create_task(self.locker(app, f"g{number}", pair, rounds, done))
                tasks.create_task(self.writer(app, f"g{number}", pair, done))


@pytest.mark.parametrize("way", STORES)
def test_asgi_no_effect_within_a_foreign_hold(way):
    """5 000 pairs each way, on 110 documents at once."""
    site, store = AsgiSite(7), ASYNC_STORES[way](processes="allow")
    app = AsgiMiddleware(site.app, store=store, principal=asgi_user, policy=POLICY)
    assert (app._gate is CLOSED) == (way == "general")
    asyncio.run(site.play(app, groups=110, rounds=46))
    assert site.history.overlaps() == []
    holds, effects = site.history.count()
    assert holds == 5_060
    assert effects > 2_000
    assert site.waited > 1_000  # so many LOCKs met a write at work
    assert (locks_in(store), permits_in(store)) == ([], ())


class LooksFirstAsgi(AsgiMiddleware):
    """Planted: the short way looks, gives way to others, and publishes then."""

    async def _short(self, scope: Any, receive: Any, send: Any, key: str, tree: bool) -> None:
        if self._near(key, tree):
            return await self._general(scope, receive, send)
        for _ in range(8):
            await asyncio.sleep(0)
        claim = self.store.claim_now("", key, tree)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.store.end_now(claim)


class LooksFirstAsyncStore(AsyncNoShortWay):
    """Planted: the general way looks, gives way to others, and publishes then."""

    async def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        verdicts: list[bool] = []
        done = await super().transact(replace(query, claim=None), kept(step, verdicts))
        if query.claim is None or not verdicts[0]:
            return done
        for _ in range(8):
            await asyncio.sleep(0)
        await self.permits.publish(query.claim)
        return replace(done, permit=query.claim)


@pytest.mark.parametrize("way", STORES)
def test_asgi_look_then_publish_is_caught(way):
    site = AsgiSite(7)
    store = (LooksFirstAsyncStore if way == "general" else AsyncMemoryLockStore)(processes="allow")
    shell = AsgiMiddleware if way == "general" else LooksFirstAsgi
    app = shell(site.app, store=store, principal=asgi_user, policy=POLICY)
    asyncio.run(site.play(app, groups=22, rounds=40))
    assert len(site.history.overlaps()) > 5


def test_asgi_mode_check_has_the_gap_that_hold_closes():
    site = AsgiSite(7)
    policy = replace(POLICY, routes=(("/", "check"),))  # type: ignore[arg-type]
    app = AsgiMiddleware(site.app, store=AsyncMemoryLockStore(processes="allow"), principal=asgi_user, policy=policy)
    asyncio.run(site.play(app, groups=22, rounds=20))
    assert len(site.history.overlaps()) > 5


# ---- WSGI: threads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns every 20 microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


class WsgiSite:
    def __init__(self, pause: float = 0.0002) -> None:
        self.history = History()
        self.pause = pause
        self.waited = 0

    def app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] in ("HEAD", "GET"):
            start_response("404 -" if path.endswith("/new") else "200 -", [])
            return [b""]
        return (
            self.streamed(path, start_response) if random.random() < 0.5 else list(self.streamed(path, start_response))
        )

    def streamed(self, path: str, start_response: Any) -> Iterator[bytes]:
        """A write whose effect takes place while its answer is read."""
        start = self.history.tick()
        time.sleep(self.pause * random.random())
        self.history.effects[group_of(path)].append(Span("writer", start, self.history.tick()))
        start_response("200 -", [])
        yield b"done"

    def locker(self, app: Any, group: str, pair: Pair, rounds: int, done: threading.Event) -> None:
        try:
            for _ in range(rounds):
                starts: list[int] = []
                before = len(self.history.effects[group])
                got: Got = wsgi(
                    app,
                    "LOCK",
                    f"/{group}{pair.lock}",
                    lock_fields(pair),
                    lock_body(),
                    on_start=lambda _, starts=starts: starts.append(self.history.tick()),
                )
                assert got.status in (200, 201), got
                self.waited += len(self.history.effects[group]) > before
                time.sleep(0)
                self.history.holds[group].append(Span("holder", starts[0], self.history.tick()))
                unlock = {"X-User": "holder", "Lock-Token": f"<{got.token}>"}
                assert wsgi(app, "UNLOCK", f"/{group}{pair.lock}", unlock).status == 204
                time.sleep(self.pause * random.random())
        finally:
            done.set()

    def writer(self, app: Any, group: str, pair: Pair, done: threading.Event) -> None:
        while not done.is_set():
            got = wsgi(app, pair.method, f"/{group}{pair.path}", fields_of(pair, group), b"text")
            assert got.status in (200, 423), got
            time.sleep(0)

    def play(self, app: Any, groups: int, rounds: int, pairs: tuple[Pair, ...] = PAIRS) -> None:
        work = []
        for number in range(groups):
            done, pair = threading.Event(), pairs[number % len(pairs)]
            work.append(partial(self.locker, app, f"g{number}", pair, rounds, done))
            work.append(partial(self.writer, app, f"g{number}", pair, done))
        together(len(work), lambda number: work[number]())


@pytest.mark.parametrize("way", STORES)
def test_wsgi_no_effect_within_a_foreign_hold(way, eager_threads):
    site, store = WsgiSite(), STORES[way](processes="allow")
    app = WsgiMiddleware(site.app, store=store, principal=wsgi_user, policy=POLICY)
    assert (app._gate is CLOSED) == (way == "general")
    site.play(app, groups=len(PAIRS), rounds=90)
    assert site.history.overlaps() == []
    holds, effects = site.history.count()
    assert holds == 990
    assert effects > 200
    assert site.waited > 100
    assert (locks_in(store), permits_in(store)) == ([], ())


class LooksFirstWsgi(WsgiMiddleware):
    """Planted: the short way looks, gives way to others, and publishes then."""

    def _short(self, environ: Any, start_response: Any, key: str, tree: bool) -> Iterable[bytes]:
        if self._near(key, tree):
            return self._general(environ, start_response)
        time.sleep(0.0005)
        claim = self.store.claim_now("", key, tree)
        try:
            return list(self.app(environ, start_response))
        finally:
            self.store.end_now(claim)


class LooksFirstStore(NoShortWay):
    """Planted: the general way looks, gives way to others, and publishes then."""

    def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        verdicts: list[bool] = []
        done = super().transact(replace(query, claim=None), kept(step, verdicts))
        if query.claim is None or not verdicts[0]:
            return done
        time.sleep(0.0005)
        self.permits.publish(query.claim)
        return replace(done, permit=query.claim)


@pytest.mark.parametrize("way", STORES)
def test_wsgi_look_then_publish_is_caught(way, eager_threads):
    site = WsgiSite(pause=0.002)
    store = (LooksFirstStore if way == "general" else MemoryLockStore)(processes="allow")
    shell = WsgiMiddleware if way == "general" else LooksFirstWsgi
    app = shell(site.app, store=store, principal=wsgi_user, policy=POLICY)
    site.play(app, groups=6, rounds=40)
    assert len(site.history.overlaps()) > 0


# ---- what a LOCK that waits may count on -----------------------------------------------------------------------------


class Slow:
    """An ASGI application whose PUT does not return before `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.most = 0
        self.at_work = 0

    async def app(self, scope: Mapping[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["method"] == "PUT":
            self.begun += 1
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            await self.go.wait()
            self.at_work -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


async def opened(app: AsgiMiddleware) -> AsgiMiddleware:
    """`app` as it is after its start: only then may a write take the short way."""
    await app._open()
    return app


@pytest.mark.parametrize("way", STORES)
def test_a_lock_that_waits_too_long_is_refused_and_leaves_nothing(way):
    async def story() -> None:
        slow, store = Slow(), ASYNC_STORES[way](processes="allow")
        app = await opened(
            AsgiMiddleware(slow.app, store=store, principal=asgi_user, policy=replace(POLICY, hold_wait=0.05))
        )
        assert (await asgi(app, "PUT", "/warm", {"X-User": "writer"})).status == 200 if slow.go.is_set() else True
        write = asyncio.create_task(asgi(app, "PUT", "/a", {"X-User": "writer"}, b"text"))
        await until(lambda: slow.begun)
        got = await asgi(app, "LOCK", "/a", {"X-User": "holder"}, lock_body())
        assert (got.status, got["retry-after"], got["lock-token"]) == (423, "1", None)
        assert "still writing /a" in got.json["message"]
        assert locks_in(store) == []
        slow.go.set()
        assert (await write).status == 200
        got = await asgi(app, "LOCK", "/a", {"X-User": "holder"}, lock_body())
        assert got.status == 200
        assert permits_in(store) == ()

    asyncio.run(story())


@pytest.mark.parametrize("way", STORES)
def test_unlocked_writers_do_not_disturb_each_other(way):
    async def story() -> None:
        slow = Slow()
        app = await opened(
            AsgiMiddleware(slow.app, store=ASYNC_STORES[way](processes="allow"), principal=asgi_user, policy=POLICY)
        )
        writes = [asyncio.create_task(asgi(app, "PUT", "/a", {"X-User": f"w{n}"}, b"text")) for n in range(8)]
        await until(lambda: slow.begun == 8)  # all are at work at once
        slow.go.set()
        assert [got.status for got in await asyncio.gather(*writes)] == [200] * 8
        assert slow.most == 8

    asyncio.run(story())


@pytest.mark.parametrize("way", STORES)
def test_writers_cannot_starve_a_lock(way):
    """Writers whose requests overlap without end: a LOCK waits for those that were there first, and for no others."""

    async def story() -> None:
        site, store = AsgiSite(3), ASYNC_STORES[way](processes="allow")
        app = AsgiMiddleware(site.app, store=store, principal=asgi_user, policy=POLICY)
        done = asyncio.Event()
        pair = PAIRS[0]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(site.writer(app, "g", pair, done))
            await until(lambda: len(site.history.effects["g"]) > 50)
            for _ in range(20):
                before = len(site.history.effects["g"])
                got = await asgi(app, "LOCK", "/g/file", {"X-User": "holder"}, lock_body())
                assert got.status == 200
                assert len(site.history.effects["g"]) - before <= 16  # at most one effect of each
                unlock = {"X-User": "holder", "Lock-Token": f"<{got.token}>"}
                assert (await asgi(app, "UNLOCK", "/g/file", unlock)).status == 204
                await site.turns(30)
            done.set()

    asyncio.run(story())


@pytest.mark.parametrize("way", STORES)
def test_a_new_writer_is_refused_while_a_lock_waits(way):
    async def story() -> None:
        slow, store = Slow(), ASYNC_STORES[way](processes="allow")
        app = await opened(AsgiMiddleware(slow.app, store=store, principal=asgi_user, policy=POLICY))
        first = asyncio.create_task(asgi(app, "PUT", "/a", {"X-User": "writer"}, b"text"))
        await until(lambda: slow.begun)
        lock = asyncio.create_task(asgi(app, "LOCK", "/a", {"X-User": "holder"}, lock_body()))
        await until(lambda: locks_in(store))
        assert locks_in(store)[0].lock.pending
        late = await asgi(app, "PUT", "/a", {"X-User": "late"}, b"text")
        assert (late.status, late["lock-token"], late.json.get("lock")) == (423, None, None)
        assert b"holder" not in late.body  # a pending lock is not shown
        assert not lock.done()
        slow.go.set()
        assert ((await lock).status, (await first).status, slow.begun) == (200, 200, 1)

    asyncio.run(story())
