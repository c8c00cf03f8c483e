"""What keeps a log readable: control characters are made visible, and repeated lines are limited."""

from __future__ import annotations

import logging
import math
import os
import re
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

# Control characters except tab and newline, and characters that change the direction of writing, join or hide others.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """The text with control characters as text: an escape as `\\x1b`, a right-to-left mark as `\\u200f`."""
    return _CONTROL.sub(_escaped, text)


def harmless_json(text: str) -> str:
    """JSON text without line ends that means the same: control characters within its strings become escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\n", " ").replace("\r", " "))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


# The limit on repeated lines: when a database or a handler fails, every request and every task logs the same error.

#: At most this many lines of one kind in each window.
MAX_LINES, WINDOW_SECONDS = 5, 1.0
#: Kinds that are remembered at once.
MAX_KINDS = 1000
#: The fields that, with the event, make up a kind. No ids: they differ for each task.
KIND_FIELDS = ("error", "reason", "outcome", "handler")
#: Characters of a field that are compared.
MAX_COMPARED_CHARS = 200

_NUMBERS = re.compile(r"[0-9a-f-]{12,}|\d+")

Kind = tuple[str, ...]


@dataclass(slots=True)
class _Window:
    """The current window of one kind: lines logged, lines left out, and the last of those."""

    since: float
    count: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler):
    """Writes at most five lines of a kind per second. Lines that differ only in numbers are of one kind.

    When the second is over it writes the last line that was left out, with the number of them in `left_out`. Lines of
    level `debug` are not limited.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._windows: dict[Kind, _Window] = {}
        self._timer: threading.Timer | None = None
        os.register_at_fork(after_in_child=self._reset)

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held."""
        if record.levelno <= logging.DEBUG or self._allowed(record):
            super().emit(record)

    def close(self) -> None:
        """At the end of the process: write what was left out."""
        self._write_all_left_out()
        super().close()

    def _allowed(self, record: logging.LogRecord) -> bool:
        now, kind = time.monotonic(), kind_of(record)
        window = self._windows.get(kind)
        if window is None or now - window.since >= WINDOW_SECONDS:
            if window is not None:
                self._write_left_out(window)
            elif len(self._windows) >= MAX_KINDS:
                self._write_all_left_out()
            window = self._windows[kind] = _Window(now)
        window.count += 1
        if window.count <= MAX_LINES:
            return True
        window.left_out, window.last = window.left_out + 1, record
        if self._timer is None:
            self._timer = threading.Timer(WINDOW_SECONDS, self._on_timer)
            self._timer.daemon = True
            self._timer.start()
        return False

    def _on_timer(self) -> None:
        self._timer = None
        self._write_all_left_out()

    def _write_all_left_out(self) -> None:
        self.acquire()
        try:
            windows, self._windows = self._windows, {}
            for window in windows.values():
                self._write_left_out(window)
        finally:
            self.release()

    def _write_left_out(self, window: _Window) -> None:
        record, window.last = window.last, None
        if record is None:
            return
        if isinstance(record.msg, dict):
            record.msg = {**record.msg, "left_out": window.left_out}
        else:
            record.msg, record.args = f"{record.getMessage()} ({window.left_out} like this were left out)", ()
        super().emit(record)

    def _reset(self) -> None:
        """A forked child has no timer, and its parent writes the lines that were left out."""
        self._windows, self._timer = {}, None


def kind_of(record: logging.LogRecord) -> Kind:
    """The logger, the event and the `KIND_FIELDS` of a record, without numbers."""
    if isinstance(record.msg, dict):
        fields = record.msg
        words = [str(fields.get("event")), *(str(fields[name]) for name in KIND_FIELDS if fields.get(name) is not None)]
    else:
        words = [record.getMessage()]
    return (record.name, *(_NUMBERS.sub("#", word[:MAX_COMPARED_CHARS]) for word in words))


#: Between two lines about a problem that lasts.
REMINDER_SECONDS = 60.0
MAX_REMEMBERED = 1000


class LogOnce:
    """Decides which log lines are due: each one the first time, and again once `interval` seconds have passed.

    Its key tells a line from others. Thread-safe, but not fork-safe. It forgets all keys when it has MAX_REMEMBERED.
    """

    def __init__(self, interval: float = math.inf) -> None:
        """`interval` in seconds; by default a line is due only once."""
        self._interval = interval
        self._lock = threading.Lock()
        self._logged_at: dict[Hashable, float] = {}

    def is_due(self, key: Hashable = None) -> bool:
        """True if the caller is to log the line now."""
        now = time.monotonic()
        with self._lock:
            if now - self._logged_at.get(key, -math.inf) < self._interval:
                return False
            if len(self._logged_at) >= MAX_REMEMBERED:
                self._logged_at.clear()
            self._logged_at[key] = now
            return True

    def forget(self, key: Hashable = None) -> bool:
        """Make the line due again at once. True if it was due since it was last forgotten."""
        with self._lock:
            return self._logged_at.pop(key, None) is not None
