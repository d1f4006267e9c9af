"""P1-P4 and the memory part of P15: what a request costs through `LockMiddleware`, against a middleware that does
nothing around the same application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from statistics import median
from typing import Any

from bench.held import ELSEWHERE, SIBLING, filled, key, token
from bench.measure import Curve, Plan, Report, Row, Side, Times, race, ratio
from bench.wire import Asgi, AsgiNoOp, Wsgi, WsgiNoOp, asgi_app, streaming_app, wsgi_app
from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.stores.memory import MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiLocks

__all__ = ["asgi", "wsgi"]

CHECK = [("/", "check")]
OWNED = 5
"""The number of the lock that somebody meets (423) or holds."""


NUMBERS = count()


def _new_path() -> str:
    """At ELSEWHERE's place and of its length, asked for once."""
    return ELSEWHERE.replace("minutes", f"{next(NUMBERS):07}")


class AsgiEachNew(Asgi):
    """Each request to a path of its own: what a shell keeps of the last paths is of no use."""

    def scope(self) -> dict[str, Any]:
        self.path = _new_path()
        return super().scope()


class WsgiEachNew(Wsgi):
    """`AsgiEachNew` for WSGI."""

    def environ(self) -> dict[str, Any]:
        self.given["PATH_INFO"] = _new_path()
        return super().environ()


class Race:
    """Sides by name, each with the request that it is made of: the no-op gets the same."""

    def __init__(self, noop: Any) -> None:
        self.noop = noop
        self.sides: dict[str, Side] = {}
        self.base: dict[str, str] = {}
        self.noop_us = 0.0

    def add(self, name: str, request: Any, app: Any, status: int = 200) -> None:
        """The first request opens the store, and shows that this is the answer that the figure is about."""
        for _ in range(2):
            found = request.status(app)
            if found != status:
                raise RuntimeError(f"{name}: the answer is {found}, not {status}; this would be another figure")
        kind = f"no-op {request.method if isinstance(request, Asgi) else request.given['REQUEST_METHOD']}"
        self.sides[name] = request.to(app)
        self.sides.setdefault(kind, request.to(self.noop))
        self.base[name] = kind

    def run(self, plan: Plan) -> Callable[[str], float]:
        times: Times = race(self.sides, plan.rounds)
        self.noop_us = median(times["no-op PUT"]) * 1e6
        return lambda name: ratio(times, name, self.base[name])


def asgi(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Report:
    loop = asyncio.new_event_loop()
    try:
        return _asgi(plan, stores, loop)
    finally:
        loop.close()


def _asgi(plan: Plan, stores: Mapping[int, MemoryLockStore], loop: asyncio.AbstractEventLoop) -> Report:
    get = Asgi(loop, plan.batch, "GET", ELSEWHERE)
    put = Asgi(loop, plan.batch, "PUT", ELSEWHERE)
    new = AsgiEachNew(loop, plan.batch, "PUT", ELSEWHERE)
    beside = Asgi(loop, plan.batch, "PUT", SIBLING)
    delete = Asgi(loop, plan.batch, "DELETE", ELSEWHERE)
    few = max(plan.batch // 5, 2)
    refused = Asgi(loop, few, "PUT", key(OWNED), accept="application/xml")
    in_json = Asgi(loop, few, "PUT", key(OWNED))
    owner = Asgi(loop, few, "PUT", key(OWNED), **{"if": f"(<{token(OWNED)}>)"})
    most = stores[plan.most]

    def locks(store: MemoryLockStore, **settings: Any) -> AsgiLocks:
        return AsgiLocks(asgi_app, store=store, **settings)

    def clerk(scope: Any) -> str:
        return f"clerk{OWNED}"

    field = Race(AsgiNoOp(asgi_app))
    add = field.add
    add("empty hold", put, locks(filled(0)))
    add("empty new", new, locks(filled(0)))
    add("empty check", put, locks(filled(0), routes=CHECK))
    for size, store in stores.items():
        add(f"safe {size}", get, locks(store))
        add(f"elsewhere {size}", put, locks(store))
        add(f"sibling {size}", beside, locks(store))
    add("elsewhere check", put, locks(most, routes=CHECK))
    add("sibling check", beside, locks(most, routes=CHECK))
    add("delete", delete, locks(most))
    add("423", refused, locks(most), 423)
    add("423 unasked", refused, locks(most, ask_application=False), 423)
    add("423 json", in_json, locks(most), 423)
    add("owner", owner, locks(most, principal=clerk))
    of = field.run(plan)

    held = f"{plan.most:,} locks"
    rows = (
        Row("P1", "ASGI, the no-op itself, in this run", field.noop_us, unit="us"),
        Row("P1", f"ASGI, safe method, {held}", of(f"safe {plan.most}"), 1.10),
        Row("P2", "ASGI, write, empty store, mode hold", of("empty hold"), 1.5),
        Row("P2", "ASGI, write, empty store, mode hold, each path new", of("empty new")),
        Row("P2", "ASGI, write, empty store, mode check", of("empty check"), 1.20),
        Row("P3", f"ASGI, write, {held} elsewhere, mode hold", of(f"elsewhere {plan.most}"), 3.0),
        Row("P3", f"ASGI, write, {held}, a sibling locked, mode hold", of(f"sibling {plan.most}"), 5.0),
        Row("P3", f"ASGI, write, {held} elsewhere, mode check", of("elsewhere check"), 2.0),
        Row("P3", f"ASGI, write, {held}, a sibling locked, mode check", of("sibling check"), 4.0),
        Row("P3", f"ASGI, DELETE, {held} elsewhere, mode hold", of("delete")),
        Row("P4", "ASGI, 423 in XML, the application not asked", of("423 unasked"), 8.0),
        Row("P4", "ASGI, 423 in XML, as it is by default: HEAD asked first", of("423"), 8.0),
        Row("P4", "ASGI, 423 in JSON, HEAD asked first", of("423 json")),
        Row("P15", "ASGI, write, admission and end of the permit (P2)", of("empty hold"), 1.5),
        Row("P15", "ASGI, write with the token of the own lock (If)", of("owner")),
    )
    return Report(rows, tuple(_curve(plan, name, label, of) for name, label in GROWING))


GROWING = (("safe", "safe method"), ("elsewhere", "write, locks elsewhere"), ("sibling", "write, a sibling locked"))


def _curve(plan: Plan, name: str, label: str, of: Callable[[str], float]) -> Curve:
    return Curve("requests", label, tuple((size, of(f"{name} {size}")) for size in plan.sizes))


def wsgi(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Report:
    get = Wsgi(plan.batch, "GET", ELSEWHERE)
    put = Wsgi(plan.batch, "PUT", ELSEWHERE)
    new = WsgiEachNew(plan.batch, "PUT", ELSEWHERE)
    beside = Wsgi(plan.batch, "PUT", SIBLING)
    few = max(plan.batch // 5, 2)
    refused = Wsgi(few, "PUT", key(OWNED), accept="application/xml")
    most = stores[plan.most]

    def locks(store: MemoryLockStore, app: Any = wsgi_app, **settings: Any) -> WsgiLocks:
        return WsgiLocks(app, store=store, **settings)

    field = Race(WsgiNoOp(wsgi_app))
    field.add("safe", get, locks(most))
    field.add("empty hold", put, locks(filled(0)))
    field.add("empty new", new, locks(filled(0)))
    field.add("empty check", put, locks(filled(0), routes=CHECK))
    field.add("elsewhere", put, locks(most))
    field.add("sibling", beside, locks(most))
    field.add("423", refused, locks(most, ask_application=False), 423)
    streaming = Race(WsgiNoOp(streaming_app))
    streaming.add("empty hold", put, locks(filled(0), streaming_app))
    of, of_streaming = field.run(plan), streaming.run(plan)

    held = f"{plan.most:,} locks"
    return Report(
        (
            Row("P1", "WSGI, the no-op itself, in this run", field.noop_us, unit="us"),
            Row("P1", f"WSGI, safe method, {held}", of("safe"), 1.20),
            Row("P2", "WSGI, write, empty store, mode hold, the answer a list", of("empty hold"), 4.0),
            Row("P2", "WSGI, write, empty store, mode hold, each path new", of("empty new")),
            Row("P2", "WSGI, write, empty store, mode hold, streamed", of_streaming("empty hold"), 4.0),
            Row("P2", "WSGI, write, empty store, mode check", of("empty check"), 1.30),
            Row("P3", f"WSGI, write, {held} elsewhere, mode hold", of("elsewhere")),
            Row("P3", f"WSGI, write, {held}, a sibling locked, mode hold", of("sibling")),
            Row("P4", "WSGI, 423 in XML, the application not asked", of("423")),
            Row("P15", "WSGI, write, admission and end of the permit (P2)", of("empty hold"), 4.0),
        )
    )
