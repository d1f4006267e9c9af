"""T26: nobody locks what the application would not let them have; who that is, it decides itself (RFC 4918 8.1)."""

from __future__ import annotations

import pytest

from support.threats import Site, lockinfo

XML = {"Content-Type": "application/xml"}
BODIES = {
    "xml": (XML, lockinfo()),
    "json": ({"Content-Type": "application/json"}, b"{}"),
    "shared": (XML, lockinfo(scope="shared")),
}


def forbids(status: int):
    return lambda user, path: status if path.startswith("/closed") and user != "alice" else None


@pytest.mark.parametrize("head", [None, 405, 501], ids=["HEAD", "GET for 405", "GET for 501"])
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
@pytest.mark.parametrize(("fields", "body"), BODIES.values(), ids=BODIES.keys())
def test_t26_the_applications_own_answer_goes_first(fields, body, dav, status, head, guarded):
    site = Site({"/closed/a": b""}, forbids(status))
    if head is not None:
        denied, answer = site.forbids, site.answer

        def no_head(seen):
            if seen.method != "HEAD":
                return answer(seen)
            site.seen.append(seen)
            return head, [], b""

        site.forbids, site.answer = denied, no_head
    shell = guarded(site, dav=dav)
    for target in ("/closed/a", "/closed/unmapped"):
        with shell.untouched():
            assert shell("LOCK", target, fields, body, user="bob").status == status
        asked = [seen.method for seen in shell.site.seen]
        assert asked == (["HEAD"] if head is None else ["HEAD", "GET"])
    assert shell("LOCK", "/closed/a", fields, body, user="alice").status == 200


def test_t26_its_challenge_comes_along(guarded):
    site = Site()
    site.answer = lambda seen: (401, [("WWW-Authenticate", 'Basic realm="docs"')], b"who are you?")
    shell = guarded(site)
    for user in (None, "bob"):
        got = shell("LOCK", "/a", XML, lockinfo(), user=user)
        assert (got.status, got.first("www-authenticate"), got.body) == (401, 'Basic realm="docs"', b"")
    assert shell.table() == ()


@pytest.mark.parametrize(("challenge", "status"), [(None, 403), ('Basic realm="docs"', 401)], ids=["none", "challenge"])
@pytest.mark.parametrize(("fields", "body"), BODIES.values(), ids=BODIES.keys())
def test_t26_a_lock_needs_a_principal_where_there_are_some(fields, body, challenge, status, guarded):
    shell = guarded(challenge=challenge)
    with shell.untouched():
        got = shell("LOCK", "/a", fields, body)
        assert (got.status, got.first("www-authenticate")) == (status, challenge)


def test_t26_without_principals_anybody_locks(guarded):
    shell = guarded(bearer=True)
    assert shell("LOCK", "/a", XML, lockinfo()).status == 200


def test_t26_may_lock_decides(guarded):
    shell = guarded(may_lock=lambda principal, path: principal.name == "alice" and path == "/a")
    for user, target in (("bob", "/a"), ("alice", "/b")):
        with shell.untouched():
            assert shell("LOCK", target, XML, lockinfo(), user=user).status == 403
    assert shell("LOCK", "/a", XML, lockinfo(), user="alice").status == 200


@pytest.mark.parametrize("target", ["/a", "/%61", "//a", "/x/../a", "/a/"])
def test_t26_authorize_decides_and_the_application_is_not_asked(target, guarded):
    asked = []

    def authorize(principal, method, path):
        asked.append((principal and principal.name, method))
        return False

    shell = guarded(authorize=authorize)
    with shell.untouched():
        assert shell("LOCK", target, XML, lockinfo(), user="bob").status == 403
    assert asked == [("bob", "LOCK")]
    assert shell.site.seen == []


def test_t26_a_hook_that_fails_grants_nothing(guarded):
    def broken(*_):
        raise RuntimeError("no directory")

    for name in ("authorize", "may_lock"):
        shell = guarded(**{name: broken})
        with shell.untouched(), pytest.raises(RuntimeError):
            shell("LOCK", "/a", XML, lockinfo(), user="bob")


def test_t26_an_application_that_fails_says_nothing(guarded):
    """500 is no permission and no refusal: the locks go on; the write is still the application's to refuse."""
    site = Site()
    shell = guarded(site)
    answer = site.answer

    def broken(seen):
        site.seen.append(seen)
        raise RuntimeError("broken")

    site.answer = broken
    assert shell("LOCK", "/a", XML, lockinfo(), user="alice").status in (200, 201)
    site.answer = answer
    with shell.untouched():
        assert shell("PUT", "/a", {}, b"x", user="bob").status == 423
