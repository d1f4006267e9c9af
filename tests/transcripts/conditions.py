"""The If header against locks and the application's facts (RFC 4918 section 10.4), consumed or forwarded."""

from __future__ import annotations

from transcripts.apps import plain
from transcripts.player import Code, Do, Transcript
from transcripts.steps import lock

TAG = '["e8b7be43"]'  # of /docs/a, as it is at first
DAV = {"dav": True}

# (what, header, whether it holds) for a GET of /docs/a; {t} is a lock on /docs/a, {u} one on /docs, {v} one on /docs/b
VERDICTS = (
    ("a token of the resource", "(<{t}>)", True),
    ("a token that covers it from above", "(<{u}>)", True),
    ("a token of a sibling", "(<{v}>)", False),
    ("a token of a sibling under its tag", "</docs/b> (<{v}>)", True),
    ("an unknown token", "(<urn:uuid:9>)", False),
    ("no-lock", "(<DAV:no-lock>)", False),
    ("Not no-lock", "(Not <DAV:no-lock>)", True),
    ("Not a token that holds", "(Not <{t}>)", False),
    ("one list of two", "(<urn:x:y>) (<{t}>)", True),
    ("all terms of a list", "(<{t}> <urn:x:y>)", False),
    ("an entity tag and a token", "(<{t}> " + TAG + ")", True),
    ("a wrong entity tag and a token", '(<{t}> ["x"])', False),
    ("a weak entity tag of a strong one", '(<{t}> [W/"e8b7be43"])', False),
    ("Not a wrong entity tag", '(<{t}> Not ["x"])', True),
    ("a tag of another server", "<http://elsewhere/docs/a> (Not <urn:x:y>)", False),
    ("a tag of this server", "<http://testserver/docs/a> (<{t}>)", True),
    ("a tag with the default port", "<http://TESTSERVER:80/docs/a> (<{t}>)", True),
    ("an entity tag of an unmapped URL", '</docs/none> (["x"])(<urn:x:y>)', False),
    ("Not an entity tag of an unmapped URL", '</docs/none> (Not ["x"])(<urn:x:y>)', True),
    ("a token on an unmapped URL in its scope", "</docs/none> (<{u}>)", True),
    ("an entity tag of a resource that has none", '</docs> (["x"])(<urn:x:y>)', False),
    ("any absolute URI is a state token", "(<opaquelocktoken:not-a-uuid>)", False),
)

TABLE = (
    [
        Transcript(
            f"If: {what} is {'true' if holds else 'false'}",
            (
                lock("/docs", "u", scope="shared"),
                lock("/docs/a", "t", scope="shared"),
                lock("/docs/b", "v", scope="shared"),
                Do(
                    "GET",
                    "/docs/a",
                    {"If": header},
                    status=200 if holds else 412,
                    sees=(lambda request: request.state.if_header != () and "if" not in request.headers)
                    if holds
                    else None,
                ),
            ),
        )
        for what, header, holds in VERDICTS
    ]
    + [
        Transcript(
            f"If: malformed: {header!r}",
            (
                Do("PUT", "/docs/a", {"If": header}, status=400, calls=()),
                Do("GET", "/docs/a", {"If": header}, status=400, calls=()),
            ),
        )
        for header in (
            "",
            "nonsense",
            "(<urn:x:y>",
            "()",
            "(<relative>)",
            "(<urn:x:y>) </docs> ",
            "<x y> (<urn:x:y>)",
            "</docs/a#x> (<urn:x:y>)",
            "<urn:x:y> (<urn:x:y>)",
        )
    ]
    + [
        Transcript(
            "entity tags alone, without dav, are forwarded as If-Match",
            (
                Do(
                    "PUT",
                    "/docs/a",
                    {"If": f"({TAG})"},
                    status=204,
                    calls=("PUT /docs/a",),
                    sees=lambda request: request.headers["if-match"] == '"e8b7be43"' and "if" not in request.headers,
                ),
                Do(
                    "PUT",
                    "/docs/a",
                    {"If": f"({TAG})", "If-Match": '"mine"'},
                    status=412,
                    calls=("PUT /docs/a",),
                    sees=lambda request: request.headers["if-match"] == '"mine"' and "if" in request.headers,
                ),
                Do(
                    "PUT",
                    "/docs/a",
                    {"If": '(["x"]) (["y"])'},
                    status=412,
                    has=("the document is another one",),
                    sees=lambda request: request.headers["if-match"] == '"x", "y"',
                ),
                Do(
                    "PUT",
                    "/docs/a",
                    {"If": '(Not ["x"])'},
                    status=204,
                    sees=lambda request: request.headers["if"] == '(Not ["x"])' and "if-match" not in request.headers,
                ),
                Do("PUT", "/docs/a", {"If": '([W/"x"])'}, status=204, sees=lambda request: "if" in request.headers),
            ),
        ),
        Transcript(
            "with dav entity tags alone are evaluated and consumed",
            (
                Do(
                    "PUT", "/docs/a", {"If": '(["x"])'}, status=412, lacks=("another one",), calls=("HEAD /docs/a",) * 2
                ),
                Do(
                    "PUT",
                    "/docs/a",
                    {"If": f"({TAG})"},
                    status=204,
                    calls=("HEAD /docs/a", "PUT /docs/a"),
                    sees=lambda request: "if" not in request.headers and "if-match" not in request.headers,
                ),
            ),
            DAV,
        ),
        Transcript(
            "of a resource that the application cannot tell of neither tag nor Not tag is believed",
            (
                Code(lambda world: world.app.says.update({("HEAD", "/docs/a"): plain(503)})),
                Do("PUT", "/docs/a", {"If": '(["x"] Not <urn:x:y>)'}, status=412),
                Do("PUT", "/docs/a", {"If": '(Not ["x"] Not <urn:x:y>)'}, status=412),
            ),
        ),
        Transcript(
            "an ETag of the application that cannot be read matches nothing",
            (
                Code(lambda world: world.app.says.update({("HEAD", "/docs/a"): plain(200, b"", ("ETag", "naked"))})),
                Do("PUT", "/docs/a", {"If": '(["naked"] Not <urn:x:y>)'}, status=412),
            ),
        ),
        Transcript(
            "a verdict that needs no facts asks for none",
            (
                lock("/docs/a", "t"),
                Do("PUT", "/docs/a", {"If": '(<{t}>) (["x"])'}, status=204, calls=("PUT /docs/a",)),
                Do("PUT", "/docs/a", {"If": '(["x"] <urn:x:y>)'}, status=412, calls=("HEAD /docs/a",)),
            ),
        ),
        Transcript(
            "at most 64 other URLs are asked for",
            (
                Do(
                    "GET",
                    "/docs/a",
                    {"If": "".join(f'</docs/{n}> (["x"] Not <urn:x:y>) ' for n in range(64))},
                    status=412,
                ),
                Do(
                    "GET",
                    "/docs/a",
                    {"If": "".join(f'</docs/{n}> (["x"] Not <urn:x:y>) ' for n in range(65))},
                    status=400,
                    has=("at most 64",),
                    calls=(),
                ),
            ),
        ),
        Transcript(
            "If is evaluated on MKCOL and on methods nobody knows",
            (
                Do("MKCOL", "/docs/new", {"If": "(<urn:x:y>)"}, status=412),
                Do("BREW", "/docs/a", {"If": "(<urn:x:y>)"}, status=412),
                Do("DELETE", "/docs/a", {"If": '(Not <DAV:no-lock> ["x"])'}, status=412),
            ),
        ),
    ]
)
