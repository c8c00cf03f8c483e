from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0010_counter_deltas'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='task',
            index=models.Index(models.F('task_type'), models.F('status'), models.F('id'), condition=models.Q(('status', 'completed'), ('status', 'failed'), _connector='OR'), name='task_final_by_type'),
        ),
    ]
