"""The tables of the features in 0.1.0."""

from django.db import migrations, models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Coalesce
from uuid_utils.compat import uuid7

from tasks_app.migrations._words import auto_id, words

STATES = ["running", "completed", "aborted", "stopped"]
PENDING = Q(status="pending")

FEATURE_TABLES = [
    migrations.CreateModel(
        "FailureGroup",
        fields=[
            ("fingerprint", models.BigIntegerField(primary_key=True, serialize=False)),
            ("handler", models.CharField(max_length=100)),
            ("reason", models.CharField(max_length=20)),
            ("normalised", models.CharField(max_length=500)),
            ("sample_error", models.TextField(default="")),
            ("sample_task", models.UUIDField(null=True)),
            ("first_seen", models.DateTimeField()),
            ("last_seen", models.DateTimeField()),
            ("count", models.BigIntegerField(default=0)),
            ("hours", models.JSONField(default=dict)),
            ("resolved_at", models.DateTimeField(null=True)),
            ("resolved_by", models.CharField(default="", max_length=150)),
            ("telling_numbers", models.BooleanField(null=True)),
        ],
        options={
            "verbose_name": "failure group",
            "db_table": "taskdaemon_failure_group",
            "indexes": [
                Index(fields=["last_seen"], name="failure_group_seen"),
                Index(fields=["handler", "last_seen"], name="failure_group_handler"),
            ],
        },
    ),
    migrations.CreateModel(
        "UngroupedFailure",
        fields=[
            ("id", auto_id()),
            ("task", models.UUIDField()),
            ("handler", models.CharField(max_length=100)),
            ("reason", models.CharField(max_length=20)),
            ("error", models.TextField(default="")),
            ("ended_at", models.DateTimeField()),
        ],
        options={"db_table": "taskdaemon_ungrouped_failure"},
    ),
    migrations.CreateModel(
        "Operation",
        fields=[
            ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
            ("verb", models.CharField(max_length=10)),
            ("filter", models.JSONField()),
            ("types", models.JSONField(null=True)),
            ("last_id", models.UUIDField()),
            ("priority", models.SmallIntegerField(null=True)),
            ("rate", models.FloatField(null=True)),
            ("limit", models.BigIntegerField(null=True)),
            ("canary", models.IntegerField(null=True)),
            ("canary_seconds", models.FloatField(null=True)),
            ("stop_share", models.FloatField(null=True)),
            ("state", models.CharField(choices=words(STATES), default="running", max_length=10)),
            ("passed", models.UUIDField(null=True)),
            ("matched", models.BigIntegerField(default=0)),
            ("matched_exact", models.BooleanField(default=True)),
            ("done", models.BigIntegerField(default=0)),
            ("skipped", models.JSONField(default=dict)),
            ("failed", models.BigIntegerField(default=0)),
            ("watched", models.JSONField(default=list)),
            ("watched_ended", models.BigIntegerField(default=0)),
            ("watched_failed", models.BigIntegerField(default=0)),
            ("canary_passed", models.BooleanField(default=False)),
            ("canary_at", models.FloatField(null=True)),
            ("node", models.CharField(max_length=100, null=True)),
            ("lease", models.FloatField(null=True)),
            ("due", models.FloatField(null=True)),
            ("clock", models.CharField(default="", max_length=40)),
            ("created_at", models.DateTimeField()),
            ("created_by", models.CharField(max_length=150)),
            ("created_via", models.CharField(max_length=10)),
            ("ended_at", models.DateTimeField(null=True)),
            ("sentence", models.TextField(default="")),
            ("first_moved", models.JSONField(null=True)),
        ],
        options={
            "db_table": "taskdaemon_operation",
            "indexes": [Index(fields=["id"], condition=Q(state="running"), name="operation_running")],
            "constraints": [
                CheckConstraint(condition=Q(state__one_of=STATES), name="operation_state_known"),
                CheckConstraint(
                    condition=Q(state="running", ended_at__isnull=True)
                    | (~Q(state="running") & Q(ended_at__isnull=False)),
                    name="operation_over_has_end",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        "Schedule",
        fields=[
            ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
            ("definition", models.JSONField()),
            ("hash", models.CharField(max_length=64)),
            ("task_type", models.CharField(max_length=100)),
            ("source", models.CharField(choices=[("handlers.toml", "File"), ("api", "Api")], max_length=20)),
            ("revision", models.IntegerField(default=1)),
            ("next_at", models.DateTimeField(null=True)),
            ("changed_at", models.DateTimeField()),
            ("changed_by", models.CharField(max_length=150)),
            ("paused_at", models.DateTimeField(null=True)),
            ("paused_by", models.CharField(max_length=150, null=True)),
            ("final_through", models.BigIntegerField(null=True)),
            ("rate_key", models.BigIntegerField(null=True)),
            ("tasks_a_second", models.FloatField(null=True)),
        ],
        options={
            "db_table": "taskdaemon_schedule",
            "default_permissions": (),
            "indexes": [Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="schedule_next")],
        },
    ),
    migrations.CreateModel(
        "Firing",
        fields=[
            ("id", auto_id()),
            ("schedule", models.CharField(max_length=100)),
            ("scheduled_for", models.DateTimeField()),
            ("outcome", models.CharField(choices=words(["made", "skipped", "refused", "missed"]), max_length=10)),
            ("at", models.DateTimeField()),
            ("task", models.UUIDField(null=True)),
            ("reason", models.TextField(default="")),
            ("until", models.DateTimeField(null=True)),
            ("count", models.BigIntegerField(default=1)),
            ("by", models.CharField(max_length=150, null=True)),
        ],
        options={
            "db_table": "taskdaemon_schedule_firing",
            "default_permissions": (),
            "indexes": [Index(fields=["at"], name="schedule_firing_at")],
            "constraints": [UniqueConstraint(fields=("schedule", "scheduled_for"), name="schedule_firing_once")],
        },
    ),
    migrations.CreateModel(
        "FileRevision",
        fields=[
            ("revision", models.CharField(max_length=12, primary_key=True, serialize=False)),
            ("names", models.JSONField()),
            ("written_at", models.DateTimeField()),
        ],
        options={"db_table": "taskdaemon_schedule_file", "default_permissions": ()},
    ),
    migrations.CreateModel(
        "Delivery",
        fields=[
            ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
            ("task", models.UUIDField()),
            ("task_type", models.CharField(max_length=100)),
            ("key", models.BigIntegerField(null=True)),
            ("url", models.TextField()),
            ("host", models.CharField(max_length=255)),
            (
                "event",
                models.CharField(choices=[("task.completed", "Completed"), ("task.failed", "Failed")], max_length=20),
            ),
            ("body", models.TextField()),
            ("created_at", models.DateTimeField()),
            (
                "status",
                models.CharField(choices=words(["pending", "delivered", "failed"]), default="pending", max_length=10),
            ),
            ("tries", models.IntegerField(default=0)),
            ("next_at", models.DateTimeField(null=True)),
            ("sender", models.CharField(max_length=100, null=True)),
            ("last_status", models.IntegerField(null=True)),
            ("last_error", models.TextField(default="")),
            ("last_try_at", models.DateTimeField(null=True)),
            ("ended_at", models.DateTimeField(null=True)),
            ("again_at", models.DateTimeField(null=True)),
        ],
        options={
            "verbose_name": "callback",
            "db_table": "taskdaemon_callback",
            "default_permissions": (),
            "indexes": [
                Index(fields=["task", "created_at"], name="callback_of_task"),
                Index(
                    fields=["task_type", "event", "ended_at"],
                    condition=Q(ended_at__isnull=False),
                    name="callback_ended",
                ),
                Index(fields=["next_at", "host", "id"], condition=PENDING, name="callback_due_hosts"),
                Index(F("host"), Coalesce("again_at", "created_at"), condition=PENDING, name="callback_of_host"),
            ],
            "constraints": [
                CheckConstraint(
                    condition=Q(status="pending", ended_at__isnull=True, next_at__isnull=False)
                    | (~Q(status="pending") & Q(ended_at__isnull=False, next_at__isnull=True)),
                    name="callback_pending_has_time",
                )
            ],
        },
    ),
    migrations.CreateModel(
        "HistoryRow",
        fields=[
            ("minute", models.BigIntegerField(primary_key=True, serialize=False)),
            ("totals", models.JSONField()),
            ("handlers", models.JSONField()),
            ("last_attempt", models.BigIntegerField()),
        ],
        options={"db_table": "taskdaemon_history"},
    ),
    migrations.CreateModel(
        "Alert",
        fields=[
            ("key", models.CharField(max_length=150, primary_key=True, serialize=False)),
            ("firing", models.BooleanField(default=False)),
            ("told", models.BooleanField(default=True)),
            ("since", models.DateTimeField(null=True)),
            ("sentence", models.TextField(default="")),
            ("details", models.JSONField(default=dict)),
            ("differs_since", models.DateTimeField(null=True)),
            ("seen_at", models.DateTimeField(null=True)),
            ("next_send_at", models.DateTimeField(null=True)),
            ("failures", models.IntegerField(default=0)),
            ("send_error", models.CharField(default="", max_length=300)),
        ],
        options={
            "db_table": "taskdaemon_alert",
            "indexes": [Index(fields=["told", "next_send_at"], name="alert_to_send")],
        },
    ),
]
