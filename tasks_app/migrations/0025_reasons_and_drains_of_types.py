from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0024_web_process"),
    ]

    operations = [
        migrations.AddField(
            model_name="handlerpause",
            name="reason",
            field=models.CharField(max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="drain_reason",
            field=models.CharField(max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="drained_types",
            field=models.JSONField(null=True),
        ),
    ]
