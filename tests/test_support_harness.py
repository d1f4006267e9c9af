"""The harness tells the truth: servers start and end, and what real clients print is read rightly.

Tried on a peer with a lock manager of its own, so that a red test here means the harness and never locklib.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from support import clients, programs, servers
from support.budget import PARTS, part_of

Litmus = Callable[..., dict[str, clients.LitmusSuite]]
Cadaver = Callable[..., list[clients.CadaverStep]]
Npm = Callable[..., list[dict[str, object]]]

ENTRY = "support.apps:make_wsgidav"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[servers.Server]:
    """The peer on waitress, with anna's password."""
    env = {"WSGIDAV_ROOT": str(tmp_path), "WSGIDAV_USER": "anna:pw"}
    with servers.waitress(ENTRY, factory=True, env=env) as server:
        yield server


# servers


def start_uvicorn_h11() -> AbstractContextManager[servers.Server]:
    return servers.uvicorn("support.apps:hello_asgi", http="h11")


def start_uvicorn_factory() -> AbstractContextManager[servers.Server]:
    return servers.uvicorn("support.apps:make_hello_asgi", factory=True, http="httptools")


def start_gunicorn_sync() -> AbstractContextManager[servers.Server]:
    return servers.gunicorn("support.apps:hello_wsgi")


def start_gunicorn_threads() -> AbstractContextManager[servers.Server]:
    return servers.gunicorn("support.apps:hello_wsgi", worker_class="gthread", threads=2)


def start_waitress() -> AbstractContextManager[servers.Server]:
    return servers.waitress("support.apps:hello_wsgi")


def start_hypercorn() -> AbstractContextManager[servers.Server]:
    return servers.hypercorn("support.apps:hello_asgi")


STARTS = [
    start_uvicorn_h11,
    start_uvicorn_factory,
    start_gunicorn_sync,
    start_gunicorn_threads,
    start_waitress,
    start_hypercorn,
]


@pytest.mark.parametrize("start", [pytest.param(start, id=start.__name__) for start in STARTS])
def test_a_server_answers_and_is_gone_afterwards(start: Callable[[], AbstractContextManager[servers.Server]]) -> None:
    with start() as server:
        assert httpx.get(server.url).status_code == 200
        assert server in servers.RUNNING
    assert server not in servers.RUNNING
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((servers.HOST, server.port), timeout=5)
    assert servers.members(server.pid) == []


def test_gunicorn_workers_are_processes_and_end_even_if_stopped() -> None:
    with servers.gunicorn("support.apps:hello_wsgi", workers=2) as server:
        pids = workers_seen(server, 2)
        assert server.pid not in pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert pids < set(servers.members(server.pid))
    assert servers.members(server.pid) == []


def workers_seen(server: servers.Server, wanted: int) -> set[int]:
    """The workers that answered until `wanted` have, for the kernel hands connections to whom it likes."""
    seen: set[int] = set()
    deadline = time.monotonic() + 30
    while len(seen) < wanted and time.monotonic() < deadline:
        seen.add(int(httpx.get(server.url).text))
    assert len(seen) == wanted
    return seen


def test_a_server_that_cannot_start_says_what_it_printed() -> None:
    with pytest.raises(servers.ServerFailed, match=r"(?s)ended with status .*no_such_name"):  # noqa: SIM117
        with servers.uvicorn("support.apps:no_such_name"):
            pass


def test_a_server_that_never_answers_is_given_up_and_killed(free_port: int) -> None:
    command = [sys.executable, "-c", "import time; print('asleep', flush=True); time.sleep(600)"]
    with pytest.raises(servers.ServerFailed, match=r"(?s)did not answer within 1 s.*asleep"):  # noqa: SIM117
        with servers.running("sleeper", command, free_port, seconds=1):
            pass
    assert servers.RUNNING == []


def test_an_error_inside_the_block_carries_what_the_server_printed() -> None:
    with pytest.raises(RuntimeError) as caught:  # noqa: SIM117
        with servers.uvicorn("support.apps:hello_asgi"):
            raise RuntimeError("the test went wrong")
    assert "uvicorn printed:" in caught.value.__notes__[0]
    assert "Uvicorn running" in caught.value.__notes__[0]


def test_ports_held_at_once_differ() -> None:
    with servers.held_port() as one, servers.held_port() as other:
        assert one != other


# litmus


@pytest.mark.parametrize("suite", ["basic", "locks"])
def test_litmus_counts_are_read(tmp_path: Path, litmus: Litmus, suite: str) -> None:
    with servers.gunicorn(f"{ENTRY}()", env={"WSGIDAV_ROOT": str(tmp_path)}) as server:
        result = litmus(server.url, [suite])[suite]
    assert (result.failures, result.skipped) == ([], [])
    assert result.passed == result.total == {"basic": 16, "locks": 41}[suite]
    assert [test.number for test in result.tests] == list(range(result.total))


def test_litmus_failures_and_skips_are_read(tmp_path: Path, litmus: Litmus) -> None:
    env = {"WSGIDAV_ROOT": str(tmp_path), "WSGIDAV_PROPERTIES": "0"}
    with servers.waitress(ENTRY, factory=True, env=env) as server:
        results = litmus(server.url, ["props", "locks"])
    assert results["props"].failures[0].startswith("6. propset: PROPPATCH on")
    assert "403 Forbidden" in results["props"].failures[0]
    assert "7. propget" in results["props"].skipped
    assert (
        results["props"].passed + len(results["props"].failures) + len(results["props"].skipped)
        == results["props"].total
    )
    assert [failure.partition(":")[0] for failure in results["locks"].failures] == [
        "11. owner_modify",
        "26. owner_modify",
        "33. owner_modify",
    ]


def test_litmus_sends_credentials(peer: servers.Server, litmus: Litmus) -> None:
    assert litmus(peer.url, ["http"], "anna", "pw")["http"].failures == []
    assert litmus(peer.url, ["http"], "anna", "wrong")["http"].failures != []


PRINTED = """-> running `basic':
\r 0. init.................. \r 0. init.................. pass
\r 1. delete_fragment....... WARNING: DELETE removed collection; unsafe
    ...................... pass (with 1 warning)
    ...................... \r 2. mkcol................. FAIL (MKCOL on `/x': 403 Forbidden
)
\r 3. longest_name_of_them_all \r 3. longest_name_of_them_all SKIPPED
-> 1 test was skipped.
<- summary for `basic': of 3 tests run: 2 passed, 1 failed. 66.7%
-> 1 warning was issued.
"""


def test_litmus_output_is_read_line_by_line() -> None:
    suite = clients.parse_litmus(PRINTED)["basic"]
    assert [(test.number, test.name, test.outcome) for test in suite.tests] == [
        (0, "init", "pass"),
        (1, "delete_fragment", "pass"),
        (2, "mkcol", "FAIL"),
        (3, "longest_name_of_them_all", "SKIPPED"),
    ]
    assert suite.warnings == ["1. delete_fragment: DELETE removed collection; unsafe"]
    assert suite.failures == ["2. mkcol: MKCOL on `/x': 403 Forbidden"]
    assert suite.skipped == ["3. longest_name_of_them_all"]
    assert (suite.passed, suite.total) == (2, 4)


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param(PRINTED.partition("<-")[0], id="no-summary"),
        pytest.param(PRINTED.replace("2 passed", "3 passed"), id="other-count"),
        pytest.param(PRINTED.replace("SKIPPED", ""), id="a-test-without-verdict"),
    ],
)
def test_litmus_output_that_does_not_add_up_is_refused(printed: str) -> None:
    with pytest.raises(clients.ClientFailed, match="basic"):
        clients.parse_litmus(printed)


# cadaver


def test_cadaver_locks_edits_and_unlocks(peer: servers.Server, tmp_path: Path, cadaver: Cadaver) -> None:
    commands = ["put a.txt", "lock a.txt", "discover a.txt", "unlock a.txt", "edit a.txt", "lock no/where"]
    files = {"a.txt": b"one\n"}
    steps = cadaver(peer.url, commands, user="anna", password="pw", files=files, edit_adds="two")
    put, lock, discover, unlock, edit, nowhere = steps
    assert put.good
    assert lock.good
    assert len(discover.tokens) == 1
    assert unlock.good
    assert edit.good
    assert (nowhere.good, nowhere.status) == (False, 409)
    assert (tmp_path / "a.txt").read_text() == "one\ntwo\n"


def test_cadaver_sees_a_lock_of_another_run_and_steals_it(peer: servers.Server, cadaver: Cadaver) -> None:
    cadaver(peer.url, ["put a.txt", "lock a.txt"], user="anna", password="pw", files={"a.txt": b"one\n"})
    refused, steal, unlock = cadaver(
        peer.url, ["edit a.txt", "steal a.txt", "unlock a.txt"], user="anna", password="pw"
    )
    assert (refused.good, refused.status) == (False, 423)
    assert len(steal.tokens) == 1
    assert unlock.good


def test_cadaver_without_a_server_is_an_error(free_port: int, cadaver: Cadaver) -> None:
    with pytest.raises(clients.ClientFailed, match="Could not connect"):
        cadaver(f"http://127.0.0.1:{free_port}/", ["ls"])


# npm


def test_the_npm_client_locks_writes_and_unlocks(peer: servers.Server, tmp_path: Path, webdav_npm: Npm) -> None:
    results = webdav_npm(
        peer.url,
        [
            {"do": "put", "path": "/a.txt", "body": "one"},
            {"do": "lock", "path": "/a.txt", "as": "mine"},
            {"do": "put", "path": "/a.txt", "body": "refused"},
            {"do": "put", "path": "/a.txt", "body": "two", "with": "mine"},
            {"do": "get", "path": "/a.txt"},
            {"do": "exists", "path": "/b.txt"},
            {"do": "delete", "path": "/b.txt"},
            {"do": "unlock", "path": "/a.txt", "with": "mine"},
            {"do": "put", "path": "/a.txt", "body": "three"},
            {"do": "unlock", "path": "/a.txt", "with": "other"},
        ],
        user="anna",
        password="pw",
    )
    assert [(step["do"], step["ok"], step["status"]) for step in results] == [
        ("put", True, None),
        ("lock", True, None),
        ("put", False, 423),
        ("put", True, None),
        ("get", True, None),
        ("exists", True, None),
        ("delete", False, 404),
        ("unlock", True, None),
        ("put", True, None),
        ("unlock", False, None),
    ]
    assert str(results[1]["token"]).startswith("opaquelocktoken:")
    assert results[4]["body"] == "two"
    assert results[5]["exists"] is False
    assert results[9]["message"] == "no lock was granted as 'other'"
    assert (tmp_path / "a.txt").read_text() == "three"


def test_an_npm_client_that_breaks_is_an_error(webdav_npm: Npm) -> None:
    with pytest.raises(clients.ClientFailed, match=r"(?s)exit 1.*'dance' is no step"):
        webdav_npm("http://127.0.0.1:1/", [{"do": "dance", "path": "/"}])


# what is missing, and the budget


def test_a_missing_program_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALLOW_MISSING", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.fail.Exception, match="cadaver is missing; get it: apt-get install cadaver"):
        programs.program("cadaver")


@pytest.mark.parametrize(("allow", "status"), [("", 1), ("1", 0)], ids=["missing-fails", "missing-allowed"])
def test_the_run_names_what_it_could_not_run(tmp_path: Path, allow: str, status: int) -> None:
    """The real conftest in a run of its own, on a machine without litmus."""
    (tmp_path / "conftest.py").write_text("from conftest_of_locklib import *\n")
    (tmp_path / "conftest_of_locklib.py").write_text((programs.TESTS / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = clients: x\n")
    (tmp_path / "test_one.py").write_text("def test_one(litmus):\n    raise AssertionError\n")
    env = {"PATH": "/nonexistent", "PYTHONPATH": f"{tmp_path}:{programs.TESTS}", "ALLOW_MISSING": allow}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert "litmus is missing" in ran.stdout
    assert ("NOT RUN: litmus is missing (apt-get install litmus): 1 test" in ran.stdout) == bool(allow)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tests/test_t19_if_parser.py", "threats"),
        ("tests/test_rfc4918_10_4_if.py", "unit and transcripts"),
        ("tests/test_race_store.py", "processes and races"),
        ("tests/test_clients_litmus.py", "real clients and servers"),
        ("tests/test_timeouts.py", "unit and transcripts"),
    ],
)
def test_each_file_is_some_part(path: str, name: str) -> None:
    assert part_of(path).name == name


def test_the_budget_is_the_one_that_is_written_down() -> None:
    page = (programs.TESTS.parent / "CONTRIBUTING.md").read_text()
    for part in PARTS:
        assert f"| {part.name} | {part.minutes:g} |" in page
