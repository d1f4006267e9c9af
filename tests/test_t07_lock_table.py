"""T7: a storm of LOCKs that are refused costs the same however full the table is, and harms no lock that is held."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from locklib.core.model import Lock, Outcome, Put, Query
from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}


def fill(shell, count: int, under: str) -> None:
    """`count` locks of others, each on a URL of its own."""
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        puts = tuple(
            Put(Lock(f"urn:x:{under}{number}", f"{under}/{number}", creator="carol"), 900.0, grant=True)
            for number in numbers
        )
        shell.store.transact(Query(writes=True), lambda _, puts=puts: Outcome(None, puts=puts))


def steps(shell, method: str, target: str, fields: dict[str, str], body: bytes) -> int:
    """How many functions one refused request calls: a cost that no busy machine changes."""
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event == "call"

    shell(method, target, fields, body, user="bob")  # imports
    sys.setprofile(count)
    try:
        got = shell(method, target, fields, body, user="bob")
    finally:
        sys.setprofile(None)
    assert got.status == 423
    return calls


REQUESTS = {
    "LOCK of the same URL": ("LOCK", "/held", XML, lockinfo()),
    "LOCK of a member": ("LOCK", "/held/member", XML, lockinfo()),
    "LOCK, depth 0": ("LOCK", "/held", {**XML, "Depth": "0"}, lockinfo()),
    "shared LOCK": ("LOCK", "/held", XML, lockinfo(scope="shared")),
    "PUT": ("PUT", "/held", {}, b"x"),
    "DELETE": ("DELETE", "/held", {}, b""),
    "PUT with an If of 20 tokens": ("PUT", "/held", {"If": "(Not <urn:x:1>) " * 20}, b"x"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_t07_a_refusal_costs_the_same_in_a_full_table(request_, guarded):
    shell = guarded()
    shell.lock("/held", "alice")
    few = steps(shell, *request_)
    fill(shell, 100, "/others")
    some = steps(shell, *request_)
    fill(shell, 20_000, "/more")
    many = steps(shell, *request_)
    assert max(some, many) < 1.5 * few + 50


@pytest.mark.parametrize("request_", [REQUESTS["PUT"], REQUESTS["LOCK of a member"]], ids=["PUT", "LOCK"])
def test_t07_or_under_the_refused_url(request_, guarded):
    """The locks lie below what is asked for; a PUT touches none of them, a LOCK is refused by what covers it."""
    shell = guarded()
    shell.lock("/held", "alice", depth="infinity")
    method, _, fields, body = request_
    few = steps(shell, method, "/held/x", fields, body)
    fill(shell, 20_000, "/held/y")
    assert steps(shell, method, "/held/x", fields, body) < 1.5 * few + 50


def test_t07_a_storm_leaves_the_locks_that_are_held(guarded):
    shell = guarded()
    tokens = [shell.lock(f"/held/{number}", "alice") for number in range(5)]
    before = shell.table()
    for number in range(500):
        got = shell("LOCK", f"/held/{number % 5}", XML, lockinfo(f"storm {number}"), user=f"bob{number}")
        assert got.status == 423
    assert shell.table() == before
    for number, token in enumerate(tokens):
        assert shell("PUT", f"/held/{number}", {"If": f"(<{token}>)"}, b"x", user="alice").status in (201, 204)
        assert shell("UNLOCK", f"/held/{number}", {"Lock-Token": f"<{token}>"}, user="alice").status == 204
    assert shell.table() == ()


def test_t07_a_storm_of_refusals_takes_no_memory(guarded):
    shell = guarded()
    shell.lock("/held", "alice")

    def storm(count: int) -> int:
        for number in range(count):
            shell("LOCK", "/held", XML, lockinfo(f"storm {number}"), user=f"bob{number}")
            shell.site.seen.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = storm(100)
        assert storm(500) < first + 100_000
    finally:
        tracemalloc.stop()


def test_t07_anonymous_locks_are_refused_where_there_are_principals(guarded):
    shell = guarded()
    for number in range(50):
        with shell.untouched():
            assert shell("LOCK", f"/unmapped/{number}", XML, lockinfo()).status == 403
