"""One request, as far as it is known: the context that all flows share, and the questions that they ask.

Knows: the addresses of a request on this side and on the client's, what it shows, how a refusal goes out, how the
application is asked (RFC 4918 sections 8.1 and 8.3).
Must not know: which method needs what (`admission`, `locking`, `dav`), how a question is carried out (the shells).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from locklib.core import paths, refusing
from locklib.core.accepting import Rendering
from locklib.core.conditions import Target
from locklib.core.disclosing import Disclosure
from locklib.core.fields import (
    Destination,
    http_quote,
    parse_lock_token,
    parse_resource_tag,
    same_authority,
)
from locklib.core.if_header import IfHeader, parse_if
from locklib.core.model import Fact, Refusal, replace
from locklib.core.moves import Answer, Ask, Call, Chosen, Head, Next, Proceed, Reply
from locklib.core.policy import Policy, Route
from locklib.core.rules import (
    Asker,
    Creation,
    Submission,
)
from locklib.errors import BadField, ConfigurationError, LockError, StoreUnavailable, shown

if TYPE_CHECKING:
    from locklib.core.refusals import Rendered

__all__ = ["MAX_ASKED", "NO_FACTS", "Exchange", "Facts", "key_of", "namespace_of", "without_body"]

MAX_ASKED = 64
"""URLs that are asked for on behalf of one request; more is a 400."""

BARE = Disclosure(token=False, owner=False, reason=False, contact=False, root=False)
"""Of a lock whose root the asker may not see."""

Facts: TypeAlias = Mapping[str, Fact]
NO_FACTS: Facts = MappingProxyType({})


def key_of(policy: Policy, path: str) -> str:
    """The canonical key of a decoded path: the application's own name for the resource, or ours (docs/design.md)."""
    if policy.key is None:
        return paths.canonical(path, policy.folding)
    key = policy.key(path)
    if not isinstance(key, str):
        raise ConfigurationError(f"key= gave {shown(key)} for a path; it must give a string, for every path")
    return "/" + key.strip("/")


def namespace_of(policy: Policy, head: Head) -> str:
    return "" if policy.namespace is None else policy.namespace(head.host, head.path)


def _mapped(status: int) -> bool | None:
    """What a status says of a URL: 404 and 410 are unmapped, success is mapped, anything else is unknown."""
    if status in (404, 410):
        return False
    return True if 200 <= status < 300 or status == 304 else None


class Exchange(NamedTuple):
    """One request, as far as it is known: the context that all flows share."""

    policy: Policy
    head: Head
    chosen: Chosen
    route: Route
    key: str
    namespace: str
    asker: Asker
    rendering: Rendering
    passing: Proceed = Proceed()
    """How the request goes to the application if it is let through, as far as that is known."""

    # ---- addresses -------------------------------------------------------------------------------------------------

    @property
    def resource(self) -> str:
        """The request URL's path as the client addressed it, percent-encoded."""
        return self.outward(self.head.path)

    @property
    def public_prefix(self) -> str | None:
        """The path of `public_url`; None where it names no more than scheme and host: then paths are the same."""
        _, slash, path = (self.policy.public_url or "").partition("://")[2].partition("/")
        return "/" + path.strip("/") if slash else None

    def outward(self, path: str) -> str:
        """The decoded `path` of this side as clients address it: dot segments gone, percent-encoded."""
        prefix, mount = self.public_prefix, self.head.mount
        if prefix is not None and paths.covers(mount or "/", path):
            path = prefix.rstrip("/") + path[len(mount) :]
        return http_quote(paths.remove_dot_segments(path))

    def inward(self, path: str) -> str:
        """A decoded path out of a field of the client's as this side knows it."""
        prefix = self.public_prefix
        if prefix is not None and paths.covers(prefix, path):
            return self.head.mount + (path if prefix == "/" else path[len(prefix) :] or "/")
        return path

    def target(self, where: Destination) -> Target | None:
        """The resource that a Destination or a Resource-Tag means, or None on another authority."""
        if where.authority is not None and not same_authority(where.authority, self.head.host, self.policy.public_url):
            return None
        path = self.inward(where.path)
        if paths.covers(self.head.mount or "/", path):
            path = paths.full_path(self.head.mount, path, self.policy.folding)
        return Target(path, key_of(self.policy, path))

    def locate(self, tag: str | None) -> Target | None:
        return Target(self.head.path, self.key) if tag is None else self.target(parse_resource_tag(tag))

    def creation(self, path: str, key: str) -> Creation:
        return Creation(path, self.parents(path, key))

    def parents(self, path: str, key: str) -> tuple[str, ...]:
        if self.policy.key is None:
            return paths.parents_of_every_reading(path, self.policy.folding)
        above = paths.parent(key)
        return () if above is None else (above,)

    # ---- what the request shows ------------------------------------------------------------------------------------

    def if_header(self) -> IfHeader | None:
        """The parsed `If`, or None. Raises BadField, also for a Resource-Tag that is no URI or for two lines."""
        lines = self.head.fields.get("if", ())
        if len(lines) > 1:
            raise BadField("If", ", ".join(lines), "one field line")
        if not lines:
            return None
        header = parse_if(lines[0])
        for tag in header.tagged_resources:
            parse_resource_tag(tag)
        return header

    def submission(self, header: IfHeader | None, trusting: tuple[str, ...] = ()) -> Submission:
        tokens = header.tokens if header else ()
        if "office" in self.policy.quirks and self.head.method != "UNLOCK":
            tokens += tuple(parse_lock_token(line) for line in self.head.fields.get("lock-token", ()))
        return Submission(self.asker, self.resource, tokens, header, self.locate, trusting, self.chosen.jitter)

    # ---- answers ---------------------------------------------------------------------------------------------------

    @property
    def ours(self) -> bool:
        """Whether the answer has to be ours: the application knows no LOCK and no UNLOCK, so they never pass."""
        return self.head.method in ("LOCK", "UNLOCK")

    def reply(self, rendered: Rendered, refusal: Refusal | None = None) -> Reply:
        return Reply(Answer(rendered.status, rendered.headers, rendered.body), refusal)

    def render(self, refusal: Refusal, disclosure: Disclosure | None = None) -> Next:
        """The refusal as an answer, or, on an advisory route, word to the application. disclosure: None: policy's."""
        if self.route.advisory and not self.ours:
            return replace(self.passing, refusal=refusal)
        from locklib.core.refusals import render_refusal  # noqa: PLC0415 - with what it writes, for who is refused

        held = refusal.held
        shown = disclosure or self.policy.discloses(self.asker.principal, held.lock if held else None)
        rendered = render_refusal(self._told_alike(refusal, shown), self.rendering, shown)
        if refusal.status == 401 and self.policy.challenge:
            challenge = ("WWW-Authenticate", self.policy.challenge)
            rendered = replace(rendered, headers=(*rendered.headers, challenge))
        return self.reply(rendered, refusal)

    def _told_alike(self, refusal: Refusal, shown: Disclosure) -> Refusal:
        """A policy may decide for each lock: beside the first only those are told that may be told in the same way."""
        if self.policy.disclosure is None or len(refusal.conflicts) < 2:
            return refusal
        asker = self.asker.principal
        alike = tuple(held for held in refusal.conflicts if self.policy.discloses(asker, held.lock) == shown)
        roots = tuple(dict.fromkeys(held.lock.root for held in alike))
        return replace(refusal, conflicts=alike, hrefs=roots or refusal.hrefs[:1])

    def refuse(self, refusal: Refusal) -> Next:
        """Permission comes before lock state (RFC 4918 8.1, 8.5): the application's 401 or 403 goes first."""
        if self.route.advisory and not self.ours:
            return self.render(refusal)
        return self.permitted(lambda _: self.tell(refusal))

    def tell(self, refusal: Refusal) -> Next:
        """Render for one who may see the request URL, and so what is locked at or above it.

        A lock elsewhere (at a Destination, on a member) is told only where the application lets the asker see its root
        too; else the answer is that the resource is locked, and no more (T14).
        """
        if not (self.policy.ask_application or self.policy.authorize):
            return self.render(refusal)
        named = (self.inward(paths.percent_decode(href)) for href in refusal.hrefs)
        elsewhere = [path for path in dict.fromkeys(named) if not paths.covers(key_of(self.policy, path), self.key)]
        return self._told_of(refusal, elsewhere)

    def _told_of(self, refusal: Refusal, elsewhere: list[str]) -> Next:
        policy = self.policy
        if not elsewhere:
            return self.render(refusal)
        path, *rest = elsewhere
        if policy.authorize is not None:
            allowed = policy.authorize(self.asker.principal, "HEAD", path)
            return self._told_of(refusal, rest) if allowed else self.render(refusal, BARE)

        def told(answer: Answer) -> Next:
            hidden = answer.status in (401, 403)
            return self.render(refusal, BARE) if hidden else self._told_of(refusal, rest)

        return _head(path, told)

    def with_remedy(self, refusal: Refusal) -> Refusal:
        """Who may break the lock is told that they may."""
        may_break, held = self.policy.may_break, refusal.held
        if may_break is None or held is None or not may_break(self.asker.principal, held.lock):
            return refusal
        return replace(refusal, may_break=True)

    def error(self, exc: LockError) -> Next:
        from locklib.core.refusals import refusal_from_error  # noqa: PLC0415 - as in `render`

        return self.render(refusal_from_error(exc, self.resource))

    def late(self) -> Next:
        """The body that was waited for did not come."""
        message = f"the request body did not arrive within {self.policy.body_seconds:g} seconds"
        return self.render(Refusal(408, "request-timeout", "Request Timeout", message, self.resource))

    def unavailable(self) -> Next:
        """The store cannot answer: never a pass, unless the route says so."""
        from locklib.core.refusals import refusal_from_error  # noqa: PLC0415 - as in `render`

        refusal = refusal_from_error(StoreUnavailable("the lock store cannot answer just now"), self.resource)
        if self.route.fail_open and not self.ours:
            return replace(self.passing, refusal=refusal)
        return self.render(refusal)

    # ---- questions to the application ------------------------------------------------------------------------------

    def permitted(self, then: Callable[[Facts], Next]) -> Next:
        """Ask whether the caller may do this at all; `then` gets what was learned of the request URL on the way."""
        policy, head = self.policy, self.head
        if policy.authorize is not None:
            if policy.authorize(self.asker.principal, head.method, head.path):
                return then(NO_FACTS)
            return self.render(refusing.forbidden(self.resource, "this principal may not do this here"))
        if not policy.ask_application:
            return then(NO_FACTS)

        def told(answer: Answer) -> Next:
            if answer.status in (401, 403):
                return Reply(without_body(answer))
            return then({head.path: _fact(answer)})

        return _head(head.path, told)

    def facts(self, asked: tuple[str, ...], then: Callable[[Facts], Next], known: Facts = NO_FACTS) -> Next:
        """What the application, or the `resources` callable, says of these paths."""
        if len(asked) > MAX_ASKED:
            message = f"the request names {len(asked)} URLs whose state is needed; at most {MAX_ASKED} are looked up"
            return self.render(refusing.bad_request(self.resource, message))
        if self.policy.resources is not None:
            return Ask(asked, lambda found: then({**known, **found}))
        return self._ask_in_turn(asked, then, known)

    def _ask_in_turn(self, asked: tuple[str, ...], then: Callable[[Facts], Next], known: Facts) -> Next:
        open_paths = [path for path in asked if path not in known]
        if not open_paths:
            return then(known)
        path = open_paths[0]

        def told(answer: Answer) -> Next:
            return self._ask_in_turn(asked, then, {**known, path: _fact(answer)})

        def doubted(answer: Answer) -> Next:
            if _mapped(answer.status) is not None or not self.policy.dav:
                return told(answer)
            return Call("PROPFIND", path, told, headers=(("Depth", "0"),))

        return _head(path, doubted)


def _head(path: str, then: Callable[[Answer], Next]) -> Next:
    """HEAD; where the application does not know that method, GET, closed at its first body chunk."""

    def told(answer: Answer) -> Next:
        return Call("GET", path, then) if answer.status in (405, 501) else then(answer)

    return Call("HEAD", path, told)


def _fact(answer: Answer) -> Fact:
    return Fact(_mapped(answer.status), etag=answer.first("etag"), status=answer.status)


BODY_FIELDS = frozenset({"content-length", "transfer-encoding", "content-encoding", "content-range", "connection"})


def without_body(answer: Answer) -> Answer:
    """The application's refusal of our question, as the answer to the caller: without the body it would have had."""
    kept = tuple((name, value) for name, value in answer.headers if name.lower() not in BODY_FIELDS)
    return Answer(answer.status, (*kept, ("Content-Length", "0")))
