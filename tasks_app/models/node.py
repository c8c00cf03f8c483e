from __future__ import annotations

from django.db import models


class Node(models.Model):
    """A worker process, as it last described itself."""

    name = models.CharField(max_length=100, primary_key=True)
    #: Boot and DAEMON_HOME: nodes with the same one see from the lock files which of them are alive.
    lock_domain = models.CharField(max_length=300)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    #: `seen_at` in seconds on `clock`, which is never set back.
    seen = models.FloatField()
    clock = models.CharField(max_length=40)
    stopped_at = models.DateTimeField(null=True)
    #: {"handler": {"slots": int, "warm": int, "problem": str | null}}; with containers also `images`, and with
    #: DAEMON_WORKERS `cap`, how many tasks the node runs at once: the same for all its handlers.
    pools = models.JSONField(default=dict)
    #: Digest of its handlers.toml.
    digest = models.CharField(max_length=64)
    draining = models.BooleanField(default=False)
    problems = models.JSONField(default=list)

    class Meta:
        db_table = "taskdaemon_node"

    def __str__(self) -> str:
        return self.name
