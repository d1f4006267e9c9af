"""Threat T19: a hostile `If` costs linear time and is refused; so do T11 and T20's share of the parser.

Work is counted by the interpreter's own events (calls of Python and C functions), not by a clock.
"""

from __future__ import annotations

import sys
import time
import types

import pytest

from locklib.core.fields import parse_lock_token
from locklib.core.if_header import MAX_CONDITIONS, MAX_LENGTH, parse_if
from locklib.errors import BadField

GOOD = '<http://h/a> (<urn:uuid:1> Not <DAV:no-lock> ["x y"]) (Not [W/"z"]) </b> (<urn:uuid:2>)'
TOKENS = [f"urn:uuid:{n:08x}-7d8c-11d0-a765-00a0c91e6bf2" for n in range(24)]


def refused(value: str) -> bool:
    try:
        parse_if(value)
    except BadField:
        return True
    return False


@pytest.mark.parametrize(
    "value",
    [
        "<",
        "(",
        "(<",
        "(<a>",
        "(<a>)",
        "(<a>)(",
        '[W/"',
        '([W/"',
        "Not Not",
        "(Not Not <a:b>)",
        "(" * 65536,
        "\x00" * 99,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_t19_broken_pieces_are_refused(value: str) -> None:
    assert refused(value)


def test_t19_every_prefix_of_a_good_header() -> None:
    whole_lists = {
        GOOD.index(") (Not") + 1,
        GOOD.index(") (Not") + 2,
        GOOD.index(") </b>") + 1,
        GOOD.index(") </b>") + 2,
    }
    read = {end for end in range(len(GOOD)) if not refused(GOOD[:end])}
    assert read == whole_lists
    assert not refused(GOOD)


def test_t19_every_single_character_replaced() -> None:
    for at in range(len(GOOD)):
        for other in '\x00\r\n<>()[]"\xff\u65e5':
            refused(GOOD[:at] + other + GOOD[at + 1 :])  # read or BadField; anything else is an error of this test


def test_t19_24_tokens_and_one_bad_character() -> None:
    lists = [f"(<{uri}>)" for uri in TOKENS]
    assert parse_if(" ".join(lists)).tokens == tuple(TOKENS)
    for at in range(24):
        assert refused(" ".join([*lists[:at], lists[at].replace(":", "\x7f", 1), *lists[at + 1 :]]))


def test_t19_two_header_lines_joined_by_a_server() -> None:
    assert refused("(<a:b>),(<c:d>)")
    assert refused("(<a:b>), (<c:d>)")


def test_t19_folded_line() -> None:
    assert refused("(<a:b>\r\n\t<c:d>)")


def test_t19_length_limit() -> None:
    fits = f"(<a:{'x' * (MAX_LENGTH - 6)}>)"
    assert len(fits) == MAX_LENGTH
    assert parse_if(fits).tokens == (fits[2:-2],)
    with pytest.raises(BadField, match="at most 16384 characters"):
        parse_if(f"(<a:{'x' * (MAX_LENGTH - 5)}>)")
    with pytest.raises(BadField, match="at most 16384 characters"):
        parse_if("(<a:b>) " * 10_000)


@pytest.mark.parametrize(("one", "lists"), [("(<a:b>)", True), ("<a:b>", False)], ids=["lists", "one list"])
def test_t19_condition_limit(one: str, lists: bool) -> None:
    def many(count: int) -> str:
        return one * count if lists else f"({one * count})"

    assert sum(len(each.terms) for each in parse_if(many(MAX_CONDITIONS)).lists) == MAX_CONDITIONS
    with pytest.raises(BadField, match="at most 1000 conditions"):
        parse_if(many(MAX_CONDITIONS + 1))


HOSTILE = {
    "parentheses": "(",
    "angle brackets": "<",
    "open tokens": "(<a",
    "schemes": "a:",
    "open weak tags": '[W/"',
    "nots": "(Not ",
    "blanks": "( \t",
    "not blanks": "Not \t",
    "lists": "(<a:>)",
    "tags": "</a>",
    "quotes": '(["',
    "zeros": "0",
}


def events(value: str) -> int:
    """How many calls, of Python and of C functions, one parse makes."""
    count = 0

    def see(_frame: types.FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        refused(value)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("lead", ["", "(", "(<a:", '(["', "</a> (<b:c>) "], ids=repr)
def test_t19_calls_grow_no_faster_than_the_header(lead: str, piece: str) -> None:
    small, large = (events(lead + (piece * size)[:size]) for size in (2048, 16_000))
    assert large <= 10 * small + 50


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("lead", ["", "(", "(<a:", '(["', "</a> (<b:c>) "], ids=repr)
def test_t19_time_grows_no_faster_than_the_header(lead: str, piece: str) -> None:
    def best(size: int) -> float:
        value = lead + (piece * size)[:size]
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            refused(value)
            runs.append(time.perf_counter() - start)
        return min(runs)

    # Eight times the length: a quadratic reader would need 64 times; 30 leaves room for a busy machine.
    assert best(16_000) <= 30 * best(2000) + 0.002


def test_t19_no_recursion() -> None:
    limit = sys.getrecursionlimit()
    depth = len(_frames())
    sys.setrecursionlimit(depth + 25)
    try:
        assert parse_if("(<a:b>)" * 900).lists
        assert refused("(" * 16_000)
    finally:
        sys.setrecursionlimit(limit)


def _frames() -> list[types.FrameType]:
    found: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def test_t11_a_token_under_not_or_another_tag_is_named() -> None:
    header = parse_if("<http://elsewhere/x> (Not <urn:a> Not <DAV:no-lock>) (<urn:b>)")
    assert header.tokens == ("urn:a", "DAV:no-lock", "urn:b")


@pytest.mark.parametrize(
    "value", ["<", "<>", "", "<a", "<a>", "(<a:b>)", "<a:b> <c:d>", "<a:b>,<c:d>", "<" * 65536], ids=repr
)
def test_t19_lock_token_in_pieces(value: str) -> None:
    with pytest.raises(BadField, match="Lock-Token"):
        parse_lock_token(value)
