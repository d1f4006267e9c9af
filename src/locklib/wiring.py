"""From arguments to a policy and a store; what both shells share and neither request nor rule knows.

Knows: the arguments of `LockMiddleware`, store URLs, where randomness comes from.
Must not know: ASGI or WSGI messages.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypedDict

from locklib.core.admission import OVERRIDES
from locklib.core.disclosing import Disclosure
from locklib.core.model import Fact, Held, Lock, Principal, Refusal
from locklib.core.moves import Chosen, Head
from locklib.core.paths import MAX_PATH, Folding
from locklib.core.policy import Mode, Policy, Route, Timeouts
from locklib.core.rules import READS, SAFE
from locklib.errors import ConfigurationError, shown
from locklib.stores.base import AsyncLockStore, LockStore, Nearby, is_async
from locklib.stores.gate import CLOSED, Gate, gate_of

__all__ = ["Settings", "chosen", "log", "masked", "new_token", "open_store", "policy_from", "principal_from"]

log: logging.Logger = logging.getLogger("locklib")

STOPPING = ("if", *OVERRIDES)
"""Fields with which a safe method does not just pass."""

TELLING = (*STOPPING, "lock-token")
"""Fields that take a plain write off the short way."""

FIELDS = (
    *TELLING,
    *("accept", "content-type", "depth", "destination", "host", "if-match", "overwrite", "timeout", "user-agent"),
)
"""The fields that a `Head` carries."""

PLAIN_WRITES = {"PUT": False, "POST": False, "PATCH": False, "DELETE": True}
"""Methods that may take the short way, and whether each touches a whole tree."""

NOT_OURS = (
    *("if", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"),
    *("content-length", "transfer-encoding", "content-type", "expect", "depth", "destination", "timeout", "lock-token"),
    *OVERRIDES,
)
"""Fields of the caller's that a question of ours does not carry: they speak of the body, or of the state."""

DRAIN = 65_536
"""Bytes of an unread body that are taken in before an early answer; beyond, the connection is closed (T21)."""

DIGITS = 18
"""Digits of a Content-Length that are believed; int() refuses more than 4 300, and no body is that long."""

STORE_URLS = "memory:// (one process) or sqlite:///relative/path, sqlite:////absolute/path (one host)"

OUTER = frozenset({"CORSMiddleware", "AuthenticationMiddleware", "SessionMiddleware"})
"""Middleware that belongs outside of locks: who asks must be known, and a refusal must get its CORS fields."""


class Settings(TypedDict, total=False):
    """The keyword arguments of `LockMiddleware`: the fields of `Policy`, documented there."""

    dav: bool
    routes: Iterable[Route | str | tuple[str, str] | Mapping[str, Any]]
    timeouts: Timeouts
    hold_wait: float
    body_limit: int
    body_seconds: float
    key: Callable[[str], str] | None
    namespace: Callable[[str, str], str] | None
    folding: Folding
    public_url: str | None
    challenge: str | None
    quirks: Iterable[str]
    echo_token: bool
    bodyless_lock: bool
    disclosure: Callable[[Principal | None, Lock], Disclosure] | None
    strict_discovery: bool
    bypass_roles: Iterable[str]
    ask_application: bool
    authorize: Callable[[Principal | None, str, str], bool] | None
    may_lock: Callable[[Principal | None, str], bool] | None
    may_break: Callable[[Principal | None, Lock], bool] | None
    may_bypass: Callable[[Principal | None], bool] | None
    resources: Callable[[str], Fact] | None
    infinity_on_root: bool | None


KNOWN = frozenset(Policy._fields) - {"identified"}


def policy_from(policy: Policy | None, identified: bool, settings: Settings) -> Policy:
    """A Policy of `settings`, or `policy` itself. Raises ConfigurationError for what is not known or contradicts."""
    unknown = sorted(set(settings) - KNOWN)
    if unknown:
        raise ConfigurationError(f"LockMiddleware has no setting {unknown[0]!r}; it knows {', '.join(sorted(KNOWN))}")
    if policy is not None and settings:
        raise ConfigurationError("give either policy= or single settings, not both")
    if policy is None:
        return Policy(identified=identified, **settings)  # type: ignore[arg-type]  # Policy makes them frozen
    if policy.identified != identified:
        raise ConfigurationError("Policy.identified must say whether principal= is given")
    return policy


def open_store(store: str | LockStore | AsyncLockStore | None, *, asynchronous: bool) -> Any:
    """The store that a shell of this kind works on: made from a URL, or the given one if it is of the right kind."""
    if store is None or isinstance(store, str):
        return _by_url("memory://" if store is None else store, asynchronous)
    if is_async(store) == asynchronous:
        return store
    twin = getattr(store, "as_async" if asynchronous else "as_sync", None)
    if twin is not None:  # a store in the process has both kinds over one table
        return twin()
    here, other = ("ASGI", "sync") if asynchronous else ("WSGI", "async")
    raise ConfigurationError(
        f"the {here} middleware cannot use the {other} store {type(store).__name__}: give its URL, "
        f"or the {'async' if asynchronous else 'sync'} class of the same store"
    )


def _by_url(url: str, asynchronous: bool) -> Any:
    """A store by its URL, which only what it names is imported for. Raises ConfigurationError for any other URL."""
    if url == "memory://":
        from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore  # noqa: PLC0415 - only if used

        return AsyncMemoryLockStore() if asynchronous else MemoryLockStore()
    if url.startswith("sqlite:///"):
        from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore  # noqa: PLC0415 - only if used

        return (AsyncSqliteLockStore if asynchronous else SqliteLockStore).from_url(url)
    given = url if "@" not in url else url.partition(":")[0] + ":..."  # what comes before an @ may be a password
    raise ConfigurationError(f"store={shown(given)} is no store's URL; use {STORE_URLS}")


def passing(policy: Policy) -> frozenset[str]:
    """Methods that no lock concerns, unless there is an `If`."""
    if any(route.writes is not None for route in policy.routes):
        return frozenset()
    safe = SAFE - {"OPTIONS", "PROPFIND"} if policy.dav else SAFE
    return safe - READS if any(route.reads for route in policy.routes) else safe


def short_way(store: object, policy: Policy) -> Gate:
    """The store's short way, where the policy asks nothing that it does not know of; else `CLOSED`."""
    special = policy.key or policy.namespace or policy.quirks or policy.folding != Folding()
    return gate_of(store, "") if not special and isinstance(store, Nearby) else CLOSED


PLAIN_PATH = re.compile(r"(?:/(?!\.)[!$&'()*+,\-.0-9:=@A-Z_a-z~]+)+")
"""A path that every application reads in the same way. What it does not know, the general way looks at."""


PATHS_KEPT = 1_024
LENGTH_KEPT = 256


class PlainPaths(dict[str, bool | None]):
    """Whether a plain write to a path holds (else it checks); None: the general way has to look at it.

    A path that is here is its own key. Who writes one document writes it again, so the answers for the last paths are
    kept: at most `PATHS_KEPT`, and no long ones, so that a storm of paths fills half a megabyte and not more (T7). When
    it is full it starts anew.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def __missing__(self, path: str) -> bool | None:
        if PLAIN_PATH.fullmatch(path) is None or len(path) > MAX_PATH:
            return None
        holds = HOLDS.get(self._policy.plain_route(path).mode) if self._policy.routes else True
        if len(path) <= LENGTH_KEPT:
            if len(self) >= PATHS_KEPT:
                self.clear()
            self[path] = holds
        return holds


HOLDS = {Mode.HOLD: True, Mode.CHECK: False}
"""Whether a plain write in this mode publishes a permit; in the others it does not take the short way."""


def plain_query(query: str | bytes) -> bool:
    """Whether `query` says nothing about the method, under any of the names that `_method` has."""
    text = query if isinstance(query, str) else query.decode("latin-1")
    return "_method=" not in text and "%" not in text  # `%5Fmethod` is a name of it as well


def warn_of_order(app: object) -> None:
    """Say so, once, where it can be seen that this middleware stands outside of what belongs outside of it."""
    inner: object | None = app
    for _ in range(32):
        name = type(inner).__name__
        if name in OUTER:
            log.warning("LockMiddleware is outside of %s; put it inside, next to the application", name)
            return
        inner = getattr(inner, "app", None)
        if inner is None:
            return


def new_token() -> str:
    """A lock token: urn:uuid with 122 bits from the operating system, version and variant as RFC 9562 has them (T9)."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def chosen() -> Chosen:
    return Chosen(new_token(), os.urandom(8).hex(), os.urandom(1)[0] / 256)


def principal_from(user: object) -> Principal | None:
    """A principal out of what a framework calls its user: a Principal, a name, or an object that knows its name."""
    if user is None or isinstance(user, Principal):
        return user if user is None or user.name else None
    if isinstance(user, str):
        return Principal(user) if user else None
    if not getattr(user, "is_authenticated", True):
        return None
    for attribute in ("identity", "display_name", "username", "name"):
        name = _attribute(user, attribute)
        if isinstance(name, str) and name:
            return Principal(name, frozenset(getattr(user, "roles", ())))
    if isinstance(user, Coroutine):
        user.close()  # else Python warns of it as well
        raise ConfigurationError("principal= must be a plain callable; an async one cannot be asked here")
    raise ConfigurationError(
        f"principal=: no name was found on {type(user).__name__}; give a callable that returns a name or a Principal"
    )


def _attribute(user: object, name: str) -> object:
    try:
        return getattr(user, name, None)
    except NotImplementedError:  # starlette's BaseUser has `identity` for whoever overrides it
        return None


def masked(token: str) -> str:
    """A token as logs may show it: the last four characters (T12)."""
    return "..." + token[-4:]


def log_refusal(head: Head, refusal: Refusal) -> None:
    """One line for each refusal; everything that came from people is escaped (T29)."""
    if not log.isEnabledFor(logging.INFO):
        return
    held: Held | None = refusal.held
    of = "" if held is None else f" lock={masked(held.lock.token)} root={held.lock.root!a}"
    by = ascii(head.principal.name) if head.principal else "-"
    log.info("%d %s %s %s by=%s%s", refusal.status, refusal.slug, head.method, ascii(head.path), by, of)
