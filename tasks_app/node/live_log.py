"""Stores what running attempts write, once a second, so that it can be read before they end."""

from __future__ import annotations

from typing import NamedTuple

from tasks_app.node.in_flight import AttemptKey, InFlightTasks, RunningAttempt
from tasks_app.queue.attempt import LiveEvents
from tasks_app.queue.current import store
from tasks_app.queue.live_events import write_live_events
from tasks_app.runner.call import MAX_LOG_BYTES, LiveOutput

#: Attempts that end earlier have no live events.
MIN_RUN_SECONDS = 1.0
#: An attempt's events are written at most every so many parts of the time that it has run, so that their number grows
#: with the logarithm of that time: 1,000 writes in the first 1,000 seconds, 5,500 in the first day.
MAX_WRITES_A_RUN = 1000
#: Of logs in one statement. Further attempts are written at the next beat.
MAX_STATEMENT_BYTES = 64 * MAX_LOG_BYTES


class _Followed(NamedTuple):
    output: LiveOutput
    container: str
    #: When its events may be written again (`Store.elapsed`).
    due_at: float


class LiveLog:
    """For the heartbeat's thread.

    If the database is unavailable, each attempt keeps MAX_LOG_BYTES of its log and its newest progress, and no task
    waits.
    """

    def __init__(self, node: str, in_flight: InFlightTasks) -> None:
        self._node, self._in_flight = node, in_flight
        #: Attempts that have run for MIN_RUN_SECONDS, those first that were written the longest ago.
        self._followed: dict[AttemptKey, _Followed] = {}

    def write(self) -> None:
        """Store what is new, by one statement; none if nothing is. Raises DatabaseError."""
        now = store().elapsed()
        running = self._in_flight.running()
        self._follow(running, now)
        batches, size = [], 0
        for key, followed in self._followed.items():
            if followed.due_at > now:
                continue
            running[key].slot.follow(running[key].task)
            first, pieces = followed.output.unread()
            if pieces:
                batches.append(LiveEvents(*key, first, pieces, followed.container))
                size += sum(len(piece.body.get("text", "")) for piece in pieces)
                if size >= MAX_STATEMENT_BYTES:
                    break
        if not batches:
            return
        stored = write_live_events(self._node, batches)
        for batch in batches:
            key = batch.task_id, batch.attempt
            if key in stored and (attempt := running.get(key)) is not None:
                followed = self._followed.pop(key)
                followed.output.read(batch.first + len(batch.events) - 1)
                due_at = now + (now - attempt.claimed_at) / MAX_WRITES_A_RUN
                self._followed[key] = followed._replace(due_at=due_at)

    def _follow(self, running: dict[AttemptKey, RunningAttempt], now: float) -> None:
        for key in self._followed.keys() - running.keys():
            del self._followed[key]
        for key, attempt in running.items():
            if key in self._followed or now - attempt.claimed_at < MIN_RUN_SECONDS:
                continue
            container = attempt.slot.container
            if (output := attempt.slot.follow(attempt.task)) is not None:
                self._followed[key] = _Followed(output, container.id if container else "", now)
