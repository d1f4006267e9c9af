"""Writers and a LOCK loop, each a process, on one lock file: started, killed, restarted, and what each wrote down.

Knows: the shells, how a process is forked and killed, `support.effects`.
Must not know: whether what was written down is right; `tests/test_i07_hold_processes.py` judges.

    python -m support.hold_processes '{"kind": "wsgi", "folder": "/tmp/x", "writes": 1000, "locks": 50}'

The conductor never touches the store. It forks the processes, kills a writer with SIGKILL at random and forks another
in its place, until there has been enough of everything. Beside the effects there are `holds/` (a line for each
lock: from the instant at which LOCK is answered to the one before its UNLOCK is called; at the end what was answered)
and `kills.json` (when each signal was sent).

Each third write goes the general way (an `If` that is always true). `plant`: the shells look first and publish then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core.model import Done, Outcome, Query, Snapshot, Step, replace
from locklib.core.policy import Policy
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from locklib.wsgi import LockMiddleware as WsgiLocks
from support.direct import Got, asgi, asgi_user, lock_body, wsgi, wsgi_user
from support.effects import Effects, waiting_for_a_processor

__all__ = ["DOCUMENTS", "Play"]

DOCUMENTS = tuple(f"/folder/{number}" for number in range(4))
EVERYWHERE = "/folder"
ALWAYS = {"If": "(Not <DAV:no-lock>)"}
POLICY = Policy(identified=True, ask_application=False)
GAP = 0.04
"""Seconds, at most, between the look and the publication of the planted fault: long beside the commits of a LOCK."""


@dataclass(frozen=True, slots=True)
class Play:
    """kind: asgi or wsgi. writes, locks, kills: it ends when there are at least so many of each.

    effect_ms: how long a write takes at most; as long, at most, a writer rests. kill_every: seconds on average.
    most_seconds: the end, whatever is missing.
    """

    kind: str
    folder: str
    writes: int = 0
    locks: int = 0
    kills: int = 0
    most_seconds: float = 60.0
    writers: int = 8
    effect_ms: float = 5.0
    kill_every: float = 0.1
    seed: int = 1
    plant: bool = False

    @property
    def file(self) -> str:
        return os.path.join(self.folder, "locks.db")


# ---- planted: look, then publish -------------------------------------------------------------------------------------


def kept(step: Step[Any], verdicts: list[bool]) -> Step[Any]:
    def run(snapshot: Snapshot) -> Outcome[Any]:
        outcome = step(snapshot)
        verdicts[:] = [outcome.keep_claim]
        return outcome

    return run


class LooksFirstStore(SqliteLockStore):
    def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        verdicts: list[bool] = []
        done = super().transact(replace(query, claim=None), kept(step, verdicts))
        if query.claim is None or not verdicts[0]:
            return done
        time.sleep(random.uniform(0, GAP))
        self.permits.publish(query.claim)
        return replace(done, permit=query.claim)


class LooksFirstAsyncStore(AsyncSqliteLockStore):
    async def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        verdicts: list[bool] = []
        done = await super().transact(replace(query, claim=None), kept(step, verdicts))
        if query.claim is None or not verdicts[0]:
            return done
        await asyncio.sleep(random.uniform(0, GAP))
        await self.permits.publish(query.claim)
        return replace(done, permit=query.claim)


class LooksFirstWsgi(WsgiLocks):
    def _short(self, environ: Any, start_response: Any, key: str, tree: bool) -> Iterable[bytes]:
        if self._near(key, tree):
            return self._general(environ, start_response)
        time.sleep(random.uniform(0, GAP))
        claim = self.store.claim_now("", key, tree)
        try:
            return list(self.app(environ, start_response))
        finally:
            self.store.end_now(claim)


class LooksFirstAsgi(AsgiLocks):
    async def _short(self, scope: Any, receive: Any, send: Any, key: str, tree: bool) -> None:
        if self._near(key, tree):
            return await self._general(scope, receive, send)
        await asyncio.sleep(random.uniform(0, GAP))
        claim = self.store.claim_now("", key, tree)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.store.end_now(claim)


# ---- a process that writes, or locks ---------------------------------------------------------------------------------


class Process:
    """One process: its shell around an application whose PUT takes a moment."""

    def __init__(self, play: Play, name: str, seed: int) -> None:
        self.play, self.name = play, name
        self.pick = random.Random(seed)
        self.effects = Effects(play.folder)
        if play.kind == "wsgi":
            store = (LooksFirstStore if play.plant else SqliteLockStore)(play.file)
            shell = LooksFirstWsgi if play.plant else WsgiLocks
            self.shell = shell(self.wsgi_app, store=store, principal=wsgi_user, policy=POLICY)
        else:
            store = (LooksFirstAsyncStore if play.plant else AsyncSqliteLockStore)(play.file)
            shell = LooksFirstAsgi if play.plant else AsgiLocks
            self.shell = shell(self.asgi_app, store=store, principal=asgi_user, policy=POLICY)

    def begun(self, called: Mapping[str, Any], path: str) -> int:
        queued = waiting_for_a_processor() - called["test.queued"]
        return self.effects.begun(self.name, path, called["test.called"], queued)

    def moment(self) -> float:
        return self.pick.uniform(0, self.play.effect_ms / 1000)

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            number = self.begun(environ, environ["PATH_INFO"])
            time.sleep(self.moment())
            self.effects.ended(number)
        start_response("200 OK", [])
        return [b""]

    async def asgi_app(self, scope: Mapping[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["method"] == "PUT":
            number = self.begun(scope, scope["path"])
            await asyncio.sleep(self.moment())
            self.effects.ended(number)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def opened(self) -> None:
        """As a server does before its first request."""
        if self.play.kind == "wsgi":
            self.shell._open()
        else:
            await self.shell._open()

    async def request(self, *asked: Any, **more: Any) -> Got:
        if self.play.kind == "wsgi":
            return wsgi(self.shell, *asked, **more)
        return await asgi(self.shell, *asked, **more)

    # -- a writer

    async def write(self) -> None:
        await self.opened()
        if self.play.kind == "wsgi":
            await self.writes()
        else:
            await asyncio.gather(self.writes(), self.writes())

    async def writes(self) -> None:
        """Until it is killed."""
        while True:
            fields = {"X-User": self.name, **(ALWAYS if self.pick.random() < 1 / 3 else {})}
            state = {"test.queued": waiting_for_a_processor(), "test.called": time.monotonic_ns()}
            got = await self.request("PUT", self.pick.choice(DOCUMENTS), fields, b"text", **state)
            assert got.status in (200, 423), got
            await asyncio.sleep(self.moment())

    # -- the LOCK loop

    async def lock(self) -> None:
        """Until it is told to end. Every LOCK is to be granted: it waits for the writes that were there before."""
        await self.opened()
        signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
        ending: list[int] = []
        seen: Counter[str] = Counter()
        took: list[tuple[int, int]] = []
        holds = Effects(Path(self.play.folder) / "holds")
        while not ending:
            path = self.pick.choice((*DOCUMENTS, EVERYWHERE))
            starts: list[int] = []
            queued, called = waiting_for_a_processor(), time.monotonic_ns()
            granted = await self.request(
                "LOCK",
                path,
                {"X-User": self.name},
                lock_body(),
                on_start=lambda _, starts=starts: starts.append(time.monotonic_ns()),
            )
            took.append((starts[0] - called, waiting_for_a_processor() - queued))
            seen[f"LOCK {granted.status}"] += 1
            if granted.status == 200:
                await asyncio.sleep(self.pick.uniform(0, 0.004))
                end = time.monotonic_ns()
                holds.line("h", path, starts[0], end)
                unlock = {"X-User": self.name, "Lock-Token": f"<{granted.token}>"}
                seen[f"UNLOCK {(await self.request('UNLOCK', path, unlock)).status}"] += 1
            await asyncio.sleep(self.pick.uniform(0, 0.01))
        holds.line("t", json.dumps({"seen": seen, "took": took}, separators=(",", ":")))


def run(play: Play, name: str, seed: int, work: Callable[[Process], Awaitable[None]]) -> int:
    """Fork a process that does `work`; its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        asyncio.run(work(Process(play, name, seed)))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


# ---- the conductor ---------------------------------------------------------------------------------------------------


def lines(folder: Path) -> int:
    """How many lines the processes have written in `folder`, at least: none is longer than this."""
    return sum(path.stat().st_size for path in folder.glob("*.effects")) // 60


class Conductor:
    """The processes of a play. writers: those that live; kills: pid -> when its signal was sent."""

    def __init__(self, play: Play) -> None:
        self.play, self.pick = play, random.Random(play.seed)
        self.folder = Path(play.folder)
        (self.folder / "holds").mkdir()
        self.started = 0
        self.locker = run(play, "holder", play.seed, Process.lock)
        self.writers: list[int] = []
        self.kills: dict[int, int] = {}

    def start(self) -> None:
        self.started += 1
        name, seed = f"writer{self.started}", self.play.seed * 100_003 + self.started
        self.writers.append(run(self.play, name, seed, Process.write))

    def kill(self) -> None:
        """One at random. A writer that has ended by itself has failed: it says so on stderr."""
        pid = self.writers.pop(self.pick.randrange(len(self.writers)))
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), f"writer {pid} has ended by itself"
        self.kills[pid] = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def conduct(self) -> None:
        play, start = self.play, time.monotonic()
        for _ in range(play.writers):
            self.start()
        while time.monotonic() - start < play.most_seconds:
            if self.enough():
                break
            time.sleep(self.pick.uniform(0, 2 * play.kill_every))
            self.kill()
            self.start()
        seconds = time.monotonic() - start
        while self.writers:
            self.kill()
        os.kill(self.locker, signal.SIGTERM)
        _, status = os.waitpid(self.locker, 0)
        (self.folder / "kills.json").write_text(json.dumps({"at": self.kills, "seconds": seconds, "locker": status}))

    def enough(self) -> bool:
        play = self.play
        writes, locks = lines(self.folder) // 2, lines(self.folder / "holds")
        return writes >= play.writes and locks >= play.locks and len(self.kills) >= play.kills

    def end(self) -> None:
        """Whatever went wrong, nobody is left behind."""
        for pid in (self.locker, *self.writers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main(play: Play) -> None:
    conductor = Conductor(play)
    try:
        conductor.conduct()
    finally:
        conductor.end()


if __name__ == "__main__":
    main(Play(**json.loads(sys.argv[1])))
