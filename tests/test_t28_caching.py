"""T28: what is said of a lock is true now: no cache may keep it, and nothing of it may be sniffed."""

from __future__ import annotations

import pytest

from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}
JSON = {"Content-Type": "application/json"}
TOKEN = {"If": "(<TOKEN>)"}

OURS = {
    "423": ("PUT", "/a", {}, b"x", "bob", 423),
    "423 to DELETE": ("DELETE", "/a", {}, b"", "bob", 423),
    "423 to LOCK": ("LOCK", "/a", XML, lockinfo(), "bob", 423),
    "412": ("PUT", "/a", {"If": "(<urn:x:1>)"}, b"x", "bob", 412),
    "412 to GET": ("GET", "/a", {"If": "(<urn:x:1>)"}, b"", "bob", 412),
    "400": ("PUT", "/a", {"If": "(<"}, b"x", "bob", 400),
    "400 to LOCK": ("LOCK", "/a", XML, b"<a>", "bob", 400),
    "403": ("LOCK", "/a", TOKEN, b"", "bob", 403),
    "409": ("UNLOCK", "/b", {"Lock-Token": "<TOKEN>"}, b"", "alice", 409),
    "413": ("LOCK", "/a", XML, b" " * 70_000, "bob", 413),
    "414": ("PUT", "/" + "x" * 5000, {}, b"", "bob", 414),
    "415": ("LOCK", "/a", {"Content-Type": "image/png"}, b"x", "bob", 415),
    "422": ("LOCK", "/a", JSON, b'{"scope": "none"}', "bob", 422),
    "502": ("MOVE", "/a", {"Destination": "http://x.example/"}, b"", "bob", 502),
    "grant, unmapped": ("LOCK", "/new", XML, lockinfo(), "bob", 201),
    "grant, JSON": ("LOCK", "/new", JSON, b"{}", "bob", 201),
    "refresh": ("LOCK", "/a", TOKEN, b"", "alice", 200),
    "release": ("UNLOCK", "/a", {"Lock-Token": "<TOKEN>"}, b"", "alice", 204),
}
ACCEPTS = ["application/xml", "application/json", "application/problem+json", "text/html"]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("request_", OURS.values(), ids=OURS.keys())
def test_t28_no_answer_of_ours_is_kept(request_, accept, guarded):
    method, target, fields, body, user, status = request_
    shell = guarded()
    token = shell.lock("/a", "alice")
    fields = {name: value.replace("TOKEN", token) for name, value in fields.items()}
    got = shell(method, target, {**fields, "Accept": accept}, body, user=user)
    assert got.status == status
    assert got.all("cache-control") == ["no-store"]
    assert got.first("etag") is None
    assert got.first("last-modified") is None
    if status != 204:
        assert got.all("x-content-type-options") == ["nosniff"]
        assert len(got.all("content-type")) == 1
        assert got.all("content-length") == [str(len(got.body))] or method == "HEAD"


def test_t28_a_get_after_a_423_is_the_applications(guarded):
    shell = guarded()
    shell.lock("/a", "alice")
    before = shell("GET", "/a", user="bob")
    shell("PUT", "/a", {}, b"x", user="bob")
    after = shell("GET", "/a", user="bob")
    assert (after.status, after.headers, after.body) == (before.status, before.headers, before.body)


def test_t28_the_applications_own_answers_stay_as_they_are(guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    for fields in ({}, {"If": f"(<{token}>)"}):
        assert shell("PUT", "/a" if fields else "/free", fields, b"x", user="alice").first("cache-control") is None


def test_t28_an_echoed_token_is_on_the_answer_of_a_write_only(guarded):
    shell = guarded(echo_token=True)
    token = shell.lock("/a", "alice")
    assert shell("PUT", "/a", {"If": f"(<{token}>)"}, b"x", user="alice").first("lock-token") == f"<{token}>"
    assert shell("GET", "/a", {}, user="alice").first("lock-token") is None
    assert shell("PUT", "/free", {}, b"x", user="alice").first("lock-token") is None
