from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0004_ready_again"),
    ]

    # Nullable and without a default: neither database rewrites a large table for them.
    operations = [
        migrations.AddField("attempt", "image", models.CharField(max_length=100, null=True)),
        migrations.AddField("attempt", "oom", models.BooleanField(null=True)),
        migrations.AddField("attempt", "wait_seconds", models.FloatField(null=True)),
    ]
