"""How a competitor is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

#: The URL of its server, set for each measurement.
URL = os.environ.get("BENCH_URL", "")
#: Tasks that `fill` queues in one commit.
COMMIT_TASKS = 1_000


@dataclass(frozen=True)
class Rival:
    """`workers` and `one_slot` are arguments after `python -m`: all workers, and one that runs one task at a time.

    `one_slot` is None if tasks have no numeric priority. `as_it_comes` is a worker with its defaults, if these differ,
    and `comes_as` describes them on two cores. `tasks`: for a drain of about 3 s.
    """

    name: str
    says: str
    server: Literal["redis", "rabbitmq", "postgres"]
    tasks: int
    workers: tuple[tuple[str, ...], ...]
    one_slot: tuple[str, ...] | None = None
    as_it_comes: tuple[str, ...] | None = None
    comes_as: str = ""
