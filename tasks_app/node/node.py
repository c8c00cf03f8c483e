"""One node: its pools and its threads, from start to drain."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from functools import partial
from pathlib import Path

import structlog

from tasks_app import conf
from tasks_app.conf.watching import watcher
from tasks_app.db.node_lock import NodeLock, lock_domain
from tasks_app.feature import registered
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.metrics import local_counters
from tasks_app.node.attempts import AttemptStarter, CallResults
from tasks_app.node.claimer import Claimer, LostClaims
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.generation import Reload, served
from tasks_app.node.heartbeat import Heartbeat
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import Availability, Leases
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.node.record import NodeRecord, new_name
from tasks_app.node.result_writer import ResultWriter
from tasks_app.node.sweeper import Sweeper
from tasks_app.node.threads import NodeThread
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.reloads import AskedReloads, RevisionColumns
from tasks_app.runner.endings import DRAIN_GRACE_SECONDS, KillReason
from tasks_app.runner.engine import Engine
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor

log = structlog.get_logger(__name__)

#: After the drain time: for the handlers to clean up, and for an engine that is slow to kill the containers.
RELEASE_SECONDS = DRAIN_GRACE_SECONDS + 10.0
#: The last of them, in which tasks whose large results are not written yet go back: a little more than a statement may
#: take that writes one.
GIVE_BACK_SECONDS = 12.0
#: How long the end of a node waits for the answers to creates, and then tries once more to remove containers.
LAST_REMOVALS_SECONDS = 2.0


class Node:
    """The slots of all handlers that this process serves, and the threads that keep them busy."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        make_engine: Callable[[str, str], Engine],
        *,
        home: Path,
        order: Selection,
        only: Collection[str] = (),
        cap: int | None = None,
        ready_after: float = 1.0,
        broker_problem: Callable[[], str | None] = lambda: None,
        on_types: Callable[[Set[str]], None] = lambda types: None,
    ) -> None:
        """`make_engine` gets the node's name and lock domain. `only`: the handlers to serve; none: all of them.

        `broker_problem`: why no notification can arrive. `on_types` gets the types that a reload has it serve.
        """
        self.name, self._home, domain = new_name(), home, lock_domain(home)
        self._on_types = on_types
        # A second writer would wait for the dispatcher: it writes results itself, between its claims.
        self._dispatcher_writes = store().single_writer
        self.in_flight = InFlightTasks()
        self._reactor = Reactor()
        self._engine = engine = make_engine(self.name, domain)
        chosen = served(handlers, only)
        self.ready_types = ReadyTypes(chosen, self._reactor.interrupt)
        on_hold = TypesOnHold(self.name, chosen, self.ready_types.mark)
        self._result_writer = ResultWriter(
            self.name, self.in_flight, self.ready_types.mark, self._reactor, on_hold.gave_back
        )
        call_results = CallResults(self.in_flight, self._result_writer.put)

        def make_pool(handler: Handler) -> Pool:
            return Pool(
                handler, engine, self._reactor, self._reactor.interrupt, call_results.receive, ready_after,
                partial(on_hold.may_begin, handler.name),
            )  # fmt: skip

        self._reload = Reload(engine, make_pool, lambda generation: self._dispatcher.swap(generation), frozenset(only))
        first = self._reload.first(handlers)
        pools = first.pools
        claimer = Claimer(self.name, first.policies, order, on_hold)
        starter = AttemptStarter(pools, self.in_flight, self._result_writer.put)
        self._dispatcher = Dispatcher(
            pools, self._reactor, self.in_flight, cap, claimer, starter, self.ready_types,
            on_hold, lambda types: store().ready_types(list(types)), self._result_writer,
            LostClaims(self.name, self.in_flight, starter.release), self._dispatcher_writes,
        )  # fmt: skip
        self._feature_threads: list[NodeThread] = [make(self.name) for make in registered("node_threads")]
        problems = (
            broker_problem, watcher.problem, self._reload.image_names.problem, self._dispatcher.claim_limits.problem,
            self._dispatcher.large_data.problem, self._result_writer.problem,
            *(thread.problem for thread in self._feature_threads),
        )  # fmt: skip
        uses = RevisionColumns(watcher, self._reload.waits_for)
        self._record = NodeRecord(
            self.name, domain, pools, uses, problems, cap, on_hold.is_drained, on_hold.drained_types
        )
        availability = Availability()
        self._make_sweeper = partial(Sweeper, engine, home, domain, availability.trusts_silence)
        #: Only with containers: child processes need no engine. Written by the threads that start the node and reload.
        self._sweeper: Sweeper | None = None
        self._leases = Leases(self.name, home, self.in_flight, availability)
        self._heartbeat = Heartbeat(
            self._record, home, self.in_flight, availability, self._leases, on_hold, self.ready_types.mark,
            self._dispatcher.set_shared, self._containers_removed, AskedReloads(watcher), self._feature_threads,
        )  # fmt: skip
        # Written by the threads that start the node, reload and drain it: the last one once no other does.
        self._threads: dict[str, threading.Thread] = {}
        self._lock: NodeLock | None = None
        #: Written by a signal handler.
        self._forced = False

    def start(self) -> None:
        """Start to serve; returns at once. If the database is unavailable, the node waits for it."""
        # The threads run in short bursts between system calls; Python's default of 5 ms makes them queue for the lock.
        sys.setswitchinterval(0.0005)
        self._lock = NodeLock(self._home, self.name)
        conf.version()  # of the files that this process was started from, before an upgrade may replace them
        local_counters.process.add_source(self._counts)
        for pool in self._reload.pools.values():
            pool.start()
        self._spawn("dispatcher", self._dispatcher.run)
        self._spawn("stand-by", self._reactor.poll_in_background)
        if not self._dispatcher_writes:
            self._spawn_result_writer()
        self._spawn("heartbeat", self._heartbeat.run)
        self._spawn("leases", self._leases.run)
        self._spawn("watch", self._leases.watch)
        self._sweep_if_needed(self._reload.handlers)
        for thread in self._feature_threads:
            self._spawn(thread.name, thread.run)
        log.info("node started", node=self.name, handlers=sorted(self._reload.handlers))

    def adopt(self, handlers: Mapping[str, Handler]) -> None:
        """Serve these handlers from now on, as far as the node was told to serve them. Thread-safe.

        Running tasks go on; only containers that depend on what has changed are replaced. In force once it returns, or
        as soon as the database answers. Does nothing once the node ends.
        """
        if (generation := self._reload.adopt(handlers)) is not None:
            self._record.pools = generation.pools
            self._sweep_if_needed(self._reload.handlers)
            self._on_types(generation.types)

    def replace(self, names: Collection[str]) -> None:
        """Replace the containers of these handlers by new ones, one after the other. Thread-safe."""
        self._reload.replace(names)

    def _sweep_if_needed(self, handlers: Mapping[str, Handler]) -> None:
        if self._sweeper is None and any(handler.image for handler in handlers.values()):
            self._sweeper = self._make_sweeper()
            self._spawn("sweeper", self._sweeper.run)

    def _containers_removed(self, node: str) -> bool:
        """See Sweeper. Without containers: no child process outlives its node."""
        return self._sweeper is None or self._sweeper.containers_removed(node)

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=_run_or_exit, args=(run, self.name), name=name, daemon=True)
        thread.start()
        self._threads[name] = thread

    def _spawn_result_writer(self) -> None:
        for name, run in self._result_writer.threads().items():
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
        self._record.start_draining()
        self._reload.end()
        for thread in self._feature_threads:
            thread.stop()
        self._dispatcher.stop()
        self._threads["dispatcher"].join(10.0)  # a claim in progress is completed first
        if self._dispatcher_writes:
            # The dispatcher has written results until now; two threads would compete for them.
            self._spawn_result_writer()
        self._result_writer.drain()
        until = time.monotonic() + timeout
        # 2. No running tasks, then no unsaved results. The leases of both are renewed.
        self._end_tasks(timeout)
        # 3. What served them. Only results that the database did not take are left; their leases run out.
        self._result_writer.stop()
        self._heartbeat.stop()
        self._leases.stop()
        if self._sweeper is not None:
            self._sweeper.stop()
        # 4. The containers, which are idle now; then the reactor, which tells the slots to give them up.
        self._reload.close_pools(until)
        self._reactor.close()
        for started in self._threads.values():
            started.join(5.0)
        try:
            left = self._engine.close(LAST_REMOVALS_SECONDS)
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
        if not self.in_flight.wait_until_settled(timeout, lambda: self._forced):
            released = self.in_flight.kill(lambda *_: True, KillReason.DRAINED)
            log.info("drain time is over: running tasks go back to pending", count=released)
            if not self.in_flight.wait_until_settled(RELEASE_SECONDS - GIVE_BACK_SECONDS):
                self._result_writer.release()
                self.in_flight.wait_until_settled(GIVE_BACK_SECONDS)

    def _record_end(self) -> None:
        recorded = False
        try:
            local_counters.process.flush()
            self._record.close()
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
        for name, pool in self._reload.pools.items():
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
