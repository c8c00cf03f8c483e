"""Why a slot has no container."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """`sentence` names the handler. `engine`: why its engine cannot be reached, if that is the cause; else None."""

    sentence: str
    engine: str | None = None
