"""I19 and the first row of the promises: a store in memory serves one process and refuses the others loudly.

The processes here are real: siblings, forks, spawns, and the workers of gunicorn.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import locklib
from locklib.errors import ConfigurationError
from locklib.stores.memory import MemoryLockStore
from locklib.stores.memory import lease as leases
from locklib.stores.memory.lease import Lease, lease_path

SRC = str(Path(locklib.__file__).resolve().parent.parent)

PRELUDE = """
import os, sys, time, threading, multiprocessing
from locklib.core.model import Lock, Outcome, Put, Query
from locklib.errors import ConfigurationError
from locklib.stores.memory import MemoryLockStore

def lock(store, key):
    return store.transact(Query(paths=(key,), writes=True), lambda seen: Outcome(len(seen.locks), puts=(
        Put(Lock("urn:test:" + key, key), 60.0, True),))).answer

def attempt(store):
    try:
        store.open()
        return "open"
    except ConfigurationError as error:
        return "refused: " + str(error)

def in_child(work):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.write(into, str(work()).encode())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    os.close(into)
    answer = os.read(out, 65536).decode()
    os.close(out)
    return answer
"""

HOLDER = (
    PRELUDE
    + """
store = MemoryLockStore(application=sys.argv[2] if len(sys.argv) > 2 else None)
print(attempt(store), flush=True)
for line in sys.stdin:
    if line.strip() == "close":
        store.close()
    elif line.strip() == "open":
        print(attempt(store), flush=True)
        continue
    print("done", flush=True)
"""
)


@pytest.fixture
def place(tmp_path):
    """A directory for lease files of this test alone, and an environment that points there."""
    directory = tmp_path / "leases"
    directory.mkdir()
    environment = {**os.environ, "PYTHONPATH": SRC, "TMPDIR": str(directory)}
    environment.pop("COVERAGE_PROCESS_START", None)
    return environment


@pytest.fixture
def start(place, tmp_path):
    """Start a process that holds a store: `start("argument" ...)` gives it and what it said first."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=place,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def say(process, word):
    process.stdin.write(word + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def run(place, tmp_path, text):
    """What a script prints, line by line."""
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(script)], check=False, env=place, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# -- siblings -----------------------------------------------------------------------------------------------------


def test_the_first_of_two_siblings_wins(start):
    first, said = start()
    assert said == "open"
    _, said = start()
    assert said.startswith("refused: ")
    for words in (f"process {first.pid} ", "sqlite:///locks.db", 'processes="allow"'):
        assert words in said


def test_the_loser_gets_it_when_the_winner_closes(start):
    first, _ = start()
    second, said = start()
    assert said.startswith("refused")
    assert say(first, "close") == "done"
    assert say(second, "open") == "open"
    assert say(first, "open").startswith(
        f"refused: a store in memory holds its locks inside one process, and process {second.pid}"
    )


def test_a_killed_process_leaves_a_file_that_harms_nobody(start, place):
    first, _ = start()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(os.listdir(place["TMPDIR"])) == 1
    second, said = start()
    assert said == "open"
    assert say(second, "close") == "done"
    assert os.listdir(place["TMPDIR"]) == []


def test_another_command_line_is_another_application(start):
    assert start("--port=1")[1] == "open"
    assert start("--port=2")[1] == "open"


def test_an_application_can_be_named(start):
    assert start("--port=1", "shop")[1] == "open"
    assert start("--port=2", "shop")[1].startswith("refused")
    assert start("--port=2", "bank")[1] == "open"


# -- multiprocessing, forks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("made", ["in each process", "before the processes"])
def test_one_of_two_workers_is_refused(place, tmp_path, method, made):
    lines = run(
        place,
        tmp_path,
        f"""
        def work(store, results, leave):
            results.put(attempt(store or MemoryLockStore()))
            leave.wait(30)

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            results, leave = context.Queue(), context.Event()
            store = MemoryLockStore() if {made!r} != "in each process" and {method!r} == "fork" else None
            workers = [context.Process(target=work, args=(store, results, leave)) for _ in range(2)]
            for worker in workers:
                worker.start()
            for _ in workers:
                print(results.get(timeout=30)[:7])
            leave.set()
            for worker in workers:
                worker.join()
        """,
    )
    assert sorted(lines) == ["open", "refused"]


def test_a_child_is_refused_while_the_parent_holds_the_lease(place, tmp_path):
    lines = run(
        place,
        tmp_path,
        """
        store = MemoryLockStore()
        store.open()
        print(in_child(lambda: attempt(store)[:7]))
        print(in_child(lambda: store.near("", "/x")))
        print(store.near("", "/x"))
        store.close()
        print(in_child(lambda: attempt(store)))
        print(attempt(store))
        """,
    )
    assert lines == ["refused", "True", "False", "open", "open"]


def test_a_store_filled_before_the_fork_refuses_in_the_child(place, tmp_path):
    lines = run(
        place,
        tmp_path,
        """
        store = MemoryLockStore()
        lock(store, "/a")
        store.close()
        print(in_child(lambda: attempt(store)))
        print(attempt(store), lock(store, "/a/b"))
        """,
    )
    assert lines[0].startswith("refused: this store in memory held locks in process ")
    assert "after the fork" in lines[0]
    assert lines[1] == "open 1"


def test_the_parent_keeps_its_lease_when_a_child_goes(place, tmp_path, start):
    lines = run(
        place,
        tmp_path,
        """
        store = MemoryLockStore(application="shop")
        store.open()
        in_child(store.close)
        print(in_child(lambda: attempt(MemoryLockStore(application="shop"))[:7]))
        """,
    )
    assert lines == ["refused"]


def test_with_allow_a_child_goes_on_with_a_copy(place, tmp_path):
    lines = run(
        place,
        tmp_path,
        """
        store = MemoryLockStore(processes="allow")
        lock(store, "/a")
        print(in_child(lambda: (lock(store, "/a/b"), lock(store, "/a/b"))))
        print(lock(store, "/a/b"))
        """,
    )
    assert lines == ["(1, 2)", "1"]


@pytest.mark.parametrize("processes", ["refuse", "allow"])
def test_a_fork_in_the_midst_of_a_transaction_is_refused_and_never_hangs(place, tmp_path, processes):
    lines = run(
        place,
        tmp_path,
        f"""
        store = MemoryLockStore(processes={processes!r})
        inside, leave = threading.Event(), threading.Event()

        def step(seen):
            inside.set()
            leave.wait(30)
            return Outcome(None)

        thread = threading.Thread(target=store.transact, args=(Query(), step))
        thread.start()
        inside.wait(30)
        print(in_child(lambda: attempt(store)))
        leave.set()
        thread.join()
        print(attempt(store))
        """,
    )
    assert lines[0].startswith("refused: this store in memory was at work in process ")
    assert lines[1] == "open"


# -- gunicorn -----------------------------------------------------------------------------------------------------

APPLICATION = (
    PRELUDE
    + """
import json
store = MemoryLockStore()

def app(environ, start_response):
    time.sleep(0.02)
    said = attempt(store)[:7]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), said]).encode()]
"""
)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(port):
    """What the workers say, asked until two have spoken."""

    def ask(_):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return tuple(json.load(answer))

    end = time.monotonic() + 40
    said = set()
    with ThreadPoolExecutor(4) as pool:
        while time.monotonic() < end and len({pid for pid, _ in said}) < 2:
            try:
                said.update(pool.map(ask, range(8)))
            except OSError:
                time.sleep(0.1)
    return said


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["each its own", "preloaded"])
def test_one_of_two_gunicorn_workers_is_refused(place, tmp_path, options):
    (tmp_path / "application.py").write_text(APPLICATION)
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", *options, "application:app"]
    log = tmp_path / "gunicorn.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=place, stdout=output, stderr=output)
        try:
            said = _answers(port)
        finally:
            server.terminate()
            server.wait(20)
    assert sorted(word for _, word in said) == ["open", "refused"], log.read_text()


# -- the file itself ----------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A lease directory for this process, and no lease held."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leases, "_held", {})
    return tmp_path


def flocked(path, held="4711"):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(descriptor, held.encode())
    return descriptor


def test_the_stores_of_one_process_share_the_lease(here):
    first, second = Lease(), Lease()
    assert first.path == second.path
    for lease in (first, first, second):
        lease.take()
    assert Path(first.path).read_text() == str(os.getpid())
    second.release()
    assert os.path.exists(first.path)
    first.release()
    first.release()
    assert not os.path.exists(first.path)


@pytest.mark.parametrize(("written", "named"), [("4711", "4711"), ("", "unknown")])
def test_the_holder_is_named(here, written, named):
    lease = Lease()
    descriptor = flocked(lease.path, written)
    with pytest.raises(ConfigurationError, match=f"process {named} of this application"):
        lease.take()
    os.close(descriptor)
    lease.take()
    lease.release()


def test_a_file_that_was_cleaned_away_is_no_error(here):
    lease = Lease()
    lease.take()
    os.unlink(lease.path)
    lease.release()
    assert os.listdir(here) == []


@pytest.mark.parametrize("got_it", [True, False], ids=["got the flock", "did not"])
def test_the_flock_of_a_removed_file_counts_for_nothing(here, monkeypatch, got_it):
    lease = Lease()
    locked = leases._lock
    removed = []

    def lock(descriptor):
        if not removed:
            removed.append(os.unlink(lease.path))
            return locked(descriptor) and got_it
        return locked(descriptor)

    monkeypatch.setattr(leases, "_lock", lock)
    lease.take()
    assert leases._is_file_at(leases._held[lease.path].descriptor, lease.path)
    lease.release()


def test_a_directory_that_cannot_be_written_is_told(here, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(here / "missing"))
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        MemoryLockStore().open()


def test_a_link_is_not_followed(here):
    lease = Lease()
    (here / "precious").write_text("kept")
    os.symlink(here / "precious", lease.path)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        lease.take()
    assert (here / "precious").read_text() == "kept"


def test_what_tells_applications_apart(here, monkeypatch):
    names = {lease_path(), lease_path("shop"), lease_path("bank")}
    for patch in (
        lambda: monkeypatch.setattr(sys, "argv", ["other"]),
        lambda: monkeypatch.setattr(os, "getppid", lambda: 4711),
        lambda: monkeypatch.setattr(sys, "executable", "/other/python"),
        lambda: monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7"),
        lambda: monkeypatch.chdir("/"),
    ):
        patch()
        names.add(lease_path())
    assert len(names) == 8
    assert lease_path("shop") in names


def test_a_process_without_directory_or_uid_has_a_name_too(here, monkeypatch):
    def gone():
        raise FileNotFoundError("the directory was removed")

    monkeypatch.setattr(os, "getcwd", gone)
    monkeypatch.delattr(os, "getuid")
    assert lease_path().startswith(str(here))


def test_without_flock_the_store_works_and_says_so(here, monkeypatch):
    monkeypatch.setattr(leases, "fcntl", None)
    store = MemoryLockStore()
    store.open()
    assert "does not let a process notice" in str(store.promises())
    store.close()
    assert os.listdir(here) == []


def test_a_forked_child_lets_go_of_what_it_inherited(here):
    lease = Lease()
    lease.take()
    descriptor = leases._held[lease.path].descriptor
    leases._after_fork()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    lease.forget()
    lease.release()
    assert os.path.exists(lease.path)
