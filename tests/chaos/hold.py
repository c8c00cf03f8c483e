from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hold:
    """A pause of a type, or a drain of a node (`name`): from the answer until the request that ended it was sent."""

    kind: str
    name: str
    since: float
    until: float
