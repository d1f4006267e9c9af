"""A request's way: which move comes next (docs/design.md draws it). Pure: the shells carry the moves out.

Knows: which requests are guarded, and which flow each is for: LOCK and UNLOCK (`locking`), the DAV properties (`dav`),
everything else (`admission`; what follows from the application's answer is `settling`).
Must not know: ASGI or WSGI, how a store works, what a lock means (`rules`), how an answer is written (`refusals`).
"""

from __future__ import annotations

from locklib.core import dav, locking, paths
from locklib.core.accepting import choose_rendering
from locklib.core.admission import through
from locklib.core.context import Exchange, key_of, namespace_of
from locklib.core.model import Refusal
from locklib.core.moves import Chosen, Head, Next, Proceed
from locklib.core.policy import Mode, Policy, Route
from locklib.core.rules import (
    Asker,
)
from locklib.errors import LockError

__all__ = ["begin"]

DAV_AGENTS = (
    "microsoft-webdav",
    "microsoft office",
    "webdav",
    "davfs2",
    "neon",
    "cadaver",
    "litmus",
    "gvfs",
    "libreoffice",
    "rclone",
    "dav/",
)


def begin(policy: Policy, head: Head, chosen: Chosen) -> Next:
    """The first move for a request that the shell did not let pass by itself.

    Never raises for what a client sent: what cannot be read becomes a 400 (or what the error's `status` says).
    """
    route = policy.route(head.path)
    if route.mode is Mode.EXEMPT or (head.path == "*" and head.method == "OPTIONS"):
        return Proceed()
    exchange = _exchange(policy, head, chosen, route)
    try:
        if paths.too_long(head.path):
            return exchange.render(_too_long(exchange.resource))
        return _by_intent(exchange)
    except LockError as exc:
        return exchange.error(exc)


def _exchange(policy: Policy, head: Head, chosen: Chosen, route: Route) -> Exchange:
    return Exchange(
        policy,
        head,
        chosen,
        route,
        key_of(policy, head.path),
        namespace_of(policy, head),
        Asker(head.principal, bypass=policy.bypasses(head.principal)),
        choose_rendering(head.first("accept"), shows_dav(head)),
    )


def shows_dav(head: Head) -> bool:
    """Whether a client that names no media type is taken for a WebDAV client."""
    if "if" in head.fields or "xml" in (head.first("content-type") or "").lower():
        return True
    if head.method in ("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE"):
        return True
    agent = (head.first("user-agent") or "").lower()
    return any(name in agent for name in DAV_AGENTS)


def _too_long(resource: str) -> Refusal:
    message = f"the path is longer than {paths.MAX_PATH} characters"
    return Refusal(414, "uri-too-long", "URI Too Long", message, resource[:256])


def _by_intent(exchange: Exchange) -> Next:
    method = exchange.head.method
    if method == "LOCK":
        return locking.lock(exchange)
    if method == "UNLOCK":
        return locking.unlock(exchange)
    if exchange.policy.dav and method == "OPTIONS":
        return dav.options(exchange)
    if exchange.policy.dav and method == "PROPFIND":
        return dav.propfind(exchange)
    if exchange.policy.dav and method == "PROPPATCH":
        return dav.proppatch(exchange)
    return through(exchange)
