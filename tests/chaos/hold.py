from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hold:
    """A pause of a type, or a drain of a node (`name`): from the answer until the request that ended it was sent."""

    kind: str
    name: str
    since: float
    until: float


@dataclass(frozen=True)
class SchedulePause:
    """A pause of a schedule: when it was asked for and answered, and when its end was asked for and answered."""

    name: str
    asked: float
    paused: float
    over: float
    resumed: float
