"""P13: the CPU time of a request end to end, under three servers, against the no-op under the same server.

All servers are up at once, one process each (gunicorn: one sync worker, which takes a connection for each request), and
are sent requests in turn by one client process. What a request costs is the CPU time of the server's process, as that
tells it itself before and after (`bench.served`), divided by the requests; what the machine does for it in its network
is counted as well.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import IO, NamedTuple

import locklib
from bench.client import HOST
from bench.durable import RESULTS, filled
from bench.held import ELSEWHERE
from bench.measure import Plan, Report, Row
from bench.served import CPU, HELD

__all__ = ["servers"]

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds for a server to come up."""
GENERATIONS = 3
"""How often all servers are started anew: two processes of one program differ by percents for their whole life."""
METHODS = ("PUT", "GET")
LAYERS = ("noop", "memory", "sqlite")
SERVERS: Mapping[str, tuple[str, ...]] = {
    "uvicorn": ("uvicorn", "bench.served:asgi", "--factory", "--no-access-log", "--log-level=error", "--port={port}"),
    "gunicorn": ("gunicorn", "bench.served:wsgi()", "--log-level=error", "--workers=1", f"--bind={HOST}:{{port}}"),
    "waitress": ("waitress", f"--listen={HOST}:{{port}}", "--threads=4", "--call", "bench.served:wsgi"),
}


class Turn(NamedTuple):
    """What a number of requests came to, for one of them. cpu: seconds of the server. seconds: by the client's clock.

    client: the part of its time that the client was at work itself.
    """

    cpu: float
    seconds: float
    client: float


# ---- processes -------------------------------------------------------------------------------------------------------


def _environ(layer: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(Path(locklib.__file__).parents[1])])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return kept | {"PYTHONPATH": paths, "BENCH_LAYER": layer}


@contextmanager
def _started(name: str, layer: str, folder: Path) -> Iterator[tuple[tuple[str, str], Callable[[], int]]]:
    """A server that is on its way, and what waits for it and gives its port. It ends with the block."""
    with socket.socket() as held, (folder / f"{name}-{layer}.log").open("w+b") as log:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))  # and never listens: nobody else is given this port meanwhile
        port = held.getsockname()[1]
        command = [sys.executable, "-m", *(word.format(port=port) for word in SERVERS[name])]
        environ = _environ(_layer(name, layer, folder))
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            yield (name, layer), lambda: _waited_for(name, process, port, log)
        finally:
            _end(process)


def _waited_for(name: str, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> int:
    deadline = time.monotonic() + PATIENCE
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"{name} does not answer: {log.read().decode(errors='replace')[-2000:]}")
        time.sleep(0.02)
    return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", CPU)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


class _Client:
    """The process that sends the requests."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "bench.client"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=_environ(""), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def load(self, port: int, method: str, path: str, count: int) -> tuple[float, float, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{port} {method} {path} {count}\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline().split()
        if not told:
            raise RuntimeError(f"the client ended while it sent {method} {path}; its words are above")
        return float(told[0]), float(told[1]), told[2]

    def cpu(self, port: int) -> float:
        return float(self.load(port, "GET", CPU, 1)[2])

    def turn(self, port: int, method: str, count: int) -> Turn:
        before = self.cpu(port)
        seconds, busy, _ = self.load(port, method, ELSEWHERE, count)
        return Turn((self.cpu(port) - before) / count, seconds / count, busy / seconds)

    def close(self) -> None:
        self.process.communicate()


# ---- the figures -----------------------------------------------------------------------------------------------------

Ports = Mapping[tuple[str, str], int]
"""By server and layer."""
Turns = dict[tuple[str, str, str], list[Turn]]
"""By server, layer and method, round by round."""


def servers(plan: Plan) -> Report:
    """P13: PUT through `LockMiddleware` on memory and on SQLite, GET, and requests a second."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    turns: Turns = {(name, layer, method): [] for name in SERVERS for layer in LAYERS for method in METHODS}
    generations = min(GENERATIONS, plan.starts)
    for _ in range(generations):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=RESULTS, prefix="servers-")))
            client = _Client()
            stack.callback(client.close)
            started = [stack.enter_context(_started(name, layer, folder)) for name in SERVERS for layer in LAYERS]
            ports = {at: wait() for at, wait in started}
            _rounds(max(plan.rounds // 8 // generations, 2), plan.served, client, ports, turns)
    return Report(tuple(row for name in SERVERS for row in _rows(name, turns)))


def _layer(name: str, layer: str, folder: Path) -> str:
    if layer != "sqlite":
        return layer
    path = folder / f"{name}.db"
    filled(path, HELD).close()
    return f"sqlite:///{path}"


def _rounds(rounds: int, served: int, client: _Client, ports: Ports, turns: Turns) -> None:
    """The layers of one server follow each other, and each round begins with another one; two rounds do not count."""
    for number in range(-2, rounds):
        shift = number % len(LAYERS)
        for name in SERVERS:
            for method in METHODS:
                for layer in LAYERS[shift:] + LAYERS[:shift]:
                    turn = client.turn(ports[name, layer], method, served)
                    if number >= 0:
                        turns[name, layer, method].append(turn)


def _rows(name: str, turns: Turns) -> Iterator[Row]:
    none = turns[name, "noop", "PUT"]
    yield Row(
        "P13", f"{name}, CPU of a PUT, the no-op itself, in this run", median(t.cpu for t in none) * 1e6, unit="us"
    )
    for layer, method in (("memory", "PUT"), ("sqlite", "PUT"), ("memory", "GET")):
        pairs = [*zip(turns[name, layer, method], turns[name, "noop", method], strict=True)]
        found = median(ours.cpu / theirs.cpu for ours, theirs in pairs)
        more = median(ours.cpu - theirs.cpu for ours, theirs in pairs) * 1e6
        yield Row("P13", f"{name}, CPU of a {method}, store {layer}", found, 1.05, note=f"{more:+.1f} us")
    for layer in ("memory", "sqlite"):
        rates = median(a / b for a, b in zip(_both(turns, name, "noop"), _both(turns, name, layer), strict=True))
        busy = median(turn.client for turn in (*turns[name, layer, "PUT"], *turns[name, layer, "GET"]))
        what = f"{name}, requests a second, half PUT, half GET, store {layer}"
        yield Row("P13", what, rates, 0.9, note=f"client busy {busy:.0%} of the time", least=True)


def _both(turns: Turns, name: str, layer: str) -> list[float]:
    """Seconds for a PUT and a GET."""
    each = zip(turns[name, layer, "PUT"], turns[name, layer, "GET"], strict=True)
    return [put.seconds + get.seconds for put, get in each]
