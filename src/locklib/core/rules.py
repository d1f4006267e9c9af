"""What locks mean: each intent as a pair of a query (which rows must be seen) and a step (what follows from them).

Knows: RFC 4918 sections 6, 7 and 9, and the purposes of docs/design.md. Every `if` about locks is here.
Must not know: HTTP (a refusal's status aside), how a store runs a step, what time it is.

The tables come first. Words used below: a lock *opens* for a request that submits its token as its creator; a resource
is *blocked* by the locks that cover it and do not open, unless one of the same purpose opens (RFC 4918 section 6.2: of
shared locks, one token is enough).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from locklib.core import refusing
from locklib.core.conditions import Target, Verdict, evaluate, lock_covers
from locklib.core.if_header import IfHeader
from locklib.core.model import (
    Condition,
    Depth,
    Details,
    DropUnder,
    Ended,
    Fact,
    Held,
    Lock,
    Note,
    Outcome,
    Permit,
    Principal,
    Purpose,
    Put,
    Query,
    Refusal,
    Scope,
    Snapshot,
    Step,
    Tombstone,
)
from locklib.core.paths import ancestors, covers

__all__ = [
    "NEEDS",
    "READS",
    "SAFE",
    "Admitted",
    "Asker",
    "Creation",
    "Granted",
    "Membership",
    "Need",
    "NeedFacts",
    "NeedMore",
    "Submission",
    "Touch",
    "Wish",
    "abandon",
    "acquire",
    "admit",
    "confirm",
    "end_these",
    "end_under",
    "listing",
    "permits_in_the_way",
    "refresh",
    "release",
    "roots_near",
    "roots_under",
]


class Membership(Enum):
    """When a method needs the lock on the collection that its URL is a member of (RFC 4918 section 7.4)."""

    NEVER = 0
    IF_UNMAPPED = 1
    ALWAYS = 2


@dataclass(frozen=True, slots=True)
class Touch:
    """What a method does to one URL: whether it takes the whole tree, and whether it changes the parent's members."""

    tree: bool = False
    membership: Membership = Membership.IF_UNMAPPED


SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that need no lock. Every other method is a write, known or not (RFC 4918 section 7)."""

READS = frozenset({"GET", "HEAD"})
"""Methods that a lock with `blocks_reads` refuses, on routes that guard reads."""

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

# Asked (outer) beside held (inner): may both stand? SCOPE: by their scopes; TOKEN: if the held one's token is shown;
# BYPASS: for a bypass role.
SCOPE, TOKEN, BYPASS, ALWAYS = "scope", "token", "bypass", "always"
COMPATIBLE: Mapping[Purpose, Mapping[Purpose, str]] = MappingProxyType(
    {
        Purpose.WRITE: {Purpose.WRITE: SCOPE, Purpose.ADMINISTRATIVE: BYPASS, Purpose.PROCESSING: SCOPE},
        Purpose.ADMINISTRATIVE: {Purpose.WRITE: ALWAYS, Purpose.ADMINISTRATIVE: ALWAYS, Purpose.PROCESSING: ALWAYS},
        Purpose.PROCESSING: {Purpose.WRITE: TOKEN, Purpose.ADMINISTRATIVE: BYPASS, Purpose.PROCESSING: SCOPE},
    }
)


@dataclass(frozen=True, slots=True)
class Creation:
    """A URL that the request may create: `parents` (keys) gain a member if `path` is unmapped."""

    path: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """What a request touches, as canonical keys. `reads`: only locks that block reads matter."""

    keys: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    creations: tuple[Creation, ...] = ()
    reads: bool = False

    def __or__(self, other: Need) -> Need:
        """The stricter of both: everything that either touches."""
        return Need(
            tuple(dict.fromkeys(self.keys + other.keys)),
            tuple(dict.fromkeys(self.trees + other.trees)),
            tuple(dict.fromkeys(self.memberships + other.memberships)),
            tuple(dict.fromkeys(self.creations + other.creations)),
            self.reads and other.reads,
        )

    @property
    def seen(self) -> tuple[str, ...]:
        """All keys that a snapshot must show, each with its ancestors."""
        created = (parent for creation in self.creations for parent in creation.parents)
        return tuple(dict.fromkeys((*self.keys, *self.trees, *self.memberships, *created)))


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. bypass: administrative locks open for this principal."""

    principal: Principal | None = None
    bypass: bool = False

    @property
    def name(self) -> str | None:
        return None if self.principal is None else self.principal.name


def _nowhere(tag: str | None) -> Target | None:
    return None


@dataclass(frozen=True, slots=True)
class Submission:
    """What the request shows: its `If`, every token in it, and who shows it.

    locate: the target of a Resource-Tag (see `conditions.evaluate`). trusting: keys on which a lock of the same creator
    opens without its token (quirk "explorer"). jitter: see `refusing.retry_after`. resource: the URL path as addressed.
    """

    asker: Asker
    resource: str
    tokens: tuple[str, ...] = ()
    header: IfHeader | None = None
    locate: Callable[[str | None], Target | None] = _nowhere
    trusting: tuple[str, ...] = ()
    jitter: float = 0.0

    def verdict(self, snapshot: Snapshot, facts: Mapping[str, Fact]) -> Verdict:
        return Verdict(True) if self.header is None else evaluate(self.header, self.locate, snapshot, facts)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The write may pass. `submitted` are the live locks that opened for it."""

    submitted: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedFacts:
    """The rule hangs on what the application says of these paths; run it again with their facts."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The limit of the query hid rows that matter; run it again without."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The lock is held (or, pending, will be). `remaining` is its life in seconds."""

    lock: Lock
    remaining: float
    others: tuple[Held, ...] = ()
    again: bool = False


Admission: TypeAlias = Admitted | Refusal | NeedFacts | NeedMore
Renewal: TypeAlias = Granted | Refusal | NeedFacts
Acquisition: TypeAlias = Renewal | NeedMore
TOLD = 100
"""Locks in the way that a refused LOCK of a whole tree is told of, so that its cost has a bound."""
NO_FACTS: Mapping[str, Fact] = MappingProxyType({})


# ---- who opens what ------------------------------------------------------------------------------------------------


def shows(lock: Lock, submission: Submission) -> bool:
    """Whether the token of `lock` is submitted by its creator; a bearer lock opens for its token alone."""
    return lock.token in submission.tokens and (lock.creator is None or lock.creator == submission.asker.name)


def opens(lock: Lock, submission: Submission) -> bool:
    if lock.purpose is Purpose.ADMINISTRATIVE:
        return submission.asker.bypass
    if shows(lock, submission):
        return True
    return lock.key in submission.trusting and lock.creator is not None and lock.creator == submission.asker.name


class _Covering:
    """The locks of a snapshot by root, so that those over one key are found in as many steps as it is deep."""

    __slots__ = ("_by_root",)

    def __init__(self, locks: Iterable[Held]) -> None:
        self._by_root: dict[str, list[Held]] = {}
        for held in locks:
            self._by_root.setdefault(held.lock.key, []).append(held)

    def over(self, key: str) -> list[Held]:
        """The locks that cover `key`, outermost first."""
        by_root = self._by_root
        above = [
            held
            for ancestor in ancestors(key)
            if ancestor in by_root
            for held in by_root[ancestor]
            if held.lock.depth is Depth.INFINITY
        ]
        return above + by_root.get(key, [])

    def below(self, key: str) -> list[Held]:
        """The locks that cover whatever may be under `key` without a lock of its own."""
        return [held for held in self.over(key) if held.lock.depth is Depth.INFINITY]

    def roots_in(self, tree: str) -> list[str]:
        return [root for root in self._by_root if covers(tree, root)]


def _blocking(over: Sequence[Held], submission: Submission) -> list[Held]:
    """Of the locks that cover one resource, those in the way: every purpose must open by one of its own."""
    open_purposes = {held.lock.purpose for held in over if opens(held.lock, submission)}
    return [held for held in over if held.lock.purpose not in open_purposes]


# ---- admission of a write ------------------------------------------------------------------------------------------


def admit(
    need: Need,
    submission: Submission,
    facts: Mapping[str, Fact] = NO_FACTS,
    *,
    namespace: str = "",
    claim: Permit | None = None,
    unlimited: bool = False,
) -> tuple[Query, Step[Admission]]:
    """May a request that touches `need` pass? (RFC 4918 section 7; the order is: `If`, then tokens.)

    facts: what the application has said so far, by path. claim: the permit to publish before looking. unlimited: see
    every root of a tree (after `NeedMore`). The step answers Admitted, Refusal, NeedFacts or NeedMore.
    """
    query = Query(
        namespace,
        paths=need.seen,
        trees=need.trees,
        tokens=submission.tokens,
        limit=None if unlimited else len(submission.tokens) + 1,
        tombstones=bool(submission.tokens),
        claim=claim,
    )

    def step(snapshot: Snapshot) -> Outcome[Admission]:
        verdict = submission.verdict(snapshot, facts)
        covering = _Covering(_relevant(snapshot, need))
        blocked = [*_blocked(_touched(need, covering), covering, submission), *_below(need, covering, submission)]
        creating, unknown = _creations(need, covering, submission, facts)
        if not verdict.true and not verdict.needs:
            return Outcome(refusing.failed_condition(submission.resource, snapshot.tombstones))
        asked = tuple(dict.fromkeys((*verdict.needs, *(() if blocked and verdict.true else unknown))))
        if asked:
            return Outcome(NeedFacts(asked))
        in_the_way = _unique([*blocked, *creating])
        if in_the_way:
            return Outcome(refusing.locked(submission.resource, in_the_way, submission.jitter))
        if snapshot.more and not unlimited:
            return Outcome(NeedMore())
        return Outcome(Admitted(_opened(snapshot, submission)), keep_claim=True)

    return query, step


def _relevant(snapshot: Snapshot, need: Need) -> Iterable[Held]:
    if not need.reads:
        return snapshot.locks
    return [held for held in snapshot.locks if held.lock.details.blocks_reads]


def _touched(need: Need, covering: _Covering) -> list[str]:
    """Every key that needs a token: the URLs, the collections that change, and each locked root in a tree."""
    inside = [root for tree in need.trees for root in covering.roots_in(tree)]
    return [*need.keys, *need.trees, *need.memberships, *inside]


def _blocked(keys: Iterable[str], covering: _Covering, submission: Submission) -> list[Held]:
    return [held for key in dict.fromkeys(keys) for held in _blocking(covering.over(key), submission)]


def _below(need: Need, covering: _Covering, submission: Submission) -> list[Held]:
    """What blocks the members of a tree that have no lock of their own: a token of depth 0 opens only its root."""
    roots = dict.fromkeys(root for tree in need.trees for root in (tree, *covering.roots_in(tree)))
    return [held for root in roots for held in _blocking(covering.below(root), submission)]


def _creations(
    need: Need, covering: _Covering, submission: Submission, facts: Mapping[str, Fact]
) -> tuple[list[Held], list[str]]:
    """The locks on collections that would gain a member, and the paths of which it is not yet known whether they do."""
    blocked: list[Held] = []
    unknown: list[str] = []
    for creation in need.creations:
        in_the_way = _blocked(creation.parents, covering, submission)
        if not in_the_way:
            continue
        fact = facts.get(creation.path)
        if fact is None:
            unknown.append(creation.path)
        elif fact.mapped is not True:
            blocked.extend(in_the_way)
    return blocked, unknown


def _unique(helds: Iterable[Held]) -> list[Held]:
    return list({held.lock.token: held for held in helds}.values())


def _opened(snapshot: Snapshot, submission: Submission) -> tuple[Held, ...]:
    return tuple(held for held in snapshot.locks if not held.lock.pending and shows(held.lock, submission))


# ---- LOCK ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """A lock that is asked for. `token` was chosen before the call, so that a call made twice finds its own lock.

    root: the URL path as addressed, percent-encoded. creation: the membership that is needed if the URL is unmapped, or
    None outside HTTP. timeout: seconds as granted. pending: commit it as pending for `pending_lasts` seconds.
    """

    token: str
    key: str
    root: str
    depth: Depth = Depth.INFINITY
    scope: Scope = Scope.EXCLUSIVE
    purpose: Purpose = Purpose.WRITE
    timeout: float = 900.0
    details: Details = field(default_factory=Details)
    creation: Creation | None = None
    pending: bool = False
    pending_lasts: float = 30.0


def acquire(
    wish: Wish,
    submission: Submission,
    facts: Mapping[str, Fact] = NO_FACTS,
    *,
    namespace: str = "",
    claim: Permit | None = None,
    unlimited: bool = False,
) -> tuple[Query, Step[Acquisition]]:
    """May `wish` be granted? (RFC 4918 sections 6.1, 6.2, 7.5, 9.10.)

    claim: the permit of the empty resource that the LOCK may make, so that nobody locks its collection meanwhile.
    unlimited: see every root of the tree (after `NeedMore`); a refusal never needs that many, nor tells of them.
    Answers Granted, Refusal, NeedFacts or NeedMore.
    """
    lock = _lock_of(wish, submission.asker)
    parents = wish.creation.parents if wish.creation else ()
    query = Query(
        namespace,
        paths=(wish.key, *parents),
        trees=(wish.key,) if wish.depth is Depth.INFINITY else (),
        tokens=tuple(dict.fromkeys((wish.token, *submission.tokens))),
        limit=None if unlimited else len(submission.tokens) + TOLD,
        tombstones=bool(submission.tokens),
        claim=claim,
        writes=True,
    )

    def step(snapshot: Snapshot) -> Outcome[Acquisition]:
        already = snapshot.by_token(wish.token)
        if already is not None:
            return Outcome(Granted(already.lock, already.remaining, again=True), keep_claim=True)
        verdict = submission.verdict(snapshot, facts)
        if not verdict.true and not verdict.needs:
            return Outcome(refusing.failed_condition(submission.resource, snapshot.tombstones))
        conflicts = [held for held in snapshot.locks if _conflicts(lock, held, submission)]
        if snapshot.more and not conflicts and not unlimited:
            return Outcome(NeedMore())
        members, unknown = _gained(wish, snapshot, submission, facts)
        asked = tuple(dict.fromkeys((*verdict.needs, *(() if conflicts and verdict.true else unknown))))
        if asked:
            return Outcome(NeedFacts(asked))
        if conflicts or members:
            return Outcome(_lock_refused(wish, conflicts, members, submission))
        others = tuple(held for held in snapshot.locks if lock_covers(held.lock, wish.key))
        lasts = wish.pending_lasts if wish.pending else wish.timeout
        note = Note("pending" if wish.pending else "granted", wish.key, submission.asker.name)
        put = Put(lock, lasts, grant=True)
        return Outcome(Granted(lock, lasts, others), puts=(put,), notes=(note,), keep_claim=True)

    return query, step


def _lock_of(wish: Wish, asker: Asker) -> Lock:
    root = None if wish.root == wish.key else wish.root
    details = wish.details
    if root is not None or wish.pending:
        details = replace(details, root=root, pending=wish.pending)
    return Lock(wish.token, wish.key, wish.depth, wish.scope, wish.purpose, asker.name, wish.timeout, details=details)


def _conflicts(asked: Lock, held: Held, submission: Submission) -> bool:
    """Whether `asked` may not stand beside `held`: one covers a resource of the other, and the table says no."""
    other = held.lock
    if not (lock_covers(other, asked.key) or lock_covers(asked, other.key)):
        return False
    rule = COMPATIBLE[asked.purpose][other.purpose]
    if rule == SCOPE:
        return asked.exclusive or other.exclusive
    if rule == TOKEN:
        return not shows(other, submission)
    return rule == BYPASS and not submission.asker.bypass


def _gained(
    wish: Wish, snapshot: Snapshot, submission: Submission, facts: Mapping[str, Fact]
) -> tuple[list[Held], list[str]]:
    if wish.creation is None:
        return [], []
    need = Need(creations=(wish.creation,))
    return _creations(need, _Covering(snapshot.locks), submission, facts)


def _lock_refused(wish: Wish, conflicts: list[Held], members: list[Held], submission: Submission) -> Refusal:
    """A conflict that covers the URL before one on members, and both before a missing token on the parent."""
    resource, jitter = submission.resource, submission.jitter
    covering = [held for held in conflicts if lock_covers(held.lock, wish.key)]
    if covering:
        return refusing.conflict(resource, covering, jitter)
    if conflicts:
        return refusing.conflict(resource, conflicts, jitter, members=True)
    refusal = refusing.locked(resource, _unique(members), jitter)
    return replace(refusal, lock_request=True)


def confirm(lock: Lock, *, namespace: str = "") -> tuple[Query, Step[Granted | None]]:
    """Turn a pending lock into a granted one, with its whole life from now. None: it is gone, it was too late."""
    query = Query(namespace, paths=(lock.key,), tokens=(lock.token,), writes=True)

    def step(snapshot: Snapshot) -> Outcome[Granted | None]:
        held = snapshot.by_token(lock.token)
        if held is None:
            return Outcome(None)
        granted = replace(held.lock, details=_settled(held.lock.details))
        others = tuple(
            other for other in snapshot.locks if other.lock.token != lock.token and lock_covers(other.lock, lock.key)
        )
        note = Note("granted", lock.key, lock.creator)
        return Outcome(Granted(granted, lock.timeout, others), puts=(Put(granted, lock.timeout),), notes=(note,))

    return query, step


PLAIN_DETAILS = Details()


def _settled(details: Details) -> Details:
    settled = replace(details, pending=False)
    return PLAIN_DETAILS if settled == PLAIN_DETAILS else settled


def abandon(lock: Lock, *, namespace: str = "") -> tuple[Query, Step[None]]:
    """Take back a lock that was never granted to anybody: no tombstone."""
    query = Query(namespace, tokens=(lock.token,), writes=True)

    def step(snapshot: Snapshot) -> Outcome[None]:
        return Outcome(None, drops=(lock.token,) if snapshot.by_token(lock.token) else ())

    return query, step


def permits_in_the_way(lock: Lock, permits: Iterable[Permit], others: Iterable[Held] = ()) -> tuple[str, ...]:
    """The ids of the permits that `lock` has to wait for: the writers that its grant would have refused.

    others: the locks held beside it. A shared lock does not wait for a writer that was let in by another shared lock on
    the same resources: those two may write beside each other (RFC 4918 section 6.2).
    """
    shared = [held.lock for held in others if not held.lock.exclusive] if not lock.exclusive else []
    return tuple(permit.id for permit in permits if _waits_for(lock, permit, shared))


def _waits_for(lock: Lock, permit: Permit, shared: Sequence[Lock]) -> bool:
    touched = [(key, False) for key in (*permit.keys, *permit.memberships) if lock_covers(lock, key)]
    for tree in permit.trees:
        if covers(tree, lock.key):
            touched.append((lock.key, lock.depth is Depth.INFINITY))
        elif lock_covers(lock, tree):
            touched.append((tree, True))
    return bool(touched) and not any(_lets_in(beside, permit, touched) for beside in shared)


def _lets_in(beside: Lock, permit: Permit, touched: Iterable[tuple[str, bool]]) -> bool:
    """touched: what the lock and the writer have in common, as keys, and whether with everything under each."""
    mine = beside.creator is None or beside.creator == permit.creator
    return mine and beside.token in permit.tokens and all(_has(beside, key, tree) for key, tree in touched)


def _has(lock: Lock, key: str, tree: bool) -> bool:
    return lock_covers(lock, key) and (not tree or lock.depth is Depth.INFINITY)


# ---- refresh and UNLOCK --------------------------------------------------------------------------------------------


def refresh(
    key: str, timeout: float, submission: Submission, facts: Mapping[str, Fact] = NO_FACTS, *, namespace: str = ""
) -> tuple[Query, Step[Renewal]]:
    """LOCK without a body: start the life of one held lock anew (RFC 4918 section 9.10.2).

    key: of the request URL, which has to be in the lock's scope. Answers Granted, Refusal or NeedFacts.
    """
    query = Query(namespace, paths=(key,), tokens=submission.tokens, tombstones=True, writes=True)

    def step(snapshot: Snapshot) -> Outcome[Renewal]:
        named = [held for held in snapshot.locks if _named(held, key, submission)]
        verdict = submission.verdict(snapshot, facts)
        if verdict.needs:
            return Outcome(NeedFacts(verdict.needs))
        refusal = _refresh_refused(named, verdict, snapshot, submission)
        if refusal is not None:
            return Outcome(refusal)
        lock = replace(named[0].lock, timeout=timeout)
        others = tuple(held for held in snapshot.locks if held.lock.token != lock.token and lock_covers(held.lock, key))
        note = Note("refreshed", lock.key, submission.asker.name)
        return Outcome(Granted(lock, timeout, others), puts=(Put(lock, timeout),), notes=(note,))

    return query, step


def _named(held: Held, key: str, submission: Submission) -> bool:
    return held.lock.token in submission.tokens and not held.lock.pending and lock_covers(held.lock, key)


def _refresh_refused(
    named: Sequence[Held], verdict: Verdict, snapshot: Snapshot, submission: Submission
) -> Refusal | None:
    resource = submission.resource
    if not named:
        return refusing.failed_condition(
            resource,
            snapshot.tombstones,
            Condition.LOCK_TOKEN_MATCHES_REQUEST_URI,
            "the If header names no live lock that covers this URL",
        )
    if not verdict.true:
        return refusing.failed_condition(resource, snapshot.tombstones)
    if len(named) > 1:
        return refusing.bad_request(resource, "the If header names more than one lock that covers this URL")
    if not shows(named[0].lock, submission):
        return refusing.forbidden(resource, "this lock was created by another principal", slug="not-the-creator")
    return None


def release(
    key: str,
    token: str,
    request: str,
    submission: Submission,
    facts: Mapping[str, Fact] = NO_FACTS,
    *,
    namespace: str = "",
) -> tuple[Query, Step[Lock | Refusal | NeedFacts | None]]:
    """UNLOCK: end the lock `token`, if the request URL `key` is in its scope (RFC 4918 section 9.11).

    request: an id of this request; sent twice, it finds its own effect and succeeds again (None: ended before).
    """
    query = Query(namespace, tokens=tuple(dict.fromkeys((token, *submission.tokens))), tombstones=True, writes=True)

    def step(snapshot: Snapshot) -> Outcome[Lock | Refusal | NeedFacts | None]:
        if any(stone.token == token and stone.request == request for stone in snapshot.tombstones):
            return Outcome(None)
        verdict = submission.verdict(snapshot, facts)
        if verdict.needs:
            return Outcome(NeedFacts(verdict.needs))
        if not verdict.true:
            return Outcome(refusing.failed_condition(submission.resource, snapshot.tombstones))
        held = snapshot.by_token(token)
        if held is None or held.lock.pending or not lock_covers(held.lock, key):
            return Outcome(refusing.no_such_lock(submission.resource, "the Lock-Token is no lock that covers this URL"))
        lock = held.lock
        if lock.creator is not None and lock.creator != submission.asker.name:
            message = "this lock was created by another principal"
            return Outcome(refusing.forbidden(submission.resource, message, slug="not-the-creator"))
        return _ended(lock, Ended.RELEASED, submission.asker.name, request)

    return query, step


def _ended(lock: Lock, ended: Ended, by: str | None, request: str) -> Outcome[Lock | Refusal | NeedFacts | None]:
    stone = Tombstone(lock.token, lock.key, lock.root, lock.creator, ended, by=by, request=request)
    return Outcome(lock, drops=(lock.token,), tombstones=(stone,), notes=(Note(ended.value, lock.key, by),))


# ---- what an answer of the application means (settle) --------------------------------------------------------------


def end_under(key: str, up_to_fence: int, prefix: str | None, *, namespace: str = "") -> tuple[Query, Step[None]]:
    """The resource is gone: its locks end, and those under it (RFC 4918 sections 7.5, 7.6, 9.6.1).

    up_to_fence: as it stood when the request was admitted, so that a lock asked for meanwhile is not taken away.
    prefix: see `DropUnder`.
    """
    query = Query(namespace, paths=(key,), writes=True)

    def step(snapshot: Snapshot) -> Outcome[None]:
        note = Note("ended-with-resource", key)
        return Outcome(None, drop_under=(DropUnder(key, up_to_fence, prefix),), notes=(note,))

    return query, step


def roots_under(key: str, *, namespace: str = "", limit: int = 100) -> tuple[Query, Step[tuple[Lock, ...]]]:
    """The granted locks rooted at or under `key`, of at most `limit` roots."""
    query = Query(namespace, trees=(key,), limit=limit)

    def step(snapshot: Snapshot) -> Outcome[tuple[Lock, ...]]:
        inside = (held.lock for held in snapshot.locks if covers(key, held.lock.key) and not held.lock.pending)
        return Outcome(tuple(inside))

    return query, step


def roots_near(keys: tuple[str, ...], *, namespace: str = "") -> tuple[Query, Step[bool]]:
    """Whether any lock covers one of `keys` or is rooted at or under it."""
    query = Query(namespace, paths=keys, trees=keys, limit=1)

    def step(snapshot: Snapshot) -> Outcome[bool]:
        locks = [held.lock for held in snapshot.locks]
        return Outcome(any(lock_covers(lock, key) or covers(key, lock.key) for lock in locks for key in keys))

    return query, step


def end_these(locks: Sequence[Lock], *, namespace: str = "") -> tuple[Query, Step[None]]:
    """These locks are rooted at URLs that are unmapped now: they end (RFC 4918 section 7.6)."""
    query = Query(namespace, tokens=tuple(lock.token for lock in locks), writes=True)

    def step(snapshot: Snapshot) -> Outcome[None]:
        drops = tuple(lock.token for lock in locks if snapshot.by_token(lock.token))
        notes = tuple(Note("ended-with-resource", lock.key) for lock in locks if lock.token in drops)
        return Outcome(None, drops=drops, notes=notes)

    return query, step


def listing(query: Query) -> tuple[Query, Step[tuple[Held, ...]]]:
    """The locks that `query` shows, pending ones left out."""

    def step(snapshot: Snapshot) -> Outcome[tuple[Held, ...]]:
        return Outcome(tuple(held for held in snapshot.locks if not held.lock.pending))

    return query, step
