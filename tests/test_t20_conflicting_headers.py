"""T20: a request that contradicts itself is refused whole, and changes nothing."""

from __future__ import annotations

import pytest

from support.threats import lockinfo

XML = ("Content-Type", "application/xml")
OTHER = "urn:uuid:00000000-0000-4000-8000-000000000000"

LOCKS = {
    "Depth: 1": ([("Depth", "1")], 400),
    "Depth: 0, infinity": ([("Depth", "0, infinity")], 400),
    "Depth: 0,0": ([("Depth", "0,0")], 400),
    "Depth twice": ([("Depth", "0"), ("Depth", "infinity")], 400),
    "Depth twice, alike": ([("Depth", "0"), ("Depth", "0")], 400),
    "Depth: empty": ([("Depth", "")], 400),
    "Depth: -1": ([("Depth", "-1")], 400),
    "Depth: 2": ([("Depth", "2")], 400),
    "Depth: infinity, noroot": ([("Depth", "infinity, noroot")], 400),
    "Depth: Arabic zero": ([("Depth", "\u0660".encode().decode("latin-1"))], 400),
    "If twice": ([("If", "(Not <DAV:no-lock>)"), ("If", "(Not <DAV:no-lock>)")], 400),
    "If on a path outside the lock": ([("If", "(<OUTSIDE>)")], 412),
    "If of a lock that is not": ([("If", f"(<{OTHER}>)")], 412),
    "If that is malformed": ([("If", "(<OUTSIDE>")], 400),
    "If that is empty": ([("If", "")], 400),
    "a body of another type": ([("Content-Type", "image/png")], 415),
    "a page": ([("Content-Type", "text/html")], 415),
}


@pytest.fixture(params=[False, True], ids=["plain", "dav"])
def shell(request, guarded):
    shell = guarded(dav=request.param)
    shell.outside = shell.lock("/outside", "alice")
    return shell


@pytest.mark.parametrize(("pairs", "status"), LOCKS.values(), ids=LOCKS.keys())
def test_t20_lock(pairs, status, shell):
    fields = [(name, value.replace("OUTSIDE", shell.outside)) for name, value in pairs]
    if not any(name == "Content-Type" for name, _ in fields):
        fields.append(XML)
    with shell.untouched():
        joined = shell.kind == "wsgi" and [name for name, _ in pairs] == ["If", "If"]
        got = shell("LOCK", "/a", fields, lockinfo(), user="alice")
        assert got.status == (400 if joined else status)


ACCEPTED = {
    "Depth in capitals": [("Depth", "INFINITY")],
    "Depth in blanks": [("Depth", " 0 ")],
    "two Timeouts": [("Timeout", "Second-nonsense"), ("Timeout", "Second-60")],
    "a true If": [("If", "(Not <DAV:no-lock>)")],
    "an If that names the other lock where it is": [("If", "</outside> (<OUTSIDE>)")],
}


@pytest.mark.parametrize("pairs", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_t20_what_is_no_contradiction(pairs, shell):
    fields = [(name, value.replace("OUTSIDE", shell.outside)) for name, value in pairs]
    assert shell("LOCK", "/a", [*fields, XML], lockinfo(), user="alice").status == 200
    assert len(shell.table()) == 2


@pytest.mark.parametrize("depth", ["1", "0, infinity", "nonsense", "infinity"])
def test_t20_a_refresh_ignores_depth(depth, shell):
    (before,) = shell.table()
    shell.clock.advance(100)
    pairs = {"Depth": depth, "If": f"(<{shell.outside}>)", "Timeout": "Second-300"}
    assert shell("LOCK", "/outside", pairs, user="alice").status == 200
    (after,) = shell.table()
    assert (after.token, after.depth, after.timeout) == (before.token, before.depth, 300)


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n"], ids=["no-body", "blank", "line"])
def test_t20_the_body_decides_between_lock_and_refresh(body, shell):
    with shell.untouched():
        assert shell("LOCK", "/a", [XML], body, user="alice").status == 400
        assert shell("LOCK", "/a", [XML, ("If", f"(<{shell.outside}>)")], body, user="alice").status == 412


UNLOCKS = {
    "two Lock-Tokens": ([("Lock-Token", "<TOKEN>"), ("Lock-Token", "<TOKEN>")], 400),
    "two, one foreign": ([("Lock-Token", f"<{OTHER}>"), ("Lock-Token", "<TOKEN>")], 400),
    "two on one line": ([("Lock-Token", f"<{OTHER}>, <TOKEN>")], 400),
    "two, bare": ([("Lock-Token", "TOKEN"), ("Lock-Token", "TOKEN")], 400),
    "none": ([], 400),
    "empty": ([("Lock-Token", "")], 400),
    "< alone": ([("Lock-Token", "<")], 400),
    "no URI": ([("Lock-Token", "<token>")], 400),
    "a list": ([("Lock-Token", "(<TOKEN>)")], 400),
    "another": ([("Lock-Token", f"<{OTHER}>")], 409),
    "a false If": ([("Lock-Token", "<TOKEN>"), ("If", f"(<{OTHER}>)")], 412),
    "two If": ([("Lock-Token", "<TOKEN>"), ("If", "(<TOKEN>)"), ("If", "(<TOKEN>)")], 400),
}


@pytest.mark.parametrize(("pairs", "status"), UNLOCKS.values(), ids=UNLOCKS.keys())
def test_t20_unlock(pairs, status, shell):
    fields = [(name, value.replace("TOKEN", shell.outside)) for name, value in pairs]
    with shell.untouched():
        got = shell("UNLOCK", "/outside", fields, user="alice")
        assert got.status == status


def test_t20_unlock_by_a_url_out_of_scope(shell):
    with shell.untouched():
        for target in ("/", "/a", "/outsider"):
            assert shell("UNLOCK", target, {"Lock-Token": f"<{shell.outside}>"}, user="alice").status == 409
