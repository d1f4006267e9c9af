"""What tests of stores and rules are made of; shipped, so that a store of your own is held to the same promise.

Knows: where `StoreContract` and the adversary live, and that the contract's assertions read better rewritten by pytest.
Must not know: a store, a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locklib.testing.adversary import AdversaryStore, AsyncAdversaryStore
    from locklib.testing.contract import Clock, Kit, StoreContract

__all__ = ["AdversaryStore", "AsyncAdversaryStore", "Clock", "Kit", "StoreContract"]

_HOMES = {
    "AdversaryStore": "locklib.testing.adversary",
    "AsyncAdversaryStore": "locklib.testing.adversary",
    "Clock": "locklib.testing.contract",
    "Kit": "locklib.testing.contract",
    "StoreContract": "locklib.testing.contract",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'locklib.testing' has no attribute {name!r}")
    import sys  # noqa: PLC0415 - only when a name is first asked for
    from importlib import import_module  # noqa: PLC0415

    if home == "locklib.testing.contract" and home not in sys.modules:
        import pytest  # noqa: PLC0415 - a test dependency, and only the contract needs it

        pytest.register_assert_rewrite(home)
    return getattr(import_module(home), name)
