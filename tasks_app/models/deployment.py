from __future__ import annotations

from django.db import models


class Deployment(models.Model):
    """One row, written by the first migration. Its id names the queues and labels the containers of this deployment."""

    id = models.UUIDField(primary_key=True)

    class Meta:
        db_table = "taskdaemon_deployment"
