"""How much a test does: CI runs its short form, TEST_LARGE=1 its large one, by hand, which takes minutes or hours."""

from __future__ import annotations

import os
from typing import TypeVar

LARGE = os.environ.get("TEST_LARGE") == "1"
T = TypeVar("T")


def size(short: T, *, large: T) -> T:
    """The one of the two that this run does. The short one shows each kind of fault; the large one, how it goes on."""
    return large if LARGE else short
