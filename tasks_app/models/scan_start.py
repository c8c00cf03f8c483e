from __future__ import annotations

from django.db import models


class ScanStart(models.Model):
    """From where on readings and maintenance read the queue's indexes on PostgreSQL, in one row. SQLite has none."""

    #: JSON as `store.postgresql.scan_start` writes it. Text, because it is read whole.
    state = models.TextField()

    class Meta:
        db_table = "taskdaemon_scan_start"

    def __str__(self) -> str:
        return self.state
