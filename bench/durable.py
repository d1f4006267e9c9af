"""P11 and the SQLite part of P15: the store on SQLite against SQLite itself and against the disk under it.

The files lie in `bench/results`, so that it is a disk and not memory that LOCK is measured on. The floors: `SELECT 1`
by a connection of the same file, executed and fetched; 4 KiB written over the next part of a file that is there, and
fdatasync. Locks that are only to be there come in by one INSERT each on a connection of ours, all in one transaction;
every LOCK and UNLOCK that is measured goes through the rules and `transact`.
"""

from __future__ import annotations

import asyncio
import dbm
import os
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter, sleep, time
from typing import Any, TypeVar

from bench.held import ELSEWHERE, LASTS, key, token
from bench.measure import Curve, Plan, Report, Row, Side, Times, calls, race, ratio
from bench.shells import Race
from bench.tables import acquire_theirs
from bench.wire import Asgi, AsgiNoOp, Wsgi, WsgiNoOp, asgi_app, wsgi_app
from locklib.asgi import LockMiddleware as AsgiLocks
from locklib.core import rules
from locklib.core.model import Lock, Permit, Principal
from locklib.stores.sqlite import SqliteLockStore
from locklib.wiring import new_token
from locklib.wsgi import LockMiddleware as WsgiLocks

__all__ = ["durable", "filled"]

R = TypeVar("R")

RESULTS = Path(__file__).parent / "results"
COLUMNS = "namespace, key, token, depth, scope, purpose, creator, timeout, created_at, expires_at, fence"
KIND = ("0", "exclusive", "write")
BLOCK = 4096
BLOCKS = 1_000
"""As many as SQLite's log has before it begins at its start again."""
UNLOCKED = key(7).replace("document", "note")
"""Depth 5, beside locked neighbours."""
REST = 0.015
"""Seconds of rest before each write that is timed: a machine in a cloud may be allowed so many flushes a second (250 of
them, and the next ones wait for their turn), and then a figure without rest counts flushes, whatever else is done."""
PARENT = ELSEWHERE.rpartition("/")[0]
ANNA = rules.Submission(rules.Asker(Principal("anna")), ELSEWHERE)
NEED = rules.Need(keys=(ELSEWHERE,), creations=(rules.Creation(ELSEWHERE, (PARENT,)),))


# ---- files with many locks -------------------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for the files, on the disk of the working tree."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS, prefix="durable-") as folder:
        yield Path(folder)


def filled(path: Path, count: int, *, scattered: bool = False) -> SqliteLockStore:
    """A store with so many locks. scattered: they come in no order, with tokens of chance, as locks do."""
    store = SqliteLockStore(path)
    store.open()
    numbers = sorted(range(count), key=key)
    if scattered:
        random.Random(4918).shuffle(numbers)
    now = time()
    life = (LASTS, now, now + LASTS)
    rows = (
        ("", key(one), new_token() if scattered else token(one), *KIND, f"clerk{one % 1_000}", *life, fence)
        for fence, one in enumerate(numbers, 1)
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO locks ({COLUMNS}) VALUES ({', '.join('?' * 11)})", rows)
        connection.execute("UPDATE state SET fence = fence + ?", (count,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if count:
        _make_sure(store, count)
    return store


def _make_sure(store: SqliteLockStore, count: int) -> None:
    """That the store reads these rows as the locks that they are meant to be."""
    query, step = rules.roots_near((key(count - 1),))
    if not store.near("", key(0)) or not store.transact(query, step).answer or store.near("", ELSEWHERE):
        raise RuntimeError("the file does not hold the locks that were put into it; has the schema changed?")


# ---- what is measured ------------------------------------------------------------------------------------------------


def _select_one(path: str) -> Callable[[], object]:
    connection = sqlite3.connect(path, isolation_level=None)
    return lambda: connection.execute("SELECT 1").fetchone()


def _near(store: SqliteLockStore, keys: Iterable[str]) -> Callable[[], object]:
    """Through many keys: which pages are asked for must not be few."""
    turns = cycle(keys)
    return lambda: store.near("", next(turns))


def _admit(store: SqliteLockStore) -> Callable[[], object]:
    """A write check by the general way."""

    def turn() -> None:
        query, step = rules.admit(NEED, ANNA)
        admitted = isinstance(store.transact(query, step).answer, rules.Admitted)
        if not admitted:
            raise RuntimeError("a write that nothing is in the way of was not admitted")

    return turn


def _hold(store: SqliteLockStore, at: str) -> Callable[[], object]:
    """A write in hold by the short way: published, looked, ended."""

    def turn() -> None:
        claim = store.claim_now("", at)
        store.near("", at)
        store.end_now(claim)

    return turn


def _hold_in_general(store: SqliteLockStore) -> Callable[[], object]:
    def turn() -> None:
        claim = Permit(os.urandom(8).hex(), "", (ELSEWHERE,), memberships=(PARENT,), creator="anna")
        query, step = rules.admit(NEED, ANNA, claim=claim)
        if store.transact(query, step).permit is None:
            raise RuntimeError("a write that nothing is in the way of has no permit")
        store.permits.end(claim)

    return turn


def _acquired(store: SqliteLockStore, *, pending: bool = False) -> Lock:
    query, step = rules.acquire(rules.Wish(new_token(), ELSEWHERE, ELSEWHERE, pending=pending), ANNA)
    return store.transact(query, step).rows[0]


def _released(store: SqliteLockStore, lock: Lock) -> None:
    query, step = rules.release(ELSEWHERE, lock.token, "request", ANNA)
    if not store.transact(query, step).answer:
        raise RuntimeError("UNLOCK found no lock")


def _in_hold(store: SqliteLockStore) -> Lock:
    """A LOCK as the shells carry it out: committed as pending, older permits looked for, committed as granted."""
    lock = _acquired(store, pending=True)
    if store.permits.older("", lock):
        raise RuntimeError("there is a permit, and nobody has published one")
    query, step = rules.confirm(lock)
    return store.transact(query, step).rows[0]


def _locking(store: SqliteLockStore, acquire: Callable[..., Lock] = _acquired) -> Side:
    """LOCK alone: the UNLOCK that makes room for the next is not timed."""

    def side() -> float:
        lock, seconds = _rested(lambda: acquire(store))
        _released(store, lock)
        return seconds

    return side


def _pair(store: SqliteLockStore) -> Callable[[], None]:
    return lambda: _released(store, _acquired(store))


def _rested(work: Callable[[], R]) -> tuple[R, float]:
    """What `work` gives, and the seconds that it took, after a while in which nothing was written."""
    sleep(REST)
    start = perf_counter()
    found = work()
    return found, perf_counter() - start


def _once(work: Callable[[], object]) -> Side:
    return lambda: _rested(work)[1]


class _Disk:
    """4 KiB written and on the disk, over a file that is as long as SQLite's log."""

    def __init__(self, path: Path) -> None:
        self.block = os.urandom(BLOCK)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.next = cycle(range(0, BLOCK * BLOCKS, BLOCK))
        os.pwrite(self.file, self.block * BLOCKS, 0)
        os.fsync(self.file)
        self.sync = getattr(os, "fdatasync", os.fsync)

    def write(self) -> None:
        os.pwrite(self.file, self.block, next(self.next))
        self.sync(self.file)


# ---- the figures -----------------------------------------------------------------------------------------------------


def durable(plan: Plan) -> Report:
    """P11, P15: with `plan.files` locks held. Whatever is opened is closed at the end, and the files are removed."""
    with _folder() as folder:
        stores = {size: filled(folder / f"{size}.db", size) for size in plan.files}
        try:
            looks, look_curves = _looks(plan, stores)
            commits, commit_curves = _commits(plan, stores, folder)
            shells = _through_the_shells(plan, stores[plan.files[-1]])
            peer, peer_curve = _against_the_peer(plan, stores, folder)
        finally:
            for store in stores.values():
                store.close()
        rows = (*looks, *commits, *peer, *shells, _size(plan, folder))
    return Report(rows, (*look_curves, *commit_curves, peer_curve))


def _looks(plan: Plan, stores: Mapping[int, SqliteLockStore]) -> tuple[list[Row], list[Curve]]:
    number = max(plan.calls // 25, 5)  # a few hundred microseconds, so that most turns are not interrupted
    most = plan.files[-1]
    sides: dict[str, Side] = {"select": calls(_select_one(stores[most].path), number)}
    for size, store in stores.items():
        sides[f"near {size}"] = calls(_near(store, [ELSEWHERE]), number)
        sides[f"admit {size}"] = calls(_admit(store), max(number // 5, 1))
    store = stores[most]
    picked = random.Random(4918).choices(range(most), k=min(most, 5_000))
    sides["beside"] = calls(_near(store, [key(one).replace("document", "note") for one in picked]), number)
    sides["hold"] = calls(_hold(store, ELSEWHERE), number)
    sides["general"] = calls(_hold_in_general(store), max(number // 5, 1))
    sides["claim"] = calls(lambda: store.end_now(store.claim_now("", ELSEWHERE)), number)
    times = race(sides, max(plan.rounds, 2))

    def of(name: str) -> float:
        return ratio(times, name, "select")

    held = f"{most:,} locks"
    rows = [
        Row("P11", "SQLite, SELECT 1 itself, in this run", median(times["select"]) * 1e6, unit="us"),
        *(
            Row("P11", f"SQLite, write check, {size:,} locks, against SELECT 1", of(f"near {size}"), 9)
            for size in stores
        ),
        Row("P11", f"SQLite, write check, {held}, siblings all over locked", of("beside"), 9),
        Row("P11", f"SQLite, write check by the general way, {held}", of(f"admit {most}")),
        Row("P15", f"SQLite, write in hold, {held}, against SELECT 1", of("hold"), 10),
        Row("P15", "SQLite, of that the permit in and out", of("claim")),
        Row("P15", f"SQLite, write in hold by the general way, {held}", of("general")),
    ]
    return rows, [_curve(times, "near", "write check", stores), _curve(times, "admit", "the general way", stores)]


def _commits(plan: Plan, stores: Mapping[int, SqliteLockStore], folder: Path) -> tuple[list[Row], list[Curve]]:
    disk = _Disk(folder / "block")
    sides: dict[str, Side] = {"disk": _once(disk.write)}
    for size, store in stores.items():
        sides[f"lock {size}"] = _locking(store)
        sides[f"pair {size}"] = _once(_pair(store))
    sides["in hold"] = _locking(stores[plan.files[-1]], _in_hold)
    times = race(sides, max(plan.rounds // 4, 2))
    os.close(disk.file)
    most = plan.files[-1]
    against = "against 4 KiB on the disk"
    locks = [
        Row("P11", f"SQLite, LOCK, {size:,} locks, {against}", ratio(times, f"lock {size}", "disk"), 2.5)
        for size in stores
    ]
    pairs = [
        Row(
            "P11",
            f"SQLite, LOCK and UNLOCK, {size:,} locks, {against} twice",
            ratio(times, f"pair {size}", "disk") / 2,
            2.5,
        )
        for size in stores
    ]
    rows = [
        Row("P11", "SQLite, 4 KiB on the disk itself, in this run", median(times["disk"]) * 1e6, unit="us"),
        *locks,
        *pairs,
        Row("P11", f"SQLite, LOCK in hold (two commits and a look), {most:,} locks", ratio(times, "in hold", "disk")),
    ]
    return rows, [_curve(times, "lock", "LOCK", stores), _curve(times, "pair", "LOCK and UNLOCK", stores)]


def _curve(times: Times, name: str, label: str, sizes: Iterable[int]) -> Curve:
    return Curve("durable", label, tuple((size, median(times[f"{name} {size}"]) * 1e6) for size in sizes))


# ---- through the shells ----------------------------------------------------------------------------------------------


def _through_the_shells(plan: Plan, store: SqliteLockStore) -> list[Row]:
    loop = asyncio.new_event_loop()
    try:
        fields = {
            "ASGI": _field(
                Race(AsgiNoOp(asgi_app)), Asgi(loop, plan.batch, "PUT", ELSEWHERE), AsgiLocks, asgi_app, store
            ),
            "WSGI": _field(Race(WsgiNoOp(wsgi_app)), Wsgi(plan.batch, "PUT", ELSEWHERE), WsgiLocks, wsgi_app, store),
        }
        found = {shell: field.run(plan) for shell, field in fields.items()}
    finally:
        loop.close()
    return [
        Row("P15", f"{shell}, write, SQLite, {plan.files[-1]:,} locks elsewhere, mode hold", found[shell]("hold"))
        for shell in fields
    ]


def _field(field: Race, put: Any, shell: Any, app: Any, store: SqliteLockStore) -> Race:
    field.add("hold", put, shell(app, store=store))
    return field


# ---- the peer --------------------------------------------------------------------------------------------------------


def _against_the_peer(plan: Plan, stores: Mapping[int, SqliteLockStore], folder: Path) -> tuple[list[Row], Curve]:
    """Few rounds: at 10 000 locks WsgiDAV's storage in a file takes a long time. It never waits for the disk."""
    sizes = plan.files[:2]
    managers = {size: _shelved(folder / f"shelve{size}", size) for size in sizes}
    sides: dict[str, Side] = {}
    for size, manager in managers.items():
        sides[f"ours {size}"] = _once(_pair(stores[size]))
        sides[f"theirs {size}"] = _once(_their_pair(manager))
    times = race(sides, 8)
    for manager in managers.values():
        manager.storage.close()
    kind = dbm.whichdb(str(folder / f"shelve{sizes[0]}")) or "unknown"
    rows = [
        Row(
            "P11",
            f"SQLite, LOCK and UNLOCK, {size:,} locks, against WsgiDAV's shelve",
            ratio(times, f"ours {size}", f"theirs {size}"),
            note=f"{kind} under it, no fsync",
        )
        for size in sizes
    ]
    return rows, _curve(times, "theirs", "WsgiDAV, shelve", sizes)


def _shelved(path: Path, size: int) -> Any:
    """WsgiDAV's manager over its storage in a file; while it is filled, its writing to the disk waits for the end."""
    from wsgidav.lock_man.lock_manager import LockManager
    from wsgidav.lock_man.lock_storage import LockStorageShelve

    storage = LockStorageShelve(str(path))
    manager = LockManager(storage)
    write, storage._flush = storage._flush, lambda: None
    written = storage._dict
    held: dict[str, object] = {}
    storage._dict = held
    for number in range(size):
        acquire_theirs(manager, key(number), f"clerk{number}")
    storage._dict = written
    written.update(held)
    storage._flush = write
    storage._flush()
    return manager


def _their_pair(manager: Any) -> Callable[[], None]:
    return lambda: manager.release(acquire_theirs(manager, ELSEWHERE, "anna")["token"])


# ---- size ------------------------------------------------------------------------------------------------------------


def _size(plan: Plan, folder: Path) -> Row:
    count = min(plan.most, 100_000)
    path = folder / "size.db"
    filled(path, count, scattered=True).close()
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-wal")
    return Row(
        "P11", f"SQLite, bytes of the file per held lock, {count:,} locks", path.stat().st_size / count, unit="B"
    )
