"""Patience: whether it is worth a moment to wait for more of the same, learned from what waiting has brought."""

from __future__ import annotations

#: It is worth it where it brought so many of late; elsewhere it is tried again after so many times.
WORTH_IT, TRY_AGAIN = 0.5, 16


class Patience:
    """Used by one thread."""

    def __init__(self) -> None:
        #: How many more a wait has brought of late.
        self.gain = 1.0
        self._untried = 0

    def worth_it(self) -> bool:
        """Whether to wait now. If so, `brought` is to be told what came of it."""
        if self.gain < WORTH_IT and self._untried < TRY_AGAIN:
            self._untried += 1
            return False
        self._untried = 0
        return True

    def brought(self, more: int) -> None:
        """So many came while somebody waited for them."""
        self.gain += (more - self.gain) / 8
