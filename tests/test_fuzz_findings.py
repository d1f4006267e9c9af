"""What `python -m fuzz` has found, each as a test of its own, named after the rule that it broke."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from time import thread_time

import pytest
from fuzz.requests import REQUESTS
from fuzz.site import MIDDLEWARE, Request, Site
from fuzz.watch import Watch

from locklib.core.paths import MAX_PATH, covers, parents_of_every_reading

SHARED = '{"scope": "shared"}'
LOCKED: Request = ("LOCK", "/a", [("X-User", "anna")], '{"scope": "exclusive"}')


def thread_seconds(kind: str, path: str) -> float:
    """The least thread time of a PUT of `path` beside a lock."""
    target = next(each for each in REQUESTS if each.name == kind)
    least = 60.0
    for _ in range(5):
        site = Site(kind, "plain", target.make)
        site.send(LOCKED)
        start = thread_time()
        assert site.send(("PUT", path, [], "x")).status < 500
        least = min(least, thread_time() - start)
    return least


HIDING = {
    "a deep path, then %252F": lambda n: "/" + "a/" * (n // 4) + "b%252F" * (n // 8),
    "%252F throughout": lambda n: "/" + "a%252F" * (n // 5),
    "%255C throughout": lambda n: "/" + "a%255C" * (n // 5),
}


# ---- T15: separators that only some applications see -----------------------------------------------------------------


@pytest.mark.parametrize("kind", MIDDLEWARE)
@pytest.mark.parametrize("shape", HIDING)
def test_t15_a_path_that_hides_many_separators_costs_no_more_than_its_length(kind, shape):
    """It cost 390 ms at 4 kB: each of 500 parents, and each key above each of them, was looked up one by one."""
    short, long = (thread_seconds(kind, HIDING[shape](length)) for length in (1000, 4000))
    assert long < 9 * short  # 4 is linear, 16 quadratic


def test_t15_the_parents_of_a_path_that_hides_many_separators_are_few():
    """A store outside the process asks for every one of them, with all that is above it."""
    path = ("/" + "a/" * 1000 + "b%2F" * 500)[:MAX_PATH]
    assert sum(map(len, parents_of_every_reading(path))) < 64 * len(path)


def test_t15_a_path_that_hides_a_few_separators_still_has_all_its_parents():
    assert set(parents_of_every_reading("/c/a%2Fb%5Cd")) >= {"/c", "/c/a", "/c/a/b"}


def test_t15_every_parent_of_a_path_that_hides_many_lies_under_one_that_is_looked_up():
    """However few are named, none of the collections that may change is left out."""
    parents = parents_of_every_reading("/c/" + "a%2F" * 400 + "b")
    for depth in (0, 1, 15, 16, 17, 399, 400):
        collection = "/c" + "/a" * depth
        assert any(covers(parent, collection) or covers(collection, parent) for parent in parents)


# ---- T5: an owner that others cannot read ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MIDDLEWARE)
@pytest.mark.parametrize("name", ["}", "urn:{x}", "a}b"])
def test_t05_no_lock_makes_an_answer_that_elementtree_cannot_read(kind, name):
    """A namespace name with a brace is no URI reference, and expat refuses it where a brace parts names (ElementTree):
    whoever sent it as an owner could make lockdiscovery unreadable for others. Refused, or shown so that all can."""
    body = (
        '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype>'
        f'<D:owner><x xmlns="{name}"/></D:owner></D:lockinfo>'
    )
    site = Site(kind, "bearer", MIDDLEWARE[kind])
    got = site.send(("LOCK", "/a", [("Content-Type", "application/xml")], body))
    assert got.status in (200, 400)
    ET.fromstring(got.body)
    found = site.send(("PROPFIND", "/a", [("Depth", "0")], ""))
    assert found.status == 207
    ET.fromstring(found.body)


# ---- what looked like a fault and is none ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", REQUESTS, ids=lambda target: target.name)
def test_rfc4918_9_10_4_a_shared_lock_makes_its_empty_resource_beside_a_shared_lock_that_stayed(target):
    """A DELETE by another spelling leaves the lock (too locked is safe). A second shared LOCK is granted beside it, and
    what it makes is made under its own lock; the first one's token need not be shown."""
    first = ("LOCK", "/a", [("X-User", "anna")], SHARED)
    delete = ("DELETE", "//a", [("X-User", "anna"), ("If", "<{m}/a> (<{0}>)")], "")
    second = ("LOCK", "/a", [("X-User", "bob")], SHARED)
    site = Site(target.kind, "dav", target.make)
    watch = Watch()
    target.play(("dav", [first, delete, second]), watch)  # every rule of the fuzzer holds
    assert len(watch.took) == 3
    for request, status in ((first, 200), (delete, 204), (second, 201)):
        before, tree = site.locks(), dict(site.folder.tree)
        got = site.send(site.filled(request))
        assert got.status == status
        site.check(site.filled(request), before, tree, got)
    assert len(site.locks()) == 2
