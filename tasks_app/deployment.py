"""The id of a deployment: it names queues and labels containers, so that two on one server never meet."""

from __future__ import annotations

from functools import cache

from tasks_app.models import Deployment


@cache
def deployment_id() -> str:
    """The deployment's UUID, from its database, as 32 hex digits. Read once a process."""
    return Deployment.objects.get().id.hex
