"""What the application finds under `scope["locklib"]` and `environ["locklib"]`.

Knows: what was submitted with this request, the fence, and the way to the middleware's own locks.
Must not know: how either was found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locklib.core.model import Held, Lock, Refusal
from locklib.core.moves import Head, Proceed
from locklib.core.policy import Policy

if TYPE_CHECKING:
    from locklib.locks import AsyncLocks, Locks

__all__ = ["LockState"]


class LockState:
    """The locks' side of one request, as the application sees it.

    submitted: the live locks whose tokens this request showed as their creator. fence: a number that grows with each
    grant; in mode *fence* a resource keeps the highest it has seen, and refuses a smaller one. refusal: on an advisory
    or fail-open route, why the request would have been refused. if_header: the original `If` lines, which are consumed.
    locks: the middleware's own `Locks` (WSGI) or `AsyncLocks` (ASGI), for code.
    """

    __slots__ = ("_policy", "_store", "fence", "if_header", "refusal", "submitted")

    def __init__(
        self,
        store: Any,
        policy: Policy,
        *,
        submitted: tuple[Lock, ...] = (),
        fence: int = 0,
        refusal: Refusal | None = None,
        if_header: tuple[str, ...] = (),
    ) -> None:
        self._store = store
        self._policy = policy
        self.submitted: tuple[Lock, ...] = submitted
        self.fence: int = fence
        self.refusal: Refusal | None = refusal
        self.if_header: tuple[str, ...] = if_header

    @classmethod
    def plain(cls, store: Any, policy: Policy) -> LockState:
        """The state of a request that shows nothing and met nothing; one object serves them all."""
        return cls(store, policy)

    def of(self, proceed: Proceed, head: Head) -> LockState:
        locks = tuple(_lock(held) for held in proceed.submitted)
        return LockState(
            self._store,
            self._policy,
            submitted=locks,
            fence=proceed.fence,
            refusal=proceed.refusal,
            if_header=head.fields.get("if", ()),
        )

    @property
    def locks(self) -> Locks | AsyncLocks:
        """`AsyncLocks` under ASGI, `Locks` under WSGI, on the middleware's store and policy."""
        from locklib.locks import locks_on  # noqa: PLC0415 - only for applications that ask

        return locks_on(self._store, self._policy)


def _lock(held: Held) -> Lock:
    return held.lock
