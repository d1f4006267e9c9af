"""T8: no lock without an end, whatever Timeout asks for, and the answer states what was granted (RFC 4918 10.7)."""

from __future__ import annotations

import math
import re

import pytest

from locklib.core.policy import Timeouts
from support.threats import lockinfo

WISHES = {
    "Infinite": ("Infinite", 86_400),
    "infinite, in lower case": ("infinite", 86_400),
    "2^32 - 1": ("Second-4294967295", 86_400),
    "2^32": ("Second-4294967296", 86_400),
    "10^6 digits": ("Second-" + "9" * 1_000_000, 86_400),
    "10^6 zeros": ("Second-" + "0" * 1_000_000, 1),
    "an underscore": ("Second-1_000", 900),
    "Arabic digits": ("Second-١٢".encode().decode("latin-1"), 900),
    "superscript": ("Second-\xb2", 900),
    "a sign": ("Second-+5", 900),
    "negative": ("Second--5", 900),
    "a fraction": ("Second-5.5", 900),
    "an exponent": ("Second-1e9", 900),
    "hex": ("Second-0xff", 900),
    "no number": ("Second-", 900),
    "a blank inside": ("Second- 5", 900),
    "empty": ("", 900),
    "commas": (",,,", 900),
    "nonsense, then a wish": ("Extend-7, Second-x, Second-60", 60),
    "5 000 bad ones, then a wish": ("Second-x, " * 5_000 + "Second-60", 60),
    "5 000 wishes": ("Second-60, " * 5_000, 60),
    "Infinite, then a number": ("Infinite, Second-4100000000", 86_400),
    "0": ("Second-0", 1),
    "absent": (None, 900),
}


def fields(timeout: str | None) -> dict[str, str]:
    return {"Content-Type": "application/xml"} | ({} if timeout is None else {"Timeout": timeout})


@pytest.mark.parametrize(("timeout", "granted"), WISHES.values(), ids=WISHES.keys())
def test_t08_granted_is_the_lesser_of_asked_and_allowed(timeout, granted, guarded):
    shell = guarded()
    got = shell("LOCK", "/a", fields(timeout), lockinfo(), user="alice")
    assert got.status == 200
    assert re.findall(r"<D:timeout>(.*?)</D:timeout>", got.text) == [f"Second-{granted}"]
    (lock,) = shell.table()
    assert lock.timeout == granted
    assert lock.expires_at - lock.created_at == pytest.approx(granted)
    shell.clock.advance(granted + 0.1)
    assert shell.table() == ()


@pytest.mark.parametrize(("timeout", "granted"), WISHES.values(), ids=WISHES.keys())
def test_t08_a_refresh_is_no_way_around(timeout, granted, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice", timeout="Second-77")
    got = shell("LOCK", "/a", {**fields(timeout), "If": f"(<{token}>)"}, user="alice")
    assert got.status == 200
    (lock,) = shell.table()
    assert lock.timeout == granted
    assert math.isfinite(lock.expires_at)
    assert f"Second-{granted}" in got.text


JSON_WISHES = {
    "infinite": '"infinite"',
    "2^32": "4294967296",
    "10^300": "1e300",
    "400 digits": "9" * 400,
    "10^5 digits": "9" * 60_000,
    "infinity": "Infinity",
    "not a number": "NaN",
    "negative": "-5",
    "a list": "[1]",
    "a string": '"Second-9999999"',
    "null": "null",
    "true": "true",
}


@pytest.mark.parametrize("wish", JSON_WISHES.values(), ids=JSON_WISHES.keys())
def test_t08_nor_is_a_json_body(wish, guarded):
    shell = guarded()
    body = f'{{"timeout": {wish}}}'.encode()
    got = shell("LOCK", "/a", {"Content-Type": "application/json"}, body, user="alice")
    assert got.status in (200, 400, 422)
    assert all(1 <= lock.timeout <= 86_400 and math.isfinite(lock.expires_at) for lock in shell.table())
    if got.status == 200:
        assert got.json["lock"]["timeout_seconds"] == shell.table()[0].timeout
    else:
        assert shell.table() == ()


def test_t08_the_bounds_are_settings(guarded):
    shell = guarded(timeouts=Timeouts(minimum=30, default=60, maximum=90))
    for timeout, granted in (("Infinite", 90), ("Second-1", 30), (None, 60), ("Second-75", 75)):
        shell("LOCK", f"/{granted}", fields(timeout), lockinfo(), user="alice")
    assert sorted(lock.timeout for lock in shell.table()) == [30, 60, 75, 90]
    assert all(lock.key == f"/{lock.timeout:.0f}" for lock in shell.table())


def test_t08_two_lines_are_read_as_one(guarded):
    shell = guarded()
    pairs = [("Timeout", "Second-x"), ("Timeout", "Second-60"), ("Content-Type", "text/xml")]
    assert shell("LOCK", "/a", pairs, lockinfo(), user="alice").status == 200
    assert shell.table()[0].timeout == 60
