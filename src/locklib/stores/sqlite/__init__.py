"""The store on SQLite: durable, for the processes of one host. `store.py` is the door.

`units.py` is the order in which things are done. `place.py` says where the file may lie, `file.py` opens it and lends
connections, `schema.py` says what is in it, `reading.py` finds what a query asks for, `writing.py` carries an outcome
out. `turn.py` is the queue of those who write, `clock.py` the time that all processes of the host agree on, `board.py`
has the permits, in the `segments.py` of shared memory.

Knows: which of its parts others may use.
Must not know: anything else.
"""

from locklib.stores.sqlite.place import url_of_path
from locklib.stores.sqlite.store import AsyncSqliteLockStore, SqliteLockStore

__all__ = ["AsyncSqliteLockStore", "SqliteLockStore", "url_of_path"]
