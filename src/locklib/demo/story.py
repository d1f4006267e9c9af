"""The story of Alice and Bob: real requests, real answers, told as they go.

Knows: HTTP as a client does, what each answer has to be. Must not know: how the server is made, and of what.

`STEPS` is the story, in order. A step sends one request over a socket, prints what was sent and what came, and compares
the answer with what the story says. Nothing is shown that was not on the wire; fields that say nothing here are left
out, and JSON is printed with line breaks.
"""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["STEPS", "Answer", "Step", "StoryBroken", "tell", "to_try"]

PLAN = "/documents/plan"
REPORT = "/files/report.txt"
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
LEFT_OUT = frozenset({"date", "server", "content-length", "cache-control", "x-content-type-options", "etag"})
SECONDS = 30.0
"""How long an answer may take."""


class StoryBroken(Exception):
    """An answer is not what the story says: the message names the step, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and the answer that it must get.

    says: what goes on. who: by whom. line: method and path; `{name}` in it, or in a header's value, stands for what
    an earlier step remembered. expects: the status. chapter: the heading before the step. holds: what else must be true
    of the answer, each with its words. remembers: names for header fields of the answer. shows: the members of a JSON
    answer that are printed ("lock.owner": a member of a member; none: all). waits: the remembered number of seconds to
    let pass first.
    """

    says: str
    who: str
    line: str
    expects: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    chapter: str = ""
    holds: Mapping[str, Callable[[Answer], bool]] = field(default_factory=dict)
    remembers: Mapping[str, str] = field(default_factory=dict)
    shows: tuple[str, ...] = ()
    waits: str = ""


def _asked_of_desk(path: str, purpose: str, **more: Any) -> str:
    return json.dumps({"path": path, "purpose": purpose, "seconds": 60, **more})


def _lock_told(**members: Any) -> Callable[[Answer], bool]:
    """Whether the lock that a JSON answer tells of has these members."""
    return lambda answer: members.items() <= answer.json["lock"].items()


def _says_text(text: str) -> Callable[[Answer], bool]:
    return lambda answer: text in answer.body.decode()


HOLDER = {"If": "({token})"}
IN_SHORT = ("message", "retry_after")
LIFE = ("lock.token", "lock.timeout_seconds", "lock.expires_at")
WHY = ("message", "lock.purpose", "lock.reason", "lock.contact", "lock.expires_at", "retry_after", "suggestions")

STEPS = (
    Step(
        chapter="A lock, and what it does",
        says="Alice writes a plan.",
        who="alice",
        line=f"PUT {PLAN}",
        headers=TEXT,
        body="First draft",
        expects=201,
    ),
    Step(
        says="She locks it for a minute. The answer names her lock: its token.",
        who="alice",
        line=f"LOCK {PLAN}",
        headers={"Timeout": "Second-60", **JSON},
        body='{"scope": "exclusive", "owner": "Alice, room 12"}',
        expects=200,
        remembers={"token": "lock-token"},
        holds={"the lock is for 60 seconds": _lock_told(owner="alice", timeout_seconds=60, purpose="write")},
    ),
    Step(
        says="Bob reads it. A write lock never stands in the way of reading.",
        who="bob",
        line=f"GET {PLAN}",
        expects=200,
        holds={"the plan is as Alice left it": _says_text("First draft")},
    ),
    Step(
        says="Bob writes. He is refused, and told by whom it is locked, for how long, and what he can do.",
        who="bob",
        line=f"PUT {PLAN}",
        headers=TEXT,
        body="Bob was here",
        expects=423,
        shows=("error", "message", "status", "lock", "retry_after", "suggestions"),
        holds={
            "the answer names Alice": _lock_told(owner="alice"),
            "X-Lock-Owner names Alice": lambda answer: answer.headers["x-lock-owner"] == "alice",
            "Retry-After is 1 to 66": lambda answer: 1 <= int(answer.headers["retry-after"]) <= 66,
        },
    ),
    Step(
        says="Bob has seen the token and shows it himself. It opens only for her who made the lock.",
        who="bob",
        line=f"PUT {PLAN}",
        headers={**HOLDER, "Accept": "application/json", **TEXT},
        body="Bob was here",
        expects=423,
        shows=IN_SHORT,
    ),
    Step(
        says="Alice writes, with the token in an If field.",
        who="alice",
        line=f"PUT {PLAN}",
        headers={**HOLDER, **TEXT},
        body="Second draft",
        expects=204,
    ),
    Step(
        says="She needs more time: LOCK without a body refreshes. The token stays the same.",
        who="alice",
        line=f"LOCK {PLAN}",
        headers={**HOLDER, "Timeout": "Second-120", "Accept": "application/json"},
        expects=200,
        shows=LIFE,
        holds={"the lock is for 120 seconds": _lock_told(timeout_seconds=120)},
    ),
    Step(
        chapter="A lock by the house",
        says="An audit begins. The application itself sets an administrative lock, over that of Alice.",
        who="admin",
        line="POST /desk",
        headers=JSON,
        body=_asked_of_desk(PLAN, "administrative", reason="audit", contact="audit@example.org"),
        expects=201,
        remembers={"audit": "location"},
    ),
    Step(
        says="Now Alice is refused too, token or not. She is told why, and whom to ask.",
        who="alice",
        line=f"PUT {PLAN}",
        headers={**HOLDER, "Accept": "application/json", **TEXT},
        body="Third draft",
        expects=423,
        shows=WHY,
        holds={
            "the answer says why": _lock_told(purpose="administrative", reason="audit", contact="audit@example.org"),
            "Retry-After is there": lambda answer: int(answer.headers["retry-after"]) >= 1,
        },
    ),
    Step(says="The audit is over.", who="admin", line="DELETE {audit}", expects=204),
    Step(
        says="Alice goes on. Her own lock has stood all the time.",
        who="alice",
        line=f"PUT {PLAN}",
        headers={**HOLDER, **TEXT},
        body="Third draft",
        expects=204,
    ),
    Step(
        chapter="A file that nobody may open yet",
        says="Bob uploads a file into the WebDAV folder.",
        who="bob",
        line=f"PUT {REPORT}",
        headers=TEXT,
        body="The figures",
        expects=201,
    ),
    Step(
        says="A virus scan begins: a processing lock that blocks reading, too.",
        who="admin",
        line="POST /desk",
        headers=JSON,
        body=_asked_of_desk(REPORT, "processing", reason="virus scan", blocks_reads=True),
        expects=201,
        remembers={"scan": "location"},
    ),
    Step(
        says="Alice cannot open the file,",
        who="alice",
        line=f"GET {REPORT}",
        headers={"Accept": "application/json"},
        expects=423,
        shows=WHY,
        holds={"the answer says why": _lock_told(purpose="processing", reason="virus scan")},
    ),
    Step(says="until the scan is done.", who="admin", line="DELETE {scan}", expects=204),
    Step(
        says="Now she can.",
        who="alice",
        line=f"GET {REPORT}",
        expects=200,
        holds={"it is the file of Bob": _says_text("The figures")},
    ),
    Step(
        says="The folder knows nothing of locks; through the middleware it is of class 2, as WebDAV clients ask for.",
        who="alice",
        line="OPTIONS /files/",
        expects=200,
        holds={
            "DAV says 1, 2": lambda answer: answer.headers["dav"].replace(" ", "") == "1,2",
            "Allow has LOCK": lambda answer: "LOCK" in answer.headers["allow"],
        },
    ),
    Step(
        chapter="The end of a lock",
        says="Alice is done, and gives her lock back.",
        who="alice",
        line=f"UNLOCK {PLAN}",
        headers={"Lock-Token": "{token}"},
        expects=204,
    ),
    Step(says="Bob's turn.", who="bob", line=f"PUT {PLAN}", headers=TEXT, body="Bob's view of the matter", expects=204),
    Step(
        says="Bob locks it for two seconds, and goes for a coffee.",
        who="bob",
        line=f"LOCK {PLAN}",
        headers={"Timeout": "Second-2", **JSON},
        body='{"scope": "exclusive"}',
        expects=200,
        remembers={"late": "lock-token"},
        shows=LIFE,
    ),
    Step(
        says="Alice is refused, and told when to come again.",
        who="alice",
        line=f"PUT {PLAN}",
        headers=TEXT,
        body="Final",
        expects=423,
        remembers={"pause": "retry-after"},
        shows=IN_SHORT,
    ),
    Step(
        says="She waits as long as Retry-After says. The lock has run out by itself.",
        who="alice",
        line=f"PUT {PLAN}",
        headers=TEXT,
        body="Final",
        expects=204,
        waits="pause",
    ),
    Step(
        says="Bob comes back with his old token. It overwrites nothing, and he learns what happened.",
        who="bob",
        line=f"PUT {PLAN}",
        headers={"If": "({late})", "Accept": "application/json", **TEXT},
        body="Bob's last word",
        expects=412,
        holds={"the answer says that the lock ran out": lambda answer: answer.json["ended"]["how"] == "expired"},
    ),
    Step(
        says="So it is Alice's plan that stays.",
        who="bob",
        line=f"GET {PLAN}",
        expects=200,
        holds={"the plan is final": _says_text("Final")},
    ),
)


# --- telling ---


def tell(url: str, say: Callable[[str], None], steps: tuple[Step, ...] = STEPS) -> None:
    """Play `steps` against the server at `url` and say each line of what is sent and answered.

    The passwords of alice, bob and admin are their names. Lines begin with `#` (a chapter), `>` (sent), `<` (answered)
    or with the story's words. Raises `StoryBroken` at the first answer that is not as told.
    """
    known: dict[str, str] = {}
    for step in steps:
        if step.chapter:
            say(f"# {step.chapter}")
        say(step.says)
        if step.waits:
            time.sleep(float(known[step.waits]))
        answer = _play(url, step, known, say)
        say("")
        _compare(step, answer)
        known |= {name: answer.headers[header].strip() for name, header in step.remembers.items()}


def _play(url: str, step: Step, known: Mapping[str, str], say: Callable[[str], None]) -> Answer:
    method, path = step.line.format_map(known).split(" ", 1)
    headers = {name: value.format_map(known) for name, value in step.headers.items()}
    say(f"> {method} {path} HTTP/1.1   ({step.who})")
    for name, value in headers.items():
        say(f"> {name}: {value}")
    if step.body:
        say("> ")
        say(f"> {step.body}")
    answer = _sent(url, method, path, {"Authorization": _basic(step.who), **headers}, step.body.encode())
    for line in _shown(answer, step.shows):
        say(f"< {line}")
    return answer


def _basic(name: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{name}".encode()).decode()


def _sent(url: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """One request on a connection of its own."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=SECONDS)
    try:
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.reason, got, answer.read())
    finally:
        connection.close()


def _shown(answer: Answer, members: tuple[str, ...]) -> Iterator[str]:
    """The answer as lines: of the fields those that matter here, of JSON the members that are asked for."""
    yield f"HTTP/1.1 {answer.status} {answer.reason}"
    yield from (f"{name}: {value}" for name, value in answer.headers.items() if name not in LEFT_OUT)
    if answer.body:
        yield ""
        yield from _body(answer, members).splitlines()


def _body(answer: Answer, members: tuple[str, ...]) -> str:
    if "json" not in answer.headers.get("content-type", ""):
        return answer.body.decode()
    whole = answer.json
    kept = _picked(whole, members) if members else whole
    return json.dumps(kept, indent=2, ensure_ascii=False) + ("" if kept == whole else "\n...")


def _picked(whole: Mapping[str, Any], members: tuple[str, ...]) -> dict[str, Any]:
    """Those members, in the order of `whole`; nothing that is null."""
    kept: dict[str, Any] = {}
    for name, value in whole.items():
        inner = tuple(member.partition(".")[2] for member in members if member.startswith(f"{name}."))
        picked = _picked(value, inner) if inner else value
        if picked is not None and (inner or name in members):
            kept[name] = picked
    return kept


def _compare(step: Step, answer: Answer) -> None:
    told = f'"{step.says}" ({step.who}, {step.line})'
    if answer.status != step.expects:
        body = answer.body.decode(errors="replace")[:500]
        raise StoryBroken(f"{told}: expected {step.expects}, but the answer is {answer.status} {answer.reason}: {body}")
    for words, check in step.holds.items():
        try:
            holds = check(answer)
        except (KeyError, TypeError, ValueError):  # what is looked at is not even there
            holds = False
        if not holds:
            raise StoryBroken(f"{told}: expected that {words}, but the answer is {answer}")
    missing = [header for header in step.remembers.values() if header not in answer.headers]
    if missing:
        raise StoryBroken(f"{told}: expected the field {missing[0]}, but the answer is {answer}")


# --- for the reader to go on ---


def to_try(url: str) -> Iterator[tuple[str, int]]:
    """Command lines for curl that work as they stand, one after another, each with the status that it gets.

    Alice locks the plan anew for them, for ten minutes. Raises `StoryBroken` if she cannot.
    """
    headers = {"Authorization": _basic("alice"), "Timeout": "Second-600", **JSON}
    lock = _sent(url, "LOCK", PLAN, headers, b'{"scope": "exclusive"}')
    if lock.status != 200:
        raise StoryBroken(f"LOCK {PLAN} by alice: expected 200, but the answer is {lock}")
    token = lock.headers["lock-token"]
    holder = f"If: ({token})"
    yield _curl(url, "bob", "PUT", "Content-Type: text/plain", body="It is me, Bob"), 423
    yield _curl(url, "alice", "PUT", holder, "Content-Type: text/plain", body="It is me, Alice"), 204
    yield _curl(url, "alice", "LOCK", holder, "Timeout: Second-900"), 200
    yield _curl(url, "alice", "UNLOCK", f"Lock-Token: {token}"), 204
    yield _curl(url, "bob", "PUT", "Content-Type: text/plain", body="It is me, Bob"), 204
    yield _curl(url, "bob", "LOCK", "Content-Type: application/json", body='{"owner": "Bob, by phone"}'), 200


def _curl(url: str, who: str, method: str, *headers: str, body: str = "") -> str:
    words = ["curl", "-i", "-u", f"{who}:{who}", "-X", method, url + PLAN]
    for header in headers:
        words += ["-H", header]
    return shlex.join(words + (["-d", body] if body else []))
