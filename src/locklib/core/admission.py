"""A request on its way to the application: what it touches, what it shows, and whether it is let through.

Knows: need -> admit -> (facts -> admit) -> Proceed or refuse; the fields that speak of state (`If`, Destination, the
ways to tunnel a method through POST).
Must not know: when a lock opens (`rules`), how a refusal is written (`refusals`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from locklib.core import paths, refusing, rules, settling
from locklib.core.conditions import Target
from locklib.core.context import NO_FACTS, Exchange, Facts
from locklib.core.fields import (
    parse_destination,
)
from locklib.core.if_header import IfHeader, pristine_if_match
from locklib.core.model import Done, Held, Permit, Refusal, replace
from locklib.core.moves import Act, Head, Next, Proceed
from locklib.core.policy import Mode, Route
from locklib.core.rules import (
    Admission,
    Admitted,
    Membership,
    Need,
    NeedFacts,
    NeedMore,
    Submission,
    Touch,
)
from locklib.errors import BadField

__all__ = ["OVERRIDES", "Passage", "methods_of", "through", "without_method"]

OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
"""Fields by which a POST may say that it is something else; `_method` in the query is the fourth way."""


def methods_of(head: Head) -> tuple[str, ...]:
    """The method, and what the request says that it is instead: the stricter of all readings counts (T18).

    By a field for every method, for there are frameworks whose override does not look; by the query for POST.
    """
    if head.method != "POST" and not any(map(head.fields.__contains__, OVERRIDES)):
        return (head.method,)
    # WSGI servers join two lines by a comma
    named = [each for name in OVERRIDES for line in head.fields.get(name, ()) for each in line.split(",")]
    if head.method == "POST":
        named += [value for name, value in _parameters(head.query) if name == "_method"]
    return tuple(dict.fromkeys((head.method, *(name.strip().upper() for name in named if name.strip()))))


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """The parameters of a query, decoded; older frameworks part them by `;` too."""
    for part in query.replace(";", "&").split("&"):
        name, _, value = part.replace("+", " ").partition("=")
        yield paths.percent_decode(name), paths.percent_decode(value)


def without_method(query: str) -> str:
    """`query` less what would say that a question of ours has another method."""
    if "_method" not in query and "%" not in query:
        return query
    parts = re.split("([&;])", query)
    kept = [part for part in parts if not any(name == "_method" for name, _ in _parameters(part))]
    return query if len(kept) == len(parts) else "".join(kept).strip("&;")


class Passage(NamedTuple):
    """A request on its way to the application: what it touches, and what it shows.

    header: the `If` that is evaluated and consumed (None: there is none, or it is the application's own to judge).
    """

    exchange: Exchange
    methods: tuple[str, ...]
    need: Need
    submission: Submission
    destination: Target | None

    @property
    def writes(self) -> bool:
        return self.need.writes


def through(exchange: Exchange, proceed: Proceed | None = None) -> Next:
    """Any request that is not ours to answer: admit it, or refuse it.

    proceed: what is already known of how it is let through (an Amend of `dav`).
    """
    passage = _passage(exchange, proceed or exchange.passing)
    if isinstance(passage, Refusal):
        return exchange.render(passage)
    if passage.exchange.route.mode is Mode.EXEMPT:  # and its Destination as well
        return Proceed()
    unclear = () if passage.need.is_empty else _unclear(passage)
    return _unless_near_a_lock(passage, unclear) if unclear else _admit(passage, NO_FACTS)


def _passage(exchange: Exchange, proceed: Proceed) -> Passage | Refusal:
    head, policy = exchange.head, exchange.policy
    methods = methods_of(head)
    destination: Target | None = None
    if "destination" in head.fields and any(rules.NEEDS.get(method, (None, None))[1] for method in methods):
        destination = exchange.target(parse_destination(_only(head, "destination")))
        if destination is None and exchange.route.mode is not Mode.EXEMPT:
            return Refusal(
                502, "foreign-destination", "Bad Gateway", "the Destination is on another server", exchange.resource
            )
    header = exchange.if_header()
    if header is not None and not header.tokens and not policy.dav:
        proceed = _forwarded(head, header, proceed)
        header = None
    elif header is not None:
        proceed = replace(proceed, drop=proceed.drop | {"if"})
    beside = exchange.route if destination is None else policy.route(destination.path)
    need = _need(exchange, methods, destination, beside)
    if proceed is not exchange.passing or beside is not exchange.route:
        exchange = replace(exchange, passing=proceed, route=exchange.route.beside(beside))
    trusting = (destination.key,) if destination and "explorer" in policy.quirks and "MOVE" in methods else ()
    return Passage(exchange, methods, need, exchange.submission(header, trusting), destination)


def _only(head: Head, name: str) -> str:
    lines = head.fields[name]
    if len(lines) > 1:
        raise BadField(name.title(), ", ".join(lines), "one field line")
    return lines[0]


def _forwarded(head: Head, header: IfHeader, proceed: Proceed) -> Proceed:
    """Entity tags alone, without `dav`: the application's own check is stronger than ours, so it gets to see them.

    A request that has an `If-Match` of its own keeps both as they are: the two cannot be said in one.
    """
    if_match = pristine_if_match(header)
    if if_match is None or "if-match" in head.fields:
        return proceed
    return replace(proceed, drop=proceed.drop | {"if"}, add=(*proceed.add, ("If-Match", if_match)))


def _need(exchange: Exchange, methods: tuple[str, ...], destination: Target | None, beside: Route) -> Need:
    """Everything that the request touches; of several readings, all. beside: the route of the destination."""
    route, own = exchange.route, Target(exchange.head.path, exchange.key)
    need = Need()
    for method in methods:
        here, there = rules.NEEDS.get(method, rules.WRITE_NEEDS)
        if route.reads:
            need = need | _read(method, exchange.key)
        if route.counts_as_write(method):
            need = need | _touched(exchange, here, own)
        if beside.counts_as_write(method) and destination is not None:
            for target in _meant(exchange, destination):
                need = need | _touched(exchange, there, target)
    return need


def _read(method: str, key: str) -> Need:
    if method == "COPY":
        return Need(reads=(key,), read_trees=(key,))
    return Need(reads=(key,)) if method in rules.READS else Need()


def _meant(exchange: Exchange, target: Target) -> Iterator[Target]:
    """The destination, and what an application takes it for that decodes it before it cuts the query off."""
    yield target
    cut = paths.without_query(target.path)
    if cut != target.path and exchange.policy.key is None:
        yield Target(cut or "/", paths.canonical(cut or "/", exchange.policy.folding))


def _touched(exchange: Exchange, touch: Touch | None, target: Target | None) -> Need:
    if touch is None or target is None:
        return Need()
    creation = exchange.creation(target.path, target.key)
    return Need(
        keys=(target.key,),
        trees=(target.key,) if touch.tree else (),
        memberships=creation.parents if touch.membership is Membership.ALWAYS else (),
        creations=(creation,) if touch.membership is Membership.IF_UNMAPPED else (),
    )


def _unclear(passage: Passage) -> tuple[str, ...]:
    """Where to look for locks on behalf of paths that applications read in different ways (T15)."""
    exchange, there = passage.exchange, passage.destination
    if exchange.policy.key is not None:  # the application has said which resource it is
        return ()
    folding = exchange.policy.folding
    named = (exchange.head.path,) if there is None else (exchange.head.path, there.path)
    return tuple(paths.unambiguous_part(path, folding) for path in named if paths.ambiguous(path, folding))


def _unless_near_a_lock(passage: Passage, unclear: tuple[str, ...]) -> Next:
    """Refused near a lock, untouched elsewhere; and no lock comes to be there while the request is at work."""
    exchange = passage.exchange
    query, step = rules.roots_near(unclear, namespace=exchange.namespace)

    def then(done: Done[bool]) -> Next:
        if not done.answer:
            return _admit(replace(passage, need=passage.need | Need(trees=unclear)), NO_FACTS)
        message = "a lock is near, and the path can be read as more than one resource; use its plain spelling"
        return exchange.refuse(refusing.bad_request(exchange.resource, message, slug="ambiguous-path"))

    return Act(query, step, then, exchange.unavailable)


def _admit(passage: Passage, facts: Facts, *, unlimited: bool = False) -> Next:
    exchange = passage.exchange
    if passage.need.is_empty and passage.submission.header is None:
        return exchange.passing
    claim = _claim(passage) if exchange.route.mode is Mode.HOLD and passage.writes else None
    query, step = rules.admit(
        passage.need, passage.submission, facts, namespace=exchange.namespace, claim=claim, unlimited=unlimited
    )

    def then(done: Done[Admission]) -> Next:
        match done.answer:
            case Admitted(submitted):
                return _admitted(passage, done, submitted)
            case NeedFacts(asked):
                return exchange.facts(asked, lambda found: _admit(passage, found, unlimited=unlimited), facts)
            case NeedMore():
                return _admit(passage, facts, unlimited=True)
            case refusal:
                return _refused(passage, refusal)

    return Act(query, step, then, exchange.unavailable)


def _claim(passage: Passage) -> Permit:
    need, submission = passage.need, passage.submission
    created = (parent for creation in need.creations for parent in creation.parents)
    return Permit(
        passage.exchange.chosen.id,
        passage.exchange.namespace,
        need.keys,
        need.trees,
        tuple(dict.fromkeys((*need.memberships, *created))),
        submission.tokens,
        submission.asker.name,
    )


def _admitted(passage: Passage, done: Done[Admission], submitted: tuple[Held, ...]) -> Next:
    fence = max((held.lock.fence for held in submitted), default=done.fence)
    exchange = passage.exchange
    return replace(
        exchange.passing,
        submitted=submitted,
        fence=fence,
        settle=settling.after(exchange, passage.methods, passage.destination, done.fence),
        amend=exchange.passing.amend or settling.echo(exchange, submitted),
    )


def _refused(passage: Passage, refusal: Refusal) -> Next:
    """A token in the hands of somebody unknown: where a challenge is configured, they may say first who they are."""
    exchange, held = passage.exchange, refusal.held
    nameless = exchange.policy.identified and exchange.asker.principal is None
    if nameless and exchange.policy.challenge and held and held.lock.token in passage.submission.tokens:
        refusal = refusing.unauthorized(exchange.resource, "the lock token was shown without saying who shows it")
    return exchange.refuse(exchange.with_remedy(refusal))
