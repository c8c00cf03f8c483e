from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0025_reasons_and_drains_of_types"),
    ]

    operations = [
        migrations.AddField("failuregroup", "telling_numbers", models.BooleanField(null=True)),
        migrations.AddField("operation", "first_moved", models.JSONField(null=True)),
    ]
