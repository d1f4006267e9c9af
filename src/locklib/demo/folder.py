"""A WebDAV folder of class 1 over a directory, as one plain ASGI application (RFC 4918 sections 9 and 18.1).

Knows: what each method does, in which order it looks and answers. Must not know: that locks exist, and `If`.

Every method is a synchronous function over `Tree` and `PropertyStore` that runs in a worker thread; only PUT, which
takes its body as it comes, has an asynchronous part. Whatever changes something looks, checks and changes inside one
`PropertyStore.changing()`, so two requests cannot both believe that they are first.

    uvicorn:   app = Folder(Path("/srv/files"))
    mounted:   Mount("/dav", Folder(Path("/srv/files")))     the mount is taken from `root_path`
    by prefix: Folder(Path("/srv/files"), prefix="/dav")     for servers and routers that keep the whole path
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread
from werkzeug.http import http_date

from locklib.demo import davxml, preconditions, properties
from locklib.demo.download import file_answer
from locklib.demo.message import (
    CHUNK,
    DAV_XML,
    Answer,
    Disconnected,
    Request,
    answer_to,
    receive_chunk,
    request_of,
    send_answer,
)
from locklib.demo.problem import Problem, problem_of
from locklib.demo.propstore import PropertyStore
from locklib.demo.tree import Address, Entry, Tree, burn, open_served, stamp

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["Folder"]

# What can be done, by what is there. The root can be neither deleted nor moved.
ALLOWED_UNMAPPED = ("OPTIONS", "PUT", "MKCOL")
ALLOWED_ROOT = ("OPTIONS", "GET", "HEAD", "COPY", "PROPFIND", "PROPPATCH")
ALLOWED_COLLECTION = (*ALLOWED_ROOT, "DELETE", "MOVE")
ALLOWED_FILE = (*ALLOWED_COLLECTION, "PUT")

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1>
<ul>
{items}</ul>
</html>
"""


class Folder:
    """Serve the files under `root`.

    `root` is an existing directory; a hidden directory is made in it for properties and unfinished uploads. `prefix`
    is a path without a slash at its end, in front of every URL of the folder, beside the `root_path` of a mount.
    Raises `NotADirectoryError` for a root that is none, `ValueError` for a prefix that is none.
    """

    def __init__(self, root: Path, *, prefix: str = "") -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"prefix {prefix!r}: expected a path such as '/dav', beginning but not ending with '/'")
        self._prefix = prefix
        self._tree = Tree(root)
        self._dead = PropertyStore(self._tree.hidden / "properties.db")

    @property
    def hidden(self) -> Path:
        """The directory in the root that nobody is shown: a place for what belongs to the folder, its locks too."""
        return self._tree.hidden

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except Disconnected:
            return
        try:
            await send_answer(answer, scope["method"], send)
        finally:
            if answer.file:
                answer.file.close()

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            if scope["method"] == "OPTIONS" and scope["path"] in ("*", "/*"):
                return _options(ALLOWED_FILE)
            return await self._do(request_of(scope, receive, self._prefix))
        except Problem as problem:
            return answer_to(problem)
        except OSError as error:
            known = problem_of(error)
            if known is None:
                raise
            return answer_to(known)
        except sqlite3.OperationalError as error:
            return answer_to(
                Problem(503, f"the properties cannot be reached now: {error}", headers={"retry-after": "1"})
            )

    async def _do(self, request: Request) -> Answer:
        if request.method == "PUT":
            return await self._put(request)
        if request.method in READ_BODY:
            body = await _whole_body(request, READ_BODY[request.method])
            return await anyio.to_thread.run_sync(partial(WITH_BODY[request.method], self, request, body))
        method = WITHOUT_BODY.get(request.method, Folder._no_such_method)
        return await anyio.to_thread.run_sync(method, self, request)

    # --- reading ---

    def _options(self, request: Request) -> Answer:
        return _options(self._allowed(request.address))

    def _get(self, request: Request) -> Answer:
        entry = self._tree.need(request.address)
        if entry.is_collection:
            return self._listing(request, entry)
        file = os.fdopen(open_served(entry), "rb", buffering=0)
        try:
            return file_answer(request, Entry(entry.address, entry.place, os.fstat(file.fileno())), file)
        except BaseException:
            file.close()
            raise

    def _listing(self, request: Request, entry: Entry) -> Answer:
        href = request.href(entry.path)
        fields = {
            "content-type": entry.media_type,
            "content-location": href,
            "last-modified": http_date(entry.modified),
        }
        try:
            preconditions.check(request.method, request.fields, exists=True)
        except preconditions.NotModified:
            return Answer(304)
        links = [(request.href(item.path), item.name + "/" * item.is_collection) for item in self._tree.members(entry)]
        items = "".join(f'<li><a href="{escape(link)}">{escape(name)}</a></li>\n' for link, name in links)
        page = PAGE.format(title=escape(f"/{entry.address.key}"), items=items).encode("utf-8", "replace")
        return Answer(200, {**fields, "content-security-policy": "default-src 'none'"}, page)

    def _propfind(self, request: Request, body: bytes) -> Answer:
        if request.depth(allowed="0 1 infinity") == "infinity":
            raise Problem(403, "a whole tree is not listed at once; use Depth 1", condition="propfind-finite-depth")
        entry = self._tree.need(request.address)
        find = davxml.propfind_of(body)
        preconditions.check(request.method, request.fields, exists=True, etag=entry.etag, modified=entry.modified)
        members = self._tree.members(entry) if request.fields["depth"] == "1" and entry.is_collection else []
        with self._dead.reading() as dead:
            told = [
                properties.describe(find, each, dead.of(each.address.key), request.href(each.path))
                for each in (entry, *members)
            ]
        return _multistatus(told)

    # --- changing ---

    def _proppatch(self, request: Request, body: bytes) -> Answer:
        steps = davxml.instructions_of(body)
        with self._dead.changing() as dead:
            entry = self._tree.need(request.address)
            self._check(request, entry)
            stats = properties.update(steps, entry.address.key, dead)
        return _multistatus([davxml.response(request.href(entry.path), stats)])

    async def _put(self, request: Request) -> Answer:
        await anyio.to_thread.run_sync(self._may_put, request)
        staged = self._tree.staged()
        try:
            with staged.open("xb", buffering=0) as file:
                rest = await _spool(request, file)
                return await anyio.to_thread.run_sync(self._finish_put, request, staged, file, rest)
        finally:
            burn(staged)

    def _may_put(self, request: Request) -> Entry | None:
        """What PUT would write over. Raises `Problem` for what forbids it, so that a long body is not taken in vain."""
        if "content-range" in request.fields:
            raise Problem(400, "a part of a file cannot be put (RFC 9110 section 14.5); send the whole")
        entry = self._tree.look(request.address)
        if request.address.slash or (entry and entry.is_collection):
            raise self._not_allowed(request.address)
        self._tree.need_parent(request.address)
        self._check(request, entry)
        return entry

    def _finish_put(self, request: Request, staged: Path, file: BinaryIO, rest: bytes) -> Answer:
        _write(file, rest)
        file.close()
        with self._dead.changing() as dead:
            entry = self._may_put(request)
            if entry is None:
                dead.forget(request.address.key)
            stamp(staged)
            self._tree.put_in_place(staged, self._tree.need_parent(request.address))
            written = self._tree.need(request.address)
        return Answer(204 if entry else 201, {"etag": f'"{written.etag}"'})

    def _mkcol(self, request: Request, _: bytes) -> Answer:
        with self._dead.changing() as dead:
            address = Address(request.address.names)  # with or without a slash: a file is in the way of both
            entry = self._tree.look(address)
            self._check(request, entry)
            if entry:
                raise self._not_allowed(address)
            dead.forget(address.key)
            self._tree.make_collection(address)
        return Answer(201)

    def _delete(self, request: Request) -> Answer:
        with self._dead.changing() as dead:
            entry = self._tree.need(request.address)
            if entry.is_collection:
                request.depth(allowed="infinity")
            if not request.address.names:
                raise Problem(403, "the folder itself is not deleted; delete its members")
            self._check(request, entry)
            dead.forget(entry.address.key)
            self._tree.delete(entry)
        return Answer(204)

    def _copy(self, request: Request) -> Answer:
        deep = request.depth(allowed="0 infinity") == "infinity"
        with self._dead.changing() as dead:
            source, target, place, there = self._transfer(request, deep=deep)
            self._tree.copy(source, place, deep=deep)
            dead.copy(source.address.key, target.key, deep=deep and source.is_collection)
        return Answer(204 if there else 201)

    def _move(self, request: Request) -> Answer:
        with self._dead.changing() as dead:
            source, target, place, there = self._transfer(request, deep=True)
            if source.is_collection:
                request.depth(allowed="infinity")
            self._tree.put_in_place(source.place, place)
            dead.move(source.address.key, target.key)
        return Answer(204 if there else 201)

    def _transfer(self, request: Request, *, deep: bool) -> tuple[Entry, Address, Path, Entry | None]:
        """Source, destination, where that is on disk, and what is there; all that RFC 4918 9.8.5 and 9.9.4 refuse."""
        target, overwrite = request.destination, request.overwrite
        source = self._tree.need(request.address)
        self._check(request, source)
        if target.names == source.address.names:
            raise Problem(403, f"source and Destination of the {request.method} are the same")
        if deep and source.is_collection and target.is_under(source.address):
            raise Problem(403, f"the Destination of the {request.method} is inside of what would be transferred")
        if source.address.is_under(target):
            raise Problem(403, f"the {request.method} would write over a collection that its source is in")
        place = self._tree.need_parent(target)
        there = self._tree.look(Address(target.names))
        if there and not overwrite:
            raise Problem(412, "there is something at the Destination, and Overwrite is F")
        if target.slash and not source.is_collection and not (there and there.is_collection):
            raise Problem(409, "the Destination ends with a slash, but what would be there is a file")
        return source, target, place, there

    # --- what they share ---

    def _check(self, request: Request, entry: Entry | None) -> None:
        preconditions.check(
            request.method,
            request.fields,
            exists=entry is not None,
            etag=entry.etag if entry else None,
            modified=entry.modified if entry else None,
        )

    def _allowed(self, address: Address) -> tuple[str, ...]:
        entry = self._tree.look(address)
        if entry is None:
            return tuple(method for method in ALLOWED_UNMAPPED if method != "PUT" or not address.slash)
        if not entry.is_collection:
            return ALLOWED_FILE
        return ALLOWED_COLLECTION if address.names else ALLOWED_ROOT

    def _not_allowed(self, address: Address) -> Problem:
        allowed = ", ".join(self._allowed(address))
        return Problem(405, f"this cannot be done here; what can: {allowed}", headers={"allow": allowed})

    def _no_such_method(self, request: Request) -> Answer:
        raise self._not_allowed(request.address)


WITHOUT_BODY: Mapping[str, Callable[[Folder, Request], Answer]] = {
    "OPTIONS": Folder._options,
    "GET": Folder._get,
    "HEAD": Folder._get,
    "DELETE": Folder._delete,
    "COPY": Folder._copy,
    "MOVE": Folder._move,
}
WITH_BODY: Mapping[str, Callable[[Folder, Request, bytes], Answer]] = {
    "PROPFIND": Folder._propfind,
    "PROPPATCH": Folder._proppatch,
    "MKCOL": Folder._mkcol,
}
# The largest body of each, and what is said to a larger one. MKCOL has none (RFC 4918 section 9.3).
READ_BODY: Mapping[str, tuple[int, int, str]] = {
    "PROPFIND": (davxml.LARGEST_BODY, 413, "the body is larger than 64 KiB; ask for less at once"),
    "PROPPATCH": (davxml.LARGEST_BODY, 413, "the body is larger than 64 KiB; change less at once"),
    "MKCOL": (0, 415, "MKCOL takes no body here; send none, then PROPPATCH"),
}


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _whole_body(request: Request, bounds: tuple[int, int, str]) -> bytes:
    limit, status, message = bounds
    body, more = bytearray(), True
    while more:
        chunk, more = await receive_chunk(request)
        body += chunk
        if len(body) > limit:
            raise Problem(status, message)
    return bytes(body)


async def _spool(request: Request, file: BinaryIO) -> bytes:
    """Write the body to `file` as it comes, in large pieces. The last piece is handed back."""
    waiting, more = bytearray(), True
    while more:
        chunk, more = await receive_chunk(request)
        waiting += chunk
        if more and len(waiting) >= CHUNK:
            await anyio.to_thread.run_sync(_write, file, bytes(waiting))
            waiting.clear()
    return bytes(waiting)


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _options(allowed: tuple[str, ...]) -> Answer:
    return Answer(200, {"dav": "1", "allow": ", ".join(allowed), "ms-author-via": "DAV"})


def _multistatus(responses: list[str]) -> Answer:
    return Answer(207, {"content-type": DAV_XML}, davxml.multistatus(responses))
