"""I5: a LOCK whose answer is lost is at most one lock, with the token that was chosen for it, and it runs out.

The store here commits and then says that it cannot answer, at each of the calls that a LOCK makes in turn.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core import rules
from locklib.core.model import Depth, Done, Principal, Query, Scope, Step
from locklib.core.policy import Policy, Timeouts
from locklib.core.rules import Asker, Granted, Submission, Wish
from locklib.errors import StoreUnavailable
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.adversary import AdversaryStore
from locklib.testing.kit import FakeClock
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Got, Things, asgi, asgi_user, lock_body, locks_in, permits_in, wsgi, wsgi_user

LIFE = 600.0
POLICY = Policy(identified=True, dav=True, timeouts=Timeouts(default=LIFE))


class Lossy(MemoryLockStore):
    """Commits everything; the answer to the n-th transaction is lost (n = 0: none)."""

    lost = 0
    calls = 0

    def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        done = super().transact(query, step)
        self.calls += 1
        if self.calls == self.lost:
            raise StoreUnavailable("the answer was lost on its way")
        return done


class AsyncLossy(AsyncMemoryLockStore):
    """`Lossy` for async code."""

    lost = 0
    calls = 0

    async def transact(self, query: Query, step: Step[Any]) -> Done[Any]:
        done = await super().transact(query, step)
        self.calls += 1
        if self.calls == self.lost:
            raise StoreUnavailable("the answer was lost on its way")
        return done


class Site:
    """A shell of either kind over a store that loses answers, on a clock of ours."""

    def __init__(self, kind: str, lost: int = 0) -> None:
        self.clock, self.things, self.kind = FakeClock(), Things({"/": None, "/a": b""}), kind
        if kind == "wsgi":
            self.store: Any = Lossy(clock=self.clock, processes="allow")
            self.app: Any = WsgiMiddleware(self.things.wsgi, store=self.store, principal=wsgi_user, policy=POLICY)
        else:
            self.store = AsyncLossy(clock=self.clock, processes="allow")
            self.app = AsgiMiddleware(self.things.asgi, store=self.store, principal=asgi_user, policy=POLICY)
        self.store.lost = lost

    def send(self, method: str, target: str, fields: dict[str, str] | None = None, body: bytes = b"") -> Got:
        asked = (self.app, method, target, {"X-User": "anna", **(fields or {})}, body)
        return wsgi(*asked) if self.kind == "wsgi" else asyncio.run(asgi(*asked))

    def held(self) -> list[Any]:
        return [one.lock for one in locks_in(self.store.as_sync() if self.kind == "asgi" else self.store)]


def transactions_of_a_lock(kind: str) -> int:
    site = Site(kind)
    assert site.send("LOCK", "/a", body=lock_body()).status == 200
    return site.store.calls


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("target", ["/a", "/new"], ids=["mapped", "unmapped"])
def test_a_lock_whose_answer_is_lost_is_at_most_one_lock_and_runs_out(kind, lost, target):
    assert transactions_of_a_lock(kind) == 2  # the grant, pending, and its confirmation
    site = Site(kind, lost)
    got = site.send("LOCK", target, body=lock_body())
    assert (got.status, got["lock-token"]) == (503, None)
    assert got["retry-after"]
    held = site.held()
    assert len(held) <= 1
    assert all(lock.key == target and lock.creator == "anna" for lock in held)
    assert permits_in(site.store) == ()
    site.clock.advance(LIFE + 1)
    assert site.held() == []
    assert site.send("LOCK", target, body=lock_body()).status == 200 + (target == "/new" and lost == 1)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_pending_lock_whose_answer_is_lost_keeps_others_out_for_seconds_only(kind):
    site = Site(kind, lost=1)
    assert site.send("LOCK", "/a", body=lock_body()).status == 503
    site.clock.advance(POLICY.hold_wait + 21)
    assert site.send("PUT", "/a", body=b"text").status == 204


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_unlock_or_a_refresh_whose_answer_is_lost_may_be_sent_again(kind):
    site = Site(kind)
    token = site.send("LOCK", "/a", body=lock_body()).token
    site.store.lost = site.store.calls + 1
    assert site.send("LOCK", "/a", {"If": f"(<{token}>)"}).status == 503
    assert site.send("LOCK", "/a", {"If": f"(<{token}>)"}).status == 200
    assert [lock.token for lock in site.held()] == [token]
    site.store.lost = site.store.calls + 1
    assert site.send("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}).status == 503
    assert site.held() == []
    assert site.send("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}).status == 409  # another request: it ended before


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_write_whose_admission_is_lost_does_not_pass_and_leaves_no_permit(kind):
    site = Site(kind)
    token = site.send("LOCK", "/a", body=lock_body()).token
    site.things.heard.clear()
    site.store.lost = site.store.calls + 1
    assert site.send("PUT", "/a", {"If": f"(<{token}>)"}, b"text").status == 503
    assert ("PUT", "/a") not in site.things.heard
    assert permits_in(site.store) == ()
    unlocked = site.send("UNLOCK", "/a", {"Lock-Token": f"<{token}>"})
    assert unlocked.status == 204
    assert site.send("LOCK", "/a", body=lock_body()).status == 200  # nobody has to be waited for


def asks() -> tuple[Wish, Submission]:
    wish = Wish("urn:t:chosen", "/a", "/a", Depth.ZERO, Scope.EXCLUSIVE)
    return wish, Submission(Asker(Principal("anna")), "/a")


def test_the_same_wish_again_finds_its_own_lock():
    """A driver that resends, or a caller that does: the token was chosen before the first try."""
    store = MemoryLockStore(processes="allow")
    first, second, third = (store.transact(*rules.acquire(*asks())).answer for _ in range(3))
    assert isinstance(first, Granted)
    assert not first.again
    assert second.again
    assert third.again
    assert {second.lock.token, third.lock.token} == {first.lock.token}
    assert len(locks_in(store)) == 1
    assert second.lock.fence == locks_in(store)[0].lock.fence  # and it was granted once


def test_a_store_that_runs_each_step_several_times_grants_one_lock():
    memory = MemoryLockStore(processes="allow")
    app = WsgiMiddleware(Things().wsgi, store=AdversaryStore(memory), principal=wsgi_user, dav=True)
    token = wsgi(app, "LOCK", "/a", {"X-User": "anna"}, lock_body()).token
    assert [one.lock.token for one in locks_in(memory)] == [token]
    assert wsgi(app, "UNLOCK", "/a", {"X-User": "anna", "Lock-Token": f"<{token}>"}).status == 204
    assert locks_in(memory) == []


def test_the_same_release_again_succeeds_and_another_ones_does_not():
    store = MemoryLockStore(processes="allow")
    wish, shows = asks()
    store.transact(*rules.acquire(wish, shows))
    answers = [
        store.transact(*rules.release("/a", wish.token, request, shows)).answer for request in ("r1", "r1", "r2")
    ]
    assert answers[0].token == wish.token
    assert answers[1] is None
    assert answers[2].status == 409
