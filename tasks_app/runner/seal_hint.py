"""A failure that looks like the seal says so, and names the key that opens it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tasks_app.runner.call import Done
from tasks_app.runner.errors import CallFailed, Killed, OutOfMemory
from tasks_app.runner.handlers import Handler
from tasks_app.runner.seal import Seal
from tasks_app.runner.wire import Failure

SIGBUS = 135
#: Characters at the end of a log that are looked at.
LAST_WORDS = 4096
#: Longest error text that a hint still fits behind, in characters.
ERROR_TEXT = 1600

Sign = tuple[re.Pattern[str], Callable[[Seal], bool], str]
"""What a failure says, whether the seal can be the reason, and what opens it."""


def _sign(words: str, when: Callable[[Seal], bool], opens: str) -> Sign:
    return re.compile(words, re.IGNORECASE), when, opens


_SIGNS: tuple[Sign, ...] = (
    _sign(
        r"read-only file ?system|\bEROFS\b|errno 30\b|os error 30\b",
        lambda seal: seal.read_only,
        'the root is read-only (`tmpfs = { "/path" = "64m" }` makes a path writable, `read_only = false` all)',
    ),
    _sign(
        r"network is (unreachable|down)|\bENETUNREACH\b|\bEAI_AGAIN\b|\bENOTFOUND\b|errno 101\b|os error 101\b|"
        r"temporary failure in name resolution|name or service not known|could not resolve host|no such host|"
        r"bad address|getaddrinfo|nodename nor servname",
        lambda seal: seal.network == "none",
        'there is no network (`network = "bridge"` gives it one)',
    ),
    _sign(
        r"no space left on device|\bENOSPC\b|errno 28\b|os error 28\b",
        lambda seal: bool(seal.tmpfs) or seal.shm_size is not None,
        '/tmp and /dev/shm are small (`tmpfs = { "/tmp" = "1g" }` and `shm_size` make them larger)',
    ),
    _sign(
        r"resource temporarily unavailable|\bEAGAIN\b|can(no|')t (start new thread|fork)|fork: retry|pthread_create|"
        r"unable to create( new)? native thread|errno 11\b|os error 11\b",
        lambda seal: seal.pids_limit is not None,
        "processes and threads are limited (`pids_limit` allows more)",
    ),
    _sign(
        r"(operation not permitted|\bEPERM\b|errno 1\b|os error 1\b)",
        lambda seal: seal.sealed,
        'it has no capabilities and no way to more rights (`cap_add` gives some, `user` another user, '
        '`profile = "open"` what Docker gives)',
    ),
)  # fmt: skip

_DENIED = re.compile(r"permission denied|\bEACCES\b|errno 13\b|os error 13\b", re.IGNORECASE)


def hint(handler: Handler, text: str, exit_code: int | None = None) -> str | None:
    """What of the handler's seal the failure looks like, and the key that opens it; None if like none."""
    if handler.image is None:
        return None
    seal = Seal.of(handler)
    for words, when, opens in _SIGNS:
        if words.search(text) and when(seal):
            return f"this looks like the seal: {opens}"
    if denied := _DENIED.search(text):
        start = text.rfind("\n", 0, denied.start()) + 1
        end = text.find("\n", denied.end())
        line = text[start : end if end >= 0 else len(text)]
        if not seal.tmpfs_exec and any(path in line for path in seal.tmpfs):
            return "this looks like the seal: nothing is run from a tmpfs (`tmpfs_exec = true` allows it)"
        if seal.sealed and seal.user is not None and handler.user is None:
            return f'this looks like the seal: it runs as user {seal.user} (`user = "image"` keeps the image\'s)'
    if exit_code == SIGBUS and seal.shm_size is not None:
        return "this looks like the seal: /dev/shm is small (`shm_size` makes it larger)"
    return None


def explained(handler: Handler, done: Done) -> Done:
    """The same call; if it failed, its error says what of the seal it looks like."""
    outcome = done.outcome
    if handler.image is None or not isinstance(outcome, Failure | CallFailed) or isinstance(outcome, Killed):
        return done
    error = outcome.error if isinstance(outcome, Failure) else str(outcome)
    if isinstance(outcome, OutOfMemory):
        found = "`memory_limit` allows more" if handler.memory_limit is not None else None
    else:
        said = f"{done.stdout_tail[-LAST_WORDS:]}\n{done.stderr_tail[-LAST_WORDS:]}\n{error}"
        found = hint(handler, said, done.exit_code)
    if found is None:
        return done
    error = f"{error[:ERROR_TEXT]} ({found})"
    if isinstance(outcome, Failure):
        return done._replace(outcome=replace(outcome, error=error))
    return done._replace(outcome=type(outcome)(error))
