"""T10: a token opens only for its creator, wherever in `If` it is shown (mod_dav checks the user in one path only)."""

from __future__ import annotations

import pytest

TRUE = "(Not <DAV:no-lock>)"

SHOWN_BESIDE_TRUE = {
    "untagged": f"(<TOKEN>) {TRUE}",
    "untagged, after a true list": f"{TRUE} (<TOKEN>)",
    "tagged with the own URL": f"</a> (<TOKEN>) {TRUE}",
    "tagged with another URL": f"</other> (<TOKEN>) </a> {TRUE}",
    "tagged with another host": f"<http://elsewhere.example/a> (<TOKEN>) </a> {TRUE}",
    "under Not": f"(Not <TOKEN>) {TRUE}",
    "in one list with a true condition": "(<TOKEN> Not <DAV:no-lock>)",
    "in a list that an entity tag makes false": f'(<TOKEN> ["none"]) {TRUE}',
    "under Not, tagged with another URL": f"</other> (Not <TOKEN>) </a> {TRUE}",
}
TRUE_ALONE = {
    "untagged": "(<TOKEN>)",
    "tagged with the own URL": "</a> (<TOKEN>)",
    "tagged with the own URL, absolute": "<http://docs.example/a> (<TOKEN>)",
    "under Not, of another URL": "</other> (Not <TOKEN>)",
}
FALSE_ALONE = {
    "under Not": "(Not <TOKEN>)",
    "tagged with another URL": "</other> (<TOKEN>)",
    "tagged with another host": "<http://elsewhere.example/a> (<TOKEN>)",
    "in a list that an entity tag makes false": '(<TOKEN> ["none"])',
}
LETS_IN = SHOWN_BESIDE_TRUE | TRUE_ALONE
WRITES = ["PUT", "POST", "PATCH", "DELETE", "PROPPATCH", "MOVE", "FROB"]


def shown(header: str, token: str) -> dict[str, str]:
    return {"If": header.replace("TOKEN", token), "Destination": "/elsewhere"}


@pytest.mark.parametrize("dav", [False, True], ids=["plain", "dav"])
@pytest.mark.parametrize("header", LETS_IN.values(), ids=LETS_IN.keys())
def test_t10_shown_by_another_it_opens_nothing(header, dav, guarded):
    shell = guarded(dav=dav)
    token = shell.lock("/a", "alice")
    for user in ("bob", None, "", "Alice", "alice ", "alice\x00"):
        with shell.untouched():
            assert shell("PUT", "/a", shown(header, token), b"x", user=user).status == 423, user


@pytest.mark.parametrize("header", LETS_IN.values(), ids=LETS_IN.keys())
def test_t10_shown_by_its_creator_it_opens(header, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    assert shell("PUT", "/a", shown(header, token), b"x", user="alice").status == 204
    assert [seen.method for seen in shell.site.requests] == ["PUT"]


@pytest.mark.parametrize("user", ["alice", "bob"])
@pytest.mark.parametrize("header", FALSE_ALONE.values(), ids=FALSE_ALONE.keys())
def test_t10_a_false_if_alone_is_a_412(header, user, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with shell.untouched():
        assert shell("PUT", "/a", shown(header, token), b"x", user=user).status == 412


@pytest.mark.parametrize("method", WRITES)
def test_t10_on_every_method(method, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with shell.untouched():
        assert shell(method, "/a", shown("(<TOKEN>)", token), user="bob").status == 423
    assert shell(method, "/a", shown("(<TOKEN>)", token), user="alice").status < 300


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        pytest.param("MOVE", "/free", {"Destination": "/a"}, id="MOVE onto it"),
        pytest.param("COPY", "/free", {"Destination": "/a/new"}, id="COPY into it"),
        pytest.param("MKCOL", "/a/new", {}, id="MKCOL in it"),
        pytest.param("DELETE", "/a/member", {}, id="DELETE of a member"),
        pytest.param("DELETE", "/", {}, id="DELETE of what it is in"),
    ],
)
def test_t10_through_other_urls(method, target, fields, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with shell.untouched():
        answer = shell(method, target, {**fields, "If": f"</a> (<{token}>)"}, user="bob")
        assert answer.status == 423


@pytest.mark.parametrize("user", ["bob", "Alice"])
def test_t10_unlock_and_refresh_are_forbidden(user, guarded):
    shell = guarded()
    token = shell.lock("/a", "alice")
    with shell.untouched():
        assert shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}, user=user).status == 403
        assert shell("LOCK", "/a", {"If": f"(<{token}>)"}, user=user).status == 403
    assert shell("LOCK", "/a", {"If": f"(<{token}>)"}, user="alice").status == 200
    assert shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}, user="alice").status == 204
    assert shell.table() == ()


@pytest.mark.parametrize("challenge", [None, 'Basic realm="docs"'], ids=["no-challenge", "challenge"])
def test_t10_nobody_may_unlock_or_refresh(challenge, guarded):
    shell = guarded(challenge=challenge)
    token = shell.lock("/a", "alice")
    expected = 403 if challenge is None else 401
    for answer in (
        lambda: shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}),
        lambda: shell("LOCK", "/a", {"If": f"(<{token}>)"}),
    ):
        with shell.untouched():
            got = answer()
            assert got.status == expected
            assert got.first("www-authenticate") == challenge


def test_t10_of_two_shared_locks_each_opens_for_its_own_holder(guarded):
    shell = guarded()
    ours, theirs = (shell.lock("/a", user, scope="shared") for user in ("alice", "bob"))
    for user, token, status in (
        ("alice", ours, 204),
        ("alice", theirs, 423),
        ("bob", theirs, 204),
        ("bob", ours, 423),
        ("carol", ours, 423),
    ):
        assert shell("PUT", "/a", {"If": f"(<{token}>)"}, b"x", user=user).status == status, (user, token)
