"""The settings: what cannot work is refused at start, and the error names what would."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from locklib.core.paths import Folding
from locklib.core.policy import Mode, Policy, Route, Timeouts
from locklib.errors import ConfigurationError

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown quirk": ({"quirks": {"finder"}}, "explorer, office"),
    "a string of quirks": ({"quirks": "office"}, "collection"),
    "a string of routes": ({"routes": "/docs"}, "collection"),
    "a string of roles": ({"bypass_roles": "admin"}, "collection"),
    "a route that is none": ({"routes": [42]}, "no Route"),
    "a route with too many": ({"routes": [("/a", "hold", "x")]}, "no Route"),
    "an unknown mode": ({"routes": [("/a", "sometimes")]}, "check, exempt, fence, hold"),
    "a route without slash": ({"routes": ["docs"]}, "must start with '/'"),
    "an endless wait": ({"hold_wait": math.inf}, "hold_wait"),
    "a negative wait": ({"hold_wait": -1}, "hold_wait"),
    "a body limit that takes no lockinfo": ({"body_limit": 10}, "1024"),
    "a public_url without scheme": ({"public_url": "docs.example.org"}, "https://"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_cannot_work(name: str) -> None:
    settings, words = WRONG[name]
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Policy(**settings)


@pytest.mark.parametrize("times", [(0, 1, 2), (5, 1, 2), (1, 3, 2)])
def test_timeouts_in_order(times: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigurationError, match="minimum <= default <= maximum"):
        Timeouts(*times)


def test_what_may_stand_for_a_route() -> None:
    policy = Policy(routes=["/a", ("/b", "check"), {"path": "/c", "reads": True}, Route("/d"), re.compile("/e.*")])
    assert [route.mode for route in policy.routes] == [Mode.HOLD, Mode.CHECK, Mode.HOLD, Mode.HOLD, Mode.HOLD]
    assert policy.routes[2].reads
    assert not policy.guards_all
    assert Policy().guards_all


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/docs", Mode.CHECK), ("/docs/a", Mode.CHECK), ("/docsx", Mode.EXEMPT), ("/x.tmp", Mode.FENCE),
     ("/x.tmp/y", Mode.EXEMPT), ("/docs/../y", Mode.CHECK), ("//docs/a", Mode.CHECK)],
)  # fmt: skip
def test_the_first_route_that_matches_and_the_stricter_reading(path: str, mode: Mode) -> None:
    policy = Policy(routes=[("/docs", "check"), Route(re.compile(r"/[^/]*\.tmp"), "fence")])
    assert policy.route(path).mode is mode


def test_folded_spellings_find_their_route() -> None:
    policy = Policy(routes=["/docs"], folding=Folding(case=True))
    assert policy.route("/DOCS/a").mode is Mode.HOLD
    assert Policy(routes=["/"]).route("/anything/at all").mode is Mode.HOLD


BESIDE = {
    "the stricter mode": (Route("/a", "check"), Route("/b"), Route("/a")),
    "exempt says nothing": (Route("/a", "exempt"), Route("/b", "fence", advisory=True),
                            Route("/b", "fence", advisory=True)),
    "exempt beside": (Route("/a", "fence", fail_open=True), Route("/b", "exempt"),
                      Route("/a", "fence", fail_open=True)),
    "advisory only if both are": (Route("/a", advisory=True), Route("/b"), Route("/a")),
    "advisory both": (Route("/a", advisory=True), Route("/b", advisory=True), Route("/a", advisory=True)),
    "fail open only if both do": (Route("/a", fail_open=True), Route("/b"), Route("/a")),
    "all that either counts as write": (Route("/a", writes=frozenset({"put"})), Route("/b", writes=frozenset({"GET"})),
                                        Route("/a", writes=frozenset({"PUT", "GET"}))),
    "all methods beside some": (Route("/a", writes=frozenset({"PUT"})), Route("/b"), Route("/a")),
    "reads if either does": (Route("/a"), Route("/b", reads=True), Route("/a", reads=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_two_routes_for_one_request(name: str) -> None:
    one, other, expected = BESIDE[name]
    assert one.beside(other) == expected
    assert one.beside(one) is one


def test_an_exempt_route_counts_no_method_as_a_write() -> None:
    assert not Route("/a", "exempt").counts_as_write("DELETE")
    assert Route("/a").counts_as_write("BREW")
    assert not Route("/a").counts_as_write("GET")
    assert Route("/a", writes=frozenset({"get"})).counts_as_write("GET")
