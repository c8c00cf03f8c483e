from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0014_live_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="HandlerPause",
            fields=[
                ("handler", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("paused_at", models.DateTimeField()),
                ("paused_by", models.CharField(max_length=150)),
                ("until", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "pause",
                "db_table": "taskdaemon_handler_pause",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="node",
            name="drain_requested_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="drain_requested_by",
            field=models.CharField(max_length=150, null=True),
        ),
    ]
