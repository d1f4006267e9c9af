"""T29: one line in the log for each event, whatever people put into paths, names and fields."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest

FORGED = ["/a\n423 locked GET '/forged'", "/a\r\nx", "/a\x1b[2J", "/a\u2028b", "/日本", "/a\x00"]


@pytest.mark.parametrize("name", FORGED, ids=ascii)
def test_t29_a_refusal_is_one_printable_line(name: str, guarded, caplog: pytest.LogCaptureFixture) -> None:
    shell = guarded()
    shell.locks.acquire("/", creator="alice", owner_info="al\nice\x1b[0m")
    user = "bob\nforged\x1b[31m"
    with caplog.at_level(logging.INFO, "locklib"):
        got = shell("PUT", quote(name), {}, b"x", user=user)
    assert got.status in (400, 423)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith(str(got.status))]
    assert len(lines) == 1
    assert lines[0].isascii()
    assert lines[0].isprintable()
