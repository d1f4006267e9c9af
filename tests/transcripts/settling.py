"""What follows from the application's answer (docs/design.md; RFC 4918 sections 7.6, 9.6.1, 9.8.4, 9.9.3)."""

from __future__ import annotations

from transcripts.apps import plain
from transcripts.player import Code, Do, Transcript
from transcripts.steps import code_lock, lock, still, unlocked

TWO = {"/docs": None, "/docs/a": b"a", "/docs/b": b"b", "/to": None, "/to/x": b"x", "/to/y": b"y"}


def says(method: str, path: str, status: int):
    return Code(lambda world: world.app.says.update({(method, path): plain(status)}))


ENDS = [
    Transcript(
        f"DELETE answered {status}: the locks {'end' if ends else 'stay'}",
        (
            lock("/docs/a", "t"),
            says("DELETE", "/docs/a", status),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=status),
            Code(unlocked if ends else still(("/docs/a", "exclusive"))),
        ),
    )
    for status, ends in (
        (200, True),
        (201, True),
        (204, True),
        (202, False),
        (403, False),
        (404, False),
        (500, False),
        (301, False),
        (207, False),
    )
]

TABLE = [
    *ENDS,
    Transcript(
        "DELETE ends the locks at and under its URL, and no other",
        (
            lock("/docs", "d", depth="0"),
            lock("/docs/a", "a"),
            lock("/docsx", "x"),
            Do("DELETE", "/docs", {"If": "</docs> (<{d}>) </docs/a> (<{a}>)"}, status=204),
            Code(still(("/docsx", "exclusive"))),
            Do("LOCK", "/docs/a", {"If": "(<{a}>)"}, status=412),
        ),
    ),
    Transcript(
        "DELETE with a trailing slash ends the lock on the collection",
        (
            lock("/docs", "d"),
            Do("DELETE", "/docs/", {"If": "(<{d}>)"}, status=204),
            Code(unlocked),
        ),
    ),
    Transcript(
        "a spelling that only the key takes for the same keeps its lock",
        (
            lock("/docs//a", "t"),
            Do("DELETE", "/docs/a", {"If": "(<{t}>)"}, status=204),
            Code(still(("/docs//a", "exclusive"))),
        ),
    ),
    Transcript(
        "a lock asked for after admission is not taken away by the DELETE that was admitted before",
        (
            Code(
                lambda world: world.app.says.update(
                    {("DELETE", "/docs/a"): lambda request: (_acquired_anyway(world), world.app.do_delete(request))[1]}
                )
            ),
            Do("DELETE", "/docs/a", status=204),
            Code(still(("/docs/a", "exclusive"))),
        ),
        # In mode check no permit keeps a new lock out.
        {"routes": [("/", "check")]},
    ),
    Transcript(
        "207 to DELETE is partial: only roots that are unmapped now lose their locks",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            Code(
                lambda world: world.app.says.update(
                    {("DELETE", "/docs"): lambda request: (world.app.files.pop("/docs/a"), plain(207))[1]}
                )
            ),
            Do(
                "DELETE",
                "/docs",
                {"If": "</docs/a> (<{a}>) </docs/b> (<{b}>)"},
                status=207,
                calls=("DELETE /docs", "HEAD /docs/a", "HEAD /docs/b"),
            ),
            Code(still(("/docs/b", "exclusive"))),
        ),
    ),
    Transcript(
        "in 207 unknown is not unmapped",
        (
            lock("/docs/a", "a"),
            says("DELETE", "/docs", 207),
            says("HEAD", "/docs/a", 500),
            Do("DELETE", "/docs", {"If": "</docs/a> (<{a}>)"}, status=207),
            Code(still(("/docs/a", "exclusive"))),
        ),
    ),
    Transcript(
        "MOVE ends the locks of the source, keeps the one on the destination, ends those below that is unmapped",
        (
            lock("/docs/a", "a"),
            lock("/to", "to", depth="0"),
            lock("/to/x", "x"),
            lock("/to/y", "y"),
            Do(
                "MOVE",
                "/docs",
                {"Destination": "/to", "If": "</docs/a> (<{a}>) </to> (<{to}>) </to/x> (<{x}>) </to/y> (<{y}>)"},
                status=204,
            ),
            Code(still(("/to", "exclusive"), ("/to/y", "exclusive"))),
        ),
        files={"/docs": None, "/docs/a": b"a", "/docs/y": b"y", "/to": None, "/to/x": b"x", "/to/y": b"y"},
    ),
    Transcript(
        "COPY keeps the lock on the destination, and ends those below that is unmapped",
        (
            lock("/docs/a", "a"),
            lock("/to", "to", depth="0"),
            lock("/to/x", "x"),
            Do(
                "COPY",
                "/docs",
                {"Destination": "/to", "If": "</to> (<{to}>) </to/x> (<{x}>)"},
                status=204,
                calls=("COPY /docs", "HEAD /to/x"),
            ),
            Code(still(("/docs/a", "exclusive"), ("/to", "exclusive"))),
        ),
        files=TWO,
    ),
    Transcript(
        "MOVE answered 207: what is unmapped on either side",
        (
            lock("/docs/a", "a"),
            lock("/docs/b", "b"),
            lock("/to/x", "x"),
            Code(
                lambda world: world.app.says.update(
                    {
                        ("MOVE", "/docs"): lambda request: (
                            world.app.files.pop("/docs/a"),
                            world.app.files.pop("/to/x"),
                            plain(207),
                        )[2]
                    }
                )
            ),
            Do(
                "MOVE",
                "/docs",
                {"Destination": "/to", "If": "</docs/a> (<{a}>) </docs/b> (<{b}>) </to/x> (<{x}>)"},
                status=207,
            ),
            Code(still(("/docs/b", "exclusive"))),
        ),
        files=TWO,
    ),
    *(
        Transcript(
            f"{method} answered {status}: nothing ends",
            (
                lock("/docs/a", "a"),
                lock("/to/x", "x"),
                says(method, "/docs", status),
                Code(lambda world: world.app.files.pop("/to/x")),
                Do(method, "/docs", {"Destination": "/to", "If": "</docs/a> (<{a}>) </to/x> (<{x}>)"}, status=status),
                Code(still(("/docs/a", "exclusive"), ("/to/x", "exclusive"))),
            ),
            files=TWO,
        )
        for method in ("COPY", "MOVE")
        for status in (202, 403, 412, 502)
    ),
    Transcript(
        "COPY answered 207: below the destination, what is unmapped",
        (
            lock("/to/x", "x"),
            lock("/to/y", "y"),
            says("COPY", "/docs", 207),
            Code(lambda world: world.app.files.pop("/to/x")),
            Do("COPY", "/docs", {"Destination": "/to", "If": "</to/x> (<{x}>) </to/y> (<{y}>)"}, status=207),
            Code(still(("/to/y", "exclusive"))),
        ),
        files=TWO,
    ),
    Transcript(
        "COPY without a Destination settles nothing",
        (Do("COPY", "/docs", status=400), says("COPY", "/docs", 200), Do("COPY", "/docs", status=200)),
    ),
    Transcript(
        "settling asks for at most 100 roots, in batches; the rest stays locked",
        (
            Code(lambda world: [code_lock(f"/docs/{n:03}", f"t{n}")(world) for n in range(120)][:0]),
            says("DELETE", "/docs", 207),
            Code(
                lambda world: setattr(
                    world, "shown", " ".join(f"</docs/{n:03}> (<{world.tokens[f't{n}']}>)" for n in range(120))
                )
            ),
            Code(lambda world: world.tokens.update(everything=world.shown)),
            Do(
                "DELETE",
                "/docs",
                {"If": "{everything}"},
                status=207,
                calls=("DELETE /docs", *(f"HEAD /docs/{n:03}" for n in range(100))),
            ),
            Code(lambda world: len(world.locks.list(limit=1000)) == 20),
        ),
    ),
]


def _acquired_anyway(world: object) -> None:
    code_lock("/docs/a", "late")(world)
