"""A LOCK whose body does not come in time is 408, and grants nothing (T21)."""

from __future__ import annotations

import asyncio
from typing import Any

import locklib.asgi
import locklib.wsgi
from locklib.stores.memory import MemoryLockStore
from transcripts.apps import Documents, as_asgi, as_wsgi


def test_asgi() -> None:
    store = MemoryLockStore(processes="allow")
    app = locklib.asgi.LockMiddleware(as_asgi(Documents({"/a": b""})), store=store.as_async(), body_seconds=0.02)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits for so long")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "LOCK", "path": "/a", "headers": [(b"host", b"x")], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b"0.02 seconds" in sent[1]["body"]


def test_wsgi_where_the_server_gives_up() -> None:
    class Input:
        def read(self, size: int) -> bytes:
            raise TimeoutError("the server has waited long enough")

    store = MemoryLockStore(processes="allow")
    app = locklib.wsgi.LockMiddleware(as_wsgi(Documents({"/a": b""})), store=store)
    statuses: list[str] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": "LOCK", "SCRIPT_NAME": "", "PATH_INFO": "/a", "CONTENT_LENGTH": "9"}
    environ["wsgi.input"] = Input()
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    assert statuses == ["408 Request Timeout"]
    assert b"did not arrive" in body
