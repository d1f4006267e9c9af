"""RFC 4918 sections 9.1, 9.2, 9.10, 14 and 15: the elements of locks, as they are read and as they are written."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest

from locklib.core.discovery import (
    HREF_LIMIT,
    SUPPORTED_LOCK,
    activelock,
    condition_element,
    href,
    lockdiscovery,
    multistatus_locked,
    prop_lockdiscovery_document,
    proppatch_protected,
)
from locklib.core.lockinfo import (
    LOCKDISCOVERY,
    PROTECTED,
    SUPPORTEDLOCK,
    LockInfo,
    Propfind,
    parse_lockinfo,
    parse_propfind,
    parse_proppatch,
)
from locklib.core.model import Condition, Depth, Details, Held, Lock, Purpose, Refusal, Scope
from locklib.errors import BadLockInfo, UnsupportedBody, UnusableLockInfo

NS = {"D": "DAV:"}


def dav(inner: str) -> str:
    return f'<D:all xmlns:D="DAV:">{inner}</D:all>'


def held(root: str = "/a", *, remaining: float = 60.0, **fields: object) -> Held:
    fields.setdefault("token", "urn:uuid:1")
    return Held(Lock(key=root, **fields), remaining)


# --- 14.11 lockinfo ---

SCOPE = "<D:lockscope><D:exclusive/></D:lockscope>"
TYPE = "<D:locktype><D:write/></D:locktype>"


def lockinfo(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8" ?>\n<D:lockinfo xmlns:D="DAV:">{inner}</D:lockinfo>'.encode()


READ = {
    "the article": (
        SCOPE + TYPE + "<D:owner>alice@example.com</D:owner>",
        LockInfo(Scope.EXCLUSIVE, None, None, '<D:owner xmlns:D="DAV:">alice@example.com</D:owner>', True),
    ),
    "shared": (SCOPE.replace("exclusive", "shared") + TYPE, LockInfo(Scope.SHARED)),
    "no owner": (SCOPE + TYPE, LockInfo(Scope.EXCLUSIVE)),
    "another order": (TYPE + SCOPE, LockInfo(Scope.EXCLUSIVE)),
    "unknown elements beside": (f"<x:a xmlns:x='u'>{SCOPE}</x:a>{SCOPE}text{TYPE}<D:new/>", LockInfo()),
    "unknown elements within": (
        "<D:lockscope><new/><D:new><D:shared/></D:new> <D:exclusive a=''><D:shared/></D:exclusive></D:lockscope>"
        + TYPE,
        LockInfo(),
    ),
    "owner in another namespace": (SCOPE + TYPE + "<owner>x</owner>", LockInfo()),
}


@pytest.mark.parametrize(("inner", "info"), READ.values(), ids=READ.keys())
@pytest.mark.parametrize(
    "content_type",
    [
        "application/xml",
        "text/xml",
        'text/xml; charset="utf-8"',
        "APPLICATION/XML ;Charset=UTF-8",
        "a/b+xml",
        None,
        " ",
    ],
)
def test_lockinfo_is_read(inner, info, content_type):
    assert parse_lockinfo(lockinfo(inner), content_type) == info


def test_space_before_the_root_is_skipped():
    without_declaration = lockinfo(SCOPE + TYPE).partition(b"\n")[2]
    assert parse_lockinfo(b"\r\n\t " + without_declaration, None) == LockInfo()


UNUSABLE = {
    "no scope": (TYPE, "one DAV:lockscope .*found 0"),
    "empty scope": ("<D:lockscope/>" + TYPE, "found 0"),
    "unknown scope": ("<D:lockscope><D:intention/></D:lockscope>" + TYPE, "DAV:exclusive or DAV:shared; found 0"),
    "scope of another namespace": ("<D:lockscope><exclusive/></D:lockscope>" + TYPE, "found 0"),
    "both scopes": ("<D:lockscope><D:exclusive/><D:shared/></D:lockscope>" + TYPE, "found 2"),
    "a scope twice": ("<D:lockscope><D:shared/><D:shared/></D:lockscope>" + TYPE, "found 2"),
    "two lockscopes": (SCOPE + SCOPE + TYPE, "2 DAV:lockscope"),
    "no type": (SCOPE, "one DAV:locktype .*found 0"),
    "unknown type": (SCOPE + "<D:locktype><D:read/></D:locktype>", "DAV:write; found 0"),
    "two owners": (SCOPE + TYPE + "<D:owner/><D:owner/>", "2 DAV:owner"),
}


@pytest.mark.parametrize(("inner", "told"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_lock_that_does_not_exist_is_a_422(inner, told):
    with pytest.raises(UnusableLockInfo, match=told):
        parse_lockinfo(lockinfo(inner), "application/xml")


@pytest.mark.parametrize("root", [b"<lockinfo/>", b"<a xmlns='DAV:'/>", b"<lockinfo xmlns='dav:'/>"])
def test_another_root_element_is_a_422(root):
    with pytest.raises(UnusableLockInfo, match="root element"):
        parse_lockinfo(root, "application/xml")
    with pytest.raises(UnusableLockInfo, match="root element"):
        parse_propfind(root)
    with pytest.raises(UnusableLockInfo, match="root element"):
        parse_proppatch(root)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<a/>"),
        ("application/x-www-form-urlencoded", b"scope=shared"),
        ("multipart/form-data; boundary=x", b"--x"),
        ("xml", b"<a/>"),
        (None, b"scope=shared"),
        (None, b"[]"),
        (None, b""),
        ("", b" "),
    ],
)
def test_another_media_type_is_a_415(content_type, body):
    with pytest.raises(UnsupportedBody, match=r"(?i)xml"):
        parse_lockinfo(body, content_type)


@pytest.mark.parametrize(
    "content_type", ["text/plain;charset=UTF-8", "application/octet-stream", "application/x-www-form-urlencoded", ";"]
)
def test_a_type_that_nobody_chose_is_read_by_its_first_byte(content_type):
    """What `fetch`, urllib and curl send for a body without a type: the npm package webdav LOCKs as text/plain."""
    assert parse_lockinfo(b'{"scope": "shared"}', content_type).scope is Scope.SHARED
    with pytest.raises(UnusableLockInfo):
        parse_lockinfo(b"<a/>", content_type)


# --- the same in JSON ---

JSON_READ = {
    "nothing": ("{}", LockInfo()),
    "all": (
        '{"scope": "shared", "depth": "infinity", "owner": "日本", "timeout": 900}',
        LockInfo(Scope.SHARED, Depth.INFINITY, 900.0, "日本"),
    ),
    "nulls": ('{"scope": null, "depth": null, "owner": null, "timeout": null}', LockInfo()),
    "unknown keys": ('{"lock": [{"scope": 1}], "scope": "exclusive"}', LockInfo()),
    "depth 0": ('{"depth": "0"}', LockInfo(depth=Depth.ZERO)),
    "depth as a number": ('{"depth": 0}', LockInfo(depth=Depth.ZERO)),
    "depth in capitals": ('{"depth": "Infinity"}', LockInfo(depth=Depth.INFINITY)),
    "parts of a second": ('{"timeout": 0.5}', LockInfo(timeout=0.5)),
    "no end": ('{"timeout": "Infinite"}', LockInfo(timeout=math.inf)),
    "too many seconds": ('{"timeout": 1' + "0" * 400 + "}", LockInfo(timeout=math.inf)),
    "far too many seconds": ('{"timeout": 1e999}', LockInfo(timeout=math.inf)),
    "empty owner": ('{"owner": ""}', LockInfo(owner_info="")),
    "owner with tags": ('{"owner": "<b>&"}', LockInfo(owner_info="<b>&")),
}


@pytest.mark.parametrize(("text", "info"), JSON_READ.values(), ids=JSON_READ.keys())
@pytest.mark.parametrize("content_type", ["application/json", "application/lock+json; charset=utf-8", None])
def test_json_is_read(text, info, content_type):
    assert parse_lockinfo(text.encode(), content_type) == info


JSON_BAD = {
    "scope: number": ('{"scope": 1}', "scope: 1 is not"),
    "depth: 1": ('{"depth": "1"}', "depth: '1' is not"),
    "depth: false": ('{"depth": false}', "depth: False is not"),
    "depth: float": ('{"depth": 0.0}', "depth: 0.0 is not"),
    "depth: object": ('{"depth": {}}', "depth: dict is not"),
    "timeout: true": ('{"timeout": true}', "timeout: True is not"),
    "timeout: negative": ('{"timeout": -1}', "timeout: -1 is not"),
    "timeout: words": ('{"timeout": "soon"}', "timeout: 'soon' is not"),
    "timeout: list": ('{"timeout": [1]}', "timeout: list is not"),
    "timeout: NaN": ('{"timeout": NaN}', "NaN is not JSON"),
    "timeout: Infinity": ('{"timeout": -Infinity}', "-Infinity is not JSON"),
    "timeout: too many digits": ('{"timeout": ' + "9" * 5_000 + "}", "cannot be read"),
    "owner: list": ('{"owner": ["a"]}', "owner: list is not"),
    "owner: NUL": ('{"owner": "a\\u0000"}', "owner: .* without NUL"),
    "owner: lone surrogate": ('{"owner": "\\ud800"}', "owner: .* surrogates"),
    "a list": ("[]", "list; expected an object"),
    "a number": ("1", "the JSON body is 1; expected an object"),
    "not JSON": ("{scope: shared}", "cannot be read"),
    "empty": ("", "cannot be read"),
}


@pytest.mark.parametrize(("text", "told"), JSON_BAD.values(), ids=JSON_BAD.keys())
def test_json_that_cannot_be_used_is_a_400_that_names_the_key(text, told):
    with pytest.raises(BadLockInfo, match=told):
        parse_lockinfo(text.encode(), "application/json")


def test_a_scope_that_does_not_exist_is_a_422_in_json_too():
    with pytest.raises(UnusableLockInfo, match="scope"):
        parse_lockinfo(b'{"scope": "intention"}', "application/json")


# --- 14.20 propfind ---

PROPFINDS = {
    "no body": ("", Propfind("allprop")),
    "space": (" \n", Propfind("allprop")),
    "allprop": ("<D:allprop/>", Propfind("allprop")),
    "allprop and include": (
        "<D:allprop/><D:include><D:lockdiscovery/><x xmlns='u'/></D:include>",
        Propfind("allprop", include=frozenset({LOCKDISCOVERY, ("u", "x")})),
    ),
    "propname": ("<D:propname/>", Propfind("propname")),
    "prop": (
        "<D:prop>\n<D:supportedlock/><lockdiscovery/><p:a xmlns:p='u'/></D:prop>",
        Propfind("prop", frozenset({SUPPORTEDLOCK, ("", "lockdiscovery"), ("u", "a")})),
    ),
    "empty prop": ("<D:prop/>", Propfind("prop")),
    "unknown beside": ("<D:new/><allprop/><D:propname/>", Propfind("propname")),
}


@pytest.mark.parametrize(("inner", "asked"), PROPFINDS.values(), ids=PROPFINDS.keys())
def test_propfind_is_read(inner, asked):
    body = f'<D:propfind xmlns:D="DAV:">{inner}</D:propfind>' if inner.strip() else inner
    assert parse_propfind(body.encode()) == asked


@pytest.mark.parametrize("inner", ["", "<x/>", "<D:allprop/><D:propname/>", "<D:prop/><D:prop/>"])
def test_a_propfind_that_asks_for_nothing_or_for_two_things_is_a_400(inner):
    with pytest.raises(BadLockInfo, match="send one"):
        parse_propfind(f'<D:propfind xmlns:D="DAV:">{inner}</D:propfind>'.encode())


def test_which_propfind_wants_a_property():
    assert Propfind("allprop").wants(LOCKDISCOVERY)
    assert Propfind("propname").wants(LOCKDISCOVERY)
    assert Propfind("prop", frozenset({LOCKDISCOVERY})).wants(LOCKDISCOVERY)
    assert not Propfind("prop", frozenset({SUPPORTEDLOCK})).wants(LOCKDISCOVERY)


# --- 14.19 propertyupdate, 9.2.1: what a PROPPATCH of a protected property is answered ---

UPDATE = """<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:z">
  <D:set><D:prop><Z:author>a</Z:author><D:lockdiscovery/></D:prop></D:set>
  <D:new><D:prop><D:supportedlock/></D:prop></D:new>
  <D:remove><D:prop><Z:author/><plain/></D:prop><Z:prop><D:supportedlock/></Z:prop></D:remove>
</D:propertyupdate>"""
CHANGES = (
    ("set", "urn:z", "author"),
    ("set", "DAV:", "lockdiscovery"),
    ("remove", "urn:z", "author"),
    ("remove", "", "plain"),
)


def test_proppatch_is_read_in_order():
    assert parse_proppatch(UPDATE.encode()) == CHANGES


def test_a_protected_property_is_403_and_the_rest_424():
    response = ET.fromstring(proppatch_protected("/a%20b&c", CHANGES)).find("D:response", NS)
    assert response.findtext("D:href", None, NS) == "/a%20b&c"
    told = [
        ([prop.tag for prop in stat.find("D:prop", NS)], stat.findtext("D:status", None, NS), stat.find("D:error", NS))
        for stat in response.findall("D:propstat", NS)
    ]
    assert [(tags, status) for tags, status, _ in told] == [
        (["{DAV:}lockdiscovery"], "HTTP/1.1 403 Forbidden"),
        (["{urn:z}author", "plain"], "HTTP/1.1 424 Failed Dependency"),
    ]
    assert [child.tag for child in told[0][2]] == ["{DAV:}cannot-modify-protected-property"]
    assert told[1][2] is None


def test_with_nothing_else_there_is_no_empty_propstat():
    body = proppatch_protected("/a", (("set", *SUPPORTEDLOCK), ("remove", *LOCKDISCOVERY)))
    propstats = ET.fromstring(body).findall("D:response/D:propstat", NS)
    assert [{prop.tag for prop in stat.find("D:prop", NS)} for stat in propstats] == [
        {f"{{{space}}}{local}" for space, local in PROTECTED}
    ]


def test_any_namespace_stands_in_the_answer():
    space = "a\"<&>'\n"
    body = proppatch_protected("/a", (("set", space, "x"), ("set", "DAV:", "y")), {(space, "x")})
    named = [prop.tag for prop in ET.fromstring(body).iterfind(".//D:prop/*", NS)]
    assert named == [f"{{{space}}}x", "{DAV:}y"]


# --- 14.1 activelock, 15.8 lockdiscovery, 15.10 supportedlock ---


def children(element: ET.Element) -> list[str]:
    return [child.tag.removeprefix("{DAV:}") for child in element]


def test_an_activelock_has_its_elements_in_the_order_of_the_rfc():
    one = held("/a b", depth=Depth.ZERO, scope=Scope.SHARED, details=Details(root="/a%20b?", owner_info="<me>"))
    active = ET.fromstring(dav(activelock(one, show_token=True, show_owner=True)))[0]
    assert children(active) == ["lockscope", "locktype", "depth", "owner", "timeout", "locktoken", "lockroot"]
    assert children(active.find("D:lockscope", NS)) == ["shared"]
    assert children(active.find("D:locktype", NS)) == ["write"]
    assert {name: active.findtext(f"D:{name}", None, NS) for name in ("depth", "owner", "timeout")} == {
        "depth": "0",
        "owner": "<me>",
        "timeout": "Second-60",
    }
    assert active.findtext("D:locktoken/D:href", None, NS) == "urn:uuid:1"
    assert active.findtext("D:lockroot/D:href", None, NS) == "/a%20b?"


def test_what_is_not_to_be_shown_is_left_out():
    one = held(details=Details(owner_info="me"))
    active = ET.fromstring(dav(activelock(one, show_token=False, show_owner=False)))[0]
    assert children(active) == ["lockscope", "locktype", "depth", "timeout", "lockroot"]
    unowned = ET.fromstring(dav(activelock(held(), show_token=True, show_owner=True)))[0]
    assert "owner" not in children(unowned)


@pytest.mark.parametrize(
    ("remaining", "text"), [(60.0, "Second-60"), (59.2, "Second-60"), (0.01, "Second-1"), (math.inf, "Infinite")]
)
def test_the_timeout_is_rounded_up_and_never_0(remaining, text):
    active = ET.fromstring(dav(activelock(held(remaining=remaining), show_token=True, show_owner=True)))[0]
    assert active.findtext("D:timeout", None, NS) == text


def test_only_granted_write_locks_are_discovered():
    helds = [
        held(token="urn:uuid:write"),
        held(token="urn:uuid:pending", details=Details(pending=True)),
        held(token="urn:uuid:admin", purpose=Purpose.ADMINISTRATIVE),
        held(token="urn:uuid:scan", purpose=Purpose.PROCESSING),
    ]
    document = ET.fromstring(prop_lockdiscovery_document(helds))
    assert document.tag == "{DAV:}prop"
    assert children(document) == ["lockdiscovery"]
    assert [one.text for one in document.iterfind(".//D:locktoken/D:href", NS)] == ["urn:uuid:write"]
    assert lockdiscovery([]) == "<D:lockdiscovery></D:lockdiscovery>"


def test_a_strict_setting_hides_the_locks_of_others_only():
    helds = [
        held(token="urn:uuid:own", scope=Scope.SHARED, details=Details(owner_info="me")),
        held(token="urn:uuid:other", scope=Scope.SHARED, details=Details(owner_info="you")),
    ]
    text = lockdiscovery(helds, show_token=False, show_owner=False, own={"urn:uuid:own"})
    discovered = ET.fromstring(dav(text))
    assert [one.text for one in discovered.iterfind(".//D:locktoken/D:href", NS)] == ["urn:uuid:own"]
    assert [one.text for one in discovered.iterfind(".//D:owner", NS)] == ["me"]
    assert len(discovered.findall(".//D:activelock", NS)) == 2


def test_supportedlock_names_both_scopes():
    entries = ET.fromstring(dav(SUPPORTED_LOCK)).findall("D:supportedlock/D:lockentry", NS)
    assert [children(entry) for entry in entries] == [["lockscope", "locktype"]] * 2
    assert [children(entry[0]) for entry in entries] == [["exclusive"], ["shared"]]
    assert [children(entry[1]) for entry in entries] == [["write"], ["write"]]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/a%20b/%E6%97%A5", "/a%20b/%E6%97%A5"),
        ("/a b/日", "/a%20b/%E6%97%A5"),
        ("/a&b<c>", "/a&amp;b&lt;c&gt;"),
        ("/\udcff\x00", "/%ED%B3%BF%00"),
    ],
)
def test_an_href_is_a_uri_whatever_the_root_holds(path, text):
    assert href(path) == text


# --- 9.10.9: a LOCK with depth infinity meets locks on members ---


def refused(*roots: str, condition: Condition | None = Condition.NO_CONFLICTING_LOCK) -> Refusal:
    return Refusal(423, "locked", "Locked", "", "/c/", condition, roots, multistatus=True, lock_request=True)


@pytest.mark.parametrize("condition", [Condition.NO_CONFLICTING_LOCK, None])
def test_each_member_in_the_way_is_423_and_the_url_424(condition):
    root = ET.fromstring(multistatus_locked(refused("/c/a", "/c/b%20&", "/c/a", condition=condition)))
    assert root.tag == "{DAV:}multistatus"
    told = [
        (
            response.findtext("D:href", None, NS),
            response.findtext("D:status", None, NS),
            [one.text for one in response.iterfind("D:error/D:no-conflicting-lock/D:href", NS)],
        )
        for response in root
    ]
    assert told == [
        ("/c/a", "HTTP/1.1 423 Locked", ["/c/a"]),
        ("/c/b%20&", "HTTP/1.1 423 Locked", ["/c/b%20&"]),
        ("/c/", "HTTP/1.1 424 Failed Dependency", []),
    ]


def test_an_answer_stays_small_however_many_locks_are_in_the_way():
    root = ET.fromstring(multistatus_locked(refused(*(f"/c/{n}" for n in range(10_000)))))
    assert len(root) == HREF_LIMIT + 1


# --- 16: which conditions hold hrefs ---


@pytest.mark.parametrize("condition", Condition)
def test_a_condition_holds_hrefs_only_where_the_rfc_says_so(condition):
    element = ET.fromstring(dav(condition_element(condition, ["/a", "/b"])))[0]
    assert element.tag == f"{{DAV:}}{condition}"
    expected = ["/a", "/b"] if condition.name in ("LOCK_TOKEN_SUBMITTED", "NO_CONFLICTING_LOCK") else []
    assert [child.text for child in element] == expected
