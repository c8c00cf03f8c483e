"""Submits tasks to a taskdaemon platform, waits for them and operates it."""

from taskdaemon_client._async.client import AsyncClient
from taskdaemon_client._sync.client import Client
from taskdaemon_client.answers import Queued, Task
from taskdaemon_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotAllowed,
    NotFound,
    ServerFault,
    TaskdaemonError,
    TaskFailed,
    TasksGone,
    TryLater,
    Unreachable,
    WaitTimeout,
)
from taskdaemon_client.options import Filter, NewTask, ScheduleDefinition, TaskOptions
from taskdaemon_client.progress import ProgressBar
from taskdaemon_client.settings import BadSettings
from taskdaemon_client.webhooks import BadWebhook, Webhook, verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "BadSettings",
    "BadWebhook",
    "Client",
    "Conflict",
    "Filter",
    "NewTask",
    "NotAllowed",
    "NotFound",
    "ProgressBar",
    "Queued",
    "ScheduleDefinition",
    "ServerFault",
    "Task",
    "TaskFailed",
    "TaskOptions",
    "TaskdaemonError",
    "TasksGone",
    "TryLater",
    "Unreachable",
    "WaitTimeout",
    "Webhook",
    "verify_webhook",
]

#: The version of this code, in either distribution that has it.
__version__ = "0.1.0"
