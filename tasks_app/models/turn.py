from __future__ import annotations

from django.db import models


class Turn(models.Model):
    """Which node does a work that one node at a time should do, such as retention, and until when it may be silent."""

    name = models.CharField(max_length=40, primary_key=True)
    node = models.CharField(max_length=100)
    #: In seconds on `clock`.
    until = models.FloatField()
    clock = models.CharField(max_length=40)

    class Meta:
        db_table = "taskdaemon_turn"

    def __str__(self) -> str:
        return f"{self.name}: {self.node}"
