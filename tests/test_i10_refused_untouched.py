"""I10: what locklib refuses is untouched: the application is not called with the request, its body is not read, and the
table is what it was.

Our own questions (HEAD) do not count as calls with the request. A body is read only where the answer hangs on it (LOCK,
UNLOCK), up to its limit, or afterwards, up to 64 KiB, so that the connection can be used again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.policy import Policy
from locklib.stores.memory import MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Things, asgi_user, environ_of, lock_body, locks_in, permits_in, scope_of, wsgi, wsgi_user

POLICY = Policy(identified=True, dav=True, body_limit=2048, body_seconds=2.0)
TREE = {"/": None, "/a": b"text", "/c": None, "/c/a": b"text", "/free": b"text"}
TOKEN = "urn:uuid:00000000-0000-4000-8000-000000000000"
BIG = 300_000


@dataclass(frozen=True)
class Case:
    method: str
    path: str
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


XML = {"Content-Type": "application/xml"}
CASES = {
    # 423
    "423 PUT": (423, Case("PUT", "/a", body=b"new")),
    "423 PUT, another's token": (423, Case("PUT", "/a", {"If": "(<{a}>) (Not <DAV:no-lock>)"}, b"new")),
    "423 PUT, no token but a true If": (423, Case("PUT", "/a", {"If": "(Not <DAV:no-lock>)"}, b"new")),
    "423 POST": (423, Case("POST", "/a", body=b"new")),
    "423 PATCH": (423, Case("PATCH", "/a", body=b"new")),
    "423 unknown method": (423, Case("FROB", "/a", body=b"new")),
    "423 PROPPATCH": (423, Case("PROPPATCH", "/a", XML, b'<D:propertyupdate xmlns:D="DAV:"/>')),
    "423 DELETE": (423, Case("DELETE", "/a")),
    "423 DELETE over a locked member": (423, Case("DELETE", "/c")),
    "423 MOVE": (423, Case("MOVE", "/a", {"Destination": "/b"})),
    "423 MOVE onto": (423, Case("MOVE", "/free", {"Destination": "/a"})),
    "423 COPY onto": (423, Case("COPY", "/free", {"Destination": "/c"})),
    "423 MKCOL": (423, Case("MKCOL", "/locked/new")),
    "423 LOCK": (423, Case("LOCK", "/a", body=lock_body())),
    "423 LOCK over a member": (423, Case("LOCK", "/c", {"Accept": "application/json"}, lock_body())),
    "423 tunnelled": (423, Case("POST", "/a", {"X-HTTP-Method-Override": "DELETE"})),
    # 412
    "412 PUT": (412, Case("PUT", "/free", {"If": f"(<{TOKEN}>)"}, b"new")),
    "412 DELETE": (412, Case("DELETE", "/free", {"If": '(["etag"])'})),
    "412 GET": (412, Case("GET", "/free", {"If": f"(<{TOKEN}>)"})),
    "412 LOCK": (412, Case("LOCK", "/free", {"If": f"(<{TOKEN}>)"}, lock_body())),
    "412 refresh": (412, Case("LOCK", "/free", {"If": f"(<{TOKEN}>)"})),
    "403 refresh by another": (403, Case("LOCK", "/a", {"If": "(<{a}>)"})),
    "403 UNLOCK by another": (403, Case("UNLOCK", "/a", {"Lock-Token": "<{a}>"})),
    "409 UNLOCK": (409, Case("UNLOCK", "/free", {"Lock-Token": f"<{TOKEN}>"})),
    "409 UNLOCK elsewhere": (409, Case("UNLOCK", "/free", {"Lock-Token": "<{a}>"})),
    # 400 and its kin
    "400 PUT, If": (400, Case("PUT", "/free", {"If": "(<a"}, b"new")),
    "400 DELETE, If": (400, Case("DELETE", "/free", {"If": "()"})),
    "400 MOVE, Destination": (400, Case("MOVE", "/free", {"Destination": "not a URL"})),
    "502 MOVE, Destination": (502, Case("MOVE", "/free", {"Destination": "http://other.test/x"})),
    "400 LOCK, nothing said": (400, Case("LOCK", "/free")),
    "400 LOCK, Depth": (400, Case("LOCK", "/free", {"Depth": "1"}, lock_body())),
    "400 LOCK, ill-formed": (400, Case("LOCK", "/free", XML, b"<D:lockinfo")),
    "400 LOCK, DOCTYPE": (400, Case("LOCK", "/free", XML, b"<!DOCTYPE l [<!ENTITY e 'x'>]><l>&e;</l>")),
    "400 UNLOCK, no token": (400, Case("UNLOCK", "/a")),
    "400 UNLOCK, token": (400, Case("UNLOCK", "/a", {"Lock-Token": "<"})),
    "415 LOCK": (415, Case("LOCK", "/free", {"Content-Type": "image/png"}, b"\x89PNG")),
    "422 LOCK": (422, Case("LOCK", "/free", XML, b'<D:other xmlns:D="DAV:"/>')),
    "413 LOCK": (413, Case("LOCK", "/free", XML, b"x" * 5000)),
    "414": (414, Case("PUT", "/" + "x" * 5000, body=b"new")),
}


@dataclass
class Body:
    """A request's body that counts what is taken of it."""

    content: bytes
    taken: int = 0

    def read(self, size: int = -1) -> bytes:
        piece = self.content[self.taken :] if size < 0 else self.content[self.taken : self.taken + size]
        self.taken += len(piece)
        return piece


class Site:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.things = Things(dict(TREE))
        self.store = MemoryLockStore(processes="allow")
        self.wsgi = WsgiMiddleware(self.things.wsgi, store=self.store, principal=wsgi_user, policy=POLICY)
        self.asgi = AsgiMiddleware(self.things.asgi, store=self.store, principal=asgi_user, policy=POLICY)
        self.tokens = {name: self.lock(path) for name, path in (("a", "/a"), ("c", "/c/a"), ("locked", "/locked"))}
        self.things.heard.clear()

    def lock(self, path: str) -> str:
        if path == "/locked":
            assert wsgi(self.wsgi, "MKCOL", path, {"X-User": "anna"}).status == 201
        return wsgi(self.wsgi, "LOCK", path, {"X-User": "anna"}, lock_body()).token

    def send(self, case: Case) -> tuple[int, int]:
        """The status, and how much of the body was taken."""
        fields = {
            "X-User": "bob",
            **{name: value.replace("{a}", self.tokens["a"]) for name, value in case.fields.items()},
        }
        return self.by_wsgi(case, fields) if self.kind == "wsgi" else asyncio.run(self.by_asgi(case, fields))

    def by_wsgi(self, case: Case, fields: dict[str, str]) -> tuple[int, int]:
        body, started = Body(case.body), []
        environ = environ_of(case.method, case.path, fields, case.body)
        environ["wsgi.input"] = body
        answer = self.wsgi(environ, lambda status, headers, exc_info=None: started.append(int(status[:3])))
        b"".join(answer)
        return started[0], body.taken

    async def by_asgi(self, case: Case, fields: dict[str, str]) -> tuple[int, int]:
        body, started = Body(case.body), []
        if case.body:
            fields["Content-Length"] = str(len(case.body))

        async def receive() -> dict[str, Any]:
            piece = body.read(1024)
            return {"type": "http.request", "body": piece, "more_body": body.taken < len(case.body)}

        async def send(message: Any) -> None:
            started.append(message.get("status"))

        await self.asgi(scope_of(case.method, case.path, fields), receive, send)
        return started[0], body.taken


def test_every_family_of_refusals_is_here():
    assert {expected for expected, _ in CASES.values()} == {400, 403, 409, 412, 413, 414, 415, 422, 423, 502}


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("name", CASES)
def test_refused_is_untouched(kind, name):
    expected, case = CASES[name]
    site = Site(kind)
    tree, rows = dict(site.things.tree), locks_in(site.store)
    status, _ = site.send(case)
    assert status == expected
    assert [one.lock for one in locks_in(site.store)] == [one.lock for one in rows]
    assert site.things.tree == tree
    assert {method for method, _ in site.things.heard} <= {"HEAD", "GET", "PROPFIND"}
    assert case.method in ("GET", "HEAD") or (case.method, case.path) not in site.things.heard
    assert permits_in(site.store) == ()


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    "case",
    [
        Case("PUT", "/a", body=b"x" * BIG),
        Case("POST", "/c/a", body=b"x" * BIG),
        Case("PUT", "/free", {"If": f"(<{TOKEN}>)"}, b"x" * BIG),
        Case("PUT", "/free", {"If": "(<a"}, b"x" * BIG),
        Case("LOCK", "/free", XML, b"x" * BIG),
        Case("UNLOCK", "/a", {"Lock-Token": "<{a}>"}, b"x" * BIG),
    ],
    ids=lambda case: f"{case.method} {case.path}",
)
def test_of_a_large_body_no_more_is_taken_than_a_limit(kind, case):
    site = Site(kind)
    status, taken = site.send(case)
    assert 400 <= status < 500
    assert taken <= POLICY.body_limit + 1024


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_small_body_is_taken_in_after_the_refusal_so_that_the_connection_can_be_used_again(kind):
    assert Site(kind).send(Case("PUT", "/a", body=b"x" * 5_000)) == (423, 5_000)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_nothing_is_taken_from_a_client_that_waits_to_be_told_to_go_on(kind):
    """Expect: 100-continue (T22): the first read would make the server ask for all of it."""
    assert Site(kind).send(Case("PUT", "/a", {"Expect": "100-continue"}, b"x" * 5_000)) == (423, 0)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("name", ["423 PUT", "412 PUT", "423 DELETE over a locked member", "423 COPY onto"])
def test_the_spy_sees_what_is_let_through(kind, name):
    """The same requests by the holder of all the locks reach the application: the test above is not blind."""
    _, case = CASES[name]
    site = Site(kind)
    shown = " ".join(f"(<{token}>)" for token in site.tokens.values()) + " (Not <DAV:no-lock>)"
    fields = {**case.fields, "X-User": "anna", "If": shown}
    status, taken = site.send(Case(case.method, case.path, fields, case.body))
    assert status in (201, 204)
    assert (case.method, case.path) in site.things.heard
    assert taken == len(case.body)
