from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0002_ended_tasks"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="followed",
            field=models.BooleanField(null=True),
        ),
    ]
