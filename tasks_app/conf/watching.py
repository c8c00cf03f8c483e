"""Takes a new handlers.toml while a process runs: when its files have changed, at SIGHUP, and by `manage.py reload`.

A changed file is taken once its content was the same in two looks: it may be half-written, renamed, or a link that
leads elsewhere. It is checked whole and replaces the revision in force as a whole. With a fault nothing changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import structlog

from tasks_app.conf.reading import handlers, read_handlers, use
from tasks_app.handlers.handlers_toml import (
    Handler,
    Handlers,
    HandlersError,
    config_digest,
    content_digest,
    file_stat,
    is_recent,
)

log = structlog.get_logger(__name__)

#: Between two looks. A saved source file is in use after two of them.
LOOK_SECONDS = 0.5
#: A file that lacks a handler is taken after so long without a change: it may not be written to its end.
REMOVAL_SECONDS = 10.0
#: The longest text of a fault in `/health`.
MAX_FAULT_CHARS = 1000


class RevisionInForce(NamedTuple):
    """The revision of handlers.toml that a process uses. `reload`: the number of the last `manage.py reload` that it
    has answered. `fault`: why it does not use the present file, in a sentence. `waits_for`: why a node does not use all
    of the revision yet, apart from running tasks."""

    revision: str
    digest: str
    reload: int = 0
    fault: str | None = None
    waits_for: str | None = None


class _Asked(NamedTuple):
    number: int = 0
    replace: Collection[str] = ()
    #: True: `told` is not called if nothing has changed.
    quiet: bool = False

    def joined(self, later: _Asked) -> _Asked:
        """Both requests as one."""
        replace = {*self.replace, *later.replace}
        return _Asked(max(self.number, later.number), replace, self.quiet and later.quiet)


class _Seen(NamedTuple):
    """The state of the files: the folder behind the path, and a digest of each file's content."""

    folder: Path
    files: Mapping[Path, str]


def _nothing(*_: Any) -> None:
    pass


class Watcher:
    """The thread that looks, one in a process. `look`, `ask` and `state` may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._told: Callable[[Handlers, Handlers], None] = _nothing
        self._replace: Callable[[Collection[str]], None] = _nothing
        self._removals_after = 0.0
        # Written by the thread.
        self._in_force: Handlers | None = None
        self._answered = 0
        self._fault: str | None = None
        #: The files that were taken or refused last; None: the files that were read at the start.
        self._judged: _Seen | None = None
        #: The files that were seen since, and when first.
        self._pending: tuple[_Seen, float] | None = None
        self._stats: Mapping[Path, Any] = {}

    def start(
        self,
        told: Callable[[Handlers, Handlers], None] = _nothing,
        replace: Callable[[Collection[str]], None] = _nothing,
        removals_after: float = 0.0,
    ) -> None:
        """Begin to look. `told` gets the old revision and the new one, which `conf.handlers()` already returns.

        It is called after an explicit reload of an unchanged file too, with the same revision twice. `replace` gets
        types whose containers are to be replaced. Both are called in the thread of the watcher. `removals_after`:
        seconds by which handlers are removed later than in other processes.
        """
        self._told, self._replace, self._removals_after = told, replace, removals_after
        threading.Thread(target=self._run, name="handlers.toml", daemon=True).start()

    def look(self) -> None:
        """Read the file now. A signal handler may call it."""
        self._asked.put(_Asked())

    def ask(self, number: int, replace: Collection[str], quiet: bool = False) -> None:
        """Answer `manage.py reload`, the last of which has this number. `quiet`: this process has just started."""
        self._asked.put(_Asked(number, replace, quiet))

    def state(self) -> RevisionInForce:
        """The revision that this process uses."""
        used = self._in_force or handlers()
        return RevisionInForce(used.revision, used.digest, self._answered, self._fault)

    def problem(self) -> str | None:
        """Why this process does not use the present file, in a sentence; None: it does."""
        return self._fault

    def _run(self) -> None:
        self._asked.put(_Asked(quiet=True))  # a restarted web process has the file that its parent read long ago
        while True:
            asked = self._next()
            try:
                self.check() if asked is None else self.reload(asked)
            except Exception as error:  # the thread must go on
                fault = f"handlers.toml cannot be taken: {type(error).__name__}: {error}"[:MAX_FAULT_CHARS]
                if fault != self._fault:
                    log.exception("handlers.toml cannot be taken")
                self._fault = fault

    def _next(self) -> _Asked | None:
        """The requests that wait, joined into one: a reload may take seconds. None: it is time for a look."""
        asked = None
        with suppress(Empty):
            asked = self._asked.get(timeout=LOOK_SECONDS)
            while True:
                asked = asked.joined(self._asked.get_nowait())
        return asked

    def check(self) -> None:
        """One look, in the thread."""
        current, now = handlers(), self._clock()
        stats = _stats(current)
        if stats == self._stats and self._pending is None and not any(map(is_recent, stats.values())):
            return
        self._stats = stats
        seen = _see(current)
        if seen == (self._judged or _Seen(_folder(current), current.files)):
            self._pending = None
        elif self._pending is None or seen != self._pending[0]:
            self._pending = seen, now
        else:
            self._take(seen, now - self._pending[1])

    def _take(self, seen: _Seen, unchanged: float) -> None:
        try:
            new = read_handlers()
        except HandlersError as error:
            if _stats(handlers()) == self._stats:
                self._refuse(seen, error)
            return
        if any(new.files.get(path, digest) != digest for path, digest in seen.files.items()):
            return  # a file was written meanwhile: the next look sees that
        self._fault = None
        if handlers().keys() - new.keys() and unchanged < REMOVAL_SECONDS + self._removals_after:
            return
        self._swap(new, quiet=True)

    def reload(self, asked: _Asked) -> None:
        """Read the file at once, in the thread."""
        try:
            self._read_again(asked)
        finally:
            self._answered = max(self._answered, asked.number)

    def _read_again(self, asked: _Asked) -> None:
        current = handlers()
        # Taken before the file is read: the next look then sees a later write.
        stats, seen = _stats(current), _see(current)
        try:
            new = read_handlers()
        except HandlersError as error:
            self._refuse(seen, error)
            if _stats(current) != stats:  # a file is being written, perhaps with the same content
                self._judged = seen._replace(files={})
        else:
            if current.keys() - new.keys() and not asked.quiet:
                time.sleep(self._removals_after)
            self._swap(new, asked.quiet)
        if asked.replace:
            self._replace(asked.replace)

    def _refuse(self, seen: _Seen, error: HandlersError) -> None:
        self._judged, self._pending = seen, None
        more = f"; and {len(error.faults) - 3} more" if len(error.faults) > 3 else ""
        fault = f"the new {error.path.name} is not used: {'; '.join(error.faults[:3])}{more}"[:MAX_FAULT_CHARS]
        if fault != self._fault:
            log.error(fault)
        self._fault = fault

    def _swap(self, new: Handlers, quiet: bool) -> None:
        old = handlers()
        self._judged, self._pending, self._fault = _Seen(_folder(new), new.files), None, None
        if (new.revision, new) == (old.revision, old):
            new = old  # only its text has changed
            if not quiet:
                log.info("handlers.toml was read again: nothing has changed", revision=old.revision)
        else:
            use(new)
            _say(old, new, runs_tasks=self._told is not _nothing)
        if new is not old or not quiet:
            self._told(old, new)
        self._in_force = new


#: Of this process.
watcher = Watcher()


def _folder(current: Handlers) -> Path:
    return current.path.resolve().parent


def _see(current: Handlers) -> _Seen:
    programs = current.files.keys() - {current.path}
    digests = {path: content_digest(path) for path in programs}
    return _Seen(_folder(current), {current.path: config_digest(current.path), **digests})


def _stats(current: Handlers) -> Mapping[Path, tuple[int, ...] | None]:
    return {path: file_stat(path) for path in current.files}


def _say(old: Handlers, new: Handlers, runs_tasks: bool) -> None:
    """Log what has changed; saved files only in a process that runs tasks."""
    changed = {name: _changes(old[name], new[name]) for name in old.keys() & new.keys() if old[name] != new[name]}
    saved = [name for name, keys in sorted(changed.items()) if keys == ["sources"]]
    for name in saved if runs_tasks else ():
        log.info("the next task of this handler runs its saved files", handler=name, revision=new.revision)
    facts = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [f"{name}: {', '.join(keys)}" for name, keys in sorted(changed.items()) if name not in saved],
    }
    if any(facts.values()):
        facts = {what: names for what, names in facts.items() if names}
        log.info("handlers.toml is reloaded", revision=new.revision, before=old.revision, **facts)


def _changes(old: Handler, new: Handler) -> list[str]:
    names = [key.name for key in fields(Handler) if key.name != "further"]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    further = sorted(old.further.keys() | new.further.keys())
    return changed + [key for key in further if old.further.get(key) != new.further.get(key)]
