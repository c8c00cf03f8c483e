from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0012_key_scopes"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                ("via", models.CharField(max_length=10)),
                ("action", models.CharField(max_length=40)),
                ("target", models.CharField(max_length=300)),
                ("count", models.BigIntegerField()),
                ("details", models.JSONField(default=dict)),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
                "db_table": "taskdaemon_audit_entry",
                "indexes": [
                    models.Index(fields=["at", "id"], name="audit_entry_at"),
                    models.Index(fields=["target", "id"], name="audit_entry_target"),
                ],
            },
        ),
    ]
