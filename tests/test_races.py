"""Races: several want the same at once, and exactly what may happen happens (RFC 4918 sections 6.1, 7, 9.6, 9.8, 9.9).

Over ASGI as tasks of one loop whose application gives way at every turn, over WSGI as threads.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from threading import Barrier
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.adversary import AdversaryStore, AsyncAdversaryStore, together
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Got, Things, asgi, asgi_user, lock_body, locks_in, permits_in, wsgi, wsgi_user

ROUNDS = 1_000
EIGHT = range(8)
TREES = {"mapped": {"/": None, "/a": b"text"}, "unmapped": {"/": None}}


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns every 20 microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


class Restless:
    """`Things` as an ASGI application that gives way to others before each of its steps, and within its effects."""

    def __init__(self, things: Things, seed: int = 5) -> None:
        self.things = things
        self.pick = random.Random(seed)
        self.effects: list[tuple[str, str, str]] = []  # begun, done

    async def turns(self, most: int = 4) -> None:
        for _ in range(self.pick.randrange(most)):
            await asyncio.sleep(0)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        await self.turns()
        writes = scope["method"] not in ("HEAD", "GET")
        if writes:
            self.effects.append(("begun", scope["method"], scope["path"]))
            await self.turns(8)
        await self.things.asgi(scope, receive, send)
        if writes:
            await self.turns(8)
            self.effects.append(("done", scope["method"], scope["path"]))


# ---- eight LOCKs at once ---------------------------------------------------------------------------------------------


def one_grant(answers: list[Got], store: Any, granted: int) -> None:
    statuses = Counter(got.status for got in answers)
    assert statuses == {granted: 1, 423: 7}
    assert [held.lock.pending for held in locks_in(store)] == [False]
    winner = next(got for got in answers if got.status == granted)
    assert locks_in(store)[0].lock.token == winner.token
    assert all(got["lock-token"] is None for got in answers if got is not winner)


@pytest.mark.parametrize("case", TREES)
def test_of_eight_locks_at_once_one_is_granted_asgi(case):
    async def story() -> None:
        things, store = Things(), AsyncMemoryLockStore(processes="allow")
        app = AsgiMiddleware(Restless(things), store=store, principal=asgi_user, dav=True)
        for _ in range(ROUNDS):
            things.tree = dict(TREES[case])
            fields = [{"X-User": f"w{n}", "Timeout": "Second-60"} for n in EIGHT]
            answers = await asyncio.gather(*(asgi(app, "LOCK", "/a", each, lock_body()) for each in fields))
            one_grant(answers, store, 200 if case == "mapped" else 201)
            winner = next(n for n in EIGHT if answers[n].status != 423)
            end = {"X-User": f"w{winner}", "Lock-Token": f"<{answers[winner].token}>"}
            assert (await asgi(app, "UNLOCK", "/a", end)).status == 204
        assert (locks_in(store), permits_in(store)) == ([], ())

    asyncio.run(story())


@pytest.mark.parametrize("case", TREES)
def test_of_eight_locks_at_once_one_is_granted_wsgi(case, eager_threads):
    """The same eight threads for all rounds; the last of them to arrive judges a round and begins the next."""
    things, store = Things(), MemoryLockStore(processes="allow")
    app = WsgiMiddleware(things.wsgi, store=store, principal=wsgi_user, dav=True)
    answers: list[Any] = [None] * 8

    def judge() -> None:
        if answers[0] is not None:
            one_grant(answers, store, 200 if case == "mapped" else 201)
            winner = next(n for n in EIGHT if answers[n].status != 423)
            end = {"X-User": f"w{winner}", "Lock-Token": f"<{answers[winner].token}>"}
            assert wsgi(app, "UNLOCK", "/a", end).status == 204
        things.tree = dict(TREES[case])

    barrier = Barrier(8, action=judge)

    def client(number: int) -> None:
        for _ in range(ROUNDS):
            barrier.wait(30)
            answers[number] = wsgi(app, "LOCK", "/a", {"X-User": f"w{number}"}, lock_body())
        barrier.wait(30)

    together(8, client)
    assert (locks_in(store), permits_in(store)) == ([], ())


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_of_eight_locks_at_once_one_is_granted_by_a_store_that_lingers_and_guesses(kind):
    if kind == "wsgi":
        memory = MemoryLockStore(processes="allow")
        wsgi_app = WsgiMiddleware(
            Things().wsgi, store=AdversaryStore(memory, linger=0.002), principal=wsgi_user, dav=True
        )
        for number in range(5):
            target = f"/a{number}"
            answers = together(
                8, lambda n, target=target: wsgi(wsgi_app, "LOCK", target, {"X-User": f"w{n}"}, lock_body())
            )
            assert Counter(got.status for got in answers) == {201: 1, 423: 7}
        assert len(locks_in(memory)) == 5
        return
    store = AsyncMemoryLockStore(processes="allow")
    app = AsgiMiddleware(Restless(Things()), store=AsyncAdversaryStore(store), principal=asgi_user, dav=True)

    async def story() -> None:
        for number in range(50):
            asked = (asgi(app, "LOCK", f"/a{number}", {"X-User": f"w{n}"}, lock_body()) for n in EIGHT)
            assert Counter(got.status for got in await asyncio.gather(*asked)) == {201: 1, 423: 7}

    asyncio.run(story())
    assert len(locks_in(store)) == 50


@pytest.mark.parametrize("shared", [2, 8])
def test_shared_locks_are_all_granted_and_no_exclusive_one_beside_them(shared):
    async def story() -> None:
        store = AsyncMemoryLockStore(processes="allow")
        app = AsgiMiddleware(Restless(Things()), store=store, principal=asgi_user, dav=True)
        for number in range(100):
            kinds = ["shared"] * shared + ["exclusive"] * 2
            random.Random(number).shuffle(kinds)
            asked = (
                asgi(app, "LOCK", f"/a{number}", {"X-User": f"w{n}"}, lock_body(kind)) for n, kind in enumerate(kinds)
            )
            answers = await asyncio.gather(*asked)
            granted = [kind for kind, got in zip(kinds, answers, strict=True) if got.status < 300]
            assert granted in (["exclusive"], ["shared"] * shared)

    asyncio.run(story())


# ---- a locked file inside a collection -------------------------------------------------------------------------------

OVER_THE_PARENT = {
    "DELETE the parent": ("DELETE", "/c", ""),
    "DELETE its parent": ("DELETE", "/d", ""),
    "MOVE the parent away": ("MOVE", "/c", "/e"),
    "MOVE over the parent": ("MOVE", "/b", "/c"),
    "COPY over the parent": ("COPY", "/b", "/c"),
}


def nested() -> Things:
    tree = {"/": None, "/b": None, "/c": None, "/c/file": b"kept", "/d": None, "/d/c": None, "/d/c/file": b"kept"}
    return Things(tree)


@pytest.mark.parametrize("depth", ["0", "infinity"])
@pytest.mark.parametrize("story", OVER_THE_PARENT)
@pytest.mark.parametrize("tokens", ["none", "another's", "the parent's"])
def test_a_locked_file_survives_what_is_done_to_its_parent(story, depth, tokens):
    method, path, to = OVER_THE_PARENT[story]
    locked = "/d/c/file" if path == "/d" else "/c/file"
    things = nested()
    app = WsgiMiddleware(things.wsgi, store=MemoryLockStore(processes="allow"), principal=wsgi_user, dav=True)
    token = wsgi(app, "LOCK", locked, {"X-User": "anna", "Depth": depth}, lock_body()).token
    fields = {"X-User": "bob", "Accept": "application/json", **({"Destination": to} if to else {})}
    if tokens == "another's":
        fields["If"] = f"<{locked}> (<{token}>)"
    if tokens == "the parent's":
        mine = wsgi(app, "LOCK", path, {"X-User": "bob", "Depth": "0"}, lock_body()).token
        fields["If"] = f"<{path}> (<{mine}>)"
    got = wsgi(app, method, path, fields)
    assert (got.status, got.json["lock"]["root"]) == (423, locked)
    assert things.tree == nested().tree
    assert (method, path) not in things.heard
    assert wsgi(app, "PUT", locked, {"X-User": "anna", "If": f"(<{token}>)"}, b"more").status == 204


@pytest.mark.parametrize("story", OVER_THE_PARENT)
def test_a_lock_of_a_member_against_what_is_done_to_its_parent(story):
    """The LOCK waits until the other is done, or the other is refused: never a lock granted during the effect."""
    method, path, to = OVER_THE_PARENT[story]
    locked = "/d/c/file" if path == "/d" else "/c/file"
    seen = Counter[tuple[int, int]]()

    async def round_(seed: int) -> None:
        things, store = nested(), AsyncMemoryLockStore(processes="allow")
        site = Restless(things, seed)
        app = AsgiMiddleware(site, store=store, principal=asgi_user, dav=True)
        await app._open()

        async def locking() -> Got:
            await site.turns(12)
            return await asgi(
                app,
                "LOCK",
                locked,
                {"X-User": "anna"},
                lock_body(),
                on_start=lambda status: site.effects.append(("answered", str(status), locked)),
            )

        async def removing() -> Got:
            await site.turns(12)
            return await asgi(app, method, path, {"X-User": "bob", **({"Destination": to} if to else {})})

        lock, removal = await asyncio.gather(locking(), removing())
        seen[lock.status, removal.status] += 1
        granted = lock.status in (200, 201)
        assert granted or lock.status == 409  # its parent is gone
        done = ("done", method, path) in site.effects
        assert done == (removal.status in (201, 204))
        if granted:
            answered = next(n for n, (what, *_) in enumerate(site.effects) if what == "answered")
            if done:
                assert answered > site.effects.index(("done", method, path))
            else:
                assert removal.status == 423
                assert things.tree[locked] == b"kept"
            assert [held.lock.token for held in locks_in(store)] == [lock.token]
            assert locked in things.tree  # the lock is on something
        else:
            assert locks_in(store) == []
        assert permits_in(store) == ()

    for seed in range(150):
        asyncio.run(round_(seed))
    assert sum(n for (_, removal), n in seen.items() if removal == 423) > 10, seen
    assert sum(n for (_, removal), n in seen.items() if removal != 423) > 10, seen


# ---- T30: old locks on a new resource --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["0", "infinity"])
@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
def test_t30_the_locks_have_ended_before_the_success_is_on_the_wire_asgi(method, depth):
    """The PUT without a token is sent at the very instant at which the start of the success goes out."""

    async def story() -> None:
        store = AsyncMemoryLockStore(processes="allow")
        app = AsgiMiddleware(Restless(Things()), store=store, principal=asgi_user, dav=True)
        for number in range(50):
            path, puts = f"/a{number}", []
            lock = await asgi(app, "LOCK", path, {"X-User": "anna", "Depth": depth}, lock_body())
            assert lock.status == 201

            def gone(status: int, path: str = path, puts: list[Any] = puts) -> None:
                puts.append(asyncio.ensure_future(asgi(app, "PUT", path, {"X-User": "bob"}, b"new")))

            fields = {"X-User": "anna", "If": f"(<{lock.token}>)", "Destination": f"/moved{number}"}
            assert (await asgi(app, method, path, fields, on_start=gone)).status in (201, 204)
            assert (await puts[0]).status == 201
        assert locks_in(store) == []

    asyncio.run(story())


@pytest.mark.parametrize("how", ["whole", "streamed"])
@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
def test_t30_the_locks_have_ended_before_the_success_is_on_the_wire_wsgi(method, how):
    things = Things()

    def streamed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        yield from things.wsgi(environ, start_response)

    store = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(things.wsgi if how == "whole" else streamed, store=store, principal=wsgi_user, dav=True)
    lock = wsgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body())
    puts: list[Got] = []
    fields = {"X-User": "anna", "If": f"(<{lock.token}>)", "Destination": "/moved"}
    got = wsgi(
        app,
        method,
        "/a",
        fields,
        on_start=lambda status: puts.append(wsgi(app, "PUT", "/a", {"X-User": "bob"}, b"new")),
    )
    assert got.status in (201, 204)
    assert [put.status for put in puts] == [201]
    assert locks_in(store) == []


def test_t30_a_lock_asked_for_while_its_resource_goes_is_not_taken_away_with_it():
    """It waits for the DELETE, finds the URL unmapped, and stands on a new empty resource."""

    async def story() -> None:
        things, store = Things({"/": None, "/a": b"text"}), AsyncMemoryLockStore(processes="allow")
        go = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "DELETE":
                await go.wait()
            await things.asgi(scope, receive, send)

        app = AsgiMiddleware(slow, store=store, principal=asgi_user, dav=True)
        delete = asyncio.create_task(asgi(app, "DELETE", "/a", {"X-User": "bob"}))
        await asyncio.sleep(0.01)
        lock = asyncio.create_task(asgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body()))
        await asyncio.sleep(0.01)
        assert not lock.done()
        go.set()
        assert ((await delete).status, (await lock).status, things.tree["/a"]) == (204, 201, b"")
        assert [held.lock.creator for held in locks_in(store)] == ["anna"]

    asyncio.run(story())


# ---- the same at once from holder and stranger -----------------------------------------------------------------------


def test_refresh_unlock_and_lock_at_once_leave_at_most_one_lock(eager_threads):
    """The holder refreshes and unlocks while another asks: whoever holds at the end is the one the table shows."""
    store = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store, principal=wsgi_user)
    for _ in range(60):
        token = wsgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body()).token
        asked = (
            lambda token=token: wsgi(app, "LOCK", "/a", {"X-User": "anna", "If": f"(<{token}>)"}),
            lambda token=token: wsgi(app, "UNLOCK", "/a", {"X-User": "anna", "Lock-Token": f"<{token}>"}),
            lambda: wsgi(app, "LOCK", "/a", {"X-User": "bob"}, lock_body()),
        )
        refreshed, unlocked, other = together(3, lambda n, asked=asked: asked[n]())
        assert refreshed.status in (200, 412)
        assert unlocked.status == 204
        held = [one.lock for one in locks_in(store)]
        if other.status == 200:
            assert [lock.token for lock in held] == [other.token]
            assert wsgi(app, "UNLOCK", "/a", {"X-User": "bob", "Lock-Token": f"<{other.token}>"}).status == 204
        else:
            assert (other.status, held) == (423, [])


def test_the_slower_of_two_unlocks_finds_nothing(eager_threads):
    store = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store, principal=wsgi_user)
    for _ in range(60):
        token = wsgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body()).token
        fields = {"X-User": "anna", "Lock-Token": f"<{token}>"}
        answers = together(4, lambda _, fields=fields: wsgi(app, "UNLOCK", "/a", fields))
        assert Counter(got.status for got in answers) == {204: 1, 409: 3}


def test_a_lock_that_runs_out_is_granted_to_one_of_those_who_wait_for_it():
    """On the real clock: the moment a lock of one second ends, one of four is granted, and no sooner."""
    store = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store, principal=wsgi_user)
    begun = time.monotonic()
    assert wsgi(app, "LOCK", "/a", {"X-User": "anna", "Timeout": "Second-1"}, lock_body()).status == 200

    def client(number: int) -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []
        while time.monotonic() - begun < 1.5 and (not seen or seen[-1][0] != 200):
            got = wsgi(app, "LOCK", "/a", {"X-User": f"w{number}", "Timeout": "Second-600"}, lock_body())
            seen.append((got.status, time.monotonic() - begun))
            time.sleep(0.002)
        return seen

    told = [one for seen in together(4, client) for one in seen]
    granted = [instant for status, instant in told if status == 200]
    assert len(granted) == 1
    assert granted[0] >= 0.95
    assert all(status == 423 for status, instant in told if instant < 0.95)


# ---- the empty resource that a LOCK makes is a write to its collection ----------------------------------------------


def test_a_lock_on_the_collection_waits_for_the_empty_resource_of_another() -> None:
    """LOCK of an unmapped URL makes a member: nobody gets the collection in the middle of that (7.4, 9.10.4)."""
    restless = Restless(Things({"/": None, "/c": None}))
    granted: list[tuple[str, int]] = []

    async def lock(app: Any, path: str, depth: str) -> int:
        got = await asgi(app, "LOCK", path, {"depth": depth, "content-type": "application/json"}, b"{}")
        if got.status in (200, 201):
            granted.append((path, len(restless.effects)))
        return got.status

    async def round_(number: int) -> None:
        restless.effects.clear()
        granted.clear()
        app = AsgiMiddleware(restless, dav=True, store=AsyncMemoryLockStore(processes="allow"), hold_wait=5.0)
        member = f"/c/new{number}"
        statuses = await asyncio.gather(lock(app, member, "0"), lock(app, "/c", "0"))
        made = [event for event in restless.effects if event[1:] == ("PUT", member)]
        assert len(made) in (0, 2)
        if statuses[1] == 200 and made:
            begun, done = (restless.effects.index((when, "PUT", member)) for when in ("begun", "done"))
            seen = dict(granted)["/c"]
            assert seen <= begun or seen > done, "the collection was locked in the middle of the effect"
            assert seen > done, "the lock on the collection came first, and yet a member was made"
        assert permits_in(app.store) == ()

    async def all_rounds() -> None:
        for number in range(300):
            await round_(number)

    asyncio.run(all_rounds())
