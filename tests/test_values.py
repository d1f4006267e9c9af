"""The values that the house is built of: frozen, copied with a change, and printed without a token (T12)."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import locklib
from locklib.core.model import Ended, Held, Lock, Permit, Query, Refusal, Snapshot, Tombstone, replace
from locklib.core.moves import Act
from locklib.core.policy import Policy, Route, Timeouts
from locklib.errors import ConfigurationError

TOKEN = "urn:uuid:5f3c1b0a-9d8e-4f6a-8b4c-3d2e1f0a9b8c"
LOCK = Lock(TOKEN, "/a", creator="anna")
STONE = Tombstone(TOKEN, "/a", "/a", "anna", Ended.BROKEN)
PERMIT = Permit("p1", "", ("/a",), tokens=(TOKEN,))
HOLDING = {
    "a lock": LOCK,
    "a tombstone": STONE,
    "a permit": PERMIT,
    "a snapshot": Snapshot((Held(LOCK, 1.0),), tombstones=(STONE,)),
    "a query with a claim": Query(claim=PERMIT),
    "a refusal": Refusal(423, "locked", "Locked", "m", "/a", held=Held(LOCK, 1.0), tombstone=STONE),
}


@pytest.mark.parametrize("name", HOLDING)
def test_t12_no_token_is_printed(name: str) -> None:
    told = f"{HOLDING[name]} {HOLDING[name]!r}"
    assert TOKEN not in told
    assert "/a" in told


def test_what_is_printed_names_the_fields() -> None:
    assert repr(PERMIT) == (
        "Permit(id='p1', namespace='', keys=('/a',), trees=(), memberships=(), creator=None, lasts=inf)"
    )


@pytest.mark.parametrize("value", [LOCK, STONE, PERMIT, Policy(dav=True), Route("/a", "check"), Timeouts(1, 2, 3)])
def test_a_value_is_frozen_equal_to_its_copies_and_hashed_alike(value: Any) -> None:
    copies = [copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value)), replace(value)]
    assert all(each == value and hash(each) == hash(value) and type(each) is type(value) for each in copies)
    name = value._fields[0]
    with pytest.raises(AttributeError):
        setattr(value, name, getattr(value, name))
    with pytest.raises(AttributeError):
        delattr(value, name)


def test_replace_changes_what_is_named_and_leaves_the_first_as_it_was() -> None:
    assert replace(LOCK, creator="bob") == Lock(TOKEN, "/a", creator="bob")
    assert LOCK.creator == "anna"
    for value in (LOCK, PERMIT):
        with pytest.raises((ValueError, TypeError), match="colour"):
            replace(value, colour="red")


def test_a_move_is_copied_with_its_undo() -> None:
    act: Act[None] = Act(Query(), lambda _: None, lambda _: None, lambda: None)  # type: ignore[arg-type,return-value]
    undone = replace(act, undo=(act.query, act.step))
    assert (undone.undo, act.undo) == ((act.query, act.step), None)
    assert (undone.query, undone.step, undone.then, undone.down) == (act.query, act.step, act.then, act.down)


# --- settings: frozen dataclasses to whoever uses them ---


def test_a_setting_is_validated_whichever_way_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="minimum <= default"):
        replace(Timeouts(), minimum=1e9)
    with pytest.raises(ConfigurationError, match="minimum <= default"):
        dataclasses.replace(Timeouts(), minimum=1e9)
    assert replace(Policy(), routes=["/a"]).routes == (Route("/a"),)
    assert dataclasses.replace(Policy(), dav=True) == Policy(dav=True) != Policy()


def test_a_setting_has_the_fields_of_a_dataclass() -> None:
    assert [(field.name, field.default) for field in dataclasses.fields(Timeouts)] == [
        ("minimum", 1.0),
        ("default", 900.0),
        ("maximum", 86_400.0),
    ]
    assert dataclasses.fields(Route)[0].default is dataclasses.MISSING
    assert dataclasses.asdict(Timeouts(1, 2, 3)) == {"minimum": 1, "default": 2, "maximum": 3}


def test_a_setting_is_printed_as_it_is_written() -> None:
    assert repr(Timeouts(1, maximum=950.0)) == "Timeouts(minimum=1, default=900.0, maximum=950.0)"
    assert Timeouts(1, 2, 3) != (1, 2, 3)


WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "one too many": ((1, 2, 3, 4), {}, "one too many"),
    "given twice": ((1,), {"minimum": 1}, "given twice"),
    "unknown": ((), {"longest": 1}, "longest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_that_a_setting_does_not_take(name: str) -> None:
    values, named, said = WRONG[name]
    with pytest.raises(TypeError, match=f"Timeouts takes minimum, default, maximum.*{said}"):
        Timeouts(*values, **named)


def test_a_setting_without_what_it_needs() -> None:
    with pytest.raises(TypeError, match="missing: path"):
        Route()  # type: ignore[call-arg]


# --- what the import brings along ---


def modules_of(name: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); import {name}; print(*set(sys.modules) - before)"
    here = {**os.environ, "PYTHONPATH": str(Path(locklib.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=here)
    return set(done.stdout.split())


def test_the_core_of_a_request_brings_no_compiler_of_classes_and_nothing_that_only_some_answers_need() -> None:
    brought = modules_of("locklib.core.exchange")
    assert "locklib.core.admission" in brought
    assert brought.isdisjoint({"dataclasses", "inspect", "ast", "dis", "urllib.parse", "json", "datetime"})
    assert brought.isdisjoint(f"locklib.core.{name}" for name in ("locking", "lockinfo", "refusals", "dav", "xmlin"))


def test_the_package_itself_brings_next_to_nothing() -> None:
    assert modules_of("locklib") <= {"locklib", "__future__"}
