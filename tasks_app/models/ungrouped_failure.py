from __future__ import annotations

from django.db import models


class UngroupedFailure(models.Model):
    """A failure that its task no longer shows: the task was redriven or deleted before the failure was counted.

    Rows are inserted only, so that no redrive waits for another. `group_failures` counts and removes them.
    """

    task = models.UUIDField()
    handler = models.CharField(max_length=100)
    reason = models.CharField(max_length=20)
    error = models.TextField(default="")
    ended_at = models.DateTimeField()

    class Meta:
        db_table = "taskdaemon_ungrouped_failure"

    def __str__(self) -> str:
        return f"{self.handler}: {self.reason}"
