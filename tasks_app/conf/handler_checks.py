"""Warnings about handlers that only `manage.py check` gives. They stop no start."""

from __future__ import annotations

import importlib
import os
from typing import Any

from django.core import checks

from tasks_app import conf
from tasks_app.handlers.handlers_toml import HandlersError, find_missing
from tasks_app.runner.engine import Unavailable

#: The tag of checks that only `manage.py check` runs: a web server does not need the handlers' programs.
HANDLERS = "handlers"
#: Imported when it is first needed: it imports the Docker SDK.
DOCKER_CLIENT_MODULE = "tasks_app.runner.docker.client"


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
    there, whose = _processors()
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


def _processors() -> tuple[int, str]:
    """How many there are, and whose: the Docker engine's, or this machine's if there is no engine."""
    connection = importlib.import_module(DOCKER_CLIENT_MODULE).Connection(os.environ)
    try:
        connection.get()
    except Unavailable:
        return os.cpu_count() or 1, "this machine"
    connection.close()
    return int(connection.info["NCPU"]), "the Docker engine"
