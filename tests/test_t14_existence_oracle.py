"""T14: a lock tells nothing about what the asker may not see: the application's 401 and 403 come first."""

from __future__ import annotations

import pytest

from locklib.core.disclosing import Disclosure
from support.threats import Site, lockinfo

XML = {"Content-Type": "application/xml"}
TOKEN = "urn:uuid:11111111-1111-4111-8111-111111111111"
PLACES = ["/secret/locked", "/secret/free", "/secret/unmapped"]

REQUESTS = {
    "PUT": ("PUT", {}, b"x"),
    "POST": ("POST", {}, b"x"),
    "PATCH": ("PATCH", {}, b"x"),
    "DELETE": ("DELETE", {}, b""),
    "MKCOL": ("MKCOL", {}, b""),
    "PROPPATCH": ("PROPPATCH", XML, b'<D:propertyupdate xmlns:D="DAV:"/>'),
    "MOVE away": ("MOVE", {"Destination": "/elsewhere"}, b""),
    "unknown": ("FROB", {}, b""),
    "POST that is a DELETE": ("POST", {"X-HTTP-Method-Override": "DELETE"}, b""),
    "LOCK": ("LOCK", XML, lockinfo()),
    "LOCK, shared": ("LOCK", XML, lockinfo(scope="shared")),
    "refresh": ("LOCK", {"If": f"(<{TOKEN}>)"}, b""),
    "UNLOCK": ("UNLOCK", {"Lock-Token": f"<{TOKEN}>"}, b""),
    "If that is false": ("PUT", {"If": f"(<{TOKEN}>)"}, b"x"),
    "If that is true": ("PUT", {"If": "(Not <DAV:no-lock>)"}, b"x"),
    "If on GET": ("GET", {"If": f"(<{TOKEN}>)"}, b""),
}


def forbids(status: int):
    return lambda user, path: status if path.startswith("/secret") and user != "alice" else None


def shell_with_secrets(guarded, status: int = 403, **settings):
    documents = {"/free": b"", "/secret/locked": b"one", "/secret/free": b"two", "/shared/x": b""}
    shell = guarded(Site(documents, forbids(status)), **settings)
    shell.lock("/secret/locked", "alice", owner="Alice Liddell")
    return shell


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_t14_locked_or_not_the_answer_is_the_same(request_, dav, status, guarded):
    method, fields, body = request_
    shell = shell_with_secrets(guarded, status, dav=dav)
    before = shell.table()
    told = []
    for place in PLACES:
        got = shell(method, place, fields, body, user="bob")
        told.append(
            (got.status, tuple(name for name, _ in got.headers if name.startswith(("x-lock", "lock", "retry"))))
        )
        assert "urn:uuid" not in got.said
        assert "Alice" not in got.said
    assert told[0][0] == status
    assert len(set(told)) == 1
    assert shell.table() == before


@pytest.mark.parametrize("tail", ["%00", "%ff", "\\..\\locked", "..;/locked"])
def test_t14_nor_does_a_path_that_cannot_be_read(tail, guarded):
    shell = shell_with_secrets(guarded)
    near = shell("PUT", f"/secret/locked{tail}", {}, b"x", user="bob")
    far = shell("PUT", f"/secret/free{tail}", {}, b"x", user="bob")
    assert (near.status, far.status) == (403, 403)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_t14_through_a_destination(method, guarded):
    """What lies at the destination is not the asker's to see either: the same answer, or one without the lock in it."""
    shell = shell_with_secrets(guarded)
    with shell.untouched():
        got = shell(method, "/free", {"Destination": "/secret/locked"}, user="bob")
        assert got.status in (403, 423)
    assert "Alice" not in got.said
    assert "alice" not in got.said
    assert "/secret" not in got.said or got.status == 403


def test_t14_through_a_tree(guarded):
    """DELETE of what the asker may see, with something in it that the asker may not."""
    shell = shell_with_secrets(guarded)
    with shell.untouched():
        got = shell("DELETE", "/", user="bob")
        assert got.status in (403, 423)
    assert "alice" not in got.said.lower()
    assert "/secret" not in got.said


@pytest.mark.parametrize("accept", ["application/xml", "application/json", "text/html"])
def test_t14_through_a_lock_of_the_tree(accept, guarded):
    """LOCK with depth infinity above it: a 207 would name the member."""
    shell = shell_with_secrets(guarded, dav=True)
    with shell.untouched():
        got = shell("LOCK", "/", {**XML, "Accept": accept}, lockinfo(), user="bob")
        assert got.status == 423
    assert "alice" not in got.said.lower()
    assert "/secret" not in got.said


def test_t14_who_may_see_it_is_told(guarded):
    shell = shell_with_secrets(guarded)
    for method, target in (("MOVE", "/free"), ("COPY", "/free"), ("DELETE", "/")):
        with shell.untouched():
            got = shell(method, target, {"Destination": "/secret/locked", "Accept": "text/xml"}, user="alice")
            assert got.status == 423
        assert "<D:href>/secret/locked</D:href>" in got.text


def test_t14_a_hook_decides_about_the_other_place_too(guarded):
    shell = guarded(authorize=lambda principal, method, path: not path.startswith("/secret"))
    shell.locks.acquire("/secret/locked", creator="alice")
    with shell.untouched():
        got = shell("MOVE", "/free", {"Destination": "/secret/locked"}, user="bob")
        assert got.status == 423
    assert "alice" not in got.said
    assert "/secret" not in got.said
    assert shell.site.seen == []


def test_t14_no_more_places_are_told_than_are_asked_for(guarded):
    """65 foreign locks in one tree: 32 of them are told, and asked for; the application hears no more questions."""
    shell = guarded(Site({f"/tree/{number}": b"" for number in range(65)} | {"/tree": b""}))
    for number in range(65):
        shell.locks.acquire(f"/tree/{number}", creator="alice")
    shown = " ".join(f"(Not <urn:x:{number}>)" for number in range(65))
    with shell.untouched():
        got = shell("DELETE", "/tree", {"If": shown, "Accept": "application/json"}, user="bob")
        assert got.status == 423
        asked = [seen.path for seen in shell.site.seen]
    assert len(asked) == 33
    assert {each["root"] for each in got.json["conflicts"]} == set(asked[1:])


def test_t14_a_policy_may_leave_the_root_out(guarded):
    bare = Disclosure(token=False, owner=False, reason=False, contact=False, root=False)
    shell = guarded(disclosure=lambda principal, lock: bare)
    shell.lock("/a", "alice", owner="Alice Liddell")
    for accept in ("application/xml", "application/json", "application/problem+json", "text/html"):
        with shell.untouched():
            got = shell("PUT", "/a/b/c", {"Accept": accept}, b"x", user="bob")
            assert got.status == 423
        assert "alice" not in got.said.lower()
        assert "href" not in got.text.replace("<link href", "")
        assert '"root": "/a"' not in got.text


def test_t14_the_asker_of_the_application_is_the_asker(guarded):
    """The question carries the caller's own credentials, and neither body nor conditions of the request."""
    shell = shell_with_secrets(guarded)
    fields = {"Authorization": "Basic Ym9iOmJvYg==", "If-Match": '"x"', "Range": "bytes=0-1"}
    shell("PUT", "/secret/locked", fields, b"x", user="bob")
    (asked,) = shell.site.seen
    assert (asked.method, asked.user, asked.body) == ("HEAD", "bob", b"")
    assert asked.fields["authorization"] == "Basic Ym9iOmJvYg=="
    assert not {"if-match", "range", "content-length"} & set(asked.fields)


def test_t14_its_refusal_is_passed_on_without_a_body_of_another_length(guarded):
    got = shell_with_secrets(guarded, 401)("PUT", "/secret/locked", {}, b"x", user=None)
    assert (got.status, got.body, got.all("content-length")) == (401, b"", ["0"])


def test_t14_a_hook_decides_instead(guarded):
    shell = guarded(authorize=lambda principal, method, path: principal is not None and principal.name == "alice")
    shell.lock("/a", "alice")
    with shell.untouched():
        got = shell("PUT", "/a", {}, b"x", user="bob")
        assert got.status == 403
    assert "alice" not in got.said
    assert shell.site.seen == []
