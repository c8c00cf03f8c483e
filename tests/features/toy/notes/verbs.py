"""Note something on a task; forget the notes on tasks that are gone."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, OuterRef

from tasks_app.audit import Actor, record
from tasks_app.features.notes.models import Note
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.current import writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.models import Task

RETRY_SECONDS = 20.0


class NoSuchTask(Exception):
    """There is nothing to note something on."""


def note(task: UUID, text: str, actor: Actor) -> Note:
    """Note a text of at most 200 characters on a task. Raises NoSuchTask."""
    with writing():
        if not Task.objects.filter(pk=task).exists():
            raise NoSuchTask(f"there is no task {task}")
        record(actor, "note", str(task))
        return Note.objects.create(task=task, text=text, by=actor.name[:150])


def forget() -> None:
    """Remove the notes on tasks that are gone."""
    with writing():
        Note.objects.filter(~Exists(Task.objects.filter(pk=OuterRef("task")))).delete()


class ForgetNotes:
    """A node's side job."""

    def __init__(self, node: str) -> None:
        self._job = OutageGuard("forget notes", RETRY_SECONDS)

    def run(self, work: DueWork) -> None:
        """Once a beat."""
        self._job.run(forget)
