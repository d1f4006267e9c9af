"""Targets: the header fields If, Timeout, Depth, Lock-Token and Destination (RFC 4918 section 10)."""

from __future__ import annotations

import math

from fuzz.parser import Parser, must, same
from fuzz.source import CRUMBS, Source, often, pick
from locklib.core import if_header
from locklib.core.fields import (
    MAX_SECONDS,
    Destination,
    granted_timeout,
    http_quote,
    parse_depth,
    parse_destination,
    parse_lock_token,
    parse_timeout,
    timeout_text,
)
from locklib.core.if_header import EntityTag, IfHeader, parse_etag, parse_if, pristine_if_match

__all__ = ["FIELDS", "destination", "if_value", "path", "token"]

# --- If ---------------------------------------------------------------------------------------------------------------

TOKENS = (
    "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    *("DAV:no-lock", "opaquelocktoken:a-b", "urn:x:y", "x:", "http://h.test/a?b=c", "a+b.c-d:[]!$&'()*+,;=~%41"),
)
ETAGS = ('"e"', 'W/"e"', '""', '"a b"', '"\xe9\\"', '"!#~"')
TAGS = ("/a", "/", "/c/a%20b", "http://h.test/a", "http://h.test:80/c/", "https://[::1]/x?y", "/a)(<", "x:")
BLANKS = ("", " ", "  ", "\t", " \t ")


def token(source: Source) -> str:
    return pick(source, TOKENS)


def term(source: Source) -> str:
    what = f"<{token(source)}>" if source.below(3) < 2 else f"[{pick(source, ETAGS)}]"
    return what if often(source, 4) else pick(source, ("Not ", "not", "NOT\t")) + what


def condition_list(source: Source) -> str:
    terms = [term(source) for _ in range(1 + source.below(3))]
    return "(" + pick(source, BLANKS).join(terms) + pick(source, BLANKS) + ")"


def if_value(source: Source) -> str:
    """If = 1*No-tag-list | 1*Tagged-list   (RFC 4918 section 10.4.2)."""
    if source.below(5) == 0:
        return f"(<{token(source)}>)"
    blank = pick(source, BLANKS)
    if source.below(2):
        return blank.join(condition_list(source) for _ in range(1 + source.below(4)))
    return blank.join(
        f"<{pick(source, TAGS)}>{blank}" + "".join(condition_list(source) for _ in range(1 + source.below(2)))
        for _ in range(1 + source.below(3))
    )


def written_if(header: IfHeader) -> str:
    lists = []
    for tag, terms in header.lists:
        inside = " ".join(
            ("Not " if negated else "") + (f"[{what}]" if isinstance(what, EntityTag) else f"<{what.uri}>")
            for negated, what in terms
        )
        lists.append(f"({inside})" if tag is None else f"<{tag}> ({inside})")
    return " ".join(lists)


def check_if(value: str, header: IfHeader) -> None:
    written = written_if(header)
    if len(written) <= if_header.MAX_LENGTH:
        same("If, written and read again", parse_if(written).lists, header.lists)
    same("If, the short way and the long one", if_header._parse_any(value).lists, header.lists)
    uris = [what.uri for _, terms in header.lists for _, what in terms if not isinstance(what, EntityTag)]
    same("If, its tokens", header.tokens, tuple(dict.fromkeys(uris)))
    must(all(f"<{uri}>" in value for uri in uris), "If, a token that is not there", (value, uris))
    same("If, tagged or not", {each.tag is not None for each in header.lists}, {header.has_tags})
    must(1 <= sum(len(each.terms) for each in header.lists) <= if_header.MAX_CONDITIONS, "If, too many", value)
    for _, terms in header.lists:
        for _, what in terms:
            if isinstance(what, EntityTag):
                same("If, an entity tag written and read", parse_etag(str(what)), what)
    must(pristine_if_match(header) is None or not uris, "If, said as If-Match", value)


# --- Timeout ----------------------------------------------------------------------------------------------------------

TIME_TYPES = ("Second-900", "Infinite", "Second-0", "second-4294967295", "Second-4294967296", "Second-00012", "Extend")


def timeout_value(source: Source) -> str:
    return pick(source, (", ", ",", " ,\t")).join(pick(source, TIME_TYPES) for _ in range(1 + source.below(4)))


def check_timeout(value: str, wishes: tuple[float, ...]) -> None:
    must(len(wishes) <= value.count(",") + 1, "Timeout, more wishes than items", (value, wishes))
    must(all(wish == math.inf or 0 <= wish <= MAX_SECONDS for wish in wishes), "Timeout, out of bounds", wishes)
    written = ", ".join("Infinite" if wish == math.inf else f"Second-{int(wish)}" for wish in wishes)
    same("Timeout, written and read again", parse_timeout(written), wishes)
    granted = granted_timeout(wishes, 1.0, 900.0, 86_400.0)
    must(1.0 <= granted <= 86_400.0, "Timeout, granted out of bounds", (value, granted))
    same("Timeout, as it is told", parse_timeout(timeout_text(granted)), (float(math.ceil(granted)),))


# --- Depth ------------------------------------------------------------------------------------------------------------

ALLOWED = (("0", "infinity"), ("0", "1", "infinity"), ("infinity",))


def depth_value(source: Source) -> str:
    return pick(source, BLANKS) + pick(source, ("0", "1", "infinity", "Infinity", "INFINITY")) + pick(source, BLANKS)


def read_depth(value: str) -> str:
    return parse_depth(value, ("0", "1", "infinity"), "infinity")


def check_depth(value: str, depth: str) -> None:
    same("Depth, written and read again", read_depth(depth), depth)
    must(depth in ("0", "1", "infinity") and depth in value.lower(), "Depth, a value that is not there", value)
    same("Depth, where it is absent", {parse_depth(None, allowed, "0") for allowed in ALLOWED}, {"0"})


# --- Lock-Token -------------------------------------------------------------------------------------------------------


def lock_token_value(source: Source) -> str:
    uri = token(source)
    return pick(source, BLANKS) + (f"<{uri}>" if source.below(4) else uri) + pick(source, BLANKS)


def check_lock_token(value: str, uri: str) -> None:
    same("Lock-Token, written and read again", parse_lock_token(f"<{uri}>"), uri)
    must(uri in value and "<" not in uri and " " not in uri, "Lock-Token, not as it was sent", (value, uri))
    if len(uri) < if_header.MAX_LENGTH - 100:
        same("Lock-Token, shown in If", parse_if(f"(<{uri}>)").tokens, (uri,))


# --- Destination ------------------------------------------------------------------------------------------------------

SEGMENTS = ("a", "c", "b.txt", "%20", "caf%C3%A9", "caf\xc3\xa9", "%2F", "..", ".", "", "a;x=1", "%25", "%252e", "\xff")
HOSTS = ("h.test", "h.test:80", "H.TEST", "[::1]:8080", "other.test", "127.0.0.1:", "x_y")


def path(source: Source) -> str:
    return "/" + "/".join(pick(source, SEGMENTS) for _ in range(source.below(4)))


def destination(source: Source) -> str:
    """Simple-ref = absolute-URI | ( path-absolute [ "?" query ] )   (RFC 4918 section 8.3)."""
    query = pick(source, ("", "", "?", "?a=b"))
    if source.below(2):
        return path(source) + query
    return f"{pick(source, ('http', 'https', 'HTTP', 'dav+x'))}://{pick(source, HOSTS)}{path(source)}{query}"


def check_destination(value: str, found: Destination) -> None:
    same("Destination, read again", parse_destination(found.raw), found)
    where = "" if found.authority is None else f"http://{found.authority}"
    if found.path[:2] == "//" and not where:
        where = "http://h.test"  # a path that was %2F%2F would be a host now
    again = parse_destination(where + http_quote(found.path))
    same("Destination, written and read again", again.path, found.path)
    must(found.path.startswith("/"), "Destination, no path", found)
    must(found.authority is None or found.authority in value, "Destination, another host", found)


FIELDS = (
    Parser("if", if_value, parse_if, check_if, (*CRUMBS, "(<DAV:no-lock>)", "</a>", '["e"]', '[W/"e"]', "Not Not ")),
    Parser("timeout", timeout_value, parse_timeout, check_timeout, (*CRUMBS, *TIME_TYPES, ","), 65_536, 1),
    Parser("depth", depth_value, read_depth, check_depth, weight=1),
    Parser("lock-token", lock_token_value, parse_lock_token, check_lock_token, (*CRUMBS, *TOKENS), weight=1),
    Parser("destination", destination, parse_destination, check_destination, (*CRUMBS, *SEGMENTS, *HOSTS, "//", "@")),
)
