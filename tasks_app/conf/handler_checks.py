"""Warnings about handlers that only `manage.py check` gives. They stop no start."""

from __future__ import annotations

from typing import Any

from django.core import checks

from tasks_app import conf
from tasks_app.handlers.handlers_toml import HandlersError, find_missing
from tasks_app.runner.processors import processors

#: The tag of checks that only `manage.py check` runs: a web server does not need the handlers' programs.
HANDLERS = "handlers"


def register() -> None:
    """Add the check to Django's."""
    checks.register(check_handler_resources, HANDLERS)
    checks.register(check_processors, HANDLERS)


def check_handler_resources(**_: Any) -> list[checks.CheckMessage]:
    """W002: this machine lacks a program, file, mount source or variable that a handler names."""
    try:
        handlers = conf.handlers()
    except HandlersError:
        return []  # E001 reports it
    hint = "The handler's tasks stay pending until it exists. Ignore this on a machine that runs no worker."
    return [
        checks.Warning(text, hint=hint, id="tasks_app.W002")
        for each in handlers.values()
        for text in find_missing(each)
    ]


def check_processors(**_: Any) -> list[checks.CheckMessage]:
    """W003: a handler's `cpus` are more than there are. Docker refuses such a container, but not a `memory_limit`."""
    try:
        asked = {each.name: each.cpus for each in conf.handlers().values() if each.cpus is not None}
    except HandlersError:
        return []  # E001 reports it
    if not asked:
        return []
    there, whose = processors()
    hint = "The handler's tasks stay pending until it asks for no more. Ignore this if its workers have as many."
    return [
        checks.Warning(
            f"[handlers.{name}] cpus: {cpus:g} is more than {whose} has, which is {there}, and no container starts "
            f"with it; set at most {there}",
            hint=hint,
            id="tasks_app.W003",
        )
        for name, cpus in asked.items()
        if cpus > there
    ]
