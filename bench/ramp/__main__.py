"""`make ramp`: prime tasks over HTTP at 100, 110, ... 250 a second, 30 s each: about 84,000, in 8 minutes.

    make ramp
    make ramp ARGS="--seconds 3"                                  a short one
    make ramp ARGS="--database postgres --broker redis"           servers of its own
    make ramp ARGS="--image localhost/taskdaemon/prime"           in containers, after `make images`

It succeeds if no POST and no task fails, every result is right, and at every step 99 of 100 tasks wait less than 1 s.
Writes .bench/ramp.json and .bench/ramp.svg.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench import record
from bench.numbers import short
from bench.ramp.climb import Climb, schedule
from bench.ramp.drawing import drawing
from bench.ramp.step import Step
from bench.servers import TOP, Servers


def read(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ramp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each step (default: 30)")
    parser.add_argument("--first", type=int, default=100, help="tasks a second (default: 100)")
    parser.add_argument("--last", type=int, default=250, help="(default: 250)")
    parser.add_argument("--by", type=int, default=10, help="(default: 10)")
    parser.add_argument("--limit", type=int, default=100_000, help="of the primes to count (default: 100,000)")
    parser.add_argument("--instances", type=int, default=4, help="of the handler (default: 4)")
    parser.add_argument("--image", help="run the handler in containers of this image (default: child processes)")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--broker", choices=("local", "redis"), default="local")
    parser.add_argument("--json", type=Path, default=TOP / ".bench" / "ramp.json", metavar="FILE")
    return parser.parse_args(words)


def show(console: Console, climbed: list[Step]) -> None:
    """Print a line for each step."""
    table = Table(title="The ramp; percentiles in ms")
    for column in ("asked /s", "completed /s", "failed", "POST p50", "p99", "wait p50", "p99", "run p50", "p99"):
        table.add_column(column, justify="right")
    for one in climbed:
        times = [short(each[part]) for each in (one.answer, one.wait, one.run) for part in ("p50", "p99")]
        failed = str(one.failed_posts + one.failed_tasks)
        table.add_row(str(one.rate), short(one.completed), failed, *times, style="red" if one.fault else None)
    console.print(table)


def main() -> int:
    """Run the ramp. Returns 0 if it succeeded."""
    options, console = read(), Console()
    rates = list(range(options.first, options.last + 1, options.by))
    total = len(schedule(rates, options.seconds))
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    load = round(os.getloadavg()[0], 1)
    with Servers() as servers, Climb(servers, options.database, options.broker) as climb:
        climb.up(options.instances, options.image)
        with bar:
            line = bar.add_task("prime tasks", total=total)
            climbed = climb.climb(rates, options.seconds, options.limit, lambda: bar.advance(line))
    kept: dict[str, Any] = {
        "version": record.VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": record.commit(),
        "machine": record.machine(),
        "load": load,
        "how": f"{options.database}, {options.broker}, {options.instances} "
        + (f"containers of {options.image}" if options.image else "child processes"),
        "limit": options.limit,
        "seconds": options.seconds,
        "tasks": total,
        "steps": [one.as_json() for one in climbed],
    }
    record.save(kept, options.json)
    drawn = options.json.with_suffix(".svg")
    drawn.write_text(drawing(kept))
    show(console, climbed)
    faults = [f"at {one.rate}/s: {one.fault}" for one in climbed if one.fault]
    console.print("\n".join(faults) or f"{total:,} tasks, none failed, p99 of the wait below 1 s at every step")
    console.print(f"{options.json} and {drawn}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
