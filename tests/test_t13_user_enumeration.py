"""T13: who holds a lock is told by policy: by default only to requesters who have said who they are."""

from __future__ import annotations

import pytest

from locklib.core.disclosing import Disclosure
from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}
ACCEPTS = ["application/xml", "application/json", "application/problem+json", "text/html", "*/*"]
WHO = ["alice", "Alice Liddell", "legal hold", "room 101"]


def locked(guarded, **settings):
    """Two locks that have words of people everywhere that words can be."""
    shell = guarded(dav=True, **settings)
    shell.lock("/a", "alice", owner="<D:href>mailto:Alice Liddell</D:href>")
    creator = None if settings.get("bearer") else "alice"
    for path in ("/a", "/hold/x"):
        shell.locks.acquire(
            path, creator=creator, purpose="administrative", reason="legal hold", contact="room 101", owner_info="alice"
        )
    shell.site.documents |= {"/hold/x": b"", "/free": b""}
    return shell


REQUESTS = {
    "PUT": ("PUT", "/a", {}, b"x"),
    "DELETE of both": ("DELETE", "/", {}, b""),
    "DELETE of a hold": ("DELETE", "/hold", {}, b""),
    "MOVE onto": ("MOVE", "/free", {"Destination": "/a"}, b""),
    "If that is false": ("PUT", "/a", {"If": "(<urn:x:1>)"}, b""),
}


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_t13_an_anonymous_requester_learns_no_name(request_, accept, guarded):
    method, target, fields, body = request_
    shell = locked(guarded)
    with shell.untouched():
        got = shell(method, target, {**fields, "Accept": accept}, body, user=None)
        assert got.status in (412, 423)
    assert [word for word in WHO if word.lower() in got.said.lower()] == []
    assert got.first("x-lock-owner") is None


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_t13_a_principal_learns_whom_to_ask(request_, guarded):
    method, target, fields, body = request_
    got = locked(guarded)(method, target, {**fields, "Accept": "application/json"}, body, user="bob")
    if got.status == 423:
        assert got.first("x-lock-owner") == "alice"
        assert got.json["lock"]["owner"] == "alice"
        assert "room 101" in got.text


@pytest.mark.parametrize("accept", ACCEPTS)
def test_t13_an_anonymous_lock_is_refused_without_names(accept, guarded):
    shell = locked(guarded)
    for target in ("/a", "/", "/a/b"):
        with shell.untouched():
            got = shell("LOCK", target, {**XML, "Accept": accept}, lockinfo(), user=None)
            assert got.status == 403
        assert [word for word in WHO if word.lower() in got.said.lower()] == []


@pytest.mark.parametrize("accept", ACCEPTS)
def test_t13_a_setting_decides(accept, guarded):
    closed = Disclosure(token=False, owner=False, reason=False, contact=False)
    shell = locked(guarded, disclosure=lambda principal, lock: closed)
    got = shell("PUT", "/a", {"Accept": accept}, b"x", user="bob")
    assert got.status == 423
    assert [word for word in WHO if word.lower() in got.said.lower()] == []


def test_t13_a_setting_decides_for_each_lock(guarded):
    """One lock may be shown, the other may not: the first says nothing of the second."""

    def by_creator(principal, lock):
        known = lock.creator == "carol"
        return Disclosure(token=known, owner=known, reason=known, contact=known)

    shell = guarded(disclosure=by_creator)
    shell.lock("/tree/1", "carol", owner="carol's words")
    secret = shell.lock("/tree/2", "alice", owner="Alice Liddell")
    got = shell("DELETE", "/tree", {"Accept": "application/json"}, user="bob")
    assert got.status == 423
    assert "carol" in got.text
    assert [word for word in WHO if word in got.said] == []
    assert secret not in got.said


def test_t13_without_principals_the_words_are_the_clients_own(guarded):
    shell = locked(guarded, bearer=True)
    got = shell("PUT", "/a", {"Accept": "application/json"}, b"x")
    assert got.status == 423
    assert "room 101" in got.text
