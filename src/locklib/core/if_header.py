"""The `If` header field: its grammar, as values.

Knows: the grammar of RFC 4918 section 10.4.2, entity tags of RFC 9110 section 8.8.3, the limits on a hostile header.
Must not know: locks, paths, which resource a tag means, whether a condition is true (`locklib.core.conditions`).

Nearly every header is `(<token>)`, so that one shape is read by a single pattern; and in the headers of many lists,
nearly every list is `<tag> (<token> ["entity tag"])` or less, so one match reads that. All others go through one small
function per production: `parse_x(value, pos) -> (x, pos after it)`. Each function either moves forward or raises,
nothing recurses and no pattern has a quantifier inside a quantifier, so the time is linear in the length whatever is
sent. The values are named tuples, for a header of twenty lists makes sixty of them and a frozen dataclass costs twice
as much to make.

Departures from the letter, each on the generous side:

- `Not` is read in any case (string literals of RFC 2616's ABNF are case-insensitive); `W/` is case-sensitive by
  RFC 9110 section 8.8.3 and stays so.
- blanks and tabs may stand between any two parts, also inside the brackets round an entity tag (RFC 2616's implied
  white space); never inside `<>`, where section 10.1 forbids them.
- an opaque tag may hold blanks, as RFC 2616's quoted-string did; a backslash is a plain character (RFC 9110).
- a Resource-Tag may hold characters that RFC 3986 wants percent-encoded, for clients send them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

from locklib.errors import BadField

__all__ = [
    "ABSOLUTE_URI",
    "MAX_CONDITIONS",
    "MAX_LENGTH",
    "ConditionList",
    "EntityTag",
    "IfHeader",
    "StateToken",
    "Term",
    "parse_etag",
    "parse_if",
    "pristine_if_match",
]

MAX_LENGTH = 16 * 1024
"""The longest `If` that is read, in characters (one per byte, for header fields arrive as latin-1)."""

MAX_CONDITIONS = 1000
"""The most conditions in one header, over all lists."""

BLANK = r"[ \t]*"
SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
# absolute-URI = scheme ":" hier-part [ "?" query ]      (RFC 3986 section 4.3: every character of a URI but "#")
URI_CHARACTER = r"[!$-;=?-Z\[\]_a-z~]"
ABSOLUTE_URI = f"{SCHEME}:{URI_CHARACTER}*"
# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE             (RFC 9110 section 8.8.3, and blanks)
ENTITY_TAG = r'(W/)?"([\t !#-~\x80-\xff]*)"'

# The whole of the commonest header; bounded, so that what matches is within MAX_LENGTH too.
PLAIN = re.compile(rf"\(<([A-Za-z][A-Za-z0-9+.\-]{{0,99}}:{URI_CHARACTER}{{0,16000}})>\)")
ETAG = re.compile(ENTITY_TAG)
TAG = rf"<((?:/(?!/)|{SCHEME}:)[^\x00-\x20\"#<>\x7f]*)>{BLANK}"
RESOURCE_TAG = re.compile(TAG)
CONDITION = rf"([Nn][Oo][Tt]{BLANK})?(?:<({ABSOLUTE_URI})>|\[{BLANK}{ENTITY_TAG}{BLANK}\]){BLANK}(\){BLANK})?"
FIRST_CONDITION = re.compile(rf"\({BLANK}{CONDITION}")
NEXT_CONDITION = re.compile(CONDITION)
COMMON_LIST = rf"(?:{TAG})?\({BLANK}<({ABSOLUTE_URI})>{BLANK}(?:\[{BLANK}{ENTITY_TAG}{BLANK}\]{BLANK})?\){BLANK}"

R = TypeVar("R", bound=tuple[Any, ...])


class _Make(Protocol):
    """What `tuple.__new__` is here: a named tuple from its fields, without the call of its own `__new__`."""

    def __call__(self, kind: type[R], fields: Iterable[Any], /) -> R: ...


match_plain: Callable[[str], re.Match[str] | None] = PLAIN.fullmatch
make: _Make = tuple.__new__
new_header: Callable[[type[_OneToken]], _OneToken] = object.__new__


class StateToken(NamedTuple):
    """A state token: any absolute URI, compared as text. Source: RFC 4918 sections 6.5 and 10.4.2."""

    uri: str


class EntityTag(NamedTuple):
    """An entity tag: what stands between the quotes, exactly, and whether `W/` stood before them.

    Source: RFC 9110 section 8.8.3.
    """

    opaque: str
    weak: bool = False

    def matches(self, current: EntityTag | None) -> bool:
        """Whether this tag of an `If` names the representation that has the tag `current` (None: it has none).

        RFC 4918 section 10.4.4 leaves the choice between weak and strong comparison to the server. `If` guards writes,
        so it is the strong one (RFC 9110 section 8.8.3.2): a weak tag on one side never meets a strong one on the
        other. One thing is added: two weak tags that are identical match. Where the application hands out only weak
        tags, strong comparison could never be true, and its clients would get 412 for ever; a client that writes `W/`
        asks for no more than the application promised. Together that is plain equality.
        """
        return self == current

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'


class Term(NamedTuple):
    """One condition of a list: what must hold, or with `negated` must not. Source: RFC 4918 section 10.4.2."""

    negated: bool
    what: StateToken | EntityTag


class ConditionList(NamedTuple):
    """A list: all its terms must hold for the resource `tag`, or for the Request-URI where `tag` is None.

    `tag` is the Resource-Tag as it stood between `<` and `>`: an absolute URI or an absolute path.
    Source: RFC 4918 section 10.4.2.
    """

    tag: str | None
    terms: tuple[Term, ...]


class IfHeader:
    """A whole `If`: true when one of its lists is. Immutable, compared by its lists. Source: RFC 4918 section 10.4."""

    __slots__ = ("_lists", "_tokens")

    _lists: tuple[ConditionList, ...]
    _tokens: tuple[str, ...] | None

    def __init__(self, lists: tuple[ConditionList, ...]) -> None:
        self._lists = lists
        self._tokens = None

    @property
    def lists(self) -> tuple[ConditionList, ...]:
        """The lists in the order of the header, the lists of one tag each carrying that tag."""
        return self._lists

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every state token, each once, in order: under any tag, in any list, under `Not` (RFC 4918 10.4.1)."""
        if self._tokens is None:
            named = (term.what for each in self.lists for term in each.terms)
            self._tokens = tuple(dict.fromkeys(what.uri for what in named if isinstance(what, StateToken)))
        return self._tokens

    @property
    def has_tags(self) -> bool:
        """Whether the lists are tagged; a header never mixes tagged and untagged lists."""
        return self.lists[0].tag is not None

    @property
    def tagged_resources(self) -> tuple[str, ...]:
        """Every Resource-Tag as written, each once, in order."""
        return tuple(dict.fromkeys(each.tag for each in self.lists if each.tag is not None))

    def __eq__(self, other: object) -> bool:
        return self.lists == other.lists if isinstance(other, IfHeader) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.lists)

    def __repr__(self) -> str:
        return f"IfHeader(lists={self.lists!r})"


class _OneToken(IfHeader):
    """`(<token>)`: keeps the match, and makes the values when somebody asks; they cost more than reading the header."""

    __slots__ = ("_found",)

    _found: re.Match[str]

    @property
    def lists(self) -> tuple[ConditionList, ...]:
        return (ConditionList(None, (Term(False, StateToken(self._found[1])),)),)

    @property
    def tokens(self) -> tuple[str, ...]:
        return (self._found[1],)


def parse_if(value: str) -> IfHeader:
    """Read one `If` field value.

    `value` is the text after the colon of the only `If` line; two lines are the shell's 400. Raises `BadField` (400)
    for anything outside the grammar, for more than `MAX_LENGTH` characters, and for more than `MAX_CONDITIONS`
    conditions. Source: RFC 4918 section 10.4.
    """
    plain = match_plain(value)
    if plain is None:
        return _parse_any(value)
    header = new_header(_OneToken)
    header._found = plain
    return header


# If = "If" ":" ( 1*No-tag-list | 1*Tagged-list )
# No-tag-list = List
# Tagged-list = Resource-Tag 1*List
def _parse_any(value: str) -> IfHeader:
    if len(value) > MAX_LENGTH:
        raise BadField("If", value, f"at most {MAX_LENGTH} characters; send fewer lists at a time")
    lists: list[ConditionList] = []
    tag: str | None = None
    count = 0
    pos = len(value) - len(value.lstrip(" \t"))  # LWS = *( SP | HT ); a folded line is refused (RFC 9112 section 5.2)
    tagged = value.startswith("<", pos)
    match_common = _common_list()
    while pos < len(value) or not lists:
        found = match_common(value, pos)
        if found is not None and (tagged or found[1] is None):
            named, uri, weak, opaque = found.groups()
            tag, terms, pos = named or tag, _terms(uri, weak, opaque), found.end()
        else:
            if tagged and value.startswith("<", pos):
                tag, pos = parse_resource_tag(value, pos)
            terms, pos = parse_list(value, pos)
        count += len(terms)
        if count > MAX_CONDITIONS:
            raise BadField("If", value, f"at most {MAX_CONDITIONS} conditions; send fewer lists at a time")
        lists.append(make(ConditionList, (tag, terms)))
    return IfHeader(tuple(lists))


@cache
def _common_list() -> Callable[[str, int], re.Match[str] | None]:
    """Made for the first header of more than one token; most processes never see any."""
    return re.compile(COMMON_LIST).match


def _terms(uri: str, weak: str | None, opaque: str | None) -> tuple[Term, ...]:
    token = make(Term, (False, make(StateToken, (uri,))))
    if opaque is None:
        return (token,)
    return (token, make(Term, (False, make(EntityTag, (opaque, weak is not None)))))


# Resource-Tag = "<" Simple-ref ">"
# Simple-ref = absolute-URI | ( path-absolute [ "?" query ] )      (RFC 4918 section 8.3)
def parse_resource_tag(value: str, pos: int) -> tuple[str, int]:
    """The Resource-Tag at `pos`, without its angle brackets, and the position after it and its blanks."""
    found = RESOURCE_TAG.match(value, pos)
    if found is None:
        raise _bad(value, pos, "a Resource-Tag, <absolute URI or absolute path>,")
    return found[1], found.end()


# List = "(" 1*Condition ")"
# Condition = ["Not"] (State-token | "[" entity-tag "]")
# State-token = Coded-URL
# Coded-URL = "<" absolute-URI ">"      (RFC 4918 section 10.1: no white space inside)
def parse_list(value: str, pos: int) -> tuple[tuple[Term, ...], int]:
    """The terms of the list at `pos`, and the position after it and its blanks.

    One match reads a condition and the parenthesis before or behind it: the commonest list is a single step.
    """
    found = FIRST_CONDITION.match(value, pos)
    if found is None:
        raise _bad(value, pos, 'a list, (<state token>) or (["entity tag"]), and no tag behind lists without one,')
    terms: list[Term] = []
    while True:
        negated, uri, weak, opaque, closing = found.groups()
        what: StateToken | EntityTag = make(StateToken, (uri,)) if uri else make(EntityTag, (opaque, weak is not None))
        terms.append(make(Term, (negated is not None, what)))
        pos = found.end()
        if closing:
            return tuple(terms), pos
        found = NEXT_CONDITION.match(value, pos)
        if found is None:
            raise _bad(value, pos, 'a condition, <state token> or ["entity tag"], perhaps behind Not, or ")"')


def _bad(value: str, pos: int, expected: str) -> BadField:
    return BadField("If", value, f"{expected} at character {pos + 1}")


def parse_etag(value: str) -> EntityTag | None:
    """The entity tag in an application's `ETag` answer field, or None if it is none that a client could name.

    Never raises: what an application answers is not the client's fault. Source: RFC 9110 section 8.8.3.
    """
    found = ETAG.fullmatch(value.strip(" \t"))
    return EntityTag(found[2], found[1] is not None) if found else None


def pristine_if_match(header: IfHeader) -> str | None:
    """`header` said as an `If-Match` value of the same meaning, or None if there is none.

    There is one when each list is untagged and holds nothing but one strong entity tag, not negated: one of these tags
    must be the current one, which is what `If-Match` says (RFC 9110 section 13.1.1). A weak tag cannot be said:
    `If-Match` compares strongly, so it would be false where `EntityTag.matches` is true.
    """
    tags = [each.terms[0].what for each in header.lists if each.tag is None and _is_strong_tag(each.terms)]
    return ", ".join(map(str, tags)) if len(tags) == len(header.lists) else None


def _is_strong_tag(terms: tuple[Term, ...]) -> bool:
    first = terms[0]
    return len(terms) == 1 and not first.negated and isinstance(first.what, EntityTag) and not first.what.weak
