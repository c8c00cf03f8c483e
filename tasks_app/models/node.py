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
    #: {"handler": {"slots": int, "warm": int, "problem": str | null}}; with containers also `images`, and
    #: `engine_problem` while its engine cannot be reached, which says why without naming a handler; `notice` while
    #: something makes its containers slow without a failure; with DAEMON_WORKERS `cap`, how many tasks the node runs at
    #: once: the same for all its handlers.
    pools = models.JSONField(default=dict)
    #: Digest of its handlers.toml.
    digest = models.CharField(max_length=64)
    #: `conf.version()` of the platform that it runs; null: a version before that did not say so.
    version = models.CharField(max_length=40, null=True)  # noqa: DJ001 (null: unknown)
    #: True if it claims nothing more: it ends, or has read that it is to be drained.
    draining = models.BooleanField(default=False)
    problems = models.JSONField(default=list)
    #: When an operator asked it to take no more tasks, and who; None: nobody has. The node reads it.
    drain_requested_at = models.DateTimeField(null=True)
    drain_requested_by = models.CharField(max_length=150, null=True)  # noqa: DJ001 (as the moment)

    class Meta:
        db_table = "taskdaemon_node"

    def __str__(self) -> str:
        return self.name

    @property
    def drained(self) -> bool:
        """Whether an operator has asked it to take no more tasks."""
        return self.drain_requested_at is not None

    @property
    def taking(self) -> bool:
        """Whether it takes tasks: it does not end, and is not drained."""
        return not self.draining and not self.drained
