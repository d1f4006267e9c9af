"""What adversaries found, each as they found it: a way round a lock, or an answer that promised too much."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from locklib import ConfigurationError, Folding, Locks, Policy, Principal, Timeouts
from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core.admission import without_method
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiLocks
from support.direct import Things, asgi, lock_body, locks_in, permits_in
from support.threats import Site

OVERRIDE = {"X-HTTP-Method-Override": "DELETE"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PROPFIND", "PUT", "POST"])
@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
def test_an_override_counts_on_every_method(method: str, dav: bool, guarded: Any) -> None:
    """Flask's documented override middleware does not look at the method that it overrides."""
    shell = guarded(dav=dav)
    shell.lock("/a", "alice")
    with shell.untouched():
        assert shell(method, "/a", OVERRIDE, user="bob").status == 423
    assert shell("GET", "/a", {"X-HTTP-Method-Override": "GET"}, user="bob").status == 200


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("name", ["/held%3fq", "/held%3f", "/held%23x", "/hel%09d", "/held%0a", "/%0dheld"])
def test_a_destination_that_is_decoded_before_it_is_parsed(method: str, name: str, guarded: Any) -> None:
    """WsgiDAV unquotes a Destination first, and then cuts off what looks like a query."""
    shell = guarded(Site({"/held": b"", "/a": b""}), dav=True)
    shell.lock("/held", "alice")
    for destination in (name, f"http://docs.example{name}"):
        with shell.untouched():
            assert shell(method, "/a", {"Destination": destination}, user="bob").status in (400, 423)


def test_a_read_that_is_blocked_cannot_be_had_by_copy(guarded: Any) -> None:
    shell = guarded(Site({"/scans/x": b"secret", "/scans": b""}), routes=[{"path": "/", "reads": True}])
    shell.locks.acquire("/scans/x", purpose="processing", creator="scanner", blocks_reads=True)
    for method, path in (("COPY", "/scans/x"), ("COPY", "/scans"), ("QUERY", "/scans/x"), ("REPORT", "/scans/x")):
        with shell.untouched():
            assert shell(method, path, {"Destination": "/mine"}, user="bob").status == 423, (method, path)
    with shell.untouched():
        assert shell("GET", "/scans/x%00", user="bob").status == 400
    assert shell("PROPFIND", "/scans/x", user="bob").status != 423
    assert shell("GET", "/scans", user="bob").status == 200


def test_more_locks_than_one_refusal_tells_of_are_all_looked_at(guarded: Any) -> None:
    """One shared lock over a tree opens all of it, however many shared locks of others lie in it."""
    names = [f"/tree/{number}" for number in range(40)]
    shell = guarded(Site(dict.fromkeys(names, b"") | {"/tree": b""}))
    token = shell.lock("/tree", "alice", scope="shared")
    tokens = [shell.lock(name, "bob", scope="shared") for name in names]
    with shell.untouched():
        assert shell("DELETE", "/tree", {"If": f"</tree/0> (<{tokens[0]}>)"}, user="bob").status == 423
    assert shell("DELETE", "/tree", {"If": f"(<{token}>)"}, user="alice").status == 204
    assert shell.table() == ()


def test_the_token_of_a_hold_by_the_house_helps_no_client(guarded: Any) -> None:
    """An administrative lock without a creator is no bearer lock; the house itself and a bypass role may end it."""
    shell = guarded(bypass_roles={"records"})
    lock = shell.locks.acquire("/a", purpose="administrative", timeout=600)
    shown = {"If": f"(<{lock.token}>)"}
    for method, fields in (("UNLOCK", {"Lock-Token": f"<{lock.token}>"}), ("LOCK", shown)):
        with shell.untouched():
            assert shell(method, "/a", fields, user="bob").status == 403
    office = Principal("office", frozenset({"records"}))
    assert shell("LOCK", "/a", shown, user=office).status == 200
    shell.locks.refresh(lock)
    assert shell("UNLOCK", "/a", {"Lock-Token": f"<{lock.token}>"}, user=office).status == 204
    again = shell.locks.acquire("/a", purpose="administrative", timeout=600)
    shell.locks.release(again)
    assert shell.table() == ()


def test_a_lock_is_not_granted_to_a_client_that_has_hung_up() -> None:
    """It waits for an older writer; its client gives up; the writer ends: nobody is locked out."""

    async def story() -> None:
        go = asyncio.Event()
        things = Things({"/": None, "/a": b"text"})

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "PUT":
                await go.wait()
            await things.asgi(scope, receive, send)

        app = AsgiLocks(slow, store=AsyncMemoryLockStore(processes="allow"))
        assert (await asgi(app, "GET", "/a")).status == 200
        writer = asyncio.ensure_future(asgi(app, "PUT", "/a", body=b"new"))
        await asyncio.sleep(0.01)
        messages = [{"type": "http.request", "body": lock_body(), "more_body": False}]
        hung_up = asyncio.Event()

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await hung_up.wait()
            return {"type": "http.disconnect"}

        answers: list[Any] = []

        async def send(message: Any) -> None:
            answers.append(message)

        scope = {"type": "http", "method": "LOCK", "path": "/a", "headers": [(b"host", b"h")], "query_string": b""}
        locking = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.sleep(0.02)
        assert [held.lock.pending for held in locks_in(app.store)] == [True]
        hung_up.set()
        await asyncio.wait_for(locking, 2)
        assert answers == []
        assert locks_in(app.store) == []
        go.set()
        assert (await writer).status == 204
        assert permits_in(app.store) == ()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", ""),
        ("id=a%20b", "id=a%20b"),
        ("id=5&_method=DELETE", "id=5"),
        ("%5Fmethod=DELETE;id=5", "id=5"),
        ("_method=DELETE", ""),
    ],
)
def test_a_question_of_ours_never_says_that_it_is_another_method(query: str, asked: str, guarded: Any) -> None:
    assert without_method(query) == asked
    shell = guarded()
    shell.lock("/a", "alice")
    assert shell("PUT", f"/a?{query}", {}, b"x", user="bob").status == 423
    assert [(seen.method, seen.query) for seen in shell.site.seen] == [("HEAD", asked)]


WRONG = {
    "timeouts": 5,
    "folding": True,
    "may_lock": True,
    "authorize": 1,
    "key": "x",
    "bypass_roles": None,
    "hold_wait": "x",
    "challenge": "Basic\r\nSet-Cookie: y",
    "public_url": "https://x/y?z",
    "dav": "yes",
    "ask_application": "no",
    "body_seconds": 0,
    "body_limit": True,
    "infinity_on_root": "no",
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("shell", [AsgiLocks, WsgiLocks], ids=["asgi", "wsgi"])
def test_a_setting_that_cannot_work_is_named_at_the_start(name: str, shell: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        shell(lambda *_: [], **{name: WRONG[name]})


def test_the_values_of_settings_can_be_had_from_the_package() -> None:
    assert Policy(timeouts=Timeouts(1, 2, 3), folding=Folding(case=True)).timeouts.maximum == 3


def test_a_principal_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="principal=5"):
        WsgiLocks(lambda *_: [], principal=5)  # type: ignore[arg-type]

    async def who(scope: Any) -> str:
        return "bob"

    app = AsgiLocks(Things({"/": None}).asgi, principal=who, store=MemoryLockStore(processes="allow"))
    with pytest.raises(ConfigurationError, match="async"):
        asyncio.run(asgi(app, "LOCK", "/a", body=lock_body()))


def test_a_nameless_principal_is_nobody(guarded: Any) -> None:
    shell = guarded()
    assert shell("LOCK", "/a", {}, lock_body(), user=Principal("")).status == 403


def test_a_key_that_is_no_string_says_so() -> None:
    with pytest.raises(ConfigurationError, match="key= gave None"):
        Locks(MemoryLockStore(processes="allow"), policy=Policy(key=lambda path: None)).acquire("/a")  # type: ignore[arg-type, return-value]


def test_one_directory_has_one_table_whatever_the_port(tmp_path: Path) -> None:
    """Two `locklib serve` of one folder have its locks in common; with tables of their own the second is refused."""
    from support import servers

    link, locked = tmp_path.parent / "link", {"content": "{}"}
    os.symlink(tmp_path, link)
    with servers.locklib_serve(tmp_path) as first, servers.locklib_serve(link) as second:
        assert httpx.request("LOCK", f"{first.url}a", **locked).status_code == 201
        assert httpx.request("LOCK", f"{second.url}a", **locked).status_code == 423
        assert httpx.put(f"{second.url}a", content="x").status_code == 423
    own = ["--store", "memory://"]
    with servers.locklib_serve(tmp_path, args=own) as first:
        refused = pytest.raises(servers.ServerFailed, match=f"process {first.pid}")
        with refused, servers.locklib_serve(link, args=own):
            pass
