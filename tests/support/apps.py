"""Applications that the harness itself is tried on; none of them knows locklib.

`WSGIDAV_ROOT` names the folder that the peer serves; `WSGIDAV_PROPERTIES=0` takes its dead properties away, so that
litmus has something to fail at; `WSGIDAV_USER` (NAME:PASSWORD) asks for credentials.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = ["hello_asgi", "hello_wsgi", "make_hello_asgi", "make_wsgidav"]

BODY = b"hello"


async def hello_asgi(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Answers 200 to anything, and plays the lifespan as servers expect it."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    fields = [(b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else BODY})


def make_hello_asgi() -> Any:
    return hello_asgi


def hello_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers 200 with the id of the worker that answered."""
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]


def make_wsgidav() -> Any:
    """WsgiDAV on a folder, with the lock manager of its own: the peer that real clients are known to work with."""
    from wsgidav.wsgidav_app import WsgiDAVApp

    name, _, password = os.environ.get("WSGIDAV_USER", "").partition(":")
    return WsgiDAVApp(
        {
            "provider_mapping": {"/": os.environ["WSGIDAV_ROOT"]},
            "simple_dc": {"user_mapping": {"*": {name: {"password": password}} if name else True}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "lock_storage": True,
            "property_manager": os.environ.get("WSGIDAV_PROPERTIES", "1") != "0",
            "logging": {"enable": False},
            "verbose": 0,
        }
    )
