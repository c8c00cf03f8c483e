from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0001_tables"),
    ]

    operations = [
        migrations.AddField(
            model_name="scanstart",
            name="ended",
            field=models.TextField(null=True),
        ),
    ]
