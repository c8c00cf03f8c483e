from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class HandlerPauseQuerySet(models.QuerySet["HandlerPause"]):
    """Queries by the database's clock."""

    def in_force(self) -> Self:
        """Those that have not ended by themselves."""
        return self.filter(Q(until=None) | Q(until__gt=Now()))


class HandlerPause(models.Model):
    """A task type of which no task is started. Without a row, or once `until` has passed, it is not paused."""

    handler = models.CharField(max_length=100, primary_key=True)
    paused_at = models.DateTimeField()
    #: A user of the admin, the name of an API key, or a system account; no foreign key: it outlives them.
    paused_by = models.CharField(max_length=150)
    #: None: until it is resumed.
    until = models.DateTimeField(null=True)

    objects = HandlerPauseQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_handler_pause"
        verbose_name = "pause"
        default_permissions = ()  # who may change tasks may pause their types

    def __str__(self) -> str:
        return self.handler
