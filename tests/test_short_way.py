"""The shells' short ways: which requests take them, what is kept of paths, and what they are made of."""

from __future__ import annotations

from typing import Any

import pytest

from locklib import wiring
from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.model import Lock
from locklib.core.policy import Policy
from locklib.core.rules import SAFE
from locklib.errors import StoreUnavailable
from locklib.stores.gate import CLOSED, gate_of
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wiring import LENGTH_KEPT, PATHS_KEPT, PLAIN_WRITES, PlainPaths, plain_query
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import NoShortWay, permits_in, run_both


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


def general(shell: str, *request: Any, store: Any = None, **settings: Any) -> bool:
    """Whether this request, as a second one, takes the general way."""
    kind, app, memory = {
        "asgi": (AsgiMiddleware, asgi_app, AsyncMemoryLockStore),
        "wsgi": (WsgiMiddleware, wsgi_app, MemoryLockStore),
    }[shell]

    class Counts(kind):
        def _general(self, *args: Any) -> Any:
            took.append(1)
            return super()._general(*args)

    took: list[int] = []
    middleware = Counts(app, store=store or memory(processes="allow"), **settings)
    run_both(shell, middleware, "PROPPATCH", "/opens-the-store")
    took.clear()
    assert run_both(shell, middleware, *request).status == 204
    return bool(took)


SHELLS = ["asgi", "wsgi"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("method", sorted(SAFE - {"OPTIONS"}) + sorted(PLAIN_WRITES))
def test_a_plain_request_takes_no_general_way(shell, method):
    assert not general(shell, method, "/a/b", {"Cookie": "x"})
    assert not general(shell, method, "/a/b", {}, routes=[("/", "check")])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("field", wiring.STOPPING)
def test_t18_a_field_that_may_change_the_matter_takes_every_method_off_the_short_way(shell, method, field):
    value = '(["x"])' if field == "if" else "PUT"
    assert general(shell, method, "/a", {field: value}, resources=lambda path: wiring.Fact(True, etag='"x"'))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("method", sorted(PLAIN_WRITES))
def test_a_lock_token_takes_a_write_off_the_short_way(shell, method):
    assert (*wiring.STOPPING, "lock-token") == wiring.TELLING
    assert general(shell, method, "/a", {"Lock-Token": "<urn:x>"})
    assert not general(shell, "GET", "/a", {"Lock-Token": "<urn:x>"})


OFF = ["/a//b", "/a/./b", "/a/../b", "/a;x/b", "/a%2fb", "/a/b/", "/a\\b", "/a b", "/\u00e9", "/.hidden", "/a%00", "/"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("path", OFF)
def test_t15_a_path_that_reads_in_more_than_one_way_takes_the_general_way(shell, path):
    from urllib.parse import quote

    assert general(shell, "PUT", quote(path, safe="/;.\\"))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("mode", ["fence", "exempt"])
def test_a_route_in_another_mode_takes_the_general_way(shell, mode):
    assert general(shell, "PUT", "/a", routes=[("/", mode)])


@pytest.mark.parametrize("query", ["_method=PUT", "a=1&_method=PUT", "%5Fmethod=PUT", "a=%20"])
@pytest.mark.parametrize("shell", SHELLS)
def test_t18_a_query_that_may_name_a_method_takes_the_general_way(shell, query):
    assert general(shell, "POST", f"/a?{query}")
    assert not general(shell, "POST", "/a?page=2&method=PUT")
    assert not plain_query(query)
    assert not plain_query(query.encode())


# ---- what is kept of paths -------------------------------------------------------------------------------------------


def test_t7_a_storm_of_paths_does_not_grow_what_is_kept():
    kept = PlainPaths(Policy())
    for number in range(5 * PATHS_KEPT):
        assert kept[f"/docs/{number}"] is True
        assert len(kept) <= PATHS_KEPT
    for path in ("/" + "x" * LENGTH_KEPT, "/a//b", "/a;b"):
        found = kept[path]
        assert (found is None) == ("//" in path or ";" in path)
        assert path not in kept


def test_what_is_kept_of_a_path_is_what_its_route_says():
    kept = PlainPaths(Policy(routes=[("/a", "check"), ("/b", "fence"), ("/c", "exempt"), "/d"]))
    for _ in range(2):
        assert [kept[path] for path in ("/a/x", "/b", "/c", "/d/y", "/e")] == [
            *(False, None, None, True, None),
        ]


# ---- gates -----------------------------------------------------------------------------------------------------------


class Words:
    """A store in the process that offers the three words alone; it may be told to raise from a look."""

    def __init__(self) -> None:
        self.store = MemoryLockStore(processes="allow")
        self.claim_now, self.end_now = self.store.claim_now, self.store.end_now
        self.fails = False

    def near(self, namespace: str, key: str, tree: bool = False) -> bool:
        if self.fails:
            raise KeyboardInterrupt
        return self.store.near(namespace, key, tree)


def test_a_gate_made_of_the_three_words():
    words = Words()
    gate = gate_of(words, "")
    assert not gate.near("/a", False)
    claim = gate.enter("/a", False)
    assert [permit.keys for permit in permits_in(words.store)] == [("/a",)]
    gate.leave(claim, None)
    words.fails = True
    with pytest.raises(KeyboardInterrupt):
        gate.enter("/a", False)
    assert permits_in(words.store) == ()


def test_a_gate_made_of_words_lets_nobody_in_near_a_lock():
    from locklib.core.model import Outcome, Put, Query

    words = Words()
    put = Put(Lock("urn:x", "/a"), 60.0, grant=True)
    words.store.transact(Query(writes=True), lambda _: Outcome(None, puts=(put,)))
    gate = gate_of(words, "")
    assert gate.near("/a/b", False)
    assert gate.enter("/a/b", False) is None
    assert permits_in(words.store) == ()


def test_a_store_without_a_short_way_has_a_closed_gate():
    app = WsgiMiddleware(wsgi_app, store=NoShortWay(processes="allow"))
    assert app._gate is CLOSED
    assert CLOSED.near("/a", False) is True
    assert CLOSED.enter("/a", False) is None
    assert general("wsgi", "PUT", "/a", store=NoShortWay(processes="allow"))


def test_an_environ_that_leaves_variables_out_takes_the_general_way():
    app = WsgiMiddleware(wsgi_app, store=MemoryLockStore(processes="allow"))
    app._open()
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/a", "SERVER_NAME": "h", "SERVER_PORT": "80"}
    assert app(environ, lambda status, headers: statuses.append(status)) == []
    assert statuses == ["204 No Content"]


class _NoClaims:
    """A store on whose board nothing can be published."""

    gate = None  # so that the three words are used

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Any:
        raise StoreUnavailable("the disk is full")


class NoClaims(_NoClaims, MemoryLockStore):
    def transact(self, query: Any, step: Any) -> Any:
        return super().transact(query, step) if query.claim is None else self.claim_now("", "")


class AsyncNoClaims(_NoClaims, AsyncMemoryLockStore):
    async def transact(self, query: Any, step: Any) -> Any:
        return await super().transact(query, step) if query.claim is None else self.claim_now("", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_i14_a_claim_that_cannot_be_published_is_a_503(shell):
    """The short way leaves it to the general way, which meets the same and says so."""
    if shell == "asgi":
        middleware: Any = AsgiMiddleware(asgi_app, store=AsyncNoClaims(processes="allow"))
    else:
        middleware = WsgiMiddleware(wsgi_app, store=NoClaims(processes="allow"))
    for _ in range(2):  # the first opens the store and takes the general way
        answer = run_both(shell, middleware, "PUT", "/a/b")
        assert answer.status == 503
        assert answer["retry-after"] is not None
