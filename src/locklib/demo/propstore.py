"""Dead properties, kept in one SQLite file (RFC 4918 sections 4.3 and 9.2).

Knows: keys (`a/b`, decoded, no slash at either end, "" is the root), property names, property values as XML text.
Must not know: files, HTTP, what a property means.

Law: a change of the tree happens inside `changing()`. The unit is one BEGIN IMMEDIATE, so it also serves as the one
lock of all writers, over threads and processes; when the step on the file system fails, the properties roll back.
Each unit opens its own connection: none is shared by threads, none is carried over a fork.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["Name", "Properties", "PropertyStore"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS property (
    key TEXT NOT NULL, namespace TEXT NOT NULL, local TEXT NOT NULL, xml TEXT NOT NULL,
    PRIMARY KEY (key, namespace, local)
) WITHOUT ROWID
"""
# The keys under `a` are those from `a/` up to, but without, `a0`: "0" is the character after "/".
UNDER = "(key = :key OR (key >= :key || '/' AND key < :key || '0'))"
PATIENCE_S = 30.0


class Name(NamedTuple):
    """The name of an element or a property: namespace name ("" for none) and local name."""

    namespace: str
    local: str


class Properties:
    """The dead properties as one unit sees them. Got from `PropertyStore.reading` or `.changing`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute

    def of(self, key: str) -> dict[Name, str]:
        """All properties of one resource: name -> the property element as XML text."""
        rows = self._run("SELECT namespace, local, xml FROM property WHERE key = ? ORDER BY 1, 2", (key,))
        return {Name(namespace, local): xml for namespace, local, xml in rows}

    def set(self, key: str, name: Name, xml: str) -> None:
        self._run("REPLACE INTO property VALUES (?, ?, ?, ?)", (key, *name, xml))

    def remove(self, key: str, name: Name) -> None:
        """Forget one property; one that is not there is no error (RFC 4918 section 14.23)."""
        self._run("DELETE FROM property WHERE key = ? AND namespace = ? AND local = ?", (key, *name))

    def forget(self, key: str) -> None:
        """Forget all properties of a resource and of what is under it."""
        self._run(f"DELETE FROM property WHERE {UNDER}", {"key": key})  # noqa: S608 - a constant of this module

    def move(self, source: str, target: str) -> None:
        """Give the properties at and under `source` to `target`, whose own are forgotten."""
        self.forget(target)
        self._run(
            f"UPDATE property SET key = :target || substr(key, :cut) WHERE {UNDER}",  # noqa: S608
            {"key": source, "target": target, "cut": len(source) + 1},
        )

    def copy(self, source: str, target: str, *, deep: bool) -> None:
        """Copy the properties of `source` (with `deep`, of all under it too) to `target`, whose own are forgotten."""
        self.forget(target)
        self._run(
            "INSERT INTO property SELECT :target || substr(key, :cut), namespace, local, xml FROM property "  # noqa: S608
            f"WHERE {UNDER if deep else 'key = :key'}",
            {"key": source, "target": target, "cut": len(source) + 1},
        )


class PropertyStore:
    """The file that holds the dead properties. Safe to use from many threads and processes.

    Raises `sqlite3.OperationalError` where the file cannot be used, or was busy for half a minute.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = threading.Lock()  # threads of this process queue here: SQLite itself would make them sleep
        with self._connected() as connection:
            connection.execute(SCHEMA)

    @contextmanager
    def reading(self) -> Iterator[Properties]:
        """A look at the properties; several reads may see several states."""
        with self._connected() as connection:
            yield Properties(connection)

    @contextmanager
    def changing(self) -> Iterator[Properties]:
        """One change of the tree, alone: committed at the end, rolled back when the block raises."""
        with self._turn, self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield Properties(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=PATIENCE_S, isolation_level=None)) as connection:
            yield connection
