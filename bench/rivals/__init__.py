"""The others, each doing nothing as fast as it can: what ours stands beside.

A module a system. Each says in `RIVAL` how it is run, and is what its workers import; `send` queues numbered tasks
whose body is `stamp(number)`. They are in the dependency group `bench`, so a module is imported only when it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

NAMES = ("celery_redis", "celery_rabbitmq", "rq", "dramatiq", "huey", "procrastinate")


def module(name: str) -> Any:
    """The module of a rival: RIVAL, `prepare()`, `send(number, priority)`."""
    return importlib.import_module(f"bench.rivals.{name}")
