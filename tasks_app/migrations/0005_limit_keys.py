
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0004_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='FillDue',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('task_type', models.CharField(max_length=100)),
                ('limit_key', models.CharField(max_length=255)),
            ],
            options={
                'db_table': 'taskdaemon_fill_due',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='task',
            name='limit_key',
            field=models.CharField(max_length=255, null=True),
        ),
        migrations.CreateModel(
            name='HeldTask',
            fields=[
                ('task_id', models.UUIDField(primary_key=True, serialize=False)),
                ('task_type', models.CharField(max_length=100)),
                ('limit_key', models.CharField(max_length=255)),
                ('priority', models.SmallIntegerField()),
                ('position', models.BigIntegerField(db_column='place')),
                ('waits', models.BooleanField(db_default=False, default=False)),
            ],
            options={
                'db_table': 'taskdaemon_held_task',
                'default_permissions': (),
                'indexes': [models.Index(models.F('task_type'), models.F('limit_key'), models.F('position'), condition=models.Q(('waits', False)), name='held_task_by_place'), models.Index(models.F('task_type'), models.F('limit_key'), models.OrderBy(models.F('priority'), descending=True), models.F('position'), condition=models.Q(('waits', False)), name='held_task_by_priority')],
            },
        ),
        migrations.CreateModel(
            name='Permit',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('task_id', models.UUIDField()),
                ('task_type', models.CharField(max_length=100)),
                ('limit_key', models.CharField(max_length=255)),
                ('position', models.BigIntegerField(db_column='place')),
                ('since', models.DateTimeField()),
                ('attempt', models.IntegerField(null=True)),
                ('node', models.CharField(max_length=100, null=True)),
            ],
            options={
                'db_table': 'taskdaemon_permit',
                'default_permissions': (),
                'indexes': [models.Index(fields=['task_type', 'limit_key'], name='permit_by_key'), models.Index(condition=models.Q(('attempt__isnull', False)), fields=['task_id'], name='permit_left')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('attempt__isnull', True)), fields=('task_id',), name='permit_once')],
            },
        ),
    ]
