"""RFC 4918 section 10: Lock-Token, Depth, Overwrite, Destination; RFC 7240: Prefer; text going out (T6, T16, T20)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core.fields import (
    MAX_HEADER_TEXT,
    Destination,
    header_text,
    http_quote,
    parse_depth,
    parse_destination,
    parse_lock_token,
    parse_overwrite,
    parse_prefer,
    parse_resource_tag,
    parse_timeout,
    same_authority,
)
from locklib.errors import BadField

# --- Lock-Token (10.5) ---

LOCK_TOKENS = {
    "Coded-URL": ("<urn:uuid:a515cfa4>", "urn:uuid:a515cfa4"),
    "white space round it": (" \t<urn:uuid:a515cfa4> ", "urn:uuid:a515cfa4"),
    "no uuid": ("<opaquelocktoken:x?y,z>", "opaquelocktoken:x?y,z"),
    "bare (the npm client)": ("urn:uuid:a515cfa4", "urn:uuid:a515cfa4"),
}


@pytest.mark.parametrize(("value", "token"), LOCK_TOKENS.values(), ids=LOCK_TOKENS.keys())
def test_lock_token(value: str, token: str) -> None:
    assert parse_lock_token(value) == token


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "<>",
        "<",
        ">",
        "<a>",
        "a",
        "/a",
        "<a:b",
        "a:b>",
        "<a:b> <c:d>",
        "<a:b>, <c:d>",
        "a:b,c:d",
        "a:b c:d",
        "<a:b#c>",
        "(<a:b>)",
        "<a:\xe9>",
        "< a:b>",
        "<a:b>\n",
        "\u65e5:x",
    ],
)
def test_lock_token_refused(value: str) -> None:
    with pytest.raises(BadField) as refused:
        parse_lock_token(value)
    assert (refused.value.field, refused.value.value) == ("Lock-Token", value)


# --- Depth (10.2), Overwrite (10.6) ---


@pytest.mark.parametrize(
    ("value", "depth"),
    [(None, "infinity"), ("0", "0"), ("infinity", "infinity"), (" Infinity\t", "infinity")],
    ids=repr,
)
def test_depth_of_lock(value: str | None, depth: str) -> None:
    assert parse_depth(value, ("0", "infinity"), "infinity") == depth


def test_depth_one_where_it_is_allowed() -> None:
    assert parse_depth("1", frozenset({"0", "1"}), "1") == "1"


@pytest.mark.parametrize("value", ["1", "", "0, infinity", "0,0", "2", "-1", "00", "infinite", "\u0660", "1" * 9999])
def test_depth_refused(value: str) -> None:
    with pytest.raises(BadField, match=r"Depth: .* expected 0 or infinity"):
        parse_depth(value, {"0", "infinity"}, "infinity")


@pytest.mark.parametrize(("value", "flag"), [(None, True), ("T", True), ("t", True), (" F ", False), ("f", False)])
def test_overwrite(value: str | None, flag: bool) -> None:
    assert parse_overwrite(value) is flag


@pytest.mark.parametrize("value", ["", "true", "T, F", "TF", "0", "\u0166"])
def test_overwrite_refused(value: str) -> None:
    with pytest.raises(BadField, match="T or F"):
        parse_overwrite(value)


# --- T20: two fields joined into one ---


def test_t20_conflicting_headers_joined_by_a_server() -> None:
    with pytest.raises(BadField):
        parse_depth("0,infinity", ("0", "infinity"), "infinity")
    with pytest.raises(BadField):
        parse_lock_token("<urn:a:1>,<urn:a:2>")
    assert parse_timeout("Second-10,Second-20") == (10.0, 20.0)


# --- Destination (10.3) and Resource-Tag (10.4) ---

REFERENCES = {
    "absolute URI": ("http://example.com/a/b", "example.com", "/a/b"),
    "with a port": ("https://example.com:8443/a", "example.com:8443", "/a"),
    "any scheme": ("X-dav+1.0://h/a", "h", "/a"),
    "IPv6": ("http://[::1]:80/a", "[::1]:80", "/a"),
    "no path": ("http://example.com", "example.com", "/"),
    "a query alone": ("http://example.com?x=/y", "example.com", "/"),
    "absolute path": ("/a/b", None, "/a/b"),
    "root": ("/", None, "/"),
    "a query": ("/a?b=/c?d", None, "/a"),
    "percent-encoding": ("/a%20b/%C3%A9%2Fx", None, "/a b/\xe9/x"),
    "decoded once only": ("/a%252Fb", None, "/a%2Fb"),
    "an encoded question mark": ("/a%3Fb", None, "/a?b"),
    "bad percent-encoding stays": ("/100%/%zz", None, "/100%/%zz"),
    "bad UTF-8": ("/%ff%C3", None, "/\ufffd\ufffd"),
    "raw UTF-8, as latin-1": ("/caf\xc3\xa9", None, "/caf\xe9"),
    "raw latin-1": ("/caf\xe9", None, "/caf\ufffd"),
    "text from a test client": ("/\u65e5", None, "/\u65e5"),
    "dots are for the key": ("/a/../b", None, "/a/../b"),
    "white space round it": (" /a\t", None, "/a"),
    "two slashes inside": ("http://h//a", "h", "//a"),
}


@pytest.mark.parametrize(("value", "authority", "path"), REFERENCES.values(), ids=REFERENCES.keys())
def test_destination_and_tag(value: str, authority: str | None, path: str) -> None:
    assert parse_destination(value) == Destination(authority, path, value.strip(" \t"))
    assert parse_resource_tag(value) == parse_destination(value)


BAD_REFERENCES = {
    "empty": "",
    "relative": "a/b",
    "dot": "./a",
    "query alone": "?a",
    "network path": "//host/a",
    "fragment": "/a#b",
    "fragment behind a host": "http://h#b",
    "no host": "http:///a",
    "scheme alone": "http:",
    "scheme and slashes": "http://",
    "scheme and path": "http:/a",
    "no hierarchy": "urn:uuid:x",
    "user information": "http://user:pw@host/a",
    "host in front of another": "http://good\\@evil/a",
    "port that is no number": "http://h:x/a",
    "two ports": "http://h:1:2/a",
    "open IPv6": "http://[::1/a",
    "blank": "/a b",
    "tab": "/a\tb",
    "line break": "/a\r\nX: y",
    "NUL": "/a\x00",
    "DEL": "/a\x7f",
    "two destinations": "/a, /b",
    "brackets": "</a>",
}


@pytest.mark.parametrize("value", BAD_REFERENCES.values(), ids=BAD_REFERENCES.keys())
def test_destination_and_tag_refused(value: str) -> None:
    with pytest.raises(BadField) as refused:
        parse_destination(value)
    assert refused.value.field == "Destination"
    with pytest.raises(BadField) as refused:
        parse_resource_tag(value)
    assert refused.value.field == "If"


AUTHORITIES = {
    "an absolute path": (None, "h", None, True),
    "an absolute path without Host": (None, None, None, True),
    "same": ("h", "h", None, True),
    "case": ("Example.COM", "example.com", None, True),
    "default port of http": ("h:80", "h", None, True),
    "default port of https": ("h", "h:443", None, True),
    "either default port": ("h:80", "h:443", None, True),
    "empty port": ("h:", "h", None, True),
    "IPv6": ("[::1]:80", "[::1]", None, True),
    "other port": ("h:8080", "h", None, False),
    "other host": ("evil", "h", None, False),
    "a longer host": ("h.evil", "h", None, False),
    "no Host": ("h", None, None, False),
    "empty Host": ("h", "", None, False),
    "public name": ("dav.example.com", "10.0.0.1:8000", "dav.example.com", True),
    "public URL": ("dav.example.com", "10.0.0.1:8000", "https://DAV.example.com:443/x", True),
    "Host beside a public name": ("10.0.0.1:8000", "10.0.0.1:8000", "dav.example.com", True),
    "neither": ("evil", "h", "https://dav.example.com", False),
}


@pytest.mark.parametrize(("authority", "host", "public", "same"), AUTHORITIES.values(), ids=AUTHORITIES.keys())
def test_t16_authority(authority: str | None, host: str | None, public: str | None, same: bool) -> None:
    assert same_authority(authority, host, public) is same


# --- Prefer (RFC 7240) ---

PREFERENCES = {
    "absent": (None, {}),
    "empty": ("", {}),
    "minimal": ("return=minimal", {"return": "minimal"}),
    "two": ("return=representation, depth-noroot", {"return": "representation", "depth-noroot": ""}),
    "quoted, with parameters": ('Foo; x="a, b", RETURN = "minimal" ;z', {"foo": "", "return": "minimal"}),
    "a comma in quotes is no separator": ('foo="x, return=minimal"', {"foo": "x, return=minimal"}),
    "the first counts": ("return=minimal, return=representation", {"return": "minimal"}),
    "empty items": (",, ;x,=y,wait=10", {"wait": "10"}),
    "an open quote": ('wait=1, foo="x, y', {"wait": "1", "foo": "", "x": "", "y": ""}),
}


@pytest.mark.parametrize(("value", "found"), PREFERENCES.values(), ids=PREFERENCES.keys())
def test_prefer(value: str | None, found: dict[str, str]) -> None:
    assert parse_prefer(value) == found


# --- T6: text from people in a header ---

SAFE = re.compile(r"[!-~]([ -~]*[!-~])?")

TEXTS = {
    "plain": ("Ada Lovelace <ada@example.com>", "Ada Lovelace <ada@example.com>"),
    "an injected header": ("a\r\nSet-Cookie: x=1", "a%0D%0ASet-Cookie: x=1"),
    "a line break inside": ("a\nb", "a%0Ab"),
    "NUL": ("a\x00b", "a%00b"),
    "Japanese": ("\u65e5\u672c", "%E6%97%A5%E6%9C%AC"),
    "a percent sign": ("100%", "100%25"),
    "right to left marks": ("\u202ea\u200f", "%E2%80%AEa%E2%80%8F"),
    "a lone surrogate": ("a\ud800b", "a?b"),
    "white space round it": (" a \t", "a"),
    "nothing": ("", None),
    "white space alone": (" \r\n\t", None),
    "8 kB": ("x" * 8192, "x" * MAX_HEADER_TEXT),
    "8 kB of Japanese": ("\u65e5" * 8192, "%E6%97%A5" * (MAX_HEADER_TEXT // 9)),
    "a cut that leaves a blank": ("x" * 255 + " y", "x" * 255),
}


@pytest.mark.parametrize(("value", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_t06_header_text(value: str, text: str | None) -> None:
    assert header_text(value) == text


@settings(deadline=None)
@given(st.text(max_size=400) | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo"]), max_size=400))
def test_t06_header_text_is_always_one_safe_line(value: str) -> None:
    text = header_text(value)
    if text is None:
        assert not value.strip()
    else:
        assert SAFE.fullmatch(text)
        assert len(text) <= MAX_HEADER_TEXT
        assert value.strip().encode("utf-8", "replace").decode().startswith(unquote(text, errors="strict"))


# --- hrefs ---


@pytest.mark.parametrize(
    ("path", "href"),
    [
        ("/a/b.txt", "/a/b.txt"),
        ("/a b", "/a%20b"),
        ("/\xe9\u65e5", "/%C3%A9%E6%97%A5"),
        ("/a%2Fb", "/a%252Fb"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/it's;x=1,(2)&@:!$*+~_-", "/it's;x=1,(2)&@:!$*+~_-"),
        ('/[x]|\\<">', "/%5Bx%5D%7C%5C%3C%22%3E"),
        ("/a\r\n\x00", "/a%0D%0A%00"),
        ("/\ud800", "/%3F"),
        ("", ""),
    ],
)
def test_href(path: str, href: str) -> None:
    assert http_quote(path) == href


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_href_reads_back(path: str) -> None:
    assert http_quote(path) == quote(path, safe="/!$&'()*+,;=:@-._~")
    assert unquote(http_quote(path)) == path
    assert parse_destination("http://h/" + http_quote(path)).path == "/" + path
