from django.db import migrations, models

CONDITION = "WHERE status = 'processing'"


def replace(schema_editor, columns):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER INDEX task_running RENAME TO task_running_replaced")
        schema_editor.execute(f"CREATE INDEX task_running ON taskdaemon_task {columns} {CONDITION}")
        schema_editor.execute("DROP INDEX task_running_replaced")


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0021_sizes_and_beginnings"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScanStart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.TextField()),
            ],
            options={"db_table": "taskdaemon_scan_start"},
        ),
        # By the time of the claim: what ended long ago is before what runs. The previous version's statements use the
        # index by its condition.
        migrations.RunPython(
            lambda apps, schema_editor: replace(schema_editor, "(started_at)"),
            lambda apps, schema_editor: replace(schema_editor, "(node)"),
        ),
    ]
