"""When a node counts failures in their groups."""

from __future__ import annotations

import structlog
from django.db import InterfaceError, OperationalError

from tasks_app.lifecycle import group_failures, remove_old_groups
from tasks_app.logs.log_once import REMINDER_SECONDS, LogOnce
from tasks_app.store import clock

log = structlog.get_logger(__name__)

#: Between two times, at least; and at most this share of the heartbeat's time, even if many tasks fail.
PAUSE_SECONDS, MAX_SHARE = 2.0, 0.2
#: Between two removals of old groups.
REMOVAL_SECONDS = 600.0
#: After a failure that is not the connection's.
FAILURE_PAUSE_SECONDS = 60.0


class FailureGroups:
    """For one thread, the heartbeat's."""

    def __init__(self) -> None:
        self._next_at = self._removal_at = float("-inf")
        self._log_once = LogOnce(REMINDER_SECONDS)

    def maintain(self) -> None:
        """Count failures if it is time. Raises OperationalError or InterfaceError; any other error is logged: the
        heartbeat goes on."""
        begun = clock.elapsed()
        if begun < self._next_at:
            return
        try:
            group_failures()
            if begun >= self._removal_at:
                remove_old_groups()
                self._removal_at = begun + REMOVAL_SECONDS
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            self._next_at = begun + FAILURE_PAUSE_SECONDS
            if self._log_once.is_due():
                log.error("failures cannot be counted in their groups", exc_info=error)
            return
        now = clock.elapsed()
        self._next_at = now + max(PAUSE_SECONDS, (now - begun) * (1 / MAX_SHARE - 1))
