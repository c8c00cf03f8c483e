"""Reads what a claim leaves out: the data of tasks that is too large to be returned with that of others."""

from __future__ import annotations

import time

import structlog
from django.db import DatabaseError

from tasks_app.db.write_health import first_line
from tasks_app.lifecycle import ClaimedTask, data_of
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: A task whose data cannot be read waits for so long, and longer with each attempt, before it is claimed again.
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 60.0, 3600.0


class LargeData:
    """For the dispatcher's thread, but for `problem`."""

    def __init__(self) -> None:
        #: By type: the sentence about its last unreadable task, and until when it holds (monotonic).
        self._unreadable: dict[str, tuple[str, float]] = {}

    def read(self, task: ClaimedTask) -> ClaimedTask | float:
        """The task with its data, by a statement of its own. If the database or this process cannot take it: for how
        many seconds the task should wait. Raises DatabaseError if the database is unavailable."""
        try:
            data = data_of(task)
        except DatabaseError as error:
            if store().refusal(error) is None:
                raise
            reason = first_line(error)
        except ValueError as error:
            reason = str(error)
        else:
            return task._replace(task_data=data)
        pause = min(PAUSE_SECONDS * task.attempt, MAX_PAUSE_SECONDS)
        log.warning(
            "the data of a task cannot be read: the task waits, others of its type go on",
            task_id=task.id, handler=task.task_type, error=reason, seconds=pause,
        )  # fmt: skip
        self._unreadable[task.task_type] = (
            f"the data of the task {task.id} of '{task.task_type}' cannot be read ({reason}); it is tried again later, "
            "and other tasks of the type run meanwhile: cancel or delete it to end this",
            time.monotonic() + 2 * pause,
        )
        return pause

    def problem(self) -> str | None:
        """Which task cannot be read and why, in one sentence; None if there is none. Thread-safe."""
        now = time.monotonic()
        return next((text for text, until in self._unreadable.copy().values() if until > now), None)
