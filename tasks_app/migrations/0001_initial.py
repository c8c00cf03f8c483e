import uuid

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models


PLACE = {
    "postgresql": ("CREATE SEQUENCE taskdaemon_place", "DROP SEQUENCE taskdaemon_place"),
    # SQLite has no sequences; its writers come one at a time anyway.
    "sqlite": (
        "CREATE TABLE taskdaemon_place (value INTEGER NOT NULL)",
        "INSERT INTO taskdaemon_place VALUES (0)",
        "DROP TABLE taskdaemon_place",
    ),
}


def make_places(apps, schema_editor):
    for statement in PLACE[schema_editor.connection.vendor][:-1]:
        schema_editor.execute(statement)


def drop_places(apps, schema_editor):
    schema_editor.execute(PLACE[schema_editor.connection.vendor][-1])


def name_deployment(apps, schema_editor):
    apps.get_model("tasks_app", "Deployment").objects.create(id=uuid.uuid4())


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
            ],
            options={
                'db_table': 'taskdaemon_deployment',
            },
        ),
        migrations.CreateModel(
            name='Node',
            fields=[
                ('name', models.CharField(max_length=100, primary_key=True, serialize=False)),
                ('lock_domain', models.CharField(max_length=300)),
                ('started_at', models.DateTimeField()),
                ('seen_at', models.DateTimeField()),
                ('seen', models.FloatField()),
                ('clock', models.CharField(max_length=40)),
                ('stopped_at', models.DateTimeField(null=True)),
                ('pools', models.JSONField(default=dict)),
                ('digest', models.CharField(max_length=64)),
                ('draining', models.BooleanField(default=False)),
                ('problems', models.JSONField(default=list)),
            ],
            options={
                'db_table': 'taskdaemon_node',
            },
        ),
        migrations.CreateModel(
            name='Counter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slot', models.SmallIntegerField()),
                ('series', models.CharField(max_length=300)),
                ('value', models.BigIntegerField(default=0)),
            ],
            options={
                'db_table': 'taskdaemon_counter',
                'constraints': [models.UniqueConstraint(fields=('slot', 'series'), name='counter_once')],
            },
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('task_type', models.CharField(max_length=100)),
                ('task_data', models.JSONField(default=dict)),
                ('priority', models.SmallIntegerField(default=50)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('processing', 'Processing'), ('completed', 'Completed'), ('failed', 'Failed')], default='pending', max_length=10)),
                ('place', models.BigIntegerField()),
                ('due', models.FloatField(null=True)),
                ('due_at', models.DateTimeField(null=True)),
                ('lease', models.FloatField(null=True)),
                ('clock', models.CharField(default='', max_length=40)),
                ('node', models.CharField(max_length=100, null=True)),
                ('attempts', models.IntegerField(default=0)),
                ('retries', models.IntegerField(default=0)),
                ('timeout', models.FloatField(null=True)),
                ('max_retries', models.IntegerField(null=True)),
                ('retry_backoff', models.FloatField(null=True)),
                ('retry_on', models.CharField(default='', max_length=40)),
                ('result', models.JSONField(null=True)),
                ('last_error', models.TextField(null=True)),
                ('failure_reason', models.CharField(choices=[('handler_error', 'Handler Error'), ('retries_exhausted', 'Retries Exhausted'), ('timeout', 'Timeout'), ('crash', 'Crash'), ('oom', 'Oom'), ('bad_reply', 'Bad Reply'), ('worker_lost', 'Worker Lost'), ('expired', 'Expired'), ('cancelled', 'Cancelled')], max_length=20, null=True)),
                ('created_at', models.DateTimeField()),
                ('ready_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(null=True)),
                ('completed_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'taskdaemon_task',
                'indexes': [models.Index(models.F('task_type'), models.OrderBy(models.F('priority'), descending=True), models.F('place'), condition=models.Q(('due__isnull', True), ('status', 'pending')), name='task_ready_by_priority'), models.Index(models.F('task_type'), models.F('place'), condition=models.Q(('due__isnull', True), ('status', 'pending')), name='task_ready_by_place'), models.Index(models.F('clock'), models.F('due'), condition=models.Q(('due__isnull', False), ('status', 'pending')), name='task_waiting'), models.Index(models.F('node'), condition=models.Q(('status', 'processing')), name='task_running'), models.Index(models.F('expires_at'), condition=models.Q(('expires_at__isnull', False), ('status', 'pending')), name='task_expiring')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'processing', 'completed', 'failed'])), name='task_status_known'), models.CheckConstraint(condition=models.Q(('priority__range', (0, 100))), name='task_priority_range'), models.CheckConstraint(condition=models.Q(models.Q(('lease__isnull', False), ('node__isnull', False), ('status', 'processing')), models.Q(models.Q(('status', 'processing'), _negated=True), ('lease__isnull', True), ('node__isnull', True)), _connector='OR'), name='task_running_has_node_and_lease'), models.CheckConstraint(condition=models.Q(models.Q(('failure_reason__in', ['handler_error', 'retries_exhausted', 'timeout', 'crash', 'oom', 'bad_reply', 'worker_lost', 'expired', 'cancelled']), ('failure_reason__isnull', False), ('status', 'failed')), models.Q(models.Q(('status', 'failed'), _negated=True), ('failure_reason__isnull', True)), _connector='OR'), name='task_failed_has_reason'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', ('completed', 'failed'))), models.Q(('completed_at__isnull', True), ('status__in', ('pending', 'processing'))), _connector='OR'), name='task_final_has_end'), models.CheckConstraint(condition=models.Q(('status', 'completed'), ('result__isnull', True), _connector='OR'), name='task_result_only_when_completed'), models.CheckConstraint(condition=models.Q(('status', 'pending'), ('due__isnull', True), _connector='OR'), name='task_due_only_when_pending'), models.CheckConstraint(condition=models.Q(('attempts__gte', models.F('retries')), ('retries__gte', 0)), name='task_counts')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.IntegerField()),
                ('node', models.CharField(max_length=100)),
                ('container', models.CharField(default='', max_length=100)),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField()),
                ('outcome', models.CharField(choices=[('success', 'Success'), ('error', 'Error'), ('timeout', 'Timeout'), ('crash', 'Crash'), ('oom', 'Oom'), ('bad_reply', 'Bad Reply'), ('worker_lost', 'Worker Lost'), ('released', 'Released'), ('cancelled', 'Cancelled')], max_length=12)),
                ('error', models.TextField(default='')),
                ('exit_code', models.IntegerField(null=True)),
                ('seconds', models.FloatField(null=True)),
                ('stdout_tail', models.TextField(default='')),
                ('stderr_tail', models.TextField(default='')),
                ('task', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='tries', to='tasks_app.task')),
            ],
            options={
                'db_table': 'taskdaemon_attempt',
                'constraints': [models.UniqueConstraint(fields=('task', 'number'), name='attempt_once'), models.CheckConstraint(condition=models.Q(('number__gte', 1)), name='attempt_number_from_one'), models.CheckConstraint(condition=models.Q(('outcome__in', ['success', 'error', 'timeout', 'crash', 'oom', 'bad_reply', 'worker_lost', 'released', 'cancelled'])), name='attempt_outcome_known')],
            },
        ),
        migrations.RunPython(make_places, drop_places),
        migrations.RunPython(name_deployment, migrations.RunPython.noop),
    ]
