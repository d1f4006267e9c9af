"""Threat T8: no `Timeout` makes a lock endless, and none makes the parser fall over."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core.fields import MAX_SECONDS, granted_timeout, parse_timeout, seconds_up, timeout_text

MINIMUM, DEFAULT, MAXIMUM = 1.0, 900.0, 86_400.0

ASKED = {
    "absent": (None, (), DEFAULT),
    "empty": ("", (), DEFAULT),
    "a number": ("Second-60", (60.0,), 60.0),
    "infinite": ("Infinite", (math.inf,), MAXIMUM),
    "any case": ("sECOND-5,INFINITE", (5.0, math.inf), 5.0),
    "the npm client's list": ("Infinite, Second-4100000000", (math.inf, 4_100_000_000.0), MAXIMUM),
    "first acceptable": ("Extended-5, Second-7, Second-9", (7.0, 9.0), 7.0),
    "zero": ("Second-0", (0.0,), MINIMUM),
    "many zeros": ("Second-" + "0" * 5000, (0.0,), MINIMUM),
    "zeros before a number": ("Second-" + "0" * 5000 + "42", (42.0,), 42.0),
    "the greatest": ("Second-4294967295", (float(MAX_SECONDS),), MAXIMUM),
    "one more": ("Second-4294967296", (float(MAX_SECONDS),), MAXIMUM),
    "eleven digits": ("Second-10000000000", (float(MAX_SECONDS),), MAXIMUM),
    "a million digits": ("Second-" + "9" * 10**6, (float(MAX_SECONDS),), MAXIMUM),
    "an underscore": ("Second-1_000", (), DEFAULT),
    "Arabic digits": ("Second-\u0661\u0662", (), DEFAULT),
    "superscript digits": ("Second-\xb2", (), DEFAULT),
    "a sign": ("Second-+5", (), DEFAULT),
    "a negative number": ("Second--5", (), DEFAULT),
    "a fraction": ("Second-1.5", (), DEFAULT),
    "an exponent": ("Second-1e9", (), DEFAULT),
    "no number": ("Second-", (), DEFAULT),
    "white space inside": ("Second- 5", (), DEFAULT),
    "a long s": ("\u017fecond-5", (), DEFAULT),
    "commas alone": (",, ,", (), DEFAULT),
    "white space round items": ("\tSecond-5 ,\t Second-6 ", (5.0, 6.0), 5.0),
    "a line break": ("Second-5\r\n", (), DEFAULT),
    "a bad item before a good one": ("Second-1_0, Second-30", (30.0,), 30.0),
    "five thousand alternatives": ("Second-x," * 5000 + "Second-8", (8.0,), 8.0),
    "five thousand good ones": (",".join(["Second-3"] * 5000), (3.0,) * 5000, 3.0),
}


@pytest.mark.parametrize(("value", "wishes", "granted"), ASKED.values(), ids=ASKED.keys())
def test_t08_wishes_and_grant(value: str | None, wishes: tuple[float, ...], granted: float) -> None:
    assert parse_timeout(value) == wishes
    assert granted_timeout(parse_timeout(value), MINIMUM, DEFAULT, MAXIMUM) == granted


@pytest.mark.parametrize("tail", ["", "x"], ids=["good", "bad at its end"])
@pytest.mark.parametrize("piece", ["0", "9", "Second-", "Second-1,", ",", " "], ids=repr)
def test_t08_time_grows_no_faster_than_the_field(piece: str, tail: str) -> None:
    def best(size: int) -> float:
        value = "Second-" + piece * (size // len(piece)) + tail
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            parse_timeout(value)
            runs.append(time.perf_counter() - start)
        return min(runs)

    assert best(80_000) <= 30 * best(10_000) + 0.002


@settings(deadline=None)
@given(st.text() | st.text(st.sampled_from(list("Second-Infinite,019 \u0661"))))
def test_t08_every_grant_ends_within_its_bounds(value: str) -> None:
    assert MINIMUM <= granted_timeout(parse_timeout(value), MINIMUM, DEFAULT, MAXIMUM) <= MAXIMUM


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (900, "Second-900"),
        (900.0000001, "Second-900"),
        (899.2, "Second-900"),
        (0.001, "Second-1"),
        (0.0, "Second-1"),
        (-3.0, "Second-1"),
        (1.5, "Second-2"),
        (1e300, "Second-4294967295"),
        (math.inf, "Infinite"),
    ],
)
def test_t08_the_answer_states_whole_seconds_rounded_up(seconds: float, text: str) -> None:
    assert timeout_text(seconds) == text


def test_t08_seconds_of_an_endless_lock_are_a_number_still() -> None:
    assert seconds_up(math.inf) == MAX_SECONDS
