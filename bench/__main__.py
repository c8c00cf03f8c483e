"""`make bench`: ours beside bare no-op Celery on Redis, in one run, interleaved; medians over the repetitions.

python -m bench [--repeat 3] [--tasks 10000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import celery_noop
from tests.images.docker import fault

TOP = Path(__file__).resolve().parent.parent
CONSOLE = Console()


def ours(slots: int, tasks: int) -> dict[str, Any]:
    """One measurement of ours, in processes of its own."""
    command = [sys.executable, "-m", "bench.node", "--slots", str(slots), "--tasks", str(tasks)]
    return dict(json.loads(subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout))


def spread(values: list[float]) -> str:
    """Median, and the range it is from."""
    return f"{statistics.median(values):,.6g}  ({min(values):,.6g} - {max(values):,.6g})"


def main() -> None:
    """Prints a table; --json writes every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with_celery = celery_noop.reachable()
    runs: dict[str, list[dict[str, Any]]] = {"4": [], "8": [], "celery": []}
    for number in range(options.repeat):
        CONSOLE.print(f"[dim]run {number + 1} of {options.repeat}[/dim]")
        runs["4"].append(ours(4, options.tasks))
        runs["8"].append(ours(8, options.tasks))
        if with_celery:
            runs["celery"].append(celery_noop.best(min(options.tasks, 5000)))
    table = Table(title=f"n = {options.repeat} runs, {options.tasks:,} tasks each; median (range)")
    for column in ("", "drain, tasks/s", "pick-up p50, ms", "pick-up p99, ms"):
        table.add_column(column)
    for slots in ("4", "8"):
        figures = [[run[key] for run in runs[slots]] for key in ("drain_per_s", "pickup_p50_ms", "pickup_p99_ms")]
        table.add_row(f"ours: SQLite, {slots} child processes", *map(spread, figures))
    if with_celery:
        rates = [run["rate"] for run in runs["celery"]]
        table.add_row("bare no-op Celery on Redis", spread(rates), "", "")
        ratio = statistics.median([r["drain_per_s"] for r in runs["8"]]) / statistics.median(rates)
        table.caption = f"ours with 8 slots drains {ratio:.1f} times as fast"
    else:
        table.caption = "no Redis at 127.0.0.1:6379: not compared with Celery"
    CONSOLE.print(table)
    if (reason := fault()) is None:
        CONSOLE.print("containers, by the pool alone:")
        subprocess.run([sys.executable, "-m", "bench.docker_roundtrip"], cwd=TOP, check=True)
    else:
        CONSOLE.print(f"no containers: {reason}")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
