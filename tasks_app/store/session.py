"""The connections of a thread that claims or settles."""

from __future__ import annotations

from typing import Protocol


class Session(Protocol):
    """The settings of one thread's connections, for that thread."""

    def configure(self) -> None:
        """Connect if necessary, and configure a connection that is new. Raises DatabaseError."""
