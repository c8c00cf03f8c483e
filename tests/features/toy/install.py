"""A toy of this folder in the process of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from django.apps import apps
from django.db import connection
from django.utils.module_loading import import_string

from tasks_app import feature
from tests.queue.store.parts import part


@contextmanager
def installed(path: str) -> Iterator[None]:
    """With a feature, by its dotted path, and the table that its module has."""
    kind = import_string(path)
    toy = kind(kind.name, import_module(kind.name))
    toy.apps, toy.models = apps, {}
    with connection.cursor() as cursor:
        cursor.execute(import_module(kind.name).TABLE)
    apps.app_configs[toy.label] = toy
    _forget()
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS toy_{toy.label[:-1]}")
        del apps.app_configs[toy.label]
        _forget()


def _forget() -> None:
    """What a process asks of its features once."""
    feature.registered.cache_clear()
    feature.ended_tasks.cache_clear()
    for name in ("due_work", "on_hold"):
        getattr(part(name), f"{name}_statement").cache_clear()
