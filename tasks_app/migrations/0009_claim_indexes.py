from django.db import migrations

READY = "status = 'pending' AND due IS NULL"
BY_PRIORITY, AGAIN = "(task_type, priority DESC, place)", "(task_type, ready_at)"
# The OR adds no row, since the CHECKs allow none. The previous version's statements imply these conditions and use the
# indexes as before. A statement that spells them with the OR can use no other index: with old statistics, all of them
# look equally cheap to the planner.
NEW = {
    "task_ready_by_priority": f"{BY_PRIORITY} WHERE ({READY}) OR priority < 0",
    "task_ready_again": f"{AGAIN} WHERE ({READY} AND attempts > 0) OR attempts < 0",
}
OLD = {
    "task_ready_by_priority": f"{BY_PRIORITY} WHERE {READY}",
    "task_ready_again": f"{AGAIN} WHERE {READY} AND attempts > 0",
}


def replace(schema_editor, indexes):
    if schema_editor.connection.vendor == "postgresql":
        for name, definition in indexes.items():
            schema_editor.execute(f"ALTER INDEX {name} RENAME TO {name}_replaced")
            schema_editor.execute(f"CREATE INDEX {name} ON taskdaemon_task {definition}")
            schema_editor.execute(f"DROP INDEX {name}_replaced")


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0008_position"),
    ]

    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: replace(schema_editor, NEW),
            lambda apps, schema_editor: replace(schema_editor, OLD),
        ),
    ]
