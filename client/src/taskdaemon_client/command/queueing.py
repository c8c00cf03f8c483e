"""Commands that queue tasks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import click

from taskdaemon_client import Client
from taskdaemon_client.answers import Queued, Task
from taskdaemon_client.calls import BATCH_TASKS
from taskdaemon_client.command import follow
from taskdaemon_client.command.ends import USAGE, complain
from taskdaemon_client.command.options import JSON, SECONDS, TASK_OPTIONS, given, options_of
from taskdaemon_client.command.output import Fields, bar, say, write, write_id, write_line
from taskdaemon_client.command.words import Command, OptionalValue, calls, fields_of, handler_types, strict_json
from taskdaemon_client.errors import ApiError, TaskdaemonError, naming_tasks

QUEUED = ("task_id", "existing", "callback_taken")


@click.command(cls=Command, shows=(*QUEUED, *fields_of(Task)))
@click.argument("type", metavar="TYPE", shell_complete=handler_types)
@click.argument("data", type=JSON, default="{}", metavar="[DATA|-|@FILE]")
@click.option(
    "--wait", cls=OptionalValue, looks=lambda word: word[:1].isdigit(), absent=math.inf, type=SECONDS,
    metavar="[SECONDS]", help="Wait for its end, at most so long, and write its result."
)  # fmt: skip
@options_of(TASK_OPTIONS)
@click.option("--idempotency-key", metavar="KEY", help="This call's name: made again, it queues no second task.")
@calls()
def submit(
    client: Client,
    type: str,
    data: dict[str, Any],
    wait: float | None,
    idempotency_key: str | None,
    fields: Fields,
    **options: Any,
) -> int | None:
    """Queue a task.

    TYPE is a handler. DATA is a JSON object; `-` reads it from stdin, @FILE from a file. The task's id is written to
    stdout, or with --wait the task's result as JSON. Ctrl-C ends the command and not the task.
    """
    queued = client.submit(type, data, idempotency_key=idempotency_key, **given(options))
    if queued.existing:
        say("a task with this unique key has not ended: this is that one")
    if queued.callback_taken is False:
        say("no callback goes to the --callback-url: that task was queued without it or by another caller; wait for it")
    if wait is not None:
        say(f"task {queued.id}")
        return follow.one(client, queued.id, wait, fields, answered=True)
    write_id(queued.id, queued.raw, fields)
    return None


@click.command("submit-many", cls=Command, shows=QUEUED)
@click.argument("file", type=click.File(encoding="utf-8"), metavar="FILE.jsonl")
@click.option("--idempotency-key", metavar="KEY", help="The file's name: queued again, only what is missing is stored.")
@calls(retries=10)
def submit_many(client: Client, file: TextIO, idempotency_key: str | None, fields: Fields) -> int | None:
    """Queue the tasks of a file.

    Each line of FILE.jsonl is a task: {"type": "prime", "data": {"limit": 1000}}, with the options that a POST to
    /queue may have. `-` is stdin. The ids are written to stdout in the order of the lines. 1,000 lines are stored at
    a time, all of them or none; after a fault the tasks that were stored before it stay. To wait for all:

    \b
    tdctl submit-many tasks.jsonl | tdctl wait -
    """
    count = 0
    with bar(_size(file)) as shown:
        try:
            for batch in _batches(file):
                key = idempotency_key and f"{idempotency_key}/{batch.numbers[0]}"
                try:
                    queued = client.submit_many(batch.tasks, idempotency_key=key)
                except TaskdaemonError as error:
                    _write(error.queued, fields)
                    count += len(error.queued)
                    if isinstance(error, ApiError):
                        naming_tasks(error, batch.line)
                    raise
                _write(queued, fields)
                count += len(queued)
                shown.show(batch.end, f"{count:,} queued")
        except (TaskdaemonError, _BadLine) as error:
            code = complain(error) if isinstance(error, TaskdaemonError) else USAGE
            if isinstance(error, _BadLine):
                say(f"Error: {error}")
            say(f"the first {count:,} tasks are queued" if count else "no task is queued")
            return code
    return None


def _size(file: TextIO) -> int | None:
    """The size of a file in bytes, or None for a pipe."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None


class _BadLine(Exception):
    """A line that is no JSON object."""


class _Batch(NamedTuple):
    """Tasks, the number of each task's line, and the number of bytes read of the file."""

    tasks: list[Any]
    numbers: list[int]
    end: int

    def line(self, index: int) -> str:
        """The name of a task of this batch in messages."""
        return f"line {self.numbers[index]}"


def _batches(file: TextIO) -> Iterator[_Batch]:
    tasks, numbers, end = list[Any](), list[int](), 0
    for number, line in enumerate(_lines(file), start=1):
        end += len(line.encode())
        if not line.strip():
            continue
        try:
            task = strict_json(line)
        except ValueError as error:
            raise _BadLine(f"line {number} is not JSON: {error}") from None
        if not isinstance(task, dict):
            raise _BadLine(f'line {number} is no JSON object, as {{"type": "prime"}} is')
        tasks.append(task)
        numbers.append(number)
        if len(tasks) == BATCH_TASKS:
            yield _Batch(tasks, numbers, end)
            tasks, numbers = [], []
    if tasks:
        yield _Batch(tasks, numbers, end)


def _lines(file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise _BadLine(f"the file is not UTF-8: {error}") from None


def _write(queued: list[Queued], fields: Fields) -> None:
    for each in queued:
        if fields is None:
            write(f"{each.id}\n")
        else:
            row = {"task_id": each.id, "existing": each.existing, "callback_taken": each.callback_taken}
            write_line(row, fields)
