"""The history of the counters."""

from __future__ import annotations

from django.db import models


class HistoryRow(models.Model):
    """The counters and queues as they were in one minute. Counters are sums since the beginning, not of the minute."""

    #: Minutes since 1970, by the database's clock.
    minute = models.BigIntegerField(primary_key=True)
    #: `features.history.history.entry` of all handlers together.
    totals = models.JSONField()
    #: The same of each handler, by `features.history.history.key` of its name.
    handlers = models.JSONField()
    #: The highest id of an attempt: those that ended later have higher ones.
    last_attempt = models.BigIntegerField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_history"

    def __str__(self) -> str:
        return str(self.minute)
