"""Django system checks that stop a bad start: every fault at once, with a hint."""

from __future__ import annotations

import os
from typing import Any

from django.core import checks

from tasks_app import conf
from tasks_app.conf.reading import unknown_variables
from tasks_app.conf.signing_key import no_shared_key
from tasks_app.handlers.handlers_toml import HandlersError

#: Tags: checks only for processes that serve HTTP, and only for processes that write to DAEMON_HOME.
WEB = "web"
HOME = "home"


def register() -> None:
    """Add the checks to Django's."""
    checks.register(check_handlers, "tasks_app")
    checks.register(check_unknown_variables, "tasks_app")
    checks.register(check_signing_key, WEB)
    checks.register(check_home, HOME)


def check_handlers(**_: Any) -> list[checks.CheckMessage]:
    """E001: faults in handlers.toml, in one message: Django sorts messages as text, line 10 before line 3."""
    try:
        conf.handlers()
    except HandlersError as error:
        return [checks.Error(str(error), hint="docs/configuration.md has every key.", id="tasks_app.E001")]
    return []


def check_unknown_variables(**_: Any) -> list[checks.CheckMessage]:
    """W001: a DAEMON_ variable that has no effect."""
    return [checks.Warning(warning, id="tasks_app.W001") for warning in unknown_variables()]


def check_signing_key(**_: Any) -> list[checks.CheckMessage]:
    """E003: no signing key that all web servers share."""
    fault = no_shared_key(conf.environment())
    return [] if fault is None else [checks.Error(fault, id="tasks_app.E003")]


def check_home(**_: Any) -> list[checks.CheckMessage]:
    """E006: a DAEMON_HOME that this user cannot write to."""
    home = conf.environment().home
    existing = next(path for path in (home, *home.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return []
    return [
        checks.Error(
            f"DAEMON_HOME: cannot write to {str(home)[:200]}",
            hint="Set DAEMON_HOME to a folder that this user can write to. A relative path is relative to the project.",
            id="tasks_app.E006",
        )
    ]
