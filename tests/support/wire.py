"""Bytes to and from a server, as an attacker sends them: nothing is put right on the way.

Knows: sockets, how answers follow each other on a connection (RFC 9112 section 6). Must not know: locks.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support import servers

__all__ = ["SERVERS", "Heard", "Wire", "serve"]

HOST = "127.0.0.1"

SERVERS = [
    "uvicorn-h11",
    "uvicorn-httptools",
    "gunicorn-sync",
    "waitress",
    pytest.param("gunicorn-gthread", marks=pytest.mark.all_servers),
    pytest.param("hypercorn", marks=pytest.mark.all_servers),
]
"""One ASGI and one WSGI server at least in `make test`; those marked in `make test-all`."""


@contextlib.contextmanager
def serve(name: str) -> Iterator[servers.Server]:
    """`support.guarded` on the server `name` of SERVERS."""
    asgi, wsgi = "support.guarded:make_asgi", "support.guarded:make_wsgi"
    kind, _, variant = name.partition("-")
    match kind:
        case "uvicorn":
            started = servers.uvicorn(asgi, factory=True, http=variant, probe="/free")
        case "gunicorn":
            started = servers.gunicorn(f"{wsgi}()", worker_class=variant, threads=4 if variant == "gthread" else 1)
        case "waitress":
            started = servers.waitress(wsgi, factory=True, probe="/free")
        case "hypercorn":
            started = servers.hypercorn(f"{asgi}()", probe="/free")
        case _:
            raise ValueError(name)
    with started as server:
        yield server


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer from the wire. `lines` are the head's lines without the status line, as they came."""

    status: int
    lines: tuple[str, ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        found = (line.partition(":") for line in self.lines)
        return [value.strip() for key, _, value in found if key.lower() == name.lower()]

    @property
    def closes(self) -> bool:
        return "close" in [value.lower() for value in self.all("connection")]


class Wire:
    """A connection. `heard` are the complete answers so far, `rest` what came after them, `closed` whether it ended."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=10)
        self.raw = b""
        self.closed = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Whether all of it could be sent; a server that has closed may reset."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True
            return False
        return True

    def finish(self) -> None:
        """Say that no more will come; a server that lingers until then may end."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def listen(self, answers: int = 1, seconds: float = 5.0) -> list[Heard]:
        """Until there are so many answers (informational ones aside), or the end, or silence for `seconds`."""
        deadline = time.monotonic() + seconds
        while len(self.heard()) < answers and not self.closed:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                break
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            self.closed = not data
            self.raw += data
        return self.heard()

    def heard(self) -> list[Heard]:
        return self._parsed()[0]

    @property
    def rest(self) -> bytes:
        return self._parsed()[1]

    def _parsed(self) -> tuple[list[Heard], bytes]:
        found, rest = [], self.raw
        while b"\r\n\r\n" in rest:
            head, _, after = rest.partition(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")
            assert status_line.startswith("HTTP/1."), f"not the start of an answer: {rest[:200]!r}"
            answer = Heard(int(status_line.split()[1]), tuple(lines), b"")
            length = 0
            if 100 <= answer.status < 200:
                rest = after
                continue
            if answer.status not in (204, 304):
                declared = answer.all("content-length")
                assert len(declared) == 1, f"no one length: {head!r}"
                length = int(declared[0])
            if len(after) < length:
                break
            found.append(Heard(answer.status, answer.lines, after[:length]))
            rest = after[length:]
        return found, rest
