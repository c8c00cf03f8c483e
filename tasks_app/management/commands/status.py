"""`manage.py status`: what `/health`, `/api/nodes` and `/api/handlers` say, for a terminal. Needs only the database."""

from __future__ import annotations

import sys
from typing import Any

from tasks_app import conf
from tasks_app.handlers.words import aligned, plural, span
from tasks_app.logs import harmless
from tasks_app.management.starting import PlatformCommand
from tasks_app.metrics.problems import problems
from tasks_app.metrics.reading import HandlerReading
from tasks_app.metrics.system_reading import SystemReading, current_reading


class Command(PlatformCommand):
    """Reads the same numbers as the web server."""

    help = "Show nodes, handlers, the queue and what is wrong. Exit code 0 if the platform is healthy, 1 if not."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it."""
        reading = current_reading()
        found = problems(reading)
        waiting, running = reading.queue_size, sum(reading.running.values())
        waits, runs = plural(waiting, "task waits", "tasks wait"), plural(running, "runs", "run")
        state_of_all = "healthy" if reading.healthy else "unhealthy"
        self.stdout.write(f"{state_of_all}: {waiting:,} {waits}, {running:,} {runs}")
        for title, rows in (("Nodes", _nodes(reading)), ("Handlers", _handlers(reading))):
            self.stdout.write(f"\n{title}" if len(rows) > 1 else f"\n{title}: none")
            for line in aligned(rows) if len(rows) > 1 else ():
                self.stdout.write(f"  {line}")
        self.stdout.write("\nProblems" if found else "\nProblems: none")
        for sentence in found:
            self.stdout.write(f"  {harmless(sentence)}")
        sys.exit(0 if reading.healthy else 1)


def _nodes(reading: SystemReading) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("NAME", "STATE", "RUNNING", "SLOTS", "LAST SEEN", "VERSION")]
    for node, lives in reading.known_nodes:
        running = reading.running_on(node.name)
        slots = sum(pool["slots"] for pool in node.pools.values())
        seen, version = f"{span(node.age)} ago", node.version or "an earlier one"
        rows.append((node.name, node.state(running, lives), str(running), str(slots), seen, version))
    return rows


def _handlers(reading: SystemReading) -> list[tuple[str, ...]]:
    """In the order of handlers.toml, then those that only tasks or other nodes name."""
    rows: list[tuple[str, ...]] = [("TYPE", "BUSY", "WARM", "SLOTS", "WAITING", "OLDEST", "")]
    for name in dict.fromkeys((*conf.handlers(), *reading.handlers)):
        numbers = reading.handlers.get(name, HandlerReading())
        note = "paused" if numbers.paused else "has a problem" if numbers.problems else ""
        counts = (numbers.active, numbers.warm, numbers.slots, numbers.pending)
        rows.append((name, *map(str, counts), span(numbers.oldest) if numbers.ready else "", note))
    return rows
