"""Warnings about handlers that only `manage.py check` gives. They stop no start."""

from __future__ import annotations

from typing import Any

from django.core import checks

from tasks_app import conf
from tasks_app.handlers.handlers_toml import HandlersError
from tasks_app.handlers.missing import find_missing

#: The tag of checks that only `manage.py check` runs: a web server does not need the handlers' programs.
HANDLERS = "handlers"


def register() -> None:
    """Add the check to Django's."""
    checks.register(check_handler_resources, HANDLERS)


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
