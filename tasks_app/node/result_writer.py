"""The result writer: saves attempt results in batches, durably.

It has threads and connections of its own, so that a claim does not wait for a commit of results: one for small results,
one for large ones, for which small ones do not wait, and one for those that the database refuses. On a database with
one writer at a time, where one commit waits for the other anyway, the dispatcher's thread writes them between its
claims.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.plan import MAX_BACKLOG, MAX_BACKLOG_BYTES, NO_RESULTS, WaitingResults
from tasks_app.node.result_lane import ResultLane
from tasks_app.node.settling import Settling
from tasks_app.node.tried_alone import ResultsTriedAlone
from tasks_app.queue.attempt import AttemptResult

#: A larger result takes the database longer than a commit does, and is written apart from the small ones.
MAX_SMALL_BYTES = 64 * 1024


class DispatcherTurns(Protocol):
    """When the dispatcher reads results; the reactor knows."""

    def in_turn(self) -> bool:
        """True if called in the dispatcher's thread while it reads."""

    def interrupt(self) -> None:
        """Let the dispatcher go on with its round."""


class ResultWriter:
    """Keeps each result until the database has saved it, or has dropped it because the attempt is no longer current."""

    def __init__(
        self, node: str, in_flight: InFlightTasks, mark_ready: Callable[[str], None], dispatcher: DispatcherTurns
    ) -> None:
        """`mark_ready`: a task of this type has gone back to pending and may be claimed at once."""
        self._dispatcher = dispatcher
        settling = Settling(node, in_flight, mark_ready)
        self._alone = ResultsTriedAlone(settling, dispatcher.interrupt)
        self._small = ResultLane(settling, self._alone.add)
        self._large = ResultLane(settling, self._alone.add, dispatcher.interrupt, large=True)

    def threads(self) -> Mapping[str, Callable[[], None]]:
        """What its threads run, by their names. Each ends after `stop`."""
        return {
            "result-writer": self._small.run,
            "large-results": self._large.run,
            "results-alone": self._alone.run,
        }

    def put(self, result: AttemptResult) -> None:
        """Queue a result, and let it be written. Never blocks."""
        large = result.result_size is not None and result.result_size > MAX_SMALL_BYTES
        lane = self._large if large else self._small
        lane.queue.put(result)
        if lane.has_thread and (large or not self._dispatcher.in_turn()):
            lane.wake()
        else:
            self._dispatcher.interrupt()  # it reads all that is there, then writes or wakes the thread

    def wake(self) -> None:
        """Let the thread write the small results that wait. Never blocks."""
        self._small.wake()

    def waiting(self) -> WaitingResults:
        """The results that wait."""
        small, large, alone = self._small.queue, self._large.queue, self._alone
        if not (small.unwritten or large.unwritten or len(alone)):
            return NO_RESULTS
        return WaitingResults(
            len(small), small.types, small.urgent, small.bytes, large.bytes + alone.bytes, large.types | alone.types
        )

    def problem(self) -> str | None:
        """Why results are late, in one sentence; None if they are not."""
        small, large = self._small.queue, self._large.queue
        for reason in (self._small.retrying.reason, self._large.retrying.reason, self._alone.retrying.reason):
            if reason:
                number = small.unwritten + large.unwritten + len(self._alone)
                wait = "1 waits" if number == 1 else f"{number} wait"
                return f"results cannot be written to the database ({reason}); {wait}"
        if (refused := self._alone.problem()) is not None:
            return refused
        if len(small) > MAX_BACKLOG or small.bytes > MAX_BACKLOG_BYTES:
            return f"{len(small)} results wait to be written to the database; nothing is claimed meanwhile"
        if large.bytes > MAX_BACKLOG_BYTES:
            types = ", ".join(f"'{name}'" for name in sorted(large.types))
            return (
                f"{large.unwritten} large results, {large.bytes >> 20} MiB, wait to be written to the database; "
                f"meanwhile no task of {types or 'their type'} is claimed"
            )
        return None

    def drain(self) -> None:
        """The node ends: what the database refuses is tried once more, then the task goes back without a retry."""
        self._alone.drain()

    def release(self) -> None:
        """The node's end waits no longer for large results: from now on their tasks go back without a retry."""
        self._large.release()
        self._alone.release()

    def stop(self) -> None:
        """End the threads once their queues are written, or a write has failed once more."""
        self._small.stop()
        self._large.stop()
        self._alone.stop()

    def write(self) -> None:
        """Write what waits, in the calling thread. What cannot be written waits for the next call."""
        for lane in (self._small, self._large):
            if len(lane.queue):
                lane.write()

    def idle(self) -> bool:
        """True if no result waits for the dispatcher, which writes it or wakes the thread that does."""
        return not (len(self._small.queue) or (len(self._large.queue) and not self._large.has_thread))
