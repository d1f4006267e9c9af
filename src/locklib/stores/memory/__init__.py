"""The store in memory: `store.py` is the door; `table.py` holds the rows of a namespace, `board.py` the permits.

Knows: which of its parts others may use.
Must not know: anything else.
"""

from locklib.stores.memory.store import AsyncMemoryLockStore, MemoryLockStore

__all__ = ["AsyncMemoryLockStore", "MemoryLockStore"]
