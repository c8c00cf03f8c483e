from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request that the receiver of callbacks got. `id`: its `webhook-id`; `digest`: of its body; `answered`: with
    which status, 0 with none; `fault`: why the published library does not accept it, blank if it does; `data`: of its
    body.
    """

    at: float
    id: str
    digest: str
    answered: int
    fault: str
    kind: str
    data: dict[str, Any]

    @property
    def taken(self) -> bool:
        """Whether it was answered as delivered."""
        return 200 <= self.answered < 300
