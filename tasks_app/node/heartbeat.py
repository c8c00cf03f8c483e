"""The heartbeat: says that the node lives, keeps its leases, sees what was taken from it, takes over from the dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog
from django.db import DatabaseError, connection

from tasks_app import clock
from tasks_app.lifecycle import Look, expire, held, look, promote, renew, rescue
from tasks_app.lifecycle.claim import LEASE
from tasks_app.metrics import tally
from tasks_app.node.burial import bury, remove_rows
from tasks_app.node.ledger import MARGIN, UNWATCHED, Ledger
from tasks_app.node.record import NodeRecord
from tasks_app.node.retrying import Retrying
from tasks_app.node_lock import forget, is_dead, touch
from tasks_app.postgresql.limit import LIMIT, limited

log = structlog.get_logger(__name__)

#: Seconds between renewals of the leases: two may fail before the third would be too late.
RENEWAL = LEASE / 3
#: Seconds that a node must have renewed without a fault before it declares others dead: the database's own outage
#: looks like everybody's death.
TRUST = LEASE / 3
#: Seconds by which a renewal may be late and the database still count as there all the time.
LATE = RENEWAL * 0.75
#: Seconds between words of a node that has nothing new to say: `figures.SILENCE` is three of them.
WORD = min(RENEWAL, 10.0)
#: Seconds by which the database's clock may differ from ours from one beat to the next. Beyond that it was set (by a
#: person, by NTP, by a server that took over): every lease and every silence is wrong by as much.
STEP = MARGIN
#: Seconds between beats: a little less than between the clerk's polls, which are then made by them.
BEAT = 0.95
#: Seconds between looks at the other nodes, and between those of a node that is alone with nothing to do.
LOOK = min(5.0, LEASE / 3)

TAKEN_AWAY = "taken away"
#: Its container is dead, so the attempt can be given back: no retry is spent if nobody has taken it over meanwhile.
LEASE_LOST = "its lease could not be renewed in time: the database was away, or the node stood still"


class Heartbeat:
    """Two threads: `run` talks to the database, `watch` needs none."""

    def __init__(
        self,
        record: NodeRecord,
        home: Path,
        ledger: Ledger,
        woke: Callable[[str], None],
        shared: Callable[[bool], None],
        polls: Callable[[], None] = lambda: None,
    ) -> None:
        """`woke`: a type has ready rows. `shared`: whether another living node serves a handler of this one.

        `polls`: called at each beat, for what is to be asked about as often.
        """
        self._record, self._home, self._ledger = record, home, ledger
        self._woke, self._shared, self._polls = woke, shared, polls
        self._stop = threading.Event()
        self._renewed_at = self._said_at = self._looked_at = float("-inf")
        #: By how much the database's clock is ahead of ours: at least and at most.
        self._ahead: tuple[float, float] | None = None
        self._sound_since: float | None = None
        #: How much had been begun when there was last found nothing to look after; None while there is.
        self._quiet_at: int | None = None
        #: Whether nothing of a node that is dead here can begin what it was sent. Asked before a takeover of its tasks.
        self.cleared: Callable[[str], bool] = lambda _: True

    def stop(self) -> None:
        """End both threads."""
        self._stop.set()

    def run(self) -> None:
        """The thread that talks to the database, once a second."""
        trouble = Retrying("renew the leases", longest=1.0)
        try:
            self._until_stopped(trouble)
        finally:
            connection.close()

    def _until_stopped(self, trouble: Retrying) -> None:
        # A renewal that hangs is given up in time for another one, on a connection that is new.
        with limited(min(LIMIT, RENEWAL)):
            while not self._stop.is_set():
                try:
                    self._beat()
                    trouble.over()
                    pause = BEAT
                except DatabaseError as error:
                    self._sound_since = None
                    pause = trouble.pause(error)
                self._stop.wait(pause)

    def watch(self) -> None:
        """The thread that kills what a node may no longer call its own, by this machine's clock alone."""
        pause = 0.0
        while not self._stop.wait(pause):
            # Seldom while nothing runs: what is begun meanwhile has its lease for longer (Clerk._hand_out).
            pause = min(0.5, MARGIN / 3) if self._ledger.count() else UNWATCHED
            if killed := self._ledger.kill(lambda _, one: one.lease_end < clock.elapsed() + MARGIN, LEASE_LOST):
                log.error(
                    "the leases could not be renewed: containers killed before another node may start the tasks",
                    count=killed,
                )

    def trusts(self) -> bool:
        """Whether the database has been there all the time lately, so that another's silence means something."""
        since, now = self._sound_since, clock.elapsed()
        return since is not None and now - since >= TRUST and now - self._renewed_at <= RENEWAL + LATE

    def _beat(self) -> None:
        self._keep()  # first: a look that fails, or takes long, must not cost a lease
        before = clock.elapsed()
        # A look costs a node that has nothing to do: what may wait for some seconds is looked for seldom.
        seldom = before - self._looked_at >= LOOK
        if not seldom and self._quiet_at == self._ledger.begun:
            tally.process.flush()
            self._polls()
            return
        begun = self._ledger.begun if self._ledger.empty() else None
        seen = look(self._record.name, seldom)
        self._compare_clocks(before, seen.reading)
        self._notice_what_was_taken()
        if seen.due or seen.due_elsewhere:
            for name in promote(all_clocks=seen.due_elsewhere):
                self._woke(name)
        self._take_over(seen.others, leases=seen.lost and self.trusts())
        if seldom:
            self._look_around(seen)
            # Tasks of others may be lost at any moment, and those that wait for their time come due; for what runs here
            # somebody may have other plans. A row that waits was put there by who ran it.
            soon = seen.soonest is not None and seen.soonest <= seen.reading + LOOK + BEAT
            self._quiet_at = None if seen.company or seen.others or soon else begun
        tally.process.flush()
        self._polls()
        touch(self._home, self._record.name)

    def _keep(self) -> None:
        """Renew the leases and say that the node lives, where it is time."""
        now = clock.elapsed()
        # At the beat that is nearest: at the one after, two of three would come within the shortest lease.
        soon = now + BEAT / 2
        if soon - self._renewed_at >= RENEWAL:
            renewed = renew(self._record.name, [key[0] for key in self._ledger.leased()])
            self._ledger.renewed(renewed, now)
            # Late: this process or the database stood still for a while, and without an error.
            if self._sound_since is None or now - self._renewed_at > RENEWAL + LATE:
                self._sound_since = now
            self._renewed_at = now
        if soon - self._said_at >= WORD:
            self._record.beat()
            self._said_at = now
        else:
            self._record.beat_if_changed()

    def _compare_clocks(self, before: float, reading: float) -> None:
        """After a step of the database's clock: renew at once, and trust no silence until all have had time to.

        `reading` was taken between `before` and now.
        """
        least, most = reading - clock.elapsed(), reading - before
        known, self._ahead = self._ahead, (least, most)
        if known is not None and (least > known[1] + STEP or most < known[0] - STEP):
            log.warning("the database's clock was set: leases are renewed at once", seconds=round(least - known[0], 1))
            self._renewed_at = self._said_at = float("-inf")
            self._keep()

    def _notice_what_was_taken(self) -> None:
        running = self._ledger.running()  # before the query: what is claimed while it runs is not in its answer
        if not running:
            return
        ours = held(self._record.name)
        gone = running.keys() - ours
        if gone:
            self._ledger.kill(lambda key, _: key in gone, TAKEN_AWAY)

    def _take_over(self, others: Sequence[str], leases: bool) -> None:
        dead = [name for name in others if self._record.shares_locks_with(name) and is_dead(self._home, name)]
        # What was sent to a container may wait there unread, and would be begun beside the next attempt.
        dead = [name for name in dead if self.cleared(name)]
        if dead or leases:
            rescue(dead, leases)

    def _look_around(self, seen: Look) -> None:
        self._shared(seen.company and self._record.peers() > 1)
        if seen.company:
            for name in bury(self._record.name, self._record.domain, partial(is_dead, self._home), self.trusts()):
                forget(self._home, name)
        if seen.forgotten:
            remove_rows()
        if seen.expired:
            expire()
        self._looked_at = clock.elapsed()
