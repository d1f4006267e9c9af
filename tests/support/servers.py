"""Real servers for tests: each a process group of its own, on a port of its own, surely ended.

Knows: how each server is started, when it answers, how it ends.
Must not know: what it serves.

    with uvicorn("support.apps:hello_asgi") as server:
        httpx.get(server.url)

The port is held by a bound socket that never listens, from before the start until after the end: no other process is
given it, and the servers may still listen there, since all of them set SO_REUSEADDR. What a server prints is kept in
`Server.log`; when a test fails while it runs, the last lines stand in the report: as a note on the error if the test
opened the block itself, by conftest.py if a fixture did.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "RUNNING",
    "Server",
    "ServerFailed",
    "gunicorn",
    "held_port",
    "hypercorn",
    "locklib_serve",
    "members",
    "running",
    "uvicorn",
    "waitress",
]

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0  # generous: two cores, coverage, everything at once
STOP_SECONDS = 5.0
SHOWN_LINES = 40

RUNNING: list[Server] = []
"""The servers of this process that run now, for the report of a failing test."""


class ServerFailed(AssertionError):
    """A server ended before it answered, or never answered. The message carries what it printed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `url` ends with a slash; `log` is the file with all that it prints."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def pid(self) -> int:
        """The process that was started (gunicorn: the master), also the id of its group."""
        return self.process.pid

    def printed(self, lines: int = SHOWN_LINES) -> str:
        """The last lines that it printed, for messages."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else is given while the block runs."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        yield held.getsockname()[1]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, so that `module:app` is found as pytest would find it; with the wheel under test, src stays out."""
    source = [] if os.environ.get("LOCKLIB_TEST_WHEEL") else [ROOT / "src"]
    paths = [str(p) for p in (*source, ROOT / "tests", ROOT)]
    inherited = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    path = os.pathsep.join([*paths, *inherited])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def answers(port: int, probe: str) -> bool:
    """Whether anything speaks HTTP there; which status it speaks does not matter."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("HEAD", probe)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


def wait_until_it_answers(server: Server, probe: str, seconds: float) -> None:
    """Return at the first HTTP answer; raise `ServerFailed` if the process ends first or `seconds` pass."""
    deadline = time.monotonic() + seconds
    while not answers(server.port, probe):
        status = server.process.poll()
        if status is not None:
            raise ServerFailed(f"{server.name} ended with status {status} before it answered:\n{server.printed()}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{server.name} did not answer within {seconds:g} s:\n{server.printed()}")
        time.sleep(0.02)


def signal_group(pid: int, number: int) -> bool:
    """Signal a whole process group; whether there was one."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


def members(group: int) -> list[int]:
    """The living processes of a group. A dead one that its parent has not collected yet is no member."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in {"Z", "X"}:
                found.append(int(stat.parent.name))
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, then make it end: children that outlive their parent are killed and waited for too."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGCONT)  # a test may have stopped it
        signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    deadline = time.monotonic() + STOP_SECONDS
    while signal_group(process.pid, signal.SIGKILL) and members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    probe: str = "/",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """Any command that serves HTTP on `port`: started, waited for, and ended when the block ends.

    `probe` is the path asked with HEAD until something answers. Raises `ServerFailed` with what the process printed.
    """
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(env or {}),
                cwd=cwd or ROOT,
                start_new_session=True,
            )
        server = Server(name, port, process, log)
        RUNNING.append(server)
        try:
            wait_until_it_answers(server, probe, seconds)
            yield server
        except BaseException as error:
            if not isinstance(error, ServerFailed):
                error.add_note(f"{name} printed:\n{server.printed()}")
            raise
        finally:
            RUNNING.remove(server)
            end(process)


def module(*command: object) -> list[str]:
    return [sys.executable, "-m", *map(str, command)]


@contextlib.contextmanager
def uvicorn(
    target: str,
    *,
    factory: bool = False,
    http: str = "auto",
    workers: int = 1,
    args: Sequence[str] = (),
    probe: str = "/",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """uvicorn serving `module:app`, or `module:make_app` with `factory=True`. `http` is auto, h11 or httptools."""
    with held_port() as port:
        command = module("uvicorn", target, "--host", HOST, "--port", port, "--http", http, "--workers", workers)
        more = ["--factory"] if factory else []
        with running("uvicorn", [*command, *more, *args], port, probe=probe, env=env, cwd=cwd) as server:
            yield server


@contextlib.contextmanager
def gunicorn(
    target: str,
    *,
    workers: int = 1,
    worker_class: str = "sync",
    threads: int = 1,
    args: Sequence[str] = (),
    probe: str = "/",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """gunicorn serving `module:app` or `module:make_app()`. `worker_class` is sync or gthread."""
    with held_port() as port:
        command = module("gunicorn", target, "--bind", f"{HOST}:{port}", "--workers", workers, "--threads", threads)
        more = ["--worker-class", worker_class, "--worker-tmp-dir", "/dev/shm", "--graceful-timeout", "3"]
        with running("gunicorn", [*command, *more, *args], port, probe=probe, env=env, cwd=cwd) as server:
            yield server


@contextlib.contextmanager
def waitress(
    target: str,
    *,
    factory: bool = False,
    threads: int = 4,
    args: Sequence[str] = (),
    probe: str = "/",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """waitress serving `module:app`, or the result of `module:make_app` with `factory=True`."""
    with held_port() as port:
        command = module("waitress", f"--listen={HOST}:{port}", f"--threads={threads}", *args)
        more = ["--call"] if factory else []
        with running("waitress", [*command, *more, target], port, probe=probe, env=env, cwd=cwd) as server:
            yield server


@contextlib.contextmanager
def hypercorn(
    target: str,
    *,
    workers: int = 1,
    args: Sequence[str] = (),
    probe: str = "/",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """hypercorn serving `module:app` (ASGI)."""
    with held_port() as port:
        command = module("hypercorn", target, "--bind", f"{HOST}:{port}", "--workers", workers)
        with running("hypercorn", [*command, *args], port, probe=probe, env=env, cwd=cwd) as server:
            yield server


@contextlib.contextmanager
def locklib_serve(
    directory: Path,
    *,
    user: str | None = None,
    args: Sequence[str] = (),
    probe: str = "/",
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """`locklib serve DIRECTORY`, the class-1 folder behind our locks. `user` is NAME:PASSWORD."""
    with held_port() as port:
        command = module("locklib", "serve", directory, "--host", HOST, "--port", port)
        more = ["--user", user] if user else []
        with running("locklib serve", [*command, *more, *args], port, probe=probe, env=env) as server:
            yield server
