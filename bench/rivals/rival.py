"""How a rival is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

#: Where the rival's own server is: set by the harness for each measurement.
URL = os.environ.get("BENCH_URL", "")


@dataclass(frozen=True)
class Rival:
    """`workers` and `one_slot` are words after `python -m`: all workers, and the one that runs one task at a time.

    `one_slot` is None where a task cannot be given a number as its priority. `as_it_comes` is its worker with what it
    does unless told otherwise, where that is another one, and `comes_as` what that is on two cores. `tasks`: for a
    drain of about 3 s here.
    """

    name: str
    says: str
    server: Literal["redis", "rabbitmq", "postgres"]
    tasks: int
    workers: tuple[tuple[str, ...], ...]
    one_slot: tuple[str, ...] | None = None
    as_it_comes: tuple[str, ...] | None = None
    comes_as: str = ""
