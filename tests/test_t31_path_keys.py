"""T31: no path is a pattern, a command or another path's key, and none is endless."""

from __future__ import annotations

import contextlib
import itertools
from urllib.parse import quote

import pytest

from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}
NAMES = {
    "braces": "{a}",
    "hash tag": "{x}y",
    "colon": "a:b",
    "asterisk": "*",
    "question mark": "a?c",
    "bracket": "[a-z]",
    "LIKE percent": "a%",
    "LIKE underscore": "a_c",
    "LIKE escape": "a!%",
    "SQL quote": "a'b",
    "SQL": "'; DROP TABLE locks; --",
    "double quote": 'a"b',
    "blank": "a b",
    "highest": "a\U0010ffff",
    "lowest above space": "a!",
    "above the slash": "a0",
    "below the slash": "a.",
    "Lua": "a\\0b".replace("\\", ""),
    "日本": "日本",
    "composed": "\xe9",
    "decomposed": "e\u0301",
    "left to right mark": "a\u200eb",
    "BOM": "\ufeffa",
    "hash": "a#b",
    "ampersand": "a&b=c",
    "plus": "a+b",
    "tilde": "~a",
    "equals": "a=b",
    "comma": "a,b",
    "dollar": "$a",
    "at": "a@b",
    "pipe": "a|b",
    "caret": "a^b",
    "backquote": "`a`",
    "angle": "<a>",
    "4 000 characters": "x" * 4000,
}
NEIGHBOURS = ["abc", "ac", "a", "b", "aXc", "x", "A", "axb", "locks", "ab"]


def url(name: str) -> str:
    return "/" + quote(name, safe="")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_t31_a_lock_is_on_that_name_and_no_other(name, guarded):
    shell = guarded()
    token = shell.lock(url(name), "alice")
    with shell.untouched():
        assert shell("PUT", url(name), {}, b"x", user="bob").status == 423
        assert shell("PUT", url(name) + "/member", {}, b"x", user="bob").status == 423
        assert shell("DELETE", "/", {}, user="bob").status == 423
    for other in NEIGHBOURS:
        assert shell("PUT", url(other), {}, b"x", user="bob").status in (201, 204), other
    shell.site.documents[f"/{name}"] = b""
    assert shell("PUT", url(name), {"If": f"<{url(name)}> (<{token}>)"}, b"x", user="alice").status == 204
    assert shell("UNLOCK", url(name), {"Lock-Token": f"<{token}>"}, user="alice").status == 204
    assert shell.table() == ()


CONTROLS = ["a\nb", "a\r\nb", "a\tb", "a\x1bb", "a\x7fb", "a\x1fb", "ab\n", "\tab"]


@pytest.mark.parametrize("name", CONTROLS, ids=ascii)
def test_t31_a_control_character_is_no_name(name, guarded):
    """Some routers drop it or end a pattern before it (Starlette): no lock on it, no write with it near a lock."""
    shell = guarded()
    body = {"Content-Type": "application/xml"}
    assert shell("LOCK", url(name), body, lockinfo(), user="alice").status == 400
    assert shell("PUT", url(name), {}, b"x", user="bob").status in (201, 204)
    shell.lock(url("ab"), "alice")
    with shell.untouched():
        assert shell("PUT", url(name), {}, b"x", user="bob").status == 400
        assert shell("DELETE", url(name), {}, user="bob").status == 400
        move = {"Destination": url(name)}
        assert shell("MOVE", "/elsewhere/x", move, user="bob").status == 400


def test_t31_names_do_not_collide(guarded):
    """All at once: each pair of names is two resources."""
    shell = guarded()
    names = list(dict.fromkeys([*NAMES.values(), *NEIGHBOURS]))
    holders = {name: shell.lock(url(name), f"holder {number}") for number, name in enumerate(names)}
    assert len(shell.table()) == len(names)
    assert len({lock.key for lock in shell.table()}) == len(names)
    for (number, name), (other, token) in itertools.islice(itertools.product(enumerate(names), holders.items()), 600):
        got = shell("PUT", url(name), {"If": f"<{url(other)}> (<{token}>)"}, b"x", user=f"holder {number}")
        assert got.status in ((201, 204) if name == other else (423,)), (name, other)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_t31_the_answer_says_it_in_ascii(name, guarded):
    shell = guarded()
    shell.lock(url(name), "alice")
    for accept in ("application/xml", "application/json", "text/html"):
        got = shell("PUT", url(name), {"Accept": accept}, b"x", user="bob")
        assert got.status == 423
        assert all(value.isascii() and value.isprintable() for _, value in got.headers)
        assert url(name)[1:5] in got.text or "/" in got.text


@pytest.mark.parametrize(
    ("length", "long"), [(4000, False), (4096, False), (4097, True), (8192, True), (100_000, True)]
)
def test_t31_a_path_over_4_kb_is_a_414(length, long, guarded):
    shell = guarded()
    target = "/" + "x" * (length - 1)
    for method, fields, body in (
        ("PUT", {}, b"x"),
        ("DELETE", {}, b""),
        ("LOCK", XML, lockinfo()),
        ("UNLOCK", {"Lock-Token": "<urn:x:1>"}, b""),
    ):
        with shell.untouched() if long else contextlib.nullcontext():
            status = shell(method, target, fields, body, user="alice").status
            assert (status == 414) is long, method


@pytest.mark.parametrize("length", [8192, 60_000])
def test_t31_nor_may_a_destination_or_a_tag(length, guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    far = "/" + "x" * length
    with shell.untouched():
        assert shell("MOVE", "/free", {"Destination": far}, user="bob").status in (400, 414)
        got = shell("PUT", "/a", {"If": f"<{far}> (<urn:x:1>)"}, b"x", user="bob")
        assert got.status in (400, 412, 414)


def test_t31_many_segments_are_read_in_linear_time(guarded):
    """As many calls for each segment, however many there are."""
    import sys

    shell = guarded()
    shell.lock("/a", "alice")

    def calls(segments: int) -> int:
        made = 0

        def count(frame, event, arg):
            nonlocal made
            made += event == "call"

        sys.setprofile(count)
        try:
            shell("DELETE", "/x" + "/..;/y%5cz" * segments, {}, user="bob")
        finally:
            sys.setprofile(None)
        return made

    calls(10)
    assert calls(300) < 10 * calls(50) + 1000
