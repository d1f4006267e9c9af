"""PROPFIND with `dav`: DAV:lockdiscovery and DAV:supportedlock in the application's answer (RFC 4918 9.1, 15.8, 15.10).

The pure functions are driven directly: moves are carried out by a small loop, the application is a list of chunks.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locklib.core import dav, multistatus
from locklib.core.disclosing import Disclosure
from locklib.core.exchange import begin
from locklib.core.model import Depth, Details, Lock, Outcome, Principal, Purpose, Put, Query, Scope, replace
from locklib.core.moves import Act, Chosen, Head, Proceed, Read, Reply
from locklib.core.multistatus import Gap, Splitter
from locklib.core.policy import Policy, Route
from locklib.errors import StoreUnavailable
from locklib.stores.memory import MemoryLockStore

XML = "application/xml; charset=utf-8"
NS = {"D": "DAV:"}
LOCKDISCOVERY, SUPPORTEDLOCK = "{DAV:}lockdiscovery", "{DAV:}supportedlock"


def asking(*names: str) -> bytes:
    return f'<propfind xmlns="DAV:"><prop>{"".join(f"<{name}/>" for name in names)}</prop></propfind>'.encode()


BOTH = asking("lockdiscovery", "supportedlock")
PROPNAME = b'<propfind xmlns="DAV:"><propname/></propfind>'


# ---- the loop --------------------------------------------------------------------------------------------------------


@dataclass
class Store:
    """The memory store, with a clock that stands still, counting what it is asked."""

    down: bool = False
    asked: list[Query] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = MemoryLockStore(processes="allow", clock=lambda: 0.0, wall=lambda: 1_000_000.0)

    def put(self, *locks: Lock, namespace: str = "", lasts: float = 899.2) -> None:
        puts = tuple(Put(lock, lasts, grant=True) for lock in locks)
        self.memory.transact(Query(namespace, writes=True), lambda _: Outcome(None, puts=puts))

    def transact(self, query: Query, step: Any) -> Any:
        self.asked.append(query)
        if self.down:
            raise StoreUnavailable("down")
        return self.memory.transact(query, step)


def carried_out(act: Act[Any], store: Store) -> Any:
    try:
        done = store.transact(act.query, act.step)
    except StoreUnavailable:
        return act.down()
    return act.then(done)


def asked(
    body: bytes | None,
    store: Store | None = None,
    *,
    policy: Policy | None = None,
    path: str = "/c/",
    principal: Principal | None = None,
    **fields: str,
) -> Any:
    """What becomes of a PROPFIND: a Proceed or a Reply."""
    lines = {name.replace("_", "-"): (value,) for name, value in fields.items()}
    head = Head("PROPFIND", path, fields=lines, host="example.org", principal=principal)
    move = begin(policy or Policy(dav=True), head, Chosen("urn:uuid:new", "id"))
    while not isinstance(move, Proceed | Reply):
        move = move.then(body) if isinstance(move, Read) else carried_out(move, store or Store())
    return move


def sent(
    proceed: Proceed,
    chunks: Iterable[bytes],
    store: Store,
    *,
    status: int = 207,
    headers: tuple[tuple[str, str], ...] = (("Content-Type", XML),),
) -> Iterator[bytes]:
    """The body as it goes out, one piece for each chunk and one for the end."""
    assert proceed.amend is not None
    proceed.amend.start(status, headers)
    for chunk, more in itertools.chain(((chunk, True) for chunk in chunks), [(b"", False)]):
        out = proceed.amend.feed(chunk, more)
        while isinstance(out, Act):
            out = carried_out(out, store)
        yield out


def amended(answer: bytes, body: bytes = BOTH, store: Store | None = None, **kw: Any) -> bytes:
    store = store or Store()
    content_type = kw.pop("content_type", XML)
    return b"".join(sent(asked(body, store, **kw), [answer], store, headers=(("Content-Type", content_type),)))


def response(href: str, *propstats: str) -> str:
    return f"<D:response><D:href>{href}</D:href>{''.join(propstats)}</D:response>"


def propstat(props: str, status: str = "200 OK") -> str:
    return f"<D:propstat><D:prop>{props}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"


def answer(*responses: str) -> bytes:
    return f'<?xml version="1.0"?>\n<D:multistatus xmlns:D="DAV:">{"".join(responses)}</D:multistatus>'.encode()


NAMED = propstat("<D:displayname>x</D:displayname>")


def lock(key: str, token: str = "urn:uuid:1", **kw: Any) -> Lock:
    return Lock(token, key, **kw)


def locks_of(out: bytes, href: str) -> list[dict[str, str | None]]:
    """The activelocks that `out` tells of `href`."""
    for one in ET.fromstring(out).findall("D:response", NS):
        if one.findtext("D:href", None, NS) == href:
            return [
                {
                    "token": active.findtext("D:locktoken/D:href", None, NS),
                    "root": active.findtext("D:lockroot/D:href", None, NS),
                    "timeout": active.findtext("D:timeout", None, NS),
                    "owner": None if (owner := active.find("D:owner", NS)) is None else "".join(owner.itertext()),
                }
                for active in one.findall(".//D:lockdiscovery/D:activelock", NS)
            ]
    raise AssertionError(f"no response for {href}")


def tokens_of(out: bytes, href: str) -> list[str | None]:
    return [one["token"] for one in locks_of(out, href)]


def told(out: bytes, href: str) -> dict[str, list[str]]:
    """For each status, the properties that `out` tells of `href`."""
    found: dict[str, list[str]] = {}
    for one in ET.fromstring(out).findall("D:response", NS):
        if one.findtext("D:href", None, NS) == href:
            for stat in one.findall("D:propstat", NS):
                names = [prop.tag.partition("}")[2] for prop in stat.findall("D:prop/*", NS)]
                if names:
                    found.setdefault(stat.findtext("D:status", "", NS).split(" ")[1], []).extend(names)
    return found


# ---- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "amends"),
    [
        pytest.param(b"", True, id="no-body-is-allprop"),
        pytest.param(b"<propfind xmlns='DAV:'><allprop/></propfind>", True, id="allprop"),
        pytest.param(
            b"<propfind xmlns='DAV:'><allprop/><include><lockdiscovery/></include></propfind>", True, id="inc"
        ),
        pytest.param(PROPNAME, True, id="propname"),
        pytest.param(asking("lockdiscovery"), True, id="lockdiscovery"),
        pytest.param(asking("supportedlock", "displayname"), True, id="supportedlock"),
        pytest.param(asking("displayname"), False, id="neither"),
        pytest.param(
            b"<propfind xmlns='DAV:'><prop><lockdiscovery xmlns='urn:x'/></prop></propfind>", False, id="foreign"
        ),
    ],
)
def test_only_who_asks_for_the_two_gets_them(body: bytes, amends: bool) -> None:
    proceed = asked(body, accept_encoding="gzip")
    assert isinstance(proceed, Proceed)
    assert (proceed.amend is not None) is amends
    # A compressed answer could not be amended; one that is not amended may be compressed.
    assert ("accept-encoding" in proceed.drop) is amends


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"<propfind xmlns='DAV:'>", 400, id="not-well-formed"),
        pytest.param(b"<!DOCTYPE propfind><propfind xmlns='DAV:'><allprop/></propfind>", 400, id="doctype"),
        pytest.param(None, 413, id="too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(body: bytes | None, status: int) -> None:
    assert asked(body).answer.status == status


def test_a_body_that_does_not_come_is_408() -> None:
    policy = Policy(dav=True, body_limit=2048)
    move = begin(policy, Head("PROPFIND", "/c/"), Chosen("t", "i"))
    assert isinstance(move, Read)
    assert move.limit == 2048
    assert move.late().answer.status == 408


def test_an_if_header_is_evaluated_first() -> None:
    store = Store()
    refused = asked(BOTH, store, policy=Policy(dav=True, ask_application=False), **{"if": "(<urn:uuid:no>)"})
    assert refused.answer.status == 412
    store.put(lock("/c"))
    proceed = asked(BOTH, store, **{"if": "(<urn:uuid:1>)"})
    assert proceed.amend is not None
    assert proceed.drop == {"if", "accept-encoding"}


def test_a_malformed_if_header_is_400() -> None:
    assert asked(BOTH, **{"if": "nonsense"}).answer.status == 400


# ---- the head of the answer ------------------------------------------------------------------------------------------

LENGTHS = (("Content-Length", "12"), ("Content-MD5", "x"), ("Digest", "y"), ("ETag", '"e"'), ("X-Other", "z"))


def test_fields_that_are_not_true_of_the_new_body_go_and_others_stay() -> None:
    kept = asked(BOTH).amend.start(207, (("Content-Type", XML), *LENGTHS))
    assert kept == (("Content-Type", XML), ("ETag", '"e"'), ("X-Other", "z"))


PLAIN = answer(response("/c/", NAMED))


@pytest.mark.parametrize(
    ("status", "fields", "body"),
    [
        pytest.param(200, {"Content-Type": XML}, PLAIN, id="not-a-207"),
        pytest.param(404, {"Content-Type": XML}, PLAIN, id="failure"),
        pytest.param(207, {"Content-Type": "text/html"}, PLAIN, id="not-xml"),
        pytest.param(207, {"Content-Type": XML, "Content-Encoding": "gzip"}, gzip.compress(PLAIN), id="gzip"),
        pytest.param(207, {"Content-Type": "text/xml; charset=utf-16"}, PLAIN.decode().encode("utf-16"), id="utf-16"),
        pytest.param(207, {"Content-Type": "text/xml; charset="}, PLAIN, id="no-charset"),
    ],
)
def test_any_other_answer_passes_untouched(status: int, fields: dict[str, str], body: bytes) -> None:
    headers = (*fields.items(), *LENGTHS)
    proceed, store = asked(BOTH), Store()
    assert proceed.amend.start(status, headers) == headers
    assert b"".join(sent(proceed, [body[:9], body[9:]], store, status=status, headers=headers)) == body
    assert store.asked == []


@pytest.mark.parametrize("content_type", ["text/xml", "application/xml", "application/multistatus+xml; a=b", None])
def test_every_spelling_of_xml_is_amended(content_type: str | None) -> None:
    headers = () if content_type is None else (("Content-Type", content_type),)
    out = b"".join(sent(asked(BOTH), [PLAIN], Store(), headers=headers))
    assert told(out, "/c/") == {"200": ["displayname", "lockdiscovery", "supportedlock"]}


def test_a_wsgi_application_may_change_its_mind() -> None:
    amend = asked(BOTH).amend
    amend.start(207, (("Content-Type", XML),))
    amend.start(500, (("Content-Type", XML),))
    assert amend.feed(PLAIN, False) == PLAIN


# ---- what goes in ----------------------------------------------------------------------------------------------------


def test_the_two_stand_in_one_propstat_after_the_applications() -> None:
    assert amended(answer(response("/c/", NAMED))) == answer(
        response(
            "/c/",
            NAMED,
            '<D:propstat xmlns:D="DAV:" xmlns=""><D:prop><D:lockdiscovery></D:lockdiscovery><D:supportedlock>'
            "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
            "<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
            "</D:supportedlock></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>",
        )
    )


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param(b"", ["displayname", "lockdiscovery", "supportedlock"], id="allprop"),
        pytest.param(asking("displayname", "lockdiscovery"), ["displayname", "lockdiscovery"], id="one"),
        pytest.param(asking("displayname", "supportedlock"), ["displayname", "supportedlock"], id="the-other"),
        pytest.param(PROPNAME, ["displayname", "lockdiscovery", "supportedlock"], id="propname"),
    ],
)
def test_what_is_asked_for_is_told(body: bytes, names: list[str]) -> None:
    assert told(amended(PLAIN, body), "/c/") == {"200": names}


@pytest.mark.parametrize("body", [PROPNAME, asking("supportedlock")], ids=["propname", "supportedlock"])
def test_the_store_is_asked_only_for_locks(body: bytes) -> None:
    store = Store()
    store.put(lock("/c"))
    out = amended(PLAIN, body, store)
    assert store.asked == []
    assert b"activelock" not in out


def test_propname_tells_names_alone() -> None:
    out = ET.fromstring(amended(PLAIN, PROPNAME))
    assert [len(prop) for prop in out.iter(SUPPORTEDLOCK)] == [0]


def test_a_member_is_told_its_own_and_its_inherited_locks() -> None:
    store = Store()
    store.put(
        lock("/c", "urn:uuid:c", details=Details(root="/c/")),
        lock("/c/a b", "urn:uuid:a", depth=Depth.ZERO, scope=Scope.SHARED, details=Details(root="/c/a%20b")),
        lock("/", "urn:uuid:top", depth=Depth.ZERO),
        lock("/cc", "urn:uuid:sibling"),
        lock("/c/other", "urn:uuid:other"),
    )
    out = amended(answer(response("/c/", NAMED), response("/c/a%20b", NAMED)), store=store)
    assert [(one["token"], one["root"]) for one in locks_of(out, "/c/")] == [("urn:uuid:c", "/c/")]
    assert [(one["token"], one["root"]) for one in locks_of(out, "/c/a%20b")] == [
        ("urn:uuid:a", "/c/a%20b"),
        ("urn:uuid:c", "/c/"),
    ]
    assert locks_of(out, "/c/")[0]["timeout"] == "Second-900"  # 899.2 s are left


def test_what_is_no_granted_write_lock_is_not_shown() -> None:
    store = Store()
    store.put(
        lock("/c", "urn:uuid:p", details=Details(pending=True)),
        lock("/c", "urn:uuid:adm", purpose=Purpose.ADMINISTRATIVE),
        lock("/c", "urn:uuid:scan", purpose=Purpose.PROCESSING),
        lock("/c", "urn:uuid:w", scope=Scope.SHARED),
    )
    assert tokens_of(amended(PLAIN, store=store), "/c/") == ["urn:uuid:w"]


@pytest.mark.parametrize(
    "status_of_ours", ["404 Not Found", "200 OK"], ids=["class-1-application", "application-with-locks-of-its-own"]
)
@pytest.mark.parametrize(
    "spelling",
    [
        "<D:lockdiscovery/><D:supportedlock/>",
        "<D:lockdiscovery /><D:supportedlock\n></D:supportedlock >",
        "<D:lockdiscovery><D:activelock><D:prop><D:lockdiscovery/></D:prop></D:activelock></D:lockdiscovery>",
        "<l:lockdiscovery xmlns:l='DAV:' a='/>' b='&gt;>'/>",
        "<D:lockdiscovery>/></D:lockdiscovery>",
        "<D:lockdiscovery><![CDATA[</D:lockdiscovery>]]><!-- /> --></D:lockdiscovery>",
    ],
)
def test_what_the_application_says_of_the_two_is_replaced(spelling: str, status_of_ours: str) -> None:
    with_others = propstat(f"<D:displayname>x</D:displayname>{spelling}<D:z/>", status_of_ours)
    alone = propstat(spelling, status_of_ours)
    code = status_of_ours[:3]
    out = amended(answer(response("/c/", with_others), response("/d", NAMED, alone), response("/e", alone)))
    ours = ["lockdiscovery", "supportedlock"]
    assert told(out, "/c/") == (
        {"200": ["displayname", "z", *ours]} if code == "200" else {"404": ["displayname", "z"], "200": ours}
    )
    assert told(out, "/d") == {"200": ["displayname", *ours]}
    assert told(out, "/e") == {"200": ours}
    assert out.count(b"lockdiscovery") == 6


def test_a_name_that_was_not_asked_for_stays_as_the_application_has_it() -> None:
    out = amended(answer(response("/c/", propstat("<D:supportedlock/>"))), asking("lockdiscovery"))
    assert told(out, "/c/") == {"200": ["supportedlock", "lockdiscovery"]}


@pytest.mark.parametrize("status", ["403 Forbidden", "401 Unauthorized"])
def test_what_the_application_forbids_is_not_shown(status: str) -> None:
    store = Store()
    store.put(lock("/c"))
    out = amended(answer(response("/c/", NAMED, propstat("<D:lockdiscovery/>", status))), store=store)
    assert told(out, "/c/") == {"200": ["displayname", "supportedlock"], status[:3]: ["lockdiscovery"]}
    both = answer(response("/c/", propstat("<D:lockdiscovery/><D:supportedlock/>", status)))
    assert amended(both, store=store) == both


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(
            "<D:response><D:href>/c/</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>", id="404"
        ),
        pytest.param("<D:response><D:href>/c/</D:href><D:status>no status</D:status></D:response>", id="unreadable"),
        pytest.param("<D:response><D:href>/c/</D:href><D:status/></D:response>", id="empty-status"),
        pytest.param(response("http://other.example/c/", NAMED), id="foreign-authority"),
        pytest.param(response("c/relative", NAMED), id="relative"),
        pytest.param(response("", NAMED), id="empty-href"),
        pytest.param(response("/c/#part", NAMED), id="fragment"),
        pytest.param(f"<D:response><D:href>/a</D:href><D:href>/b</D:href>{NAMED}</D:response>", id="two-hrefs"),
        pytest.param(f"<D:response>{NAMED}</D:response>", id="no-href"),
        pytest.param("<D:response/>", id="empty"),
        pytest.param("<D:responsedescription>d<D:a><D:b/></D:a></D:responsedescription>", id="no-response"),
        pytest.param(f"<x:response xmlns:x='urn:x'><D:href>/c/</D:href>{NAMED}</x:response>", id="foreign-response"),
    ],
)
def test_other_responses_pass_as_they_are(odd: str) -> None:
    store = Store()
    assert amended(answer(odd), store=store) == answer(odd)
    assert told(amended(answer(odd, response("/after", NAMED)), store=store), "/after") == {
        "200": ["displayname", "lockdiscovery", "supportedlock"]
    }


def test_nothing_found_and_nothing_told_is_not_nothing_to_tell() -> None:
    """RFC 8144 section 2.1: `Prefer: return=minimal` may leave a response with a status alone."""
    alone = "<D:response><D:href>/c/</D:href><D:status>HTTP/1.1 200 OK</D:status></D:response>"
    out = amended(answer(alone))
    assert told(out, "/c/") == {"200": ["lockdiscovery", "supportedlock"]}
    assert b"</D:href><D:propstat" in out


@pytest.mark.parametrize(
    "propstat_text",
    [
        pytest.param("<D:propstat/>", id="empty-element"),
        pytest.param("<D:propstat></D:propstat>", id="empty"),
        pytest.param("<D:propstat><D:prop/><D:status>HTTP/1.1 200 OK</D:status></D:propstat>", id="no-properties"),
        pytest.param("<D:propstat><D:error><D:lockdiscovery/></D:error><D:prop/></D:propstat>", id="name-in-an-error"),
    ],
)
def test_a_propstat_without_properties_stays(propstat_text: str) -> None:
    out = amended(answer(response("/c/", propstat_text)))
    assert propstat_text.encode() in out
    assert told(out, "/c/") == {"200": ["lockdiscovery", "supportedlock"]}


def test_the_order_of_the_dtd_is_kept() -> None:
    after = "<D:error><D:x/></D:error><D:responsedescription>words</D:responsedescription>"
    out = ET.fromstring(amended(answer(response("/c/", NAMED, after))))
    assert [child.tag[6:] for child in out[0]] == ["href", "propstat", "propstat", "error", "responsedescription"]


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "href",
    [
        "/c/é x",
        "/c/%C3%A9%20x",
        "/c/%c3%a9 x/",
        "http://example.org/c/%C3%A9%20x",
        "https://EXAMPLE.org:443/c//%C3%A9%20x?q",
        "\n  /c/%C3%A9%20x\n",
        "/c/&#233;<![CDATA[ ]]>x",
    ],
)
def test_every_spelling_of_an_href_finds_the_lock(href: str) -> None:
    store = Store()
    store.put(lock("/c/é x"))
    assert amended(answer(response(href, NAMED)), store=store).count(b"<D:activelock>") == 1


def test_behind_a_proxy_the_public_prefix_is_undone() -> None:
    store = Store()
    store.put(lock("/app/x"))
    policy = Policy(dav=True, public_url="https://docs.example.net/files")
    head = Head("PROPFIND", "/app/", "/app", host="10.0.0.1")
    move = begin(policy, head, Chosen("t", "i"))
    hrefs = ["/files/x", "https://docs.example.net/files/x", "http://10.0.0.1/files/x"]
    out = b"".join(sent(move.then(BOTH), [answer(*(response(href, NAMED) for href in hrefs))], store))
    assert [tokens_of(out, href) for href in hrefs] == [["urn:uuid:1"]] * 3


def test_the_applications_own_names_for_resources_are_used() -> None:
    store = Store()
    store.put(lock("/id-7", details=Details(root="/c/x")))
    policy = Policy(dav=True, key=lambda path: "id-7" if path in ("/c/x", "/alias") else path)
    out = amended(
        answer(response("/c/x", NAMED), response("/alias", NAMED), response("/y", NAMED)), store=store, policy=policy
    )
    assert [tokens_of(out, href) for href in ("/c/x", "/alias", "/y")] == [["urn:uuid:1"], ["urn:uuid:1"], []]


def test_members_that_no_lock_can_be_on_are_left_alone() -> None:
    policy = Policy(dav=True, routes=(Route("/c/free", "exempt"), Route("/c")))
    exempt = response("/c/free/x", NAMED)
    assert amended(answer(exempt), policy=policy) == answer(exempt)


def test_locks_of_another_namespace_are_not_told() -> None:
    store = Store()
    store.put(lock("/a/x", "urn:uuid:a"), namespace="a")
    store.put(lock("/b/x", "urn:uuid:b"), namespace="b")
    policy = Policy(dav=True, namespace=lambda _host, path: path[1:2])
    foreign = response("/b/x", NAMED)
    out = amended(answer(response("/a/x", NAMED), foreign), store=store, policy=policy, path="/a/")
    assert tokens_of(out, "/a/x") == ["urn:uuid:a"]
    assert foreign.encode() in out


# ---- who sees what (T12) ---------------------------------------------------------------------------------------------

ALICE, BOB = Principal("alice"), Principal("bob")
ALICES = lock("/c", creator="alice", details=Details(owner_info="words"))


@pytest.mark.parametrize(
    ("policy", "asker", "creator", "seen"),
    [
        pytest.param(Policy(dav=True, identified=True), ALICE, "alice", (True, True), id="own"),
        pytest.param(Policy(dav=True, identified=True), BOB, "alice", (True, True), id="others"),
        pytest.param(Policy(dav=True, identified=True), None, "alice", (True, False), id="anonymous"),
        pytest.param(
            Policy(dav=True, identified=True, strict_discovery=True), ALICE, "alice", (True, True), id="strict-own"
        ),
        pytest.param(
            Policy(dav=True, identified=True, strict_discovery=True), BOB, "alice", (False, True), id="strict"
        ),
        pytest.param(Policy(dav=True), None, None, (True, True), id="bearer"),
        pytest.param(Policy(dav=True, strict_discovery=True), None, None, (False, True), id="strict-bearer"),
        pytest.param(
            Policy(dav=True, identified=True, disclosure=lambda *_: Disclosure(False, False, False, False)),
            BOB,
            "alice",
            (True, False),
            id="no-owner",
        ),
    ],
)
def test_t12_token_and_owner_by_policy(
    policy: Policy, asker: Principal | None, creator: str | None, seen: tuple[bool, bool]
) -> None:
    store = Store()
    store.put(replace(ALICES, creator=creator))
    [one] = locks_of(amended(PLAIN, store=store, policy=policy, principal=asker), "/c/")
    assert (one["token"] is not None, one["owner"] == "words") == seen


def test_t12_whose_place_is_secret_is_not_told_but_to_its_creator() -> None:
    store = Store()
    store.put(ALICES)
    secret = Disclosure(token=False, owner=False, reason=False, contact=False, root=False)
    policy = Policy(dav=True, identified=True, disclosure=lambda *_: secret)
    assert locks_of(amended(PLAIN, store=store, policy=policy, principal=BOB), "/c/") == []
    assert len(locks_of(amended(PLAIN, store=store, policy=policy, principal=ALICE), "/c/")) == 1


def test_of_many_shared_locks_a_bounded_number_is_told_the_own_first() -> None:
    store = Store()
    others = [lock("/c", f"urn:uuid:{i}", scope=Scope.SHARED, creator=f"u{i}") for i in range(300)]
    store.put(*others, lock("/", "urn:uuid:mine", scope=Scope.SHARED, creator="alice"))
    seen = tokens_of(amended(PLAIN, store=store, policy=Policy(dav=True, identified=True), principal=ALICE), "/c/")
    assert len(seen) == 100
    assert seen[0] == "urn:uuid:mine"


# ---- the store is down -----------------------------------------------------------------------------------------------


def test_without_the_store_the_answer_goes_out_and_says_so() -> None:
    store = Store(down=True)
    members = [response(f"/c/{i}", NAMED) for i in range(200)]
    out = amended(answer(*members), store=store)
    assert told(out, "/c/0") == {"200": ["displayname", "supportedlock"], "503": ["lockdiscovery"]}
    assert told(out, "/c/199") == told(out, "/c/0")
    assert len(store.asked) == 1  # not a time-out for each batch
    assert told(amended(PLAIN, asking("lockdiscovery"), store=Store(down=True)), "/c/") == {
        "200": ["displayname"],
        "503": ["lockdiscovery"],
    }


# ---- bytes -----------------------------------------------------------------------------------------------------------

WSGIDAV = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n"
    b'<ns0:multistatus xmlns:ns0="DAV:"><ns0:response><ns0:href>/c/</ns0:href><ns0:propstat><ns0:prop>'
    b"<ns0:resourcetype><ns0:collection /></ns0:resourcetype></ns0:prop><ns0:status>HTTP/1.1 200 OK</ns0:status>"
    b"</ns0:propstat><ns0:propstat><ns0:prop><ns0:lockdiscovery /><ns0:supportedlock /></ns0:prop>"
    b"<ns0:status>HTTP/1.1 404 Not Found</ns0:status></ns0:propstat></ns0:response></ns0:multistatus>\n"
)
DEFAULT_NAMESPACE = (
    b'\xef\xbb\xbf<?xml version="1.0"?>\r\n<!-- a > comment --><multistatus xmlns="DAV:" xml:lang="de">\r\n'
    b"  <response>\r\n    <href>/c/</href>\r\n    <propstat>\r\n      <prop>\r\n"
    b"        <displayname>\xc3\xa9 &amp; <![CDATA[<x>]]></displayname>"
    b"\r\n        <lockdiscovery/>\r\n      </prop>\r\n      <status>HTTP/1.1 200 OK</status>\r\n    </propstat>\r\n"
    b"  </response>\r\n  <?pi x?><response><href>/c/gone</href><status>HTTP/1.1 404 Not Found</status></response>\r\n"
    b"</multistatus>\r\n<!-- end -->"
)
LITMUS_LIKE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<d:multistatus xmlns:d="DAV:" xmlns:n="http://example.com/neon/litmus/">'
    b"<d:response><d:href>http://example.org/c/prop</d:href><d:propstat><d:prop><n:prop0>value0</n:prop0>"
    b'<high-unicode xmlns="http://example.com/">&#65536;</high-unicode><d:lockdiscovery/></d:prop>'
    b"<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"
)
ANSWERS = {"wsgidav": WSGIDAV, "default-namespace": DEFAULT_NAMESPACE, "litmus": LITMUS_LIKE}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_chunk_boundaries_do_not_matter(text: bytes) -> None:
    store = Store()
    store.put(lock("/c", details=Details(owner_info="<D:owner xmlns:D='DAV:'>é<x/></D:owner>", owner_is_xml=True)))
    whole = amended(text, store=store)
    ET.fromstring(whole)
    assert whole.count(b"<D:activelock>") == 1
    for cut in range(len(text) + 1):
        assert b"".join(sent(asked(BOTH), [text[:cut], text[cut:]], store)) == whole
    single = [text[i : i + 1] for i in range(len(text))]
    assert b"".join(sent(asked(BOTH), single, store)) == whole


class Waiting:
    """A parser that puts off what it is given, as expat 2.6 and later do with a token that has not ended."""

    def __init__(self, parser: Any, every: int) -> None:
        self.parser, self.every, self.waiting = parser, every, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parser, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("parser", "every", "waiting"):
            object.__setattr__(self, name, value)
        else:
            setattr(self.parser, name, value)

    def Parse(self, chunk: bytes, final: bool) -> None:
        self.waiting += chunk
        if final or len(self.waiting) >= self.every:
            waiting, self.waiting = self.waiting, b""
            self.parser.Parse(waiting, final)

    @property
    def CurrentByteIndex(self) -> int:
        return -1 if self.waiting else self.parser.CurrentByteIndex


@pytest.mark.parametrize("every", [2, 37, 100, 10_000])
@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_the_parser_may_put_off_what_it_is_given(text: bytes, every: int) -> None:
    def split(every: int) -> list[Any]:
        splitter = Splitter({"lockdiscovery"}, lambda href: href)
        splitter._parser = Waiting(splitter._parser, every)
        parts = [part for i in range(len(text)) for part in splitter.feed(text[i : i + 1], True)]
        parts += splitter.feed(b"", False)
        joined: list[Any] = []
        for part in parts:
            if joined and isinstance(part, bytes) and isinstance(joined[-1], bytes):
                joined[-1] += part
            else:
                joined.append(part)
        return joined

    assert split(every) == split(1)
    assert [part for part in split(every) if isinstance(part, Gap)]


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_the_applications_bytes_pass_verbatim(text: bytes) -> None:
    """Cut out what is ours, on both sides, and the rest is the same to the byte."""
    out = amended(text)
    start = out.index(b'<D:propstat xmlns:D="DAV:" xmlns="">')
    end = out.index(b"</D:propstat>", start) + len(b"</D:propstat>")
    rest = out[:start] + out[end:]
    assert len(rest) < len(text)
    kept = iter(text)
    assert all(byte in kept for byte in rest)  # a subsequence
    assert b"lockdiscovery" not in rest


def test_the_owners_words_mean_the_same_in_any_document() -> None:
    """Neither a default namespace nor a prefix of the application's answer reaches into what a client wrote."""
    words = '<D:owner xmlns:D="DAV:">é<plain a="1"/><n:x xmlns:n="urn:n">y</n:x></D:owner>'
    store = Store()
    store.put(lock("/c", details=Details(owner_info=words, owner_is_xml=True)))
    for text in (DEFAULT_NAMESPACE, LITMUS_LIKE, WSGIDAV):
        [owner] = ET.fromstring(amended(text, store=store)).iter("{DAV:}owner")
        assert owner.text == "é"
        assert [child.tag for child in owner] == ["plain", "{urn:n}x"]


@pytest.mark.parametrize(
    ("declaration", "content_type", "codec"),
    [
        pytest.param('<?xml version="1.0" encoding="iso-8859-1"?>', "text/xml", "latin-1", id="latin-1"),
        pytest.param('<?xml version="1.0" encoding="windows-1252"?>', "text/xml", "cp1252", id="windows-1252"),
        pytest.param("", "text/xml; charset=iso-8859-1", "latin-1", id="by-content-type"),
        pytest.param(
            '<?xml version="1.0" encoding="utf-8"?>', 'text/xml; charset="ISO-8859-1"', "latin-1", id="outranked"
        ),
        pytest.param('<?xml version="1.0" encoding="iso-8859-1"?>', "text/xml; charset=utf8", "utf-8", id="utf8"),
        pytest.param('<?xml version="1.0" encoding="us-ascii"?>', "text/xml", "ascii", id="ascii"),
    ],
)
@pytest.mark.parametrize(
    "words",
    ["<D:owner xmlns:D='DAV:'>日本 <b>x</b></D:owner>", "<D:owner xmlns:D='DAV:'>日本<é/> x</D:owner>"],
    ids=["text", "names"],
)
def test_single_byte_encodings_are_amended(declaration: str, content_type: str, codec: str, words: str) -> None:
    store = Store()
    store.put(lock("/c", details=Details(owner_info=words, owner_is_xml=True)))
    name = "e" if codec == "ascii" else "é"
    text = (
        f'{declaration}<multistatus xmlns="DAV:">{response("/c/", propstat(f"<D:displayname>{name}</D:displayname>"))}'
    )
    text = text.replace("<D:response>", '<D:response xmlns:D="DAV:">') + "</multistatus>"
    out = amended(text.encode(codec), store=store, content_type=content_type)
    decoded = out.decode(codec).removeprefix(declaration)
    tree = ET.fromstring(decoded)
    assert tree.findtext(".//D:displayname", None, NS) == name
    assert "".join("".join(owner.itertext()) for owner in tree.iter("{DAV:}owner")) == "日本 x"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no xml at all", id="no-xml"),
        pytest.param(b"<html><body/></html>", id="another-root"),
        pytest.param(PLAIN.replace(b"<D:multi", b"<!DOCTYPE m><D:multi"), id="doctype"),
        pytest.param(PLAIN.decode().removeprefix('<?xml version="1.0"?>').encode("utf-16"), id="utf-16-with-mark"),
        pytest.param(PLAIN.decode().removeprefix('<?xml version="1.0"?>\n').encode("utf-16-be"), id="utf-16-be"),
        pytest.param(PLAIN.decode().removeprefix('<?xml version="1.0"?>\n').encode("utf-16-le"), id="utf-16-le"),
        pytest.param(PLAIN.replace(b'"1.0"', b'"1.0" encoding="utf-16"'), id="utf-16-only-said"),
        pytest.param(PLAIN.replace(b'"1.0"', b'"1.0" encoding="shift_jis"'), id="multi-byte"),
        pytest.param(PLAIN.replace(b'"1.0"', b'"1.0" encoding="iso-8859-12"'), id="unknown"),
        pytest.param(PLAIN.replace(b"<D:prop>", b"<D:prop><x:unbound/>"), id="unbound-prefix"),
        pytest.param(PLAIN.replace(b"<D:multistatus", b'<D:multistatus a="\xff"'), id="bad-utf-8"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_is_not_a_multistatus_passes_untouched(text: bytes, size: int) -> None:
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    headers = (("Content-Type", "text/xml"),)
    assert b"".join(sent(asked(BOTH), chunks, Store(), headers=headers)) == text


@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_what_turns_out_not_well_formed_is_untouched_from_there_on(size: int) -> None:
    good, bad = response("/c/", NAMED), response("/d", propstat("<D:lockdiscovery>")) + response("/e", NAMED)
    text = answer(good, bad)
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    out = b"".join(sent(asked(BOTH), chunks, Store()))
    assert out.endswith(bad.encode() + b"</D:multistatus>")
    assert out.count(b"<D:supportedlock>") == 1


def test_an_answer_that_breaks_off_loses_nothing() -> None:
    text = answer(response("/c/", NAMED), response("/d", NAMED))[:-40]
    out = b"".join(sent(asked(BOTH), [text], Store()))
    assert out.endswith(text[-100:])
    assert out.count(b"<D:supportedlock>") == 1


# ---- bounds ----------------------------------------------------------------------------------------------------------


MEMBERS = 10_000


def many() -> Iterator[bytes]:
    """The chunks of a large answer, one for each member."""
    yield b'<D:multistatus xmlns:D="DAV:">'
    for i in range(MEMBERS):
        yield response(f"/c/{i}", propstat(f"<D:displayname>{i}</D:displayname>" * 4)).encode()
    yield b"</D:multistatus>"


def test_ten_thousand_members_are_streamed_in_batches() -> None:
    store = Store()
    store.put(lock("/c", "urn:uuid:all", details=Details(owner_info="w" * 100)), lock("/c/7777", "urn:uuid:one"))
    out = b"".join(sent(asked(BOTH), many(), store))
    seen = {
        one.findtext("D:href", "", NS): [token.text for token in one.iterfind(".//D:locktoken/D:href", NS)]
        for one in ET.fromstring(out)
    }
    assert len(seen) == MEMBERS
    assert seen.pop("/c/7777") == ["urn:uuid:one", "urn:uuid:all"]
    assert all(tokens == ["urn:uuid:all"] for tokens in seen.values())
    assert MEMBERS / 64 <= len(store.asked) <= MEMBERS / 64 + 2
    assert all(len(query.paths) <= 64 and not query.trees and not query.writes for query in store.asked)


def test_what_is_held_at_a_time_is_one_batch() -> None:
    """However long the answer is: of the members that have come in, no more than a batch has not gone out."""
    store = Store()
    store.put(lock("/c", details=Details(owner_info="w" * 100)))
    come = gone = total = largest = held = 0

    def counted() -> Iterator[bytes]:
        nonlocal come
        for chunk in many():
            come += chunk.count(b"</D:response>")
            yield chunk

    for piece in sent(asked(BOTH), counted(), store):
        gone += piece.count(b"</D:response>")
        held = max(held, come - gone)
        total += len(piece)
        largest = max(largest, len(piece))
        store.asked.clear()
    assert come == gone == MEMBERS
    assert total > 9_000_000
    assert largest < 300_000
    assert 0 < held <= dav.BATCH


def test_one_whole_body_is_asked_for_in_batches_too() -> None:
    store = Store()
    out = amended(answer(*(response(f"/c/{i}", NAMED) for i in range(1000))), store=store)
    assert out.count(b"<D:supportedlock>") == 1000
    assert [len(query.paths) for query in store.asked] == [64] * 15 + [40]


def test_a_batch_does_not_wait_for_more_than_its_bytes() -> None:
    store = Store()
    large = response("/c/x", propstat(f"<D:displayname>{'x' * 40_000}</D:displayname>"))
    pieces = list(sent(asked(BOTH), [b'<D:multistatus xmlns:D="DAV:">', *[large.encode()] * 4], store))
    assert len(pieces[0]) > 0
    assert len(store.asked) == 2
    assert len(store.asked[0].paths) == 1  # the same member: asked for once


def test_what_needs_no_answer_of_the_store_is_not_held_back() -> None:
    gone = "<D:response><D:href>/x</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>"
    start = b'<D:multistatus xmlns:D="DAV:">'
    pieces = list(sent(asked(BOTH), [start, gone.encode(), gone.encode()], Store()))
    assert b"".join(pieces[:3]).startswith(start + gone.encode())


@pytest.mark.parametrize("size", [100, 65_536, 10_000_000])
def test_a_response_that_is_too_large_passes_and_the_next_does_not(size: int) -> None:
    huge = response("/c/huge", propstat(f"<D:lockdiscovery/><D:displayname>{'y' * 1_100_000}</D:displayname>"))
    text = answer(response("/c/a", NAMED), huge, response("/c/b", NAMED))
    splitter = Splitter({"lockdiscovery"}, lambda href: href)
    parts, held = [], 0
    for start in range(0, len(text), size):
        parts += splitter.feed(text[start : start + size], True)
        held = max(held, len(splitter._buffer))
    parts += splitter.feed(b"", False)
    assert [part.key for part in parts if isinstance(part, Gap)] == ["/c/a", "/c/b"]
    assert b"".join(part for part in parts if isinstance(part, bytes)) == text
    if size < 100_000:
        assert held <= multistatus.RESPONSE_LIMIT + 2 * size


@pytest.mark.parametrize("before", [b"", b"<D:response><D:href>/c/a</D:href>"], ids=["outside", "inside"])
def test_a_token_without_end_is_not_held_back(before: bytes) -> None:
    splitter = Splitter({"lockdiscovery"}, lambda href: href)
    text = b'<D:multistatus xmlns:D="DAV:">' + before + b'<D:x a="'
    out, held = b"".join(splitter.feed(text, True)), 0
    for _ in range(80):
        out += b"".join(splitter.feed(b"z" * 65_536, True))
        held = max(held, len(splitter._buffer))
    assert held <= 2 * multistatus.RESPONSE_LIMIT
    out += b"".join(splitter.feed(b"", False))
    assert out == text + b"z" * 65_536 * 80


def test_an_endless_href_is_not_collected() -> None:
    splitter = Splitter({"lockdiscovery"}, lambda href: href)
    splitter.feed(b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>/', True)
    for _ in range(40):
        splitter.feed(b"z" * 65_536, True)
    assert splitter._text is None
    end = b"</D:href></D:response><D:response><D:href>/b</D:href><D:propstat><D:prop/></D:propstat></D:response>"
    gaps = [part for part in splitter.feed(end, True) if isinstance(part, Gap)]
    assert gaps == [Gap("/b", frozenset({"lockdiscovery"}))]


# ---- any multistatus at all ------------------------------------------------------------------------------------------

PREFIXES = ["", "D", "d", "ns0", "lp1"]
SPACE = st.sampled_from(["", "", " ", "\n  ", "<!-- c > -->", "<?p i?>"])
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=12)


def quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@st.composite
def properties(draw: st.DrawFn, q: str) -> str:
    kind = draw(st.sampled_from(["ours", "ours", "text", "foreign", "deep"]))
    if kind == "ours":
        name = draw(st.sampled_from(["lockdiscovery", "supportedlock"]))
        return draw(
            st.sampled_from([f"<{q}{name}/>", f"<{q}{name}></{q}{name}>", f"<{q}{name} a='>'>x<{q}y/></{q}{name}>"])
        )
    value = quoted(draw(TEXT))
    if kind == "text":
        return f"<{q}displayname>{value}</{q}displayname>"
    if kind == "foreign":
        return f'<x:lockdiscovery xmlns:x="urn:x" b="1">{value}</x:lockdiscovery>'
    return f"<{q}deep><{q}response><{q}propstat><{q}lockdiscovery/></{q}propstat></{q}response>{value}</{q}deep>"


@st.composite
def responses(draw: st.DrawFn, q: str) -> str:
    space = draw(SPACE)
    href = draw(st.sampled_from(["/c/a", "/c/%C3%A9", "/c/b/", "http://example.org/c/a", "http://foreign.example/c"]))
    if draw(st.integers(0, 5)) == 0:
        return f"<{q}response>{space}<{q}href>{href}</{q}href><{q}status>HTTP/1.1 404 N</{q}status></{q}response>"
    stats = "".join(
        f"<{q}propstat>{space}<{q}prop>{''.join(props)}{space}</{q}prop>"
        f"<{q}status>HTTP/1.1 {code} S</{q}status></{q}propstat>"
        for props, code in draw(
            st.lists(
                st.tuples(st.lists(properties(q), max_size=4), st.sampled_from([200, 404, 403])), min_size=1, max_size=3
            )
        )
    )
    return f"<{q}response>{space}<{q}href>{space}{href}</{q}href>{stats}{space}</{q}response>"


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    prefix = draw(st.sampled_from(PREFIXES))
    q, declared = (f"{prefix}:", f"xmlns:{prefix}") if prefix else ("", "xmlns")
    space = draw(SPACE)
    inner = space.join(draw(st.lists(responses(q), max_size=6)))
    return f'{space.strip()}<{q}multistatus {declared}="DAV:">{inner}{space}</{q}multistatus>'.encode()


def tree_of(element: ET.Element) -> tuple[Any, ...]:
    """An element without the white space between elements."""
    texts = [element.text, *(child.tail for child in element)]
    text = "".join(part or "" for part in texts)
    return element.tag, tuple(element.items()), text.strip(), [tree_of(child) for child in element]


def expected(root: ET.Element) -> ET.Element:
    """The rule said once more, on trees: for both names, no lock anywhere."""
    ours = {LOCKDISCOVERY, SUPPORTEDLOCK}
    for one in root.findall("D:response", NS):
        stats = one.findall("D:propstat", NS)
        forbidden = {
            prop.tag
            for stat in stats
            if " 403 " in stat.findtext("D:status", "", NS)
            for prop in stat.find("D:prop", NS)
        }
        names = sorted(ours - forbidden)
        if not stats or not names or "foreign" in one.findtext("D:href", "", NS):
            continue
        place = list(one).index(stats[-1]) + 1
        one.insert(place, ET.fromstring('<propstat xmlns="DAV:"><prop/><status>HTTP/1.1 200 OK</status></propstat>'))
        for name in names:
            ET.SubElement(one[place][0], name)
        for stat in stats:
            if " 403 " not in stat.findtext("D:status", "", NS):
                prop = stat.find("D:prop", NS)
                found = [each for each in prop if each.tag in ours]
                for each in found:
                    prop.remove(each)
                if found and not len(prop):
                    one.remove(stat)
    return root


@given(documents(), st.lists(st.integers(0, 4000), max_size=6))
def test_any_multistatus_is_the_same_but_for_the_two(text: bytes, cuts: list[int]) -> None:
    out = amended(text, PROPNAME)
    assert tree_of(ET.fromstring(out)) == tree_of(expected(ET.fromstring(text)))
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert b"".join(sent(asked(PROPNAME), chunks, Store())) == out


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_in_an_answer_is_never_lost(garbage: bytes, at: int) -> None:
    text = PLAIN[:at] + garbage + PLAIN[at:]
    out = b"".join(sent(asked(PROPNAME), [text], Store()))
    start = out.find(b'<D:propstat xmlns:D="DAV:" xmlns="">')
    if start < 0:
        assert out == text
    else:
        end = out.index(b"</D:propstat>", start) + len(b"</D:propstat>")
        assert out[:start] + out[end:] == text


def test_the_limits_are_those_that_the_docs_name() -> None:
    assert (dav.BATCH, dav.BATCH_BYTES, multistatus.RESPONSE_LIMIT) == (64, 65_536, 1_048_576)
