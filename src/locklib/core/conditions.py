"""The `If` header against a snapshot and the application's facts (RFC 4918 section 10.4).

Knows: what makes a condition true, and which facts a verdict hangs on.
Must not know: which locks a method needs (that a condition is true opens nothing), how facts are got.

A verdict has three values. A list whose outcome depends on an entity tag that nobody has asked for yet is *open*; only
when the whole header hangs on open lists are the facts asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from locklib.core.if_header import ConditionList, EntityTag, IfHeader, StateToken, Term, parse_etag
from locklib.core.model import Depth, Fact, Lock, Snapshot
from locklib.core.paths import covers

__all__ = ["HOLDS", "Target", "Verdict", "evaluate", "lock_covers"]


class Target(NamedTuple):
    """The resource that a list speaks of: `path` as the application is asked for it (decoded), and its `key`."""

    path: str
    key: str


class Verdict(NamedTuple):
    """true: the header holds. needs: paths whose facts decide; not empty only while `true` is undecided (False)."""

    true: bool
    needs: tuple[str, ...] = ()


HOLDS = Verdict(True)
"""Also of a request without `If`."""


def lock_covers(lock: Lock, key: str) -> bool:
    """Whether `key` is in the scope of `lock`: its root, and with depth infinity everything under it (RFC 4918 7.4)."""
    return lock.key == key or (lock.depth is Depth.INFINITY and covers(lock.key, key))


def evaluate(
    header: IfHeader,
    locate: Callable[[str | None], Target | None],
    snapshot: Snapshot,
    facts: Mapping[str, Fact],
) -> Verdict:
    """Whether `header` holds (OR of lists, each an AND of terms).

    locate: gives the target of a Resource-Tag (None: the request URL itself), or None where the tag names another
    authority, whose lists are false. facts: what is known so far, by path.
    """
    needs: list[str] = []
    for conditions in header.lists:
        target = locate(conditions.tag)
        holds = target is not None and _list_holds(conditions, target, snapshot, facts.get(target.path))
        if holds:
            return HOLDS
        if holds is None and target is not None:
            needs.append(target.path)
    return Verdict(False, tuple(dict.fromkeys(needs)))


def _list_holds(conditions: ConditionList, target: Target, snapshot: Snapshot, fact: Fact | None) -> bool | None:
    """True, False, or None while it hangs on a fact. One false term decides, whatever is still open."""
    outcomes = [_term_holds(term, target, snapshot, fact) for term in conditions.terms]
    if False in outcomes:
        return False
    return None if None in outcomes else True


def _term_holds(term: Term, target: Target, snapshot: Snapshot, fact: Fact | None) -> bool | None:
    if isinstance(term.what, StateToken):
        return term.negated != _token_matches(term.what.uri, target, snapshot)
    if fact is None:
        return None
    if fact.mapped is None:
        # The application could not say: neither "it matches" nor "it does not match" may be believed.
        return False
    return term.negated != _etag_matches(term.what, fact)


def _token_matches(uri: str, target: Target, snapshot: Snapshot) -> bool:
    """A state token matches a URL in its lock's scope, mapped or not (RFC 4918 section 10.4.4)."""
    held = snapshot.by_token(uri)
    return held is not None and not held.lock.pending and lock_covers(held.lock, target.key)


def _etag_matches(tag: EntityTag, fact: Fact) -> bool:
    """On an unmapped URL, and without an ETag, no entity tag matches."""
    if not fact.mapped or fact.etag is None:
        return False
    return tag.matches(parse_etag(fact.etag))
