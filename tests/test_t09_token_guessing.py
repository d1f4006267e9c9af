"""T9: a lock token is 122 random bits of the operating system, drawn anew after a fork (CVE-2026-92414)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from locklib.wiring import new_token
from support import servers

COUNT = 50_000
BITS = 128
FIXED = {*range(48, 52), 64, 65}
"""Bits of a UUID that say version and variant (RFC 9562 section 4)."""


@pytest.fixture(scope="module")
def tokens():
    return [new_token() for _ in range(COUNT)]


def bits(token: str) -> int:
    return int(token.removeprefix("urn:uuid:").replace("-", ""), 16)


def test_t09_are_uuids_of_version_4(tokens):
    for token in tokens[:1000]:
        uuid = UUID(token.removeprefix("urn:uuid:"))
        assert (uuid.version, uuid.variant, f"urn:uuid:{uuid}") == (4, RFC_4122, token)


def test_t09_all_differ(tokens):
    assert len(set(tokens)) == COUNT


def test_t09_122_bits_are_even_odds(tokens):
    """Six sigma of a fair coin; a counter, a clock or a fixed part would be far outside."""
    ones = [0] * BITS
    for token in tokens:
        value = bits(token)
        for place in range(BITS):
            ones[place] += value >> (BITS - 1 - place) & 1
    slack = 6 * (COUNT**0.5) / 2
    uneven = {place for place in range(BITS) if abs(ones[place] - COUNT / 2) > slack}
    assert uneven == FIXED


def test_t09_nor_do_neighbours_go_together(tokens):
    """Between one token and the next each bit changes half of the time: no counter, no time, no shared prefix."""
    changed = [0] * BITS
    for before, after in pairwise(tokens):
        value = bits(before) ^ bits(after)
        for place in range(BITS):
            changed[place] += value >> (BITS - 1 - place) & 1
    slack = 6 * (COUNT**0.5) / 2
    assert {place for place in range(BITS) if abs(changed[place] - COUNT / 2) > slack} == FIXED


def test_t09_no_seed_and_no_clock_leads_to_them(monkeypatch):
    drawn = set()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    for _ in range(10):
        random.seed(0)
        drawn.add(new_token())
    assert len(drawn) == 10


def test_t09_http_hands_out_those_tokens(guarded):
    shell = guarded()
    drawn = {shell.lock(f"/{number}", "alice") for number in range(50)}
    assert len(drawn) == 50
    assert all(UUID(token.removeprefix("urn:uuid:")).version == 4 for token in drawn)
    assert {lock.token for lock in shell.table()} == drawn


FORKING = """
import json, os, sys
from support.threats import Shell
shell = Shell(sys.argv[1])
found = [shell.lock("/parent", "alice")]       # whatever has a state, has it now
ends = []
for worker in range(8):
    read, write = os.pipe()
    if os.fork() == 0:
        tokens = [shell.lock(f"/{worker}/{number}", "alice") for number in range(200)]
        with os.fdopen(write, "w") as out:
            json.dump(tokens, out)
        os._exit(0)
    os.close(write)
    ends.append(read)
for read in ends:
    with os.fdopen(read) as back:
        found += json.load(back)
for _ in ends:
    assert os.wait()[1] == 0
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_t09_eight_forked_workers_draw_different_ones(kind):
    command = [sys.executable, "-c", FORKING, kind]
    ran = subprocess.run(command, env=servers.environment({}), capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert len(found) == len(set(found)) == 1 + 8 * 200
