"""The locks of a namespace by key: which are at or above a key, which are at or below it.

Knows: `Lock.key`, `Lock.token`, and which key is above another (`core.paths.parent`).
Must not know: expiry, a lock rule, a mutex (writers hold one outside; `near` needs none).

Theory of operation. A *level* holds what lies directly under one key: `kids["/a"] = {"/a/b": rows, ...}`, full keys,
so that a lock costs one entry in one level and no string of its own. A key is in its level if a lock is rooted at it
(its rows) or below it (None); a level that is empty is gone. So a walk from the top stops at the first segment under
which nothing is locked, and "is anything below?" is one look for a level.

A reader without the mutex walks between two readings of `version`, which is odd while a change is carried out: a walk
during which something moved answers True, the hint that sends the asker the general way.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final, TypeAlias, cast

from locklib.core.model import Lock
from locklib.core.paths import parent as parent_of

__all__ = ["Tree"]

Rows: TypeAlias = Lock | dict[str, Lock]
Level: TypeAlias = dict[str, Rows | None]

CHUNK = 256
_MISSING: Final = cast(Rows, object())


def listed(rows: Rows | None) -> tuple[Lock, ...]:
    """The locks of one key: most keys have none or one, and that one is kept bare."""
    if rows is None:
        return ()
    return tuple(rows.values()) if isinstance(rows, dict) else (rows,)


class Tree:
    """An index of locks by key. `add` and `remove` belong to a writer that holds the mutex."""

    __slots__ = ("kids", "tops", "version")

    def __init__(self) -> None:
        self.tops: Level = {}
        self.kids: dict[str, Level] = {}
        self.version: int = 0

    def near(self, key: str, tree: bool = False) -> bool:
        """False only if no lock is rooted at `key` or above it nor, with `tree`, below it. Takes no mutex."""
        mark = self.version
        if mark & 1:
            return True
        kids = self.kids
        level = self.tops
        cut = 1 if key[:1] == "/" else key.find("/", 1)
        while 0 < cut < len(key):
            above = key[:cut]
            rows = level.get(above, _MISSING)
            if rows is not None:
                return rows is not _MISSING or self.version != mark
            deeper = kids.get(above)
            if deeper is None:  # pruned since the look into `level`
                return self.version != mark
            level = deeper
            cut = key.find("/", cut + 1)
        rows = level.get(key, _MISSING)
        if rows is None:
            return tree or self.version != mark
        return rows is not _MISSING or self.version != mark

    def covering(self, key: str) -> list[Lock]:
        """The locks rooted at `key` or at an ancestor of it, from the top."""
        found: list[Lock] = []
        level = self.tops
        cut = 1 if key[:1] == "/" else key.find("/", 1)
        while 0 < cut < len(key):
            above = key[:cut]
            rows = level.get(above, _MISSING)
            if rows is _MISSING:
                return found
            if rows is not None:
                found += listed(rows)
            if above not in self.kids:
                return found
            level = self.kids[above]
            cut = key.find("/", cut + 1)
        found += listed(level.get(key))
        return found

    def at(self, key: str) -> tuple[Lock, ...]:
        """The locks rooted at `key` itself."""
        parent = parent_of(key)
        level = self.tops if parent is None else self.kids.get(parent)
        return () if level is None else listed(level.get(key))

    def below(self, key: str) -> Iterator[tuple[Lock, ...]]:
        """The locks rooted at `key` or below it, root by root, in no order; to be read as far as wanted."""
        if own := self.at(key):
            yield own
        stack = [iter(self.kids.get(key, {}).items())]
        while stack:
            for child, rows in stack[-1]:
                if rows is not None:
                    yield listed(rows)
                level = self.kids.get(child)
                if level is not None:
                    stack.append(iter(level.items()))
                    break
            else:
                stack.pop()

    def ordered(self, key: str, after: str = "") -> Iterator[tuple[Lock, ...]]:
        """As `below`, in the order of the keys as strings, from the key `after` on."""
        if key >= after and (own := self.at(key)):
            yield own
        stack = [self._ascending(key, after)]
        while stack:
            for text, is_level in stack[-1]:
                if is_level:
                    stack.append(self._ascending(text[:-1], after))
                    break
                yield self.at(text)
            else:
                stack.pop()

    def _ascending(self, key: str, after: str) -> Iterator[tuple[str, bool]]:
        """What lies directly under `key` in the order of strings, in chunks: a big level is never sorted whole.

        A child's own rows sort as the child, what is below it as child + "/": "/a" < "/a!" < "/a/b".
        """
        last, size = ("", False), CHUNK
        while True:
            chunk = nsmallest(size, (entry for entry in self._entries(key, after) if entry > last))
            yield from chunk
            if len(chunk) < size:
                return
            last, size = chunk[-1], size * 4

    def _entries(self, key: str, after: str) -> Iterator[tuple[str, bool]]:
        for child, rows in self.kids.get(key, {}).items():
            if rows is not None and child >= after:
                yield child, False
            if child in self.kids:
                inside = child + "/"
                if inside >= after or after.startswith(inside):
                    yield inside, True

    def add(self, lock: Lock) -> None:
        """Enter `lock`, or put it in the place of the row with its token at the same key."""
        level = self._level(lock.key)
        rows = level.get(lock.key)
        if rows is None:
            level[lock.key] = lock
        elif isinstance(rows, dict):
            rows[lock.token] = lock
        elif rows.token == lock.token:
            level[lock.key] = lock
        else:
            level[lock.key] = {rows.token: rows, lock.token: lock}

    def _level(self, key: str) -> Level:
        parent = parent_of(key)
        if parent is None:
            return self.tops
        level = self.kids.get(parent)
        if level is None:
            level = self.kids[parent] = {}
            self._link(parent)
        return level

    def _link(self, key: str) -> None:
        """Make `key` reachable from the top."""
        while (parent := parent_of(key)) is not None:
            level = self.kids.get(parent)
            if level is not None:
                level.setdefault(key, None)
                return
            self.kids[parent] = {key: None}
            key = parent
        self.tops.setdefault(key, None)

    def remove(self, lock: Lock) -> None:
        """Take out `lock`, which is in the tree, and every level that is empty then."""
        key = lock.key
        parent = parent_of(key)
        level = self.tops if parent is None else self.kids[parent]
        rows = level[key]
        if isinstance(rows, dict):
            del rows[lock.token]
            if len(rows) == 1:
                level[key] = next(iter(rows.values()))
        elif key in self.kids:
            level[key] = None
        else:
            del level[key]
            self._prune(parent, level)

    def _prune(self, parent: str | None, level: Level) -> None:
        while parent is not None and not level:
            del self.kids[parent]
            key, parent = parent, parent_of(parent)
            level = self.tops if parent is None else self.kids[parent]
            if level[key] is not None:
                return
            del level[key]
