"""One run: set up, load and storm, calm, shut down, verdict."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from docker.errors import DockerException

from tests.chaos import journal, witness
from tests.chaos.checker import Violation, violations
from tests.chaos.clients import Clients
from tests.chaos.evidence import Evidence, by_task
from tests.chaos.options import Options
from tests.chaos.scene import RETRIES, TYPES, Scene
from tests.chaos.soak import Sampler
from tests.chaos.storm import Storm
from tests.system.process import until

#: Seconds after the last fault in which every slot has to be warm again, and in which every task has to have ended. On
#: a machine that has more to do than it has cores, so many times longer.
FULL_AGAIN, ALL_ENDED = 30.0, 180.0


@dataclass
class Report:
    """What a run came to. `violations` is empty if every promise held."""

    violations: list[Violation]
    counts: dict[str, int]
    faults: dict[str, int]
    figures: dict[str, float] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)


def run(options: Options, say: Callable[[str], None] = print) -> Report:
    """Throw faults at a deployment under load for `options.seconds`. Raises AssertionError if it cannot be set up."""
    began = time.monotonic()
    scene = Scene(options, say)
    try:
        say(f"set up in {time.monotonic() - began:.0f} s: {options}")
        return _run(scene, options, say)
    finally:
        scene.close()


def _run(scene: Scene, options: Options, say: Callable[[str], None]) -> Report:
    kept = journal.Journal(scene.home / "clients.jsonl")
    clients = Clients(scene.addresses, kept, options)
    storm = Storm(scene, scene.home / "faults.jsonl")
    sampler = Sampler(scene) if options.soak else None
    clients.start()
    if sampler is not None:
        sampler.start()
    storm.run(options.seconds)
    if sampler is not None:
        sampler.stop()
    clients.stop()
    say(f"the storm is over: {sum(storm.thrown.values())} faults, {clients.counts.get('accepted', 0)} tasks accepted")

    found = [Violation("chaos", what) for what in storm.failed]
    calm = time.monotonic()
    figures: dict[str, float] = {}
    warm = Warmth(scene)
    found += _within(warm.complete, FULL_AGAIN, "full", warm.missing)
    figures["seconds until every slot was warm"] = round(time.monotonic() - calm, 1)
    found += _within(
        lambda: not scene.open_tasks(), ALL_ENDED, "lost", lambda: f"{scene.open_tasks()} tasks have not ended"
    )
    figures["seconds until every task had ended"] = round(time.monotonic() - calm, 1)
    found += _within(scene.full, 10.0, "full", lambda: f"not every slot is warm with nothing to do: {scene.slots()}")
    # Books are read while it all lives; what a process counts in its memory is no part of them.
    said = scene.figures()
    scene.stop()
    found += [Violation("ended", odd) for program in scene.programs for odd in program.odd]
    left = _left(scene)
    scene.witness.close()
    evidence = Evidence(
        journal=journal.read(kept.path),
        told=witness.read(scene.witness.kept),
        tasks=scene.tasks(),
        attempts=by_task(scene.attempts()),
        budget=dict.fromkeys(TYPES, RETRIES),
        figures=said,
        crashes=scene.database.crashes,
        left=left,
    )
    found += violations(evidence)
    figures |= _figures(evidence)
    table: list[str] = []
    if sampler is not None:
        table, grown = sampler.verdict()
        found += [Violation("grown", what) for what in grown]
    return Report(found, clients.counts, dict(storm.thrown), figures, table)


class Warmth:
    """Which pools have been full since the storm. Not all need be at one moment: the load goes on to crash its own."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: set[tuple[str, str]] = set()

    def complete(self) -> bool:
        """Whether as many nodes live as ought to, and each pool of theirs has been full."""
        pools = self._scene.pools()
        self._seen |= {
            (node, name) for node, each in pools.items() for name, seat in each.items() if seat["warm"] == seat["slots"]
        }
        wanted = {(node, name) for node in pools for name in TYPES}
        return len(pools) == self._scene.options.nodes and wanted <= self._seen

    def missing(self) -> str:
        """For people."""
        return f"a full pool of each handler on each node: {self._scene.slots()}"


def _within(true: Callable[[], object], seconds: float, rule: str, what: Callable[[], str]) -> list[Violation]:
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    try:
        until(true, seconds * crowd, what)
    except AssertionError as error:
        return [Violation(rule, str(error))]
    return []


def _left(scene: Scene) -> list[str]:
    """What was to be gone with the last process."""
    left = [f"the handler {command} (pid {pid}) lives" for pid, command in scene.children_left().items()]
    if scene.engine is not None:
        try:
            left += [f"the container {each[:12]} is there" for each in scene.engine.containers(scene.deployment)]
        except DockerException as error:
            left.append(f"nobody knows whether containers are there: {error}")
    return left


def _figures(evidence: Evidence) -> dict[str, float]:
    rows = list(evidence.tasks.values())
    attempts = Counter(f"attempts: {one['outcome']}" for tries in evidence.attempts.values() for one in tries)
    handlers = (evidence.figures or {"handlers": {}})["handlers"]
    return {
        "tasks": len(rows),
        "completed": sum(row["status"] == "completed" for row in rows),
        "failed": sum(row["status"] == "failed" for row in rows),
        "executions begun": sum(told.what == "start" for told in evidence.told),
        **dict(sorted(attempts.items())),
        "results dropped as stale": sum(each["results_stale"] for each in handlers.values()),
    }


def tell(report: Report, say: Callable[[str], None] = print) -> None:
    """The report, for people."""
    for violation in report.violations[:50]:
        say(f"\nVIOLATION {violation}")
    for line in report.table:
        say(line)
    say("")
    for title, counts in (("calls", report.counts), ("faults", report.faults), ("figures", report.figures)):
        say(f"{title}: {json.dumps(dict(sorted(counts.items())) if title != 'figures' else counts)}")
    by_rule: dict[str, int] = {}
    for violation in report.violations:
        by_rule[violation.rule] = by_rule.get(violation.rule, 0) + 1
    count = by_rule.get
    say(f"lost {count('lost', 0)}, settled twice {count('settled', 0)}, left behind {count('left', 0)}")
    say(f"VERDICT: {'every promise held' if not by_rule else f'BROKEN: {by_rule}'}")
