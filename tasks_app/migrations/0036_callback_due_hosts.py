from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0035_acts_of_features'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('status', 'pending')), fields=['next_at', 'host', 'id'], name='callback_due_hosts'),
        ),
        migrations.RemoveIndex(
            model_name='delivery',
            name='callback_due',
        ),
    ]
