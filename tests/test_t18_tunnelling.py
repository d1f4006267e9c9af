"""T18: a write is a write under whatever name: tunnelled through POST, in lower case, unknown (CVE-2019-19326)."""

from __future__ import annotations

import pytest

from support.threats import Site

TUNNELS = {
    "X-HTTP-Method-Override": ({"X-HTTP-Method-Override": "METHOD"}, ""),
    "X-HTTP-Method": ({"X-HTTP-Method": "METHOD"}, ""),
    "X-Method-Override": ({"X-Method-Override": "METHOD"}, ""),
    "name in lower case": ({"x-http-method-override": "METHOD"}, ""),
    "_method": ({}, "?_method=METHOD"),
    "_method beside others": ({}, "?a=1&_method=METHOD&b"),
    "_method, name encoded": ({}, "?%5Fmethod=METHOD"),
    "_method, wholly encoded": ({}, "?%5f%6d%65%74%68%6f%64=METHOD"),
    "after a name that is none": ({"X-HTTP-Method-Override": "GET"}, "?_method=METHOD"),
    "twice": ([("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method-Override", "METHOD")], ""),
    "_method twice": ({}, "?_method=GET&_method=METHOD"),
    "in blanks": ({"X-HTTP-Method-Override": "  METHOD "}, ""),
}
SPELLED = {"capitals": str.upper, "lower case": str.lower, "mixed": str.title}
ENCODED = {"plain": lambda name: name, "encoded": lambda name: f"%{ord(name[0]):02X}{name[1:]}"}


def tunnelled(tunnel, method: str):
    fields, query = tunnel
    pairs = fields.items() if isinstance(fields, dict) else fields
    return [(name, value.replace("METHOD", method)) for name, value in pairs], query.replace("METHOD", method)


@pytest.fixture
def shell(guarded):
    """Outside of the layer that does what the header says: that is where it is easily placed."""
    shell = guarded(Site({"/tree": b"", "/tree/locked": b"", "/free": b"", "/flat": b"", "/flat/x": b""}, tunnels=True))
    shell.lock("/a", "alice")
    shell.lock("/tree/locked", "alice", depth="0")
    shell.lock("/flat", "alice", depth="0")
    return shell


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED.keys())
@pytest.mark.parametrize("tunnel", TUNNELS.values(), ids=TUNNELS.keys())
def test_t18_what_post_would_not_touch(tunnel, spelled, shell):
    """As a POST it touches only its URL; as a DELETE the tree and the parent, as a MOVE the destination as well."""
    for method, target, more in (
        ("DELETE", "/tree", {}),
        ("DELETE", "/flat/x", {}),
        ("MOVE", "/free", {"Destination": "/a"}),
        ("MOVE", "/flat/x", {"Destination": "/free2"}),
        ("COPY", "/free", {"Destination": "/tree"}),
        ("MKCOL", "/flat/new", {}),
    ):
        fields, query = tunnelled(tunnel, spelled(method))
        with shell.untouched():
            got = shell("POST", target + query, [*fields, *more.items()], b"x", user="bob")
            assert got.status == 423, (method, target)


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "GET", "HEAD", "PROPFIND", "OPTIONS", "LOCK", "UNLOCK", "", "FROB"]
)
@pytest.mark.parametrize("tunnel", TUNNELS.values(), ids=TUNNELS.keys())
def test_t18_a_post_to_a_locked_url_is_refused_whatever_it_says(tunnel, method, shell):
    fields, query = tunnelled(tunnel, method)
    with shell.untouched():
        assert shell("POST", "/a" + query, fields, b"x", user="bob").status == 423


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED.keys())
def test_t18_a_value_in_the_query_may_be_encoded(encoded, shell):
    with shell.untouched():
        assert shell("POST", f"/tree?_method={encoded('DELETE')}", {}, b"x", user="bob").status == 423


@pytest.mark.parametrize("tunnel", TUNNELS.values(), ids=TUNNELS.keys())
def test_t18_a_tunnelled_delete_ends_the_locks_of_what_is_gone(tunnel, shell):
    fields, query = tunnelled(tunnel, "DELETE")
    token = next(lock.token for lock in shell.table() if lock.key == "/tree/locked")
    shown = ("If", f"</tree/locked> (<{token}>)")
    got = shell("POST", "/tree" + query, [*fields, shown], b"", user="alice")
    if "/tree/locked" not in shell.site.documents:  # the application took it for a DELETE
        assert got.status == 204
        assert token not in [lock.token for lock in shell.table()]
    else:
        assert token in [lock.token for lock in shell.table()]


def test_t18_a_post_that_deletes_nothing_ends_nothing(guarded):
    """The application does not know the header: what it did not remove stays locked."""
    shell = guarded(Site({"/a": b"a"}, tunnels=False))
    token = shell.lock("/a", "alice")
    fields = {"X-HTTP-Method-Override": "DELETE", "If": f"(<{token}>)"}
    assert shell("POST", "/a", fields, b"x", user="alice").status == 200
    assert [lock.token for lock in shell.table()] == [token]


@pytest.mark.parametrize(
    "method", ["put", "Put", "delete", "post", "patch", "move", "FROB", "frob", "M-SEARCH", "X", "UPDATE"]
)
def test_t18_unknown_and_lower_case_methods_are_writes(method, shell):
    with shell.untouched():
        assert shell(method, "/a", {}, b"x", user="bob").status == 423
    assert shell(method, "/free", {"Destination": "/free2"}, b"x", user="bob").status < 300


@pytest.mark.parametrize(
    "method", ["BASELINE-CONTROL", "BIND", "UNBIND", "REBIND", "MKACTIVITY", "ACL", "LINK", "LABEL"]
)
def test_t18_methods_of_other_rfcs_are_writes(method, shell):
    with shell.untouched():
        assert shell(method, "/a", {}, b"x", user="bob").status == 423


def test_t18_override_headers_on_other_methods_loosen_nothing(shell):
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("PUT", "DELETE", "PATCH"):
            with shell.untouched():
                assert shell(method, "/a?_method=GET", {name: "GET"}, b"x", user="bob").status == 423
