"""Parts of the store under test that the protocol does not show, for the tests of plans."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from django.db import connection


def part(name: str) -> ModuleType:
    """The module of this database's store that defines the method of this name, beside its statements."""
    package = import_module(f"tasks_app.queue.{connection.vendor}")
    modules = [import_module(f"{package.__name__}.{one.name}") for one in iter_modules(package.__path__)]
    [found] = [one for one in modules if getattr(getattr(one, name, None), "__module__", "") == one.__name__]
    return found
