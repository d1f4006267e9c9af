"""The store on SQLite: durable, for the processes of one host. `store.py` is the door.

`file.py` opens the file and lends connections, `schema.py` says what is in it, `reading.py` finds what a query asks
for, `writing.py` carries an outcome out, `turn.py` is the queue of those who write, `clock.py` the time that all
processes of the host agree on, `board.py` the permits.

Knows: which of its parts others may use.
Must not know: anything else.
"""

from locklib.stores.sqlite.file import url_of_path
from locklib.stores.sqlite.store import AsyncSqliteLockStore, SqliteLockStore

__all__ = ["AsyncSqliteLockStore", "SqliteLockStore", "url_of_path"]
