"""A refusal as a small HTML page that stands on its own: text only, no script, nothing loaded.

Knows: how the members of the JSON schema read to a person; the Content-Security-Policy under which the page stands.
Must not know: how the members came to be, whether they may be told (`disclosing` has decided).
"""

from __future__ import annotations

from collections.abc import Iterator

from locklib.core.disclosing import Members, in_words
from locklib.core.discovery import escape

__all__ = ["PAGE_POLICY", "STYLE", "refusal_page"]

STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;"
    "padding:0 1rem}dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}"
)

# The hash is of STYLE, so that this one style is allowed and no other; a test recomputes it.
PAGE_POLICY = (
    "default-src 'none'; style-src 'sha256-ForPvFESdJurd0NSPpuj5xdIhBUQmKgVt3Q95DGB6x8='; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Members of `lock`, as a person is told of them.
ROWS = (
    ("owner", "Locked by"),
    ("type", "Type"),
    ("root", "Lock root"),
    ("reason", "Reason"),
    ("created_at", "Since"),
    ("expires_at", "Until"),
    ("contact", "Contact"),
)


def refusal_page(members: Members) -> bytes:
    """The page for `members`, the JSON object of the same refusal.

    Words of people stand in `bdi`, so that marks of direction in them end there.
    """
    title = f"{members['status']} {escape(members['error'])}"
    body = "".join(_parts(members))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    ).encode()


def _parts(members: Members) -> Iterator[str]:
    yield f"<p><bdi>{escape(members['message'])}</bdi></p>"
    yield from _list("dl", list(_rows(members)))
    for conflict in members.get("conflicts", ()):
        if conflict != members["lock"]:
            yield from _list("dl", list(_lock_rows(conflict)))
    yield from _list("ul", [f"<li><bdi>{escape(text)}</bdi></li>" for text in members.get("suggestions", ())])


def _list(tag: str, items: list[str]) -> Iterator[str]:
    if items:
        yield f"<{tag}>{''.join(items)}</{tag}>"


def _rows(members: Members) -> Iterator[str]:
    yield _row("Resource", members["resource"])
    yield from _lock_rows(members.get("lock", {}))
    if members.get("time_remaining") is not None:
        yield _row("Time left", members["time_remaining"])
    if members.get("retry_after") is not None:
        yield _row("Try again in", in_words(members["retry_after"]) or "")


def _lock_rows(lock: Members) -> Iterator[str]:
    for key, name in ROWS:
        if lock.get(key) is not None:
            yield _row(name, lock[key])


def _row(name: str, value: str) -> str:
    return f"<dt>{name}</dt><dd><bdi>{escape(value)}</bdi></dd>"
