"""I11: where no lock is near, request and response are those of the application alone.

A corpus of requests is played with and without the middleware; what the application saw and what the server got must be
the same, message by message and piece by piece.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.policy import Policy
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import asgi, environ_of, lock_body, scope_of, wsgi

POLICIES = {
    "plain": Policy(),
    "a table of routes": Policy(routes=("/",)),  # type: ignore[arg-type]
    "dav": Policy(dav=True),
    "mode check": Policy(routes=(("/", "check"),)),  # type: ignore[arg-type]
    "exempt": Policy(routes=(("/", "exempt"),)),  # type: ignore[arg-type]
}
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "MKCOL", "COPY", "MOVE", "REPORT", "FROB", "put", "TRACE")
TARGETS = ("/", "/a", "/a/b?x=1&y=%20", "/a%2Fb", "/a//b/", "/caf%C3%A9", "/a;v=1", "/%FF", "/a/../b", "/a%00b")
FIELDS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "usual": [("Accept", "*/*"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Any", "caf\xe9"), ("Content-Type", "a/b")],
    "conditional": [("If-Match", '"x"'), ("If-None-Match", "*"), ("Range", "bytes=0-1"), ("Depth", "0")],
}
WHERE = [("Destination", "http://h.test/elsewhere"), ("Overwrite", "F")]
BODIES = ([b""], [b"one"], [b"one", b"", b"two", b"three" * 1000])
DAV_OWN = {"OPTIONS", "PROPFIND"}


def corpus() -> Iterator[tuple[str, str, list[tuple[str, str]], list[bytes]]]:
    for number, method in enumerate(METHODS):
        for step, target in enumerate(TARGETS):
            name = list(FIELDS)[(number + step) % len(FIELDS)]
            fields = FIELDS[name] + (WHERE if method in ("COPY", "MOVE") else [])
            yield method, target, fields, BODIES[(number + step) % len(BODIES)]


# ---- ASGI ------------------------------------------------------------------------------------------------------------


class Recording:
    """An application that notes all that it gets, and the server's side that notes all that is sent."""

    def __init__(self, status: int = 200, answers: Iterable[dict[str, Any]] = ()) -> None:
        self.log: list[Any] = []
        self.status = status
        self.answers = list(answers)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        seen = {key: value for key, value in scope.items() if key != "locklib"}
        self.log.append(("scope", copy.deepcopy(seen)))
        while True:
            message = await receive()
            self.log.append(("received", message))
            if not message.get("more_body"):
                break
        for answer in self.answers or self.usual():
            await send(answer)
            self.log.append("sent on")  # each piece is out before the next is made

    def usual(self) -> list[dict[str, Any]]:
        fields = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=\xe9")]
        return [
            {"type": "http.response.start", "status": self.status, "headers": fields, "trailers": True},
            {"type": "http.response.body", "body": b"first", "more_body": True},
            {"type": "http.response.body", "body": b"", "more_body": True},
            {"type": "http.response.body", "body": b"last"},
            {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False},
        ]

    async def play(self, shell: Any, scope: dict[str, Any], coming: list[dict[str, Any]]) -> list[Any]:
        self.log.clear()
        left = iter(coming)

        async def receive() -> Any:
            self.log.append("server asked")
            return next(left)

        async def send(message: Any) -> None:
            self.log.append(("server got", copy.deepcopy(message)))

        await shell(scope, receive, send)
        return list(self.log)


def requests_of(body: list[bytes]) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": piece, "more_body": number < len(body) - 1}
        for number, piece in enumerate(body)
    ]


def without_questions(log: list[Any], method: str) -> list[Any]:
    """A refused request is not in the corpus, so no question of ours may be in the log at all."""
    assert all(entry[1]["method"] == method for entry in log if entry[0] == "scope")
    return log


async def compare(recording: Recording, policy: Policy, scope: dict[str, Any], coming: list[dict[str, Any]]) -> None:
    store = AsyncMemoryLockStore(processes="allow")
    shell = AsgiMiddleware(recording.app, store=store, policy=policy)
    await shell._open()
    alone = await recording.play(recording.app, copy.deepcopy(scope), coming)
    guarded = await recording.play(shell, copy.deepcopy(scope), coming)
    assert without_questions(guarded, scope["method"]) == alone, scope


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("status", [200, 204, 404, 500])
def test_asgi_the_same_messages_with_and_without(name, status):
    async def story() -> None:
        recording = Recording(status)
        for method, target, fields, body in corpus():
            scope = scope_of(method, target, fields, extensions={"http.response.trailers": {}})
            await compare(recording, POLICIES[name], scope, requests_of(body))

    asyncio.run(story())


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("root_path", ["", "/mount"])
def test_asgi_under_a_mount(name, root_path):
    async def story() -> None:
        recording = Recording()
        for method in ("PUT", "DELETE", "GET"):
            scope = scope_of(method, root_path + "/a", [], root_path=root_path, state={"of": "the lifespan"})
            await compare(recording, POLICIES[name], scope, requests_of([b"text"]))

    asyncio.run(story())


EXTENSIONS = {
    "early hints": [
        {"type": "http.response.early_hint", "links": [b"</x.css>; rel=preload"]},
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"x"},
    ],
    "server push": [
        {"type": "http.response.push", "path": "/x", "headers": []},
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"x"},
    ],
    "zero copy": [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.zerocopysend", "file": 3, "count": 5, "more_body": False},
    ],
    "path send": [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.pathsend", "path": "/etc/hostname"},
    ],
    "debug": [
        {"type": "http.response.debug", "info": {"template": "x"}},
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"x"},
    ],
}


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "MOVE"])
def test_asgi_messages_of_extensions_are_untouched(extension, method):
    async def story() -> None:
        scope = scope_of(method, "/a", WHERE, extensions={"http.response.trailers": {}, "tls": {"v": 1}})
        for policy in POLICIES.values():
            await compare(Recording(answers=EXTENSIONS[extension]), policy, scope, requests_of([b"text"]))

    asyncio.run(story())


def test_asgi_nothing_is_read_ahead_of_the_application():
    """An application that answers before it reads: the server is asked for nothing by us."""

    async def story() -> None:
        async def answers_first(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"no thanks"})

        asked: list[str] = []

        async def receive() -> Any:
            asked.append("body")
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            pass

        for policy in POLICIES.values():
            shell = AsgiMiddleware(answers_first, store=AsyncMemoryLockStore(processes="allow"), policy=policy)
            for method in ("PUT", "POST", "DELETE", "MKCOL"):
                await shell(scope_of(method, "/a", {"Content-Length": "5"}), receive, send)
        assert asked == []

    asyncio.run(story())


def test_asgi_an_endless_answer_is_passed_on_piece_by_piece():
    """Server-sent events: each piece is at the client before the application makes the next."""

    async def story() -> None:
        out: list[bytes] = []

        async def events(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(100):
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
                assert out[-1] == b"%d" % number

        async def send(message: Any) -> None:
            out.append(message.get("body", b""))

        async def receive() -> Any:
            raise AssertionError("nobody asked for the body")

        for policy in POLICIES.values():
            for method in ("GET", "POST", "DELETE"):
                shell = AsgiMiddleware(events, store=AsyncMemoryLockStore(processes="allow"), policy=policy)
                await shell(scope_of(method, "/a"), receive, send)
                assert len(out) == 101
                out.clear()

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["websocket", "something new"])
def test_asgi_what_is_no_http_passes_through(kind):
    async def story() -> None:
        got: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            got.append((scope["type"], await receive()))
            await send({"type": "websocket.accept"})

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            got.append(message)

        shell = AsgiMiddleware(app, store=AsyncMemoryLockStore(processes="allow"))
        await asgi(AsgiMiddleware(Recording().app, store=shell.store), "LOCK", "/a", {}, lock_body())
        await shell({"type": kind, "path": "/a", "headers": []}, receive, send)
        assert got == [(kind, {"type": "websocket.connect"}), {"type": "websocket.accept"}]

    asyncio.run(story())


@pytest.mark.parametrize("outcome", ["complete", "failed"])
def test_asgi_lifespan_is_the_applications_own(outcome):
    async def story() -> None:
        coming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["made"] = True
            await send({"type": f"lifespan.startup.{outcome}"})
            if outcome == "complete":
                assert (await receive())["type"] == "lifespan.shutdown"
                await send({"type": "lifespan.shutdown.complete"})

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        await AsgiMiddleware(app, store=AsyncMemoryLockStore(processes="allow"))(scope, receive, send)
        expected = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert sent == (expected if outcome == "complete" else ["lifespan.startup.failed"])
        assert scope["state"] == {"made": True}

    asyncio.run(story())


def test_asgi_an_application_without_lifespan_says_so_itself():
    class NoLifespan(Exception):
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NoLifespan

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing was to be said")

    shell = AsgiMiddleware(app, store=AsyncMemoryLockStore(processes="allow"))
    with pytest.raises(NoLifespan):
        asyncio.run(shell({"type": "lifespan"}, never, never))


# ---- WSGI ------------------------------------------------------------------------------------------------------------


class Pieces:
    """A body that notes when it is asked for the next piece, and when it is closed."""

    def __init__(self, log: list[Any], pieces: list[bytes]) -> None:
        self.log = log
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.log.append("made a piece")
            yield piece

    def close(self) -> None:
        self.log.append("closed")


FORMS = ("list", "tuple", "generator", "object", "write()", "empty", "late start")


class WsgiRecording:
    def __init__(self, form: str, status: str = "200 Fine By Me") -> None:
        self.log: list[Any] = []
        self.form = form
        self.status = status

    def app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.log.append({key: value for key, value in environ.items() if key not in ("locklib", "wsgi.input")})
        self.log.append(environ["wsgi.input"].read())
        fields = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=\xe9")]
        if self.form == "late start":
            return self.late(start_response, fields)
        write = start_response(self.status, fields)
        if self.form == "write()":
            write(b"written")
            return [b"and returned"]
        pieces = [b"one", b"", b"two"]
        forms: dict[str, Iterable[bytes]] = {
            "list": pieces,
            "tuple": tuple(pieces),
            "generator": iter(Pieces(self.log, pieces)),
            "object": Pieces(self.log, pieces),
            "empty": [],
        }
        return forms[self.form]

    def late(self, start_response: Any, fields: Any) -> Iterator[bytes]:
        start_response(self.status, fields)
        yield b"one"
        yield b"two"

    def play(self, shell: Any, environ: dict[str, Any], body: bytes) -> list[Any]:
        self.log.clear()
        environ = {**environ, "wsgi.input": BytesIO(body)}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self.log.append(("started", status, headers))
            return lambda data: self.log.append(("written", data))

        answer = shell(environ, start_response)
        for piece in answer:
            self.log.append(("server got", piece))
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        return list(self.log)


def merged(log: list[Any]) -> list[Any]:
    """The start, the bytes together, and what is not bytes: how a settled answer is compared."""
    told = [entry for entry in log if not (isinstance(entry, tuple) and entry[0] in ("written", "server got"))]
    return [*told, b"".join(e[1] for e in log if isinstance(e, tuple) and e[0] in ("written", "server got"))]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("form", FORMS)
def test_wsgi_the_same_calls_with_and_without(name, form):
    recording = WsgiRecording(form)
    shell = WsgiMiddleware(recording.app, store=MemoryLockStore(processes="allow"), policy=POLICIES[name])
    shell._open()
    for method, target, fields, pieces in corpus():
        body = b"".join(pieces)
        environ = environ_of(method, target, fields, body)
        alone = recording.play(recording.app, environ, body)
        guarded = recording.play(shell, environ, body)
        # Before the success of a DELETE or MOVE goes out its locks end, so its start waits for the first piece.
        settled = method in ("DELETE", "MOVE", "COPY")
        if settled:
            started = [entry for entry in guarded if isinstance(entry, tuple) and entry[0] == "started"]
            assert len(started) == 1
            guarded, alone = (sorted(merged(log), key=repr) for log in (guarded, alone))
        assert guarded == alone, (method, target)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "MOVE"])
def test_wsgi_an_endless_answer_is_passed_on_piece_by_piece(method):
    made: list[int] = []

    def events(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(100):
            made.append(number)
            yield b"%d" % number

    for policy in POLICIES.values():
        made.clear()
        shell = WsgiMiddleware(events, store=MemoryLockStore(processes="allow"), policy=policy)
        answer = shell(environ_of(method, "/a", WHERE), lambda *_: None)
        for number, piece in enumerate(answer):
            assert (piece, made[-1]) == (b"%d" % number, number)
        assert len(made) == 100
        close = getattr(answer, "close", None)
        if close is not None:
            close()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_wsgi_an_application_may_change_its_mind_before_the_first_piece(method):
    """PEP 3333: start_response again, with exc_info, as error pages do."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            int("late")
        except ValueError as error:
            start_response("500 Oops", [("X-Error", "1")], (ValueError, error, error.__traceback__))
        return [b"sorry"]

    shell = WsgiMiddleware(app, store=MemoryLockStore(processes="allow"))
    got = wsgi(shell, method, "/a")
    assert (got.status, got["x-error"], got.body) == (500, "1", b"sorry")


def test_wsgi_file_wrappers_of_the_server_reach_the_server():
    """What sendfile is done by must come back as it is, on the methods that files are sent for."""

    class Wrapper:
        def __iter__(self) -> Iterator[bytes]:
            yield b"file"

    wrapper = Wrapper()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return wrapper

    for policy in POLICIES.values():
        shell = WsgiMiddleware(app, store=MemoryLockStore(processes="allow"), policy=policy)
        assert shell(environ_of("GET", "/a"), lambda *_: None) is wrapper
