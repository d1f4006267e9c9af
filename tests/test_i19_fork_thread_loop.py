"""I19: a store that was made before a fork, or is used from threads or several loops, works or refuses loudly.

The forks are played by a Python of their own, for nobody should fork a process that runs threads.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.adversary import together
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Got, Things, asgi, asgi_user, lock_body, locks_in, permits_in, wsgi, wsgi_user

ROOT = Path(__file__).parent.parent

PROLOGUE = """
import os, sys
from locklib.errors import ConfigurationError
from locklib.stores.memory import MemoryLockStore
from locklib.wsgi import LockMiddleware
from support.direct import Things, lock_body, wsgi

def guarded(**store):
    return LockMiddleware(Things({"/": None, "/a": b""}).wsgi, store=MemoryLockStore(**store))

def lock(app, path="/a"):
    try:
        return wsgi(app, "LOCK", path, {}, lock_body()).status
    except ConfigurationError as error:
        assert "process" in str(error), error
        return "refused loudly"

def put(app, path="/a"):
    try:
        return wsgi(app, "PUT", path, {}, b"text").status
    except ConfigurationError:
        return "refused loudly"

def in_child(work):
    "What `work` gives in a forked child."
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.write(writes, repr(work()).encode())
        os._exit(0)
    os.close(writes)
    told = b""
    while piece := os.read(reads, 4096):
        told += piece
    os.close(reads)
    os.waitpid(child, 0)
    return eval(told)
"""

FORKS = {
    "made before, first used in the child": (
        "app = guarded()\nprint(in_child(lambda: (lock(app), put(app))))",
        "(200, 423)",
    ),
    "made before, used in the parent, then in the child": (
        "app = guarded()\nprint(lock(app), in_child(lambda: (lock(app, '/b'), put(app, '/b'))), put(app))",
        "200 ('refused loudly', 'refused loudly') 423",
    ),
    "made before, used and emptied in the parent, still held there": (
        "app = guarded()\nprint(put(app), in_child(lambda: lock(app)))",
        "204 refused loudly",
    ),
    "used in a child that has ended, then in the parent": (
        "app = guarded()\nprint(in_child(lambda: lock(app)), lock(app))",
        "200 200",
    ),
    "two children at once": (
        """
        app = guarded()
        go, gone = os.pipe(), os.pipe()
        def first():
            status = lock(app)
            os.write(go[1], b"x")
            os.read(gone[0], 1)
            return status
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.write(writes, repr(first()).encode()); os._exit(0)
        os.read(go[0], 1)
        second = in_child(lambda: (lock(app), put(app)))
        os.write(gone[1], b"x"); os.waitpid(child, 0)
        print(os.read(reads, 99).decode(), second)
        """,
        "200 ('refused loudly', 'refused loudly')",
    ),
    "each process on its own, if that is asked for": (
        "app = guarded(processes='allow')\nprint(in_child(lambda: lock(app)), lock(app))",
        "200 200",
    ),
    "each on its own from then on, with the locks of before": (
        "app = guarded(processes='allow')\nprint(lock(app), in_child(lambda: put(app)), put(app))",
        "200 423 423",
    ),
    "a writer was at work when it forked": (
        """
        store = MemoryLockStore(processes="allow")
        app = LockMiddleware(Things({"/": None, "/a": b""}).wsgi, store=store, hold_wait=0.05)
        claim = store.claim_now("", "/a")
        print(lock(app), in_child(lambda: lock(app)))
        """,
        "423 200",
    ),
}


@pytest.mark.parametrize("name", FORKS)
def test_fork(name, tmp_path):
    story, expected = FORKS[name]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(story)],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == expected


# ---- threads and loops -----------------------------------------------------------------------------------------------


def test_one_shell_in_eight_threads():
    store = MemoryLockStore(processes="allow")
    things = Things({"/": None, "/a": b""})
    app = WsgiMiddleware(things.wsgi, store=store, principal=wsgi_user)

    def client(number: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        fields = {"X-User": f"w{number}"}
        for turn in range(60):
            got = wsgi(app, "LOCK", "/a", fields, lock_body())
            seen[got.status] += 1
            if got.status == 200:
                shown = {**fields, "If": f"(<{got.token}>)"}
                assert wsgi(app, "PUT", "/a", shown, f"{number} {turn}".encode()).status == 204
                assert things.tree["/a"] == f"{number} {turn}".encode()
                assert wsgi(app, "UNLOCK", "/a", {**fields, "Lock-Token": f"<{got.token}>"}).status == 204
        return seen

    told = sum(together(8, client), Counter())
    assert set(told) <= {200, 423}
    assert told[200] >= 10
    assert (locks_in(store), permits_in(store)) == ([], ())


def test_one_shell_in_a_loop_for_each_of_four_threads():
    store = AsyncMemoryLockStore(processes="allow")
    app = AsgiMiddleware(Things({"/": None, "/a": b""}).asgi, store=store, principal=asgi_user)

    def client(number: int) -> list[int]:
        async def story() -> list[int]:
            answers = await asyncio.gather(
                *(asgi(app, "LOCK", f"/a{turn}", {"X-User": f"w{number}"}, lock_body()) for turn in range(40))
            )
            return [got.status for got in answers]

        return asyncio.run(story())

    told = together(4, client)
    for statuses in zip(*told, strict=True):
        assert sorted(statuses) == [201, 423, 423, 423]
    assert len(locks_in(store)) == 40


def test_one_shell_in_one_loop_after_another():
    """As Starlette's TestClient does: a new loop for each request, the old one closed."""
    app = AsgiMiddleware(Things({"/": None, "/a": b""}).asgi, principal=asgi_user, store=MemoryLockStore())
    try:
        token = asyncio.run(asgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body())).token
        assert asyncio.run(asgi(app, "PUT", "/a", {"X-User": "bob"}, b"text")).status == 423
        shown = {"X-User": "anna", "If": f"(<{token}>)"}
        assert asyncio.run(asgi(app, "PUT", "/a", shown, b"text")).status == 204
    finally:
        asyncio.run(app.store.close())


def test_a_lock_in_one_loop_waits_for_a_writer_in_another():
    store = AsyncMemoryLockStore(processes="allow")
    begun: list[str] = []
    done: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            begun.append("PUT")
            await asyncio.sleep(0.1)
            done.append("PUT")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = AsgiMiddleware(slow, store=store, principal=asgi_user)

    async def locking() -> Got:
        while not begun:  # noqa: ASYNC110 - what is waited for happens in another loop
            await asyncio.sleep(0.001)
        return await asgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body(), on_start=lambda _: done.append("LOCK"))

    def side(number: int) -> Got:
        return asyncio.run(locking() if number else asgi(app, "PUT", "/a", {"X-User": "bob"}, b"text"))

    assert [got.status for got in together(2, side)] == [200, 200]
    assert done == ["PUT", "LOCK"]


def test_asgi_and_wsgi_halves_of_one_application_see_each_others_locks():
    store, things = MemoryLockStore(processes="allow"), Things({"/": None, "/a": b""})
    sync = WsgiMiddleware(things.wsgi, store=store, principal=wsgi_user)
    other = AsgiMiddleware(things.asgi, store=store, principal=asgi_user)
    token = wsgi(sync, "LOCK", "/a", {"X-User": "anna"}, lock_body()).token
    assert asyncio.run(asgi(other, "PUT", "/a", {"X-User": "bob"}, b"text")).status == 423
    assert asyncio.run(asgi(other, "LOCK", "/a", {"X-User": "bob"}, lock_body())).status == 423
    shown = {"X-User": "anna", "Lock-Token": f"<{token}>"}
    assert asyncio.run(asgi(other, "UNLOCK", "/a", shown)).status == 204
    assert wsgi(sync, "PUT", "/a", {"X-User": "bob"}, b"text").status == 204
