"""An errand: a claim that is on its way to the server and back, while the clerk goes on listening to the slots."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Sequence

from tasks_app import clock
from tasks_app.lifecycle import Claimed, Claiming, Want
from tasks_app.lifecycle.claim import Selection
from tasks_app.runner.reactor import Events, Reactor


class Errand:
    """One at a time. Until `claimed` has answered or raised, the clerk asks its connection nothing else."""

    def __init__(self, node: str, wants: Sequence[Want], order: Selection, reactor: Reactor) -> None:
        """Send the claim. Raises DatabaseError."""
        self.wants = wants
        self.sent_at = clock.elapsed()
        """Before it was sent: a lease is counted from here."""
        self._reactor = reactor
        self._claiming = Claiming(node, wants, order)
        self._descriptor = self._claiming.fileno()
        self._heard = False
        self._watch()

    def wait(self) -> float:
        """For how many seconds there is nothing to do about it, unless its reactor hears something."""
        return 0.0 if self._heard else max(self._claiming.until - time.monotonic(), 0.0)

    def claimed(self) -> list[Claimed] | None:
        """What it brought, in the order in which it is to be started; None: not yet. Never waits.

        Raises DatabaseError.
        """
        if self.wait():
            return None
        # Before the connection is touched: if it is lost, its descriptor may be somebody else's at once.
        self._reactor.forget(self._descriptor)
        self._heard = False
        if not self._claiming.arrived():
            self._watch()
            return None
        return self._claiming.claimed()

    def heard(self, events: Events) -> None:
        """The reactor's: there is an answer, or a part of one, or the connection has ended."""
        # Once is enough: it stays readable until the clerk has read it, and whoever drives would hear it for ever.
        self._reactor.forget(self._descriptor)
        self._heard = True
        self._reactor.call()

    def look(self) -> float:
        """The reactor's: nothing of it is ever due."""
        return math.inf

    def stumbled(self) -> None:
        """The reactor's: its clerk is told by the error itself."""

    def _watch(self) -> None:
        self._reactor.watch(self._descriptor, select.POLLIN, self)
