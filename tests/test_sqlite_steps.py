"""Steps in the SQLite store that raise, begin again, or are cancelled (I18), and notes of what was committed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import suppress

import pytest

from locklib.core.model import Done, Note, Outcome, Permit, Put, Query, Snapshot
from locklib.errors import LockError, StoreUnavailable
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from locklib.testing.adversary import together
from support.sqlite import acquire, child, everything, grant, keys, new, told, until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks.db"


@pytest.fixture
def store(path):
    store = SqliteLockStore(path)
    yield store
    store.close()


def put_by(store, key):
    return store.transact(Query(writes=True), lambda _: Outcome(key, (Put(new(key), 60.0, True),)))


# ---- I18: cancelled --------------------------------------------------------------------------------------------------


class Cancelled:
    """`doing`, whose task is cancelled at its n-th await, and once more at the next one if `twice`."""

    def __init__(self, doing, number, twice):
        self.doing, self.number, self.twice, self.seen = doing, number, twice, 0

    def __await__(self):
        steps = self.doing.__await__()
        sent, thrown = None, None
        while True:
            try:
                waits_for = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as end:
                return end.value
            self.seen += 1
            if self.seen == self.number or (self.twice and self.seen == self.number + 1):
                asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            sent, thrown = None, None
            try:
                sent = yield waits_for
            except BaseException as error:
                thrown = error


@pytest.mark.parametrize("kind", ["a lock", "a lock of a new file", "a read that may have to wait"])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_i18_cancelled_at_every_await(kind, twice, path):
    async def one(number):
        store = AsyncSqliteLockStore(path)
        if kind == "a lock":
            store.open()
        claim = Permit(f"claim {number}", "", keys=("/a",))
        writes = kind.startswith("a lock")
        puts = (Put(new(f"/{number}", token=f"urn:{number}"), 60.0, True),) if writes else ()
        slow = lingering(Outcome("answer", puts, keep_claim=True))
        doing = Cancelled(store.transact(Query(claim=claim, writes=writes), slow), number, twice)

        async def run():
            return await doing

        task = asyncio.ensure_future(run())
        kept = False
        with suppress(asyncio.CancelledError):
            kept = (await asyncio.wait_for(task, 20)).permit == claim
        there = keys(store.as_sync())
        await asyncio.sleep(0.03)
        assert keys(store.as_sync()) == there, "nothing commits after the end"
        assert bool(await store.permits.live((claim.id,))) is kept
        await store.close()
        return doing.seen >= number

    number = 1
    while asyncio.run(one(number)):
        number += 1
    assert number > 1


def lingering(outcome):
    def step(_):
        time.sleep(0.01)
        return outcome

    return step


def test_i18_a_unit_that_has_not_begun_does_not_begin_after_its_cancellation(path):
    async def story():
        store = AsyncSqliteLockStore(path)
        store.open()
        go, there = threading.Event(), threading.Event()
        seen = []

        def slow(_):
            if seen:
                there.set()
                go.wait(20)
            seen.append(1)
            return Outcome(None, (Put(new("/first"), 60.0, True),))

        first = asyncio.create_task(store.transact(Query(writes=True), slow))
        await asyncio.to_thread(there.wait, 20)
        second = asyncio.create_task(put_by(store, "/second"))
        await asyncio.sleep(0.02)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        go.set()
        await first
        assert keys(store.as_sync()) == ["/first"]
        await store.close()

    asyncio.run(story())


# ---- steps and notes -------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def failing(error, phase):
    """A step that raises in the first (reading) or the second (writing) run."""
    runs = []

    def step(_):
        runs.append(1)
        if len(runs) == phase:
            raise error
        return Outcome(None, (Put(new("/lost"), 60.0, True),), keep_claim=True)

    return step


ERRORS = [Broken("x"), sqlite3.OperationalError("mine"), StoreUnavailable("mine"), SystemExit(3)]


def transacted(store, asynchronous, query, step):
    """By the store, or by its async twin in a loop of its own."""
    if not asynchronous:
        return store.transact(query, step)

    async def story():
        twin = store.as_async()
        try:
            return await twin.transact(query, step)
        finally:
            if twin.worker is not None:
                twin.worker.shutdown()

    return asyncio.run(story())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("phase", [1, 2], ids=["reading", "writing"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_a_step_raises_comes_out_unchanged_and_nothing_has_changed(error, phase, asynchronous, store):
    (lock,) = grant(store, new("/a"))
    claim = Permit("claim", "", keys=("/a",))
    query, step = Query(claim=claim, writes=True), failing(error, phase)
    with pytest.raises(type(error)) as caught:
        transacted(store, asynchronous, query, step)
    assert caught.value is error
    assert everything(store) == {lock.token: lock}
    assert store.permits.live(("claim",)) == frozenset()
    assert acquire(store, "/b")


@pytest.mark.parametrize("phase", [1, 2], ids=["reading", "writing"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_step_that_begins_a_unit_of_the_same_store_is_told_so(phase, asynchronous, store):
    store.open()
    runs = []

    def step(_):
        runs.append(1)
        if len(runs) == phase:
            store.transact(Query(), Outcome)
        return Outcome(None, (Put(new("/lost"), 60.0, True),))

    begun = time.monotonic()
    with pytest.raises(LockError, match="within a step"):
        transacted(store, asynchronous, Query(writes=True), step)
    assert time.monotonic() - begun < 3.0
    assert everything(store) == {}


def test_notes_of_all_processes_and_told_to_the_own(path):
    heard = []
    store = SqliteLockStore(path, on_note=heard.append)
    note = lambda name: Outcome(None, notes=(Note("lock", name, "anna", {"depth": "0"}),))  # noqa: E731
    store.transact(Query(writes=True), lambda _: note("/mine"))
    code = """
        heard = []
        store = SqliteLockStore(path, on_note=heard.append)
        store.transact(Query(writes=True), lambda _: Outcome(None, notes=(Note("unlock", "/theirs"),)))
        print([note.key for note in store.notes()], [note.key for note in heard]); store.close()
    """
    assert told(child(code, path)) == "['/mine', '/theirs'] ['/theirs']"
    assert [note.key for note in heard] == ["/mine"]
    assert store.notes() == (Note("lock", "/mine", "anna", {"depth": "0"}), Note("unlock", "/theirs"))
    store.close()


def test_who_listens_may_raise_and_may_use_the_store(path, caplog):
    heard = []

    def listen(note):
        heard.append(note.key)
        if note.key == "/a":
            store.transact(Query(writes=True), lambda _: Outcome(None, notes=(Note("lock", "/b"),)))
            raise Broken

    store = SqliteLockStore(path, on_note=listen)
    store.transact(Query(writes=True), lambda _: Outcome(None, notes=(Note("lock", "/a"),)))
    assert heard == ["/a", "/b"]
    assert "on_note failed" in caplog.text
    together(
        8,
        lambda number: store.transact(Query(writes=True), lambda _: Outcome(None, notes=(Note("lock", f"/{number}"),))),
    )
    until(lambda: len(heard) == 10)
    assert [note.key for note in store.notes()] == heard
    store.close()


def test_only_ten_thousand_notes_are_kept(store):
    for batch in range(3):
        notes = tuple(Note("lock", f"/{batch}/{number}") for number in range(4_000))
        store.transact(Query(writes=True), lambda _, notes=notes: Outcome(None, notes=notes))
    assert len(store.notes()) == 10_000
    assert store.notes()[-1].key == "/2/3999"


def test_a_claim_that_cannot_be_published_leaves_nothing(store, path):
    grant(store, new("/a"))

    def publish(*_):
        raise StoreUnavailable("no room")

    claim = Permit("claim", "", keys=("/a",))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(store._sqlite.board), "publish", publish)
        with pytest.raises(StoreUnavailable, match="no room"):
            store.transact(Query(claim=claim), Outcome)
    done: Done[Snapshot] = store.transact(Query(claim=claim), lambda snapshot: Outcome(snapshot, keep_claim=True))
    assert done.permit == claim
    store.permits.end(claim)
    assert os.path.exists(path)
