"""How many rows to write in one statement, on a database that may refuse many."""

from __future__ import annotations


class BatchSize:
    """At most `most`. Half of a batch that the database refuses; a quarter more after each full one that it takes, so
    that on a slow database few batches are refused."""

    def __init__(self, most: int) -> None:
        self._most = self.rows = most

    def refused(self, rows: int) -> None:
        """A batch of so many rows was refused."""
        self.rows = max(rows // 2, 1)

    def taken(self, rows: int) -> None:
        """A batch of so many rows was written."""
        if rows >= self.rows:
            self.rows = min(self.rows + max(self.rows // 4, 1), self._most)
