"""The tables: tasks and what operators and callers do to them, nodes, counters and their history, failures, alerts.

CHECK constraints refuse impossible rows. Only `lifecycle` changes a task's status, each time by one guarded write.
"""

import tasks_app.db.lookups  # noqa: F401 (registers the lookup that the CHECKs use)
from tasks_app.models.alert import Alert
from tasks_app.models.api_key import ApiKey
from tasks_app.models.attempt import Attempt
from tasks_app.models.audit_entry import AuditEntry
from tasks_app.models.choices import FailureReason, OutcomeKind, Status
from tasks_app.models.counter import Counter
from tasks_app.models.counter_delta import CounterDelta
from tasks_app.models.deployment import Deployment
from tasks_app.models.failure_group import FailureGroup
from tasks_app.models.handler_pause import HandlerPause
from tasks_app.models.history_row import HistoryRow
from tasks_app.models.idempotency_key import IdempotencyKey
from tasks_app.models.live_event import LiveEvent
from tasks_app.models.node import Node
from tasks_app.models.operation import Operation, OperationState, Verb
from tasks_app.models.scan_start import ScanStart
from tasks_app.models.task import Task, TaskQuerySet
from tasks_app.models.task_filter import TaskFilter
from tasks_app.models.turn import Turn
from tasks_app.models.ungrouped_failure import UngroupedFailure

__all__ = [
    "Alert", "ApiKey", "Attempt", "AuditEntry", "Counter", "CounterDelta", "Deployment", "FailureGroup",
    "FailureReason", "HandlerPause", "HistoryRow", "IdempotencyKey", "LiveEvent", "Node", "Operation",
    "OperationState", "OutcomeKind", "ScanStart", "Status", "Task", "TaskFilter", "TaskQuerySet", "Turn",
    "UngroupedFailure", "Verb",
]  # fmt: skip
