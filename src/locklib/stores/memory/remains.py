"""What a namespace remembers besides its locks: tombstones of those that ended, tickets of those who wait.

Knows: `Tombstone` and `Ticket`, how long and how many of them are kept.
Must not know: why a lock ended, whose turn it is (both are rules of the core), a clock (it is told the time).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice

from locklib.core.model import Ticket, Tombstone
from locklib.stores.common import DAY, PER_CREATOR

__all__ = ["Graves", "Queue"]


class Graves:
    """The tombstones of a namespace by token: at most a day, at most 1 000 per creator, the youngest."""

    __slots__ = ("_creators", "_stones")

    def __init__(self) -> None:
        self._stones: OrderedDict[str, Tombstone] = OrderedDict()
        self._creators: dict[str | None, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._stones)

    def put(self, stone: Tombstone, now: float) -> None:
        self._remove(stone.token)
        self._stones[stone.token] = stone
        mine = self._creators.setdefault(stone.creator, {})
        mine[stone.token] = None
        if len(mine) > PER_CREATOR:
            self._remove(next(iter(mine)))
        self._age(now)

    def shown(self, tokens: Iterable[str], now: float) -> Iterator[Tombstone]:
        for token in tokens:
            stone = self._stones.get(token)
            if stone is not None and stone.at > now - DAY:
                yield stone

    def _remove(self, token: str) -> None:
        stone = self._stones.pop(token, None)
        if stone is None:
            return
        mine = self._creators[stone.creator]
        del mine[token]
        if not mine:
            del self._creators[stone.creator]

    def _age(self, now: float) -> None:
        """Two at most for each that comes: enough to shrink, and nobody pays for a whole yesterday."""
        for _ in range(2):
            token = next(iter(self._stones), None)
            if token is None or self._stones[token].at > now - DAY:
                return
            self._remove(token)


class Queue:
    """The tickets of a namespace. A ticket keeps its number as long as it is renewed before it runs out."""

    __slots__ = ("_deadlines", "_keys", "_tickets", "last")

    def __init__(self) -> None:
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._deadlines: dict[str, float] = {}
        self._keys: dict[str, dict[str, None]] = {}
        self.last: int = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, ticket: Ticket, now: float) -> None:
        """Take `ticket` in, or renew it: it lasts `ticket.lasts` seconds from `now`."""
        self._sweep(now)
        old = self._tickets.get(ticket.id)
        if old is not None and self._deadlines[ticket.id] > now and old.key == ticket.key:
            number = old.number
        else:
            number = self.last = self.last + 1
        self.drop(ticket.id)
        self._tickets[ticket.id] = Ticket(ticket.id, ticket.key, ticket.creator, ticket.lasts, number)
        self._deadlines[ticket.id] = now + ticket.lasts
        self._keys.setdefault(ticket.key, {})[ticket.id] = None

    def drop(self, id: str) -> None:
        ticket = self._tickets.pop(id, None)
        if ticket is None:
            return
        del self._deadlines[id]
        waiting = self._keys[ticket.key]
        del waiting[id]
        if not waiting:
            del self._keys[ticket.key]

    def shown(self, keys: Iterable[str], now: float) -> tuple[Ticket, ...]:
        """Those who wait on `keys`, in the order of their numbers; the others of these keys are removed first."""
        waiting = {id for key in keys for id in self._keys.get(key, ())}
        for id in [id for id in waiting if self._deadlines[id] <= now]:
            self.drop(id)
            waiting.discard(id)
        return tuple(sorted((self._tickets[id] for id in waiting), key=lambda ticket: ticket.number))

    def _sweep(self, now: float) -> None:
        """Look at two for each that comes, in turn, so that those nobody asks about are not kept for ever."""
        for id in list(islice(self._tickets, 2)):
            if self._deadlines[id] <= now:
                self.drop(id)
            else:
                self._tickets.move_to_end(id)
