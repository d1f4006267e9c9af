"""The article that the project comes from: what each of its examples tells is told by our one schema."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from transcripts.player import XML, After, Code, Do, Transcript, play
from transcripts.steps import code_lock, released

pytestmark = pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")

REPORT = "/documents/quarterly-report.docx"
FILES = {"/documents": None, REPORT: b"Q4", "/documents/report.docx": b"draft", "/files": None, "/files/1": b"1"}
ALICE, BOB, ADMIN = "alice@example.com", "bob@example.com", "admin@example.com"
LOCKINFO = """<?xml version="1.0" encoding="utf-8" ?>
<D:lockinfo xmlns:D="DAV:">
  <D:lockscope><D:exclusive/></D:lockscope>
  <D:locktype><D:write/></D:locktype>
  <D:owner>alice@example.com</D:owner>
</D:lockinfo>"""
WORD = {"Content-Type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}
AS_JSON = {"Accept": "application/json"}


def alice_locks(path: str, timeout: str = "Second-900", **more: Any) -> Do:
    fields = {"Content-Type": "text/xml", "Depth": "0", "Timeout": timeout}
    return Do("LOCK", path, fields, LOCKINFO, ALICE, saves="t", **more)


ARTICLE = [
    Transcript(
        "basic WebDAV lock",
        (
            alice_locks("/documents/report.docx"),
            Do(
                "PUT",
                "/documents/report.docx",
                {"User-Agent": "davfs2"},
                who=BOB,
                status=423,
                headers={"Content-Type": "application/xml; charset=utf-8", "Lock-Token": "<{t}>"},
                has=("<D:lock-token-submitted><D:href>/documents/report.docx</D:href></D:lock-token-submitted>",),
            ),
        ),
    ),
    Transcript(
        "with lock information",
        (
            alice_locks("/documents/report.docx"),
            Do(
                "PUT",
                "/documents/report.docx",
                AS_JSON,
                who=BOB,
                status=423,
                headers={
                    "Content-Type": "application/json",
                    "Lock-Token": "<{t}>",
                    "X-Lock-Owner": ALICE,
                    "X-Lock-Timeout": "900",
                },
                json={
                    "error": "Locked",
                    "lock.token": "{t}",
                    "lock.owner": ALICE,
                    "lock.type": "exclusive",
                    "lock.created_at": "2026-01-18T14:30:00Z",
                    "lock.timeout_seconds": 900,
                    "lock.expires_at": "2026-01-18T14:45:00Z",
                    "message": "/documents/report.docx is locked and cannot be modified without its lock token",
                    "suggestions.0": "Wait for the lock to expire in 15 minutes",
                    "suggestions.1": "Contact alice@example.com to release it",
                },
            ),
        ),
    ),
    Transcript(
        "administrative lock",
        (
            Code(
                code_lock(
                    "/documents/report.docx",
                    "audit",
                    purpose="administrative",
                    creator=ADMIN,
                    reason="Security audit in progress",
                    contact=ADMIN,
                    timeout=3.5 * 3600,
                )
            ),
            Do(
                "PUT",
                "/documents/report.docx",
                who=BOB,
                status=423,
                headers={"X-Lock-Type": "administrative", "Retry-After": "3600"},
                json={
                    "error": "Locked",
                    "message": "/documents/report.docx is locked for administrative purposes",
                    "lock.type": "administrative",
                    "lock.purpose": "administrative",
                    "lock.reason": "Security audit in progress",
                    "lock.expires_at": "2026-01-18T18:00:00Z",
                    "lock.contact": ADMIN,
                    "time_remaining": "3 hours 30 minutes",
                },
            ),
        ),
    ),
    Transcript(
        "processing lock: temporary, while the file is scanned",
        (
            Code(
                code_lock(
                    "/documents/report.docx",
                    "scan",
                    purpose="processing",
                    creator="scanner",
                    timeout=30.0,
                    reason="virus scan",
                )
            ),
            Do(
                "PUT",
                "/documents/report.docx",
                who=BOB,
                status=423,
                headers={"X-Lock-Type": "processing", "Retry-After": "30"},
                json={
                    "lock.reason": "virus scan",
                    "message": "/documents/report.docx is being processed and cannot be modified yet",
                },
            ),
            Code(released("scan")),
            Do("PUT", "/documents/report.docx", who=BOB, status=204),
        ),
    ),
    Transcript(
        "the real-world example: Alice locks, Bob is refused, the token opens",
        (
            alice_locks(
                REPORT,
                headers={"Lock-Token": "<{t}>", "Content-Type": "application/xml; charset=utf-8"},
                has=(
                    "<D:locktoken><D:href>{t}</D:href></D:locktoken>",
                    "<D:timeout>Second-900</D:timeout>",
                    "alice@example.com",
                ),
            ),
            After(60),
            Do(
                "PUT",
                REPORT,
                WORD,
                b"Bob's text",
                BOB,
                status=423,
                headers={"Content-Type": "application/json", "Lock-Token": "<{t}>", "X-Lock-Owner": ALICE},
                calls=(f"HEAD {REPORT}",),
                json={
                    "status": 423,
                    "error": "Locked",
                    "resource": REPORT,
                    "lock.token": "{t}",
                    "lock.owner": ALICE,
                    "lock.created_at": "2026-01-18T14:30:00Z",
                    "lock.expires_at": "2026-01-18T14:45:00Z",
                    "time_remaining": "14 minutes",
                    "actions.wait": "Wait 14 minutes for the lock to expire",
                    "actions.contact": "Contact alice@example.com to release the lock",
                    "actions.force_unlock?": False,
                },
            ),
            # "Admins can force unlock": only who may is told so.
            Do("PUT", REPORT, WORD, b"", f"{ADMIN}:admin", status=423, json={"actions.force_unlock?": True}),
            Do(
                "PUT",
                REPORT,
                {**WORD, "If": "(<{t}>)"},
                b"Alice's text",
                ALICE,
                status=204,
                headers={"Lock-Token": "<{t}>"},
            ),
            Code(lambda world: world.app.files[REPORT] == b"Alice's text"),
        ),
        {"echo_token": True, "may_break": lambda who, lock: who is not None and "admin" in who.roles},
    ),
    Transcript(
        "423 is never used for a missing permission",
        (
            Code(lambda world: world.app.says.update({("HEAD", REPORT): _forbidden(), ("PUT", REPORT): _forbidden()})),
            Do("PUT", REPORT, who=BOB, status=403, headers={"Retry-After": None}),
            Code(code_lock(REPORT, "t", creator=ALICE)),
            Do("PUT", REPORT, who=BOB, status=403, headers={"Retry-After": None, "X-Lock-Owner": None}, lacks=(ALICE,)),
        ),
    ),
    Transcript(
        "a lock always has a timeout: closing the browser does not lock for ever",
        (
            alice_locks(REPORT, "Infinite", has=("<D:timeout>Second-86400</D:timeout>",)),
            After(86_400),
            Do("PUT", REPORT, who=BOB, status=204),
        ),
    ),
    Transcript(
        "correct usage with full information",
        (
            alice_locks(REPORT),
            Do(
                "PUT",
                REPORT,
                who=BOB,
                status=423,
                headers={"Retry-After": "900", "Lock-Token": "<{t}>"},
                json={
                    "error": "Locked",
                    "lock.owner": ALICE,
                    "lock.expires_at": "2026-01-18T14:45:00Z",
                    "retry_after": 900,
                },
            ),
        ),
    ),
    Transcript(
        "always include lock details",
        (
            alice_locks("/documents/report.docx", "Second-600"),
            Do(
                "PUT",
                "/documents/report.docx",
                who=BOB,
                status=423,
                headers={"Lock-Token": "<{t}>", "X-Lock-Owner": ALICE, "Retry-After": "600"},
                json={
                    "lock.token": "{t}",
                    "lock.owner": ALICE,
                    "lock.type": "exclusive",
                    "lock.purpose": "write",
                    "lock.scope": "exclusive",
                    "lock.created_at": "2026-01-18T14:30:00Z",
                    "lock.expires_at": "2026-01-18T14:40:00Z",
                    "lock.timeout_seconds": 600,
                    "lock.expires_in_seconds": 600,
                    "suggestions": [
                        "Wait for the lock to expire in 10 minutes",
                        "Contact alice@example.com to release it",
                        "Try again after it has expired",
                        "If the lock is yours, send its token in an If header",
                    ],
                },
            ),
        ),
    ),
    Transcript(
        "the Express example: LOCK, then PUT with the token, PUT after expiry",
        (
            Do(
                "LOCK",
                "/files/1",
                {"Timeout": "Second-900"},
                '{"owner": "user@example.com"}',
                ALICE,
                saves="t",
                json={"lock.token": "{t}", "lock.expires_at": "2026-01-18T14:45:00Z"},
            ),
            Do("LOCK", "/files/1", {}, "{}", BOB, status=423, headers={"Lock-Token": None}),
            Do("PUT", "/files/1", {"If": "(<{t}>)"}, b"new", ALICE, status=204),
            Do("PUT", "/files/1", AS_JSON, b"other", BOB, status=423, json={"lock.owner": ALICE}),
            After(901),
            Do("PUT", "/files/1", {}, b"other", BOB, status=204),
        ),
    ),
    Transcript(
        "creating, refreshing, unlocking",
        (
            alice_locks("/documents/report.docx", "Second-3600", has=("<D:timeout>Second-3600</D:timeout>",)),
            Do(
                "LOCK",
                "/documents/report.docx",
                {"If": "(<{t}>)", "Timeout": "Second-1800"},
                who=ALICE,
                headers={"Lock-Token": None},
                has=("<D:timeout>Second-1800</D:timeout>",),
            ),
            Do("UNLOCK", "/documents/report.docx", {"Lock-Token": "<{t}>"}, who=ALICE, status=204),
            Do("PUT", "/documents/report.docx", who=BOB, status=204),
        ),
    ),
    Transcript(
        "the table of lock types: shared holders read, others get 423",
        (
            Do("LOCK", REPORT, XML, LOCKINFO.replace("exclusive", "shared"), ALICE, saves="t"),
            Do("LOCK", REPORT, XML, LOCKINFO.replace("exclusive", "shared"), BOB, saves="u"),
            Do("GET", REPORT, who="eve", status=200),
            Do("PUT", REPORT, who="eve", status=423, json={"lock.type": "shared", "conflicts#": 2}),
        ),
    ),
]


def _forbidden() -> Any:
    from transcripts.apps import plain

    return plain(403, b"You don't have permission to access this resource")


@pytest.mark.parametrize("transcript", ARTICLE, ids=lambda transcript: transcript.name)
def test_article(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Transcript(transcript.name, transcript.steps, transcript.settings, FILES, known=True)
    play(told, monkeypatch)


MEMBERS = {"error", "message", "status", "resource", "lock", "conflicts", "retry_after", "time_remaining",
           "suggestions", "actions"}  # fmt: skip
LOCK_MEMBERS = {"token", "root", "owner", "type", "scope", "depth", "purpose", "created_at", "expires_at",
                "timeout_seconds", "expires_in_seconds", "reason", "contact"}  # fmt: skip


@pytest.mark.parametrize("timeout", [600.0, math.inf])
def test_one_schema_for_every_423(timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The article's examples disagree among themselves (lock, lock_details, details); ours has one shape for all."""
    seen: list[Any] = []

    def keep(headers: str | None) -> bool:
        return headers is not None

    def look(world: Any) -> None:
        headers = [("Host", "testserver"), ("X-Who", BOB)]
        seen.append(json.loads(world.exchange(Do("PUT", "/files/1"), headers, b"").body))

    lock = Code(code_lock("/files/1", "t", purpose="administrative", creator=ADMIN, timeout=timeout))
    expected = {"Content-Type": keep}
    steps = (lock, Code(look), Do("PUT", "/files/1", who=BOB, status=423, headers=expected))
    play(Transcript("schema", steps, files=FILES, known=True), monkeypatch)
    for body in seen:
        assert set(body) == MEMBERS
        assert set(body["lock"]) == set(body["conflicts"][0]) == LOCK_MEMBERS
    assert seen[0] == seen[1]


def test_the_xml_of_a_lock_answer_is_the_articles(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[bytes] = []

    def look(world: Any) -> None:
        headers = [("Host", "testserver"), ("X-Who", ALICE), ("Content-Length", str(len(LOCKINFO)))]
        bodies.append(world.exchange(Do("LOCK", "/files/1"), headers, LOCKINFO.encode()).body)

    play(Transcript("xml", (Code(look),), files=FILES, known=True), monkeypatch)
    assert bodies[0] == bodies[1]
    found = ET.fromstring(bodies[0]).find("{DAV:}lockdiscovery/{DAV:}activelock")
    assert found is not None
    assert found.findtext("{DAV:}timeout") == "Second-900"
    assert found.findtext("{DAV:}owner") == ALICE
    assert found.findtext("{DAV:}locktoken/{DAV:}href") == "urn:uuid:00000000-0000-4000-8000-000000000001"
