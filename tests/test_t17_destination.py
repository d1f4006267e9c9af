"""T17: COPY and MOVE write where Destination says, so the locks there count (RFC 4918 sections 7.6, 9.8 and 9.9)."""

from __future__ import annotations

import pytest

from support.threats import Site

REFUSED = {
    "MOVE into a locked collection": ("MOVE", "/free", "/locked/x"),
    "MOVE onto a locked resource": ("MOVE", "/free", "/locked/member"),
    "MOVE onto the locked collection": ("MOVE", "/free", "/locked"),
    "MOVE onto what a locked member is in": ("MOVE", "/free", "/tree"),
    "MOVE of a locked resource": ("MOVE", "/locked/member", "/free2"),
    "MOVE of what a locked member is in": ("MOVE", "/tree", "/free2"),
    "MOVE out of a collection locked with depth 0": ("MOVE", "/flat/x", "/free2"),
    "MOVE into a collection locked with depth 0": ("MOVE", "/free", "/flat/new"),
    "MOVE onto a member of one": ("MOVE", "/free", "/flat/x"),
    "COPY into a locked collection": ("COPY", "/free", "/locked/x"),
    "COPY onto a locked resource": ("COPY", "/free", "/locked/member"),
    "COPY onto what a locked member is in": ("COPY", "/free", "/tree"),
    "COPY into a collection locked with depth 0": ("COPY", "/free", "/flat/new"),
    "COPY onto itself, locked": ("COPY", "/locked", "/locked"),
}
PASSES = {
    "COPY from a locked resource": ("COPY", "/locked/member", "/free2"),
    "COPY from a locked collection": ("COPY", "/locked", "/free2"),
    "COPY from a collection locked with depth 0": ("COPY", "/flat/x", "/free2"),
    "COPY of what a locked member is in": ("COPY", "/tree", "/free2"),
    "MOVE beside the locks": ("MOVE", "/free", "/free2"),
    "MOVE to a name that begins alike": ("MOVE", "/free", "/locked2"),
}


@pytest.fixture
def shell(guarded):
    documents = {"/free": b"free", "/locked/member": b"", "/tree/deep/locked": b"", "/flat/x": b"", "/flat": b""}
    shell = guarded(Site({"/locked": b"", "/tree": b"", **documents}))
    for root, depth in (("/locked", "infinity"), ("/tree/deep/locked", "0"), ("/flat", "0")):
        shell.lock(root, "alice", depth=depth)
    return shell


@pytest.mark.parametrize("overwrite", [None, "T", "F"])
@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_t17_refused(request_, overwrite, shell):
    method, source, there = request_
    fields = {"Destination": there} | ({} if overwrite is None else {"Overwrite": overwrite})
    with shell.untouched():
        assert shell(method, source, fields, user="bob").status == 423


@pytest.mark.parametrize("request_", PASSES.values(), ids=PASSES.keys())
def test_t17_passes(request_, shell):
    method, source, there = request_
    before = shell.table()
    assert shell(method, source, {"Destination": there}, user="bob").status == 201
    assert [(seen.method, seen.path) for seen in shell.site.requests] == [(method, source)]
    assert shell.table() == before


def token_of(shell, root: str) -> str:
    return next(lock.token for lock in shell.table() if lock.key == root)


def test_t17_each_side_needs_its_own_token(shell):
    here, there = token_of(shell, "/locked"), token_of(shell, "/flat")
    fields = {"Destination": "/flat/new"}
    for shown in (here, there):
        with shell.untouched():
            headers = {**fields, "If": f"</locked> (<{shown}>) </flat> (<{shown}>)"}
            assert shell("MOVE", "/locked/member", headers, user="alice").status == 423
    both = {**fields, "If": f"</locked> (<{here}>) </flat> (<{there}>)"}
    assert shell("MOVE", "/locked/member", both, user="alice").status == 201


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_t17_two_destinations_reach_no_locked_one(method, shell):
    """WSGI servers join the lines; then they are one path, that of "/free2,/locked/x", and a free one."""
    got = shell(method, "/free", [("Destination", "/free2"), ("Destination", "/locked/x")], user="bob")
    assert got.status == (400 if shell.kind == "asgi" else 201)
    assert [seen.fields["destination"] for seen in shell.site.requests] in ([], ["/free2,/locked/x"])
    with shell.untouched():
        pairs = [("Destination", "/locked/x"), ("Destination", "/free2")]
        assert shell(method, "/free", pairs, user="bob").status in (400, 423)


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_t17_without_a_destination_the_application_refuses(method, shell):
    shell.site.answers = {method: 400}
    assert shell(method, "/free", user="bob").status == 400
    assert len(shell.site.requests) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_t17_on_other_methods_it_means_nothing(method, shell):
    assert shell(method, "/free", {"Destination": "/locked/x"}, b"", user="bob").status < 300
