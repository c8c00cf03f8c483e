"""The objects of a node, and which of them know each other: all are made here, each whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from functools import partial
from pathlib import Path

from tasks_app.conf.watching import watcher
from tasks_app.db.node_lock import lock_domain
from tasks_app.feature import registered
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.node.attempts import Attempts
from tasks_app.node.claimer import Claimer, LostClaims
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.generation import Generation, Reload, served
from tasks_app.node.heartbeat import Heartbeat
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import Availability, Leases
from tasks_app.node.node import Node
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.node.record import NodeRecord, new_name
from tasks_app.node.result_writer import ResultWriter
from tasks_app.node.sweeper import Sweeper
from tasks_app.queue.attempt import Selection
from tasks_app.queue.reloads import AskedReloads, RevisionColumns
from tasks_app.runner.engine import Engine
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor


def wire(
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
) -> Node:
    """Make a node and its parts; none of them has a thread yet.

    `make_engine` gets the node's name and lock domain. `only`: the handlers to serve; none: all of them. `cap`: the
    most tasks that run at once. `broker_problem`: why no notification can arrive. `on_types` gets the types that a
    reload has the node serve.
    """
    name, domain = new_name(), lock_domain(home)
    engine, reactor, in_flight = make_engine(name, domain), Reactor(), InFlightTasks()
    first = served(handlers, only)

    # Which types may be claimed.
    ready_types = ReadyTypes(first, interrupt=reactor.interrupt)
    on_hold = TypesOnHold(name, first, mark_ready=ready_types.mark)

    # Where results go: from a slot to the result writer, and from there to the database.
    result_writer = ResultWriter(
        name, in_flight, mark_ready=ready_types.mark, reactor=reactor, gave_back=on_hold.gave_back
    )
    attempts = Attempts(in_flight, put=result_writer.put)

    # What is served.
    def make_pool(handler: Handler) -> Pool:
        return Pool(
            handler,
            engine,
            reactor,
            on_free=reactor.interrupt,
            on_result=attempts.receive,
            ready_after=ready_after,
            may_begin=partial(on_hold.may_begin, handler.name),
        )

    generation = Generation(first, {handler.name: make_pool(handler) for handler in first.values()})

    # How tasks come to slots.
    claimer = Claimer(name, order, on_hold)
    dispatcher = Dispatcher(
        generation,
        cap=cap,
        reactor=reactor,
        in_flight=in_flight,
        ready_types=ready_types,
        on_hold=on_hold,
        claimer=claimer,
        lost_claims=LostClaims(name, in_flight, give_back=attempts.give_back),
        attempts=attempts,
        result_writer=result_writer,
    )
    reload = Reload(generation, engine, make_pool, swap=dispatcher.swap, only=frozenset(only))

    # What keeps the tasks, and tells others of the node.
    availability = Availability()
    leases = Leases(name, home, in_flight, availability)
    sweeper = Sweeper(engine, home, domain, availability.trusts_silence)
    feature_threads = [make(name) for make in registered("node_threads")]
    record = NodeRecord(
        name,
        domain,
        generation.pools,
        RevisionColumns(watcher, reload.waits_for),
        problems=(
            broker_problem,
            watcher.problem,
            reload.image_names.problem,
            claimer.limits.problem,
            claimer.large_data.problem,
            result_writer.problem,
            *(thread.problem for thread in feature_threads),
        ),
        cap=cap,
        drained=on_hold.is_drained,
        drained_types=on_hold.drained_types,
    )
    heartbeat = Heartbeat(
        record,
        home,
        in_flight=in_flight,
        availability=availability,
        leases=leases,
        on_hold=on_hold,
        ready_types=ready_types,
        containers_removed=sweeper.containers_removed,
        reloads=AskedReloads(watcher),
        threads=feature_threads,
    )
    return Node(
        name=name,
        home=home,
        engine=engine,
        reactor=reactor,
        in_flight=in_flight,
        ready_types=ready_types,
        result_writer=result_writer,
        dispatcher=dispatcher,
        reload=reload,
        record=record,
        leases=leases,
        sweeper=sweeper,
        heartbeat=heartbeat,
        feature_threads=feature_threads,
        on_types=on_types,
    )
