"""Starts the containers of one slot, tries again after failures, and says why they do not start."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Iterator

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.missing import why_not_started
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.runner.backoff import Backoff
from tasks_app.runner.dialog import MAX_STARTUP_OUTPUT_BYTES, Dialog
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.engine import ContainerExit, Engine, EngineSlow, EngineUnreachable, NotYet, Unavailable
from tasks_app.runner.near_misses import lacks_variable
from tasks_app.runner.slot_owner import Problem, SlotOwner

MIN_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0

#: How many times longer the first containers of a new revision are watched while those of the one before serve: it may
#: take them long to find out that they cannot start.
UNTRIED_FACTOR = 5.0
#: How often a slot that waits for its start checks whether it is to close.
CLOSING_CHECK_SECONDS = 0.2
#: A container that lived this long did not end at once.
STABLE_SECONDS = 10.0
#: How much of a handler's last line its problem quotes.
MAX_LAST_WORDS_CHARS = 150
#: What a container that does not start may end by.
BY_ITSELF = (DeathReason.EXIT, DeathReason.UNASKED_OUTPUT, DeathReason.OOM)
INTERNAL_ERROR = "internal runner error; see the worker's log"

ONE_TASK_EACH = (
    "handler '{}' is reached by Docker's attach and its replies have no `task_id`, so each of its containers is "
    "replaced after one task, and every task costs the start of a container. To avoid that, put the request's "
    '`task_id` into every reply, or let the worker use FIFOs (docs/handlers.md, "Which task a reply belongs to")'
)

log = logging.getLogger(__name__)
# One cause often affects many slots.
log_once = LogOnce(REMINDER_SECONDS)
notice_once = LogOnce()

# Moments, addresses, process ids, UUIDs: a program's last line may have others at each try.
_VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f-]{12,}|[0-9a-f]*\d[0-9a-f]*", re.IGNORECASE)
# How lines begin that Node, Go and Java write after the cause of a failure, and how the line with the cause begins.
_AFTER_CAUSE = re.compile(r"\s|[\])}]|Node\.js v\d")
_CAUSE = re.compile(r"[\w.]*(?:Error|Exception)\b|panic: |fatal error: |Caused by: ")
_SYNTAX = re.compile(r"(?:Syntax|Indentation|Tab)Error: ")
#: What Python and Node say.
_NO_MODULE = re.compile(r"No module named '|Cannot find module '")
_PLACE = re.compile(r'\s+File "(?:[^"]*/)?([^"/]{1,80})", line (\d{1,9})')

# More parallel starts gain nothing. Two semaphores, so that an engine that hangs does not delay child processes.
_starting = {with_image: threading.BoundedSemaphore(4) for with_image in (False, True)}


class ContainerStarter:
    """Starts the containers of one slot, one after the other, and keeps track of failures.

    Containers that end before they have started are the pool's matter (see Probing); this slot's own are an engine that
    starts none, and containers that end later.

    For the slot's thread. The thread that polls the reactor calls `worked`, `recovered` and `is_stable`.
    """

    def __init__(self, engine: Engine, slot: int, ready_after: float, owner: SlotOwner) -> None:
        #: Why containers do not start or do not live; None while they do. Written by both threads: the later event
        #: counts. Any thread reads it.
        self.problem: Problem | None = None
        #: What makes its containers slow without a failure, as the last one that replied has shown; None: nothing does.
        self.notice: str | None = None
        self._engine, self._slot, self._ready_after, self._owner = engine, slot, ready_after, owner
        # Written by both threads, like `problem`.
        self._backoff = Backoff(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self._proven = False
        #: The key of the revision of the last container. Written by the slot's thread.
        self._key = ""
        #: A container has replied and nothing has failed since, so `worked` has nothing to do.
        self.works = False
        #: Written by the slot's thread.
        self._start_failed = False
        #: Set by the thread that closes the pool, or removes the slot.
        self._closed = threading.Event()
        #: Ends a pause. Set by that one, and by the one that reloads.
        self._awake = threading.Event()

    def dialogs(self) -> Iterator[Dialog]:
        """Start a container whenever the last one is destroyed, after a pause if it failed; until `close`."""
        while not self._closed.is_set():
            if delay := self._owner.start_delay(self._slot):
                self._wait(delay)
                continue
            try:
                dialog = self.start()
            except Exception as error:
                self.internal_error(error)
                dialog = None
            if dialog is None:
                self._owner.not_started(self._slot)
            else:
                yield dialog
            self._wait(self._backoff.pause)

    def _wait(self, seconds: float) -> None:
        """Until so many seconds are over, or `close` or `start_again` is called; even if that was just before."""
        if seconds and not self._closed.is_set():
            self._awake.wait(seconds)
        self._awake.clear()

    def close(self) -> None:
        """Start no more containers."""
        self._closed.set()
        self._awake.set()

    def start_again(self, forget: bool) -> None:
        """End a pause. `forget`: the failures before do not count any more. Thread-safe."""
        if forget:
            self.recovered()
        self._awake.set()

    def start(self) -> Dialog | None:
        """Start a container without waiting for it to be ready; None if that failed or the slot is closing."""
        starting = _starting[self._owner.revision.handler.image is not None]
        while not starting.acquire(timeout=CLOSING_CHECK_SECONDS):
            if self._closed.is_set():
                return None
        try:
            if self._closed.is_set():
                return None
            revision = self._owner.revision  # the newest, after a wait
            try:
                container = self._engine.start(revision.handler, self._slot, self._closed)
            except Unavailable as error:
                if self._closed.is_set():
                    return None
                if isinstance(error, (NotYet, EngineSlow)):
                    self._backoff.succeeded()
                self.failed(str(error), error.reason if isinstance(error, EngineUnreachable) else None)
                self._start_failed = True
                self._warn(str(error))
                return None
        finally:
            starting.release()
        if self._key != revision.key:
            self._key, self._proven, self.works = revision.key, False, False
        if self._start_failed:  # the cause (no engine, no image) is gone
            self._start_failed, self.problem = False, None
        return Dialog(container, revision)

    def probation(self) -> float:
        """Seconds for which a new container is watched before it is ready.

        0 after a container has replied to a call, so that a crash costs milliseconds; until one ends at once again.
        """
        if self._proven:
            return 0.0
        return self._ready_after * (UNTRIED_FACTOR if self._owner.is_untried else 1.0)

    def failed(self, problem: str, engine: str | None = None) -> None:
        """There is no usable container. `engine`: why the engine cannot be reached, if that is the cause."""
        self._backoff.failed()
        self.problem = Problem(problem, engine)
        self.works = False

    def internal_error(self, error: Exception) -> None:
        """The slot's thread has failed."""
        name = self._owner.name
        log.error("internal error in slot %d of %s", self._slot, name, exc_info=error, extra={"handler": name})
        self.failed(INTERNAL_ERROR)

    def worked(self) -> None:
        """The container replied to a call."""
        self.works = self._proven = True
        self.recovered()

    def recovered(self) -> None:
        """Forget earlier failures."""
        self._backoff.succeeded()
        self.problem = None

    def ended(
        self,
        dialog: Dialog,
        reason: DeathReason,
        container_exit: ContainerExit,
        explained: bool,
        started: bool | None = True,
    ) -> None:
        """The container ended for this reason. `explained`: the result of its call tells it.

        `started`: see Eviction.
        """
        if dialog.replied:
            self.notice = ONE_TASK_EACH.format(self._owner.name) if reason is DeathReason.NO_TASK_ID else None
        if self.notice is not None and notice_once.is_due(self._owner.name):
            log.warning("%s", self.notice, extra={"handler": self._owner.name})
        if reason in (DeathReason.CLOSED, DeathReason.RECYCLED, DeathReason.NO_TASK_ID):
            return
        if reason is DeathReason.INTERNAL_ERROR:
            self.failed(INTERNAL_ERROR)
            return
        age = time.monotonic() - dialog.started_at
        if dialog.calls and not dialog.replied and age < self._ready_after:
            self._proven = self.works = False
        if dialog.revision.key != self._owner.revision.key:
            return  # what it did says nothing of the containers to come
        failed = reason in BY_ITSELF and self._had_not_started(dialog, started, age)
        if started and not dialog.replied:
            self._owner.probing.succeeded()
        if explained and not failed:
            return
        if reason is DeathReason.LEFTOVER:
            self._warn(
                f"handler '{self._owner.name}' leaves processes behind after its reply, so its container is "
                "replaced; start helpers that may stay before the first line is read",
            )
            return
        what = f"handler '{self._owner.name}' {_what(dialog, reason, container_exit, age, started)}"
        out, err = dialog.tails()
        output = last_line(out) if reason is DeathReason.UNASKED_OUTPUT else last_line(err) or last_line(out)
        handler, fault = dialog.revision.handler, container_exit.fault
        if not dialog.calls and handler.image is None and handler.command:
            fault = why_not_started(handler.command, handler.cwd)
        container = f" (container {dialog.container.id})"
        if fault:
            # What the shell or the engine says of it is in the log alone.
            container += f": {output}" if output else ""
            output, then = "", f": {fault}"
        else:
            then = _then(output, handler)
        output = f": {output}" if output else ""
        if dialog.calls and not failed:
            # Its output may differ from task to task.
            self._warn(what, output + container)
            return
        self._warn(what + output + then, container)
        self._proven = self.works = False
        if failed:
            self._owner.probing.failed(dialog.started_at, what + output[:MAX_LAST_WORDS_CHARS] + then)
        else:
            self._backoff.succeeded()
            self.failed(what + output + then)

    def _had_not_started(self, dialog: Dialog, started: bool | None, age: float) -> bool:
        if not dialog.calls:
            return age < STABLE_SECONDS
        # If it is unknown, its task may have ended it, and other tasks must not wait for that.
        return started is False or (started is None and self._owner.start_times.answered_at is None)

    def is_stable(self, dialog: Dialog) -> bool:
        """True if there were failures and the unused container has lived long enough to forget them."""
        failed = self._backoff.failures > 0 or self._owner.probing.is_older(dialog.started_at)
        return failed and not dialog.calls and time.monotonic() - dialog.started_at >= STABLE_SECONDS

    def stable(self, dialog: Dialog) -> None:
        """Forget the failures before this container's start."""
        self.recovered()
        if self._owner.probing.is_older(dialog.started_at):
            self._owner.probing.succeeded()

    def _warn(self, problem: str, details: str = "") -> None:
        """Log a problem of the handler, with `details` that differ from slot to slot.

        A problem with other numbers is the same one.
        """
        if log_once.is_due((self._owner.name, _VARYING.sub("#", problem))):
            log.warning("%s%s", problem, details, extra={"handler": self._owner.name})


def how_it_ended(container_exit: ContainerExit) -> str:
    """`ended with exit code 1`; `ended` if the code is unknown; `closed its stdout` if it still ran."""
    return "closed its stdout" if container_exit.running else f"ended{_exit_code_text(container_exit)}"


def _exit_code_text(container_exit: ContainerExit) -> str:
    """` with exit code 1`, ` with exit code 139 (SIGSEGV)`; "" if the code is unknown."""
    code = container_exit.exit_code
    if code is None:
        return ""
    try:
        return f" with exit code {code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return f" with exit code {code}"


def _what(dialog: Dialog, reason: DeathReason, container_exit: ContainerExit, age: float, started: bool | None) -> str:
    """What a container did that ended it, after the end of a call or before its start was over."""
    when = "before its first task"
    if dialog.replied:
        when = "after its reply"
    elif dialog.calls:
        when = "before its first reply" if started is None else "before it read its first task"
    if reason is DeathReason.OOM:
        return f"was killed for memory {when} (`memory_limit` allows more)"
    if reason is DeathReason.UNASKED_OUTPUT:
        if dialog.flooding:
            return f"wrote more than {MAX_STARTUP_OUTPUT_BYTES >> 20} MiB to stdout {when}; write logs to stderr"
        return f"wrote to stdout {when}" if dialog.replied else f"replied {when} (a handler reads a line, then replies)"
    if container_exit.running:
        return f"closed its {'stdin' if dialog.closed_stdin else 'stdout'} {when}"
    code = _exit_code_text(container_exit)
    if container_exit.exit_code == 0 and not dialog.replied:
        code += " (a handler reads lines until its stdin ends)"
    if dialog.calls and not dialog.replied:
        return f"ended{code} {when}"
    return ("ended while idle" if dialog.calls or age >= STABLE_SECONDS else "ends at once") + code


def _then(output: str, handler: Handler) -> str:
    """`; install its package ...` after the last line of a program that lacks a module, `; ... env_from ...` if it
    lacks a variable; "" after others."""
    if why := lacks_variable(handler, output):
        return f"; {why}"
    if _NO_MODULE.search(output) is None:
        return ""
    where = f"for {handler.command[0]}" if handler.image is None and handler.command else "in its image"
    return f"; install its package {where}, or correct the name"


def last_line(text: str) -> str:
    """The last line that is not blank; if that ends a stack, the last that names an error. Cut to 300 characters.

    With the file and the line of a SyntaxError in Python, which its own line lacks.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if _AFTER_CAUSE.match(last):
        last = next((line for line in reversed(lines) if _CAUSE.match(line)), last)
    place = ""
    if _SYNTAX.match(last):
        found = next(filter(None, map(_PLACE.match, reversed(lines))), None)
        place = f" ({found[1]}, line {found[2]})" if found else ""
    return last.strip()[: 300 - len(place)] + place
