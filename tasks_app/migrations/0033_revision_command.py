from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks_app', '0032_callbacks'),
    ]

    operations = [
        migrations.CreateModel(
            name='RevisionCommand',
            fields=[
                ('id', models.CharField(max_length=12, primary_key=True, serialize=False)),
                ('command', models.TextField(null=True)),
                ('used_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'taskdaemon_revision_command',
                'default_permissions': (),
            },
        ),
        # The column stays as it is, and no statement is sent: the previous version writes it.
        migrations.AlterField(
            model_name='attempt',
            name='command',
            field=models.TextField(db_column='command', null=True),
        ),
        migrations.RenameField(model_name='attempt', old_name='command', new_name='old_command'),
    ]
