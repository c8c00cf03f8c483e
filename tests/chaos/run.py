"""One run: set up, load and faults, recovery, shutdown, checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from testkit.servers.postgresql import Postgres
from tests.chaos import journal, receiver, rows, schedule_acts, witness
from tests.chaos.calm import (
    ALL_ENDED_SECONDS,
    SWEPT_SECONDS,
    WARM_SECONDS,
    Warmth,
    left_by_ended_nodes,
    leftovers,
    overload,
    within,
)  # fmt: skip
from tests.chaos.checker import Violation, violations
from tests.chaos.clients import Clients
from tests.chaos.evidence import Evidence, by_task
from tests.chaos.held_snapshot import HeldSnapshot
from tests.chaos.horizon import Horizon
from tests.chaos.limit_checks import repair_faults
from tests.chaos.limits import InForce, LimitWatch
from tests.chaos.options import Options
from tests.chaos.outages import LEASE_SECONDS, OF_TASKS, RECOVERY_SECONDS, Outages
from tests.chaos.removed_rows import by_retention, removed_attempts, removed_tasks
from tests.chaos.report import Report, figures
from tests.chaos.scene import RETRIES, TYPES, Scene
from tests.chaos.schedules import CAREFUL
from tests.chaos.soak import Sampler
from tests.chaos.storm import Storm
from tests.chaos.transaction_watch import TransactionWatch

#: For nodes to take the turn of one that was killed, and to remove everything.
RETENTION_SECONDS = 120.0
#: For callbacks to be taken, after the end of their tasks.
CALLBACK_SECONDS = 60.0
#: For permits of dead nodes to run out, after the end of all tasks.
PERMIT_SECONDS = 75.0
#: For followers to see the end of their tasks, after that.
STREAM_SECONDS = 30.0


def run(options: Options, say: Callable[[str], None] = print) -> Report:
    """Inject faults into a deployment under load for `options.seconds`. Raises AssertionError if the set-up fails."""
    began = time.monotonic()
    scene = Scene(options, say)
    try:
        schedule_acts.define(scene)
        schedule_acts.run_by_hand(scene, CAREFUL, "first")
        say(f"set up in {time.monotonic() - began:.0f} s: {options}")
        with ExitStack() as sessions:
            watch = held = None
            limits = sessions.enter_context(closing(LimitWatch(scene.database.rows)))
            if isinstance(scene.database, Postgres):
                watch = sessions.enter_context(closing(TransactionWatch(scene.database.url)))
                if options.snapshot:
                    held = sessions.enter_context(closing(HeldSnapshot(scene.database.url)))
            return _run(scene, options, say, limits, watch, held)
    finally:
        scene.close()


def _run(
    scene: Scene,
    options: Options,
    say: Callable[[str], None],
    limits: LimitWatch,
    watch: TransactionWatch | None,
    held: HeldSnapshot | None,
) -> Report:
    journal_file = journal.Journal(scene.home / "clients.jsonl")
    clients = Clients(scene.addresses, journal_file, options, scene.receiver.url)
    storm = Storm(scene, scene.home / "faults.jsonl")
    sampler = Sampler(scene) if options.soak else None
    clients.start()
    if sampler is not None:
        sampler.start()
    storm.run(options.seconds)
    if sampler is not None:
        sampler.stop()
    clients.stop()
    schedule_acts.end(scene)
    slowness = overload()
    say(f"all {sum(storm.thrown.values())} faults are healed; {clients.counts.get('accepted', 0)} tasks accepted")

    found = [Violation("chaos", what) for what in storm.failed]
    calm = time.monotonic()
    times: dict[str, float] = {}
    warm = Warmth(scene)
    found += within(warm.complete, WARM_SECONDS, "full", warm.missing)
    times["seconds until every slot was warm"] = round(time.monotonic() - calm, 1)
    found += within(
        lambda: not scene.open_tasks(), ALL_ENDED_SECONDS, "lost", lambda: f"{scene.open_tasks()} tasks have not ended"
    )
    found += within(
        lambda: not scene.open_operations(), 30.0, "operations", lambda: f"{scene.open_operations()} are not over"
    )
    found += within(
        lambda: not scene.open_callbacks(), CALLBACK_SECONDS, "callbacks", lambda: f"{scene.open_callbacks()} are open"
    )
    permits = lambda: f"{scene.permits()} permits and held tasks are left"  # noqa: E731
    found += within(lambda: not scene.permits(), PERMIT_SECONDS, "limits", permits)
    times["seconds until every task had ended"] = round(time.monotonic() - calm, 1)
    found += within(scene.full, 10.0, "full", lambda: f"not every slot is warm with nothing to do: {scene.slots()}")
    left = lambda: "; ".join(left_by_ended_nodes(scene))  # noqa: E731
    found += within(lambda: not left_by_ended_nodes(scene), SWEPT_SECONDS, "leftovers", left)
    left_over = lambda: f"{clients.following()} followers have not seen the end of their tasks"  # noqa: E731
    found += within(lambda: not clients.following(), STREAM_SECONDS, "streams", left_over)
    clients.stop_following()
    if options.retention is not None:
        # All of it: what is removed between the reading of the metrics and of the rows would be counted in one alone.
        seconds = options.retention + RETENTION_SECONDS
        left = lambda: f"{scene.stored_tasks()} tasks have ended and are still there"  # noqa: E731
        found += within(lambda: not scene.stored_tasks(), seconds, "retention", left)
    # Read while everything runs. What a process counts in its memory is not included.
    metrics, overlooked = scene.metrics(), scene.overlooked()
    scene.stop()
    found += [Violation("ended", fault) for program in scene.programs for fault in program.faults]
    hurt = any(name.startswith(OF_TASKS) for name, _, _ in storm.windows)
    found += [Violation("limits", what) for what in repair_faults(scene.repairs(), hurt)]
    remaining = leftovers(scene)
    scene.witness.close()
    lines, reports = journal.read(journal_file.path), witness.read(scene.witness.kept)
    removed = {} if options.retention is None else by_retention(removed_tasks(scene.database), lines)
    tried = [] if options.retention is None else removed_attempts(scene.database)
    evidence = Evidence(
        journal=lines,
        events=[one for one in reports if one.task],
        broken={one.place: one.at for one in reports if one.what == "broken"},
        tasks=rows.tasks(scene.database) | removed,
        attempts=by_task([*rows.attempts(scene.database), *(one for one in tried if one["task_id"] in removed)]),
        retention=options.retention,
        attached=options.attach,
        budget=dict.fromkeys(TYPES, RETRIES),
        metrics=metrics,
        crashes=scene.database.crashes,
        leftovers=remaining,
        selection=options.selection,
        horizon=Horizon(None if watch is None else list(watch.samples)),
        overlooked=overlooked,
        held=None if held is None else held.share,
        operations=rows.operations(scene.database),
        holds=list(scene.holds),
        outages=Outages(
            storm.windows, RECOVERY_SECONDS if scene.engine is None else LEASE_SECONDS, slowness, storm.victims
        ),
        firings=rows.firings(scene.database),
        schedule_pauses=list(scene.schedule_pauses),
        schedule_runs=list(scene.schedule_runs),
        nodes=[node.name for node in scene.nodes],
        received=receiver.read(scene.receiver.kept),
        limits=InForce(list(limits.samples)),
    )
    if held is not None:
        say(f"a snapshot was held for {held.share:.1%} of the run; it was taken {held.taken} times")
    found += violations(evidence)
    table: list[str] = []
    if sampler is not None:
        table, grown = sampler.evaluate()
        found += [Violation("grown", what) for what in grown]
    return Report(found, clients.counts, dict(storm.thrown), times | figures(evidence), table)
