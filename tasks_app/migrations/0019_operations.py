import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0018_history"),
    ]

    operations = [
        migrations.CreateModel(
            name="Operation",
            fields=[
                ("id", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ("verb", models.CharField(choices=[("redrive", "Redrive"), ("cancel", "Cancel"), ("delete", "Delete"), ("priority", "Priority")], max_length=10)),
                ("filter", models.JSONField()),
                ("types", models.JSONField(null=True)),
                ("last_id", models.UUIDField()),
                ("priority", models.SmallIntegerField(null=True)),
                ("rate", models.FloatField(null=True)),
                ("limit", models.BigIntegerField(null=True)),
                ("canary", models.IntegerField(null=True)),
                ("canary_seconds", models.FloatField(null=True)),
                ("stop_share", models.FloatField(null=True)),
                ("state", models.CharField(choices=[("running", "Running"), ("completed", "Completed"), ("aborted", "Aborted"), ("stopped", "Stopped")], default="running", max_length=10)),
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
            ],
            options={
                "db_table": "taskdaemon_operation",
                "indexes": [models.Index(condition=models.Q(state="running"), fields=["id"], name="operation_running")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(verb__one_of=["redrive", "cancel", "delete", "priority"]), name="operation_verb_known"),
                    models.CheckConstraint(condition=models.Q(state__one_of=["running", "completed", "aborted", "stopped"]), name="operation_state_known"),
                    models.CheckConstraint(condition=models.Q(state="running", ended_at__isnull=True) | (~models.Q(state="running") & models.Q(ended_at__isnull=False)), name="operation_over_has_end"),
                ],
            },
        ),
    ]
