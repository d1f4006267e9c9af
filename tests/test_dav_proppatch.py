"""PROPPATCH with `dav`: DAV:lockdiscovery and DAV:supportedlock are protected (RFC 4918 sections 9.2, 15.8, 15.10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from locklib.core import dav
from locklib.core.exchange import begin
from locklib.core.model import Fact, Lock, Outcome, Put, Query
from locklib.core.moves import Act, Answer, Ask, Call, Chosen, Head, Proceed, Read, Reply
from locklib.core.policy import Policy, Route
from locklib.stores.memory import MemoryLockStore
from support.direct import permits_in

NS = {"D": "DAV:"}


def update(*instructions: str) -> bytes:
    return f'<D:propertyupdate xmlns:D="DAV:">{"".join(instructions)}</D:propertyupdate>'.encode()


def setting(props: str) -> str:
    return f"<D:set><D:prop>{props}</D:prop></D:set>"


def removing(props: str) -> str:
    return f"<D:remove><D:prop>{props}</D:prop></D:remove>"


PROTECTED = update(setting("<D:lockdiscovery/><D:displayname>x</D:displayname>"))


@dataclass
class World:
    """A store, an application that answers questions with `status`, and what they were asked."""

    status: int = 200
    down: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)
    claims: list[Any] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = MemoryLockStore(processes="allow")

    def lock(self, key: str, token: str) -> None:
        put = Put(Lock(token, key), 900.0, grant=True)
        self.memory.transact(Query(writes=True), lambda _: Outcome(None, puts=(put,)))

    def run(self, move: Any, body: bytes | None) -> Proceed | Reply:
        while True:
            match move:
                case Proceed() | Reply():
                    return move
                case Read():
                    self.limits.append(move.limit)
                    move = move.then(body)
                case Ask():
                    move = move.then({path: Fact(False, status=404) for path in move.paths})
                case Call():
                    self.calls.append((move.method, move.path))
                    move = move.then(Answer(self.status))
                case Act():
                    self.claims.append(move.query.claim)
                    move = self.acted(move)

    def acted(self, act: Act[Any]) -> Any:
        return act.down() if self.down else act.then(self.memory.transact(act.query, act.step))


def proppatch(body: bytes | None, world: World | None = None, policy: Policy | None = None, **fields: str) -> Any:
    head = Head("PROPPATCH", "/c/a b", fields={name: (value,) for name, value in fields.items()}, host="example.org")
    move = begin(policy or Policy(dav=True), head, Chosen("urn:uuid:new", "id"))
    return (world or World()).run(move, body)


def told(reply: Reply) -> dict[str, list[str]]:
    assert reply.answer.status == 207
    [response] = ET.fromstring(reply.answer.body).findall("D:response", NS)
    assert response.findtext("D:href", None, NS) == "/c/a%20b"
    return {
        stat.findtext("D:status", "", NS): [prop.tag for prop in stat.findall("D:prop/*", NS)]
        for stat in response.findall("D:propstat", NS)
    }


# ---- whose request it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(update(setting("<D:displayname>x</D:displayname>")), id="other-properties"),
        pytest.param(update(setting('<x:lockdiscovery xmlns:x="urn:x"/>')), id="another-namespace"),
        pytest.param(update(setting("<D:a><D:lockdiscovery/></D:a>")), id="inside-a-value"),
        pytest.param(update(), id="nothing"),
        pytest.param(b"", id="no-body"),
        pytest.param(b"<D:propertyupdate", id="not-well-formed"),
        pytest.param(b"<!DOCTYPE x><x/>", id="doctype"),
        pytest.param(b"<other/>", id="another-root"),
    ],
)
def test_all_else_is_the_applications_to_judge(body: bytes) -> None:
    world = World()
    proceed = proppatch(body, world)
    assert isinstance(proceed, Proceed)
    assert permits_in(world.memory) == (world.claims[-1],)  # admitted as any write
    assert proceed.amend is None
    assert world.calls == []


@pytest.mark.parametrize(
    ("body_limit", "limit"), [(65_536, dav.PROPPATCH_LIMIT), (3_000_000, 3_000_000)], ids=["default", "larger"]
)
def test_a_body_may_be_as_large_as_applications_need(body_limit: int, limit: int) -> None:
    world = World()
    large = update(setting(f"<D:displayname>{'x' * 900_000}</D:displayname>"))
    assert isinstance(proppatch(large, world, Policy(dav=True, body_limit=body_limit)), Proceed)
    assert world.limits == [limit]


def test_a_body_over_the_limit_is_413() -> None:
    assert proppatch(None).answer.status == 413


def test_a_body_that_does_not_come_is_408() -> None:
    move = begin(Policy(dav=True), Head("PROPPATCH", "/c"), Chosen("t", "i"))
    assert isinstance(move, Read)
    late = move.late()
    assert isinstance(late, Reply)
    assert late.answer.status == 408


# ---- the protected two -----------------------------------------------------------------------------------------------

FORBIDDEN, FAILED = "HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"


@pytest.mark.parametrize(
    ("body", "stats"),
    [
        pytest.param(
            PROTECTED, {FORBIDDEN: ["{DAV:}lockdiscovery"], FAILED: ["{DAV:}displayname"]}, id="set-with-others"
        ),
        pytest.param(update(setting("<D:supportedlock/>")), {FORBIDDEN: ["{DAV:}supportedlock"]}, id="set-alone"),
        pytest.param(update(removing("<D:lockdiscovery/>")), {FORBIDDEN: ["{DAV:}lockdiscovery"]}, id="remove"),
        pytest.param(
            update(setting('<x:a xmlns:x="urn:x"/>'), removing("<D:supportedlock/>"), setting("<D:lockdiscovery/>")),
            {FORBIDDEN: ["{DAV:}supportedlock", "{DAV:}lockdiscovery"], FAILED: ["{urn:x}a"]},
            id="several-instructions",
        ),
    ],
)
def test_the_protected_are_403_and_all_others_424(body: bytes, stats: dict[str, list[str]]) -> None:
    world = World()
    reply = proppatch(body, world)
    assert told(reply) == stats
    assert b"<D:cannot-modify-protected-property/>" in reply.answer.body
    assert reply.answer.first("content-length") == str(len(reply.answer.body))
    assert reply.answer.first("content-type") == "application/xml; charset=utf-8"
    assert reply.answer.first("cache-control") == "no-store"
    assert world.claims == [None]  # nothing will be written: no permit that a LOCK would wait for


def test_a_lock_in_the_way_comes_before_the_207() -> None:
    world = World()
    world.lock("/c/a b", "urn:uuid:1")
    assert proppatch(PROTECTED, world).answer.status == 423
    assert told(proppatch(PROTECTED, world, **{"if": "(<urn:uuid:1>)"}))
    assert proppatch(PROTECTED, world, **{"if": "(<urn:uuid:2>)"}).answer.status == 412
    assert proppatch(PROTECTED, world, **{"if": "nonsense"}).answer.status == 400


@pytest.mark.parametrize("locked", [False, True], ids=["free", "locked"])
@pytest.mark.parametrize("status", [401, 403])
def test_permission_comes_before_both(status: int, locked: bool) -> None:
    world = World(status=status)
    if locked:
        world.lock("/c", "urn:uuid:1")
    assert proppatch(PROTECTED, world).answer.status == status
    assert world.calls == [("HEAD", "/c/a b")]


def test_an_unmapped_url_is_the_applications_to_judge() -> None:
    world = World(status=404)
    proceed = proppatch(PROTECTED, world)
    assert isinstance(proceed, Proceed)
    assert permits_in(world.memory) == (world.claims[-1],)


def test_authorize_answers_instead_of_the_application() -> None:
    world = World()
    assert proppatch(PROTECTED, world, Policy(dav=True, authorize=lambda *_: False)).answer.status == 403
    assert told(proppatch(PROTECTED, world, Policy(dav=True, authorize=lambda *_: True)))
    assert world.calls == []


def test_facts_that_if_needs_are_asked_on_the_way() -> None:
    """An entity tag is asked of the application, or of the `resources` callable."""
    world = World()
    assert proppatch(PROTECTED, world, **{"if": '(["e"])'}).answer.status == 412
    resources = Policy(dav=True, resources=lambda _: Fact(), ask_application=False)
    assert told(proppatch(PROTECTED, World(), resources, **{"if": '(Not ["e"])'}))


@pytest.mark.parametrize("fail_open", [False, True], ids=["closed", "open"])
def test_without_the_store(fail_open: bool) -> None:
    policy = Policy(dav=True, routes=(Route("/", fail_open=fail_open),))
    reply = proppatch(PROTECTED, World(down=True), policy)
    assert reply.answer.status == (207 if fail_open else 503)


def test_on_an_advisory_route_nothing_is_refused() -> None:
    world = World()
    proceed = proppatch(PROTECTED, world, Policy(dav=True, routes=(Route("/", advisory=True),)))
    assert isinstance(proceed, Proceed)
