"""The edges of the state machine, one verb a file, each one guarded write.

A move is an UPDATE whose WHERE states the old status and, for a running task, the attempt. If it matches no row, the
move has not happened. Nothing else in the project changes a status.
"""

from tasks_app.lifecycle.cancel import cancel, cancel_many, cancelled
from tasks_app.lifecycle.claim import claim, data_of, ready_types
from tasks_app.lifecycle.delete import delete, delete_many
from tasks_app.lifecycle.drain_node import NodeEnded, UnknownNode, drain_node, running_on, undrain_node
from tasks_app.lifecycle.edit import Edited, edit_and_redrive
from tasks_app.lifecycle.expire import expire
from tasks_app.lifecycle.group_failures import group_failures, remove_old_groups
from tasks_app.lifecycle.keys_and_options import IdempotencyKey, KeyReused, KeysContended, forget_idempotency_keys
from tasks_app.lifecycle.live_events import forget_live_events, forget_lost_live_events, write_live_events
from tasks_app.lifecycle.maintenance import due_work, maintain, on_hold
from tasks_app.lifecycle.old_tasks import OldTasks
from tasks_app.lifecycle.prioritize import prioritize, prioritize_many
from tasks_app.lifecycle.promote import promote
from tasks_app.lifecycle.prune import PruneWalk, prune
from tasks_app.lifecycle.redrive import LivingTwin, redrive, redrive_many
from tasks_app.lifecycle.renew import held, renew
from tasks_app.lifecycle.rescue import rescue
from tasks_app.lifecycle.retention_rules import RetentionRule, retention_rules
from tasks_app.lifecycle.running_tasks import running_tasks
from tasks_app.lifecycle.settle import settle, try_settle
from tasks_app.lifecycle.submit import (
    Submission,
    Submitted,
    earlier_answer,
    group_commit,
    submit,
    submit_many,
)
from tasks_app.lifecycle.turn import take_turn
from tasks_app.store.attempt_result import AttemptResult
from tasks_app.store.claimed_task import ClaimedTask, ClaimRequest, Policy
from tasks_app.store.due_work import DueWork
from tasks_app.store.new_task import NewTask
from tasks_app.store.on_hold import OnHold
from tasks_app.store.task_options import TaskOptions

__all__ = [
    "AttemptResult",
    "ClaimRequest",
    "ClaimedTask",
    "DueWork",
    "Edited",
    "IdempotencyKey",
    "KeyReused",
    "KeysContended",
    "LivingTwin",
    "NewTask",
    "NodeEnded",
    "OldTasks",
    "OnHold",
    "Policy",
    "PruneWalk",
    "RetentionRule",
    "Submission",
    "Submitted",
    "TaskOptions",
    "UnknownNode",
    "cancel",
    "cancel_many",
    "cancelled",
    "claim",
    "data_of",
    "delete",
    "delete_many",
    "drain_node",
    "due_work",
    "earlier_answer",
    "edit_and_redrive",
    "expire",
    "forget_idempotency_keys",
    "forget_live_events",
    "forget_lost_live_events",
    "group_commit",
    "group_failures",
    "held",
    "maintain",
    "on_hold",
    "prioritize",
    "prioritize_many",
    "promote",
    "prune",
    "ready_types",
    "redrive",
    "redrive_many",
    "remove_old_groups",
    "renew",
    "rescue",
    "retention_rules",
    "running_on",
    "running_tasks",
    "settle",
    "submit",
    "submit_many",
    "take_turn",
    "try_settle",
    "undrain_node",
    "write_live_events",
]
