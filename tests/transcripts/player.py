"""Plays a transcript through the ASGI and the WSGI middleware on every store; holds their answers against each other.

All sides get the same clock, tokens, ids and no jitter; after every exchange the answers must be equal in status,
header fields and body, byte for byte, and so must the calls that reached the application (I12).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.validate import validator

import pytest

import locklib.asgi
import locklib.locks
import locklib.wsgi
from locklib.core.model import Held, Principal
from locklib.core.moves import Chosen
from locklib.locks import Locks
from locklib.stores.memory import MemoryLockStore
from locklib.stores.sqlite import SqliteLockStore
from locklib.testing.kit import FakeClock
from transcripts.apps import Documents, Request, as_asgi, as_wsgi

__all__ = ["AS_JSON", "XML", "After", "Code", "Do", "Transcript", "World", "lockinfo", "play"]

AT_14_30 = 1768746600.0
"""2026-01-18T14:30:00Z, when every transcript begins."""

XML = {"Content-Type": "application/xml; charset=utf-8"}
AS_JSON = {"Content-Type": "application/json"}
HOST = "testserver"


def lockinfo(scope: str = "exclusive", owner: str | None = None) -> str:
    words = "" if owner is None else f"<D:owner>{owner}</D:owner>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:">'
        f"<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>{words}</D:lockinfo>"
    )


@dataclass(frozen=True)
class Do:
    """One exchange. `{name}` in a header or in the body is a token that an earlier exchange `saves`.

    who: "alice" or "alice:role,role". has, lacks: pieces of the body. headers: answer fields, None for absent, a
    callable to look. json: dotted member to value. calls: what reached the application, "METHOD /path" in order; None:
    not looked at. sees: looked at with the last request that reached the application.
    """

    method: str
    path: str
    send: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes = b""
    who: str | None = None
    status: int | tuple[int, ...] = 200
    headers: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] = field(default_factory=dict)
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    calls: tuple[str, ...] | None = None
    saves: str | None = None
    sees: Callable[[Request], object] | None = None


@dataclass(frozen=True)
class After:
    """So many seconds later."""

    seconds: float


@dataclass(frozen=True)
class Code:
    """Something done in code, on both sides; what it returns must not be False."""

    run: Callable[[World], Any]


Step = Do | After | Code


@dataclass(frozen=True)
class Transcript:
    """name: the rule that it holds. settings: of the middleware. known: whether there is a principal=."""

    name: str
    steps: tuple[Step, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes | None] = field(default_factory=lambda: {"/docs": None, "/docs/a": b"a", "/docs/b": b"b"})
    known: bool = False
    mount: str = ""
    host: str = HOST
    store: Callable[[Any], Any] = lambda store: store


@dataclass(frozen=True)
class Got:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class World:
    """One side of a transcript: an application, a store, a middleware. inner: the store, of the sync kind."""

    shell = ""

    def __init__(self, transcript: Transcript, clock: FakeClock, on: str, inner: Any) -> None:
        self.transcript = transcript
        self.app = Documents(dict(transcript.files), transcript.mount)
        self.clock = clock
        self.kind = f"{self.shell} on {on}"
        self.inner = inner
        self.tokens: dict[str, str] = {}
        self.counted = 0
        self.store: Any = None
        self.middleware: Any = None

    @property
    def policy(self) -> Any:
        return self.middleware.policy

    @property
    def locks(self) -> Locks:
        """The same locks for code, whatever kind the middleware is."""
        return Locks(self.inner, policy=self.policy)

    def held(self, under: str = "/") -> list[tuple[str, str]]:
        """The locks there are: (root, scope or purpose)."""
        return [(each.lock.root, each.lock.scope.value) for each in self.listed(under)]

    def listed(self, under: str = "/") -> tuple[Held, ...]:
        return self.locks.list(under)

    def new_token(self) -> str:
        self.counted += 1
        return f"urn:uuid:00000000-0000-4000-8000-{self.counted:012d}"

    def chosen(self) -> Chosen:
        return Chosen(self.new_token(), f"id-{self.counted}", 0.0)

    def filled(self, text: str) -> str:
        for name, token in self.tokens.items():
            text = text.replace("{" + name + "}", token)
        return text

    def exchange(self, do: Do, headers: list[tuple[str, str]], body: bytes) -> Got:
        raise NotImplementedError

    def close(self) -> None:
        self.inner.close()


def principal(word: str | None) -> Principal | None:
    if not word:
        return None
    name, _, roles = word.partition(":")
    return Principal(name, frozenset(roles.split(",")) if roles else frozenset())


def decoded(path: str) -> bytes:
    return unquote_to_bytes(path)


class AsgiWorld(World):
    shell = "ASGI"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        transcript = self.transcript
        self.runner = asyncio.Runner()
        self.store = transcript.store(self.inner.as_async())
        who = {"principal": self._who} if transcript.known else {}
        self.middleware = locklib.asgi.LockMiddleware(as_asgi(self.app), store=self.store, **who, **transcript.settings)

    @staticmethod
    def _who(scope: Any) -> Principal | None:
        return principal(dict(scope["headers"]).get(b"x-who", b"").decode())

    def exchange(self, do: Do, headers: list[tuple[str, str]], body: bytes) -> Got:
        return self.runner.run(self._exchange(do, headers, body))

    async def _exchange(self, do: Do, headers: list[tuple[str, str]], body: bytes) -> Got:
        path, _, query = do.path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": do.method,
            "root_path": self.transcript.mount,
            "path": decoded(path).decode("utf-8", "replace"),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 5000),
            "server": (HOST, 80),
        }
        # Two pieces, so that what was read must be put together and replayed.
        pieces = [body[:7], body[7:]]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.Event().wait()  # the client is there until it has its answer
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.middleware(scope, receive, send)
        assert sent[0]["type"] == "http.response.start"
        assert all(message["type"] == "http.response.body" for message in sent[1:])
        fields = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return Got(sent[0]["status"], sorted(fields), b"".join(message.get("body", b"") for message in sent[1:]))

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        super().close()


class WsgiWorld(World):
    shell = "WSGI"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        transcript = self.transcript
        self.store = transcript.store(self.inner)
        who = {"principal": self._who} if transcript.known else {}
        self.middleware = locklib.wsgi.LockMiddleware(as_wsgi(self.app), store=self.store, **who, **transcript.settings)

    @staticmethod
    def _who(environ: Any) -> Principal | None:
        return principal(environ.get("HTTP_X_WHO"))

    def exchange(self, do: Do, headers: list[tuple[str, str]], body: bytes) -> Got:
        path, _, query = do.path.partition("?")
        mount = self.transcript.mount
        environ = {
            "REQUEST_METHOD": do.method,
            "SCRIPT_NAME": mount,
            "PATH_INFO": decoded(path).decode("latin-1").removeprefix(mount),
            "QUERY_STRING": query,
            "SERVER_NAME": HOST,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            variable = name.upper().replace("-", "_")
            variable = variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + variable
            environ[variable] = f"{environ[variable]}, {value}" if variable in environ else value
        return self._called(environ)

    def _called(self, environ: dict[str, Any]) -> Got:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return written.append

        environ["wsgi.errors"] = _Errors()
        body = validator(self.middleware)(environ, start_response)
        written.extend(body)
        body.close()
        (status, headers), *_ = started
        fields = sorted((name.lower(), value) for name, value in headers)
        return Got(int(status.split(" ")[0]), fields, b"".join(written))


class _Errors:
    def flush(self) -> None: ...

    def write(self, text: str) -> None: ...

    def writelines(self, lines: list[str]) -> None: ...


# ---- playing -------------------------------------------------------------------------------------------------------


def play(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play all steps on all sides, and look at every answer."""
    clock = FakeClock(0.0)
    with TemporaryDirectory() as folder:
        worlds = list(_worlds(transcript, clock, Path(folder)))
        try:
            _play(transcript, clock, worlds, monkeypatch)
        finally:
            for world in worlds:
                world.close()


def _worlds(transcript: Transcript, clock: FakeClock, folder: Path) -> Iterator[World]:
    """Each with a store of its own."""
    for shell in (AsgiWorld, WsgiWorld):
        memory = MemoryLockStore(clock=clock, wall=lambda: AT_14_30, processes="allow")
        yield shell(transcript, clock, "memory", memory)
        file = folder / f"{shell.shell}.db"
        yield shell(transcript, clock, "SQLite", SqliteLockStore(file, clock=clock, wall=lambda: AT_14_30))


def _play(transcript: Transcript, clock: FakeClock, worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    for number, step in enumerate(transcript.steps, 1):
        if isinstance(step, After):
            clock.advance(step.seconds)
            continue
        told = [_taken(world, step, f"{transcript.name}, step {number}", monkeypatch) for world in worlds]
        if isinstance(step, Do):
            for world, its in zip(worlds, told, strict=True):
                assert its == told[0], f"{transcript.name}, step {number}: {worlds[0].kind} and {world.kind} part"


def _taken(world: World, step: Step, where: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    where = f"{where} ({world.kind}): "
    monkeypatch.setattr(locklib.asgi, "chosen", world.chosen)
    monkeypatch.setattr(locklib.wsgi, "chosen", world.chosen)
    monkeypatch.setattr(locklib.locks, "new_token", world.new_token)
    if isinstance(step, Code):
        assert step.run(world) is not False, where
        return None
    assert isinstance(step, Do)
    seen = len(world.app.calls)
    got = world.exchange(step, *_request(world, step))
    calls = world.app.calls[seen:]
    _looked_at(world, step, got, calls, where)
    return got, [(each.method, each.path, each.body, each.query, sorted(each.headers.items())) for each in calls]


def _request(world: World, do: Do) -> tuple[list[tuple[str, str]], bytes]:
    body = do.body if isinstance(do.body, bytes) else world.filled(do.body).encode()
    headers = [("Host", world.transcript.host)]
    for name, value in do.send.items():
        headers += [(name, world.filled(line)) for line in value.split("\n")]
    if do.who:
        headers.append(("X-Who", do.who))
    if body:
        headers.append(("Content-Length", str(len(body))))
    return headers, body


def _looked_at(world: World, do: Do, got: Got, calls: list[Request], where: str) -> None:
    text = got.body.decode("utf-8", "replace")
    where = f"{where}{do.method} {do.path} -> {got.status} {got.headers} {text}"
    allowed = do.status if isinstance(do.status, tuple) else (do.status,)
    assert got.status in allowed, where
    fields = dict(got.headers)
    if do.saves is not None:
        assert "lock-token" in fields, where
        world.tokens[do.saves] = fields["lock-token"].strip("<>")
    for name, expected in do.headers.items():
        found = fields.get(name.lower())
        if callable(expected):
            assert expected(found), f"{name}: {found!r}; {where}"
        else:
            wanted = world.filled(expected) if expected is not None else None
            assert found == wanted, f"{name}: {found!r}, not {wanted!r}; {where}"
    for piece in do.has:
        assert world.filled(piece) in text, f"lacks {piece!r}: {where}"
    for piece in do.lacks:
        assert world.filled(piece) not in text, f"has {piece!r}: {where}"
    if do.json:
        members = json.loads(text)
        for name, expected in do.json.items():
            assert _member(members, name) == _filled_value(world, expected), f"{name}: {where}"
    if do.calls is not None:
        assert tuple(f"{each.method} {each.path}" for each in calls) == do.calls, where
    if do.sees is not None:
        assert calls, where
        assert do.sees(calls[-1]) is not False, where


def _filled_value(world: World, expected: Any) -> Any:
    return world.filled(expected) if isinstance(expected, str) else expected


def _member(members: Any, name: str) -> Any:
    """a.b.0.c; `a#` is the length of a, and `a?` whether it is there."""
    for part in name.split("."):
        if part.endswith("#"):
            return len(members[part[:-1]])
        if part.endswith("?"):
            return part[:-1] in members
        members = members[int(part)] if isinstance(members, list) else members[part]
    return members
