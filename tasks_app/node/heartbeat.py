"""The heartbeat: updates the node's row, kills tasks that it lost, makes due tasks ready, takes over dead nodes' tasks,
stores what running attempts write, and runs side jobs.

It renews no lease: `leases` does, in a thread of its own, so that a beat may take any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
from django.db import Error, connection

from tasks_app.db.node_lock import is_dead, remove_lock
from tasks_app.feature import registered
from tasks_app.metrics import local_counters
from tasks_app.node.in_flight import KILL_MARGIN_SECONDS, AttemptKey, InFlightTasks, RunningAttempt
from tasks_app.node.leases import Availability, Leases
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.node.record import NodeRecord, remove_rows, retire
from tasks_app.node.threads import NodeThread, OutageGuard, Retrying, SideJob
from tasks_app.queue.attempt import LiveEvents
from tasks_app.queue.cancel import cancelled
from tasks_app.queue.claim import rescue, still_held
from tasks_app.queue.current import store
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.live_events import forget_live_events, forget_lost_live_events, write_live_events
from tasks_app.queue.maintenance import EXPIRED_PER_TRANSACTION, expire, forget_idempotency_keys, promote
from tasks_app.queue.reloads import AskedReloads
from tasks_app.runner.call import MAX_LOG_BYTES, LiveOutput
from tasks_app.runner.endings import KillReason

log = structlog.get_logger(__name__)

#: Between updates of the node's row if its state does not change: it may have been removed, or marked as stopped.
UPDATE_SECONDS = 10.0
#: If the difference between the database's clock and this host's changes by more than this from one beat to the next,
#: the database's was set (by a person, by NTP, by a fail-over): every lease and every silence is wrong by as much.
CLOCK_STEP_SECONDS = KILL_MARGIN_SECONDS
#: Between beats.
BEAT_SECONDS = 0.95
#: Between two searches for live events without an end.
FORGET_LOST_SECONDS = 600.0
#: While a node starts, between checks whether its slots have containers.
START_CHECK_SECONDS = 0.02


class Heartbeat:
    """One thread, which uses the database about once a second."""

    def __init__(
        self,
        record: NodeRecord,
        home: Path,
        *,
        in_flight: InFlightTasks,
        availability: Availability,
        leases: Leases,
        on_hold: TypesOnHold,
        ready_types: ReadyTypes,
        containers_removed: Callable[[str], bool],
        reloads: AskedReloads,
        threads: Sequence[NodeThread] = (),
    ) -> None:
        """`containers_removed`: true if no container of a dead node can start what it was sent. Asked before a takeover
        of its tasks. `reloads`: gets what `manage.py reload` asks. `threads`: those of features, which are told what is
        due.
        """
        self._record, self._home, self._in_flight, self._availability = record, home, in_flight, availability
        self._leases, self._on_hold, self._ready_types = leases, on_hold, ready_types
        self._containers_removed, self._threads, self._reloads = containers_removed, threads, reloads
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        # Everything below is written by the thread of `run`.
        self._starting = True
        self._updated_at = float("-inf")
        #: How far the database's clock is ahead of this host's, at least and at most.
        self._clock_offset: tuple[float, float] | None = None
        #: The database's clock was set back, and retries may wait for that much longer.
        self._set_back = False
        self._forget_lost_at = store().elapsed() + FORGET_LOST_SECONDS
        self._live_log = LiveLog(record.name, in_flight)
        self._live_job = OutageGuard("store what running tasks write", retry_seconds=0.0)
        self._commands_job = OutageGuard("store the commands of handlers", retry_seconds=10.0)
        self._side_jobs: list[SideJob] = [make(record.name) for make in registered("side_jobs")]

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def run(self) -> None:
        """The thread."""
        retrying = Retrying("ask the database what is due", max_seconds=1.0)
        try:
            while not self._stop.is_set():
                try:
                    pause = 0.0 if self.beat() else BEAT_SECONDS
                    retrying.succeeded()
                except Error as error:
                    self._availability.lost()
                    pause = retrying.failed(error)
                self._pause(pause)
        finally:
            connection.close()

    def _pause(self, seconds: float) -> None:
        """Wait for the next beat; at the node's start only until its slots are warm, so that its row says so soon."""
        until = store().elapsed() + seconds
        while self._starting and not self._stop.is_set() and store().elapsed() < until:
            if not self._record.starting():
                self._starting = False
                return
            self._stop.wait(START_CHECK_SECONDS)
        self._stop.wait(max(until - store().elapsed(), 0.0))

    def beat(self) -> bool:
        """One beat, in the thread of `run`. Raises DatabaseError, except for the side jobs.

        True if tasks that are late may be left, because the time of the beat was up: the next one is due at once.
        """
        # What the node's own tasks depend on.
        self._update()
        sent_at = store().elapsed()
        work = store().due_work(self._record.name)
        self._on_hold.update(work.on_hold, sent_at)
        self._compare_clocks(sent_at, work.now)
        self._kill_taken_away()
        # What tasks wait for, and the threads of features.
        self._promote(work)
        self._take_over(work.holders, leases=work.lost and self._availability.trusts_silence())
        self._share_and_retire(work)
        self._reloads.on_beat(work.reload)
        for thread in self._threads:
            thread.on_beat(work)
        # What is over, and the store's own maintenance.
        more = self._expire_and_forget(work)
        for name in store().maintain():
            self._ready_types.mark(name)
        local_counters.process.flush()
        # Side jobs: they raise nothing.
        self._live_job.run(self._live_log.write)
        self._commands_job.run(self._record.write_commands)
        for job in self._side_jobs:
            job.run(work)
        return more

    def _update(self) -> None:
        """Update the node's row if it is time, or if its state has changed."""
        now = store().elapsed()
        if now - self._updated_at >= UPDATE_SECONDS:
            self._record.update()
            self._updated_at = now
        else:
            self._record.update_if_changed()

    def _compare_clocks(self, before: float, reading: float) -> None:
        """If the database's clock was set, renew at once, and trust no silence until all nodes have had time to renew.

        `reading` was taken between `before` and now.
        """
        least, most = reading - store().elapsed(), reading - before
        known, self._clock_offset = self._clock_offset, (least, most)
        if known is None:
            return
        if least > known[1] + CLOCK_STEP_SECONDS or most < known[0] - CLOCK_STEP_SECONDS:
            log.warning("the database's clock was set: leases are renewed at once", seconds=round(least - known[0], 1))
            self._availability.lost()
            self._set_back |= least < known[0]
            self._leases.renew_at_once()

    def _kill_taken_away(self) -> None:
        running = self._in_flight.running()  # before the query, which does not see claims that commit while it runs
        if not running:
            return
        gone = running.keys() - still_held(self._record.name, [key[0] for key in running])
        if not gone:
            return
        now = store().elapsed()
        over = cancelled([key[0] for key in gone])
        # No other node runs these, so that they need no lease while their handlers clean up.
        self._in_flight.renewed([key for key in gone if key[0] in over], now)
        self._in_flight.kill(lambda key, _: key in gone and key[0] in over, KillReason.CANCELLED)
        # Not one that has been claimed again since: a crash of the database had undone its claim.
        self._in_flight.kill(
            lambda key, attempt: key in gone and key[0] not in over and attempt is running[key], KillReason.TAKEN_AWAY
        )

    def _promote(self, work: DueWork) -> None:
        if work.due or work.due_on_old_clock or self._set_back:
            for name in promote(all_clocks=work.due_on_old_clock, set_back=self._set_back):
                self._ready_types.mark(name)
            self._set_back = False

    def _take_over(self, others: Collection[str], leases: bool) -> None:
        dead = [name for name in others if is_dead(self._home, name)]
        if dead:  # one question, and none while all live
            dead = self._record.sharing_locks(dead)
        # A container may still hold an unread request, and would run it beside the next attempt.
        dead = [name for name in dead if self._containers_removed(name)]
        if dead or leases:
            rescue(dead, leases)

    def _share_and_retire(self, work: DueWork) -> None:
        """Share the handlers with living nodes, retire dead ones, and remove the rows of those that ended long ago."""
        self._ready_types.shared = work.peers and self._record.peers() > 1
        if work.peers:
            dead = partial(is_dead, self._home)
            for name in retire(self._record.name, self._record.domain, dead, self._availability.trusts_silence()):
                remove_lock(self._home, name)
        if work.old_nodes:
            remove_rows()

    def _expire_and_forget(self, work: DueWork) -> bool:
        more = work.expired and expire() >= EXPIRED_PER_TRANSACTION
        if work.old_keys:
            forget_idempotency_keys()
        if work.old_live_events:
            forget_live_events()
        if (now := store().elapsed()) >= self._forget_lost_at:
            forget_lost_live_events()
            self._forget_lost_at = now + FORGET_LOST_SECONDS
        return more


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
    """Stores what running attempts write, so that it can be read before they end. For the heartbeat's thread.

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
