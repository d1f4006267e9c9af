"""T25: nobody shuts everybody out by one lock on the root, in whatever spelling."""

from __future__ import annotations

import pytest

from support.threats import lockinfo

XML = {"Content-Type": "application/xml"}
ROOTS = [
    "/",
    "//",
    "/.",
    "/..",
    "/./",
    "/a/..",
    "/%2e",
    "/%2e%2e",
    "/%252e",
    "/;x",
    "/%2f",
    "/%5c",
    "/\\",
    "/a/%2e%2e/",
    "/?x",
]
ROOTS += ["/;", "/.;x", "/a%2f..", "/%2e%2e%2f"]


@pytest.mark.parametrize("depth", [None, "infinity", "Infinity"])
@pytest.mark.parametrize("mount", ["", "/dav"])
@pytest.mark.parametrize("target", ROOTS)
def test_t25_depth_infinity_on_the_root_is_refused(target, mount, depth, guarded):
    shell = guarded()
    shell.lock("/held", "alice")
    with shell.untouched():
        fields = XML | ({} if depth is None else {"Depth": depth})
        got = shell("LOCK", target, fields, lockinfo(), user="bob", mount=mount)
        assert got.status in (400, 403)
    assert shell("PUT", "/free", {}, b"x", user="carol", mount=mount).status == 201


@pytest.mark.parametrize("body", [b"{}", b'{"depth": "infinity"}', b'{"scope": "shared"}'])
def test_t25_by_json_as_well(body, guarded):
    shell = guarded()
    with shell.untouched():
        assert shell("LOCK", "/", {"Content-Type": "application/json"}, body, user="bob").status == 403


@pytest.mark.parametrize("target", ROOTS)
def test_t25_depth_0_is_allowed(target, guarded):
    shell = guarded()
    got = shell("LOCK", target, {**XML, "Depth": "0"}, lockinfo(), user="bob")
    assert got.status in (200, 201)
    assert shell("PUT", "/a", {}, b"x", user="carol").status == 204


@pytest.mark.parametrize("target", ["/a", "/a/b", "/.x", "/..x", "/%252fx"])
def test_t25_depth_infinity_on_a_part_is_allowed(target, guarded):
    shell = guarded()
    assert shell("LOCK", target, XML, lockinfo(), user="bob").status in (200, 201)


@pytest.mark.parametrize(("settings", "status"), [({"dav": True}, 200), ({"infinity_on_root": True}, 200)])
def test_t25_unless_a_setting_says_so(settings, status, guarded):
    shell = guarded(**settings)
    assert shell("LOCK", "/", XML, lockinfo(), user="bob").status == status


def test_t25_with_dav_it_can_be_switched_off(guarded):
    shell = guarded(dav=True, infinity_on_root=False)
    for target in ROOTS:
        with shell.untouched():
            assert shell("LOCK", target, XML, lockinfo(), user="bob").status in (400, 403)


def test_t25_a_key_of_the_applications_own_is_no_way_around(guarded):
    shell = guarded(key=lambda path: path.strip("/") or "home")
    with shell.untouched():
        assert shell("LOCK", "/", XML, lockinfo(), user="bob").status == 403
