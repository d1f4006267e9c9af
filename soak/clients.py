"""Clients at work in one process: each a thread that asks, records, and asks again until it is told to stop.

Knows: which questions make contention, how they are recorded. Must not know: which answers are right, other processes
but for the locks that a list shows.

Time is cut into epochs, by the clock of the host: each has trees of its own, so that what a killed client leaves
pending does not lie about for the rest of the run, and all clients are in the same few trees at once.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from locklib.core.model import Depth, Scope
from locklib.errors import StoreUnavailable
from locklib.testing.linearize import Answer, Kind, Operation
from locklib.wiring import open_store
from soak.asking import ByCode, Came, Known, ThroughAsgi, ThroughWsgi, Way
from soak.history import Recorder, now
from soak.plants import planted

__all__ = ["Job", "work"]

AFTER_A_FAILURE = 0.02
"""Seconds that a client waits after a store that was not there, as a real one would."""

EPOCH = 2.0
TREES = 2
BELOW = ("", "", "/a", "/a/x", "/a/y", "/b", "/b/z")
CREATORS = ("anna", "bob", "carla")
MIX = {Kind.CHECK: 45, Kind.ACQUIRE: 25, Kind.RELEASE: 16, Kind.REFRESH: 6, Kind.LIST: 8}


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told: its name in the history, its store, its clients per way, its seed. audit: only list the
    trees of the last epochs, and end."""

    worker: str
    url: str
    seed: int
    clients: int = 1
    plant: str = ""
    skewed: bool = False
    audit: bool = False


def trees_at(seed: int, instant: float) -> list[str]:
    return [f"/s{seed}e{int(instant / EPOCH)}t{number}" for number in range(TREES)]


def work(job: Job, recorder: Recorder) -> None:
    """All clients of `job`, until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    recorder.write("clock", job.worker, off=round(_off(), 1))
    ways = _ways(job, recorder)
    if job.audit:
        auditor = _Client(f"{job.worker}/audit", ways[0], recorder, job.seed, stop)
        for back in range(4):
            for tree in trees_at(job.seed, now() - back * EPOCH):
                auditor.list(tree)
        return
    clients = [
        _Client(f"{job.worker}/{type(way).__name__}{number}", way, recorder, job.seed, stop)
        for way in ways
        for number in range(job.clients)
    ]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    while not stop.wait(1.0):
        recorder.write("clock", job.worker, off=round(_off(), 1))
    for thread in threads:
        thread.join(20.0)


def _off() -> float:
    """How far the wall clock is off the one that nobody can set, but for a constant: the boot's."""
    return time.time() - _boot()


def _boot() -> float:
    with open("/proc/stat", encoding="ascii") as stat:
        boot = next(int(line.split()[1]) for line in stat if line.startswith("btime"))
    return boot + time.clock_gettime(time.CLOCK_BOOTTIME)


def _ways(job: Job, recorder: Recorder) -> list[Way]:
    if job.url == "memory://":
        sync = open_store(job.url, asynchronous=False)
        both = sync, sync.as_async()
    else:
        both = open_store(job.url, asynchronous=False), open_store(job.url, asynchronous=True)
    if job.plant:
        both = planted(job.plant, both[0], asynchronous=False), planted(job.plant, both[1], asynchronous=True)
    return [ByCode(both[0]), ThroughWsgi(both[0], recorder), ThroughAsgi(both[1], recorder)]


class _Client:
    """One client. It knows its own locks, and those that it saw in lists."""

    def __init__(self, name: str, way: Way, recorder: Recorder, seed: int, stop: threading.Event) -> None:
        self.name = name
        self.way = way
        self.recorder = recorder
        self.seed = seed
        self.stop = stop
        self.pick = random.Random(f"{seed} {name}")
        self.count = 0
        self.known: OrderedDict[str, Known] = OrderedDict()

    def run(self) -> None:
        for tree in trees_at(self.seed, now()):
            self.list(tree)
        while not self.stop.is_set():
            self.one()
            if self.pick.random() < 0.2:
                time.sleep(self.pick.random() * 0.004)

    def one(self) -> None:
        tree = self.pick.choice(trees_at(self.seed, now()))
        near = [known for known in self.known.values() if known.key.startswith(tree)]
        kind = self.pick.choices(list(MIX), list(MIX.values()))[0]
        if kind in (Kind.RELEASE, Kind.REFRESH) and not near:
            kind = Kind.CHECK
        match kind:
            case Kind.ACQUIRE:
                self.acquire(tree)
            case Kind.CHECK:
                self.check(tree, near)
            case Kind.LIST:
                self.list(tree + self.pick.choice(("", "/a")))
            case _:
                self.use(kind, self.pick.choice(near))

    # -- questions ----------------------------------------------------------------------------------------------------

    def acquire(self, tree: str) -> None:
        pick = self.pick
        asked = self._asked(
            Kind.ACQUIRE,
            tree + pick.choice(BELOW),
            lock=f"{self.name}:{self.count}",
            depth=pick.choice(list(Depth)),
            scope=pick.choice((Scope.EXCLUSIVE, Scope.SHARED)),
            timeout=self.way.least * pick.choice((1, 2, 3)),
        )
        came = self._ask(asked, lambda _: self.way.acquire(asked))
        if came is not None and came.token is not None:
            self._learn(Known(asked.lock, asked.key, came.token, asked.creator or ""))

    def use(self, kind: Kind, known: Known) -> None:
        """Refresh or release, mostly by its creator."""
        creator = known.creator if self.pick.random() < 0.9 else self.pick.choice(CREATORS)
        life = self.way.least * self.pick.choice((1, 2))
        asked = replace(self._asked(kind, known.key, lock=known.name, timeout=life), creator=creator)
        way = self.way.refresh if kind is Kind.REFRESH else self.way.release
        came = self._ask(asked, lambda _: way(asked, known))
        if came is not None and (kind is Kind.RELEASE or came.answer is Answer.NO):
            self.known.pop(known.name, None)

    def check(self, tree: str, near: list[Known]) -> None:
        pick = self.pick
        shown = pick.sample(near, min(len(near), pick.choice((0, 1, 3))))
        asked = self._asked(Kind.CHECK, tree + pick.choice(BELOW), submitted=tuple(known.name for known in shown))
        if shown and pick.random() < 0.8:
            asked = replace(asked, creator=shown[0].creator)
        lasts = pick.random() * 0.05 if pick.random() < 0.1 else 0.0
        self._ask(asked, lambda id: self.way.check(asked, shown, id, lasts))

    def list(self, under: str) -> None:
        asked = self._asked(Kind.LIST, under)
        came = self._ask(asked, lambda _: self.way.list(asked))
        for known in came.seen if came is not None else ():
            self._learn(known)

    def _learn(self, known: Known) -> None:
        self.known[known.name] = known
        if len(self.known) > 12:
            self.known.popitem(last=False)

    # -- recording ----------------------------------------------------------------------------------------------------

    def _asked(self, kind: Kind, key: str, **more: Any) -> Operation:
        return Operation(self.name, kind, 0.0, None, key=key, creator=self.pick.choice(CREATORS), **more)

    def _ask(self, asked: Operation, work: Callable[[str], Came]) -> Came | None:
        id = f"{self.name}:{self.count}"
        self.count += 1
        self.recorder.write("call", id, **told(asked))
        try:
            came = work(id)
        except StoreUnavailable as error:
            self.recorder.write("failed", id, error=str(error)[:300])
            time.sleep(AFTER_A_FAILURE)
            return None
        except Exception as error:
            self.recorder.write("broken", id, error=f"{type(error).__name__}: {error}"[:1_000])
            return None
        more: dict[str, Any] = {"answer": came.answer}
        if came.token is not None:
            more["token"] = came.token
        if came.fence is not None:
            more["fence"] = came.fence
        if asked.kind is Kind.LIST:
            more["shown"] = [known.name for known in came.seen]
        self.recorder.write("return", id, **more)
        return came


def told(asked: Operation) -> dict[str, Any]:
    """The arguments that matter to this kind."""
    more: dict[str, Any] = {"client": asked.client, "kind": asked.kind, "key": asked.key}
    if asked.lock:
        more["lock"] = asked.lock
    if asked.kind is Kind.ACQUIRE:
        more |= {"depth": asked.depth, "scope": asked.scope}
    if asked.kind in (Kind.ACQUIRE, Kind.REFRESH):
        more["timeout"] = asked.timeout
    if asked.kind is not Kind.LIST:
        more["creator"] = asked.creator
    if asked.submitted:
        more["submitted"] = asked.submitted
    return more
