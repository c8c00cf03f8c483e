"""Recognises failures that the sandbox may have caused, and names the key in handlers.toml that allows more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.docker.sandbox import Sandbox
from tasks_app.runner.errors import CallFailed, Killed, NotBegun, OutOfMemory
from tasks_app.runner.wire import Failure

SIGBUS = 135
#: How much of the end of a log is searched.
LOG_TAIL_CHARS = 4096
#: The error text is cut to this length before a hint.
MAX_ERROR_CHARS = 1600

Symptom = tuple[re.Pattern[str], Callable[[Sandbox], bool], str]
"""A pattern in a failure's text, whether the sandbox can cause it, and the key that helps."""


def _symptom(words: str, when: Callable[[Sandbox], bool], remedy: str) -> Symptom:
    return re.compile(words, re.IGNORECASE), when, remedy


_SYMPTOMS: tuple[Symptom, ...] = (
    _symptom(
        r"read-only file ?system|\bEROFS\b|errno 30\b|os error 30\b",
        lambda sandbox: sandbox.read_only,
        'the root is read-only (`tmpfs = { "/path" = "64m" }` makes a path writable, `read_only = false` all)',
    ),
    _symptom(
        r"network is (unreachable|down)|\bENETUNREACH\b|\bEAI_AGAIN\b|\bENOTFOUND\b|errno 101\b|os error 101\b|"
        r"temporary failure in name resolution|name or service not known|could not resolve host|no such host|"
        r"bad address|getaddrinfo|nodename nor servname",
        lambda sandbox: sandbox.network == "none",
        'there is no network (`network = "bridge"` gives it one)',
    ),
    _symptom(
        r"no space left on device|\bENOSPC\b|errno 28\b|os error 28\b",
        lambda sandbox: bool(sandbox.tmpfs) or sandbox.shm_size is not None,
        '/tmp and /dev/shm are small (`tmpfs = { "/tmp" = "1g" }` and `shm_size` make them larger)',
    ),
    _symptom(
        r"resource temporarily unavailable|\bEAGAIN\b|can(no|')t (start new thread|fork)|fork: retry|pthread_create|"
        r"unable to create( new)? native thread|errno 11\b|os error 11\b",
        lambda sandbox: sandbox.pids_limit is not None,
        "processes and threads are limited (`pids_limit` allows more)",
    ),
    _symptom(
        r"(operation not permitted|\bEPERM\b|errno 1\b|os error 1\b)",
        lambda sandbox: sandbox.sandboxed,
        'it has no capabilities (`cap_add` with `user = "root"` adds some, `profile = "open"` those that Docker gives)',
    ),
)  # fmt: skip

_DENIED = re.compile(r"permission denied|\bEACCES\b|errno 13\b|os error 13\b", re.IGNORECASE)


def hint(handler: Handler, text: str, exit_code: int | None = None) -> str | None:
    """Which part of the sandbox may have caused the failure, and the key that helps; None if none may have."""
    if handler.image is None:
        return None
    sandbox = Sandbox.of(handler)
    for words, when, remedy in _SYMPTOMS:
        if words.search(text) and when(sandbox):
            return f"this looks like the sandbox: {remedy}"
    if denied := _DENIED.search(text):
        start = text.rfind("\n", 0, denied.start()) + 1
        end = text.find("\n", denied.end())
        line = text[start : end if end >= 0 else len(text)]
        if not sandbox.tmpfs_exec and any(path in line for path in sandbox.tmpfs):
            return "this looks like the sandbox: nothing is run from a tmpfs (`tmpfs_exec = true` allows it)"
        if sandbox.sandboxed and sandbox.user is not None and handler.user is None:
            return f'this looks like the sandbox: it runs as user {sandbox.user} (`user = "image"` keeps the image\'s)'
    if exit_code == SIGBUS and sandbox.shm_size is not None:
        return "this looks like the sandbox: /dev/shm is small (`shm_size` makes it larger)"
    return None


def explained(handler: Handler, result: CallResult) -> CallResult:
    """The result of a call; if it failed, with a hint in its error if the sandbox may be the cause."""
    outcome = result.outcome
    if handler.image is None or not isinstance(outcome, Failure | CallFailed | NotBegun) or isinstance(outcome, Killed):
        return result
    error = outcome.error if isinstance(outcome, Failure) else str(outcome)
    if isinstance(outcome, OutOfMemory) or (isinstance(outcome, NotBegun) and outcome.otherwise is OutOfMemory):
        found = "`memory_limit` allows more" if handler.memory_limit is not None else None
    else:
        text = f"{result.stdout_tail[-LOG_TAIL_CHARS:]}\n{result.stderr_tail[-LOG_TAIL_CHARS:]}\n{error}"
        found = hint(handler, text, result.exit_code)
    if found is None:
        return result
    error = f"{error[:MAX_ERROR_CHARS]} ({found})"
    if isinstance(outcome, Failure):
        return result._replace(outcome=replace(outcome, error=error))
    if isinstance(outcome, NotBegun):
        return result._replace(outcome=outcome.worded(error))
    return result._replace(outcome=type(outcome)(error))
