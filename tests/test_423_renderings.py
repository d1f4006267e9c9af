"""The 423 and its kin: one refusal value, four renderings, and nothing in them that the asker may not see."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from locklib.core.disclosing import ended_members, in_words, instant, lock_members
from locklib.core.model import (
    Condition,
    Depth,
    Details,
    Ended,
    Held,
    Lock,
    Purpose,
    Refusal,
    Scope,
    Tombstone,
    replace,
)
from locklib.core.refusals import (
    PROBLEM_TYPE,
    Disclosure,
    Rendered,
    Rendering,
    choose_rendering,
    refusal_from_error,
    refusal_members,
    render_granted,
    render_members,
    render_refusal,
)
from locklib.errors import (
    BadField,
    BadLockInfo,
    BodyTooLarge,
    ConfigurationError,
    LockRefused,
    StoreUnavailable,
    UnsupportedBody,
    UnusableLockInfo,
)

OPEN = Disclosure(token=True, owner=True, reason=True, contact=True)
SHUT = Disclosure(token=False, owner=False, reason=False, contact=False)
BARE = Disclosure(token=True, owner=True, reason=True, contact=True, root=False)
XML, JSON, PROBLEM, HTML = Rendering
NS = {"D": "DAV:"}

TOKEN = "urn:uuid:e71d4fae-5dec-22d6-fea5-00a0c91e6be4"
PATH = "/documents/report.docx"
AT_14_30 = 1768746600.0  # 2026-01-18T14:30:00Z

ALICE = Lock(
    TOKEN,
    PATH,
    depth=Depth.ZERO,
    creator="alice@example.com",
    timeout=900.0,
    created_at=AT_14_30,
    expires_at=AT_14_30 + 900,
)
AUDIT = replace(
    ALICE,
    token="urn:uuid:audit",
    purpose=Purpose.ADMINISTRATIVE,
    creator="root",
    timeout=12_600.0,
    expires_at=AT_14_30 + 12_600,
    details=Details(reason="Security audit in progress", contact="admin@example.com"),
)


def locked(lock: Lock = ALICE, remaining: float = 840.0, **changes: object) -> Refusal:
    held = Held(lock, remaining)
    refusal = Refusal(
        status=423,
        slug="locked",
        title="Locked",
        message=f"{lock.root} is locked by {lock.creator} and cannot be modified",
        resource=PATH,
        condition=Condition.LOCK_TOKEN_SUBMITTED,
        hrefs=(lock.root,),
        held=held,
        conflicts=(held,),
        retry_after=840,
    )
    return replace(refusal, **changes)


def headers(rendered: Rendered) -> dict[str, str]:
    return dict(rendered.headers)


def members(refusal: Refusal, disclosure: Disclosure = OPEN) -> dict:
    return json.loads(render_refusal(refusal, JSON, disclosure).body)


def everything(rendered: Rendered) -> str:
    return f"{rendered.headers}{rendered.body.decode()}"


# --- the article's five examples: what each tells is told ---


def test_article_basic_webdav_lock():
    rendered = render_refusal(locked(), XML, OPEN)
    assert rendered.status == 423
    assert headers(rendered)["Content-Type"] == "application/xml; charset=utf-8"
    assert headers(rendered)["Lock-Token"] == f"<{TOKEN}>"
    error = ET.fromstring(rendered.body)
    assert error.tag == "{DAV:}error"
    assert error.findtext("D:lock-token-submitted/D:href", None, NS) == PATH
    assert "alice@example.com" in error.findtext("{urn:problem:locklib}message")


def test_article_with_lock_information():
    rendered = render_refusal(locked(), JSON, OPEN)
    told = headers(rendered)
    assert told["Content-Type"] == "application/json"
    assert told["Lock-Token"] == f"<{TOKEN}>"
    assert told["X-Lock-Owner"] == "alice@example.com"
    assert told["X-Lock-Timeout"] == "900"
    body = json.loads(rendered.body)
    assert body["error"] == "Locked"
    assert body["message"] == f"{PATH} is locked by alice@example.com and cannot be modified"
    assert body["lock"] == {
        "token": TOKEN,
        "root": PATH,
        "owner": "alice@example.com",
        "type": "exclusive",
        "scope": "exclusive",
        "depth": "0",
        "purpose": "write",
        "created_at": "2026-01-18T14:30:00Z",
        "expires_at": "2026-01-18T14:45:00Z",
        "timeout_seconds": 900,
        "expires_in_seconds": 840,
        "reason": None,
        "contact": None,
    }
    assert body["conflicts"] == [body["lock"]]


def test_article_administrative_lock():
    rendered = render_refusal(locked(AUDIT, 12_000.0, retry_after=3600), JSON, OPEN)
    assert headers(rendered)["X-Lock-Type"] == "administrative"
    assert headers(rendered)["Retry-After"] == "3600"
    lock = json.loads(rendered.body)["lock"]
    assert lock["type"] == "administrative"
    assert lock["reason"] == "Security audit in progress"
    assert lock["expires_at"] == "2026-01-18T18:00:00Z"
    assert lock["contact"] == "admin@example.com"
    assert json.loads(rendered.body)["actions"]["contact"] == "Contact admin@example.com to release the lock"


def test_article_bob_fails():
    body = members(locked(may_break=True))
    assert body["status"] == 423
    assert body["resource"] == PATH
    assert body["time_remaining"] == "14 minutes"
    assert body["actions"]["wait"] == "Wait 14 minutes for the lock to expire"
    assert body["actions"]["contact"] == "Contact alice@example.com to release the lock"
    assert "break" in body["actions"]["force_unlock"]


def test_article_always_include_lock_details():
    body = members(locked())
    assert body["retry_after"] == 840
    assert body["suggestions"] == [
        "Wait for the lock to expire in 14 minutes",
        "Contact alice@example.com to release it",
        "Try again after it has expired",
        "If the lock is yours, send its token in an If header",
    ]
    assert "force_unlock" not in body["actions"]


# --- RFC 9457 and the page tell the same ---


def test_a_problem_has_its_own_members_and_those_of_the_schema():
    rendered = render_refusal(locked(), PROBLEM, OPEN)
    assert headers(rendered)["Content-Type"] == "application/problem+json"
    problem = json.loads(rendered.body)
    assert {name: problem[name] for name in ("type", "title", "status", "detail", "instance")} == {
        "type": "urn:problem:locklib:locked",
        "title": "Locked",
        "status": 423,
        "detail": f"{PATH} is locked by alice@example.com and cannot be modified",
        "instance": PATH,
    }
    assert members(locked()).items() <= problem.items()


def test_the_page_tells_a_person_what_the_json_tells_a_program():
    other = Held(replace(ALICE, token="urn:uuid:2", creator="carol", scope=Scope.SHARED), 60.0)
    refusal = locked(AUDIT)
    rendered = render_refusal(replace(refusal, conflicts=(other, *refusal.conflicts)), HTML, OPEN)
    assert headers(rendered)["Content-Type"] == "text/html; charset=utf-8"
    page = rendered.body.decode()
    for text in (
        "<title>423 Locked</title>", "root", "administrative", "Security audit in progress", "admin@example.com",
        "2026-01-18T14:30:00Z", "2026-01-18T18:00:00Z", "14 minutes", "carol",
        "Contact admin@example.com to release it",
    ):  # fmt: skip
        assert text in page
    assert page.count("Security audit in progress") == 1


@pytest.mark.parametrize("rendering", Rendering)
def test_no_cache_keeps_it_and_no_browser_guesses(rendering):
    rendered = render_refusal(locked(), rendering, OPEN)
    told = headers(rendered)
    assert told["Cache-Control"] == "no-store"
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Content-Length"] == str(len(rendered.body))
    assert len(told) == len(rendered.headers)


# --- disclosure ---


@pytest.mark.parametrize("rendering", Rendering)
def test_what_may_not_be_seen_is_not_in_the_answer(rendering):
    lock = replace(AUDIT, creator="zoë", details=replace(AUDIT.details, owner_info="Zoë Z."))
    text = everything(render_refusal(locked(lock), rendering, SHUT))
    for secret in (lock.token, "zo\\u00eb", "zoë", "Zo%C3%AB", "Security audit", "admin@example.com", "Lock-Token"):
        assert secret not in text
    assert PATH in text
    assert "X-Lock-Owner" not in text
    assert "X-Lock-Type" in text


def test_a_hidden_member_is_null_and_the_shape_stays():
    shut, shown = members(locked(AUDIT), SHUT), members(locked(AUDIT))
    assert shut["lock"].keys() == shown["lock"].keys()
    assert {name for name, value in shut["lock"].items() if value is None} == {"token", "owner", "reason", "contact"}
    assert shut["actions"].keys() == {"wait"}
    assert "Contact the lock owner to release it" in shut["suggestions"]
    assert shut["message"] == f"{PATH} is locked for administrative purposes"


@pytest.mark.parametrize(
    ("purpose", "message"),
    [
        (Purpose.WRITE, "is locked by another client and cannot be modified"),
        (Purpose.PROCESSING, "is being processed and cannot be modified yet"),
    ],
)
def test_a_message_that_names_someone_is_said_without_the_name(purpose, message):
    assert members(locked(replace(ALICE, purpose=purpose)), SHUT)["message"] == f"{PATH} {message}"


def test_a_message_that_names_no_one_stays():
    assert members(locked(message="held by nobody you know"), SHUT)["message"] == "held by nobody you know"
    assert members(locked(held=None, conflicts=(), message="busy"), SHUT)["message"] == "busy"
    only_conflicts = locked(held=None)
    assert members(only_conflicts, SHUT)["message"] == f"{PATH} is locked by another client and cannot be modified"


def test_contact_falls_to_the_owner_only_where_the_owner_may_be_told():
    contact_only = replace(SHUT, contact=True)
    assert "contact" not in members(locked(), contact_only)["actions"]
    assert "admin@example.com" in members(locked(AUDIT), contact_only)["actions"]["contact"]


@pytest.mark.parametrize("rendering", Rendering)
def test_the_token_of_a_bearer_lock_is_never_told(rendering):
    bearer = replace(ALICE, creator=None, details=Details(owner_info="alice"))
    refusal = locked(bearer)
    text = everything(render_refusal(refusal, rendering, OPEN))
    assert TOKEN not in text
    assert "alice" in text


@pytest.mark.parametrize("rendering", Rendering)
@pytest.mark.parametrize("condition", [Condition.LOCK_TOKEN_SUBMITTED, Condition.NO_CONFLICTING_LOCK, None])
def test_a_bare_423_tells_nothing_of_the_lock(rendering, condition):
    lock = replace(ALICE, key="/secret", creator="alice")
    refusal = locked(lock, condition=condition, hrefs=("/secret",), multistatus=True, may_break=True)
    rendered = render_refusal(refusal, rendering, BARE)
    text = everything(rendered)
    assert rendered.status == 423
    for secret in ("/secret", "alice", TOKEN, "X-Lock", "Lock-Token", "lock-token-submitted", "2026"):
        assert secret not in text
    assert f"{PATH} is locked" in text
    assert headers(rendered)["Retry-After"] == "840"


def test_a_bare_answer_of_another_kind_keeps_what_is_no_secret():
    refusal = Refusal(
        409, "no-such-lock", "Conflict", "not a lock of this URL", PATH, Condition.LOCK_TOKEN_MATCHES_REQUEST_URI
    )
    error = ET.fromstring(render_refusal(refusal, XML, BARE).body)
    assert [child.tag for child in error] == [
        "{DAV:}lock-token-matches-request-uri",
        "{urn:problem:locklib}message",
    ]
    assert error[1].text == "not a lock of this URL"


@pytest.mark.parametrize("rendering", Rendering)
def test_a_pending_lock_is_not_shown(rendering):
    pending = replace(ALICE, details=Details(pending=True))
    rendered = render_refusal(locked(pending, retry_after=1), rendering, OPEN)
    text = everything(rendered)
    for secret in ("alice", TOKEN, "X-Lock"):
        assert secret not in text
    assert headers(rendered)["Retry-After"] == "1"
    if rendering is JSON:
        assert json.loads(rendered.body)["suggestions"] == ["Try again later"]


def test_conflicts_leave_out_what_is_pending_and_stop_at_a_hundred():
    helds = tuple(Held(replace(ALICE, token=f"urn:uuid:{n}"), 60.0) for n in range(150))
    pending = Held(replace(ALICE, token="urn:uuid:p", details=Details(pending=True)), 60.0)
    conflicts = members(locked(conflicts=(pending, *helds)))["conflicts"]
    assert [one["token"] for one in conflicts] == [f"urn:uuid:{n}" for n in range(100)]


# --- a 423 to LOCK ---


@pytest.mark.parametrize("rendering", Rendering)
def test_a_423_to_lock_has_no_lock_token_header(rendering):
    rendered = render_refusal(locked(lock_request=True), rendering, OPEN)
    assert "Lock-Token" not in headers(rendered)
    assert headers(rendered)["X-Lock-Owner"] == "alice@example.com"
    assert "If header" not in rendered.body.decode()


def test_only_a_423_has_headers_of_the_lock():
    forbidden = replace(locked(), status=403, slug="forbidden", title="Forbidden", condition=None)
    told = headers(render_refusal(forbidden, JSON, OPEN))
    assert not {name for name in told if name.startswith(("X-Lock", "Lock-"))}


def test_members_in_the_way_are_a_207_for_dav_and_a_423_for_all_others():
    refusal = locked(multistatus=True, lock_request=True, condition=Condition.NO_CONFLICTING_LOCK)
    rendered = render_refusal(refusal, XML, OPEN)
    assert rendered.status == 207
    assert ET.fromstring(rendered.body).tag == "{DAV:}multistatus"
    assert not {name for name in headers(rendered) if name.startswith(("X-Lock", "Lock-"))}
    for rendering in (JSON, PROBLEM, HTML):
        assert render_refusal(refusal, rendering, OPEN).status == 423
    assert members(refusal)["conflicts"][0]["root"] == PATH


# --- locks without an end, and words for what is left ---


def test_a_lock_without_an_end_makes_no_promise():
    endless = replace(AUDIT, timeout=math.inf, expires_at=math.inf)
    refusal = locked(endless, math.inf, retry_after=None)
    rendered = render_refusal(refusal, JSON, OPEN)
    assert "Retry-After" not in headers(rendered)
    assert "X-Lock-Timeout" not in headers(rendered)
    body = json.loads(rendered.body)
    assert (body["retry_after"], body["time_remaining"]) == (None, None)
    lock = body["lock"]
    assert (lock["expires_at"], lock["timeout_seconds"], lock["expires_in_seconds"]) == (None, None, None)
    assert body["suggestions"] == ["Contact admin@example.com to release it"]
    assert body["actions"].keys() == {"contact"}
    assert b"Time left" not in render_refusal(refusal, HTML, OPEN).body


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (840, "14 minutes"),
        (3540, "59 minutes"),
        (3541, "1 hour"),
        (3600, "1 hour"),
        (3601, "1 hour 1 minute"),
        (7500, "2 hours 5 minutes"),
        (86_340, "23 hours 59 minutes"),
        (86_341, "1 day"),
        (90_001, "1 day 2 hours"),
        (172_800, "2 days"),
        (math.inf, None),
    ],
)
def test_time_left_in_words_is_rounded_up(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e15, -1e15, 1e300])
def test_an_instant_without_a_date_is_null(seconds):
    assert instant(seconds) is None
    lock = replace(ALICE, created_at=seconds, expires_at=seconds)
    told = lock_members(Held(lock, 1.0), OPEN)
    assert (told["created_at"], told["expires_at"]) == (None, None)


def test_an_instant_is_whole_seconds_and_the_end_is_not_told_too_early():
    told = lock_members(Held(replace(ALICE, created_at=AT_14_30 + 0.9, expires_at=AT_14_30 + 0.1), 1.0), OPEN)
    assert (told["created_at"], told["expires_at"]) == ("2026-01-18T14:30:00Z", "2026-01-18T14:30:01Z")


# --- a lock that ended under its holder ---

BROKEN = Tombstone(TOKEN, PATH, PATH, "bob", Ended.BROKEN, "alice", "left for the day", at=AT_14_30)


def failed(stone: Tombstone) -> Refusal:
    return Refusal(
        412, "precondition-failed", "Precondition Failed", "the If header does not hold", PATH, tombstone=stone
    )


@pytest.mark.parametrize("rendering", Rendering)
def test_a_412_tells_who_broke_the_lock_when_and_why(rendering):
    rendered = render_refusal(failed(BROKEN), rendering, OPEN)
    assert rendered.status == 412
    assert (
        f"the If header does not hold; the lock on {PATH} was broken by alice at 2026-01-18T14:30:00Z: left for the day"
        in rendered.body.decode()
    )


def test_it_tells_so_to_programs_too():
    assert members(failed(BROKEN))["ended"] == {
        "how": "broken",
        "root": PATH,
        "at": "2026-01-18T14:30:00Z",
        "by": "alice",
        "reason": "left for the day",
    }


def test_it_tells_what_may_be_told():
    body = members(failed(BROKEN), SHUT)
    assert (body["ended"]["by"], body["ended"]["reason"]) == (None, None)
    assert body["message"].endswith(f"the lock on {PATH} was broken at 2026-01-18T14:30:00Z")
    assert "ended" not in members(failed(BROKEN), BARE)


def test_a_lock_that_ran_out_has_nobody_to_blame():
    stone = replace(BROKEN, ended=Ended.EXPIRED, by=None, reason=None, at=math.inf)
    assert members(failed(stone))["message"].endswith(f"the lock on {PATH} has expired")
    assert ended_members(stone, OPEN)["at"] is None


# --- every other status of the table ---


@pytest.mark.parametrize("rendering", Rendering)
@pytest.mark.parametrize("status", [400, 401, 403, 409, 412, 413, 414, 415, 422, 423, 429, 502, 503, 507])
def test_every_status_is_told_in_every_rendering(status, rendering):
    refusal = Refusal(status, "some-slug", "Some Title", "what happened & why", PATH, retry_after=7)
    rendered = render_refusal(refusal, rendering, SHUT)
    assert rendered.status == status
    assert headers(rendered)["Retry-After"] == "7"
    assert headers(rendered)["Content-Type"] == rendering.value
    if rendering is XML:
        error = ET.fromstring(rendered.body)
        assert [child.tag for child in error] == ["{urn:problem:locklib}message"]
        assert error[0].text == "what happened & why"
    elif rendering is HTML:
        assert f"{status} Some Title" in rendered.body.decode()
        assert "what happened &amp; why" in rendered.body.decode()
    else:
        body = json.loads(rendered.body)
        assert (
            body.items()
            >= {
                "error": "Some Title",
                "message": "what happened & why",
                "status": status,
                "resource": PATH,
                "retry_after": 7,
            }.items()
        )
        assert "lock" not in body


def test_a_refusal_that_waiting_does_not_help_says_nothing_of_waiting():
    refusal = Refusal(400, "bad-request", "Bad Request", "no", PATH)
    assert members(refusal).keys() == {"error", "message", "status", "resource"}
    assert "Retry-After" not in headers(render_refusal(refusal, HTML, OPEN))


def test_lock_token_submitted_always_names_a_resource():
    """The element must hold at least one href (RFC 4918 section 16)."""
    error = ET.fromstring(render_refusal(locked(hrefs=()), XML, OPEN).body)
    assert error.findtext("D:lock-token-submitted/D:href", None, NS) == PATH


# --- which rendering ---


@pytest.mark.parametrize(
    ("accept", "with_dav", "without"),
    [
        (None, XML, JSON),
        ("*/*", XML, JSON),
        ("", XML, JSON),
        ("application/json", JSON, JSON),
        ("application/xml", XML, XML),
        ("text/xml", XML, XML),
        ("TEXT/HTML", HTML, HTML),
        ("application/problem+json", PROBLEM, PROBLEM),
        ("application/problem+json, application/json", PROBLEM, PROBLEM),
        ("application/json, application/problem+json;q=0.9", JSON, JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML, HTML),
        ("application/json, text/plain, */*", JSON, JSON),
        ("*/*, application/xml", XML, XML),
        ("*/*;q=0.5, text/html;q=0.4", XML, JSON),
        ("application/json;q=0.5, */*", XML, XML),
        ("application/json;q=0, */*", XML, XML),
        ("application/xml;q=0, text/xml;q=0, */*", JSON, JSON),
        ("application/*", XML, JSON),
        ("text/*", XML, HTML),
        ("text/*, text/html;q=0.1", XML, XML),
        ("text/*, text/html;q=0, text/xml;q=0", XML, JSON),
        ("image/png", XML, JSON),
        ("application/json;q=0", XML, JSON),
        ("text/html;q=0.2, application/json;q=0.3", JSON, JSON),
        ("text/html ; level=1 ; q=0.2 , application/json; q=0.1", HTML, HTML),
        ("text/html;q=x, application/json;q=0.9", HTML, HTML),
        ("text/html;q=nan, application/json", HTML, HTML),
        ("text/html;q=-1, application/json;q=0.9", HTML, HTML),
        ("text/html;q=٣, application/json;q=0.9", HTML, HTML),
        ("text/html;q=7, application/json", HTML, HTML),
        ("text/html;q=., application/json;q=0.9", HTML, HTML),
        (";;,,q=1;*/", XML, JSON),
        ("," * 100_000 + "text/html", XML, JSON),
    ],
)
def test_accept_decides(accept, with_dav, without):
    assert choose_rendering(accept, shows_dav=True) is with_dav
    assert choose_rendering(accept, shows_dav=False) is without


# --- the answers to LOCK ---


@pytest.mark.parametrize("refreshed", [False, True])
@pytest.mark.parametrize("rendering", Rendering)
def test_lock_token_stands_on_a_grant_and_not_on_a_refresh(rendering, refreshed):
    rendered = render_granted(Held(ALICE, 900.0), rendering, status=201, refreshed=refreshed)
    assert rendered.status == 201
    assert headers(rendered).get("Lock-Token") == (None if refreshed else f"<{TOKEN}>")
    assert headers(rendered)["Cache-Control"] == "no-store"
    assert headers(rendered)["Content-Type"] == (XML if rendering is XML else JSON).value


def test_a_grant_in_xml_is_the_lockdiscovery_with_the_own_lock_first():
    own = Held(replace(ALICE, scope=Scope.SHARED, details=Details(owner_info="Alice")), 900.0)
    other = Held(replace(own.lock, token="urn:uuid:other", creator="bob", details=Details(owner_info="Bob")), 60.0)
    bearer = Held(replace(other.lock, token="urn:uuid:bearer", creator=None), 60.0)
    pending = Held(replace(other.lock, token="urn:uuid:pending", details=Details(pending=True)), 60.0)

    def told(discovery: tuple[Held, ...], **disclosure: Disclosure) -> tuple[list[str | None], list[str | None]]:
        body = render_granted(own, XML, status=200, refreshed=False, discovery=discovery, **disclosure).body
        document = ET.fromstring(body)
        assert document.tag == "{DAV:}prop"
        active = document.findall("D:lockdiscovery/D:activelock", NS)
        tokens = [one.findtext("D:locktoken/D:href", None, NS) for one in active]
        return tokens, [one.findtext("D:owner", None, NS) for one in active]

    assert told(()) == ([TOKEN], ["Alice"])
    assert told((other, own, bearer, pending)) == ([TOKEN, None, None], ["Alice", None, None])
    assert told((other, own, bearer), disclosure=OPEN) == ([TOKEN, "urn:uuid:other", None], ["Alice", "Bob", "Bob"])
    assert told((other, own, bearer), disclosure=BARE) == ([TOKEN], ["Alice"])


def test_a_grant_in_json_tells_its_holder_everything():
    bearer = replace(ALICE, creator=None, details=Details(owner_info="me", reason="why", contact="x@example.com"))
    body = json.loads(render_granted(Held(bearer, 900.0), JSON, status=200, refreshed=False).body)
    assert body.keys() == {"status", "resource", "lock"}
    assert (body["status"], body["resource"]) == (200, PATH)
    lock = body["lock"]
    assert (lock["token"], lock["root"], lock["owner"]) == (TOKEN, PATH, "me")
    assert (lock["reason"], lock["contact"]) == ("why", "x@example.com")
    assert lock.keys() == members(locked())["lock"].keys()


def test_the_api_answers_in_the_same_schema():
    rendered = render_members(200, {"locks": [lock_members(Held(ALICE, 840.0), SHUT)]})
    assert (rendered.status, headers(rendered)["Content-Type"]) == (200, "application/json")
    assert json.loads(rendered.body)["locks"][0]["token"] is None
    assert refusal_members(locked(), OPEN) == members(locked())


# --- errors become refusals ---

ERRORS = {
    "bad field": (BadField("Depth", "7", "0 or infinity"), 400, "bad-field", "Depth: '7' is malformed"),
    "bad body": (BadLockInfo("not well-formed"), 400, "bad-body", "not well-formed"),
    "too large": (BodyTooLarge(65_536), 413, "body-too-large", "larger than 65536 bytes"),
    "unsupported": (UnsupportedBody("send XML"), 415, "unsupported-body", "send XML"),
    "unusable": (UnusableLockInfo("no such scope"), 422, "unusable-lockinfo", "no such scope"),
    "store": (StoreUnavailable("redis://:s3cret@10.0.0.7"), 503, "store-unavailable", "try again"),
    "settings": (ConfigurationError("password=s3cret"), 500, "configuration", "nothing was done"),
}


@pytest.mark.parametrize(("error", "status", "slug", "told"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_becomes_a_refusal(error, status, slug, told):
    refusal = refusal_from_error(error, PATH)
    assert (refusal.status, refusal.slug, refusal.resource) == (status, slug, PATH)
    assert told in refusal.message
    assert "s3cret" not in refusal.message
    assert refusal.retry_after == (1 if status == 503 else None)
    problem = json.loads(render_refusal(refusal, PROBLEM, SHUT).body)
    assert problem["type"] == PROBLEM_TYPE + slug
    assert problem["title"]


def test_a_refusal_raised_to_code_is_the_refusal_itself():
    assert refusal_from_error(LockRefused(locked()), "/else") == locked()


# --- the law of the modules ---


def test_the_modules_bring_in_no_parser_before_there_is_a_body():
    """What is dear is imported where it is used: the start of every process would pay for it (expat, json)."""
    program = (
        "import sys; import locklib.core.refusals, locklib.core.lockinfo;"
        "print(sorted({'json', 'pyexpat', 'xml', 'html', 'datetime'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert done.stdout.strip() == "[]"
