"""T30: the locks of a resource end with it, before anybody hears that it is gone (Go #42839)."""

from __future__ import annotations

import pytest

from support.threats import Site


def documents() -> Site:
    return Site({"/a": b"a", "/a/b": b"", "/a/c": b"", "/free": b""})


@pytest.fixture
def shell(guarded):
    return guarded(documents())


def watch(shell) -> list[int]:
    """How many locks there are, each time that an answer begins."""
    counted: list[int] = []
    app = shell.app

    async def asgi(scope, receive, send):
        async def counting(message):
            if message["type"] == "http.response.start":
                counted.append(len(shell.table()))
            await send(message)

        await app(scope, receive, counting)

    def wsgi(environ, start_response):
        def counting(status, headers, exc_info=None):
            counted.append(len(shell.table()))
            return start_response(status, headers)

        return app(environ, counting)

    shell.app = asgi if shell.kind == "asgi" else wsgi
    return counted


@pytest.mark.parametrize("target", ["/a", "/a/", "/%61", "/x/../a"])
def test_t30_lock_delete_put(target, shell):
    token = shell.lock("/a", "alice")
    counted = watch(shell)
    shell.site.documents.setdefault(target.replace("%61", "a").replace("/x/..", ""), b"")
    shell.site.answers = {"DELETE": 204}
    assert shell("DELETE", target, {"If": f"</a> (<{token}>)"}, user="alice").status == 204
    assert counted == [0]
    shell.site.answers = {}
    assert shell("PUT", "/a", {}, b"new", user="bob").status in (201, 204)
    assert shell.site.documents["/a"] == b"new"


def test_t30_the_old_token_is_worth_nothing_on_the_new_resource(shell):
    token = shell.lock("/a", "alice")
    shell("DELETE", "/a", {"If": f"(<{token}>)"}, user="alice")
    shell("PUT", "/a", {}, b"new", user="bob")
    newer = shell.lock("/a", "bob")
    with shell.untouched():
        assert shell("PUT", "/a", {"If": f"(<{token}>)"}, b"x", user="alice").status == 412
        assert shell("LOCK", "/a", {"If": f"(<{token}>)"}, user="alice").status == 412
        assert shell("UNLOCK", "/a", {"Lock-Token": f"<{token}>"}, user="alice").status == 409
    assert newer != token


def test_t30_members_end_with_their_collection(shell):
    tokens = [shell.lock(f"/a/{name}", "alice", depth="0") for name in "bc"]
    kept = shell.lock("/free", "alice")
    counted = watch(shell)
    shown = {"If": " ".join(f"</a/{name}> (<{token}>)" for name, token in zip("bc", tokens, strict=True))}
    assert shell("DELETE", "/a", shown, user="alice").status == 204
    assert counted == [1]
    assert [lock.token for lock in shell.table()] == [kept]


def test_t30_a_move_ends_those_of_its_source(shell):
    token = shell.lock("/a", "alice")
    counted = watch(shell)
    fields = {"Destination": "/moved", "If": f"(<{token}>)"}
    assert shell("MOVE", "/a", fields, user="alice").status == 201
    assert counted == [0]
    assert shell("PUT", "/a", {}, b"new", user="bob").status == 201
    assert shell("PUT", "/moved", {}, b"x", user="bob").status == 204


@pytest.mark.parametrize("status", [202, 400, 403, 404, 409, 412, 424, 500, 503])
def test_t30_what_did_not_go_stays_locked(status, shell):
    token = shell.lock("/a", "alice")
    shell.site.answers = {"DELETE": status}
    assert shell("DELETE", "/a", {"If": f"(<{token}>)"}, user="alice").status == status
    with shell.untouched():
        assert shell("PUT", "/a", {}, b"x", user="bob").status == 423


def test_t30_of_a_partial_delete_only_what_is_gone(shell):
    """207: what the application now calls unmapped has lost its locks, the rest has not."""
    gone, left = shell.lock("/a/b", "alice", depth="0"), shell.lock("/a/c", "alice", depth="0")

    def partly(seen):
        shell.site.documents.pop("/a/b", None)
        return 207, [("Content-Type", "application/xml")], b'<D:multistatus xmlns:D="DAV:"/>'

    shell.site._delete = partly
    shown = {"If": f"</a/b> (<{gone}>) </a/c> (<{left}>)"}
    assert shell("DELETE", "/a", shown, user="alice").status == 207
    assert [lock.token for lock in shell.table()] == [left]


def test_t30_an_unlocked_delete_ends_nothing_of_others(shell):
    """A sibling, the parent, and a name that begins alike."""
    shell.site.documents["/ab"] = b""
    kept = {shell.lock("/ab", "alice"), shell.lock("/free", "alice")}
    assert shell("DELETE", "/a", {}, user="bob").status == 204
    assert {lock.token for lock in shell.table()} == kept


def test_t30_an_alias_that_may_be_another_resource_ends_nothing(shell):
    """`/a;v=1` shares the key of `/a`, but only the application knows whether it is the same: too locked is safe."""
    token = shell.lock("/a", "alice")
    shell.site.documents["/a;v=1"] = b""
    assert shell("DELETE", "/a;v=1", {"If": f"</a> (<{token}>)"}, user="alice").status == 204
    assert [lock.token for lock in shell.table()] == [token]
