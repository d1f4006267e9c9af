"""Locks of the three purposes beside each other (docs/design.md, section 5), who opens them, and guarded reads."""

from __future__ import annotations

import math

import pytest

from locklib.core.policy import Route
from locklib.errors import ConfigurationError, LockRefused
from transcripts.player import XML, Code, Do, Transcript, World, lockinfo
from transcripts.steps import code_lock, lock, released, still, unlocked

ADMIN = {"purpose": "administrative", "creator": "root", "roles": ("lock-bypass",)}
AUDIT = {**ADMIN, "reason": "Security audit in progress", "contact": "admin@example.com"}
SCAN = {"purpose": "processing", "creator": "scanner", "timeout": 30.0}


def refused(path: str, **asked: object):
    def run(world: World) -> None:
        with pytest.raises(LockRefused) as caught:
            world.locks.acquire(path, **asked)
        assert caught.value.refusal.status == 423

    return run


def misconfigured(path: str, words: str, **asked: object):
    def run(world: World) -> None:
        with pytest.raises(ConfigurationError, match=words):
            world.locks.acquire(path, **asked)

    return run


TABLE = [
    Transcript(
        "administrative is layered over a held write lock, and a write then needs both",
        (
            lock("/docs/a", "t", who="alice"),
            Code(code_lock("/docs", "audit", **AUDIT, timeout=3600.0)),
            Do(
                "PUT",
                "/docs/a",
                {"If": "(<{t}>)"},
                who="alice",
                status=423,
                headers={"X-Lock-Type": "administrative", "Retry-After": "3600"},
                has=("<D:href>/docs</D:href>",),
                lacks=("<D:href>/docs/a</D:href>",),
            ),
            Do("PUT", "/docs/a", who="root:lock-bypass", status=423, json={"lock.purpose": "write", "conflicts#": 1}),
            Do(
                "PUT",
                "/docs/a",
                who="bob",
                status=423,
                headers={"X-Lock-Type": "administrative"},
                json={
                    "conflicts#": 2,
                    "lock.type": "administrative",
                    "lock.reason": "Security audit in progress",
                    "lock.contact": "admin@example.com",
                },
            ),
            # Its own token opens an administrative lock to nobody.
            Do("PUT", "/docs/b", {"If": "</docs> (<{audit}>)"}, who="root", status=423),
            Do("PUT", "/docs/b", who="root:lock-bypass", status=204),
            Code(released("audit")),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="alice", status=204),
        ),
        known=True,
    ),
    Transcript(
        "refresh and UNLOCK of one's own lock stay possible under an administrative one",
        (
            lock("/docs/a", "t", who="alice"),
            Code(code_lock("/docs", "audit", **ADMIN)),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, who="alice", status=200),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, who="alice", status=204),
            Do("LOCK", "/docs/a", XML, lockinfo(), who="alice", status=423, has=("no-conflicting-lock",)),
            Do("LOCK", "/docs/a", XML, lockinfo(), who="root:lock-bypass", status=200),
        ),
        known=True,
    ),
    Transcript(
        "several administrative locks stand side by side, each lifted by itself",
        (
            Code(code_lock("/docs", "audit", **ADMIN)),
            Code(code_lock("/docs", "hold", **{**ADMIN, "creator": "law"})),
            Do("PUT", "/docs/a", who="alice", status=423, json={"conflicts#": 2}),
            Code(released("audit")),
            Do("PUT", "/docs/a", who="alice", status=423, json={"conflicts#": 1}),
            Code(released("hold")),
            Do("PUT", "/docs/a", who="alice", status=204),
            Code(unlocked),
        ),
        known=True,
    ),
    Transcript(
        "an administrative lock without end: no Retry-After, nothing to wait for",
        (
            Code(code_lock("/docs", "hold", **{**ADMIN, "timeout": math.inf})),
            Do(
                "PUT",
                "/docs/a",
                who="alice",
                status=423,
                headers={"Retry-After": None, "X-Lock-Timeout": None},
                json={
                    "lock.expires_at": None,
                    "lock.timeout_seconds": None,
                    "retry_after": None,
                    "time_remaining": None,
                    "actions.wait?": False,
                },
            ),
        ),
        known=True,
    ),
    Transcript(
        "who may bypass is policy: by role, or by may_bypass",
        (
            Code(code_lock("/docs", "hold", **{**ADMIN, "roles": ()})),
            Do("PUT", "/docs/a", who="root:lock-bypass", status=423),
            Do("PUT", "/docs/a", who="boss", status=204),
            Code(released("hold")),
        ),
        {"may_bypass": lambda principal: principal is not None and principal.name == "boss"},
        known=True,
    ),
    Transcript(
        "bypass_roles names the roles",
        (
            Code(code_lock("/docs", "hold", **ADMIN)),
            Do("PUT", "/docs/a", who="root:lock-bypass", status=423),
            Do("PUT", "/docs/a", who="x:auditor", status=204),
        ),
        {"bypass_roles": ["auditor"]},
        known=True,
    ),
    Transcript(
        "processing is refused over a write lock, unless its token is shown",
        (
            lock("/docs/a", "t", who="scanner"),
            Code(refused("/docs/a", **SCAN)),
            Code(lambda world: code_lock("/docs/a", "scan", **SCAN, tokens=(world.tokens["t"],))(world)),
            # Two purposes, so two tokens.
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="scanner", status=423, headers={"X-Lock-Type": "processing"}),
            Do("PUT", "/docs/a", {"If": "(<{t}> <{scan}>)"}, who="scanner", status=204),
        ),
        known=True,
    ),
    Transcript(
        "write asked over processing is refused",
        (
            Code(code_lock("/docs/a", "scan", **SCAN)),
            Do("LOCK", "/docs/a", XML, lockinfo(), who="alice", status=423, has=("no-conflicting-lock",)),
            Do(
                "PUT",
                "/docs/a",
                who="alice",
                status=423,
                headers={"X-Lock-Type": "processing", "Retry-After": "30"},
                has=("is being processed",),
            ),
            Do("PUT", "/docs/a", {"If": "(<{scan}>)"}, who="scanner", status=204),
            Code(still(("/docs/a", "exclusive"))),
        ),
        known=True,
    ),
    Transcript(
        "processing asked where an administrative lock is held needs the bypass role",
        (
            Code(code_lock("/docs", "audit", **ADMIN)),
            Code(refused("/docs/a", **SCAN)),
            Code(code_lock("/docs/a", "scan", **SCAN, roles=("lock-bypass",))),
            Code(refused("/docs/b", creator="alice")),
        ),
        known=True,
    ),
    Transcript(
        "processing beside processing: by scope",
        (
            Code(code_lock("/docs/a", "one", **SCAN, scope="shared")),
            Code(code_lock("/docs/a", "two", **{**SCAN, "creator": "other"}, scope="shared")),
            Code(refused("/docs/a", **SCAN)),
        ),
    ),
    Transcript(
        "blocks_reads: nobody opens the file while it is scanned, but the job itself",
        (
            Code(code_lock("/docs/a", "scan", **SCAN, blocks_reads=True)),
            Do("GET", "/docs/a", who="alice", status=423, has=("is being processed",), headers={"Retry-After": "30"}),
            Do("HEAD", "/docs/a", who="alice", status=423),
            Do("PROPFIND", "/docs/a", who="alice", status=207),
            Do("GET", "/docs/a", {"If": "(<{scan}>)"}, who="scanner", status=200),
            Do("GET", "/docs/b", who="alice", status=200),
            lock("/docs/b", "t", who="alice"),
            Do("GET", "/docs/b", who="bob", status=200),
        ),
        {"routes": [Route("/docs", reads=True)]},
        known=True,
    ),
    Transcript(
        "blocks_reads is refused where reads are never looked up, and for write locks",
        (
            Code(misconfigured("/docs/a", "no route guards reads", **SCAN, blocks_reads=True)),
            Code(misconfigured("/docs/a", "never blocks reads", blocks_reads=True)),
            Code(misconfigured("/docs/a", "above 0", timeout=0)),
            Code(misconfigured("/docs/a", "above 0", timeout=math.nan)),
            Code(unlocked),
        ),
    ),
]
