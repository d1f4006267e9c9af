"""What other lock implementations were seen to get wrong (docs/clients.md), each as a case of its own."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from locklib.stores.memory import MemoryLockStore
from locklib.testing.kit import FakeClock
from locklib.wiring import new_token
from locklib.wsgi import LockMiddleware
from transcripts.apps import plain
from transcripts.player import XML, After, Code, Do, Transcript, lockinfo, play
from transcripts.steps import code_lock, lock, still, unlocked

pytestmark = pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")

INFO = lockinfo()


def odd(name: str, path: str, sibling: str) -> Transcript:
    """A name that patterns of stores and shells take for more than itself."""
    return Transcript(
        f"names with {name}: {path} is locked, {sibling} is not",
        (
            lock(path, "t", depth="infinity", status=201),
            Do("PUT", sibling, status=201),
            Do("DELETE", sibling, status=204),
            Do("PUT", path, status=423),
            Do("PUT", path, {"If": "(<{t}>)"}, status=201),
            Do("DELETE", path, {"If": "(<{t}>)"}, status=204),
            Code(unlocked),
        ),
    )


PEERS = [
    Transcript(
        "an expired member does not stand in the way of a depth infinity LOCK",
        (
            lock("/docs/a", "t", timeout="Second-5"),
            Do("LOCK", "/docs", XML, INFO, status=207),
            After(5),
            Do("LOCK", "/docs", XML, INFO, status=200, saves="d"),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=412),
            Do("DELETE", "/docs", {"If": "(<{d}>)"}, status=204),
            Code(unlocked),
        ),
    ),
    Transcript(
        "a member's token is honoured on DELETE of its collection",
        (
            lock("/docs/a", "t"),
            Do("DELETE", "/docs", {"If": "<http://testserver/docs/a> (<{t}>)"}, status=204),
            Code(unlocked),
        ),
    ),
    Transcript(
        "one of two shared tokens suffices",
        (
            lock("/docs/a", "t", scope="shared"),
            lock("/docs/a", "u", scope="shared"),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204),
            Do("DELETE", "/docs/a", {"If": "(<{u}>)"}, status=204),
            Code(unlocked),
        ),
    ),
    Transcript(
        "Timeout none, Infinite, a list, 0 and 2^32",
        tuple(
            Do(
                "LOCK",
                f"/docs/{n}",
                {**XML, **({} if timeout is None else {"Timeout": timeout})},
                INFO,
                status=201,
                has=(f"<D:timeout>Second-{granted}</D:timeout>",),
            )
            for n, (timeout, granted) in enumerate(
                (
                    (None, 900),
                    ("Infinite", 86400),
                    ("Infinite, Second-60", 86400),
                    ("Second-60, Infinite", 60),
                    ("Second-0", 1),
                    ("Second-4294967296", 86400),
                )
            )
        ),
    ),
    Transcript(
        "children of / are guarded by a lock on /",
        (
            lock("/", "t"),
            Do("PUT", "/x", status=423),
            Do("PUT", "/docs/a", status=423),
            Do("DELETE", "/docs", status=423),
            Do("LOCK", "/docs", XML, INFO, status=423),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204),
        ),
        {"infinity_on_root": True},
    ),
    odd("[", "/docs/[xy]", "/docs/y"),
    odd("?", "/docs/%3F", "/docs/z"),
    odd("*", "/docs/*", "/docs/anything"),
    odd("%", "/docs/100%25", "/docs/100x"),
    odd("_", "/docs/a_b", "/docs/axb"),
    Transcript(
        "index entries are gone after expiry: nothing is found by path, by tree or by token",
        (
            *(lock(f"/docs/n{n}", f"t{n}", timeout="Second-2") for n in range(20)),
            After(2),
            Code(unlocked),
            Do("DELETE", "/docs", status=204),
            Do("UNLOCK", "/docs/n3", {"Lock-Token": "<{t3}>"}, status=409),
            Do("LOCK", "/docs/n3", {"If": "(<{t3}>)"}, status=412, has=("has expired",)),
        ),
    ),
    Transcript(
        "sub-second timeouts end when they end",
        (
            Code(code_lock("/docs/a", "t", timeout=0.25)),
            After(0.2),
            Do("PUT", "/docs/a", status=423, headers={"Retry-After": "1"}),
            After(0.05),
            Do("PUT", "/docs/a", status=204),
        ),
    ),
    Transcript(
        "UNLOCK through a member URL of a depth infinity lock, but not of a depth 0 lock",
        (
            lock("/docs", "t"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=204),
            Code(unlocked),
            lock("/docs", "t", depth="0"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=409),
            Code(still(("/docs", "exclusive"))),
        ),
    ),
    Transcript(
        "locks are gone after DELETE: a resource made anew is not locked",
        (
            lock("/docs/a", "t"),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=204),
            Do("PUT", "/docs/a", status=201),
        ),
    ),
    Transcript(
        "locks are kept when DELETE fails",
        (
            lock("/docs/a", "t"),
            Code(lambda world: world.app.says.update({("DELETE", "/docs/a"): plain(500)})),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=500),
            Do("PUT", "/docs/a", status=423),
        ),
    ),
    Transcript(
        "MOVE with only the source's token, over a locked target, is refused",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Do("MOVE", "/docs/a", {"Destination": "/docs/b", "If": "(<{a}>)"}, status=423),
            Do("GET", "/docs/a", status=200),
        ),
    ),
    Transcript(
        "MOVE with only the source's token into a locked collection is refused",
        (
            lock("/docs/a", "a"),
            lock("/to", "to", depth="0", status=201),
            Do("MOVE", "/docs/a", {"Destination": "/to/a", "If": "(<{a}>)"}, status=423, has=("<D:href>/to</D:href>",)),
            Do("MOVE", "/docs/a", {"Destination": "/to/a", "If": "</docs/a> (<{a}>) </to> (<{to}>)"}, status=409),
        ),
    ),
    Transcript(
        "UNLOCK by another principal is 403 and unlocks nothing",
        (
            lock("/docs/a", "t", who="alice"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, who="bob", status=403),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=403),
            Code(still(("/docs/a", "exclusive"))),
        ),
        known=True,
    ),
    Transcript(
        "membership of a depth 0 locked collection",
        (
            lock("/docs", "t", depth="0"),
            Do("PUT", "/docs/new", status=423),
            Do("DELETE", "/docs/a", status=423),
            Do("MOVE", "/docs/a", {"Destination": "/a"}, status=423),
            Do("MKCOL", "/docs/sub", status=423),
            Do("PUT", "/docs/a", status=204),
        ),
    ),
    Transcript(
        "refresh through a member of a depth infinity lock",
        (
            lock("/docs", "t", timeout="Second-100"),
            After(90),
            Do(
                "LOCK",
                "/docs/a",
                {"If": "(<{t}>)", "Timeout": "Second-100"},
                status=200,
                has=("<D:lockroot><D:href>/docs</D:href></D:lockroot>",),
            ),
            After(90),
            Do("PUT", "/docs/a", status=423),
        ),
    ),
    Transcript(
        "Not <DAV:no-lock> opens nothing",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", {"If": "(Not <DAV:no-lock>)"}, status=423),
            Do("DELETE", "/docs/a", {"If": "(<urn:x:y>) (Not <DAV:no-lock>)"}, status=423),
        ),
    ),
    Transcript(
        "an ETag-only list on LOCK is a condition, not a refresh",
        (
            Do("LOCK", "/docs/a", {**XML, "If": '(["e8b7be43"])'}, INFO, status=200, saves="t"),
            Do("LOCK", "/docs/b", {**XML, "If": '(["x"])'}, INFO, status=412),
            Do("LOCK", "/docs/a", {"If": '(["e8b7be43"])'}, status=412),
            Code(still(("/docs/a", "exclusive"))),
        ),
    ),
    Transcript(
        "the holder's own DELETE is not refused, and nobody else destroys a locked member",
        (
            lock("/docs/a", "t"),
            Do("DELETE", "/docs", status=423),
            Do("MOVE", "/docs", {"Destination": "/gone"}, status=423),
            Do("COPY", "/docs/b", {"Destination": "/docs/a"}, status=423),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=204),
        ),
    ),
    Transcript(
        "rclone answers a 423 on PUT with a DELETE: that is refused as well",
        (lock("/docs/a", "t"), Do("PUT", "/docs/a", status=423), Do("DELETE", "/docs/a", status=423)),
    ),
]


@pytest.mark.parametrize("transcript", PEERS, ids=lambda transcript: transcript.name)
def test_peer_failure(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    play(transcript, monkeypatch)


def test_tokens_cannot_be_guessed() -> None:
    """122 bits of the operating system; no clock, no counter, no host in them."""
    tokens = [new_token() for _ in range(4000)]
    assert len(set(tokens)) == len(tokens)
    pattern = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(pattern.fullmatch(token) for token in tokens)
    digits = ["".join(token[9:].split("-")) for token in tokens]
    for position in set(range(32)) - {12, 16}:
        seen = {each[position] for each in digits}
        assert len(seen) == 16, f"digit {position} takes only {seen}"


class Meeting:
    """An application in whose PUT as many writers meet as there are."""

    def __init__(self, writers: int) -> None:
        self.barrier = threading.Barrier(writers, timeout=20)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            self.barrier.wait()
        start_response("204 No Content", [])
        return []


def _call(app: Any, method: str, path: str, **fields: str) -> str:
    import io

    statuses: list[str] = []
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80",
               "wsgi.input": io.BytesIO(), **fields}  # fmt: skip
    list(app(environ, lambda status, headers, exc_info=None: statuses.append(status)))
    return statuses[0]


@pytest.mark.parametrize("fields", [{}, {"HTTP_IF": "(Not <DAV:no-lock>)"}], ids=["short way", "general way"])
def test_two_unlocked_puts_at_once_both_pass(fields: dict[str, str]) -> None:
    """They meet inside the application: neither waits for the other, and both are answered by it."""
    app = LockMiddleware(Meeting(2), store=MemoryLockStore(processes="allow"))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: _call(app, "PUT", "/a", **fields), range(2)))
    assert answers == ["204 No Content"] * 2


def test_one_exclusive_grant_among_many_threads() -> None:
    clock = FakeClock()
    app = LockMiddleware(Meeting(99), store=MemoryLockStore(clock=clock, processes="allow"), bodyless_lock=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _call(app, "LOCK", "/a", HTTP_DEPTH="0"), range(40)))
    assert sorted(answers) == ["200 OK"] + ["423 Locked"] * 39
