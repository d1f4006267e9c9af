"""T12: who is shown a lock token: by policy in answers, nobody in logs, notes and messages (ownCloud #34268)."""

from __future__ import annotations

import logging
import traceback

import pytest

from locklib.errors import LockRefused
from support.threats import Site, lockinfo

XML = {"Content-Type": "application/xml"}
ACCEPTS = {
    "XML": "application/xml",
    "JSON": "application/json",
    "problem": "application/problem+json",
    "HTML": "text/html",
    "any": "*/*",
}
REFUSED = {
    "PUT": ("PUT", "/a", {}, b"x"),
    "DELETE": ("DELETE", "/a", {}, b""),
    "DELETE above": ("DELETE", "/", {}, b""),
    "MOVE onto": ("MOVE", "/free", {"Destination": "/a"}, b""),
    "LOCK": ("LOCK", "/a", XML, lockinfo()),
    "LOCK above": ("LOCK", "/", XML, lockinfo()),
    "LOCK of a member": ("LOCK", "/a/b", XML, lockinfo()),
    "PROPPATCH": ("PROPPATCH", "/a", XML, b'<D:propertyupdate xmlns:D="DAV:"/>'),
}


def secret(token: str) -> str:
    """The part of a token that nothing else says."""
    return token.removeprefix("urn:uuid:")


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS.keys())
@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_t12_a_bearer_token_is_never_in_a_refusal(request_, accept, guarded):
    method, target, fields, body = request_
    shell = guarded(bearer=True, dav=True)
    token = shell.lock("/a")
    got = shell(method, target, {**fields, "Accept": accept}, body)
    assert got.status in (207, 423)
    assert secret(token) not in got.said
    assert got.first("lock-token") is None


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS.keys())
@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_t12_nobody_is_shown_the_token_of_somebody(request_, accept, guarded):
    method, target, fields, body = request_
    shell = guarded(dav=True)
    token = shell.lock("/a", "alice")
    got = shell(method, target, {**fields, "Accept": accept}, body, user=None)
    assert got.status in (207, 403, 423)
    assert secret(token) not in got.said


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
def test_t12_a_principal_is_shown_what_opens_nothing(accept, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    got = shell("PUT", "/a", {"Accept": accept}, b"x", user="bob")
    assert got.json["lock"]["token"] == token
    assert got.first("lock-token") == f"<{token}>"


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS.keys())
def test_t12_a_423_to_lock_never_looks_like_a_grant(accept, guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    for target in ("/a", "/a/b"):
        got = shell("LOCK", target, {**XML, "Accept": accept}, lockinfo(), user="bob")
        assert got.status == 423
        assert got.first("lock-token") is None


PROPFIND = b'<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>'


@pytest.mark.parametrize("user", ["alice", "bob", None])
def test_t12_lockdiscovery_shows_it_as_every_dav_server_does(user, guarded):
    shell = guarded(dav=True)
    token = shell.lock("/a", "alice")
    got = shell("PROPFIND", "/a", {**XML, "Depth": "0"}, PROPFIND, user=user)
    assert got.status == 207
    assert f"<D:href>{token}</D:href>" in got.text


@pytest.mark.parametrize("user", ["bob", None])
@pytest.mark.parametrize("bearer", [False, True], ids=["principals", "bearer"])
def test_t12_or_hides_it_where_discovery_is_strict(user, bearer, guarded):
    shell = guarded(dav=True, strict_discovery=True, bearer=bearer)
    token = shell.lock("/a", "alice", owner="alice@example.org")
    got = shell("PROPFIND", "/a", {**XML, "Depth": "0"}, PROPFIND, user=user)
    assert got.status == 207
    assert "activelock" in got.text
    assert secret(token) not in got.said


def test_t12_strict_discovery_still_tells_its_holder(guarded):
    shell = guarded(dav=True, strict_discovery=True)
    token = shell.lock("/a", "alice")
    assert token in shell("PROPFIND", "/a", {**XML, "Depth": "0"}, PROPFIND, user="alice").text


@pytest.mark.parametrize("strict", [False, True])
def test_t12_a_grant_beside_others_follows_discovery(strict, guarded):
    shell = guarded(strict_discovery=strict)
    theirs = shell.lock("/a", "alice", scope="shared")
    got = shell("LOCK", "/a", XML, lockinfo(scope="shared"), user="bob")
    assert got.status == 200
    assert (secret(theirs) in got.said) is not strict
    assert len(got.all("lock-token")) == 1
    assert theirs not in got.first("lock-token")


def everything_refused_and_granted(shell, token: str, user: str) -> list[str]:
    """Each way in which a token can be in a request, or a lock in its way. What was answered."""
    shown = {"If": f"(<{token}>)"}
    shell.site.answers = {"HEAD": 200}
    requests = [
        *((method, target, fields, body) for method, target, fields, body in REFUSED.values()),
        ("PUT", "/a", shown, b"x"),
        ("PUT", f"/a?token={token}", {}, b"x"),
        ("PUT", "/a", {"If": f"(Not <{token}>)"}, b"x"),
        ("PUT", "/a", {"If": f"(<{token}>"}, b"x"),
        ("PUT", "/a", {"If": f"(<{token}> <a b>)"}, b"x"),
        ("PUT", "/a", {"Lock-Token": f"<{token}>"}, b"x"),
        ("UNLOCK", "/a", {"Lock-Token": f"<{token}"}, b""),
        ("UNLOCK", "/a", {"Lock-Token": f"<{token}>, <{token}>"}, b""),
        ("UNLOCK", "/other", {"Lock-Token": f"<{token}>"}, b""),
        ("LOCK", "/a", shown, b""),
        ("LOCK", "/other", shown, b""),
        ("PROPFIND", "/a", {**XML, **shown, "Depth": "0"}, PROPFIND),
        ("LOCK", "/b", XML, lockinfo()),
        ("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}, b""),
    ]
    return [shell(*request, user=user).said for request in requests]


@pytest.mark.parametrize("user", ["alice", "bob", None])
@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
def test_t12_no_log_record_and_no_note_holds_a_token(user, dav, guarded, caplog):
    caplog.set_level(logging.DEBUG)
    shell = guarded(dav=dav)
    token = shell.lock("/a", "alice")
    said = everything_refused_and_granted(shell, token, user)
    assert any(secret(token) in text for text in said)  # it was there to be logged
    records = [record for record in caplog.records if record.name.startswith("locklib")]
    assert any("423" in record.getMessage() for record in records) or user == "alice"
    written = [caplog.text, *(repr(record.args) for record in caplog.records)]
    written += [repr(note) for note in shell.store.notes()]
    tokens = {token, *(lock.token for lock in shell.table())}
    assert not [text for text in written for one in tokens if secret(one) in text]
    if any("lock=" in record.getMessage() for record in records):
        assert f"lock=...{token[-4:]}" in caplog.text  # enough to tell two locks apart


def test_t12_no_trace_of_an_application_that_raises(guarded, caplog):
    caplog.set_level(logging.DEBUG)
    site = Site()
    shell = guarded(site)
    token = shell.lock("/a", "alice")
    site.forbids = lambda user, path: 1 / 0
    with shell.untouched():
        assert shell("PUT", "/a", {"If": f"(Not <{token}>)"}, b"x", user="bob").status == 412
    assert "ZeroDivisionError" in caplog.text
    assert secret(token) not in caplog.text


def test_t12_no_trace_of_code_that_is_refused(guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with pytest.raises(LockRefused) as caught:
        shell.locks.acquire("/a", creator="bob")
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value)
    assert secret(token) not in told


def test_t12_nor_when_its_locks_are_printed(guarded):
    """A trace with the values of variables prints them by `repr`."""
    shell = guarded()
    token = shell.lock("/a", "alice")
    (lock,) = shell.table()
    with pytest.raises(LockRefused) as caught:
        shell.locks.acquire("/a", creator="bob")
    assert secret(token) not in f"{lock} {lock!r} {caught.value.refusal!r}"
