"""`make bench`: compares this platform with other task queues in one run; medians and ranges.

    make bench                                     every row but sustained and limits, 4 repetitions
    make bench ARGS="drain --n 4"                  one row, or several
    make bench ARGS="--quick"                      everything with small counts, a few minutes
    make bench ARGS="sustained"                    an hour and 2,000,000 tasks on PostgreSQL
    make bench ARGS="limits --only POST"           limits: what they cost, and whether they hold
    make bench ARGS="drain --only ours --only rq"  some of the systems
    make bench ARGS="--docs"                       no run: write the last figures into docs/

Servers, databases and directories are the run's own and removed after it. .bench/figures.json keeps the last run of
each row.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from bench import docs, record, runner, table
from bench.picture import picture
from bench.rows import ROWS
from bench.rows.row import Scene
from bench.servers import TOP, Servers

FIGURES, RAMP = TOP / ".bench" / "figures.json", TOP / ".bench" / "ramp.json"
#: Cores that a run may use.
CORES = 2


def read(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the options. An invalid one ends the program with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(ROWS)} (default: all)")
    parser.add_argument("--n", type=int, help="repetitions (default: 4; quick: 1); some rows take fewer")
    parser.add_argument("--quick", action="store_true", help="small counts: shows that it works, not how fast")
    parser.add_argument("--more", action="store_true", help="add to the repetitions of this commit in FILE")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="systems with this in their name")
    parser.add_argument("--json", type=Path, default=FIGURES, metavar="FILE", help="(default: .bench/figures.json)")
    parser.add_argument("--docs", action="store_true", help="write the figures of FILE into docs/, and run nothing")
    options = parser.parse_args(words)
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if options.n is not None and options.n < 1:
        parser.error("--n must be 1 or more")
    return options


def main() -> int:
    """Run the rows. Returns 0 if every measurement gave a result."""
    options, console = read(), Console()
    kept = record.load(options.json)
    if options.docs:
        docs.write(kept, json.loads(RAMP.read_text()) if RAMP.exists() else None)
        return 0
    # Every child inherits it, the servers too.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    faults = False
    with Servers() as servers:
        scene = Scene(servers, quick=options.quick, only=options.only)
        if scene.no_docker is not None:
            console.print(f"Nothing is measured in containers: {scene.no_docker}", markup=False)
        for name in options.rows or [name for name, row in ROWS.items() if row.usual or options.quick]:
            with console.status(name) as status:
                entry = runner.run(ROWS[name], scene, options.n or (1 if options.quick else 4), status.update)
            if options.more and name in kept["rows"]:
                entry = record.more(kept["rows"][name], entry)
                ROWS[name].finish(entry)
            table.show(console, entry)
            faults |= bool(entry["faults"])
            kept["rows"][name] = entry
            record.save(kept, options.json)
    drawn = options.json.with_suffix(".svg")
    drawn.write_text(picture(kept))
    console.print(f"{options.json} and {drawn}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
