from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0002_look_at_failures'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='task',
            name='task_failed_has_reason',
        ),
        # A null IN (...) is unknown, and a CHECK lets the unknown through: the null is refused by name.
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('failure_reason__in', ['handler_error', 'retries_exhausted', 'timeout', 'crash', 'oom', 'bad_reply', 'worker_lost', 'expired', 'cancelled']), ('failure_reason__isnull', False), ('status', 'failed')), models.Q(models.Q(('status', 'failed'), _negated=True), ('failure_reason__isnull', True)), _connector='OR'), name='task_failed_has_reason'),
        ),
    ]
