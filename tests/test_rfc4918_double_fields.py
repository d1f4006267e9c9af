"""A field that may stand once and stands twice is 400: a proxy and an application could take different ones.

ASGI shows both lines. WSGI servers join them with a comma, which no grammar of these fields allows.
"""

from __future__ import annotations

import pytest

from transcripts.player import XML, AsgiWorld, Code, Do, Transcript, World, lockinfo, play
from transcripts.steps import lock

pytestmark = pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")

TWICE = {
    "If": ("PUT", {"If": "(<{t}>)\n(<{t}>)"}, ""),
    "If on LOCK": ("LOCK", {"If": "(<{t}>)\n(<{t}>)"}, ""),
    "Destination": ("COPY", {"Destination": "/docs/c\n/docs/d"}, ""),
    "Depth": ("LOCK", {**XML, "Depth": "0\ninfinity"}, lockinfo()),
    "Lock-Token": ("UNLOCK", {"Lock-Token": "<{t}>\n<{t}>"}, ""),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_field_that_stands_twice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, send, body = TWICE[name]
    path = "/docs/a" if "{t}" in str(send) else "/docs/b"

    def twice(world: World) -> None:
        headers = [("Host", "testserver"), ("Content-Length", str(len(body)))]
        headers += [(key, world.filled(line)) for key, value in send.items() for line in value.split("\n")]
        got = world.exchange(Do(method, path), headers, body.encode())
        assert got.status == 400, (world.kind, got)
        if isinstance(world, AsgiWorld):
            assert b"one field line" in got.body, got
        assert [held.lock.root for held in world.listed()] == ["/docs/a"]

    play(Transcript(name, (lock("/docs/a", "t"), Code(twice))), monkeypatch)
