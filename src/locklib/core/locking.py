"""LOCK, refresh and UNLOCK as moves (RFC 4918 sections 9.10 and 9.11).

Knows: the order of a LOCK: read, ask for permission, grant (pending, in mode *hold*), wait for older writers, ask
whether the URL is mapped, make the empty resource, confirm, answer.
Must not know: when a lock may be granted (`rules`), how its answer is written (`refusals`).

From the pending grant on every move carries `undo`: a LOCK that is interrupted leaves no lock behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from locklib.core import paths, refusing, rules
from locklib.core.accepting import Rendering
from locklib.core.context import NO_FACTS, Exchange, Facts, without_body
from locklib.core.disclosing import Disclosure
from locklib.core.fields import granted_timeout, parse_depth, parse_lock_token, parse_timeout
from locklib.core.lockinfo import LockInfo, parse_lockinfo
from locklib.core.model import Depth, Details, Done, Fact, Held, Lock, Permit, Purpose, Refusal, replace
from locklib.core.moves import Act, Answer, Ask, Call, Look, Next, Read, Reply, Undo, Wait
from locklib.core.policy import Mode
from locklib.core.refusals import render_granted
from locklib.core.rules import Acquisition, Granted, NeedFacts, NeedMore, Renewal, Submission, Wish
from locklib.errors import BadField, BodyTooLarge, LockError, UnsupportedBody

__all__ = ["lock", "unlock"]

MARGIN = 20.0
"""Seconds that a pending lock outlives the wait for older writers: for the questions and the empty PUT after it."""


def lock(exchange: Exchange) -> Next:
    """LOCK: with a body a new lock, without one a refresh (RFC 4918 section 9.10.2). The body decides, never `If`."""

    def read(body: bytes | None) -> Next:
        try:
            if body is None:
                raise BodyTooLarge(exchange.policy.body_limit)
            if not body.strip():
                return _without_body(exchange)
            return _create(_in_kind(exchange, body), parse_lockinfo(body, exchange.head.first("content-type")))
        except LockError as exc:
            return exchange.error(exc)

    return Read(exchange.policy.body_limit, read, exchange.late)


def _without_body(exchange: Exchange) -> Next:
    if "if" in exchange.head.fields:
        return _refresh(exchange)
    if exchange.policy.bodyless_lock:
        return _create(exchange, LockInfo())
    message = "a LOCK needs a lockinfo body (a new lock), or an If header with a lock token (a refresh)"
    return exchange.render(refusing.bad_request(exchange.resource, message, slug="no-lockinfo"))


# ---- a new lock ------------------------------------------------------------------------------------------------------


class _Locking(NamedTuple):
    """A LOCK under way: what is asked for, and what is known of the URL."""

    exchange: Exchange
    wish: Wish
    submission: Submission
    facts: Facts = NO_FACTS


def _create(exchange: Exchange, info: LockInfo) -> Next:
    if exchange.policy.key is None and paths.ambiguous(exchange.head.path, exchange.policy.folding):
        message = "the path can be read as more than one resource; lock its plain spelling"
        return exchange.render(refusing.bad_request(exchange.resource, message, slug="ambiguous-path"))
    locking = _Locking(exchange, _wish(exchange, info), exchange.submission(exchange.if_header()))
    return _if_known(exchange, lambda: _if_allowed(locking))


def _in_kind(exchange: Exchange, body: bytes) -> Exchange:
    """The language of the question is that of the answer, where Accept leaves it open."""
    accept = exchange.head.first("accept")
    is_open = accept is None or accept.strip() == "*/*"
    return replace(exchange, rendering=Rendering.XML) if is_open and body.lstrip()[:1] == b"<" else exchange


def _wish(exchange: Exchange, info: LockInfo) -> Wish:
    head, timeouts = exchange.head, exchange.policy.timeouts
    field_depth = head.first("depth")
    if field_depth is None and info.depth is not None:
        depth = info.depth
    else:
        _once(exchange, "depth")
        depth = Depth(parse_depth(field_depth, ("0", "infinity"), "infinity"))
    lines = head.fields.get("timeout")
    wishes = parse_timeout(", ".join(lines)) if lines else (() if info.timeout is None else (info.timeout,))
    return Wish(
        exchange.chosen.token,
        exchange.key,
        exchange.resource,
        depth,
        info.scope,
        Purpose.WRITE,
        granted_timeout(wishes, timeouts.minimum, timeouts.default, timeouts.maximum),
        Details(owner_info=info.owner_info, owner_is_xml=info.owner_is_xml),
        exchange.creation(head.path, exchange.key),
        pending=exchange.route.mode is Mode.HOLD,
        pending_lasts=exchange.policy.hold_wait + MARGIN,
    )


def _once(exchange: Exchange, name: str) -> None:
    lines = exchange.head.fields.get(name, ())
    if len(lines) > 1:
        raise BadField(name.title(), ", ".join(lines), "one field line")


def _if_known(exchange: Exchange, then: Callable[[], Next]) -> Next:
    """Where there is a `principal=`, a LOCK needs one: the application's own 401, a challenge, or 403."""
    if not exchange.policy.identified or exchange.asker.principal is not None:
        return then()
    return exchange.permitted(lambda _: exchange.render(_unknown(exchange)))


def _unknown(exchange: Exchange) -> Refusal:
    message = "locks are held by principals here; the request has none"
    if exchange.policy.challenge:
        return refusing.unauthorized(exchange.resource, message)
    return refusing.forbidden(exchange.resource, message, slug="no-principal")


def _if_allowed(locking: _Locking) -> Next:
    """The application's 401 and 403, and the hooks, before anything is granted (RFC 4918 section 8.1)."""
    exchange, wish = locking.exchange, locking.wish
    policy = exchange.policy
    infinity_on_root = policy.dav if policy.infinity_on_root is None else policy.infinity_on_root
    if wish.depth is Depth.INFINITY and not infinity_on_root and _is_root(exchange):
        message = "a lock with Depth infinity on the root would shut everybody out; lock a part, or use Depth: 0"
        return exchange.render(refusing.forbidden(exchange.resource, message, slug="infinity-on-root"))
    if policy.may_lock is not None and not policy.may_lock(exchange.asker.principal, exchange.head.path):
        return exchange.render(refusing.forbidden(exchange.resource, "this principal may not lock this resource"))
    return exchange.permitted(lambda facts: _acquire(replace(locking, facts=facts)))


def _is_root(exchange: Exchange) -> bool:
    """Whether the URL is the mount root, in whatever spelling."""
    folding = exchange.policy.folding
    root = paths.canonical(exchange.head.mount or "/", folding)
    return exchange.key == "/" or paths.canonical(exchange.head.path, folding) == root


def _acquire(locking: _Locking, *, unlimited: bool = False) -> Next:
    exchange, wish = locking.exchange, locking.wish
    query, step = rules.acquire(
        wish,
        locking.submission,
        locking.facts,
        namespace=exchange.namespace,
        claim=_claim(locking),
        unlimited=unlimited,
    )

    def then(done: Done[Acquisition]) -> Next:
        match done.answer:
            case Granted() as granted:
                stored = done.rows[0] if done.rows else granted.lock
                return _granted(locking, replace(granted, lock=stored))
            case NeedFacts(asked):
                again: Callable[[Facts], Next] = lambda facts: _acquire(replace(locking, facts=facts))  # noqa: E731
                return exchange.facts(asked, again, locking.facts)
            case NeedMore():
                return _acquire(locking, unlimited=True)
            case refusal:
                return exchange.tell(exchange.with_remedy(refusal))

    return Act(query, step, then, exchange.unavailable, _undo(exchange, Lock(wish.token, wish.key)))


def _claim(locking: _Locking) -> Permit | None:
    """A LOCK that may make an empty resource is a writer to the collection: it publishes as every writer does."""
    exchange, creation = locking.exchange, locking.wish.creation
    if not locking.wish.pending or not exchange.policy.dav or creation is None:
        return None
    submission = locking.submission
    return Permit(
        exchange.chosen.id,
        exchange.namespace,
        memberships=creation.parents,
        tokens=submission.tokens,
        creator=submission.asker.name,
    )


def _undo(exchange: Exchange, lock: Lock) -> Undo:
    return rules.abandon(lock, namespace=exchange.namespace)


def _granted(locking: _Locking, granted: Granted) -> Next:
    """Committed. In mode hold: now the board is looked at, after the commit (publish, then look)."""
    exchange = locking.exchange
    undo = _undo(exchange, granted.lock)
    if not granted.lock.pending:
        return _is_it_mapped(locking, granted)

    def seen(permits: tuple[Permit, ...]) -> Next:
        ids = rules.permits_in_the_way(granted.lock, permits, granted.others)
        if not ids:
            return _is_it_mapped(locking, granted)
        return Wait(ids, exchange.policy.hold_wait, waited, undo)

    def waited(left: frozenset[str]) -> Next:
        if not left:
            return _is_it_mapped(locking, granted)
        return _give_up(locking, granted, exchange.render(_still_written(exchange)))

    return Look(exchange.namespace, granted.lock, seen, exchange.unavailable, undo)


def _still_written(exchange: Exchange) -> Refusal:
    return refusing.still_being_written(exchange.resource, exchange.policy.hold_wait)


def _give_up(locking: _Locking, granted: Granted, answer: Next) -> Next:
    """Take the lock back, then answer."""
    query, step = _undo(locking.exchange, granted.lock)
    return Act(query, step, lambda _: answer, lambda: answer, (query, step))


def _is_it_mapped(locking: _Locking, granted: Granted) -> Next:
    """Asked after the grant, for until then others could make or remove the resource (RFC 4918 7.3, 9.10.4).

    Where nothing is made it is only a matter of 200 or 201, and what was learned before the grant is good enough.
    """
    exchange = locking.exchange
    path = exchange.head.path
    first = locking.facts.get(path)
    if first is not None and first.mapped and not exchange.policy.dav:
        return _confirm(locking, granted, 200)
    undo = _undo(exchange, granted.lock)

    def told(facts: Facts) -> Next:
        return _by_fact(locking, granted, facts.get(path, Fact()))

    return guarded(exchange.facts((path,), told), undo)


def _by_fact(locking: _Locking, granted: Granted, fact: Fact) -> Next:
    if fact.mapped is not False:
        return _confirm(locking, granted, 200)
    if not locking.exchange.policy.dav:
        return _confirm(locking, granted, 201)
    return _make_empty(locking, granted)


def _make_empty(locking: _Locking, granted: Granted) -> Next:
    """LOCK of an unmapped URL makes an empty resource, by the application's own PUT (RFC 4918 section 9.10.4)."""
    exchange = locking.exchange

    def told(answer: Answer) -> Next:
        if 200 <= answer.status < 300:
            return _confirm(locking, granted, 201)
        if answer.status == 412:  # somebody else's PUT came first: it is mapped now
            return _confirm(locking, granted, 200)
        return _give_up(locking, granted, Reply(_whole(answer, limit)))

    limit = exchange.policy.body_limit
    empty = (("If-None-Match", "*"), ("Content-Length", "0"))
    return Call("PUT", exchange.head.path, told, empty, limit, _undo(exchange, granted.lock))


FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


def _whole(answer: Answer, limit: int) -> Answer:
    """The application's failure as it is passed on: framed anew, and without a body of which only a part was kept."""
    if len(answer.body) >= limit:
        return without_body(answer)
    kept = tuple((name, value) for name, value in answer.headers if name.lower() not in FRAMING)
    return Answer(answer.status, kept, answer.body)


def _confirm(locking: _Locking, granted: Granted, status: int) -> Next:
    exchange = locking.exchange
    if not granted.lock.pending:
        return _answer(exchange, granted, status)
    query, step = rules.confirm(granted.lock, namespace=exchange.namespace)

    def then(done: Done[Granted | None]) -> Next:
        if done.answer is None:
            return exchange.render(_still_written(exchange))
        return _answer(exchange, replace(done.answer, lock=done.rows[0]), status)

    return Act(query, step, then, exchange.unavailable, _undo(exchange, granted.lock))


def _answer(exchange: Exchange, granted: Granted, status: int, *, refreshed: bool = False) -> Next:
    """The lock, and the locks beside it as lockdiscovery shows them (RFC 4918 sections 6.8 and 9.10.1)."""
    held = Held(granted.lock, granted.remaining)
    others = tuple(other for other in granted.others if other.lock.token != granted.lock.token)
    open_to_all = not exchange.policy.strict_discovery
    disclosure = Disclosure(token=open_to_all, owner=open_to_all, reason=open_to_all, contact=open_to_all)
    discovery = (held, *others)
    return exchange.reply(
        render_granted(
            held, exchange.rendering, status=status, refreshed=refreshed, discovery=discovery, disclosure=disclosure
        )
    )


def guarded(move: Next, undo: Undo) -> Next:
    """The questions of `exchange` are the same for all; here they are asked while a lock is pending."""
    if isinstance(move, Call):
        then = move.then
        return replace(move, undo=undo, then=lambda answer: guarded(then(answer), undo))
    return replace(move, undo=undo) if isinstance(move, Ask) else move


# ---- refresh ---------------------------------------------------------------------------------------------------------


def _refresh(exchange: Exchange) -> Next:
    header = exchange.if_header()
    lines = exchange.head.fields.get("timeout")
    timeouts = exchange.policy.timeouts
    wishes = parse_timeout(", ".join(lines)) if lines else ()
    timeout = granted_timeout(wishes, timeouts.minimum, timeouts.default, timeouts.maximum)
    submission = exchange.submission(header)
    return _if_known(exchange, lambda: _refreshing(exchange, timeout, submission, NO_FACTS))


def _refreshing(exchange: Exchange, timeout: float, submission: Submission, facts: Facts) -> Next:
    query, step = rules.refresh(exchange.key, timeout, submission, facts, namespace=exchange.namespace)

    def then(done: Done[Renewal]) -> Next:
        match done.answer:
            case Granted() as granted:
                return _answer(exchange, replace(granted, lock=done.rows[0]), 200, refreshed=True)
            case NeedFacts(asked):
                return exchange.facts(asked, lambda found: _refreshing(exchange, timeout, submission, found), facts)
            case refusal:
                return exchange.refuse(refusal)

    return Act(query, step, then, exchange.unavailable)


# ---- UNLOCK ----------------------------------------------------------------------------------------------------------


def unlock(exchange: Exchange) -> Next:
    """UNLOCK: 204, or why not (RFC 4918 section 9.11.1)."""

    def read(body: bytes | None) -> Next:
        try:
            if body is None or body:
                raise UnsupportedBody("UNLOCK takes no body; the lock is named by the Lock-Token header")
            return _named_in_header(exchange)
        except LockError as exc:
            return exchange.error(exc)

    return Read(0, read, exchange.late)


def _named_in_header(exchange: Exchange) -> Next:
    line = exchange.head.first("lock-token")
    if line is None:
        message = "UNLOCK needs a Lock-Token header with the token of the lock to end"
        return exchange.render(refusing.bad_request(exchange.resource, message, slug="no-lock-token"))
    _once(exchange, "lock-token")
    token = parse_lock_token(line)
    submission = exchange.submission(exchange.if_header())
    return _if_known(exchange, lambda: _releasing(exchange, token, submission, NO_FACTS))


def _releasing(exchange: Exchange, token: str, submission: Submission, facts: Facts) -> Next:
    query, step = rules.release(
        exchange.key, token, exchange.chosen.id, submission, facts, namespace=exchange.namespace
    )

    def then(done: Done[Lock | Refusal | NeedFacts | None]) -> Next:
        match done.answer:
            case Refusal() as refusal:
                return exchange.refuse(refusal)
            case NeedFacts(asked):
                return exchange.facts(asked, lambda found: _releasing(exchange, token, submission, found), facts)
            case _:
                return Reply(Answer(204, (("Cache-Control", "no-store"),)))

    return Act(query, step, then, exchange.unavailable)
