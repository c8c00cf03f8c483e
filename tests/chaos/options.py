"""The command line."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

DATABASES, BROKERS, HANDLERS = ("sqlite", "postgres"), ("local", "redis", "rabbitmq"), ("process", "docker")
SELECTIONS = ("priority", "fifo", "lifo")


@dataclass(frozen=True)
class Options:
    """Durations in seconds. `apart`: mean time between faults; `faults`: names, or beginnings of names; empty: all.

    `attach`: containers are reached over Docker's attach. `snapshot`: another session holds a snapshot all the time,
    while a client posts batches and another one reads the metrics. `retention`: how long ended tasks are kept; None:
    for ever.
    """

    seconds: float = 60.0
    database: str = "sqlite"
    broker: str = "local"
    handlers: str = "process"
    attach: bool = False
    selection: str = "priority"
    snapshot: bool = False
    retention: float | None = None
    nodes: int = 3
    webs: int = 2
    instances: int = 3
    clients: int = 6
    followers: int = 3
    rate: float = 30.0
    apart: float = 4.0
    longest: float = 45.0
    seed: int = 0
    faults: tuple[str, ...] = ()
    soak: bool = False
    keep: Path | None = None


def read(words: list[str] | None = None) -> Options:
    """Parse the options. An invalid one ends the program with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Inject faults into a deployment under load, and check every promise afterwards.",
    )
    parser.add_argument("--minutes", type=float, help="of faults (default: 1; with --soak 30)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--broker", choices=BROKERS, default="local")
    parser.add_argument("--handlers", choices=HANDLERS, default="process", help="child processes, or containers")
    parser.add_argument("--attach", action="store_true", help="containers over Docker's attach, not over FIFOs")
    parser.add_argument("--selection", choices=SELECTIONS, default="priority", help="which ready task goes first")
    parser.add_argument(
        "--snapshot",
        action="store_true",
        help="another session holds a snapshot all the time, beside a feed of batches and a reader of the metrics"
        " (PostgreSQL only)",
    )
    parser.add_argument(
        "--retention", type=float, metavar="SECONDS", help="nodes remove tasks so long after their end (at least 1)"
    )
    parser.add_argument("--nodes", type=int, default=3, help="(default: 3)")
    parser.add_argument("--instances", type=int, help="slots of each of the three handlers on each node")
    parser.add_argument(
        "--rate",
        type=float,
        help="tasks a second (default: 30, to containers 20; with --soak 31: 50,000 in 30 minutes and some refused)",
    )
    parser.add_argument("--apart", type=float, help="mean seconds between faults (default: 4; with --soak 30)")
    parser.add_argument("--longest", type=float, default=45.0, help="maximum seconds of a freeze")
    parser.add_argument("--seed", type=int, help="for all random choices (default: a new one, which is printed)")
    parser.add_argument(
        "--faults", default="", metavar="LIST", help="names or their beginnings, separated by commas: node,redis.kill"
    )
    parser.add_argument("--soak", action="store_true", help="fewer faults; nothing may grow")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep journals and logs here (a new folder)")
    given = parser.parse_args(words)
    if given.snapshot and given.database != "postgres":
        parser.error("--snapshot needs --database postgres: a reader of SQLite keeps nothing that claims read")
    if given.attach and given.handlers != "docker":
        parser.error("--attach needs --handlers docker: child processes have pipes")
    soak = given.soak
    return Options(
        seconds=60 * (given.minutes if given.minutes is not None else 30.0 if soak else 1.0),
        database=given.database,
        broker=given.broker,
        handlers=given.handlers,
        attach=given.attach,
        selection=given.selection,
        snapshot=given.snapshot,
        retention=given.retention,
        nodes=given.nodes,
        instances=given.instances or (3 if given.handlers == "process" else 2),
        rate=given.rate or (31.0 if soak else 30.0 if given.handlers == "process" else 20.0),
        apart=given.apart or (30.0 if soak else 4.0),
        longest=given.longest,
        seed=random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed,
        faults=tuple(word for word in given.faults.split(",") if word),
        soak=soak,
        keep=given.keep,
    )
