"""Threats T15 and T16: one resource, one key, however it is spelled, and under whatever mount."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from locklib.core.paths import (
    DEFAULT,
    MAX_PATH,
    Folding,
    ambiguous,
    ancestors,
    canonical,
    covers,
    decode_wsgi_path,
    full_path,
    full_path_wsgi,
    is_below,
    is_plain,
    parent,
    parents_of_every_reading,
    percent_decode,
    readings,
    remove_dot_segments,
    same_spelling,
    too_long,
    unambiguous_part,
)

CASE, UNICODE, WINDOWS, STRICT = (
    Folding(case=True),
    Folding(unicode=True),
    Folding(windows=True),
    Folding(strict_slash=True),
)
EVERY_FOLDING = [Folding(*flags) for flags in itertools.product((False, True), repeat=4)]

PIECES = [
    "/",
    "/",
    "a",
    "b",
    "A",
    ".",
    "..",
    "/..",
    "\\",
    ";",
    ";x=1",
    "%",
    "%2f",
    "%2F",
    "%5c",
    "%2e",
    "%3b",
    "%25",
    "2f",
]
PIECES += ["%61", "%00", "%ff", "\x00", "\ufffd", "\xe9", "e\u0301", "\u037e", "\ufb00", "\xdf", " ", "\ud800", "%252e"]
PATHS = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces))
ANY_PATHS = PATHS | st.text() | st.text(st.characters())

# --- the key ---

ALIASES = {
    "itself": "/a/b",
    "two slashes": "/a//b",
    "slashes in front": "///a/b",
    "no slash in front": "a/b",
    "dot": "/a/./b",
    "dots": "/a/c/../b",
    "dots above the root": "/../../a/b",
    "dot at the end": "/a/b/.",
    "dots at the end": "/a/b/c/..",
    "percent-encoding that is left": "/a/%62",
    "percent-encoded slash": "/a%2Fb",
    "in lower case": "/a%2fb",
    "trailing slash": "/a/b/",
    "parameters": "/a/b;x=1",
    "parameters inside": "/a;x=1;y/b",
    "encoded parameters": "/a/b%3Bx",
    "backslash": "/a\\b",
    "encoded backslash": "/a%5Cb",
    "backslash dots": "/a\\c\\..\\b",
    "encoded dots": "/a/c/%2e%2e/b",
    "twice encoded dots": "/a/c/%252e%252E/b",
    "dots with parameters": "/a/c/..;x/b",
    "a segment of parameters": "/a/;x/b",
    "twice encoded": "/a/%2562",
    "encoded seven times": "/a/%2525252525252562",
    "encoded digit by digit": "/a/%%36%32",
    "encoded inside out": "/a/%%3%36%32",
}


@pytest.mark.parametrize("path", ALIASES.values(), ids=ALIASES.keys())
def test_t15_aliases_share_the_key(path: str) -> None:
    assert canonical(path) == "/a/b"
    assert covers("/a", canonical(path))


KEYS = {
    "root": ("/", "/"),
    "empty": ("", "/"),
    "slashes": ("////", "/"),
    "dots alone": ("/..", "/"),
    "a lone percent sign": ("/100%/x", "/100%/x"),
    "no hex": ("/%zz%2", "/%zz%2"),
    "three dots are a name": ("/.../x", "/.../x"),
    "a hidden file": ("/.git", "/.git"),
    "case": ("/A/B", "/A/B"),
    "UTF-8 left encoded": ("/%C3%A9", "/\xe9"),
    "bad UTF-8": ("/a%ff", "/a\ufffd"),
    "overlong slash": ("/a%c0%afb", "/a\ufffd\ufffdb"),
    "NUL": ("/a%00", "/a\x00"),
    "a lone surrogate beside an escape": ("/\ud800%61", "/\ufffd\ufffd\ufffda"),
    "names with [ ? * _": ("/[a]?*_#", "/[a]?*_#"),
    "decomposed": ("/e\u0301", "/e\u0301"),
    "dot at the end of a name": ("/b.", "/b."),
    "blank at the end of a name": ("/b ", "/b "),
}


@pytest.mark.parametrize(("path", "key"), KEYS.values(), ids=KEYS.keys())
def test_t15_keys(path: str, key: str) -> None:
    assert canonical(path) == key


FOLDED = {
    "case": (CASE, "/A/B", "/a/b"),
    "case, of sharp s": (CASE, "/STRASSE\xdf", "/strassess"),
    "case, encoded": (CASE, "/%41", "/a"),
    "case makes an escape": (CASE, "/%5\u1e9a", "/z\u02be"),
    "NFC": (UNICODE, "/e\u0301", "/\xe9"),
    "NFC makes a semicolon": (UNICODE, "/a\u037ex", "/a"),
    "both": (Folding(case=True, unicode=True), "/E\u0301", "/\xe9"),
    "windows dot": (WINDOWS, "/a/b.", "/a/b"),
    "windows blank": (WINDOWS, "/a /b . .", "/a/b"),
    "windows dot segments": (WINDOWS, "/a/c/.. /. /b", "/a/b"),
    "windows dots alone": (WINDOWS, "/a/.../b", "/a/b"),
    "windows, with parameters": (WINDOWS, "/a/b. ;x", "/a/b"),
    "strict slash": (STRICT, "/a%2fb/c", "/a%2Fb/c"),
    "strict slash, nested": (STRICT, "/a%252fb%2e", "/a%2Fb."),
    "strict slash, all else as ever": (STRICT, "/a%5Cb;x/../%63", "/a/c"),
    "strict slash in lower case": (Folding(case=True, strict_slash=True), "/A%2FB", "/a%2fb"),
}


@pytest.mark.parametrize(("fold", "path", "key"), FOLDED.values(), ids=FOLDED.keys())
def test_t15_switches(fold: Folding, path: str, key: str) -> None:
    assert canonical(path, fold) == key
    assert canonical(key, fold) == key


def test_t15_a_key_is_handed_back_as_it_is() -> None:
    for key in ("/", "/a/b", "/\u65e5/x y/100", "/a.b/c.d"):
        assert canonical(key) is key


@settings(deadline=None, max_examples=300)
@given(ANY_PATHS, st.sampled_from(EVERY_FOLDING))
@example("/%%3%%332f", Folding(case=True))
@example("/%\ufb00", Folding(case=True, unicode=True))
def test_t15_a_key_is_its_own_key(path: str, fold: Folding) -> None:
    key = canonical(path, fold)
    assert key[0] == "/"
    assert key == "/" or key[-1] != "/"
    assert "//" not in key
    assert not {".", ".."} & set(key.split("/"))
    assert canonical(key, fold) == key
    assert readings(path, fold)[0] == key


def test_t15_folding_every_character_is_stable() -> None:
    both = Folding(case=True, unicode=True)
    text = "/" + "/".join(chr(code) + "x" for code in range(0x20, 0x30000))
    for fold in (CASE, UNICODE, both):
        assert canonical(canonical(text, fold), fold) == canonical(text, fold)


@settings(deadline=None)
@given(PATHS)
def test_t15_one_more_layer_of_encoding_changes_nothing(path: str) -> None:
    path = path.replace("\ud800", "")  # no server can send one, and it has no encoding to go back to
    encoded = path.replace("%", "%25")
    assert canonical(encoded) == canonical(path)
    everything = "".join(f"%{byte:02x}" for byte in path.encode("utf-8", "replace"))
    assert canonical(everything) == canonical(path.encode("utf-8", "replace").decode())


# --- applications, and what they read ---


def _split(text: str) -> list[str]:
    kept: list[str] = []
    for name in text.split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return kept


def _without_parameters(text: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in text.split("/"))


STEPS: dict[str, Callable[[str], str]] = {
    "decodes": percent_decode,
    "cuts": _without_parameters,
    "turns": lambda text: text.replace("\\", "/"),
    "normalises": lambda text: "/" + "/".join(_split(text)),
    "resolves": remove_dot_segments,
}


def applications() -> list[tuple[str, ...]]:
    """Every order of up to four steps that an application, or a router in front of it, may take before it looks up."""
    return [steps for length in range(5) for steps in itertools.product(STEPS, repeat=length) if _sane(steps)]


def _sane(steps: tuple[str, ...]) -> bool:
    return (
        all(one != other or one == "decodes" for one, other in itertools.pairwise(steps)) and steps.count("decodes") < 4
    )


APPLICATIONS = applications()


def served(path: str, steps: tuple[str, ...]) -> list[str]:
    """The names of the resource that an application of these steps serves for a decoded path."""
    for step in steps:
        path = STEPS[step](path)
    return _split(path)


@settings(deadline=None, max_examples=300)
@given(PATHS, st.sampled_from(APPLICATIONS))
@example("/c/a\\b/../d", ())
@example("/a/;/..", ())
@example("/a/..;", ())
@example("/a//..", ("resolves",))
@example("/a;x%2Fb", ("cuts",))
@example("/c/a%2Fb/../d", ("normalises", "decodes"))
@example("/c;x%2Fd/a%252Fb%2F../e", ("cuts", "decodes"))
@example("/c/a%252Fb/../e%252Ff%2F../g", ("normalises", "decodes"))
def test_t15_whatever_an_application_serves_is_among_the_readings(path: str, steps: tuple[str, ...]) -> None:
    names = served(path, steps)
    key = canonical("/" + "/".join(names))
    if ambiguous(path):
        assert covers(unambiguous_part(path), key)
        return
    assert canonical(path) == key
    assert not names or canonical("/" + "/".join(names[:-1])) in (*parents_of_every_reading(path), key)


@settings(deadline=None, max_examples=300)
@given(PATHS, PATHS, st.sampled_from(APPLICATIONS))
def test_t15_two_spellings_of_one_resource_meet(path: str, other: str, steps: tuple[str, ...]) -> None:
    alias = other.rstrip("/") + "/.." * (other.count("/") + other.count("\\") + other.count("%")) + path
    for one in (path, alias):
        if served(one, steps) == served(path, steps) and not (ambiguous(one) or ambiguous(path)):
            assert canonical(one) == canonical(path)


READINGS = {
    "a backslash and dots": ("/c/a\\b/../d", ("/c/a/d", "/c/d")),
    "an encoded slash and dots": ("/c/a%2Fb/../d", ("/c/a/d", "/c/d")),
    "parameters and an encoded slash": ("/a;x%2Fb", ("/a/b", "/a")),
    "parameters and a backslash": ("/a;x\\b", ("/a/b", "/a")),
    "an empty segment and dots": ("/a//..", ("/", "/a")),
    "a segment of parameters and dots": ("/a/;/..", ("/", "/a")),
    "plain": ("/a/b", ("/a/b",)),
    "dots alone": ("/a/../b", ("/b",)),
    "parameters alone": ("/a;x/b", ("/a/b",)),
    "an encoded slash alone": ("/a%2Fb", ("/a/b",)),
}


@pytest.mark.parametrize(("path", "keys"), READINGS.values(), ids=READINGS.keys())
def test_t15_readings(path: str, keys: tuple[str, ...]) -> None:
    assert readings(path) == keys
    assert ambiguous(path) is (len(keys) > 1)


AMBIGUOUS = {
    "NUL": ("/a/b\x00", "/a"),
    "an encoded NUL": ("/a/b%00", "/a"),
    "a line feed at the end": ("/a/b\n", "/a"),
    "a tab, encoded": ("/a/%09b", "/a"),
    "DEL": ("/a\x7f/b", "/"),
    "a NUL that dots take away": ("/a/b\x00/../../../c", "/"),
    "bad UTF-8": ("/a/b/\ufffd/c", "/a/b"),
    "bad UTF-8, encoded": ("/a/%ff", "/a"),
    "overlong": ("/a/%c0%af", "/a"),
    "a lone surrogate": ("/a/\udc80", "/a"),
    "at the top": ("/\x00", "/"),
    "four more layers": ("/a/%2525252562", "/"),
    "parameters and a hidden slash": ("/c/a;x%2Fb", "/c/a"),
    "dots and a hidden slash": ("/c/a%2Fb/../d", "/c"),
    "more readings than are followed": ("/a" + "%2f..\\;b%252f..;/" * 9 + "x", "/"),
}


@pytest.mark.parametrize(("path", "part"), AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_t15_ambiguous(path: str, part: str) -> None:
    assert ambiguous(path)
    assert unambiguous_part(path) == part
    assert not is_plain(path)


@pytest.mark.parametrize(
    "path", ["/", "/a/b", "/100%", "/\u65e5", "/a%252562", "/a b;c", "/a\\b", "/a%2Fb", "", "//"], ids=repr
)
def test_t15_not_ambiguous(path: str) -> None:
    assert not ambiguous(path)
    assert unambiguous_part(path) == canonical(path)


def test_t15_strict_slash_knows_its_one_reading() -> None:
    assert not ambiguous("/c/a%2Fb/../d", STRICT)
    assert readings("/c/a%2Fb/../d", STRICT) == ("/c/d",)
    assert ambiguous("/c/a\\b/../d", STRICT)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/", True),
        ("/a/b", True),
        ("/\u65e5", True),
        ("/a/", False),
        ("", False),
        ("a", False),
        ("/a//b", False),
        ("/.a", False),
    ],
    ids=repr,
)
def test_t15_plain_paths_are_their_own_key(path: str, plain: bool) -> None:
    assert is_plain(path) is plain
    assert not plain or canonical(path) is path


@settings(deadline=None)
@given(ANY_PATHS, st.sampled_from(EVERY_FOLDING))
def test_t15_nothing_raises(path: str, fold: Folding) -> None:
    assert all(each[0] == "/" for each in (*readings(path, fold), *parents_of_every_reading(path, fold)))
    assert all(covers(unambiguous_part(path, fold), key) for key in readings(path, fold) if is_plain(key))
    assert ambiguous(path, fold) in (True, False)
    assert (
        canonical(full_path("/m", path, fold), fold)[:2]
        == canonical(full_path_wsgi("/m", path, fold), fold)[:2]
        == "/m"
    )
    assert same_spelling(path, path) is ("\ufffd" not in path)


HOSTILE = ["%252F", "\\..;", "%2e%2e%2f", "%", "33", "%25", "/..", "a%2f", ";%2f../", "\ufb00%", "a/"]


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
@pytest.mark.parametrize("lead", ["/", "/%", "/a;\\../"], ids=repr)
def test_t15_a_hostile_path_has_few_readings(lead: str, piece: str) -> None:
    path = (lead + piece * MAX_PATH)[:MAX_PATH]
    assert len(readings(path)) <= 24
    assert len(parents_of_every_reading(path)) <= MAX_PATH
    assert len(canonical(path, Folding(case=True, unicode=True))) <= 3 * MAX_PATH


# --- membership (RFC 4918 section 7.5) ---

PARENTS = {
    "a plain member": ("/c/a", {"/c"}),
    "of the root": ("/a", {"/"}),
    "the root": ("/", set()),
    "the root, spelled badly": ("/a/..//", set()),
    "an encoded slash": ("/c/a%2Fb", {"/c", "/c/a"}),
    "two of them": ("/c/a%2Fb%2fd", {"/c", "/c/a", "/c/a/b"}),
    "a twice encoded slash": ("/c/a%252Fb", {"/c", "/c/a"}),
    "a backslash": ("/c/a\\b", {"/c", "/c/a"}),
    "an encoded backslash": ("/c/a%5cb", {"/c", "/c/a"}),
    "both, one for each kind of application": ("/c/a\\b%2Fd", {"/c", "/c/a", "/c/a/b"}),
    "parameters": ("/c/a;x", {"/c"}),
    "parameters of the collection": ("/c;x/a", {"/c"}),
    "parameters and an encoded slash": ("/c/a;x%2Fb", {"/c", "/c/a"}),
    "a trailing slash": ("/c/a%2Fb/", {"/c", "/c/a"}),
    "an encoded trailing slash": ("/c/a%2F", {"/c"}),
    "a dot at the end": ("/c/a%2Fb/%2e", {"/c", "/c/a"}),
    "dots at the end": ("/c/a%2Fb/d/..", {"/c", "/c/a"}),
    "dots inside": ("/c/a%2F..%2Fb", {"/c", "/c/a"}),
    "dots that climb out": ("/c/d/a%2F..%2F..%2F..%2Fx", {"/", "/c", "/c/d", "/c/d/a"}),
    "dots that climb over the root": ("/a%2F..%2F..%2Fx", {"/", "/a"}),
    "a key is no member of itself, a collection too many is allowed": ("/c/a\\..", {"/", "/c/a"}),
}


@pytest.mark.parametrize(("path", "parents"), PARENTS.values(), ids=PARENTS.keys())
def test_t15_membership_asks_the_parents_of_every_reading(path: str, parents: set[str]) -> None:
    found = parents_of_every_reading(path)
    assert set(found) == parents
    assert len(found) == len(parents)


def test_t15_membership_under_strict_slash() -> None:
    assert parents_of_every_reading("/c/a%2Fb", STRICT) == ("/c",)
    assert set(parents_of_every_reading("/c/a%2fb\\d", STRICT)) == {"/c", "/c/a%2Fb"}


def test_t15_membership_of_a_folded_path() -> None:
    assert parents_of_every_reading("/C/a", CASE) == ("/c",)


# --- keys among each other ---

NAMES = st.lists(st.text("ab%_.*[", min_size=1, max_size=3), max_size=5)


@settings(deadline=None)
@given(NAMES, NAMES)
def test_ancestors_and_covers_agree(first: list[str], second: list[str]) -> None:
    key, other = "/" + "/".join(first), "/" + "/".join(second)
    assert len(ancestors(key)) == len(first)
    assert is_below(key, other) is (other in ancestors(key))
    assert covers(other, key) is (other in (*ancestors(key), key))
    assert parent(key) == (ancestors(key)[-1] if first else None)


@pytest.mark.parametrize(
    ("key", "above"),
    [("/", ()), ("/a", ("/",)), ("/a/b/c", ("/", "/a", "/a/b")), ("file-17", ()), ("tenant/17", ("tenant",)), ("", ())],
)
def test_ancestors(key: str, above: tuple[str, ...]) -> None:
    assert ancestors(key) == above
    assert parent(key) == (above[-1] if above else None)


@pytest.mark.parametrize(
    ("root", "key", "covered"),
    [
        ("/", "/", True),
        ("/", "/a", True),
        ("/a", "/a", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a", "/", False),
        ("/a/b", "/a", False),
        ("/a%", "/ab/c", False),
        ("id-1", "id-1", True),
        ("/", "id-1", False),
    ],
)
def test_covers(root: str, key: str, covered: bool) -> None:
    assert covers(root, key) is covered
    assert is_below(key, root) is (covered and key != root)


# --- what ends locks: the same spelling ---

SAME = {
    "itself": ("/a/b", "/a/b", True),
    "a trailing slash": ("/a/b", "/a/b/", True),
    "a dot segment": ("/a/./b", "/a/b", True),
    "dot segments": ("/a/c/../b", "/a/b", True),
    "dots at the end": ("/a/b/..", "/a", True),
    "a dot at the end": ("/a/.", "/a/", True),
    "dots above the root": ("/../a", "/a", True),
    "only dots": ("/..", "/", True),
    "the root": ("/", "", True),
    "a name with a dot": ("/.a", "/.a", True),
    "another name": ("/a", "/b", False),
    "case": ("/a", "/A", False),
    "two slashes": ("/a//b", "/a/b", False),
    "two slashes at the end": ("/a//", "/a", False),
    "dots undo an empty segment": ("/a//../b", "/a/b", True),
    "parameters": ("/a;x", "/a", False),
    "a backslash": ("/a\\b", "/a/b", False),
    "left encoded": ("/%61", "/a", False),
    "an encoded slash": ("/a%2Fb", "/a/b", False),
    "no slash in front": ("a/./b", "/a/b", False),
    "bytes that cannot be told apart": ("/\ufffd", "/\ufffd", False),
}


@pytest.mark.parametrize(("path", "other", "same"), SAME.values(), ids=SAME.keys())
def test_t15_same_spelling(path: str, other: str, same: bool) -> None:
    assert same_spelling(path, other) is same
    assert same_spelling(other, path) is same


@settings(deadline=None)
@given(PATHS, PATHS)
def test_t15_the_same_spelling_is_the_same_key(path: str, other: str) -> None:
    for alias in (other, path + "/", path + "/.", "/x/.." + path, path + "/x/.."):
        if same_spelling(path, alias):
            assert set(readings(path)) & set(readings(alias))


@pytest.mark.parametrize(
    ("path", "without"),
    [
        ("/a/b/c/./../../g", "/a/g"),  # RFC 3986 section 5.2.4
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/..", "/"),
        ("/a//../b", "/a/b"),
        ("/a/...", "/a/..."),
        ("/a/b/", "/a/b/"),
        ("a/../b", "a/../b"),
        ("", ""),
    ],
)
def test_remove_dot_segments(path: str, without: str) -> None:
    assert remove_dot_segments(path) == without


# --- mounts (T16) and servers ---

MOUNTS = {
    "no mount": ("", "/a", "/a", "/a"),
    "no mount, no path": ("", "", "/", "/"),
    "a slash as mount": ("/", "/a", "/a", "/a"),
    "the path has the mount": ("/dav", "/dav/a", "/dav/a", "/dav/dav/a"),
    "the path is the mount": ("/dav", "/dav", "/dav", "/dav/dav"),
    "the path lacks the mount": ("/dav", "/a", "/dav/a", "/dav/a"),
    "the path begins like the mount": ("/dav", "/david", "/dav/david", "/dav/david"),
    "a mount with a slash": ("/dav/", "/a", "/dav/a", "/dav/a"),
    "no path": ("/dav", "", "/dav", "/dav"),
    "a path without a slash": ("/dav", "a", "/dav/a", "/dav/a"),
    "dots inside the mount": ("/dav", "/a/../b", "/dav/a/../b", "/dav/a/../b"),
    "dots that climb": ("/dav", "/../a", "/dav/a", "/dav/a"),
    "encoded dots that climb": ("/dav", "/%2e%2e/a", "/dav/a", "/dav/a"),
    "backslash dots that climb": ("/dav", "/..\\a", "/dav/a", "/dav/a"),
    "dots behind the mount": ("/dav", "/dav/../a", "/dav/a", "/dav/dav/../a"),
    "a percent sign": ("/dav", "/100%", "/dav/100%", "/dav/100%"),
}


@pytest.mark.parametrize(("mount", "path", "asgi", "wsgi"), MOUNTS.values(), ids=MOUNTS.keys())
def test_t16_mount(mount: str, path: str, asgi: str, wsgi: str) -> None:
    assert full_path(mount, path) == asgi
    assert full_path_wsgi(mount, path) == wsgi


def test_t16_the_key_is_the_same_by_all_ways() -> None:
    ways = [full_path("/dav", "/dav/a"), full_path("/dav", "/a"), full_path("", "/dav/a"), full_path_wsgi("/dav", "/a")]
    assert {canonical(way) for way in ways} == {"/dav/a"}


@pytest.mark.parametrize(
    ("path_info", "path"),
    [
        ("/a", "/a"),
        ("/caf\xc3\xa9", "/caf\xe9"),
        ("/\xff", "/\ufffd"),
        ("/\xc0\xaf", "/\ufffd\ufffd"),
        ("/\u65e5", "/\u65e5"),
        ("/\udcff", "/\udcff"),
    ],
)
def test_i12_wsgi_paths_are_the_paths_of_asgi(path_info: str, path: str) -> None:
    assert decode_wsgi_path(path_info) == path


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("/a", "/a"),
        ("%41%2f", "A/"),
        ("%2541", "%41"),
        ("%C3%A9%", "\xe9%"),
        ("%C3", "\ufffd"),
        ("%4", "%4"),
        ("%zz", "%zz"),
    ],
)
def test_percent_decoding_once(text: str, decoded: str) -> None:
    assert percent_decode(text) == decoded


def test_t31_a_path_beyond_the_limit() -> None:
    assert not too_long("/" * MAX_PATH)
    assert too_long("/" * (MAX_PATH + 1))


def test_the_default_folding_is_plain() -> None:
    assert Folding() == DEFAULT
    assert DEFAULT.plain
    assert STRICT.plain
    assert not any(fold.plain for fold in (CASE, UNICODE, WINDOWS))
