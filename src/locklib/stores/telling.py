"""Notes on their way to a listener, after their commit.

Knows: `Note`, a mutex.
Must not know: how a store commits.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock as Mutex

from locklib.core.model import Note

__all__ = ["Teller"]


class Teller:
    """Hands notes to `listener`, one thread at a time and in the order of their commits; nothing if there is none.

    What they tell of is committed: who listens cannot undo it by raising, and may use the store.
    """

    def __init__(self, listener: Callable[[Note], None] | None) -> None:
        self._listener = listener
        self.untold: deque[Note] = deque()
        self._mutex: Mutex = Mutex()

    def add(self, notes: Iterable[Note]) -> None:
        """Take in what has just been committed, while nobody else commits."""
        if self._listener is not None:
            self.untold.extend(notes)

    def tell(self) -> None:
        """Hand on what is untold; where another thread is at it, that one does."""
        while self.untold and self._mutex.acquire(blocking=False):
            try:
                while self.untold:
                    self._tell_one(self.untold.popleft())
            finally:
                self._mutex.release()

    def _tell_one(self, note: Note) -> None:
        try:
            self._listener(note)  # type: ignore[misc]  # nothing is untold without one
        except Exception:
            logging.getLogger("locklib").exception("on_note failed for event %r", note.event)

    def forked(self) -> None:
        """In a forked child: the notes are the parent's, and so may be whoever was telling them."""
        self.untold.clear()
        self._mutex = Mutex()
