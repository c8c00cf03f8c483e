"""The competitors, each running no-op tasks as fast as it can.

A module for each system: `RIVAL` says how it runs, its workers import the module, and `sending` queues numbered tasks
whose body is `stamp(number)`. Their packages are in the dependency group `bench`, so modules are imported on use.
"""

from __future__ import annotations

import importlib
from typing import Any

NAMES = ("celery_redis", "celery_rabbitmq", "rq", "dramatiq", "huey", "procrastinate")


def module(name: str) -> Any:
    """The module of a rival, with `RIVAL`, `prepare()` and `sending()`."""
    return importlib.import_module(f"bench.rivals.{name}")
