"""The id of a deployment. It names queues and labels containers, so two deployments can share a broker or an engine."""

from __future__ import annotations

from functools import cache

from tasks_app.models import Deployment


@cache
def deployment_id() -> str:
    """The deployment's UUID from its database, as 32 hex digits. Read once per process."""
    return Deployment.objects.get().id.hex
