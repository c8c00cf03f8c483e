"""The report of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.acts import acts
from tests.chaos.callbacks import callbacks
from tests.chaos.checker import Violation
from tests.chaos.evidence import Evidence
from tests.chaos.limit_checks import brought_about
from tests.chaos.order import compared
from tests.chaos.pairing import unbegun
from tests.chaos.schedules import ticks


@dataclass
class Report:
    """The results of a run. `violations` is empty if every promise held."""

    violations: list[Violation]
    counts: dict[str, int]
    faults: dict[str, int]
    figures: dict[str, float] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)


def figures(evidence: Evidence) -> dict[str, float]:
    rows = list(evidence.tasks.values())
    attempts = Counter(f"attempts: {one['outcome']}" for tries in evidence.attempts.values() for one in tries)
    handlers = (evidence.metrics or {"handlers": {}})["handlers"]
    return {
        "tasks": len(rows),
        "completed": sum(row["status"] == "completed" for row in rows),
        "failed": sum(row["status"] == "failed" for row in rows),
        "executions started": sum(event.what == "start" for event in evidence.events),
        **dict(sorted(attempts.items())),
        "second replies": sum(event.what == "again" for event in evidence.events),
        "released as unread": sum(unbegun(one) for tries in evidence.attempts.values() for one in tries),
        "results dropped as stale": sum(each["results_stale"] for each in handlers.values()),
        "claims compared with waiting tasks": len(claims := list(compared(evidence))),
        "claims compared within their crowd": sum(any(map(one.claim.of_crowd, one.waiting)) for one in claims),
        **acts(evidence),
        **brought_about(evidence),
        **ticks(evidence),
        **callbacks(evidence),
        **({} if evidence.retention is None else {"removed by retention": sum("removed_at" in row for row in rows)}),
        **({} if evidence.held is None else {"share of the run with a held snapshot": round(evidence.held, 3)}),
    }


def tell(report: Report, say: Callable[[str], None] = print) -> None:
    """Print the report."""
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
    counted = {"lost": "lost", "settled twice": "settled", "foreign": "foreign", "left behind": "leftovers"}
    say(", ".join(f"{words} {by_rule.get(rule, 0)}" for words, rule in counted.items()))
    say(f"RESULT: {'every promise held' if not by_rule else f'BROKEN: {by_rule}'}")
