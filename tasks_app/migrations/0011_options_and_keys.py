from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0010_counter_deltas'),
    ]

    operations = [
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.BigIntegerField()),
                ('key', models.CharField(max_length=255)),
                ('fingerprint', models.CharField(max_length=64)),
                ('task_ids', models.JSONField()),
                ('existing', models.JSONField(null=True)),
                ('expires_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'taskdaemon_idempotency_key',
            },
        ),
        migrations.AddField(
            model_name='task',
            name='metadata',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='task',
            name='requested_max_retries',
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name='task',
            name='requested_timeout',
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name='task',
            name='tags',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='task',
            name='unique_key',
            field=models.CharField(max_length=255, null=True),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(models.F('expires_at'), condition=models.Q(('attempts', 0), ('expires_at__isnull', False), ('status', 'pending')), name='task_never_started'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.UniqueConstraint(fields=('task_type', 'unique_key'), condition=models.Q(('status__in', ('pending', 'processing')), ('unique_key__isnull', False)), name='task_unique_key'),
        ),
        migrations.AddIndex(
            model_name='idempotencykey',
            index=models.Index(fields=['expires_at'], name='idempotency_key_expiry'),
        ),
        migrations.AddConstraint(
            model_name='idempotencykey',
            constraint=models.UniqueConstraint(fields=('owner', 'key'), name='idempotency_key_once'),
        ),
    ]
