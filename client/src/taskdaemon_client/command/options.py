"""Options that several commands have: the options of a task, and the filters of a list."""

from __future__ import annotations

import math
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from taskdaemon_client._options import COMMAND
from taskdaemon_client.command.output import say
from taskdaemon_client.command.words import JsonObject, Name, Seconds, handler_types

F = TypeVar("F", bound=Callable[..., Any])

JSON, SECONDS = JsonObject(), Seconds()

#: The types of values by their words; None: a text.
_TYPES: dict[str, Any] = {"SECONDS": SECONDS, "N": int, "NUMBER": float, "JSON": JSON}
#: Each option of a task, by its name in the API.
TASK_OPTIONS: dict[str, dict[str, Any]] = {
    "priority": {"type": int, "metavar": "N", "help": "0 to 100, default 50: larger ones go first."},
    **{name: {"type": _TYPES.get(option["metavar"]), **option} for name, option in COMMAND.items()},
}
#: Each filter of lists and operations, by its name in the API.
FILTERS: dict[str, dict[str, Any]] = {
    "status": {"metavar": "STATUS", "help": "pending, processing, completed, failed; several with commas."},
    "type": {"metavar": "TYPE", "help": "Handlers, with commas.", "shell_complete": handler_types},
    "failure_reason": {"metavar": "REASON", "help": "handler_error, timeout, crash ...; several with commas."},
    "tag": {"multiple": True, "metavar": "TAG", "help": "May be repeated: with all of them."},
    "priority_min": {"type": int, "metavar": "N", "help": "0 to 100."},
    "priority_max": {"type": int, "metavar": "N", "help": "0 to 100."},
    "created_after": {"metavar": "MOMENT", "help": "At this moment or later: 2026-01-31T09:00:00Z."},
    "created_before": {"metavar": "MOMENT", "help": "Before this moment."},
    "ids": {"metavar": "IDS", "help": "Up to 200, with commas."},
    "error": {"metavar": "TEXT", "help": "With this text in the last error."},
    "limit_key": {"metavar": "KEY", "help": "With exactly this limit key."},
}


def options_of(table: dict[str, dict[str, Any]]) -> Callable[[F], F]:
    """Give a command an option for each entry of a table."""

    def decorate(function: F) -> F:
        for name, attributes in reversed(table.items()):
            words = attributes.get("words", [f"--{name.replace('_', '-')}"])
            others = {key: value for key, value in attributes.items() if key != "words"}
            function = click.option(*words, name, **others)(function)
        return function

    return decorate


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value != ()}


def _names(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> list[str] | None:
    if not words:
        return None
    names = [name for word in words for name in (sys.stdin.read().split() if word == "-" else [word])]
    if not names:
        say("stdin names no task")
    return list(dict.fromkeys(map(_as_written_by_the_api, names)))


def _as_written_by_the_api(name: str) -> str:
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return name  # the platform says that there is no such task


NAME = Name()
#: The names of tasks, each once. `-` stands for the words of stdin; stdin may be empty.
ids_argument = click.argument("tasks", type=NAME, metavar="ID...", nargs=-1, required=True, callback=_names)
#: The names of tasks as above, or None if no word names a task.
some_ids_argument = click.argument("tasks", type=NAME, metavar="[ID...]", nargs=-1, callback=_names)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, metavar="N", help="At most so many; default 20."
)
timeout_option = click.option(
    "--timeout", type=SECONDS, default=math.inf, metavar="SECONDS", help="At most so long: 90, 15m, 2h."
)
id_argument = click.argument("id", type=NAME, metavar="ID")
