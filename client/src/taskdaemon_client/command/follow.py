"""Waits for tasks, and shows what their handlers write. It survives a restart of the platform."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from taskdaemon_client import Client
from taskdaemon_client.answers import Event, Operation, Task
from taskdaemon_client.command.ends import FAILED, NOT_FOUND, complain
from taskdaemon_client.command.output import (
    Bar,
    Fields,
    Raw,
    as_json,
    bar,
    harmless,
    say,
    write,
    write_line,
    write_list,
    write_object,
    write_row,
)
from taskdaemon_client.errors import TaskdaemonError, TaskFailed, TasksGone, TryLater, Unreachable, WaitTimeout

#: The longest wait for one answer. Then the command says why the task has not ended.
SLICE_SECONDS = 2.0
#: The pause between two looks at an operation.
LOOK_SECONDS = 0.5
#: A wait goes on for so long after the last answer: a platform that is restarted may migrate its tables first.
PATIENCE_SECONDS = 300
RETRY_SECONDS = 1.0
#: The errors during a restart of the platform.
AWAY = (Unreachable, TryLater)
#: Greater than any sequence of an attempt's events.
AFTER_ALL = 10**9


class Patience:
    """Waits through a restart of the platform. `deadline`: the end of the caller's own time, by time.monotonic()."""

    def __init__(self, answered: bool = False, deadline: float = math.inf) -> None:
        """`answered`: the platform has answered this command before. Only then the command waits for it."""
        self._until = time.monotonic() + PATIENCE_SECONDS if answered else 0.0
        self._deadline = deadline
        self._said = False

    def answered(self) -> None:
        """Note an answer of the platform."""
        self._until = time.monotonic() + PATIENCE_SECONDS
        self._said = False

    def sleep(self, error: TaskdaemonError) -> None:
        """Sleep before the next try. Raises `error` if the time is over."""
        now = time.monotonic()
        if now >= self._until:
            raise error
        if not self._said:
            say(f"{error}; trying again")
            self._said = True
        later = error.retry_after if isinstance(error, TryLater) else None
        longest = min(self._deadline, self._until) - now
        time.sleep(max(0.0, min(max(later or 0.0, RETRY_SECONDS), longest)))


def one(client: Client, id: str, timeout: float, fields: Fields, answered: bool = False) -> int | None:
    """Wait for a task, and write its result, or the whole task as JSON. Returns the exit code."""
    with bar(1) as shown:
        try:
            task = _ended(client, id, timeout, shown, answered)
        except WaitTimeout:
            if fields is not None:
                write_object(client.get(id).raw, fields)
            raise
        except KeyboardInterrupt:
            say(f"the task goes on; to follow it: tdctl logs -f {id}")
            raise
    if fields is not None:
        write_object(task.raw, fields)
    elif task.status == "completed":
        write(as_json(task.result, indent=2 if sys.stdout.isatty() else None) + "\n")
    if task.status == "completed":
        return None
    say(f"{TaskFailed(task)}\nwhat its handler has written: tdctl logs {id}")
    return FAILED


def _ended(client: Client, id: str, timeout: float, shown: Bar, answered: bool) -> Task:
    deadline = time.monotonic() + timeout
    patience = Patience(answered, deadline)
    hints = Hints(client, id, shown)
    seconds = SLICE_SECONDS if answered else 0.0
    while True:
        try:
            return client.wait(id, max(0.0, min(seconds, deadline - time.monotonic())))
        except WaitTimeout:
            patience.answered()
            if seconds:
                hints.look()
            seconds = SLICE_SECONDS
        except AWAY as error:
            patience.sleep(error)
        if time.monotonic() >= deadline:
            hints.look(last=True)
            raise WaitTimeout([id], timeout)


class Hints:
    """Says why a task waits, and why the output of its handler is no reply; each reason once."""

    def __init__(self, client: Client, id: str, shown: Bar) -> None:
        self._client, self._id, self._shown = client, id, shown
        self._said: set[str] = set()

    def look(self, last: bool = False) -> None:
        """Read the task, and say new reasons. `last`: also say why a running task has not ended."""
        try:
            task = self._client.get(self._id)
            if task.status == "pending" or (last and task.status == "processing"):
                reasons = self._client.why(task)
                sentence = "; ".join(reason.sentence for reason in reasons)
                self._shown.show(words=sentence)
                # Sentences have numbers that change all the time.
                key = f"{task.attempts} {[reason.reason for reason in reasons]}"
                self._say(key, f"the task {'waits' if task.status == 'pending' else 'runs'}: {sentence}")
            if task.status == "processing":
                for attempt in self._client.attempts(task, running=True, after=task.attempts - 1):
                    if attempt.progress is not None:
                        self._shown.show(attempt.progress.progress, attempt.progress.message or "")
                    if attempt.note:
                        self._say(f"{attempt.number} {attempt.note}", f"attempt {attempt.number}: {attempt.note}")
        except TaskdaemonError:
            pass  # the key may not read it, the platform is away, or the task is gone: the wait says so

    def _say(self, key: str, sentence: str) -> None:
        if key not in self._said:
            self._said.add(key)
            say(sentence)


def several(client: Client, ids: Sequence[str], timeout: float, fields: Fields) -> int | None:
    """Wait for tasks, and write a line for each when it ends. Returns the exit code: 1 if any failed."""
    deadline = time.monotonic() + timeout
    patience = Patience(deadline=deadline)
    left = dict.fromkeys(ids)
    failed, gone = False, 0
    seconds: float | None = 0.0  # the first answer comes at once: later the platform may be away
    with bar(len(left)) as shown:
        while left:
            try:
                for task in client.as_completed(list(left), timeout=seconds):
                    patience.answered()
                    left.pop(task.id, None)
                    failed |= task.status != "completed"
                    _write_ended(task, fields)
                    shown.show(len(ids) - len(left), f"{len(left):,} to go")
            except WaitTimeout:
                patience.answered()
            except TasksGone as error:
                gone = complain(error)
                for id in error.ids:
                    left.pop(id, None)
            except AWAY as error:
                patience.sleep(error)
            if left and time.monotonic() >= deadline:
                raise WaitTimeout(list(left), timeout)
            seconds = None if timeout == math.inf else max(0.0, deadline - time.monotonic())
    return gone or (FAILED if failed else None)


def _write_ended(task: Task, fields: Fields) -> None:
    if fields is not None:
        write_line(task.raw, fields)
    else:
        what = as_json(task.result) if task.status == "completed" else f"{task.failure_reason}: {task.last_error}"
        write_row((task.id, task.status, what))


class Log:
    """Writes the output of handlers to stdout, and sentences about it to stderr."""

    def __init__(self) -> None:
        self._at_line_start = True

    def write(self, text: str) -> None:
        """Write a part of the log."""
        if text:
            write(harmless(text))
            self._at_line_start = text.endswith("\n")

    def say(self, sentence: str) -> None:
        """Write a sentence on a line of its own, also if stdout and stderr are one terminal."""
        if not self._at_line_start and sys.stdout.isatty() and sys.stderr.isatty():
            write("\n")
            self._at_line_start = True
        say(sentence)


def log_as_it_is(client: Client, id: str, before: int, fields: Fields) -> None:
    """Write the logs so far of the attempts after number `before`."""
    attempts = client.attempts(id, running=True, after=before)
    if fields is not None:
        write_list((attempt.raw for attempt in attempts), (), fields)
        return
    log = Log()
    for attempt in attempts:
        log.say(f"attempt {attempt.number}: {attempt.outcome or 'running'} ({attempt.node})")
        log.write(attempt.stdout_tail)
        log.write(attempt.stderr_tail)
        if attempt.note:
            log.say(attempt.note)


def log_until_the_end(client: Client, id: str, before: int, fields: Fields) -> int | None:
    """Write the logs of the attempts after number `before`, until the task ends. Returns the exit code."""
    log, patience = Log(), Patience(answered=True)
    last = f"{before}.{AFTER_ALL}" if before else None
    while True:
        try:
            for event in client.events(id, after=last):
                patience.answered()
                last = event.id or last
                if fields is not None:
                    write_line({"id": event.id, "event": event.event, "data": event.raw}, ())
                else:
                    _show(log, event)
                if event.event == "end":
                    return _end(log, id, event.raw)
            patience.sleep(Unreachable("the events of the task have ended before the task"))
        except AWAY as error:
            patience.sleep(error)


def _end(log: Log, id: str, data: Raw) -> int | None:
    if data["status"] == "completed":
        return None
    if data["status"] is None:
        log.say(f"Error: task {id} is gone")
        return NOT_FOUND
    log.say(f"task {id} failed ({data['failure_reason']}): {data['error']}")
    return FAILED


def _show(log: Log, event: Event) -> None:
    data = event.raw
    if event.event == "log":
        if data.get("again"):
            log.say(f"the connection was lost for over a minute: the log of attempt {data['attempt']} again")
        if "cut" in data:
            log.say(f"{data['cut']} bytes are left out")
        log.write(data.get("text", ""))
    elif event.event == "progress":
        log.say(f"progress {data['progress']:.0%} {data.get('message') or ''}".rstrip())
    elif event.event == "note":
        log.say(data["text"])
    elif event.event == "status" and data["status"] == "processing":
        log.say(f"attempt {data['attempt']} runs on {data['node']}")
    elif event.event == "status" and data["status"] == "pending" and data["attempts"]:
        log.say(f"attempt {data['attempts']} ended: {data.get('outcome')}: {data.get('error')}")


def operation(client: Client, id: str, timeout: float, fields: Fields, answered: bool = False) -> int | None:
    """Wait for the end of an operation, and write it. Returns the exit code."""
    try:
        now = _ended_operation(client, id, timeout, answered)
    except KeyboardInterrupt:
        say(f"the operation goes on; to end it: tdctl operations abort {id}")
        raise
    if fields is not None:
        write_object(now.raw, fields)
    say(now.sentence or f"operation {id} is {now.state}")
    return None if now.state == "completed" else FAILED


def _ended_operation(client: Client, id: str, timeout: float, answered: bool) -> Operation:
    deadline = time.monotonic() + timeout
    patience = Patience(answered, deadline)
    with bar(1) as shown:
        while True:
            try:
                now = client.operations.get(id)
                if now.state != "running":
                    return now
                patience.answered()
                ended = now.done + sum(now.skipped.values()) + now.failed
                shown.show(ended / max(now.matched, 1), f"{now.done:,} of {now.matched:,}")
                time.sleep(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic())))
            except AWAY as error:
                patience.sleep(error)
            if time.monotonic() >= deadline:
                raise WaitTimeout([id], timeout)
