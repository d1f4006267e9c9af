"""T11: a condition that is true is not a token submitted (RFC 4918 sections 6.4 and 10.4.1)."""

from __future__ import annotations

import pytest

FOREIGN = "urn:uuid:00000000-0000-4000-8000-000000000000"

WITHOUT_TOKEN = {
    "Not no-lock": "(Not <DAV:no-lock>)",
    "Not no-lock, tagged": "</a> (Not <DAV:no-lock>)",
    "Not of a lock that is not": f"(Not <{FOREIGN}>)",
    "the right entity tag": '(["1"])',
    "Not of a wrong entity tag": '(Not ["7"])',
    "entity tag and Not no-lock": '(["1"] Not <DAV:no-lock>)',
    "another URL altogether": "</other> (Not <DAV:no-lock>)",
    "true lists by the dozen": "(Not <DAV:no-lock>) " * 12,
}
WITH_ANOTHERS = {
    "under Not": "(Not <THEIRS>) (Not <DAV:no-lock>)",
    "under another tag": "</other> (<THEIRS>) </a> (Not <DAV:no-lock>)",
    "under Not and another tag": "</other> (Not <THEIRS>)",
    "of another lock of the asker's": "</mine> (<MINE>) </a> (Not <DAV:no-lock>)",
}
WITH_OWN = {
    "under Not, beside a true list": "(Not <OWN>) (Not <DAV:no-lock>)",
    "in a false list": '(<OWN> ["7"]) (Not <DAV:no-lock>)',
    "under another tag": "</other> (<OWN>) </a> (Not <DAV:no-lock>)",
    "in one list": "(<OWN> Not <DAV:no-lock>)",
}


@pytest.fixture(params=[False, True], ids=["plain", "dav"])
def shell(request, guarded):
    return guarded(dav=request.param)


@pytest.mark.parametrize("header", WITHOUT_TOKEN.values(), ids=WITHOUT_TOKEN.keys())
def test_t11_true_without_a_token(header, shell):
    shell.lock("/a", "alice")
    for user in ("alice", "bob"):
        for method in ("PUT", "DELETE", "POST"):
            with shell.untouched():
                assert shell(method, "/a", {"If": header}, user=user).status == 423


@pytest.mark.parametrize("header", WITH_ANOTHERS.values(), ids=WITH_ANOTHERS.keys())
def test_t11_with_a_token_that_is_not_enough(header, shell):
    theirs, mine = shell.lock("/a", "alice"), shell.lock("/mine", "bob")
    shell.site.documents["/mine"] = b""
    with shell.untouched():
        header = header.replace("THEIRS", theirs).replace("MINE", mine)
        assert shell("PUT", "/a", {"If": header}, b"x", user="bob").status == 423


@pytest.mark.parametrize("header", WITH_OWN.values(), ids=WITH_OWN.keys())
def test_t11_ones_own_token_is_submitted_wherever_it_stands(header, shell):
    own = shell.lock("/a", "alice")
    assert shell("PUT", "/a", {"If": header.replace("OWN", own)}, b"x", user="alice").status == 204
    assert [seen.method for seen in shell.site.requests] == ["PUT"]
    assert "if" not in shell.site.requests[0].fields  # consumed
