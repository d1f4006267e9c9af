"""Basic authentication around an ASGI application (RFC 7617).

Knows: names and passwords, the Authorization field. Must not know: what the application does with the name.

The passwords are plain text in memory: fit for a demonstration and for tests, and only over TLS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.authentication import AuthCredentials, SimpleUser

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["BasicAuth", "basic_auth"]

REFUSAL = b"Name and password are needed here; send them with Basic authentication.\n"


def basic_auth(
    app: ASGIApp, users: Mapping[str, str], realm: str = "locklib demo", *, optional: bool = False
) -> BasicAuth:
    """Let only those in whose name and password are in `users`; the application finds the name in `scope["user"]`.

    `users` maps names to passwords and is read at each request. With `optional`, a request without credentials
    passes too, with no user in its scope; wrong credentials never pass.
    Raises `ValueError` for a name with a colon in it, which Basic cannot say, and for a realm that is not plain ASCII.
    """
    return BasicAuth(app, users, realm, optional=optional)


class BasicAuth:
    """The application that `basic_auth` makes."""

    def __init__(self, app: ASGIApp, users: Mapping[str, str], realm: str, *, optional: bool) -> None:
        unsayable = [name for name in users if ":" in name]
        if unsayable:
            raise ValueError(f"name {unsayable[0]!r} has a colon in it, which Basic authentication cannot say")
        if not (realm.isascii() and realm.isprintable()) or '"' in realm or "\\" in realm:
            raise ValueError(f"realm {realm!r}: expected printable ASCII without quotes and backslashes")
        self._app = app
        self._users = users
        self._challenge = f'Basic realm="{realm}", charset="UTF-8"'.encode()
        self._optional = optional
        self._key = secrets.token_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        shown = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if not shown and self._optional:
            await self._app(scope, receive, send)
            return
        name = self._known(shown[0]) if len(shown) == 1 else None
        if name is None:
            await self._refuse(scope, send)
            return
        proven = {"user": SimpleUser(name), "auth": AuthCredentials(["authenticated"])}
        await self._app({**scope, **proven}, receive, send)

    def _known(self, value: bytes) -> str | None:
        """The name in an Authorization field if its password is right, in the same time whatever is wrong with it."""
        name, password = _credentials(value) or ("", "")
        expected = self._users.get(name)
        right = hmac.compare_digest(self._digest(password), self._digest(expected or ""))
        return name if right and expected is not None else None

    def _digest(self, password: str) -> bytes:
        """Of one length for all passwords, so that comparing them does not tell how long one is."""
        return hashlib.blake2b(password.encode(), key=self._key).digest()

    async def _refuse(self, scope: Scope, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = [
            (b"www-authenticate", self._challenge),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(REFUSAL)).encode()),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else REFUSAL})


# credentials = "Basic" 1*SP token68 ;  token68 is base64 of user-id ":" password      RFC 7617 section 2
def _credentials(value: bytes) -> tuple[str, str] | None:
    scheme, _, token = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
