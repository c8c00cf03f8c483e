"""One node: its threads and containers, from start to drain. Its parts are made in `wiring`."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tasks_app import conf
from tasks_app.db.node_lock import NodeLock
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.metrics import local_counters
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.generation import Reload
from tasks_app.node.heartbeat import Heartbeat
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import Leases
from tasks_app.node.ready_types import ReadyTypes
from tasks_app.node.record import NodeRecord
from tasks_app.node.result_writer import ResultWriter
from tasks_app.node.sweeper import Sweeper
from tasks_app.node.threads import NodeThread
from tasks_app.runner.endings import DRAIN_GRACE_SECONDS, KillReason
from tasks_app.runner.engine import Engine
from tasks_app.runner.reactor import Reactor

log = structlog.get_logger(__name__)

#: After the drain time: for the handlers to clean up, and for an engine that is slow to kill the containers.
RELEASE_SECONDS = DRAIN_GRACE_SECONDS + 10.0
#: The last of them, in which tasks whose large results are not written yet go back: a little more than a statement may
#: take that writes one.
GIVE_BACK_SECONDS = 12.0
#: How long the end of a node waits for the answers to creates, and then tries once more to remove containers.
LAST_REMOVALS_SECONDS = 2.0


@dataclass(eq=False, repr=False)
class Node:
    """The slots of all handlers that this process serves, and the threads that keep them busy. `wire` makes it."""

    name: str
    home: Path
    engine: Engine
    reactor: Reactor
    in_flight: InFlightTasks
    ready_types: ReadyTypes
    result_writer: ResultWriter
    dispatcher: Dispatcher
    reload: Reload
    record: NodeRecord
    leases: Leases
    sweeper: Sweeper
    heartbeat: Heartbeat
    feature_threads: Sequence[NodeThread]
    #: Gets the types that a reload has the node serve.
    on_types: Callable[[Set[str]], None]
    # Written by the threads that start the node, reload and drain it: the last one once no other does.
    _threads: dict[str, threading.Thread] = field(default_factory=dict, init=False)
    _lock: NodeLock | None = field(default=None, init=False)
    #: Written by a signal handler.
    _forced: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start to serve; returns at once. If the database is unavailable, the node waits for it."""
        # The threads run in short bursts between system calls; Python's default of 5 ms makes them queue for the lock.
        sys.setswitchinterval(0.0005)
        self._lock = NodeLock(self.home, self.name)
        conf.version()  # of the files that this process was started from, before an upgrade may replace them
        local_counters.process.add_source(self._counts)
        for pool in self.reload.pools.values():
            pool.start()
        self._spawn("dispatcher", self.dispatcher.run)
        self._spawn("stand-by", self.reactor.poll_in_background)
        if not self.result_writer.by_dispatcher:
            self._spawn_result_writer()
        self._spawn("heartbeat", self.heartbeat.run)
        self._spawn("leases", self.leases.run)
        self._spawn("watch", self.leases.watch)
        self._sweep_if_needed(self.reload.handlers)
        for thread in self.feature_threads:
            self._spawn(thread.name, thread.run)
        log.info("node started", node=self.name, handlers=sorted(self.reload.handlers))

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Serve these handlers from now on, as far as the node was told to serve them. Thread-safe.

        Running tasks go on; only containers that depend on what has changed are replaced. In force once it returns, or
        as soon as the database answers. Does nothing once the node ends.
        """
        if (generation := self.reload.serve(handlers)) is not None:
            self.record.pools = generation.pools
            self._sweep_if_needed(self.reload.handlers)
            self.on_types(generation.types)

    def replace(self, names: Collection[str]) -> None:
        """Replace the containers of these handlers by new ones, one after the other. Thread-safe."""
        self.reload.replace(names)

    def _sweep_if_needed(self, handlers: Mapping[str, Handler]) -> None:
        """Only with containers: child processes need no engine."""
        if not self.sweeper.needed and any(handler.image for handler in handlers.values()):
            self.sweeper.needed = True
            self._spawn("sweeper", self.sweeper.run)

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=_run_or_exit, args=(run, self.name), name=name, daemon=True)
        thread.start()
        self._threads[name] = thread

    def _spawn_result_writer(self) -> None:
        for name, run in self.result_writer.threads().items():
            self._spawn(name, run)

    def force(self) -> None:
        """Let `drain` wait for no task, even if it has begun. Takes no lock, so that a signal handler may call it."""
        self._forced = True

    def drain(self, timeout: float) -> Sequence[str]:
        """End the node: claim nothing more, wait `timeout` seconds for running tasks, release the rest without a retry.

        Returns a sentence for each container that the engine has not removed in time; mostly there is none.

        What is needed ends after what needs it: a claim starts a task, a task ends with a result, and until the result
        is written its lease is renewed.
        """
        # 1. No further claims. The row says so at the next beat.
        self.record.start_draining()
        self.reload.end()
        for thread in self.feature_threads:
            thread.stop()
        self.dispatcher.stop()
        self._threads["dispatcher"].join(10.0)  # a claim in progress is completed first
        if self.result_writer.by_dispatcher:
            # The dispatcher has written results until now; two threads would compete for them.
            self._spawn_result_writer()
        self.result_writer.drain()
        until = time.monotonic() + timeout
        # 2. No running tasks, then no unsaved results. The leases of both are renewed.
        self._end_tasks(timeout)
        # 3. What served them. Only results that the database did not take are left; their leases run out.
        self.result_writer.stop()
        self.heartbeat.stop()
        self.leases.stop()
        self.sweeper.stop()
        # 4. The containers, which are idle now; then the reactor, which tells the slots to give them up.
        self.reload.close_pools(until)
        self.reactor.close()
        for started in self._threads.values():
            started.join(5.0)
        try:
            left = self.engine.close(LAST_REMOVALS_SECONDS)
        finally:
            # 5. The row and the lock: from then on other nodes take what is left. No beat may update the row again.
            self._record_end()
        for sentence in left:
            log.warning(sentence, node=self.name)
        return left

    def _end_tasks(self, timeout: float) -> None:
        """Wait for running tasks and their results; after `timeout` seconds, or if forced, kill the containers."""
        if running := self.in_flight.count():
            log.info("draining", running=running, seconds=timeout)
        if not self.in_flight.wait_until_saved(timeout, lambda: self._forced):
            released = self.in_flight.kill(lambda *_: True, KillReason.DRAINED)
            log.info("drain time is over: running tasks go back to pending", count=released)
            if not self.in_flight.wait_until_saved(RELEASE_SECONDS - GIVE_BACK_SECONDS):
                self.result_writer.discard_rest()
                self.in_flight.wait_until_saved(GIVE_BACK_SECONDS)

    def _record_end(self) -> None:
        recorded = False
        try:
            local_counters.process.flush()
            self.record.close()
            recorded = True
        except Exception as error:
            # The database may be unavailable. Other nodes then learn of the end from the lock file, or by the silence.
            log.warning("could not record the end of the node", error=str(error))
        local_counters.process.remove_source(self._counts)
        if self._lock is not None:
            self._lock.release(recorded)
        log.info("node stopped", node=self.name)

    def _counts(self) -> dict[str, int]:
        """This node's counts, by series."""
        counts = {f"bells_heard|{name}": count for name, count in self.ready_types.notifications.copy().items()}
        for name, pool in self.reload.pools.items():
            stats = pool.stats()
            counts[f"container_starts|{name}"] = stats.starts
            counts |= {f"container_deaths|{name}|{reason}": count for reason, count in stats.deaths.items()}
        return counts


def _run_or_exit(run: Callable[[], None], node: str) -> None:
    """Run a thread of the node; exit the process if it fails. Without the thread the node would only look alive."""
    try:
        run()
    except BaseException:
        log.critical("a thread of the node failed: the node ends, its tasks are taken over", node=node, exc_info=True)
        os._exit(70)
