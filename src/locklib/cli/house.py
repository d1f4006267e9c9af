"""The demonstration's server: documents and a folder, and a desk where the house sets locks of its own.

Knows: how an application reaches the middleware's locks (`scope["locklib"].locks`), who may set which.
Must not know: the story, sockets.

    /documents/   the JSON documents API        /files/   the WebDAV folder
    /desk         POST: a lock of the house, by admin only (201); DELETE /desk/{number}: lift it (204)

One middleware stands around all of it; the desk is on no route of its table, so that no lock shuts it.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from locklib.asgi import LockMiddleware
from locklib.core import policy
from locklib.core.model import Lock, Purpose
from locklib.demo.auth import basic_auth
from locklib.demo.documents import documents_app
from locklib.demo.folder import Folder
from locklib.errors import ConfigurationError, LockRefused
from locklib.locks import AsyncLocks
from locklib.stores.sqlite import url_of_path

__all__ = ["USERS", "house_app"]

USERS = {"alice": "alice", "bob": "bob", "admin": "admin"}
REALM = "locklib demo"
LONGEST = 3600.0  # seconds
PURPOSES = (Purpose.ADMINISTRATIVE, Purpose.PROCESSING)

WELCOME = """\
The demonstration of locklib. Users: alice:alice, bob:bob, admin:admin.

  /documents/   a documents API   (GET, PUT, POST, PATCH, DELETE; LOCK and UNLOCK by the middleware)
  /files/       a WebDAV folder   (class 1 by itself, class 2 by the middleware)
  /desk         locks of the house, by admin: POST {"path", "purpose", "seconds", "reason", "contact", "blocks_reads"}
"""


def house_app(directory: Path) -> Any:
    """The whole as one ASGI application; `directory` is what /files/ shows."""
    desk, folder = _Desk(), Folder(directory)
    inside = Starlette(
        routes=[
            Route("/", welcome),
            Route("/desk", desk.set, methods=["POST"]),
            Route("/desk/{number:int}", desk.lift, methods=["DELETE"]),
            Mount("/documents", documents_app()),
            Mount("/files", folder),
        ]
    )
    guarded = LockMiddleware(
        inside,
        store=url_of_path(folder.hidden / "locks.db"),
        dav=True,
        principal="user",
        challenge=f'Basic realm="{REALM}", charset="UTF-8"',
        routes=[policy.Route("/documents", reads=True), policy.Route("/files", reads=True)],
    )
    return basic_auth(guarded, USERS, REALM, optional=True)


async def welcome(_: Request) -> Response:
    return PlainTextResponse(WELCOME)


class _Desk:
    """Where an application sets locks by code."""

    def __init__(self) -> None:
        self._set: dict[int, Lock] = {}
        self._numbers = itertools.count(1)

    async def set(self, request: Request) -> Response:
        refused = _not_admin(request)
        if refused is not None:
            return refused
        locks: AsyncLocks = request.scope["locklib"].locks
        try:
            lock = await locks.acquire(**_asked(await request.json()), creator="admin")
        except LockRefused as refusal:
            return _problem(refusal.refusal.status, refusal.refusal.message)
        except (ValueError, TypeError, KeyError, ConfigurationError) as error:
            return _problem(400, f"the desk cannot read this: {error}")
        number = next(self._numbers)
        self._set[number] = lock
        told = {"number": number, "path": lock.root, "purpose": lock.purpose.value, "seconds": math.ceil(lock.timeout)}
        return JSONResponse(told, 201, {"location": f"/desk/{number}"})

    async def lift(self, request: Request) -> Response:
        refused = _not_admin(request)
        if refused is not None:
            return refused
        lock = self._set.pop(request.path_params["number"], None)
        if lock is None:
            return _problem(404, "no lock of that number is set")
        locks: AsyncLocks = request.scope["locklib"].locks
        try:
            await locks.release(lock)
        except LockRefused:
            return _problem(410, "the lock has run out by itself")
        return Response(status_code=204)


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    """What a POST to the desk asks for, as arguments of `acquire`. Raises KeyError, TypeError, ValueError."""
    purpose, seconds = Purpose(body["purpose"]), float(body["seconds"])
    if purpose not in PURPOSES or not 0 < seconds <= LONGEST:
        raise ValueError(f"purpose is one of {', '.join(PURPOSES)}, seconds a number up to {LONGEST:g}")
    words: dict[str, Any] = {name: str(body[name]) for name in ("reason", "contact") if name in body}
    blocks_reads = bool(body.get("blocks_reads", False))
    return {"path": str(body["path"]), "purpose": purpose, "timeout": seconds, "blocks_reads": blocks_reads, **words}


def _not_admin(request: Request) -> Response | None:
    user = request.scope.get("user")
    if user is None:
        return PlainTextResponse("who are you?\n", 401, {"www-authenticate": f'Basic realm="{REALM}"'})
    return None if user.display_name == "admin" else _problem(403, "the desk serves admin only")


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"status": status, "message": message}, status)
