"""PROPFIND and PROPPATCH: what is said about a resource, and what may be changed (RFC 4918 sections 9.1, 9.2, 15).

Knows: entries of the tree, dead properties, the XML of both. Must not know: the server, the protocol around a body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from werkzeug.http import http_date

from locklib.demo.davxml import DAV, Instruction, PropFind, PropStat, empty, escape, response
from locklib.demo.problem import Problem
from locklib.demo.propstore import Name, Properties
from locklib.demo.tree import Entry

__all__ = ["describe", "update"]

MOST_PROPERTIES = 1024 * 1024  # characters of dead properties on one resource


def _created(entry: Entry) -> str | None:
    """Only where the file system keeps it: a time made up from others would be wrong after the first rename."""
    born: float | None = getattr(entry.stat, "st_birthtime", None)
    return None if born is None else datetime.fromtimestamp(int(born), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# RFC 4918 section 15: what the server itself knows, as the content of the element; None where it does not apply.
LIVE: Mapping[str, Callable[[Entry], str | None]] = {
    "creationdate": _created,
    "getcontentlength": lambda entry: None if entry.is_collection else str(entry.stat.st_size),
    "getcontenttype": lambda entry: escape(entry.media_type),
    "getetag": lambda entry: f'"{entry.etag}"' if entry.etag else None,
    "getlastmodified": lambda entry: http_date(entry.modified),
    "resourcetype": lambda entry: "<D:collection/>" if entry.is_collection else "",
}
# Live properties that a class 1 server has not, but that are no client's to set either (sections 15.8 and 15.10).
NEVER_DEAD = frozenset({*LIVE, "lockdiscovery", "supportedlock"})


def is_protected(name: Name) -> bool:
    return name.namespace == DAV and name.local in NEVER_DEAD


def _live(entry: Entry) -> Iterator[tuple[Name, str]]:
    for local, value_of in LIVE.items():
        value = value_of(entry)
        if value is not None:
            yield Name(DAV, local), f"<D:{local}>{value}</D:{local}>"


def describe(find: PropFind, entry: Entry, dead: Mapping[Name, str], href: str) -> str:
    """The DAV:response about one resource: `href` as addressed, `dead` its properties as XML texts."""
    known = {**dead, **dict(_live(entry))}
    if find.kind == "propname":
        return response(href, [PropStat(200, [empty(name) for name in known])])
    wanted = [*known, *find.names] if find.kind == "allprop" else find.names
    found = [known[name] for name in dict.fromkeys(wanted) if name in known]
    missing = [empty(name) for name in find.names if name not in known]
    stats = [PropStat(200, found)] if found or not missing else []
    return response(href, [*stats, PropStat(404, missing)] if missing else stats)


def update(steps: Iterable[Instruction], key: str, dead: Properties) -> list[PropStat]:
    """Carry the steps of a PROPPATCH out, all or none; the answer names every property once (RFC 4918 section 9.2).

    Raises `Problem` 507 where the properties of the resource would outgrow 1 MiB; the unit then rolls back.
    """
    steps = list(_within_bounds(steps))
    names = list(dict.fromkeys(step.name for step in steps))
    protected = [name for name in names if is_protected(name)]
    if protected:
        rest = [empty(name) for name in names if name not in protected]
        refused = PropStat(403, [empty(name) for name in protected], "cannot-modify-protected-property")
        return [refused, PropStat(424, rest)] if rest else [refused]
    for step in steps:
        if step.xml is None:
            dead.remove(key, step.name)
        else:
            dead.set(key, step.name, step.xml)
    for _ in _within_bounds(Instruction(name, xml) for name, xml in dead.of(key).items()):
        pass
    return [PropStat(200, [empty(name) for name in names])]


def _within_bounds(steps: Iterable[Instruction]) -> Iterator[Instruction]:
    room = MOST_PROPERTIES
    for step in steps:
        room -= len(step.xml or "")
        if room < 0:
            raise Problem(507, f"the properties of one resource are over {MOST_PROPERTIES} characters; set fewer")
        yield step
