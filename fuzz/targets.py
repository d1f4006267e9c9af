"""All targets, by name."""

from __future__ import annotations

from typing import Any

from fuzz.bodies import BODIES
from fuzz.fields import FIELDS
from fuzz.keys import PATHS
from fuzz.requests import REQUESTS

__all__ = ["TARGETS"]

EVERY: tuple[Any, ...] = (*FIELDS, *BODIES, *PATHS, *REQUESTS)
TARGETS: dict[str, Any] = {target.name: target for target in EVERY}
