"""When a node counts failures in their groups."""

from __future__ import annotations

import structlog
from django.db import DatabaseError, InterfaceError

from tasks_app.lifecycle import group_failures, remove_old_groups
from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.logs.log_once import REMINDER_SECONDS, LogOnce
from tasks_app.node.retrying import Retrying
from tasks_app.store import clock
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: Between two times, at least; and at most this share of the heartbeat's time, even if many tasks fail.
PAUSE_SECONDS, MAX_SHARE = 2.0, 0.2
#: Between two removals of old groups.
REMOVAL_SECONDS = 600.0
#: A database that needs longer for a call must not delay the next renewal of the leases.
MAX_CALL_SECONDS = min(2.0, LEASE_SECONDS / 10)
#: After a failure of the database, which may be one of this statement only; and after any other one.
RETRY_SECONDS, FAILURE_PAUSE_SECONDS = 10.0, 60.0


class FailureGroups:
    """For one thread, the heartbeat's."""

    def __init__(self) -> None:
        self._next_at = self._removal_at = float("-inf")
        self._retrying = Retrying("count failures in their groups")
        self._log_once = LogOnce(REMINDER_SECONDS)

    def maintain(self) -> None:
        """Count failures if it is time. An error is logged, and it tries again later: the heartbeat goes on.

        A failure concerns only who reads the groups: it is no sign that other nodes' silence means nothing.
        """
        begun = clock.elapsed()
        if begun < self._next_at:
            return
        try:
            with store().limited(MAX_CALL_SECONDS):
                group_failures()
                if begun >= self._removal_at:
                    remove_old_groups()
                    self._removal_at = begun + REMOVAL_SECONDS
        except (DatabaseError, InterfaceError) as error:
            self._retrying.failed(error)
            self._next_at = clock.elapsed() + RETRY_SECONDS
        except Exception as error:
            self._next_at = clock.elapsed() + FAILURE_PAUSE_SECONDS
            if self._log_once.is_due():
                log.error("failures cannot be counted in their groups", exc_info=error)
        else:
            self._retrying.succeeded()
            now = clock.elapsed()
            self._next_at = now + max(PAUSE_SECONDS, (now - begun) * (1 / MAX_SHARE - 1))
