"""A node's connections on SQLite need no settings of their own."""

from __future__ import annotations


class Session:
    """See Session of the protocol. `bare_writing` makes a commit that need not be durable."""

    def __init__(self, durable: bool = True) -> None:
        pass

    def configure(self) -> None:
        """See Session of the protocol."""
