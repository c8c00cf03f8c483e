"""What the CHECKs, the foreign key and the indexes of failed tasks cost a drain on PostgreSQL.

    python -m bench.constraints              some minutes
    python -m bench.constraints --repeats 1 --tasks 2000

Drains without each of them, in turns with drains that have all.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from contextlib import closing

from bench.cpu import seconds
from bench.numbers import drain_rate, short, summary
from bench.ours import Ours
from bench.servers import Servers

CONSTRAINTS = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
WHERE contype = '{}' AND conrelid IN ('taskdaemon_task'::regclass, 'taskdaemon_attempt'::regclass)
"""
INDEXES = """
SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index
WHERE indrelid = 'taskdaemon_task'::regclass AND strpos(pg_get_expr(indpred, indrelid), '= ''failed''') > 0
"""
ALL = "with all"
#: The queries for the statements that remove each part.
PARTS = {
    ALL: None,
    "without CHECKs": CONSTRAINTS.format("c"),
    "without the foreign key": CONSTRAINTS.format("f"),
    "without the indexes of failed tasks": INDEXES,
}


def drain(servers: Servers, part: str, tasks: int) -> tuple[float, float, float]:
    """Tasks a second, and microseconds of processor time a task: of all processes, and of PostgreSQL's."""
    with Ours(servers, "postgres", "redis") as system:
        if query := PARTS[part]:
            with closing(system.deployment.connect()) as connection:
                statements = [statement for (statement,) in connection.execute(query)]
                assert statements, f"nothing to remove: {part}"
                for statement in statements:
                    connection.execute(statement)
        system.start()
        system.send(tasks)
        first, before = system.deployment.completed(), seconds([servers.pid("postgres")])
        stamps = system.stamps(tasks)
        used = seconds([servers.pid("postgres")]) - before
    return drain_rate([stamp for _, stamp in stamps]), system.cost, used / max(tasks - first, 1) * 1e6


def main(words: list[str] | None = None) -> int:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(prog="python -m bench.constraints", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="(default: 5)")
    parser.add_argument("--tasks", type=int, default=40_000, help="of each drain (default: 40,000)")
    given = parser.parse_args(words)
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with Servers() as servers:
        for turn in range(given.repeats):
            # In the other order in every second turn: none is always the first one after the others.
            for part in PARTS if turn % 2 else reversed(PARTS):
                found[part].append(drain(servers, part, given.tasks))
    for part in PARTS:
        rate, cost, database = (short(summary(list(column)).median) for column in zip(*found[part], strict=True))
        print(f"{part:<36} {rate} tasks/s, {cost} µs of processor time a task, {database} of them PostgreSQL's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
