"""The tables of the engine in 0.1.0."""

from django.db import migrations, models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Coalesce
from uuid_utils.compat import uuid7

from tasks_app.migrations._by_database import INDEXES_BY_DATABASE
from tasks_app.migrations._words import OUTCOMES, REASONS, STATUSES, auto_id, words

READY = Q(status="pending", due__isnull=True)
NOT_BEGUN = Q(status="pending", expires_at__isnull=False) & Q(attempts__lte=Coalesce("unbegun_attempts", 0))
UNTOLD = Q(callback_url__isnull=False, completed_at__isnull=False) & (
    Q(callback_told__isnull=True) | Q(callback_told__lt=F("completed_at")) | Q(callback_told__gt=F("completed_at"))
)
CHECKS_OF_THE_STATUS = [
    CheckConstraint(condition=Q(status__one_of=STATUSES), name="task_status_known"),
    CheckConstraint(
        condition=Q(status="processing", node__isnull=False, lease__isnull=False)
        | (~Q(status="processing") & Q(node__isnull=True, lease__isnull=True)),
        name="task_running_has_node_and_lease",
    ),
    CheckConstraint(
        condition=Q(status="failed", failure_reason__isnull=False, failure_reason__one_of=REASONS)
        | (~Q(status="failed") & Q(failure_reason__isnull=True)),
        name="task_failed_has_reason",
    ),
    CheckConstraint(
        condition=Q(status__in=("completed", "failed"), completed_at__isnull=False)
        | Q(status__in=("pending", "processing"), completed_at__isnull=True),
        name="task_final_has_end",
    ),
    CheckConstraint(condition=Q(status="completed") | Q(result__isnull=True), name="task_result_only_when_completed"),
    CheckConstraint(condition=Q(status="pending") | Q(due__isnull=True), name="task_due_only_when_pending"),
]

ENGINE_TABLES = [
    migrations.CreateModel(
        "Deployment",
        fields=[("id", models.UUIDField(primary_key=True, serialize=False))],
        options={"db_table": "taskdaemon_deployment"},
    ),
    migrations.CreateModel(
        "Task",
        fields=[
            ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
            ("task_type", models.CharField(max_length=100)),
            ("task_data", models.JSONField(default=dict)),
            ("priority", models.SmallIntegerField(default=50)),
            ("status", models.CharField(choices=words(STATUSES), default="pending", max_length=10)),
            ("position", models.BigIntegerField(db_column="place")),
            ("due", models.FloatField(null=True)),
            ("due_at", models.DateTimeField(null=True)),
            ("lease", models.FloatField(null=True)),
            ("clock", models.CharField(default="", max_length=40)),
            ("node", models.CharField(max_length=100, null=True)),
            ("attempts", models.IntegerField(default=0)),
            ("retries", models.IntegerField(default=0)),
            ("timeout", models.FloatField(null=True)),
            ("max_retries", models.IntegerField(null=True)),
            ("retry_backoff", models.FloatField(null=True)),
            ("retry_on", models.CharField(default="", max_length=40)),
            ("result", models.JSONField(null=True)),
            ("last_error", models.TextField(null=True)),
            ("failure_reason", models.CharField(choices=words(REASONS), max_length=20, null=True)),
            ("created_at", models.DateTimeField()),
            ("ready_at", models.DateTimeField()),
            ("started_at", models.DateTimeField(null=True)),
            ("completed_at", models.DateTimeField(null=True)),
            ("expires_at", models.DateTimeField(null=True)),
            ("metadata", models.JSONField(null=True)),
            ("requested_max_retries", models.IntegerField(null=True)),
            ("requested_timeout", models.FloatField(null=True)),
            ("tags", models.JSONField(null=True)),
            ("unique_key", models.CharField(max_length=255, null=True)),
            ("failure_group", models.BigIntegerField(null=True)),
            ("result_size", models.IntegerField(null=True)),
            ("task_data_size", models.IntegerField(null=True)),
            ("unbegun_attempts", models.IntegerField(null=True)),
            ("schedule", models.CharField(max_length=100, null=True)),
            ("scheduled_for", models.DateTimeField(null=True)),
            ("callback_key", models.BigIntegerField(null=True)),
            ("callback_told", models.DateTimeField(null=True)),
            ("callback_url", models.TextField(null=True)),
        ],
        options={
            "db_table": "taskdaemon_task",
            "indexes": [
                Index(F("clock"), F("due"), condition=Q(status="pending", due__isnull=False), name="task_waiting"),
                Index(F("id"), condition=Q(status="failed"), name="task_failed"),
                Index(F("completed_at"), condition=Q(status="failed"), name="task_failed_lately"),
                Index(F("task_type"), F("position"), condition=READY, name="task_ready_by_place"),
                Index(
                    F("completed_at"), condition=Q(status="failed", failure_group__isnull=True), name="task_ungrouped"
                ),
                Index(
                    F("failure_group"),
                    F("id"),
                    condition=Q(status="failed", failure_group__isnull=False),
                    name="task_in_group",
                ),
                Index(F("expires_at"), condition=NOT_BEGUN, name="task_not_begun"),
                Index(F("completed_at"), condition=UNTOLD, name="task_untold"),
                Index(F("schedule"), F("position"), condition=Q(schedule__isnull=False), name="task_of_schedule"),
            ],
            "constraints": [
                CheckConstraint(condition=Q(priority__range=(0, 100)), name="task_priority_range"),
                CheckConstraint(condition=Q(attempts__gte=F("retries"), retries__gte=0), name="task_counts"),
                UniqueConstraint(
                    fields=("task_type", "unique_key"),
                    condition=Q(status__in=("pending", "processing"), unique_key__isnull=False),
                    name="task_unique_key",
                ),
                *CHECKS_OF_THE_STATUS,
            ],
            "permissions": [("view_payload", "Can view payloads, results, errors and logs")],
        },
    ),
    INDEXES_BY_DATABASE,
    migrations.CreateModel(
        "Attempt",
        fields=[
            ("id", auto_id()),
            ("number", models.IntegerField()),
            ("node", models.CharField(max_length=100)),
            ("container", models.CharField(default="", max_length=100)),
            ("started_at", models.DateTimeField()),
            ("ended_at", models.DateTimeField()),
            ("outcome", models.CharField(choices=words(OUTCOMES), max_length=12)),
            ("error", models.TextField(default="")),
            ("exit_code", models.IntegerField(null=True)),
            ("seconds", models.FloatField(null=True)),
            ("stdout_tail", models.TextField(default="")),
            ("stderr_tail", models.TextField(default="")),
            (
                "task",
                models.ForeignKey(db_index=False, on_delete=models.CASCADE, related_name="tries", to="tasks_app.task"),
            ),
            ("image", models.CharField(max_length=100, null=True)),
            ("oom", models.BooleanField(null=True)),
            ("wait_seconds", models.FloatField(null=True)),
            ("command", models.TextField(null=True)),
            ("revision", models.CharField(max_length=12, null=True)),
        ],
        options={
            "db_table": "taskdaemon_attempt",
            "constraints": [
                UniqueConstraint(fields=("task", "number"), name="attempt_once"),
                CheckConstraint(condition=Q(number__gte=1), name="attempt_number_from_one"),
                CheckConstraint(condition=Q(outcome__one_of=OUTCOMES), name="attempt_outcome_known"),
            ],
        },
    ),
    migrations.CreateModel(
        "LiveEvent",
        fields=[
            ("id", models.BigAutoField(primary_key=True, serialize=False)),
            ("task_id", models.UUIDField()),
            ("attempt", models.IntegerField()),
            ("sequence", models.IntegerField()),
            ("kind", models.CharField(max_length=10)),
            ("body", models.JSONField()),
            ("at", models.DateTimeField()),
            ("container", models.CharField(max_length=100, null=True)),
        ],
        options={
            "db_table": "taskdaemon_live_event",
            "indexes": [
                Index(fields=["at"], condition=Q(kind="end"), name="live_event_end_at"),
                Index(fields=["at"], condition=Q(sequence=1), name="live_event_first_at"),
            ],
            "constraints": [UniqueConstraint(fields=("task_id", "attempt", "sequence"), name="live_event_once")],
        },
    ),
    migrations.CreateModel(
        "IdempotencyKey",
        fields=[
            ("id", auto_id()),
            ("owner", models.BigIntegerField()),
            ("key", models.CharField(max_length=255)),
            ("fingerprint", models.CharField(default="", max_length=64)),
            ("task_ids", models.JSONField()),
            ("existing", models.JSONField(null=True)),
            ("expires_at", models.DateTimeField()),
            ("meaning", models.CharField(max_length=64, null=True)),
            ("path", models.TextField(null=True)),
            ("target", models.TextField(null=True)),
        ],
        options={
            "db_table": "taskdaemon_idempotency_key",
            "indexes": [Index(fields=["expires_at"], name="idempotency_key_expiry")],
            "constraints": [UniqueConstraint(fields=("owner", "key"), name="idempotency_key_once")],
        },
    ),
    migrations.CreateModel(
        "Node",
        fields=[
            ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
            ("lock_domain", models.CharField(max_length=300)),
            ("started_at", models.DateTimeField()),
            ("seen_at", models.DateTimeField()),
            ("seen", models.FloatField()),
            ("clock", models.CharField(max_length=40)),
            ("stopped_at", models.DateTimeField(null=True)),
            ("pools", models.JSONField(default=dict)),
            ("digest", models.CharField(max_length=64)),
            ("draining", models.BooleanField(default=False)),
            ("problems", models.JSONField(default=list)),
            ("drain_requested_at", models.DateTimeField(null=True)),
            ("drain_requested_by", models.CharField(max_length=150, null=True)),
            ("version", models.CharField(max_length=40, null=True)),
            ("drain_reason", models.CharField(max_length=200, null=True)),
            ("drained_types", models.JSONField(null=True)),
            ("revision", models.JSONField(null=True)),
            ("revision_at", models.DateTimeField(null=True)),
        ],
        options={"db_table": "taskdaemon_node"},
    ),
    migrations.CreateModel(
        "WebProcess",
        fields=[
            ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
            ("lock_domain", models.CharField(max_length=300)),
            ("seen_at", models.DateTimeField()),
            ("asked", models.JSONField(default=dict)),
            ("revision", models.JSONField(null=True)),
            ("revision_at", models.DateTimeField(null=True)),
        ],
        options={"db_table": "taskdaemon_web_process", "default_permissions": ()},
    ),
    migrations.CreateModel(
        "HandlerPause",
        fields=[
            ("handler", models.CharField(max_length=100, primary_key=True, serialize=False)),
            ("paused_at", models.DateTimeField()),
            ("paused_by", models.CharField(max_length=150)),
            ("until", models.DateTimeField(null=True)),
            ("reason", models.CharField(max_length=200, null=True)),
        ],
        options={"verbose_name": "pause", "db_table": "taskdaemon_handler_pause", "default_permissions": ()},
    ),
    migrations.CreateModel(
        "Reload",
        fields=[
            ("id", auto_id()),
            ("handler", models.CharField(max_length=100, null=True)),
            ("asked_at", models.DateTimeField()),
        ],
        options={"db_table": "taskdaemon_reload", "default_permissions": ()},
    ),
    migrations.CreateModel(
        "RevisionCommand",
        fields=[
            ("id", models.CharField(max_length=12, primary_key=True, serialize=False)),
            ("command", models.TextField(null=True)),
            ("used_at", models.DateTimeField()),
        ],
        options={"db_table": "taskdaemon_revision_command", "default_permissions": ()},
    ),
    migrations.CreateModel(
        "Turn",
        fields=[
            ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
            ("node", models.CharField(max_length=100)),
            ("until", models.FloatField()),
            ("clock", models.CharField(max_length=40)),
        ],
        options={"db_table": "taskdaemon_turn"},
    ),
    migrations.CreateModel(
        "Counter",
        fields=[
            ("id", auto_id()),
            ("slot", models.SmallIntegerField()),
            ("series", models.CharField(max_length=300)),
            ("value", models.BigIntegerField(default=0)),
        ],
        options={
            "db_table": "taskdaemon_counter",
            "constraints": [UniqueConstraint(fields=("slot", "series"), name="counter_once")],
        },
    ),
    migrations.CreateModel(
        "CounterDelta",
        fields=[("id", auto_id()), ("counts", models.TextField())],
        options={"db_table": "taskdaemon_counter_delta"},
    ),
    migrations.CreateModel(
        "ScanStart",
        fields=[("id", auto_id()), ("state", models.TextField()), ("untold", models.BigIntegerField(null=True))],
        options={"db_table": "taskdaemon_scan_start"},
    ),
    migrations.CreateModel(
        "ApiKey",
        fields=[
            ("id", auto_id()),
            ("name", models.CharField(max_length=100)),
            ("prefix", models.CharField(db_index=True, max_length=12)),
            ("digest", models.CharField(max_length=64, unique=True)),
            ("created_at", models.DateTimeField()),
            ("last_used_at", models.DateTimeField(null=True)),
            ("revoked_at", models.DateTimeField(null=True)),
            ("expires_at", models.DateTimeField(null=True)),
            ("rate", models.FloatField(null=True)),
            ("scopes", models.JSONField(null=True)),
            ("types", models.JSONField(null=True)),
            ("callback_secret", models.TextField(null=True)),
        ],
        options={
            "verbose_name": "API key",
            "db_table": "taskdaemon_api_key",
            "constraints": [
                UniqueConstraint(fields=("name",), condition=Q(revoked_at__isnull=True), name="api_key_name_once")
            ],
        },
    ),
    migrations.CreateModel(
        "AuditEntry",
        fields=[
            ("id", auto_id()),
            ("at", models.DateTimeField()),
            ("actor", models.CharField(max_length=150)),
            ("via", models.CharField(max_length=10)),
            ("action", models.CharField(max_length=40)),
            ("target", models.CharField(max_length=300)),
            ("count", models.BigIntegerField()),
            ("details", models.JSONField(default=dict)),
        ],
        options={
            "verbose_name": "audit entry",
            "verbose_name_plural": "audit log",
            "db_table": "taskdaemon_audit_entry",
            "indexes": [
                Index(fields=["at", "id"], name="audit_entry_at"),
                Index(fields=["target", "at", "id"], name="audit_entry_of_target"),
                Index(fields=["actor", "at", "id"], name="audit_entry_of_actor"),
                Index(fields=["action", "at", "id"], name="audit_entry_of_action"),
                Index(fields=["via", "at", "id"], name="audit_entry_via"),
            ],
        },
    ),
]
