"""The state of alerts."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Alert(models.Model):
    """The state of one alert, shared by all processes. Changed only by guarded updates (`features.alerts.alerts`)."""

    #: The kind, and the handler that it is about: `oldest_age|echo`. `round`: when alerts were last evaluated.
    key = models.CharField(max_length=150, primary_key=True)
    firing = models.BooleanField(default=False)
    #: Whether the webhook was told of the last change of `firing`.
    told = models.BooleanField(default=True)
    #: When the condition began; of one that does not fire, when it ended.
    since = models.DateTimeField(null=True)
    sentence = models.TextField(default="")
    details = models.JSONField(default=dict)
    #: Since when the condition differs from `firing`, and when that was last seen; null: it does not.
    differs_since = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    #: No process tries to send it before; set by the one that sends.
    next_send_at = models.DateTimeField(null=True)
    #: Sends that failed in a row, and why the last one did.
    failures = models.IntegerField(default=0)
    send_error = models.CharField(max_length=300, default="")

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_alert"
        indexes: ClassVar = [models.Index(fields=("told", "next_send_at"), name="alert_to_send")]

    def __str__(self) -> str:
        return self.key
