"""T33: a herd at one lock is spread out, told no more than how long to wait, and costs one look at the table each."""

from __future__ import annotations

import pytest

from locklib.core.model import Purpose
from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}
CLIENTS = 1000


def herd(shell, count: int = CLIENTS) -> list[int]:
    told = []
    for number in range(count):
        got = shell("PUT", "/a", {}, b"x", user=f"client {number}")
        assert got.status == 423
        assert len(got.all("retry-after")) == 1
        told.append(int(got.first("retry-after")))
    return told


@pytest.mark.parametrize(
    ("timeout", "least"),
    [("Second-600", 600), ("Second-86400", 3600), ("Second-3600", 3600)],
    ids=["short", "capped", "cap"],
)
def test_t33_the_time_left_or_the_cap_and_some_jitter(timeout, least, guarded):
    shell = guarded()
    shell.lock("/a", "alice", timeout=timeout)
    told = herd(shell)
    assert min(told) >= least
    assert max(told) <= least * 1.1 + 1
    assert len(set(told)) > 40  # of 61 and more that there are: nobody comes back in step


def test_t33_it_goes_down_with_the_time_left(guarded):
    shell = guarded()
    shell.lock("/a", "alice", timeout="Second-600")
    shell.clock.advance(590)
    told = herd(shell, 100)
    assert 10 <= min(told) <= max(told) <= 12
    shell.clock.advance(9.95)
    assert set(herd(shell, 100)) <= {1, 2}  # never 0
    shell.clock.advance(0.1)
    assert shell("PUT", "/a", {}, b"x", user="bob").status == 204


def test_t33_nothing_is_told_where_waiting_does_not_help(guarded):
    shell = guarded()
    shell.locks.acquire("/a", purpose=Purpose.ADMINISTRATIVE, timeout=float("inf"))
    got = shell("PUT", "/a", {}, b"x", user="bob")
    assert got.status == 423
    assert got.first("retry-after") is None


def counted(shell) -> list[object]:
    """Each transaction of the shell's store from now on."""
    queries: list[object] = []
    store = shell.app.store
    transact = store.transact

    class Counting:
        """The store, with its transactions counted; without its short way."""

        permits = store.permits

        if shell.kind == "asgi":

            async def transact(self, query, step):
                queries.append(query)
                return await transact(query, step)
        else:

            def transact(self, query, step):
                queries.append(query)
                return transact(query, step)

    shell.app.store = Counting()
    return queries


REQUESTS = {
    "PUT": ("PUT", "/a", {}, b"x", 1),
    "PUT of a member": ("PUT", "/a/b", {}, b"x", 1),
    "DELETE": ("DELETE", "/a", {}, b"", 1),
    "DELETE above": ("DELETE", "/", {}, b"", 1),
    "MOVE onto": ("MOVE", "/free", {"Destination": "/a"}, b"", 1),
    "LOCK": ("LOCK", "/a", XML, lockinfo(), 1),
    "UNLOCK": ("UNLOCK", "/a", {"Lock-Token": "<urn:x:1>"}, b"", 1),
    "If that is false": ("PUT", "/a", {"If": "(<urn:x:1>)"}, b"x", 1),
    "If that needs an entity tag": ("PUT", "/a", {"If": '(["x"] <urn:x:1>) (["1"])'}, b"x", 2),
    "a new member of a locked collection": ("PUT", "/flat/new", {}, b"x", 2),
}


@pytest.mark.parametrize(("method", "target", "fields", "body", "most"), REQUESTS.values(), ids=REQUESTS.keys())
def test_t33_a_refusal_takes_one_transaction_and_one_more_for_facts(method, target, fields, body, most, guarded):
    shell = guarded(dav=True)
    shell.lock("/a", "alice")
    shell.lock("/flat", "alice", depth="0")
    queries = counted(shell)
    got = shell(method, target, fields, body, user="bob")
    assert got.status in (207, 409, 412, 423)
    assert 1 <= len(queries) <= most


def test_t33_a_herd_leaves_nothing_behind(guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with shell.untouched():
        herd(shell, 200)
    assert shell.store.permits.older("", shell.table()[0]) == ()
    assert shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}, user="alice").status == 204
    got = shell("LOCK", "/a", XML, lockinfo(), user="bob")
    assert got.status == 200
