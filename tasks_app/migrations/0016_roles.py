from itertools import islice
from typing import Any

from django.db import migrations, models

from tasks_app.migrations._permissions import give_to_holders, make_group

VIEWER = ("tasks_app.view_task", "tasks_app.view_node", "tasks_app.view_auditentry")
OPERATOR = (*VIEWER, "tasks_app.view_payload", "tasks_app.change_task", "tasks_app.change_node")
ADMIN = (
    *OPERATOR,
    "tasks_app.delete_task",
    *(f"tasks_app.{verb}_apikey" for verb in ("view", "add", "change")),
    *(f"auth.{verb}_{model}" for model in ("user", "group") for verb in ("view", "add", "change", "delete")),
    *("axes.view_accessattempt", "axes.delete_accessattempt", "axes.view_accesslog", "axes.view_accessfailurelog"),
)
#: What Django's log says of an act, by the model that it was done to, and the audit log's word for it.
WORDS = {
    ("task", "Redriven"): "redrive",
    ("task", "Cancelled"): "cancel",
    ("task", "Deleted"): "delete",
    ("apikey", "Made."): "create_key",
    ("apikey", "Revoked."): "revoke_key",
}
BATCH = 1000


def keep_rights(apps: Any, schema_editor: Any) -> None:
    """The upgrade takes nothing away: until now whoever saw tasks saw payloads and acts too."""
    seen = ("tasks_app.view_task", "tasks_app.change_task")
    give_to_holders(apps, seen, ("tasks_app.view_payload", "tasks_app.view_auditentry"))


def make_roles(apps: Any, schema_editor: Any) -> None:
    """Make the groups that do not exist."""
    for name, permissions in (("viewer", VIEWER), ("operator", OPERATOR), ("admin", ADMIN)):
        make_group(apps, name, permissions)


def copy_log(apps: Any, schema_editor: Any) -> None:
    """Copy what operators did until now from Django's log, whose rows vanish with their user."""
    entries = apps.get_model("admin", "LogEntry").objects.filter(content_type__app_label="tasks_app")
    rows = entries.order_by("pk").select_related("user", "content_type").iterator(BATCH)
    AuditEntry = apps.get_model("tasks_app", "AuditEntry")
    while batch := list(islice(rows, BATCH)):
        AuditEntry.objects.bulk_create(
            AuditEntry(
                at=row.action_time,
                actor=row.user.username[:150],
                via="admin",
                action=WORDS[row.content_type.model, row.change_message],
                target=_target(row),
                count=1,
                details={},
            )
            for row in batch
            if (row.content_type.model, row.change_message) in WORDS
        )


def _target(row: Any) -> str:
    """A task's id, or a key's name; its text is the name and its first characters."""
    return str(row.object_id if row.content_type.model == "task" else row.object_repr.rpartition(" (")[0])[:300]


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0015_pauses"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0008_accessfailurelog"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={"permissions": [("view_payload", "Can view payloads, results, errors and logs")]},
        ),
        migrations.RemoveIndex(model_name="auditentry", name="audit_entry_target"),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["target", "at", "id"], name="audit_entry_of_target"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor", "at", "id"], name="audit_entry_of_actor"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["action", "at", "id"], name="audit_entry_of_action"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["via", "at", "id"], name="audit_entry_via"),
        ),
        migrations.CreateModel(
            name="Turn",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("node", models.CharField(max_length=100)),
                ("until", models.FloatField()),
                ("clock", models.CharField(max_length=40)),
            ],
            options={"db_table": "taskdaemon_turn"},
        ),
        migrations.RunPython(keep_rights, migrations.RunPython.noop),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
        migrations.RunPython(copy_log, migrations.RunPython.noop),
    ]
