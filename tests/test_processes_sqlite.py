"""Real servers of many processes on one SQLite file: one grant, good everywhere, whoever is killed or stopped.

A small dose in `make test`; LOCKLIB_FULL=1 plays the whole (`pytest -s` shows the figures).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

import httpx
import pytest

from support import programs, servers
from support.direct import lock_body
from support.effects import read_effects
from support.herd import NO_ANSWER, Asked, Heard, ask, herd
from support.history import History, Span
from support.shared_file import environment_of

FULL = os.environ.get("LOCKLIB_FULL", "") not in ("", "0")
ROUNDS = 100 if FULL else 6
HERD = 100
WRITERS = 8
"""Writes of others, in each round, while the LOCKs compete."""
KILL_EVERY = 4 if FULL else 3
"""In each so manieth round of a server with many workers, one of them is killed."""
SYNCED_LOCKS = 20 if FULL else 5

DOCUMENT = "/documents/one"
ASGI, WSGI = "support.shared_file:make_asgi", "support.shared_file:make_wsgi"
JSON = {"Content-Type": "application/json"}
EXAMPLE = Path(__file__).parents[1] / "examples" / "wiki_processes"


# ---- fleets: servers on one file -------------------------------------------------------------------------------------


@dataclass
class Fleet:
    """Servers on the file `locks`. workers: how many processes answer in all."""

    locks: Path
    effects: Path
    servers: list[servers.Server]
    workers: int
    killed: dict[int, int] = field(default_factory=dict)

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def pids(self) -> set[int]:
        """The processes that answer now: asked (and kept busy) until so many have been heard, none of them dead."""
        found: set[int] = set()
        deadline = time.monotonic() + 30
        while len(found) < self.workers:
            assert time.monotonic() < deadline, f"{self.workers} processes should answer, only {found} do"
            heard = herd([Asked(port, "PUT", "/up", {"X-Seconds": "0.02"}) for port in self.ports * 8])
            found |= {int(one.got["x-pid"] or 0) for one in heard if one.status == 200} - self.killed.keys()
        return found

    def kill(self, pid: int) -> None:
        """kill -9 of one worker; its master makes another."""
        assert any(pid in servers.members(server.pid) for server in self.servers)
        self.killed[pid] = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)

    def locks_on(self, path: str) -> list[tuple[str, str]]:
        """Creator and token of what stands in the file, read as anybody can."""
        with contextlib.closing(sqlite3.connect(self.locks)) as connection:
            return connection.execute("SELECT creator, token FROM locks WHERE key = ?", (path,)).fetchall()


def three(env: dict[str, str], stack: contextlib.ExitStack) -> tuple[list[servers.Server], int]:
    """Three servers of three kinds: ASGI in one, WSGI in two (a process for each request, a thread for each)."""
    started = (
        servers.uvicorn(ASGI, factory=True, env=env, probe="/up"),
        servers.gunicorn(f"{WSGI}()", env=env, probe="/up"),
        servers.waitress(WSGI, factory=True, threads=8, env=env, probe="/up"),
    )
    return [stack.enter_context(one) for one in started], 3


def gunicorn_4(env: dict[str, str], stack: contextlib.ExitStack) -> tuple[list[servers.Server], int]:
    return [stack.enter_context(servers.gunicorn(f"{WSGI}()", workers=4, env=env, probe="/up"))], 4


def gunicorn_preloaded(env: dict[str, str], stack: contextlib.ExitStack) -> tuple[list[servers.Server], int]:
    """Four workers forked from a master that has made the store, opened it and taken a lock."""
    env |= {"USED_BEFORE_FORK": "1"}
    target = "support.shared_file:wsgi_app"
    started = servers.gunicorn(target, workers=4, args=["--preload"], env=env, probe="/up")
    return [stack.enter_context(started)], 4


def uvicorn_2(env: dict[str, str], stack: contextlib.ExitStack) -> tuple[list[servers.Server], int]:
    return [stack.enter_context(servers.uvicorn(ASGI, factory=True, workers=2, env=env, probe="/up"))], 2


FLEETS = {
    "three-servers": three,
    "gunicorn-4": gunicorn_4,
    "gunicorn-4-preloaded": gunicorn_preloaded,
    "uvicorn-2": uvicorn_2,
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Starts one of FLEETS; its servers end with the test, and the file is whole then."""
    with contextlib.ExitStack() as stack:

        def start(name: str, **settings: float) -> Fleet:
            env = environment_of(f"sqlite:///{tmp_path}/locks.db", tmp_path, **settings)
            started, workers = FLEETS[name](env, stack)
            return Fleet(tmp_path / "locks.db", tmp_path, started, workers)

        yield start
    with contextlib.closing(sqlite3.connect(tmp_path / "locks.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def as_user(name: str, **more: str) -> dict[str, str]:
    return {"X-User": name, **{key.replace("_", "-"): value for key, value in more.items()}}


def lock_of(port: int, name: str, path: str = DOCUMENT, after: float = 0.0) -> Asked:
    return Asked(port, "LOCK", path, as_user(name) | JSON, lock_body(), after)


def said(heard: list[Heard]) -> str:
    """What was answered, for messages."""
    return str(Counter((one.status, one.got.body.decode()[:200]) for one in heard).most_common(5))


# ---- 100 LOCKs at once -----------------------------------------------------------------------------------------------


@dataclass
class Rounds:
    """Plays rounds on a fleet, and keeps what was seen."""

    fleet: Fleet
    pick: random.Random
    path: str = DOCUMENT
    history: History = field(default_factory=History)
    seen: Counter[str] = field(default_factory=Counter)
    token_known_to: set[int] = field(default_factory=set)
    kills: int = 0

    def play(self, number: int, victim: int | None) -> None:
        ports = self.fleet.ports
        asked = [lock_of(self.pick.choice(ports), f"u{n}", self.path, self.pick.uniform(0, 0.01)) for n in range(HERD)]
        late = [self.pick.uniform(0, 0.06) for _ in range(WRITERS)]
        asked += [Asked(self.pick.choice(ports), "PUT", self.path, as_user("other"), b"x", after) for after in late]
        if victim is not None:
            self.kills += 1
            with killer(self.fleet, victim, self.pick.uniform(0.002, 0.05)):
                heard = herd(asked)
        else:
            heard = herd(asked)
        locks, writes = heard[:HERD], heard[HERD:]
        granted = [one for one in locks if one.status in (200, 201)]
        lost = sum(one.status == NO_ANSWER for one in heard)
        self.seen["no answer"] += lost
        assert victim is not None or lost == 0, said(heard)
        assert all(one.status in (200, 201, 423) for one in locks if one.status != NO_ANSWER), said(locks)
        assert all(one.status in (200, 423) for one in writes if one.status != NO_ANSWER), said(writes)
        assert len(granted) <= 1, said(granted)
        if not granted:
            self.nobody_got_it(lost)
            return
        self.holder_is_known_everywhere(granted[0], [one for one in locks if one.status == 423])

    def nobody_got_it(self, lost: int) -> None:
        """Only where the answer died with its worker: then at most one lock stands, and its token is nobody's."""
        assert lost > 0
        assert len(self.fleet.locks_on(self.path)) <= 1
        self.seen["answer lost"] += 1
        self.path = f"{DOCUMENT}-{self.seen['answer lost']}"

    def holder_is_known_everywhere(self, granted: Heard, refused: list[Heard]) -> None:
        who, token = granted.asked.fields["X-User"], granted.got.token
        self.seen["granted"] += 1
        for one in refused:
            self.refusal(one, who)
        assert self.fleet.locks_on(self.path) == [(who, token)]
        many = self.fleet.ports * (12 // len(self.fleet.ports))
        with_token = herd([Asked(p, "PUT", self.path, as_user(who, If=f"(<{token}>)"), b"mine") for p in many])
        assert {one.status for one in with_token} == {200}, said(with_token)
        self.token_known_to |= {int(one.got["x-pid"] or 0) for one in with_token}
        without = herd([Asked(p, "PUT", self.path, as_user("other"), b"theirs") for p in many])
        assert {one.status for one in without} == {423}, said(without)
        for one in without:
            assert one.got.json["lock"]["root"] == self.path
        stolen = herd([Asked(p, "PUT", self.path, as_user("other", If=f"(<{token}>)"), b"theirs") for p in many])
        assert not {200, 201, 204} & {one.status for one in stolen}, said(stolen)
        holding = as_user(who, If=f"(<{token}>)", Accept="application/json")
        refreshed = herd([Asked(p, "LOCK", self.path, holding) for p in self.fleet.ports])
        assert {one.status for one in refreshed} == {200}, said(refreshed)
        assert {one.got.json["lock"]["root"] for one in refreshed} == {self.path}
        through = self.pick.choice([p for p in self.fleet.ports if p != granted.asked.port] or self.fleet.ports)
        unlocked = ask(through, "UNLOCK", self.path, as_user(who, Lock_Token=f"<{token}>"))
        assert unlocked.status == 204, unlocked
        self.history.holds[self.path].append(Span(who, granted.heard, unlocked.sent))

    def refusal(self, one: Heard, who: str) -> None:
        """It names the lock, or it came while that was being granted, which is shown to nobody."""
        told = one.got.json
        if "lock" in told:
            self.seen["refused, lock named"] += 1
            assert (told["lock"]["root"], told["lock"]["owner"]) == (self.path, who)
        else:
            self.seen["refused, being granted"] += 1
            assert told["message"] == f"a lock on {self.path} is just being granted"
            assert int(one.got["retry-after"] or 0) in (1, 2)


@contextlib.contextmanager
def killer(fleet: Fleet, pid: int, after: float) -> Iterator[None]:
    """While the block runs, `pid` is killed."""
    timer = Timer(after, fleet.kill, (pid,))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def overlaps(rounds: Rounds) -> list[tuple[str, Span, Span]]:
    """What the applications recorded, beside what clients knew of their locks."""
    for effect in read_effects(rounds.fleet.effects, rounds.fleet.killed):
        rounds.history.effects[effect.path].append(Span(effect.who, effect.start, effect.end))
    return rounds.history.overlaps()


@pytest.mark.parametrize("name", FLEETS)
def test_of_100_locks_at_once_one_is_granted_and_good_in_all_processes(fleet, name):
    started = fleet(name)
    rounds = Rounds(started, random.Random(3))
    alive = started.pids()
    for number in range(ROUNDS):
        kills = name != "three-servers" and number % KILL_EVERY == KILL_EVERY - 1
        rounds.play(number, rounds.pick.choice(sorted(alive)) if kills else None)
        if kills:
            alive = started.pids()
    assert overlaps(rounds) == []
    holds, effects = rounds.history.count()
    assert holds == rounds.seen["granted"] == ROUNDS - rounds.seen["answer lost"]
    assert rounds.seen["granted"] >= ROUNDS - rounds.kills
    assert rounds.seen["refused, lock named"] > 0
    assert effects >= 12 * holds
    assert len(rounds.token_known_to) >= started.workers
    if name == "gunicorn-4-preloaded":
        refused = herd([Asked(started.ports[0], "PUT", "/before", as_user("other"), b"x")] * 12)
        assert {(one.status, one.got.json["lock"]["owner"]) for one in refused} == {(423, "before")}
    print(f"\n{name}: {ROUNDS} rounds, {rounds.kills} kills, {effects} effects, {dict(rounds.seen)}")


def test_a_lock_of_asgi_holds_in_wsgi_and_the_other_way_round(fleet):
    """Every pair of the three kinds of servers, writes under a depth-infinity lock too."""
    ports = fleet("three-servers", effect_ms=0).ports
    for one in ports:
        for other in (port for port in ports if port != one):
            granted = ask(one, "LOCK", "/folder", as_user("anna", Depth="infinity") | JSON, lock_body())
            assert granted.status == 200
            token = granted.got.token
            refused = ask(other, "PUT", "/folder/file", as_user("bert"), b"x")
            assert (refused.status, refused.got.json["lock"]["root"]) == (423, "/folder")
            assert refused.got.json["lock"]["owner"] == "anna"
            competing = ask(other, "LOCK", "/folder/file", as_user("bert") | JSON, lock_body())
            assert (competing.status, competing.got.json["lock"]["root"]) == (423, "/folder")
            assert ask(other, "PUT", "/folder/file", as_user("anna", If=f"</folder> (<{token}>)"), b"x").status == 200
            assert ask(other, "UNLOCK", "/folder", as_user("anna", Lock_Token=f"<{token}>")).status == 204
            assert ask(one, "PUT", "/folder/file", as_user("bert"), b"x").status == 200


# ---- a writer that is stopped, and killed ----------------------------------------------------------------------------


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.005)


def writer_at(fleet_: Fleet) -> int:
    """The process that is in the middle of a write, 0 if none is."""
    for path in fleet_.effects.glob("*.effects"):
        lines = path.read_text().splitlines()
        if lines and lines[-1].startswith("s "):
            return int(path.name.partition("-")[0])
    return 0


@contextlib.contextmanager
def put_that_hangs(fleet_: Fleet, server: servers.Server, *fields: str) -> Iterator[int]:
    """A PUT whose effect takes a minute is sent; the process that has begun it."""
    head = [f"PUT {DOCUMENT} HTTP/1.1", "Host: h", "X-User: writer", "X-Seconds: 60", "Content-Length: 0", *fields]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall("".join(line + "\r\n" for line in [*head, ""]).encode())
        until(lambda: writer_at(fleet_))
        pid = writer_at(fleet_)
        assert pid in servers.members(server.pid)
        try:
            yield pid
        finally:
            if pid in servers.members(server.pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["short", "general"])
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_stopped_writer_holds_up_a_lock_and_a_dead_one_does_not(fleet, kind, way):
    """Stopped (SIGSTOP), it may still write when it goes on: LOCK waits `hold_wait` seconds and is refused."""
    started = fleet("three-servers", hold_wait=0.5)
    server, third = started.servers[kind == "wsgi"], started.ports[2]
    fields = () if way == "short" else ("If: (Not <DAV:no-lock>)",)
    assert ask(server.port, "PUT", "/warm", as_user("writer"), b"x").status == 200  # else the first takes no short way
    with put_that_hangs(started, server, *fields) as pid:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(2):
            refused = ask(third, "LOCK", DOCUMENT, as_user("anna") | JSON, lock_body())
            assert (refused.status, refused.got["retry-after"]) == (423, "1"), refused
            assert f"still writing {DOCUMENT}" in refused.got.json["message"]
            assert refused.heard - refused.sent >= 0.5e9
            assert started.locks_on(DOCUMENT) == []
        beside = ask(third, "LOCK", "/documents/two", as_user("anna") | JSON, lock_body())
        assert beside.status == 200, "who writes elsewhere is in nobody's way"
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in servers.members(server.pid))
        granted = ask(third, "LOCK", DOCUMENT, as_user("anna") | JSON, lock_body())
        assert granted.status == 200, granted
        print(f"\n{kind}, {way}: granted {(granted.heard - granted.sent) / 1e6:.1f} ms after the writer's death")


# ---- on the disk before it is told -----------------------------------------------------------------------------------

CALL = re.compile(r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((.*?)\) += (-?\d+).* <(\d+\.\d+)>$")


@dataclass(frozen=True)
class SystemCall:
    name: str
    told: str
    start: float
    end: float


def system_calls(trace: Path) -> list[SystemCall]:
    """The calls of one thread, as `strace -ttt -T` wrote them."""
    found = (CALL.match(line) for line in trace.read_text("utf-8", "replace").splitlines())
    return [SystemCall(m[2], m[3], float(m[1]), float(m[1]) + float(m[5])) for m in found if m]


@contextlib.contextmanager
def traced(pid: int, trace: Path) -> Iterator[None]:
    """What the process asks of the kernel while the block runs; each thread goes to a file of its own, trace.TID."""
    calls = "trace=write,writev,pwrite64,fdatasync,fsync,sendto,sendmsg"
    command = [programs.program("strace"), "-ff", "-ttt", "-T", "-y", "-s", "64", "-e", calls, "-e", "signal=none"]
    with subprocess.Popen([*command, "-o", str(trace), "-p", str(pid)], stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        assert b"attached" in first, first
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(20)


def of_all_threads(trace: Path) -> list[SystemCall]:
    files = trace.parent.glob(trace.name + ".*")
    return sorted((call for one in files for call in system_calls(one)), key=lambda call: call.start)


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_lock_is_on_the_disk_before_its_answer_leaves(fleet, tmp_path, kind):
    """The kernel is asked to write the lock down, and has said that it is done, before the answer is written."""
    started = fleet("three-servers", effect_ms=0)
    server = started.servers[kind == "wsgi"]
    pid = int(ask(server.port, "PUT", "/warm", as_user("writer"), b"x").got["x-pid"] or 0)
    trace = tmp_path / "trace"
    with traced(pid, trace):
        for number in range(SYNCED_LOCKS):
            granted = ask(server.port, "LOCK", f"/documents/{number}", as_user("anna") | JSON, lock_body())
            assert granted.status == 200
    calls = of_all_threads(trace)
    answers = [call for call in calls if "HTTP/1.1 200" in call.told and "locks.db" not in call.told]
    assert len(answers) == SYNCED_LOCKS, trace
    before = 0.0
    for answer in answers:
        within = [call for call in calls if before < call.start < answer.start and "locks.db-wal" in call.told]
        writes = [call for call in within if call.name == "pwrite64"]
        syncs = [call for call in within if call.name in ("fdatasync", "fsync")]
        assert syncs, "the pending lock goes to the disk with what confirms it"
        assert syncs[-1].start >= writes[-1].end, "something was written to the log after it was synced last"
        assert syncs[-1].end <= answer.start, "the answer left before the lock was on the disk"
        before = answer.start
    total = sum(call.name in ("fdatasync", "fsync") for call in calls)
    print(f"\n{kind}: {SYNCED_LOCKS} LOCKs, {total} fdatasync, each ended before its answer")


# ---- fork ------------------------------------------------------------------------------------------------------------

FORKED = """
import asyncio, os, sys
from locklib.locks import AsyncLocks, Locks
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore

path, kind, closes = sys.argv[1:]
if kind == "sync":
    locks = Locks(SqliteLockStore(path))
    lock = lambda key: locks.acquire(key, timeout=600)
    close = locks.store.close
else:
    locks = AsyncLocks(AsyncSqliteLockStore(path))
    lock = lambda key: asyncio.run(locks.acquire(key, timeout=600))
    close = lambda: asyncio.run(locks.store.close())

def says(word):
    os.write(1, word + b"\\n")
    os.read(0, 1)

lock("/parent")
told, tell = os.pipe()
heard, say = os.pipe()
if os.fork() == 0:
    lock("/first")
    os.write(tell, b".")
    os.read(heard, 1)
    lock("/second")
    os.write(tell, b".")
    os.read(heard, 1)
    os._exit(0)
os.read(told, 1)
if closes == "closes":
    close()
else:
    lock("/beside")
says(b"first")
os.write(say, b".")
os.read(told, 1)
says(b"second")
os.write(say, b".")
os.wait()
"""


def keys_in(path: Path) -> set[str]:
    """As a new process sees it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM locks")}


@pytest.mark.parametrize("parent", ["closes", "goes-on"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_forked_child_was_granted_outlives_the_parents_store(tmp_path, kind, parent):
    """A parent that has used the store forks; whatever it does with its own store then, the child's locks last."""
    path = tmp_path / "locks.db"
    command = [sys.executable, "-c", FORKED, str(path), kind, parent]
    beside = {"/parent"} if parent == "closes" else {"/parent", "/beside"}
    env = servers.environment({})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for word, keys in ((b"first", {"/first"}), (b"second", {"/first", "/second"})):
            assert program.stdout.readline() == word + b"\n"
            assert keys_in(path) == beside | keys
            program.stdin.write(b".")
    assert program.returncode == 0
    assert keys_in(path) == beside | {"/first", "/second"}


# ---- the example -----------------------------------------------------------------------------------------------------


def commands() -> dict[str, list[str]]:
    """What the example's README says to type, by program."""
    lines = re.findall(r"^    (\S.*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    return {words[0]: words for words in map(shlex.split, lines)}


def workers_in(words: list[str]) -> int:
    return int(words[1 + next(place for place, word in enumerate(words) if word in ("-w", "--workers"))])


def test_the_example_is_one_wiki_by_two_servers_of_many_processes(tmp_path):
    folder = tmp_path / "wiki_processes"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.db*", "pages"))
    said = commands()
    flask, fastapi = said["gunicorn"], said["uvicorn"]
    assert (workers_in(flask), workers_in(fastapi)) == (4, 2)
    page = "wiki/start"
    with (
        servers.gunicorn(flask[-1], workers=4, cwd=folder) as one,
        servers.uvicorn(fastapi[-1], workers=2, cwd=folder) as other,
        httpx.Client(headers={"Connection": "close"}) as http,
    ):
        for here, there in ((one.url, other.url), (other.url, one.url)):
            assert http.put(here + page, content="Hello").status_code == 204
            assert http.get(there + page).text == "Hello"
            locked = http.request("LOCK", here + page, content="{}", headers=JSON)
            assert locked.status_code == 200, locked.text
            token = locked.headers["lock-token"]
            for url in (here, there) * 4:
                assert http.put(url + page, content="not this").status_code == 423
                assert http.put(url + page, content="mine", headers={"If": f"({token})"}).status_code == 204
                assert http.get(url + page).text == "mine"
            assert http.request("UNLOCK", there + page, headers={"Lock-Token": token}).status_code == 204
            assert http.put(here + page, content="free").status_code == 204
    assert (folder / "locks.db").exists()
