"""LOCK, refresh and UNLOCK (RFC 4918 sections 6, 9.10, 9.11, 10.2, 10.7), and what is answered to each mistake."""

from __future__ import annotations

from threading import Timer

from locklib.core.model import Fact, Permit
from locklib.core.policy import Timeouts
from transcripts.apps import plain
from transcripts.player import AS_JSON, XML, After, Code, Do, Transcript, lockinfo
from transcripts.steps import code_lock, lock, still, unlocked

INFO = lockinfo()
DAV = {"dav": True}


def bad_lock(name: str, status: int, send: dict[str, str], body: str | bytes = INFO, **more: object) -> Transcript:
    """A LOCK that changes nothing."""
    steps = (Do("LOCK", "/docs/a", send, body, status=status, headers={"Lock-Token": None}, **more), Code(unlocked))
    return Transcript(name, steps)


MALFORMED = [
    bad_lock("LOCK with a malformed If", 400, {**XML, "If": "(<no>"}),
    bad_lock("LOCK with an empty list in If", 400, {**XML, "If": "()"}),
    bad_lock("LOCK with Depth 1", 400, {**XML, "Depth": "1"}, has=("Depth",)),
    bad_lock("LOCK with ill-formed XML", 400, XML, "<D:lockinfo"),
    bad_lock("LOCK with a DOCTYPE", 400, XML, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
    bad_lock("LOCK with ill-formed JSON", 400, AS_JSON, "{"),
    bad_lock("LOCK in a type that is neither XML nor JSON", 415, {"Content-Type": "text/csv"}, "{}"),
    bad_lock("LOCK without Content-Type that begins as nothing known", 415, {}, "scope=exclusive"),
    bad_lock("LOCK with an unusable scope", 422, XML, INFO.replace("exclusive", "local")),
    bad_lock("LOCK with an unusable type", 422, XML, INFO.replace("D:write", "D:read")),
    bad_lock("LOCK with another root element", 422, XML, "<D:prop xmlns:D='DAV:'/>"),
    bad_lock("LOCK with a body over its limit", 413, XML, b"<a>" + b" " * 70_000),
    bad_lock("LOCK without body and without If", 400, {}, b"", has=("lockinfo",)),
    bad_lock("LOCK with white space for a body and without If", 400, XML, b" \r\n"),
    bad_lock("LOCK of a path that can be read as more than one", 400, {**XML, "Depth": "0"}),
]
MALFORMED[-1] = Transcript(
    MALFORMED[-1].name,
    (Do("LOCK", "/docs/a%00", XML, INFO, status=400, has=("more than one resource",)), Code(unlocked)),
)

DEPTH = [
    Transcript(
        f"Depth {header!r} on LOCK is {depth}",
        (
            Do(
                "LOCK",
                "/docs",
                {**XML, **({} if header is None else {"Depth": header})},
                INFO,
                status=200,
                has=(f"<D:depth>{depth}</D:depth>",),
            ),
            Do("PUT", "/docs/a", status=423 if depth == "infinity" else 204),
        ),
    )
    for header, depth in ((None, "infinity"), ("infinity", "infinity"), ("Infinity", "infinity"), ("0", "0"))
]

TIMEOUT = [
    Transcript(
        f"Timeout {header!r} grants {granted}",
        (
            Do(
                "LOCK",
                "/docs/a",
                {**XML, **({} if header is None else {"Timeout": header})},
                INFO,
                status=200,
                has=(f"<D:timeout>Second-{granted}</D:timeout>",),
                saves="t",
            ),
            Do(
                "LOCK",
                "/docs/a",
                {"If": "(<{t}>)", **({} if header is None else {"Timeout": header})},
                status=200,
                has=(f"<D:timeout>Second-{granted}</D:timeout>",),
            ),
        ),
    )
    for header, granted in (
        (None, 900),
        ("Second-60", 60),
        ("Infinite", 86400),
        ("Infinite, Second-4100000000", 86400),
        ("Second-4294967296", 86400),
        ("Second-0", 1),
        ("nonsense", 900),
        ("Extend=x, second-30", 30),
        ("Second--5, Second-20", 20),
        ("", 900),
    )
]
TIMEOUT += [
    Transcript(
        "the bounds of a timeout are policy",
        (
            Do("LOCK", "/docs/a", {**XML, "Timeout": "Second-5"}, INFO, has=("<D:timeout>Second-60<",), saves="t"),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, has=("<D:timeout>Second-120<",)),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)", "Timeout": "Infinite"}, has=("<D:timeout>Second-300<",)),
        ),
        {"timeouts": Timeouts(60, 120, 300)},
    ),
    Transcript(
        "answers state whole seconds, rounded up, and a live lock never says 0",
        (
            lock("/docs/a", "t", timeout="Second-10"),
            After(9.75),
            Do(
                "PUT",
                "/docs/a",
                status=423,
                headers={"Retry-After": "1"},
                json={"lock.expires_in_seconds": 1, "retry_after": 1, "time_remaining": "1 second"},
            ),
        ),
    ),
]

CREATE = [
    Transcript(
        "LOCK of a mapped URL: 200, in XML",
        (
            Do(
                "LOCK",
                "/docs/a",
                {**XML, "Depth": "0", "Timeout": "Second-60"},
                lockinfo("shared", "<D:href>mailto:a@b</D:href>"),
                status=200,
                saves="t",
                headers={"Content-Type": "application/xml; charset=utf-8", "Cache-Control": "no-store"},
                has=(
                    "<D:shared/>",
                    "<D:depth>0</D:depth>",
                    "mailto:a@b",
                    "<D:timeout>Second-60</D:timeout>",
                    "<D:href>{t}</D:href>",
                    "<D:lockroot><D:href>/docs/a</D:href>",
                ),
                calls=("HEAD /docs/a",),
            ),
        ),
    ),
    Transcript(
        "LOCK without dav in JSON: an unmapped URL is reserved, nothing is created",
        (
            Do(
                "LOCK",
                "/docs/new",
                AS_JSON,
                '{"scope": "shared", "depth": 0, "owner": "Alice", "timeout": 30}',
                status=201,
                saves="t",
                json={
                    "lock.owner": "Alice",
                    "lock.token": "{t}",
                    "lock.scope": "shared",
                    "lock.depth": "0",
                    "lock.timeout_seconds": 30,
                    "status": 201,
                },
                calls=("HEAD /docs/new", "HEAD /docs/new"),
            ),
            Do("GET", "/docs/new", status=404),
            Do("PUT", "/docs/new", status=423),
            Do("PUT", "/docs/new", {"If": "(<{t}>)"}, status=201),
        ),
    ),
    Transcript(
        "a LOCK body without Content-Type is told by its first byte",
        (
            Do("LOCK", "/docs/a", {"Depth": "0"}, INFO, headers={"Content-Type": "application/xml; charset=utf-8"}),
            Do(
                "LOCK",
                "/docs/b",
                {"Depth": "0", "Accept": "application/json"},
                INFO,
                headers={"Content-Type": "application/json"},
            ),
            Do(
                "LOCK",
                "/docs",
                {"Depth": "0"},
                "{}",
                headers={"Content-Type": "application/json"},
                json={"lock.depth": "0"},
            ),
        ),
    ),
    Transcript(
        "in a JSON LOCK the fields go before the members",
        (
            Do(
                "LOCK",
                "/docs/a",
                {**AS_JSON, "Depth": "0", "Timeout": "Second-7"},
                '{"depth": "infinity", "timeout": 99}',
                json={"lock.depth": "0", "lock.timeout_seconds": 7},
            ),
        ),
    ),
    Transcript(
        "unknown elements in a lockinfo are ignored",
        (Do("LOCK", "/docs/a", XML, INFO.replace("<D:locktype>", "<x:new xmlns:x='urn:x'>1</x:new><D:locktype>")),),
    ),
    Transcript(
        "bodyless_lock: a LOCK without body and without If is an exclusive lock",
        (
            Do("LOCK", "/docs/a", XML, b" ", status=200, saves="t", has=("<D:exclusive/>",)),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, status=200, headers={"Lock-Token": None}),
            Do("LOCK", "/docs/b", {}, status=200, json={"lock.scope": "exclusive"}),
        ),
        {"bodyless_lock": True},
    ),
    Transcript(
        "create or refresh is decided by the body, never by If",
        (
            lock("/docs/a", "t", scope="shared"),
            Do("LOCK", "/docs/a", {**XML, "If": "(<{t}>)"}, lockinfo("shared"), saves="u"),
            Code(lambda world: world.tokens["t"] != world.tokens["u"]),
            Code(still(("/docs/a", "shared"), ("/docs/a", "shared"))),
        ),
    ),
    Transcript(
        "If on a LOCK that creates is evaluated first",
        (
            Do("LOCK", "/docs/a", {**XML, "If": "(<urn:x:y>)"}, INFO, status=412),
            Do("LOCK", "/docs/a", {**XML, "If": '(["no"])'}, INFO, status=412),
            Code(unlocked),
            Do("LOCK", "/docs/a", {**XML, "If": '(["e8b7be43"])'}, INFO, status=200),
        ),
    ),
    Transcript(
        "with dav a LOCK of an unmapped URL makes an empty resource",
        (
            Do(
                "LOCK",
                "/docs/new",
                XML,
                INFO,
                status=201,
                saves="t",
                calls=("HEAD /docs/new", "HEAD /docs/new", "PUT /docs/new"),
                sees=lambda request: request.headers["if-none-match"] == "*" and request.body == b"",
            ),
            Do("GET", "/docs/new", status=200),
            Code(still(("/docs/new", "exclusive"))),
        ),
        DAV,
    ),
    Transcript(
        "with dav a missing parent is the application's 409, and the lock is dropped",
        (
            Do(
                "LOCK",
                "/no/new",
                XML,
                INFO,
                status=409,
                has=("no such collection",),
                headers={"Content-Length": "18", "Lock-Token": None},
            ),
            Code(unlocked),
        ),
        DAV,
    ),
    Transcript(
        "with dav a failure too long to keep is passed on without its body",
        (
            Code(lambda world: world.app.says.update({("PUT", "/docs/new"): plain(500, b"x" * 70_000)})),
            Do("LOCK", "/docs/new", XML, INFO, status=500, headers={"Content-Length": "0"}),
            Code(unlocked),
        ),
        DAV,
    ),
    Transcript(
        "with dav somebody else's PUT that came first is a mapped URL",
        (
            Code(lambda world: world.app.says.update({("PUT", "/docs/new"): plain(412)})),
            Do("LOCK", "/docs/new", XML, INFO, status=200, saves="t"),
            Code(still(("/docs/new", "exclusive"))),
        ),
        DAV,
    ),
    Transcript(
        "with dav a URL of which nothing is known is locked, and nothing is made",
        (
            Code(
                lambda world: world.app.says.update(
                    {(method, "/docs/new"): plain(500) for method in ("HEAD", "PROPFIND")}
                )
            ),
            Do(
                "LOCK",
                "/docs/new",
                XML,
                INFO,
                status=200,
                calls=("HEAD /docs/new", "HEAD /docs/new", "PROPFIND /docs/new"),
            ),
        ),
        DAV,
    ),
    Transcript(
        "with dav a URL that vanishes before the grant is made anew",
        (
            Code(lambda world: world.app.says.update({("HEAD", "/docs/new"): [plain(200)]})),
            Do("LOCK", "/docs/new", XML, INFO, status=201, calls=("HEAD /docs/new", "HEAD /docs/new", "PUT /docs/new")),
        ),
        DAV,
    ),
    Transcript(
        "an application that knows no HEAD is asked with GET",
        (
            Code(lambda world: world.app.says.update({("HEAD", "*"): plain(405)})),
            Do("LOCK", "/docs/new", XML, INFO, status=201, calls=("HEAD /docs/new", "GET /docs/new") * 2),
            Do("LOCK", "/docs/a", XML, INFO, status=200, calls=("HEAD /docs/a", "GET /docs/a")),
        ),
    ),
    Transcript(
        "resources= tells of URLs instead of the application",
        (
            Do("LOCK", "/docs/new", XML, INFO, status=201, calls=()),
            Do("LOCK", "/docs/a", XML, INFO, status=200, calls=()),
            Do("LOCK", "/docs/b", {**XML, "If": '(["tag"])'}, INFO, status=200, calls=()),
        ),
        {"resources": lambda path: Fact(path != "/docs/new", etag='"tag"'), "ask_application": False},
    ),
    Transcript(
        "the modes fence and check grant at once",
        (
            Do("LOCK", "/fence/a", XML, INFO, status=201, saves="f"),
            Do("LOCK", "/check/a", XML, INFO, status=201, saves="c"),
            Do("PUT", "/fence/a", status=423),
            Do("PUT", "/check/a", status=423),
            Do("PUT", "/fence/a", {"If": "(<{f}>)"}, status=409, sees=lambda request: request.state.fence > 0),
        ),
        {"routes": [("/fence", "fence"), ("/check", "check")]},
    ),
    Transcript(
        "a LOCK waits for an older writer, and gives up",
        (
            Code(lambda world: world.inner.permits.publish(_permit())),
            Do(
                "LOCK",
                "/docs/a",
                XML,
                INFO,
                status=423,
                headers={"Retry-After": "1", "Lock-Token": None},
                has=("no-conflicting-lock", "still writing"),
            ),
            Code(unlocked),
            Code(lambda world: world.inner.permits.end(_permit())),
            Do("LOCK", "/docs/a", XML, INFO, status=200),
        ),
        {"hold_wait": 0.01},
    ),
    Transcript(
        "a LOCK waits for an older writer, who ends",
        (
            Code(lambda world: world.inner.permits.publish(_permit())),
            Code(lambda world: Timer(0.03, world.inner.permits.end, (_permit(),)).start()),
            Do("LOCK", "/docs/a", XML, INFO, status=200),
            Code(lambda world: world.inner.permits.live(("older",)) == frozenset()),
        ),
        {"hold_wait": 30.0},
    ),
    Transcript(
        "a pending lock that ran out while its URL was asked for is not granted",
        (
            Code(
                lambda world: world.app.says.update(
                    {("HEAD", "/docs/new"): [plain(404), lambda request: (world.clock.advance(100.0), plain(404))[1]]}
                )
            ),
            Do("LOCK", "/docs/new", XML, INFO, status=423, headers={"Retry-After": "1"}),
            Code(unlocked),
        ),
    ),
]


def _permit() -> Permit:
    return Permit("older", "", ("/docs/a",), (), (), (), None)


CONFLICTS = [
    Transcript(
        f"{asked} over {held} on the same URL: {'granted' if granted else 'refused'}",
        (
            lock("/docs/a", "t", scope=held),
            Do(
                "LOCK",
                "/docs/a",
                XML,
                lockinfo(asked),
                status=200 if granted else 423,
                has=() if granted else ("<D:no-conflicting-lock><D:href>/docs/a</D:href>",),
                headers={} if granted else {"Lock-Token": None, "Retry-After": "900"},
            ),
        ),
    )
    for held, asked, granted in (
        ("exclusive", "exclusive", False),
        ("exclusive", "shared", False),
        ("shared", "exclusive", False),
        ("shared", "shared", True),
    )
]
CONFLICTS += [
    Transcript(
        "LOCK meets an inherited lock: 423 with that lock's root",
        (
            lock("/docs", "t"),
            Do("LOCK", "/docs/a", XML, INFO, status=423, has=("<D:no-conflicting-lock><D:href>/docs</D:href>",)),
        ),
    ),
    Transcript(
        "a depth 0 lock on the parent is no conflict, but making a member needs its token",
        (
            lock("/docs", "t", depth="0"),
            Do("LOCK", "/docs/a", XML, INFO, status=200),
            Do(
                "LOCK",
                "/docs/new",
                XML,
                INFO,
                status=423,
                has=("<D:lock-token-submitted><D:href>/docs</D:href>",),
                headers={"Lock-Token": None},
            ),
            Do("LOCK", "/docs/new", {**XML, "If": "</docs> (<{t}>)"}, INFO, status=201),
        ),
    ),
    Transcript(
        "LOCK depth infinity meets a member: 207 in XML, 423 in JSON",
        (
            lock("/docs/a", "t"),
            Do(
                "LOCK",
                "/docs",
                XML,
                INFO,
                status=207,
                headers={"Lock-Token": None},
                has=(
                    "<D:href>/docs/a</D:href><D:status>HTTP/1.1 423 Locked</D:status>",
                    "<D:href>/docs</D:href><D:status>HTTP/1.1 424 Failed Dependency</D:status>",
                    "<D:error><D:no-conflicting-lock>",
                ),
            ),
            Do(
                "LOCK",
                "/docs",
                AS_JSON,
                "{}",
                status=423,
                headers={"Lock-Token": None},
                json={"conflicts#": 1, "conflicts.0.root": "/docs/a"},
            ),
            Do("LOCK", "/docs", {**XML, "Depth": "0"}, INFO, status=200),
        ),
    ),
    Transcript(
        "LOCK depth infinity beside many shared members: all of them are seen before it is granted",
        (
            *(Code(code_lock(f"/docs/m{n}", f"t{n}", scope="shared")) for n in range(130)),
            Do("LOCK", "/docs", XML, lockinfo("shared"), status=200, saves="d"),
            Do("UNLOCK", "/docs", {"Lock-Token": "<{d}>"}, status=204),
            lock("/docs/z", "z", status=201),
            Do("LOCK", "/docs", AS_JSON, '{"scope": "shared"}', status=423, json={"conflicts.0.root": "/docs/z"}),
        ),
    ),
    Transcript(
        "a conflict that covers the URL comes before one on a member",
        (
            lock("/docs", "t", depth="0"),
            lock("/docs/a", "u"),
            Do("LOCK", "/docs", XML, INFO, status=423, has=("<D:href>/docs</D:href>",), lacks=("/docs/a",)),
        ),
    ),
    Transcript(
        "LOCK answers tell the locks beside the own one, the own one first",
        (
            Do("LOCK", "/docs/a", XML, lockinfo("shared", "one"), who="alice", saves="one"),
            Do(
                "LOCK",
                "/docs/a",
                XML,
                lockinfo("shared", "two"),
                who="bob",
                saves="two",
                has=("{one}", "{two}", "two</D:owner>", "one</D:owner>"),
            ),
        ),
        known=True,
    ),
    Transcript(
        "strict_discovery hides the locks of others",
        (
            Do("LOCK", "/docs/a", XML, lockinfo("shared", "one"), who="alice", saves="one"),
            Do(
                "LOCK",
                "/docs/a",
                XML,
                lockinfo("shared", "two"),
                who="bob",
                saves="two",
                has=("{two}",),
                lacks=("{one}", "one</D:owner>"),
            ),
        ),
        {"strict_discovery": True},
        known=True,
    ),
]

REFRESH = [
    Transcript(
        "a refresh starts the life anew: 200, same token, no Lock-Token header",
        (
            lock("/docs/a", "t", timeout="Second-100"),
            After(60),
            Do(
                "LOCK",
                "/docs/a",
                {"If": "(<{t}>)", "Timeout": "Second-100", "Depth": "nonsense"},
                status=200,
                headers={"Lock-Token": None, "Content-Type": "application/xml; charset=utf-8"},
                has=("{t}", "<D:timeout>Second-100</D:timeout>"),
            ),
            After(60),
            Do("PUT", "/docs/a", status=423),
            After(40),
            Do("PUT", "/docs/a", status=204),
        ),
    ),
    Transcript(
        "refresh of a token that covers the URL not: 412",
        (
            lock("/docs/a", "t"),
            lock("/docs/b", "u"),
            Do("LOCK", "/docs/a", {"If": "</docs/b> (<{u}>)"}, status=412, has=("lock-token-matches-request-uri",)),
            Do("LOCK", "/docs/a", {"If": "(<urn:x:y>)"}, status=412, has=("lock-token-matches-request-uri",)),
            Do("LOCK", "/docs/a", {"If": '(["e8b7be43"])'}, status=412, calls=("HEAD /docs/a", "HEAD /docs/a")),
            Do("LOCK", "/docs/a", {"If": '(<{t}> ["no"])'}, status=412, has=("does not hold",)),
            Do("LOCK", "/docs/a", {"If": '(<{t}> ["e8b7be43"])'}, status=200),
        ),
    ),
    Transcript(
        "refresh with two tokens that cover the URL: 400",
        (
            lock("/docs/a", "t", scope="shared"),
            lock("/docs/a", "u", scope="shared"),
            Do("LOCK", "/docs/a", {"If": "(<{t}>) (<{u}>)"}, status=400, has=("more than one",)),
            Do("LOCK", "/docs/a", {"If": "(<{u}>)"}, status=200),
        ),
    ),
    Transcript(
        "refresh with a malformed If",
        (Do("LOCK", "/docs/a", {"If": "<{t}>"}, status=400), Do("LOCK", "/docs/a", {"If": ""}, status=400)),
    ),
    Transcript(
        "refresh and UNLOCK by another principal: 403; by nobody: 403 as well",
        (
            lock("/docs/a", "t", who="alice"),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, who="bob", status=403, has=("another principal",)),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, who="bob", status=403),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, status=403, has=("the request has none",)),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=403),
            Code(still(("/docs/a", "exclusive"))),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, who="alice", status=200),
        ),
        known=True,
    ),
]

UNLOCK = [
    Transcript(
        "UNLOCK: 204 and no body",
        (
            lock("/docs/a", "t"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=204, headers={"Content-Length": None}, calls=()),
            Code(unlocked),
            Do(
                "UNLOCK",
                "/docs/a",
                {"Lock-Token": "<{t}>", "Accept": "text/xml"},
                status=409,
                has=("lock-token-matches-request-uri",),
            ),
        ),
    ),
    Transcript(
        "UNLOCK reads a bare token",
        (lock("/docs/a", "t"), Do("UNLOCK", "/docs/a", {"Lock-Token": "{t}"}, status=204), Code(unlocked)),
    ),
    Transcript(
        "UNLOCK mistakes",
        (
            lock("/docs/a", "t"),
            Do("UNLOCK", "/docs/a", status=400, has=("Lock-Token",)),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "nonsense"}, status=400),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, b"x", status=415),
            Do("UNLOCK", "/docs/b", {"Lock-Token": "<{t}>"}, status=409),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>", "If": "(<urn:x:y>)"}, status=412),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>", "If": '(["no"])'}, status=412, calls=("HEAD /docs/a",) * 2),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>", "If": "(<"}, status=400),
            Code(still(("/docs/a", "exclusive"))),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>", "If": '(<{t}> ["e8b7be43"])'}, status=204),
        ),
    ),
    Transcript(
        "UNLOCK through a member of a depth infinity lock",
        (
            lock("/docs", "t"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=204),
            Code(unlocked),
        ),
    ),
    Transcript(
        "a holder is told how the lock was lost",
        (
            lock("/docs/a", "t"),
            Do("UNLOCK", "/docs/a", {"Lock-Token": "<{t}>"}, status=204),
            Do(
                "PUT",
                "/docs/a",
                {"If": "(<{t}>)", "Accept": "application/json"},
                status=412,
                json={"ended.how": "released", "ended.root": "/docs/a"},
            ),
            Do("LOCK", "/docs/a", {"If": "(<{t}>)"}, status=412, has=("was released",)),
        ),
    ),
]

CODE = [
    Transcript(
        "a lock taken by code refuses clients, and is told",
        (
            Code(code_lock("/docs/a", "t", creator="job", owner_info="nightly job", timeout=0.5)),
            Do(
                "PUT",
                "/docs/a",
                who="bob",
                status=423,
                json={"lock.owner": "job", "lock.expires_in_seconds": 1, "lock.timeout_seconds": 1},
            ),
            After(0.5),
            Do("PUT", "/docs/a", status=204),
        ),
        known=True,
    ),
]

TABLE = [*MALFORMED, *DEPTH, *TIMEOUT, *CREATE, *CONFLICTS, *REFRESH, *UNLOCK, *CODE]
