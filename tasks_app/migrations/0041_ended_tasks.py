from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0040_schedule_rate_key"),
    ]

    operations = [
        migrations.AddField(
            model_name="scanstart",
            name="ended",
            field=models.TextField(null=True),
        ),
    ]
