"""A log that does not storm: what ails a database or a handler ails every request and every task, again and again."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

#: Lines of one kind within one window, and its seconds.
MOST, WINDOW = 5, 1.0
#: Kinds that are remembered at once.
KINDS = 1000
#: What of an event makes it another kind, beside its words. Ids do not: there is one a task.
REASONS = ("error", "reason", "outcome", "handler")
#: Of the text of a reason, as much as tells one from another.
CUT = 200

_NUMBERS = re.compile(r"[0-9a-f-]{12,}|\d+")

Kind = tuple[str, ...]


@dataclass(slots=True)
class _Seen:
    """A kind of line in its window: how many came, how many of them were left out, and the last of these."""

    since: float
    came: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler):
    """Writes at most five lines of a kind a second: the same words for the same reason, whatever numbers are in them.

    Of what was left out the last line is written when its second is over, with the count in `left_out`. A line below
    `warning` is limited too, one of `debug` is not: who asks for those wants all of them.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kinds: dict[Kind, _Seen] = {}
        self._timer: threading.Timer | None = None
        os.register_at_fork(after_in_child=self._forget)

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held."""
        if record.levelno <= logging.DEBUG or self._may(record):
            super().emit(record)

    def close(self) -> None:
        """At the end of the process: what was left out is told."""
        self._tell_all()
        super().close()

    def _may(self, record: logging.LogRecord) -> bool:
        now, kind = time.monotonic(), kind_of(record)
        seen = self._kinds.get(kind)
        if seen is None or now - seen.since >= WINDOW:
            if seen is not None:
                self._tell(seen)
            elif len(self._kinds) >= KINDS:
                self._tell_all()
            seen = self._kinds[kind] = _Seen(now)
        seen.came += 1
        if seen.came <= MOST:
            return True
        seen.left_out, seen.last = seen.left_out + 1, record
        if self._timer is None:
            self._timer = threading.Timer(WINDOW, self._later)
            self._timer.daemon = True
            self._timer.start()
        return False

    def _later(self) -> None:
        self._timer = None
        self._tell_all()

    def _tell_all(self) -> None:
        self.acquire()
        try:
            kinds, self._kinds = self._kinds, {}
            for seen in kinds.values():
                self._tell(seen)
        finally:
            self.release()

    def _tell(self, seen: _Seen) -> None:
        record, seen.last = seen.last, None
        if record is None:
            return
        if isinstance(record.msg, dict):
            record.msg = {**record.msg, "left_out": seen.left_out}
        else:
            record.msg, record.args = f"{record.getMessage()} ({seen.left_out} like this were left out)", ()
        super().emit(record)

    def _forget(self) -> None:
        """A forked child has neither the timer nor what is to be told."""
        self._kinds, self._timer = {}, None


def kind_of(record: logging.LogRecord) -> Kind:
    """What two lines have in common that say the same."""
    if isinstance(record.msg, dict):
        said = record.msg
        words = [str(said.get("event")), *(str(said[name]) for name in REASONS if said.get(name) is not None)]
    else:
        words = [record.getMessage()]
    return (record.name, *(_NUMBERS.sub("#", word[:CUT]) for word in words))
