"""The words between `exchange` and the shells: what a request looks like, and the next thing to do about it.

Knows: the moves, each a frozen value with a pure function `then` that turns its result into the next move.
Must not know: how a move is carried out (`asgi`, `wsgi`), which one comes next (`exchange`).

A permit that an Act has published, and its store has kept, belongs to the request: the shell ends it when the request
is over, which is, if the application was called, when its call has returned.

Interruption: a move may carry `undo`, a pair for the store. A shell that is interrupted (cancelled, an exception, a
client gone) while it carries out such a move runs `undo` before it leaves. So nothing half done stays behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from locklib.core.model import Fact, Held, Lock, Permit, Principal, Query, Refusal, Step

__all__ = [
    "Act",
    "Amend",
    "Answer",
    "Ask",
    "Call",
    "Chosen",
    "Head",
    "Look",
    "Move",
    "Next",
    "Piece",
    "Proceed",
    "Read",
    "Reply",
    "Undo",
    "Wait",
]

N_co = TypeVar("N_co", covariant=True)
NO_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
Headers: TypeAlias = tuple[tuple[str, str], ...]
Undo: TypeAlias = tuple[Query, Step[Any]]


class Head(NamedTuple):
    """The head of a request, the same from ASGI and WSGI.

    method: upper case. path: decoded, mount prefix included. mount: root_path or SCRIPT_NAME. query: raw. fields: field
    lines by lower-case name, each line by itself. host: the Host field, or the server's own name. peer: the client's
    address, for logs.
    """

    method: str
    path: str
    mount: str = ""
    query: str = ""
    fields: Mapping[str, tuple[str, ...]] = NO_FIELDS
    host: str = ""
    peer: str = ""
    principal: Principal | None = None

    def first(self, name: str) -> str | None:
        lines = self.fields.get(name)
        return lines[0] if lines else None


class Chosen(NamedTuple):
    """The values that a request needs from outside: chosen once by the shell, for the core knows no randomness.

    token: the lock token that a LOCK of this request would get. id: of this request, and of its permit. jitter: [0, 1).
    """

    token: str
    id: str
    jitter: float = 0.0


class Answer(NamedTuple):
    """An answer of the application, or one of ours: status, header fields and the (bounded) body."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Act(Generic[N_co]):
    """Run `step` on `query` in the store; `down` is what follows where the store cannot answer.

    N_co is what follows: the next move, or, for an Amend, bytes. Not a named tuple, for of a generic one type checkers
    lose N_co when a `match` narrows it.
    """

    __slots__ = ("down", "query", "step", "then", "undo")

    def __init__(
        self,
        query: Query,
        step: Step[Any],
        then: Callable[[Any], N_co],
        down: Callable[[], N_co],
        undo: Undo | None = None,
    ) -> None:
        self.query: Query = query
        self.step: Step[Any] = step
        self.then: Callable[[Any], N_co] = then
        self.down: Callable[[], N_co] = down
        self.undo: Undo | None = undo

    def _replace(self, **changes: Any) -> Act[N_co]:
        return Act(**{name: getattr(self, name) for name in self.__slots__} | changes)


class Look(NamedTuple):
    """Ask the board for the permits older than `lock`; `then` gets a tuple of Permit."""

    namespace: str
    lock: Lock
    then: Callable[[tuple[Permit, ...]], Next]
    down: Callable[[], Next]
    undo: Undo | None = None


class Wait(NamedTuple):
    """Wait until the permits `ids` have ended, at most `seconds`; `then` gets those that have not."""

    ids: tuple[str, ...]
    seconds: float
    then: Callable[[frozenset[str]], Next]
    undo: Undo | None = None


class Ask(NamedTuple):
    """Ask the user's `resources` callable about `paths` (decoded); `then` gets a Fact for each."""

    paths: tuple[str, ...]
    then: Callable[[Mapping[str, Fact]], Next]
    undo: Undo | None = None


class Call(NamedTuple):
    """Call the application with a request of ours, in the name of the caller.

    It carries the caller's own fields less those that ask about the body or the state (`If`, ranges, conditions), plus
    `headers`. path: decoded, mount included. body_limit: how much of the answer's body is kept; the rest is not read.
    """

    method: str
    path: str
    then: Callable[[Answer], Next]
    headers: Headers = ()
    body_limit: int = 0
    undo: Undo | None = None


class Read(NamedTuple):
    """Read the request's body, at most `limit` bytes; what was read is replayed if the application is called.

    `then` gets the body, or None if it is larger; `late` is the move where it did not come in time.
    """

    limit: int
    then: Callable[[bytes | None], Next]
    late: Callable[[], Next]


class Reply(NamedTuple):
    """Answer the client; the application is not called. `refusal` is for the log and for advisory routes."""

    answer: Answer
    refusal: Refusal | None = None


class Amend(Protocol):
    """What is changed in an application's answer on its way out (OPTIONS, PROPFIND, `echo_token`)."""

    def start(self, status: int, headers: Headers) -> Headers:
        """The header fields to send instead."""

    def feed(self, chunk: bytes, more: bool) -> Piece:
        """The bytes to send for `chunk`; an Act is carried out first, and its `then` gives bytes or the next Act."""


class Proceed(NamedTuple):
    """Let the request through to the application.

    submitted, fence: handed to the application under `locklib`. settle: given the status, the move to make before the
    answer goes out; the last one is None. amend: see `Amend`. drop: lower-case names of request fields that are
    consumed; add: fields in their place. refusal: why it would have been refused, on an advisory or fail-open route.
    """

    submitted: tuple[Held, ...] = ()
    fence: int = 0
    settle: Callable[[int], Next] | None = None
    amend: Amend | None = None
    drop: frozenset[str] = frozenset()
    add: Headers = ()
    refusal: Refusal | None = None


Piece: TypeAlias = "bytes | Act[Piece]"
Move: TypeAlias = "Act[Next] | Look | Wait | Ask | Call | Read | Reply | Proceed"
Next: TypeAlias = "Move | None"
"""None ends a chain that has nothing to answer: settling."""
