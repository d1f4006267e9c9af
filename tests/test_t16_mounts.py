"""T16: behind a mount or a proxy a resource keeps its one key, and nobody can say otherwise in a header."""

from __future__ import annotations

import pytest

from support.threats import Body, Shell, Site, lockinfo

XML = {"Content-Type": "application/xml"}


def documents() -> Site:
    return Site({"/dav/a": b"a", "/dav/free": b"", "/free": b"", "/dav/in/x": b""})


@pytest.fixture
def shell(guarded):
    return guarded(documents())


# ---- one key by all ways ---------------------------------------------------------------------------------------------

WAYS = {
    "mounted": {"target": "/a", "mount": "/dav"},
    "mounted, slash at the end": {"target": "/a", "mount": "/dav/"},
    "not mounted": {"target": "/dav/a", "mount": ""},
    "mounted, by an alias": {"target": "/x/../a", "mount": "/dav"},
    "mounted, encoded": {"target": "/%61", "mount": "/dav"},
    "mounted deeper": {"target": "/", "mount": "/dav/a"},
}


@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("locked", WAYS.values(), ids=WAYS.keys())
def test_t16_a_lock_taken_by_one_way_holds_by_all(locked, written, shell):
    shell.lock(user="alice", depth="0", **locked)
    with shell.untouched():
        assert shell("PUT", fields={}, body=b"x", user="bob", **written).status == 423


def test_t16_a_path_that_asgi_servers_hand_over_without_the_mount(shell):
    """Servers differ in whether `path` begins with `root_path`; a proxy that strips leaves it out as well."""
    shell.lock("/dav/a", "alice", depth="0")
    if shell.kind == "wsgi":
        got = shell("PUT", "/a", {}, b"x", user="bob", mount="/dav")
    else:
        original, app = shell._by_asgi, shell.app

        async def stripped(scope, receive, send):
            await app({**scope, "path": scope["path"].removeprefix("/dav")}, receive, send)

        shell.app = stripped
        got = original("PUT", "/a", "", [], Body([b"x"]), "bob", "/dav")
    assert got.status == 423
    assert shell.site.requests == []


@pytest.mark.parametrize("target", ["/../a", "/..%2fa", "/%2e%2e/a", "/x/../../a", "/..;/a", "\\..\\a"])
def test_t16_a_path_does_not_climb_out_of_its_mount(target, shell):
    """What climbs is still under the mount for the application, so it is for the key."""
    shell.lock("/dav/a", "alice", depth="0")
    with shell.untouched():
        assert shell("PUT", target, {}, b"x", user="bob", mount="/dav").status in (400, 423)


def test_t16_an_equal_path_under_another_mount_is_another_resource(shell):
    shell.lock("/a", "alice", mount="/dav")
    assert shell("PUT", "/a", {}, b"x", user="bob", mount="/other").status == 201
    assert shell("PUT", "/a", {}, b"x", user="bob").status == 204
    assert shell("PUT", "/davenport", {}, b"x", user="bob").status == 201


def test_t16_the_lock_root_is_told_as_addressed(shell):
    shell.lock("/a", "alice", mount="/dav")
    for mount, target in (("/dav", "/a"), ("", "/dav/a")):
        got = shell("PUT", target, {"Accept": "application/xml"}, b"x", user="bob", mount=mount)
        assert "<D:href>/dav/a</D:href>" in got.text


def test_t16_within_a_real_mount():
    """The middleware inside and outside of a router's mount, on one table."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    inside = Shell("asgi", documents())
    outside = Shell("asgi", documents(), app=Starlette(routes=[Mount("/dav", app=inside.app)]), store=inside.store)
    try:
        inside.lock("/a", "alice", mount="/dav")
        assert outside("PUT", "/dav/a", {}, b"x", user="bob").status == 423
        outside.lock("/dav/in/x", "alice")
        assert inside("PUT", "/in/x", {}, b"x", user="bob", mount="/dav").status == 423
        assert inside.site.documents["/dav/a"] == b"a"
    finally:
        inside.close()
        outside.close()


def test_t16_within_werkzeugs_dispatcher():
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    inside = Shell("wsgi", documents())
    inside.lock("/a", "alice", mount="/dav")
    outside = Shell("wsgi", app=DispatcherMiddleware(Site().wsgi, {"/dav": inside.app}), routes=[("/", "exempt")])
    assert outside("PUT", "/dav/a", {}, b"x", user="bob").status == 423
    assert outside("PUT", "/dav/b", {}, b"x", user="bob").status == 201
    assert inside.site.documents["/dav/a"] == b"a"


# ---- Destination and tags --------------------------------------------------------------------------------------------

OURS = {
    "path": "/dav/a",
    "absolute": "http://docs.example/dav/a",
    "other scheme": "https://docs.example/dav/a",
    "default port": "http://docs.example:80/dav/a",
    "default port of TLS": "https://docs.example:443/dav/a",
    "capitals": "HTTP://DOCS.EXAMPLE/dav/a",
    "encoded": "http://docs.example/dav/%61",
    "dots": "http://docs.example/dav/x/../a",
    "trailing slash": "/dav/a/",
    "query": "/dav/a?x",
}
FOREIGN = {
    "host": "http://elsewhere.example/dav/a",
    "port": "http://docs.example:8080/dav/a",
    "longer host": "http://docs.example.evil.example/dav/a",
    "shorter host": "http://docs/dav/a",
    "address": "http://192.0.2.1/dav/a",
}
MALFORMED = {
    "user": "http://docs.example@evil.example/dav/a",
    "two slashes": "//evil.example/dav/a",
    "relative": "dav/a",
    "fragment": "/dav/a#x",
    "blank": "/dav/a b",
    "empty": "",
    "no host": "http:///dav/a",
    "backslash host": "http://docs.example\\@evil.example/dav/a",
    "NUL": "/dav/a\x00",
}


@pytest.mark.parametrize("mount", ["", "/dav"])
@pytest.mark.parametrize("method", ["MOVE", "COPY"])
@pytest.mark.parametrize("destination", OURS.values(), ids=OURS.keys())
def test_t16_every_spelling_of_our_destination_is_guarded(destination, method, mount, shell):
    shell.lock("/dav/a", "alice", depth="0")
    target = "/free" if mount else "/dav/free"
    with shell.untouched():
        assert shell(method, target, {"Destination": destination}, user="bob", mount=mount).status == 423


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
@pytest.mark.parametrize("destination", FOREIGN.values(), ids=FOREIGN.keys())
def test_t16_a_foreign_destination_is_a_502(destination, method, shell):
    shell.lock("/dav/a", "alice")
    with shell.untouched():
        assert shell(method, "/dav/free", {"Destination": destination}, user="bob").status == 502


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
@pytest.mark.parametrize("destination", MALFORMED.values(), ids=MALFORMED.keys())
def test_t16_a_malformed_destination_is_a_400(destination, method, shell):
    shell.lock("/dav/a", "alice")
    with shell.untouched():
        assert shell(method, "/dav/free", {"Destination": destination}, user="bob").status == 400


@pytest.mark.parametrize("tag", OURS.values(), ids=OURS.keys())
def test_t16_tags_mean_the_same_resource(tag, shell):
    token = shell.lock("/dav/a", "alice", depth="0")
    assert shell("PUT", "/a", {"If": f"<{tag}> (<{token}>)"}, b"x", user="alice", mount="/dav").status == 204


@pytest.mark.parametrize("tag", FOREIGN.values(), ids=FOREIGN.keys())
def test_t16_a_foreign_tag_is_false(tag, shell):
    token = shell.lock("/dav/a", "alice", depth="0")
    with shell.untouched():
        assert shell("PUT", "/a", {"If": f"<{tag}> (<{token}>)"}, b"x", user="alice", mount="/dav").status == 412


# ---- forged headers --------------------------------------------------------------------------------------------------

FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Server": "evil.example",
    "X-Host": "evil.example",
    "Forwarded": "host=evil.example;proto=https;for=127.0.0.1",
    "X-Forwarded-Prefix": "/other",
    "X-Script-Name": "/other",
    "X-Forwarded-Path": "/other",
    "X-Original-URL": "/other",
    "X-Rewrite-URL": "/other",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "8443",
    "X-Remote-User": "alice",
    "Remote-User": "alice",
}


@pytest.mark.parametrize(("name", "value"), FORGED.items(), ids=FORGED.keys())
def test_t16_forwarded_headers_change_nothing(name, value, shell):
    token = shell.lock("/dav/a", "alice", depth="0")
    forged = {name: value}
    with shell.untouched():
        assert shell("PUT", "/dav/a", forged, b"x", user="bob").status == 423
        assert shell("PUT", "/dav/a", {**forged, "If": f"(<{token}>)"}, b"x", user="bob").status == 423
        assert shell("MOVE", "/dav/free", {**forged, "Destination": "/dav/a"}, user="bob").status == 423
        foreign = {**forged, "Destination": "http://evil.example/dav/free2"}
        assert shell("MOVE", "/dav/free", foreign, user="bob").status == 502
    assert shell("PUT", "/dav/a", {**forged, "If": f"(<{token}>)"}, b"x", user="alice").status == 204


# ---- a proxy that rewrites Host --------------------------------------------------------------------------------------


def test_t16_a_public_url_is_ours_too(guarded):
    shell = guarded(documents(), public_url="https://public.example")
    shell.lock("/dav/a", "alice", depth="0")
    for host in ("public.example", "docs.example"):
        destination = {"Destination": f"https://{host}/dav/a"}
        with shell.untouched():
            assert shell("MOVE", "/dav/free", destination, user="bob").status == 423
    with shell.untouched():
        assert shell("MOVE", "/dav/free", {"Destination": "https://x.example/dav/a"}, user="bob").status == 502


def test_t16_a_public_url_with_a_prefix_that_the_proxy_strips(guarded):
    shell = guarded(Site({"/a": b"", "/free": b""}), public_url="https://public.example/files")
    got = shell("LOCK", "/a", {**XML, "Depth": "0"}, lockinfo(), user="alice")
    token = got.first("lock-token")
    assert "<D:href>/files/a</D:href>" in got.text
    with shell.untouched():
        destination = {"Destination": "https://public.example/files/a"}
        assert shell("MOVE", "/free", destination, user="bob").status == 423
    tagged = {"If": f"<https://public.example/files/a> ({token})"}
    assert shell("PUT", "/a", tagged, b"x", user="alice").status == 204


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_t16_without_a_host_there_is_still_an_answer(kind):
    shell = Shell(kind, documents())
    try:
        shell.lock("/dav/a", "alice")
        for host in (None, "", "docs.example, evil.example", "[::1", "x" * 5000):
            got = shell("MOVE", "/dav/free", {"Destination": "http://docs.example/dav/a"}, user="bob", host=host)
            assert got.status in (400, 423, 502)
            assert shell("PUT", "/dav/a", {}, b"x", user="bob", host=host).status == 423
    finally:
        shell.close()
