"""The locks of a namespace by key: which are at or above a key, which are at or below it.

Knows: `Lock.key`, `Lock.token`, that a key is names with a slash between them.
Must not know: expiry, a lock rule, a mutex (writers hold one outside; `near` needs none).

Theory of operation. A key is read as its names: "/a/b" as "", "a", "b", the root as "" alone, an application's own
"file:42" as itself. A *level* stands for a key that has locks below it, and its `kids` lead on by the next name. A lock
is a *leaf* of the level above its key, kept there by its whole key (a string that it has anyway), as long as nothing is
locked below it; else its key has a level, and it is that level's `own`. So a walk from the top stops at the first name
under which nothing is locked, and "is anything below?" is one look for a level.

A reader without the mutex walks between two readings of `version`, which is odd while a change is carried out: a walk
during which something moved answers True, the hint that sends the asker the general way. Rows that ran out are removed
without such a sign; so whatever moves then is in its new place before it leaves the old one, and readers look into
`kids` before they look into `leaves`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nsmallest
from typing import Final, TypeAlias

from locklib.core.model import Lock

__all__ = ["Tree", "names_of"]

Names: TypeAlias = Sequence[str]
Rows: TypeAlias = Lock | dict[str, Lock]

CHUNK = 256
ROOT: Final = ("",)
NAMELESS: Final = ("/",)  # no name has a slash in it


def names_of(key: str) -> Names:
    """`key` as the names on the way to it. One call in C makes all of them, where cutting makes a string a level."""
    if len(key) > 1:
        return key.split("/")
    return ROOT if key == "/" else (key,) if key else NAMELESS


def _text(names: Names) -> str:
    """The key that `names` lead to."""
    return "/".join(names) or "/"


def listed(rows: Rows | None) -> tuple[Lock, ...]:
    """The locks of one key: most keys have none or one, and that one is kept bare."""
    if rows is None:
        return ()
    return tuple(rows.values()) if isinstance(rows, dict) else (rows,)


def _with(rows: Rows | None, lock: Lock) -> Rows:
    """`rows` and `lock`, which takes the place of the row with its token."""
    if isinstance(rows, dict):
        rows[lock.token] = lock
        return rows
    return lock if rows is None or rows.token == lock.token else {rows.token: rows, lock.token: lock}


def _without(rows: Rows | None, lock: Lock) -> Rows | None:
    if not isinstance(rows, dict):
        return None
    del rows[lock.token]
    return rows if len(rows) > 1 else next(iter(rows.values()))


class Level:
    """What is locked at and under one key. depth: how many names lead to it. A side that is empty is shared by all."""

    __slots__ = ("depth", "kids", "leaves", "own")

    def __init__(self, depth: int, own: Rows | None = None) -> None:
        self.kids: dict[str, Level] = _NO_KIDS
        self.leaves: dict[str, Rows] = _NO_LEAVES
        self.own: Rows | None = own
        self.depth: int = depth

    def lead(self, name: str, level: Level) -> None:
        if not self.kids:
            self.kids = {}
        self.kids[name] = level

    def keep(self, key: str, rows: Rows) -> None:
        if not self.leaves:
            self.leaves = {}
        self.leaves[key] = rows


_NO_KIDS: Final[dict[str, Level]] = {}
_NO_LEAVES: Final[dict[str, Rows]] = {}


class Tree:
    """An index of locks by key. `add` and `remove` belong to a writer that holds the mutex."""

    __slots__ = ("top", "version")

    def __init__(self) -> None:
        self.top: Level = Level(0)
        self.version: int = 0

    def near(self, key: str, tree: bool = False) -> bool:
        """False only if no lock is rooted at `key` or above it nor, with `tree`, below it. Takes no mutex."""
        mark = self.version
        if mark & 1:
            return True
        level = self.top
        names = key.split("/") if len(key) > 1 else names_of(key)
        for name in names:
            deeper = level.kids.get(name)
            if deeper is None:
                break
            if deeper.own is not None:
                return True
            level = deeper
        else:
            return tree or self.version != mark
        if level.leaves:
            at = level.depth + 1
            if (key if at == len(names) else _text(names[:at])) in level.leaves:
                return True
        return self.version != mark

    def covering(self, key: str) -> list[Lock]:
        """The locks rooted at `key` or at an ancestor of it, from the top."""
        found: list[Lock] = []
        level = self.top
        names = names_of(key)
        for name in names:
            deeper = level.kids.get(name)
            if deeper is None:
                break
            if deeper.own is not None:
                found += listed(deeper.own)
            level = deeper
        else:
            return found
        if level.leaves:
            at = level.depth + 1
            found += listed(level.leaves.get(key if at == len(names) else _text(names[:at])))
        return found

    def at(self, key: str) -> tuple[Lock, ...]:
        """The locks rooted at `key` itself."""
        *above, last = names_of(key)
        level = self._level(above)
        if level is None:
            return ()
        own = level.kids.get(last)
        return listed(level.leaves.get(key) if own is None else own.own)

    def _level(self, names: Names) -> Level | None:
        level: Level | None = self.top
        for name in names:
            if level is None:
                return None
            level = level.kids.get(name)
        return level

    def below(self, key: str) -> Iterator[tuple[Lock, ...]]:
        """The locks rooted at `key` or below it, root by root, in no order; to be read as far as wanted."""
        if own := self.at(key):
            yield own
        level = self._level(names_of(key))
        stack = [] if level is None else [iter((level,))]
        while stack:
            for level in stack[-1]:
                for rows in level.leaves.values():
                    yield listed(rows)
                for deeper in level.kids.values():
                    if deeper.own is not None:
                        yield listed(deeper.own)
                stack.append(iter(level.kids.values()))
                break
            else:
                stack.pop()

    def ordered(self, key: str, after: str = "") -> Iterator[tuple[Lock, ...]]:
        """As `below`, in the order of the keys as strings, from the key `after` on."""
        if key >= after and (own := self.at(key)):
            yield own
        level = self._level(names_of(key))
        stack = [] if level is None else [_ascending(level, "" if key == "/" else key, after)]
        while stack:
            for text, inner, rows in stack[-1]:
                if inner is not None:
                    stack.append(_ascending(inner, text, after))
                    break
                yield listed(rows)
            else:
                stack.pop()

    def add(self, lock: Lock) -> None:
        """Enter `lock`, or put it in the place of the row with its token at the same key."""
        *above, last = names_of(lock.key)
        level = self.top
        for name in above:
            level = level.kids.get(name) or _grown(level, name, _text(above[: level.depth + 1]))
        inner = level.kids.get(last)
        if inner is None:
            level.keep(lock.key, _with(level.leaves.get(lock.key), lock))
        else:
            inner.own = _with(inner.own, lock)

    def remove(self, lock: Lock) -> None:
        """Take out `lock`, which is in the tree, and every level that is empty then."""
        *above, last = names_of(lock.key)
        path = [self.top]
        for name in above:
            path.append(path[-1].kids[name])
        level = path[-1]
        inner = level.kids.get(last)
        if inner is not None:
            inner.own = _without(inner.own, lock)
            return
        rows = _without(level.leaves[lock.key], lock)
        if rows is not None:
            level.leaves[lock.key] = rows
        else:
            del level.leaves[lock.key]
            _prune(path, above)


def _grown(level: Level, name: str, key: str) -> Level:
    """The new level of `key` under `level`; what was a leaf there is its own now."""
    deeper = Level(level.depth + 1, level.leaves.get(key))
    level.lead(name, deeper)
    level.leaves.pop(key, None)
    return deeper


def _prune(path: list[Level], names: list[str]) -> None:
    """Take out the levels of `path` that have become empty, from the end; `names` lead along it."""
    for depth in range(len(names), 0, -1):
        level, above = path[depth], path[depth - 1]
        if level.kids or level.leaves:
            return
        if level.own is not None:
            above.keep(_text(names[:depth]), level.own)
        del above.kids[names[depth - 1]]


def _ascending(level: Level, prefix: str, after: str) -> Iterator[tuple[str, Level | None, Rows | None]]:
    """What lies directly under `level` in the order of strings, in chunks: a big level is never sorted whole.

    A key's own rows sort as the key, what is below it as key + "/": "/a" < "/a!" < "/a/b". prefix: the text of
    `level`, none for the root.
    """
    start = len(prefix) + 1
    last, size = ("", False), CHUNK
    while True:
        chunk = nsmallest(size, (entry for entry in _entries(level, prefix, after) if entry > last))
        for text, inside in chunk:
            if inside:
                yield text[:-1], level.kids[text[start:-1]], None
            else:
                rows = level.leaves.get(text)
                yield text, None, level.kids[text[start:]].own if rows is None else rows
        if len(chunk) < size:
            return
        last, size = chunk[-1], size * 4


def _entries(level: Level, prefix: str, after: str) -> Iterator[tuple[str, bool]]:
    for key in level.leaves:
        if key >= after:
            yield key, False
    for name, inner in level.kids.items():
        text = f"{prefix}/{name}"
        if inner.own is not None and text >= after:
            yield text, False
        inside = text + "/"
        if inside >= after or after.startswith(inside):
            yield inside, True
