"""Locks and AsyncLocks: the same locks for code and jobs outside HTTP, in both kinds with the same words."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from locklib import AsyncLocks, ConfigurationError, LockRefused, Locks, Policy, Route
from locklib.core.model import Depth, Permit, Purpose, Scope
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing.kit import FakeClock


class Both:
    """Either kind in sync words, over one table and one clock."""

    def __init__(self, kind: str, policy: Policy | None = None, namespace: str = "") -> None:
        self.clock = FakeClock()
        self.memory = MemoryLockStore(clock=self.clock, wall=lambda: 1_000_000.0, processes="allow")
        self.locks: Any
        if kind == "sync":
            self.locks = Locks(self.memory, policy=policy, namespace=namespace)
        else:
            self.locks = AsyncLocks(self.memory.as_async(), policy=policy, namespace=namespace)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **asked: Any) -> Any:
            answer = getattr(self.locks, name)(*args, **asked)
            return asyncio.run(answer) if inspect.isawaitable(answer) else answer

        return call


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def locks(kind: str) -> Both:
    return Both(kind)


def refusal(call: Callable[..., Any], *args: Any, **asked: Any) -> Any:
    with pytest.raises(LockRefused) as caught:
        call(*args, **asked)
    return caught.value.refusal


def test_acquire_gives_the_row_as_stored(locks: Both) -> None:
    lock = locks.acquire("/a b", creator="alice", timeout=30, owner_info="Alice", reason="why", contact="c@d")
    assert (lock.key, lock.root, lock.creator, lock.timeout) == ("/a b", "/a%20b", "alice", 30)
    assert (lock.scope, lock.depth, lock.purpose) == (Scope.EXCLUSIVE, Depth.INFINITY, Purpose.WRITE)
    assert lock.expires_at - lock.created_at == 30
    assert lock.fence > 0
    assert not lock.pending
    details = lock.details
    assert (details.owner_info, details.reason, details.contact) == ("Alice", "why", "c@d")


def test_a_second_lock_is_refused_with_the_evidence(locks: Both) -> None:
    first = locks.acquire("/docs", creator="alice", timeout=60)
    refused = refusal(locks.acquire, "/docs/a", creator="bob")
    assert (refused.status, refused.held.lock.token, refused.retry_after) == (423, first.token, 60)
    assert refused.hrefs == ("/docs",)
    assert len(locks.list()) == 1


def test_shared_locks_stand_side_by_side(locks: Both) -> None:
    locks.acquire("/a", scope="shared")
    locks.acquire("/a", scope=Scope.SHARED)
    assert refusal(locks.acquire, "/a").status == 423


def test_a_lock_over_many_shared_ones_sees_them_all(locks: Both) -> None:
    for number in range(130):
        locks.acquire(f"/docs/m{number}", scope="shared")
    over = locks.acquire("/docs", scope="shared")
    locks.release(over)
    locks.acquire("/docs/z")
    assert refusal(locks.acquire, "/docs", scope="shared").hrefs == ("/docs/z",)


def test_depth_zero_covers_the_root_alone(locks: Both) -> None:
    locks.acquire("/docs", depth="0")
    locks.acquire("/docs/a", depth=Depth.ZERO)
    assert refusal(locks.acquire, "/docs").status == 423


def test_release_and_again(locks: Both) -> None:
    lock = locks.acquire("/a b", creator="alice")
    locks.release(lock)
    assert locks.list() == ()
    again = refusal(locks.release, lock)
    assert (again.status, again.resource) == (409, "/a%20b")


def test_refresh_starts_the_life_anew(locks: Both) -> None:
    lock = locks.acquire("/a b", creator="alice", timeout=10)
    locks.clock.advance(6)
    assert locks.refresh(lock).expires_at == lock.expires_at + 6
    longer = locks.refresh(lock, 100)
    assert (longer.timeout, longer.fence, longer.token) == (100, lock.fence, lock.token)
    locks.clock.advance(100)
    gone = refusal(locks.refresh, lock)
    assert (gone.status, gone.resource) == (412, "/a%20b")
    assert gone.tombstone.ended.value == "expired"


def test_code_may_ask_for_less_than_a_second_and_for_no_end(locks: Both) -> None:
    locks.acquire("/a", timeout=0.25)
    hold = locks.acquire("/b", timeout=math.inf, purpose="administrative")
    assert hold.expires_at == math.inf
    locks.clock.advance(0.25)
    assert [held.lock.key for held in locks.list()] == ["/b"]
    assert locks.list()[0].remaining == math.inf


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_timeout_that_is_no_life(locks: Both, timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        locks.acquire("/a", timeout=timeout)


@pytest.mark.parametrize(("asked", "value"), [("scope", "local"), ("depth", "1"), ("purpose", "fun")])
def test_words_that_there_are_not(locks: Both, asked: str, value: str) -> None:
    with pytest.raises(ValueError, match=value):
        locks.acquire("/a", **{asked: value})
    assert locks.list() == ()


def test_listing_in_pages(locks: Both) -> None:
    for name in ("c", "a", "b", "sub/d"):
        locks.acquire(f"/docs/{name}")
    locks.acquire("/else")
    first = locks.list("/docs", limit=3)
    assert [held.lock.key for held in first] == ["/docs/a", "/docs/b", "/docs/c"]
    last = first[-1].lock
    rest = locks.list("/docs", limit=3, after=(last.key, last.token))
    assert [held.lock.key for held in rest] == ["/docs/sub/d"]


def test_purposes_tokens_and_roles(locks: Both) -> None:
    mine = locks.acquire("/a", creator="scanner")
    assert refusal(locks.acquire, "/a", creator="scanner", purpose="processing").status == 423
    locks.acquire("/a", creator="scanner", purpose="processing", tokens=(mine.token,))
    locks.acquire("/", creator="root", purpose="administrative")
    assert refusal(locks.acquire, "/b", creator="alice").status == 423
    locks.acquire("/b", creator="alice", roles=("lock-bypass",))


def test_blocks_reads_needs_a_route_that_guards_them(kind: str) -> None:
    locks = Both(kind, Policy(routes=(Route("/guarded", reads=True), Route("/"))))
    with pytest.raises(ConfigurationError, match=r"no route guards reads of /a; add Route\('/a', reads=True\)"):
        locks.acquire("/a", purpose="processing", blocks_reads=True)
    with pytest.raises(ConfigurationError, match="never blocks reads"):
        locks.acquire("/guarded/a", blocks_reads=True)
    assert locks.acquire("/guarded/a", purpose="processing", blocks_reads=True).details.blocks_reads


def test_the_policys_key_names_the_resource(kind: str) -> None:
    locks = Both(kind, Policy(key=lambda path: path.rpartition("/")[2]))
    lock = locks.acquire("/docs/42")
    assert (lock.key, lock.root) == ("/42", "/docs/42")
    assert refusal(locks.acquire, "/alias/42").status == 423
    assert len(locks.list("/any/42")) == 1
    locks.refresh(lock)
    locks.release(lock)


def test_namespaces_do_not_meet(kind: str) -> None:
    one = Both(kind, namespace="one")
    one.acquire("/a")
    other = type(one.locks)(one.memory if kind == "sync" else one.memory.as_async(), namespace="two")
    answer = other.acquire("/a")
    assert (asyncio.run(answer) if kind == "async" else answer).key == "/a"
    assert len(one.list()) == 1


def older(key: str = "/a") -> Permit:
    return Permit("older", "", (key,), (), (), (), None)


def test_waits_for_an_older_writer_who_ends(locks: Both) -> None:
    locks.memory.permits.publish(older())
    timer = threading.Timer(0.05, locks.memory.permits.end, (older(),))
    timer.start()
    assert not locks.acquire("/a", wait=30).pending
    assert locks.memory.permits.live(("older",)) == frozenset()
    timer.join()


def test_gives_up_on_an_older_writer_who_does_not_end(locks: Both) -> None:
    locks.memory.permits.publish(older())
    refused = refusal(locks.acquire, "/a", wait=0.01)
    assert (refused.status, refused.slug, refused.retry_after) == (423, "still-being-written", 1)
    assert locks.list() == ()
    assert locks.acquire("/b", wait=0).key == "/b"
    locks.memory.permits.end(older())
    assert locks.acquire("/a", wait=0).key == "/a"


def test_a_pending_lock_that_ran_out_is_not_granted(locks: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    board = type(locks.memory.permits)
    look = board.older

    def slow(self: Any, namespace: str, lock: Any) -> Any:
        locks.clock.advance(100)
        return look(self, namespace, lock)

    monkeypatch.setattr(board, "older", slow)
    kind = type(locks.memory.as_async().permits)

    async def slow_too(self: Any, namespace: str, lock: Any) -> Any:
        return slow(locks.memory.permits, namespace, lock)

    monkeypatch.setattr(kind, "older", slow_too)
    assert refusal(locks.acquire, "/a", wait=1).slug == "still-being-written"
    assert locks.list() == ()


def test_a_cancelled_acquire_leaves_no_lock_behind() -> None:
    memory = MemoryLockStore(clock=FakeClock(), processes="allow")
    memory.permits.publish(older())

    async def run() -> None:
        locks = AsyncLocks(memory.as_async())
        waiting = asyncio.create_task(locks.acquire("/a", wait=30))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await locks.list() == ()

    asyncio.run(run())
    memory.permits.end(older())
    assert Locks(memory).acquire("/a", wait=0).key == "/a"


def test_a_store_of_the_other_kind() -> None:
    sync, other = MemoryLockStore(processes="allow"), AsyncMemoryLockStore(processes="allow")
    assert isinstance(AsyncLocks(sync).store, AsyncMemoryLockStore)
    assert isinstance(Locks(other).store, MemoryLockStore)
    with pytest.raises(ConfigurationError, match="memory://"):
        Locks("nonsense://")


def test_both_kinds_have_the_same_words() -> None:
    for name in ("acquire", "refresh", "release", "list"):
        sync = inspect.signature(getattr(Locks, name)).parameters
        other = inspect.signature(getattr(AsyncLocks, name)).parameters
        assert [str(each) for each in sync.values()] == [str(each) for each in other.values()]


def test_the_applications_way_to_the_same_locks() -> None:
    """environ["locklib"].locks and scope["locklib"].locks are the middleware's own."""
    from locklib.states import LockState

    memory = MemoryLockStore(processes="allow")
    assert isinstance(LockState.plain(memory, Policy()).locks, Locks)
    found = LockState.plain(memory.as_async(), Policy()).locks
    assert isinstance(found, AsyncLocks)
    asyncio.run(found.acquire("/a"))  # type: ignore[arg-type]
    assert [held.lock.key for held in Locks(memory).list()] == ["/a"]
