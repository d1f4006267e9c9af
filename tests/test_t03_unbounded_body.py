"""T3: a body over its limit is refused without being kept (CVE-2026-41284), and one that drips is given up on."""

from __future__ import annotations

import itertools

import pytest

from support.memory import least_peak
from support.threats import Body
from support.wire import SERVERS, Wire, serve

PIECE = b" " * 4096
XML = {"Content-Type": "application/xml"}
MEGA = 1_000_000
LIMIT = 65_536


def endless(size: int, chunked: bool) -> tuple[dict[str, str], Body]:
    body = Body(itertools.repeat(PIECE, size // len(PIECE)), chunked)
    return ({} if chunked else {"Content-Length": str(size)}), body


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
@pytest.mark.parametrize("method", ["LOCK", "PROPFIND"])
def test_t03_413_and_no_more_is_taken(method, chunked, guarded):
    shell = guarded(dav=True)
    shell.lock("/locked", "alice")
    fields, body = endless(50 * MEGA, chunked)
    with shell.untouched():
        got = shell(method, "/a", XML | fields, body, user="bob")
        assert got.status == 413
    assert got.drained <= LIMIT + 2 * len(PIECE)
    assert shell.site.seen == []


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_t03_unlock_takes_no_body(chunked, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    fields, body = endless(50 * MEGA, chunked)
    with shell.untouched():
        got = shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"} | fields, body, user="alice")
        assert got.status == 415
    assert got.drained <= 2 * len(PIECE)


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_t03_the_limit_is_a_setting(chunked, guarded):
    shell = guarded(body_limit=2048)
    for size, status in ((2048, 400), (2049, 413)):
        body = Body([b"x" * size], chunked)
        fields = {} if chunked else {"Content-Length": str(size)}
        assert shell("LOCK", "/a", XML | fields, body, user="alice").status == status


def peak_of(shell, chunked: bool, size: int) -> int:
    def refused() -> None:
        fields, body = endless(size, chunked)
        assert shell("LOCK", "/a", XML | fields, body, user="bob").status == 413

    return least_peak(refused)


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_t03_memory_does_not_grow_with_the_body(chunked, guarded):
    shell = guarded()
    peak_of(shell, chunked, MEGA)  # imports, caches
    small, large = peak_of(shell, chunked, MEGA), peak_of(shell, chunked, 50 * MEGA)
    assert large < small + 100_000
    assert large < 1_000_000


def test_t03_a_length_that_is_no_number_is_not_believed(guarded):
    shell = guarded()
    for length in ("1_0", "-1", "+5", "١٢".encode().decode("latin-1"), "9" * 5000):
        with shell.untouched():
            got = shell("LOCK", "/a", {**XML, "Content-Length": length}, Body([PIECE] * 100), user="bob")
            assert got.status in (400, 413), length
            assert got.drained <= LIMIT + 2 * len(PIECE)


@pytest.mark.parametrize("method", ["LOCK", "PROPFIND", "PROPPATCH"])
def test_t03_a_body_that_drips_is_a_408(method, guarded):
    """Under WSGI the server reads, so it is the server's time-out: it arrives as an exception of the stream's."""
    shell = guarded(dav=True, body_seconds=0.05)
    shell.lock("/locked", "alice")
    body = Body(itertools.repeat(b" ", 600), delay=0.02)
    if shell.kind == "wsgi":
        body.read = out_of_time
    with shell.untouched():
        got = shell(method, "/a", {**XML, "Content-Length": "600"}, body, user="bob")
        assert got.status == 408
    assert body.taken < 100


def out_of_time(size: int = -1) -> bytes:
    raise TimeoutError("timed out")


HEAD = b"LOCK /free HTTP/1.1\r\nHost: x\r\nX-User: bob\r\nContent-Type: application/xml\r\n"


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with serve(request.param) as server:
        yield server


def test_t03_on_a_server_50_mb(server):
    with Wire(server.port) as wire:
        wire.send(HEAD + b"Content-Length: 50000000\r\n\r\n")
        for _ in range(50_000_000 // 1_000_000):
            if not wire.send(b" " * 1_000_000):
                break
        answers = wire.listen(seconds=10)
        assert [answer.status for answer in answers] == [413] or (wire.closed and not answers)
    with Wire(server.port) as wire:
        wire.send(b"GET /effects HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"LOCK" not in wire.listen()[0].body


def test_t03_on_a_server_chunked(server):
    with Wire(server.port) as wire:
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            if not wire.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n"):
                break
        wire.send(b"0\r\n\r\n")
        answers = wire.listen(seconds=10)
        assert [answer.status for answer in answers] == [413] or (wire.closed and not answers)


def test_t03_a_server_goes_on_while_bodies_drip(server):
    """Uvicorn and hypercorn get 408 from us; behind gunicorn and waitress it is up to the server's own limits."""
    with Wire(server.port) as wire:
        wire.send(HEAD + b"Content-Length: 600\r\n\r\n")
        for _ in range(5):
            if not wire.send(b" ") or wire.listen(seconds=0.4):
                break
        if server.name in ("uvicorn", "hypercorn"):
            answers = wire.listen(seconds=5)
            assert [answer.status for answer in answers] == [408]
            assert answers[0].closes
    with Wire(server.port) as wire:
        wire.send(b"GET /free HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert wire.listen()[0].status == 200
