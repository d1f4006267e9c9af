"""The settings of a middleware, frozen and validated; what is guarded, and how strictly.

Knows: every switch of locklib, its default and what it may be.
Must not know: where a setting comes from (arguments, Django settings, Flask config), or what it leads to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cached_property, reduce
from typing import Any

from locklib.core.disclosing import Disclosure
from locklib.core.frozen import Frozen
from locklib.core.model import Fact, Lock, Principal, replace
from locklib.core.paths import Folding, is_plain, readings
from locklib.core.rules import SAFE
from locklib.errors import ConfigurationError, shown

__all__ = ["QUIRKS", "Mode", "Policy", "Route", "Timeouts"]

QUIRKS = frozenset({"explorer", "office"})
"""Clients whose departures from the RFC may be allowed for, see docs/security.md."""


class Mode(StrEnum):
    """What is done about the gap between the check of a lock and the effect of the write (docs/design.md)."""

    HOLD = "hold"
    FENCE = "fence"
    CHECK = "check"
    EXEMPT = "exempt"


def _choice(name: str, value: object, choices: Iterable[str]) -> None:
    known = sorted(choices)
    if value not in known:
        raise ConfigurationError(f"{name}={shown(value)} is not known; use one of {', '.join(known)}")


class Route(Frozen):
    """One line of the routes table; the first whose `path` matches a request decides.

    path: a prefix ("/docs", matching "/docs" and all under it), or a compiled pattern that must match the whole decoded
    path. mode: hold, fence, check or exempt. writes: the methods that count as writes (None: all that are not known to
    be safe). reads: locks with `blocks_reads` refuse GET and HEAD here. fail_open: if the store cannot answer, let the
    request pass and log it. advisory: refuse nothing; tell the application in `scope["locklib"]` instead.
    """

    path: str | re.Pattern[str]
    mode: Mode = Mode.HOLD
    writes: frozenset[str] | None = None
    reads: bool = False
    fail_open: bool = False
    advisory: bool = False

    def __post_init__(self) -> None:
        _choice("Route.mode", self.mode, list(Mode))
        object.__setattr__(self, "mode", Mode(self.mode))
        if isinstance(self.path, str) and not self.path.startswith("/"):
            raise ConfigurationError(f"Route.path={shown(self.path)} must start with '/', or be a compiled pattern")
        if self.writes is not None:
            object.__setattr__(self, "writes", frozenset(method.upper() for method in self.writes))

    def counts_as_write(self, method: str) -> bool:
        """Whether `method` is a write on this route; on an exempt one nothing is."""
        if self.mode is Mode.EXEMPT:
            return False
        return method not in SAFE if self.writes is None else method in self.writes

    def beside(self, other: Route) -> Route:
        """For a request that touches both, or may be read as either: the stricter of the two in each respect."""
        if other is self or other.mode is Mode.EXEMPT:
            return self
        if self.mode is Mode.EXEMPT:
            return other
        writes = None if self.writes is None or other.writes is None else self.writes | other.writes
        return replace(
            self,
            mode=min(self.mode, other.mode, key=STRICTNESS.__getitem__),
            writes=writes,
            reads=self.reads or other.reads,
            fail_open=self.fail_open and other.fail_open,
            advisory=self.advisory and other.advisory,
        )

    def matches(self, path: str) -> bool:
        """Whether `path` is at or below the route's path; a compiled pattern must match all of it."""
        if not isinstance(self.path, str):
            return self.path.fullmatch(path) is not None
        prefix = self.path.rstrip("/")
        return path == prefix or path.startswith(prefix + "/") or not prefix


LONGEST_WAIT = 3_600.0
"""Seconds that a LOCK may wait for older writers. One that is killed meanwhile is in the way for as long."""


class Timeouts(Frozen):
    """How long a lock asked for by HTTP lives, in seconds."""

    minimum: float = 1.0
    default: float = 900.0
    maximum: float = 86_400.0

    def __post_init__(self) -> None:
        if not 0 < self.minimum <= self.default <= self.maximum:
            raise ConfigurationError(
                f"0 < minimum <= default <= maximum must hold, not {self.minimum}, {self.default}, {self.maximum}"
            )


EVERYTHING = Route("/")
NOTHING = Route("/", Mode.EXEMPT)
STRICTNESS = {Mode.HOLD: 0, Mode.FENCE: 1, Mode.CHECK: 2}


NUMBER = (int, float)
KINDS: tuple[tuple[str, tuple[type, ...], str], ...] = (
    *((name, (bool,), "True or False") for name in ("dav", "identified", "echo_token", "bodyless_lock")),
    *((name, (bool,), "True or False") for name in ("strict_discovery", "ask_application")),
    ("timeouts", (Timeouts,), "a locklib.Timeouts(minimum, default, maximum)"),
    ("folding", (Folding,), "a locklib.Folding(case=, unicode=, windows=, strict_slash=)"),
    *((name, NUMBER, "a number of seconds") for name in ("hold_wait", "body_seconds")),
    ("body_limit", (int,), "a number of bytes"),
    *((name, (str, type(None)), "a string, or None") for name in ("public_url", "challenge")),
    ("infinity_on_root", (bool, type(None)), "True, False or None"),
)
CALLABLES = ("key", "namespace", "disclosure", "authorize", "may_lock", "may_break", "may_bypass", "resources")


class Policy(Frozen):
    """What a middleware does, as one value. Every field is an argument of `LockMiddleware` of the same name.

    dav: make a class 1 application class 2 (OPTIONS, PROPFIND, PROPPATCH, empty resources).
    routes: what is guarded, first match wins; what no route matches is exempt. Empty: everything, in mode hold.
    identified: whether there is a `principal=`; without, locks are bearer locks.
    timeouts: of locks asked for by HTTP. hold_wait: how long a LOCK waits for older writers (seconds).
    body_limit: largest body of a LOCK or PROPFIND that is read (bytes). body_seconds: time to send it (ASGI).
    key: the application's own name for a resource, from its decoded path; namespace: the tenant, from host and path.
    folding: which spellings besides the usual ones are one resource. public_url: what clients see behind a proxy that
    rewrites Host. challenge: a WWW-Authenticate value for requests that need a principal and have none.
    quirks: see `QUIRKS`. echo_token: Lock-Token on the answer of a write that a lock let in.
    bodyless_lock: a LOCK without body and without If asks for an exclusive lock (else 400).
    disclosure: what a refusal shows to a principal (None: the token where the creator opens the lock, owner, reason and
    contact to authenticated requesters, or to all where there is no `principal=`).
    strict_discovery: hide tokens of others in lockdiscovery. bypass_roles: for whom administrative locks open.
    ask_application: before a refusal or a grant, ask the application (HEAD) whether it would answer 401 or 403.
    authorize(principal, method, path): answer instead of the application; False is 403.
    may_lock(principal, path), may_break(principal, lock), may_bypass(principal): asked before the rules.
    resources(path) -> Fact: tells of a URL instead of asking the application.
    infinity_on_root: whether a LOCK with depth infinity on the mount root is allowed (None: only with `dav`).
    """

    dav: bool = False
    routes: tuple[Route, ...] = ()
    identified: bool = False
    timeouts: Timeouts = Timeouts()
    hold_wait: float = 10.0
    body_limit: int = 65_536
    body_seconds: float = 10.0
    key: Callable[[str], str] | None = None
    namespace: Callable[[str, str], str] | None = None
    folding: Folding = Folding()
    public_url: str | None = None
    challenge: str | None = None
    quirks: frozenset[str] = frozenset()
    echo_token: bool = False
    bodyless_lock: bool = False
    disclosure: Callable[[Principal | None, Lock], Disclosure] | None = None
    strict_discovery: bool = False
    bypass_roles: frozenset[str] = frozenset({"lock-bypass"})
    ask_application: bool = True
    authorize: Callable[[Principal | None, str, str], bool] | None = None
    may_lock: Callable[[Principal | None, str], bool] | None = None
    may_break: Callable[[Principal | None, Lock], bool] | None = None
    may_bypass: Callable[[Principal | None], bool] | None = None
    resources: Callable[[str], Fact] | None = None
    infinity_on_root: bool | None = None

    def __post_init__(self) -> None:
        for name in ("routes", "quirks", "bypass_roles"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ConfigurationError(f"{name}={shown(value)} must be a collection of values")
        for name, kinds, expected in KINDS:
            value = getattr(self, name)
            if not isinstance(value, kinds) or (bool not in kinds and isinstance(value, bool)):
                raise ConfigurationError(f"{name}={shown(value)} must be {expected}")
        for name in CALLABLES:
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigurationError(f"{name}={shown(value)} must be a callable, or None")
        object.__setattr__(self, "routes", tuple(_route(route) for route in self.routes))
        object.__setattr__(self, "quirks", frozenset(self.quirks))
        object.__setattr__(self, "bypass_roles", frozenset(self.bypass_roles))
        for quirk in self.quirks:
            _choice("quirks", quirk, QUIRKS)
        if not (0 <= self.hold_wait <= LONGEST_WAIT):
            raise ConfigurationError(
                f"hold_wait={self.hold_wait} must be a number of seconds from 0 to {LONGEST_WAIT:.0f}"
            )
        if self.body_limit < 1024:
            raise ConfigurationError(f"body_limit={self.body_limit} must be at least 1024 bytes")
        if self.challenge is not None and not (self.challenge.isascii() and self.challenge.isprintable()):
            raise ConfigurationError(f"challenge={shown(self.challenge)} must be one line of printable ASCII")
        if self.body_seconds <= 0:
            raise ConfigurationError(f"body_seconds={self.body_seconds} must be a number of seconds above 0")
        if self.public_url is not None and ("://" not in self.public_url or {*self.public_url} & {"?", "#"}):
            raise ConfigurationError(f"public_url={shown(self.public_url)} must be like https://docs.example.org")

    @cached_property
    def guards_all(self) -> bool:
        """Whether there is no table to look into: everything is guarded alike."""
        return not self.routes

    def route(self, path: str) -> Route:
        """The route that decides for the decoded `path`.

        A spelling that some applications read in another way must not slip past the table, so every reading is looked
        up, and the strictest decides.
        """
        if not self.routes:
            return EVERYTHING
        if is_plain(path) and self.folding.plain:
            return self._first(path)
        every = (self._first(reading) for reading in (*readings(path, self.folding), path))
        return reduce(Route.beside, every)

    def _first(self, path: str) -> Route:
        for route in self.routes:
            if route.matches(path):
                return route
        return NOTHING

    def plain_route(self, key: str) -> Route:
        """`route` for a path that is known to read in one way only, and where nothing is folded."""
        return self._first(key) if self.routes else EVERYTHING

    def bypasses(self, principal: Principal | None) -> bool:
        """Whether administrative locks open for `principal`: `may_bypass` says so or, without it, a bypass role."""
        if self.may_bypass is not None:
            return self.may_bypass(principal)
        return principal is not None and not self.bypass_roles.isdisjoint(principal.roles)

    def discloses(self, principal: Principal | None, lock: Lock | None) -> Disclosure:
        """What `principal` may see of `lock` in a refusal."""
        if lock is None:
            return Disclosure(token=False, owner=False, reason=False, contact=False)
        if self.disclosure is not None:
            return self.disclosure(principal, lock)
        known = principal is not None or not self.identified
        return Disclosure(token=lock.creator is not None and known, owner=known, reason=known, contact=known)


def _route(value: Any) -> Route:
    """A Route, or what stands for one: a path, (path, mode), or a mapping of its fields."""
    if isinstance(value, Route):
        return value
    if isinstance(value, Mapping):
        return Route(**value)
    if isinstance(value, (str, re.Pattern)):
        return Route(value)
    if isinstance(value, tuple) and len(value) == 2:
        return Route(value[0], Mode(value[1]) if value[1] in list(Mode) else value[1])
    raise ConfigurationError(f"routes: {shown(value)} is no Route, path, (path, mode) or mapping of Route's fields")
