"""A reactor for pools without a node."""

from __future__ import annotations

import threading

from tasks_app.runner.reactor import Reactor


class PolledReactor(Reactor):
    """A reactor that a thread of its own polls, until it is closed."""

    def __init__(self, begin: bool = True) -> None:
        """Without `begin` nothing polls it before `begin` is called."""
        super().__init__()
        self._thread = threading.Thread(target=self.poll_in_background, name="reactor", daemon=True)
        if begin:
            self.begin()

    def begin(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Close it, after the pools that use it."""
        super().close()
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        self.release()
