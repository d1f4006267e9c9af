"""Steps that many transcripts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transcripts.player import XML, Do, Got, World, lockinfo

__all__ = ["code_lock", "http", "lock", "released", "still", "unlocked"]


def lock(
    path: str,
    saves: str,
    *,
    scope: str = "exclusive",
    depth: str = "infinity",
    timeout: str = "Second-900",
    owner: str | None = None,
    who: str | None = None,
    status: int | None = None,
    send: Mapping[str, str] | None = None,
) -> Do:
    """A LOCK in XML that is granted; status None: 200 or 201."""
    fields = {**XML, "Depth": depth, "Timeout": timeout, **(send or {})}
    return Do("LOCK", path, fields, lockinfo(scope, owner), who, status or (200, 201), saves=saves)


def http(world: World, method: str, path: str, send: Mapping[str, str] | None = None, body: bytes = b"") -> Got:
    """An exchange that is looked at by code."""
    headers = [("Host", world.transcript.host), *((send or {}).items())]
    if body:
        headers.append(("Content-Length", str(len(body))))
    return world.exchange(Do(method, path), headers, body)


def code_lock(path: str, saves: str, **asked: Any) -> Callable[[World], None]:
    """A lock taken by code."""

    def run(world: World) -> None:
        taken = world.locks.acquire(path, **asked)
        world.tokens[saves] = taken.token

    return run


def released(name: str) -> Callable[[World], None]:
    """A lock given back by code."""

    def run(world: World) -> None:
        (held,) = [each for each in world.listed() if each.lock.token == world.tokens[name]]
        world.locks.release(held.lock)

    return run


def unlocked(world: World) -> bool:
    assert world.held() == []
    return True


def still(*expected: tuple[str, str]) -> Callable[[World], bool]:
    def run(world: World) -> bool:
        assert world.held() == list(expected)
        return True

    return run
