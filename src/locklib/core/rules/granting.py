"""May a lock be granted? LOCK and refresh (RFC 4918 sections 6.1, 6.2, 7.5, 9.10), and whom a grant waits for.

Knows: which purposes stand beside each other. Must not know: what a write needs (`admitting`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from locklib.core import refusing
from locklib.core.conditions import Verdict, lock_covers
from locklib.core.model import (
    Condition,
    Depth,
    Details,
    Fact,
    Held,
    Lock,
    Note,
    Outcome,
    Permit,
    Purpose,
    Put,
    Query,
    Refusal,
    Scope,
    Snapshot,
    Step,
    replace,
)
from locklib.core.paths import covers
from locklib.core.rules.admitting import Covering, blocked_creations, may_end, questions, shows, unique
from locklib.core.rules.words import (
    NO_FACTS,
    Acquisition,
    Asker,
    Creation,
    Granted,
    Need,
    NeedFacts,
    NeedMore,
    Renewal,
    Submission,
)

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


# ---- LOCK ----------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
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
    details: Details = Details()
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
        limit=None if unlimited else len(submission.tokens) + refusing.TOLD,
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
        asked = questions(verdict, unknown, hopeless=bool(conflicts))
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
    return blocked_creations(need, Covering(snapshot.locks), submission, facts)


def _lock_refused(wish: Wish, conflicts: list[Held], members: list[Held], submission: Submission) -> Refusal:
    """A conflict that covers the URL before one on members, and both before a missing token on the parent."""
    resource, jitter = submission.resource, submission.jitter
    covering = [held for held in conflicts if lock_covers(held.lock, wish.key)]
    if covering:
        return refusing.conflict(resource, covering, jitter)
    if conflicts:
        return refusing.conflict(resource, conflicts, jitter, members=True)
    refusal = refusing.locked(resource, unique(members), jitter)
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
    if not may_end(named[0].lock, submission):
        return refusing.forbidden(resource, "this lock was created by another principal", slug="not-the-creator")
    return None
