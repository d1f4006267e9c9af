"""Which of the four renderings the asker takes.

Knows: Accept (RFC 9110 section 12.5.1), read with tolerance, for an answer must go out whatever it says.
Must not know: what is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

__all__ = ["Rendering", "choose_rendering"]


class Rendering(Enum):
    """A way to write a refusal; the value is its Content-Type."""

    XML = "application/xml; charset=utf-8"
    JSON = "application/json"
    PROBLEM = "application/problem+json"
    HTML = "text/html; charset=utf-8"


EXACT = {
    "application/xml": Rendering.XML,
    "text/xml": Rendering.XML,
    "application/json": Rendering.JSON,
    "application/problem+json": Rendering.PROBLEM,
    "text/html": Rendering.HTML,
    "application/xhtml+xml": Rendering.HTML,
}

# What a range takes, the house's choice first: (for a request that shows DAV, for any other).
RANGES: Mapping[str, tuple[tuple[Rendering, ...], tuple[Rendering, ...]]] = {
    "*/*": ((Rendering.XML, Rendering.JSON, Rendering.HTML), (Rendering.JSON, Rendering.XML, Rendering.HTML)),
    "application/*": ((Rendering.XML, Rendering.JSON), (Rendering.JSON, Rendering.XML)),
    "text/*": ((Rendering.XML, Rendering.HTML), (Rendering.HTML, Rendering.XML)),
}

ACCEPT_LIMIT = 2048
"""Characters that are read of a header; a browser sends 150."""


def choose_rendering(accept: str | None, shows_dav: bool) -> Rendering:
    """The rendering that `accept` (the field value, None: no header) likes best.

    shows_dav: the request came from a DAV client, which decides where `accept` leaves the choice open. The highest q
    wins, then the more exact range, then the earlier one. Where nothing fits, the house's choice.
    """
    default = Rendering.XML if shows_dav else Rendering.JSON
    if accept is None or accept == "*/*":
        return default
    if accept in EXACT:
        return EXACT[accept]
    ranges = _ranges(accept[:ACCEPT_LIMIT])
    named = {EXACT[name] for name, _ in ranges if name in EXACT}
    best, best_rank = default, (0.0, False)
    for name, quality in ranges:
        rank = (quality, name in EXACT)
        taken = _taken(name, shows_dav, named) if quality and rank > best_rank else None
        if taken is not None:
            best, best_rank = taken, rank
    return best


def _taken(name: str, shows_dav: bool, named: set[Rendering]) -> Rendering | None:
    """What a range takes: its own rendering, or the first that the header does not name with a weight of its own."""
    if name in EXACT:
        return EXACT[name]
    choices = RANGES.get(name, ((), ()))[0 if shows_dav else 1]
    return next((one for one in choices if one not in named), None)


def _ranges(accept: str) -> list[tuple[str, float]]:
    """Accept = [ ( media-range [ weight ] ) *( OWS "," OWS ( media-range [ weight ] ) ) ]"""
    found = []
    for item in accept.lower().split(","):
        name, _, parameters = item.partition(";")
        found.append((name.strip(), _weight(parameters)))
    return found


def _weight(parameters: str) -> float:
    """weight = OWS ";" OWS "q=" qvalue; 1 where it is absent or is not a qvalue."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        value = value.strip()
        if name.strip() == "q" and value.isascii() and value.replace(".", "", 1).isdigit():
            return min(float(value), 1.0)
    return 1.0
