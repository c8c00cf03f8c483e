from django.db import migrations, transaction

#: What these six allow together, `task_fits_status` allows on PostgreSQL.
CHECKS = (
    "task_status_known",
    "task_running_has_node_and_lease",
    "task_failed_has_reason",
    "task_final_has_end",
    "task_result_only_when_completed",
    "task_due_only_when_pending",
)
REASONS = (
    "handler_error", "retries_exhausted", "timeout", "crash", "oom", "bad_reply", "worker_lost", "expired", "cancelled",
)  # fmt: skip
#: The status; how many have a value of `node` and `lease`, of `completed_at`, `failure_reason`, `result` and `due`; the
#: reason of a failure.
ROWS = (
    "pending00000", "pending00001", "processing20000", "completed01000", "completed01010",
    *(f"failed01100{reason}" for reason in REASONS),
)  # fmt: skip
ALLOWED = "{" + ",".join(ROWS) + "}"
FITS = f"""concat(status, num_nonnulls(node, lease), num_nonnulls(completed_at), num_nonnulls(failure_reason),
  num_nonnulls(result), num_nonnulls(due), failure_reason) = ANY ('{ALLOWED}'::text[])"""

#: IF EXISTS: the migration may have been killed before its last statement.
DROP_ALL = "ALTER TABLE taskdaemon_task " + ", ".join(
    f"DROP CONSTRAINT IF EXISTS {name}" for name in (*CHECKS, "task_fits_status")
)


def replace(apps, schema_editor):
    # PostgreSQL reads the text of every CHECK for every statement: six cost a claim of one task a tenth more than one.
    if schema_editor.connection.vendor != "postgresql":
        return
    with transaction.atomic():
        schema_editor.execute(DROP_ALL)
        schema_editor.execute(f"ALTER TABLE taskdaemon_task ADD CONSTRAINT task_fits_status CHECK ({FITS}) NOT VALID")
    # The rows are looked at while others write.
    schema_editor.execute("ALTER TABLE taskdaemon_task VALIDATE CONSTRAINT task_fits_status")


def restore(apps, schema_editor):
    # Earlier migrations name the six, in both directions.
    if schema_editor.connection.vendor != "postgresql":
        return
    model = apps.get_model("tasks_app", "Task")
    checks = [one for one in model._meta.constraints if one.name in CHECKS]
    with transaction.atomic():
        schema_editor.execute(DROP_ALL)
        for one in checks:
            schema_editor.execute(f"{one.create_sql(model, schema_editor)} NOT VALID")
    for one in checks:
        schema_editor.execute(f"ALTER TABLE taskdaemon_task VALIDATE CONSTRAINT {one.name}")


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("tasks_app", "0038_one_index_of_expiries"),
    ]

    operations = [
        migrations.RunPython(replace, restore),
    ]
