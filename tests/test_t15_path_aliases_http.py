"""T15 and I13: however a locked resource is spelled, the application does not get to write it (CVE-2026-48099 and kin).

Real applications are asked which resource they take a spelling for; where it is the locked one, the write is refused.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import types
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locklib.core.paths import Folding
from support.threats import Shell
from support.wire import SERVERS, Wire, serve

REFUSED = (400, 423)

# ---- how applications read the path that they are handed -------------------------------------------------------------


def as_windows(path: str) -> str:
    return "/".join(part if part in (".", "..") else part.rstrip(" .") for part in path.split("/"))


READERS: dict[str, Callable[[str], str]] = {
    "as a path of files": lambda path: posixpath.normpath("/" + path.lstrip("/")),
    "decoded again": unquote,
    "without parameters": lambda path: "/".join(part.partition(";")[0] for part in path.split("/")),
    "with backslashes turned": lambda path: path.replace("\\", "/"),
    "as a C string": lambda path: path.partition("\0")[0],
    "without slashes at the ends": lambda path: path.strip("/"),
}
FOLDERS: dict[str, tuple[Folding, Callable[[str], str]]] = {
    "case": (Folding(case=True), str.casefold),
    "unicode": (Folding(unicode=True), lambda path: unicodedata.normalize("NFC", path)),
    "windows": (Folding(windows=True), as_windows),
}
ORDERS = [
    order for length in range(4) for order in itertools.product(READERS.values(), repeat=length)
]  # each application does some of it, in some order


def read_by(order: tuple[Callable[[str], str], ...], path: str) -> str:
    for reader in order:
        path = reader(path)
    return "/" + path.strip("/")


def same_somewhere(path: str, locked: str) -> bool:
    """Whether an application that reads paths in any of these ways takes both for one."""
    return any(read_by(order, path) == read_by(order, locked) for order in ORDERS)


# ---- the applications ------------------------------------------------------------------------------------------------


class Reached:
    """Behind a real framework's router: the path that its handler was given for each write, as the router gave it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def write(self, method: str, path: str) -> str:
        if method not in ("HEAD", "GET"):
            self.paths.append("/" + path)
        return "ok"


METHODS = ["HEAD", "GET", "PUT", "DELETE"]


def starlette(reached: Reached):
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def handle(request):
        return PlainTextResponse(reached.write(request.method, request.path_params["path"]))

    return "asgi", Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)])


def starlette_fixed(reached: Reached):
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def handle(request):
        return PlainTextResponse(reached.write(request.method, "a/b"))

    return "asgi", Starlette(routes=[Mount("/a", routes=[Route("/b", handle, methods=METHODS)])])


def fastapi(reached: Reached):
    from fastapi import FastAPI, Request

    async def handle(request, path):
        return reached.write(request.method, path)

    handle.__annotations__ |= {"request": Request, "path": str}
    app = FastAPI()
    app.add_api_route("/{path:path}", handle, methods=METHODS)
    return "asgi", app


def flask(reached: Reached):
    from flask import Flask, request

    app = Flask("aliases")

    @app.route("/", defaults={"path": ""}, methods=METHODS)
    @app.route("/<path:path>", methods=METHODS)
    def handle(path):
        return reached.write(request.method, path)

    return "wsgi", app


def flask_fixed(reached: Reached):
    from flask import Flask, request

    app = Flask("aliases")

    @app.route("/a/b", methods=METHODS, strict_slashes=False)
    def handle():
        return reached.write(request.method, "a/b")

    return "wsgi", app


def django(kind: str):
    def made(reached: Reached):
        from django.conf import settings
        from django.core.handlers.asgi import ASGIHandler
        from django.core.handlers.wsgi import WSGIHandler
        from django.http import HttpResponse
        from django.test import override_settings
        from django.urls import re_path

        if not settings.configured:
            settings.configure()

        def handle(request, path):
            return HttpResponse(reached.write(request.method, path))

        urls = types.ModuleType("aliases_urls")
        urls.urlpatterns = [re_path(r"^(?P<path>(?s:.*))$", handle)]
        ours = {"ROOT_URLCONF": urls, "ALLOWED_HOSTS": ["*"], "MIDDLEWARE": [], "APPEND_SLASH": False, "DEBUG": False}
        with override_settings(**ours):
            handler = (ASGIHandler if kind == "asgi" else WSGIHandler)()

        def wsgi(environ, start_response):
            with override_settings(**ours):
                return handler(environ, start_response)

        async def asgi(scope, receive, send):
            with override_settings(**ours):
                await handler(scope, receive, send)

        return kind, asgi if kind == "asgi" else wsgi

    return made


APPLICATIONS = {
    "starlette": starlette,
    "starlette-fixed": starlette_fixed,
    "fastapi": fastapi,
    "flask": flask,
    "flask-fixed": flask_fixed,
    "django-wsgi": django("wsgi"),
    "django-asgi": django("asgi"),
}


class Guarded:
    """One real application, bare and behind locks."""

    def __init__(self, make, folding: Folding | None = None) -> None:
        self.bare, self.inside = Reached(), Reached()
        kind, bare = make(self.bare)
        _, inside = make(self.inside)
        # exempt everywhere: the same road to the application, and nothing looked up
        self.open = Shell(kind, app=bare, routes=[("/", "exempt")])
        self.shut = Shell(kind, app=inside, **({} if folding is None else {"folding": folding}))

    def close(self) -> None:
        self.open.close()
        self.shut.close()

    def read(self, target: str) -> str | None:
        """The path that the handler is given for a target, or None: it is not reached."""
        self.bare.paths.clear()
        self.open("PUT", target, {}, b"x", user="bob")
        return self.bare.paths[0] if self.bare.paths else None

    def refused(self, target: str, method: str = "PUT") -> tuple[int, list[str]]:
        self.inside.paths.clear()
        got = self.shut(method, target, {}, b"x", user="bob")
        return got.status, self.inside.paths


@pytest.fixture(scope="module", params=APPLICATIONS)
def application(request):
    guarded = Guarded(APPLICATIONS[request.param])
    guarded.shut.lock("/a/b", "alice", depth="0")
    yield guarded
    guarded.close()


ALIASES = {
    "itself": "/a/b",
    "two slashes": "/a//b",
    "two slashes in front": "//a/b",
    "dot": "/a/./b",
    "dots": "/a/c/../b",
    "dots above the root": "/../a/b",
    "encoded dots": "/a/c/%2e%2e/b",
    "half encoded dots": "/a/c/.%2E/b",
    "encoded": "/a/%62",
    "encoded slash": "/a%2Fb",
    "encoded slash, lower case": "/a%2fb",
    "trailing slash": "/a/b/",
    "trailing dot": "/a/b/.",
    "parameters": "/a/b;x=1",
    "encoded parameters": "/a/b%3Bx=1",
    "parameters inside": "/a;x/b",
    "dots with parameters": "/a/c/..;/b",
    "backslash": "/a\\b",
    "encoded backslash": "/a%5Cb",
    "backslash dots": "/a/c\\..\\b",
    "NUL": "/a/b%00",
    "NUL and more": "/a/b%00.txt",
    "twice encoded": "/a/%2562",
    "twice encoded slash": "/a%252Fb",
    "twice encoded dots": "/a/c/%252e%252e/b",
    "twice encoded NUL": "/a/b%2500",
    "three times encoded": "/a/%252562",
    "query": "/a/b?x=1",
    "empty query": "/a/b?",
    "slashes everywhere": "///a///b///",
    "climbing through a sibling": "/c/%2e%2e%2fa/b",
}


@pytest.mark.parametrize("target", ALIASES.values(), ids=ALIASES.keys())
def test_t15_an_alias_does_not_reach_the_locked_resource(target, application):
    locked = application.read("/a/b")
    assert locked == "/a/b"
    path = application.read(target)
    for method in ("PUT", "DELETE"):
        status, reached = application.refused(target, method)
        if path is not None and same_somewhere(path, locked):
            assert status in REFUSED
            assert reached == []
        # a needless 423 is a nuisance, never silent: it is the same refusal as for the plain spelling
        assert status in (*REFUSED, 404, 405, 307, 308)


@pytest.mark.parametrize("target", ALIASES.values(), ids=ALIASES.keys())
def test_t15_a_lock_taken_by_an_alias_holds_the_plain_spelling(target, guarded):
    shell = guarded()
    got = shell("LOCK", target, {"Content-Type": "application/json"}, b"{}", user="alice")
    if "%00" in target or "%2500" in target:
        assert got.status in (200, 201, 400)
        return
    assert got.status in (200, 201)
    with shell.untouched():
        assert shell("PUT", "/a/b", {}, b"x", user="bob").status == 423


# ---- generated -------------------------------------------------------------------------------------------------------

INSERTS = [
    "/",
    "/.",
    "/./",
    "/x/..",
    "//",
    ";",
    ";p=1",
    "%2F",
    "%2f..%2f",
    "\\",
    "\\..",
    "%5C",
    "%00",
    "%2e",
    ".",
    ";%2e",
]
INSERTS += [
    "/x/%2e%2e",
    "/x/..;y",
    "/%2e",
    "%252f",
    "%25",
    "%c0%af",
    "%ff",
    "/..",
    "/x/../x/..",
    "%3b",
    "/x\\..",
    "%20",
]


def mutated(edits: list[tuple[int, str]], encodings: list[int]) -> str:
    text = "/a/b"
    for place, insert in edits:
        at = place % (len(text) + 1)
        text = text[:at] + insert + text[at:]
    for place in encodings:
        at = place % len(text)
        if text[at] not in "%" and at:
            text = text[:at] + f"%{ord(text[at]):02x}" + text[at + 1 :]
    return text if text.startswith("/") else "/" + text


SPELLINGS = st.builds(
    mutated,
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(INSERTS)), min_size=1, max_size=4),
    st.lists(st.integers(0, 40), max_size=3),
)


@pytest.mark.parametrize("name", ["starlette", "flask", "fastapi", "django-wsgi"])
def test_t15_generated_spellings(name):
    application = Guarded(APPLICATIONS[name])
    application.shut.lock("/a/b", "alice", depth="0")
    seen = {"same": 0, "refused": 0, "passed": 0}

    @given(SPELLINGS)
    def spell(target: str) -> None:
        path = application.read(target)
        status, reached = application.refused(target)
        same = path is not None and same_somewhere(path, "/a/b")
        seen["same"] += same
        seen["refused"] += status in REFUSED
        seen["passed"] += bool(reached)
        if same:
            assert status in REFUSED
            assert reached == []

    try:
        spell()
    finally:
        application.close()
    assert min(seen.values()) > 5, seen  # the examples reach all sides of it


# ---- folded ----------------------------------------------------------------------------------------------------------

FOLDED = {
    "case": ["/A/B", "/a/B", "/A%2fB"],
    "unicode": ["/a/b\u0301", "/a/%62%cc%81"],
    "windows": ["/a/b.", "/a/b%20", "/a./b", "/a/b...", "/a%20/b.%20"],
}


@pytest.mark.parametrize("name", ["starlette", "flask", "django-wsgi"])
@pytest.mark.parametrize("fold", FOLDERS)
def test_t15_spellings_that_a_folding_application_takes_for_one(fold, name):
    """Off by default, for most applications tell them apart; with the switch one key serves them all."""
    folding, reader = FOLDERS[fold]
    application = Guarded(APPLICATIONS[name], folding)
    root = "/a/%e1%b8%83" if fold == "unicode" else "/a/b"
    targets = ["/a/b%cc%a3", "/%61/b%cc%a3"] if fold == "unicode" else FOLDED[fold]
    if fold == "unicode":
        root = "/a/%e1%b8%85"
    try:
        application.shut.lock(root, "alice", depth="0")
        locked = application.read(root)
        for target in targets:
            path = application.read(target)
            assert path is not None
            if read_by((reader, *READERS.values()), path) == read_by((reader, *READERS.values()), locked):
                assert application.refused(target) == (423, []), target
            assert read_by((reader,), path) == read_by((reader,), locked) or fold == "case"
    finally:
        application.close()


@pytest.mark.parametrize("target", ["/A/B", "/a/b.", "/a/b%20", "/a/b%cc%a3", "/a/bc", "/a", "/a/b.txt"])
def test_t15_what_is_another_resource_stays_free(target, guarded):
    shell = guarded()
    shell.lock("/a/b", "alice", depth="0")
    assert shell("PUT", target, {}, b"x", user="bob").status in (201, 204)


# ---- bytes that cannot be read ---------------------------------------------------------------------------------------

UNREADABLE = ["/a/b%00", "/a/%00", "/a/b%ff", "/a/%c0%ae%c0%ae/b", "/a/b%ed%a0%80", "/a%c0%afb", "/a/b%2500"]


@pytest.mark.parametrize("target", UNREADABLE)
def test_t15_unreadable_bytes_near_a_lock_are_a_400(target, guarded):
    shell = guarded()
    shell.lock("/a/b", "alice")
    with shell.untouched():
        assert shell("PUT", target, {}, b"x", user="bob").status in REFUSED
        assert shell("DELETE", target, {}, user="bob").status in REFUSED
        assert shell("MOVE", "/free", {"Destination": target}, user="bob").status in REFUSED


@pytest.mark.parametrize("target", UNREADABLE)
def test_t15_and_pass_elsewhere(target, guarded):
    shell = guarded()
    shell.lock("/elsewhere/b", "alice")
    if target == "/a%c0%afb":  # whatever that is, it may be anywhere
        target = "/a" + target
    assert shell("PUT", target, {}, b"x", user="bob").status in (201, 204)
    assert len(shell.site.requests) == 1


# ---- on real servers -------------------------------------------------------------------------------------------------

ON_THE_WIRE = [
    "/locked",
    "/%6cocked",
    "/locked/",
    "//locked",
    "///locked",
    "/./locked",
    "/x/../locked",
    "/../locked",
    "/%2e/locked",
    "/x/%2e%2e/locked",
    "/x%2f..%2flocked",
    "/locked;x",
    "/locked%3bx",
    "/\\locked",
    "/x\\..\\locked",
    "/%5clocked",
    "/locked%00",
    "/%25%36%63ocked",
    "/locked/.",
    "/locked?x",
    "/locked/member",
    "http://x/locked",
    "HTTP://X/locked",
    "http://elsewhere.example/locked",
    "http://user@x//locked",
    "http://x:99/x/../locked",
]


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with serve(request.param) as server:
        yield server


def test_t15_on_a_server(server):
    for target in ON_THE_WIRE:
        for method in ("PUT", "DELETE"):
            with Wire(server.port) as wire:
                wire.send(
                    f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-User: bob\r\nContent-Length: 0\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                (answer,) = wire.listen()
                # uvicorn's h11 hands an absolute URL over as the path, which is no application's /locked
                assert answer.status in (400, 404, 405, 423) or "://" in target, (method, target)
    with Wire(server.port) as wire:
        wire.send(b"GET /effects HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        effects = json.loads(wire.listen()[0].body)
    assert [path for _, path in effects if same_somewhere(path, "/locked")] == []
