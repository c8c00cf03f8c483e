"""Notes on tasks."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """A note. Its task may be gone: a task is deleted without a look at this table."""

    task = models.UUIDField(db_index=True)
    text = models.CharField(max_length=200)
    by = models.CharField(max_length=150)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_note"

    def __str__(self) -> str:
        return self.text
