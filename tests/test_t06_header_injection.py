"""T6: what people wrote never becomes a second header, a second line or a byte that a server cannot send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locklib.core.model import Condition, Details, Held, Lock, Refusal
from locklib.core.refusals import Disclosure, Rendered, Rendering, render_granted, render_refusal

OPEN = Disclosure(token=True, owner=True, reason=True, contact=True)

HOSTILE = {
    "header": "a\r\nSet-Cookie: x=1",
    "line feed": "a\nb",
    "NUL": "a\x00b",
    "escape": "\x1b[31mred",
    "日本": "日本",
    "latin-1": "é",
    "8 kB": "x" * 8192,
    "8 kB of 日": "日" * 2730,
    "right to left": "\u202eevil",
    "lone surrogate": "\udcff",
    "line separator": "a\u2028b\x85c",
    "only space": " \t ",
    "empty": "",
}

NAMES = {
    "Retry-After", "X-Lock-Owner", "X-Lock-Timeout", "X-Lock-Type", "Lock-Token", "Content-Type", "Content-Length",
    "Cache-Control", "X-Content-Type-Options", "Content-Security-Policy",
}  # fmt: skip


def refused(words: str, rendering: Rendering, token: str = "urn:uuid:1") -> Rendered:
    details = Details(root=f"/{words}", reason=words, contact=words)
    held = Held(Lock(token, "/a", creator=words, details=details), 60.0)
    refusal = Refusal(
        423, "locked", "Locked", words, f"/{words}", Condition.LOCK_TOKEN_SUBMITTED, (held.lock.root,), held, (held,)
    )
    return render_refusal(refusal, rendering, OPEN)


def sendable(rendered: Rendered) -> dict[str, str]:
    """The headers, once they are known to be lines that any server can send."""
    for name, value in rendered.headers:
        assert name in NAMES
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip()
        assert value
    headers = dict(rendered.headers)
    assert len(headers) == len(rendered.headers)
    assert headers["Content-Length"] == str(len(rendered.body))
    return headers


@pytest.mark.parametrize("rendering", Rendering)
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_words_are_encoded_or_left_out(words, rendering):
    headers = sendable(refused(words, rendering))
    assert headers["X-Lock-Type"] == "exclusive"
    assert ("X-Lock-Owner" in headers) is bool(words.strip())


@given(st.text(), st.sampled_from(list(Rendering)))
def test_any_words(words, rendering):
    sendable(refused(words, rendering))


def test_an_ordinary_name_stays_readable():
    assert sendable(refused("alice@example.com", Rendering.JSON))["X-Lock-Owner"] == "alice@example.com"


@pytest.mark.parametrize("token", ["urn:x:a\r\nb: c", "urn:x:日本", "urn:x:\x00"])
def test_a_token_that_no_header_can_say_is_left_out(token):
    """It would not be the token any more if it were encoded."""
    assert "Lock-Token" not in sendable(refused("a", Rendering.XML, token))


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("rendering", Rendering)
def test_a_grant_says_nothing_of_people_in_its_headers(words, rendering):
    held = Held(Lock("urn:uuid:1", "/a", creator=words, details=Details(owner_info=words)), 60.0)
    headers = sendable(render_granted(held, rendering, status=200, refreshed=False))
    assert headers["Lock-Token"] == "<urn:uuid:1>"
