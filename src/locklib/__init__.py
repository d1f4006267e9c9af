"""locklib: locks enforced on the path of the write.

The public names, looked up when they are first used (PEP 562), so that `import locklib` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers take it; `typing` itself is dearer than all that is done here
if TYPE_CHECKING:
    from typing import Any

    from locklib.core.disclosing import Disclosure
    from locklib.core.model import Depth, Fact, Held, Lock, Principal, Purpose, Refusal, Scope
    from locklib.core.paths import Folding
    from locklib.core.policy import Mode, Policy, Route, Timeouts
    from locklib.errors import ConfigurationError, LockError, LockRefused, StoreUnavailable
    from locklib.locks import AsyncLocks, Locks
    from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
    from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore

__version__ = "0.1.0.dev0"

_HOMES = {
    "AsyncLocks": "locklib.locks",
    "AsyncMemoryLockStore": "locklib.stores.memory",
    "AsyncSqliteLockStore": "locklib.stores.sqlite",
    "ConfigurationError": "locklib.errors",
    "Depth": "locklib.core.model",
    "Disclosure": "locklib.core.disclosing",
    "Fact": "locklib.core.model",
    "Folding": "locklib.core.paths",
    "Held": "locklib.core.model",
    "Lock": "locklib.core.model",
    "LockError": "locklib.errors",
    "LockRefused": "locklib.errors",
    "Locks": "locklib.locks",
    "MemoryLockStore": "locklib.stores.memory",
    "Mode": "locklib.core.policy",
    "Policy": "locklib.core.policy",
    "Principal": "locklib.core.model",
    "Purpose": "locklib.core.model",
    "Refusal": "locklib.core.model",
    "Route": "locklib.core.policy",
    "Scope": "locklib.core.model",
    "SqliteLockStore": "locklib.stores.sqlite",
    "StoreUnavailable": "locklib.errors",
    "Timeouts": "locklib.core.policy",
}

__all__ = [
    "AsyncLocks",
    "AsyncMemoryLockStore",
    "AsyncSqliteLockStore",
    "ConfigurationError",
    "Depth",
    "Disclosure",
    "Fact",
    "Folding",
    "Held",
    "Lock",
    "LockError",
    "LockRefused",
    "Locks",
    "MemoryLockStore",
    "Mode",
    "Policy",
    "Principal",
    "Purpose",
    "Refusal",
    "Route",
    "Scope",
    "SqliteLockStore",
    "StoreUnavailable",
    "Timeouts",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'locklib' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when a name is first asked for

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
