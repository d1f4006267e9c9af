"""What real servers serve when many processes share one lock file: writes that take a moment and are recorded.

Knows: the environment (below), how a write is recorded, how locklib is put around an application.
Must not know: what an answer ought to be.

Targets for `support.servers`: `support.shared_file:make_asgi`, `:make_wsgi` (factories), and, made at import as
`gunicorn --preload` wants it, `:asgi_app`, `:wsgi_app`. Who asks says so in `X-User`; answers of the application tell
the process in `X-Pid`. A PUT with `X-Seconds` takes so long.

LOCKS: the store's URL. EFFECTS: the folder of `support.effects`. EFFECT_MS: how long a write takes at most, drawn.
HOLD_WAIT: seconds a LOCK waits for writers. USED_BEFORE_FORK=1: the store is opened, asked and given a lock of
`before` on /before at import, so in the master when it preloads.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core.policy import Policy
from locklib.locks import Locks
from locklib.wsgi import LockMiddleware as WsgiLocks
from support.direct import asgi_user
from support.effects import Effects

__all__ = ["environment_of", "make_asgi", "make_wsgi"]


def environment_of(
    locks: str, effects: os.PathLike[str], *, effect_ms: float = 5.0, hold_wait: float = 10.0, before: bool = False
) -> dict[str, str]:
    """The environment of a server of this."""
    used = {"USED_BEFORE_FORK": "1"} if before else {}
    return {
        "LOCKS": locks,
        "EFFECTS": os.fspath(effects),
        "EFFECT_MS": f"{effect_ms:g}",
        "HOLD_WAIT": f"{hold_wait:g}",
        **used,
    }


class Site:
    """Every URL is a document; a GET knows them all, a PUT takes its time."""

    def __init__(self) -> None:
        self.effects = Effects(os.environ["EFFECTS"])
        self.most = float(os.environ["EFFECT_MS"]) / 1000
        self.pick = random.Random()

    def seconds(self, asked: str | None) -> float:
        return self.pick.uniform(0, self.most) if asked is None else float(asked)

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            number = self.effects.begun(environ.get("HTTP_X_USER") or "nobody", environ["PATH_INFO"])
            time.sleep(self.seconds(environ.get("HTTP_X_SECONDS")))
            self.effects.ended(number)
        start_response("200 OK", [("Content-Length", "0"), ("X-Pid", str(os.getpid()))])
        return [b""]

    async def asgi(self, scope: Mapping[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        if scope["method"] == "PUT":
            fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            number = self.effects.begun(fields.get("x-user") or "nobody", scope["path"])
            await asyncio.sleep(self.seconds(fields.get("x-seconds")))
            self.effects.ended(number)
        fields_out = [(b"content-length", b"0"), (b"x-pid", str(os.getpid()).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields_out})
        await send({"type": "http.response.body", "body": b""})


def policy() -> Policy:
    return Policy(identified=True, hold_wait=float(os.environ["HOLD_WAIT"]))


def make_asgi() -> Any:
    return AsgiLocks(Site().asgi, store=os.environ["LOCKS"], principal=asgi_user, policy=policy())


def make_wsgi() -> Any:
    return WsgiLocks(Site().wsgi, store=os.environ["LOCKS"], principal="HTTP_X_USER", policy=policy())


def used(store: Any) -> None:
    """Use it as a program may that prepares something before it serves."""
    if os.environ.get("USED_BEFORE_FORK") != "1":
        return
    locks = Locks(store.as_sync() if hasattr(store, "as_sync") else store)
    locks.acquire("/before", creator="before", timeout=3600)


def __getattr__(name: str) -> Any:
    """`asgi_app` and `wsgi_app`, made when they are asked for: the factories need no store of this module's."""
    if name not in ("asgi_app", "wsgi_app"):
        raise AttributeError(name)
    made = make_asgi() if name == "asgi_app" else make_wsgi()
    used(made.store)
    globals()[name] = made
    return made
