"""Many requests at once, each on a connection of its own, and when each was sent and answered.

Knows: HTTP/1.1 as far as one answer on a connection that closes after it; the monotonic clock.
Must not know: locks, servers.

    answers = herd([Asked(port, "LOCK", "/a", {"X-User": "u1"}, body), Asked(port, "PUT", "/a")])
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from support.direct import Got

__all__ = ["NO_ANSWER", "Asked", "Heard", "ask", "herd"]

HOST = "127.0.0.1"
SECONDS = 60.0
NO_ANSWER = 0
"""The status of a request whose connection ended before the answer did."""


@dataclass(frozen=True)
class Asked:
    """One request. after: seconds to wait before it is sent."""

    port: int
    method: str
    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


@dataclass(frozen=True)
class Heard:
    """The answer to `asked`. sent, heard: ns of CLOCK_MONOTONIC, before the first byte, after the last."""

    asked: Asked
    got: Got
    sent: int
    heard: int

    @property
    def status(self) -> int:
        return self.got.status


def herd(requests: Sequence[Asked]) -> list[Heard]:
    """All of them at once, in the order in which they were given."""
    return asyncio.run(_herd(requests))


def ask(port: int, method: str, path: str, fields: Mapping[str, str] | None = None, body: bytes = b"") -> Heard:
    """One alone."""
    return herd([Asked(port, method, path, fields or {}, body)])[0]


async def _herd(requests: Sequence[Asked]) -> list[Heard]:
    async with asyncio.timeout(SECONDS):
        return list(await asyncio.gather(*map(_one, requests)))


async def _one(asked: Asked) -> Heard:
    await asyncio.sleep(asked.after)
    sent = time.monotonic_ns()
    raw = b""
    try:
        reader, writer = await asyncio.open_connection(HOST, asked.port)
        try:
            writer.write(_head(asked) + asked.body)
            raw = await reader.read()
        finally:
            writer.close()
    except OSError:  # reset, or refused: whoever should have answered is gone
        pass
    return Heard(asked, _parsed(raw), sent, time.monotonic_ns())


def _head(asked: Asked) -> bytes:
    fields = {"Host": f"{HOST}:{asked.port}", "Connection": "close", **asked.fields}
    if asked.body or asked.method in ("PUT", "POST"):
        fields["Content-Length"] = str(len(asked.body))
    lines = [f"{asked.method} {asked.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _parsed(raw: bytes) -> Got:
    """NO_ANSWER for one that did not come as a whole."""
    head, found, body = raw.partition(b"\r\n\r\n")
    if not found:
        return Got(NO_ANSWER)
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    got = Got(int(first.split()[1]), pairs, (body,))
    length = got["content-length"]
    return got if length is None or len(body) == int(length) else Got(NO_ANSWER)
