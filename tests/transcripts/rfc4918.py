"""The example requests of RFC 4918 that concern locks, by section; tokens are ours, paths are the RFC's."""

from __future__ import annotations

from transcripts.player import XML, Code, Do, Transcript
from transcripts.steps import lock, still, unlocked

HOST = "example.com"
WORKSPACE = {
    "/workspace": None,
    "/workspace/webdav": None,
    "/workspace/webdav/proposal.doc": b"proposal",
    "/workspace/webdav/info.doc": b"info",
}
INFO = """<?xml version="1.0" encoding="utf-8" ?>
<D:lockinfo xmlns:D='DAV:'>
  <D:lockscope><D:exclusive/></D:lockscope>
  <D:locktype><D:write/></D:locktype>
  <D:owner>
    <D:href>http://example.org/~ejw/contact.html</D:href>
  </D:owner>
</D:lockinfo>"""

TABLE = [
    Transcript(
        "RFC 4918 9.10.7, 9.10.8 and 9.11.2: simple lock, refresh, UNLOCK",
        (
            Do(
                "LOCK",
                "/workspace/webdav/proposal.doc",
                {
                    "Timeout": "Infinite, Second-4100000000",
                    "Content-Type": 'application/xml; charset="utf-8"',
                    "Authorization": 'Digest username="ejw"',
                },
                INFO,
                who="ejw",
                status=200,
                saves="t",
                headers={"Lock-Token": "<{t}>", "Content-Type": "application/xml; charset=utf-8"},
                has=(
                    "<D:locktype><D:write/></D:locktype>",
                    "<D:lockscope><D:exclusive/></D:lockscope>",
                    "<D:depth>infinity</D:depth>",
                    "http://example.org/~ejw/contact.html",
                    "<D:timeout>Second-86400</D:timeout>",
                    "<D:locktoken><D:href>{t}</D:href></D:locktoken>",
                    "<D:lockroot><D:href>/workspace/webdav/proposal.doc</D:href></D:lockroot>",
                ),
            ),
            # 9.10.8: the same lock, refreshed.
            Do(
                "LOCK",
                "/workspace/webdav/proposal.doc",
                {"Timeout": "Infinite, Second-4100000000", "If": "(<{t}>)"},
                who="ejw",
                status=200,
                headers={"Lock-Token": None},
                has=("{t}", "http://example.org/~ejw/contact.html"),
            ),
            # 9.11.2: UNLOCK.
            Do("UNLOCK", "/workspace/webdav/proposal.doc", {"Lock-Token": "<{t}>"}, who="ejw", status=204),
            Code(unlocked),
        ),
        files=WORKSPACE,
        known=True,
        host=HOST,
    ),
    Transcript(
        "RFC 4918 9.10.9 multi-resource lock request",
        (
            lock("/webdav/secret", "s", who="other"),
            Do(
                "LOCK",
                "/webdav/",
                {**XML, "Timeout": "Infinite, Second-4100000000", "Depth": "infinity"},
                INFO,
                who="ejw",
                status=207,
                has=(
                    "<D:href>/webdav/secret</D:href><D:status>HTTP/1.1 423 Locked</D:status>",
                    "<D:href>/webdav/</D:href><D:status>HTTP/1.1 424 Failed Dependency</D:status>",
                ),
            ),
            Code(still(("/webdav/secret", "exclusive"))),
        ),
        files={"/webdav": None, "/webdav/secret": b"s"},
        known=True,
        host=HOST,
    ),
    Transcript(
        "RFC 4918 9.6.2 DELETE of a collection with a locked member (we refuse it whole)",
        (
            lock("/container/resource3", "t"),
            Do(
                "DELETE",
                "/container/",
                {"Accept": "text/xml"},
                status=423,
                has=("<D:lock-token-submitted><D:href>/container/resource3</D:href></D:lock-token-submitted>",),
            ),
            Do("GET", "/container/resource3", status=200),
        ),
        files={"/container": None, "/container/resource3": b"3"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 7.6 and 9.9.6 MOVE of a collection onto one with a locked member",
        (
            lock("/othercontainer/C2", "t"),
            Do(
                "MOVE",
                "/container/",
                {
                    "Destination": "http://example.com/othercontainer/",
                    "Overwrite": "F",
                    "If": "(<urn:uuid:fe184f2e-6eec-41d0-c765-01adc56e6bb4>)",
                },
                status=412,
            ),
            Do(
                "MOVE",
                "/container/",
                {"Destination": "http://example.com/othercontainer/"},
                status=423,
                has=("<D:href>/othercontainer/C2</D:href>",),
            ),
        ),
        files={"/container": None, "/container/C2": b"2", "/othercontainer": None, "/othercontainer/C2": b"x"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 8.7 / 10.4.10 COPY with a tagged list for source and destination",
        (
            lock("/resource1", "t"),
            lock("/resource2", "u"),
            Do(
                "COPY",
                "/resource1",
                {
                    "Destination": "http://example.com/resource2",
                    "If": '<http://example.com/resource2> (<{u}> ["8a3e7dc1"]) (["no"])',
                },
                status=412,
            ),
            Do(
                "COPY",
                "/resource1",
                {
                    "Destination": "http://example.com/resource2",
                    "If": "<http://example.com/resource1> (<{t}>) </resource2> (<{u}>)",
                },
                status=204,
            ),
        ),
        files={"/resource1": b"1", "/resource2": b"2"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.6 no-tag production: a list and an entity tag",
        (
            lock("/a", "t"),
            Do("PUT", "/a", {"If": '(<{t}> ["e8b7be43"]) (["I am another ETag"])'}, status=204),
            # The token has been submitted, and the second list is not true: the first alone decides.
            Do("PUT", "/a", {"If": '(<{t}> ["e8b7be43"]) (["I am another ETag"])'}, b"", status=412),
        ),
        files={"/a": b"a"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.7 Not with no-tag production",
        (
            lock("/a", "t"),
            Do("PUT", "/a", {"If": "(Not <{t}> <urn:uuid:58f202ac-22cf-11d1-b12d-002035b29092>)"}, status=412),
        ),
        files={"/a": b"a"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.8 a condition that is always true",
        (
            lock("/a", "t"),
            Do("PUT", "/a", {"If": "(<{t}>) (Not <DAV:no-lock>)"}, status=204),
            Do("UNLOCK", "/a", {"Lock-Token": "<{t}>"}, status=204),
            Do("PUT", "/a", {"If": "(<{t}>) (Not <DAV:no-lock>)"}, status=204),
        ),
        files={"/a": b"a"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.9 tagged list in COPY, a lock above the tagged resource",
        (
            lock("/specs", "t"),
            Do("DELETE", "/specs/rfc2518.txt", {"If": "<http://example.com/specs/> (<{t}>)"}, status=204),
            Code(still(("/specs", "exclusive"))),
        ),
        files={"/specs": None, "/specs/rfc2518.txt": b"x"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.11 matching a token with a collection lock",
        (
            lock("/specs", "t"),
            Do("DELETE", "/specs/rfc2518.doc", {"If": "<http://example.com/specs/rfc2518.doc> (<{t}>)"}, status=204),
        ),
        files={"/specs": None, "/specs/rfc2518.doc": b"x"},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 10.4.12 entity tags on an unmapped URL",
        (
            Do("PUT", "/specs/new", {"If": '</specs/new> (["4217"])'}, status=412),
            Do("PUT", "/specs/new", {"If": '</specs/new> (Not ["4217"])'}, status=201),
        ),
        {"dav": True},
        files={"/specs": None},
        host=HOST,
    ),
    Transcript(
        "RFC 4918 6.8 and 15.8.1 a client finds its lock again by lockdiscovery",
        (
            Do("LOCK", "/a", {**XML, "Depth": "0"}, INFO, who="jane", status=200, saves="t"),
            Do(
                "PROPFIND",
                "/a",
                {**XML, "Depth": "0"},
                '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>',
                who="jane",
                status=207,
                has=("{t}", "<D:depth>0</D:depth>", "contact.html"),
            ),
        ),
        {"dav": True},
        files={"/a": b"a"},
        known=True,
        host=HOST,
    ),
    Transcript(
        "RFC 4918 15.10.1 supportedlock, and 18.2 class 2",
        (
            Do(
                "PROPFIND",
                "/a",
                {**XML, "Depth": "0"},
                '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:supportedlock/></D:prop></D:propfind>',
                status=207,
                has=("<D:exclusive/>", "<D:shared/>"),
            ),
            Do("OPTIONS", "/a", status=200, headers={"DAV": "1, 2", "Allow": "GET, HEAD, PUT, LOCK, UNLOCK"}),
            Do(
                "PROPPATCH",
                "/a",
                XML,
                '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><D:lockdiscovery/></D:prop></D:set>'
                "</D:propertyupdate>",
                status=207,
                has=("403 Forbidden", "cannot-modify-protected-property"),
                calls=("HEAD /a",),
            ),
        ),
        {"dav": True},
        files={"/a": b"a"},
        host=HOST,
    ),
]
