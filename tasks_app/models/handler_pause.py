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

    def of(self, handler: str) -> HandlerPause | None:
        """The pause of a type, read now; None if it is not paused."""
        return self.in_force().filter(pk=handler).first()

    def by_type(self) -> dict[str, HandlerPause]:
        """The pauses in force by type, read now."""
        return {pause.handler: pause for pause in self.in_force()}


class HandlerPause(models.Model):
    """A type on hold: no node starts a task of it. Without a row, or once `until` has passed, it is not paused.

    Nodes, readings and reasons read this table. Features write it.
    """

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
