"""`locklib demo`: the story goes as told, over a socket; an answer that is not as told is noticed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from locklib.cli import demo
from locklib.cli.commands import locklib
from locklib.cli.house import LONGEST, house_app
from locklib.cli.running import beside, listener, url_of
from locklib.demo.documents import documents_app
from locklib.demo.story import STEPS, StoryBroken, tell
from support import servers

ADMIN = ("admin", "admin")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[str]:
    """The address of a demonstration server in this process."""
    bound = listener("127.0.0.1", 0)
    with beside(house_app(tmp_path), bound):
        yield url_of(bound)


def test_the_story_once_in_a_process_of_its_own(free_port: int):
    command = [sys.executable, "-m", "locklib", "demo", "--once", "--port", str(free_port)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=servers.environment({}), timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    statuses = [int(status) for status in re.findall(r"^  < HTTP/1\.1 (\d+)", done.stdout, re.MULTILINE)]
    assert statuses == [step.expects for step in STEPS]
    assert re.findall(r"^# (.*)$", done.stdout, re.MULTILINE) == [step.chapter for step in STEPS if step.chapter]
    for shown in ("x-lock-owner: alice", "retry-after: ", '"reason": "audit"', '"contact": "audit@example.org"'):
        assert shown in done.stdout
    assert "curl -i" not in done.stdout


def test_the_story_shows_what_it_is_for():
    told = [(step.line.split()[0], step.expects) for step in STEPS]
    assert [method for method, status in told if status == 423].count("PUT") >= 4
    assert ("GET", 423) in told
    assert {"LOCK", "UNLOCK", "OPTIONS"} <= {method for method, _ in told}
    assert told[-2:] == [("PUT", 412), ("GET", 200)]


@pytest.fixture
def unguarded() -> Iterator[str]:
    bound = listener("127.0.0.1", 0)
    with beside(documents_app(), bound):
        yield url_of(bound)


def test_a_server_without_locks_is_noticed_at_the_first_lock(house: str, unguarded: str):
    moved = tuple(replace(step, line=step.line.replace("/documents/", "/")) for step in STEPS)
    with pytest.raises(StoryBroken, match=r"LOCK /plan.*expected 200, but the answer is 405"):
        tell(unguarded, [].append, moved)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"expects": 200}, "expected 200, but the answer is 201", id="status"),
        pytest.param({"holds": {"pigs fly": lambda _: False}}, "expected that pigs fly", id="does-not-hold"),
        pytest.param({"holds": {"it is JSON": lambda answer: answer.json}}, "expected that it is JSON", id="not-there"),
        pytest.param({"remembers": {"x": "x-none"}}, "expected the field x-none", id="field"),
    ],
)
def test_an_answer_that_is_not_as_told_is_noticed(house: str, wrong: dict[str, object], message: str):
    said: list[str] = []
    with pytest.raises(StoryBroken, match=message):
        tell(house, said.append, (replace(STEPS[0], **wrong), STEPS[1]))
    assert sum(line.startswith("> ") and "HTTP/1.1" in line for line in said) == 1  # it went no further


def test_a_broken_story_is_an_exit_status(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "house_app", lambda directory: documents_app())
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(locklib, ["demo", "--once", "--port", "0"])
    assert done.exit_code == 1
    assert "the story did not go as told" in done.stderr
    assert "(alice, PUT /documents/plan): expected 201" in done.stderr
    assert signal.getsignal(signal.SIGTERM) == before


# --- the command lines to go on with ---


def by_curl(line: str) -> int:
    done = subprocess.run(shlex.split(line), check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return int(re.match(r"HTTP/1\.1 (\d+)", done.stdout)[1])


def by_hand(line: str) -> int:
    """The same without curl, for machines that have none."""
    words = iter(shlex.split(line)[1:])
    sent: dict[str, str] = {}
    headers: dict[str, str] = {}
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in ("-u", "-X", "-d"):
            sent[word] = next(words)
        elif word != "-i":
            sent["url"] = word
    user, _, password = sent["-u"].partition(":")
    content = sent.get("-d", "").encode()
    return httpx.request(sent["-X"], sent["url"], headers=headers, content=content, auth=(user, password)).status_code


def printed_when_ready(server: servers.Server) -> str:
    until = time.monotonic() + 60
    while "Ctrl-C ends the server" not in (text := server.log.read_text()):
        assert time.monotonic() < until, text
        assert server.process.poll() is None, text
        time.sleep(0.05)
    return text


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_server_stays_for_the_curl_lines_and_leaves_nothing_behind(end: int, free_port: int, tmp_path: Path):
    command = [sys.executable, "-m", "locklib", "demo", "--port", str(free_port)]
    with servers.running("locklib demo", command, free_port, env={"TMPDIR": str(tmp_path)}) as server:
        text = printed_when_ready(server)
        lines = re.findall(r"^(curl .*?)   # (\d+)$", text, re.MULTILINE)
        assert len(lines) == 6
        run = by_curl if shutil.which("curl") and end == signal.SIGINT else by_hand
        assert [run(line) for line, _ in lines] == [int(status) for _, status in lines]
        assert httpx.get(server.url).text.startswith("The demonstration of locklib")
        os.kill(server.pid, end)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_said(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(locklib, ["demo", "--once", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert "is in use" in done.stderr
    assert "--port" in done.stderr


# --- the desk ---

HOLD = {"path": "/documents/plan", "purpose": "administrative", "seconds": 60}


@pytest.mark.parametrize(
    ("auth", "status"),
    [pytest.param(None, 401, id="nobody"), pytest.param(("alice", "alice"), 403, id="alice")],
)
def test_only_admin_comes_to_the_desk(house: str, auth: tuple[str, str] | None, status: int):
    assert httpx.post(f"{house}/desk", json=HOLD, auth=auth).status_code == status
    assert httpx.delete(f"{house}/desk/1", auth=auth).status_code == status
    assert httpx.put(f"{house}/documents/plan", content="x", auth=("bob", "bob")).status_code == 201


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(b"no JSON", id="no-json"),
        pytest.param([1], id="list"),
        pytest.param({}, id="empty"),
        pytest.param({**HOLD, "purpose": "write"}, id="write"),
        pytest.param({**HOLD, "purpose": "party"}, id="unknown-purpose"),
        pytest.param({**HOLD, "seconds": 0}, id="no-time"),
        pytest.param({**HOLD, "seconds": LONGEST + 1}, id="too-long"),
        pytest.param({**HOLD, "seconds": "nan"}, id="nan"),
        pytest.param({**HOLD, "path": "/desk", "blocks_reads": True}, id="reads-are-not-guarded-there"),
    ],
)
def test_the_desk_refuses_what_it_cannot_read(house: str, asked: object):
    body = {"content": asked} if isinstance(asked, bytes) else {"json": asked}
    answer = httpx.post(f"{house}/desk", auth=ADMIN, **body)
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_a_desk_lock_conflicts_runs_out_and_is_lifted_once(house: str):
    processing = {**HOLD, "purpose": "processing"}
    assert httpx.post(f"{house}/desk", json=processing, auth=ADMIN).status_code == 201
    second = httpx.post(f"{house}/desk", json=processing, auth=ADMIN)
    assert second.status_code == 423
    assert httpx.delete(f"{house}/desk/1", auth=ADMIN).status_code == 204
    assert httpx.delete(f"{house}/desk/1", auth=ADMIN).status_code == 404
    short = httpx.post(f"{house}/desk", json={**HOLD, "seconds": 0.05}, auth=ADMIN)
    time.sleep(0.1)
    assert httpx.delete(house + short.headers["location"], auth=ADMIN).status_code == 410


def test_nobody_learns_names_and_a_dav_client_is_asked_for_its_name(house: str):
    locked = httpx.request("LOCK", f"{house}/files/a.txt", content="{}", auth=("alice", "alice"))
    assert locked.status_code == 201
    refused = httpx.put(f"{house}/files/a.txt", content="x")
    assert refused.status_code == 423
    assert "alice" not in refused.text + str(refused.headers)
    assert httpx.request("LOCK", f"{house}/files/b.txt", content="{}").status_code == 401
