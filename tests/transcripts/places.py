"""One resource, one key: mounts, Destination, the switches on names, routes, method tunnelling (design, section 8)."""

from __future__ import annotations

import re

from locklib.core.paths import Folding
from locklib.core.policy import Route
from transcripts.player import AS_JSON, XML, Code, Do, Transcript, lockinfo
from transcripts.steps import lock, still, unlocked


def same(what: str, locked: str, other: str, status: int = 423, **settings: object) -> Transcript:
    """A lock on one spelling, a PUT by another."""
    word = "share a key" if status == 423 else "are two resources"
    return Transcript(
        f"{locked} and {other} {word}{what and ': ' + what}",
        (lock(locked, "t"), Do("PUT", other, status=status)),
        settings,
    )


SPELLINGS = [
    same("", "/docs/a", "/docs//a"),
    same("", "/docs/a", "/docs/./a"),
    same("", "/docs/a", "/docs/x/../a"),
    same("", "/docs/a", "/docs/a/"),
    same("", "/docs/a", "/docs%2Fa"),
    same("", "/docs/a", "/docs%252Fa"),
    same("", "/docs/a", "/docs/a;v=1"),
    same("", "/docs/a", "/docs%5Ca"),
    same("", "/docs/a", "/docs/%61"),
    same("", "/docs/a", "/docs/a?x=1"),
    same("", "/docs/caf%C3%A9", "/docs/cafe%CC%81", 201),
    same("unicode", "/docs/caf%C3%A9", "/docs/cafe%CC%81", 423, folding=Folding(unicode=True)),
    same("", "/docs/a", "/docs/A", 201),
    same("case", "/docs/a", "/docs/A", 423, folding=Folding(case=True)),
    Transcript(
        "a %2F may be a separator or not: membership asks the parents of both readings",
        (
            lock("/docs", "t", depth="0"),
            Do("PUT", "/docs%2Fnew", status=423),
            Do("PUT", "/docs/x%252Fnew", status=423, calls=("HEAD /docs/x%2Fnew",) * 2),
        ),
    ),
    Transcript(
        "ambiguous bytes are refused near a lock, elsewhere they pass untouched",
        (
            Do("PUT", "/docs/a%00", status=201),
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a%00", status=400, has=("more than one resource",)),
            Do("PUT", "/docs/a%00", {"If": "(<{t}>)"}, status=400),
            Do("COPY", "/docs/b", {"Destination": "/docs/a%00"}, status=400),
            Do("DELETE", "/docs/%ff", status=400),
            Do("PUT", "/else/%00", status=409, calls=("PUT /else/\0",)),
        ),
    ),
    Transcript(
        "key= names the resource: aliases share a lock, and ambiguous bytes are the application's business",
        (
            lock("/docs/a", "t", depth="0"),
            Do("PUT", "/alias/A", status=423, has=("/docs/a is locked",)),
            Do("PUT", "/docs/b", status=204),
            Do("PUT", "/alias/b%00", status=409),
            Do("PUT", "/alias/A", {"If": "</docs/a> (<{t}>)"}, status=409),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=204),
            Code(unlocked),
        ),
        {"key": lambda path: path.rpartition("/")[2].lower()},
    ),
    Transcript(
        "key= with a tree in it: membership by the parent of the key",
        (
            lock("/docs", "t", depth="0"),
            Do("PUT", "/docs/new", status=423),
            Do("PUT", "/docs/a", status=204),
        ),
        {"key": lambda path: "files" + path},
    ),
    Transcript(
        "namespace= keeps tenants apart",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", status=423),
            Do("PUT", "/tenant/a", status=409),
            Code(lambda world: world.held() == []),
        ),
        {"namespace": lambda host, path: f"{host}:{path.split('/')[1]}", "key": lambda path: path.rpartition("/")[2]},
    ),
    Transcript(
        "a path too long to be looked up is 414",
        (Do("PUT", "/docs/" + "a" * 4096, status=414), Do("GET", "/docs/" + "a" * 5000, status=404)),
    ),
]

MOUNTS = [
    Transcript(
        "the mount prefix is part of every path outside, and of none inside",
        (
            lock("/app/docs/a", "t"),
            Do("PUT", "/app/docs/a", status=423, has=("/app/docs/a",), calls=("HEAD /docs/a",)),
            Do("PUT", "/app/docs/a", {"If": "</app/docs/a> (<{t}>)"}, status=204, calls=("PUT /docs/a",)),
            Do("COPY", "/app/docs/b", {"Destination": "http://testserver/app/docs/a"}, status=423),
            Do("LOCK", "/app/docs", XML, lockinfo(), status=207, has=("<D:href>/app/docs</D:href>",)),
            Do("COPY", "/app/docs/b", {"Destination": "/other/x"}, status=409),
            Do("DELETE", "/app/docs/a", {"If": "(<{t}>)"}, status=204),
            Code(unlocked),
        ),
        mount="/app",
    ),
    Transcript(
        "a LOCK with depth infinity on the mount root is 403 without dav, in any spelling",
        (
            Do("LOCK", "/app", XML, lockinfo(), status=403, has=("Depth: 0",)),
            Do("LOCK", "/app/", XML, lockinfo(), status=403),
            Do("LOCK", "/app/.", XML, lockinfo(), status=403),
            Do("LOCK", "/app//", XML, lockinfo(), status=403),
            Do("LOCK", "/app/", {**XML, "Depth": "0"}, lockinfo(), status=200),
        ),
        mount="/app",
    ),
    Transcript(
        "infinity_on_root allows it",
        (Do("LOCK", "/", XML, lockinfo(), status=200), Do("PUT", "/docs/a", status=423)),
        {"infinity_on_root": True},
    ),
    Transcript("with dav it is allowed", (Do("LOCK", "/", XML, lockinfo(), status=200),), {"dav": True}),
    Transcript(
        "infinity_on_root forbids it even with dav",
        (Do("LOCK", "/", XML, lockinfo(), status=403),),
        {"dav": True, "infinity_on_root": False},
    ),
    Transcript(
        "what settles under a mount asks inside the mount",
        (
            lock("/app/docs/a", "t"),
            lock("/app/to/x", "x"),
            Do(
                "MOVE",
                "/app/docs",
                {"Destination": "/app/to", "If": "</app/docs/a> (<{t}>) </app/to/x> (<{x}>)"},
                status=204,
                calls=("MOVE /docs", "HEAD /to/x"),
            ),
            Code(unlocked),
        ),
        files={"/docs": None, "/docs/a": b"a", "/to": None, "/to/x": b"x"},
        mount="/app",
    ),
]

DESTINATIONS = [
    Transcript(
        f"Destination {where}: {status}",
        (lock("/docs/a", "t"), Do("COPY", "/docs/b", {"Destination": where}, status=status)),
    )
    for where, status in (
        ("/docs/a", 423),
        ("http://testserver/docs/a", 423),
        ("https://TESTSERVER:443/docs/a", 423),
        ("http://testserver/docs/%61?x", 423),
        ("http://elsewhere/docs/a", 502),
        ("http://testserver:8080/docs/a", 502),
        ("//testserver/docs/a", 400),
        ("docs/a", 400),
        ("http://user@testserver/docs/a", 400),
        ("/docs/a#x", 400),
        ("", 400),
        ("http://testserver/docs/c", 201),
    )
] + [
    Transcript(
        "public_url is what clients see behind a proxy that rewrites Host",
        (
            Do("LOCK", "/app/docs/a", XML, lockinfo(), saves="t", has=("<D:lockroot><D:href>/dav/docs/a</D:href>",)),
            Do(
                "COPY",
                "/app/docs/b",
                {"Destination": "https://docs.example.org/dav/docs/a"},
                status=423,
                has=("<D:href>/dav/docs/a</D:href>",),
            ),
            Do("COPY", "/app/docs/b", {"Destination": "https://else.example.org/dav/docs/a"}, status=502),
            Do("PUT", "/app/docs/a", {"If": "<https://docs.example.org/dav/docs/a> (<{t}>)"}, status=204),
            Do("LOCK", "/app/docs", {**XML, "Depth": "0"}, lockinfo(), saves="d"),
            Do("DELETE", "/app/docs", {"If": "</dav/docs/a> (<{t}>) </dav/docs> (<{d}>)"}, status=204),
            Code(unlocked),
        ),
        {"public_url": "https://docs.example.org/dav"},
        mount="/app",
        host="backend:8000",
    ),
    Transcript(
        "public_url at the root of its host",
        (
            Do("LOCK", "/app/docs/a", XML, lockinfo(), has=("<D:lockroot><D:href>/docs/a</D:href>",)),
            Do("COPY", "/app/docs/b", {"Destination": "https://docs.example.org/docs/a"}, status=423),
        ),
        {"public_url": "https://docs.example.org/"},
        mount="/app",
        host="backend",
    ),
    Transcript(
        "public_url without a path says the host alone: paths are the same outside",
        (
            Do("LOCK", "/app/docs/a", XML, lockinfo(), has=("<D:lockroot><D:href>/app/docs/a</D:href>",)),
            Do("COPY", "/app/docs/b", {"Destination": "https://docs.example.org/app/docs/a"}, status=423),
        ),
        {"public_url": "https://docs.example.org"},
        mount="/app",
        host="backend",
    ),
]

TABLE_OF_ROUTES = [
    Route("/docs/drafts", advisory=True),
    Route("/docs/log", writes=frozenset({"DELETE"})),
    Route(re.compile(r"/docs/.*\.tmp"), "exempt"),
    Route("/docs"),
    {"path": "/check", "mode": "check"},
    ("/fence", "fence"),
    "/plain",
]

ROUTES = [
    Transcript(
        "the first route that matches decides; what none matches is exempt",
        (
            Do("LOCK", "/login", XML, lockinfo(), status=405, calls=("LOCK /login",)),
            Do("LOCK", "/docs/x.tmp", XML, lockinfo(), status=405),
            Do("LOCK", "/docs", XML, lockinfo(), status=200, saves="t"),
            Do("PUT", "/docs/a", status=423),
            Do("PUT", "/docs/x.tmp", status=201),
            Do("PUT", "/docsx", status=201),
            Do("PUT", "/docs/log/1", status=409),
            Do("DELETE", "/docs/log/1", status=423),
            *(lock(f"/{name}/a", name) for name in ("check", "fence", "plain")),
            *(Do("PUT", f"/{name}/a", status=423) for name in ("check", "fence", "plain")),
        ),
        {"routes": TABLE_OF_ROUTES},
    ),
    Transcript(
        "advisory: nothing is refused, the application is told",
        (
            Do("LOCK", "/docs/drafts/a", AS_JSON, "{}", status=201, saves="t"),
            Do(
                "PUT",
                "/docs/drafts/a",
                status=409,
                calls=("PUT /docs/drafts/a",),
                sees=lambda request: request.state.refusal.status == 423,
            ),
            Do(
                "PUT",
                "/docs/drafts/a",
                {"If": "(<urn:x:y>)"},
                status=409,
                calls=("PUT /docs/drafts/a",),
                sees=lambda request: request.state.refusal.status == 412 and "if" not in request.headers,
            ),
            Do(
                "PUT",
                "/docs/drafts/a",
                {"If": "(<{t}>)"},
                status=409,
                sees=lambda request: request.state.refusal is None,
            ),
            # LOCK and UNLOCK are ours to answer; the application knows neither.
            Do("LOCK", "/docs/drafts/a", AS_JSON, "{}", status=423),
            Do("LOCK", "/docs/drafts/a", AS_JSON, "{", status=400),
            Do("UNLOCK", "/docs/drafts/a", {"Lock-Token": "<urn:x:y>"}, status=409),
        ),
        {"routes": TABLE_OF_ROUTES},
    ),
    Transcript(
        "a spelling that others read in another way does not slip past the table",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs%2Fa", status=423),
            Do("PUT", "/x/../docs/a", status=423),
            Do("PUT", "/docs/drafts/../a", status=423),
            Do("PUT", "/docs/x.tmp/../a", status=423),
        ),
        {"routes": TABLE_OF_ROUTES},
    ),
    Transcript(
        "the destination's route counts as well as the source's",
        (
            lock("/docs/a", "t"),
            Do("COPY", "/tmp", {"Destination": "/docs/a"}, status=423),
            Do("MOVE", "/tmp", {"Destination": "/docs/a"}, status=423),
            Do("MOVE", "/tmp", {"Destination": "http://testserver/docs/a", "If": "</docs/a> (<{t}>)"}, status=204),
            Do("COPY", "/docs/a", {"Destination": "/tmp"}, status=201),
            Do("COPY", "/tmp", {"Destination": "/tmp2"}, status=201, calls=("COPY /tmp",)),
            Do("COPY", "/tmp", {"Destination": "http://elsewhere/x"}, status=201, calls=("COPY /tmp",)),
            # An advisory source does not make its destination advisory, nor the other way round.
            Do("MOVE", "/docs/drafts/d", {"Destination": "/docs/a"}, status=423),
            Do("LOCK", "/login", {**XML, "Destination": "/docs/a"}, lockinfo(), status=405),
            Do("PUT", "/docs/new", {"Destination": "/docs/a"}, status=201),
        ),
        {"routes": TABLE_OF_ROUTES},
        files={"/docs": None, "/docs/a": b"a", "/tmp": b"t", "/docs/drafts": None, "/docs/drafts/d": b"d"},
    ),
]

TUNNELS = [
    Transcript(
        f"a tunnelled {method} needs what {method} needs, and what POST needs: {how}",
        (
            lock("/docs/a", "t"),
            Do("POST", f"/docs{query}", fields, status=423, has=("/docs/a",)),
            Do("POST", f"/docs{query}", {**fields, "If": "</docs/a> (<{t}>)"}, status=200),
        ),
    )
    for method, how, query, fields in (
        ("DELETE", "X-HTTP-Method-Override", "", {"X-HTTP-Method-Override": "DELETE"}),
        ("DELETE", "X-HTTP-Method", "", {"X-HTTP-Method": "delete"}),
        ("DELETE", "X-Method-Override", "", {"X-Method-Override": " DELETE "}),
        ("DELETE", "_method", "?_method=DELETE", {}),
        ("DELETE", "_method among others", "?a=b&_method=delete", {}),
        ("DELETE", "_method after a semicolon", "?a=b;_method=delete", {}),
        ("DELETE", "_method percent-encoded", "?_method=%44ELETE", {}),
        ("COPY", "with a Destination", "", {"X-HTTP-Method-Override": "COPY", "Destination": "/docs/a"}),
    )
] + [
    Transcript(
        "after a tunnelled method only what is now unmapped loses its locks",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Code(
                lambda world: world.app.says.update(
                    {("POST", "/docs"): lambda request: (world.app.files.pop("/docs/a"), world.app.do_post(request))[1]}
                )
            ),
            Do(
                "POST",
                "/docs?_method=DELETE",
                {"If": "</docs/a> (<{a}>) </docs/b> (<{b}>)"},
                status=200,
                calls=("POST /docs", "HEAD /docs/a", "HEAD /docs/b"),
            ),
            Code(still(("/docs/b", "exclusive"))),
        ),
    ),
    Transcript(
        "a tunnelled method that failed ends nothing",
        (
            lock("/docs/a", "a"),
            Code(lambda world: world.app.files.pop("/docs/a")),
            Do("POST", "/none", {"X-HTTP-Method-Override": "DELETE"}, status=200, calls=("POST /none",)),
            Do("PUT", "/docs/a", {"X-HTTP-Method-Override": "GET"}, status=423),
            Do("POST", "/docs/a", {"X-HTTP-Method-Override": "GET"}, status=423),
        ),
    ),
]

QUIRKS = [
    Transcript(
        "office: Lock-Token on a write counts as submitted",
        (
            lock("/docs/a", "t"),
            Do("PUT", "/docs/a", {"Lock-Token": "<{t}>"}, status=204),
            Do("PUT", "/docs/a", {"Lock-Token": "<urn:x:y>"}, status=423),
            Do("PUT", "/docs/a", {"Lock-Token": "nonsense"}, status=400),
        ),
        {"quirks": {"office"}},
    ),
    Transcript(
        "without the quirk it does not",
        (lock("/docs/a", "t"), Do("PUT", "/docs/a", {"Lock-Token": "<{t}>"}, status=423)),
    ),
    Transcript(
        "explorer: MOVE of the temporary file over the original with the temporary's token alone",
        (
            lock("/docs/a", "a", who="alice"),
            lock("/docs/tmp", "tmp", who="alice"),
            Do("PUT", "/docs/tmp", {"If": "(<{tmp}>)"}, b"x", who="alice", status=201),
            Do("MOVE", "/docs/tmp", {"Destination": "/docs/a", "If": "(<{tmp}>)"}, who="bob", status=423),
            Do("MOVE", "/docs/tmp", {"Destination": "/docs/a", "If": "(<{tmp}>)"}, who="alice", status=204),
            Code(still(("/docs/a", "exclusive"))),
        ),
        {"quirks": {"explorer"}},
        known=True,
    ),
    Transcript(
        "explorer: the same principal must hold the original, and without the quirk it is refused",
        (
            lock("/docs/a", "a", who="bob"),
            lock("/docs/tmp", "tmp", who="alice"),
            Do("MOVE", "/docs/tmp", {"Destination": "/docs/a", "If": "(<{tmp}>)"}, who="alice", status=423),
        ),
        {"quirks": {"explorer"}},
        known=True,
    ),
    Transcript(
        "without the quirk both tokens are needed",
        (
            lock("/docs/a", "a", who="alice"),
            lock("/docs/b", "b", who="alice"),
            Do("MOVE", "/docs/b", {"Destination": "/docs/a", "If": "(<{b}>)"}, who="alice", status=423),
        ),
        known=True,
    ),
]

TABLE = [*SPELLINGS, *MOUNTS, *DESTINATIONS, *ROUTES, *TUNNELS, *QUIRKS]
