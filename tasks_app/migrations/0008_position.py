from django.db import migrations, models
from django.db.models import F, Index, Q

READY = Q(status="pending", due__isnull=True)
INDEXES = [
    Index(F("task_type"), F("priority").desc(), F("position"), name="task_ready_by_priority", condition=READY),
    Index(F("task_type"), F("position"), name="task_ready_by_place", condition=READY),
]


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0007_cheaper_checks"),
    ]

    # Only Django's name of the field changes. The column and the indexes keep theirs, so no statement is sent: the
    # previous version goes on working on the same tables.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                *[migrations.RemoveIndex("task", index.name) for index in INDEXES],
                migrations.RenameField("task", "place", "position"),
                migrations.AlterField("task", "position", models.BigIntegerField(db_column="place")),
                *[migrations.AddIndex("task", index) for index in INDEXES],
            ],
        ),
    ]
