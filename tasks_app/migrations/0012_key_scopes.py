from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0011_options_and_keys'),
    ]

    operations = [
        migrations.AddField(model_name='apikey', name='expires_at', field=models.DateTimeField(null=True)),
        migrations.AddField(model_name='apikey', name='rate', field=models.FloatField(null=True)),
        migrations.AddField(model_name='apikey', name='scopes', field=models.JSONField(null=True)),
        migrations.AddField(model_name='apikey', name='types', field=models.JSONField(null=True)),
    ]
