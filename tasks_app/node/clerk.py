"""The clerk: hears the slots, asks which are free, claims the best rows for exactly those, hands each one out."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping, Sequence

import structlog
from django.db import DatabaseError, connection

from tasks_app import clock
from tasks_app.fail_points import fail_point
from tasks_app.lifecycle import Claimed, Ended, Policy, Want, claim, waiting
from tasks_app.lifecycle.claim import LEASE, Selection
from tasks_app.models import OutcomeKind
from tasks_app.node.committer import Committer
from tasks_app.node.errand import Errand
from tasks_app.node.ledger import MARGIN, Ledger
from tasks_app.node.muster import Muster
from tasks_app.node.patience import Patience
from tasks_app.node.retrying import Retrying
from tasks_app.node.server_session import ServerSession
from tasks_app.node.settler import Settler
from tasks_app.runner.call import Call
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.wire import request_line

log = structlog.get_logger(__name__)


#: Seconds between looks when no bell is heard: alone, and beside other nodes that serve the same handlers.
POLL, POLL_SHARED = 1.0, 0.4
#: Seconds that an outcome waits for those that come at the same moment, and for the next one of them.
GATHER, GLANCE = 0.0004, 0.0001
#: Where more is ready than there are slots, outcomes go to the settler once they are so many, or after so many seconds:
#: nobody's task is later for it, and the server has as much to do for 8 as for 24, nearly.
ENOUGH, HOLD = 24, 0.003
#: The part of the slots that is enough for a claim on a server, where more is ready than there are slots.
MOST = 0.75


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
        committer: Committer | None,
    ) -> None:
        """`committer`: where the clerk writes the outcomes too, in the transactions of its claims."""
        self._node, self._pools, self._reactor, self._ledger = node, pools, reactor, ledger
        self._order, self._cap = order, cap
        self._settler, self._committer, self._writes_outcomes = settler, committer, committer is not None
        self._policies = {
            name: Policy(h.timeout, h.max_retries, h.retry_backoff, h.retry_on)
            for name, h in ((name, pool.handler) for name, pool in pools.items())
        }
        self._rung: deque[str] = deque()
        #: Types that may have ready rows: rung, found by the poll, or not exhausted by the last claim.
        self._hopeful: set[str] = set(pools)
        self._stopping = False
        self._thread: int | None = None
        self._patience = Patience()
        self._held_until = math.inf
        #: Something may have been heard that no turn has told of.
        self._at_once = False
        #: On a server the clerk listens while a claim is under way. Under a cap one takes several statements.
        self._sends = connection.vendor == "postgresql" and cap is None
        self._errand: Errand | None = None
        self._muster = Muster()
        #: Whether the last claim got all that it wanted, so that there is more.
        self._flooded = False
        # A claim that a power cut undoes is a re-execution, which at-least-once allows. A settle is another connection.
        self._session = ServerSession("SET synchronous_commit = off")
        #: Seconds between looks when no bell is heard.
        self.poll = POLL
        self.polled_at = time.monotonic()
        self.bells_heard = 0

    def bell(self, handler: str) -> None:
        """There is work for a handler."""
        self.bells_heard += 1
        self._rung.append(handler)
        self._reactor.call()

    def look(self) -> None:
        """Poll now if that is due soon: another thread is at work, and two wake-ups at once cost less than two."""
        if time.monotonic() - self.polled_at > self.poll / 2:
            self.polled_at = -math.inf
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
        trouble = Retrying("claim")
        self._thread = threading.get_ident()
        try:
            while not self._stopping or self._errand is not None:
                try:
                    self._round()
                    trouble.over()
                except DatabaseError as error:
                    self._settler.call()
                    time.sleep(trouble.pause(error))
        finally:
            self._thread = None  # the number may be given to another thread
            if self._committer is not None:
                self._committer.stop()
            self._settler.call()
            connection.close()

    def _round(self) -> None:
        self._listen()
        if self._errand is not None and not self._come_back(self._errand):
            return
        if self._stopping:
            return
        if time.monotonic() - self.polled_at >= self.poll:
            self._hopeful |= waiting(list(self._pools))
            self.polled_at = time.monotonic()
        if self._settler.backlogged() and not self._writes_outcomes:
            return  # the settler is behind: more results would only grow what a crash loses
        room = None if self._cap is None else max(self._cap - self._ledger.count(), 0)
        # Under a cap types compete, so all are asked for: one whose bell another node has heard may have the best row.
        types = self._hopeful if self._cap is None or not self._hopeful else self._pools
        wants = [Want(name, free, self._policies[name]) for name in types if (free := self._pools[name].free())]
        if room == 0 or self._ledger.disowned():
            wants = []
        if not wants and (not self._writes_outcomes or self._settler.idle()):
            return
        if self._sends and self._muster.waits(sum(want.count for want in wants), self._enough(wants)):
            return
        # Before the claim: a bell that is heard while it runs must not be forgotten by it.
        self._hopeful.difference_update(want.task_type for want in wants)
        early: list[Claimed] = []
        try:
            self._session.tuned()
            if self._sends:
                self._errand = Errand(self._node, wants, self._order, self._reactor)
                return
            sent_at = clock.elapsed()
            if self._committer is not None:
                self._at_once = bool(self._ledger.disowned())  # what waits of them is dropped now
                tasks = self._settler.write_with(
                    lambda: claim(self._node, wants, self._order, room),
                    self._committer,
                    lambda tasks: self._hand_out_early(tasks, sent_at, early),
                )
            else:
                tasks = claim(self._node, wants, self._order, room)
        except BaseException:
            self._hopeful.update(want.task_type for want in wants)
            raise
        self._hand_out_all(wants, tasks, sent_at, early, capped=room is not None and len(tasks) >= room)

    def _come_back(self, errand: Errand) -> bool:
        """Hand out what an errand brought, if it is back."""
        try:
            tasks = errand.claimed()
            if tasks is None:
                return False
        except BaseException:
            self._errand = None
            self._hopeful.update(want.task_type for want in errand.wants)
            raise
        self._errand = None
        self._hand_out_all(errand.wants, tasks, errand.sent_at)
        return True

    def _enough(self, wants: list[Want]) -> float:
        """How many free slots a claim on a server is made for at once."""
        if not self._flooded or not self._ledger.count():
            return 0.0
        return MOST * sum(len(self._pools[want.task_type].slots) for want in wants)

    def _hand_out_all(
        self,
        wants: Sequence[Want],
        tasks: list[Claimed],
        sent_at: float,
        early: Sequence[Claimed] = (),
        capped: bool = False,
    ) -> None:
        if tasks:
            fail_point("after_claim")
        got = Tally(task.task_type for task in tasks)
        more = {want.task_type for want in wants if capped or got[want.task_type] >= want.count}
        self._hopeful |= more
        self._flooded = bool(more)
        for task in tasks:
            if task not in early:
                self._hand_out(task, sent_at)

    def _hand_out_early(self, tasks: list[Claimed], sent_at: float, early: list[Claimed]) -> None:
        """While the claim is being committed. If that fails, or the node is killed, they are claimed anew.

        A child process ends with its node. A container would go on beside the next attempt: it waits for the commit.
        """
        self._at_once = True
        for task in tasks:
            if not self._pools[task.task_type].handler.image:
                early.append(task)
                self._ledger.doubt(task)
                self._hand_out(task, sent_at)

    def _listen(self) -> None:
        now = time.monotonic()
        until = min(self.polled_at + self.poll, self._held_until, self._muster.until)
        if self._errand is not None:  # what is due waits for it
            until = min(now + self._errand.wait(), self._held_until)
        at_once, self._at_once = self._at_once, False
        self._reactor.turn(0.0 if at_once else max(until - now, 0.0))
        if not self._settler.idle():
            if not self._sends:
                self._gather()
            if not self._writes_outcomes:
                self._pass_on()
        else:
            self._held_until = math.inf
        while self._rung:
            if (name := self._rung.popleft()) in self._pools:
                self._hopeful.add(name)

    def _pass_on(self) -> None:
        """Call the settler; where more is ready than there are slots, not before there is enough for a statement."""
        now = time.monotonic()
        more = self._hopeful or (self._errand is not None and self._flooded)
        if more and self._settler.waiting() < ENOUGH:
            self._held_until = min(self._held_until, now + HOLD)
            if now < self._held_until:
                return
        self._held_until = math.inf
        self._settler.call()

    def _gather(self) -> None:
        """Hear the others as well, where several answer at one moment: a commit costs the same whatever is in it."""
        if not self._patience.worth_it():
            return
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
            self._patience.brought(before - running)

    def _hand_out(self, task: Claimed, sent_at: float) -> None:
        if self._ledger.adopt(task, sent_at):
            log.info(
                "the database had lost the claim of what runs here", task_id=task.id, handler=task.task_type,
                attempt=task.attempt,
            )  # fmt: skip
            return
        # Stopped and continued in between: by now it may be another node's, and even have ended.
        late = clock.elapsed() > sent_at + LEASE - MARGIN
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
