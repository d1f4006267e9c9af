"""A small class 1 application, written once, with an ASGI and a WSGI face. It knows nothing of locks.

Documents and collections in a dict; `says` makes it answer otherwise for a method and a path; `calls` tells every
request that reached it, the middleware's own questions among them.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

__all__ = ["Documents", "Request", "Response", "as_asgi", "as_wsgi"]


@dataclass(frozen=True)
class Request:
    """One request as the application sees it: path decoded and without the mount, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: str
    state: Any


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
Say = Response | Callable[[Request], Response]


def plain(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Response:
    typed = () if status in (204, 304) else TEXT
    return Response(status, (*typed, *headers), body)


@dataclass
class Documents:
    """The application. files: path to bytes, or None for a collection. mount: what is before its paths outside."""

    files: dict[str, bytes | None]
    mount: str = ""
    says: dict[tuple[str, str], Say | list[Say]] = field(default_factory=dict)
    calls: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        self.calls.append(request)
        said = self.says.get((request.method, request.path), self.says.get((request.method, "*")))
        if isinstance(said, list):
            said = said.pop(0) if said else None
        if said is not None:
            return said(request) if callable(said) else said
        handler = getattr(self, "do_" + request.method.lower(), None)
        return plain(405, b"", ("Allow", "GET, HEAD, PUT")) if handler is None else handler(request)

    # ---- state -------------------------------------------------------------------------------------------------

    def etag(self, path: str) -> str:
        return f'"{zlib.crc32(self.files[path] or b""):08x}"'

    def _is_collection(self, path: str) -> bool:
        return path == "/" or self.files.get(path, b"") is None

    def _parent_exists(self, path: str) -> bool:
        return self._is_collection(path.rpartition("/")[0] or "/")

    def _tree(self, path: str) -> list[str]:
        return [each for each in self.files if each == path or each.startswith(path.rstrip("/") + "/")]

    def _mapped(self, path: str) -> bool:
        return path == "/" or path in self.files

    # ---- methods -----------------------------------------------------------------------------------------------

    def do_options(self, request: Request) -> Response:
        return plain(200, b"", ("Allow", "GET, HEAD, PUT"), ("DAV", "1"))

    def do_get(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if not self._mapped(path):
            return plain(404, b"no such document")
        if self._is_collection(path):
            return plain(200, b"a collection")
        return plain(200, self.files[path] or b"", ("ETag", self.etag(path)))

    def do_head(self, request: Request) -> Response:
        answer = self.do_get(request)
        return Response(answer.status, answer.headers)

    def do_put(self, request: Request) -> Response:
        path = request.path
        exists = path in self.files
        if exists and request.headers.get("if-none-match") == "*":
            return plain(412)
        wanted = request.headers.get("if-match")
        if wanted is not None and (not exists or self.etag(path) not in wanted):
            return plain(412, b"the document is another one")
        if not self._parent_exists(path):
            return plain(409, b"no such collection")
        self.files[path] = request.body
        return plain(204 if exists else 201, b"", ("ETag", self.etag(path)))

    def do_post(self, request: Request) -> Response:
        return plain(200, b"done")

    def do_patch(self, request: Request) -> Response:
        return plain(204)

    def do_proppatch(self, request: Request) -> Response:
        return plain(207, b"<D:multistatus xmlns:D='DAV:'/>")

    def do_brew(self, request: Request) -> Response:
        return plain(200, b"tea")

    def do_mkcol(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if path in self.files:
            return plain(405)
        if not self._parent_exists(path):
            return plain(409)
        self.files[path] = None
        return plain(201)

    def do_delete(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if not self._mapped(path):
            return plain(404)
        for each in self._tree(path):
            del self.files[each]
        return plain(204)

    def do_copy(self, request: Request, *, move: bool = False) -> Response:
        target = unquote(urlsplit(request.headers.get("destination", "")).path).removeprefix(self.mount).rstrip("/")
        source = request.path.rstrip("/")
        if not target:
            return plain(400, b"no Destination")
        if source not in self.files:
            return plain(404)
        existed = target in self.files
        if existed and request.headers.get("overwrite", "T") == "F":
            return plain(412)
        if not self._parent_exists(target):
            return plain(409)
        for each in self._tree(target):
            del self.files[each]
        for each in self._tree(source):
            self.files[target + each[len(source) :]] = self.files[each]
            if move:
                del self.files[each]
        return plain(204 if existed else 201)

    def do_move(self, request: Request) -> Response:
        return self.do_copy(request, move=True)

    def do_propfind(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if not self._mapped(path):
            return plain(404)
        body = (
            '<?xml version="1.0" encoding="utf-8"?><D:multistatus xmlns:D="DAV:"><D:response>'
            f"<D:href>{quote(self.mount + path)}</D:href><D:propstat><D:prop><D:resourcetype/></D:prop>"
            "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>"
        )
        return Response(207, (("Content-Type", "application/xml; charset=utf-8"),), body.encode())


# ---- the two faces ---------------------------------------------------------------------------------------------------


def as_asgi(documents: Documents) -> Callable[..., Awaitable[None]]:
    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"].removeprefix(documents.mount) or "/"
        query = scope["query_string"].decode()
        answer = documents.answer(Request(scope["method"], path, headers, body, query, scope.get("locklib")))
        fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": answer.body})

    return app


def as_wsgi(documents: Documents) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        }
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace") or "/"
        query = environ.get("QUERY_STRING", "")
        method = environ["REQUEST_METHOD"]
        answer = documents.answer(Request(method, path, headers, body, query, environ.get("locklib")))
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, list(answer.headers))
        return [answer.body]

    return app
