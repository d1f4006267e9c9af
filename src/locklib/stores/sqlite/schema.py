"""What is in the file: tables, indexes, and the way from each version of them to the next.

Knows: SQL.
Must not know: a lock rule. Nothing here decides; the triggers count rows, whoever writes them.

`namespace`, `key` and `token` name a lock; a key sorts byte by byte, which for UTF-8 is the order of Python's strings.
Durations and instants are seconds; `expires_at` is Infinity where a lock has no end. `details` is JSON, NULL for the
common lock (`core.model.Details`). Whoever looks with the `sqlite3` program finds readable rows.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "MIGRATIONS", "VERSION"]

APPLICATION_ID = 0x6C6F636B
"""The mark in the header of the file, by which another program's database is told from ours."""

_FIRST = (
    """
    CREATE TABLE locks (
        namespace TEXT NOT NULL, key TEXT NOT NULL, token TEXT NOT NULL,
        depth TEXT NOT NULL, scope TEXT NOT NULL, purpose TEXT NOT NULL, creator TEXT,
        timeout REAL NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL, fence INTEGER NOT NULL,
        details TEXT,
        PRIMARY KEY (namespace, key, token)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX locks_by_token ON locks (namespace, token)",
    "CREATE INDEX locks_by_end ON locks (expires_at)",
    # How many locks there are, of each creator (x'' stands for none) and in all (x'2A').
    """
    CREATE TABLE held (
        namespace TEXT NOT NULL, creator NOT NULL, locks INTEGER NOT NULL, PRIMARY KEY (namespace, creator)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER locks_came AFTER INSERT ON locks BEGIN
        INSERT INTO held VALUES (NEW.namespace, ifnull(NEW.creator, x''), 1), (NEW.namespace, x'2A', 1)
            ON CONFLICT (namespace, creator) DO UPDATE SET locks = locks + 1;
    END
    """,
    """
    CREATE TRIGGER locks_went AFTER DELETE ON locks BEGIN
        UPDATE held SET locks = locks - 1
            WHERE namespace = OLD.namespace AND creator IN (ifnull(OLD.creator, x''), x'2A');
        DELETE FROM held
            WHERE namespace = OLD.namespace AND creator IN (ifnull(OLD.creator, x''), x'2A') AND locks <= 0;
    END
    """,
    """
    CREATE TRIGGER locks_changed_hands AFTER UPDATE OF namespace, creator ON locks BEGIN
        UPDATE held SET locks = locks - 1
            WHERE namespace = OLD.namespace AND creator IN (ifnull(OLD.creator, x''), x'2A');
        INSERT INTO held VALUES (NEW.namespace, ifnull(NEW.creator, x''), 1), (NEW.namespace, x'2A', 1)
            ON CONFLICT (namespace, creator) DO UPDATE SET locks = locks + 1;
        DELETE FROM held
            WHERE namespace = OLD.namespace AND creator IN (ifnull(OLD.creator, x''), x'2A') AND locks <= 0;
    END
    """,
    """
    CREATE TABLE tombstones (
        number INTEGER PRIMARY KEY, namespace TEXT NOT NULL, token TEXT NOT NULL, key TEXT NOT NULL, root TEXT NOT NULL,
        creator TEXT, ended TEXT NOT NULL, "by" TEXT, reason TEXT, request TEXT, at REAL NOT NULL,
        UNIQUE (namespace, token)
    )
    """,
    "CREATE INDEX tombstones_of_creator ON tombstones (namespace, creator, number)",
    """
    CREATE TABLE tickets (
        number INTEGER PRIMARY KEY, namespace TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL, creator TEXT,
        lasts REAL NOT NULL, deadline REAL NOT NULL,
        UNIQUE (namespace, id)
    )
    """,
    "CREATE INDEX tickets_of_key ON tickets (namespace, key, number)",
    "CREATE INDEX tickets_by_deadline ON tickets (deadline)",
    """
    CREATE TABLE notes (
        number INTEGER PRIMARY KEY, at REAL NOT NULL, namespace TEXT NOT NULL, event TEXT NOT NULL, key TEXT NOT NULL,
        "by" TEXT, detail TEXT
    )
    """,
    # One row: the last fence; the boot of the host and what to add to its clock for the time; the latest time seen.
    """
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1), fence INTEGER NOT NULL,
        boot TEXT NOT NULL, shift REAL NOT NULL, latest REAL NOT NULL
    )
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""The statements that make version n + 1 out of version n. Released ones are never changed."""

VERSION = len(MIGRATIONS)
