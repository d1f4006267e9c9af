"""How much memory something takes at its peak, where others in the process take some too.

Knows: `tracemalloc`. Must not know: what is measured, or how much is too much.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

__all__ = ["least_peak"]


def least_peak(action: Callable[[], object], runs: int = 5) -> int:
    """Bytes at the peak of one run of `action`: the least of `runs`, for what is measured is taken in each of them.

    What else goes on (coverage that puts its figures away, now and then) is not in all.
    """
    return min(_peak(action) for _ in range(runs))


def _peak(action: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
