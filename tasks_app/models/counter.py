from __future__ import annotations

from typing import ClassVar

from django.db import models


class Counter(models.Model):
    """A part of a counter, whose value is the sum over `slot`; on PostgreSQL, together with `CounterDelta`."""

    slot = models.SmallIntegerField()
    series = models.CharField(max_length=300)
    value = models.BigIntegerField(default=0)

    class Meta:
        db_table = "taskdaemon_counter"
        constraints: ClassVar = [models.UniqueConstraint(fields=("slot", "series"), name="counter_once")]

    def __str__(self) -> str:
        return f"{self.series}[{self.slot}]"
