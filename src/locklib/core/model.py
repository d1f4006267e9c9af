"""The vocabulary of locklib: what a lock is, what a store is asked, what it shows and what it is told.

Knows: the values that the rules, the stores and the shells hand to each other (RFC 4918 sections 6 and 7). All of
them are frozen; times are seconds as floats, instants are seconds since the epoch **by the store's clock**.
Must not know: how a rule decides, how a store keeps rows, what an HTTP request looks like.

They are named tuples: a request makes some twenty of them and a LOCK thirty, and one costs a third of what a frozen
dataclass does, whose module alone is a tenth of the import. So two of them are equal if their fields are, of whatever
kind they are: who may get either asks for the kind first (`isinstance`, `match`). The annotations of this module are
no texts (no `from __future__`), for `NamedTuple` compiles each that is.

The one primitive is `Step`: a pure function from a `Snapshot` to an `Outcome`, which a store runs inside its own
atomic unit. It may be run again, so it must not have an effect of its own.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from locklib.core.frozen import Frozen

__all__ = [
    "Condition",
    "Counts",
    "Depth",
    "Details",
    "Done",
    "DropUnder",
    "Ended",
    "Fact",
    "Held",
    "Lock",
    "Note",
    "Outcome",
    "Page",
    "Permit",
    "Principal",
    "Purpose",
    "Put",
    "Query",
    "Refusal",
    "Scope",
    "Snapshot",
    "Step",
    "Ticket",
    "Tombstone",
    "replace",
]

R = TypeVar("R")
V = TypeVar("V")

NOTHING_TOLD: Mapping[str, Any] = MappingProxyType({})


def replace(value: V, /, **changes: Any) -> V:
    """A copy of a frozen value of locklib with some fields changed; settings are validated anew.

    Raises ValueError or TypeError for a field that the value does not have.
    """
    changed: V = cast(Any, value)._replace(**changes)
    return changed


def _told(value: Any, hidden: str) -> str:
    """The repr of a value without the field `hidden`: what ends up in logs and traces holds no token (T12)."""
    told = (f"{name}={getattr(value, name)!r}" for name in value._fields if name != hidden)
    return f"{type(value).__name__}({', '.join(told)})"


class Scope(StrEnum):
    """Whether others may hold a lock beside this one (RFC 4918 section 6.2)."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class Depth(StrEnum):
    """Whether a lock covers its root alone or everything under it as well (RFC 4918 section 9.10.3)."""

    ZERO = "0"
    INFINITY = "infinity"


class Purpose(StrEnum):
    """Who a lock is for: a client's write, an administrator's hold, or a job at work."""

    WRITE = "write"
    ADMINISTRATIVE = "administrative"
    PROCESSING = "processing"


class Condition(StrEnum):
    """The precondition codes of RFC 4918 section 16 that locks use; the value is the element's local name."""

    LOCK_TOKEN_SUBMITTED = "lock-token-submitted"  # noqa: S105 - the name of a condition
    NO_CONFLICTING_LOCK = "no-conflicting-lock"
    LOCK_TOKEN_MATCHES_REQUEST_URI = "lock-token-matches-request-uri"  # noqa: S105 - the name of a condition
    CANNOT_MODIFY_PROTECTED_PROPERTY = "cannot-modify-protected-property"


class Ended(StrEnum):
    """How a lock came to its end, as its tombstone tells."""

    BROKEN = "broken"
    EXPIRED = "expired"
    RELEASED = "released"


class Principal(NamedTuple):
    """Who asks: the authenticated name (RFC 3744's principal) and the roles that the application gives it."""

    name: str
    roles: frozenset[str] = frozenset()


class Details(NamedTuple):
    """The rare part of a lock, kept apart so that the common lock stays small.

    `root` is the lock root as addressed (percent-encoded, RFC 14.12), only where it differs from the key.
    `owner_info` is the client's own `DAV:owner` element, as XML text in UTF-8, or plain text from a JSON client
    (`owner_is_xml` tells which). `pending` marks a lock that is committed but not yet granted: it refuses new writers
    and other locks, and is not shown.
    """

    root: str | None = None
    owner_info: str | None = None
    owner_is_xml: bool = False
    reason: str | None = None
    contact: str | None = None
    blocks_reads: bool = False
    pending: bool = False


PLAIN = Details()


class Lock(Frozen):
    """One lock (RFC 4918 section 6).

    `key` is the canonical key of the lock root; `root` gives it as addressed. `creator` is the authenticated principal
    that made it, None for a bearer lock (the token alone opens it). `timeout` is the granted duration in seconds,
    math.inf where policy allows no end; `created_at` and `expires_at` are instants by the store's clock; `fence` grows
    with each grant. `repr` leaves the token out, for it ends up in logs and traces (T12).

    It has slots and is no named tuple, for stores keep a million of them and a tuple is 16 bytes larger.
    """

    __slots__ = (
        "created_at",
        "creator",
        "depth",
        "details",
        "expires_at",
        "fence",
        "key",
        "purpose",
        "scope",
        "timeout",
        "token",
    )
    token: str
    key: str
    depth: Depth
    scope: Scope
    purpose: Purpose
    creator: str | None
    timeout: float
    created_at: float
    expires_at: float
    fence: int
    details: Details

    def __init__(  # noqa: PLR0917 - a value has as many arguments as fields
        self,
        token: str,
        key: str,
        depth: Depth = Depth.INFINITY,
        scope: Scope = Scope.EXCLUSIVE,
        purpose: Purpose = Purpose.WRITE,
        creator: str | None = None,
        timeout: float = 900.0,
        created_at: float = 0.0,
        expires_at: float = 0.0,
        fence: int = 0,
        details: Details = PLAIN,
    ) -> None:
        _set_token(self, token)
        _set_key(self, key)
        _set_depth(self, depth)
        _set_scope(self, scope)
        _set_purpose(self, purpose)
        _set_creator(self, creator)
        _set_timeout(self, timeout)
        _set_created_at(self, created_at)
        _set_expires_at(self, expires_at)
        _set_fence(self, fence)
        _set_details(self, details)

    @property
    def root(self) -> str:
        """The lock root as addressed by its creator: an absolute path, percent-encoded (RFC 4918 section 14.12)."""
        return self.key if self.details.root is None else self.details.root

    @property
    def pending(self) -> bool:
        return self.details.pending

    @property
    def exclusive(self) -> bool:
        return self.scope is Scope.EXCLUSIVE

    def __repr__(self) -> str:
        return _told(self, "token")


# By its slots a lock is filled when it is made; after that it is frozen. A loop over them takes twice as long.
(
    _set_token,
    _set_key,
    _set_depth,
    _set_scope,
    _set_purpose,
    _set_creator,
    _set_timeout,
    _set_created_at,
    _set_expires_at,
    _set_fence,
    _set_details,
) = (getattr(Lock, name).__set__ for name in Lock._fields)


class Held(NamedTuple):
    """A live lock as a snapshot shows it: the row, and the seconds it has left by the store's clock (inf: no end)."""

    lock: Lock
    remaining: float


class Tombstone(NamedTuple):
    """What is remembered of a lock that ended under its holder: at most a day, at most 1 000 per creator.

    `at` is filled in by the store. `by`, `reason` tell who broke it and why; `request` is the id of the request that
    released or refreshed it, so that a request sent twice finds its own effect.
    """

    token: str
    key: str
    root: str
    creator: str | None
    ended: Ended
    by: str | None = None
    reason: str | None = None
    request: str | None = None
    at: float = 0.0

    def __repr__(self) -> str:
        return _told(self, "token")


class Ticket(NamedTuple):
    """A place in the queue of those who wait for a lock on `key`; `lasts` seconds if not renewed."""

    id: str
    key: str
    creator: str | None = None
    lasts: float = 30.0
    number: int = 0


class Note(NamedTuple):
    """One event for the audit trail, written in the same commit as what it tells of. Never holds a whole token."""

    event: str
    key: str
    by: str | None = None
    detail: Mapping[str, Any] = NOTHING_TOLD


class Permit(NamedTuple):
    """A writer's published claim: "a request that touches these keys is at work".

    `keys` are the exact resources written, `trees` the roots of whole trees, `memberships` the collections whose
    members change; `tokens` were submitted with the request by `creator`. `lasts` is its own deadline in seconds,
    should nobody end or renew it; a store that outlives its writers sets one.
    """

    id: str
    namespace: str
    keys: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    creator: str | None = None
    lasts: float = inf

    def __repr__(self) -> str:
        return _told(self, "tokens")


class Page(NamedTuple):
    """A page of a listing: at most `limit` locks whose (key, token) sort after `after`."""

    limit: int = 100
    after: tuple[str, str] | None = None


class Query(NamedTuple):
    """Which rows must be seen. A store may show more than asked, never less.

    paths: locks rooted at each key or at any of its ancestors. trees: locks rooted at or below each key, in the order
    of (key, token). tokens: these locks wherever they are rooted, and with `tombstones` the tombstones of these tokens.
    scopes, purposes, not_creator: only rows found through `paths` and `trees` that match matter (None: all).
    limit: at most so many *roots* per tree (None: all), any of them; if there are more, `Snapshot.more` is True.
    tickets: the tickets that wait on `paths`. counts: fill `Snapshot.counts`, for `count_creator`.
    page: the listing of `trees`, a page of it. claim: a permit to publish *before* looking; it stays published only
    if the outcome keeps it. writes: whether the step may change anything; a store may refuse changes without it.
    """

    namespace: str = ""
    paths: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    scopes: frozenset[Scope] | None = None
    purposes: frozenset[Purpose] | None = None
    not_creator: str | None = None
    limit: int | None = None
    tickets: bool = False
    tombstones: bool = False
    counts: bool = False
    count_creator: str | None = None
    page: Page | None = None
    claim: Permit | None = None
    writes: bool = False


class Counts(NamedTuple):
    """Upper bounds for quotas: all locks of the namespace, those of the asked creator, those rooted at each path."""

    total: int = 0
    creator: int = 0
    roots: Mapping[str, int] = NOTHING_TOLD


class Snapshot(NamedTuple):
    """What a store shows: only what is alive by its clock. `fence` is the last fence that the store handed out."""

    locks: tuple[Held, ...] = ()
    fence: int = 0
    tombstones: tuple[Tombstone, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    counts: Counts | None = None
    more: bool = False

    def by_token(self, token: str) -> Held | None:
        """The lock with `token` among those shown, or None."""
        for held in self.locks:
            if held.lock.token == token:
                return held
        return None


class Put(NamedTuple):
    """A row to write. `lasts` is its life from now in seconds (inf: no end); the store fills in `expires_at`.

    grant: the store also fills in `created_at` and the next `fence` (a new lock); else both stay as the row has them,
    and a token that the store does not know is stored as given.
    """

    lock: Lock
    lasts: float
    grant: bool = False


class DropUnder(NamedTuple):
    """End every lock at or under `key` that was granted with a fence of at most `up_to_fence`.

    `prefix` narrows it to locks whose `root`, its trailing slash aside, is `prefix` or lies under it: a spelling that
    only the key function takes for the same one keeps its lock. May be carried out in batches: half dropped is only too
    locked.
    """

    key: str
    up_to_fence: int
    prefix: str | None = None


class Outcome(NamedTuple, Generic[R]):
    """What follows from a snapshot: the answer, and what the store has to change in the same atomic unit.

    keep_claim: whether the permit of the query stays published (an admission) or is withdrawn (a refusal).
    """

    answer: R
    puts: tuple[Put, ...] = ()
    drops: tuple[str, ...] = ()
    drop_under: tuple[DropUnder, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    drop_tickets: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    keep_claim: bool = False

    @property
    def changes(self) -> bool:
        return bool(
            self.puts
            or self.drops
            or self.drop_under
            or self.tombstones
            or self.tickets
            or self.drop_tickets
            or self.notes
        )


class Done(NamedTuple, Generic[R]):
    """A store's report: the step's answer, the rows as stored (in the order of the puts), the permit if it is kept,
    and the fence as it stood when the step looked."""

    answer: R
    rows: tuple[Lock, ...] = ()
    permit: Permit | None = None
    fence: int = 0


Step: TypeAlias = Callable[[Snapshot], Outcome[R]]


class Fact(NamedTuple):
    """What the application says of one URL. None means unknown, and unknown counts as the stricter of both.

    `etag` is the raw field value of its ETag, or None. `status` is the answer that told it (0: nobody was asked).
    """

    mapped: bool | None = None
    collection: bool | None = None
    etag: str | None = None
    status: int = 0


class Refusal(NamedTuple):
    """Why a request is not let through, as a value; `bodies` renders it, `LockRefused` carries it to code.

    `slug` names the problem type ("locked", "precondition-failed" ...), `title` is its fixed short name, `message`
    says what happened to this request. `resource` is the URL path as addressed (percent-encoded). `condition` and
    `hrefs` make the DAV:error element. `held` is the lock in the way, `conflicts` all of them. `retry_after` is in
    whole seconds, None where waiting does not help. `multistatus`: the conflict lies on members, the DAV rendering is
    a 207 (RFC 9.10.9). `lock_request`: the request was a LOCK, whose answer must not carry a Lock-Token it did not
    grant. `may_break`: the asker is one who may break the lock.
    """

    status: int
    slug: str
    title: str
    message: str
    resource: str
    condition: Condition | None = None
    hrefs: tuple[str, ...] = ()
    held: Held | None = None
    conflicts: tuple[Held, ...] = ()
    tombstone: Tombstone | None = None
    retry_after: int | None = None
    multistatus: bool = False
    lock_request: bool = False
    may_break: bool = False
