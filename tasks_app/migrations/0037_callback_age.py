import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0036_callback_due_hosts'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='again_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(models.F('host'), django.db.models.functions.comparison.Coalesce('again_at', 'created_at'), condition=models.Q(('status', 'pending')), name='callback_of_host'),
        ),
    ]
