"""The competitors, each running no-op tasks as fast as it can.

A module for each system: `RIVAL` says how it runs, its workers import the module, and `sending` (one by one) or `fill`
(a whole backlog) queues numbered tasks whose body is `stamp(number)`. Their packages are in the dependency group
`bench`, so modules are imported on use.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

#: In most rows; each has `sending`.
NAMES = ("celery_redis", "celery_rabbitmq", "rq", "dramatiq", "huey", "procrastinate")
#: Those that keep their tasks in PostgreSQL; each has `fill`. Oban needs Python 3.12.
ON_POSTGRESQL = ("procrastinate", *(["oban"] if sys.version_info >= (3, 12) else []), "awa")


def module(name: str) -> Any:
    """The module of a rival, with `RIVAL`, `prepare()`, and `sending()` or `fill(count)`."""
    return importlib.import_module(f"bench.rivals.{name}")
