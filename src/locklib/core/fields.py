"""The small header fields: values in, values out, and text made safe for a header or an href.

Knows: Lock-Token, Timeout, Depth, Overwrite and Destination (RFC 4918 section 10), Prefer (RFC 7240), percent-encoding
(RFC 3986 section 2.1). Must not know: `If` (its own module), locks, policy, keys.

Three kinds of input, three manners. What a client *orders* is read strictly: a malformed field is `BadField` (400)
and changes nothing. What a client *wishes* (Timeout, Prefer) is read tolerantly: what cannot be read is skipped. What
people wrote (an owner, a reason) is encoded and never raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from locklib.core.if_header import ABSOLUTE_URI, SCHEME
from locklib.core.paths import MAX_PATH, percent_decode, too_long
from locklib.errors import BadField

__all__ = [
    "MAX_SECONDS",
    "Destination",
    "granted_timeout",
    "header_text",
    "http_quote",
    "parse_depth",
    "parse_destination",
    "parse_lock_token",
    "parse_overwrite",
    "parse_prefer",
    "parse_resource_tag",
    "parse_timeout",
    "same_authority",
    "seconds_up",
    "timeout_text",
]

MAX_SECONDS = 2**32 - 1
"""The greatest number that a Timeout may name (RFC 4918 section 10.7)."""

MAX_HEADER_TEXT = 256
"""The most characters of one value from people in one header field."""

JITTER = 1e-6  # a difference of two instants is seldom exact; 900.0000001 s are 900 s, not 901

CODED_URL = re.compile(rf"<({ABSOLUTE_URI})>")
BARE_URI = re.compile(ABSOLUTE_URI)
SECONDS = re.compile(r"second-([0-9]+)", re.ASCII | re.IGNORECASE)
REFERENCE = re.compile(rf"(?:{SCHEME}://([^/?]*))?((?:/[^?]*)?)(?:\?.*)?")
UNUSABLE = re.compile(r"[\x00-\x20\x7f#]")
AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@\\<>\"]+)(?::[0-9]*)?")
PREFERENCE = re.compile(r'(?:[^",]|"[^"]*")+')
HEADER_SAFE = re.compile(rf"[ !-$&-~]{{1,{MAX_HEADER_TEXT}}}")
# pchar and "/" without the percent sign (RFC 3986 section 3.3); the same on every server, whatever it was sent
HREF_SAFE = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]*")

DEFAULT_PORTS = (":80", ":443", ":")
HEADER_BYTES = tuple(chr(n) if HEADER_SAFE.match(chr(n)) else f"%{n:02X}" for n in range(256))
HREF_BYTES = tuple(chr(n) if HREF_SAFE.fullmatch(chr(n)) else f"%{n:02X}" for n in range(256))


# --- Lock-Token -------------------------------------------------------------------------------------------------------


# Lock-Token = "Lock-Token" ":" Coded-URL
# Coded-URL = "<" absolute-URI ">"
def parse_lock_token(value: str) -> str:
    """The lock token in a `Lock-Token` field of an UNLOCK.

    A bare absolute URI is read too, for some clients leave the brackets out; then it holds no comma, which is what
    joins two fields. Raises `BadField` for anything else, two tokens among it. Source: RFC 4918 section 10.5.
    """
    text = value.strip(" \t")
    if coded := CODED_URL.fullmatch(text):
        return coded[1]
    if BARE_URI.fullmatch(text) and "," not in text:
        return text
    raise BadField("Lock-Token", value, "one lock token in angle brackets, <urn:uuid:...>")


# --- Timeout ----------------------------------------------------------------------------------------------------------


# TimeOut = "Timeout" ":" 1#TimeType
# TimeType = ("Second-" DAVTimeOutVal | "Infinite")      ; no LWS allowed within TimeType
# DAVTimeOutVal = 1*DIGIT
def parse_timeout(value: str | None) -> tuple[float, ...]:
    """The wishes of a `Timeout` field in order, in seconds; `math.inf` for Infinite. Never raises.

    What is no TimeType is skipped; a number beyond `MAX_SECONDS` counts as `MAX_SECONDS`. `value` None means that the
    field is absent: no wishes. Source: RFC 4918 section 10.7.
    """
    wishes = (_time_type(item.strip(" \t")) for item in (value or "").split(","))
    return tuple(wish for wish in wishes if wish is not None)


def _time_type(item: str) -> float | None:
    if item.lower() == "infinite":
        return math.inf
    number = SECONDS.fullmatch(item)
    if number is None:
        return None
    # Eleven digits are beyond the bound whatever they say, and int() refuses more than 4 300.
    digits = number[1].lstrip("0") or "0"
    return float(MAX_SECONDS if len(digits) > 10 else min(int(digits), MAX_SECONDS))


def granted_timeout(wishes: Sequence[float], minimum: float, default: float, maximum: float) -> float:
    """The duration to grant, in seconds: the first wish brought within bounds, or `default` where none was readable.

    `default` is taken as it is: policy has checked it. Source: RFC 4918 sections 6.6 and 10.7.
    """
    return min(max(wishes[0], minimum), maximum) if wishes else default


def timeout_text(seconds: float) -> str:
    """`seconds` as a TimeType for `Timeout` answers and `D:timeout`: `Second-900`, or `Infinite` for `math.inf`."""
    return "Infinite" if seconds == math.inf else f"Second-{seconds_up(seconds)}"


def seconds_up(remaining: float) -> int:
    """`remaining` in whole seconds, rounded up, from 1 to `MAX_SECONDS`: a live lock never says 0."""
    return max(1, math.ceil(min(remaining, MAX_SECONDS) - JITTER))


# --- Depth and Overwrite ----------------------------------------------------------------------------------------------


# Depth = "Depth" ":" ("0" | "1" | "infinity")
def parse_depth(value: str | None, allowed: Collection[str], absent: str) -> str:
    """The depth that `value` names, in lower case, or `absent` where there is no such field.

    `allowed` is what the method takes, of `0`, `1` and `infinity`. Raises `BadField` for anything else.
    Source: RFC 4918 section 10.2.
    """
    if value is None:
        return absent
    depth = value.strip(" \t").lower()
    if depth not in allowed:
        raise BadField("Depth", value, f"{' or '.join(sorted(allowed))} for this method")
    return depth


# Overwrite = "Overwrite" ":" ("T" | "F")
def parse_overwrite(value: str | None) -> bool:
    """Whether a COPY or MOVE may replace its destination: True where the field is absent. Raises `BadField`.

    Source: RFC 4918 section 10.6.
    """
    if value is None:
        return True
    flag = value.strip(" \t").upper()
    if flag not in ("T", "F"):
        raise BadField("Overwrite", value, "T or F")
    return flag == "T"


# --- Destination and Resource-Tag -------------------------------------------------------------------------------------


class Destination(NamedTuple):
    """Where a `Destination` field points, and a Resource-Tag likewise: a Simple-ref.

    `authority` is host and port as written, None for an absolute path; `path` the decoded path without its query, never
    empty; `raw` the whole as written. Source: RFC 4918 section 8.3.
    """

    authority: str | None
    path: str
    raw: str


# Destination = "Destination" ":" Simple-ref
def parse_destination(value: str) -> Destination:
    """Read a `Destination` field. Raises `BadField` for all but an absolute URI with a host, or an absolute path.

    A fragment, white space, control characters, `//host/path` and `user@host` are refused: servers read them in
    different ways, and the lock must be looked up where the application writes. Source: RFC 4918 section 10.3.
    """
    return _simple_ref("Destination", value)


# Resource-Tag = "<" Simple-ref ">"
def parse_resource_tag(uri: str) -> Destination:
    """Read the Resource-Tag of an `If`, given without its brackets. Raises `BadField`.

    Source: RFC 4918 section 10.4.
    """
    return _simple_ref("If", uri)


# Simple-ref = absolute-URI | ( path-absolute [ "?" query ] )
def _simple_ref(field: str, value: str) -> Destination:
    raw = value.strip(" \t")
    found = None if UNUSABLE.search(raw) or raw[:2] in ("", "//") else REFERENCE.fullmatch(raw)
    if found is None or (found[1] is None and not found[2]):
        raise BadField(field, value, "an absolute URI with a host, or an absolute path, without a fragment")
    if found[1] is not None and not AUTHORITY.fullmatch(found[1]):
        raise BadField(field, value, "host or host:port after the scheme, without user information")
    path = percent_decode(_sent_text(found[2])) or "/"
    if too_long(path):
        raise BadField(field, value, f"a path of at most {MAX_PATH} characters")
    return Destination(found[1], path, raw)


def _sent_text(path: str) -> str:
    """A path that holds raw UTF-8, which is not allowed but sent, arrives as latin-1: the text that it stands for."""
    try:
        return path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return path


def same_authority(authority: str | None, host: str | None, public: str | None = None) -> bool:
    """Whether `authority` (of a Destination or a tag) is this server; None, an absolute path, always is.

    `host` is the request's Host, `public` the authority or URL that clients see in front of a proxy that rewrites Host.
    Case, scheme and the default ports do not matter: a proxy that ends TLS changes them. Source: RFC 4918 section 10.3.
    """
    if authority is None:
        return True
    ours = {_plain_authority(name) for name in (host, public) if name}
    return _plain_authority(authority) in ours


def _plain_authority(name: str) -> str:
    plain = name.strip(" \t").lower().rpartition("://")[2].partition("/")[0]
    for port in DEFAULT_PORTS:
        plain = plain.removesuffix(port)
    return plain


# --- Prefer -----------------------------------------------------------------------------------------------------------


# Prefer = "Prefer" ":" 1#preference
# preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] )
def parse_prefer(value: str | None) -> dict[str, str]:
    """The preferences of a request: names in lower case, each with its value, or "" without one. Never raises.

    Of a preference that comes twice the first counts; parameters and what cannot be read are skipped.
    Source: RFC 7240 section 2; `return` section 4.2, `depth-noroot` RFC 8144 section 3.
    """
    found: dict[str, str] = {}
    for item in PREFERENCE.findall(value or ""):
        name, _, rest = item.partition(";")[0].partition("=")
        if name := name.strip(" \t").lower():
            found.setdefault(name, rest.strip(" \t").removeprefix('"').removesuffix('"'))
    return found


# --- text going out ---------------------------------------------------------------------------------------------------


def header_text(value: str) -> str | None:
    """A value that people wrote, as plain ASCII for a header field; None where nothing is left of it. Never raises.

    Whatever is not printable ASCII, and the percent sign, is percent-encoded as UTF-8 (the way of RFC 8187), so it can
    be read back. Cut after `MAX_HEADER_TEXT` characters, never within a character. A lone surrogate becomes `?`.
    """
    text = value.strip()
    if HEADER_SAFE.fullmatch(text):
        return text
    kept: list[str] = []
    left = MAX_HEADER_TEXT
    for character in text[:MAX_HEADER_TEXT]:
        encoded = "".join(HEADER_BYTES[byte] for byte in character.encode("utf-8", "replace"))
        left -= len(encoded)
        if left < 0:
            break
        kept.append(encoded)
    return "".join(kept).rstrip() or None


def http_quote(path: str) -> str:
    """A decoded path, percent-encoded for an href or a header: the same spelling under ASGI and WSGI. Never raises.

    Source: RFC 3986 section 3.3.
    """
    if HREF_SAFE.fullmatch(path):
        return path
    return "".join(map(HREF_BYTES.__getitem__, path.encode("utf-8", "replace")))
