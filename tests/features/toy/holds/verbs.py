"""Hold tasks, let them go, and say why they are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import connection

from tasks_app.queue import held
from tasks_app.queue.current import writing


def hold(*tasks: UUID, reason: str = "it waits for the toy") -> int:
    """Hold ready tasks."""
    with writing():
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO toy_hold VALUES (%s, %s)", [(str(task), reason) for task in tasks])
        return held.hold(tasks)


def let_go(*tasks: UUID) -> list[UUID]:
    """Let held tasks go, in this order."""
    with writing():
        with connection.cursor() as cursor:
            cursor.executemany("DELETE FROM toy_hold WHERE task = %s", [(str(task),) for task in tasks])
        return held.let_go(tasks)


def why(tasks: Sequence[UUID]) -> Mapping[UUID, list[held.Hold]]:
    """For `Feature.holds`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT task, reason FROM toy_hold")
        return {UUID(task): [held.Hold(reason)] for task, reason in cursor.fetchall() if UUID(task) in tasks}
