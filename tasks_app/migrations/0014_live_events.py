from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0013_audit_log"),
    ]

    operations = [
        migrations.CreateModel(
            name="LiveEvent",
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
                    models.Index(fields=["at"], name="live_event_end_at", condition=models.Q(kind="end")),
                    models.Index(fields=["at"], name="live_event_first_at", condition=models.Q(sequence=1)),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("task_id", "attempt", "sequence"), name="live_event_once")
                ],
            },
        ),
    ]
