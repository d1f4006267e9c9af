"""Which locks each method needs (RFC 4918 section 7): the methods, membership, what counts as submitted, enough."""

from __future__ import annotations

from transcripts.player import After, Code, Do, Transcript
from transcripts.steps import code_lock, http, lock, still, unlocked

# method: (path, further request fields)
DIRECT = {
    "PUT": ("/docs/a", {}),
    "POST": ("/docs/a", {}),
    "PATCH": ("/docs/a", {}),
    "PROPPATCH": ("/docs/a", {}),
    "DELETE": ("/docs/a", {}),
    "MKCOL": ("/docs/a", {}),
    "MKCALENDAR": ("/docs/a", {}),
    "BREW": ("/docs/a", {}),
    "MOVE": ("/docs/a", {"Destination": "/docs/c"}),
    "COPY": ("/docs/b", {"Destination": "/docs/a"}),
}

LOCKED_URL = [
    Transcript(
        f"{method} needs the lock on its URL",
        (
            lock("/docs/a", "t", depth="0"),
            Do(
                method,
                path,
                fields,
                status=423,
                has=("lock-token-submitted", "<D:href>/docs/a</D:href>")
                if method in ("PROPPATCH", "MKCOL", "COPY", "MOVE")
                else ("/docs/a is locked",),
                # The lock on a COPY's destination is told only to who may see it there.
                calls=(f"HEAD {path}", *(("HEAD /docs/a",) if path != "/docs/a" else ())),
                headers={"Retry-After": "900"},
            ),
            Do(
                method,
                path,
                {**fields, "If": "</docs/a> (<{t}>)"},
                status={
                    "PUT": 204,
                    "PATCH": 204,
                    "PROPPATCH": 207,
                    "DELETE": 204,
                    "MKCOL": 405,
                    "MKCALENDAR": 405,
                    "MOVE": 201,
                    "COPY": 204,
                }.get(method, 200),
                calls=(f"{method} {path}",) if method not in ("DELETE", "MOVE", "COPY") else None,
                sees=lambda request: "if" not in request.headers,
            ),
        ),
    )
    for method, (path, fields) in DIRECT.items()
]

SAFE = [
    Transcript(
        f"{method} needs no lock",
        (
            lock("/docs/a", "t"),
            Do(method, "/docs/a", status=status, calls=(f"{method} /docs/a",)),
            Do(method, "/docs/a", {"If": "(<{t}>)"}, status=status, calls=(f"{method} /docs/a",)),
            Do(method, "/docs/a", {"If": "(<urn:x:no>)"}, status=412, calls=("HEAD /docs/a",)),
        ),
    )
    for method, status in {
        "GET": 200,
        "OPTIONS": 200,
        "TRACE": 405,
        "PROPFIND": 207,
        "REPORT": 405,
        "SEARCH": 405,
        "QUERY": 405,
    }.items()
]

# Whose membership is needed: (method, path, fields, whose lock must be shown)
MEMBERSHIP = [
    Transcript(
        f"{method} {path} {'/'.join(fields.values())} needs the membership of /docs, locked with depth {depth}",
        (
            lock("/docs", "t", depth=depth),
            Do(
                method,
                path,
                fields,
                status=423,
                has=("/docs",),
                lacks=("/docs/",) if method in ("PUT", "POST", "DELETE") and depth == "0" and path == "x" else (),
            ),
            Do(method, path, {**fields, "If": "</docs> (<{t}>)"}, status=status),
        ),
    )
    for depth in ("0", "infinity")
    for method, path, fields, status in (
        ("PUT", "/docs/new", {}, 201),
        ("MKCOL", "/docs/new", {}, 201),
        ("MKCALENDAR", "/docs/new", {}, 405),
        ("DELETE", "/docs/a", {}, 204),
        ("MOVE", "/docs/a", {"Destination": "/a"}, 201),
        ("MOVE", "/top", {"Destination": "/docs/new"}, 201),
        ("COPY", "/top", {"Destination": "/docs/a"}, 204),
        ("COPY", "/top", {"Destination": "/docs/new"}, 201),
        ("POST", "/docs/new", {}, 200),
    )
]
MEMBERSHIP = [
    Transcript(each.name, each.steps, files={"/docs": None, "/docs/a": b"a", "/top": b"t"}) for each in MEMBERSHIP
]

NO_MEMBERSHIP = [
    Transcript(
        f"{method} of a mapped member leaves the membership of a depth 0 locked collection alone",
        (lock("/docs", "t", depth="0"), Do(method, "/docs/a", status=status, calls=calls)),
    )
    for method, status, calls in (
        ("PUT", 204, ("HEAD /docs/a", "PUT /docs/a")),
        ("POST", 200, ("HEAD /docs/a", "POST /docs/a")),
        ("PATCH", 204, ("HEAD /docs/a", "PATCH /docs/a")),
        ("PROPPATCH", 207, ("PROPPATCH /docs/a",)),
    )
]

TREES = [
    Transcript(
        "DELETE needs every lock under its URL",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Do(
                "DELETE",
                "/docs",
                status=423,
                has=("/docs/a", "/docs/b"),
                calls=("HEAD /docs", "HEAD /docs/a", "HEAD /docs/b"),
            ),
            Do("DELETE", "/docs", {"If": "</docs/a> (<{a}>)"}, status=423, has=("/docs/b",), lacks=("/docs/a<",)),
            Do(
                "DELETE",
                "/docs",
                {"If": "</docs/a> (<{a}>) </docs/b> (<{b}>)"},
                status=204,
                sees=lambda request: len(request.state.submitted) == 2,
            ),
            Code(unlocked),
        ),
    ),
    Transcript(
        "a limit on roots cannot hide the one foreign lock behind many own ones",
        (
            *(lock(f"/docs/m{n}", f"t{n}") for n in range(3)),
            lock("/docs/z", "z"),
            Do(
                "DELETE",
                "/docs",
                {"If": "</docs/m0> (<{t0}>) </docs/m1> (<{t1}>) </docs/m2> (<{t2}>)"},
                status=423,
                has=("/docs/z",),
            ),
            # Many own locks on one root do not use up the limit, and one more root is asked for than is shown.
            Do("DELETE", "/docs", {"If": "</docs/m0> (<{t0}>)"}, status=423, has=("/docs/",)),
        ),
    ),
    Transcript(
        "many shared locks: one token for each root, whatever a limit shows first",
        (
            *(lock(f"/docs/m{n}", f"t{n}", scope="shared") for n in range(4)),
            *(lock(f"/docs/m{n}", f"u{n}", scope="shared") for n in range(4)),
            Do(
                "DELETE",
                "/docs",
                {"If": "</docs/m0> (<{u0}>) </docs/m1> (<{u1}>) </docs/m2> (<{u2}>) </docs/m3> (<{u3}>)"},
                status=204,
            ),
            Code(unlocked),
        ),
    ),
    Transcript(
        "one token that covers a tree opens it whole, however many roots are in it",
        (
            lock("/docs", "t", scope="shared"),
            *(lock(f"/docs/m{n}", f"u{n}", scope="shared") for n in range(5)),
            Do("DELETE", "/docs", {"If": "(<{t}>)"}, status=204),
            Code(unlocked),
        ),
        files={"/docs": None, **{f"/docs/m{n}": b"" for n in range(5)}},
    ),
    Transcript(
        "COPY needs the destination and everything under it, not its source",
        (
            lock("/docs/a", "source"),
            lock("/to/x", "x"),
            Do("COPY", "/docs/a", {"Destination": "/docs/c"}, status=201),
            Do("COPY", "/docs", {"Destination": "/to"}, status=423, has=("<D:href>/to/x</D:href>",)),
            Do("COPY", "/docs", {"Destination": "http://testserver/to", "If": "</to/x> (<{x}>)"}, status=204),
        ),
        files={"/docs": None, "/docs/a": b"a", "/to": None, "/to/x": b"x"},
    ),
    Transcript(
        "MOVE of a tree with a foreign locked member is refused whole",
        (
            lock("/docs/a", "a"),
            Do(
                "MOVE",
                "/docs",
                {"Destination": "/to"},
                status=423,
                has=("<D:href>/docs/a</D:href>",),
                calls=("HEAD /docs", "HEAD /docs/a"),
            ),
            Do("MOVE", "/docs", {"Destination": "/to", "If": "</docs/a> (<{a}>)"}, status=201),
            Code(unlocked),
        ),
    ),
    Transcript(
        "MOVE over a locked target needs that lock too",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Do("MOVE", "/docs/a", {"Destination": "/docs/b", "If": "(<{a}>)"}, status=423, has=("/docs/b",)),
            Do("MOVE", "/docs/a", {"Destination": "/docs/b", "If": "</docs/a> (<{a}>) </docs/b> (<{b}>)"}, status=204),
            Code(still(("/docs/b", "exclusive"))),
        ),
    ),
    Transcript(
        "COPY and MOVE without a Destination are the application's to refuse",
        (
            lock("/docs/a", "a"),
            Do("COPY", "/docs/b", status=400),
            Do("MOVE", "/docs/a", status=423),
        ),
        files={"/docs": None, "/docs/a": b"a", "/docs/b": b"b"},
    ),
]

SUBMITTED = [
    Transcript(
        f"a token counts as submitted {where}",
        (
            lock("/docs/a", "t"),
            Do(
                "PUT",
                "/docs/a",
                {"If": header},
                b"new",
                status=204,
                sees=lambda request: [held.root for held in request.state.submitted] == ["/docs/a"],
            ),
        ),
    )
    for where, header in {
        "in a plain list": "(<{t}>)",
        "under its tag": "<http://testserver/docs/a> (<{t}>)",
        "under the tag of another resource": "</docs/b> (Not <{t}>)",
        "in a list that is false": '(<{t}> ["no"]) (Not <DAV:no-lock>)',
        "under Not": "(Not <{t}>) (Not <urn:x:y>)",
        "under the tag of another server": "<http://elsewhere/docs/a> (<{t}>) </docs/b> (Not <urn:x:y>)",
    }.items()
] + [
    Transcript(
        "a condition that is true is not a token submitted",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", {"If": "(Not <DAV:no-lock>)"}, status=423),
            Do("PUT", "/docs/a", {"If": '(["e8b7be43"])'}, status=423),
            Do("PUT", "/docs/b", {"If": "</docs/a> (<{t}>)"}, status=204),
        ),
    ),
    Transcript(
        "a token is submitted only by its creator",
        (
            lock("/docs/a", "t", who="alice"),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="bob", status=423),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=423),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="alice", status=204),
        ),
        known=True,
    ),
    Transcript(
        "a bearer lock opens for whoever shows its token",
        (
            Code(code_lock("/docs/a", "t")),
            Do("PUT", "/docs/a", who="alice", status=423, headers={"Lock-Token": None}),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, who="alice", status=204),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=204),
        ),
        known=True,
    ),
]

ENOUGH = [
    Transcript(
        "of two shared holders each writes with the own token",
        (
            lock("/docs/a", "one", scope="shared"),
            lock("/docs/a", "two", scope="shared"),
            Do("PUT", "/docs/a", status=423, json={"conflicts#": 2, "lock.scope": "shared"}),
            Do("PUT", "/docs/a", {"If": "(<{one}>)"}, status=204),
            Do("PUT", "/docs/a", {"If": "(<{two}>)"}, status=204),
        ),
    ),
    Transcript(
        "a shared lock above does not shut out the holder of a shared lock below",
        (
            lock("/docs", "above", scope="shared"),
            lock("/docs/a", "below", scope="shared"),
            Do("PUT", "/docs/a", {"If": "(<{below}>)"}, status=204),
            Do("PUT", "/docs/a", {"If": "(<{above}>)"}, status=204),
            # The member goes, so the collection changes: that needs the lock on the collection.
            Do("DELETE", "/docs/a", {"If": "(<{below}>)"}, status=423, has=("<D:href>/docs</D:href>",)),
        ),
    ),
    Transcript(
        "each resource that a method touches needs a token of its own",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Do(
                "MOVE",
                "/docs/a",
                {"Destination": "/docs/b", "If": "</docs/b> (<{b}>)"},
                status=423,
                has=("<D:href>/docs/a</D:href>",),
                lacks=("<D:href>/docs/b</D:href>",),
            ),
        ),
    ),
    Transcript(
        "a shared token of depth 0 opens a tree's root, not the members that another's lock covers",
        (
            lock("/docs", "root", scope="shared", depth="0"),
            lock("/docs", "all", scope="shared"),
            Do("DELETE", "/docs", {"If": "(<{root}>)"}, status=423, has=("<D:href>/docs</D:href>",)),
            Do("DELETE", "/docs", {"If": "(<{all}>)"}, status=204),
        ),
    ),
    Transcript(
        "an expired lock is in nobody's way",
        (
            lock("/docs/a", "t", timeout="Second-10"),
            After(9.5),
            Do("PUT", "/docs/a", status=423, headers={"Retry-After": "1"}),
            After(0.5),
            Do("PUT", "/docs/a", status=204),
            Do("PUT", "/docs/a", {"If": "(<{t}>)"}, status=412, has=("has expired",)),
        ),
    ),
    Transcript(
        "the empty root: everything at the top is a member of /",
        (
            lock("/", "t", depth="0"),
            Do("PUT", "/new", status=423, json={"lock.root": "/"}),
            Do("DELETE", "/docs", status=423),
            Do("PUT", "/docs/a", status=204),
            Do("PUT", "/new", {"If": "</> (<{t}>)"}, status=201),
        ),
    ),
    Transcript(
        "HEAD is answered without a body when it is refused",
        (
            Do("HEAD", "/docs/a", {"If": "(<urn:x:no>)"}, status=412, headers={"Content-Length": lambda n: int(n) > 9}),
            Code(lambda world: http(world, "HEAD", "/docs/a", {"If": "(<urn:x:no>)"}).body == b""),
        ),
    ),
]

TABLE = [*LOCKED_URL, *SAFE, *MEMBERSHIP, *NO_MEMBERSHIP, *TREES, *SUBMITTED, *ENOUGH]
