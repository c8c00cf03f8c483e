from django.db import migrations, models
from django.db.models import CheckConstraint, Q

STATUSES = ["pending", "processing", "completed", "failed"]
OUTCOMES = ["success", "error", "timeout", "crash", "oom", "bad_reply", "worker_lost", "released", "cancelled"]
REASONS = [
    "handler_error", "retries_exhausted", "timeout", "crash", "oom", "bad_reply", "worker_lost", "expired", "cancelled",
]  # fmt: skip
FAILED = Q(status="failed", failure_reason__isnull=False, failure_reason__one_of=REASONS)

TASK = [
    CheckConstraint(name="task_status_known", condition=Q(status__one_of=STATUSES)),
    CheckConstraint(
        name="task_failed_has_reason", condition=FAILED | (~Q(status="failed") & Q(failure_reason__isnull=True))
    ),
]
ATTEMPT = [CheckConstraint(name="attempt_outcome_known", condition=Q(outcome__one_of=OUTCOMES))]


def remake(apps, schema_editor):
    # They allow what they allowed; only SQLite has other words for it (see tasks_app/db/lookups.py). Once a table, where
    # taking each away and putting it back would write all rows six times.
    if schema_editor.connection.vendor == "sqlite":
        for name in ("Task", "Attempt"):
            schema_editor._remake_table(apps.get_model("tasks_app", name))


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0006_api_keys"),
    ]

    operations = [
        *[migrations.AlterConstraint("task", check.name, check) for check in TASK],
        *[migrations.AlterConstraint("attempt", check.name, check) for check in ATTEMPT],
        migrations.RunPython(remake, migrations.RunPython.noop),
    ]
