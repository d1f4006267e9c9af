"""The board of permits of one host: segments in shared memory, one or more for each process, read by all.

Knows: segments and their slots, `Permit`, fork, a monotonic clock (CLOCK_MONOTONIC is one for the host).
Must not know: the layout of a file, flock, whether a permit and a lock conflict (a rule of the core), SQL, a request.

**Why publish-then-look is sound.** The word of a slot is in memory that all processes of the host share, before
`publish` returns. Then the writer begins to read the database, and a LOCK lists this directory after its commit. SQLite
puts a full memory barrier between taking its place as a reader and trusting what it read, and another behind each
commit; both go through the kernel's locks of one file too. So of any two, one sees the other. Who looks at anything but
SQLite must put such a barrier there by itself.

**Threads.** Publishing a plain write takes no mutex: a slot is taken by `list.pop`, and whoever gets the claim out of
`_held` (`dict.pop`) ends it, once. Everything rarer holds `_mutex`, and whoever looks holds `_looking` (taken first).
A forked child has nothing published: it closes what it inherited (the flock stays with the parent) and makes its own.

**Removed by hand.** An owner that finds its file gone makes another and copies what is still published: at the next
`publish`, at the next look of its own, and once in 64 claims of one slot. Not covered: a looker that first sees the
directory between the removal and that moment misses what stood in the removed file.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from secrets import token_hex
from threading import RLock
from typing import Any, TypeAlias
from weakref import WeakSet
from zlib import crc32

from locklib.core.model import Lock, Permit
from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.common import may_touch
from locklib.stores.sqlite.segments import (
    ROOM,
    SMALL,
    WORD,
    Others,
    Segment,
    Spot,
    drained,
    make,
    making,
    permit_of,
    renamed,
    size_for,
    text_of,
)

__all__ = ["Board", "Claim"]

Claim: TypeAlias = list[Any]
"""One cell with the spot, which changes when the claim moves; behind it, for one that has moved, its first name."""

CHECKED = 127
"""A claim looks whether its file is still there when its sequence ends in this: once in 64 uses of a slot."""

NO_SPOTS: list[Spot] = []


# ---- the board ----------------------------------------------------------------------------------------------------


class Board:
    """Permits of all namespaces and processes that share `directory` (a path, made with mode 0700 when needed).

    clock: monotonic seconds, the same for all processes. Every word of it that touches the disk may raise
    `StoreUnavailable` (no permission, no space), or `ConfigurationError` on a system without flock.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_free",
        "_held",
        "_looking",
        "_made",
        "_mark",
        "_mutex",
        "_others",
        "_own",
        "_permits",
        "_places",
        "_small",
        "directory",
    )

    def __init__(self, directory: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory: str = os.fspath(directory)
        self._clock = clock
        self._begin()
        _boards.add(self)

    def _begin(self) -> None:
        """Start with nothing published and nobody known (after a fork too)."""
        self._looking, self._mutex = RLock(), RLock()
        self._empty()

    def _empty(self) -> None:
        self._mark = f"{os.getpid()}-{token_hex(8)}"
        self._made = 0
        self._own: list[Segment] = []
        self._small: list[Spot] = []
        self._free: dict[int, list[Spot]] = {SMALL: self._small}
        self._held: dict[int, Claim] = {}
        self._permits: dict[str, Claim] = {}
        self._others = Others(self.directory, self._mark)
        self._places: dict[str, tuple[Segment, int, int, bool]] = {}

    def open(self) -> None:
        """Make the own file now, and make sure that flock excludes here. Cheap the second time.

        Raises `ConfigurationError` if there is no flock, `StoreUnavailable` if the file cannot be made.
        """
        with self._mutex, self._told("opened"):
            if self._own:
                return
            self._grow(SMALL)
            if not self._own[0].excludes():
                self.close()
                raise ConfigurationError(
                    f"flock does not keep others out in {self.directory}, and by it processes see who is at work: put "
                    "the database on a local file system"
                )

    def close(self) -> None:
        """Withdraw everything and remove the own files. May be called twice; publishing makes a file anew."""
        with self._looking, self._mutex:
            own, others = self._own, self._others
            self._empty()
            for segment in own:
                segment.remove()
            others.leave()

    def forked(self) -> None:
        """In a forked child: nothing is published, and what the parent published is left as it stands."""
        for segment in self._own:
            segment.leave()
        self._others.leave()
        self._begin()

    # -- plain writes

    def claim_now(self, namespace: str, key: str, tree: bool = False) -> Claim:
        """Publish a plain write of `key` (with `tree`, a removal), without a deadline; what `end_now` takes."""
        text = f"{'T' if tree else 'P'}{len(namespace)} {namespace}{key}".encode("utf-8", "surrogatepass")
        try:
            spot = (self._small if len(text) <= ROOM else NO_SPOTS).pop()
        except IndexError:
            return self._claim_at_leisure(text)
        segment, slot, start = spot
        sequence = segment.words[slot] + 1
        segment.pack(segment.memory, start, len(text), crc32(text, sequence & WORD), text)
        segment.words[slot] = sequence
        claim: Claim = [spot]
        self._held[id(claim)] = claim
        if segment.gone or sequence & CHECKED == CHECKED:
            self._check(claim)
        return claim

    def _claim_at_leisure(self, text: bytes) -> Claim:
        with self._mutex, self._told("written"):
            return self._put(text, inf)

    def end_now(self, claim: Claim) -> None:
        """Withdraw `claim`; nothing happens the second time, nor in a forked child."""
        if self._held.pop(id(claim), None) is None:
            return
        segment, slot, _ = claim[0]
        if segment.gone:
            self._end_moved(claim)
        else:
            segment.words[slot] += 1
            segment.free.append(claim[0])

    def _end_moved(self, claim: Claim) -> None:
        """Wait until whoever moves claims has done with this one, which is not held any more."""
        with self._mutex:
            segment, slot, _ = claim[0]
            segment.words[slot] += 1
            if not segment.gone:
                segment.free.append(claim[0])

    def _check(self, claim: Claim) -> None:
        try:
            with self._mutex, self._told("written"):
                self._keep_own()
                if claim[0][0].gone:  # taken while the board was closed, or given back when all else had moved
                    self._move(claim)
        except BaseException:
            self.end_now(claim)  # the caller gets no claim to end
            raise

    # -- permits

    def publish(self, permit: Permit) -> None:
        """Make `permit` visible to every process for `permit.lasts` seconds; it takes the place of one with its id."""
        with self._mutex, self._told("written"):
            self._keep_own()
            before = self._permits.get(permit.id)
            self._permits[permit.id] = self._put(text_of(permit), self._clock() + permit.lasts)
            if before is not None:
                self.end_now(before)

    def end(self, permit: Permit) -> None:
        """Withdraw what this board published as `permit`, or a plain write of this board that was shown as it."""
        with self._mutex:
            claim = self._permits.pop(permit.id, None) or self._claim_named(permit.id)
            if claim is not None:
                self.end_now(claim)

    def _claim_named(self, name: str) -> Claim | None:
        if not name.startswith(self._mark):
            return None
        return next((claim for claim in list(self._held.values()) if _name(claim) == name), None)

    def renew(self, permit: Permit) -> None:
        """Start the deadline anew. A permit past its deadline has ended, whether or not somebody has looked since."""
        with self._mutex:
            if (claim := self._standing(permit.id)) is not None:
                segment, slot, _ = claim[0]
                segment.deadlines[slot] = self._clock() + permit.lasts

    def _standing(self, name: str) -> Claim | None:
        """The claim of our permit `name`, if it is within its deadline; else it is ended here."""
        claim = self._permits.get(name)
        if claim is None or id(claim) not in self._held:
            return None
        segment, slot, _ = claim[0]
        if not segment.deadlines[slot] <= self._clock():
            return claim
        del self._permits[name]
        self.end_now(claim)
        return None

    # -- looking

    def older(self, namespace: str, lock: Lock) -> tuple[Permit, ...]:
        """The permits of `namespace` that may touch what `lock` covers; ours past their deadline are taken off."""
        with self._looking, self._told("read"):
            segments, now = self._look(), self._clock()
            self._places = {name: place for name, place in self._places.items() if _is_live(place, now)}
            permits = list(self._shown(segments, namespace, now))
        return tuple(permit for permit in permits if permit.namespace == namespace and may_touch(permit, lock))

    def live(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that stand where they were last seen; only if one does not, everything is read."""
        wanted = frozenset(ids)
        with self._looking, self._told("read"):
            segments, now = self._look(), self._clock()
            found = {name for name in wanted if name in self._places and _is_live(self._places[name], now)}
            if len(found) < len(wanted):
                found |= {permit.id for permit in self._shown(segments, "", now)}
        return wanted & found

    def _shown(self, segments: Iterable[Segment], namespace: str, now: float) -> Iterator[Permit]:
        for segment in segments:
            for slot in segment.published():
                sequence = segment.words[slot]
                text = segment.read(slot, sequence)
                if text is None:
                    continue
                permit, bounded = permit_of(text, f"{segment.name}:{slot}:{sequence}", namespace)
                if bounded and segment.deadlines[slot] <= now:
                    self._take_off(permit.id)
                else:
                    self._places[permit.id] = segment, slot, sequence, bounded
                    yield permit

    def _take_off(self, name: str) -> None:
        with self._mutex:
            self._standing(name)

    def _look(self) -> list[Segment]:
        """Every live segment there is, ours first."""
        with self._mutex:
            self._keep_own()
            self._retire()
            own = list(self._own)
        return [*own, *self._others.look()]

    # -- our segments (under the mutex)

    def _put(self, text: bytes, deadline: float) -> Claim:
        spot = self._spot(size_for(len(text)))
        spot[0].fill(spot, text, deadline)
        claim: Claim = [spot]
        self._held[id(claim)] = claim
        return claim

    def _spot(self, size: int) -> Spot:
        while True:
            try:
                spot = self._free.setdefault(size, []).pop()
            except IndexError:
                self._grow(size)
            else:
                if not spot[0].gone:
                    return spot

    def _grow(self, size: int) -> None:
        self._made += 1
        segment = make(self.directory, f"{self._mark}-{self._made}", size)
        segment.free = self._free[size]
        segment.free.extend(segment.spots())
        self._own.append(segment)

    def _keep_own(self) -> None:
        """Make anew what was removed by hand. Only when all has moved does the old flock go."""
        lost = [segment for segment in self._own if segment.gone or not segment.is_there()]
        if not lost:
            return
        for segment in lost:
            segment.gone = True
        for free in self._free.values():
            free.extend(spot for spot in reversed(drained(free)) if not spot[0].gone)
        for claim in list(self._held.values()):
            if claim[0][0].gone:
                self._move(claim)
        for segment in lost:
            self._own.remove(segment)
            segment.leave()

    def _move(self, claim: Claim) -> None:
        """Publish `claim` in another segment, under the name it has; unless it is ended meanwhile (`_end_moved`)."""
        segment, slot, _ = claim[0]
        name = _name(claim)
        text = renamed(segment.read(slot, segment.words[slot]) or b"", name)
        spot = self._spot(size_for(len(text)))
        spot[0].fill(spot, text, segment.deadlines[slot])
        if id(claim) in self._held:
            claim[:] = spot, name
        else:
            spot[0].words[spot[1]] += 1
            spot[0].free.append(spot)

    def _retire(self) -> None:
        """Give back what is idle after a crowd has gone; of each size, one idle segment stays."""
        for size, free in self._free.items():
            ours = [segment for segment in self._own if segment.size == size]
            if len(ours) < 2 or len(free) < 2 * ours[0].count:
                continue
            spots = drained(free)  # whoever wants one now waits for the mutex
            idle = Counter(spot[0] for spot in spots)
            for segment in [segment for segment in ours if idle[segment] == segment.count][1:]:
                self._own.remove(segment)
                segment.remove()
            free.extend(spot for spot in reversed(spots) if not spot[0].gone)

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"the permits in {self.directory} could not be {done}: {error.strerror or error}"
                f"{f' ({error.filename})' if error.filename else ''}. It must be a directory on a local disk with free "
                "space, that this process may write to, and nothing else's; run all that use the file as one user"
            ) from error


def _name(claim: Claim) -> str:
    segment, slot, _ = claim[0]
    return str(claim[1]) if len(claim) > 1 else f"{segment.name}:{slot}:{segment.words[slot]}"


def _is_live(place: tuple[Segment, int, int, bool], now: float) -> bool:
    segment, slot, sequence, bounded = place
    return not segment.gone and segment.words[slot] == sequence and not (bounded and segment.deadlines[slot] <= now)


# ---- fork ---------------------------------------------------------------------------------------------------------

_boards: WeakSet[Board] = WeakSet()


def _after_fork() -> None:
    making.release()
    for board in list(_boards):
        board.forked()


if hasattr(os, "register_at_fork"):  # pragma: no branch - false only where there is no fork either
    os.register_at_fork(before=making.acquire, after_in_parent=making.release, after_in_child=_after_fork)
