"""The exit codes of commands, and the sentences of their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taskdaemon_client import errors
from taskdaemon_client.command.output import say
from taskdaemon_client.settings import BadSettings

DONE, FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, CONFLICT, LATER, OWN_FAULT, TIME_OVER, INTERRUPTED = (
    0, 1, 2, 3, 4, 5, 6, 7, 70, 124, 130,
)  # fmt: skip

MEANINGS = {
    DONE: "done",
    FAILED: "the task failed; an operation did not complete",
    USAGE: "a word that the command does not understand, or the platform refused what was asked (400, 413, 422)",
    UNREACHABLE: "nothing answers, or no task platform does",
    NOT_ALLOWED: "no valid API key, or it does not allow this (401, 403)",
    NOT_FOUND: "there is no such task, handler, node ... (404)",
    CONFLICT: "it is in a state in which this is not possible (409)",
    LATER: "the queue is full, or the platform is overloaded or has no database (429, 503)",
    OWN_FAULT: "a bug, of the command or of the platform (500)",
    TIME_OVER: "the time of a wait is over",
    INTERRUPTED: "Ctrl-C",
}

_CODES: dict[type[errors.TaskdaemonError], int] = {
    errors.TaskFailed: FAILED,
    errors.BadRequest: USAGE,
    BadSettings: USAGE,
    errors.Unreachable: UNREACHABLE,
    errors.NotAllowed: NOT_ALLOWED,
    errors.NotFound: NOT_FOUND,
    errors.TasksGone: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.TryLater: LATER,
    errors.WaitTimeout: TIME_OVER,
}


def code_of(error: errors.TaskdaemonError) -> int:
    """The exit code for an error of a call."""
    if isinstance(error, errors.ApiError) and error.foreign:
        return UNREACHABLE
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), OWN_FAULT)


def complain(error: errors.TaskdaemonError, of: str = "") -> int:
    """Write the sentence of an error. `of`: the task, handler or node that it is about. Returns the exit code."""
    code = code_of(error)
    # If the platform does not answer, the sentence has the address: the reader sees which setting is wrong.
    sentence = error.sentence if isinstance(error, errors.ApiError) and code != UNREACHABLE else str(error)
    say(f"Error: {of and f'{of}: '}{sentence}")
    if isinstance(error, errors.ApiError) and len(error.faults) > 1:
        for fault in error.faults:
            say(f"  {fault.field}: {fault.error}")
    if code == UNREACHABLE:
        say("Does the platform run? --url, TASKDAEMON_URL or a profile says where it is.")
    return code


def for_each(names: Iterable[str], act: Callable[[str], object]) -> int:
    """Do an act for each name, also after a refusal. Returns the exit code of the first refusal.

    If the platform does not answer, it ends at once.
    """
    first = DONE
    for name in names:
        try:
            act(name)
        except errors.TaskdaemonError as error:
            code = complain(error, name)
            first = first or code
            if code == UNREACHABLE:
                return first
    return first
