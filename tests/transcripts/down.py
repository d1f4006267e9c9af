"""The store cannot answer: 503 with Retry-After, and no write passes, but where a route says so."""

from __future__ import annotations

from typing import Any

from locklib.core.model import Query
from locklib.core.policy import Route
from locklib.errors import StoreUnavailable
from locklib.stores.base import is_async
from transcripts.player import XML, Code, Do, Transcript, World, lockinfo
from transcripts.steps import lock, still


class Failing:
    """A store that answers until it is told how many more times it may."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.left = 10_000
        self.board = 10_000
        if is_async(store):
            self.transact = self._transact_async  # type: ignore[method-assign]
            self.promises = store.promises

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("the network to secret-host:5432 is down")

    def transact(self, query: Query, step: Any) -> Any:
        self._count()
        return self.store.transact(query, step)

    async def _transact_async(self, query: Query, step: Any) -> Any:
        self._count()
        return await self.store.transact(query, step)

    @property
    def permits(self) -> Any:
        return FailingBoard(self, self.store.permits)

    def promises(self) -> Any:
        return self.store.promises()

    def close(self) -> Any:
        return self.store.close()


class FailingBoard:
    def __init__(self, owner: Failing, board: Any) -> None:
        self.owner = owner
        self.board = board

    def __getattr__(self, name: str) -> Any:
        if name == "older" and self.owner.board <= 0:
            raise StoreUnavailable("down")
        return getattr(self.board, name)


class AsyncFailing(Failing):
    async def transact(self, query: Query, step: Any) -> Any:
        return await self._transact_async(query, step)


def failing(store: Any) -> Any:
    return AsyncFailing(store) if is_async(store) else Failing(store)


def answers(transactions: int, board: int = 10_000) -> Code:
    def run(world: World) -> None:
        world.store.left = transactions
        world.store.board = board

    return Code(run)


TOLD = {"headers": {"Retry-After": "1"}, "lacks": ("secret-host",)}

TABLE = [
    Transcript(
        "503 with Retry-After to everything that needs the store, and the application is not called",
        (
            lock("/docs/a", "t"),
            answers(0),
            Do("PUT", "/docs/a", status=503, calls=(), **TOLD),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=503, calls=(), **TOLD),
            Do("DELETE", "/docs/b", status=503, calls=(), **TOLD),
            Do("GET", "/docs/a", {"If": "(<{t}>)"}, status=503, calls=(), **TOLD),
            Do("LOCK", "/docs/b", XML, lockinfo(), status=503, **TOLD),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, status=503, **TOLD),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=503, **TOLD),
            Do("PUT", "/docs/a%00", status=503, calls=(), **TOLD),
            Do("GET", "/docs/a", status=200),
            answers(10_000),
            Code(still(("/docs/a", "exclusive"))),
        ),
        store=failing,
    ),
    Transcript(
        "fail_open is an explicit switch of a route; LOCK and UNLOCK fail all the same",
        (
            lock("/docs/a", "t"),
            lock("/open/a", "u"),
            answers(0),
            Do("PUT", "/docs/a", status=503),
            Do(
                "PUT",
                "/open/a",
                status=409,
                calls=("PUT /open/a",),
                sees=lambda request: request.state.refusal.status == 503,
            ),
            Do(
                "PUT",
                "/open/a",
                {"If": "(<{u}>)"},
                status=409,
                sees=lambda request: "if" not in request.headers and request.state.if_header != (),
            ),
            Do("LOCK", "/open/b", XML, lockinfo(), status=503),
            Do("UNLOCK", "/open/a", {"Lock-Token": "<{u}>"}, status=503),
        ),
        {"routes": [Route("/open", fail_open=True), "/docs"]},
        store=failing,
    ),
    Transcript(
        "the store goes down between the grant and the look at the board, or before the confirmation: no lock",
        (
            answers(1, board=0),
            Do("LOCK", "/docs/a", XML, lockinfo(), status=503, headers={"Lock-Token": None}),
            answers(1),
            Do("LOCK", "/docs/b", XML, lockinfo(), status=503, headers={"Lock-Token": None}),
            answers(10_000),
            Code(still()),
        ),
        store=failing,
    ),
    Transcript(
        "the store goes down while the application answers: the answer goes out, the locks stay",
        (
            lock("/docs/a", "t"),
            lock("/to/x", "x"),
            answers(1),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=204),
            answers(1),
            Do("COPY", "/docs", {"Destination": "/to", "If": "</to/x> (<{x}>)"}, status=204),
            answers(2),
            Do("COPY", "/docs", {"Destination": "/to", "If": "</to/x> (<{x}>)"}, status=204),
            answers(10_000),
            Code(still(("/docs/a", "exclusive"), ("/to/x", "exclusive"))),
        ),
        store=failing,
        files={"/docs": None, "/docs/a": b"a", "/to": None, "/to/x": b"x"},
    ),
    Transcript(
        "the store goes down when a lock is taken back: the answer stands",
        (
            answers(1),
            Do("LOCK", "/no/new", XML, lockinfo(), status=409),
            answers(10_000),
            Code(still()),
        ),
        {"dav": True},
        store=failing,
    ),
]
