"""The application that requests are let through to: a class 1 folder in a dict, behind ASGI and WSGI.

Knows: what a request does to a folder (RFC 4918 without locks), and what it was asked. Must not know: a lock.

It never raises and never answers 5xx, so whatever is worse than that is not its fault.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["MEMBERS", "Folder", "resolved"]

Pairs = list[tuple[str, str]]
Answer = tuple[int, Pairs, bytes]

MEMBERS: dict[str, bytes | None] = {"/": None, "/a": b"text", "/c": None, "/c/a": b"text", "/c/d": None, "/e": b""}
"""What it holds at first; None is a collection."""

FORBIDDEN = "/f"
"""Nobody may do anything here: what permission has to say comes before locks."""


def resolved(path: str) -> str:
    """The one reading of a decoded path that this application has: dot segments and empty ones gone."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept)


class Folder:
    """heard: every request that reached it, as (method, path, status)."""

    def __init__(self, mount: str = "") -> None:
        self.mount = mount
        self.tree = dict(MEMBERS)
        self.heard: list[tuple[str, str, int]] = []

    def answer(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        path = resolved(path)
        does = DOES.get(method.upper())
        if path == FORBIDDEN or path.startswith(FORBIDDEN + "/"):
            answer: Answer = (403, [], b"")
        else:
            answer = (405, [], b"") if does is None else does(self, path, fields, body)
        self.heard.append((method, path, answer[0]))
        return answer

    def at_or_under(self, path: str) -> list[str]:
        return [name for name in self.tree if name == path or name.startswith(path.rstrip("/") + "/")]

    def has_parent(self, path: str) -> bool:
        above = path.rpartition("/")[0] or "/"
        return above in self.tree and self.tree[above] is None

    def get(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if path not in self.tree:
            return 404, [], b""
        text = self.tree[path]
        return 200, [("ETag", f'"{len(text or b"")}"'), ("Content-Type", "text/plain")], text or b""

    def put(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if path in self.tree and fields.get("if-none-match") == "*":
            return 412, [], b""
        if self.tree.get(path, b"") is None:
            return 405, [], b""
        if not self.has_parent(path):
            return 409, [], b""
        made = path not in self.tree
        self.tree[path] = body
        return 201 if made else 204, [], b""

    def post(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        text = self.tree.get(path)
        if text is None:
            return 404, [], b""
        self.tree[path] = (text + body)[-1000:]
        return 200, [], b"ok"

    def mkcol(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if path in self.tree:
            return 405, [], b""
        if not self.has_parent(path):
            return 409, [], b""
        self.tree[path] = None
        return 201, [], b""

    def delete(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if path == "/":
            return 403, [], b""
        for name in (gone := self.at_or_under(path)):
            del self.tree[name]
        return 204 if gone else 404, [], b""

    def copy(self, path: str, fields: Mapping[str, str], body: bytes, *, move: bool = False) -> Answer:
        there = self.destination(fields.get("destination", ""))
        if there is None or path not in self.tree:
            return 404, [], b""
        if any((one + "/").startswith(other.rstrip("/") + "/") for one, other in ((path, there), (there, path))):
            return 403, [], b""
        if not self.has_parent(there):
            return 409, [], b""
        overwritten = there in self.tree
        if overwritten and fields.get("overwrite", "T").strip().upper() == "F":
            return 412, [], b""
        for name in self.at_or_under(there):
            del self.tree[name]
        for name in self.at_or_under(path):
            self.tree[there + name[len(path) :]] = self.tree.pop(name) if move else self.tree[name]
        return 204 if overwritten else 201, [], b""

    def move(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        return (403, [], b"") if path == "/" else self.copy(path, fields, body, move=True)

    def destination(self, said: str) -> str | None:
        """The path that a Destination names; None where there is none, or it is elsewhere."""
        try:
            path = resolved(unquote(urlsplit(said.strip(" \t").encode("latin-1").decode("utf-8", "replace")).path))
        except ValueError:
            return None
        if not said or (path + "/").startswith(FORBIDDEN + "/") or not (path + "/").startswith(self.mount + "/"):
            return None
        return path[len(self.mount) :] or "/"

    def propfind(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if path not in self.tree:
            return 404, [], b""
        found = [path] if fields.get("depth") == "0" else self.at_or_under(path)
        said = "".join(
            f"<D:response><D:href>{escape(quote(self.mount + name, errors='replace'))}</D:href><D:propstat><D:prop>"
            "<D:resourcetype/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
            for name in found
        )
        whole = f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{said}</D:multistatus>'
        return 207, [("Content-Type", "application/xml")], whole.encode()

    def proppatch(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        answer = self.propfind(path, {"depth": "0"}, b"")
        return answer if self.tree.get(path) is None else (207, answer[1], self._touched(path, answer[2]))

    def _touched(self, path: str, said: bytes) -> bytes:
        self.tree[path] = ((self.tree[path] or b"") + b"p")[-1000:]
        return said

    def options(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        return 200, [("Allow", "GET, HEAD, PUT"), ("DAV", "1")], b""

    # ---- as an application -------------------------------------------------------------------------------------------

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fields = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name[:5] == "HTTP_"}
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        length = environ.get("CONTENT_LENGTH", "")
        body = environ["wsgi.input"].read(int(length) if length.isdecimal() and len(length) < 6 else 0)
        status, headers, said = self.answer(environ["REQUEST_METHOD"], path, fields, body)
        start_response(f"{status} -", [*headers, ("Content-Length", str(len(said)))])
        return iter([said[:20], said[20:]]) if len(said) > 20 else [said]

    async def asgi(self, scope: Mapping[str, Any], receive: Callable[..., Awaitable[Any]], send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"][len(self.mount) :] if scope["path"].startswith(self.mount) else scope["path"]
        status, headers, said = self.answer(scope["method"], path, fields, body)
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": said[:20], "more_body": True})
        await send({"type": "http.response.body", "body": said[20:]})


DOES: dict[str, Callable[[Folder, str, Mapping[str, str], bytes], Answer]] = {
    **{"GET": Folder.get, "HEAD": Folder.get, "PUT": Folder.put, "POST": Folder.post, "PATCH": Folder.post},
    **{"MKCOL": Folder.mkcol, "DELETE": Folder.delete, "COPY": Folder.copy, "MOVE": Folder.move},
    **{"PROPFIND": Folder.propfind, "PROPPATCH": Folder.proppatch, "OPTIONS": Folder.options},
}
