"""A request as the folder reads it, and an answer as it is sent: the ASGI side of the folder, without its methods.

Knows: scopes, header fields, bodies, `Depth`, `Overwrite`, `Destination` (RFC 4918 section 10). Must not know: files
(but for sending one that is open), properties, what a method does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

import anyio.to_thread

from locklib.demo.davxml import error_document
from locklib.demo.problem import Problem
from locklib.demo.tree import Address, address_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["CHUNK", "Answer", "Disconnected", "Request", "answer_to", "receive_chunk", "request_of", "send_answer"]

CHUNK = 256 * 1024  # bytes read or written at once
TEXT = "text/plain; charset=utf-8"
DAV_XML = 'application/xml; charset="utf-8"'


class Disconnected(Exception):
    """The client went away in the middle of its request; there is nobody left to answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a method needs: `mount` is the decoded path in front of the folder, `fields` have lower-case names."""

    method: str
    mount: str
    address: Address
    fields: Mapping[str, str]
    receive: Receive

    def href(self, path: str) -> str:
        """`path`, percent-encoded and inside the folder, as seen from outside."""
        return quote(self.mount) + path

    def depth(self, *, allowed: str) -> str:
        """The Depth field, `infinity` by default; `allowed` lists the values by spaces (RFC 4918 section 10.2)."""
        value = self.fields.get("depth", "infinity").lower()
        if value not in allowed.split():
            raise Problem(400, f"Depth: {value!a} cannot be used with {self.method}; it takes: {allowed}")
        return value

    @property
    def overwrite(self) -> bool:
        # Overwrite = "Overwrite" ":" ("T" | "F")      RFC 4918 section 10.6
        value = self.fields.get("overwrite", "T").upper()
        if value not in ("T", "F"):
            raise Problem(400, f"Overwrite: {value!a} is malformed; expected T or F")
        return value == "T"

    @property
    def destination(self) -> Address:
        """Where COPY and MOVE go (RFC 4918 section 10.3). Raises `Problem` 400, or 502 for another server's URL."""
        value = self.fields.get("destination")
        if value is None:
            raise Problem(400, f"{self.method} needs a Destination; it is missing")
        mount, path = self.mount, _destination_path(value, self.fields.get("host", ""))
        if mount and path != mount and not path.startswith(mount + "/"):
            raise Problem(502, "the Destination is outside of this folder; copy it by GET and PUT")
        return address_of(path.removeprefix(mount))


# Destination = "Destination" ":" Simple-ref ;  Simple-ref = absolute-URI | ( path-absolute [ "?" query ] )
def _destination_path(value: str, host: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        raise Problem(400, "the Destination is not a URL") from None
    if any(character <= " " or character == "\x7f" for character in value) or parts.fragment:
        raise Problem(400, "the Destination has a space, a control character or a fragment in it; percent-encode it")
    if bool(parts.scheme) != bool(parts.netloc) or not parts.path.startswith("/"):
        raise Problem(400, "the Destination is neither an absolute URL nor an absolute path")
    if parts.scheme and (parts.scheme not in ("http", "https") or _authority(parts.netloc) != _authority(host)):
        raise Problem(502, "the Destination is on another server; copy it by GET and PUT")
    return decoded(parts.path.encode("latin-1"))


def _authority(text: str) -> str:
    """Host and port for comparing. The scheme is not compared: a proxy may have ended TLS in front of us."""
    plain = text.rpartition("@")[2].lower().removesuffix(":")
    return plain.removesuffix(":80").removesuffix(":443")


def decoded(raw: bytes) -> str:
    """A raw path without its percent-encoding. Raises `Problem` 400 where two readings are possible."""
    if b"%2f" in raw.lower() or b"#" in raw:
        raise Problem(400, "the path holds an encoded slash or a '#'; neither names anything here")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Problem(400, "the path is not UTF-8") from None


def request_of(scope: Scope, receive: Receive, prefix: str) -> Request:
    """Read the head of a request. Raises `Problem` where the path cannot name anything in the folder."""
    if scope.get("raw_path"):
        decoded(scope["raw_path"])  # only to refuse; what is served is the path as the server decoded it
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if path == root or path.startswith(root + "/"):
        path = path.removeprefix(root)
    if prefix and path != prefix and not path.startswith(prefix + "/"):
        raise Problem(404, f"the folder is at {prefix}/")
    address = address_of(path.removeprefix(prefix))
    return Request(scope["method"], root + prefix, address, _fields(scope), receive)


def _fields(scope: Scope) -> dict[str, str]:
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


async def receive_chunk(request: Request) -> tuple[bytes, bool]:
    """The next piece of the body, and whether more is to come. Raises `Disconnected`."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, header fields, and a body; where `file` is given, `length` bytes of it follow `body`."""

    status: int
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: BinaryIO | None = None
    length: int = 0


def answer_to(problem: Problem) -> Answer:
    """A problem as the client reads it: DAV:error where RFC 4918 section 16 has a name for it, else a sentence."""
    if problem.condition:
        return Answer(problem.status, {"content-type": DAV_XML, **problem.headers}, error_document(problem.condition))
    return Answer(problem.status, {"content-type": TEXT, **problem.headers}, f"{problem.message}\n".encode())


async def send_answer(answer: Answer, method: str, send: Send) -> None:
    """Send an answer; to HEAD without its body."""
    fields = dict(answer.fields)
    if answer.status not in (204, 304):
        fields.setdefault("content-length", str(len(answer.body) + answer.length))
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    left, file = (0, None) if method == "HEAD" else (answer.length, answer.file)
    body = b"" if method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": left > 0})
    while left and file:
        chunk = await anyio.to_thread.run_sync(file.read, min(CHUNK, left))
        left = left - len(chunk) if chunk else 0  # a file that was cut meanwhile: the server notices the short body
        await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
