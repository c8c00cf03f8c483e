"""Commands that read, follow and change tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, TypeVar

import click

from taskdaemon_client import Client
from taskdaemon_client.answers import Attempt, Operation, Preview, Reason, Task
from taskdaemon_client.command import follow
from taskdaemon_client.command.ends import for_each
from taskdaemon_client.command.options import (
    FILTERS,
    JSON,
    given,
    id_argument,
    ids_argument,
    limit_option,
    options_of,
    some_ids_argument,
    timeout_option,
)
from taskdaemon_client.command.output import (
    Fields,
    Raw,
    columns,
    say,
    write_id,
    write_line,
    write_list,
    write_object,
    write_row,
)
from taskdaemon_client.command.words import Command, calls, fields_of

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = columns(
    "id", "status", ("TYPE", itemgetter("task_type")), "priority", "attempts",
    ("CREATED", lambda task: f"{task['created_at'][:19]}Z"),
    "last_error",
)  # fmt: skip
#: The fields of the columns.
_LISTED = ("id", "status", "task_type", "priority", "attempts", "created_at", "last_error")


@click.command(cls=Command, shows=Task)
@id_argument
@calls()
def get(client: Client, id: str, fields: Fields) -> None:
    """Show a task."""
    write_object(client.get(id).raw, fields)


@click.command(cls=Command, shows=Task)
@ids_argument
@timeout_option
@calls()
def wait(client: Client, tasks: list[str], timeout: float, fields: Fields) -> int | None:
    """Wait until tasks have ended.

    For one task the result is written, as JSON. For several tasks a line is written when each ends: id, status, and
    result or error; with --json a line of JSON. `-` reads ids from stdin. A restart of the platform does not end it.
    """
    if len(tasks) == 1:
        return follow.one(client, tasks[0], timeout, fields)
    return follow.several(client, tasks, timeout, fields)


@click.command(cls=Command, shows=(*fields_of(Attempt), "id", "event", "data"))
@id_argument
@click.option("-f", "--follow", "to_the_end", is_flag=True, help="Go on until the task ends.")
@click.option("--all", "all_attempts", is_flag=True, help="Of all attempts, not only of the last one.")
@calls()
def logs(client: Client, id: str, to_the_end: bool, all_attempts: bool, fields: Fields) -> int | None:
    """Write the output of a task's handler.

    With --follow it goes on until the task ends, over a restart of the platform, and ends with 0 if the task completed
    and with 1 if it failed. Control characters are written as \\x1b. --json writes the attempts; with --follow each
    event, a line each.
    """
    task = client.get(id)
    before = 0 if all_attempts else max(task.attempts - 1, 0)
    if to_the_end:
        return follow.log_until_the_end(client, task.id, before, fields)
    follow.log_as_it_is(client, task.id, before, fields)
    return None


@click.command("list", cls=Command, shows=(*fields_of(Task), "progress", "held"))
@options_of(FILTERS)
@click.option("--order", type=click.Choice(["newest", "oldest"]), help="Which come first; default newest.")
@limit_option
@click.option("--all", "all_of_them", is_flag=True, help="As many as there are.")
@calls()
def list_tasks(
    client: Client, order: str | None, limit: int, all_of_them: bool, fields: Fields, **filters: Any
) -> None:
    """List tasks, the newest first."""
    # A task more than the list shows, to say that there are more.
    asked = {"limit": None if all_of_them else limit + 1, "order": order, **given(filters)}
    found: Iterator[Raw] = (
        (task.raw for task in client.list(**asked)) if fields == () else client.rows(fields or _LISTED, **asked)
    )
    write_list(itertools.islice(found, None if all_of_them else limit), COLUMNS, fields)
    if next(found, None) is not None:
        say(f"there are more than {limit:,}: --limit N or --all shows them")


@click.command(cls=Command, shows=Reason)
@id_argument
@calls()
def why(client: Client, id: str, fields: Fields) -> None:
    """Say why a task does not run, or how it ended."""
    reasons = client.why(id)
    if fields is not None:
        write_list((reason.raw for reason in reasons), (), fields)
    else:
        for reason in reasons:
            write_row((reason.sentence,))


#: The options of an act on all tasks that match.
OF_ALL: dict[str, dict[str, Any]] = {
    "rate": {"type": float, "metavar": "N", "help": "So many tasks a second; default: as fast as it goes."},
    "limit": {"type": click.IntRange(min=1), "metavar": "N", "help": "At most so many tasks."},
}
_REDRIVE_ALL: dict[str, dict[str, Any]] = {
    "canary": {"type": int, "metavar": "N", "help": "So many go first; the others only if all of these succeed."},
    "stop_share": {"type": float, "metavar": "SHARE", "help": "It stops once more than this share has failed again."},
}
_NEW_DATA: dict[str, dict[str, Any]] = {
    "data": {"type": JSON, "metavar": "DATA|-|@FILE", "help": "What the task has from now on."},
    "priority": {"type": int, "metavar": "N", "help": "Its priority from now on, 0 to 100."},
}
_TO: dict[str, dict[str, Any]] = {
    "priority": {"words": ["--to"], "type": int, "metavar": "N", "required": True, "help": "0 to 100."}
}


def _act(
    verb: str,
    method: str,
    help: str,
    done: str,
    of_one: Mapping[str, Any] = {},
    of_all: Mapping[str, Any] = {},
) -> click.Command:
    """A command for an act on the tasks that are named, or on all that match.

    `method`: the act's name in the client and its operations. `done`: the end of the sentence about a task. `of_one`,
    `of_all`: the options for tasks that are named, and for tasks that match.
    """
    of_all = {**of_all, **OF_ALL}

    @click.command(verb, cls=Command, shows=fields_of(Task, Operation, Preview), help=help)
    @some_ids_argument
    @of_operations({**of_one, **of_all})
    @calls()
    def act(
        client: Client, tasks: list[str] | None, dry_run: bool, to_the_end: bool, fields: Fields, **options: Any
    ) -> int | None:
        filter: Any = given({name: options.pop(name) for name in FILTERS})
        options = given(options)
        on_one = getattr(client, method)
        # `-` names tasks also if stdin is empty: a filter beside it must not stand for all tasks that match.
        if tasks is not None and not (filter or dry_run or to_the_end or options.keys() - of_one):
            return for_each(tasks, lambda id: _changed(on_one(id, **options), f"task {id} {done}", fields))
        if tasks is not None or not filter:
            raise click.UsageError("name tasks by their ids, or give a filter such as --type, and the options of it")
        if other := options.keys() - of_all:
            raise click.UsageError(f"{', '.join(other)}: only for tasks that are named by their ids")
        return on_all(client, verb, method, filter, options, dry_run, to_the_end, fields)

    return act


def of_operations(others: dict[str, dict[str, Any]]) -> Callable[[F], F]:
    """Give a command these options, the filters, and --dry-run and --wait of an operation."""
    ends: dict[str, dict[str, Any]] = {
        "dry_run": {"is_flag": True, "help": "With a filter: only count."},
        "to_the_end": {"words": ["--wait"], "is_flag": True, "help": "With a filter: wait for the operation's end."},
    }
    return options_of({**others, **FILTERS, **ends})


def on_all(
    client: Client, verb: str, method: str, filter: Any, options: Any, dry_run: bool, to_the_end: bool, fields: Fields
) -> int | None:
    """Start an operation, and write its id or its end, or only preview it. Returns the exit code.

    Before a redrive it says why tasks would not run.
    """
    if dry_run:
        write_object(client.operations.preview(verb, filter, priority=options.get("priority")).raw, fields)
        return None
    if verb == "redrive":
        for warning in client.operations.preview(verb, filter).warnings:
            say(warning)
    operation = getattr(client.operations, method)(filter, **options)
    if to_the_end:
        say(f"operation {operation.id}")
        return follow.operation(client, operation.id, math.inf, fields, answered=True)
    write_id(operation.id, operation.raw, fields)
    return None


def _changed(task: Task | None, sentence: str, fields: Fields) -> None:
    if fields is None or task is None:
        say(sentence)
    else:
        write_line(task.raw, fields)


_BOTH = """

Name tasks by their ids (`-`: those of stdin), or choose all that match by filters. What matches is an operation, which
the nodes work off; its id is written to stdout.
"""

cancel = _act("cancel", "cancel", f"Cancel tasks that have not ended.{_BOTH}", "is cancelled")
redrive = _act(
    "redrive", "redrive", f"Queue failed tasks again.{_BOTH}", "is pending again", _NEW_DATA, _REDRIVE_ALL
)  # fmt: skip
delete = _act("delete", "delete", f"Delete tasks, in any status.{_BOTH}", "is deleted")
priority = _act(
    "priority", "set_priority", f"Give pending tasks another priority.{_BOTH}", "has another priority", _TO, _TO
)
