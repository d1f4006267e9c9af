"""The short way into one namespace, bound once: what `Nearby` says, in as few calls as a shell can make.

Knows: `Nearby`.
Must not know: how a store looks or publishes, a request, a lock rule.

A store may offer a faster form, a method `gate(namespace)`. It promises what the one made here of the three words does;
the contract suite checks one against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from locklib.errors import StoreUnavailable
from locklib.stores.base import Nearby

__all__ = ["CLOSED", "Gate", "gate_of"]


class Gate(NamedTuple):
    """The short way into one namespace. Nothing here waits.

    near(key, tree): as `Nearby.near`. enter(key, tree): publishes a plain write (with `tree`, a removal)
    of `key` and then looks: what `leave` takes if nothing is near; else, and where the store cannot, None,
    and nothing stays published.
    leave(claim, None): withdraws it, and does nothing the second time; its form is that of `dict.pop`.
    """

    near: Callable[[str, bool], bool]
    enter: Callable[[str, bool], Any]
    leave: Callable[[Any, None], object]


CLOSED = Gate(lambda key, tree: True, lambda key, tree: None, lambda claim, _: None)
"""The gate where there is no short way: anything may be near, and nobody enters."""


def gate_of(store: Nearby, namespace: str) -> Gate:
    """The store's own gate where it has one, else one of its three words."""
    own = getattr(store, "gate", None)
    return _of_words(store, namespace) if own is None else own(namespace)


def _of_words(store: Nearby, namespace: str) -> Gate:
    def near(key: str, tree: bool) -> bool:
        return store.near(namespace, key, tree)

    def enter(key: str, tree: bool) -> Any:
        try:
            claim = store.claim_now(namespace, key, tree)
        except StoreUnavailable:  # the general way meets it too, and says so to the client
            return None
        try:
            if not store.near(namespace, key, tree):
                return claim
        except BaseException:
            store.end_now(claim)
            raise
        store.end_now(claim)
        return None

    return Gate(near, enter, lambda claim, _: store.end_now(claim))
