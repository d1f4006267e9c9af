"""P5-P8: the lock table itself, against a plain dict, against itself when it is small, and against WsgiDAV's."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.held import ELSEWHERE, filled, key
from bench.measure import Curve, Plan, Report, Row, Side, calls, race, ratio
from locklib.core import rules
from locklib.core.model import Depth, Done, Principal
from locklib.stores.memory import MemoryLockStore
from locklib.wiring import new_token

__all__ = ["conflicts", "lock_and_unlock", "memory", "recursive"]

SAMPLE = 20_000
ANNA = rules.Submission(rules.Asker(Principal("anna")), ELSEWHERE)


def _many(of: Callable[[str], object], keys: list[str], number: int) -> Side:
    """A side that goes on through `keys`: which are asked for must not stay in a cache by being few."""
    turns: Iterator[str] = cycle(keys)
    return calls(lambda: of(next(turns)), number)


def _walk(held: Mapping[str, object]) -> Callable[[str], bool]:
    """The plain dict walk: is the key, or any key above it, in one dict of all roots?"""

    def walk(asked: str) -> bool:
        cut = asked.find("/", 1)
        while cut > 0:
            if asked[:cut] in held:
                return True
            cut = asked.find("/", cut + 1)
        return asked in held

    return walk


def _strangers(size: int) -> list[str]:
    """Keys in the folders of locked ones, not locked themselves, in no order."""
    numbers = random.Random(4918).choices(range(size), k=min(size, SAMPLE))
    return [key(number).replace("document", "note") for number in numbers]


def conflicts(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Report:
    """P5: is anything in the way of a write at this key? The answer is no, after a walk to the end."""
    sides: dict[str, Side] = {}
    number = plan.calls
    warm = key(7).replace("document", "note")
    for size, store in stores.items():
        asked = _strangers(size)
        held = dict.fromkeys((key(one) for one in range(size)), True)
        walk = _walk(held)
        if any(map(walk, asked)) or any(store.near("", one) for one in asked):
            raise RuntimeError("a key that nobody locked is said to be locked")
        sides[f"near {size}"] = _many(lambda one, store=store: store.near("", one), asked, number)
        sides[f"walk {size}"] = _many(walk, asked, number)
        sides[f"warm {size}"] = calls(lambda store=store: store.near("", warm), number)
    times = race(sides, max(plan.rounds // 8, 1))
    rows = [
        Row("P5", f"conflict check, {size:,} locks, against a plain dict walk", found, 1.25)
        for size in plan.sizes
        for found in [ratio(times, f"near {size}", f"walk {size}")]
    ]
    small = plan.sizes[min(1, len(plan.sizes) - 1)]
    grown = ratio(times, f"warm {plan.most}", f"warm {small}")
    rows.append(Row("P5", f"conflict check on a warm path, {plan.most:,} : {small:,} locks", grown, 1.1))
    return Report(
        tuple(rows),
        tuple(
            Curve("table", label, tuple((size, _middle(times[f"{name} {size}"])) for size in plan.sizes))
            for name, label in (("near", "conflict check"), ("walk", "plain dict walk"))
        ),
    )


def _middle(seconds: list[float]) -> float:
    """Microseconds, for a curve."""
    return sorted(seconds)[len(seconds) // 2] * 1e6


def _acquire(store: MemoryLockStore, at: str, depth: Depth) -> Done[rules.Acquisition]:
    query, step = rules.acquire(rules.Wish(new_token(), at, at, depth), ANNA)
    return store.transact(query, step)


def _lock_unlock(store: MemoryLockStore, at: str, depth: Depth = Depth.ZERO) -> Callable[[], None]:
    def turn() -> None:
        done = _acquire(store, at, depth)
        query, step = rules.release(at, done.rows[0].token, "request", ANNA)
        if not store.transact(query, step).answer:
            raise RuntimeError("UNLOCK found no lock")

    return turn


def recursive(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Report:
    """P6: is anything locked at or under this collection? And a LOCK with depth infinity there, granted."""
    sides: dict[str, Side] = {}
    for size, store in stores.items():
        folders = [one.rpartition("/")[0] for one in _strangers(size)]
        sides[f"under {size}"] = _many(lambda one, store=store: store.near("", one, True), folders, plan.calls)
        sides[f"lock {size}"] = calls(_lock_unlock(store, "/free/records", Depth.INFINITY), plan.calls // 10)
    times = race(sides, max(plan.rounds // 16, 1))
    least = plan.sizes[0]
    span = f"{plan.most:,} : {least:,} locks"
    below = ratio(times, f"under {plan.most}", f"under {least}")
    granted = ratio(times, f"lock {plan.most}", f"lock {least}")
    return Report(
        (
            Row("P6", f"is anything locked below, {span}", below, 8.0),
            Row("P6", f"LOCK depth infinity and UNLOCK, {span}", granted, 8.0),
            _refused_over_many(plan, stores),
        ),
        (Curve("table", "is anything locked below", tuple((n, _middle(times[f"under {n}"])) for n in plan.sizes)),),
    )


def _refused_over_many(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Row:
    """A LOCK of the collection that everything locked lies under: the refusal must not read it all."""

    def refused(store: MemoryLockStore) -> Callable[[], None]:
        def turn() -> None:
            if _acquire(store, "/held", Depth.INFINITY).rows:
                raise RuntimeError("a LOCK over foreign locks was granted")

        return turn

    some, least = min(10_000, plan.most), plan.sizes[0]
    times = race({"some": calls(refused(stores[some]), 1), "least": calls(refused(stores[least]), 1)}, 3)
    what = f"LOCK depth infinity refused, {some:,} : {least:,} locks below"
    return Row("P6", what, ratio(times, "some", "least"), 8.0)


def lock_and_unlock(plan: Plan, stores: Mapping[int, MemoryLockStore]) -> Report:
    """P7: LOCK + UNLOCK of a free file, token and rules included, against WsgiDAV's lock manager with as many locks."""
    sides = {f"ours {size}": calls(_lock_unlock(store, ELSEWHERE), plan.calls // 10) for size, store in stores.items()}
    least = plan.sizes[0]
    sides["theirs"] = calls(_wsgidav(least), plan.calls // 10)
    times = race(sides, max(plan.rounds // 10, 1))
    against = ratio(times, f"ours {least}", "theirs")
    grown = ratio(times, f"ours {plan.most}", f"ours {least}")
    return Report(
        (
            Row("P7", f"LOCK and UNLOCK, {least:,} locks, against WsgiDAV's lock manager", against, 0.25),
            Row("P7", f"LOCK and UNLOCK, {plan.most:,} : {least:,} locks", grown, 1.5),
        ),
        (Curve("table", "LOCK and UNLOCK", tuple((n, _middle(times[f"ours {n}"])) for n in plan.sizes)),),
    )


def acquire_theirs(manager: Any, at: str, name: str) -> Any:
    """A lock of WsgiDAV's manager, as ours are."""
    return manager.acquire(
        url=at,
        lock_type="write",
        lock_scope="exclusive",
        lock_depth="0",
        lock_owner=name.encode(),
        timeout=900,
        principal=name,
        token_list=[],
    )


def _wsgidav(size: int) -> Callable[[], None]:
    """WsgiDAV's manager over its storage in memory, with so many locks on the same keys as ours."""
    from wsgidav.lock_man.lock_manager import LockManager
    from wsgidav.lock_man.lock_storage import LockStorageDict

    manager = LockManager(LockStorageDict())

    for number in range(size):
        acquire_theirs(manager, key(number), f"clerk{number}")

    def turn() -> None:
        manager.release(acquire_theirs(manager, ELSEWHERE, "anna")["token"])

    return turn


def memory(plan: Plan) -> Report:
    """P8: bytes for each held lock, in a process of its own: what the system counts, and what Python has asked for."""
    resident = _weighed("resident", plan.most)
    rows = [Row("P8", f"resident bytes per held lock, {plan.most:,} locks", resident, 500.0, "B")]
    traced = _weighed("traced", min(plan.most, 100_000))
    rows.append(Row("P8", f"bytes asked for per held lock, {min(plan.most, 100_000):,} locks", traced, 500.0, "B"))
    return Report(tuple(rows))


def _weighed(how: str, count: int) -> float:
    code = f"from bench.tables import weigh_{how}; print(weigh_{how}({count}))"
    here = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {here!r}; {code}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def weigh_resident(count: int) -> float:
    """Each lock comes in by a transaction of its own, as locks do."""
    filled(count // 100 or 1, batch=1)
    before = _resident()
    store = filled(count, batch=1)
    return (_resident() - before) / count if store else 0.0


def _resident() -> int:
    """Bytes. Not the peak where the system tells the present: a child begins with its parent's peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def weigh_traced(count: int) -> float:
    import tracemalloc

    filled(1)
    tracemalloc.start()
    store = filled(count, batch=1)
    return tracemalloc.get_traced_memory()[0] / count if store else 0.0
