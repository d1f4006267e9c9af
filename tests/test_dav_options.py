"""OPTIONS with `dav`: the application's answer says that it is class 2 (RFC 4918 sections 9.1, 10.1 and 18.2)."""

from __future__ import annotations

import pytest

from locklib.core.exchange import begin
from locklib.core.moves import Chosen, Head, Proceed, Reply
from locklib.core.policy import Policy, Route

Headers = tuple[tuple[str, str], ...]


def options(policy: Policy | None = None, path: str = "/c/", **fields: str) -> object:
    head = Head("OPTIONS", path, fields={name: (value,) for name, value in fields.items()}, host="example.org")
    return begin(policy or Policy(dav=True), head, Chosen("urn:uuid:new", "id"))


def answered(*headers: tuple[str, str], status: int = 200) -> Headers:
    proceed = options()
    assert isinstance(proceed, Proceed)
    assert proceed.amend is not None
    return proceed.amend.start(status, headers)


def field(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        pytest.param([], "1, 2", id="absent"),
        pytest.param(["1"], "1, 2", id="class-1"),
        pytest.param(["1,3"], "1, 2, 3", id="class-3"),
        pytest.param(["3", "1"], "1, 2, 3", id="several-lines"),
        pytest.param(["1, 2"], "1, 2", id="class-2-already"),
        pytest.param(["2, 1"], "1, 2", id="in-another-order"),
        pytest.param(
            ["1, access-control, <http://a.example/x,y>"], "1, 2, access-control, <http://a.example/x,y>", id="x"
        ),
        pytest.param(["1", "<urn:a>, calendar-access", "1"], "1, 2, <urn:a>, calendar-access", id="each-once"),
        pytest.param([""], "1, 2", id="empty"),
        pytest.param(["1,, ,"], "1, 2", id="empty-items"),
        pytest.param(["1, <broken, 3"], "1, 2, <broken, 3", id="unclosed"),
    ],
)
def test_the_dav_header_says_class_2(lines: list[str], value: str) -> None:
    assert field(answered(*(("dav", line) for line in lines)), "dav") == [value]


@pytest.mark.parametrize("name", ["Allow", "Public"])
@pytest.mark.parametrize(
    ("lines", "value"),
    [
        pytest.param(["GET, PUT"], ["GET, PUT, LOCK, UNLOCK"], id="added"),
        pytest.param(["GET", "LOCK, PUT"], ["GET, LOCK, PUT, UNLOCK"], id="once"),
        pytest.param([""], ["LOCK, UNLOCK"], id="empty"),
        pytest.param([], [], id="absent: nothing is said of the other methods, so nothing of these"),
    ],
)
def test_lock_and_unlock_are_allowed_methods(name: str, lines: list[str], value: list[str]) -> None:
    assert field(answered(*((name, line) for line in lines)), name.lower()) == value


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        pytest.param((), ["DAV"], id="absent"),
        pytest.param((("ms-author-via", "MS-FP/4.0,DAV"),), ["MS-FP/4.0,DAV"], id="the-applications-own-stays"),
    ],
)
def test_office_is_told_to_write_through_dav(headers: Headers, value: list[str]) -> None:
    assert field(answered(*headers), "ms-author-via") == value


def test_all_other_fields_stay_where_they_are() -> None:
    before = (
        ("Content-Length", "0"),
        ("DAV", "1"),
        ("Set-Cookie", "a"),
        ("Allow", "GET"),
        ("Set-Cookie", "b"),
        ("DAV", "3"),
    )
    assert answered(*before, status=204) == (
        ("Content-Length", "0"),
        ("DAV", "1, 2, 3"),
        ("Set-Cookie", "a"),
        ("Allow", "GET, LOCK, UNLOCK"),
        ("Set-Cookie", "b"),
        ("MS-Author-Via", "DAV"),
    )


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 500, 501])
def test_an_answer_that_is_no_success_is_the_applications(status: int) -> None:
    before = (("DAV", "1"), ("Allow", "GET"))
    assert answered(*before, status=status) == before


def test_the_body_is_the_applications() -> None:
    proceed = options()
    assert isinstance(proceed, Proceed)
    assert proceed.amend is not None
    proceed.amend.start(200, ())
    assert [proceed.amend.feed(b"a", True), proceed.amend.feed(b"", False)] == [b"a", b""]


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        pytest.param(Policy(), "/c/", id="without-dav"),
        pytest.param(Policy(dav=True), "*", id="the-server-itself"),
        pytest.param(Policy(dav=True, routes=(Route("/free", "exempt"),)), "/free/x", id="exempt"),
        pytest.param(Policy(dav=True, routes=(Route("/c"),)), "/other", id="not-guarded"),
    ],
)
def test_where_nothing_can_be_locked_nothing_is_said(policy: Policy, path: str) -> None:
    assert options(policy, path) == Proceed()


def test_a_malformed_if_header_is_400() -> None:
    reply = options(**{"if": "nonsense"})
    assert isinstance(reply, Reply)
    assert reply.answer.status == 400
