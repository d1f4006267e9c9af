"""P12: the `If` header, against one pattern, against WsgiDAV's reader, and against itself at half the length."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bench.held import token
from bench.measure import Plan, Report, Row, Side, calls, race, ratio
from locklib.core.if_header import parse_if
from locklib.errors import BadField

__all__ = ["if_header"]

ONE = f"(<{token(1)}>)"
TWENTY = " ".join(f'<https://docs.example.org/d/{n}.txt> (<{token(n)}> ["v{n}"])' for n in range(20))
one_match = re.compile(r"\(<([A-Za-z][A-Za-z0-9+.\-]*:[^<>\s\"]*)>\)").fullmatch

KIB = 1024
HOSTILE: dict[str, Callable[[int], str]] = {
    "open parentheses": lambda size: "(" * size,
    "open brackets": lambda size: "([" * (size // 2),
    "open angles": lambda size: "(<" * (size // 2),
    "blanks": lambda size: "(" + " " * (size - 2) + "x",
    "one long token": lambda size: "(<a:" + "b" * (size - 5) + "x",
    "one long tag": lambda size: '(["' + "b" * (size - 4) + "x",
    "Not Not": lambda size: "(" + "Not " * (size // 4),
    "lists without end": lambda size: "(<a:b>)" * (size // 7) + "(",
    "conditions without end": lambda size: "(" + "<a:b>" * (size // 5),
    "resource tags": lambda size: "</a>" * (size // 4),
}


def if_header(plan: Plan) -> Report:
    return Report((*_plain(plan), _doubling(plan)))


def _plain(plan: Plan) -> tuple[Row, Row]:
    theirs = _wsgidav()
    sides: dict[str, Side] = {
        "one": calls(lambda: parse_if(ONE), plan.calls),
        "pattern": calls(lambda: one_match(ONE), plan.calls),
        "twenty": calls(lambda: parse_if(TWENTY), plan.calls // 10),
        "wsgidav": calls(lambda: theirs(TWENTY), plan.calls // 10),
    }
    times = race(sides, max(plan.rounds // 5, 1))
    return (
        Row("P12", "If with one token, against one pattern's fullmatch", ratio(times, "one", "pattern"), 2.0),
        Row("P12", "If with 20 lists, against WsgiDAV without its debug text", ratio(times, "twenty", "wsgidav"), 1.2),
    )


def _wsgidav() -> Callable[[str], object]:
    from wsgidav import util

    def quiet(value: object) -> str:
        return ""

    util.pformat = quiet  # it formats the whole header for a log line that nobody reads

    def read(value: str) -> object:
        environ = {"HTTP_IF": value}
        util.parse_if_header_dict(environ)
        return environ

    return read


def _read(value: str) -> None:
    with suppress(BadField):
        parse_if(value)


def _doubling(plan: Plan) -> Row:
    """The worst step of any of these headers from one length to twice that length."""
    lengths = [KIB << step for step in range(7)]
    sides = {
        f"{name} {length}": calls(partial(_read, make(length)), max(plan.calls // 200, 1))
        for name, make in HOSTILE.items()
        for length in lengths
    }
    times = race(sides, max(plan.rounds // 16, 1))
    steps = [
        (ratio(times, f"{name} {2 * length}", f"{name} {length}"), name) for name in HOSTILE for length in lengths[:-1]
    ]
    worst, name = max(steps)
    return Row("P12", "hostile If, per doubling from 1 to 64 KiB, the worst", worst, 2.5, note=name)
