"""Django system checks: the errors that stop a bad start, all at once, and the warnings that only `manage.py check`
gives."""

from __future__ import annotations

import importlib
import os
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core import checks
from django.core.exceptions import ValidationError

from tasks_app import conf
from tasks_app.conf.reading import no_shared_key, unknown_variables
from tasks_app.handlers.handlers_toml import Handler, HandlersError
from tasks_app.handlers.missing import find_missing
from tasks_app.runner.engine import Unavailable

#: Tags: checks only for processes that serve HTTP, and only for processes that write to DAEMON_HOME.
WEB, HOME = "web", "home"
#: The tag of warnings that only `manage.py check` gives, and that stop no start: a web server does not need the
#: handlers' programs.
HANDLERS = "handlers"
#: Imported when it is first needed: it imports the Docker SDK.
DOCKER_CLIENT_MODULE, DOCKER_ABSENT_MODULE = "tasks_app.runner.docker.client", "tasks_app.runner.docker.absent"

_CORRECT = "Or correct the name; no container starts until then."


def register() -> None:
    """Add the checks to Django's."""
    checks.register(check_handlers, "tasks_app")
    checks.register(check_unknown_variables, "tasks_app")
    checks.register(check_admin_password, "tasks_app")
    checks.register(check_signing_key, WEB)
    checks.register(check_home, HOME)
    checks.register(check_handler_resources, HANDLERS)
    checks.register(check_processors, HANDLERS)
    checks.register(check_engine, HANDLERS)


def check_handlers(**_: Any) -> list[checks.CheckMessage]:
    """E001: faults in handlers.toml, in one message: Django sorts messages as text, line 10 before line 3."""
    try:
        conf.handlers()
    except HandlersError as error:
        hint = "docs/configuration.md has every key."
        if conf.INSTALLED and not conf.environment().handler_config.exists():
            hint = f"{conf.ours('up')} writes an example into a folder without it."
        return [checks.Error(str(error), hint=hint, id="tasks_app.E001")]
    return []


def check_unknown_variables(**_: Any) -> list[checks.CheckMessage]:
    """W001: a DAEMON_ variable that has no effect."""
    return [checks.Warning(warning, id="tasks_app.W001") for warning in unknown_variables()]


def check_signing_key(**_: Any) -> list[checks.CheckMessage]:
    """E003: no signing key that all web servers share."""
    fault = no_shared_key(conf.environment())
    return [] if fault is None else [checks.Error(fault, id="tasks_app.E003")]


def check_admin_password(**_: Any) -> list[checks.CheckMessage]:
    """E007, W004: the forms would not take DAEMON_ADMIN_PASSWORD. On loopback that is a warning."""
    env = conf.environment()
    try:
        if env.admin_password:
            validate_password(env.admin_password, get_user_model()(username="admin"))
    except ValidationError as error:
        why = " ".join(error.messages)
        text, hint = f"DAEMON_ADMIN_PASSWORD: {why}", "Set another one (bin/env generates one), or unset it."
        if env.exposed:
            return [checks.Error(text, hint=hint, id="tasks_app.E007")]
        return [checks.Warning(f"{text} Beyond loopback it would be refused.", hint=hint, id="tasks_app.W004")]
    return []


def check_home(**_: Any) -> list[checks.CheckMessage]:
    """E006: a DAEMON_HOME that this user cannot write to."""
    home = conf.environment().home
    existing = next(path for path in (home, *home.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return []
    return [
        checks.Error(
            f"DAEMON_HOME: cannot write to {str(home)[:200]}",
            hint=f"Set DAEMON_HOME to a folder that this user can write to. A relative path begins in {conf.FOLDER}.",
            id="tasks_app.E006",
        )
    ]


def _handlers() -> list[Handler]:
    """The handlers; none if handlers.toml has a fault, which E001 reports."""
    try:
        return list(conf.handlers().values())
    except HandlersError:
        return []


def check_handler_resources(**_: Any) -> list[checks.CheckMessage]:
    """W002: this machine lacks a program, file, mount source or variable that a handler names."""
    hint = "The handler's tasks cannot run until this is so. Ignore it on a machine that runs no worker."
    return [
        checks.Warning(text, hint=hint, id="tasks_app.W002")
        for handler in _handlers()
        for text in find_missing(handler)
    ]


def check_processors(**_: Any) -> list[checks.CheckMessage]:
    """W003: a handler's `cpus` are more than there are. Docker refuses such a container, but not a `memory_limit`."""
    asked = {handler.name: handler.cpus for handler in _handlers() if handler.cpus is not None}
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
    """The number of processors, and whose they are: the Docker engine's, or this machine's if there is no engine."""
    connection = importlib.import_module(DOCKER_CLIENT_MODULE).Connection(os.environ)
    try:
        connection.get()
    except Unavailable:
        return os.cpu_count() or 1, "this machine"
    connection.close()
    return int(connection.info["NCPU"]), "the Docker engine"


def check_engine(**_: Any) -> list[checks.CheckMessage]:
    """W005: the Docker engine lacks an image or a network that a handler names. Nothing where there is no engine."""
    handlers = [handler for handler in _handlers() if handler.image]
    if not handlers:
        return []
    connection = importlib.import_module(DOCKER_CLIENT_MODULE).Connection(os.environ)
    absent = importlib.import_module(DOCKER_ABSENT_MODULE)
    try:
        images = absent.absent_images(connection, [handler.image for handler in handlers])
        networks = absent.absent_networks(connection, [each.network for each in handlers if each.network])
    except Unavailable:
        return []
    finally:
        connection.close()
    found = []
    for handler in handlers:
        if handler.image in images:
            text = f"[handlers.{handler.name}] image: the Docker engine has no image {handler.image}"
            found.append((text, _build(handler.image)))
        if handler.network in networks:
            text = f"[handlers.{handler.name}] network: the Docker engine has no network {handler.network}"
            found.append((text, f"Type: docker network create {handler.network}. {_CORRECT}"))
    return [
        checks.Warning(text, hint=f"{hint} Ignore this if workers run on other machines.", id="tasks_app.W005")
        for text, hint in found
    ]


def _build(image: str | None) -> str:
    """The remedy for a missing image. A name that begins with localhost/ is never pulled."""
    if image is not None and image.startswith("localhost/"):
        return f"Type: docker build -t {image} FOLDER. {_CORRECT}"
    return f"A worker pulls it at its start; to see whether it can, type: docker pull {image}."
