"""Nodes that the tests of a file share: a test takes one that lives, whoever started it."""

from __future__ import annotations

from testkit.daemon import Daemon
from testkit.process import Process


class Nodes:
    """The nodes of a deployment. Those that a test kills are gone; the others work on for the next test."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._started: list[Process] = []

    def living(self) -> Process:
        """A node at work."""
        alive = self._alive()
        return alive[0] if alive else self.new()

    def new(self) -> Process:
        """One more."""
        self._started.append(self._daemon.worker())
        return self._started[-1]

    def stop(self) -> None:
        """All of them."""
        for node in self._alive():
            node.stop()

    def _alive(self) -> list[Process]:
        return [node for node in self._started if node.popen.poll() is None]
