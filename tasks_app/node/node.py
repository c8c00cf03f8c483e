"""One node: its pools and its threads, from start to drained."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from django.db import connection

from tasks_app.lifecycle import Ended
from tasks_app.lifecycle.claim import Selection
from tasks_app.metrics import tally
from tasks_app.models import OutcomeKind
from tasks_app.node.clerk import Clerk
from tasks_app.node.heartbeat import TAKEN_AWAY, Heartbeat
from tasks_app.node.ledger import Ledger
from tasks_app.node.record import NodeRecord, new_name
from tasks_app.node.settler import Settler
from tasks_app.node.sweeper import Sweeper
from tasks_app.node_lock import NodeLock, lock_domain
from tasks_app.runner.call import Done
from tasks_app.runner.engine import Engine
from tasks_app.runner.errors import CallFailed, Killed
from tasks_app.runner.handlers import Handler
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.wire import Failure, Success

log = structlog.get_logger(__name__)

DRAINED = "drained"
#: Longest error text that is kept, in characters.
ERROR_TEXT = 2048
#: Seconds for which whoever has heard a bell leaves the interpreter to the clerk.
HAND_OVER = 0.0001


class Node:
    """The slots of all handlers that this process serves, and the threads that keep them in work."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        make_engine: Callable[[str, str], Engine],
        *,
        home: Path,
        digest: str,
        order: Selection,
        cap: int | None = None,
        lend_after: float = 1.0,
        deaf: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`make_engine` gets the node's name and lock domain; `deaf` says why no bell can be heard now, or None."""
        self.name = new_name()
        self._home = home
        domain = lock_domain(home)
        engine = make_engine(self.name, domain)
        self.ledger = Ledger()
        self._reactor = Reactor()
        self.pools = {
            name: Pool(handler, engine, self._reactor.call, self._done, lend_after, self._reactor)
            for name, handler in handlers.items()
        }
        self._settler = Settler(self.name, self.ledger, lambda name: self._clerk.ready(name))
        # One writer at a time anyway: the clerk writes outcomes between its claims.
        self._one_writer = connection.vendor == "sqlite"
        self._clerk = Clerk(
            self.name, self.pools, self._reactor, self.ledger, order, cap, self._settler, self._one_writer
        )
        self._record = NodeRecord(self.name, domain, digest, self.pools, self._problems)
        self._heartbeat = Heartbeat(
            self._record, home, self.ledger, self._clerk.bell, self._clerk.shared, self._clerk.look
        )
        self._sweeper = None
        if any(handler.image for handler in handlers.values()):
            self._sweeper = Sweeper(engine, home, domain, self._heartbeat.trusts)
            self._heartbeat.cleared = self._sweeper.cleared
        self._threads: list[threading.Thread] = []
        self._lock: NodeLock | None = None
        self._hurried = False
        self._deaf = deaf
        self._heard: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to serve; returns at once. The database may be away: the node waits for it."""
        # Its threads are short bursts between system calls; with Python's 5 ms they queue for the interpreter.
        sys.setswitchinterval(0.0005)
        self._lock = NodeLock(self._home, self.name)
        tally.process.source(self._counted)
        for pool in self.pools.values():
            pool.start()
        self._spawn("clerk", self._clerk.run)
        self._spawn("stand-by", self._reactor.stand_by)
        if not self._one_writer:
            self._spawn("settler", self._settler.run)
        self._spawn("heartbeat", self._heartbeat.run)
        self._spawn("watch", self._heartbeat.watch)
        if self._sweeper is not None:
            self._spawn("sweeper", self._sweeper.run)
        _settle_down()
        log.info("node started", node=self.name, handlers=sorted(self.pools))

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=_or_end, args=(run, self.name), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def bell(self, handler: str) -> None:
        """There is work for a handler."""
        if handler in self.pools:
            self._heard[handler] += 1
        self._clerk.bell(handler)
        # The clerk wakes up, and would wait until this thread has done all that follows a bell: 0.2 ms a task.
        time.sleep(HAND_OVER)

    def hurry(self) -> None:
        """End the drain time, now or when it begins. Takes no lock, so that a signal's handler may call it."""
        self._hurried = True

    def drain(self, timeout: float) -> None:
        """Stop: no new claim, `timeout` seconds for what runs, the rest goes back without spending a retry."""
        self._record.draining = True
        self._clerk.stop()
        self._threads[0].join(10.0)  # a claim that is under way is handed out first
        if self._one_writer:
            # The clerk wrote outcomes until now. Told first: what an ending attempt leaves to the clerk is in the queue
            # by then, and the settler looks there before it waits for a call.
            self._one_writer = False
            self._spawn("settler", self._settler.run)
        running = self.ledger.count()
        if running:
            log.info("draining", running=running, seconds=timeout)
        until = time.monotonic() + timeout
        if not self.ledger.wait_until_settled(timeout, lambda: self._hurried):
            released = self.ledger.kill(lambda *_: True, DRAINED)
            log.info("drain time is over: tasks go back to pending", count=released)
            self.ledger.wait_until_settled(10.0)
        self._settler.stop()
        self._heartbeat.stop()
        if self._sweeper is not None:
            self._sweeper.stop()
        for pool in self.pools.values():
            pool.close(max(until - time.monotonic(), 5.0))
        self._reactor.close()
        for thread in self._threads:
            thread.join(5.0)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        noted = False
        try:
            tally.process.flush()
            self._record.close()
            noted = True
        except Exception as error:  # the database may be away; the lock file and the silence say the same
            log.warning("could not note the end of the node", error=str(error))
        tally.process.forget(self._counted)
        if self._lock is not None:
            self._lock.release(noted)
        log.info("node stopped", node=self.name)

    def _problems(self) -> list[str]:
        """What is wrong here beside the handlers."""
        return [problem for problem in (self._deaf(), self._settler.problem) if problem]

    def _counted(self) -> dict[str, int]:
        """What this node counts in its memory, by series."""
        counted = {f"bells_heard|{name}": count for name, count in self._heard.copy().items()}
        for name, pool in self.pools.items():
            now = pool.stats()
            counted[f"container_starts|{name}"] = now.starts
            counted |= {f"container_deaths|{name}|{reason}": count for reason, count in now.deaths.items()}
        return counted

    def _done(self, done: Done) -> None:
        task = done.call.token
        ended = ended_of(done)
        self.ledger.end(task)
        if ended is None:
            self.ledger.settled(task)
            log.info(
                "stopped: not this node's task any more", task_id=task.id, handler=task.task_type, attempt=task.attempt
            )
            return
        if ended.kind not in (OutcomeKind.SUCCESS, OutcomeKind.RELEASED):
            log.warning(
                "attempt failed", task_id=task.id, handler=task.task_type, attempt=task.attempt,
                outcome=str(ended.kind), error=ended.error,
            )  # fmt: skip
        self._settler.put(ended)
        if self._one_writer or self._clerk.listening:
            self._reactor.call()  # the clerk sees to it once it has heard all that is there
        else:
            self._settler.call()


def _settle_down() -> None:
    """What was built by now stays: it is not looked through again, and what the start needed goes back."""
    gc.collect()
    gc.freeze()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc's
        trim(0)


def _or_end(run: Callable[[], None], node: str) -> None:
    """Run a thread of the node. A node that has lost one looks alive and is not: it ends whole, and is restarted."""
    try:
        run()
    except BaseException:
        log.critical("a thread of the node failed: the node ends, its tasks are taken over", node=node, exc_info=True)
        os._exit(70)


def ended_of(done: Done) -> Ended | None:
    """What a finished call means for its task; None when the task is not ours to settle any more."""
    task, outcome = done.call.token, done.outcome
    if type(outcome) is Success:
        return Ended(
            task, OutcomeKind.SUCCESS, outcome.json, None, True, done.container[:100], done.image or None,
            done.exit_code, done.oom if done.image else None, done.seconds, done.stdout_tail, done.stderr_tail,
        )  # fmt: skip
    kind, retryable = OutcomeKind.RELEASED, True
    match outcome:
        case Failure():
            kind, error, retryable = OutcomeKind.ERROR, outcome.error, outcome.retryable
        case Killed():
            if str(outcome) == TAKEN_AWAY:
                return None
            error = str(outcome)
        case CallFailed():
            kind, error = OutcomeKind(outcome.kind), str(outcome)
        case _:
            error = str(outcome)
    return Ended(
        task=task,
        kind=kind,
        error=_printable(error)[:ERROR_TEXT],
        retryable=retryable,
        container=done.container[:100],
        image=done.image or None,
        exit_code=done.exit_code,
        oom=done.oom if done.image else None,
        seconds=done.seconds,
        stdout_tail=done.stdout_tail,
        stderr_tail=done.stderr_tail,
    )


def _printable(text: str) -> str:
    """Text that a database can keep: no NUL, no lone surrogate."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
