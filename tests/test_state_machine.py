"""Two principals at a folder: whatever they do in whatever order, the answers are those of an oracle.

The oracle spells RFC 4918 out. It is a flat list of locks and a set of resources, and shares nothing with locklib:
coverage is a string prefix, every rule looks at every lock, and time is a number. After each request the answer's
status, all locks (with their ends), and all resources must be the same on both sides, and no permit may be left.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.stores.memory import MemoryLockStore
from locklib.testing.kit import FakeClock
from locklib.wsgi import LockMiddleware as WsgiMiddleware
from support.direct import Got, Things, asgi, asgi_user, locks_in, permits_in, wsgi, wsgi_user

PEOPLE = ("anna", "bob")
PATHS = ("/", "/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/a/b/a", "/c/a")
SPELLINGS = ("{}", "{}", "{}/", "/.{}", "{}?v=1")
LOCKINFO = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'
)
STRANGER = "urn:uuid:00000000-0000-4000-8000-000000000000"


# ---- the oracle ------------------------------------------------------------------------------------------------------


@dataclass
class OneLock:
    token: str
    path: str
    deep: bool
    shared: bool
    holder: str
    ends: float

    def covers(self, path: str) -> bool:
        return path == self.path or (self.deep and is_in(path, self.path))


def is_in(path: str, tree: str) -> bool:
    return tree == "/" or path == tree or path.startswith(tree + "/")


def parent(path: str) -> str:
    return path[: path.rindex("/")] or "/"


@dataclass
class Oracle:
    """What RFC 4918 says. Each method answers the status, and changes the lists as a success would."""

    locks: list[OneLock] = field(default_factory=list)
    things: dict[str, str] = field(default_factory=lambda: {"/": "collection"})
    now: float = 0.0

    # -- what is needed ------------------------------------------------------------------------------------------------

    def over(self, path: str) -> list[OneLock]:
        return [lock for lock in self.locks if lock.covers(path)]

    def open_for(self, who: str, shown: list[str], path: str) -> bool:
        """Section 7: one lock token of those that cover `path`, submitted by the one whose lock it is."""
        over = self.over(path)
        return not over or any(lock.token in shown and lock.holder == who for lock in over)

    def all_open(self, who: str, shown: list[str], tree: str) -> bool:
        """Every resource of a tree: those that are there, those that are locked, and one that might be under each."""
        inside = [path for path in (*self.things, *(lock.path for lock in self.locks)) if is_in(path, tree)]
        inside += [tree, *[path.rstrip("/") + "/?" for path in (*inside, tree)]]
        return all(self.open_for(who, shown, path) for path in inside)

    def holds(self, condition: tuple[str, str] | None, path: str) -> bool:
        """Section 10.4: `condition` is (style, token), see `if_header`."""
        if condition is None or condition[0] in ("always", "denied"):
            return True
        style, token = condition
        at = [lock for lock in self.locks if lock.token == token]
        if style == "plain":
            return bool(at) and at[0].covers(path)
        return bool(at)  # tagged with the lock's own root: the token matches there as long as the lock lives

    def expire(self) -> None:
        self.locks = [lock for lock in self.locks if lock.ends > self.now]

    # -- LOCK, refresh, UNLOCK -----------------------------------------------------------------------------------------

    def lock(self, who: str, path: str, deep: bool, shared: bool, condition: Any, shown: list[str]) -> int:
        """9.10; the caller enters the lock with the token that was given."""
        if not self.holds(condition, path):
            return 412
        wanted = OneLock("", path, deep, shared, who, 0.0)
        conflicts = [
            lock
            for lock in self.locks
            if (lock.covers(path) or wanted.covers(lock.path)) and not (shared and lock.shared)
        ]
        if any(lock.covers(path) for lock in conflicts):
            return 423
        if conflicts:
            return 207
        if path in self.things:
            return 200
        if not self.open_for(who, shown, parent(path)):
            return 423
        if self.things.get(parent(path)) != "collection":
            return 409
        self.things[path] = "file"
        return 201

    def refresh(self, who: str, path: str, token: str, lasts: float) -> int:
        """9.10.2"""
        named = [lock for lock in self.over(path) if lock.token == token]
        if not named:
            return 412
        if named[0].holder != who:
            return 403
        named[0].ends = self.now + lasts
        return 200

    def unlock(self, who: str, path: str, token: str) -> int:
        """9.11"""
        named = [lock for lock in self.over(path) if lock.token == token]
        if not named:
            return 409
        if named[0].holder != who:
            return 403
        self.locks.remove(named[0])
        return 204

    # -- writes --------------------------------------------------------------------------------------------------------

    def put(self, who: str, path: str, condition: Any, shown: list[str]) -> int:
        if not self.holds(condition, path):
            return 412
        if not self.open_for(who, shown, path):
            return 423
        new = path not in self.things
        if new and not self.open_for(who, shown, parent(path)):
            return 423
        if self.things.get(path) == "collection":
            return 405
        if self.things.get(parent(path)) != "collection":
            return 409
        self.things[path] = "file"
        return 201 if new else 204

    def mkcol(self, who: str, path: str, condition: Any, shown: list[str]) -> int:
        if not self.holds(condition, path):
            return 412
        if not self.open_for(who, shown, path) or (path != "/" and not self.open_for(who, shown, parent(path))):
            return 423
        if path in self.things:
            return 405
        if self.things.get(parent(path)) != "collection":
            return 409
        self.things[path] = "collection"
        return 201

    def delete(self, who: str, path: str, condition: Any, shown: list[str]) -> int:
        if not self.holds(condition, path):
            return 412
        if not self.removable(who, shown, path):
            return 423
        if path == "/":
            return 403
        if path not in self.things:
            return 404
        self.gone(path)
        self.locks = [lock for lock in self.locks if not is_in(lock.path, path)]
        return 204

    def removable(self, who: str, shown: list[str], path: str) -> bool:
        """7.5, 9.6: the whole tree, and the collection that loses or gains a member."""
        return self.all_open(who, shown, path) and (path == "/" or self.open_for(who, shown, parent(path)))

    def gone(self, path: str) -> None:
        self.things = {one: kind for one, kind in self.things.items() if not is_in(one, path)}

    def transfer(
        self, who: str, path: str, to: str, keep: bool, condition: Any, shown: list[str], *, move: bool
    ) -> int:
        """9.8, 9.9: COPY and MOVE; `keep` is Overwrite: F."""
        if not self.holds(condition, path):
            return 412
        if (move and not self.removable(who, shown, path)) or not self.removable(who, shown, to):
            return 423
        if move and path == "/":
            return 403
        if path not in self.things:
            return 404
        if is_in(path, to) or is_in(to, path):
            return 403
        if self.things.get(parent(to)) != "collection":
            return 409
        there = to in self.things
        if there and keep:
            return 412
        moved = {to + one[len(path) :]: kind for one, kind in self.things.items() if is_in(one, path)}
        self.gone(to)
        if move:
            self.gone(path)
            self.locks = [lock for lock in self.locks if not is_in(lock.path, path)]  # 7.6: locks do not move
        self.things.update(moved)
        below = [lock for lock in self.locks if is_in(lock.path, to) and lock.path != to]
        ended = [lock for lock in below if lock.path not in self.things]
        self.locks = [lock for lock in self.locks if lock not in ended]
        return 204 if there else 201


# ---- the machine -----------------------------------------------------------------------------------------------------

people = st.sampled_from(PEOPLE)
paths = st.sampled_from(PATHS)
spelled = st.sampled_from(SPELLINGS)
picks = st.integers(0, 12)
conditions = st.none() | st.tuples(st.sampled_from(["plain", "tagged", "always", "denied", "two"]), picks, picks)
lasting = st.sampled_from([1.0, 600.0, 900.0])


class Machine(RuleBasedStateMachine):
    """`send` is the only way to the system under test: one request, one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = MemoryLockStore(clock=self.clock, processes="allow")
        self.things = Things()
        self.oracle = Oracle(now=self.clock.now)
        self.fence = 0
        self.set_up()

    def set_up(self) -> None:
        raise NotImplementedError

    def send(self, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> Got:
        raise NotImplementedError

    # -- the words of a request ----------------------------------------------------------------------------------------

    def token(self, number: int) -> str:
        """One of the live tokens, or sometimes a stranger's."""
        tokens = [lock.token for lock in self.oracle.locks]
        return tokens[number % len(tokens)] if tokens and number else STRANGER

    def condition(self, chosen: tuple[str, int, int] | None) -> tuple[Any, list[str], dict[str, str]]:
        """What the oracle has to judge, the tokens shown, and the header that says so."""
        if chosen is None or not self.oracle.locks:
            return None, [], {}
        style, first, second = chosen
        one, other = self.token(first), self.token(second)
        root = next((lock.path for lock in self.oracle.locks if lock.token == one), "/b")
        if style == "plain":
            return ("plain", one), [one], {"If": f"(<{one}>)"}
        if style == "tagged":
            return ("tagged", one), [one], {"If": f"<http://h.test{root}> (<{one}>)"}
        if style == "always":
            return ("always", one), [one], {"If": f"(<{one}>) (Not <DAV:no-lock>)"}
        if style == "denied":  # under Not, beside a true list: submitted all the same (10.4.1), and no key by itself
            return ("denied", one), [one], {"If": f"(Not <{one}>) (Not <DAV:no-lock>)"}
        return ("always", one), [one, other], {"If": f"(<{one}>) (<{other}>) (Not <DAV:no-lock>)"}

    def ask(self, method: str, who: str, path: str, how: str, fields: dict[str, str], body: bytes = b"") -> Got:
        return self.send(method, how.format(path).replace("//", "/"), {"X-User": who, **fields}, body)

    def check(self, got: Got, expected: int) -> None:
        assert got.status == expected, (got, expected, self.oracle)

    # -- rules ---------------------------------------------------------------------------------------------------------

    @initialize()
    def a_few_things(self) -> None:
        for path, kind in (("/a", "collection"), ("/a/a", "collection"), ("/a/a/a", "file"), ("/b", "file")):
            self.oracle.things[path] = kind
            self.things.tree[path] = None if kind == "collection" else b""

    @rule(
        who=people, path=paths, how=spelled, deep=st.booleans(), shared=st.booleans(), lasts=lasting, chosen=conditions
    )
    def lock(self, who: str, path: str, how: str, deep: bool, shared: bool, lasts: float, chosen: Any) -> None:
        condition, shown, header = self.condition(chosen)
        fields = {"Depth": "infinity" if deep else "0", "Timeout": f"Second-{lasts:.0f}", **header}
        body = LOCKINFO.format("shared" if shared else "exclusive").encode()
        got = self.ask("LOCK", who, path, how, {**fields, "Content-Type": "application/xml"}, body)
        self.check(got, self.oracle.lock(who, path, deep, shared, condition, shown))
        if got.status in (200, 201):
            self.oracle.locks.append(OneLock(got.token, path, deep, shared, who, self.oracle.now + lasts))
            fence = max(held.lock.fence for held in locks_in(self.store) if held.lock.token == got.token)
            assert fence > self.fence
            self.fence = fence
        else:
            assert got["lock-token"] is None

    @precondition(lambda self: self.oracle.locks)
    @rule(who=people, path=paths, how=spelled, number=picks, lasts=lasting)
    def refresh(self, who: str, path: str, how: str, number: int, lasts: float) -> None:
        token = self.token(number)
        fields = {"If": f"(<{token}>)", "Timeout": f"Second-{lasts:.0f}"}
        self.check(self.ask("LOCK", who, path, how, fields), self.oracle.refresh(who, path, token, lasts))

    @precondition(lambda self: self.oracle.locks)
    @rule(who=people, path=paths, how=spelled, number=picks)
    def unlock(self, who: str, path: str, how: str, number: int) -> None:
        token = self.token(number)
        got = self.ask("UNLOCK", who, path, how, {"Lock-Token": f"<{token}>"})
        self.check(got, self.oracle.unlock(who, path, token))

    @rule(who=people, path=st.sampled_from(PATHS[1:5]), deep=st.booleans(), lasts=lasting)
    def lock_beside_others(self, who: str, path: str, deep: bool, lasts: float) -> None:
        """Shared locks where locks are likely, so that several are held at once."""
        self.lock(who, path, "{}", deep, True, lasts, None)

    @rule(who=people, path=st.sampled_from(PATHS[1:]), move=st.booleans(), number=picks)
    def write_with_all_of_ones_own(self, who: str, path: str, move: bool, number: int) -> None:
        """As a client does that holds several locks: every token of its own, in a header that is true."""
        mine = [lock.token for lock in self.oracle.locks if lock.holder == who]
        header = {"If": " ".join(f"(<{token}>)" for token in mine) + " (Not <DAV:no-lock>)"}
        if number < 6:
            self.check(self.ask("PUT", who, path, "{}", header, b"t"), self.oracle.put(who, path, None, mine))
        elif number < 9:
            self.check(self.ask("DELETE", who, path, "{}", header), self.oracle.delete(who, path, None, mine))
        else:
            to = PATHS[number - 8]
            fields = {"Destination": to, **header}
            got = self.ask("MOVE" if move else "COPY", who, path, "{}", fields)
            self.check(got, self.oracle.transfer(who, path, to, False, None, mine, move=move))

    @precondition(lambda self: self.oracle.locks)
    @rule(number=picks)
    def unlock_rightly(self, number: int) -> None:
        lock = self.oracle.locks[number % len(self.oracle.locks)]
        got = self.ask("UNLOCK", lock.holder, lock.path, "{}", {"Lock-Token": f"<{lock.token}>"})
        self.check(got, self.oracle.unlock(lock.holder, lock.path, lock.token))

    @rule(who=people, path=paths, how=spelled, chosen=conditions)
    def put(self, who: str, path: str, how: str, chosen: Any) -> None:
        condition, shown, header = self.condition(chosen)
        self.check(self.ask("PUT", who, path, how, header, b"text"), self.oracle.put(who, path, condition, shown))

    @rule(who=people, path=paths, how=spelled, chosen=conditions)
    def mkcol(self, who: str, path: str, how: str, chosen: Any) -> None:
        condition, shown, header = self.condition(chosen)
        self.check(self.ask("MKCOL", who, path, how, header), self.oracle.mkcol(who, path, condition, shown))

    @rule(who=people, path=paths, how=spelled, chosen=conditions)
    def delete(self, who: str, path: str, how: str, chosen: Any) -> None:
        condition, shown, header = self.condition(chosen)
        self.check(self.ask("DELETE", who, path, how, header), self.oracle.delete(who, path, condition, shown))

    @rule(who=people, path=paths, to=paths, how=spelled, keep=st.booleans(), move=st.booleans(), chosen=conditions)
    def transfer(self, who: str, path: str, to: str, how: str, keep: bool, move: bool, chosen: Any) -> None:
        condition, shown, header = self.condition(chosen)
        fields = {"Destination": f"http://h.test{to}", "Overwrite": "F" if keep else "T", **header}
        got = self.ask("MOVE" if move else "COPY", who, path, how, fields)
        self.check(got, self.oracle.transfer(who, path, to, keep, condition, shown, move=move))

    @rule(seconds=st.sampled_from([0.5, 1.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.oracle.now += seconds
        self.oracle.expire()

    # -- what must be the same -----------------------------------------------------------------------------------------

    @invariant()
    def the_locks_are_the_same(self) -> None:
        offset = self.store._memory.offset
        rows = {
            (row.token, row.key, row.depth == "infinity", row.scope == "shared", row.creator, row.pending)
            for row in (held.lock for held in locks_in(self.store))
        }
        assert rows == {
            (lock.token, lock.path, lock.deep, lock.shared, lock.holder, False) for lock in self.oracle.locks
        }
        ends = {held.lock.token: held.lock.expires_at - offset for held in locks_in(self.store)}
        assert all(math.isclose(ends[lock.token], lock.ends, abs_tol=0.05) for lock in self.oracle.locks)

    @invariant()
    def the_things_are_the_same(self) -> None:
        there = {path: "collection" if content is None else "file" for path, content in self.things.tree.items()}
        assert there == self.oracle.things

    @invariant()
    def nobody_is_at_work(self) -> None:
        assert permits_in(self.store) == ()


class WsgiMachine(Machine):
    def set_up(self) -> None:
        self.app = WsgiMiddleware(self.things.wsgi, store=self.store, principal=wsgi_user, dav=True)

    def send(self, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> Got:
        return wsgi(self.app, method, target, fields, body)


class AsgiMachine(Machine):
    def set_up(self) -> None:
        self.app = AsgiMiddleware(self.things.asgi, store=self.store, principal=asgi_user, dav=True)
        self.loop = asyncio.new_event_loop()

    def send(self, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> Got:
        return self.loop.run_until_complete(asgi(self.app, method, target, fields, body))

    def teardown(self) -> None:
        self.loop.close()


LONG = settings(max_examples=150, stateful_step_count=40)
TestWsgi = WsgiMachine.TestCase
TestWsgi.settings = LONG
TestAsgi = AsgiMachine.TestCase
TestAsgi.settings = LONG
