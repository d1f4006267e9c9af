"""One run: workers on one store, until so many operations are answered, while faults happen to them.

Knows: processes, pipes, moments. Must not know: what an operation is, but that its return is a line.

Single-threaded: it empties the pipes of the nurseries into the history file and does what is due. A worker that is gone
and was not told to stop is started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from soak.clients import Job
from soak.faults import (
    Dose,
    Moment,
    environ_of,
    environ_skewed,
    failing_fsync,
    moments,
    preloaded,
    set_file_limit,
    write_skew,
)
from soak.history import now

__all__ = ["Plan", "Stalled", "run"]

HOUR = 3_600
STALL = 60.0
"""Seconds without any answer after which a run is given up."""


BROKEN = 1_000
"""Answers that nothing allows, after which nobody needs more of them."""


class Stalled(Exception):
    """Nothing was answered for a long time, or next to nothing as it should be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. store: "memory" or "sqlite". folder: where its files go. workers: processes, each with three clients."""

    store: str
    seed: int
    operations: int
    dose: Dose
    folder: Path
    workers: int = 4
    plant: str = ""

    @property
    def history(self) -> Path:
        return self.folder / f"{self.store}-{self.seed}.jsonl"


@dataclass
class _Worker:
    """One place for a worker, and who fills it now."""

    number: int
    nursery: int
    life: int = 0
    pid: int | None = None
    paused: bool = False
    full: bool = False

    @property
    def name(self) -> str:
        return f"w{self.number}.{self.life}"


@dataclass
class _Nursery:
    process: subprocess.Popen[bytes]
    rest: bytes = b""


@dataclass
class _Run:
    plan: Plan
    say: Callable[[str], None]
    out: BinaryIO
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    nurseries: list[_Nursery] = field(default_factory=list)
    workers: list[_Worker] = field(default_factory=list)
    answered: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    stopping: bool = False
    skewed: int = HOUR

    def __post_init__(self) -> None:
        self.pick = random.Random(f"{self.plan.store} {self.plan.seed}")
        self.moments: list[Moment] = moments(self.plan.dose, self.plan.store, self.plan.operations, self.pick)
        self.started = self.moved = self.told = now()

    # -- processes ----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return "memory://" if self.plan.store == "memory" else f"sqlite:///{self._file('locks.db').resolve()}"

    def _file(self, name: str) -> Path:
        return self.plan.folder / f"{self.plan.store}-{self.plan.seed}-{name}"

    def start(self) -> None:
        changes: list[dict[str, str]] = []
        if "F6" in self.plan.dose.faults and self.plan.store == "sqlite":
            library = failing_fsync(self.plan.folder)
            if library is not None:
                changes.append(preloaded(library) | {"SOAK_FSYNC": str(self._file("fsync-fails").resolve())})
        self._open_nursery(environ_of(changes))
        if "F4" in self.plan.dose.faults:
            skew = self._file("skew")
            write_skew(skew, self.skewed)
            self._open_nursery(environ_of([*changes, environ_skewed(skew.resolve())]))
        places = 1 if self.plan.store == "memory" else self.plan.workers
        nurseries = len(self.nurseries)
        self.workers = [_Worker(n, (n + 1) % nurseries if places == 1 else n % nurseries) for n in range(places)]
        for worker in self.workers:
            self._bear(worker)

    def _open_nursery(self, environ: dict[str, str]) -> None:
        command = [sys.executable, "-m", "soak.nursery"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environ)
        assert process.stdout is not None
        self.selector.register(process.stdout, selectors.EVENT_READ, len(self.nurseries))
        self.nurseries.append(_Nursery(process))

    def _bear(self, worker: _Worker, **more: Any) -> None:
        clients = 4 if self.plan.store == "memory" else 1
        seed = self.plan.seed
        job = Job(worker.name, self.url, seed, clients, self.plan.plant, **more)
        stdin = self.nurseries[worker.nursery].process.stdin
        assert stdin is not None
        stdin.write(json.dumps(asdict(job)).encode() + b"\n")

    def _signal(self, worker: _Worker, number: int) -> None:
        if worker.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    # -- lines --------------------------------------------------------------------------------------------------------

    def pump(self, seconds: float) -> None:
        """Take in what has come, for at most so long."""
        for key, _ in self.selector.select(seconds):
            came = os.read(key.fd, 1 << 20)
            if not came:
                self.selector.unregister(key.fileobj)
                continue
            nursery = self.nurseries[key.data]
            *lines, nursery.rest = (nursery.rest + came).split(b"\n")
            for line in lines:
                self._take(line)
        for at, action in [one for one in self.due if one[0] <= now()]:
            self.due.remove((at, action))
            action()

    def _take(self, line: bytes) -> None:
        self.out.write(line + b"\n")
        word = line[2:6]
        if word == b"retu":
            self.answered += 1
            self.moved = now()
        elif word in (b"born", b"gone"):
            told = json.loads(line)
            (self._born if word == b"born" else self._gone)(told)
        elif word in (b"fail", b"brok"):
            self.counts[line[2:8].decode()] += 1

    def _of(self, name: str) -> _Worker | None:
        return next((worker for worker in self.workers if worker.name == name), None)

    def _born(self, told: dict[str, Any]) -> None:
        worker = self._of(told["born"])
        if worker is not None:
            worker.pid = told["pid"]

    def _gone(self, told: dict[str, Any]) -> None:
        worker = self._of(told["gone"])
        if worker is None:
            return
        worker.pid, worker.paused, worker.full = None, False, False
        if not self.stopping:
            worker.life += 1
            self._bear(worker)

    def note(self, fault: str, **more: Any) -> None:
        self.counts[fault] += 1
        line = {"fault": fault, "at": round(now(), 7), **more}
        self.out.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    # -- faults -------------------------------------------------------------------------------------------------------

    def strike(self, fault: str) -> bool:
        """Do it; False: nobody is there to do it to, try again."""
        there = [worker for worker in self.workers if worker.pid is not None and not worker.paused]
        if fault == "F4":
            self.skewed = -self.skewed
            write_skew(self._file("skew"), self.skewed)
            self.note("skew", seconds=self.skewed)
            return True
        if not there or (fault == "F8" and len(there) < len(self.workers)):
            return False
        worker = self.pick.choice(there)
        match fault:
            case "F1":
                self._kill(worker)
                self.note("kill", worker=worker.name)
            case "F3":
                self._pause(worker, self.pick.choice((0.02, 0.1, 0.1, 0.4)))
            case "F6":
                self._fill(worker, 0.1 + 0.2 * self.pick.random())
            case "F8":
                for each in there:
                    self._kill(each)
                self.note("restart")
        return True

    def _kill(self, worker: _Worker) -> None:
        self._signal(worker, signal.SIGKILL)
        worker.pid = None  # until the next one is born

    def _pause(self, worker: _Worker, seconds: float) -> None:
        worker.paused, life = True, worker.life
        self._signal(worker, signal.SIGSTOP)
        self.note("pause", worker=worker.name, seconds=seconds)

        def go_on() -> None:
            if worker.life == life:
                self._signal(worker, signal.SIGCONT)
                worker.paused = False

        self.due.append((now() + seconds, go_on))

    def _fill(self, worker: _Worker, seconds: float) -> None:
        """By turns: its files cannot grow; the fsync of all fails now and then."""
        if (
            self.counts["disk full"] > self.counts["fsync error"]
            and self._file("fsync-fails").parent.joinpath("fsync.so").exists()
        ):
            flag = self._file("fsync-fails")
            flag.touch()
            self.note("fsync error", seconds=seconds)
            self.due.append((now() + seconds, lambda: flag.unlink(missing_ok=True)))
            return
        pid = worker.pid
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):
            set_file_limit(pid, 4_096)
        self.note("disk full", worker=worker.name, seconds=seconds)

        def empty() -> None:
            if worker.pid != pid:
                return
            with contextlib.suppress(ProcessLookupError):
                set_file_limit(pid, None)

        self.due.append((now() + seconds, empty))

    # -- the run ------------------------------------------------------------------------------------------------------

    def drive(self) -> None:
        self.start()
        while self.answered < self.plan.operations:
            self.pump(0.05)
            while self.moments and self.moments[0].operations <= self.answered:
                if not self.strike(self.moments[0].fault):
                    break
                self.moments.pop(0)
            self.tell("running")
            if self.counts["broken"] > BROKEN:
                raise Stalled(f"{self.plan.store}, seed {self.plan.seed}: {BROKEN} answers that nothing allows")
            if now() - self.moved > STALL:
                raise Stalled(f"{self.plan.store}, seed {self.plan.seed}: no answer for {STALL:g} s")
        self.finish()

    def finish(self) -> None:
        """Let the workers end what they are at, list what is left, and close the nurseries."""
        self.stopping = True
        while self.due:
            self.pump(0.02)
        self._stop_workers()
        if self.plan.store != "memory":
            self._audit()
        self.close()

    def _stop_workers(self) -> None:
        began, told = now(), set[int]()
        while any(worker.pid is not None for worker in self.workers) or now() - began < 0.2:
            for worker in self.workers:
                if worker.pid is not None and worker.pid not in told:
                    told.add(worker.pid)
                    self._signal(worker, signal.SIGTERM)
            self.pump(0.02)
            self.tell("stopping")
            if now() - began > 30.0:
                for worker in self.workers:
                    self._signal(worker, signal.SIGKILL)

    def _audit(self) -> None:
        """A worker of its own that has seen nothing lists the trees."""
        auditor = _Worker(len(self.workers), 0)
        self.workers.append(auditor)
        self._bear(auditor, audit=True)
        until = now() + 30.0
        while auditor.pid is None and now() < until:
            self.pump(0.02)
        while auditor.pid is not None and now() < until:
            self.pump(0.02)

    def close(self) -> None:
        """End the nurseries, and with them whatever they have borne."""
        for nursery in self.nurseries:
            if nursery.process.stdin is not None:
                nursery.process.stdin.close()
        until = now() + 30.0
        while self.selector.get_map() and now() < until:
            self.pump(0.05)
        for nursery in self.nurseries:
            try:
                nursery.process.wait(5.0)
            except subprocess.TimeoutExpired:
                nursery.process.kill()
                nursery.process.wait()
            if nursery.process.stdout is not None:
                nursery.process.stdout.close()
        self.selector.close()

    def tell(self, state: str) -> None:
        """One line about once a second."""
        instant = now()
        if instant - self.told < 1.0:
            return
        self.told = instant
        rate = self.answered / (instant - self.started)
        faults = ", ".join(f"{count} {name}" for name, count in self.counts.most_common() if name not in ("failed",))
        self.say(
            f"{self.plan.store} seed {self.plan.seed}: {state}, {self.answered} of {self.plan.operations} operations, "
            f"{rate:.0f}/s, {self.counts['failed']} unavailable" + (f", {faults}" if faults else "")
        )


def run(plan: Plan, say: Callable[[str], None]) -> float:
    """Do it; the history is in `plan.history` then. How many seconds it took. Raises Stalled."""
    start = time.monotonic()
    with plan.history.open("wb", buffering=1 << 16) as out:
        going = _Run(plan, say, out)
        try:
            going.drive()
        except BaseException:
            going.close()
            raise
    return time.monotonic() - start
