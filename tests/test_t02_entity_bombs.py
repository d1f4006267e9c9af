"""T2: entity bombs are refused at the DOCTYPE token, before anything is declared (RFC 4918 section 20.6)."""

from __future__ import annotations

import time

import pytest

from locklib.core.lockinfo import parse_lockinfo
from locklib.errors import BadLockInfo
from support.memory import least_peak

LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><l>&a9;</l>"
)
QUADRATIC = f'<!DOCTYPE l [<!ENTITY a "{"x" * 50_000}">]><l>{"&a;" * 1_500}</l>'
BOMBS = {"9x10 laughs": LAUGHS.encode(), "50 kB x 1500": QUADRATIC.encode()}


def refused(body: bytes) -> None:
    with pytest.raises(BadLockInfo, match="DOCTYPE"):
        parse_lockinfo(body, "application/xml")


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_less_than_a_mebibyte(bomb):
    refused(bomb)  # once before, for what is imported
    assert least_peak(lambda: refused(bomb)) < 1 << 20


def test_what_follows_the_doctype_token_costs_nothing():
    """A bomb takes about as long as a DOCTYPE of the same length that declares nothing; expanded, 1000 x as long."""

    def fastest(body: bytes) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            refused(body)
            times.append(time.perf_counter() - start)
        return min(times)

    harmless = b"<!DOCTYPE l [<!--" + b"x" * (len(LAUGHS) - 30) + b"-->]><l/>"
    assert fastest(LAUGHS.encode()) < 20 * fastest(harmless)
