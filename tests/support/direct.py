"""Requests straight into a shell, without a server, and a folder in a dict for them to reach.

Knows: how ASGI and WSGI hand over a request; what a class 1 folder answers (RFC 4918 without locks).
Must not know: a lock rule.

    put = wsgi(application, "PUT", "/a", {"X-User": "anna"}, b"text")
    put = await asgi(application, "PUT", "/a", {"X-User": "anna"}, b"text")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from posixpath import normpath
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from locklib.core.model import Depth, Held, Lock, Outcome, Permit, Query
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore

__all__ = [
    "AsyncNoShortWay",
    "Got",
    "NoShortWay",
    "Things",
    "asgi",
    "asgi_user",
    "environ_of",
    "lock_body",
    "locks_in",
    "permits_in",
    "run_both",
    "scope_of",
    "wsgi",
    "wsgi_user",
]

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Got:
    """An answer as a client got it. `chunks` are the pieces of body as they were sent."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    chunks: tuple[bytes, ...] = ()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    @property
    def token(self) -> str:
        """The token of the lock that this answer grants."""
        shown = self["lock-token"]
        assert shown is not None, (self.status, self.body)
        return shown.strip("<>")


def _pairs(fields: Mapping[str, str] | Pairs) -> list[tuple[str, str]]:
    return list(fields.items() if isinstance(fields, Mapping) else fields)


def lock_body(scope: str = "exclusive", **more: Any) -> bytes:
    """A LOCK body in the JSON that clients without DAV send."""
    return json.dumps({"scope": scope, **more}).encode()


# ---- ASGI ------------------------------------------------------------------------------------------------------------


def scope_of(method: str, target: str, fields: Mapping[str, str] | Pairs = (), **more: Any) -> dict[str, Any]:
    """The scope of a request for `target`, a path as it stands on the wire, with its query."""
    raw, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [
            (b"host", b"h.test"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _pairs(fields)),
        ],
        "client": ("192.0.2.1", 5000),
        "server": ("h.test", 80),
        **more,
    }


async def asgi(
    app: Callable[..., Awaitable[None]],
    method: str,
    target: str,
    fields: Mapping[str, str] | Pairs = (),
    body: bytes | Iterable[bytes] = b"",
    *,
    on_start: Callable[[int], None] | None = None,
    **more: Any,
) -> Got:
    """One request. `on_start` hears the status at the instant at which the answer's start is sent."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    pairs = _pairs(fields)
    if any(chunks) and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs):
        pairs.append(("Content-Length", str(sum(map(len, chunks)))))
    coming = iter([*({"type": "http.request", "body": c, "more_body": True} for c in chunks[:-1])])
    state: dict[str, Any] = {"last": False, "status": 0, "fields": (), "chunks": []}

    async def receive() -> dict[str, Any]:
        for message in coming:
            return message
        if not state["last"]:
            state["last"] = True
            return {"type": "http.request", "body": chunks[-1] if chunks else b"", "more_body": False}
        await asyncio.Event().wait()  # the client is there until it has its answer
        raise AssertionError

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert not state["status"], "the answer was started twice"
            state["status"] = message["status"]
            state["fields"] = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ()))
            if on_start is not None:
                on_start(message["status"])
        elif message["type"] == "http.response.body":
            state["chunks"].append(bytes(message.get("body", b"")))

    await app(scope_of(method, target, pairs, **more), receive, send)
    return Got(state["status"], state["fields"], tuple(state["chunks"]))


def asgi_user(scope: Mapping[str, Any]) -> str | None:
    """A `principal=`: whoever X-User names."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-user"), None)


# ---- WSGI ------------------------------------------------------------------------------------------------------------


def environ_of(
    method: str, target: str, fields: Mapping[str, str] | Pairs = (), body: bytes = b"", **more: Any
) -> dict[str, Any]:
    """The environ of a request for `target`, a path as it stands on the wire, with its query."""
    raw, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "h.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "h.test",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": None,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in _pairs(fields):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
        once = key in ("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_HOST")
        environ[key] = value if once or key not in environ else f"{environ[key]},{value}"
    environ.update(more)
    return environ


def wsgi(
    app: Callable[..., Iterable[bytes]],
    method: str,
    target: str,
    fields: Mapping[str, str] | Pairs = (),
    body: bytes = b"",
    *,
    on_start: Callable[[int], None] | None = None,
    **more: Any,
) -> Got:
    """One request, its answer read to the end and closed. `on_start` hears the status when the start is sent."""
    started: list[Any] = []
    chunks: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        assert exc_info or not started, "the answer was started twice"
        started[:] = [int(status.split(" ", 1)[0]), tuple(headers)]
        if on_start is not None:
            on_start(started[0])
        return chunks.append

    answer = app(environ_of(method, target, fields, body, **more), start_response)
    try:
        chunks.extend(answer)
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()
    return Got(started[0], started[1], tuple(chunks))


def wsgi_user(environ: Mapping[str, Any]) -> str | None:
    """A `principal=`: whoever X-User names."""
    return environ.get("HTTP_X_USER")


def run_both(kind: str, app: Any, *request: Any, **more: Any) -> Got:
    """One request by the interface that `kind` names."""
    return wsgi(app, *request, **more) if kind == "wsgi" else asyncio.run(asgi(app, *request, **more))


# ---- stores ----------------------------------------------------------------------------------------------------------


class NoShortWay(MemoryLockStore):
    """Offers no short way, as a store outside the process: every write takes the general one."""

    near = claim_now = end_now = None  # type: ignore[assignment]


class AsyncNoShortWay(AsyncMemoryLockStore):
    """`NoShortWay` for async code: its transactions are shielded, and so are the ends of its permits."""

    near = claim_now = end_now = None  # type: ignore[assignment]
    never_waits = False


# ---- what is in a store ----------------------------------------------------------------------------------------------


def _sync(store: Any) -> Any:
    return store.as_sync() if hasattr(store, "as_sync") else store


def locks_in(store: Any) -> list[Held]:
    """All live locks of the unnamed namespace, pending ones too."""
    return list(_sync(store).transact(Query(trees=("/",)), Outcome).answer.locks)


def permits_in(store: Any) -> tuple[Permit, ...]:
    """All permits that are published."""
    return _sync(store).permits.older("", Lock("urn:test:looks", "/", Depth.INFINITY))


# ---- an application --------------------------------------------------------------------------------------------------


@dataclass
class Things:
    """A class 1 folder in a dict: path -> bytes, or None for a collection. COPY and MOVE take whole trees.

    heard: every request that reached it, as (method, path).
    """

    tree: dict[str, bytes | None] = field(default_factory=lambda: {"/": None})
    heard: list[tuple[str, str]] = field(default_factory=list)

    def handle(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> int:
        """The status of the answer; `fields` by lower-case name."""
        path = normpath(path)
        self.heard.append((method, path))
        todo = getattr(self, "do_" + method.lower(), None)
        return 405 if todo is None else todo(path, fields, body)

    def under(self, path: str) -> list[str]:
        return [name for name in self.tree if name == path or name.startswith(path.rstrip("/") + "/")]

    def has_parent(self, path: str) -> bool:
        above = path.rpartition("/")[0] or "/"
        return above in self.tree and self.tree[above] is None

    def do_get(self, path: str, fields: Mapping[str, str], body: bytes) -> int:
        return 200 if path in self.tree else 404

    do_head = do_get

    def do_put(self, path: str, fields: Mapping[str, str], body: bytes) -> int:
        if path in self.tree and fields.get("if-none-match") == "*":
            return 412
        if path in self.tree and self.tree[path] is None:
            return 405
        if not self.has_parent(path):
            return 409
        made = path not in self.tree
        self.tree[path] = body
        return 201 if made else 204

    def do_mkcol(self, path: str, fields: Mapping[str, str], body: bytes) -> int:
        if path in self.tree:
            return 405
        if not self.has_parent(path):
            return 409
        self.tree[path] = None
        return 201

    def do_delete(self, path: str, fields: Mapping[str, str], body: bytes) -> int:
        if path == "/":
            return 403
        if path not in self.tree:
            return 404
        for name in self.under(path):
            del self.tree[name]
        return 204

    def do_copy(self, path: str, fields: Mapping[str, str], body: bytes, *, move: bool = False) -> int:
        to = unquote(urlsplit(fields["destination"]).path).rstrip("/") or "/"
        if path not in self.tree:
            return 404
        if any((one + "/").startswith(other.rstrip("/") + "/") for one, other in ((path, to), (to, path))):
            return 403
        if not self.has_parent(to):
            return 409
        there = to in self.tree
        if there and fields.get("overwrite", "T") == "F":
            return 412
        for name in self.under(to):
            del self.tree[name]
        for name in self.under(path):
            self.tree[to + name[len(path) :]] = self.tree.pop(name) if move else self.tree[name]
        return 204 if there else 201

    def do_move(self, path: str, fields: Mapping[str, str], body: bytes) -> int:
        return 403 if path == "/" else self.do_copy(path, fields, body, move=True)

    # ---- as an application -------------------------------------------------------------------------------------------

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fields = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name[:5] == "HTTP_"}
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        length = environ.get("CONTENT_LENGTH", "")
        body = environ["wsgi.input"].read(int(length) if length.isdecimal() and len(length) < 10 else 0)
        status = self.handle(environ["REQUEST_METHOD"], path, fields, body)
        start_response(f"{status} -", [("Content-Length", "0")])
        return [b""]

    async def asgi(self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status = self.handle(scope["method"], scope["path"], fields, body)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
