from __future__ import annotations

from django.db import models


class CounterDelta(models.Model):
    """What a transaction adds to counters on PostgreSQL, until a fold adds it to their rows. SQLite has none."""

    #: A JSON object: increments by series. Text, because most rows are read once.
    counts = models.TextField()

    class Meta:
        db_table = "taskdaemon_counter_delta"

    def __str__(self) -> str:
        return self.counts
