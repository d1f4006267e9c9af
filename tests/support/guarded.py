"""What real servers serve in the threat tests: a `Site` behind LockMiddleware, with some locks taken beforehand.

Knows: which URLs are locked, and by whom. Must not know: what an attack is answered with.

Targets for `support.servers`: `support.guarded:make_asgi` and `support.guarded:make_wsgi`, as factories. Who asks says
so in `X-User`. `GET /effects` tells which writes reached the application.
"""

from __future__ import annotations

from typing import Any

from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core.policy import Policy
from locklib.locks import Locks
from locklib.stores.memory import MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiLocks
from support.threats import Site

__all__ = ["HOSTILE", "make_asgi", "make_wsgi"]

HOSTILE = {
    "header": "a\r\nSet-Cookie: x=1",
    "line feed": "a\nSet-Cookie: x=1",
    "carriage return": "a\rSet-Cookie: x=1",
    "NUL": "a\x00b",
    "日本": "日本",
    "latin-1": "Zoë",
    "8 kB": "x" * 8192,
    "8 kB of 日": "日" * 2730,
    "right to left": "\u202eevil\u200f",
    "escape": "\x1b[31mred",
    "lone surrogate": "a\udcff",
    "line separator": "a\u2028b\x85c",
    "a second answer": "a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}
"""Words of people that no header field may carry as they are."""

POLICY = Policy(identified=True, body_seconds=1.0)


def store_with_locks() -> MemoryLockStore:
    """`/locked` (alice, everything under it), and `/words/0` ... with each of HOSTILE as creator, reason, contact."""
    store = MemoryLockStore(processes="allow")
    locks = Locks(store, policy=POLICY)
    locks.acquire("/locked", creator="alice")
    for number, words in enumerate(HOSTILE.values()):
        locks.acquire(f"/words/{number}", creator=words, reason=words, contact=words, owner_info=words)
        locks.acquire(f"/held/{number}", creator=words, purpose="administrative", reason=words, contact=words)
    return store


def site() -> Site:
    documents = {"/locked": b"", "/victim": b"still here", "/free": b"free"}
    documents |= {f"/words/{number}": b"" for number in range(len(HOSTILE))}
    return Site(documents)


def asgi_user(scope: Any) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-user"), None)


def make_asgi() -> Any:
    return AsgiLocks(site().asgi, store=store_with_locks(), principal=asgi_user, policy=POLICY)


def make_wsgi() -> Any:
    principal = "HTTP_X_USER"
    return WsgiLocks(site().wsgi, store=store_with_locks(), principal=principal, policy=POLICY)
