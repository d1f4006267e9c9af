"""May a write pass? (RFC 4918 section 7.)

Knows: when a lock opens for a request, and what each resource that it touches needs.
Must not know: how locks come to be (`granting`) or end (`ending`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from locklib.core import refusing
from locklib.core.conditions import Verdict
from locklib.core.model import (
    Depth,
    Fact,
    Held,
    Lock,
    Outcome,
    Permit,
    Purpose,
    Query,
    Snapshot,
    Step,
)
from locklib.core.paths import ancestors, covers, is_below
from locklib.core.rules.words import NO_FACTS, Admission, Admitted, Need, NeedFacts, NeedMore, Submission

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


class Covering:
    """The locks of a snapshot by root, so that those over one key are found in as many steps as it is deep."""

    __slots__ = ("_by_root",)

    def __init__(self, locks: Iterable[Held]) -> None:
        self._by_root: dict[str, list[Held]] = {}
        for held in locks:
            self._by_root.setdefault(held.lock.key, []).append(held)

    def over(self, key: str) -> list[Held]:
        """The locks that cover `key`, outermost first."""
        by_root = self._by_root
        if not by_root:
            return []
        if len(by_root) < key.count("/"):  # few locks over a deep key: go by the locks
            roots = sorted((root for root in by_root if is_below(key, root)), key=len)
        else:
            roots = [ancestor for ancestor in ancestors(key) if ancestor in by_root]
        above = [held for root in roots for held in by_root[root] if held.lock.depth is Depth.INFINITY]
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


def may_end(lock: Lock, submission: Submission) -> bool:
    """Whether the asker, who shows the token, may refresh or release the lock: its creator, and the house itself.

    A hold by the house without a creator is not a bearer lock for clients: its token helps nobody but a bypass role.
    """
    if submission.by_code or lock.creator is not None:
        return lock.creator is None or lock.creator == submission.asker.name
    return lock.purpose is not Purpose.ADMINISTRATIVE or submission.asker.bypass


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
        trees=(*need.trees, *need.read_trees),
        tokens=submission.tokens,
        limit=None if unlimited else len(submission.tokens) + refusing.TOLD,
        tombstones=bool(submission.tokens),
        claim=claim,
    )

    def step(snapshot: Snapshot) -> Outcome[Admission]:
        verdict = submission.verdict(snapshot, facts)
        if not verdict.true and not verdict.needs:
            return Outcome(refusing.failed_condition(submission.resource, snapshot.tombstones))
        covering = Covering(snapshot.locks)
        blocked = [*_blocked(_touched(need, covering), covering, submission), *_below(need, covering, submission)]
        blocked += _unreadable(need, snapshot, submission)
        creating, unknown = blocked_creations(need, covering, submission, facts)
        asked = questions(verdict, unknown, hopeless=bool(blocked))
        if asked:
            return Outcome(NeedFacts(asked))
        in_the_way = unique([*blocked, *creating])
        if in_the_way:
            return Outcome(refusing.locked(submission.resource, in_the_way, submission.jitter))
        if snapshot.more and not unlimited:
            return Outcome(NeedMore())
        return Outcome(Admitted(_opened(snapshot, submission)), keep_claim=True)

    return query, step


def questions(verdict: Verdict, unknown: Sequence[str], *, hopeless: bool) -> tuple[str, ...]:
    """The paths to ask about: for the `If`, and for what may be created unless the request is refused anyway."""
    if not verdict.needs and (hopeless or not unknown):
        return ()
    return tuple(dict.fromkeys((*verdict.needs, *(() if hopeless and verdict.true else unknown))))


def _unreadable(need: Need, snapshot: Snapshot, submission: Submission) -> list[Held]:
    """What stands in the way of reading: only locks that block reads."""
    if not need.reads:
        return []
    covering = Covering(held for held in snapshot.locks if held.lock.details.blocks_reads)
    inside = [root for tree in need.read_trees for root in covering.roots_in(tree)]
    return _blocked([*need.reads, *inside], covering, submission)


def _touched(need: Need, covering: Covering) -> list[str]:
    """Every key that needs a token: the URLs, the collections that change, and each locked root in a tree."""
    inside = [root for tree in need.trees for root in covering.roots_in(tree)]
    return [*need.keys, *need.trees, *need.memberships, *inside]


def _blocked(keys: Iterable[str], covering: Covering, submission: Submission) -> list[Held]:
    return [held for key in dict.fromkeys(keys) for held in _blocking(covering.over(key), submission)]


def _below(need: Need, covering: Covering, submission: Submission) -> list[Held]:
    """What blocks the members of a tree that have no lock of their own: a token of depth 0 opens only its root."""
    if not need.trees:
        return []
    roots = dict.fromkeys(root for tree in need.trees for root in (tree, *covering.roots_in(tree)))
    return [held for root in roots for held in _blocking(covering.below(root), submission)]


def blocked_creations(
    need: Need, covering: Covering, submission: Submission, facts: Mapping[str, Fact]
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


def unique(helds: Iterable[Held]) -> list[Held]:
    return list({held.lock.token: held for held in helds}.values())


def _opened(snapshot: Snapshot, submission: Submission) -> tuple[Held, ...]:
    return tuple(held for held in snapshot.locks if not held.lock.pending and shows(held.lock, submission))
