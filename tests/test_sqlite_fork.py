"""I19 in the SQLite store: forks, threads, loops. What works, works in both; what cannot work is refused loudly.

The forks are played by a Python of their own: nobody should fork a process that runs threads, but somebody will.
"""

from __future__ import annotations

import asyncio
import threading
from itertools import chain

import pytest

from locklib.core.model import Outcome, Put, Query
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from locklib.testing.adversary import together
from support.sqlite import acquire, child, everything, files, grant, keys, look, new, told


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks.db"


@pytest.fixture
def store(path):
    store = SqliteLockStore(path)
    yield store
    store.close()


# ---- fork ------------------------------------------------------------------------------------------------------------

FORKS = {
    "open before, used by both": (
        """
        store = SqliteLockStore(path); grant(store, new("/a"))
        print(forked(lambda: (keys(store), acquire(store, "/b") is not None, acquire(store, "/a"))))
        print(keys(store), acquire(store, "/b"), acquire(store, "/c") is not None)
        """,
        "(['/a'], True, None)\n['/a', '/b'] None True",
    ),
    "what a child commits after its parent has closed is kept": (
        # SQLite accounts for the kernel's locks by process: a child that trusts what it inherited loses its log.
        """
        store = SqliteLockStore(path); grant(store, new("/a"))
        down, up = os.pipe(), os.pipe()
        if not os.fork():
            grant(store, new("/b"))
            os.write(up[1], b"x"); os.read(down[0], 1)
            grant(store, new("/c"))
            os.write(up[1], b"x"); os.read(down[0], 1)
            os._exit(0)
        os.read(up[0], 1); store.close(); os.write(down[1], b"x"); os.read(up[0], 1)
        other = SqliteLockStore(path)
        print(keys(other)); os.write(down[1], b"x"); os.wait()
        """,
        "['/a', '/b', '/c']",
    ),
    "the child has nothing of its parent's open": (
        """
        from support.sqlite import files
        store = SqliteLockStore(path); grant(store, new("/a"))
        print(forked(lambda: [name for name in files(store) if not name.endswith("-turn")]), keys(store))
        """,
        "[] ['/a']",
    ),
    "a child that ends as a program does": (
        """
        store = SqliteLockStore(path); grant(store, new("/a"))
        if not os.fork():
            grant(store, new("/b")); store.close(); sys.exit(0)
        os.wait(); print(keys(store))
        """,
        "['/a', '/b']",
    ),
    "a grandchild": (
        """
        store = SqliteLockStore(path); grant(store, new("/a"))
        print(forked(lambda: (grant(store, new("/b"))[0].key, forked(lambda: grant(store, new("/c"))[0].key))))
        print(keys(store))
        """,
        "('/b', '/c')\n['/a', '/b', '/c']",
    ),
    "many children at once": (
        """
        store = SqliteLockStore(path); store.open()
        for number in range(6):
            if not os.fork():
                for turn in range(10):
                    grant(store, new(f"/{number}/{turn}"))
                store.close(); os._exit(0)
        for number in range(6):
            os.wait()
        fences = [lock.fence for lock in everything(store).values()]
        print(len(fences), len(set(fences)))
        """,
        "60 60",
    ),
    "while threads are at work": (
        """
        store = SqliteLockStore(path, timeout=20); store.open(); stop = threading.Event(); done = []
        def work(number):
            while not stop.is_set():
                grant(store, new(f"/{number}", token=f"urn:{number}")); done.append(number)
                store.near("", "/x"); look(store, paths=("/x",))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        [thread.start() for thread in threads]
        answers = [forked(lambda: grant(store, new(f"/child/{turn}"))[0].key) for turn in range(12)]
        before = len(done); time.sleep(0.1); stop.set(); [thread.join() for thread in threads]
        print(answers == [f"/child/{turn}" for turn in range(12)], len(keys(store)), len(done) > before)
        """,
        "True 15 True",
    ),
    "by multiprocessing": (
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        store = SqliteLockStore(path); grant(store, new("/a"))
        def work(number):
            return acquire(store, f"/{number}") is not None and acquire(store, "/a") is None
        with context.Pool(3) as pool:
            print(pool.map(work, range(6)))
        print(len(keys(store)))
        """,
        "[True, True, True, True, True, True]\n7",
    ),
    "an async store, its worker busy before": (
        """
        store = AsyncSqliteLockStore(path)
        def put(key):
            query = Query(writes=True)
            return asyncio.run(store.transact(query, lambda _: Outcome(key, (Put(new(key), 60.0, True),)))).answer
        put("/a"); worker = store.worker
        print(forked(lambda: (put("/b"), store.worker is not worker)), put("/c"), store.worker is worker)
        print(keys(store.as_sync()))
        asyncio.run(store.close())
        """,
        "('/b', True) /c True\n['/a', '/b', '/c']",
    ),
    "a permit of the parent stands, the child has none": (
        """
        store = SqliteLockStore(path); store.open()
        claim = store.claim_now("", "/a")
        lock = new("/a")
        seen = lambda: len(store.permits.older("", lock))
        print(forked(lambda: (seen(), store.end_now(claim), seen())))
        print(seen(), store.end_now(claim), seen())
        """,
        "(1, None, 1)\n1 None 0",
    ),
    "within a unit that the child leaves": (
        """
        store = SqliteLockStore(path); grant(store, new("/a")); runs = []
        def step(snapshot):
            runs.append(1)
            if len(runs) == 2 and not os.fork():
                raise SystemExit(0)
            return Outcome(None, (Put(new("/b"), 60.0, True),))
        store.transact(Query(writes=True), step)
        print(os.wait()[1], keys(store), acquire(store, "/c") is not None)
        """,
        "0 ['/a', '/b'] True",
    ),
    "within a unit: the child refuses loudly, the parent goes on": (
        """
        store = SqliteLockStore(path); grant(store, new("/a"))
        answers = []
        def step(snapshot):
            if len(answers) < 2:
                def use():
                    try:
                        store._sqlite.stepping.clear()
                        return keys(store)
                    except StoreUnavailable as error:
                        return "fork" in str(error) and store.near("", "/x")
                answers.append(forked(use))
            return Outcome(None, (Put(new("/b"), 60.0, True),))
        store.transact(Query(writes=True), step)
        print(answers[1], keys(store), forked(lambda: keys(store)))
        """,
        "True ['/a', '/b'] ['/a', '/b']",
    ),
}


@pytest.mark.parametrize("name", FORKS)
def test_fork(name, path):
    code, expected = FORKS[name]
    assert told(child(code, path)) == expected


def test_a_fork_that_cannot_wait_for_a_thread_leaves_a_child_that_refuses(path):
    code = """
        import locklib.stores.sqlite.file as module
        module.QUIET = 0.0
        store = SqliteLockStore(path, timeout=0.2); store.open()
        go, there = threading.Event(), threading.Event()
        def slow(snapshot):
            if not slow.seen:
                slow.seen.append(1); return Outcome(None, (Put(new("/a"), 60.0, True),))
            there.set(); go.wait(20)
            return Outcome(None, (Put(new("/a"), 60.0, True),))
        slow.seen = []
        thread = threading.Thread(target=store.transact, args=(Query(writes=True), slow)); thread.start()
        there.wait(20)
        near = []
        timer = threading.Timer(0.05, lambda: near.append(store.near("", "/x"))); timer.start()
        def use():
            try:
                return keys(store)
            except StoreUnavailable as error:
                return "at work" in str(error)
        def again():
            return use(), forked(use), store.near("", "/x")
        print(forked(again), near)
        go.set(); thread.join(); print(keys(store), forked(use))
    """
    assert told(child(code, path)) == "(True, True, True) [True]\n['/a'] ['/a']"


# ---- threads and loops -----------------------------------------------------------------------------------------------


def test_sixteen_threads_at_once(store):
    def work(number):
        for turn in range(8):
            lock = acquire(store, f"/{number}/{turn}")
            assert lock
            assert store.near("", f"/{number}/{turn}")
            assert not store.near("", f"/x/{number}")
            assert acquire(store, f"/{number}/{turn}") is None
        return [lock.fence for lock in everything(store).values()]

    together(16, work)
    assert len({lock.fence for lock in everything(store).values()}) == 128


def test_threads_that_use_and_close_it(store):
    """Whoever closes takes no connection out of another one's hands."""

    def work(number):
        for _ in range(30):
            if number == 0:
                store.close()
            elif number % 2:
                grant(store, new(f"/{number}", token=f"urn:{number}"))
            else:
                look(store, paths=("/1",))
                store.near("", "/1")
                store.promises()

    together(5, work)
    assert keys(store) == ["/1", "/3"]
    store.close()
    assert not files(store)


def put_by(store, key):
    return store.transact(Query(writes=True), lambda _: Outcome(key, (Put(new(key), 60.0, True),)))


def test_several_loops_at_once_and_one_that_closes(path):
    store = AsyncSqliteLockStore(path)

    def work(number):
        async def story():
            done = await asyncio.gather(*(put_by(store, f"/{number}/{turn}") for turn in range(10)))
            if number == 0:
                await store.close()
            return [one.answer for one in done]

        return asyncio.run(story())

    answers = together(6, work)
    assert sorted(chain.from_iterable(answers)) == keys(store.as_sync())
    asyncio.run(store.close())


def test_an_async_look_is_done_in_the_loop_and_by_the_worker_only_if_it_fails(path):
    store = AsyncSqliteLockStore(path)
    assert asyncio.run(store.promises()).store == "sqlite"
    asyncio.run(put_by(store, "/a"))
    runs = []

    def step(snapshot):
        runs.append(threading.current_thread())
        return Outcome(snapshot.locks)

    assert len(asyncio.run(store.transact(Query(trees=("/",), writes=True), step)).answer) == 1
    holder = store._sqlite.file
    holder._forks += 1  # somebody forks: whoever may not wait does not
    threading.Timer(0.05, holder.forked_in_parent).start()
    assert len(asyncio.run(store.transact(Query(trees=("/",)), step)).answer) == 1
    assert [thread is threading.main_thread() for thread in runs] == [True, False]
    asyncio.run(store.close())


def test_a_worker_that_was_closed_in_this_moment_is_made_anew(path):
    store = AsyncSqliteLockStore(path)
    asyncio.run(put_by(store, "/a"))
    old = store.worker

    class Late(type(old)):
        def submit(self, *work):
            store.worker = None
            return old.submit(*work)

    old.shutdown()
    store.worker = Late(1)
    asyncio.run(put_by(store, "/b"))
    assert keys(store.as_sync()) == ["/a", "/b"]
    store.worker.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):  # as at the end of the interpreter
        asyncio.run(put_by(store, "/c"))
    asyncio.run(store.close())
