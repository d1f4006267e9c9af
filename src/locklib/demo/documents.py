"""A small documents API in memory: JSON and text by name, with entity tags, on Starlette.

Knows: documents, media types, entity tags (RFC 9110), merge patches (RFC 7396). Must not know: that locks exist.

No handler awaits anything between its look at a document and its change, so on one event loop each is atomic.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from locklib.demo import preconditions
from locklib.demo.problem import Problem

__all__ = ["documents_app"]

LARGEST_DOCUMENT = 1024 * 1024  # bytes
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# A document may be text/html, and anyone may have put it there: no browser is to run what is in it.
INERT = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'; sandbox"}
SLUGS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    412: "precondition-failed",
    413: "too-large",
    415: "unsupported-type",
}

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was sent. `etag` is the opaque part of its strong entity tag."""

    body: bytes
    media_type: str
    etag: str


def documents_app() -> Starlette:
    """A new, empty set of documents.

    GET /  the list · POST /  a new document under a name made here, 201 · GET, HEAD, DELETE /{name} ·
    PUT /{name}  JSON or text, 201 or 204 · PATCH /{name}  a merge patch onto a JSON document.
    If-Match and If-None-Match are honoured (412); errors are JSON: `error`, `message`, `status`.
    """
    api = _Documents()
    routes = [
        Route("/", api.listing, methods=["GET"]),
        Route("/", api.create, methods=["POST"]),
        Route("/{name}", api.read, methods=["GET"]),
        Route("/{name}", api.put, methods=["PUT"]),
        Route("/{name}", api.patch, methods=["PATCH"]),
        Route("/{name}", api.delete, methods=["DELETE"]),
    ]
    app = Starlette(routes=routes, exception_handlers={Problem: _told, HTTPException: _told, ClientDisconnect: _gone})
    app.router.redirect_slashes = False  # `/a/` is not another name for `/a`
    return app


class _Documents:
    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._etags = _etags()

    async def listing(self, request: Request) -> Response:
        told = [
            {"name": name, "href": _href(request, name), "type": document.media_type, "etag": f'"{document.etag}"'}
            for name, document in sorted(self._documents.items())
        ]
        return JSONResponse({"documents": told})

    async def create(self, request: Request) -> Response:
        body, media_type = await _read(request)
        name = secrets.token_urlsafe(12)
        document = self._store(name, body, media_type)
        href = _href(request, name)
        return JSONResponse({"name": name, "href": href}, 201, {"etag": f'"{document.etag}"', "location": href})

    async def read(self, request: Request) -> Response:
        document = self._need(request)
        fields = {"etag": f'"{document.etag}"', **INERT}
        try:
            _check(request, document)
        except preconditions.NotModified:
            return Response(status_code=304, headers=fields)
        return Response(document.body, headers=fields, media_type=document.media_type)

    async def put(self, request: Request) -> Response:
        body, media_type = await _read(request)
        name = request.path_params["name"]
        there = self._documents.get(name)
        _check(request, there)
        document = self._store(name, body, media_type)
        return Response(status_code=204 if there else 201, headers={"etag": f'"{document.etag}"'})

    async def patch(self, request: Request) -> Response:
        sent = await _body(request)
        document = self._need(request)
        _check(request, document)
        if _media_type(request.headers) not in (JSON, MERGE_PATCH) or document.media_type != JSON:
            raise Problem(415, f"PATCH takes {MERGE_PATCH} and a document that is JSON; PUT a text as a whole")
        merged = _merged(document.body, sent)
        new = self._store(request.path_params["name"], merged, JSON)
        return Response(merged, headers={"etag": f'"{new.etag}"'}, media_type=JSON)

    async def delete(self, request: Request) -> Response:
        _check(request, self._need(request))
        del self._documents[request.path_params["name"]]
        return Response(status_code=204)

    def _need(self, request: Request) -> Document:
        name = request.path_params["name"]
        if name not in self._documents:
            raise Problem(404, f"there is no document {name!a}; GET / lists those that are")
        return self._documents[name]

    def _store(self, name: str, body: bytes, media_type: str) -> Document:
        self._documents[name] = document = Document(body, media_type, next(self._etags))
        return document


def _etags() -> Iterator[str]:
    """Each but once, over restarts too: those of another run begin differently."""
    run = secrets.token_hex(4)
    return (f"{run}-{number}" for number in itertools.count(1))


def _href(request: Request, name: str) -> str:
    return f"{quote(request.scope.get('root_path', '').rstrip('/'))}/{quote(name)}"


def _fields(headers: Headers) -> dict[str, str]:
    return {name: ", ".join(headers.getlist(name)) for name in set(headers.keys())}


def _check(request: Request, document: Document | None) -> None:
    etag = document.etag if document else None
    preconditions.check(request.method, _fields(request.headers), exists=document is not None, etag=etag)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_DOCUMENT:
            raise Problem(413, f"a document is at most {LARGEST_DOCUMENT} bytes")
    return bytes(body)


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "text/plain").partition(";")[0].strip().lower()


async def _read(request: Request) -> tuple[bytes, str]:
    """Body and media type of a document. Raises `Problem` 400, 413, 415 for what is none."""
    body, media_type = await _body(request), _media_type(request.headers)
    if media_type == JSON:
        _parse(body)
    elif not media_type.startswith("text/"):
        raise Problem(415, f"a document is {JSON} or text, not {media_type!a}")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the document is not UTF-8") from None
    return body, media_type


def _parse(body: bytes) -> Json:
    try:
        value: Json = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON in UTF-8, or nested too deeply to be read") from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _merged(body: bytes, patch: bytes) -> bytes:
    try:
        return json.dumps(_merge(_parse(body), _parse(patch)), ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError):
        raise Problem(400, "the patch is nested too deeply, or has half a surrogate pair in it") from None


# MergePatch(Target, Patch)      RFC 7396 section 2
def _merge(target: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


async def _told(_: Request, error: Exception) -> Response:
    """An error as JSON."""
    if isinstance(error, HTTPException):  # what Starlette itself refuses: no route, or not by this method
        error = Problem(error.status_code, error.detail, headers=error.headers)
    assert isinstance(error, Problem)  # noqa: S101 - nothing else is registered for this handler
    slug = SLUGS.get(error.status, "error")
    told = {"error": slug, "message": error.message, "status": error.status}
    return JSONResponse(told, error.status, error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    """For the log: the client went away in the middle of its body, so nothing was changed and nobody reads this."""
    return Response(status_code=400)
