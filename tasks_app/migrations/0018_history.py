from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0017_failure_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoryRow",
            fields=[
                ("minute", models.BigIntegerField(primary_key=True, serialize=False)),
                ("totals", models.JSONField()),
                ("handlers", models.JSONField()),
                ("last_attempt", models.BigIntegerField()),
            ],
            options={"db_table": "taskdaemon_history"},
        ),
    ]
