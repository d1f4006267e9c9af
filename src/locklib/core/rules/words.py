"""What the rules speak of: methods and what they touch, who asks, what is shown, what can follow. Tables first.

Knows: RFC 4918 sections 7 and 9, as tables. Must not know: what follows from a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from locklib.core.conditions import HOLDS, Target, Verdict, evaluate
from locklib.core.if_header import IfHeader
from locklib.core.model import (
    Fact,
    Held,
    Lock,
    Principal,
    Refusal,
    Snapshot,
)


class Membership(Enum):
    """When a method needs the lock on the collection that its URL is a member of (RFC 4918 section 7.4)."""

    NEVER = 0
    IF_UNMAPPED = 1
    ALWAYS = 2


class Touch(NamedTuple):
    """What a method does to one URL: whether it takes the whole tree, and whether it changes the parent's members."""

    tree: bool = False
    membership: Membership = Membership.IF_UNMAPPED


SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that need no lock. Every other method is a write, known or not (RFC 4918 section 7)."""

READS = SAFE - {"OPTIONS", "TRACE", "PROPFIND"}
"""Methods that a lock with `blocks_reads` refuses, on routes that guard reads; COPY reads its source as well."""

NEEDS: Mapping[str, tuple[Touch | None, Touch | None]] = MappingProxyType(
    {
        # method: (what it does to its URL, what it does to its Destination)
        "MKCOL": (Touch(membership=Membership.ALWAYS), None),  # 7.5, 9.3
        "MKCALENDAR": (Touch(membership=Membership.ALWAYS), None),  # RFC 4791 5.3.1
        "PROPPATCH": (Touch(membership=Membership.NEVER), None),  # 7.1
        "DELETE": (Touch(tree=True, membership=Membership.ALWAYS), None),  # 7.5, 9.6
        "COPY": (None, Touch(tree=True, membership=Membership.ALWAYS)),  # 7.6, 9.8
        "MOVE": (Touch(tree=True, membership=Membership.ALWAYS), Touch(tree=True, membership=Membership.ALWAYS)),
    }
)
WRITE_NEEDS: tuple[Touch | None, Touch | None] = (Touch(), None)  # PUT, POST, PATCH and whatever else is not safe


class Creation(NamedTuple):
    """A URL that the request may create: `parents` (keys) gain a member if `path` is unmapped."""

    path: str
    parents: tuple[str, ...]


class Need(NamedTuple):
    """What a request touches, as canonical keys. reads, read_trees: there only locks that block reads matter."""

    keys: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    creations: tuple[Creation, ...] = ()
    reads: tuple[str, ...] = ()
    read_trees: tuple[str, ...] = ()

    def __or__(self, other: Need) -> Need:
        """The stricter of both: everything that either touches."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        return Need(
            tuple(dict.fromkeys(self.keys + other.keys)),
            tuple(dict.fromkeys(self.trees + other.trees)),
            tuple(dict.fromkeys(self.memberships + other.memberships)),
            tuple(dict.fromkeys(self.creations + other.creations)),
            tuple(dict.fromkeys(self.reads + other.reads)),
            tuple(dict.fromkeys(self.read_trees + other.read_trees)),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is touched at all."""
        return self == NO_NEED

    @property
    def writes(self) -> bool:
        return bool(self.keys or self.trees or self.memberships or self.creations)

    @property
    def seen(self) -> tuple[str, ...]:
        """All keys that a snapshot must show, each with its ancestors."""
        created = (parent for creation in self.creations for parent in creation.parents)
        return tuple(dict.fromkeys((*self.keys, *self.trees, *self.memberships, *created, *self.reads)))


NO_NEED = Need()


class Asker(NamedTuple):
    """Who asks. bypass: administrative locks open for this principal."""

    principal: Principal | None = None
    bypass: bool = False

    @property
    def name(self) -> str | None:
        return None if self.principal is None else self.principal.name


def _nowhere(tag: str | None) -> Target | None:
    return None


class Submission(NamedTuple):
    """What the request shows: its `If`, every token in it, and who shows it.

    locate: the target of a Resource-Tag (see `conditions.evaluate`). trusting: keys on which a lock of the same creator
    opens without its token (quirk "explorer"). jitter: see `refusing.retry_after`. resource: the URL path as addressed.
    by_code: not a client's request but the house's own (`Locks`).
    """

    asker: Asker
    resource: str
    tokens: tuple[str, ...] = ()
    header: IfHeader | None = None
    locate: Callable[[str | None], Target | None] = _nowhere
    trusting: tuple[str, ...] = ()
    jitter: float = 0.0
    by_code: bool = False

    def verdict(self, snapshot: Snapshot, facts: Mapping[str, Fact]) -> Verdict:
        return HOLDS if self.header is None else evaluate(self.header, self.locate, snapshot, facts)


class Admitted(NamedTuple):
    """The write may pass. `submitted` are the live locks that opened for it."""

    submitted: tuple[Held, ...] = ()


class NeedFacts(NamedTuple):
    """The rule hangs on what the application says of these paths; run it again with their facts."""

    paths: tuple[str, ...]


class NeedMore:
    """The limit of the query hid rows that matter; run it again without."""

    __slots__ = ()


class Granted(NamedTuple):
    """The lock is held (or, pending, will be). `remaining` is its life in seconds."""

    lock: Lock
    remaining: float
    others: tuple[Held, ...] = ()
    again: bool = False


Admission: TypeAlias = Admitted | Refusal | NeedFacts | NeedMore
Renewal: TypeAlias = Granted | Refusal | NeedFacts
Acquisition: TypeAlias = Renewal | NeedMore
NO_FACTS: Mapping[str, Fact] = MappingProxyType({})
