"""A request's way: which move comes next (docs/design.md draws it). Pure: the shells carry the moves out.

Knows: which requests are guarded, and which flow each is for: LOCK and UNLOCK (`locking`), the DAV properties (`dav`),
everything else (`admission`; what follows from the application's answer is `settling`).
Must not know: ASGI or WSGI, how a store works, what a lock means (`rules`), how an answer is written (`refusals`).
"""

from __future__ import annotations

import re

from locklib.core import paths
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

# media-type = type "/" subtype parameters; an Office document has "xml" in its name, and is none (RFC 9110 8.3.1)
XML_TYPE = re.compile(r"[ \t]*(?:application/xml|text/xml|[^;\s]+\+xml)[ \t]*(?:;|$)", re.IGNORECASE)

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
    if (route.mode is Mode.EXEMPT and not _goes_elsewhere(head)) or (head.path == "*" and head.method == "OPTIONS"):
        return Proceed()
    exchange = _exchange(policy, head, chosen, route)
    try:
        if paths.too_long(head.path):
            return exchange.render(_too_long(exchange.resource))
        return _by_intent(exchange)
    except LockError as exc:
        return exchange.error(exc)


def _goes_elsewhere(head: Head) -> bool:
    """Whether the request names a second URL, which may be guarded where its own is not."""
    return "destination" in head.fields and head.method not in ("LOCK", "UNLOCK")


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
    if "if" in head.fields or XML_TYPE.match(head.first("content-type") or ""):
        return True
    if head.method in ("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE"):
        return True
    agent = (head.first("user-agent") or "").lower()
    return any(map(agent.__contains__, DAV_AGENTS))


def _too_long(resource: str) -> Refusal:
    message = f"the path is longer than {paths.MAX_PATH} characters"
    return Refusal(414, "uri-too-long", "URI Too Long", message, resource[:256])


def _by_intent(exchange: Exchange) -> Next:
    method = exchange.head.method
    if exchange.ours:
        from locklib.core import locking  # noqa: PLC0415 - with what it reads and writes, for who locks

        return locking.lock(exchange) if method == "LOCK" else locking.unlock(exchange)
    if exchange.policy.dav and method in ("OPTIONS", "PROPFIND", "PROPPATCH"):
        return _of_class_2(exchange)
    return through(exchange)


def _of_class_2(exchange: Exchange) -> Next:
    from locklib.core import dav  # noqa: PLC0415 - with what it reads and writes, for `dav=True` alone

    flows = {"OPTIONS": dav.options, "PROPFIND": dav.propfind, "PROPPATCH": dav.proppatch}
    return flows[exchange.head.method](exchange)
