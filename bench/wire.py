"""Requests as servers hand them over, an application, and the middleware that does nothing.

Both shells and the no-op are driven in the same way. ASGI: one event loop, one coroutine that awaits request after
request, the clock read inside it. WSGI: the answer is read to its end and closed. Every request has a scope or an
environ of its own, made before the clock starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from bench.measure import Side

__all__ = ["Asgi", "AsgiNoOp", "Wsgi", "WsgiNoOp", "asgi_app", "streaming_app", "wsgi_app"]

COMMON = {
    "host": "docs.example.org",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "*/*",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.7",
    "cookie": "session=5f3c1b0a9d8e7f6a5b4c3d2e1f0a9b8c",
}
BODY = b"twelve bytes"
WRITING = {"content-type": "text/plain", "content-length": str(len(BODY))}

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"2")],
}
END = {"type": "http.response.body", "body": b"ok"}


class AsgiNoOp:
    """The least that a middleware can be."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(END)


async def receive() -> Any:
    return {"type": "http.request", "body": BODY, "more_body": False}


async def send(message: Any) -> None:
    pass


class Asgi:
    """Requests to one URL. `to(app)` is a side of a race."""

    def __init__(self, loop: asyncio.AbstractEventLoop, batch: int, method: str, path: str, **fields: str) -> None:
        self.loop, self.batch, self.method, self.path = loop, batch, method, path
        wanted = COMMON | (WRITING if method == "PUT" else {}) | fields
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in wanted.items()]

    def scope(self) -> dict[str, Any]:
        """As a server makes it: the names, the values and the path are new objects, whose hashes nobody knows yet."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 51034),
            "scheme": "http",
            "root_path": "",
            "headers": [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in self.headers],
            "method": self.method,
            "path": bytearray(self.path.encode()).decode(),
            "raw_path": self.path.encode(),
            "query_string": b"",
            "state": {},
        }

    def to(self, app: Callable[..., Awaitable[None]]) -> Side:
        def side() -> float:
            return self.loop.run_until_complete(drive(app, [self.scope() for _ in range(self.batch)]))

        return side

    def status(self, app: Callable[..., Awaitable[None]]) -> int:
        """What the caller is answered: a figure is worth something only for the answer that it is about."""
        statuses: list[int] = []

        async def seen(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        self.loop.run_until_complete(self._one(app, seen))
        return statuses[0]

    async def _one(self, app: Callable[..., Awaitable[None]], seen: Callable[[Any], Awaitable[None]]) -> None:
        await app(self.scope(), receive, seen)


async def drive(app: Callable[..., Awaitable[None]], scopes: list[dict[str, Any]]) -> float:
    start = perf_counter()
    for scope in scopes:
        await app(scope, receive, send)
    return (perf_counter() - start) / len(scopes)


class WsgiNoOp:
    """The least that a middleware can be."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return self.app(environ, start_response)


ANSWER = [("Content-Type", "text/plain"), ("Content-Length", "2")]


def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", ANSWER)
    return [b"ok"]


def streaming_app(environ: Any, start_response: Any) -> Iterator[bytes]:
    """As `wsgi_app`, with an answer that is not finished when the call returns."""
    start_response("200 OK", ANSWER)
    yield b"ok"


def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
    pass


class Body:
    """A request body that can be read again by the next request."""

    @staticmethod
    def read(size: int = -1) -> bytes:
        return BODY


class Wsgi:
    """Requests to one URL. `to(app)` is a side of a race."""

    def __init__(self, batch: int, method: str, path: str, **fields: str) -> None:
        self.batch = batch
        self.given = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "51034",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": Body,
            "wsgi.errors": None,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in (COMMON | (WRITING if method == "PUT" else {}) | fields).items():
            variable = name.upper().replace("-", "_")
            self.given[variable if variable.startswith("CONTENT_") else "HTTP_" + variable] = value

    def environ(self) -> dict[str, Any]:
        return self.given | {"PATH_INFO": bytearray(self.given["PATH_INFO"].encode()).decode()}

    def to(self, app: Callable[..., Iterable[bytes]]) -> Side:
        def side() -> float:
            environs = [self.environ() for _ in range(self.batch)]
            start = perf_counter()
            for environ in environs:
                body = app(environ, start_response)
                for _ in body:
                    pass
                if hasattr(body, "close"):
                    body.close()
            return (perf_counter() - start) / len(environs)

        return side

    def status(self, app: Callable[..., Iterable[bytes]]) -> int:
        statuses: list[int] = []

        def seen(status: str, headers: Any, exc_info: Any = None) -> None:
            statuses.append(int(status[:3]))

        body = app(self.environ(), seen)
        b"".join(body)
        if hasattr(body, "close"):
            body.close()
        return statuses[0]
