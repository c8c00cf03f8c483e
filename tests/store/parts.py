"""Parts of the store under test that the protocol does not show, for the tests of plans."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from django.db import connection


def part(name: str) -> ModuleType:
    """A module of this database's store, which has the statements of the method of this name."""
    return import_module(f"tasks_app.store.{connection.vendor}.{name}")
