"""The 423 in its renderings, its headers, what is disclosed, and who is asking (docs/design.md, section 7)."""

from __future__ import annotations

from locklib.core.disclosing import Disclosure
from transcripts.apps import plain
from transcripts.player import AS_JSON, XML, Code, Do, Transcript, lockinfo
from transcripts.steps import code_lock, lock, still, unlocked

KIND = {
    "xml": "application/xml; charset=utf-8",
    "json": "application/json",
    "problem": "application/problem+json",
    "html": "text/html; charset=utf-8",
}

# What a request shows, and what it is answered in.
BY_ACCEPT = (
    ("no Accept", {}, "json"),
    ("*/*", {"Accept": "*/*"}, "json"),
    ("json", {"Accept": "application/json"}, "json"),
    ("problem", {"Accept": "application/problem+json"}, "problem"),
    ("a browser", {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "html"),
    ("xml", {"Accept": "text/xml"}, "xml"),
    ("the best q", {"Accept": "application/json;q=0.1, application/xml;q=0.5"}, "xml"),
    ("an If", {"If": "(Not <DAV:no-lock>)"}, "xml"),
    ("an XML body", {"Content-Type": "text/xml"}, "xml"),
    ("an XML body with a charset", {"Content-Type": "application/soap+xml; charset=utf-8"}, "xml"),
    (
        "an Office document",
        {"Content-Type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
        "json",
    ),
    ("a DAV agent", {"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0"}, "xml"),
    ("json though DAV", {"User-Agent": "davfs2/1.6", "Accept": "application/json"}, "json"),
    ("nothing that there is", {"Accept": "image/png"}, "json"),
)

TABLE = [
    Transcript(
        f"a 423 to {what} is {kind}",
        (
            lock("/docs/a", "t"),
            Do(
                "PUT",
                "/docs/a",
                fields,
                status=423,
                headers={
                    "Content-Type": KIND[kind],
                    "Cache-Control": "no-store",
                    "X-Content-Type-Options": "nosniff",
                    "Retry-After": "900",
                    "X-Lock-Timeout": "900",
                    "X-Lock-Type": "exclusive",
                },
            ),
        ),
    )
    for what, fields, kind in BY_ACCEPT
] + [
    Transcript(
        "the four renderings of one refusal",
        (
            lock("/docs/a", "t", owner="Alice &lt;b&gt;", who="alice"),
            Do(
                "PUT",
                "/docs/a",
                {"Accept": "text/xml"},
                who="bob",
                status=423,
                has=("<D:lock-token-submitted><D:href>/docs/a</D:href></D:lock-token-submitted>",),
            ),
            Do(
                "PUT",
                "/docs/a",
                {"Accept": "application/problem+json"},
                who="bob",
                status=423,
                json={
                    "type": "urn:problem:locklib:locked",
                    "title": "Locked",
                    "status": 423,
                    "instance": "/docs/a",
                    "lock.token": "{t}",
                    "lock.owner": "alice",
                    "resource": "/docs/a",
                    "error": "Locked",
                },
            ),
            Do(
                "PUT",
                "/docs/a",
                {"Accept": "text/html"},
                who="bob",
                status=423,
                has=("<html", "alice"),
                headers={"Content-Security-Policy": lambda value: "default-src 'none'" in value},
            ),
            Do(
                "PUT",
                "/docs/a",
                who="bob",
                status=423,
                headers={"Lock-Token": "<{t}>", "X-Lock-Owner": "alice"},
                json={
                    "conflicts#": 1,
                    "conflicts.0.token": "{t}",
                    "actions.contact": "Contact alice to release the lock",
                    "actions.force_unlock?": False,
                },
            ),
        ),
        known=True,
    ),
    Transcript(
        "values from people are encoded: an owner 日本 is a header and a member",
        (
            lock("/docs/a", "t", owner="日本"),
            Do(
                "PUT",
                "/docs/a",
                status=423,
                json={"lock.owner": "日本"},
                headers={"X-Lock-Owner": "%E6%97%A5%E6%9C%AC", "Lock-Token": None},
            ),
            Do("PUT", "/docs/a", {"Accept": "text/html"}, status=423, has=("日本",)),
        ),
    ),
    Transcript(
        "an owner with line breaks injects no header",
        (
            Do("LOCK", "/docs/a", AS_JSON, r'{"owner": "a\r\nSet-Cookie: x=1"}', status=200),
            Do(
                "PUT",
                "/docs/a",
                status=423,
                headers={"Set-Cookie": None, "X-Lock-Owner": lambda value: "\n" not in value},
            ),
        ),
    ),
    Transcript(
        "disclosure: the token where the creator opens the lock, nothing to who is not known",
        (
            lock("/docs/a", "t", who="alice"),
            Code(code_lock("/docs/b", "b", creator="alice", reason="why", contact="c@d", purpose="processing")),
            Do("PUT", "/docs/a", who="bob", status=423, headers={"Lock-Token": "<{t}>", "X-Lock-Owner": "alice"}),
            Do(
                "PUT",
                "/docs/a",
                status=423,
                headers={"Lock-Token": None, "X-Lock-Owner": None},
                lacks=("alice", "{t}"),
                json={"lock.owner": None, "lock.token": None, "lock.root": "/docs/a"},
            ),
            Do("PUT", "/docs/b", who="bob", status=423, json={"lock.reason": "why", "lock.contact": "c@d"}),
            Do("PUT", "/docs/b", status=423, json={"lock.reason": None, "lock.contact": None}),
        ),
        known=True,
    ),
    Transcript(
        "disclosure by policy, per principal and lock",
        (
            lock("/docs/a", "t", who="alice"),
            Do("PUT", "/docs/a", who="bob", status=423, lacks=("alice", "{t}"), headers={"Lock-Token": None}),
            Do("PUT", "/docs/a", who="carol", status=423, headers={"X-Lock-Owner": "alice", "Lock-Token": None}),
        ),
        {
            "disclosure": lambda principal, lock: Disclosure(
                token=False, owner=principal is not None and principal.name == "carol", reason=False, contact=False
            )
        },
        known=True,
    ),
    Transcript(
        "force_unlock is offered to who may break the lock",
        (
            lock("/docs/a", "t", who="alice"),
            Do("PUT", "/docs/a", who="bob", status=423, json={"actions.force_unlock?": False}),
            Do("PUT", "/docs/a", who="chief", status=423, json={"actions.force_unlock?": True}),
            Do("LOCK", "/docs/a", AS_JSON, "{}", who="chief", status=423, json={"actions.force_unlock?": True}),
        ),
        {"may_break": lambda principal, lock: principal is not None and principal.name == "chief"},
        known=True,
    ),
    Transcript(
        "bearer locks: the token alone opens, and is in no 423",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", status=423, headers={"Lock-Token": None}, lacks=("{t}",), json={"lock.token": None}),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204),
        ),
    ),
    Transcript(
        "anonymous LOCK: the application's 401, else 403",
        (
            Do("LOCK", "/docs/a", XML, lockinfo(), status=403, has=("the request has none",)),
            Code(
                lambda world: world.app.says.update(
                    {
                        ("HEAD", "/docs/a"): plain(
                            401, b"", ("WWW-Authenticate", 'Basic realm="app"'), ("Content-Length", "7")
                        )
                    }
                )
            ),
            Do(
                "LOCK",
                "/docs/a",
                XML,
                lockinfo(),
                status=401,
                has=(),
                headers={"WWW-Authenticate": 'Basic realm="app"', "Content-Length": "0", "Lock-Token": None},
            ),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<urn:x:y>"}, status=401),
            Code(unlocked),
        ),
        known=True,
    ),
    Transcript(
        "challenge= is the 401 where the application has none",
        (
            lock("/docs/a", "t", who="alice"),
            Do("LOCK", "/docs/b", XML, lockinfo(), status=401, headers={"WWW-Authenticate": 'Basic realm="locks"'}),
            Do(
                "UNLOCK",
                "/docs/a",
                {"Lock-Token": "<{t}>"},
                status=401,
                headers={"WWW-Authenticate": 'Basic realm="locks"'},
            ),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=401, headers={"WWW-Authenticate": 'Basic realm="locks"'}),
            Do("PUT", "/docs/a", status=423, headers={"WWW-Authenticate": None}),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="bob", status=423),
            Code(still(("/docs/a", "exclusive"))),
        ),
        {"challenge": 'Basic realm="locks"'},
        known=True,
    ),
    Transcript(
        "permission comes before lock state: the application's 401 and 403 go first",
        (
            lock("/docs/a", "t"),
            Code(lambda world: world.app.says.update({("HEAD", "/docs/a"): plain(403, b"")})),
            Do("PUT", "/docs/a", status=403, headers={"Retry-After": None, "Content-Length": "0"}),
            Do("PUT", "/docs/a", {"If": "(<urn:x:y>)"}, status=403),
            Do("LOCK", "/docs/a", XML, lockinfo(), status=403),
            Do("LOCK", "/docs", XML, lockinfo(), status=423, lacks=("/docs/a",)),  # a 207 would name the member (T14)
            Code(lambda world: world.app.says.update({("HEAD", "/docs/a"): plain(500)})),
            Do("PUT", "/docs/a", status=423),
        ),
    ),
    Transcript(
        "an application that raises on our question says nothing",
        (
            lock("/docs/a", "t"),
            Code(lambda world: world.app.says.update({("HEAD", "/docs/a"): _raises})),
            Do("PUT", "/docs/a", status=423),
        ),
    ),
    Transcript(
        "ask_application=False: no question, the lock state is told",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", status=423, calls=()),
            Do("LOCK", "/docs/b", XML, lockinfo(), status=200, calls=("HEAD /docs/b",)),
        ),
        {"ask_application": False},
    ),
    Transcript(
        "authorize= answers instead of the application",
        (
            lock("/docs/a", "t", who="alice"),
            Do("PUT", "/docs/a", who="bob", status=423, calls=()),
            Do("PUT", "/docs/a", who="eve", status=403, calls=()),
            Do("LOCK", "/docs/b", XML, lockinfo(), who="eve", status=403),
            # It is asked of the lock's place as well, before that is told.
            Do("DELETE", "/docs", who="bob", status=423, json={"lock.root": "/docs/a"}),
            Do("DELETE", "/docs", who="guest", status=423, lacks=("/docs/a", "alice"), json={"lock?": False}),
        ),
        {
            "authorize": lambda principal, method, path: (
                principal.name != "eve" and (principal.name != "guest" or path == "/docs")
            )
        },
        known=True,
    ),
    Transcript(
        "may_lock= is asked before a lock is granted",
        (
            Do("LOCK", "/docs/a", XML, lockinfo(), who="eve", status=403, has=("may not lock",)),
            Do("LOCK", "/docs/a", XML, lockinfo(), who="alice", status=200),
        ),
        {"may_lock": lambda principal, path: principal.name == "alice" and path == "/docs/a"},
        known=True,
    ),
    Transcript(
        "echo_token: Lock-Token on a write that a lock let in, and on no other",
        (
            lock("/docs/a", "t"),
            lock("/docs/b", "u"),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204, headers={"Lock-Token": "<{t}>"}),
            Do("PUT", "/docs/c", {"If": "</docs/b> (<{u}>)"}, status=201, headers={"Lock-Token": None}),
            Do("PUT", "/docs/d", status=201, headers={"Lock-Token": None}),
            Do("PUT", "/docs/a/b", {"If": "(<{t}>)"}, status=409, headers={"Lock-Token": None}),
            Do("GET", "/docs/a", {"If": "(<{t}>)"}, status=200, headers={"Lock-Token": "<{t}>"}),
        ),
        {"echo_token": True},
    ),
    Transcript(
        "the token is not echoed where it is not asked for",
        (lock("/docs/a", "t"), Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204, headers={"Lock-Token": None})),
    ),
]


def _raises(request: object) -> None:
    raise RuntimeError("the application is broken")
