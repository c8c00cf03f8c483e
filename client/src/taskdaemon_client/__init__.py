"""Submits tasks to a taskdaemon platform, waits for them and operates it."""

from taskdaemon_client._async.client import AsyncClient
from taskdaemon_client._sync.client import Client
from taskdaemon_client.answers import Task
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

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "Filter",
    "NewTask",
    "NotAllowed",
    "NotFound",
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
]
