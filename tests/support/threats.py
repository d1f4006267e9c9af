"""An application behind each shell, in process, for the threat tests: attacked by hand, spied on from inside.

Knows: how a server hands a request over (ASGI scope and messages, WSGI environ and input), what the application saw.
Must not know: what an answer ought to be; that is the test's part.

    shell = guarded(dav=True)                 # the fixture of conftest.py: once with ASGI, once with WSGI
    token = shell.lock("/a", "alice")
    with shell.untouched():                   # same table, and the application was not called with the request
        assert shell("PUT", "/a", user="bob").status == 423

Targets are spelled as on the wire (`/a/%62`). `user` is who authentication found; any string, even one that no header
could carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote, unquote_to_bytes
from xml.sax.saxutils import escape

from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core.model import Lock, Query
from locklib.core.rules import listing
from locklib.locks import Locks
from locklib.stores.memory import MemoryLockStore
from locklib.testing.kit import FakeClock
from locklib.wsgi import LockMiddleware as WsgiLocks

__all__ = ["LOCKINFO", "QUESTIONS", "Body", "Got", "Seen", "Shell", "Site", "lockinfo"]

Fields: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]

QUESTIONS = ("HEAD", "GET", "PROPFIND", "OPTIONS")
"""What the middleware may ask on its own; anything else that reaches the application is somebody's request."""

LOCKINFO = (
    '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype>{owner}</D:lockinfo>"
)


def lockinfo(owner: str | None = None, scope: str = "exclusive") -> bytes:
    """A LOCK's body; `owner` is XML as it shall stand there."""
    written = "" if owner is None else f"<D:owner>{owner}</D:owner>"
    return LOCKINFO.format(scope=scope, owner=written).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. Header names in lower case, values as text; `touched` is how often the request's body was asked for
    before the answer began, `drained` how many of its bytes were taken in all."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    touched: int = 0
    drained: int = 0

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def first(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def said(self) -> str:
        """Head and body as one text, to be searched for what must not be there."""
        return "\n".join([str(self.status), *(f"{name}: {value}" for name, value in self.headers), self.text])


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it reached the application. path: decoded, mount included."""

    method: str
    path: str
    query: str = ""
    user: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Site:
    """The application: a few documents. Knows nothing of locks, and writes down whatever reaches it.

    documents: decoded path -> content. forbids: given user and path, an answer (401, 403) or None. answers: a status
    by method, in place of what would be right. tunnels: does what X-HTTP-Method-Override or `_method` says.
    """

    def __init__(
        self,
        documents: Mapping[str, bytes] | None = None,
        forbids: Callable[[str | None, str], int | None] | None = None,
        answers: Mapping[str, int] | None = None,
        tunnels: bool = False,
    ) -> None:
        self.documents = {"/": b"", "/a": b"a", **(documents or {})}
        self.forbids = forbids or (lambda user, path: None)
        self.answers = dict(answers or {})
        self.tunnels = tunnels
        self.seen: list[Seen] = []

    @property
    def requests(self) -> list[Seen]:
        """What was more than a question."""
        return [seen for seen in self.seen if seen.method.upper() not in QUESTIONS]

    def answer(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        self.seen.append(seen)
        method = self._tunnelled(seen) if self.tunnels else seen.method
        forbidden = self.forbids(seen.user, seen.path)
        if forbidden is not None:
            return forbidden, [("Content-Type", "text/plain")], b"the application says no"
        if method in self.answers:
            return self.answers[method], [], b""
        act = getattr(self, "_" + method.lower(), None)
        return (200, [], b"done") if act is None else act(seen)

    @staticmethod
    def _tunnelled(seen: Seen) -> str:
        from urllib.parse import parse_qs

        if seen.method != "POST":
            return seen.method
        query = parse_qs(seen.query).get("_method", [])
        fields = [seen.fields.get(name) for name in ("x-http-method-override", "x-http-method", "x-method-override")]
        return next((name.split(",")[-1].strip().upper() for name in [*fields, *query] if name), "POST")

    def _get(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        if seen.path == "/effects":
            told = [[each.method, each.path] for each in self.requests]
            return 200, [("Content-Type", "application/json")], json.dumps(told).encode()
        content = self.documents.get(seen.path)
        return (404, [], b"no such document") if content is None else (200, [("ETag", f'"{len(content)}"')], content)

    _head = _get

    def _put(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        new = seen.path not in self.documents
        if not new and seen.fields.get("if-none-match") == "*":
            return 412, [], b""
        self.documents[seen.path] = seen.body
        return 201 if new else 204, [], b""

    _mkcol = _put

    def _delete(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        inside = [path for path in self.documents if path == seen.path or path.startswith(seen.path.rstrip("/") + "/")]
        for path in inside:
            del self.documents[path]
        return (204 if inside else 404), [], b""

    def _move(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        answer = self._copy(seen)
        self.documents.pop(seen.path, None)
        return answer

    def _copy(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        there = unquote(re.sub(r"^\w+://[^/]*", "", seen.fields.get("destination", "/")))
        new = there not in self.documents
        self.documents[there] = self.documents.get(seen.path, b"")
        return 201 if new else 204, [], b""

    def _propfind(self, seen: Seen) -> tuple[int, list[tuple[str, str]], bytes]:
        if seen.path not in self.documents:
            return 404, [], b""
        missing = (
            "<D:propstat><D:prop><D:lockdiscovery/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"
        )
        body = (
            '<?xml version="1.0" encoding="utf-8"?><D:multistatus xmlns:D="DAV:"><D:response>'
            f"<D:href>{escape(seen.path)}</D:href>{missing}</D:response></D:multistatus>"
        )
        return 207, [("Content-Type", 'application/xml; charset="utf-8"')], body.encode()

    # ---- as an application -------------------------------------------------------------------------------------------

    async def asgi(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        fields: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode(), value.decode("latin-1")
            fields[key] = f"{fields[key]},{text}" if key in fields else text
        mount, path = scope.get("root_path", ""), scope["path"]
        whole = path if path.startswith(mount) else mount + path
        seen = Seen(scope["method"], whole, scope["query_string"].decode("latin-1"), scope.get("who"), fields, body)
        status, headers, out = self.answer(seen)
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        if status not in (204, 304):
            raw.append((b"content-length", str(len(out)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" or status == 204 else out})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        whole = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        fields = {
            name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(*([] if environ.get("wsgi.input_terminated") and not length else [length]))
        method = environ["REQUEST_METHOD"]
        path = whole.encode("latin-1").decode("utf-8", "replace")
        seen = Seen(method, path, environ.get("QUERY_STRING", ""), environ.get("who"), fields, body)
        status, headers, out = self.answer(seen)
        if status not in (204, 304):
            headers = [*headers, ("Content-Length", str(len(out)))]
        start_response(f"{status} Status", headers)
        return [b"" if method == "HEAD" or status == 204 else out]


class Body:
    """A request's body as the client sends it, in pieces; it counts what is taken from it."""

    def __init__(self, pieces: Iterable[bytes], chunked: bool = False, delay: float = 0.0) -> None:
        self.pieces = iter(pieces)
        self.chunked = chunked
        self.delay = delay
        self.calls = 0
        self.taken = 0
        self.ended = False
        self.left = b""

    def piece(self) -> bytes:
        self.calls += 1
        piece = next(self.pieces, None)
        if piece is None:
            self.ended = True
            return b""
        self.taken += len(piece)
        return piece

    async def receive(self) -> MutableMapping[str, Any]:
        if self.ended:
            self.calls += 1
            await asyncio.sleep(5)  # the client waits for its answer
            return {"type": "http.disconnect"}
        if self.delay:
            await asyncio.sleep(self.delay)
        piece = self.piece()
        return {"type": "http.request", "body": piece, "more_body": not self.ended}

    def read(self, size: int = -1) -> bytes:
        """As `wsgi.input`; it gives no more than was asked for, and counts in pieces."""
        self.calls += 1
        kept = bytearray(self.left)
        while not self.ended and (size < 0 or len(kept) < size):
            self.calls -= 1
            kept += self.piece()
        given, self.left = (bytes(kept), b"") if size < 0 else (bytes(kept[:size]), bytes(kept[size:]))
        return given

    def readline(self, size: int = -1) -> bytes:
        whole = self.read()
        line, newline, self.left = whole.partition(b"\n")
        return line + newline


class Shell:
    """A `Site` behind LockMiddleware, reached through ASGI or WSGI as a server would reach it.

    app: another application in the Site's place. store: to share locks with another Shell. bearer: no `principal=`.
    Everything else goes to LockMiddleware. The store's clock stands still.
    """

    def __init__(
        self,
        kind: str,
        site: Site | None = None,
        *,
        app: Any = None,
        store: MemoryLockStore | None = None,
        bearer: bool = False,
        **settings: Any,
    ) -> None:
        self.kind = kind
        self.site = site or Site()
        self.clock = FakeClock()
        self.store = store or MemoryLockStore(clock=self.clock, processes="allow")
        principal = None if bearer else (lambda request: request.get("who"))
        settings = {"store": self.store, "principal": principal, **settings}
        if kind == "asgi":
            self.app: Any = AsgiLocks(app or self.site.asgi, **settings)
            self.runner = asyncio.Runner()
        else:
            self.app = WsgiLocks(app or self.site.wsgi, **settings)
        self.locks = Locks(self.store, policy=self.app.policy)

    def close(self) -> None:
        if self.kind == "asgi":
            self.runner.close()

    # ---- requests ----------------------------------------------------------------------------------------------------

    def __call__(
        self,
        method: str,
        target: str,
        fields: Fields = (),
        body: bytes | Body = b"",
        *,
        user: str | None = None,
        mount: str = "",
        host: str | None = "docs.example",
    ) -> Got:
        """One request. A `body` of bytes is sent with its length; a `Body` says itself whether it is chunked."""
        pairs = list(fields.items() if isinstance(fields, Mapping) else fields)
        names = {name.lower() for name, _ in pairs}
        if host is not None and "host" not in names:
            pairs.insert(0, ("Host", host))
        sent = Body([body] if body else []) if isinstance(body, bytes) else body
        if isinstance(body, bytes) and body and "content-length" not in names:
            pairs.append(("Content-Length", str(len(body))))
        if sent.chunked and "transfer-encoding" not in names:
            pairs.append(("Transfer-Encoding", "chunked"))
        path, _, query = target.partition("?")
        ask = self._by_asgi if self.kind == "asgi" else self._by_wsgi
        return ask(method, path, query, pairs, sent, user, mount)

    def _by_asgi(
        self, method: str, path: str, query: str, pairs: list[tuple[str, str]], body: Body, user: str | None, mount: str
    ) -> Got:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": mount + unquote(path, errors="replace"),
            "raw_path": (mount + path).encode("latin-1"),
            "root_path": mount,
            "query_string": query.encode("latin-1"),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
            "client": ("192.0.2.1", 4711),
            "server": ("docs.example", 80),
            "who": user,
        }
        messages: list[MutableMapping[str, Any]] = []
        touched = []

        async def send(message: MutableMapping[str, Any]) -> None:
            messages.append(message)
            touched.append(body.calls)
            await asyncio.sleep(0)

        self.runner.run(self.app(scope, body.receive, send))
        starts = [message for message in messages if message["type"] == "http.response.start"]
        assert len(starts) == 1, messages
        headers = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in starts[0]["headers"])
        out = b"".join(message.get("body", b"") for message in messages[1:])
        return Got(starts[0]["status"], headers, out, touched[0], body.taken)

    def _by_wsgi(
        self, method: str, path: str, query: str, pairs: list[tuple[str, str]], body: Body, user: str | None, mount: str
    ) -> Got:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": mount,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "docs.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "who": user,
        }
        if body.chunked:
            environ["wsgi.input_terminated"] = True
        for name, value in pairs:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        started: list[tuple[str, list[tuple[str, str]], int]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            started.append((status, headers, body.calls))
            return written.append

        out = self.app(environ, start_response)
        try:
            whole = b"".join(out)
        finally:
            if hasattr(out, "close"):
                out.close()
        assert len(started) == 1, started
        status, headers, touched = started[0]
        assert all(type(name) is str and type(value) is str for name, value in headers)
        lower = tuple((name.lower(), value) for name, value in headers)
        return Got(int(status.split()[0]), lower, b"".join(written) + whole, touched, body.taken)

    # ---- locks -------------------------------------------------------------------------------------------------------

    def lock(
        self,
        target: str,
        user: str | None = None,
        *,
        depth: str = "infinity",
        scope: str = "exclusive",
        owner: str | None = None,
        mount: str = "",
        timeout: str = "Second-600",
    ) -> str:
        """Take a lock by LOCK; its token. What the application saw of it is forgotten."""
        fields = {"Depth": depth, "Timeout": timeout, "Content-Type": "application/xml"}
        got = self("LOCK", target, fields, lockinfo(owner, scope), user=user, mount=mount)
        assert got.status in (200, 201), got
        self.site.seen.clear()
        token = got.first("lock-token")
        assert token is not None
        return token[1:-1]

    def table(self) -> tuple[Lock, ...]:
        """Every live lock, whole."""
        query, step = listing(Query("", trees=("/",)))
        found = self.store.transact(query, step).answer
        return tuple(sorted((held.lock for held in found), key=lambda lock: lock.token))

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """What happens inside changes no lock, and reaches the application at most as a question of ours."""
        before, documents = self.table(), dict(self.site.documents)
        self.site.seen.clear()
        yield
        assert self.table() == before
        assert self.site.requests == []
        assert self.site.documents == documents
