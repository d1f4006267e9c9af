"""What the servers of P13 serve: a tiny application under the middleware that the environment names.

`BENCH_LAYER` is `noop`, `memory`, or the URL of a store. A GET of `/cpu` is answered with the CPU seconds of the
process that answers, threads included: so one question tells the cost of a request on any system and under any server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import process_time
from typing import Any

from bench.held import filled

__all__ = ["CPU", "HELD", "asgi", "wsgi"]

CPU = "/cpu"
HELD = 1_000
"""Locks that are held meanwhile, elsewhere."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Takes the body, answers with two bytes."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    while scope["method"] == "PUT" and (await receive()).get("more_body"):
        pass
    body = str(process_time()).encode() if scope["path"] == CPU else b"ok"
    fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def wsgi_application(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The same."""
    if environ["REQUEST_METHOD"] == "PUT":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    body = str(process_time()).encode() if environ["PATH_INFO"] == CPU else b"ok"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _store() -> Any:
    layer = os.environ["BENCH_LAYER"]
    return filled(HELD) if layer == "memory" else layer


def asgi() -> Any:
    """uvicorn's factory."""
    if os.environ["BENCH_LAYER"] == "noop":
        from bench.wire import AsgiNoOp

        return AsgiNoOp(application)
    from locklib.asgi import LockMiddleware

    return LockMiddleware(application, store=_store())


def wsgi() -> Any:
    """The factory for the WSGI servers."""
    if os.environ["BENCH_LAYER"] == "noop":
        from bench.wire import WsgiNoOp

        return WsgiNoOp(wsgi_application)
    from locklib.wsgi import LockMiddleware

    return LockMiddleware(wsgi_application, store=_store())
