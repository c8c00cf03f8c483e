"""The clerk: hears the slots, asks which are free, claims the best rows for exactly those, hands each one out."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext

import structlog
from django.db import DatabaseError, connection

from tasks_app import clock
from tasks_app.fail_points import fail_point
from tasks_app.lifecycle import Claimed, Ended, Policy, Want, claim, waiting
from tasks_app.lifecycle.claim import LEASE, Selection
from tasks_app.models import OutcomeKind
from tasks_app.node.ledger import MARGIN, UNWATCHED, Ledger
from tasks_app.node.retrying import Retrying
from tasks_app.node.server_session import ServerSession
from tasks_app.node.settler import AWAY, Settler
from tasks_app.runner.call import Call
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.wire import request_line
from tasks_app.write_lock import bare_writing

log = structlog.get_logger(__name__)


#: Seconds between looks when no bell is heard: alone, and beside other nodes that serve the same handlers.
POLL, POLL_SHARED = 1.0, 0.4
#: Seconds that a clerk sleeps at most while the heartbeat polls for it.
NAP = 5.0
#: Seconds that an outcome waits for those that come at the same moment, and for the next one of them.
GATHER, GLANCE = 0.0004, 0.0001
#: Where more is ready than there are slots, outcomes are written once they are so many, or after so many seconds:
#: nobody's task is later for it, and a server has as much to do for 8 as for 24, nearly.
ENOUGH, HOLD = 24, 0.003
#: The same where the clerk writes them itself, so that each commit is a wait.
ENOUGH_OWN, HOLD_OWN = 48, 0.006
#: It waits where that brought so many of late; elsewhere it is tried again after so many rounds.
WORTH_IT, TRY_AGAIN = 0.5, 16


class Clerk:
    """One thread, which drives the slots' reactor between its claims: what they say is heard by it, and what it claims
    is sent by it. While it is in the database for long, another drives (see Reactor).

    Everything that can fail for our reasons fails before its claim.
    """

    def __init__(
        self,
        node: str,
        pools: Mapping[str, Pool],
        reactor: Reactor,
        ledger: Ledger,
        order: Selection,
        cap: int | None,
        settler: Settler,
        writes_outcomes: bool,
    ) -> None:
        self._node, self._pools, self._reactor, self._ledger = node, pools, reactor, ledger
        self._order, self._cap = order, cap
        self._settler, self._writes_outcomes = settler, writes_outcomes
        self._enough, self._hold = (ENOUGH_OWN, HOLD_OWN) if writes_outcomes else (ENOUGH, HOLD)
        self._policies = {
            name: Policy(h.timeout, h.max_retries, h.retry_backoff, h.retry_on)
            for name, h in ((name, pool.handler) for name, pool in pools.items())
        }
        self._rung: deque[str] = deque()
        #: Types that may have ready rows: rung, found by the poll, or not exhausted by the last claim.
        self._hopeful: set[str] = set(pools)
        self._stopping = False
        self._thread: int | None = None
        #: How many more outcomes a wait has brought of late, and the rounds since one was tried.
        self._gain, self._untried = 1.0, 0
        self._held_until = math.inf
        # A settle is another connection.
        self._session = ServerSession("SET synchronous_commit = off")
        #: Seconds between looks when no bell is heard.
        self.poll = POLL
        self.polled_at = time.monotonic()
        self._minded_at = -math.inf
        self.bells_heard = 0

    def bell(self, handler: str) -> None:
        """There is work for a handler."""
        self.bells_heard += 1
        self.ready(handler)

    def ready(self, handler: str) -> None:
        """A task of it has gone back and waits for nothing."""
        self._rung.append(handler)
        self._reactor.call()

    def look(self) -> None:
        """Poll in the heartbeat's thread, if that is due soon: two wake-ups cost an idle node twice as much as one."""
        if time.monotonic() - self.polled_at > self.poll / 2:
            found = waiting(list(self._pools))
            self.polled_at = self._minded_at = time.monotonic()
            if found:
                self._rung.extend(found)
                self._reactor.call()

    def shared(self, shared: bool) -> None:
        """Whether other nodes serve these handlers: a bell wakes one of them, and that one may be busy."""
        self.poll = POLL_SHARED if shared else POLL

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._reactor.call()

    @property
    def stopping(self) -> bool:
        """Whether it has been told to claim nothing more."""
        return self._stopping

    @property
    def listening(self) -> bool:
        """Whether this is its thread: what is told to it now it passes on itself."""
        return threading.get_ident() == self._thread

    def run(self) -> None:
        """The thread: until `stop`."""
        trouble = Retrying("claim, or write results" if self._writes_outcomes else "claim")
        self._thread = threading.get_ident()
        try:
            while not self._stopping:
                try:
                    self._round()
                    trouble.over()
                except DatabaseError as error:
                    self._settler.call()
                    time.sleep(trouble.pause(error))
        finally:
            self._thread = None  # the number may be given to another thread
            self._settler.call()
            connection.close()

    def _round(self) -> None:
        self._listen()
        if self._stopping:
            return
        if time.monotonic() - self.polled_at >= self.poll:
            self._hopeful |= waiting(list(self._pools))
            self.polled_at = time.monotonic()
        if self._settler.backlogged() and not self._writes_outcomes:
            return  # the settler is behind: more results would only grow what a crash loses
        while self._writes_outcomes and self._settler.pressing():
            self._write()
        room = None if self._cap is None else max(self._cap - self._ledger.count(), 0)
        # Under a cap types compete, so all are asked for: one whose bell another node has heard may have the best row.
        types = self._hopeful if self._cap is None or not self._hopeful else self._pools
        wants = [Want(name, free, self._policies[name]) for name in types if (free := self._pools[name].free())]
        try:
            if wants and room != 0:
                self._claim(wants, room)
        except AWAY:
            raise  # a write would fail as well, and on SQLite wait for the same lock first
        except DatabaseError:
            if self._writes_outcomes and not self._settler.idle():
                self._write()
            raise
        # Not before the claim is handed out: while they are written the handlers are at work. And not where it stops:
        # the settler's own thread may be at it.
        if self._writes_outcomes and self._due() and not self._stopping:
            self._write()

    def _write(self) -> None:
        self._settler.write()
        if not self._settler.idle():
            self._reactor.call()

    def _claim(self, wants: list[Want], room: int | None) -> None:
        # Before the claim: a bell that is heard while it runs must not be forgotten by it.
        self._hopeful.difference_update(want.task_type for want in wants)
        # A claim that a power cut undoes is a re-execution, which at-least-once allows. A killed node undoes none.
        if not self._writes_outcomes:
            self._session.tuned()
        try:
            with bare_writing(durable=False) if self._writes_outcomes else nullcontext():
                sent_at = clock.elapsed()  # not before: on SQLite others may write first, for long
                tasks = claim(self._node, wants, self._order, room)
        except BaseException:
            self._hopeful.update(want.task_type for want in wants)
            raise
        if tasks:
            fail_point("after_claim")
        got = dict.fromkeys((want.task_type for want in wants), 0)
        for task in tasks:
            got[task.task_type] += 1
        capped = room is not None and len(tasks) >= room
        self._hopeful.update(want.task_type for want in wants if capped or got[want.task_type] >= want.count)
        for task in tasks:
            self._hand_out(task, sent_at)

    def _listen(self) -> None:
        now = time.monotonic()
        minded = self.poll == POLL and now - self._minded_at < 2 * POLL
        self._reactor.turn(max(min(self.polled_at + (NAP if minded else self.poll), self._held_until) - now, 0.0))
        if not self._settler.idle():
            self._gather()
        if not self._writes_outcomes and self._due():
            self._settler.call()
        while self._rung:
            if (name := self._rung.popleft()) in self._pools:
                self._hopeful.add(name)

    def _due(self) -> bool:
        """Whether to write now: what has ended may wait for more while its types have more ready than slots."""
        now, waits = time.monotonic(), not self._settler.idle()
        if waits and self._settler.waiting() < self._enough and self._settler.may_wait(self._hopeful):
            self._held_until = min(self._held_until, now + self._hold)
            if now < self._held_until:
                return False
        self._held_until = math.inf
        return waits

    def _gather(self) -> None:
        """Hear the others as well, where several answer at one moment: a commit costs the same whatever is in it."""
        if self._gain < WORTH_IT and self._untried < TRY_AGAIN:
            self._untried += 1
            return
        self._untried = 0
        before = running = self._ledger.count()
        until = time.monotonic() + GATHER
        while running and time.monotonic() < until:
            self._reactor.turn(0.0)
            if self._ledger.count() == running:
                time.sleep(GLANCE)
                self._reactor.turn(0.0)
                if self._ledger.count() == running:
                    break
            running = self._ledger.count()
        if before:
            self._gain += (before - running - self._gain) / 8

    def _hand_out(self, task: Claimed, sent_at: float) -> None:
        if self._ledger.adopt(task, sent_at):
            log.info(
                "the database had lost the claim of what runs here", task_id=task.id, handler=task.task_type,
                attempt=task.attempt,
            )  # fmt: skip
            return
        # Stopped and continued in between: by now it may be another node's, and even have ended.
        late = clock.elapsed() > sent_at + LEASE - MARGIN - UNWATCHED
        slot = None if late else self._pools[task.task_type].take()
        if slot is None:
            self._ledger.end(task)
            why = "its lease was over before it was begun" if late else "the container that it was claimed for died"
            self._settler.put(Ended(task, OutcomeKind.RELEASED, error=why))
            self._reactor.call()
            return
        self._ledger.begin(task, slot, sent_at)
        line = request_line(task.id, task.task_type, task.task_data, task.attempt)
        slot.run(Call(line, task.policy.timeout, task))
