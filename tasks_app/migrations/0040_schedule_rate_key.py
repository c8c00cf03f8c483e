from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0039_one_check_of_status"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="rate_key",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="tasks_a_second",
            field=models.FloatField(null=True),
        ),
    ]
